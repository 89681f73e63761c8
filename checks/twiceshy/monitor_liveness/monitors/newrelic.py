"""The New Relic infrastructure agent: its status server, by its documentation (status_api.md).

`status_server_enabled` is off by default. /v1/status says whether the backend is reachable,
/v1/status/entity is 204 until the agent is known there. Nothing tells the age of a sample.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Seen,
    Target,
    Wishes,
    age_measures,
    asking,
    dead,
    fine,
    poor,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.contact import (
    answered,
    ask,
    expected,
    halted,
    instance,
    is_young,
    url_of,
)
from twiceshy.monitor_liveness.monitors.processes import Process

PORT = 8003
RESTART = "journalctl -u newrelic-infra -n 50"


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of the backend as the agent reaches it."""

    url: str
    is_reachable: bool
    error: str


def parse_status(text: str) -> tuple[Endpoint, ...]:
    """GET /v1/status: `checks.endpoints`; Trouble when it is not that."""
    with expected("the answer is not that of New Relic's agent"):
        return tuple(
            Endpoint(str(e.get("url", "?")), bool(e.get("reachable")), str(e.get("error") or ""))
            for e in json.loads(text)["checks"]["endpoints"]
        )


@dataclass(frozen=True)
class Sight:
    """One agent in one look."""

    name: str
    url: str
    is_told: bool
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    endpoints: tuple[Endpoint, ...] = ()
    has_entity: bool = True
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance("newrelic", process) for process in table if process.program == "newrelic-infra"
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    seen = Sight(
        target.name,
        url_of(target, PORT),
        is_told=bool(target.url or target.host or target.port),
        main=target.main,
    )
    try:
        answer = ask(seen.url + "/v1/status", wishes)
        return replace(
            seen,
            probe_seconds=answer.seconds,
            endpoints=parse_status(answer.text),
            has_entity=ask(seen.url + "/v1/status/entity", wishes).status == 200,
        )
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    started = clock.age(seen.main.started) if seen.main else None
    if seen.trouble[0] == "refused" and not seen.is_told:
        organs.append(
            unseen(
                "main loop", f"cannot be asked: {seen.trouble[1]}; set status_server_enabled: true"
            )
        )
    elif seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=RESTART))
    else:
        organs += answered(seen.probe_seconds, "", clock)
        lost = [endpoint for endpoint in seen.endpoints if not endpoint.is_reachable]
        if lost:
            organs.append(
                (dead if len(lost) == len(seen.endpoints) else poor)(
                    "backend link",
                    f"is down to {len(lost)} of {len(seen.endpoints)} endpoints, "
                    f"{safe(lost[0].url, 80)}: {safe(lost[0].error, 80)}",
                    RESTART,
                )
            )
        else:
            organs.append(fine("backend link", f"is up to {len(seen.endpoints)} endpoints"))
        if not seen.has_entity:
            say = fine if is_young(started, wishes) else poor
            organs.append(say("identity", "is not known to the backend yet"))
    return Seen(
        seen.name, tuple(organs), age_measures(seen.name, None, None, seen.probe_seconds), started
    )

"""The New Relic infrastructure agent: its status server, by its documentation (status_api.md).

`status_server_enabled` is off by default. /v1/status says whether the backend is reachable,
/v1/status/entity is 204 until the agent is known there. Nothing tells the age of a sample.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_measures,
    asking,
    dead,
    fine,
    poor,
    stopped_organ,
    unanswered,
    unseen,
)
from twiceshy.monitors.processes import Process
from twiceshy.verdict import safe

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
    try:
        return tuple(
            Endpoint(str(e.get("url", "?")), bool(e.get("reachable")), str(e.get("error") or ""))
            for e in json.loads(text)["checks"]["endpoints"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise asking.Trouble("strange", "the answer is not that of New Relic's agent") from None


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
        Target(kind="newrelic", name="newrelic", main=process, processes=(process,))
        for process in table
        if process.program == "newrelic-infra"
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    url = (target.url or f"http://{target.host or '127.0.0.1'}:{target.port or PORT}").rstrip("/")
    is_told = bool(target.url or target.host or target.port)
    try:
        answer = asking.fetch(url + "/v1/status", wishes.probe_seconds)
        endpoints = parse_status(answer.text)
        entity = asking.fetch(url + "/v1/status/entity", wishes.probe_seconds)
    except asking.Trouble as trouble:
        return Sight(
            target.name, url, is_told, trouble=(trouble.kind, trouble.text), main=target.main
        )
    return Sight(
        target.name,
        url,
        is_told,
        answer.seconds,
        endpoints=endpoints,
        has_entity=entity.status == 200,
        main=target.main,
    )


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs: list[Organ] = []
    started = clock.age(seen.main.started) if seen.main else None
    stopped = stopped_organ([seen.main], "process") if seen.main else None
    if stopped:
        organs.append(stopped)
    if seen.trouble[0] == "refused" and not seen.is_told:
        organs.append(
            unseen(
                "main loop", f"cannot be asked: {seen.trouble[1]}; set status_server_enabled: true"
            )
        )
    elif seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=RESTART))
    else:
        organs.append(fine("main loop", f"answers in {(seen.probe_seconds or 0) * 1000:.0f}ms"))
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
            is_young = started is not None and started < wishes.startup_grace
            organs.append(
                (fine if is_young else poor)("identity", "is not known to the backend yet")
            )
    return Seen(
        seen.name, tuple(organs), age_measures(seen.name, None, None, seen.probe_seconds), started
    )

"""The New Relic infrastructure agent: its status server, by its documentation (status_api.md).

`status_server_enabled` is off by default. /v1/status says whether the backend is reachable,
/v1/status/entity is 204 until the agent is known there. Nothing tells the age of a sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import http, units
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    critical,
    is_young,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

PORT = 8003
RESTART = "journalctl -u newrelic-infra -n 50"


@dataclass(frozen=True)
class Backend:
    """One endpoint of the backend as the agent reaches it."""

    url: str
    is_reachable: bool
    error: str


def parse_status(text: str) -> tuple[Backend, ...]:
    """GET /v1/status: `checks.endpoints`; Malformed when it is not that."""
    with answers.expected("the answer is not that of New Relic's agent"):
        return tuple(
            Backend(str(e.get("url", "?")), bool(e.get("reachable")), str(e.get("error") or ""))
            for e in json.loads(text)["checks"]["endpoints"]
        )


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One agent."""

    backends: tuple[Backend, ...] = ()
    has_entity: bool = True


def found(table: Sequence[Process]) -> list[Target]:
    """Every New Relic agent of this host, by its process."""
    return [
        instance("newrelic", process) for process in table if process.program == "newrelic-infra"
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask the status server."""

    def asking(empty: Observation) -> Observation:
        answer = answers.ask(empty.url + "/v1/status", settings)
        backends = parse_status(answer.text)
        entity = answers.ask(empty.url + "/v1/status/entity", settings)
        return replace(
            empty, seconds=answer.seconds, backends=backends, has_entity=entity.status == 200
        )

    url = answers.url_of(target, PORT)
    is_guessed = not target.is_located
    return answers.observed(
        Observation(target.name, url, main=target.main, is_guessed=is_guessed), asking
    )


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    started = answers.process_age(observation, clock)
    failure = observation.failure
    if isinstance(failure, http.Refused) and observation.is_guessed:
        components.append(
            unknown("main loop", f"cannot be queried: {failure}; set status_server_enabled: true")
        )
    elif failure:
        components.append(answers.unanswered(failure, RESTART))
    else:
        components += answers.answers(observation, clock)
        components.append(_link(observation.backends))
        if not observation.has_entity:
            say = ok if is_young(started, settings.startup_grace) else warning
            components.append(say("identity", "is not known to the backend yet"))
    return answers.health(observation, components, started=started)


def _link(backends: Sequence[Backend]) -> Component:
    lost = [backend for backend in backends if not backend.is_reachable]
    if not lost:
        return ok("backend link", f"is up to {units.count(len(backends), 'endpoint')}")
    say = critical if len(lost) == len(backends) else warning
    return say(
        "backend link",
        f"is down to {len(lost)} of {units.count(len(backends), 'endpoint')}, "
        f"{safe(lost[0].url, 80)}: {safe(lost[0].error, 80)}",
        RESTART,
    )

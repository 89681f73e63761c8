"""Sensu Go backend and agent, from their documentation (docs.sensu.io, API "health", agent API).

The backend's /health is always HTTP 200: the JSON must be read. It covers etcd and PostgreSQL, not
the scheduler; for that name a check that runs all the time (--pulse ENTITY;CHECK) and the age of
its `executed` is judged. The agent's /healthz says only that its websocket is connected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import http, units
from twiceshy.kit.http import Answer, HttpError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    ago,
    critical,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers
from twiceshy.monitor_liveness.monitors.answers import Executed
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

BACKEND_PORT, AGENT_PORT = 8080, 3031


def parse_health(text: str) -> Mapping[str, Any]:
    """GET /health; Malformed when it is not that."""
    with answers.expected("the answer is not that of a Sensu backend"):
        health = json.loads(text)
        if not isinstance(health, dict) or "ClusterHealth" not in health:
            raise ValueError
        return health


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One backend (with its `health`) or agent (without)."""

    kind: str = ""
    health: Mapping[str, Any] | None = None
    status: int = 200
    body: str = ""
    pulse: Executed | None = None
    pulse_failure: HttpError | None = None


def found(table: Sequence[Process]) -> list[Target]:
    """Every Sensu Go backend and agent of this host, by its process."""
    return [
        instance(
            process.program,
            process,
            port=BACKEND_PORT if process.program == "sensu-backend" else AGENT_PORT,
        )
        for process in table
        if process.program in ("sensu-backend", "sensu-agent")
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask for the health, and for the event of --pulse."""
    is_backend = target.kind == "sensu-backend"
    url = answers.url_of(target, BACKEND_PORT if is_backend else AGENT_PORT)

    def asking(empty: Observation) -> Observation:
        answer = _ask(url + ("/health?timeout=2" if is_backend else "/healthz"), settings)
        return answers.answered_by(
            empty,
            answer,
            status=answer.status,
            body=answer.text,
            health=parse_health(answer.text) if is_backend else None,
        )

    observation = answers.observed(
        Observation(target.name, url, main=target.main, kind=target.kind), asking
    )
    if observation.failure or not (is_backend and settings.pulse):
        return observation
    try:
        return replace(observation, pulse=_pulse(url, settings))
    except HttpError as failure:
        return replace(observation, pulse_failure=failure)


def _pulse(url: str, settings: MonitorSettings) -> Executed:
    from urllib.parse import quote

    entity, check = answers.pulse_of(settings.pulse, "ENTITY;CHECK")
    where = f"{url}/api/core/v2/namespaces/{quote(settings.namespace, safe='')}/events/"
    answer = _ask(f"{where}{quote(entity, safe='')}/{quote(check, safe='')}", settings)
    if answer.status == 404:
        raise answers.NotThere(f"there is no event {entity};{check}")
    return answers.parse_event(answer.text)


def _ask(url: str, settings: MonitorSettings) -> Answer:
    request = answers.request_of(url, replace(settings, user="", token=""))
    if settings.token:
        key = ("Authorization", f"Key {settings.token}")
        request = replace(request, fields=(*request.fields, key))
    return http.ask(request)


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    restart = f"journalctl -u {observation.kind} -n 50"
    components = answers.halted(observation.main)
    started = answers.process_age(observation, clock)
    if observation.failure:
        components.append(
            answers.unanswered(observation.failure, restart, has_login=bool(settings.token))
        )
        return answers.health(observation, components, started=started)
    components += answers.answers(observation, clock)
    if observation.health is None:
        components.append(_link(observation, restart))
        return answers.health(observation, components, started=started)
    components += _stores(observation.health, restart)
    age = limit = None
    if observation.pulse is not None:
        age = clock.age(observation.pulse.at)
        limit = settings.silence or settings.intervals * observation.pulse.interval + 30
        if age < -60:
            components.append(
                critical(
                    "clock", f"is wrong: {settings.pulse} was executed {ago(age)}", "timedatectl"
                )
            )
        else:
            next_step = f"sensuctl event list; {restart}"
            components.append(answers.executor(settings.pulse, age, limit, next_step))
    elif observation.pulse_failure:
        is_ours = isinstance(observation.pulse_failure, (http.Rejected, answers.NotThere))
        components.append(
            (unknown if is_ours else critical)(
                "executor", f"cannot be judged: {observation.pulse_failure} (--pulse)"
            )
        )
    return answers.health(observation, components, started=started, age=age, limit=limit)


def _link(observation: Observation, restart: str) -> Component:
    """The agent's own word: `ok` and 200, or why not (agent API, /healthz)."""
    if observation.status == 200 and observation.body.strip().lower().startswith("ok"):
        return ok("backend link", "is connected")
    words = safe(observation.body, 80) or f"HTTP {observation.status}"
    return critical("backend link", f"is down, the agent reaches no backend: {words}", restart)


def _stores(health: Mapping[str, Any], restart: str) -> list[Component]:
    components = []
    alarms = health.get("Alarms") or []
    members = health.get("ClusterHealth") or []
    ill = [member for member in members if not member.get("Healthy")]
    if ill or alarms:
        why = safe(str((ill[0].get("Err") or "no reason given") if ill else alarms[0]), 120)
        names = ", ".join(safe(str(member.get("Name", "?")), 30) for member in ill[:3])
        what = (
            f"is unhealthy, {len(ill)} of {units.count(len(members), 'etcd member')} ({names}): "
            if ill
            else "has an etcd alarm: "
        )
        components.append(critical("store", what + why, f"sensuctl cluster health; {restart}"))
    else:
        components.append(ok("store", f"is healthy ({units.count(len(members), 'etcd member')})"))
    databases = health.get("PostgresHealth") or []
    for database in databases:
        name = safe(str(database.get("Name", "postgres")), 40)
        if database.get("Healthy") is False:
            components.append(
                critical("events", f"are not stored: PostgreSQL {name} is unhealthy", restart)
            )
        elif not database.get("Active"):
            components.append(
                warning("events", f"go to etcd: PostgreSQL {name} is not active", restart)
            )
    return components

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
from urllib.parse import quote

from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_measures,
    ago,
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
    url_of,
)
from twiceshy.monitor_liveness.monitors.processes import Process

BACKEND_PORT, AGENT_PORT = 8080, 3031


@dataclass(frozen=True)
class Executed:
    """When a check was last executed, and how often it should be; seconds."""

    at: float
    interval: float


def parse_health(text: str) -> Mapping[str, Any]:
    """GET /health; Trouble when it is not that."""
    with expected("the answer is not that of a Sensu backend"):
        health = json.loads(text)
        if not isinstance(health, dict) or "ClusterHealth" not in health:
            raise ValueError
        return health


def parse_event(text: str) -> Executed:
    """An event of the core/v2 API; Trouble when it is not that."""
    with expected("the answer is not a Sensu event"):
        check = json.loads(text)["check"]
        return Executed(float(check["executed"]), float(check.get("interval") or 60))


@dataclass(frozen=True)
class Sight:
    """One backend or agent in one look."""

    name: str
    kind: str
    url: str
    probe_seconds: float | None = None
    date: str = ""
    trouble: tuple[str, str] = ("", "")
    health: Mapping[str, Any] | None = None
    status: int = 200
    body: str = ""
    pulse: Executed | None = None
    pulse_trouble: tuple[str, str] = ("", "")
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance(
            process.program,
            process,
            port=BACKEND_PORT if process.program == "sensu-backend" else AGENT_PORT,
        )
        for process in table
        if process.program in ("sensu-backend", "sensu-agent")
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    is_backend = target.kind == "sensu-backend"
    url = url_of(target, BACKEND_PORT if is_backend else AGENT_PORT)
    seen = Sight(target.name, target.kind, url, main=target.main)
    try:
        answer = _ask(url + ("/health?timeout=2" if is_backend else "/healthz"), wishes)
        seen = replace(
            seen,
            probe_seconds=answer.seconds,
            date=answer.headers.get("Date", ""),
            status=answer.status,
            body=answer.text,
            health=parse_health(answer.text) if is_backend else None,
        )
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    if is_backend and wishes.pulse:
        entity, mark, check = wishes.pulse.replace("!", ";").partition(";")
        if not mark:
            raise CheckError(f"{wishes.pulse!r} names no event; type ENTITY;CHECK")
        where = f"{url}/api/core/v2/namespaces/{quote(wishes.namespace, safe='')}/events/"
        try:
            answer = _ask(f"{where}{quote(entity, safe='')}/{quote(check, safe='')}", wishes)
            if answer.status == 404:
                raise asking.Trouble("missing", f"there is no event {entity};{check}")
            seen = replace(seen, pulse=parse_event(answer.text))
        except asking.Trouble as trouble:
            seen = replace(seen, pulse_trouble=trouble.told)
    return seen


def _ask(url: str, wishes: Wishes) -> asking.Answer:
    key = {"Authorization": f"Key {wishes.token}"} if wishes.token else {}
    return ask(url, wishes, user="", token="", headers=key)


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    restart = f"journalctl -u {seen.kind} -n 50"
    organs = halted(seen.main)
    started = clock.age(seen.main.started) if seen.main else None
    if seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=restart, has_login=bool(wishes.token)))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, None, None), started)
    organs += answered(seen.probe_seconds, seen.date, clock)
    if seen.health is None:
        if seen.status == 200 and seen.body.strip().lower().startswith("ok"):
            organs.append(fine("backend link", "is connected"))
        else:
            words = safe(seen.body, 80) or f"HTTP {seen.status}"
            organs.append(
                dead("backend link", f"is down, the agent reaches no backend: {words}", restart)
            )
        return Seen(
            seen.name,
            tuple(organs),
            age_measures(seen.name, None, None, seen.probe_seconds),
            started,
        )
    organs += _stores(seen.health, restart)
    age = limit = None
    if seen.pulse is not None:
        age = clock.age(seen.pulse.at)
        limit = wishes.silence or wishes.intervals * seen.pulse.interval + 30
        if age < -60:
            organs.append(
                dead("clock", f"is wrong: {wishes.pulse} was executed {ago(age)}", "timedatectl")
            )
        elif age > limit:
            organs.append(
                dead(
                    "executor",
                    f"has not executed {wishes.pulse} for {ago(age)} (limit {ago(limit)})",
                    f"sensuctl event list; {restart}",
                )
            )
        else:
            organs.append(fine("executor", f"executed {wishes.pulse} {ago(max(0.0, age))} ago"))
    elif wishes.pulse:
        kind, text = seen.pulse_trouble
        say = unseen if kind in ("login", "forbidden", "missing") else dead
        organs.append(say("executor", f"cannot be judged: {text} (--pulse)"))
    return Seen(
        seen.name, tuple(organs), age_measures(seen.name, age, limit, seen.probe_seconds), started
    )


def _stores(health: Mapping[str, Any], restart: str) -> list[Organ]:
    organs = []
    alarms = health.get("Alarms") or []
    members = health.get("ClusterHealth") or []
    ill = [member for member in members if not member.get("Healthy")]
    if ill or alarms:
        why = safe(str((ill[0].get("Err") or "no reason given") if ill else alarms[0]), 120)
        names = ", ".join(safe(str(member.get("Name", "?")), 30) for member in ill[:3])
        what = (
            f"is ill, {len(ill)} of {len(members)} etcd members ({names}): "
            if ill
            else "has an etcd alarm: "
        )
        organs.append(dead("store", what + why, f"sensuctl cluster health; {restart}"))
    else:
        organs.append(fine("store", f"is well ({len(members)} etcd members)"))
    databases = health.get("PostgresHealth") or []
    for database in databases:
        name = safe(str(database.get("Name", "postgres")), 40)
        if database.get("Healthy") is False:
            organs.append(
                dead("events", f"are not stored: PostgreSQL {name} is unhealthy", restart)
            )
        elif not database.get("Active"):
            organs.append(poor("events", f"go to etcd: PostgreSQL {name} is not active", restart))
    return organs

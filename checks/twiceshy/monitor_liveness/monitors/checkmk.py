"""The Checkmk agent: does it send its whole output, and are its asynchronous plugins running?

From its documentation ("Monitoring Linux", "The agent's output"): sections begin with
`<<<name>>>`; those of asynchronous plugins carry `cached(AT,MAXAGE)`. An agent that hangs in a
section stops in the middle of its output, and the last header says where.
"""

from __future__ import annotations

import re
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
    ago,
    critical,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers, sockets
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

PORT = 6556
NEXT = "time check_mk_agent >/dev/null"

# What a registered agent sends first: the version of its TLS protocol.
TLS_GREETINGS = ("16", "17", "00", "99")
_SECTION = re.compile(r"(?m)^<<<([^:>]+)[^>]*>>>")
_CACHED = re.compile(r"(?m)^<<<([^:>]+):[^>]*?cached\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Sections:
    """An agent's output: its sections; of asynchronous ones, when and for how long they hold."""

    names: tuple[str, ...]
    cached: tuple[tuple[str, float, float], ...]


def parse_agent(text: str) -> Sections:
    """An agent's output; Forbidden when it wants TLS, Malformed when it has no section."""
    names = tuple(_SECTION.findall(text))
    if not names:
        if text[:2] in TLS_GREETINGS:
            raise http.Forbidden("the agent speaks only to its registered server (TLS)")
        raise http.Malformed("the answer is not that of a Checkmk agent")
    return Sections(
        names, tuple((n, float(at), float(age)) for n, at, age in _CACHED.findall(text))
    )


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One agent."""

    sections: Sections | None = None


def found(table: Sequence[Process]) -> list[Target]:
    """Every Checkmk agent controller of this host, by its process."""
    return [
        instance("checkmk-agent", process)
        for process in table
        if process.program == "cmk-agent-ctl" and "daemon" in process.cmdline
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Read the whole output of the agent."""
    address = (target.host or "127.0.0.1", target.port or PORT)
    observation = Observation(target.name, main=target.main)
    last: list[bytes] = []

    def is_enough(received: bytes) -> bool:
        last[:] = [received[-2000:]]
        return received in (b"16", b"17")

    try:
        answer = sockets.converse(address, b"", is_enough, settings.probe_seconds)
        sections = parse_agent(answer.text)
    except http.TimedOut:
        at = _SECTION.findall(last[0].decode("utf-8", "replace")) if last else []
        if at:
            failure = http.TimedOut(f"it hangs in its section {safe(at[-1], 60)}")
        return replace(observation, failure=failure)
    except http.HttpError as failure:
        return replace(observation, failure=failure)
    return replace(observation, seconds=answer.seconds, sections=sections)


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    overdue: float | None = None
    failure, sections = observation.failure, observation.sections
    if isinstance(failure, http.Closed):
        components.append(
            unknown("main loop", f"cannot be queried: {failure}; is this host in its ONLY_FROM?")
        )
    elif failure:
        components.append(answers.unanswered(failure, NEXT))
    elif sections is not None:
        took = ago(observation.seconds or 0)
        count = units.count(len(sections.names), "section")
        components.append(ok("main loop", f"answers {count} in {took}"))
        late = [s for s in sections.cached if clock.age(s[1]) > settings.intervals * s[2] + 60]
        overdue = float(len(late))
        if late:
            components.append(_behind(late, len(sections.cached), clock))
    return answers.health(
        observation,
        components,
        started=answers.process_age(observation, clock),
        overdue=overdue,
    )


def _behind(late: Sequence[tuple[str, float, float]], cached: int, clock: Clock) -> Component:
    name, at, hold = max(late, key=lambda section: clock.age(section[1]))
    return (critical if len(late) == cached else warning)(
        "executor",
        f"falls behind: {len(late)} of {cached} asynchronous sections are old, "
        f"{safe(name, 60)} by {ago(clock.age(at))} (valid for {ago(hold)})",
        NEXT,
    )

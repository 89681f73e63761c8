"""The Checkmk agent: does it talk to its end, and are its asynchronous plugins still running?

From its documentation ("Monitoring Linux", "The agent's output"): sections begin with
`<<<name>>>`; those of asynchronous plugins carry `cached(AT,MAXAGE)`. An agent that hangs in a
section stops in the middle of its output, and the last header says where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
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
from twiceshy.monitor_liveness.monitors.contact import halted, instance
from twiceshy.monitor_liveness.monitors.processes import Process

PORT = 6556
NEXT = "time check_mk_agent >/dev/null"
_SECTION = re.compile(r"(?m)^<<<([^:>]+)[^>]*>>>")
_CACHED = re.compile(r"(?m)^<<<([^:>]+):[^>]*?cached\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Said:
    """What an agent said: its sections; of asynchronous ones, when and for how long they hold."""

    sections: tuple[str, ...]
    cached: tuple[tuple[str, float, float], ...]


def parse_agent(text: str) -> Said:
    """An agent's output; Trouble when it has no section or wants TLS."""
    sections = tuple(_SECTION.findall(text))
    if not sections:
        if text[:2] in ("16", "17", "00", "99"):
            raise asking.Trouble(
                "forbidden", "the agent speaks only to its registered server (TLS)"
            )
        raise asking.Trouble("strange", "the answer is not that of a Checkmk agent")
    return Said(sections, tuple((n, float(at), float(age)) for n, at, age in _CACHED.findall(text)))


@dataclass(frozen=True)
class Sight:
    """One agent in one look."""

    name: str
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    said: Said | None = None
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance("checkmk-agent", process)
        for process in table
        if process.program == "cmk-agent-ctl" and "daemon" in process.argv
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    address = (target.host or "127.0.0.1", target.port or PORT)
    heard: list[bytes] = []

    def remember(received: bytes) -> bool:
        heard[:] = [received[-2000:]]
        return received in (b"16", b"17")

    try:
        answer = asking.converse(address, b"", remember, wishes.probe_seconds)
        said = parse_agent(answer.text)
    except asking.Trouble as trouble:
        text = trouble.text
        at = _SECTION.findall(heard[0].decode("utf-8", "replace")) if heard else []
        if trouble.kind == "hung" and at:
            text = f"it hangs in its section {safe(at[-1], 60)}"
        return Sight(target.name, trouble=(trouble.kind, text), main=target.main)
    return Sight(target.name, answer.seconds, said=said, main=target.main)


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    late: list[tuple[str, float, float]] = []
    if seen.trouble[0]:
        if seen.trouble[0] == "closed":
            organs.append(
                unseen(
                    "main loop",
                    f"cannot be asked: {seen.trouble[1]}; is this host in its ONLY_FROM?",
                )
            )
        else:
            organs.append(unanswered(*seen.trouble, next=NEXT))
    elif seen.said is not None:
        said = seen.said
        organs.append(
            fine(
                "main loop",
                f"answers {len(said.sections)} sections in {ago(seen.probe_seconds or 0)}",
            )
        )
        late = [s for s in said.cached if clock.age(s[1]) > wishes.intervals * s[2] + 60]
        if late:
            name, at, hold = max(late, key=lambda s: clock.age(s[1]))
            organs.append(
                (dead if len(late) == len(said.cached) else poor)(
                    "executor",
                    f"falls behind: {len(late)} of {len(said.cached)} asynchronous sections are "
                    f"old, "
                    f"{safe(name, 60)} by {ago(clock.age(at))} (holds {ago(hold)})",
                    NEXT,
                )
            )
    return Seen(
        seen.name,
        tuple(organs),
        age_measures(
            seen.name,
            None,
            None,
            seen.probe_seconds,
            overdue=float(len(late)) if seen.said else None,
        ),
        clock.age(seen.main.started) if seen.main else None,
    )

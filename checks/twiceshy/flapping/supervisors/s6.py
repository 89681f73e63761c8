"""s6: s6-svscan watches a directory, one s6-supervise keeps each service.

Reads SERVICE/supervise/status and SERVICE/supervise/death_tally, which s6-svdt(1) prints: the last
100 deaths (file max-death-tally: up to 4096), each with its exit code or signal, from the start of
s6-supervise on. That is an exact history without any state of our own. Deaths by the service's
down-signal are s6-svc's doing.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc: which
s6-supervise has which child, and how many page faults its dead children had. That finds what comes
and goes, without an exact count; it cannot tell a service that is stopped by hand from one that
waits for its next start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twiceshy.flapping.supervisors import (
    BETWEEN,
    BY_HAND,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    Ended,
    Place,
    Service,
    process,
    servicedir,
    witness,
)
from twiceshy.flapping.supervisors.process import Process
from twiceshy.flapping.supervisors.servicedir import Kept, Programs, Seen

if TYPE_CHECKING:
    from twiceshy.kit.stamps import Stamp

NAME = "s6"
NOT_ALLOWED = "not allowed to read supervise/, so deaths uncounted: run the check by sudo"
DEATHS_KEPT = 100  # s6-supervise's own default


# What the formats say


@dataclass(frozen=True)
class Status:
    """SERVICE/supervise/status (s6_svstatus_unpack.c)."""

    changed: float  # TAI seconds of the last start or death
    pid: int  # of the daemon, or of ./finish; 0: nothing runs
    wait_status: int  # of the last death
    wanted_up: bool
    is_paused: bool
    is_finishing: bool


@dataclass(frozen=True)
class Death:
    """One record of the death tally (s6_dtally_unpack.c)."""

    at: float  # TAI seconds
    exit_code: int
    signal: int  # 0: it exited


def parse_status(content: bytes) -> Status:
    """The 35 bytes of s6-supervise; 43 in 2.13, which kept a process group id in between.

    Until 2.10 the flag byte had two bits for the wanted state, 4 "wanted otherwise" and 8 "up";
    from 2.11 on it is 4 alone, and 8 is "ready" (which a service that finishes never is).
    ValueError for other lengths.
    """
    if len(content) not in (35, 43):
        raise ValueError("not a status file of s6-supervise")
    flags = content[-1]
    pid = int.from_bytes(content[24:32], "big")
    is_finishing = bool(flags & 2)
    is_old = bool(flags & 48) or (is_finishing and bool(flags & 8))
    return Status(
        changed=servicedir.tai64n(content[:12]),
        pid=pid,
        wait_status=int.from_bytes(content[-3:-1], "big"),
        wanted_up=bool(flags & 8) if is_old else bool(flags & 4),
        is_paused=bool(flags & 1),
        is_finishing=is_finishing,
    )


def parse_tally(content: bytes) -> list[Death]:
    """The deaths of a death_tally, oldest first; 14 bytes each. ValueError if it is cut."""
    if len(content) % 14:
        raise ValueError("not a death tally of s6-supervise")
    return [
        Death(servicedir.tai64n(content[at : at + 12]), content[at + 12], content[at + 13])
        for at in range(0, len(content), 14)
    ]


def ended(
    death: Death, age_seconds: float, down_signal: int, lasted_seconds: float | None = None
) -> Ended:
    """A life that ended, told by its death."""
    if death.signal:
        kind = BY_HAND if death.signal == down_signal else CRASH
        cause = f"signal {process.signal_name(death.signal)}"
    else:
        kind = CRASH if death.exit_code else CLEAN
        cause = f"exit status {death.exit_code}"
    return Ended(age_seconds, kind, cause, lasted_seconds)


def parse_down_signal(text: str) -> int:
    """The file down-signal: a name with or without SIG, or a number. SIGTERM if it is neither."""
    word = text.strip().upper()
    if word.isdigit():
        return int(word)
    try:
        return int(signal.Signals[word if word.startswith("SIG") else f"SIG{word}"])
    except KeyError:
        return int(signal.SIGTERM)


def gives_up(finish_script: str) -> bool:
    """Whether ./finish can tell s6-supervise not to start the service again (exit 125)."""
    return any(
        "125" in line or "s6-permafailon" in line
        for line in finish_script.splitlines()
        if not line.lstrip().startswith("#")
    )


def finish_exit(words: Sequence[str]) -> str:
    """The last exit by the arguments of a running ./finish (s6-supervise(1)), "" if it is none.

    The first is the exit code, 256 for a death by signal, the second the signal.
    """
    code, number = servicedir.finish_arguments(words)
    if not (code.isdigit() and number.isdigit()):
        return ""
    return witness.cause(int(number) if int(code) > 255 else int(code) << 8)


PROGRAMS = Programs(NAME, "s6-svscan", "s6-supervise", "s6-svdt", NOT_ALLOWED, finish_exit)


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The s6-svscans that run here, and the directories of s6-supervises that lost theirs."""
    return servicedir.found(PROGRAMS, proc, processes)


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The services of one s6-svscan or directory; log services are services like any other."""
    everyone = process.snapshot(proc) if processes is None else processes

    def inside(kept: Kept, status: Status, scanner: Process | None) -> Seen:
        return _from_inside(kept, status, now, proc, scanner)

    return servicedir.look(PROGRAMS, place, now, proc, everyone, parse_status, inside)


def _from_inside(
    kept: Kept, status: Status, now: Stamp, proc: Path, scanner: Process | None
) -> Seen:
    service = servicedir.named(PROGRAMS, kept, status.wanted_up)
    file = f"{kept.door}/supervise/status"
    if kept.keeper is None:
        pid = 0 if status.is_finishing else status.pid
        service = servicedir.deserted(service, "s6-supervise", bool(scanner), file, pid)
        return Seen(kept, None, service)
    daemon = None if status.is_finishing else servicedir.daemon(kept, status.pid, proc)
    if daemon is not None and daemon.is_alive:
        service = servicedir.alive(service, daemon, now.boot, proc)
    elif status.wanted_up:
        service = replace(service, state=BETWEEN)
    try:
        deaths = parse_tally(servicedir.content(f"{kept.door}/supervise/death_tally"))
    except (OSError, ValueError) as error:
        unseen = f"cannot read its death tally: {error}"
        return Seen(kept, daemon, replace(service, unseen=unseen))
    history = _history(deaths, kept, status, file, service, now)
    complete = process.age(kept.keeper, proc)  # the tally is begun anew with s6-supervise
    if len(deaths) >= _deaths_kept(kept):
        complete = min(complete, history[0].age_seconds) if history else complete
    if deaths and service.state != DOWN:
        service = replace(service, last_exit=history[-1].cause)
    elif deaths:
        service = replace(service, last_exit=history[-1].cause)
        if _gave_up(kept, history[-1]):
            reason = "its finish script told s6 not to start it again"
            service = replace(service, state=GAVE_UP, wanted_up=True, reason=reason)
    elif service.state == BETWEEN:
        # No death, and yet not up: ./run could not be started; tried again every 10 seconds.
        service = replace(
            service, reason=servicedir.not_startable(kept) or "its run script cannot be started"
        )
    return Seen(
        kept, daemon, replace(service, history=history, history_seconds=complete, exact=True)
    )


def _history(
    deaths: Sequence[Death], kept: Kept, status: Status, file: str, service: Service, now: Stamp
) -> tuple[Ended, ...]:
    """The deaths with their ages, whatever the clock did meanwhile.

    The stamps are wall clock plus what skalibs takes for TAI - UTC. But the newest death is
    before the current life, whose age is known exactly; and when nothing runs, the status file
    was written right after its own stamp.
    """
    if not deaths:
        return ()
    if service.age_seconds is not None:
        newest = service.age_seconds + max(0.0, status.changed - deaths[-1].at)
    else:
        try:
            newest = now.wall - os.stat(file).st_mtime + max(0.0, status.changed - deaths[-1].at)
        except OSError:
            newest = 0.0
    times = servicedir.ages([death.at for death in deaths], max(0.0, newest))
    signal_of_stop = _down_signal(kept)
    # s6-supervise starts a daemon at once that has lived for a second; then the time from one
    # death to the next is the life.
    between = [None, *(older - newer for older, newer in zip(times, times[1:]))]
    return tuple(
        ended(death, age_seconds, signal_of_stop, gap if gap and gap > 1.5 else None)
        for death, age_seconds, gap in zip(deaths, times, between)
    )


def _down_signal(kept: Kept) -> int:
    try:
        return parse_down_signal(servicedir.content(f"{kept.door}/down-signal").decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return int(signal.SIGTERM)


def _deaths_kept(kept: Kept) -> int:
    try:
        return min(4096, int(servicedir.content(f"{kept.door}/max-death-tally")))
    except (OSError, ValueError):
        return DEATHS_KEPT


def _gave_up(kept: Kept, last: Ended) -> bool:
    """Down for good by its finish script, rather than by s6-svc -d.

    Both look the same in the status file, so the script is asked whether it does such things.
    """
    if last.kind == BY_HAND or os.path.exists(f"{kept.door}/down"):
        return False
    try:
        return gives_up(servicedir.content(f"{kept.door}/finish").decode("utf-8", "replace"))
    except OSError:
        return False

"""s6: s6-svscan watches a directory, one s6-supervise runs each service.

Reads SERVICE/supervise/status and SERVICE/supervise/death_tally, which s6-svdt(1) prints: the last
100 deaths (file max-death-tally: up to 4096), each with its exit code or signal, from the start of
s6-supervise on. That is an exact history without any state of our own. Deaths by the service's
down-signal are s6-svc's doing.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc: which
s6-supervise has which child, and how many page faults its dead children had. That finds what comes
and goes, without an exact count; it cannot tell a stopped service from one that waits to
be restarted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    EndedLife,
    Exit,
    Service,
    exited,
)
from twiceshy.flapping.supervisors import (
    Instance,
    exit_statuses,
    running,
    service_directories,
    timestamps,
)
from twiceshy.flapping.supervisors.service_directories import (
    Programs,
    ServiceDirectory,
    Supervised,
)
from twiceshy.kit import processes
from twiceshy.kit.processes import Process, ProcessTable

NAME = "s6"
NOT_ALLOWED = "not allowed to read supervise/, so deaths are not counted: run the check with sudo"
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
        changed=timestamps.tai64n(content[:12]),
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
        Death(timestamps.tai64n(content[at : at + 12]), content[at + 12], content[at + 13])
        for at in range(0, len(content), 14)
    ]


def ended(
    death: Death, age_seconds: float, down_signal: int, lasted_seconds: float | None = None
) -> EndedLife:
    """The life that a death ended; a death by the down signal is the operator's doing."""
    if death.signal:
        kind = MANUAL if death.signal == down_signal else CRASH
        how = Exit(f"signal {processes.signal_name(death.signal)}")
        return EndedLife(age_seconds, kind, how, lasted_seconds)
    kind = CRASH if death.exit_code else CLEAN
    return EndedLife(age_seconds, kind, exited(death.exit_code), lasted_seconds)


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


def finish_exit(argv: Sequence[str]) -> Exit:
    """The last exit by the arguments of a running ./finish (s6-supervise(1)), NO_EXIT if none is.

    The first is the exit code, 256 for a death by signal, the second the signal.
    """
    code, number = service_directories.finish_arguments(argv)
    if not (code.isdigit() and number.isdigit()):
        return NO_EXIT
    return exit_statuses.exit_of(int(number) if int(code) > 255 else int(code) << 8)


PROGRAMS = Programs(NAME, "s6-svscan", "s6-supervise", "s6-svdt", NOT_ALLOWED, finish_exit)


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The s6-svscans that run here, and the directories of s6-supervises that lost theirs."""
    return service_directories.instances(PROGRAMS, table)


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The services of one s6-svscan or directory; log services are services like any other."""
    seen = service_directories.observed(
        PROGRAMS,
        instance,
        table,
        parse_status,
        lambda directory, status, scanner: [_by_status(directory, status, scanner, table)],
        lambda directory, scanner: service_directories.only_child(
            PROGRAMS, directory, scanner, table
        ),
    )
    return service_directories.watched(service_directories.with_logs(seen), table)


def _by_status(
    directory: ServiceDirectory, status: Status, scanner: Process | None, table: ProcessTable
) -> Supervised:
    service = service_directories.unknown(PROGRAMS, directory, status.wanted_up)
    if directory.keeper is None:
        pid = 0 if status.is_finishing else status.pid
        file = directory.file("supervise/status")
        service = service_directories.without_keeper(
            PROGRAMS, service, bool(scanner), file, pid, table
        )
        return Supervised(directory, None, service)
    daemon = None
    if not status.is_finishing:
        daemon = service_directories.daemon(directory, status.pid, table)
    if daemon is not None and daemon.is_alive:
        service = running(service, daemon, table)
    elif status.wanted_up:
        service = replace(service, state=BETWEEN)
    try:
        deaths = parse_tally(service_directories.content(directory.file("supervise/death_tally")))
    except OSError as error:
        unseen = f"cannot read its death tally: {error.strerror}"
        return Supervised(directory, daemon, replace(service, unseen=unseen))
    except ValueError as error:
        unseen = f"cannot read its death tally: {error}"
        return Supervised(directory, daemon, replace(service, unseen=unseen))
    service = _with_history(service, deaths, directory, status, table)
    # The tally starts over with s6-supervise.
    complete = table.age(directory.keeper)
    if len(deaths) >= _deaths_kept(directory) and service.history:
        complete = min(complete, service.history[0].age_seconds)
    return Supervised(directory, daemon, replace(service, history_seconds=complete, exact=True))


def _with_history(
    service: Service,
    deaths: Sequence[Death],
    directory: ServiceDirectory,
    status: Status,
    table: ProcessTable,
) -> Service:
    """A service with its deaths, and with what the last one, or that there is none, means."""
    history = _history(deaths, directory, status, service, table)
    service = replace(service, history=history)
    if history:
        service = replace(service, last_exit=history[-1].exit)
        if service.state == DOWN and _gave_up(directory, history[-1]):
            reason = "its finish script told s6 not to restart it"
            return replace(service, state=GAVE_UP, wanted_up=True, reason=reason)
        return service
    if service.state == BETWEEN:
        # No death, and yet not up: ./run could not be started; tried again every 10 seconds.
        reason = service_directories.not_startable(directory)
        return replace(service, reason=reason or "its run script cannot be started")
    return service


def _history(
    deaths: Sequence[Death],
    directory: ServiceDirectory,
    status: Status,
    service: Service,
    table: ProcessTable,
) -> tuple[EndedLife, ...]:
    """The deaths with their ages, whatever the clock did meanwhile.

    The stamps are wall clock plus what skalibs takes for TAI - UTC. But the newest death is
    before the current life, whose age is known exactly; and when nothing runs, the status file
    was written right after its own stamp.
    """
    if not deaths:
        return ()
    since_death = max(0.0, status.changed - deaths[-1].at)
    if service.age_seconds is not None:
        newest = service.age_seconds + since_death
    else:
        try:
            written = os.stat(directory.file("supervise/status")).st_mtime
            newest = table.now.wall - written + since_death
        except OSError:
            newest = 0.0
    ages = timestamps.ages([death.at for death in deaths], max(0.0, newest))
    signal_of_stop = _down_signal(directory)
    # s6-supervise starts a daemon at once that has lived for a second; then the time from one
    # death to the next is the life.
    between = [None, *(older - newer for older, newer in zip(ages, ages[1:]))]
    return tuple(
        ended(death, age_seconds, signal_of_stop, gap if gap and gap > 1.5 else None)
        for death, age_seconds, gap in zip(deaths, ages, between)
    )


def _down_signal(directory: ServiceDirectory) -> int:
    try:
        named = service_directories.content(directory.file("down-signal"))
        return parse_down_signal(named.decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return int(signal.SIGTERM)


def _deaths_kept(directory: ServiceDirectory) -> int:
    try:
        return min(4096, int(service_directories.content(directory.file("max-death-tally"))))
    except (OSError, ValueError):
        return DEATHS_KEPT


def _gave_up(directory: ServiceDirectory, last: EndedLife) -> bool:
    """Down for good by its finish script, rather than by s6-svc -d.

    Both look the same in the status file, so the script is asked whether it does such things.
    """
    if last.kind == MANUAL or os.path.exists(directory.file("down")):
        return False
    try:
        script = service_directories.content(directory.file("finish"))
    except OSError:
        return False
    return gives_up(script.decode("utf-8", "replace"))

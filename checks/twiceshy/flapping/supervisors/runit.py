"""runit: runsvdir watches a directory, one runsv keeps each service.

Reads SERVICE/supervise/status (20 bytes, runsv.c) and, by /proc, the children of runsv. runit keeps
neither a count nor an exit status: lives are told apart by the daemon's pid and start ticks, and
the exit status is witnessed (`servicedir.witness`) or read off a running finish script.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc: which runsv
has which child, and how many page faults its dead children had. That finds what comes and goes; it
cannot tell a service that is stopped by hand from one that waits for its next start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twiceshy.flapping.supervisors import (
    BETWEEN,
    DOWN,
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

NAME = "runit"


# What the format says


@dataclass(frozen=True)
class Status:
    """SERVICE/supervise/status (runsv.c, update_status)."""

    changed: float  # TAI seconds of the last start or death
    pid: int  # 0: nothing runs
    wanted_up: bool
    is_paused: bool
    is_finishing: bool  # ./finish runs, not the daemon


def parse_status(content: bytes) -> Status:
    """The 20 bytes of runsv. ValueError if they are no such thing."""
    if len(content) != 20 or content[17:18] not in b"ud" or content[19] > 2:
        raise ValueError("not a status file of runsv")
    return Status(
        changed=servicedir.tai64n(content[:12]),
        pid=int.from_bytes(content[12:16], "little"),
        wanted_up=content[17:18] == b"u",
        is_paused=bool(content[16]),
        is_finishing=content[19] == 2,
    )


def finish_exit(words: Sequence[str]) -> str:
    """The last exit by the arguments of a running ./finish (runsv(8)), "" if it is none.

    The first is the exit code, -1 for a death by signal, the second the low byte of the status.
    """
    code, status = servicedir.finish_arguments(words)
    try:
        return witness.cause(int(status) & 0x7F if int(code) < 0 else int(code) << 8)
    except ValueError:
        return ""


PROGRAMS = Programs(NAME, "runsvdir", "runsv", "sv status", servicedir.NOT_ALLOWED, finish_exit)


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The runsvdirs that run here, and the directories of runsvs that have lost theirs."""
    return servicedir.found(PROGRAMS, proc, processes)


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The services of one runsvdir or directory, each with its log service."""
    everyone = process.snapshot(proc) if processes is None else processes
    scanner = everyone.get(place.pid) if place.pid else None
    seen: list[Seen] = []
    for kept in servicedir.services(PROGRAMS, place, proc, everyone):
        try:
            status = parse_status(servicedir.content(f"{kept.door}/supervise/status"))
        except (FileNotFoundError, PermissionError):
            seen += _from_outside(kept, now.boot, proc, scanner)
        except (OSError, ValueError):
            seen.append(servicedir.unreadable(PROGRAMS, kept))
        else:
            seen += _from_inside(kept, status, now.boot, proc, scanner)
    return servicedir.with_witnessed(seen, now.boot, proc)


def _from_inside(
    kept: Kept, status: Status, boot: str, proc: Path, scanner: Process | None
) -> list[Seen]:
    """A service, and its log service if it has one, by the status files."""
    seen: list[Seen] = []
    logger: Process | None = None
    children = kept.children
    try:
        log_status = parse_status(servicedir.content(f"{kept.door}/log/supervise/status"))
    except (OSError, ValueError):
        log_status = None
    if log_status is not None:
        logger = servicedir.daemon(kept, log_status.pid, proc)
        log = replace(kept, name=f"{kept.name}/log", path=f"{kept.path}/log")
        seen.append(_judged(log, log_status, logger, boot, proc, scanner))
        children = tuple(child for child in children if logger is None or child.pid != logger.pid)
    main = servicedir.daemon(replace(kept, children=children), status.pid, proc)
    one = _judged(kept, status, main, boot, proc, scanner)
    service = one.service
    if kept.keeper is not None and log_status is None:
        # With a log service runsv reaps two kinds of children, and the count tells nothing.
        service = replace(service, reaped_faults=kept.keeper.cminflt)
    if service.state == BETWEEN and not service.reason:
        service = replace(service, reason=servicedir.not_startable(kept))
    if servicedir.is_talked_about(service):
        service = replace(
            service, log=servicedir.said(kept.door, logger, scanner, servicedir.SAID_LINES)
        )
    return [replace(one, service=service), *seen]


def _judged(
    kept: Kept,
    status: Status,
    daemon: Process | None,
    boot: str,
    proc: Path,
    scanner: Process | None,
) -> Seen:
    """One service as its status file and its process tell."""
    service = servicedir.named(PROGRAMS, kept, status.wanted_up)
    if kept.keeper is None:
        file = f"{kept.path}/supervise/status"
        return Seen(
            kept, None, servicedir.deserted(service, "runsv", bool(scanner), file, status.pid)
        )
    if status.is_finishing:
        last_exit = finish_exit(daemon.cmdline) if daemon else ""
        state = BETWEEN if status.wanted_up else DOWN
        service = replace(service, state=state, last_exit=last_exit)
    elif daemon is not None and daemon.is_alive:
        service = servicedir.alive(service, daemon, boot, proc)
    elif status.wanted_up:
        service = replace(service, state=BETWEEN)
    return Seen(kept, daemon, service)


def _from_outside(kept: Kept, boot: str, proc: Path, scanner: Process | None) -> list[Seen]:
    """A service, and its log service if it has one, by /proc alone."""
    service = servicedir.closed(PROGRAMS, kept, scanner)
    if kept.keeper is None:
        return [Seen(kept, None, service)]
    seen: list[Seen] = []
    main, logger = _told_apart(kept, proc)
    if logger is not None:
        log = replace(service, name=f"{kept.name}/log", reaped_faults=None)
        log = servicedir.from_outside(PROGRAMS, log, logger, boot, proc)
        seen.append(Seen(kept, logger, log))
    service = servicedir.from_outside(PROGRAMS, service, main, boot, proc)
    service = replace(service, log=servicedir.said("", None, scanner, servicedir.SAID_LINES))
    return [Seen(kept, main, service), *seen]


def _told_apart(kept: Kept, proc: Path) -> tuple[Process | None, Process | None]:
    """(daemon, its logger) among the children of a runsv that does not say which is which.

    runsv starts the log service first. When only one child is there, the other is dead: the
    logger is that which is called like one, or which is as old as runsv, if there is one at all.
    """
    children = list(kept.children)
    logger = next((child for child in children if servicedir.is_logger(child)), None)
    if logger is None and len(children) > 1:
        logger = children[0]
    elif logger is None and children and kept.keeper and os.path.isdir(f"{kept.path}/log"):
        age_seconds = process.age(kept.keeper, proc)
        if age_seconds > 10 and age_seconds - process.age(children[0], proc) < 5:
            logger = children[0]
    others = [child for child in children if child is not logger]
    return (others[-1] if others else None), logger

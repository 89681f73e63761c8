"""daemontools: svscan watches a directory, one supervise keeps each service and each log.

Reads SERVICE/supervise/status (18 bytes, supervise.c) and, by /proc, the child of supervise. There
is neither a count nor an exit status. supervise waits a second after each fork before it reaps, so
a program that dies at once always looks up with a pid: that pid is a zombie, whose exit status root
may read.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc, cannot tell
a service stopped by hand from one that waits for its next start, and may name a log service after
the wrong neighbour (`supervise log` does not say whose it is).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twiceshy.supervisors import BETWEEN, DOWN, UNSEEN, Place, Service, process, servicedir
from twiceshy.supervisors.process import Process
from twiceshy.supervisors.servicedir import Kept, Programs, Seen

if TYPE_CHECKING:
    from twiceshy.history import Stamp

NAME = "daemontools"
PROGRAMS = Programs(NAME, "svscan", "supervise")
LOG_LINES = 3
NOT_ALLOWED = "not allowed to read supervise/, so wanted state unseen: run the check by sudo"


# What the format says


@dataclass(frozen=True)
class Status:
    """SERVICE/supervise/status (supervise.c, pidchange and announce)."""

    changed: float  # TAI seconds of the last start or death
    pid: int  # 0: nothing runs
    wanted_up: bool | None  # None: once, or as it is
    is_paused: bool


def parse_status(content: bytes) -> Status:
    """The 18 bytes of supervise. ValueError if they are no such thing."""
    if len(content) != 18 or content[17:18] not in (b"u", b"d", b"\0"):
        raise ValueError("not a status file of supervise")
    return Status(
        changed=servicedir.tai64n(content[:12]),
        pid=int.from_bytes(content[12:16], "little"),
        wanted_up={b"u": True, b"d": False}.get(content[17:18]),
        is_paused=bool(content[16]),
    )


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The svscans that run here, and the directories of supervises that have lost theirs."""
    return servicedir.found(PROGRAMS, proc, processes)


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The services of one svscan or directory, each with its log service."""
    everyone = process.snapshot(proc) if processes is None else processes
    scanner = everyone.get(place.pid) if place.pid else None
    titles = [p for p in everyone.values() if p.comm == "readproctitle"]
    title = titles[0] if len(titles) == 1 else None
    kept_services = servicedir.services(PROGRAMS, place, proc, everyone)
    loggers = {
        kept.name[: -len("/log")]: kept.children[0]
        for kept in kept_services
        if kept.name.endswith("/log") and kept.children
    }
    seen: list[Seen] = []
    for kept in kept_services:
        try:
            status = parse_status(servicedir.content(f"{kept.door}/supervise/status"))
        except (FileNotFoundError, PermissionError):
            one = _from_outside(kept, now.boot, proc, scanner)
        except (OSError, ValueError):
            one = Seen(kept, None, _unreadable(kept))
        else:
            one = _from_inside(kept, status, now.boot, proc, scanner)
        service = one.service
        if servicedir.is_talked_about(service):
            log = servicedir.said(kept.door, loggers.get(kept.name), title, LOG_LINES)
            service = replace(service, log=log)
        seen.append(replace(one, service=service))
    return servicedir.with_witnessed(seen, now.boot, proc)


def _from_inside(
    kept: Kept, status: Status, boot: str, proc: Path, scanner: Process | None
) -> Seen:
    service = Service(kept.name, NAME, DOWN, status.wanted_up, next=_next(kept))
    if kept.keeper is None:
        file = f"{kept.path}/supervise/status"
        service = servicedir.deserted(service, "supervise", bool(scanner), file, status.pid)
        return Seen(kept, None, service)
    service = replace(service, reaped_faults=kept.keeper.cminflt)
    daemon = servicedir.daemon(kept, status.pid, proc)
    if daemon is not None and daemon.is_alive:
        service = servicedir.alive(service, daemon, boot, proc)
    elif status.wanted_up is not False and (status.pid or status.wanted_up):
        # A pid that is a zombie: svstat says "up (pid 2301) 0 seconds".
        service = replace(service, state=BETWEEN, reason=servicedir.not_startable(kept))
    return Seen(kept, daemon, service)


def _from_outside(kept: Kept, boot: str, proc: Path, scanner: Process | None) -> Seen:
    service = Service(kept.name, NAME, DOWN, None, unseen=NOT_ALLOWED, next=_next(kept))
    if kept.keeper is None:
        reason = "" if scanner else "no supervise keeps it"
        return Seen(kept, None, replace(service, reason=reason))
    service = replace(service, reaped_faults=kept.keeper.cminflt)
    child = kept.children[-1] if kept.children else None
    return Seen(kept, child, servicedir.from_outside(service, child, boot, proc))


def _unreadable(kept: Kept) -> Service:
    unseen = f"{kept.path}/supervise/status is not a status file of supervise"
    return Service(kept.name, NAME, UNSEEN, None, unseen=unseen, next=_next(kept))


def _next(kept: Kept) -> str:
    return f"svstat {kept.path or kept.name}"

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

from twiceshy.flapping.supervisors import BETWEEN, Place, Service, process, servicedir
from twiceshy.flapping.supervisors.process import Process
from twiceshy.flapping.supervisors.servicedir import Kept, Programs, Seen

if TYPE_CHECKING:
    from twiceshy.kit.stamps import Stamp

NAME = "daemontools"
PROGRAMS = Programs(NAME, "svscan", "supervise", "svstat", servicedir.NOT_ALLOWED)


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
    titles = [p for p in everyone.values() if p.comm == "readproctitle"]

    def inside(kept: Kept, status: Status, scanner: Process | None) -> Seen:
        return _from_inside(kept, status, now.boot, proc, scanner)

    title = titles[0] if len(titles) == 1 else None
    return servicedir.look(PROGRAMS, place, now, proc, everyone, parse_status, inside, title)


def _from_inside(
    kept: Kept, status: Status, boot: str, proc: Path, scanner: Process | None
) -> Seen:
    service = servicedir.named(PROGRAMS, kept, status.wanted_up)
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

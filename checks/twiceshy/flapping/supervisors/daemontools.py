"""daemontools: svscan watches a directory, one supervise runs each service and each log.

Reads SERVICE/supervise/status (18 bytes, supervise.c) and, by /proc, the child of supervise. There
is neither a count nor an exit status. supervise waits a second after each fork before it reaps, so
a program that dies at once always looks up with a pid: that pid is a zombie, whose exit status root
may read.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc, cannot tell
a stopped service from one that waits to be restarted, and may name a log service after the wrong
neighbour (`supervise log` does not say whose it is).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from twiceshy.flapping.service import BETWEEN, Service
from twiceshy.flapping.supervisors import Instance, running, service_directories, timestamps
from twiceshy.flapping.supervisors.service_directories import (
    Programs,
    ServiceDirectory,
    Supervised,
)
from twiceshy.kit.processes import Process, ProcessTable

NAME = "daemontools"
PROGRAMS = Programs(NAME, "svscan", "supervise", "svstat", service_directories.NOT_ALLOWED)


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
        changed=timestamps.tai64n(content[:12]),
        pid=int.from_bytes(content[12:16], "little"),
        wanted_up={b"u": True, b"d": False}.get(content[17:18]),
        is_paused=bool(content[16]),
    )


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The svscans that run here, and the directories of supervises that have lost theirs."""
    return service_directories.instances(PROGRAMS, table)


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The services of one svscan or directory, each with its log service."""
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
    titles = [process for process in table.processes.values() if process.comm == "readproctitle"]
    title = titles[0] if len(titles) == 1 else None
    return service_directories.watched(service_directories.with_logs(seen, title), table)


def _by_status(
    directory: ServiceDirectory, status: Status, scanner: Process | None, table: ProcessTable
) -> Supervised:
    service = service_directories.unknown(PROGRAMS, directory, status.wanted_up)
    if directory.keeper is None:
        file = f"{directory.path}/supervise/status"
        service = service_directories.without_keeper(
            PROGRAMS, service, bool(scanner), file, status.pid, table
        )
        return Supervised(directory, None, service)
    service = replace(service, reaped_faults=directory.keeper.reaped_faults)
    daemon = service_directories.daemon(directory, status.pid, table)
    if daemon is not None and daemon.is_alive:
        service = running(service, daemon, table)
    elif status.wanted_up is not False and (status.pid or status.wanted_up):
        # A pid that is a zombie: svstat says "up (pid 2301) 0 seconds".
        reason = service_directories.not_startable(directory)
        service = replace(service, state=BETWEEN, reason=reason)
    return Supervised(directory, daemon, service)

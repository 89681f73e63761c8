"""runit: runsvdir watches a directory, one runsv runs each service.

Reads SERVICE/supervise/status (20 bytes, runsv.c) and, by /proc, the children of runsv. runit keeps
neither a count nor an exit status: lives are told apart by the daemon's pid and start ticks, and
the exit status is watched for (`exit_statuses`) or read off a running finish script.

Rights: root sees all. SERVICE/supervise is 0700, so any other user is left with /proc: which runsv
has which child, and how many page faults its dead children had. That finds what comes and goes; it
cannot tell a stopped service from one that waits to be restarted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.flapping.service import BETWEEN, DOWN, NO_EXIT, Exit, Service
from twiceshy.flapping.supervisors import (
    Instance,
    exit_statuses,
    log_lines,
    running,
    service_directories,
    timestamps,
)
from twiceshy.flapping.supervisors.service_directories import (
    Programs,
    ServiceDirectory,
    Supervised,
)
from twiceshy.kit.processes import Process, ProcessTable

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
        changed=timestamps.tai64n(content[:12]),
        pid=int.from_bytes(content[12:16], "little"),
        wanted_up=content[17:18] == b"u",
        is_paused=bool(content[16]),
        is_finishing=content[19] == 2,
    )


def finish_exit(argv: Sequence[str]) -> Exit:
    """The last exit by the arguments of a running ./finish (runsv(8)), NO_EXIT if it is none.

    The first is the exit code, -1 for a death by signal, the second the low byte of the status.
    """
    code, status = service_directories.finish_arguments(argv)
    try:
        return exit_statuses.exit_of(int(status) & 0x7F if int(code) < 0 else int(code) << 8)
    except ValueError:
        return NO_EXIT


PROGRAMS = Programs(
    NAME, "runsvdir", "runsv", "sv status", service_directories.NOT_ALLOWED, finish_exit
)


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The runsvdirs that run here, and the directories of runsvs that have lost theirs."""
    return service_directories.instances(PROGRAMS, table)


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The services of one runsvdir or directory, each with its log service."""
    seen = service_directories.observed(
        PROGRAMS,
        instance,
        table,
        parse_status,
        lambda directory, status, scanner: _by_status(directory, status, scanner, table),
        lambda directory, scanner: _by_processes(directory, scanner, table),
    )
    return service_directories.watched(seen, table)


def _by_status(
    directory: ServiceDirectory, status: Status, scanner: Process | None, table: ProcessTable
) -> list[Supervised]:
    """A service, and its log service if it has one, by the status files."""
    seen: list[Supervised] = []
    logger: Process | None = None
    children = directory.children
    try:
        log_status = parse_status(
            service_directories.content(directory.file("log/supervise/status"))
        )
    except (OSError, ValueError):
        log_status = None
    if log_status is not None:
        logger = service_directories.daemon(directory, log_status.pid, table)
        log = replace(directory, name=f"{directory.name}/log", path=f"{directory.path}/log")
        seen.append(_of_process(log, log_status, logger, scanner, table))
        children = tuple(child for child in children if logger is None or child.pid != logger.pid)
    main = service_directories.daemon(replace(directory, children=children), status.pid, table)
    supervised = _of_process(directory, status, main, scanner, table)
    service = supervised.service
    if directory.keeper is not None and log_status is None:
        # With a log service runsv reaps two kinds of children, and the count says nothing.
        service = replace(service, reaped_faults=directory.keeper.reaped_faults)
    if service.state == BETWEEN and not service.reason:
        service = replace(service, reason=service_directories.not_startable(directory))
    if log_lines.are_wanted(service):
        lines = log_lines.of_service(directory.via_root, logger, scanner)
        service = replace(service, log=lines)
    return [replace(supervised, service=service), *seen]


def _of_process(
    directory: ServiceDirectory,
    status: Status,
    daemon: Process | None,
    scanner: Process | None,
    table: ProcessTable,
) -> Supervised:
    """One service by its status file and its process."""
    service = service_directories.unknown(PROGRAMS, directory, status.wanted_up)
    if directory.keeper is None:
        file = f"{directory.path}/supervise/status"
        service = service_directories.without_keeper(
            PROGRAMS, service, bool(scanner), file, status.pid, table
        )
        return Supervised(directory, None, service)
    if status.is_finishing:
        last_exit = finish_exit(daemon.cmdline) if daemon else NO_EXIT
        state = BETWEEN if status.wanted_up else DOWN
        service = replace(service, state=state, last_exit=last_exit)
    elif daemon is not None and daemon.is_alive:
        service = running(service, daemon, table)
    elif status.wanted_up:
        service = replace(service, state=BETWEEN)
    return Supervised(directory, daemon, service)


def _by_processes(
    directory: ServiceDirectory, scanner: Process | None, table: ProcessTable
) -> list[Supervised]:
    """A service, and its log service if it has one, by /proc alone."""
    service = service_directories.closed(PROGRAMS, directory, bool(scanner))
    if directory.keeper is None:
        return [Supervised(directory, None, service)]
    seen: list[Supervised] = []
    main, logger = _told_apart(directory, table)
    if logger is not None:
        log = replace(service, name=f"{directory.name}/log", reaped_faults=None)
        log = service_directories.by_child(PROGRAMS, log, logger, table)
        seen.append(Supervised(directory, logger, log))
    service = service_directories.by_child(PROGRAMS, service, main, table)
    service = replace(service, log=log_lines.of_service("", None, scanner))
    return [Supervised(directory, main, service), *seen]


def _told_apart(
    directory: ServiceDirectory, table: ProcessTable
) -> tuple[Process | None, Process | None]:
    """(daemon, its logger) among the children of a runsv that does not say which is which.

    runsv starts the log service first. When only one child is there, the other is dead: the
    logger is that which has a logger's name, or which is as old as runsv, if there is one at all.
    """
    children = list(directory.children)
    logger = next((child for child in children if log_lines.is_logger(child)), None)
    if logger is None and len(children) > 1:
        logger = children[0]
    elif logger is None and children and directory.keeper and _has_log(directory):
        age_seconds = table.age(directory.keeper)
        if age_seconds > 10 and age_seconds - table.age(children[0]) < 5:
            logger = children[0]
    others = [child for child in children if child is not logger]
    return (others[-1] if others else None), logger


def _has_log(directory: ServiceDirectory) -> bool:
    return os.path.isdir(f"{directory.path}/log")

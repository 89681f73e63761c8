"""A supervisor that is one process for all of its services: perpd, supervisord, monit.

It is asked, and it may not answer. supervisord and perpd fork every daemon themselves: a user who
may not ask them is left with their children in /proc, which have no names and no wanted state, but
pids, start ticks and command lines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from twiceshy.flapping.service import BETWEEN, GAVE_UP, NO_EXIT, UNSEEN, Service
from twiceshy.flapping.supervisors import exit_statuses, running
from twiceshy.kit import processes
from twiceshy.kit.processes import Process, ProcessTable

INTERPRETERS = ("sh", "bash", "dash", "ash", "env", "perl", "ruby", "node", "php", "java")


@dataclass(frozen=True)
class Daemon:
    """What one of these supervisors is called, and the command that shows what it knows."""

    supervisor: str
    program: str
    status: str


class Unobservable(Exception):
    """It cannot be queried by this user, or nowhere; the text says what to do about that."""


class Unresponsive(Exception):
    """It runs and does not answer, which is its own outage; the text says how it fails."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"does not answer at {address}: {why}")


def services(
    daemon: Daemon,
    ask: Callable[[], list[Service]],
    without_asking: Callable[[str], list[Service]] = lambda why: [],
) -> list[Service]:
    """The services that `ask` returns, or what there is to say about the supervisor itself.

    `ask` raises Unobservable or Unresponsive; `without_asking` is what can be seen in the first
    case, each service with the reason why it is no more.
    """
    try:
        return ask()
    except Unobservable as error:
        unseen = Service(daemon.program, daemon.supervisor, UNSEEN, None, unseen=str(error))
        return without_asking(str(error)) or [unseen]
    except Unresponsive as error:
        silent = Service(
            daemon.program, daemon.supervisor, GAVE_UP, True, reason=str(error), next=daemon.status
        )
        return [silent]


# Its configuration


def configured(argv: Sequence[str]) -> str:
    """The file that a command line names with -c, "" if none."""
    for at, word in enumerate(argv):
        if word in ("-c", "--configuration"):
            return argv[at + 1] if at + 1 < len(argv) else ""
        if word.startswith("--configuration="):
            return word.partition("=")[2]
        if word.startswith("-c") and not word.startswith("--"):
            return word[2:]
    return ""


def configuration(process: Process, usual: Sequence[str], table: ProcessTable) -> str:
    """The configuration file of a daemon: the one it was given, else the first usual one there."""
    file = configured(process.cmdline)
    if file and not file.startswith("/"):
        try:
            here = os.readlink(processes.working_directory(process.pid, table.proc))
            file = os.path.join(here, file)
        except OSError:
            file = ""
    return file or next((path for path in usual if os.path.exists(path)), "")


# Its children


def name_of_command(argv: Sequence[str], comm: str) -> str:
    """A name for a command line: the script or the program, without its path."""
    for at, word in enumerate(argv):
        base = word.rpartition("/")[2]
        if not base or word.startswith("-") or (at and "=" in word and "/" not in word):
            continue
        if base in INTERPRETERS or base.startswith("python"):
            if at + 1 < len(argv) and argv[at + 1].startswith("-c"):
                break
            continue
        return base.rstrip(":")
    return argv[0].rpartition("/")[2] if argv and argv[0] else comm


def children(
    parent: int,
    supervisor: str,
    why: str,
    table: ProcessTable,
    name_of: Callable[[Process], str],
) -> list[Service]:
    """The children of one process, as services with names by `name_of`; "" is none of the daemons.

    Children of one name are one service, and its life is that of the youngest: the restart of any
    of them makes a new youngest, while numbers would move from one to the next. `why` no more can
    be seen of them.
    """
    groups: dict[str, list[Process]] = {}
    for child in _children_for_a_while(parent, table):
        name = name_of(child)
        if name:
            groups.setdefault(name, []).append(child)
    youngest = {
        name: max(members, key=lambda member: (member.ticks, member.pid))
        for name, members in groups.items()
    }
    found = []
    for name, process in sorted(youngest.items()):
        service = Service(name, supervisor, BETWEEN, True, unseen=why)
        found.append(running(service, process, table) if process.is_alive else service)
    suspects = [
        youngest[service.name].pid
        for service in found
        if (service.age_seconds or 0.0) < exit_statuses.YOUNG_SECONDS
    ]
    ends = exit_statuses.of_processes(
        suspects[: exit_statuses.MOST_WATCHED],
        table,
        exit_statuses.watching_seconds(exit_statuses.YOUNG_SECONDS),
    )
    return [
        replace(service, last_exit=ends.get(youngest[service.name].pid, NO_EXIT))
        for service in found
    ]


def _children_for_a_while(parent: int, table: ProcessTable) -> Iterator[Process]:
    """The children of the snapshot, and those that are born while we watch for a moment.

    A daemon that is between two lives just now, or held back before its next one, would be missed.
    """
    forked = table.processes[parent].comm if parent in table.processes else ""
    seen = {child.pid: child for child in table.processes.values() if child.ppid == parent}
    end = time.monotonic() + exit_statuses.watching_seconds(exit_statuses.WATCHED_SECONDS)
    while table.is_real and time.monotonic() < end:
        for pid in exit_statuses.children_of(parent, table):
            # What is still called like its parent has not become the program yet.
            if pid not in seen or seen[pid].comm == forked:
                child = processes.read(pid, table.proc)
                if child is not None and child.ppid == parent:
                    seen[pid] = child
        time.sleep(exit_statuses.POLL_SECONDS * 5)
    yield from seen.values()

"""A supervisor that is one process for all of its services: perpd, supervisord, monit.

It is asked, and it may be silent. supervisord and perpd fork every daemon themselves: a user who
may not ask them is left with their children in /proc, which have no names and no wanted state, but
pids, start ticks and command lines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

from twiceshy.flapping.supervisors import (
    BETWEEN,
    GAVE_UP,
    UNSEEN,
    Service,
    process,
    servicedir,
    witness,
)
from twiceshy.flapping.supervisors.process import Process
from twiceshy.kit import deadline

INTERPRETERS = ("sh", "bash", "dash", "ash", "env", "perl", "ruby", "node", "php", "java")


def configured(words: Sequence[str]) -> str:
    """The file that a command line names with -c, "" if none."""
    for at, word in enumerate(words):
        if word in ("-c", "--configuration"):
            return words[at + 1] if at + 1 < len(words) else ""
        if word.startswith("--configuration="):
            return word.partition("=")[2]
        if word.startswith("-c") and not word.startswith("--"):
            return word[2:]
    return ""


def configuration(one: Process, usual: Sequence[str], proc: Path) -> str:
    """The configuration file of a daemon: the one it was given, else the first usual one there."""
    file = configured(one.cmdline)
    if file and not file.startswith("/"):
        try:
            file = os.path.join(os.readlink(f"{proc}/{one.pid}/cwd"), file)
        except OSError:
            file = ""
    return file or next((path for path in usual if os.path.exists(path)), "")


def silent(program: str, supervisor: str, where: str, why: str, next_command: str) -> Service:
    """A supervisor that runs and does not answer: that is its outage."""
    reason = f"does not answer at {where}: {why}"
    return Service(program, supervisor, GAVE_UP, True, reason=reason, next=next_command)


def unseen(program: str, supervisor: str, why: str) -> Service:
    """A supervisor of whose services nothing can be seen."""
    return Service(program, supervisor, UNSEEN, None, unseen=why)


def said(error: Exception) -> str:
    """Why there was no answer."""
    return getattr(error, "strerror", None) or str(error) or "no answer"


def called(words: tuple[str, ...], comm: str) -> str:
    """A name for a command line: the script or the program, without its path."""
    for at, word in enumerate(words):
        base = word.rpartition("/")[2]
        if not base or word.startswith("-") or (at and "=" in word and "/" not in word):
            continue
        if base in INTERPRETERS or base.startswith("python"):
            if at + 1 < len(words) and words[at + 1].startswith("-c"):
                break
            continue
        return base.rstrip(":")
    return words[0].rpartition("/")[2] if words and words[0] else comm


def children(
    parent: int,
    supervisor: str,
    why: str,
    boot: str,
    proc: Path,
    processes: Mapping[int, Process],
    name_of: Callable[[Process], str] | None = None,
) -> list[Service]:
    """The children of one process, as services named for their command lines.

    Children that are called the same are one service, and its life is that of the youngest: the
    restart of any of them makes a new youngest, while numbers would move from one to the next.
    `name_of` may know better names; a child that it calls "" is none of the daemons.
    """
    groups: dict[str, list[Process]] = {}
    for child in _seen_for_a_while(parent, proc, processes):
        name = name_of(child) if name_of else called(child.cmdline, child.comm)
        if name:
            groups.setdefault(name, []).append(child)
    youngest = {
        name: max(members, key=lambda one: (one.ticks, one.pid)) for name, members in groups.items()
    }
    services = []
    for name, one in sorted(youngest.items()):
        service = Service(name, supervisor, BETWEEN, True, unseen=why)
        services.append(servicedir.alive(service, one, boot, proc) if one.is_alive else service)
    suspects = [
        youngest[service.name].pid
        for service in services
        if (service.age_seconds or 0.0) < witness.YOUNG_SECONDS
    ]
    ends = witness.endings(
        suspects[: witness.MOST_WITNESSED],
        proc,
        min(witness.YOUNG_SECONDS, deadline.remaining() / 3),
    )
    return [
        replace(service, last_exit=ends.get(youngest[service.name].pid, "")) for service in services
    ]


def _seen_for_a_while(
    parent: int, proc: Path, processes: Mapping[int, Process]
) -> Iterator[Process]:
    """The children of the snapshot, and those that are born while we watch for a moment.

    A daemon that is between two lives just now, or held back before its next one, would be missed.
    """
    forked = processes[parent].comm if parent in processes else ""
    seen = {one.pid: one for one in processes.values() if one.ppid == parent}
    end = time.monotonic() + min(witness.WATCHED_SECONDS, deadline.remaining() / 3)
    while proc == process.PROC and time.monotonic() < end:
        for pid in witness.children_of(parent, proc):
            # What is still called like its parent has not become the program yet.
            if pid not in seen or seen[pid].comm == forked:
                one = process.read(pid, proc)
                if one is not None and one.ppid == parent:
                    seen[pid] = one
        time.sleep(witness.POLL_SECONDS * 5)
    yield from seen.values()

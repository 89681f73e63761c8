"""What anyone may see of a supervisor that is one process for all of its services.

supervisord and perpd fork every daemon themselves. A user who may not ask them is left with their
children in /proc: no names, no wanted state, but pids, start ticks and command lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from twiceshy.supervisors import BETWEEN, UP, Service, process
from twiceshy.supervisors.process import Process

INTERPRETERS = ("sh", "bash", "dash", "ash", "env", "perl", "ruby", "node", "php", "java")


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
    unseen: str,
    boot: str,
    proc: Path,
    processes: Mapping[int, Process],
    names: Mapping[tuple[str, ...], str] | None = None,
    apart_from: Iterable[str] = (),
) -> list[Service]:
    """The children of one process, as services named for their command lines.

    Children that are called the same are one service, and its life is that of the youngest: the
    restart of any of them makes a new youngest, while numbers would move from one to the next.
    """
    groups: dict[str, list[Process]] = {}
    for child in processes.values():
        if child.ppid == parent and child.comm not in apart_from:
            name = (names or {}).get(child.cmdline) or called(child.cmdline, child.comm)
            groups.setdefault(name, []).append(child)
    services = []
    for name, members in sorted(groups.items()):
        youngest = max(members, key=lambda one: (one.ticks, one.pid))
        services.append(
            Service(
                name,
                supervisor,
                UP if youngest.is_alive else BETWEEN,
                True,
                incarnation=process.incarnation(youngest, boot) if youngest.is_alive else "",
                age_seconds=process.age(youngest, proc) if youngest.is_alive else None,
                unseen=unseen,
            )
        )
    return services

"""Processes without a supervisor: what an operator names, and who starts them.

The owner of a pid file, or the root process of those that match a name, stands for a daemon. What
restarts it is often a shell loop or cron, and is found by its children.
"""

from __future__ import annotations

import pwd
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from twiceshy.flapping.service import BETWEEN, DOWN, NO_SUPERVISOR, UNSEEN, UP, Service
from twiceshy.flapping.settings import User, Watch
from twiceshy.kit.deadline import doing
from twiceshy.kit.patterns import exactly, matched
from twiceshy.kit.processes import Process, ProcessTable

SHELLS = frozenset(["sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "yash", "zsh"])
CRONS = frozenset(["cron", "crond", "CRON", "atd", "anacron", "fcron"])
INTERPRETERS = ("python", "perl", "ruby", "node", "php", "java", "lua", *sorted(SHELLS))


@dataclass(frozen=True)
class KnownProcess:
    """What the last run saw of a watched process, to find its loop between two lives."""

    program: str = ""
    parent_pid: int = 0
    parent_ticks: int = 0


def user(typed: str) -> User:
    """The user of a name or number; ValueError for a name that this host does not know."""
    try:
        return User(typed, int(typed) if typed.isdigit() else pwd.getpwnam(typed).pw_uid)
    except KeyError:
        raise ValueError(f"user {typed} does not exist") from None


def observed(
    watch: Watch,
    table: ProcessTable,
    *,
    known: KnownProcess | None = None,
    ourselves: Container[int] = (),
    pidfile: Callable[[str], str] | None = None,
) -> tuple[Service, KnownProcess]:
    """The root process of a match as a service, and what to know of it at the next run.

    Workers come and go as they like: a match whose parent matches too is a worker. Of several
    roots the youngest stands for all, for that is the one that may be coming and going. A shell
    that runs `while :; do program; done` is not the program but its supervisor.
    """
    known, processes = known or KnownProcess(), table.processes
    try:
        matches = _matches(watch, processes, known, ourselves, pidfile or _pidfile)
    except _Unreadable as error:
        return Service(watch.name, NO_SUPERVISOR, UNSEEN, None, unseen=str(error)), known
    loops = [match for match in matches if _is_script_of_a_shell(match)]
    alive = [match for match in matches if match.is_alive and match not in loops]
    if not alive and watch.cmdline is not None and watch.pidfile == "":
        alive = _daemons_in_shell(loops, processes)
    pids = {match.pid for match in alive}
    roots = [match for match in alive if match.ppid not in pids]
    if roots:
        root = max(roots, key=lambda match: (match.ticks, match.pid))
        parent = processes.get(root.ppid)
        shell = parent if parent is not None and _is_loop(parent) else None
        only = shell and sum(other.ppid == shell.pid for other in processes.values()) == 1
        service = Service(
            watch.name,
            NO_SUPERVISOR,
            UP,
            True,
            incarnation=table.identity(root),
            age_seconds=table.age(root),
            reaped_faults=shell.reaped_faults if shell and only else None,
            parent=_started_by(root, processes),
            next=f"ps -o pid,ppid,user,lstart,args -p {root.pid},{root.ppid}",
        )
        return service, KnownProcess(
            root.comm, shell.pid if shell else 0, shell.ticks if shell else 0
        )
    loop = _loop_between_lives(watch, matches, processes, known, ourselves)
    if loop is not None:
        service = Service(
            watch.name,
            NO_SUPERVISOR,
            BETWEEN,
            True,
            reaped_faults=loop.reaped_faults,
            parent=describe(loop),
            reason=f"{describe(loop)} will restart it",
            next=f"ps -o pid,ppid,user,lstart,args -p {loop.pid}",
        )
        return service, KnownProcess(known.program, loop.pid, loop.ticks)
    gone = "only a zombie is left of it" if any(not match.is_alive for match in matches) else ""
    return Service(watch.name, NO_SUPERVISOR, DOWN, True, reason=gone), known


def describe(process: Process) -> str:
    """A process for a sentence: "sh[812] (sh -c while :; do web; done)"."""
    words = " ".join(process.cmdline)
    words = words if len(words) <= 60 else words[:57] + "..."
    return f"{process.comm}[{process.pid}]" + (f" ({words})" if words else "")


def program_names(process: Process) -> set[str]:
    """The names by which an operator may know it: comm, program, script of an interpreter."""
    names = {process.comm}
    if process.cmdline:
        names.add(process.cmdline[0].rpartition("/")[2])
    if process.comm.startswith(INTERPRETERS) and len(process.cmdline) > 1:
        script = next((word for word in process.cmdline[1:] if not word.startswith("-")), "")
        names.add(script.rpartition("/")[2])
    return names


def ourselves_and_our_callers(
    processes: Mapping[int, Process], own_pid: int, program: str
) -> set[int]:
    """This process and the callers whose command line holds our own, and so every pattern in it."""
    pids = {own_pid}
    process = processes.get(own_pid)
    while process is not None and process.ppid in processes:
        process = processes[process.ppid]
        if any(program in word for word in process.cmdline):
            pids.add(process.pid)
    return pids


def each_program(
    watches: Sequence[Watch], processes: Mapping[int, Process], ourselves: Container[int]
) -> list[Watch]:
    """Watches of a user alone become one watch for each program among that user's roots."""
    each: list[Watch] = []
    for watch in watches:
        if watch.pidfile or watch.program is not None or watch.cmdline is not None:
            each.append(watch)
            continue
        own = [p for pid, p in processes.items() if p.uid == watch.uid and pid not in ourselves]
        pids = {process.pid for process in own if process.comm not in SHELLS}
        roots = {p.comm for p in own if p.pid in pids and p.ppid not in pids and p.cmdline}
        each += [
            Watch(f"{watch.user}.{comm}", program=exactly(comm), uid=watch.uid)
            for comm in sorted(roots)
        ] or [watch]
    return each


class _Unreadable(Exception):
    """A pid file that cannot be read, or is none."""


def _matches(
    watch: Watch,
    processes: Mapping[int, Process],
    known: KnownProcess,
    ourselves: Container[int],
    pidfile: Callable[[str], str],
) -> list[Process]:
    if watch.pidfile:
        try:
            text = pidfile(watch.pidfile)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _Unreadable(
                f"pid file {watch.pidfile} cannot be read: {error.strerror}"
            ) from error
        word = (text.split() or [""])[0]
        if not word.isdigit():
            raise _Unreadable(f"pid file {watch.pidfile} contains no pid")
        candidates = [processes[int(word)]] if int(word) in processes else []
        if known.program and not watch.program and not watch.cmdline:
            # A stale file whose pid now is another program's.
            candidates = [match for match in candidates if match.comm == known.program]
    else:
        candidates = [p for pid, p in processes.items() if pid not in ourselves]
    return [
        candidate
        for candidate in candidates
        if (candidate.cmdline or not candidate.is_alive)  # not a kernel thread
        and (watch.uid is None or candidate.uid == watch.uid)
        and (watch.program is None or matched([watch.program], *program_names(candidate)))
        and (watch.cmdline is None or watch.cmdline.matches(" ".join(candidate.cmdline)))
    ]


def _is_script_of_a_shell(process: Process) -> bool:
    """`sh -c "while :; do web; done"` matches every pattern for web, and never dies."""
    return process.comm in SHELLS and "-c" in process.cmdline[1:3]


def _is_loop(process: Process) -> bool:
    """A shell that runs a script, not one that somebody types in."""
    words = process.cmdline
    return (
        bool(words)
        and (
            (process.comm in SHELLS and len(words) > 1 and words[1] not in ("-i", "-l", "--login"))
            # A script with a shebang is called by its own name, its shell is argv[0].
            or (words[0].rpartition("/")[2] in SHELLS and len(words) > 1 and words[1][:1] == "/")
        )
    )


def _daemons_in_shell(loops: Sequence[Process], processes: Mapping[int, Process]) -> list[Process]:
    """Children of matching shells: `sh -c "cd /srv && ./web --port 80; true"` matches, web not."""
    pids = {loop.pid for loop in loops}
    return [
        process
        for process in processes.values()
        if process.ppid in pids and process.is_alive and process.comm not in ("sleep", *SHELLS)
    ]


def _loop_between_lives(
    watch: Watch,
    matches: Sequence[Process],
    processes: Mapping[int, Process],
    known: KnownProcess,
    ourselves: Container[int],
) -> Process | None:
    """The shell that will start the absent process again: the one it had, or one that names it."""
    parent = processes.get(known.parent_pid)
    if parent is not None and known.parent_ticks == parent.ticks:
        return parent
    for match in matches:
        if _is_script_of_a_shell(match):
            return match
        if not match.is_alive and _is_loop(processes.get(match.ppid, match)):
            return processes[match.ppid]
    if watch.program is not None and not watch.pidfile:
        for candidate in processes.values():
            if candidate.pid not in ourselves and _is_script_of_a_shell(candidate):
                words = " ".join(candidate.cmdline).replace(";", " ").split()
                if any(watch.program.matches(word.rpartition("/")[2]) for word in words):
                    return candidate
    return None


def _started_by(process: Process, processes: Mapping[int, Process]) -> str:
    """The loop or cron that a process comes from; "" for anything else."""
    parent = processes.get(process.ppid)
    loop = describe(parent) if parent is not None and _is_loop(parent) else ""
    for _ in range(6):
        if parent is None:
            break
        if parent.comm in CRONS:
            return "cron"
        parent = processes.get(parent.ppid)
    return loop


def _pidfile(path: str) -> str:
    with doing(f"reading pid file {path}"), open(path, errors="replace") as file:
        return file.read(64)

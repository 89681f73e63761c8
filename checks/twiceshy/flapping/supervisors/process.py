"""Processes as /proc tells of them: identity, age, parents. No rights needed.

The identity of a life is boot id + pid + start ticks (field 22 of /proc/PID/stat), never a wall
clock creation time: psutil's create_time() moves with every clock step, for it is counted from
`btime`, which the kernel recomputes at each read (psutil #1724). Start ticks survive exec(), so a
daemon that re-executes itself (haproxy -W, uwsgi reload) has not restarted.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from twiceshy.flapping.supervisors import BETWEEN, DOWN, UNSEEN, UP, Service
from twiceshy.kit.deadline import doing
from twiceshy.kit.options import Pattern

PROC = Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat, with the command line and the owner."""

    pid: int
    ppid: int
    comm: str  # at most 15 bytes
    state: str  # R S D Z T ...
    ticks: int  # start, in clock ticks since boot
    cminflt: int  # page faults of children that were reaped: grows when a child died
    cmdline: tuple[str, ...]  # () for kernel threads and zombies
    uid: int  # effective

    @property
    def is_alive(self) -> bool:
        """Not a zombie: daemontools shows an instant crasher as up while its pid is one."""
        return self.state not in ("Z", "X", "x")


def parse_stat(text: str) -> tuple[int, int, str, str, int, int]:
    """(pid, ppid, comm, state, ticks, cminflt) of /proc/PID/stat (proc(5)).

    The comm may hold spaces and parentheses, so fields are counted from the last one.
    ValueError if it is no such line.
    """
    head, separator, tail = text.rpartition(")")
    pid, parenthesis, comm = head.partition(" (")
    fields = tail.split()
    if not separator or not parenthesis or len(fields) < 20:
        raise ValueError("not a line of /proc/PID/stat")
    return int(pid), int(fields[1]), comm, fields[0], int(fields[19]), int(fields[8])


def snapshot(proc: Path = PROC) -> dict[int, Process]:
    """All processes, by pid, in one pass. A process that ends meanwhile is left out."""
    processes: dict[int, Process] = {}
    for name in os.listdir(proc):
        if name.isdigit():
            process = read(int(name), proc)
            if process is not None:
                processes[process.pid] = process
    return processes


def read(pid: int, proc: Path = PROC) -> Process | None:
    """One process, or None if there is none of that pid."""
    directory = f"{proc}/{pid}"
    try:
        uid = os.stat(directory).st_uid
        found, ppid, comm, state, ticks, cminflt = parse_stat(_text(f"{directory}/stat"))
        # Kernel threads (children of kthreadd, 2) have no command line: half the files saved.
        cmdline = "" if 2 in (pid, ppid) else _text(f"{directory}/cmdline")
    except (OSError, ValueError):  # it ended, or hidepid hides it
        return None
    words = tuple(cmdline.rstrip("\0").split("\0")) if cmdline else ()
    return Process(found, ppid, comm, state, ticks, cminflt, words, uid)


def boot_id(proc: Path = PROC) -> str:
    """Identity of this boot, "" if the kernel does not tell."""
    try:
        return _text(f"{proc}/sys/kernel/random/boot_id").strip()
    except OSError:
        return ""


def uptime(proc: Path = PROC) -> float:
    """Seconds since boot, suspend included: the clock that start ticks are counted on.

    Not from /proc/uptime: lxcfs puts the container's own uptime there, while /proc/PID/stat
    keeps counting from the host's boot. A relocated /proc (a test's) is asked by its file.
    """
    if proc == PROC:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return float(_text(f"{proc}/uptime").split()[0])


def age(process: Process, proc: Path = PROC) -> float:
    """Seconds since the process started; to 10 ms, proof against clock steps."""
    return max(0.0, uptime(proc) - process.ticks / TICKS_A_SECOND)


def incarnation(process: Process, boot: str) -> str:
    """Identity of one life of a process on this host."""
    return f"{boot}:{process.pid}:{process.ticks}"


def signal_name(number: int) -> str:
    """ "SEGV" for 11; the number for one without a name."""
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)


def _text(path: str) -> str:
    # os.open is a third of the price of open(), and there are hundreds of these files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
    return content.decode("utf-8", "surrogateescape")


# Plain processes: what an operator names, and who starts them


SHELLS = frozenset(["sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "yash", "zsh"])
CRONS = frozenset(["cron", "crond", "CRON", "atd", "anacron", "fcron"])
INTERPRETERS = ("python", "perl", "ruby", "node", "php", "java", "lua", *sorted(SHELLS))


@dataclass(frozen=True)
class Watch:
    """Which process is meant: by pid file, program, command line, owner; all that are given."""

    name: str
    pidfile: str = ""
    program: Pattern | None = None
    cmdline: Pattern | None = None
    uid: int | None = None
    user: str = ""  # of a watch that names nothing but its owner


@dataclass(frozen=True)
class Known:
    """What was seen of a watched process at the last look, to find its loop between two lives."""

    program: str = ""
    parent_pid: int = 0
    parent_ticks: int = 0


def look_for(
    watch: Watch,
    processes: Mapping[int, Process],
    boot: str,
    uptime_seconds: float,
    *,
    known: Known | None = None,
    ourselves: Container[int] = (),
    pidfile: Callable[[str], str] | None = None,
) -> tuple[Service, Known]:
    """The root process of a match as a service, and what to know of it at the next look.

    Workers come and go as they like: a match whose parent matches too is a worker. Of several
    roots the youngest stands for all, for that is the one that may be coming and going. A shell
    that runs `while :; do program; done` is not the program but its supervisor.
    """
    known = known or Known()
    matches, trouble = _matches(watch, processes, known, ourselves, pidfile or _pidfile)
    if trouble:
        return Service(watch.name, "process", UNSEEN, None, unseen=trouble), known
    loops = [match for match in matches if _is_script_of_a_shell(match)]
    alive = [match for match in matches if match.is_alive and match not in loops]
    if not alive and watch.cmdline is not None and watch.pidfile == "":
        alive = _daemons_in_shell(loops, processes)
    pids = {match.pid for match in alive}
    roots = [match for match in alive if match.ppid not in pids]
    if roots:
        root = max(roots, key=lambda match: (match.ticks, match.pid))
        parent = processes.get(root.ppid)
        keeper = parent if parent is not None and _is_loop(parent) else None
        only = keeper and sum(other.ppid == keeper.pid for other in processes.values()) == 1
        service = Service(
            watch.name,
            "process",
            UP,
            True,
            incarnation=incarnation(root, boot),
            age_seconds=max(0.0, uptime_seconds - root.ticks / TICKS_A_SECOND),
            reaped_faults=keeper.cminflt if keeper and only else None,
            parent=_started_by(root, processes),
            next=f"ps -o pid,ppid,user,lstart,args -p {root.pid},{root.ppid}",
        )
        now_known = Known(root.comm, keeper.pid if keeper else 0, keeper.ticks if keeper else 0)
        return service, now_known
    loop = _loop_between_lives(watch, matches, processes, known, ourselves)
    if loop is not None:
        service = Service(
            watch.name,
            "process",
            BETWEEN,
            True,
            reaped_faults=loop.cminflt,
            parent=describe(loop),
            reason=f"{describe(loop)} will start it again",
            next=f"ps -o pid,ppid,user,lstart,args -p {loop.pid}",
        )
        return service, Known(known.program, loop.pid, loop.ticks)
    gone = "a zombie is left of it" if any(not match.is_alive for match in matches) else ""
    return Service(watch.name, "process", DOWN, True, reason=gone), known


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


def exactly(name: str) -> Pattern:
    """The pattern that matches one name only."""
    return Pattern(name, re.compile(re.escape(name) + r"\Z"))


def _matches(
    watch: Watch,
    processes: Mapping[int, Process],
    known: Known,
    ourselves: Container[int],
    pidfile: Callable[[str], str],
) -> tuple[list[Process], str]:
    if watch.pidfile:
        try:
            text = pidfile(watch.pidfile)
        except FileNotFoundError:
            return [], ""
        except OSError as error:
            return [], f"pid file {watch.pidfile} cannot be read: {error.strerror}"
        word = (text.split() or [""])[0]
        if not word.isdigit():
            return [], f"pid file {watch.pidfile} holds no pid"
        candidates = [processes[int(word)]] if int(word) in processes else []
        if known.program and not watch.program and not watch.cmdline:
            # A stale file whose pid now is another program's.
            candidates = [match for match in candidates if match.comm == known.program]
    else:
        candidates = [p for pid, p in processes.items() if pid not in ourselves]
    matches = [
        candidate
        for candidate in candidates
        if (candidate.cmdline or not candidate.is_alive)  # not a kernel thread
        and (watch.uid is None or candidate.uid == watch.uid)
        and (
            watch.program is None or any(watch.program.matches(n) for n in program_names(candidate))
        )
        and (watch.cmdline is None or watch.cmdline.matches(" ".join(candidate.cmdline)))
    ]
    return matches, ""


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
    known: Known,
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

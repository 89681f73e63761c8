"""Service directories: what runit, daemontools and s6 have in common.

A scanner (`runsvdir`, `svscan`, `s6-svscan`) watches a directory of service directories and runs
one keeper (`runsv`, `supervise`, `s6-supervise`) for each; the keeper runs the daemon and is the
one that reaps it. Which keepers there are, whose child is whose, and how often a keeper has reaped
is in /proc for everyone to read; the state files are in SERVICE/supervise, mode 0700.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, TypeVar

from twiceshy.flapping.supervisors import (
    BETWEEN,
    DOWN,
    GAVE_UP,
    UNSEEN,
    UP,
    Place,
    Service,
    process,
    witness,
)
from twiceshy.flapping.supervisors.process import Process
from twiceshy.kit import deadline

if TYPE_CHECKING:
    from twiceshy.kit.stamps import Stamp

Status = TypeVar("Status")

LABEL = 1 << 62  # TAI64 counts seconds from here (libtai, tai64.html)
LOG_BYTES = 32768
NOT_ALLOWED = "not allowed to read supervise/, so wanted state unseen: run the check by sudo"
LOG_LINES = 20


@dataclass(frozen=True)
class Programs:
    """How one supervisor calls its two programs, and what there is to know of a service of its."""

    supervisor: str
    scanner: str
    keeper: str
    status: str  # the command that tells of one service
    unseen: str  # what only root sees, and what to do about it
    finish_exit: Callable[[Sequence[str]], str] = lambda words: ""  # by a running ./finish


@dataclass(frozen=True)
class Kept:
    """One service directory and the keeper that runs it."""

    name: str  # as the operator calls it: "web", "web/log"
    path: str  # the service directory, "" if it cannot be told without root
    door: str  # a path that leads into it even from another mount namespace, "" if not allowed
    keeper: Process | None  # None: nobody supervises it
    children: tuple[Process, ...] = ()  # of the keeper, oldest first


# What the formats say


def tai64n(stamp: bytes) -> float:
    """Seconds of a 12-byte TAI64N stamp, counted from 1970 plus the writer's idea of TAI - UTC.

    That idea differs: runit, daemontools and perp add 10, s6 the leap second table (37 in 2026).
    So only differences of stamps of one writer mean anything. ValueError for other lengths.
    """
    if len(stamp) != 12:
        raise ValueError("a TAI64N stamp has 12 bytes")
    return (
        int.from_bytes(stamp[:8], "big") - LABEL + int.from_bytes(stamp[8:], "big") / 1_000_000_000
    )


def ages(stamps: Iterable[float], newest_age_seconds: float) -> list[float]:
    """How long ago wall clock stamps (oldest first) were, given the age of the newest.

    The clock may have been stepped back between two stamps: they are in order, so a stamp that is
    later than its successor is taken to have happened with it.
    """
    result: list[float] = []
    age_seconds, successor = newest_age_seconds, None
    for stamp in reversed(list(stamps)):
        if successor is not None:
            age_seconds += max(0.0, successor - stamp)
        result.append(age_seconds)
        successor = stamp
    return result[::-1]


def log_directories(words: Iterable[str]) -> list[str]:
    """The directories that a logger's command line names (svlogd, multilog, s6-log, tinylog).

    svlogd(8), tinylog(8) take them as last arguments, multilog(8) and s6-log write those
    that begin with a slash or a dot.
    """
    program, *arguments = list(words) or [""]
    name = program.rpartition("/")[2]
    if name in ("svlogd", "tinylog"):
        return [word for word in arguments if not word.startswith("-")]
    if name in ("multilog", "s6-log"):
        return [word for word in arguments if word[:1] in ("/", ".")]
    return []


def proctitle_words(words: Iterable[str]) -> str:
    """What services without a log of their own last said.

    runsvdir(8) and readproctitle(8) keep the last bytes in an argument of their command line,
    which anyone may read; it is filled with dots from the left.
    """
    text = ""
    for word in words:
        if word.startswith(("log:", "service errors:", "readproctitle")) or "....." in word:
            text = word
    return text.rpartition(".....")[2].lstrip(".") if "....." in text else ""


def finish_arguments(words: Sequence[str]) -> tuple[str, str]:
    """The first two arguments of a running ./finish, which tell how the daemon ended; else ""s."""
    for at, word in enumerate(words[:-2]):
        if word.rpartition("/")[2] == "finish":
            return words[at + 1], words[at + 2]
    return "", ""


# Who runs where


def found(programs: Programs, proc: Path, processes: Mapping[int, Process] | None) -> list[Place]:
    """Scanners, and the directories of keepers that have none."""
    everyone = process.snapshot(proc) if processes is None else processes
    scanners = {p.pid: p for p in everyone.values() if p.comm == programs.scanner}
    places = [Place(programs.supervisor, scanned(p, proc), pid=p.pid) for p in scanners.values()]
    orphans: dict[str, int] = {}
    for keeper in everyone.values():
        if keeper.comm != programs.keeper or keeper.ppid in scanners or not keeper.is_alive:
            continue
        path = directory(keeper, None, proc)
        if path.endswith("/log"):
            path = path[: -len("/log")]
        orphans.setdefault(os.path.dirname(path) if path else "", keeper.pid)
    for parent in orphans:
        places.append(Place(programs.supervisor, parent))
    return places


def scanned(scanner: Process, proc: Path) -> str:
    """The directory a scanner watches, "" if only root could tell.

    svscan and s6-svscan stand in it; runsvdir returns to where it was started.
    """
    absolute = next((word for word in scanner.cmdline[1:] if word.startswith("/")), "")
    if absolute:
        return absolute
    named = next((word for word in scanner.cmdline[1:] if not word.startswith("-")), "")
    try:
        stands_in = os.readlink(f"{proc}/{scanner.pid}/cwd")
    except OSError:
        return ""
    return os.path.join(stands_in, named) if scanner.comm == "runsvdir" else stands_in


def directory(keeper: Process, scanner: Process | None, proc: Path) -> str:
    """The service directory of a keeper, "" if only root could tell."""
    try:
        return os.readlink(f"{proc}/{keeper.pid}/cwd")
    except OSError:
        pass
    argument = keeper.cmdline[1] if len(keeper.cmdline) > 1 else ""
    if argument.startswith("/"):
        return argument
    if argument == "log":  # of daemontools: it does not say whose
        return ""
    above = scanned(scanner, proc) if scanner else ""
    return f"{above}/{argument}" if above and argument else ""


def services(
    programs: Programs,
    place: Place,
    proc: Path,
    processes: Mapping[int, Process],
) -> list[Kept]:
    """The service directories of a place, with and without a keeper, by name.

    A place is a scanner (its pid), a directory of service directories, or one service directory.
    """
    children: dict[int, list[Process]] = {}
    for one in sorted(processes.values(), key=lambda p: (p.ticks, p.pid)):
        children.setdefault(one.ppid, []).append(one)
    wanted = os.path.realpath(place.where) if place.where else ""
    kept: dict[str, Kept] = {}
    covered: set[str] = set()
    before = "", ""  # name and path of what was started last: svscan starts a log after it
    homeless: dict[str, Process] = {}  # keepers whose directory only root could tell, by name
    for keeper in sorted(processes.values(), key=lambda p: (p.ticks, p.pid)):
        if keeper.comm != programs.keeper or not keeper.is_alive:
            continue
        scanner = processes.get(keeper.ppid)
        if scanner is None or scanner.comm != programs.scanner:
            scanner = None
        path = directory(keeper, scanner, proc)
        if not path and keeper.cmdline[1:2] == ("log",) and before[1]:
            path = f"{before[1]}/log"
        real = os.path.realpath(path) if path else ""
        if place.pid is not None:
            if keeper.ppid != place.pid:
                continue
        elif not wanted:
            if scanner is not None or path:
                continue
        elif not real:
            homeless[_name(keeper, path, before[0])] = keeper
            continue
        elif not _within(real, wanted):
            continue
        name = _name(keeper, path, before[0])
        if not name.endswith("/log"):
            before = name, path
        door = f"{proc}/{keeper.pid}/cwd"
        if not os.access(f"{door}/.", os.R_OK | os.X_OK):
            # Another user's /proc/PID/cwd is closed, but supervise/ may have been opened to us.
            door = path if path and os.access(f"{path}/supervise", os.X_OK) else ""
        while name in kept:
            name += "'"
        kept[name] = Kept(
            name,
            path,
            door,
            keeper,
            tuple(children.get(keeper.pid, ())),
        )
        covered.add(real)
    for path in unkept(wanted, covered):
        name = os.path.basename(path)
        found_keeper = homeless.get(name)
        found_children = children.get(found_keeper.pid, ()) if found_keeper else ()
        door = path if os.access(f"{path}/supervise", os.X_OK) else ""
        kept.setdefault(name, Kept(name, path, door, found_keeper, tuple(found_children)))
    return [kept[name] for name in sorted(kept)]


def _within(real: str, wanted: str) -> bool:
    return (
        real == wanted
        or os.path.dirname(real) == wanted
        or (real.endswith("/log") and os.path.dirname(real[: -len("/log")]) == wanted)
        or real == f"{wanted}/log"
    )


def _name(keeper: Process, path: str, before: str) -> str:
    argument = (keeper.cmdline[1] if len(keeper.cmdline) > 1 else "").rstrip("/")
    if argument == "log" and not path.endswith("/log"):
        # daemontools' `supervise log`, seen without root: it does not say whose.
        return f"{before}/log" if before else f"log.{keeper.pid}"
    if argument == "log" or path.endswith("/log"):
        return "/".join(path.rsplit("/", 2)[-2:])
    if "/" in argument and not argument.startswith("/"):
        return argument
    return os.path.basename(argument) or os.path.basename(path) or f"pid {keeper.pid}"


def unkept(where: str, covered: set[str]) -> list[str]:
    """Service directories that were supervised once and are not now."""
    if not where:
        return []
    if os.path.isdir(f"{where}/supervise"):
        return [] if os.path.realpath(where) in covered else [where]
    try:
        entries = sorted(entry.path for entry in os.scandir(where) if entry.name[:1] != ".")
    except OSError:
        return []
    return [
        path
        for path in entries
        if os.path.realpath(path) not in covered and os.path.isdir(f"{path}/supervise")
    ]


def daemon(kept: Kept, pid: int, proc: Path) -> Process | None:
    """The process that the state file calls `pid`, if it is the keeper's child.

    A pid of another pid namespace is not; then the child that is no logger is it.
    """
    if pid and kept.keeper:
        one = next((child for child in kept.children if child.pid == pid), None)
        one = one or process.read(pid, proc)  # born after the snapshot
        if one is not None and one.ppid == kept.keeper.pid:
            return one
        if kept.children:
            return kept.children[-1]
    return None


@dataclass(frozen=True)
class Seen:
    """A service, with the keeper and the process behind it."""

    kept: Kept
    child: Process | None
    service: Service


def not_startable(kept: Kept) -> str:
    """Why the run script cannot even be started, "" if it looks well."""
    run = f"{kept.door}/run"
    if not kept.door or os.access(run, os.X_OK):
        return ""
    return "its run script is not executable" if os.path.exists(run) else "it has no run script"


def deserted(service: Service, keeper: str, scanner: bool, status: str, pid: int) -> Service:
    """A service whose keeper is dead, so that its status file may lie.

    `status` is the path of that file: a daemon that runs on was started when it was written.
    """
    if scanner:
        return replace(service, state=BETWEEN, reason=f"its {keeper} has died")
    daemon = process.read(pid) if pid else None
    if daemon is not None and daemon.is_alive:
        try:
            written_ago = time.time() - os.stat(status).st_mtime
        except OSError:
            written_ago = -1.0
        if abs(process.age(daemon) - written_ago) < 5:
            reason = f"its {keeper} is dead: it runs on, but nothing would start it again"
            age_seconds = process.age(daemon)
            return replace(service, state=UP, reason=reason, age_seconds=age_seconds)
    if service.wanted_up is False:
        return service
    return replace(service, state=GAVE_UP, reason=f"its {keeper} is dead, nothing starts it again")


def named(programs: Programs, kept: Kept, wanted_up: bool | None) -> Service:
    """A service of which nothing else is known yet."""
    asked = f"{programs.status} {kept.path or kept.name}"
    return Service(kept.name, programs.supervisor, DOWN, wanted_up, next=asked)


def unreadable(programs: Programs, kept: Kept) -> Seen:
    """A service whose status file is of another make."""
    unseen = f"{kept.path}/supervise/status is not a status file of {programs.keeper}"
    return Seen(kept, None, replace(named(programs, kept, None), state=UNSEEN, unseen=unseen))


def closed(programs: Programs, kept: Kept, scanner: Process | None) -> Service:
    """A service whose supervise/ is closed to us, before /proc has been asked about its child."""
    service = replace(named(programs, kept, None), unseen=programs.unseen)
    if kept.keeper is not None:
        return replace(service, reaped_faults=kept.keeper.cminflt)
    return service if scanner else replace(service, reason=f"no {programs.keeper} keeps it")


def from_outside(
    programs: Programs, service: Service, child: Process | None, boot: str, proc: Path
) -> Service:
    """What /proc alone tells: something runs, or something has just died, or nothing is there."""
    if child is None:
        return service
    if not child.is_alive:
        return replace(service, state=BETWEEN, wanted_up=True)
    last_exit = programs.finish_exit(child.cmdline)
    if last_exit:
        return replace(service, state=BETWEEN, last_exit=last_exit)
    return alive(service, child, boot, proc)


def alive(service: Service, daemon: Process, boot: str, proc: Path) -> Service:
    """A service whose daemon runs."""
    return replace(
        service,
        state=UP,
        incarnation=process.incarnation(daemon, boot),
        age_seconds=process.age(daemon, proc),
    )


def is_talked_about(service: Service) -> bool:
    """Whether its last words may be asked for: it is young or not there."""
    return service.age_seconds is None or service.age_seconds < SAID_SINCE_SECONDS


def look(
    programs: Programs,
    place: Place,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
    parse: Callable[[bytes], Status],
    inside: Callable[[Kept, Status, Process | None], Seen],
    title: Process | None = None,
) -> list[Service]:
    """The services of one place, where a keeper has one child and log services are like others.

    `inside` judges what `parse` reads in a status file; `title` is the process whose command line
    holds the last words of all.
    """
    scanner = processes.get(place.pid) if place.pid else None
    kept_services = services(programs, place, proc, processes)
    loggers = {
        kept.name[: -len("/log")]: kept.children[0]
        for kept in kept_services
        if kept.name.endswith("/log") and kept.children
    }
    seen: list[Seen] = []
    for kept in kept_services:
        try:
            status = parse(content(f"{kept.door}/supervise/status"))
        except (FileNotFoundError, PermissionError):
            child = kept.children[-1] if kept.children else None
            service = closed(programs, kept, scanner)
            one = Seen(kept, child, from_outside(programs, service, child, now.boot, proc))
        except (OSError, ValueError):
            one = unreadable(programs, kept)
        else:
            one = inside(kept, status, scanner)
        if is_talked_about(one.service):
            log = said(kept.door, loggers.get(kept.name), title, SAID_LINES)
            one = replace(one, service=replace(one.service, log=log))
        seen.append(one)
    return with_witnessed(seen, now.boot, proc)


# What is seen by waiting for it


def is_suspicious(seen: Seen) -> bool:
    """Worth to be watched for a moment: it may be dying all the time."""
    service = seen.service
    if seen.kept.keeper is None or service.last_exit:
        return False
    if service.state == UP:
        return service.age_seconds is not None and service.age_seconds < witness.YOUNG_SECONDS
    return service.state == BETWEEN or service.wanted_up is None


def with_witnessed(everything: list[Seen], boot: str, proc: Path) -> list[Service]:
    """The services, the suspicious ones after having been watched for a moment."""
    suspects = [seen for seen in everything if is_suspicious(seen)][: witness.MOST_WITNESSED]
    young = any(seen.service.state == UP for seen in suspects)
    others = {seen.child.pid for seen in everything if seen.child and seen not in suspects}
    witnessed = witness.watch(
        {seen.kept.keeper.pid for seen in suspects if seen.kept.keeper},
        proc,
        min(witness.YOUNG_SECONDS if young else witness.WATCHED_SECONDS, deadline.remaining() / 3),
        others,
    )
    services = []
    for seen in everything:
        service, keeper = seen.service, seen.kept.keeper
        what = witnessed.get(keeper.pid) if keeper and seen in suspects else None
        if what is not None:
            service = replace(service, last_exit=what.last_exit)
            if service.state == DOWN and (what.deaths or what.child is not None):
                # Seen from outside it looked stopped, but its keeper goes on starting it.
                service = replace(service, state=BETWEEN, wanted_up=True)
                if what.child is not None and not what.deaths and what.child.is_alive:
                    service = alive(service, what.child, boot, proc)
        services.append(service)
    return services


# What it last said

SAID_SINCE_SECONDS = 900.0  # of services that are older than that nobody asks for the log
SAID_LINES = 3


def said(door: str, logger: Process | None, scanner: Process | None, lines: int) -> tuple[str, ...]:
    """The last lines that a service logged: by its logger's files, else by the scanner's title."""
    if door:
        named = log_directories(logger.cmdline) if logger else []
        for one in (*named, "main", "."):
            found_lines = tail(os.path.join(f"{door}/log", one, "current"), LOG_LINES)
            if found_lines:
                return telling(found_lines, lines)
    if scanner is not None:
        return telling(proctitle_words(scanner.cmdline).splitlines(), lines)
    return ()


def content(path: str, most_bytes: int = 65536) -> bytes:
    """A small file, or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most_bytes)
    finally:
        os.close(descriptor)


_COMPLAINT = re.compile(
    r"\b(errors?|fatal|panic|abort(?:ed|ing|s)?|cannot|can't|could not|fail\w*|unable|denied"
    r"|invalid|refused|no such|not found|traceback|exception)\b",
    re.IGNORECASE,
)


def telling(said_lines: Sequence[str], lines: int) -> tuple[str, ...]:
    """Of the last lines those that complain, with who does ("rsyslogd: error ..."), else the last.

    A daemon that dies of a mistake in its configuration often ends with good advice, and says
    which mistake it was some lines before.
    """
    unlike = list(dict.fromkeys(line for line in said_lines if line.strip()))
    marks = [bool(_COMPLAINT.search(line)) * (1 + (": " in line)) for line in unlike]
    most = max(marks, default=0)
    chosen = [line for line, mark in zip(unlike, marks) if mark == most]
    return tuple(chosen[-lines:]) if lines > 0 else ()


def last_lines(text: str, lines: int) -> tuple[str, ...]:
    """The last non-empty lines of a text."""
    whole = tuple(line for line in text.splitlines() if line.strip())
    return whole[-lines:] if lines > 0 else ()


def is_logger(one: Process) -> bool:
    """Whether a process is one of the family's loggers."""
    return one.comm in ("svlogd", "multilog", "s6-log", "tinylog", "sissylog", "logger")


def tail(path: str, lines: int) -> tuple[str, ...]:
    """The last lines of a file; () if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        size = os.fstat(descriptor).st_size
        offset = max(0, size - LOG_BYTES)
        content = os.pread(descriptor, LOG_BYTES, offset)
    except OSError:  # a fifo, a directory
        return ()
    finally:
        os.close(descriptor)
    if offset:
        content = content.partition(b"\n")[2]
    return last_lines(content.decode("utf-8", "replace"), lines)

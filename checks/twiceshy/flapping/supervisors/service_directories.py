"""Service directories: what runit, daemontools and s6 have in common.

A scanner (`runsvdir`, `svscan`, `s6-svscan`) watches a directory of service directories and runs
one keeper (`runsv`, `supervise`, `s6-supervise`) for each; the keeper runs the daemon and is the
one that reaps it. Which keepers there are, whose child is whose, and how often a keeper has reaped
is in /proc for everyone to read; the state files are in SERVICE/supervise, mode 0700.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, TypeVar

from twiceshy.flapping.service import BETWEEN, DOWN, GAVE_UP, NO_EXIT, UNSEEN, UP, Exit, Service
from twiceshy.flapping.supervisors import (
    Instance,
    exit_statuses,
    log_lines,
    running,
)
from twiceshy.kit import processes
from twiceshy.kit.processes import Process, ProcessTable

Status = TypeVar("Status")

NOT_ALLOWED = (
    "not allowed to read supervise/, so the wanted state is unknown: run the check with sudo"
)


@dataclass(frozen=True)
class Programs:
    """What one supervisor calls its two programs, and what only root sees of its services."""

    supervisor: str
    scanner: str
    keeper: str
    status: str  # the command that shows one service
    unseen: str  # what only root sees, and what to do about it
    finish_exit: Callable[[Sequence[str]], Exit] = lambda argv: NO_EXIT  # by a running ./finish


@dataclass(frozen=True)
class ServiceDirectory:
    """One service directory and the keeper that runs it."""

    name: str  # as the operator calls it: "web", "web/log"
    path: str  # "" if only root could tell
    via_root: str  # a path that leads into it from here, "" if not allowed
    keeper: Process | None  # None: nobody supervises it
    children: tuple[Process, ...] = ()  # of the keeper, oldest first

    def file(self, name: str) -> str:
        """The path by which one of its files can be read."""
        return f"{self.via_root}/{name}"


@dataclass(frozen=True)
class Supervised:
    """A service, with the directory and the process behind it."""

    directory: ServiceDirectory
    child: Process | None
    service: Service


# What the formats say


def finish_arguments(argv: Sequence[str]) -> tuple[str, str]:
    """The first two arguments of a running ./finish: how the daemon ended; "" twice if none is."""
    for at, word in enumerate(argv[:-2]):
        if word.rpartition("/")[2] == "finish":
            return argv[at + 1], argv[at + 2]
    return "", ""


# Who runs where


def instances(programs: Programs, table: ProcessTable) -> list[Instance]:
    """Scanners, and the directories of keepers that have none."""
    scanners = {p.pid: p for p in table.processes.values() if p.comm == programs.scanner}
    found = [
        Instance(programs.supervisor, scanned(scanner, table), scanner.pid)
        for scanner in scanners.values()
    ]
    orphans: set[str] = set()
    for keeper in table.processes.values():
        if keeper.comm != programs.keeper or keeper.ppid in scanners or not keeper.is_alive:
            continue
        path = path_of(keeper, None, table)
        if path.endswith("/log"):
            path = path[: -len("/log")]
        parent = os.path.dirname(path) if path else ""
        if parent not in orphans:
            orphans.add(parent)
            found.append(Instance(programs.supervisor, parent))
    return found


def scanned(scanner: Process, table: ProcessTable) -> str:
    """The directory a scanner watches, "" if only root could tell.

    svscan and s6-svscan work in it; runsvdir returns to where it was started.
    """
    absolute = next((word for word in scanner.cmdline[1:] if word.startswith("/")), "")
    if absolute:
        return absolute
    named = next((word for word in scanner.cmdline[1:] if not word.startswith("-")), "")
    try:
        works_in = os.readlink(processes.working_directory(scanner.pid, table.proc))
    except OSError:
        return ""
    return os.path.join(works_in, named) if scanner.comm == "runsvdir" else works_in


def path_of(keeper: Process, scanner: Process | None, table: ProcessTable) -> str:
    """The service directory of a keeper, "" if only root could tell."""
    try:
        return os.readlink(processes.working_directory(keeper.pid, table.proc))
    except OSError:
        pass
    argument = keeper.cmdline[1] if len(keeper.cmdline) > 1 else ""
    if argument.startswith("/"):
        return argument
    if argument == "log":  # of daemontools: it does not say whose
        return ""
    above = scanned(scanner, table) if scanner else ""
    return f"{above}/{argument}" if above and argument else ""


def way_into(pid: int, path: str, table: ProcessTable) -> str:
    """A path into the service directory in which a keeper works, "" if not allowed.

    `path` is what that process calls it, "" if unknown.
    """
    cwd = processes.working_directory(pid, table.proc)
    if os.access(f"{cwd}/.", os.R_OK | os.X_OK):
        return cwd
    return opened(path)


def opened(path: str) -> str:
    """A service directory whose supervise/ has been opened to this user, else ""."""
    return path if path and os.access(f"{path}/supervise", os.X_OK) else ""


def directories(
    programs: Programs, instance: Instance, table: ProcessTable
) -> list[ServiceDirectory]:
    """The service directories of an instance, with and without a keeper, by name.

    An instance is a scanner (its pid), a directory of service directories, or one service
    directory.
    """
    children: dict[int, list[Process]] = {}
    in_order = sorted(table.processes.values(), key=lambda p: (p.ticks, p.pid))
    for process in in_order:
        children.setdefault(process.ppid, []).append(process)
    wanted = os.path.realpath(instance.address) if instance.address else ""
    found: dict[str, ServiceDirectory] = {}
    covered: set[str] = set()
    before = "", ""  # name and path of what was started last: svscan starts a log after it
    homeless: dict[str, Process] = {}  # keepers whose directory only root could tell, by name
    for keeper in in_order:
        if keeper.comm != programs.keeper or not keeper.is_alive:
            continue
        scanner = table.processes.get(keeper.ppid)
        if scanner is None or scanner.comm != programs.scanner:
            scanner = None
        path = path_of(keeper, scanner, table)
        if not path and keeper.cmdline[1:2] == ("log",) and before[1]:
            path = f"{before[1]}/log"
        real = os.path.realpath(path) if path else ""
        if instance.pid is not None:
            if keeper.ppid != instance.pid:
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
        while name in found:
            name += "'"
        into = way_into(keeper.pid, path, table)
        of_keeper = tuple(children.get(keeper.pid, ()))
        found[name] = ServiceDirectory(name, path, into, keeper, of_keeper)
        covered.add(real)
    for path in unkept(wanted, covered):
        name = os.path.basename(path)
        lost = homeless.get(name)
        of_keeper = tuple(children.get(lost.pid, ())) if lost else ()
        found.setdefault(name, ServiceDirectory(name, path, opened(path), lost, of_keeper))
    return [found[name] for name in sorted(found)]


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


def daemon(directory: ServiceDirectory, pid: int, table: ProcessTable) -> Process | None:
    """The process that the state file calls `pid`, if it is the keeper's child.

    A pid of another pid namespace is not; then the child that is no logger is it.
    """
    if pid and directory.keeper:
        process = next((child for child in directory.children if child.pid == pid), None)
        process = process or processes.read(pid, table.proc)  # born after the snapshot
        if process is not None and process.ppid == directory.keeper.pid:
            return process
        if directory.children:
            return directory.children[-1]
    return None


# One service


def unknown(programs: Programs, directory: ServiceDirectory, wanted_up: bool | None) -> Service:
    """A service of which nothing else is known yet."""
    status = f"{programs.status} {directory.path or directory.name}"
    return Service(directory.name, programs.supervisor, DOWN, wanted_up, next=status)


def not_startable(directory: ServiceDirectory) -> str:
    """Why the run script cannot even be started, "" if it looks well."""
    run = directory.file("run")
    if not directory.via_root or os.access(run, os.X_OK):
        return ""
    return "its run script is not executable" if os.path.exists(run) else "it has no run script"


def without_keeper(
    programs: Programs,
    service: Service,
    has_scanner: bool,
    status_file: str,
    pid: int,
    table: ProcessTable,
) -> Service:
    """A service whose keeper is dead, so that its status file may be out of date.

    `status_file` is its path: a daemon that is still running was started when it was written.
    """
    keeper = programs.keeper
    if has_scanner:
        return replace(service, state=BETWEEN, reason=f"its {keeper} has died")
    process = processes.read(pid, table.proc) if pid else None
    if process is not None and process.is_alive:
        try:
            written_ago = time.time() - os.stat(status_file).st_mtime
        except OSError:
            written_ago = -1.0
        age_seconds = table.age(process)
        if abs(age_seconds - written_ago) < 5:
            reason = f"its {keeper} is dead: it is still running, but nothing would restart it"
            return replace(service, state=UP, reason=reason, age_seconds=age_seconds)
    if service.wanted_up is False:
        return service
    return replace(service, state=GAVE_UP, reason=f"its {keeper} is dead, nothing restarts it")


def unreadable(programs: Programs, directory: ServiceDirectory) -> Supervised:
    """A service whose status file is of another make."""
    unseen = f"{directory.path}/supervise/status is not a status file of {programs.keeper}"
    service = replace(unknown(programs, directory, None), state=UNSEEN, unseen=unseen)
    return Supervised(directory, None, service)


def closed(programs: Programs, directory: ServiceDirectory, has_scanner: bool) -> Service:
    """A service whose supervise/ is closed to us, before /proc has been asked about its child."""
    service = replace(unknown(programs, directory, None), unseen=programs.unseen)
    if directory.keeper is not None:
        return replace(service, reaped_faults=directory.keeper.reaped_faults)
    if has_scanner:
        return service
    return replace(service, reason=f"no {programs.keeper} supervises it")


def by_child(
    programs: Programs, service: Service, child: Process | None, table: ProcessTable
) -> Service:
    """What /proc alone shows: something runs, or something has just died, or nothing is there."""
    if child is None:
        return service
    if not child.is_alive:
        return replace(service, state=BETWEEN, wanted_up=True)
    last_exit = programs.finish_exit(child.cmdline)
    if last_exit:
        return replace(service, state=BETWEEN, last_exit=last_exit)
    return running(service, child, table)


# All services


def observed(
    programs: Programs,
    instance: Instance,
    table: ProcessTable,
    parse: Callable[[bytes], Status],
    by_status: Callable[[ServiceDirectory, Status, Process | None], list[Supervised]],
    by_processes: Callable[[ServiceDirectory, Process | None], list[Supervised]],
) -> list[Supervised]:
    """The services of one instance.

    `by_status` observes a service by what `parse` reads in its status file, `by_processes` one
    whose supervise/ is closed to us; both are given the scanner, if there is one.
    """
    scanner = table.processes.get(instance.pid) if instance.pid else None
    seen: list[Supervised] = []
    for directory in directories(programs, instance, table):
        try:
            status = parse(content(directory.file("supervise/status")))
        except (FileNotFoundError, PermissionError):
            seen += by_processes(directory, scanner)
        except (OSError, ValueError):
            seen.append(unreadable(programs, directory))
        else:
            seen += by_status(directory, status, scanner)
    return seen


def only_child(
    programs: Programs, directory: ServiceDirectory, scanner: Process | None, table: ProcessTable
) -> list[Supervised]:
    """A service by its processes alone, where a keeper has one child: daemontools, s6."""
    child = directory.children[-1] if directory.children else None
    service = by_child(programs, closed(programs, directory, bool(scanner)), child, table)
    return [Supervised(directory, child, service)]


def with_logs(seen: Sequence[Supervised], title: Process | None = None) -> list[Supervised]:
    """The services with their last lines, where log services are services like any other.

    `title` is the process whose command line holds the last output of all.
    """
    loggers = {
        one.directory.name[: -len("/log")]: one.directory.children[0]
        for one in seen
        if one.directory.name.endswith("/log") and one.directory.children
    }
    return [
        replace(one, service=replace(one.service, log=_log_of(one, loggers, title)))
        if log_lines.are_wanted(one.service)
        else one
        for one in seen
    ]


def _log_of(
    seen: Supervised, loggers: Mapping[str, Process], title: Process | None
) -> tuple[str, ...]:
    directory = seen.directory
    return log_lines.of_service(directory.via_root, loggers.get(directory.name), title)


def is_suspicious(seen: Supervised) -> bool:
    """Worth watching for a moment: it may be dying all the time."""
    service = seen.service
    if seen.directory.keeper is None or service.last_exit:
        return False
    if service.state == UP:
        age_seconds = service.age_seconds
        return age_seconds is not None and age_seconds < exit_statuses.YOUNG_SECONDS
    return service.state == BETWEEN or service.wanted_up is None


def watched(everything: Sequence[Supervised], table: ProcessTable) -> list[Service]:
    """The services, the suspicious ones after having been watched for a moment."""
    suspects = [seen for seen in everything if is_suspicious(seen)][: exit_statuses.MOST_WATCHED]
    young = any(seen.service.state == UP for seen in suspects)
    others = {seen.child.pid for seen in everything if seen.child and seen not in suspects}
    children = exit_statuses.of_children(
        {seen.directory.keeper.pid for seen in suspects if seen.directory.keeper},
        table,
        exit_statuses.watching_seconds(
            exit_statuses.YOUNG_SECONDS if young else exit_statuses.WATCHED_SECONDS
        ),
        others,
    )
    found = []
    for seen in everything:
        service, keeper = seen.service, seen.directory.keeper
        happened = children.get(keeper.pid) if keeper and seen in suspects else None
        if happened is not None:
            service = replace(service, last_exit=happened.last_exit)
            if service.state == DOWN and (happened.deaths or happened.child is not None):
                # It looked stopped by its processes, but its keeper goes on starting it.
                service = replace(service, state=BETWEEN, wanted_up=True)
                if happened.child is not None and not happened.deaths and happened.child.is_alive:
                    service = running(service, happened.child, table)
        found.append(service)
    return found


def content(path: str, most_bytes: int = 65536) -> bytes:
    """A small file, or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most_bytes)
    finally:
        os.close(descriptor)

"""supervisord: one daemon for all programs, asked by XML-RPC.

Asks supervisor.getAllProcessInfo for the states and supervisor.readLog for the end of its own log:
the exact history of every life, with exit status or signal, that tells a death from a manual stop
(http://supervisord.org/api.html, supervisor/process.py). The exit status in the process info is 0
again as soon as the program runs.

Rights: the socket is 0700 and root's by default; `chown=` and `chmod=` in [unix_http_server] open
it, or the check runs with sudo. User name and password are read from the configuration file if that
may be read, else from $SUPERVISOR_USERNAME and $SUPERVISOR_PASSWORD. Any other user is left with
the children of supervisord in /proc: no stops, no FATAL, and names by command line.
"""

from __future__ import annotations

import calendar
import configparser
import glob
import os
import re
import shlex
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from xml.parsers.expat import ExpatError

from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    UNSEEN,
    UP,
    EndedLife,
    Exit,
    Service,
    exited,
)
from twiceshy.flapping.supervisors import (
    Instance,
    local_http,
    log_lines,
    running,
    service_directories,
    single_daemon,
    timestamps,
)
from twiceshy.flapping.supervisors.local_http import Server
from twiceshy.flapping.supervisors.single_daemon import Unobservable, Unresponsive
from twiceshy.kit import deadline, processes
from twiceshy.kit.http import HttpError, NotAllowed
from twiceshy.kit.processes import Process, ProcessTable

NAME = "supervisord"
LOG_BYTES = 131072
MOST_LOG_BYTES = 2 << 20
MOST_BYTES = 32 << 20  # of an answer: the log again, as XML, and some thousand programs
# Where supervisord itself looks (supervisor/options.py), and Debian's.
CONFIGURATIONS = ("/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")
DAEMON = single_daemon.Daemon(NAME, NAME, "supervisorctl status")
SOCKETS = ("/run/supervisor.sock", "/var/run/supervisor.sock", "/tmp/supervisor.sock")


# What the formats say


@dataclass(frozen=True)
class Configuration:
    """What the configuration file says about ways to ask, and the programs' command lines."""

    servers: tuple[Server, ...]
    commands: Mapping[tuple[str, ...], str]  # command line -> program
    includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LifeEvent:
    """One line of supervisord's log about the life of one program."""

    at: float  # the local time it is stamped with, counted as if it were UTC
    event: str  # "spawned", "exited", "stopped", "gave up" ...
    program: str
    pid: int  # of "spawned", else 0
    detail: str  # "exit status 7; not expected"


def parse_configuration(text: str, here: str) -> Configuration:
    """The [unix_http_server], [inet_http_server] and [program:x] sections.

    ValueError if it is no such file.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error).splitlines()[0]) from None
    servers = []
    for section, key in (("unix_http_server", "file"), ("inet_http_server", "port")):
        where = parser.get(section, key, fallback="").replace("%(here)s", here)
        if where:
            if key == "port":
                host, _, port = where.rpartition(":")
                host = "127.0.0.1" if host in ("", "*", "0.0.0.0") else host
                where = f"http://{host}:{port}"
            user = parser.get(section, "username", fallback="")
            password = parser.get(section, "password", fallback="")
            servers.append(Server(where, user, password))
    commands = {}
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind == "program" and name:
            try:
                words = tuple(shlex.split(parser.get(section, "command", fallback="")))
            except ValueError:
                continue
            commands[words] = name
    includes = parser.get("include", "files", fallback="").replace("%(here)s", here).split()
    return Configuration(tuple(servers), commands, tuple(includes))


_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) [A-Z]+ "
    r"(?:(spawned): '(.+)' with pid (\d+)|(exited|stopped|gave up|success): (\S+)(?: (.*))?)"
)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")


def stamp_of(line: str) -> float | None:
    """The time of a log line, as if it were UTC; None for a line without one."""
    found = _STAMP.match(line)
    if not found:
        return None
    try:
        return _seconds(found.group(1), found.group(2))
    except ValueError:
        return None


def parse_log(text: str) -> list[LifeEvent]:
    """The lives and deaths in supervisord's log (supervisor/process.py), oldest first."""
    lines = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        day, milliseconds, spawned, name, pid, event, program, detail = found.groups()
        try:
            at = _seconds(day, milliseconds)
        except ValueError:
            continue
        lines.append(
            LifeEvent(
                at,
                spawned or event,
                name or program,
                int(pid or 0),
                (detail or "").strip().lstrip("(").rstrip(")"),
            )
        )
    return lines


def _seconds(day: str, milliseconds: str) -> float:
    return time_of(day) + int(milliseconds) / 1000


def time_of(day: str) -> float:
    """Seconds of "2026-11-21 08:19:12" as if it were UTC."""
    return float(calendar.timegm(time.strptime(day, "%Y-%m-%d %H:%M:%S")))


def exit_of(detail: str) -> Exit:
    """ "exit status 7", "signal SEGV" of the words in parentheses."""
    how = detail.partition(";")[0].strip()
    if how.startswith("terminated by "):
        return Exit(f"signal {how.split()[2].replace('SIG', '', 1)}")
    status = re.fullmatch(r"exit status (\d+)", how)
    return exited(int(status[1])) if status else Exit(how)


def ended(line: LifeEvent, age_seconds: float, lasted_seconds: float | None = None) -> EndedLife:
    """A life that ended, by its line "exited" or "stopped"."""
    how = exit_of(line.detail)
    if line.event == "stopped":
        return EndedLife(age_seconds, MANUAL, how, lasted_seconds)
    is_clean = how.is_clean or line.detail.endswith("; expected")
    return EndedLife(age_seconds, CLEAN if is_clean else CRASH, how, lasted_seconds)


def lives(lines: Sequence[LifeEvent], ages: Sequence[float], program: str) -> tuple[EndedLife, ...]:
    """The lives of one program that ended, with the ages of the lines."""
    ends = []
    spawned: float | None = None
    for line, age_seconds in zip(lines, ages):
        if line.program != program:
            continue
        if line.event == "spawned":
            spawned = age_seconds
        elif line.event in ("exited", "stopped"):
            lasted = None if spawned is None else max(0.0, spawned - age_seconds)
            ends.append(ended(line, age_seconds, lasted))
            spawned = None
    return tuple(ends)


def ahead_of_utc(lines: Sequence[LifeEvent], starts: Mapping[str, int]) -> float | None:
    """Seconds by which the log's stamps are ahead of UTC, by a spawn whose time is known.

    `starts` has the start of each program's current life, by name. None if no line
    says so.
    """
    for line in reversed(lines):
        start = starts.get(line.program, 0)
        if line.event == "spawned" and start and _last_spawn(lines, line):
            return round((line.at - start) / 900) * 900.0  # zones differ by quarters of an hour
    return None


def _last_spawn(lines: Sequence[LifeEvent], line: LifeEvent) -> bool:
    spawns = [
        other for other in lines if other.event == "spawned" and other.program == line.program
    ]
    return spawns[-1] is line


def exited_too_quickly(info: Mapping[str, Any]) -> bool:
    """Whether a program died before startsecs; spawnerr has no code (supervisor/process.py)."""
    return str(info.get("spawnerr", "")).startswith("Exited too quickly")


def exited_unexpectedly(info: Mapping[str, Any]) -> bool:
    """Whether the last exit was not among its exitcodes; spawnerr has no code here either."""
    return str(info.get("spawnerr", "")).startswith("Bad exit code")


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The supervisords that run here, each with its configuration file."""
    found = []
    for process in table.processes.values():
        if not process.is_alive or not _is_supervisord(process):
            continue
        parent = table.processes.get(process.ppid)
        if parent is not None and _is_supervisord(parent):
            continue  # it has forked and will exec a program
        file = single_daemon.configuration(process, CONFIGURATIONS, table)
        found.append(Instance(NAME, file, process.pid))
    return found


def _is_supervisord(process: Process) -> bool:
    return process.comm == "supervisord" or (
        "python" in process.comm
        and len(process.cmdline) > 1
        and process.cmdline[1].rpartition("/")[2] == "supervisord"
    )


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The programs of one supervisord. The address is a socket, a URL or a configuration file."""
    configuration, trouble = Configuration((Server(instance.address),), {}), ""
    if not local_http.is_address(instance.address):
        configuration, trouble = _configuration(instance.address)
    return single_daemon.services(
        DAEMON,
        lambda: _asked(_server(instance, configuration, trouble), table),
        lambda why: _children(instance, why, configuration.commands, table),
    )


# Its configuration


def _configuration(file: str) -> tuple[Configuration, str]:
    """What a configuration file and its includes say, and why they say nothing."""
    try:
        read = parse_configuration(_text_of(file), os.path.dirname(file))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return Configuration((), {}), (
            f"cannot read {file or 'its configuration'} ({why}): use --socket or sudo"
        )
    commands = dict(read.commands)
    for pattern in read.includes:
        for path in sorted(glob.glob(os.path.join(os.path.dirname(file), pattern))):
            try:
                included = parse_configuration(_text_of(path), os.path.dirname(path))
            except (OSError, ValueError):
                continue
            commands.update(included.commands)
    return replace(read, commands=commands), ""


def _text_of(path: str) -> str:
    return service_directories.content(path, 1 << 20).decode("utf-8", "replace")


def _server(instance: Instance, configuration: Configuration, trouble: str) -> Server:
    """Whom to ask, and as whom; Unobservable if there is nobody to ask."""
    usual = [Server(path) for path in SOCKETS if os.path.exists(path)]
    servers = [*configuration.servers, *usual]
    if not servers:
        raise Unobservable(
            trouble or f"{instance.address} has no [unix_http_server] to ask: add one"
        )
    return Server(
        servers[0].address,
        servers[0].user or os.environ.get("SUPERVISOR_USERNAME", ""),
        servers[0].password or os.environ.get("SUPERVISOR_PASSWORD", ""),
    )


# Asking


class Answers(NamedTuple):
    """What supervisord says in one call."""

    infos: Sequence[Mapping[str, Any]]  # getAllProcessInfo
    log: str  # its end; "" with logfile=NONE
    pid: int  # of supervisord itself; 0: unknown


class NotXmlRpc(Exception):
    """An answer that is none of supervisord's."""


def _asked(server: Server, table: ProcessTable) -> list[Service]:
    try:
        answers = _ask(server, LOG_BYTES)
    except NotAllowed:
        raise Unobservable(
            f"not allowed to use {server.address}: set chown= in [unix_http_server], or use sudo"
        ) from None
    except HttpError as error:
        raise Unresponsive(server.address, str(error)) from error
    except NotXmlRpc:
        raise Unresponsive(server.address, "it does not speak XML-RPC") from None
    found = _services(answers, table)
    if _is_unexplained(answers, found):
        # It gave up long ago; how it died is further up in the log.
        try:
            return _services(_ask(server, MOST_LOG_BYTES), table)
        except (HttpError, NotXmlRpc, Unobservable, Unresponsive):
            pass
    return found


def _is_unexplained(answers: Answers, services: Sequence[Service]) -> bool:
    """Some program gave up, and the lines that say how it died are not among those read."""
    return any(
        service.state == GAVE_UP
        and exited_too_quickly(info)
        and not service.last_exit
        and service.history == ()
        for info, service in zip(answers.infos, services)
    )


def _ask(server: Server, log_bytes: int) -> Answers:
    """HttpError, NotXmlRpc or Unobservable for what is no answer."""
    calls = [
        {"methodName": "supervisor.getAllProcessInfo", "params": []},
        {"methodName": "supervisor.readLog", "params": [-log_bytes, 0]},
        {"methodName": "supervisor.getPID", "params": []},
    ]
    body = xmlrpc.client.dumps((calls,), "system.multicall").encode()
    with deadline.doing(f"asking supervisord at {server.address}"):
        answer = local_http.ask(server, "/RPC2", MOST_BYTES, body, [("Content-Type", "text/xml")])
    if answer.status == 401:
        raise Unobservable(
            f"{server.address} requires a user name and a password: set $SUPERVISOR_USERNAME and "
            "$SUPERVISOR_PASSWORD"
        )
    if answer.status != 200:
        raise Unresponsive(server.address, f"it answers with HTTP status {answer.status}")
    try:
        (results,), _ = xmlrpc.client.loads(answer.body)
    except (xmlrpc.client.Error, ExpatError, ValueError) as error:
        raise NotXmlRpc(str(error)) from error
    if not isinstance(results, list) or len(results) != 3 or not isinstance(results[0], list):
        raise NotXmlRpc("not what was asked for")
    infos = [info for info in results[0] if isinstance(info, dict) and "name" in info]
    log = results[1] if isinstance(results[1], str) else ""  # a fault: logfile=NONE
    return Answers(infos, log, results[2] if isinstance(results[2], int) else 0)


# The services


def _services(answers: Answers, table: ProcessTable) -> list[Service]:
    names = [str(info["name"]) for info in answers.infos]
    lines = parse_log(answers.log)
    starts = {str(i["name"]): int(i.get("start", 0)) for i in answers.infos if int(i.get("pid", 0))}
    ahead = ahead_of_utc(lines, starts)
    if ahead is None:
        ahead = float(time.localtime(table.now.wall).tm_gmtoff)
    clock = max((int(info.get("now", 0)) for info in answers.infos), default=int(table.now.wall))
    daemons = {
        str(info["name"]): _daemon(int(info.get("pid", 0)), answers.pid, table)
        for info in answers.infos
    }
    ages = _ages(lines, clock + ahead, daemons, table)
    first = next(filter(None, map(stamp_of, answers.log.splitlines())), None)
    complete = max(0.0, clock + ahead - first) if first is not None else 0.0
    found = []
    for info in answers.infos:
        history: tuple[EndedLife, ...] | None = None
        if first is not None and names.count(str(info["name"])) == 1:
            # Programs of two groups may have the same name; the log does not name the group.
            history = lives(lines, ages, str(info["name"]))
        service = _service(info, history, daemons[str(info["name"])], table)
        found.append(
            replace(
                service,
                history=history,
                history_seconds=complete if history is not None else 0.0,
                exact=history is not None,
            )
        )
    return found


def _daemon(pid: int, supervisord: int, table: ProcessTable) -> Process | None:
    """The process of a pid that supervisord named; None if it is of another pid namespace."""
    process = table.process(pid) if pid else None
    if process is None or (supervisord and process.ppid != supervisord):
        return None
    return process


def _ages(
    lines: Sequence[LifeEvent],
    clock: float,
    daemons: Mapping[str, Process | None],
    table: ProcessTable,
) -> list[float]:
    """How long ago each line was written.

    Stamps are wall clock. A clock step since the last spawn shows, because the age of that life
    is known exactly; steps back before that are evened out, for the lines are in order.
    """
    if not lines:
        return []
    ages = timestamps.ages([line.at for line in lines], max(0.0, clock - lines[-1].at))
    pids = {daemon.pid: daemon for daemon in daemons.values() if daemon is not None}
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].event == "spawned" and lines[at].pid in pids:
            stepped = table.age(pids[lines[at].pid]) - ages[at]
            if abs(stepped) > 5:
                ages[: at + 1] = [max(0.0, old + stepped) for old in ages[: at + 1]]
            break
    return ages


def _service(
    info: Mapping[str, Any],
    history: tuple[EndedLife, ...] | None,
    daemon: Process | None,
    table: ProcessTable,
) -> Service:
    name, group = str(info["name"]), str(info.get("group", ""))
    if group and group != name:
        name = f"{group}:{name}"
    reason = str(info.get("spawnerr", ""))
    service = Service(
        name,
        NAME,
        DOWN,
        True,
        last_exit=history[-1].exit if history else NO_EXIT,
        next=f"supervisorctl tail -2000 {name}" + (" stderr" if info.get("stderr_logfile") else ""),
    )
    statename = str(info.get("statename", ""))
    if statename in ("RUNNING", "STARTING"):
        service = _started(service, info, daemon, table)
    elif statename == "BACKOFF":
        service = replace(service, state=BETWEEN, reason=reason)
    elif statename == "FATAL":
        service = replace(service, state=GAVE_UP, reason=reason or "FATAL")
    elif statename == "EXITED":
        service = _exited(service, info)
    elif statename in ("STOPPED", "STOPPING"):
        service = replace(service, wanted_up=False)
    else:
        unseen = f"supervisord reports its state as {statename or 'nothing'}"
        service = replace(service, state=UNSEEN, unseen=unseen)
    if log_lines.are_wanted(service) and (history or service.state == GAVE_UP):
        stdout = str(info.get("stdout_logfile", ""))
        lines = log_lines.tail(str(info.get("stderr_logfile", "") or stdout))
        service = replace(service, log=log_lines.telling(lines or log_lines.tail(stdout)))
    return service


def _started(
    service: Service, info: Mapping[str, Any], daemon: Process | None, table: ProcessTable
) -> Service:
    """RUNNING or STARTING: as its process shows, if that can be seen."""
    if daemon is not None and daemon.is_alive:
        return running(service, daemon, table)
    pid = int(info.get("pid", 0))
    if daemon is not None or processes.read(pid, table.proc) is None:
        return replace(service, state=BETWEEN)
    start = int(info.get("start", 0))
    return replace(
        service,
        state=UP,
        incarnation=f"{table.now.boot}:{pid}:{start}",
        age_seconds=float(max(0, int(info.get("now", start)) - start)),
    )


def _exited(service: Service, info: Mapping[str, Any]) -> Service:
    """EXITED: done, about to be started again, or left down though its exit was not expected."""
    if not exited_unexpectedly(info):
        return replace(service, wanted_up=False)
    last_exit = service.last_exit or exited(int(info.get("exitstatus", 0)))
    if int(info.get("now", 0)) - int(info.get("stop", 0)) < 3:
        return replace(service, state=BETWEEN, last_exit=last_exit)
    why = "its exit was unexpected, and autorestart=false leaves it down"
    return replace(service, state=GAVE_UP, last_exit=last_exit, reason=why)


def _children(
    instance: Instance, why: str, commands: Mapping[tuple[str, ...], str], table: ProcessTable
) -> list[Service]:
    """What /proc alone shows of the programs of a supervisord."""
    parents = (
        [instance.pid]
        if instance.pid
        else [
            process.pid
            for process in table.processes.values()
            if process.is_alive and _is_supervisord(process)
        ]
    )

    def name_of(process: Process) -> str:
        argv = process.cmdline
        known = commands.get(argv) or commands.get(argv[1:])  # a script, by its interpreter
        if _is_supervisord(process):
            return ""
        return known or single_daemon.name_of_command(argv, process.comm)

    return [
        service
        for parent in parents
        for service in single_daemon.children(parent, NAME, why, table, name_of)
    ]

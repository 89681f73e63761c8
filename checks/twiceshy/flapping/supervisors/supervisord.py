"""supervisord: one daemon for all programs, asked by XML-RPC.

Asks supervisor.getAllProcessInfo for the states and supervisor.readLog for the end of its own log:
the exact history of every life, with exit status or signal, that tells a death from a stop by hand
(http://supervisord.org/api.html, supervisor/process.py). The exit status in the process info is 0
again as soon as the program runs.

Rights: the socket is 0700 and root's by default; `chown=` and `chmod=` in [unix_http_server] open
it, or the check runs by sudo. User name and password are read from the configuration file if that
may be read, else from $SUPERVISOR_USERNAME and $SUPERVISOR_PASSWORD. Any other user is left with
the children of supervisord in /proc: no stops, no FATAL, and names by command line.
"""

from __future__ import annotations

import configparser
import glob
import http.client
import os
import re
import shlex
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from twiceshy.flapping.supervisors import (
    BETWEEN,
    BY_HAND,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    UNSEEN,
    UP,
    Ended,
    Place,
    Service,
    http_side,
    outside,
    process,
    servicedir,
)
from twiceshy.flapping.supervisors.process import Process
from twiceshy.kit import deadline

if TYPE_CHECKING:
    from twiceshy.kit.stamps import Stamp

NAME = "supervisord"
LOG_BYTES = 131072
MOST_LOG_BYTES = 2 << 20
ANSWER_SECONDS = 3.0
# Where supervisord itself looks (supervisor/options.py), and Debian's.
CONFIGURATIONS = ("/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")
SOCKETS = ("/run/supervisor.sock", "/var/run/supervisor.sock", "/tmp/supervisor.sock")


# What the formats say


@dataclass(frozen=True)
class Configuration:
    """What the configuration file says about ways to ask, and the programs' command lines."""

    servers: tuple[tuple[str, str, str], ...]  # (URL or socket, user name, password)
    commands: Mapping[tuple[str, ...], str]  # command line -> program
    includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One event of supervisord's log about one program."""

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
            servers.append((where, user, parser.get(section, "password", fallback="")))
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


def parse_log(text: str) -> list[Line]:
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
            Line(
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
    import calendar

    return float(calendar.timegm(time.strptime(day, "%Y-%m-%d %H:%M:%S")))


def cause(detail: str) -> str:
    """ "exit status 7", "signal SEGV" of the words in parentheses."""
    how = detail.partition(";")[0].strip()
    if how.startswith("terminated by "):
        return f"signal {how.split()[2].replace('SIG', '', 1)}"
    return how


def ended(line: Line, age_seconds: float, lasted_seconds: float | None = None) -> Ended:
    """A life that ended, by its line "exited" or "stopped"."""
    how = cause(line.detail)
    if line.event == "stopped":
        return Ended(age_seconds, BY_HAND, how, lasted_seconds)
    is_clean = how == "exit status 0" or line.detail.endswith("; expected")
    return Ended(age_seconds, CLEAN if is_clean else CRASH, how, lasted_seconds)


def lives(lines: Sequence[Line], times: Sequence[float], program: str) -> tuple[Ended, ...]:
    """The lives of one program that ended, with their ages by `times`."""
    ends = []
    spawned: float | None = None
    for line, age_seconds in zip(lines, times):
        if line.program != program:
            continue
        if line.event == "spawned":
            spawned = age_seconds
        elif line.event in ("exited", "stopped"):
            lasted = None if spawned is None else max(0.0, spawned - age_seconds)
            ends.append(ended(line, age_seconds, lasted))
            spawned = None
    return tuple(ends)


def ahead_of_utc(lines: Sequence[Line], starts: Mapping[str, int]) -> float | None:
    """Seconds by which the log's stamps are ahead of UTC, by a spawn whose time is known.

    `starts` has the start of each program's current life, by name. None if no line tells.
    """
    for line in reversed(lines):
        start = starts.get(line.program, 0)
        if line.event == "spawned" and start and _last_spawn(lines, line):
            return round((line.at - start) / 900) * 900.0  # zones differ by quarters of an hour
    return None


def _last_spawn(lines: Sequence[Line], line: Line) -> bool:
    later = [one for one in lines if one.event == "spawned" and one.program == line.program]
    return later[-1] is line


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The supervisords that run here, each with its configuration file."""
    everyone = process.snapshot(proc) if processes is None else processes
    places = []
    for one in everyone.values():
        if not one.is_alive or not _is_supervisord(one):
            continue
        parent = everyone.get(one.ppid)
        if parent is not None and _is_supervisord(parent):
            continue  # it has forked and will exec a program
        places.append(Place(NAME, outside.configuration(one, CONFIGURATIONS, proc), one.pid))
    return places


def _is_supervisord(one: Process) -> bool:
    return one.comm == "supervisord" or (
        "python" in one.comm
        and len(one.cmdline) > 1
        and one.cmdline[1].rpartition("/")[2] == "supervisord"
    )


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The programs of one supervisord. A place is a socket, a URL or a configuration file."""
    everyone = process.snapshot(proc) if processes is None else processes
    commands: Mapping[tuple[str, ...], str] = {}
    server, user, password = place.where, "", ""
    if not http_side.is_server(place.where):
        servers, commands, trouble = _configuration(place.where)
        if not servers:
            servers = tuple((path, "", "") for path in SOCKETS if os.path.exists(path))[:1]
        if not servers:
            unseen = trouble or f"{place.where} has no [unix_http_server] to ask: add one"
            return _from_outside(place, unseen, now, proc, everyone, commands)
        server, user, password = servers[0]
    user = user or os.environ.get("SUPERVISOR_USERNAME", "")
    password = password or os.environ.get("SUPERVISOR_PASSWORD", "")
    try:
        answers = _ask(server, user, password)
    except PermissionError:
        unseen = f"not allowed to use {server}: set chown= in [unix_http_server], or use sudo"
        return _from_outside(place, unseen, now, proc, everyone, commands)
    except xmlrpc.client.ProtocolError as error:
        if error.errcode == 401:
            unseen = f"{server} wants user name and password: set $SUPERVISOR_USERNAME/_PASSWORD"
            return _from_outside(place, unseen, now, proc, everyone, commands)
        return [_silent(server, f"it answers {error.errcode} {error.errmsg}")]
    except (OSError, http.client.HTTPException) as error:
        return [_silent(server, outside.said(error))]
    except (xmlrpc.client.Error, ExpatError, ValueError):
        return [_silent(server, "it does not speak XML-RPC")]
    services = _services(answers, server, now, proc, everyone)
    if any(_is_unexplained(one) for one in services):
        # It gave up long ago; how it died is further up in the log.
        try:
            answers = _ask(server, user, password, MOST_LOG_BYTES)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError):
            return services
        services = _services(answers, server, now, proc, everyone)
    return services


def _is_unexplained(service: Service) -> bool:
    """It died, and the lines that say how are not among those that were read."""
    return (
        service.state == GAVE_UP
        and service.reason.startswith("Exited")
        and not service.last_exit
        and service.history == ()
    )


def _configuration(
    file: str,
) -> tuple[tuple[tuple[str, str, str], ...], Mapping[tuple[str, ...], str], str]:
    """(servers, commands, why not) of a configuration file and what it includes."""
    try:
        text = servicedir.content(file, 1 << 20).decode("utf-8", "replace")
        read = parse_configuration(text, os.path.dirname(file))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return (), {}, f"cannot read {file or 'its configuration'} ({why}): use --socket or sudo"
    commands = dict(read.commands)
    for pattern in read.includes:
        for path in sorted(glob.glob(os.path.join(os.path.dirname(file), pattern))):
            try:
                text = servicedir.content(path, 1 << 20).decode("utf-8", "replace")
                commands.update(parse_configuration(text, os.path.dirname(path)).commands)
            except (OSError, ValueError):
                continue
    return read.servers, commands, ""


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket or TCP, with a limit on time and an optional password."""

    def __init__(self, where: str, user: str, password: str) -> None:
        super().__init__(headers=http_side.authorization(user, password))
        self._where = where

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return http_side.connection(self._where, min(ANSWER_SECONDS, deadline.remaining() / 2))


def _ask(server: str, user: str, password: str, log_bytes: int = LOG_BYTES) -> list[Any]:
    """[process infos, end of the log or "", pid of supervisord], in one call."""
    transport = _Transport(server, user, password)
    proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport)
    with deadline.doing(f"asking supervisord at {server}"):
        answers = proxy.system.multicall(
            [
                {"methodName": "supervisor.getAllProcessInfo", "params": []},
                {"methodName": "supervisor.readLog", "params": [-log_bytes, 0]},
                {"methodName": "supervisor.getPID", "params": []},
            ]
        )
    if not isinstance(answers, list) or len(answers) != 3 or not isinstance(answers[0], list):
        raise ValueError("not supervisord's answer")
    log = answers[1] if isinstance(answers[1], str) else ""  # a fault: logfile=NONE
    return [answers[0], log, answers[2] if isinstance(answers[2], int) else 0]


def _silent(server: str, why: str) -> Service:
    return outside.silent("supervisord", NAME, server, why, "supervisorctl status")


def _services(
    answers: list[Any], server: str, now: Stamp, proc: Path, processes: Mapping[int, Process]
) -> list[Service]:
    infos = [info for info in answers[0] if isinstance(info, dict) and "name" in info]
    names = [str(info["name"]) for info in infos]
    lines = parse_log(answers[1])
    starts = {str(i["name"]): int(i.get("start", 0)) for i in infos if int(i.get("pid", 0))}
    ahead = ahead_of_utc(lines, starts)
    if ahead is None:
        ahead = float(time.localtime(now.wall).tm_gmtoff)
    clock = max((int(info.get("now", 0)) for info in infos), default=int(now.wall))
    daemons = {
        str(info["name"]): _daemon(int(info.get("pid", 0)), answers[2], proc, processes)
        for info in infos
    }
    times = _ages(lines, clock + ahead, daemons, proc)
    first = next(filter(None, map(stamp_of, answers[1].splitlines())), None)
    complete = max(0.0, clock + ahead - first) if first is not None else 0.0
    services = []
    for info in infos:
        history: tuple[Ended, ...] | None = None
        if first is not None and names.count(str(info["name"])) == 1:
            # Programs of two groups may be called the same; the log does not say the group.
            history = lives(lines, times, str(info["name"]))
        service = _service(info, history, daemons[str(info["name"])], now, proc)
        services.append(
            replace(
                service,
                history=history,
                history_seconds=complete if history is not None else 0.0,
                exact=history is not None,
            )
        )
    return services


def _daemon(
    pid: int, supervisord: int, proc: Path, processes: Mapping[int, Process]
) -> Process | None:
    """The process of a pid that supervisord named; None if it is of another pid namespace."""
    if not pid:
        return None
    one = processes.get(pid) or process.read(pid, proc)
    return one if one is not None and (not supervisord or one.ppid == supervisord) else None


def _ages(
    lines: Sequence[Line], clock: float, daemons: Mapping[str, Process | None], proc: Path
) -> list[float]:
    """How long ago each line was written.

    Stamps are wall clock. A clock step since the last spawn shows, because the age of that life
    is known exactly; steps back before that are evened out, for the lines are in order.
    """
    if not lines:
        return []
    times = servicedir.ages([line.at for line in lines], max(0.0, clock - lines[-1].at))
    pids = {daemon.pid: daemon for daemon in daemons.values() if daemon is not None}
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].event == "spawned" and lines[at].pid in pids:
            stepped = process.age(pids[lines[at].pid], proc) - times[at]
            if abs(stepped) > 5:
                times[: at + 1] = [max(0.0, old + stepped) for old in times[: at + 1]]
            break
    return times


def _service(
    info: Mapping[str, Any],
    history: tuple[Ended, ...] | None,
    daemon: Process | None,
    now: Stamp,
    proc: Path,
) -> Service:
    name, group = str(info["name"]), str(info.get("group", ""))
    if group and group != name:
        name = f"{group}:{name}"
    reason = str(info.get("spawnerr", ""))
    log = str(info.get("stderr_logfile", "") or info.get("stdout_logfile", ""))
    service = Service(
        name,
        NAME,
        DOWN,
        True,
        last_exit=history[-1].cause if history else "",
        next=f"supervisorctl tail -2000 {name}" + (" stderr" if info.get("stderr_logfile") else ""),
    )
    statename, pid = str(info.get("statename", "")), int(info.get("pid", 0))
    if statename in ("RUNNING", "STARTING"):
        if daemon is not None and daemon.is_alive:
            service = servicedir.alive(service, daemon, now.boot, proc)
        elif daemon is not None or process.read(pid, proc) is None:
            service = replace(service, state=BETWEEN)
        else:
            start = int(info.get("start", 0))
            service = replace(
                service,
                state=UP,
                incarnation=f"{now.boot}:{pid}:{start}",
                age_seconds=float(max(0, int(info.get("now", start)) - start)),
            )
    elif statename == "BACKOFF":
        service = replace(service, state=BETWEEN, reason=reason)
    elif statename == "FATAL":
        service = replace(service, state=GAVE_UP, reason=reason or "FATAL")
    elif statename == "EXITED":
        service = _exited(service, info, reason)
    elif statename in ("STOPPED", "STOPPING"):
        service = replace(service, wanted_up=False)
    else:
        unseen = f"supervisord says {statename or 'nothing'}"
        service = replace(service, state=UNSEEN, unseen=unseen)
    if servicedir.is_talked_about(service) and (history or service.state == GAVE_UP):
        words = servicedir.tail(log, servicedir.LOG_LINES) or servicedir.tail(
            str(info.get("stdout_logfile", "")), servicedir.LOG_LINES
        )
        service = replace(service, log=servicedir.telling(words, 3))
    return service


def _exited(service: Service, info: Mapping[str, Any], reason: str) -> Service:
    """EXITED: done, about to be started again, or left dead though its exit was not expected."""
    if not reason.startswith("Bad exit code"):
        return replace(service, wanted_up=False)
    last_exit = service.last_exit or f"exit status {info.get('exitstatus')}"
    if int(info.get("now", 0)) - int(info.get("stop", 0)) < 3:
        return replace(service, state=BETWEEN, last_exit=last_exit)
    why = "its exit was not expected, and autorestart=false leaves it dead"
    return replace(service, state=GAVE_UP, last_exit=last_exit, reason=why)


def _from_outside(
    place: Place,
    unseen: str,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
    commands: Mapping[tuple[str, ...], str],
) -> list[Service]:
    parents = (
        [place.pid]
        if place.pid
        else [one.pid for one in processes.values() if one.is_alive and _is_supervisord(one)]
    )

    def name_of(one: Process) -> str:
        words = one.cmdline
        known = commands.get(words) or commands.get(words[1:])  # a script, by its interpreter
        return "" if _is_supervisord(one) else known or outside.called(words, one.comm)

    services = [
        service
        for parent in parents
        for service in outside.children(parent, NAME, unseen, now.boot, proc, processes, name_of)
    ]
    return services or [outside.unseen("supervisord", NAME, unseen)]

"""monit: one daemon that checks its processes every cycle and starts those that are gone.

Asks /_status?format=xml at its httpd for the processes, and reads its log file for what it did to
them: monit has no counter, and after `if 3 restarts within 5 cycles then unmonitor` it says no more
than monitor=0, just as after a manual `monit unmonitor`. Only the log tells these two apart.

Rights: the control file is 0600 and root's; it names address, user, password and log. Any other
user sets $MONIT_USERNAME and $MONIT_PASSWORD (a `read-only` user will do) and gives --socket with a
URL or the unix socket; the log is then asked at /_viewlog. Monit's processes are not its children,
so without its httpd nothing can be seen.
"""

from __future__ import annotations

import calendar
import glob
import html
import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple
from xml.etree import ElementTree

from twiceshy.flapping.service import (
    BETWEEN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    EndedLife,
    Exit,
    Service,
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
from twiceshy.kit import deadline
from twiceshy.kit.http import HttpError, NotAllowed
from twiceshy.kit.processes import Process, ProcessTable

NAME = "monit"
PROCESS = "3"  # <service type="3">
DOES_NOT_EXIST = 512  # in <status>, Event_NonExist of monit's event.h
PASSIVE, ON_REQUEST = 1, 2  # <monitormode>; monit calls the second "manual"
LOG_BYTES = 262144
MOST_BYTES = 8 << 20
CONTROL_FILES = ("/etc/monit/monitrc", "/etc/monitrc", "/etc/monit.conf", "/usr/local/etc/monitrc")
DEFAULT_URL = "http://127.0.0.1:2812"
NOBODY = Server()
DAEMON = single_daemon.Daemon(NAME, NAME, "monit status")


# What the formats say


@dataclass(frozen=True)
class Control:
    """What the control file says about asking monit."""

    server: Server = NOBODY
    log: str = ""  # "" when it logs to syslog
    includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MonitProcess:
    """One <service type="3">."""

    name: str
    pid: int  # 0: not known
    status: int
    is_monitored: bool
    mode: int


def parse_control(text: str) -> Control:
    """`set httpd`, `set log` and `include` of a control file (monit(1)); the rest is skipped."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:
        words = text.split()
    port, address, sock, user, password, log = "", "", "", "", "", ""
    includes = []
    in_httpd = False
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        low = word.lower()
        if low == "set":
            in_httpd = following.lower() == "httpd"
        elif low in ("check", "include"):
            in_httpd = False
            if low == "include":
                includes.append(following)
        elif low in ("log", "logfile") and at and words[at - 1].lower() == "set":
            log = following if following.startswith("/") else ""
        elif in_httpd and low == "port" and following.isdigit():
            port = following
        elif in_httpd and low == "address":
            address = following
        elif in_httpd and low == "unixsocket":
            sock = following
        elif in_httpd and low == "allow" and ":" in following and not user:
            user, _, password = following.partition(":")
    server = sock
    if port:
        local = address in ("", "0.0.0.0", "::", "any", "localhost")
        server = f"http://{'127.0.0.1' if local else address}:{port}"
    return Control(Server(server, user, password), log, tuple(includes))


def parse_status(content: bytes) -> list[MonitProcess]:
    """The processes in monit's XML. ValueError if it is none of monit's."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not XML: {error}") from None
    if root.tag != "monit":
        raise ValueError("not monit's XML")
    listed = []
    for service in root.iter("service"):
        # Since 5.x an attribute; older servers put <type> inside.
        if (service.get("type") or service.findtext("type")) != PROCESS:
            continue
        listed.append(
            MonitProcess(
                name=service.findtext("name") or service.get("name") or "",
                pid=_number(service.findtext("pid")),
                status=_number(service.findtext("status")),
                is_monitored=_number(service.findtext("monitor")) != 0,
                mode=_number(service.findtext("monitormode")),
            )
        )
    return listed


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0


_STAMPED = re.compile(r"\[([^\]]+)\] \w+\s*: (?:'([^']*)' )?(.*)")


class LogEntry(NamedTuple):
    """One line of monit's log."""

    at: float  # seconds (Unix)
    service: str  # "" for those about monit itself
    text: str


def parse_log(text: str, now_wall: float) -> list[LogEntry]:
    """The lines of monit's log, oldest first; others are left out.

    `[2026-11-21T10:07:18+0000]` since 5.27; `[UTC Nov 21 10:07:18]` before, of no year.
    """
    lines = []
    for line in text.splitlines():
        found_line = _STAMPED.match(line)
        if not found_line:
            continue
        stamp, name, what = found_line.groups()
        at = _time(stamp, now_wall)
        if at is not None:
            lines.append(LogEntry(at, name or "", what))
    return lines


def _time(stamp: str, now_wall: float) -> float | None:
    found_zone = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)([+-])(\d\d):?(\d\d)", stamp)
    try:
        if found_zone:
            day, sign, hours, minutes = found_zone.groups()
            ahead = (int(hours) * 60 + int(minutes)) * (60 if sign == "+" else -60)
            return float(calendar.timegm(time.strptime(day, "%Y-%m-%dT%H:%M:%S")) - ahead)
        words = stamp.split()
        if len(words) != 4:
            return None
        year = time.localtime(now_wall).tm_year
        text = f"{year} {' '.join(words[1:])}"
        at = time.mktime(time.strptime(text, "%Y %b %d %H:%M:%S"))
        # In January a line of December is of last year.
        return at if at < now_wall + 86400 * 180 else at - 86400 * 365
    except (ValueError, OverflowError):
        return None


def viewlog_text(page: str) -> str:
    """The log inside the page /_viewlog, which has it in a <textarea>."""
    inside = re.search(r"<textarea[^>]*>(.*?)(?:</textarea>|\Z)", page, re.S)
    return html.unescape(inside.group(1)) if inside else ""


def lives(lines: Sequence[LogEntry], name: str, ages: Sequence[float]) -> tuple[EndedLife, ...]:
    """The lives of one process that ended, by what monit did about it."""
    ends = []
    why = ""
    is_first = False  # what monit finds at its own start has not died under it
    for line, age_seconds in zip(lines, ages):
        if re.match(r"Monit \S+ started", line.text):
            is_first = True
        if line.service != name:
            continue
        on_request = re.match(r"(stop|restart) on user request", line.text)
        if line.text.startswith("trying to restart"):
            if is_first:
                is_first = False
                continue
            ends.append(EndedLife(age_seconds, CRASH, Exit(why)))
        elif on_request:
            ends.append(EndedLife(age_seconds, MANUAL, Exit(f"manual {on_request[1]}")))
        elif not line.text.startswith(("start", "process is running", "stop", "restart")):
            why = line.text
    return tuple(ends)


_USUAL = ("start:", "stop:", "trying to", "process is running", "process is not", "zombie check")


def lines_about(lines: Sequence[LogEntry], name: str) -> tuple[str, ...]:
    """The last of what monit logged about a process, without what it logs at each restart."""
    about = [line.text for line in lines if line.service == name]
    return tuple(text for text in about if not text.startswith(_USUAL))[-log_lines.SHOWN_LINES :]


class Unmonitored(Enum):
    """Who made monit stop monitoring a process."""

    BY_USER = "by a user"
    BY_LIMIT = "by a limit"  # `if 3 restarts within 5 cycles then unmonitor`
    UNKNOWN = "unknown"


def unmonitored_by(lines: Sequence[LogEntry], name: str) -> tuple[Unmonitored, str]:
    """Who made monit stop monitoring a process, and the log's words for monit's own limit."""
    for line in reversed(lines):
        if line.service != name:
            continue
        if re.match(r"(stop|unmonitor) on user request", line.text):
            return Unmonitored.BY_USER, ""
        if line.text.endswith("- unmonitor") or re.search(r"restarted \d+ times within", line.text):
            return Unmonitored.BY_LIMIT, line.text
        if re.match(r"(start|monitor|restart) on user request", line.text):
            break
    return Unmonitored.UNKNOWN, ""


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The monits that run here, each with its control file."""
    found = []
    for process in table.processes.values():
        if process.comm != "monit" or not process.is_alive or not _is_daemon(process):
            continue
        file = single_daemon.configuration(process, CONTROL_FILES, table)
        found.append(Instance(NAME, file or DEFAULT_URL, process.pid))
    return found


def _is_daemon(process: Process) -> bool:
    """Not `monit status` typed by somebody just now."""
    commands = ("status", "summary", "report", "start", "stop", "restart", "monitor", "unmonitor")
    return not set(commands) & set(process.cmdline[1:])


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The processes of one monit. The address is a control file, a URL or a unix socket."""
    return single_daemon.services(DAEMON, lambda: _asked(instance.address, table))


def _asked(address: str, table: ProcessTable) -> list[Service]:
    control, trouble = Control(Server(address)), ""
    if not local_http.is_address(address):
        control, trouble = _control(address)
    if not control.server.address and not trouble:
        trouble = f"{address} has no `set httpd`, without which monit cannot be queried"
    server = control.server
    server = Server(
        server.address or DEFAULT_URL,
        server.user or os.environ.get("MONIT_USERNAME", ""),
        server.password or os.environ.get("MONIT_PASSWORD", ""),
    )
    control = replace(control, server=server)
    try:
        with deadline.doing(f"asking monit at {server.address}"):
            answer = local_http.ask(server, "/_status?format=xml", MOST_BYTES)
            listed = parse_status(answer.body) if answer.status == 200 else []
    except NotAllowed:
        raise Unobservable(
            f"not allowed to use {server.address}: run the check with sudo"
        ) from None
    except HttpError as error:
        if trouble:
            raise Unobservable(trouble) from None
        raise Unresponsive(server.address, str(error)) from error
    except ValueError as error:
        raise Unobservable(f"{server.address} does not answer like monit: {error}") from error
    if answer.status in (401, 403):
        raise Unobservable(
            trouble
            or f"{server.address} requires a user name and a password: set $MONIT_USERNAME and "
            "$MONIT_PASSWORD"
        )
    if answer.status != 200:
        raise Unobservable(f"{server.address} answers with HTTP status {answer.status}")
    with deadline.doing(f"reading the log of monit at {server.address}"):
        return _services(listed, control, table)


def _control(file: str) -> tuple[Control, str]:
    """(what the control file and its includes say, why it says nothing)."""
    try:
        control = parse_control(_text_of(file, 1 << 20))
    except OSError as error:
        return Control(), (
            f"cannot read {file} ({error.strerror}): run the check with sudo, or give --socket "
            "with $MONIT_USERNAME and $MONIT_PASSWORD"
        )
    for pattern in control.includes:
        for path in sorted(glob.glob(pattern)):
            try:
                more = parse_control(_text_of(path, 1 << 20))
            except OSError:
                continue
            control = Control(
                Server(
                    control.server.address or more.server.address,
                    control.server.user or more.server.user,
                    control.server.password or more.server.password,
                ),
                control.log or more.log,
                control.includes,
            )
    return control, ""


def _text_of(path: str, most_bytes: int) -> str:
    return service_directories.content(path, most_bytes).decode("utf-8", "replace")


def _log(control: Control, most_bytes: int) -> str:
    """The end of monit's log, from its file or from its own page; "" if neither may be read."""
    if control.log:
        try:
            with open(control.log, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - most_bytes))
                return file.read(most_bytes).decode("utf-8", "replace")
        except OSError:
            pass
    try:
        answer = local_http.ask(control.server, "/_viewlog", MOST_BYTES)
    except HttpError:
        return ""
    return viewlog_text(answer.text)[-most_bytes:] if answer.status == 200 else ""


def _older_log(control: Control) -> str:
    """As much of the log as may be worth reading, the rotated one before it."""
    rotated = ""
    if control.log:
        try:
            rotated = _text_of(f"{control.log}.1", MOST_BYTES)
        except OSError:
            pass
    return rotated + _log(control, MOST_BYTES)


def _all_unmonitored(
    listed: Sequence[MonitProcess], lines: Sequence[LogEntry], control: Control, table: ProcessTable
) -> dict[str, tuple[Unmonitored, str]]:
    """Why each of the unmonitored is not monitored; that may have happened weeks ago."""
    names = [watched.name for watched in listed if not watched.is_monitored]
    why = {name: unmonitored_by(lines, name) for name in names}
    if any(who is Unmonitored.UNKNOWN for who, _ in why.values()):
        telling = [
            line
            for line in _older_log(control).splitlines()
            if "on user request" in line or "unmonitor" in line
        ]
        older = parse_log("\n".join(telling), table.now.wall)
        for name, (who, _) in list(why.items()):
            if who is Unmonitored.UNKNOWN:
                why[name] = unmonitored_by(older, name)
    return why


def _services(
    listed: Sequence[MonitProcess], control: Control, table: ProcessTable
) -> list[Service]:
    lines = parse_log(_log(control, LOG_BYTES), table.now.wall)
    why = _all_unmonitored(listed, lines, control, table)
    ages: list[float] = []
    if lines:
        newest = max(0.0, table.now.wall - lines[-1].at)
        ages = timestamps.ages([line.at for line in lines], newest)
    found = []
    for watched in listed:
        service = _service(watched, lines, why.get(watched.name, (Unmonitored.UNKNOWN, "")), table)
        if lines:
            is_wanted = log_lines.are_wanted(service)
            service = replace(
                service,
                history=lives(lines, watched.name, ages),
                history_seconds=ages[0],
                exact=True,
                log=lines_about(lines, watched.name) if is_wanted else (),
            )
        found.append(service)
    return found


def _service(
    watched: MonitProcess,
    lines: Sequence[LogEntry],
    why: tuple[Unmonitored, str],
    table: ProcessTable,
) -> Service:
    service = Service(watched.name, NAME, DOWN, True, next=f"monit status {watched.name}")
    if not watched.is_monitored:
        who, limit = why
        is_unknown = who is Unmonitored.UNKNOWN
        if who is Unmonitored.BY_USER or (watched.mode == ON_REQUEST and is_unknown):
            return replace(service, wanted_up=False)
        reason = f"monit stopped monitoring it: {limit}"
        if is_unknown:
            reason = "monit does not monitor it, and nothing shows that anyone asked for that"
        return replace(service, state=GAVE_UP, reason=reason)
    daemon = table.process(watched.pid) if watched.pid > 0 else None
    if daemon is not None and daemon.is_alive:
        return running(service, daemon, table)
    if watched.mode == PASSIVE:
        return replace(
            service, state=GAVE_UP, reason="it is not running, and monit only watches it (passive)"
        )
    about = [line.text for line in lines if line.service == watched.name]
    failed = [text for text in about if "failed to start" in text]
    ran = any("process is running" in text for text in about)
    return replace(service, state=BETWEEN, reason=failed[-1] if failed and not ran else "")

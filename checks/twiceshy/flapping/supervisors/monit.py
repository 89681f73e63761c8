"""monit: one daemon that looks at its processes every cycle and starts those that are gone.

Asks /_status?format=xml at its httpd for the processes, and reads its log file for what it did to
them: monit has no counter, and after `if 3 restarts within 5 cycles then unmonitor` it says no more
than monitor=0, just as after `monit unmonitor` by hand. Only the log tells these two apart.

Rights: the control file is 0600 and root's; it names address, user, password and log. Any other
user sets $MONIT_USERNAME and $MONIT_PASSWORD (a `read-only` user will do) and gives --socket with a
URL or the unix socket; the log is then asked at /_viewlog. Monit's processes are not its children,
so without its httpd nothing can be seen.
"""

from __future__ import annotations

import calendar
import glob
import html
import http.client
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from twiceshy.flapping.supervisors import (
    BETWEEN,
    BY_HAND,
    CRASH,
    DOWN,
    GAVE_UP,
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

NAME = "monit"
PROCESS = "3"  # <service type="3">
DOES_NOT_EXIST = 512  # in <status>, Event_NonExist of monit's event.h
PASSIVE, MANUAL = 1, 2  # <monitormode>
LOG_BYTES = 262144
MOST_BYTES = 8 << 20
ANSWER_SECONDS = 3.0
CONTROL_FILES = ("/etc/monit/monitrc", "/etc/monitrc", "/etc/monit.conf", "/usr/local/etc/monitrc")
DEFAULT_URL = "http://127.0.0.1:2812"


# What the formats say


@dataclass(frozen=True)
class Control:
    """What the control file says about asking monit."""

    server: str = ""  # URL or socket
    user: str = ""
    password: str = ""
    log: str = ""  # "" when it logs to syslog
    includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched:
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
    return Control(server, user, password, log, tuple(includes))


def parse_status(content: bytes) -> list[Watched]:
    """The processes in monit's XML. ValueError if it is none of monit's."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not XML: {error}") from None
    if root.tag != "monit":
        raise ValueError("not monit's XML")
    watched = []
    for service in root.iter("service"):
        # Since 5.x an attribute; older servers put <type> inside.
        if (service.get("type") or service.findtext("type")) != PROCESS:
            continue
        watched.append(
            Watched(
                name=service.findtext("name") or service.get("name") or "",
                pid=_number(service.findtext("pid")),
                status=_number(service.findtext("status")),
                is_monitored=_number(service.findtext("monitor")) != 0,
                mode=_number(service.findtext("monitormode")),
            )
        )
    return watched


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0


_STAMPED = re.compile(r"\[([^\]]+)\] \w+\s*: (?:'([^']*)' )?(.*)")


def parse_log(text: str, now_wall: float) -> list[tuple[float, str, str]]:
    """(time, service or "", what) of each line, oldest first.

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
            lines.append((at, name or "", what))
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


def lives(
    lines: Sequence[tuple[float, str, str]], name: str, times: Sequence[float]
) -> tuple[Ended, ...]:
    """The lives of one process that ended, by what monit did about it."""
    ends = []
    why = ""
    is_first = False  # what monit finds at its own start has not died under it
    for (_, service, what), age_seconds in zip(lines, times):
        if re.match(r"Monit \S+ started", what):
            is_first = True
        if service != name:
            continue
        if what.startswith("trying to restart"):
            if is_first:
                is_first = False
                continue
            ends.append(Ended(age_seconds, CRASH, why))
        elif re.match(r"(stop|restart) on user request", what):
            ends.append(Ended(age_seconds, BY_HAND, what.partition(" ")[0] + " by hand"))
        elif not what.startswith(("start", "process is running", "stop", "restart")):
            why = what
    return tuple(ends)


_USUAL = ("start:", "stop:", "trying to", "process is running", "process is not", "zombie check")


def words_about(lines: Sequence[tuple[float, str, str]], name: str) -> tuple[str, ...]:
    """The last of what monit said about a process, without what it says at each restart."""
    return tuple(what for _, one, what in lines if one == name and not what.startswith(_USUAL))[-3:]


def unmonitored_by(lines: Sequence[tuple[float, str, str]], name: str) -> str:
    """Why monit does not monitor: "hand", monit's own limit as it says it, or "" unknown."""
    for _, service, what in reversed(lines):
        if service != name:
            continue
        if re.match(r"(stop|unmonitor) on user request", what):
            return "hand"
        if what.endswith("- unmonitor") or re.search(r"restarted \d+ times within", what):
            return what
        if re.match(r"(start|monitor|restart) on user request", what):
            return ""
    return ""


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The monits that run here, each with its control file."""
    everyone = process.snapshot(proc) if processes is None else processes
    places = []
    for one in everyone.values():
        if one.comm != "monit" or not one.is_alive or not _is_daemon(one):
            continue
        file = outside.configuration(one, CONTROL_FILES, proc)
        places.append(Place(NAME, file or DEFAULT_URL, one.pid))
    return places


def _is_daemon(one: Process) -> bool:
    """Not `monit status` typed by somebody just now."""
    commands = ("status", "summary", "report", "start", "stop", "restart", "monitor", "unmonitor")
    return not set(commands) & set(one.cmdline[1:])


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The processes of one monit. A place is a control file, a URL or a unix socket."""
    everyone = process.snapshot(proc) if processes is None else processes
    control = Control(server=place.where)
    trouble = ""
    if not http_side.is_server(place.where):
        control, trouble = _control(place.where)
    if not control.server and not trouble:
        trouble = f"{place.where} has no `set httpd`: monit can only be asked there"
    control = replace(
        control,
        server=control.server or DEFAULT_URL,
        user=control.user or os.environ.get("MONIT_USERNAME", ""),
        password=control.password or os.environ.get("MONIT_PASSWORD", ""),
    )
    try:
        unmonitored: dict[str, str] = {}
        with deadline.doing(f"asking monit at {control.server}"):
            status, content = _get(control, "/_status?format=xml")
            if status == 200:
                watched = parse_status(content)
                log = _log(control, LOG_BYTES)
                unmonitored = _why_unmonitored(watched, parse_log(log, now.wall), control, now)
    except PermissionError:
        return [_unseen(f"not allowed to use {control.server}: run the check by sudo")]
    except (OSError, http.client.HTTPException) as error:
        if trouble:
            return [_unseen(trouble)]
        return [outside.silent(NAME, NAME, control.server, outside.said(error), "monit status")]
    except ValueError as error:
        return [_unseen(f"{control.server} does not speak as monit does: {error}")]
    if status in (401, 403):
        return [
            _unseen(
                trouble
                or f"{control.server} wants a user and a password: set $MONIT_USERNAME/_PASSWORD"
            )
        ]
    if status != 200:
        return [_unseen(f"{control.server} answers {status}")]
    return _services(watched, log, unmonitored, now, proc, everyone)


def _control(file: str) -> tuple[Control, str]:
    """(what the control file and its includes say, why it says nothing)."""
    try:
        control = parse_control(servicedir.content(file, 1 << 20).decode("utf-8", "replace"))
    except OSError as error:
        return Control(), (
            f"cannot read {file} ({error.strerror}): run the check by sudo, or give --socket "
            "with $MONIT_USERNAME and $MONIT_PASSWORD"
        )
    for pattern in control.includes:
        for path in sorted(glob.glob(pattern)):
            try:
                more = parse_control(servicedir.content(path, 1 << 20).decode("utf-8", "replace"))
            except OSError:
                continue
            control = Control(
                control.server or more.server,
                control.user or more.user,
                control.password or more.password,
                control.log or more.log,
                control.includes,
            )
    return control, ""


def _get(control: Control, path: str) -> tuple[int, bytes]:
    """(status, body) of one GET."""
    seconds = min(ANSWER_SECONDS, deadline.remaining() / 2)
    connection = http_side.connection(control.server, seconds)
    headers = http_side.authorization(control.user, control.password)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read(MOST_BYTES)
    finally:
        connection.close()


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
        status, content = _get(control, "/_viewlog")
    except (OSError, http.client.HTTPException):
        return ""
    if status != 200:
        return ""
    return viewlog_text(content.decode("utf-8", "replace"))[-most_bytes:]


def _older_log(control: Control) -> str:
    """As much of the log as may be worth reading, the rotated one before it."""
    rotated = ""
    if control.log:
        try:
            rotated = servicedir.content(f"{control.log}.1", MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            pass
    return rotated + _log(control, MOST_BYTES)


def _why_unmonitored(
    watched: Sequence[Watched],
    lines: Sequence[tuple[float, str, str]],
    control: Control,
    now: Stamp,
) -> dict[str, str]:
    """Why each of the unmonitored is not monitored; that may have happened weeks ago."""
    names = [one.name for one in watched if not one.is_monitored]
    why = {name: unmonitored_by(lines, name) for name in names}
    if not all(why.values()):
        telling = [
            line
            for line in _older_log(control).splitlines()
            if "on user request" in line or "unmonitor" in line
        ]
        older = parse_log("\n".join(telling), now.wall)
        why = {name: known or unmonitored_by(older, name) for name, known in why.items()}
    return why


def _services(
    watched: Sequence[Watched],
    log: str,
    why: Mapping[str, str],
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> list[Service]:
    lines = parse_log(log, now.wall)
    times: list[float] = []
    if lines:
        newest = max(0.0, now.wall - lines[-1][0])
        times = servicedir.ages([at for at, _, _ in lines], newest)
    services = []
    for one in watched:
        service = _service(one, lines, why.get(one.name, ""), now, proc, processes)
        if lines:
            history = lives(lines, one.name, times)
            service = replace(
                service,
                history=history,
                history_seconds=times[0],
                exact=True,
                log=words_about(lines, one.name) if servicedir.is_talked_about(service) else (),
            )
        services.append(service)
    return services


def _service(
    one: Watched,
    lines: Sequence[tuple[float, str, str]],
    why: str,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> Service:
    service = Service(one.name, NAME, DOWN, True, next=f"monit status {one.name}")
    if not one.is_monitored:
        if why == "hand" or (one.mode == MANUAL and not why):
            return replace(service, wanted_up=False)
        reason = f"monit stopped monitoring it: {why}"
        if not why:
            reason = "monit does not monitor it, and nothing says that somebody asked for that"
        return replace(service, state=GAVE_UP, reason=reason)
    daemon = (processes.get(one.pid) or process.read(one.pid, proc)) if one.pid > 0 else None
    if daemon is not None and daemon.is_alive:
        return servicedir.alive(service, daemon, now.boot, proc)
    if one.mode == PASSIVE:
        return replace(
            service, state=GAVE_UP, reason="it does not run, and monit only watches it (passive)"
        )
    failed = [what for _, name, what in lines if name == one.name and "failed to start" in what]
    last = [what for _, name, what in lines if name == one.name and "process is running" in what]
    reason = failed[-1] if failed and not last else ""
    return replace(service, state=BETWEEN, reason=reason)


def _unseen(why: str) -> Service:
    return outside.unseen(NAME, NAME, why)

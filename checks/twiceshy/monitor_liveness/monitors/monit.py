"""Monit: when its check loop last collected anything, from its own XML.

The HTTP thread is not the check loop: one TCP test with a timeout of a minute blocked the loop
while HTTP said 200 and the uptime rose (measured with 5.33). `collected_sec` of the services is the
loop's own mark. monit.state and monit.log do not change for minutes when all is well.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Seen,
    Target,
    Wishes,
    age_measures,
    ago,
    asking,
    dead,
    fine,
    poor,
    processes,
    unanswered,
)
from twiceshy.monitor_liveness.monitors.contact import answered, halted, instance, page, url_of
from twiceshy.monitor_liveness.monitors.processes import Process

PORT = 2812
CONFIGS = ("/etc/monit/monitrc", "/etc/monitrc", "/usr/local/etc/monitrc")

# Tests run one after the other; a slow one may hold the others up for as long as its timeout.
SLOW_TEST_SECONDS = 60.0


@dataclass(frozen=True)
class Collected:
    """One service and when Monit last looked at it."""

    name: str
    at: float
    is_monitored: bool
    has_own_rhythm: bool


@dataclass(frozen=True)
class State:
    """/_status?format=xml in a few values; seconds."""

    uptime: float
    poll: float
    start_delay: float
    services: tuple[Collected, ...]


def parse_state(body: bytes) -> State:
    """Monit's XML (src/http/xml.c), in ISO-8859-1 as it says. Trouble when it is not that."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise asking.Trouble("strange", "the answer is not Monit's XML") from None
    if root.tag != "monit":
        raise asking.Trouble("strange", "the answer is not Monit's XML")

    def number(element: ElementTree.Element, path: str) -> float:
        try:
            return float(element.findtext(path) or 0)
        except ValueError:
            return 0.0

    return State(
        uptime=number(root, "server/uptime"),
        poll=number(root, "server/poll"),
        start_delay=number(root, "server/startdelay"),
        services=tuple(
            Collected(
                name=service.findtext("name") or service.get("name") or "?",
                at=number(service, "collected_sec"),
                is_monitored=number(service, "monitor") == 1,
                has_own_rhythm=service.find("every") is not None,
            )
            for service in root.iter("service")
        ),
    )


@dataclass(frozen=True)
class Door:
    """Monit's HTTP server, from a control file."""

    port: int = 0
    host: str = ""
    socket: str = ""
    user: str = ""
    password: str = ""


def parse_control_file(text: str) -> Door:
    """`set httpd port N [use address H] | unixsocket PATH`, `allow user:password` (monit(1))."""
    text = re.sub(r"(?m)#.*$", "", text)
    httpd = re.search(r"(?is)\bset\s+httpd\b(.*?)(?=\n\s*(?:set|check|include)\b|\Z)", text)
    if not httpd:
        return Door()
    port = re.search(r"(?i)\bport\s+(\d+)", httpd.group(1))
    host = re.search(r"(?i)\buse\s+address\s+(\S+)", httpd.group(1))
    socket = re.search(r"(?i)\bunixsocket\s+\"?([^\s\"]+)", httpd.group(1))
    login = re.search(r"(?i)\ballow\s+\"?([\w.-]+)\"?:\"?([^\s\"]+)\"?", httpd.group(1))
    return Door(
        int(port.group(1)) if port else 0,
        host.group(1) if host else "",
        socket.group(1) if socket else "",
        login.group(1) if login else "",
        login.group(2) if login else "",
    )


@dataclass(frozen=True)
class Sight:
    """One Monit in one look."""

    name: str
    url: str
    probe_seconds: float | None = None
    date: str = ""
    trouble: tuple[str, str] = ("", "")
    state: State | None = None
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance(
            "monit",
            process,
            config=processes.path_of(process, processes.option_of(process.argv, "-c"))
            or CONFIGS[0],
        )
        for process in table
        # Without these it is the command line that talks to the daemon.
        if process.program == "monit"
        and not {"status", "summary", "report", "reload", "quit", "-t"} & set(process.argv)
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    """Ask for the XML; where the control file may be read, with the login that it allows.

    That is what `monit status` does, and only its own user can.
    """
    door, is_read = Door(), False
    paths = (str(target.config),) if target.config else () if target.url or target.host else CONFIGS
    for path in paths:
        try:
            door = parse_control_file(Path(path).read_text("utf-8", "replace"))
            is_read = True
        except OSError:
            continue
    is_told = bool(target.url or target.host or target.port or target.socket)
    unix_socket = target.socket or ("" if is_told or door.port else door.socket)
    url = url_of(replace(target, host=target.host or door.host), door.port or PORT)
    seen = Sight(target.name, url, main=target.main)
    if is_read and not (door.port or door.socket or is_told):
        trouble = ("forbidden", "its control file has no `set httpd`, so nothing can be asked")
        return replace(seen, trouble=trouble)
    login = {"user": wishes.user or door.user, "password": wishes.password or door.password}
    try:
        answer = page(f"{url}/_status?format=xml", wishes, unix_socket=unix_socket, **login)
        return replace(
            seen,
            probe_seconds=answer.seconds,
            date=answer.headers.get("Date", ""),
            state=parse_state(answer.body),
        )
    except asking.Trouble as trouble:
        kind, text = trouble.told
        if kind == "refused" and target.main and not (door.port or target.url or target.port):
            # That port was only the usual one: its control file is not ours to read.
            kind, text = (
                "forbidden",
                f"{text}, and its control file cannot be read (--url, --socket)",
            )
        return replace(seen, trouble=(kind, text))


RESTART = "monit status; journalctl -u monit -n 50"


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    state = seen.state
    if state is None:
        organs.append(unanswered(*seen.trouble, next=RESTART, has_login=bool(wishes.user)))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, None, None))
    organs += answered(seen.probe_seconds, seen.date, clock)
    limit = wishes.silence or wishes.intervals * state.poll + SLOW_TEST_SECONDS
    grace = max(wishes.startup_grace, state.start_delay + state.poll)
    is_young = state.uptime < grace
    regular = [s for s in state.services if s.is_monitored and not s.has_own_rhythm and s.at]
    age = clock.age(max(s.at for s in regular)) if regular else None
    late = [s for s in regular if clock.age(s.at) > limit]
    if not regular:
        organs.append(fine("executor", "has nothing to do: no service is monitored"))
    elif age is not None and age < -5:
        organs.append(
            dead("clock", f"is wrong: the newest values are from {ago(age)}", "timedatectl")
        )
    elif age is not None and age > limit and not is_young:
        organs.append(
            dead(
                "executor",
                f"has looked at nothing for {ago(age)} (limit {ago(limit)}, "
                f"poll {state.poll:.0f}s): its check loop is blocked",
                RESTART,
            )
        )
    elif late and not is_young:
        worst = min(late, key=lambda s: s.at)
        organs.append(
            poor(
                "executor",
                f"starves {len(late)} of {len(regular)} services, {safe(worst.name, 60)} was "
                f"looked at {ago(clock.age(worst.at))} ago",
                RESTART,
            )
        )
    else:
        organs.append(fine("executor", f"looked at a service {ago(max(0.0, age or 0.0))} ago"))
    return Seen(
        seen.name,
        tuple(organs),
        age_measures(seen.name, age, limit, seen.probe_seconds, overdue=float(len(late))),
        started=state.uptime,
    )

"""Monit: when its check loop last collected anything, from its own XML.

The HTTP thread is not the check loop: one TCP test with a timeout of a minute blocked the loop
while HTTP said 200 and the uptime rose (measured with 5.33). `collected_sec` of the services is the
loop's own mark. monit.state and monit.log do not change for minutes when all is well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twiceshy.kit import http
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    ago,
    critical,
    ok,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers, processes
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PORT = 2812
CONFIGS = ("/etc/monit/monitrc", "/etc/monitrc", "/usr/local/etc/monitrc")

# Tests run one after the other; a slow one may hold the others up for as long as its timeout.
SLOW_TEST_SECONDS = 60.0


@dataclass(frozen=True)
class Collected:
    """One service and when Monit last checked it."""

    name: str
    at: float
    is_monitored: bool
    has_own_rhythm: bool


@dataclass(frozen=True)
class MonitStatus:
    """/_status?format=xml in a few values; seconds."""

    uptime: float
    poll: float
    start_delay: float
    services: tuple[Collected, ...]


def parse_status(body: bytes) -> MonitStatus:
    """Monit's XML (src/http/xml.c), in ISO-8859-1 as it says. Malformed when it is not that."""
    from xml.etree import ElementTree  # for this one of all monitors

    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise http.Malformed("the answer is not Monit's XML") from None
    if root.tag != "monit":
        raise http.Malformed("the answer is not Monit's XML")

    def number(element: Element, path: str) -> float:
        try:
            return float(element.findtext(path) or 0)
        except ValueError:
            return 0.0

    return MonitStatus(
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
class Httpd:
    """Monit's HTTP server, from a control file."""

    port: int = 0
    host: str = ""
    socket: str = ""
    user: str = ""
    password: str = ""


def parse_control_file(text: str) -> Httpd:
    """`set httpd port N [use address H] | unixsocket PATH`, `allow user:password` (monit(1))."""
    text = re.sub(r"(?m)#.*$", "", text)
    httpd = re.search(r"(?is)\bset\s+httpd\b(.*?)(?=\n\s*(?:set|check|include)\b|\Z)", text)
    if not httpd:
        return Httpd()
    port = re.search(r"(?i)\bport\s+(\d+)", httpd.group(1))
    host = re.search(r"(?i)\buse\s+address\s+(\S+)", httpd.group(1))
    socket = re.search(r"(?i)\bunixsocket\s+\"?([^\s\"]+)", httpd.group(1))
    login = re.search(r"(?i)\ballow\s+\"?([\w.-]+)\"?:\"?([^\s\"]+)\"?", httpd.group(1))
    return Httpd(
        int(port.group(1)) if port else 0,
        host.group(1) if host else "",
        socket.group(1) if socket else "",
        login.group(1) if login else "",
        login.group(2) if login else "",
    )


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Monit."""

    status: MonitStatus | None = None


def found(table: Sequence[Process]) -> list[Target]:
    """Every Monit daemon of this host, by its process."""
    return [
        instance(
            "monit",
            process,
            config=processes.path_of(process, processes.option_of(process.cmdline, "-c"))
            or CONFIGS[0],
        )
        for process in table
        # Without these it is the command line that talks to the daemon.
        if process.program == "monit"
        and not {"status", "summary", "report", "reload", "quit", "-t"} & set(process.cmdline)
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask for the XML; where the control file may be read, with the login that it allows.

    That is what `monit status` does, and only its own user can.
    """
    httpd = _httpd_of(target)
    known = httpd or Httpd()
    url = answers.url_of(replace(target, host=target.host or known.host), known.port or PORT)
    observation = Observation(
        target.name,
        url,
        main=target.main,
        is_guessed=not (known.port or target.url or target.port),
    )
    if httpd and not (httpd.port or httpd.socket or target.is_located):
        why = "its control file has no `set httpd`, so there is nothing to query"
        return replace(observation, failure=http.Forbidden(why))
    own_socket = "" if target.is_located or known.port else known.socket
    request = replace(
        answers.request_of(f"{url}/_status?format=xml", settings),
        unix_socket=target.socket or own_socket,
        user=settings.user or known.user,
        password=settings.password or known.password,
    )

    def asking(empty: Observation) -> Observation:
        answer = answers.page(request)
        return answers.answered_by(empty, answer, status=parse_status(answer.body))

    return answers.observed(observation, asking)


def _httpd_of(target: Target) -> Httpd | None:
    """Monit's HTTP server from its control file; None where no such file can be read."""
    paths = (str(target.config),) if target.config else () if target.url or target.host else CONFIGS
    httpd = None
    for path in paths:
        try:
            httpd = parse_control_file(Path(path).read_text("utf-8", "replace"))
        except OSError:
            continue
    return httpd


RESTART = "monit status; journalctl -u monit -n 50"


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    status = observation.status
    if observation.failure or status is None:
        failure = observation.failure or http.HttpError()
        if isinstance(failure, http.Refused) and observation.main and observation.is_guessed:
            # That port was only the usual one: its control file is not ours to read.
            failure = http.Forbidden(
                f"{failure}, and its control file cannot be read (--url, --socket)"
            )
        components.append(answers.unanswered(failure, RESTART, has_login=bool(settings.user)))
        return answers.health(observation, components)
    components += answers.answers(observation, clock)
    limit = settings.silence or settings.intervals * status.poll + SLOW_TEST_SECONDS
    grace = max(settings.startup_grace, status.start_delay + status.poll)
    regular = [s for s in status.services if s.is_monitored and not s.has_own_rhythm and s.at]
    late = [s for s in regular if clock.age(s.at) > limit]
    age = clock.age(max(s.at for s in regular)) if regular else None
    if age is None:
        components.append(ok("executor", "has nothing to do: no service is monitored"))
    elif age < -5:
        text = f"is wrong: the newest values are from {ago(age)}"
        components.append(critical("clock", text, "timedatectl"))
    elif age > limit and not status.uptime < grace:
        components.append(
            critical(
                "executor",
                f"has checked nothing for {ago(age)} (limit {ago(limit)}, "
                f"poll {status.poll:.0f}s): its check loop is blocked",
                RESTART,
            )
        )
    elif late and not status.uptime < grace:
        components.append(_starved(late, len(regular), clock))
    else:
        components.append(ok("executor", f"checked a service {ago(max(0.0, age))} ago"))
    return answers.health(
        observation,
        components,
        started=status.uptime,
        age=age,
        limit=limit,
        overdue=float(len(late)),
    )


def _starved(late: Sequence[Collected], regular: int, clock: Clock) -> Component:
    worst = min(late, key=lambda service: service.at)
    return warning(
        "executor",
        f"is behind: {len(late)} of {regular} services are starved, {safe(worst.name, 60)} was "
        f"last checked {ago(clock.age(worst.at))} ago",
        RESTART,
    )

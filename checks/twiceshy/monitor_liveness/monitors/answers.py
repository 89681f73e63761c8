"""Monitors that answer over HTTP: asking them, and what is alike in all their answers.

What is particular to a monitor, its own words and what they mean, is in its module.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, TypeVar

from twiceshy.kit import http
from twiceshy.kit.http import Answer, HttpError, Request
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import (
    Clock,
    Component,
    Health,
    age_measures,
    ago,
    critical,
    milliseconds,
    ok,
    skewed,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors.processes import age_of, stopped
from twiceshy.monitor_liveness.monitors.targets import Target
from twiceshy.monitor_liveness.settings import MonitorSettings


@dataclass(frozen=True)
class MonitorObservation:
    """What is observed of every monitor, whether it answers over HTTP or by another protocol.

    `seconds`: how long the answer took; `date`: its HTTP date; `failure`: why there is none;
    `is_guessed`: the operator did not say where to ask.
    """

    name: str
    url: str = ""
    seconds: float | None = None
    date: str = ""
    failure: HttpError | None = None
    main: Process | None = None
    is_guessed: bool = False


Observed = TypeVar("Observed", bound=MonitorObservation)


class NotThere(HttpError):
    """The monitor answers, and has no such object, or hides it from this login (HTTP 404)."""

    code = "not-there"


def url_of(target: Target, port: int, scheme: str = "http") -> str:
    """Where to ask: as the operator says, else on this host and the monitor's usual port."""
    host = target.host or "127.0.0.1"
    return (target.url or f"{scheme}://{host}:{target.port or port}").rstrip("/")


def request_of(url: str, settings: MonitorSettings, post: Any = None) -> Request:
    """A request with all that the operator has given to ask with; `post` is sent as JSON."""
    is_post = post is not None
    return Request(
        url,
        body=json.dumps(post).encode() if is_post else None,
        fields=(
            ("Accept", "application/json, */*;q=0.5"),
            *([("Content-Type", "application/json")] if is_post else []),
        ),
        user=settings.user,
        password=settings.password,
        token=settings.token,
        ca_file=settings.ca_file,
        tls_name=settings.tls_name,
        insecure=settings.insecure,
        seconds=settings.probe_seconds,
    )


def ask(url: str, settings: MonitorSettings) -> Answer:
    """The answer to a GET, whatever its status; HttpError without one."""
    return http.ask(request_of(url, settings))


def page(request: Request) -> Answer:
    """A page that must be there: HttpError for every status from 400 on."""
    answer = http.ask(request)
    if answer.status >= 400:
        words = safe(answer.text, 80)
        raise http.Malformed(f"HTTP {answer.status}" + (f": {words}" if words else ""))
    return answer


@contextlib.contextmanager
def expected(what: str) -> Iterator[None]:
    """Around the reading of an answer: one that has not the form of `what` is Malformed."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise http.Malformed(what) from None


def observed(before: Observed, asking: Callable[[Observed], Observed]) -> Observed:
    """An observation with what asking adds to it, or with its failure."""
    try:
        return asking(before)
    except HttpError as failure:
        return replace(before, failure=failure)


def answered_by(observation: Observed, answer: Answer, **more: Any) -> Observed:
    """An observation with the seconds and date of an answer, and what else was read from it."""
    return replace(observation, seconds=answer.seconds, date=answer.header("Date"), **more)


# What it means


def halted(main: Process | None) -> list[Component]:
    """The component of a process that is stopped, held or dead; none for one that is well."""
    component = stopped([main], "process") if main else None
    return [component] if component else []


def answers(observation: MonitorObservation, clock: Clock) -> list[Component]:
    """The main loop of a monitor that has answered over HTTP, and a clock that is wrong."""
    skew = skewed(observation.date, clock)
    return [
        ok("main loop", f"answers in {milliseconds(observation.seconds)}"),
        *([skew] if skew else []),
    ]


def unanswered(failure: HttpError, next: str = "", has_login: bool = False) -> Component:  # noqa: A002
    """The main loop of a monitor that gave no answer: who is at fault?"""
    if isinstance(failure, (http.Forbidden, http.NotAllowed, NotThere)):
        return unknown("main loop", f"cannot be queried: {failure}")
    if isinstance(failure, http.Rejected):
        hint = (
            "check --user and --password-file" if has_login else "give --user and --password-file"
        )
        return unknown("main loop", f"{failure}: {hint}")
    if isinstance(failure, http.Untrusted):
        return _untrusted(failure, next)
    if isinstance(failure, http.Malformed):
        return critical("main loop", f"returns an unusable answer: {failure}", next)
    component = critical(
        "main loop",
        f"does not answer: {failure}",
        next,
        is_fleeting=isinstance(failure, (http.Refused, http.Missing, http.Closed)),
        is_planned=isinstance(failure, (http.Refused, http.Unreachable, http.ConnectTimedOut)),
    )
    is_lost = isinstance(failure, (http.Unreachable, http.ConnectTimedOut))
    if is_lost and failure.host and not isinstance(failure, http.Missing):
        ping = f"ping -c 3 {failure.host}; ip route get {failure.host}"
        return replace(component, next=ping, next_is_here=True)
    return component


def _untrusted(failure: http.Untrusted, next: str) -> Component:  # noqa: A002
    """An expired certificate stops every client; another CA may be a setting of ours."""
    text = f"cannot be trusted: {failure}"
    if failure.fault in (http.TlsFault.EXPIRED, http.TlsFault.NOT_YET_VALID):
        return critical("main loop", text, next)
    if failure.fault is http.TlsFault.UNKNOWN_CA:
        return unknown("main loop", f"{text} (--ca-file)", next)
    if failure.fault is http.TlsFault.WRONG_NAME:
        return warning("main loop", f"{text} (--tls-name)", next)
    return warning("main loop", text, next)


def process_age(observation: MonitorObservation, clock: Clock) -> float | None:
    """How many seconds ago the observed process began; None without one."""
    return age_of(observation.main, clock) if observation.main else None


def health(
    observation: MonitorObservation,
    components: Sequence[Component],
    *,
    started: float | None = None,
    age: float | None = None,
    limit: float | None = None,
    overdue: float | None = None,
    rate: float | None = None,
    facts: dict[str, Any] | None = None,
) -> Health:
    """The health of an observed monitor, with the measures that all have; see `age_measures`."""
    return Health(
        observation.name,
        tuple(components),
        age_measures(observation.name, age, limit, observation.seconds, overdue, rate),
        started,
        facts=facts or {},
    )


# A check to judge the executor by


@dataclass(frozen=True)
class Executed:
    """When a check was last executed, and how often it should be; seconds."""

    at: float
    interval: float


def pulse_of(typed: str, forms: str) -> tuple[str, str]:
    """The two parts of --pulse, at its `;` or `!`; CheckError with the forms when it has none."""
    entity, mark, check = typed.replace("!", ";").partition(";")
    if not mark:
        raise CheckError(f"{typed!r} does not name a check; type {forms}")
    return entity, check


def parse_event(text: str) -> Executed:
    """An event of Sensu Go's core/v2 API, or a result of classic Sensu's; else Malformed."""
    with expected("the answer is not a Sensu event"):
        check = json.loads(text)["check"]
        return Executed(float(check["executed"]), float(check.get("interval") or 60))


def executor(pulse: str, age: float, limit: float, next: str) -> Component:  # noqa: A002
    """The executor, by the age of one check that is executed all the time."""
    if age > limit:
        text = f"has not executed {pulse} for {ago(age)} (limit {ago(limit)})"
        return critical("executor", text, next)
    return ok("executor", f"executed {pulse} {ago(max(0.0, age))} ago")

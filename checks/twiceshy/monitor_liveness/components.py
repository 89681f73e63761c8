"""The values that everything else uses: a component, a monitor's health, and a clock. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twiceshy.kit import units
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.verdict import Measure, label

# A clock may be this far ahead of ours before its timestamps count as wrong: NTP-disciplined hosts
# differ by milliseconds, status files carry whole seconds.
CLOCK_TOLERANCE_SECONDS = 5.0

# HTTP dates and hosts without NTP drift further before anything breaks.
REMOTE_CLOCK_TOLERANCE_SECONDS = 60.0

# What is remembered of a monitor that has never been observed before.
NO_HISTORY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Suspension:
    """Between two runs, at the wall-clock times `start` and `end`, the machine slept `seconds`."""

    start: float
    end: float
    seconds: float


@dataclass(frozen=True)
class Clock:
    """The wall clock of an observation, and how long this machine has been suspended since when.

    A laptop that is opened in the morning has a monitor whose last check is eight hours old and
    nothing wrong with it: time asleep does not count. `booted`: when this host booted, by the same
    clock; start ticks of processes are counted from there.
    """

    now: float
    suspensions: tuple[Suspension, ...] = ()
    booted: float = 0.0

    def age(self, timestamp: float) -> float:
        """Seconds awake since a timestamp; negative for one in the future."""
        slept = 0.0
        for suspension in self.suspensions:
            since = max(timestamp, suspension.start)
            if since < suspension.end:
                slept += min(suspension.seconds, suspension.end - since)
        age = self.now - timestamp
        return age if age < 0 else max(0.0, age - slept)


@dataclass(frozen=True)
class Component:
    """One component of a monitor: its name, its state, what is true of it, what to type next.

    `is_fleeting`: a reload looks like this for a moment, so observe again before judging (never
    true of a hang: a hung daemon is asked once). `is_planned`: a stop on purpose looks like this,
    and --maintenance excuses it; a hang or a kill never does. `next_is_here`: the command is typed
    on this host even if the monitor runs on another.
    """

    name: str
    state: State
    text: str
    next: str = ""
    is_fleeting: bool = False
    is_planned: bool = False
    next_is_here: bool = False

    @property
    def sentence(self) -> str:
        """Its name and what is true of it."""
        return f"{self.name} {self.text}"


@dataclass(frozen=True)
class Health:
    """A monitor judged: all its components and measures.

    `started`: how many seconds ago the instance began, None when unknown; within
    --startup-grace nothing that is merely not due yet counts as a fault. `absent`: it does not run
    at all; --missing decides then. `facts`: what to remember for the next run.
    """

    name: str
    components: tuple[Component, ...]
    measures: tuple[Measure, ...] = ()
    started: float | None = None
    absent: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def ok(name: str, text: str) -> Component:
    """A component that does its work."""
    return Component(name, OK, text)


def warning(name: str, text: str, next: str = "") -> Component:  # noqa: A002 - as in Finding
    """A component that works, but not as it should."""
    return Component(name, WARNING, text, next)


def critical(
    name: str,
    text: str,
    next: str = "",  # noqa: A002
    *,
    is_fleeting: bool = False,
    is_planned: bool = False,
) -> Component:
    """A component that does not work."""
    return Component(name, CRITICAL, text, next, is_fleeting, is_planned)


def unknown(name: str, text: str, next: str = "") -> Component:  # noqa: A002
    """A component that cannot be queried, by no fault of the monitor."""
    return Component(name, UNKNOWN, text, next)


def ago(seconds: float) -> str:
    """An age in words; whole seconds from ten on."""
    if seconds < 0:
        return f"{units.say_duration(round(-seconds))} in the future"
    return units.say_duration(round(seconds, 1 if seconds < 10 else 0))


def milliseconds(seconds: float | None, decimals: int = 0) -> str:
    """How long a probe took, in words."""
    return f"{(seconds or 0) * 1000:.{decimals}f}ms"


def is_young(started: float | None, grace_seconds: float) -> bool:
    """Whether it began so few seconds ago that what is merely not due yet is no fault."""
    return started is not None and 0 <= started < grace_seconds


def future(what: str, age: float, tolerance: float = CLOCK_TOLERANCE_SECONDS) -> Component | None:
    """The clock component of a timestamp in the future; None for any other.

    It is never OK: the timestamp would look fresh until the clock gets there.
    """
    if age >= -tolerance:
        return None
    return critical(
        "clock",
        f"is wrong: {what} is {ago(age)}, no age can be trusted",
        "timedatectl; chronyc tracking",
    )


def skewed(date: str, clock: Clock) -> Component | None:
    """The clock component from an HTTP Date (RFC 9110, 6.6.1); None when right or absent."""
    if not date:
        return None
    import email.utils  # only monitors that are asked over HTTP need it

    try:
        skew = email.utils.parsedate_to_datetime(date).timestamp() - clock.now
    except (TypeError, ValueError):
        return None
    return off(skew) if abs(skew) > REMOTE_CLOCK_TOLERANCE_SECONDS else None


def off(skew: float) -> Component:
    """The clock component of a monitor whose clock is `skew` seconds ahead of ours."""
    ahead = "ahead of" if skew > 0 else "behind"
    return Component(
        "clock",
        CRITICAL,
        f"is {ago(abs(skew))} {ahead} ours",
        "timedatectl on both hosts",
        next_is_here=True,
    )


def age_limit(seconds: float | None) -> Limit | None:
    """A derived limit in seconds, for perfdata."""
    return None if seconds is None else Limit.parse(f"{seconds:.0f}s", unit=units.duration)


def age_measures(
    name: str,
    age: float | None,
    limit: float | None,
    probe_seconds: float | None,
    overdue: float | None = None,
    rate: float | None = None,
) -> tuple[Measure, ...]:
    """The measures that monitors have in common; what is None is left out.

    `age` and `limit` are of the newest executed check, `rate` is per second.
    """
    return (
        Measure(
            label(name, "executed_age"),
            None if age is None else max(0.0, age),
            "s",
            critical=age_limit(limit),
            minimum=0,
        ),
        Measure(label(name, "probe_time"), probe_seconds, "s", minimum=0),
        Measure(label(name, "executed_rate"), rate, minimum=0),
        Measure(label(name, "overdue"), overdue, minimum=0),
    )

"""What the restarts of a daemon mean: its state, and why, as a code. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from twiceshy.flapping.counting import Count, Record
from twiceshy.flapping.service import (
    BETWEEN,
    DOWN,
    GAVE_UP,
    UNSEEN,
    UP,
    Service,
    short,
)
from twiceshy.flapping.settings import Limits, Selection
from twiceshy.kit.limits import Limit, judge
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State

YOUNG_SECONDS = 60.0


class Code(str, Enum):
    """What is wrong with a daemon."""

    GAVE_UP = "gave-up"  # its supervisor will not restart it
    DOWN = "down"  # not running although wanted up, or asked for by name
    UNSEEN = "unseen"  # could not be observed
    FLAPPING = "flapping"  # more restarts than the limits allow
    MANUAL = "by-hand"  # more manual restarts than the critical limit allows
    ORPHAN = "orphan"  # running, but its supervisor is dead
    BETWEEN = "between"  # not running, waiting to be restarted
    YOUNG = "young"  # at the first run, a counter above the limit and a life that has just begun


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one daemon."""

    state: State
    code: Code
    limit: Limit | None = None  # the one that was broken
    restarts: int = 0  # the number that broke it
    absent_seconds: float | None = None  # BETWEEN: how long it has not been running at any run


@dataclass(frozen=True)
class Assessment:
    """One daemon with all that is known of it and what that means."""

    subject: str  # of the history
    service: Service
    count: Count
    record: Record
    verdict: Verdict | None  # None: nothing is wrong

    @property
    def restarts(self) -> int:
        """Crashes within the window."""
        return round(self.count.crashes)

    @property
    def manual(self) -> int:
        """Restarts within the window that were manual or by others than its supervisor."""
        return round(self.count.manual)


def verdict_on(
    service: Service,
    count: Count,
    record: Record,
    uptime: float,
    limits: Limits,
    is_named: bool = False,
) -> Verdict | None:
    """What is wrong with one daemon at `uptime`, or None; the worst first."""
    if service.state == GAVE_UP:
        return Verdict(CRITICAL, Code.GAVE_UP)
    if service.state == DOWN and not service.on_demand and (is_named or service.wanted_up):
        return Verdict(limits.missing if is_named else CRITICAL, Code.DOWN)
    if service.state == UNSEEN:
        return Verdict(UNKNOWN, Code.UNSEEN)
    restarts = judged_restarts(count, limits)
    state, broken = judge(restarts, limits.warning, limits.critical)
    if state is not OK:
        return Verdict(state, Code.FLAPPING, broken, restarts)
    manual = round(count.manual)
    if limits.critical is not None and limits.critical.broken_by(manual):
        return Verdict(CRITICAL, Code.MANUAL, limits.critical, manual)
    if service.state == UP and service.reason:
        # Alive, and yet nobody would notice its death: its supervisor is dead.
        return Verdict(WARNING, Code.ORPHAN)
    is_intended = limits.clean_exit_ok and (count.cause.is_clean or not count.cause)
    if service.state == BETWEEN and not is_intended:
        seconds = uptime - (record.dead_since if record.dead_since is not None else uptime)
        if seconds >= limits.window / 3:
            return Verdict(CRITICAL, Code.BETWEEN, absent_seconds=seconds)
        return Verdict(WARNING, Code.BETWEEN)
    if _is_young_after_many_restarts(service, count, limits):
        return Verdict(WARNING, Code.YOUNG, limits.warning, service.restarts or 0)
    return None


def judged_restarts(count: Count, limits: Limits) -> int:
    """The restarts within the window that -w and -c are about."""
    return round(count.crashes + (count.manual if limits.count_all else 0.0))


def _is_young_after_many_restarts(service: Service, count: Count, limits: Limits) -> bool:
    """At the first run there is no telling how fast a counter has grown; but it has, just now."""
    return (
        count.is_first
        and service.history is None
        and bool(service.restarts)
        and limits.warning is not None
        and limits.warning.broken_by(service.restarts or 0)
        and service.age_seconds is not None
        and service.age_seconds < YOUNG_SECONDS
    )


def learners(assessments: Sequence[Assessment], limits: Limits) -> list[Assessment]:
    """Those with nothing wrong of which too little has been seen: a third of the window."""
    return [
        one
        for one in assessments
        if one.verdict is None
        and one.count.have_seconds is not None
        and one.count.have_seconds < needed_seconds(limits)
    ]


def needed_seconds(limits: Limits) -> float:
    """Seconds of history without which nothing can be said where the supervisor keeps none."""
    return limits.window / 3


def missing_names(
    selection: Selection, services: Sequence[Service], is_uncertain: bool
) -> list[str]:
    """Services asked for by name that no supervisor has.

    `is_uncertain`: some supervisor did not answer. It may be the one that would know, and its
    silence is a finding already.
    """
    have = {short(service.name) for service in services}
    gone = [name for name in selection.exact_names if short(name) not in have]
    return [] if is_uncertain and len(gone) == len(selection.exact_names) else gone


def unmatched(selection: Selection, services: Sequence[Service], is_uncertain: bool) -> list[str]:
    """Everything that was asked for, as typed, if there is no service for any of it.

    A directory that was moved, a mistyped name: a check that watches nothing must not report OK.
    --include is a filter, and may leave no daemon.
    """
    if services or selection.exact_names or is_uncertain:
        return []
    typed = [pattern.typed for pattern in selection.services]
    return [*typed, *selection.addresses, *selection.supervisors]

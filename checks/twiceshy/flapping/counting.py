"""Counting restarts: from the history of the supervisor, from run to run, or estimated. Pure.

Where the supervisor keeps a history (systemd's journal, s6's death tally, supervisord's log), that
is the count. Where it keeps a counter, differences from run to run are. Where it keeps neither, all
that a run can see is the life that is there and its age, and the restarts between two runs are
estimated from these ages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    UNSEEN,
    UP,
    Exit,
    Service,
    exited,
)

GAPS = 120  # remembered of one daemon; then the oldest are joined


@dataclass(frozen=True)
class Gap:
    """The time between two runs in which a daemon died or came back, in seconds of uptime."""

    start: float  # the restarts lie between start ...
    end: float  # ... and end
    crashes: int
    manual: int
    blind: float = 0.0  # seconds before the life that was seen, which may hide others


@dataclass(frozen=True)
class Record:
    """What is remembered of a daemon; all times are seconds of uptime of one boot."""

    first: float  # first run
    first_age: float | None  # seconds; age of the life seen then
    life: str
    restarts: int | None
    faults: int | None
    gaps: tuple[Gap, ...] = ()
    total: int = 0  # restarts counted since the first run
    dead_since: float | None = None
    last_exit: Exit = NO_EXIT
    exit_at: float = 0.0  # when last_exit was seen
    window: float = 0.0  # the longest that a run has asked for

    def as_note(self) -> dict[str, Any]:
        """JSON for the history."""
        gaps = [[round(g.start, 2), round(g.end, 2), g.crashes, g.manual, round(g.blind, 2)]
                for g in self.gaps]  # fmt: skip
        return {
            **vars(self),
            "gaps": gaps,
            "last_exit": self.last_exit.text,
            "exit_is_clean": self.last_exit.is_clean,
        }

    @classmethod
    def from_note(cls, note: Any) -> Record | None:
        """What `as_note` made; None for anything else."""
        try:
            gaps = tuple(Gap(*gap) for gap in note["gaps"])
            last_exit = _exit_of_note(note)
            taken = ("gaps", "last_exit", "exit_is_clean", "known")
            rest = {k: v for k, v in note.items() if k not in taken}
            return cls(gaps=gaps, last_exit=last_exit, **rest)
        except (KeyError, TypeError, AttributeError):
            return None


def _exit_of_note(note: Mapping[str, Any]) -> Exit:
    text = note["last_exit"]
    if "exit_is_clean" in note:
        return Exit(text, note["exit_is_clean"])
    # A note of twiceshy 0.1, which kept the words alone.
    return {clean.text: clean for clean in [exited(0)]}.get(text, Exit(text))


def updated(
    record: Record | None,
    service: Service,
    uptime: float,
    previous: float | None,
    window: float,
) -> Record:
    """The record after a run at `uptime`; `previous` is the uptime of the run before it."""
    is_running = bool(service.incarnation)
    age = service.age_seconds if is_running else 0.0
    dead_since = uptime if service.state == BETWEEN and not is_running else None
    if service.state == UNSEEN and record is not None:
        return record
    if record is None or previous is None:
        age = service.age_seconds if dead_since is None else 0.0
        first = Record(
            uptime, age, service.incarnation, service.restarts,
            service.reaped_faults, dead_since=dead_since, last_exit=service.last_exit,
            exit_at=uptime, window=window,
        )  # fmt: skip
        if service.restarts and service.restarts_seconds is not None:
            start = uptime - service.restarts_seconds
            gap = Gap(min(start, uptime), uptime - (age or 0.0), service.restarts, 0)
            return replace(first, gaps=(gap,))
        return first
    crashes, manual = _since(record, service, uptime, previous)
    gaps = record.gaps
    # Its death is counted already, but the time of its return says something about its rate.
    is_back = is_running and record.dead_since is not None and service.restarts is None
    if crashes or manual or is_back:
        end = max(previous, uptime - (age or 0.0))
        gaps = (*gaps, Gap(previous, end, crashes, manual, end - previous))
    longest = max(window, record.window)
    return replace(
        record,
        life=service.incarnation if service.state in (UP, BETWEEN, GAVE_UP) else record.life,
        restarts=record.restarts if service.restarts is None else service.restarts,
        faults=record.faults if service.reaped_faults is None else service.reaped_faults,
        gaps=_joined(tuple(gap for gap in gaps if gap.end > uptime - longest)),
        total=record.total + crashes + manual,
        dead_since=None if dead_since is None else record.dead_since or dead_since,
        last_exit=service.last_exit or record.last_exit,
        exit_at=uptime if service.last_exit else record.exit_at,
        window=longest,
    )


def _since(record: Record, service: Service, uptime: float, previous: float) -> tuple[int, int]:
    """Crashes and manual restarts since the previous run: exact with a counter, else at least."""
    is_new = bool(service.incarnation) and service.incarnation != record.life
    gap = uptime - previous
    if service.history is not None and service.history_seconds >= gap > 0:
        kinds = [life.kind for life in service.history if life.age_seconds <= gap]
        manual = 0 if service.on_demand or service.state == DOWN else kinds.count(MANUAL)
        return len(kinds) - kinds.count(MANUAL), manual
    if service.restarts is not None and record.restarts is not None:
        # Fallen back: it was reset, or the service was started manually. What it shows now is new,
        # and the next difference counts from there; a high-water mark would blind the check for
        # ever.
        fallen = service.restarts < record.restarts
        crashes = service.restarts - (0 if fallen else record.restarts)
        by_others = is_new and bool(record.life) and not crashes and not service.on_demand
        return crashes, int(by_others)
    if is_new:
        # A life older than the gap was there before: a pid file that moved on, a pool that shrank.
        is_young = service.age_seconds is None or service.age_seconds < gap
        return int(is_young and bool(record.life)), 0
    if service.state == BETWEEN and record.life:
        return 1, 0
    if service.state == BETWEEN and record.dead_since is not None:
        # Not running at the last run and at this one. A supervisor that has reaped nothing has
        # not tried.
        if service.reaped_faults is not None and record.faults is not None:
            return int(service.reaped_faults > record.faults), 0
        return int(gap >= 5.0), 0
    return 0, 0


def _joined(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    """No more than GAPS; the oldest half of too many becomes one."""
    if len(gaps) <= GAPS:
        return gaps
    old, new = gaps[: GAPS // 2], gaps[GAPS // 2 :]
    joined = Gap(
        old[0].start,
        old[-1].end,
        sum(gap.crashes for gap in old),
        sum(gap.manual for gap in old),
        sum(gap.blind for gap in old),
    )
    return (joined, *new)


@dataclass(frozen=True)
class Count:
    """Restarts of one daemon within the window."""

    crashes: float = 0.0
    manual: float = 0.0
    seconds: float = 0.0  # what is covered: the window, or less
    clean: float = 0.0  # how many of the crashes were exits with status 0
    every: tuple[float, float] | None = None  # estimated: seconds from one restart to the next
    lasted: float | None = None  # seconds a life lasts
    period: float | None = None  # seconds from one restart to the next, where that is exact
    cause: Exit = NO_EXIT
    is_first: bool = False
    have_seconds: float | None = None  # of history, where the supervisor keeps none


def count(
    service: Service,
    record: Record,
    uptime: float,
    window: float,
    clean_exit_ok: bool = False,
    is_first: bool = False,
) -> Count:
    """Restarts within the window: from an exact history, from run to run, or estimated."""
    age = service.age_seconds if service.age_seconds is not None else 0.0
    if service.history is not None:
        counted = _from_history(service, window, clean_exit_ok)
        if service.history_seconds >= window:
            return counted
    else:
        counted = Count(cause=service.last_exit or record.last_exit)
    since = uptime - window
    crashes = manual = 0.0
    first = record.first
    for gap in record.gaps:
        share = _share(gap, since)
        crashes += gap.crashes * share
        manual += gap.manual * share
        # A counter that began shortly before the first run reaches back to its own beginning.
        first = min(first, gap.start) if gap.end - gap.start <= 2 * window else first
    seconds = min(window, max(uptime - first, counted.seconds))
    exact = service.restarts is not None or service.exact
    every = None
    if not exact:
        at_least, every = _estimate(record, uptime, window)
        crashes = max(crashes, at_least)
        every = every if at_least > 0 and crashes >= 1 else None
    last = service.last_exit or (record.last_exit if record.exit_at > since else NO_EXIT)
    if clean_exit_ok and not counted.crashes and (last.is_clean or not last):
        crashes, every = 0.0, None  # no failure has been seen, and exits with status 0 are intended
    have = None
    if not exact and service.state in (UP, BETWEEN):
        have = max(age, uptime - record.first + (record.first_age or 0.0), service.history_seconds)
    if every is None and crashes >= 2 and crashes > counted.crashes:
        counted = replace(counted, period=seconds / crashes)
    return replace(
        counted,
        crashes=max(counted.crashes, crashes),
        manual=max(counted.manual, manual),
        seconds=seconds,
        every=every,
        is_first=is_first,
        have_seconds=have,
    )


def _from_history(service: Service, window: float, clean_exit_ok: bool) -> Count:
    lives = [life for life in service.history or () if life.age_seconds <= window]
    failures = [life for life in lives if life.kind not in (MANUAL, CLEAN)]
    clean = [life for life in lives if life.kind == CLEAN]
    judged = failures if clean_exit_ok else [life for life in lives if life.kind != MANUAL]
    manual = sum(life.kind == MANUAL for life in lives)
    if service.state == DOWN and manual:
        manual -= 1  # stopped and not started again: no restart
    causes = Counter(life.exit for life in judged if life.exit)
    lasted = sorted(life.lasted_seconds for life in judged if life.lasted_seconds is not None)
    ends = [life.age_seconds for life in judged]
    return Count(
        period=(max(ends) - min(ends)) / (len(ends) - 1) if len(ends) > 1 else None,
        crashes=float(len(judged)),
        manual=0.0 if service.on_demand else float(manual),
        seconds=min(window, service.history_seconds),
        clean=0.0 if clean_exit_ok else float(len(clean)),
        lasted=lasted[len(lasted) // 2] if lasted else None,
        cause=causes.most_common(1)[0][0] if causes else service.last_exit,
    )


def _share(gap: Gap, since: float) -> float:
    """The share of a gap's restarts that lies after `since`, when they are spread evenly."""
    if gap.start >= since:
        return 1.0
    if gap.end <= since:
        return 0.0
    return (gap.end - since) / (gap.end - gap.start)


def _estimate(
    record: Record, uptime: float, window: float
) -> tuple[float, tuple[float, float] | None]:
    """Restarts that hide between runs: at least so many (95 %), and one every so many seconds.

    N gaps in which the life seen was new, T seconds in which no restart can have been: N / T is
    the maximum likelihood rate (Cho & Garcia-Molina, Estimating Frequency of Change, ACM TOIT
    3(3) 2003). For lives of constant length it is up to twice too high, hence "every T/N to 2T/N".
    """
    since = uptime - window
    events = sum(1 for gap in record.gaps if gap.end > since)
    blind = sum(gap.blind * _share(gap, since) for gap in record.gaps)
    covered = min(window, uptime - record.first)
    quiet = covered - blind
    if record.first > since and record.first_age is not None:
        # The first run saw how long ago the last restart was, too; on a host that has just booted
        # everything is young.
        if record.first - record.first_age > 120.0 and record.first_age < window:
            events += 1
        quiet += min(record.first_age, window)
    if events == 0 or covered <= 0:
        return 0.0, None
    quiet = max(quiet, 0.2)
    # Supervisors start a daemon once per second at most; more than that is not claimed.
    at_least = min(poisson_at_least(events) / quiet, 1.0) * covered
    return at_least, (quiet / events, 2 * quiet / events)


def poisson_at_least(events: int, doubt: float = 0.05) -> float:
    """The mean that a Poisson count of `events` leaves no more than `doubt` to be below."""
    low, high = 0.0, float(events)
    for _ in range(40):
        mean = (low + high) / 2
        term, below = 1.0, 0.0
        for position in range(min(events, 60)):
            below += term
            term *= mean / (position + 1)
        # The chance of `events` or more at this mean (for many events the rest is negligible).
        if 1.0 - below * 2.718281828459045**-mean < doubt:
            low = mean
        else:
            high = mean
    return low

"""When will it be full? The judgement of a series of samples, pure: no clock, no disk.

Two ideas, one number, nothing fitted:

* *Growth is extrapolated to at most `TRUST` times the period in which it was observed*, once there
  is a week of history; before, to as much less as the history is younger: what is new is filled by
  restores, and its rhythm is not known yet. A window of an hour may speak about the next few hours,
  a window of days about the next week. Growth has lasted through a window if **every** part of the
  window ended above the part before; so a one-off copy, a pause and a clean-up are no growth,
  whatever a straight line through them says. Windows of hours are cut into quarters and compare the
  lowest level of each, and the last of those with now. Windows of days compare the highest level of
  each 24 hours, which takes daily saw-teeth, nightly dumps and office hours out and leaves
  staircases and rising peaks in: three days each with the day before, seven days each with the
  same day of the week before.
* *What has happened before and ended well is not news.* A series that has come as high as this
  and fallen again is a cycle (rotation, dump, cache, prune) of whatever period, and so is a climb
  that is no longer than earlier ones, if most of those would end short of full from where this one
  began. Only a level or a climb that is larger than the known ones, by a `1/TRUST` of the room
  that is left, is news: the same yardstick, in bytes rather than in seconds. A climb that would
  have filled it by going a `1/TRUST` farther did not end well; twice is a habit, though. And growth
  like that of an earlier day at this hour will go on as it did then: as much farther as it is
  faster.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable

from twiceshy.kit import units

TRUST = 4.0
"""How many times the period of its observation a growth is extrapolated."""

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY
HOURS_WINDOWS = (1 * HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR)
DAYS_WINDOW = 3

RUSH = 30 * 60.0
"""The last two intervals are a window of their own if together they are no longer than this."""

LEARNING = 36 * HOUR
"""With less than a day and a half of history, only what grows can be judged, and nothing else."""


def _column() -> array[float]:
    return array("d")


@dataclass
class Series:
    """What was used, oldest first: finished hours, and the single samples of the last hours.

    `at` and `used` are the samples (seconds of the epoch; bytes, inodes or any unit); `hours` holds
    the start of each finished hour that had a sample, `low`, `last` and `high` what was seen in it.
    """

    at: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    hours: array[float] = field(default_factory=_column)
    low: array[float] = field(default_factory=_column)
    last: array[float] = field(default_factory=_column)
    high: array[float] = field(default_factory=_column)

    @property
    def columns(self) -> tuple[array[float], array[float], array[float]]:
        """What was seen of each hour: lowest, last, highest."""
        return self.low, self.last, self.high

    @property
    def age(self) -> float:
        """Seconds from the oldest sample to the newest."""
        if not self.at:
            return 0.0
        return self.at[-1] - min(self.at[0], self.hours[0] if self.hours else self.at[0])


@dataclass(frozen=True)
class Window:
    """What one window says: `left` seconds until full (None: no growth), believed or why not."""

    seconds: float
    rate: float
    left: float | None
    doubt: str = ""

    @property
    def believed(self) -> bool:
        return self.left is not None and not self.doubt


@dataclass(frozen=True)
class Outlook:
    """`left` is what to act on: seconds until full, None where no growth is believed.

    `rate` is the growth per second over the deciding window, or over the last days if none decided;
    `trend_left` how long that would take, None if it does not grow or is a cycle.
    """

    left: float | None
    rate: float
    trend_left: float | None
    seconds: float
    windows: tuple[Window, ...]
    age: float

    @property
    def learning(self) -> bool:
        return self.age < LEARNING


def outlook(series: Series, full: float, believe: float) -> Outlook:
    """Seconds until `full`, by the window that says soonest among those that are believed.

    `believe` (seconds) is the farthest forecast to act on: a window that says later is silent.
    """
    if not series.at:
        return Outlook(None, 0.0, None, 0.0, (), 0.0)
    age, used = series.age, series.used[-1]
    windows = []
    trust = 1 / TRUST if age < LEARNING else TRUST / 2 if age < WEEK else TRUST

    def weigh(
        seconds: float, lasted: float, rate: float, level: float, began: float,
        path: Callable[[], Iterable[float]],
    ) -> None:  # fmt: skip
        if rate <= 0:
            doubt = "it did not grow in every part of the window"
            windows.append(Window(seconds, rate, None, doubt))
            return
        left = max(0.0, full - level) / rate
        if left > believe:
            doubt = "that is beyond the limits"
        elif left > trust * lasted:
            doubt = "it has not lasted long enough to be extrapolated that far"
        else:
            doubt = known_cycle(path(), full, level, began)
            if not doubt and seconds < DAY:
                doubt = known_rhythm(series, seconds, full, left)
        windows.append(Window(seconds, rate, left, doubt))

    rush = rushing(series)
    if rush:
        seconds, rate = rush
        weigh(seconds, seconds, rate, used, series.used[-3], lambda: levels(series))
    for window in HOURS_WINDOWS:
        lows = lowest_by_quarter(series, window)
        if lows:
            lows.append(used)
            rise = min(b - a for a, b in zip(lows, lows[1:]))
            weigh(window, window * 0.75, rise / (window / 4), used, lows[0], lambda: levels(series))
    highs, lowest = by_day(series, 14)
    # Below the trough of the day before by more than noise: somebody has cleaned up since.
    cleaned_up = len(highs) > 1 and used < lowest[1] - (full - highs[0]) / TRUST
    if len(highs) > DAYS_WINDOW:
        rise = min(a - b for a, b in zip(highs[:DAYS_WINDOW], highs[1:]))
        weigh(
            DAYS_WINDOW * DAY, DAYS_WINDOW * DAY, 0.0 if cleaned_up else rise / DAY, highs[0],
            highs[DAYS_WINDOW], lambda: reversed(by_day(series, 28)[0]),
        )  # fmt: skip
    if len(highs) == 14:
        rise = min(a - b for a, b in zip(highs, highs[7:]))
        weigh(
            7 * DAY, 7 * DAY, 0.0 if cleaned_up else rise / (7 * DAY), max(highs[:7]),
            max(highs[7:]), lambda: reversed(by_week(series)),
        )  # fmt: skip
    # The soonest; of windows that say the same minute, the one that has seen it for longest.
    best = min(
        (w for w in windows if w.believed),
        key=lambda w: (round((w.left or 0.0) / 60), -w.seconds),
        default=None,
    )
    if best is not None:
        return Outlook(best.left, best.rate, best.left, best.seconds, tuple(windows), age)
    rate = trend(series)
    left = (full - highs[0]) / rate if rate > 0 else None
    if left is not None and left <= believe:
        left = None  # it looked like it, and was not believed
    seconds = min(age, 7 * DAY)
    return Outlook(None, rate, left, seconds, tuple(windows), age)


def rushing(series: Series) -> tuple[float, float] | None:
    """Seconds and the smaller rate of the last two intervals, if they were short."""
    if len(series.at) < 3:
        return None
    first, second, third = series.at[-3:]
    if not 0 < third - first <= RUSH or second in (first, third):
        return None
    a, b, c = series.used[-3:]
    return third - first, min((b - a) / (second - first), (c - b) / (third - second))


def lowest_by_quarter(series: Series, window: float) -> list[float] | None:
    """The lowest sample of each quarter of the last `window` seconds; None if one has none."""
    at, used = series.at, series.used
    now = at[-1]
    edges = [bisect_left(at, now - window + n * window / 4) for n in range(4)] + [len(at)]
    if any(a == b for a, b in zip(edges, edges[1:])):
        return None
    return [min(used[a:b]) for a, b in zip(edges, edges[1:])]


def by_day(series: Series, most: int) -> tuple[list[float], list[float]]:
    """The highest and the lowest level of each 24 hours, newest first, back to a day unseen."""
    now, hours = series.at[-1], series.hours
    recent = series.used[bisect_left(series.at, hours[-1] + HOUR if hours else 0) :]
    recent = recent or series.used[-1:]
    highs, lows = [max(recent)], [min(recent)]
    end = len(hours)
    for day in range(1, most + 1):
        start = bisect_left(hours, now - day * DAY - HOUR / 2)
        if day == 1:
            highs[0] = max(highs[0], max(series.high[start:end], default=highs[0]))
            lows[0] = min(lows[0], min(series.low[start:end], default=lows[0]))
        elif start == end:
            break
        else:
            highs.append(max(series.high[start:end]))
            lows.append(min(series.low[start:end]))
        end = start
    return highs, lows


def by_week(series: Series) -> list[float]:
    """The highest level of each seven days, newest first."""
    highs, _ = by_day(series, 28)
    return [max(highs[start : start + 7]) for start in range(0, len(highs), 7)]


def trend(series: Series) -> float:
    """Growth per second over the last week: the median rise of the daily peaks, for information.

    A history of under three days has too few of those; it gives its whole rise over its age, and
    one of under an hour nothing.
    """
    if series.age < HOUR:
        return 0.0
    highs, _ = by_day(series, 8)
    rises = sorted(a - b for a, b in zip(highs, highs[1:]))
    if len(rises) >= 2:
        middle = len(rises) // 2
        median = rises[middle] if len(rises) % 2 else (rises[middle - 1] + rises[middle]) / 2
        return median / DAY
    oldest = series.last[0] if series.hours else series.used[0]
    return (series.used[-1] - oldest) / series.age


def known_cycle(path: Iterable[float], full: float, level: float, began: float) -> str:
    """Why a climb from `began` to `level` is no news, or ""."""
    margin = (full - level) / TRUST
    finished, bottom = climbs(path, (level - began) / 2)
    as_high = [climb for climb in finished if climb[1] >= level - margin]
    if ended_well(as_high, full):
        return f"it has been this high before and fell again ({units.count(len(as_high), 'time')})"
    as_far = [(low, top) for low, top in finished if top - low >= level - bottom - margin]
    short = [(low, top) for low, top in as_far if bottom + top - low < full]
    if ended_well(short, full) and len(short) * 2 >= len(as_far):
        return f"it has climbed this far before and fell again ({units.count(len(as_far), 'time')})"
    return ""


def ended_well(finished: Sequence[tuple[float, float]], full: float) -> bool:
    """Whether climbs (bottom, top) are a habit: one is, but it takes two near misses."""
    return len(finished) > 1 or any(full - top > (top - low) / TRUST for low, top in finished)


def known_rhythm(series: Series, window: float, full: float, left: float) -> str:
    """Why a growth over the last `window` seconds is no news at this hour of the day, or "".

    It asks the latest day that grew alike until this hour (by a `1/TRUST` at least), and takes what
    came then within `left` seconds as many times as today's growth is stronger.
    """
    now, used, hours = series.at[-1], series.used[-1], series.hours
    rise = used - series.used[bisect_left(series.at, now - window)]
    for days in range(1, 28):
        then = now - days * DAY
        last = bisect_right(hours, then - HOUR / 2) - 1
        first = bisect_right(hours, then - window - HOUR / 2) - 1
        if first < 0:
            break
        before = series.last[last] - series.last[first]
        if before <= 0 or before < rise / TRUST:
            continue
        # Until today's growth began: that is no continuation of the other.
        end = bisect_left(hours, then + min(left, days * DAY - window))
        rest = max(series.high[last + 1 : end], default=0.0) - series.last[last]
        if used + max(0.0, rest) * rise / before < full - (full - used) / TRUST:
            return f"{days}d ago it grew like this until this hour and ended short of full"
        break
    return ""


def climbs(path: Iterable[float], reversal: float) -> tuple[Sequence[tuple[float, float]], float]:
    """Finished climbs as (bottom, top), ended by falls of at least `reversal`; and the bottom of
    the climb that goes on.
    """
    finished: list[tuple[float, float]] = []
    bottom = top = None
    for level in path:
        if bottom is None or top is None:
            bottom = top = level
        elif level > top:
            top = level
        elif top - level >= reversal > 0:
            if top - bottom >= reversal:
                finished.append((bottom, top))
            bottom = top = level
        elif level < bottom:
            bottom = top = level
    return finished, bottom or 0.0


def levels(series: Series) -> Iterator[float]:
    """The series as a path: of an hour its extremes, in the order that its last sample suggests."""
    for low, last, high in zip(series.low, series.last, series.high):
        if last - low < high - last:
            yield high
            yield low
        else:
            yield low
            yield high
        yield last
    newest = series.hours[-1] + HOUR if series.hours else float("-inf")
    yield from series.used[bisect_left(series.at, newest) :]

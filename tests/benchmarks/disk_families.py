"""Synthetic traces of filesystems, one function a family, seeded and in plain Python.

A volume of 100 GiB, one look every five minutes, 45 days. `TUNING` are the families that the
judgement was built on; `HOLDOUT` were written before it, to be as unlike them as we could think
of; their figures were seen while it was built. disk_families_blind.py has those that were not.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Callable

STEP = 300
DAY = 288  # looks a day
DAYS = 45
SIZE = 100.0


@dataclass
class Trace:
    """Used GiB per look (None: nobody looked), and how much there is from which look on."""

    used: list[float | None]
    full: list[float]
    filled: int | None = None  # the look at which there was no room left
    notes: str = field(default="")


def activity(look: int) -> float:
    """How busy people are: mean about 1 over a week, quiet at night and at weekends."""
    hour = (look % DAY) / 12
    weekday = (look // DAY) % 7
    day = 1 + 0.8 * math.sin((hour - 8) / 24 * 2 * math.pi)
    return day * (0.4 if weekday >= 5 else 1.24)


def _noise(rng: random.Random, looks: int, sd: float = 0.02) -> list[float]:
    values, value = [], 0.0
    for _ in range(looks):
        value = 0.95 * value + rng.gauss(0, sd * 0.31)
        values.append(value)
    return values


def trace(
    rng: random.Random,
    levels: list[float],
    full: list[float] | None = None,
    noise: float = 0.02,
) -> Trace:
    """Levels with noise, cut where the volume is full."""
    full = full or [SIZE] * len(levels)
    used: list[float | None] = []
    for look, (level, wobble) in enumerate(zip(levels, _noise(rng, len(levels), noise))):
        if level >= full[look]:
            return Trace(used, full[:look], filled=look)
        used.append(max(0.0, min(level + wobble, full[look] - 1e-6)))
    return Trace(used, full)


def grown(rates: list[float], start: float) -> list[float]:
    levels, level = [], start
    for rate in rates:
        level += rate
        levels.append(level)
    return levels


def steady(per_day: float, looks: int, busy: bool = True) -> list[float]:
    return [per_day / DAY * (activity(look) if busy else 1) for look in range(looks)]


LOOKS = DAYS * DAY


def teeth(
    rng: random.Random,
    period: float,
    amplitude: float,
    peak: float,
    peak_growth: float = 0.0,
    stops_at: float | None = None,
    jitter: float = 0.03,
    looks: int = LOOKS,
    busy: bool = True,
) -> list[float]:
    """A saw-tooth: reset every `period` days, the peak rising by `peak_growth` a day."""
    levels = []
    size = amplitude * (1 + rng.gauss(0, jitter))
    base = peak - amplitude
    begun = rng.random() * 0.5
    level = base + amplitude * begun
    turn = begun * period * DAY
    for look in range(looks):
        level += size / (period * DAY) * (activity(look) if busy else 1)
        turn += 1
        stopped = stops_at is not None and look >= stops_at * DAY
        if turn >= period * DAY and not stopped:
            turn = 0
            size = amplitude * (1 + rng.gauss(0, jitter))
            level = base + peak_growth * look / DAY + rng.gauss(0, 0.2)
        levels.append(level)
    return levels


# Never full


def flat(rng: random.Random) -> Trace:
    return trace(rng, [rng.uniform(30, 70)] * LOOKS)


def flat_high(rng: random.Random) -> Trace:
    return trace(rng, [rng.uniform(82, 94)] * LOOKS)


def very_slow(rng: random.Random) -> Trace:
    start = rng.uniform(20, 60)
    return trace(rng, grown(steady((SIZE - start) / rng.uniform(120, 300), LOOKS), start))


def daily_teeth(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 1, rng.uniform(5, 25), rng.uniform(60, 80)))


def daily_teeth_high(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 1, rng.uniform(5, 25), rng.uniform(85, 95)))


def weekly_teeth(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 7, rng.uniform(10, 35), rng.uniform(60, 80)))


def weekly_teeth_high(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 7, rng.uniform(10, 35), rng.uniform(85, 95)))


def copies(rng: random.Random) -> Trace:
    """Two to four permanent one-off copies of 4 to 14 GiB, each within a minute to half an hour."""
    level = rng.uniform(25, 45)
    rates = steady(rng.uniform(0, 0.1), LOOKS)
    for _ in range(rng.randint(2, 4)):
        at, takes = rng.randrange(2 * DAY, LOOKS - DAY), rng.randint(1, 6)
        size = rng.uniform(4, 14)
        for look in range(at, at + takes):
            rates[look] += size / takes
    return trace(rng, grown(rates, level))


def nightly_dump(rng: random.Random) -> Trace:
    """10 to 30 GiB every night, written in 15 to 60 minutes, kept for one to four hours."""
    base, size = rng.uniform(35, 60), rng.uniform(10, 30)
    hour, keeps, takes = rng.uniform(0, 5), rng.uniform(1, 4), rng.randint(3, 12)
    levels = []
    for look in range(LOOKS):
        since = look % DAY - int(hour * 12)
        tonight = size * (1 + 0.03 * math.sin(look // DAY))
        if 0 <= since < takes:
            levels.append(base + tonight * (since + 1) / takes)
        elif takes <= since < takes + keeps * 12:
            levels.append(base + tonight)
        else:
            levels.append(base)
    return trace(rng, levels)


def extended(rng: random.Random) -> Trace:
    """Growth to 80 or 90, where someone makes the volume four times as large."""
    at = rng.uniform(80, 90)
    levels = grown(steady(rng.uniform(1.0, 3.0), LOOKS), rng.uniform(30, 50))
    large, full = False, []
    for level in levels:
        large = large or level > at
        full.append(4 * SIZE if large else SIZE)
    return trace(rng, levels, full)


def halved_on_paper(rng: random.Random) -> Trace:
    at = rng.randrange(5 * DAY, 40 * DAY)
    full = [2 * SIZE] * at + [SIZE] * (LOOKS - at)
    return trace(rng, [rng.uniform(40, 70)] * LOOKS, full)


def collected_cache(rng: random.Random) -> Trace:
    """A cache that a collector keeps between 92 and 99 by design."""
    low, high = rng.uniform(92, 95), rng.uniform(97, 99)
    per_day, level, levels = rng.uniform(4, 20), rng.uniform(92, 97), []
    for look in range(LOOKS):
        level += per_day / DAY * activity(look)
        if level >= high:
            level = low + rng.uniform(-0.2, 0.2)
        levels.append(level)
    return trace(rng, levels)


def docker_pulls(rng: random.Random) -> Trace:
    level, levels, after = rng.uniform(30, 50), [], rng.uniform(30, 50)
    a_day = rng.uniform(2, 8)
    for look in range(LOOKS):
        if rng.random() < a_day / DAY * activity(look):
            level += rng.uniform(0.3, 4)
        if level >= 85 and look % 12 == 0:
            level = after + rng.uniform(-3, 3)
        levels.append(level)
    return trace(rng, levels)


def restored(rng: random.Random) -> Trace:
    to, takes = rng.uniform(60, 80), rng.uniform(1, 4) * 12
    levels = [min(to, 1 + to * look / takes) for look in range(LOOKS)]
    return trace(rng, levels)


# Full at some point


def linear(rng: random.Random) -> Trace:
    start = rng.uniform(20, 60)
    return trace(rng, grown(steady((SIZE - start) / rng.uniform(15, 40), LOOKS), start))


def fast_fill(rng: random.Random) -> Trace:
    start, at = rng.uniform(30, 70), rng.randrange(15 * DAY, 35 * DAY)
    rates = [0.0] * at + [(SIZE - start) / (rng.uniform(6, 36) * 12)] * (LOOKS - at)
    return trace(rng, grown(rates, start))


def daily_peaks_grow(rng: random.Random) -> Trace:
    peak = rng.uniform(55, 75)
    growth = (SIZE - peak) / rng.uniform(18, 40)
    return trace(rng, teeth(rng, 1, rng.uniform(5, 25), peak, growth))


def weekly_peaks_grow(rng: random.Random) -> Trace:
    peak = rng.uniform(55, 75)
    growth = (SIZE - peak) / rng.uniform(18, 40)
    return trace(rng, teeth(rng, 7, rng.uniform(10, 35), peak, growth))


def daily_rotation_stops(rng: random.Random) -> Trace:
    amplitude, peak = rng.uniform(5, 25), rng.uniform(60, 90)
    return trace(rng, teeth(rng, 1, amplitude, peak, stops_at=rng.uniform(15, 35)))


def weekly_rotation_stops(rng: random.Random) -> Trace:
    amplitude, peak = rng.uniform(10, 35), rng.uniform(60, 90)
    return trace(rng, teeth(rng, 7, amplitude, peak, stops_at=rng.uniform(15, 25)))


def cleaned_by_hand(rng: random.Random) -> Trace:
    start = rng.uniform(20, 50)
    rates = steady((SIZE - start) / rng.uniform(10, 20), LOOKS)
    level, levels, left = start, [], rng.randint(1, 2)
    at = rng.uniform(80, 96)
    for rate in rates:
        level += rate
        if left and level > at:
            level -= rng.uniform(20, 40)
            left, at = left - 1, rng.uniform(80, 96)
        levels.append(level)
    return trace(rng, levels)


def linear_with_gaps(rng: random.Random) -> Trace:
    made = linear(rng)
    for _ in range(8):
        at, takes = rng.randrange(len(made.used)), rng.randint(2, 30)
        for look in range(at, min(at + takes, len(made.used))):
            made.used[look] = None
    return made


def staircase(rng: random.Random) -> Trace:
    start = rng.uniform(20, 60)
    nightly, takes = (SIZE - start) / rng.uniform(15, 40), rng.randint(3, 18)
    rates = [nightly / takes if look % DAY < takes else 0.0 for look in range(LOOKS)]
    return trace(rng, grown(rates, start))


def accelerating(rng: random.Random) -> Trace:
    start, days = rng.uniform(20, 60), rng.uniform(20, 42)
    levels = [start + (SIZE - start) * (look / DAY / days) ** 3 for look in range(LOOKS)]
    return trace(rng, levels)


def copy_then_runaway(rng: random.Random) -> Trace:
    start, at = rng.uniform(30, 55), rng.randrange(10 * DAY, 35 * DAY)
    runs = at + int(rng.uniform(1, 3) * DAY)
    copied = start + rng.uniform(4, 14)
    per_look = (SIZE - copied) / (rng.uniform(6, 36) * 12)
    levels = [
        start if look < at else copied + max(0, look - runs) * per_look for look in range(LOOKS)
    ]
    return trace(rng, levels)


TUNING: list[Callable[[random.Random], Trace]] = [
    flat, flat_high, very_slow, daily_teeth, daily_teeth_high, weekly_teeth, weekly_teeth_high,
    copies, nightly_dump, extended, halved_on_paper, collected_cache, docker_pulls, restored,
    linear, fast_fill, daily_peaks_grow, weekly_peaks_grow, daily_rotation_stops,
    weekly_rotation_stops, cleaned_by_hand, linear_with_gaps, staircase, accelerating,
    copy_then_runaway,
]  # fmt: skip


# Kept aside. Never full


def six_hourly_teeth(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 0.25, rng.uniform(3, 12), rng.uniform(75, 95), busy=False))


def three_day_teeth(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 3, rng.uniform(8, 25), rng.uniform(75, 93)))


def ten_day_teeth(rng: random.Random) -> Trace:
    return trace(rng, teeth(rng, 10, rng.uniform(10, 30), rng.uniform(75, 93)))


def random_teeth(rng: random.Random) -> Trace:
    """Cleaned whenever somebody feels like it: nothing about it is regular."""
    level, levels, base = 60.0, [], rng.uniform(40, 65)
    for look in range(LOOKS):
        level += rng.uniform(0, 10) / DAY * activity(look)
        if level > 82 and rng.random() < 3 / DAY:
            level = base + rng.uniform(-5, 5)
        levels.append(min(level, 97.0))
    return trace(rng, levels)


def scratch(rng: random.Random) -> Trace:
    """A scratch volume: jobs write 1 to 8 GiB over minutes to hours, and delete it later."""
    rates = [0.0] * LOOKS
    for _ in range(DAYS * rng.randint(4, 8)):
        at, takes = rng.randrange(LOOKS), rng.randint(1, 36)
        size, keeps = rng.uniform(1, 8), rng.randint(6, DAY)
        for look in range(at, min(at + takes, LOOKS)):
            rates[look] += size / takes
        if at + takes + keeps < LOOKS:
            rates[at + takes + keeps] -= size
        else:
            for look in range(at, min(at + takes, LOOKS)):
                rates[look] -= size / takes
    levels = grown(rates, rng.uniform(30, 50))
    return trace(rng, [min(level, 97.0) for level in levels])


def builds(rng: random.Random) -> Trace:
    """A CI host: fills over the working day, swept every night, more or less."""
    levels, level, base = [], 0.0, rng.uniform(35, 60)
    day_size = 20.0
    for look in range(LOOKS):
        if look % DAY == 36:
            level = rng.uniform(0, 4)
            day_size = rng.uniform(8, 30)
        hour = look % DAY / 12
        if (look // DAY) % 7 < 5 and 8 <= hour < 19:
            level += day_size / (11 * 12) * rng.uniform(0, 2)
        levels.append(base + level)
    return trace(rng, levels)


def long_copies(rng: random.Random) -> Trace:
    """Permanent copies and imports that take from 20 minutes to three hours."""
    rates = steady(rng.uniform(0, 0.1), LOOKS)
    for _ in range(rng.randint(2, 4)):
        at, takes = rng.randrange(3 * DAY, LOOKS - DAY), rng.randint(4, 36)
        size = rng.uniform(4, 12)
        for look in range(at, at + takes):
            rates[look] += size / takes
    return trace(rng, grown(rates, rng.uniform(20, 45)))


def retention_ramp(rng: random.Random) -> Trace:
    """A new service that keeps 10 to 20 days of data: linear, then level."""
    keeps, plateau = rng.uniform(10, 20) * DAY, rng.uniform(50, 85)
    start = 10.0
    return trace(
        rng,
        [start + (plateau - start) * min(1, max(0, look - DAY) / keeps) for look in range(LOOKS)],
    )


def backups(rng: random.Random) -> Trace:
    """Weekly full and daily incremental backups; a set is dropped when the next full is there."""
    base, full_size, each = rng.uniform(20, 30), rng.uniform(12, 18), rng.uniform(0.7, 1.5)
    levels, sets = [], [full_size]
    for look in range(LOOKS):
        if look % DAY == 24:
            if (look // DAY) % 7 == 6:
                sets.append(full_size * rng.uniform(0.97, 1.03))
            else:
                sets[-1] += each * rng.uniform(0.7, 1.3)
        if look % DAY == 48 and len(sets) > 2:
            sets = sets[-2:]
        levels.append(base + sum(sets))
    return trace(rng, levels)


def drift(rng: random.Random) -> Trace:
    """A random walk that is pulled back to the middle."""
    level, levels, home = 60.0, [], rng.uniform(50, 80)
    for _ in range(LOOKS):
        level += rng.gauss(0, 0.12) + (home - level) * 0.002
        levels.append(min(level, 98.0))
    return trace(rng, levels)


def growing_dumps(rng: random.Random) -> Trace:
    """Nightly dumps of 5 to 25 GiB, a different size each night, removed by the morning."""
    base, hour, levels, tonight, takes = rng.uniform(40, 60), rng.randint(0, 4), [], 0.0, 6
    for look in range(LOOKS):
        since = look % DAY - hour * 12
        if since == 0:
            tonight, takes = rng.uniform(5, 25), rng.randint(3, 18)
        inside = 0 <= since < 40
        levels.append(base + (tonight * min(1, (since + 1) / takes) if inside else 0))
    return trace(rng, levels)


def vacuumed(rng: random.Random) -> Trace:
    """A database that bloats for days and is compacted, writing a second copy while it is."""
    level, levels, base = 50.0, [], rng.uniform(40, 50)
    compacting = 0
    for _look in range(LOOKS):
        level += rng.uniform(2, 6) / DAY
        if compacting:
            compacting -= 1
            if compacting == 0:
                level = base + rng.uniform(0, 3)
        elif level > base + 18:
            compacting = 18
        levels.append(level + (18 - compacting) / 18 * 20 if compacting else level)
    return trace(rng, levels)


# Kept aside. Full at some point


def linear_under_dump(rng: random.Random) -> Trace:
    start, days = rng.uniform(20, 40), rng.uniform(20, 35)
    dump, takes = rng.uniform(5, 20), rng.randint(3, 12)
    levels = []
    for look in range(LOOKS):
        since = look % DAY - 24
        extra = dump * min(1, (since + 1) / takes) if 0 <= since < 36 else 0
        levels.append(start + (SIZE - dump - start) * look / DAY / days + extra)
    return trace(rng, levels)


def bursts(rng: random.Random) -> Trace:
    """A log storm that comes and goes every few hours, until it is full in two to four days."""
    start, at = rng.uniform(30, 60), rng.randrange(10 * DAY, 35 * DAY)
    per_look = (SIZE - start) / (rng.uniform(2, 4) * DAY) * 3
    level, levels, on = start, [], 0
    for look in range(LOOKS):
        if look >= at:
            on -= 1
            if on < -24:
                on = 12
            level += per_look if on > 0 else 0
        levels.append(level)
    return trace(rng, levels)


def working_days(rng: random.Random) -> Trace:
    """Grows on working days only."""
    start = rng.uniform(20, 50)
    per_day = (SIZE - start) / rng.uniform(15, 28)
    rates = [
        per_day / 120 if (look // DAY) % 7 < 5 and 96 <= look % DAY < 216 else 0
        for look in range(LOOKS)
    ]
    return trace(rng, grown(rates, start))


def runaway(rng: random.Random) -> Trace:
    start, at = rng.uniform(30, 80), rng.randrange(10 * DAY, 40 * DAY)
    rates = [0.0] * at + [(SIZE - start) / (rng.uniform(3, 8) * 12)] * (LOOKS - at)
    return trace(rng, grown(rates, start))


def runaway_among_teeth(rng: random.Random) -> Trace:
    levels = teeth(rng, 1, rng.uniform(5, 15), rng.uniform(70, 85))
    at = rng.randrange(15 * DAY, 40 * DAY)
    per_look = rng.uniform(20, 60) / (12 * 12)
    return trace(rng, [x + max(0, look - at) * per_look for look, x in enumerate(levels)])


def three_day_rotation_stops(rng: random.Random) -> Trace:
    return trace(
        rng,
        teeth(rng, 3, rng.uniform(8, 25), rng.uniform(60, 90), stops_at=rng.uniform(15, 25)),
    )


def cleaned_runaway(rng: random.Random) -> Trace:
    """A runaway, wiped by hand near the end, that runs on."""
    start, at = rng.uniform(30, 50), rng.randrange(10 * DAY, 30 * DAY)
    per_look = (SIZE - start) / (rng.uniform(20, 40) * 12)
    level, levels, wipes = start, [], rng.randint(1, 2)
    wiped_at = rng.uniform(94, 98)
    for look in range(LOOKS):
        level += per_look if look >= at else 0
        if wipes and level > wiped_at:
            level, wipes, wiped_at = start + rng.uniform(0, 5), wipes - 1, rng.uniform(94, 98)
        levels.append(level)
    return trace(rng, levels)


def daily_and_weekly_grow(rng: random.Random) -> Trace:
    daily = teeth(rng, 1, rng.uniform(3, 8), 20)
    weekly = teeth(rng, 7, rng.uniform(5, 12), 35, rng.uniform(1.0, 1.8))
    return trace(rng, [a + b for a, b in zip(daily, weekly)])


def in_steps_of_a_gib(rng: random.Random) -> Trace:
    """A filesystem that counts in whole gibibytes."""
    made = linear(rng)
    made.used = [None if x is None else float(int(x)) for x in made.used]
    return made


def checked_rarely(rng: random.Random) -> Trace:
    """Somebody looks every half hour, more or less."""
    made = rng.choice([linear, fast_fill, daily_rotation_stops])(rng)
    made.used = [x if rng.random() < 1 / 6 else None for x in made.used]
    return made


def hourly_batches(rng: random.Random) -> Trace:
    start, at = rng.uniform(40, 60), rng.randrange(10 * DAY, 35 * DAY)
    step = (SIZE - start) / rng.uniform(12, 40)
    rates = [step if look >= at and look % 12 == 0 else 0.0 for look in range(LOOKS)]
    return trace(rng, grown(rates, start))


HOLDOUT: list[Callable[[random.Random], Trace]] = [
    six_hourly_teeth, three_day_teeth, ten_day_teeth, random_teeth, scratch, builds, long_copies,
    retention_ramp, backups, drift, growing_dumps, vacuumed, linear_under_dump, bursts,
    working_days, runaway, runaway_among_teeth, three_day_rotation_stops, cleaned_runaway,
    daily_and_weekly_grow, in_steps_of_a_gib, checked_rarely, hourly_batches,
]  # fmt: skip


def made(family: Callable[[random.Random], Trace], seed: int) -> Trace:
    return family(random.Random(f"{family.__name__} {seed}"))

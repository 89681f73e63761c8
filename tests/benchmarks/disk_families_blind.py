#!/usr/bin/env python3
"""Filesystems written from operators' memory by somebody who never saw the forecast.

    tests/benchmarks/disk_families_blind.py     how many seeds of each family fill, and min/max used

Volume, looks and `Trace` are those of disk_families. `CALM` never fill and give nobody a reason to
get up; `FILLING` go wrong in a way that ends with no room left. Rates are chosen by how long the
room lasts, so that the trace is full within its 45 days. Sizes are GiB, times are looks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Callable

from disk_families import DAY, LOOKS, SIZE, Trace, made, trace

HOUR = DAY // 24
WEEK = 7 * DAY
WEEKDAYS = range(5)
EVERY_DAY = range(7)
SUNDAY = 6
FOR_EVER = 10 * LOOKS

File = tuple[int, int, float, int]
"""Written from this look, for so many looks, so many GiB, deleted at that look."""


@dataclass(frozen=True)
class Week:
    """The looks of the week that this system is observed in, and how busy it is at each."""

    first: int  # where in the week, from Monday 00:00, the first look falls
    busy: list[float]  # mean 1 over the week

    def hour(self, look: int) -> float:
        return (look + self.first) % DAY / HOUR

    def weekday(self, look: int) -> int:
        return (look + self.first) // DAY % 7

    def work(self, look: int) -> float:
        return self.busy[(look + self.first) % WEEK]

    def days_of_work(self, begun: int, takes: int) -> float:
        return sum(self.work(look) for look in range(begun, begun + takes)) / DAY

    def at(self, hour: float, days: Iterable[int] = EVERY_DAY, before: int = 0) -> list[int]:
        """The looks at which it is this hour, on these weekdays, from `before` days before."""
        begun, days = self.next(hour, -before * DAY), set(days)
        return [look for look in range(begun, LOOKS, DAY) if self.weekday(look) in days]

    def next(self, hour: float, look: int, days: Iterable[int] = EVERY_DAY) -> int:
        """The first look from that one on at which it is this hour, on one of these weekdays."""
        look += (round(hour * HOUR) - self.first - look) % DAY
        days = set(days)
        while self.weekday(look) not in days:
            look += DAY
        return look


def a_week(rng: random.Random, night: float = 0.3, weekend: float = 0.5) -> Week:
    """People are busiest around noon or later; machines less so, the nearer both are to 1."""
    peak = rng.uniform(11, 16)
    busy = [
        (night + (1 - night) * (1 + math.cos((look % DAY / HOUR - peak) / 12 * math.pi)) / 2)
        * (weekend if look // DAY >= 5 else 1)
        * rng.uniform(0.7, 1.3)
        for look in range(WEEK)
    ]
    mean = sum(busy) / WEEK
    return Week(rng.randrange(WEEK), [work / mean for work in busy])


def files(kept: Iterable[File], week: Week | None = None) -> list[float]:
    """What these files use, written evenly, or in the rhythm of the week."""
    change = [0.0] * LOOKS
    for begun, takes, size, gone in kept:
        pace = [week.work(begun + i) if week else 1.0 for i in range(takes)]
        for i, part in enumerate(pace):
            if begun + i < LOOKS:
                change[max(0, begun + i)] += size * part / sum(pace)
        if gone < LOOKS:
            change[max(0, gone)] -= size
    return list(accumulate(change))


def written(week: Week, per_day: float, begun: int = 0) -> list[float]:
    """Something that only grows, from that look on."""
    work = (week.work(look) if look >= begun else 0.0 for look in range(LOOKS))
    return list(accumulate(per_day / DAY * part for part in work))


def evenly(per_day: float, begun: int = 0) -> list[float]:
    return [per_day / DAY * max(0, look - begun) for look in range(LOOKS)]


def daily_logs(
    rng: random.Random, week: Week, per_day: float, stops_at: int = FOR_EVER, keep: int = 7
) -> list[float]:
    """Logs rotated and compressed to a tenth each midnight; from `stops_at` on they stay."""
    kept: list[File] = []
    for midnight in week.at(0, before=keep + 3):
        size = per_day * week.days_of_work(midnight, DAY) * rng.lognormvariate(0, 0.1)
        rotated = midnight + DAY < stops_at
        kept.append((midnight, DAY, size, midnight + DAY + 1 if rotated else FOR_EVER))
        if rotated:
            kept.append((midnight + DAY, 1, size / 10, midnight + (keep + 1) * DAY))
    return files(kept, week)


def total(start: float, *parts: list[float]) -> list[float]:
    return [start + sum(levels) for levels in zip(*parts)]


def looked_at(
    rng: random.Random,
    levels: list[float],
    full: list[float] | None = None,
    noise: float | None = None,
) -> Trace:
    """A trace with looks missed: now and then one, a reboot, hours of maintenance, a lost day.

    Nothing long is missed in the last day before a volume is full: that would test the scheduler.
    """
    seen = trace(rng, levels, full, rng.choice([0.005, 0.02, 0.05]) if noise is None else noise)
    missed = rng.choice([0.0, 0.001, 0.005, 0.02])
    used = [None if rng.random() < missed else level for level in seen.used]
    last = len(used) if seen.filled is None else max(0, len(used) - DAY)
    for _ in range(rng.randrange(5)):
        takes = round(math.exp(rng.uniform(math.log(2), math.log(DAY))))
        begun = rng.randrange(LOOKS)
        used[begun : begun + takes] = (
            used[begun : begun + takes] if begun + takes > last else [None] * takes
        )
    seen.used = used
    return seen


def day(rng: random.Random, first: float, last: float) -> int:
    return round(rng.uniform(first, last) * DAY)


# What never fills


def postgres_primary(rng: random.Random) -> Trace:
    """PostgreSQL: WAL between checkpoints, nightly pg_dump, bloat until the weekly VACUUM FULL."""
    week = a_week(rng)
    checkpoint = rng.choice([3, 6, 12])
    wal = [
        (look, checkpoint, rng.uniform(0.3, 1.2), look + checkpoint + 1)
        for look in range(-checkpoint, LOOKS, checkpoint)
    ]
    dump, takes, keep = rng.uniform(2, 5), rng.randrange(6, 30), rng.randrange(2, 6)
    dumps = [
        (look, takes, dump * rng.gauss(1, 0.01), look + keep * DAY + takes)
        for look in week.at(rng.uniform(0, 4), before=keep + 1)
    ]
    bloat, table = rng.uniform(2, 7), rng.uniform(3, 9)
    vacuums = week.at(rng.uniform(3, 6), [SUNDAY], before=8)
    copies = [(look, HOUR, table, look + HOUR) for look in vacuums]
    bloats = [(look, WEEK, bloat * rng.gauss(1, 0.1), look + WEEK + HOUR) for look in vacuums]
    levels = total(rng.uniform(15, 35), files(wal), files(dumps), files(copies))
    return looked_at(rng, total(0, levels, files(bloats, week)))


def elasticsearch_ilm(rng: random.Random) -> Trace:
    """Elasticsearch: an index a day, force-merged at roll-over, deleted by ILM after N days."""
    week = a_week(rng, night=0.4, weekend=rng.uniform(0.4, 0.9))
    keep = rng.randrange(5, 22)
    per_day = rng.uniform(40, 62) / keep
    kept: list[File] = []
    for midnight in week.at(0, before=keep + 2):
        size = per_day * week.days_of_work(midnight, DAY) * rng.lognormvariate(0, 0.08)
        polled = rng.randrange(3)  # ILM looks every ten minutes
        kept.append((midnight, DAY, size, midnight + (keep + 1) * DAY + polled))
        merged = midnight + DAY + rng.randrange(3, HOUR)
        kept.append((merged, HOUR, size * 0.6, merged + HOUR))
    return looked_at(rng, total(rng.uniform(2, 8), files(kept, week)))


def kafka_by_size(rng: random.Random) -> Trace:
    """Kafka: partitions at retention.bytes, whole segments of a GiB deleted at the next check."""
    week = a_week(rng, night=0.5, weekend=0.7)
    partitions = rng.randrange(4, 24)
    retained = rng.uniform(40, 88) / partitions - 1
    rates = [rng.uniform(0.5, 8) for _ in range(partitions)]
    sizes = [retained + rng.random() for _ in range(partitions)]
    levels = []
    for look in range(LOOKS):
        for i, rate in enumerate(rates):
            sizes[i] += rate / DAY * week.work(look)
            sizes[i] -= 1 if sizes[i] - 1 >= retained else 0
        levels.append(sum(sizes))
    return looked_at(rng, levels)


def prometheus_tsdb(rng: random.Random) -> Trace:
    """Prometheus: WAL cut every 2 h, compactions at 6, 18 and 54 h, blocks gone after 15 d."""
    per_hour = rng.uniform(0.06, 0.14)
    kept: list[File] = []
    for hours, extra in ((2, 1.5), (6, 1.0), (18, 1.0), (54, 1.0)):
        begun = rng.randrange(-hours * HOUR, 0)
        for look in range(begun, LOOKS, hours * HOUR):
            takes = hours * HOUR if hours == 2 else max(1, hours // 9)
            kept.append((look, takes, extra * hours * per_hour, look + takes + hours // 2))
    block = 54 * HOUR
    for look in range(rng.randrange(-block, 0) - 8 * block, LOOKS, block):
        size = block / HOUR * per_hour * rng.gauss(1, 0.03)
        kept.append((look, block, size, look + block + 15 * DAY))
    return looked_at(rng, total(rng.uniform(1, 15), files(kept)))


def mail_spool(rng: random.Random) -> Trace:
    """Mail: it arrives when people work, they delete, and dovecot expunges the trash at night."""
    week = a_week(rng, night=0.15, weekend=0.2)
    base, per_day, expunged = rng.uniform(35, 75), rng.uniform(0.5, 2), rng.uniform(0.3, 0.7)
    nightly = set(week.at(rng.uniform(1, 5)))
    above = per_day / expunged
    levels = []
    for look in range(LOOKS):
        above += per_day / DAY * week.work(look) * rng.uniform(0, 2)
        above *= 1 - expunged * rng.gauss(1, 0.1) if look in nightly else 1
        levels.append(base + above)
    return looked_at(rng, levels)


def docker_builds(rng: random.Random) -> Trace:
    """A build host: layers pile up in office hours, `docker system prune` on Sunday night."""
    week = a_week(rng, night=0.02, weekend=0.1)
    per_week = rng.uniform(10, 25)
    kept = [
        (look, WEEK, per_week * rng.lognormvariate(0, 0.12), look + WEEK + rng.randrange(4))
        for look in week.at(rng.uniform(1, 5), [SUNDAY], before=8)
    ]
    scratch = [
        (look, 2, rng.uniform(0.2, 2), look + rng.randrange(3, 8))
        for look in range(LOOKS)
        if rng.random() < 0.04 * week.work(look)
    ]
    return looked_at(rng, total(rng.uniform(20, 40), files(kept, week), files(scratch)))


def apt_and_kernels(rng: random.Random) -> Trace:
    """/ of a server: unattended-upgrades downloads and cleans, a new kernel drops the oldest."""
    week = a_week(rng)
    kept: list[File] = []
    for look in week.at(6 + rng.random(), before=60):
        if rng.random() < 0.5:
            kept.append((look, 2, rng.uniform(0.05, 0.8), look + rng.choice([3, 3 * DAY])))
        if rng.random() < 1 / 14:
            kept.append((look, 2, rng.uniform(0.3, 0.6), look + rng.randrange(35, 50) * DAY))
    logs = daily_logs(rng, week, rng.uniform(0.05, 0.4))
    return looked_at(rng, total(rng.uniform(15, 88), files(kept), logs))


def ci_artifacts(rng: random.Random) -> Trace:
    """A CI server: artifacts of office hours, each kept N days, expired by a nightly job."""
    week = a_week(rng, night=0.05, weekend=rng.uniform(0.1, 0.3))
    keep = rng.choice([3, 5, 7, 14, 21])
    per_day, expires = rng.uniform(15, 38) / (keep + 1), rng.uniform(2, 5)
    size = rng.uniform(0.05, 0.4)
    kept = []
    for look in range(-(keep + 2) * DAY, LOOKS):
        if rng.random() < per_day / DAY / size * week.work(look):
            gone = week.next(expires, look + keep * DAY)
            kept.append((look, 1, size * rng.lognormvariate(-0.08, 0.4), gone))
    return looked_at(rng, total(rng.uniform(5, 25), files(kept)))


def home_directories(rng: random.Random) -> Trace:
    """Homes: big downloads, and whoever meets his soft quota throws a good part away."""
    week = a_week(rng, night=0.1, weekend=0.3)
    people = rng.randrange(6, 16)
    quota = rng.uniform(50, 80) / people
    homes = [quota * rng.uniform(0.55, 1.05) for _ in range(people)]
    base, hazard = rng.uniform(2, 10), rng.uniform(0.05, 0.3) / DAY
    levels = []
    for look in range(LOOKS):
        for i in range(people):
            if rng.random() < hazard * week.work(look):
                homes[i] += min(quota * 0.3, rng.lognormvariate(-0.5, 1))
            if homes[i] > quota and rng.random() < 0.05 * week.work(look):
                homes[i] *= rng.uniform(0.4, 0.8)
        levels.append(base + sum(min(home, 1.1 * quota) for home in homes))
    return looked_at(rng, levels)


def thumbnail_cache(rng: random.Random) -> Trace:
    """A thumbnail cache at its quota: at the high mark the least recently used are evicted."""
    week = a_week(rng, night=0.2, weekend=1.2)
    high = rng.uniform(25, 60)
    share, per_day = rng.uniform(0.03, 0.15), rng.uniform(1, 8)
    cache = high * (1 - share * rng.random())
    base = rng.uniform(5, 30)
    levels = []
    for look in range(LOOKS):
        cache += per_day / DAY * week.work(look)
        if cache >= high:
            cache = high * (1 - share * rng.uniform(0.9, 1.1))
        levels.append(base + cache)
    return looked_at(rng, levels)


def zfs_snapshots(rng: random.Random) -> Trace:
    """ZFS: what is overwritten stays until its last hourly, daily or weekly snapshot expires."""
    week = a_week(rng, night=0.2, weekend=0.4)
    kept: list[File] = []
    for starts, takes, keep, held in (
        (range(-2 * WEEK, LOOKS, HOUR), HOUR, rng.choice([24, 36, 48]) * HOUR, 12),
        (week.at(0, before=40), DAY, rng.choice([7, 10, 14]) * DAY, 15),
        (week.at(0, [SUNDAY], before=60), WEEK, 4 * WEEK, 18),
    ):
        per_day = rng.uniform(0.4, 1) * held / keep * DAY
        for look in starts:
            size = per_day * week.days_of_work(look, takes) * rng.lognormvariate(0, 0.1)
            kept.append((look, takes, size, look + takes + keep))
    return looked_at(rng, total(rng.uniform(10, 40), files(kept, week)))


def video_ring_buffer(rng: random.Random) -> Trace:
    """Surveillance video: full to 95-98 % for ever, the oldest recordings make the room."""
    week = a_week(rng, night=rng.uniform(0.3, 1), weekend=rng.uniform(0.6, 1))
    high, gap, per_day = rng.uniform(96, 98.2), rng.uniform(0.3, 1.2), rng.uniform(5, 60)
    level = high - gap * rng.random()
    levels = []
    for look in range(LOOKS):
        level += per_day / DAY * week.work(look)
        if level > high:
            level = high - gap * rng.uniform(0.8, 1.2)
        levels.append(level)
    return looked_at(rng, levels, noise=0.01)


def mysql_binlogs(rng: random.Random) -> Trace:
    """MySQL: binlogs by the day's load, PURGE BINARY LOGS every few hours."""
    week = a_week(rng, night=0.25, weekend=0.6)
    every, keep = rng.choice([1, 3, 6, 12]) * HOUR, rng.choice([12, 24, 48]) * HOUR
    per_day = rng.uniform(10, 25) * DAY / (keep + every)
    kept: list[File] = []
    for look in range(rng.randrange(-every, 0) - keep - DAY, LOOKS, every):
        size = per_day * week.days_of_work(look, every) * rng.lognormvariate(0, 0.1)
        kept.append((look, every, size, look + every + keep))
    return looked_at(rng, total(rng.uniform(15, 45), files(kept, week)))


def gfs_backups(rng: random.Random) -> Trace:
    """A backup target: incrementals nightly, a full on Sunday, one of them kept for months."""
    week = a_week(rng)
    share = rng.uniform(55, 82)
    dailies, weeklies = rng.choice([6, 7, 14]), rng.randrange(3, 6)
    full = share * 0.6 / (weeklies + 3)
    kept: list[File] = []
    hour, takes = rng.uniform(0, 4), rng.randrange(6, 40)
    month = rng.randrange(4)
    for look in week.at(hour, before=130):
        size = share * 0.3 / dailies * rng.lognormvariate(0, 0.2)
        if week.weekday(look) == SUNDAY:
            size = full * rng.gauss(1, 0.02)
            nth = (look + 130 * DAY) // WEEK
            weeks = 13 if nth % 4 == month else weeklies
            kept.append((look, 2 * takes, size, look + weeks * WEEK + 2 * takes + 1))
        else:
            kept.append((look, takes, size, look + dailies * DAY + takes + 1))
    return looked_at(rng, total(rng.uniform(1, 5), files(kept)))


def core_dumps(rng: random.Random) -> Trace:
    """Core dumps now and then, a few in a row; systemd-tmpfiles cleans what is ten days old."""
    week = a_week(rng)
    size, cleans = rng.uniform(0.2, 1.5), rng.uniform(0, 24)
    kept = []
    for look in range(-12 * DAY, LOOKS):
        if rng.random() < rng.uniform(0.1, 0.4) / DAY:
            for i in range(rng.randrange(1, 5)):
                gone = week.next(cleans, look + 10 * DAY)
                kept.append((look + 2 * i, 1, size * rng.uniform(0.8, 1.2), gone))
    logs = daily_logs(rng, week, rng.uniform(0.2, 1.5))
    return looked_at(rng, total(rng.uniform(20, 55), files(kept), logs))


def monday_restore(rng: random.Random) -> Trace:
    """The dump of production is restored each Monday for the testers, and dropped later."""
    week = a_week(rng)
    size, takes = rng.uniform(10, 25), rng.randrange(12, 48)
    stays = rng.choice([8 * HOUR, 12 * HOUR, DAY, 2 * DAY])
    kept = [
        (look + rng.randrange(6), takes, size * rng.gauss(1, 0.02), look + takes + stays)
        for look in week.at(rng.uniform(4, 8), [0], before=7)
    ]
    logs = daily_logs(rng, week, rng.uniform(0.2, 2))
    return looked_at(rng, total(rng.uniform(25, 50), files(kept), logs))


def log_host_by_size(rng: random.Random) -> Trace:
    """A central log host: an hourly logrotate with `size`, `compress` and `rotate` N."""
    week = a_week(rng, night=0.3, weekend=0.4)
    hosts, limit, keep = rng.randrange(5, 40), rng.uniform(0.2, 1), rng.randrange(4, 20)
    rates = [rng.uniform(0.2, 3) for _ in range(hosts)]
    logs = [limit * rng.random() for _ in range(hosts)]
    hourly = rng.randrange(HOUR)
    compressed = hosts * keep * limit * 0.06
    levels = []
    for look in range(LOOKS):
        for i, rate in enumerate(rates):
            logs[i] += rate / DAY * week.work(look)
            if look % HOUR == hourly and logs[i] >= limit:
                logs[i] = 0.0
        levels.append(compressed + sum(logs))
    base = rng.uniform(5, 85 - max(levels))
    return looked_at(rng, [base + level for level in levels])


def month_end(rng: random.Random) -> Trace:
    """Month-end batches: three nights of exports, deleted when the auditors have them; twice."""
    week = a_week(rng)
    size, takes = rng.uniform(3, 8), rng.randrange(12, 60)
    first = rng.randrange(3, 8)
    kept = []
    for ends in (first, first + rng.choice([30, 31])):
        gone = week.next(rng.uniform(9, 17), (ends + rng.randrange(5, 7)) * DAY, WEEKDAYS)
        for night in range(3):
            look = week.next(21, (ends - 1 + night) * DAY)
            kept.append((look, takes, size * rng.uniform(0.7, 1.2), gone))
    logs = daily_logs(rng, week, rng.uniform(0.2, 2))
    return looked_at(rng, total(rng.uniform(25, 55), files(kept), logs))


def upload_spool(rng: random.Random) -> Trace:
    """Uploads of the day wait in a spool that is drained to the archive at night."""
    week = a_week(rng, night=0.15, weekend=rng.uniform(0.2, 1.1))
    per_day, drains = rng.uniform(5, 20), rng.uniform(20, 23)
    per_look = rng.uniform(6, 12) * per_day / DAY
    base, spool = rng.uniform(10, 45), per_day * week.hour(0) / 24
    levels = []
    for look in range(LOOKS):
        spool += per_day / DAY * week.work(look)
        if (week.hour(look) - drains) % 24 < 7:
            spool = max(0.02, spool - per_look)
        levels.append(base + spool)
    return looked_at(rng, levels)


def vm_images(rng: random.Random) -> Trace:
    """Sparse VM images: they grow with every block touched until Monday's fstrim in the guests."""
    week = a_week(rng, night=0.5, weekend=0.6)
    kept = []
    for _ in range(rng.randrange(3, 10)):
        per_week = rng.uniform(0.3, 3)
        for look in week.at(0, [0], before=8):
            trims = look + WEEK + rng.randrange(HOUR)
            kept.append((look, WEEK, per_week * rng.lognormvariate(0, 0.2), trims))
    return looked_at(rng, total(rng.uniform(30, 65), files(kept, week)))


def nearly_full_and_static(rng: random.Random) -> Trace:
    """An archive filled to the brim on purpose, years ago: nothing but metadata and noise."""
    logs = daily_logs(rng, a_week(rng), rng.uniform(0, 0.15))
    return looked_at(rng, total(rng.uniform(93, 98.5), logs), noise=rng.uniform(0.005, 0.15))


def cache_warms_up(rng: random.Random) -> Trace:
    """A new proxy cache: every miss is a file, misses become rarer, it settles far from full."""
    week = a_week(rng, night=0.4, weekend=0.8)
    start, begun = rng.uniform(5, 40), day(rng, 0, 8)
    limit = rng.uniform(max(45, start + 10), 72)
    settles = rng.uniform(7, 12) * DAY
    level, levels = start, []
    for look in range(LOOKS):
        if look >= begun:
            level += (limit - level) / settles * week.work(look)
        levels.append(level)
    return looked_at(rng, levels)


def sort_spills(rng: random.Random) -> Trace:
    """An analytics database: reports spill their sorts to disk, by the hour, and give it back."""
    week = a_week(rng, night=0.3, weekend=0.3)
    a_day, biggest = rng.uniform(1, 12), rng.uniform(4, 12)
    kept = []
    for look in range(LOOKS):
        if rng.random() < a_day / DAY * week.work(look):
            takes = rng.randrange(1, 10)
            size = min(biggest, rng.lognormvariate(0.5, 0.9))
            kept.append((look, takes, size, look + takes + rng.randrange(4)))
    spilled = files(kept)
    return looked_at(rng, total(rng.uniform(20, 88 - max(spilled)), spilled))


def years_left(rng: random.Random) -> Trace:
    """The file server of a small office: honest growth, and more than a year to go."""
    week = a_week(rng, night=0.02, weekend=0.05)
    start = rng.uniform(25, 75)
    per_day = (SIZE - start) / rng.uniform(500, 2000)
    return looked_at(rng, total(start, written(week, per_day), daily_logs(rng, week, 0.2)))


def volume_extended_in_time(rng: random.Random) -> Trace:
    """A cloud volume whose storage scales itself: a tenth of free space left, and it is larger."""
    week = a_week(rng, night=0.4, weekend=0.7)
    per_day, size = rng.uniform(0.15, 0.4), SIZE
    levels = total(rng.uniform(76, 86), written(week, per_day))
    full = []
    for level in levels:
        if size - level < 0.1 * size:
            size += 20
        full.append(size)
    return looked_at(rng, levels, full)


def back_from_holidays(rng: random.Random) -> Trace:
    """Logs kept N days: two quiet weeks, the level sags, then it climbs back to where it was."""
    week = a_week(rng, night=0.3, weekend=0.6)
    keep, away = rng.randrange(10, 18), rng.randrange(1, 15)
    back, calm = away + rng.randrange(7, 15), rng.uniform(0.3, 0.6)
    per_day = rng.uniform(25, 45) / keep
    kept: list[File] = []
    for midnight in week.at(0, before=keep + 2):
        size = per_day * week.days_of_work(midnight, DAY) * rng.lognormvariate(0, 0.08)
        size *= calm if away * DAY <= midnight < back * DAY else 1
        kept.append((midnight, DAY, size, midnight + (keep + 1) * DAY))
    return looked_at(rng, total(rng.uniform(15, 30), files(kept, week)))


# What fills


def leak_from_some_day(rng: random.Random) -> Trace:
    """After an upgrade one program logs an error at a constant rate, into a file nobody rotates."""
    week = a_week(rng)
    start, begun = rng.uniform(35, 80), day(rng, 5, 25)
    leak = evenly((SIZE - start) / rng.uniform(3, 18), begun)
    return looked_at(rng, total(start, leak, daily_logs(rng, week, rng.uniform(0.2, 2))))


def debug_left_on(rng: random.Random) -> Trace:
    """A deploy leaves the log level at debug: ten times the lines, rotation deletes too late."""
    week = a_week(rng, night=0.3, weekend=rng.uniform(0.4, 0.9))
    start, keep = rng.uniform(25, 60), rng.randrange(10, 31)
    lasts = rng.uniform(2, min(14, 0.6 * keep))
    per_day = (SIZE - start) / 9 / lasts
    deploy = week.next(rng.uniform(9, 17), day(rng, 6, 25), WEEKDAYS)
    kept: list[File] = []
    for midnight in week.at(0, before=keep + 2):
        size = per_day * week.days_of_work(midnight, DAY) * rng.lognormvariate(0, 0.1)
        kept.append((midnight, DAY, size, midnight + (keep + 1) * DAY))
    start = max(5, start - per_day * keep)
    return looked_at(rng, total(start, files(kept, week), written(week, 9 * per_day, deploy)))


def nightly_logrotate_fails(rng: random.Random) -> Trace:
    """A broken line in logrotate.d: since last night nothing is rotated any more."""
    week = a_week(rng, night=0.3, weekend=0.5)
    start, stops = rng.uniform(30, 65), day(rng, 5, 22)
    per_day = (SIZE - start) / rng.uniform(4, 18)
    return looked_at(rng, total(start, daily_logs(rng, week, per_day, stops)))


def hourly_logrotate_fails(rng: random.Random) -> Trace:
    """The timer that rotated a flood of logs every hour is gone after an upgrade."""
    week = a_week(rng, night=0.4, weekend=0.8)
    start, stops = rng.uniform(30, 80), day(rng, 4, 36)
    per_hour = (SIZE - start) / rng.uniform(12, 100)
    kept = []
    for look in range(rng.randrange(-HOUR, 0), LOOKS, HOUR):
        size = 24 * per_hour * week.days_of_work(look, HOUR)
        kept.append((look, HOUR, size, look + HOUR + 1 if look < stops else FOR_EVER))
    return looked_at(rng, total(start, files(kept, week)))


def rotation_by_size_fails(rng: random.Random) -> Trace:
    """Logs rotated at N GiB until the rotated file could not be renamed once too often."""
    week = a_week(rng, night=0.3, weekend=0.6)
    start, stops = rng.uniform(25, 55), day(rng, 6, 22)
    limit, per_day = rng.uniform(2, 12), (SIZE - start) / rng.uniform(4, 18)
    log, levels = limit * rng.random(), []
    for look in range(LOOKS):
        log += per_day / DAY * week.work(look)
        if log >= limit and look < stops:
            log = 0.0
        levels.append(start + log)
    return looked_at(rng, levels)


def deleted_but_open(rng: random.Random) -> Trace:
    """A log deleted under its writer grows unseen, a restart frees it, and it begins again."""
    week = a_week(rng, night=0.5, weekend=0.7)
    start, begun = rng.uniform(30, 65), day(rng, 2, 10)
    lasts = rng.uniform(5, 16) * DAY
    restart = begun + round(lasts * rng.uniform(0.2, 0.7))
    unseen = written(week, (SIZE - start) / lasts * DAY, begun)
    unseen = [x - unseen[restart] if look >= restart else x for look, x in enumerate(unseen)]
    return looked_at(rng, total(start, unseen, daily_logs(rng, week, rng.uniform(0.5, 3))))


def backups_without_expiry(rng: random.Random) -> Trace:
    """The prune step of the nightly backup lost its credentials; nobody reads that mail."""
    week = a_week(rng)
    keep, takes, stops = rng.randrange(3, 10), rng.randrange(6, 40), day(rng, 5, 22)
    free = rng.uniform(15, 45)
    size = free / rng.uniform(4, 16)
    kept: list[File] = []
    for look in week.at(rng.uniform(0, 5), before=keep + 1):
        gone = look + keep * DAY + takes
        kept.append((look, takes, size * rng.gauss(1, 0.05), gone if gone < stops else FOR_EVER))
    return looked_at(rng, total(max(2, SIZE - free - size * keep), files(kept)))


def replication_slot(rng: random.Random) -> Trace:
    """PostgreSQL: the replica is gone, its slot is not, and every WAL segment is held for it."""
    week = a_week(rng, night=0.3, weekend=0.6)
    start, begun = rng.uniform(30, 75), day(rng, 5, 36)
    per_day = (SIZE - start) / rng.uniform(0.5, 5)
    checkpoint = rng.choice([3, 6])
    wal = [
        (look, checkpoint, rng.uniform(0.2, 1), look + checkpoint + 1)
        for look in range(-checkpoint, LOOKS, checkpoint)
    ]
    held = written(week, per_day, begun)
    return looked_at(rng, total(start, files(wal), [x - x % (1 / 64) for x in held]))


def office_hours(rng: random.Random) -> Trace:
    """Scans of a department: it grows on weekdays from eight to six, and never shrinks."""
    week = a_week(rng)
    opens, closes = rng.uniform(7, 9), rng.uniform(16, 19)
    start, lasts = rng.uniform(30, 80), rng.uniform(8, 27)  # working days
    per_look = (SIZE - start) / lasts / ((closes - opens) * HOUR)
    level, levels = start, []
    for look in range(LOOKS):
        if opens <= week.hour(look) < closes and week.weekday(look) in WEEKDAYS:
            level += per_look * rng.uniform(0, 2)
        levels.append(level)
    return looked_at(rng, levels)


def slow_growth_under_a_dump(rng: random.Random) -> Trace:
    """A database grows slowly; its nightly dump, shipped and deleted, is what hits the ceiling."""
    week = a_week(rng, night=0.3, weekend=0.5)
    start, dump, takes = rng.uniform(35, 60), rng.uniform(6, 18), rng.randrange(6, 30)
    per_day = (SIZE - start - dump) / rng.uniform(14, 38)
    grows = written(week, per_day)
    dumps = [
        (look, takes, dump * rng.gauss(1, 0.02), look + takes + rng.randrange(6, 30))
        for look in week.at(rng.uniform(0, 4))
    ]
    return looked_at(rng, total(start, grows, files(dumps)))


def daily_imports(rng: random.Random) -> Trace:
    """Partner data is imported once a day, 1-4 GiB a piece, and it stays."""
    week = a_week(rng)
    size, begun = rng.uniform(1, 4), day(rng, 0, 8)
    days = rng.choice([EVERY_DAY, WEEKDAYS])
    pieces = min(rng.uniform(8, 24), 85 / size)
    kept = [
        (look + rng.randrange(12), rng.randrange(1, 8), size * rng.uniform(0.8, 1.2), FOR_EVER)
        for look in week.at(rng.uniform(0, 24), days)
        if look >= begun
    ]
    logs = daily_logs(rng, week, rng.uniform(0.05, 0.5))
    return looked_at(rng, total(SIZE - pieces * size, files(kept), logs))


def doubling(rng: random.Random) -> Trace:
    """A new product takes off: its data doubles every few days."""
    week = a_week(rng, night=0.3, weekend=0.8)
    start, first, ends = rng.uniform(20, 75), rng.uniform(0.05, 0.5), rng.uniform(15, 42)
    doubles = math.log2((SIZE - start) / first) / ends / DAY
    grows = accumulate(doubles * week.work(look) for look in range(LOOKS))
    return looked_at(rng, [start + first * 2.0**exponent for exponent in grows])


def cleaned_at_ninety_percent(rng: random.Random) -> Trace:
    """At 90 % somebody deletes 10 GiB, in office hours, until the week when he is on leave."""
    week = a_week(rng, night=0.3, weekend=0.6)
    level, per_day, leave = rng.uniform(55, 85), rng.uniform(2.5, 6), day(rng, 18, 34)
    reacts = rng.uniform(0.01, 0.05)
    levels = []
    for look in range(LOOKS):
        level += per_day / DAY * week.work(look)
        at_work = 9 <= week.hour(look) < 17 and week.weekday(look) in WEEKDAYS
        if level > 90 and look < leave and at_work and rng.random() < reacts:
            level -= rng.uniform(8, 12)
        levels.append(level)
    return looked_at(rng, levels)


def crash_loop_with_cores(rng: random.Random) -> Trace:
    """A daemon crashes every ten minutes, restarts, and leaves half a GiB of core each time."""
    start, begun = rng.uniform(30, 85), day(rng, 5, 42)
    size = rng.uniform(0.4, 0.6)
    cores = [
        (look + rng.randrange(2), 1, size * rng.gauss(1, 0.03), FOR_EVER)
        for look in range(begun, LOOKS, 2)
    ]
    logs = daily_logs(rng, a_week(rng), rng.uniform(0.2, 2))
    return looked_at(rng, total(start, files(cores), logs))


def journal_without_limit(rng: random.Random) -> Trace:
    """A journal with SystemMaxUse far too high, in files of 128 MiB, since the installation."""
    week = a_week(rng, night=0.5, weekend=0.7)
    start = rng.uniform(15, 75)
    journal = written(week, (SIZE - start) / rng.uniform(12, 40), day(rng, 0, 3))
    return looked_at(rng, total(start, [x - x % 0.125 for x in journal]))


def session_files(rng: random.Random) -> Trace:
    """Millions of tiny files, as inodes fill: slow, smooth, the nightly gc gets a tenth of them."""
    week = a_week(rng, night=0.7, weekend=0.9)
    start = rng.uniform(30, 85)
    per_day = (SIZE - start) / rng.uniform(18, 40)
    collects, level, levels = set(week.at(rng.uniform(2, 5))), start, []
    for look in range(LOOKS):
        level += per_day * 1.15 / DAY * week.work(look)
        level -= per_day * rng.uniform(0.1, 0.2) if look in collects else 0
        levels.append(level)
    return looked_at(rng, levels, noise=0.005)


def two_writers(rng: random.Random) -> Trace:
    """One has always grown by night, harmlessly; since some day another grows by day as well."""
    day_shift, night_shift = a_week(rng, night=0.05, weekend=0.1), a_week(rng, night=8, weekend=1)
    start, begun = rng.uniform(25, 60), day(rng, 6, 22)
    slow = written(night_shift, rng.uniform(0.1, 0.5))
    fast = written(day_shift, (SIZE - start) / rng.uniform(4, 18), begun)
    return looked_at(rng, total(start, slow, fast, daily_logs(rng, day_shift, 1)))


def full_in_three_hours(rng: random.Random) -> Trace:
    """Weeks of nothing, then a runaway query or an endless copy: full in about three hours."""
    start, begun = rng.uniform(25, 80), day(rng, 10, 44)
    per_day = (SIZE - start) / rng.uniform(2, 4.5) * 24
    logs = daily_logs(rng, a_week(rng), rng.uniform(0.2, 2))
    return looked_at(rng, total(start, evenly(per_day, begun), logs))


def full_overnight(rng: random.Random) -> Trace:
    """The batch of 22:00 went wrong: it is full before anybody is back at work."""
    week = a_week(rng)
    start, begun = rng.uniform(30, 75), week.next(22, day(rng, 7, 43))
    batch = [
        (look, HOUR, rng.uniform(0.3, 2), look + HOUR + rng.randrange(6)) for look in week.at(22)
    ]
    runaway = evenly((SIZE - start) / rng.uniform(5, 9.5) * 24, begun)
    return looked_at(rng, total(start, runaway, files(batch)))


def weekly_fulls_pile_up(rng: random.Random) -> Trace:
    """Weekly fulls and the incrementals between them; somebody let the number of fulls grow."""
    week = a_week(rng)
    full, daily = rng.uniform(7, 12), rng.uniform(0.8, 1.8)
    hour, takes = rng.uniform(0, 5), rng.randrange(12, 60)
    kept: list[File] = []
    for look in week.at(hour, before=14):
        if week.weekday(look) == SUNDAY:
            gone = look + 2 * WEEK if look < -WEEK else FOR_EVER
            kept.append((look, takes, full * rng.gauss(1, 0.03), gone))
        else:
            gone = week.next(hour, look, [SUNDAY]) + takes
            kept.append((look, takes // 4, daily * rng.uniform(0.7, 1.3), gone))
    return looked_at(rng, total(SIZE - full * rng.uniform(4, 6.2) - 6 * daily, files(kept)))


def resized_and_full_again(rng: random.Random) -> Trace:
    """At 93 % the volume is resized, which buys two weeks, and nothing else is done."""
    week = a_week(rng, night=0.3, weekend=0.6)
    start = rng.uniform(40, 75)
    per_day = (SIZE - start) / rng.uniform(9, 22)
    levels = total(start, written(week, per_day))
    resized = sum(level < 93 for level in levels) + rng.randrange(6, 8 * HOUR)
    larger = SIZE + per_day * rng.uniform(11, 15)
    full = [SIZE if look < resized else larger for look in range(LOOKS)]
    return looked_at(rng, levels, full)


def ilm_is_stuck(rng: random.Random) -> Trace:
    """Elasticsearch: the ILM policy is in ERROR, indices roll every day and none is deleted."""
    week = a_week(rng, night=0.4, weekend=rng.uniform(0.5, 0.9))
    keep, stops = rng.randrange(4, 15), day(rng, 4, 22)
    free = rng.uniform(15, 45)
    per_day = min(free / rng.uniform(4, 18), (SIZE - free - 2) / (keep + 1))
    kept: list[File] = []
    for midnight in week.at(0, before=keep + 2):
        size = per_day * week.days_of_work(midnight, DAY) * rng.lognormvariate(0, 0.08)
        gone = midnight + (keep + 1) * DAY
        kept.append((midnight, DAY, size, gone if gone < stops else FOR_EVER))
    return looked_at(rng, total(SIZE - free - per_day * (keep + 0.5), files(kept, week)))


def container_log(rng: random.Random) -> Trace:
    """A json-file log without max-size, gone with its container at every deploy; then a freeze."""
    week = a_week(rng, night=0.3, weekend=0.6)
    start, freeze = rng.uniform(20, 50), day(rng, 12, 28)
    per_day = (SIZE - start) / rng.uniform(7, 15)
    hours = [hour for hour in week.at(rng.uniform(9, 17), WEEKDAYS) if hour < freeze]
    deploys = {hour for hour in hours if rng.random() < 0.6}
    log, levels = 0.0, []
    for look in range(LOOKS):
        log = 0.0 if look in deploys else log + per_day / DAY * week.work(look)
        levels.append(start + log)
    return looked_at(rng, levels)


def forgotten_snapshot(rng: random.Random) -> Trace:
    """The LVM/ZFS snapshot from before the upgrade holds every block since: fast, then slower."""
    week = a_week(rng, night=0.4, weekend=0.6)
    start, taken = rng.uniform(35, 75), week.next(21, day(rng, 4, 20))
    holds, lasts = (SIZE - start) * rng.uniform(1.3, 2), rng.uniform(4, 10)
    held, levels = 0.0, []
    for look in range(LOOKS):
        if look >= taken:
            held += (holds - held) / lasts / DAY * week.work(look)
        levels.append(start + held)
    return looked_at(rng, total(0, levels, daily_logs(rng, week, rng.uniform(0.1, 1))))


def backup_not_mounted(rng: random.Random) -> Trace:
    """The backup disk is not mounted since a reboot: each night's backup lands on / and stays."""
    week = a_week(rng)
    start, begun = rng.uniform(15, 55), day(rng, 4, 32)
    size = (SIZE - start) / rng.uniform(1.3, 8)
    takes = rng.randrange(12, 60)
    kept = [
        (look, takes, size * rng.gauss(1, 0.05), FOR_EVER)
        for look in week.at(rng.uniform(0, 5))
        if look >= begun
    ]
    return looked_at(rng, total(start, files(kept), daily_logs(rng, week, rng.uniform(0.1, 1))))


def traffic_doubles(rng: random.Random) -> Trace:
    """Kafka kept by time, in step with its deletions, until the traffic is more than doubled."""
    week = a_week(rng, night=0.4, weekend=0.8)
    keep, plateau = rng.randrange(3, 15) * DAY, rng.uniform(40, 60)
    more, begun = rng.uniform(2.6, 4) * 40 / plateau + 0.3, day(rng, 5, 28)
    per_day = plateau / keep * DAY
    kept: list[File] = []
    segment = 6 * HOUR
    for look in range(rng.randrange(-segment, 0) - keep - DAY, LOOKS, segment):
        size = per_day * week.days_of_work(look, segment) * (more if look >= begun else 1)
        kept.append((look, segment, size, look + segment + keep))
    return looked_at(rng, total(rng.uniform(2, 8), files(kept, week)))


def purge_falls_behind(rng: random.Random) -> Trace:
    """The nightly purge deletes at most N rows; since a big customer joined, more arrive."""
    week = a_week(rng, night=0.3, weekend=0.8)
    start, per_day, begun = rng.uniform(40, 70), rng.uniform(3, 9), day(rng, 4, 18)
    more = (SIZE - start - per_day) / rng.uniform(6, 22)
    takes, hour = rng.randrange(3, 30), rng.uniform(0, 4)
    kept: list[File] = [
        (look, DAY, per_day * rng.lognormvariate(0, 0.03), look + DAY + takes)
        for look in week.at(hour, before=2)
    ]
    return looked_at(rng, total(start, files(kept, week), written(week, more, begun)))


def cores_never_cleaned(rng: random.Random) -> Trace:
    """A worker dies a few times a day on bad input; its cores lie where nothing cleans."""
    week = a_week(rng, night=0.3, weekend=0.5)
    start, begun, size = rng.uniform(30, 75), day(rng, 3, 20), rng.uniform(0.4, 3)
    a_day = (SIZE - start) / size / rng.uniform(5, 18)
    cores = [
        (look, 1, size * rng.uniform(0.5, 1.5), FOR_EVER)
        for look in range(begun, LOOKS)
        if rng.random() < a_day / DAY * week.work(look)
    ]
    return looked_at(rng, total(start, files(cores), daily_logs(rng, week, rng.uniform(0.1, 1))))


CALM: list[Callable[[random.Random], Trace]] = [
    postgres_primary, elasticsearch_ilm, kafka_by_size, prometheus_tsdb, mail_spool,
    docker_builds, apt_and_kernels, ci_artifacts, home_directories, thumbnail_cache,
    zfs_snapshots, video_ring_buffer, mysql_binlogs, gfs_backups, core_dumps, monday_restore,
    log_host_by_size, month_end, upload_spool, vm_images, nearly_full_and_static,
    cache_warms_up, sort_spills, years_left, volume_extended_in_time, back_from_holidays,
]  # fmt: skip

FILLING: list[Callable[[random.Random], Trace]] = [
    leak_from_some_day, debug_left_on, nightly_logrotate_fails, hourly_logrotate_fails,
    rotation_by_size_fails, deleted_but_open, backups_without_expiry, replication_slot,
    office_hours, slow_growth_under_a_dump, daily_imports, doubling, cleaned_at_ninety_percent,
    crash_loop_with_cores, journal_without_limit, session_files, two_writers,
    full_in_three_hours, full_overnight, weekly_fulls_pile_up, resized_and_full_again,
    ilm_is_stuck, container_log, forgotten_snapshot, backup_not_mounted, traffic_doubles,
    purge_falls_behind, cores_never_cleaned,
]  # fmt: skip

BLIND = [*CALM, *FILLING]


if __name__ == "__main__":
    for family in BLIND:
        traces = [made(family, seed) for seed in range(10)]
        levels = [level for one in traces for level in one.used if level is not None]
        filled = sum(one.filled is not None for one in traces)
        as_meant = filled == 10 * (family in FILLING)
        print(
            f"{family.__name__:26} {filled:2}/10 fill  {min(levels):5.1f} .. {max(levels):5.1f} GiB"
            + ("" if as_meant else "   not as meant")
        )

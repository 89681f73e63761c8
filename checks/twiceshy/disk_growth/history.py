"""What is remembered of each filesystem, by its key: samples of hours, and the hours of weeks.

A day is kept as one row of 144 numbers: lowest, last and highest of each of its 24 hours, of bytes
and then of inodes; hours without a sample are NaN.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from twiceshy.disk_growth import forecast
from twiceshy.disk_growth.filesystem import Mount, Subject, Usage
from twiceshy.disk_growth.forecast import Series
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp, seconds_between

KEEP_SAMPLES = 10 * forecast.HOUR
KEEP_DAYS = 28
MOST_SAMPLES = 300  # of a filesystem, should the check be run every second
APART = 100.0  # seconds between two samples worth keeping; the hours know the extremes

# The marks tell `twiceshy history` which subject a row is about, and what people call it.
TABLES = """
CREATE TABLE IF NOT EXISTS filesystem (
    key TEXT PRIMARY KEY /* subject */, point TEXT NOT NULL /* alias */, seen REAL);
CREATE TABLE IF NOT EXISTS look (
    key TEXT NOT NULL /* subject */, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    used REAL NOT NULL, inodes REAL NOT NULL);
CREATE INDEX IF NOT EXISTS look_by_key ON look (key);
CREATE TABLE IF NOT EXISTS day (
    key TEXT NOT NULL /* subject */, day INTEGER NOT NULL, hours BLOB NOT NULL,
    PRIMARY KEY (key, day));
"""

LOW, LAST, HIGH = 0, 24, 48  # where they begin in a day's row; the inodes' follow at 72
INODES = 72
HOURS = [hour * forecast.HOUR for hour in range(24)]
NOTHING = array("d", [math.nan]) * 144

LOST = "the earlier history"  # the note that it was lost


@dataclass
class FilesystemHistory:
    """What the history knows of one filesystem: its bytes and its inodes, and which hours."""

    used: Series = field(default_factory=Series)
    inodes: Series = field(default_factory=Series)
    days: dict[int, array[float]] = field(default_factory=dict)

    def add(self, at: float, used: float, inodes: float) -> None:
        """Append a sample of both; `at` is seconds of the epoch."""
        for series, value in ((self.used, used), (self.inodes, inodes)):
            series.at.append(at)
            series.used.append(value)


def recall(book: History, at: Stamp) -> dict[str, FilesystemHistory]:
    """Everything remembered, by key; times are by the clock that counts (see kit.stamps)."""
    known: dict[str, FilesystemHistory] = {}
    for key, day, blob in book.sql.execute(
        "SELECT key, day, hours FROM day WHERE day >= ? AND day <= ? ORDER BY key, day",
        (_oldest_day(at), int(at.wall // forecast.DAY)),
    ):
        _recall_day(_of(known, key), day, array("d", blob))
    for key, boot, uptime, wall, used, inodes in book.sql.execute(
        "SELECT key, boot, uptime, wall, used, inodes FROM look ORDER BY rowid"
    ):
        # Within this boot the wall clock may have been stepped; across boots there is no other.
        when = at.wall - (at.uptime - uptime) if boot == at.boot else wall
        mine = _of(known, key)
        if when < at.wall and (not mine.used.at or when > mine.used.at[-1]):
            mine.add(when, used, inodes)
    return known


def _of(known: dict[str, FilesystemHistory], key: str) -> FilesystemHistory:
    if key not in known:
        used = Series()
        known[key] = FilesystemHistory(used, Series(hours=used.hours))
    return known[key]


def _recall_day(mine: FilesystemHistory, day: int, hours: array[float]) -> None:
    """Append the hours of a day to the series."""
    mine.days[day] = hours
    columns = [hours[first : first + 24] for first in range(0, 144, 24)]
    times = array("d", map((day * forecast.DAY).__add__, HOURS))
    # An hour without a sample is not a number. Few days have one.
    if math.isnan(sum(columns[1])):
        there = [hour for hour in range(24) if not math.isnan(columns[1][hour])]
        times, *columns = (
            array("d", [column[hour] for hour in there]) for column in (times, *columns)
        )
    mine.used.hours.extend(times)
    for column, more in zip((*mine.used.columns, *mine.inodes.columns), columns):
        column.extend(more)


def _oldest_day(at: Stamp) -> int:
    return int((at.wall - KEEP_DAYS * forecast.DAY) // forecast.DAY)


def remember(book: History, usage: Usage, known: FilesystemHistory | None, at: Stamp) -> None:
    """Note this sample, and fold the hours that are over into their days."""
    series = known.used if known else Series()
    if not series.at or at.wall - series.at[-1] >= APART:
        book.defer(
            "INSERT INTO look VALUES (?, ?, ?, ?, ?, ?)",
            (usage.key, at.boot, at.uptime, at.wall, usage.used, usage.inodes),
        )
    this_hour = at.wall // forecast.HOUR * forecast.HOUR
    if known is None:
        _write_name(book, usage, at)
    # The current hour's samples are in the series too, this one included; they stay samples.
    elif fold(known, this_hour):
        days = {int(hour // forecast.DAY) for hour in (series.at[0], this_hour - 1)}
        for day in days | set(list(known.days)[-2:]):
            if day in known.days:
                book.defer(
                    "INSERT OR REPLACE INTO day VALUES (?, ?, ?)",
                    (usage.key, day, known.days[day].tobytes()),
                )
        _write_name(book, usage, at)
        _forget_the_old(book, usage.key, at)


def _write_name(book: History, usage: Usage, at: Stamp) -> None:
    book.defer(
        "INSERT OR REPLACE INTO filesystem VALUES (?, ?, ?)", (usage.key, usage.point, at.wall)
    )


def _forget_the_old(book: History, key: str, at: Stamp) -> None:
    """Drop the samples and days of a filesystem that are too old, or too many."""
    book.defer(
        "DELETE FROM look WHERE key = ? AND CASE WHEN boot = ? THEN uptime < ? ELSE wall < ? END",
        (key, at.boot, at.uptime - KEEP_SAMPLES, at.wall - KEEP_SAMPLES),
    )
    book.defer(
        "DELETE FROM look WHERE key = ?1 AND rowid <= "
        "(SELECT rowid FROM look WHERE key = ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2)",
        (key, MOST_SAMPLES),
    )
    book.defer("DELETE FROM day WHERE key = ? AND day < ?", (key, _oldest_day(at)))


def fold(known: FilesystemHistory, before: float) -> bool:
    """Put hours that ended by `before` and are not in their day yet into it; whether any was."""
    new: dict[int, list[int]] = {}
    hours = known.used.hours
    # Unless the clock has been set back: then hours to come are in their days already.
    after = hours[-1] + forecast.HOUR if hours and hours[-1] < before else 0
    begin = bisect_left(known.used.at, after)
    for position in range(begin, bisect_left(known.used.at, before)):
        hour = int(known.used.at[position] // forecast.HOUR)
        day = known.days.get(hour // 24)
        if day is None or math.isnan(day[LAST + hour % 24]):
            new.setdefault(hour, []).append(position)
    for hour, positions in new.items():
        day = known.days.setdefault(hour // 24, array("d", NOTHING))
        for values, offset in ((known.used.used, 0), (known.inodes.used, INODES)):
            within = [values[position] for position in positions]
            day[offset + LOW + hour % 24] = min(within)
            day[offset + LAST + hour % 24] = within[-1]
            day[offset + HIGH + hour % 24] = max(within)
    return bool(new)


def seed(
    book: History, new: Sequence[tuple[Subject, Usage]], at: Stamp, seconds: float = 3.0
) -> int:
    """Begin histories from sysstat's archives within `seconds`; how many hours came of it."""
    from twiceshy.disk_growth import sysstat  # once in the life of a filesystem

    archived = sysstat.archived(seconds)
    hours = 0
    for subject, usage in new:
        records = archived.get(subject.source, []) if isinstance(subject, Mount) else []
        known = FilesystemHistory()
        for record in sorted(records):
            if at.wall - KEEP_DAYS * forecast.DAY < record.at < at.wall:
                known.add(record.at, record.used, record.inodes)
        fold(known, at.wall)
        for day, row in known.days.items():
            hours += 24 - sum(map(math.isnan, row[LAST : LAST + 24]))
            book.defer(
                "INSERT OR IGNORE INTO day VALUES (?, ?, ?)", (usage.key, day, row.tobytes())
            )
        for when, used, inodes in zip(known.used.at, known.used.used, known.inodes.used):
            if at.wall - when < KEEP_SAMPLES:
                book.defer(
                    "INSERT INTO look VALUES (?, 'sysstat', 0, ?, ?, ?)",
                    (usage.key, when, used, inodes),
                )
    return hours


def is_lost(book: History, at: Stamp) -> bool:
    """Whether the earlier history was corrupt, in this run or in one before it.

    Noted for as long as a new history is learning: what has lost its history is no new host.
    """
    if book.remark:
        book.write_note(LOST, [at.boot, at.uptime, at.wall], at)
        return True
    noted = book.note(LOST)
    if noted is None:
        return False
    if seconds_between(Stamp(*noted), at) < forecast.LEARNING:
        return True
    book.forget(LOST)
    return False


def sizes_at_last_alarm(book: History, key: str) -> dict[str, float]:
    """Bytes of the files that were named when this filesystem last alarmed."""
    return book.note(_written(key)) or {}


def remember_sizes(book: History, key: str, files: Sequence[tuple[str, float]], at: Stamp) -> None:
    """Note the files that are named in an alarm, so that the next can tell growth from size."""
    book.write_note(_written(key), dict(files), at)


def _written(key: str) -> str:
    return f"written:{key}"

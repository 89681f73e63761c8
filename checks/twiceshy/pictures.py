"""Pictures of what a check remembers, on the terminal or, with matplotlib, as PNG or SVG.

disk_growth: the history of a filesystem, its forecast and limits, and the windows that decided.
flapping and container_restarts: the restarts of a service or container on a time line.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Optional, Union

from twiceshy import history, options, roster, units
from twiceshy.history import History, Stamp
from twiceshy.plugin import CheckError


@dataclass(frozen=True)
class Span:
    """A stretch of time that a judgement looked at, and what it made of it."""

    start: float
    end: float
    words: str
    decided: bool


@dataclass(frozen=True)
class Curve:
    """A quantity over time (seconds of the epoch), where it would go, and where it must not."""

    title: str
    points: Sequence[tuple[float, float]]
    full: float
    forecast: Sequence[tuple[float, float]]
    spans: Sequence[Span]
    notes: Sequence[str]


@dataclass(frozen=True)
class Event:
    """Something that happened `count` times between two instants."""

    start: float
    end: float
    count: int
    words: str


@dataclass(frozen=True)
class Timeline:
    """Events of one subject."""

    title: str
    start: float
    end: float
    events: Sequence[Event]


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy plot`."""
    to.add_argument("check", choices=sorted(READERS), metavar="CHECK", help=", ".join(READERS))
    to.add_argument(
        "subject",
        nargs="?",
        metavar="SUBJECT",
        help="filesystem, service or container (default: the one of which most is remembered)",
    )
    to.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write FILE.png or .svg, which needs matplotlib (default: a chart on the terminal)",
    )
    options.add_state_dir(to)


def run(args: argparse.Namespace) -> int:
    """Draw."""
    entries = roster.chosen([args.check])
    check = roster.load(entries[0])
    at = history.now()
    drawn = READERS[args.check](check, args.state_dir, args.subject, at)
    if args.output is None:
        from twiceshy import charts

        size = shutil.get_terminal_size((100, 30))
        encoding = (sys.stdout.encoding or "").lower()
        height = min(24, max(8, size.lines - 8))
        if isinstance(drawn, Curve):
            print(charts.curve(drawn, size.columns, height, "utf" in encoding))
        else:
            print(charts.timeline(drawn, size.columns, height, "utf" in encoding))
        return 0
    from twiceshy import artwork

    artwork.draw(drawn, args.output)
    print(args.output)
    return 0


def _read(check: str, state_dir: Path | None, tables: str = "") -> History:
    """The history of a check that has run; CheckError if it has not."""
    place = history.directory(state_dir)
    if not (place / f"{check}.sqlite").is_file():
        raise CheckError(f"check_{check} remembers nothing yet in {place}; let it run for a while")
    return History.open(check, state_dir, tables)


def _chosen(wanted: str | None, sizes: dict[str, int], what: str) -> str:
    """The subject that was asked for, or the one with the most to show."""
    if not sizes:
        raise CheckError(f"nothing is remembered of any {what} yet")
    if wanted is None:
        return max(sizes, key=lambda name: (sizes[name], name))
    fitting = [name for name in sizes if name == wanted] or [
        name for name in sizes if wanted in name
    ]
    if len(fitting) != 1:
        raise CheckError(f"no single {what} is {wanted!r}; there are: {', '.join(sorted(sizes))}")
    return fitting[0]


def of_disk(check: ModuleType, state_dir: Path | None, wanted: str | None, at: Stamp) -> Curve:
    """A filesystem, judged as check_disk_growth judges it now."""
    from twiceshy import forecast

    with _read("disk_growth", state_dir, check.TABLES) as book:
        known = check.recall(book, at)
        points = dict(book.sql.execute("SELECT key, point FROM filesystem"))
    sizes = {points.get(key, key): len(one.used.at) + len(one.used.hours)
             for key, one in known.items()}  # fmt: skip
    point = _chosen(wanted, sizes, "filesystem")
    key = next(key for key in known if points.get(key, key) == point)
    series = known[key].used
    path = [(hour, low) for hour, low in zip(series.hours, series.last)]
    newest = series.hours[-1] + 3600 if series.hours else 0.0
    path += [(when, used) for when, used in zip(series.at, series.used) if when >= newest]
    full, limits = _room(point, path), check.options().parse_args([])
    outlook = forecast.outlook(series, full, max(
        limits.warning.worst_bound, limits.critical.worst_bound))  # fmt: skip
    now = path[-1][0] if path else at.wall
    spans = [
        Span(now - window.seconds, now, _said(window), window.believed and
             window.seconds == outlook.seconds)
        for window in outlook.windows
    ]  # fmt: skip
    notes = [
        f"limits: warning {limits.warning.typed}, critical {limits.critical.typed} until full",
        f"full at {units.say_size(full)}; {units.say_size(path[-1][1])} used" if path else "",
    ]
    ahead = []
    if outlook.left is not None and path:
        ahead = [path[-1], (now + outlook.left, full)]
        notes.append(f"full in {units.say_duration(outlook.left)} "
                     f"by the last {units.say_duration(outlook.seconds)}")  # fmt: skip
    elif outlook.trend_left is not None and path:
        notes.append(f"at last week's rate full in {units.say_duration(outlook.trend_left)}")
    else:
        notes.append("no growth is believed")
    return Curve(f"{point}: bytes used", path, full, ahead, spans, [note for note in notes if note])


def _said(window: Any) -> str:
    length = units.say_duration(window.seconds)
    if window.left is None:
        return f"{length}: no growth"
    verdict = window.doubt or "believed"
    return f"{length}: full in {units.say_duration(window.left)}, {verdict}"


def _room(point: str, path: Sequence[tuple[float, float]]) -> float:
    """What the filesystem holds for others than root; the highest level seen if it is gone."""
    with contextlib.suppress(OSError):
        seen = os.statvfs(point)
        return float((seen.f_blocks - seen.f_bfree + seen.f_bavail) * seen.f_frsize)
    return max((used for _, used in path), default=1.0)


def of_flapping(
    check: ModuleType, state_dir: Path | None, wanted: str | None, at: Stamp
) -> Timeline:
    """The restarts of a service, between the looks that saw them."""
    with _read("flapping", state_dir) as book:
        memories = {}
        for subject, note in book.notes():
            memory = check.Memory.from_note(note.value) if note.at.boot == at.boot else None
            if memory is not None:
                memories[subject] = memory
    subject = _chosen(
        wanted, {name: len(memory.gaps) for name, memory in memories.items()}, "service"
    )
    memory = memories[subject]

    def wall(uptime: float) -> float:
        return at.wall - (at.uptime - uptime)

    events = []
    for gap in memory.gaps:
        words = [f"{gap.crashes} crashed"] if gap.crashes else []
        words += [f"{gap.by_hand} by hand"] if gap.by_hand else []
        if words:
            count = gap.crashes + gap.by_hand
            events.append(Event(wall(gap.start), wall(gap.end), count, ", ".join(words)))
    began = min([wall(memory.first), *(event.start for event in events)])
    return Timeline(f"{subject}: restarts", began, at.wall, events)


def of_containers(
    check: ModuleType, state_dir: Path | None, wanted: str | None, at: Stamp
) -> Timeline:
    """The restarts of a group of containers."""
    with _read("container_restarts", state_dir) as book:
        groups: dict[str, list[Event]] = {}
        try:
            rows = book.sql.execute(
                "SELECT grp_name, by, count, span, exit_code, boot, uptime, wall FROM restart"
            ).fetchall()
        except sqlite3.Error as error:
            raise CheckError(
                f"check_container_restarts remembers no restarts yet: {error}"
            ) from error
    for name, by, count, span, exit_code, boot, uptime, wall in rows:
        end = at.wall - history.seconds_between(Stamp(boot, uptime, wall), at)
        words = f"{count} by {by}" + ("" if exit_code is None else f", exit {exit_code}")
        groups.setdefault(name, []).append(Event(end - span, end, count, words))
    subject = _chosen(wanted, {name: len(found) for name, found in groups.items()}, "container")
    events = sorted(groups[subject], key=lambda event: event.end)
    return Timeline(f"{subject}: restarts", min(e.start for e in events), at.wall, events)


Reader = Callable[[ModuleType, Optional[Path], Optional[str], Stamp], Union[Curve, Timeline]]

READERS: dict[str, Reader] = {
    "disk_growth": of_disk,
    "flapping": of_flapping,
    "container_restarts": of_containers,
}

"""The growth of a filesystem, its forecast and limits, and the windows that decided."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from twiceshy.disk_growth import forecast, history
from twiceshy.disk_growth.forecast import Outlook, Series, Window
from twiceshy.disk_growth.settings import DEFAULT_CRITICAL, DEFAULT_WARNING, farthest
from twiceshy.kit import units
from twiceshy.kit.figures import Curve, Span, chosen
from twiceshy.kit.history import History
from twiceshy.kit.limits import Limit
from twiceshy.kit.stamps import Stamp


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Curve:
    """A filesystem, judged as check_disk_growth judges it now by its default limits.

    CheckError if nothing is remembered, or no single filesystem is `wanted`.
    """
    with History.of_runs("disk_growth", state_dir, history.TABLES) as book:
        known = history.recall(book, at)
        points = dict(book.sql.execute("SELECT key, point FROM filesystem"))
    names = {key: points.get(key, key) for key in known}
    sizes = {names[key]: len(one.used.at) + len(one.used.hours) for key, one in known.items()}
    point = chosen(wanted, sizes, "filesystem")
    series = next(known[key].used for key, name in names.items() if name == point)
    levels = _levels(series)
    full = _room(point, levels)
    limits = [
        Limit.parse(typed, units.duration, lower_is_worse=True)
        for typed in (DEFAULT_WARNING, DEFAULT_CRITICAL)
    ]
    outlook = forecast.outlook(series, full, farthest(*limits))
    now = levels[-1][0] if levels else at.wall
    spans = [
        Span(
            now - window.seconds,
            now,
            _words(window),
            window.believed and window.seconds == outlook.seconds,
        )
        for window in outlook.windows
    ]
    ahead = []
    if outlook.left is not None and levels:
        ahead = [levels[-1], (now + outlook.left, full)]
    notes = [f"limits: warning {DEFAULT_WARNING}, critical {DEFAULT_CRITICAL} until full"]
    if levels:
        notes.append(f"full at {units.say_size(full)}; {units.say_size(levels[-1][1])} used")
    notes.append(_forecast_words(outlook))
    return Curve(f"{point}: bytes used", levels, full, ahead, spans, notes)


def _levels(series: Series) -> list[tuple[float, float]]:
    """The last level of each finished hour, and the samples since."""
    levels = list(zip(series.hours, series.last))
    newest = series.hours[-1] + forecast.HOUR if series.hours else 0.0
    return levels + [(at, used) for at, used in zip(series.at, series.used) if at >= newest]


def _forecast_words(outlook: Outlook) -> str:
    if outlook.left is not None:
        return (
            f"full in {units.say_duration(outlook.left)} "
            f"by the last {units.say_duration(outlook.seconds)}"
        )
    if outlook.trend_left is not None:
        return f"at last week's rate full in {units.say_duration(outlook.trend_left)}"
    return "no growth that is believed"


def _words(window: Window) -> str:
    length = units.say_duration(window.seconds)
    if window.left is None:
        return f"{length}: no growth"
    return f"{length}: full in {units.say_duration(window.left)}, {window.doubt or 'believed'}"


def _room(point: str, levels: Sequence[tuple[float, float]]) -> float:
    """What the filesystem holds for others than root; the highest level seen if it is gone."""
    with contextlib.suppress(OSError):
        status = os.statvfs(point)
        return float((status.f_blocks - status.f_bfree + status.f_bavail) * status.f_frsize)
    return max((used for _, used in levels), default=1.0)

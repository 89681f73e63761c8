"""The growth of a filesystem, its forecast and limits, and the windows that decided."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twiceshy.disk_growth import forecast
from twiceshy.disk_growth import program as check
from twiceshy.kit import units
from twiceshy.kit.figures import Curve, Span, chosen
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Curve:
    """A filesystem, judged as check_disk_growth judges it now."""
    with History.of_runs("disk_growth", state_dir, check.TABLES) as book:
        known = check.recall(book, at)
        points = dict(book.sql.execute("SELECT key, point FROM filesystem"))
    sizes = {points.get(key, key): len(one.used.at) + len(one.used.hours)
             for key, one in known.items()}  # fmt: skip
    point = chosen(wanted, sizes, "filesystem")
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

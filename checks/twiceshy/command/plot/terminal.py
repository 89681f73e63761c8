"""Pictures in letters, for a terminal: pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from twiceshy.kit import units
from twiceshy.kit.figures import Curve, Timeline

BLOCKS = " ▁▂▃▄▅▆▇█"


def curve(picture: Curve, width: int, height: int, is_unicode: bool = True) -> str:
    """Columns of used room, the forecast as dots, the full line on top, windows underneath."""
    if not picture.points:
        return f"{picture.title}\nno history yet"
    start, now = picture.points[0][0], picture.points[-1][0]
    # A forecast far beyond what was seen would squeeze that to nothing.
    end = min(picture.forecast[-1][0], now + max(now - start, 3600)) if picture.forecast else now
    end = max(end, start + 1)
    margin = 11
    columns = max(20, width - margin - 1)
    values = _columns(picture.points, start, end, columns)
    ahead = {
        column: level
        for column in range(columns)
        for level in [_along(picture.forecast, start + (column + 0.5) * (end - start) / columns)]
        if level is not None
    }
    lines = [picture.title]
    for row in range(height, 0, -1):
        low, high = picture.full * (row - 1) / height, picture.full * row / height
        axis = {height: picture.full, (height + 1) // 2: picture.full / 2}.get(row)
        text = ""
        for column in range(columns):
            value = values[column]
            if value is not None and value > low:
                eighths = round(8 * min(1.0, (value - low) / (high - low)))
                text += BLOCKS[eighths] if is_unicode else "#" if eighths >= 4 else " "
            elif column in ahead and low < ahead[column] <= high:
                text += "·" if is_unicode else "."
            else:
                text += " "
        lines.append(f"{units.say_size(axis) if axis is not None else '':>{margin - 2}} |{text}")
    lines.append(" " * (margin - 1) + "+" + "-" * columns)
    lines.append(" " * margin + _dates(start, end, columns))
    for span in picture.spans:
        first = int(columns * (max(span.start, start) - start) / (end - start))
        last = max(first + 1, int(columns * (min(span.end, end) - start) / (end - start)))
        bar = " " * first + ("=" if span.decided else "-") * (last - first)
        mark = "*" if span.decided else " "
        lines.append(f"{mark:>{margin - 1}} {bar}")
        lines.append(" " * margin + span.words)
    return "\n".join([line.rstrip() for line in lines] + [f"  {note}" for note in picture.notes])


def timeline(picture: Timeline, width: int, height: int, is_unicode: bool = True) -> str:
    """How many restarts in each column of time, and the newest of them in words."""
    columns = max(20, width - 12)
    start, end = picture.start, max(picture.end, picture.start + 1)
    counts = [0.0] * columns
    for event in picture.events:
        first = min(columns - 1, max(0, int(columns * (event.start - start) / (end - start))))
        last = min(columns - 1, max(first, int(columns * (event.end - start) / (end - start))))
        for column in range(first, last + 1):
            counts[column] += event.count / (last - first + 1)
    most = max([*counts, 0.001])
    if is_unicode:
        bars = "".join(BLOCKS[0 if not n else max(1, round(8 * n / most))] for n in counts)
    else:
        bars = "".join("#" if n > most / 2 else "." if n else " " for n in counts)
    total = sum(event.count for event in picture.events)
    lines = [
        f"{picture.title}: {total} in {units.say_duration(end - start)}",
        " " * 10 + bars,
        " " * 10 + "-" * columns,
        " " * 10 + _dates(start, end, columns),
    ]
    for event in list(picture.events)[-(max(3, height - 6)) :]:
        between = f" (within {units.say_duration(event.end - event.start)})"
        lines.append(f"  {_when(event.end, True)}  {event.words}{between}")
    if not picture.events:
        lines.append("  none")
    return "\n".join(line.rstrip() for line in lines)


def _columns(
    points: Sequence[tuple[float, float]], start: float, end: float, columns: int
) -> list[float | None]:
    """The highest value in each column; a column without a sample shows the one before."""
    values: list[float | None] = [None] * columns
    for when, value in points:
        column = min(columns - 1, int(columns * (when - start) / (end - start)))
        held = values[column]
        values[column] = value if held is None else max(held, value)
    last = int(columns * (points[-1][0] - start) / (end - start))
    for column in range(1, min(columns, last + 1)):
        if values[column] is None:
            values[column] = values[column - 1]
    return values


def _along(line: Sequence[tuple[float, float]], when: float) -> float | None:
    """The value of a straight line at an instant; None outside it."""
    if len(line) < 2 or not line[0][0] <= when <= line[-1][0]:
        return None
    (x0, y0), (x1, y1) = line[0], line[-1]
    return y0 + (y1 - y0) * (when - x0) / max(x1 - x0, 1e-9)


def _dates(start: float, end: float, columns: int) -> str:
    is_short = end - start < 86400
    left, right = _when(start, is_short), _when(end, is_short)
    return left + right.rjust(columns - len(left))


def _when(at: float, is_short: bool) -> str:
    return time.strftime("%H:%M:%S" if is_short else "%Y-%m-%d %H:%M", time.localtime(at))

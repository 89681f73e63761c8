"""Pictures as PNG or SVG, by matplotlib, which is an extra: pip install 'twiceshy[plot]'."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from twiceshy.kit import plugin, units
from twiceshy.kit.figures import Curve, Timeline
from twiceshy.kit.plugin import CheckError

SUFFIXES = (".png", ".svg", ".pdf")


def draw(picture: Curve | Timeline, path: Path) -> None:
    """Write a picture; the suffix says in which format."""
    if path.suffix not in SUFFIXES:
        raise CheckError(f"{path} must end in {', '.join(SUFFIXES)}")
    plugin.require("matplotlib", "python3-matplotlib").use("Agg")
    pyplot: Any = plugin.require("matplotlib.pyplot", "python3-matplotlib")
    figure, axes = pyplot.subplots(figsize=(10, 5))
    try:
        if isinstance(picture, Curve):
            _curve(picture, axes)
        else:
            _timeline(picture, axes)
        figure.autofmt_xdate()
        figure.tight_layout()
        figure.savefig(path)
    except OSError as error:
        raise CheckError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)


def _curve(picture: Curve, axes: Any) -> None:
    axes.fill_between(_dates(picture.points), [value for _, value in picture.points],
                      step="post", alpha=0.3, color="tab:blue")  # fmt: skip
    axes.step(_dates(picture.points), [v for _, v in picture.points], where="post", label="used")
    axes.axhline(picture.full, color="tab:red", label=f"full: {units.say_size(picture.full)}")
    if picture.forecast:
        axes.plot(_dates(picture.forecast), [value for _, value in picture.forecast],
                  color="tab:orange", linestyle="--", label="forecast")  # fmt: skip
    for number, span in enumerate(picture.spans):
        level = picture.full * (0.96 - 0.05 * number)
        colour = "tab:orange" if span.decided else "tab:gray"
        axes.plot(_dates([(span.start, 0), (span.end, 0)]), [level, level], color=colour,
                  linewidth=4 if span.decided else 1.5)  # fmt: skip
        axes.annotate(span.words, (_date(span.start), level), fontsize=7, color=colour,
                      va="bottom")  # fmt: skip
    axes.set_ylim(0, picture.full * 1.05)
    if picture.points:
        # A forecast far beyond what was seen would squeeze that to nothing.
        start, now = picture.points[0][0], picture.points[-1][0]
        end = (
            min(picture.forecast[-1][0], now + max(now - start, 3600)) if picture.forecast else now
        )
        axes.set_xlim(_date(start), _date(max(end, start + 1)))
    axes.yaxis.set_major_formatter(lambda value, _: units.say_size(value))
    axes.set_title(f"{picture.title}\n{'; '.join(picture.notes)}", fontsize=9)
    axes.legend(loc="lower left", fontsize=8)


def _timeline(picture: Timeline, axes: Any) -> None:
    for event in picture.events:
        axes.vlines(_date(event.end), 0, event.count, color="tab:red")
        axes.plot([_date(event.start), _date(event.end)], [event.count] * 2, color="tab:red")
    axes.set_ylim(0, max([event.count for event in picture.events] + [1]) * 1.1)
    axes.set_xlim(_date(picture.start), _date(max(picture.end, picture.start + 1)))
    axes.set_ylabel("restarts between two runs")
    axes.set_title(f"{picture.title}: {sum(event.count for event in picture.events)}", fontsize=9)


def _dates(points: Any) -> list[datetime.datetime]:
    return [_date(when) for when, _ in points]


def _date(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(when)

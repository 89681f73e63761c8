"""What a check draws of its history: a curve or a timeline, as values.

`twiceshy plot` renders them, on the terminal or into a file; a check that can draw what it
remembers has a function `picture(state_dir, subject, at)` that returns one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from twiceshy.kit.plugin import CheckError


@dataclass(frozen=True)
class Span:
    """A window of time that a judgement considered, and its conclusion."""

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


Figure = Union[Curve, Timeline]


def chosen(wanted: str | None, sizes: Mapping[str, int], what: str) -> str:
    """The subject that was asked for, or the one with the most to show; else CheckError.

    `sizes`: how much is remembered of each subject; `what`: what people call a subject.
    """
    if not sizes:
        raise CheckError(f"the history has no {what} yet")
    if wanted is None:
        return max(sizes, key=lambda name: (sizes[name], name))
    fitting = [name for name in sizes if name == wanted] or [
        name for name in sizes if wanted in name
    ]
    if len(fitting) != 1:
        raise CheckError(f"no single {what} is {wanted!r}; there are: {', '.join(sorted(sizes))}")
    return fitting[0]

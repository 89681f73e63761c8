"""What it means: for how long logins have been refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twiceshy.kit.stamps import Sample, Stamp, seconds_between

if TYPE_CHECKING:  # at a run it would bring in os, which a judgement must not
    from twiceshy.NAME.observation import Refusal


# FILL ME IN: what it means. Time, history and settings are arguments.
@dataclass(frozen=True)
class Refused:
    """A file that keeps people out, for how long, and its first line."""

    path: str
    seconds: float
    first_line: str


@dataclass(frozen=True)
class Judgement:
    """What refuses logins, the longest first."""

    refused: tuple[Refused, ...]


def judged(refusals: Sequence[Refusal], before: Mapping[str, Sample], at: Stamp) -> Judgement:
    """The judgement on what is seen; `before` are seconds at the run before, by path."""
    refused = []
    for refusal in refusals:
        seconds = max(0.0, at.wall - refusal.written)
        if refusal.path in before:
            known = before[refusal.path]
            seconds = max(seconds, float(known.value) + seconds_between(known.at, at))
        refused.append(Refused(refusal.path, seconds, refusal.first_line))
    return Judgement(tuple(sorted(refused, key=lambda one: -one.seconds)))

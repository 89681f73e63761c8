"""Nagios ranges whose bounds carry units, and which remember how the operator typed them.

The notation is that of the plugin development guidelines ("Threshold and ranges") and of
draft-kaestle-monitoring-plugins-interface: `10` alarms outside 0..10, `10:` below 10, `~:10` above
10, `10:20` outside, `@10:20` inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twiceshy.kit import units
from twiceshy.kit.plugin import CRITICAL, OK, WARNING, CheckError, Range, State


@dataclass(frozen=True)
class Limit:
    """A range of acceptable values, bounds included; `inside` turns it round (`@`)."""

    start: float
    end: float
    inside: bool
    typed: str

    @classmethod
    def parse(
        cls, text: str, unit: units.Unit = units.number, lower_is_worse: bool = False
    ) -> Limit:
        """The limit of a range in `unit`; a bare bound means "at least" if `lower_is_worse`.

        ValueError with a sentence when it cannot be read, is empty, or starts above its end.
        """
        spec = text.strip()
        inside = spec.startswith("@")
        low, colon, high = (spec[1:] if inside else spec).partition(":")
        low, high = low.strip(), high.strip()
        if not low and not high:
            # nagiosplugin reads an empty range as 0..infinity: CRITICAL for every negative value.
            raise ValueError(f"{text!r} is not a range; type for example 5, 5:, ~:5, 1:5 or @1:5")
        if not colon:
            low, high = (low, "") if lower_is_worse else ("", low)
        start = -math.inf if low == "~" else unit(low) if low else 0.0
        end = unit(high) if high else math.inf
        if start > end:
            raise ValueError(f"{text!r} starts above its end")
        return cls(start, end, inside, spec)

    def broken_by(self, value: float) -> bool:
        """Whether `value` alarms; CheckError for NaN, which nagiosplugin finds in every range."""
        if math.isnan(value):
            raise CheckError(f"a value that is not a number cannot be compared with {self.typed}")
        return not Range(self._range_text()).match(value)

    @property
    def worst_bound(self) -> float:
        """The bound to name in a sentence: the upper one if there is one, else the lower."""
        return self.end if math.isfinite(self.end) else self.start

    @property
    def perfdata(self) -> str:
        """The range in base units, as a plain number where it is 0..N: Icinga drops the others."""
        return self._range_text()

    def _range_text(self) -> str:
        end = "" if math.isinf(self.end) else plain(self.end)
        if self.start == 0 and end:
            start = ""
        else:
            start = "~:" if math.isinf(self.start) else plain(self.start) + ":"
        return ("@" if self.inside else "") + start + end


def judge(
    value: float, warning: Limit | None, critical: Limit | None
) -> tuple[State, Limit | None]:
    """The state of a value, and the limit that it broke."""
    if critical is not None and critical.broken_by(value):
        return CRITICAL, critical
    if warning is not None and warning.broken_by(value):
        return WARNING, warning
    return OK, None


def plain(value: float) -> str:
    """A number with fixed decimals and never an exponent: "5", "0.25", "1099511627776"."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text

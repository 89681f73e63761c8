"""Instants on three clocks, and what was seen at one. Pure; `kit.history.now` reads the clocks.

Within one boot the boot-time clock counts (clock_gettime(2) CLOCK_BOOTTIME, suspend included),
since wall clocks step; only across a reboot the wall clock does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stamp:
    """An instant: boot id, seconds of the boot-time clock, seconds of the wall clock (Unix)."""

    boot: str
    uptime: float
    wall: float


@dataclass(frozen=True)
class Sample:
    """What was seen of a subject at an instant; the value is whatever JSON can hold."""

    at: Stamp
    value: Any


def seconds_between(earlier: Stamp, later: Stamp) -> float:
    """Seconds from one stamp to another, never negative: by uptime within a boot, else by wall."""
    if earlier.boot == later.boot:
        return max(0.0, later.uptime - earlier.uptime)
    # At least the new boot's uptime has passed, whatever the wall clock was set to meanwhile.
    return max(later.uptime, later.wall - earlier.wall)

"""Time stamps of supervisors, which are wall clock and may have jumped. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LABEL = 1 << 62  # TAI64 counts seconds from here (libtai, tai64.html)


def tai64n(stamp: bytes) -> float:
    """Seconds of a 12-byte TAI64N stamp, counted from 1970 plus the writer's idea of TAI - UTC.

    That idea differs: runit, daemontools and perp add 10, s6 the leap second table (37 in 2026).
    So only differences of stamps of one writer mean anything. ValueError for other lengths.
    """
    if len(stamp) != 12:
        raise ValueError("a TAI64N stamp has 12 bytes")
    return (
        int.from_bytes(stamp[:8], "big") - LABEL + int.from_bytes(stamp[8:], "big") / 1_000_000_000
    )


def ages(stamps: Iterable[float], newest_age_seconds: float) -> list[float]:
    """How long ago wall clock stamps (oldest first) were, given the age of the newest.

    The clock may have been stepped back between two stamps: they are in order, so a stamp that is
    later than its successor is taken to have happened with it.
    """
    result: list[float] = []
    age_seconds, successor = newest_age_seconds, None
    for stamp in reversed(list(stamps)):
        if successor is not None:
            age_seconds += max(0.0, successor - stamp)
        result.append(age_seconds)
        successor = stamp
    return result[::-1]

"""How findings about configuration word ages, lists of names and subjects. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import safe


def ago(seconds: float) -> str:
    """An age: "5m ago", "just now"."""
    return f"{say_duration(_rounded(seconds))} ago" if seconds >= 1 else "just now"


def _rounded(seconds: float) -> float:
    """Two units are enough for a sentence: 1h2m, not 1h2m3s."""
    for step, above in ((3600.0, 86400.0), (60.0, 3600.0), (1.0, 1.0)):
        if seconds >= above:
            return round(seconds / step) * step
    return round(seconds, 1)


def roughly(seconds: float) -> str:
    """A duration, rounded to two units."""
    return say_duration(_rounded(seconds))


def listing(names: Sequence[str], most: int = 4) -> str:
    """a and b; a, b and c; a, b, c, d and 5 more."""
    shown = [safe(name, 50) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def of_config(config: str) -> str:
    """ " of billing", or "" for the configuration that has no name."""
    return f" of {safe(config, 50)}" if config else ""


def all_of(config: str, count: int) -> str:
    """The subject when every endpoint of a configuration is meant."""
    subject = {1: "the only endpoint", 2: "both endpoints"}.get(count, f"all {count} endpoints")
    return subject + of_config(config)

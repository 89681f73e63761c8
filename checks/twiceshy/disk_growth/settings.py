"""What the operator asked for, read from the command line once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twiceshy.kit import units
from twiceshy.kit.limits import Limit
from twiceshy.kit.patterns import Pattern
from twiceshy.kit.plugin import State

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


# As an operator would type them.
DEFAULT_WARNING, DEFAULT_CRITICAL = "48h", "12h"


@dataclass(frozen=True)
class MinFree:
    """--min-free: below this a filesystem counts as full. Bytes, or a share (0..1) of its room."""

    octets: float = 0.0
    share: float = 0.0

    @classmethod
    def parse(cls, typed: str) -> MinFree:
        """Of "5GiB" or "2%"; ValueError with a sentence for what is neither."""
        if not typed.strip().endswith("%"):
            return cls(octets=units.size(typed))
        share = units.percent(typed) / 100
        if not 0 <= share < 1:
            raise ValueError(f"{typed!r} is not a share of a filesystem; type 5%")
        return cls(share=share)

    def of(self, room: float) -> float:
        """Bytes to be kept free of `room` bytes."""
        return self.octets + self.share * room


@dataclass(frozen=True)
class Limits:
    """How to judge: `warning` and `critical` are seconds until full, and so is `horizon`.

    `learning` is the state of a filesystem with too little history.
    """

    warning: Limit
    critical: Limit
    min_free: MinFree
    horizon: float
    learning: State

    @property
    def farthest(self) -> float:
        """Seconds of the farthest forecast that either limit could act on."""
        return farthest(self.warning, self.critical)


def farthest(*limits: Limit) -> float:
    """The largest finite bound of these limits; 0 if they have none."""
    return max(
        (limit.worst_bound for limit in limits if math.isfinite(limit.worst_bound)), default=0.0
    )


@dataclass(frozen=True)
class Selection:
    """What to watch: mount points by pattern, or the trees `directories` instead.

    `required` must be mounted; `missing` is the state of one that is not, or does not exist.
    """

    include: tuple[Pattern, ...]
    exclude: tuple[Pattern, ...]
    directories: tuple[str, ...]
    required: tuple[str, ...]
    missing: State


@dataclass(frozen=True)
class Settings:
    """One run of the check; `sample_seconds` is how long what has no history is observed."""

    selection: Selection
    limits: Limits
    sample_seconds: float
    timeout: float
    state_dir: Path | None
    explain: bool
    verbose: int


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of a command line."""
    return Settings(
        Selection(
            tuple(args.include),
            tuple(args.exclude),
            tuple(args.directory),
            tuple(args.require),
            args.missing,
        ),
        Limits(args.warning, args.critical, args.min_free, args.horizon, args.learning),
        args.sample,
        args.timeout,
        args.state_dir,
        args.explain,
        max(args.verbose, int(args.explain)),
    )

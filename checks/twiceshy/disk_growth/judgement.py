"""What it means: the verdict on a filesystem from its usage, its history and the limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.disk_growth import forecast
from twiceshy.disk_growth.filesystem import Failure, Unobserved, Usage, quoted
from twiceshy.disk_growth.forecast import Outlook, Series
from twiceshy.disk_growth.settings import Limits
from twiceshy.kit import limits as kit_limits
from twiceshy.kit import units
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, State
from twiceshy.kit.verdict import Finding, safe

MOVING_INODES = {"btrfs", "xfs", "zfs"}  # f_files follows the free space: no limit of its own
NEARLY = 16 * 1024 * 1024  # what the last allocation groups of XFS and btrfs never give away

LEARNING = "learning"  # the code of a filesystem with too little history


@dataclass(frozen=True)
class Judgement:
    """What is concluded of one filesystem: a finding if there is anything to say, and the numbers.

    `of_inodes`: whether the finding is about inodes rather than bytes.
    """

    usage: Usage
    bytes: Outlook
    inodes: Outlook
    finding: Finding | None
    of_inodes: bool = False

    @property
    def is_learning(self) -> bool:
        """Whether there is nothing to say but that there is too little history."""
        return self.finding is not None and self.finding.code == LEARNING


def judged(usage: Usage, used: Series, inodes: Series, limits: Limits) -> Judgement:
    """The verdict on a filesystem whose series end with this sample."""
    reserve = limits.min_free.of(usage.room)
    of_bytes = forecast.outlook(used, usage.room - reserve, limits.farthest)
    counted = usage.inodes_room > 0 and not (
        # Their inodes are made of free space: a full one is short of both, and of bytes first.
        usage.kind in MOVING_INODES and usage.free < usage.room / 20
    )
    of_inodes = (
        forecast.outlook(inodes, usage.inodes_room, limits.farthest)
        if counted
        else forecast.outlook(Series(), 0, 0)
    )
    filling = (_filling(usage, of_bytes, limits), False)
    filling_inodes = (_filling_inodes(usage, of_inodes, limits), True)
    empty = (_without_inodes(usage) if counted else None, True)
    for finding, is_of_inodes in ((_full(usage, reserve), False), empty, filling, filling_inodes):
        if finding is not None and finding.state is CRITICAL:
            return Judgement(usage, of_bytes, of_inodes, finding, is_of_inodes)
    for finding, is_of_inodes in (filling, filling_inodes):
        if finding is not None:
            return Judgement(usage, of_bytes, of_inodes, finding, is_of_inodes)
    finding = _learning(usage, of_bytes, limits.learning) if of_bytes.learning else None
    return Judgement(usage, of_bytes, of_inodes, finding)


def _learning(usage: Usage, outlook: Outlook, state: State) -> Finding:
    return Finding(
        state, f"{usage.name} has no forecast yet: {history_words(outlook.age)}", code=LEARNING
    )


def history_words(seconds: float) -> str:
    """How much history there is, and how much it takes: "35s of history, 1d12h needed"."""
    return (
        f"{units.say_duration(seconds)} of history, {units.say_duration(forecast.LEARNING)} needed"
    )


def _full(usage: Usage, reserve: float) -> Finding | None:
    least = max(reserve, min(NEARLY, usage.room / 200))
    if usage.free > least:
        return None
    if reserve and usage.free >= reserve / 2 > NEARLY:
        return Finding(
            CRITICAL,
            f"{usage.name} has {_free(usage)} left, less than --min-free "
            f"({units.say_size(reserve)})",
        )
    return Finding(CRITICAL, f"{usage.name} is full: {_free(usage)} left")


def _without_inodes(usage: Usage) -> Finding | None:
    if usage.inodes < usage.inodes_room or usage.is_directory:
        return None
    return Finding(
        CRITICAL,
        f"{usage.name} is out of inodes: all {usage.inodes_room:.0f} used, no file can be created, "
        f"although {units.say_size(usage.free)} are free",
    )


def _filling(usage: Usage, outlook: Outlook, limits: Limits) -> Finding | None:
    if outlook.left is None:
        return None
    state, broken = kit_limits.judge(outlook.left, limits.warning, limits.critical)
    if broken is None:
        return None
    reserve = limits.min_free.of(usage.room)
    what = "full" if not reserve else f"down to {units.say_size(reserve)}"
    return Finding(
        state,
        f"{usage.name} will be {what} in {units.say_duration(outlook.left)} "
        f"(limit {broken.typed}): {_free(usage)} left, growing by {rate_words(outlook.rate)} "
        f"over the last {units.say_duration(outlook.seconds)}",
    )


def _filling_inodes(usage: Usage, outlook: Outlook, limits: Limits) -> Finding | None:
    if outlook.left is None:
        return None
    state, broken = kit_limits.judge(outlook.left, limits.warning, limits.critical)
    if broken is None:
        return None
    return Finding(
        state,
        f"{usage.name} will run out of inodes in {units.say_duration(outlook.left)} "
        f"(limit {broken.typed}): {usage.inodes_room - usage.inodes:.0f} of "
        f"{usage.inodes_room:.0f} left, {outlook.rate * forecast.HOUR:.0f} more per hour "
        f"over the last {units.say_duration(outlook.seconds)}",
    )


# Without a history


def at_first_sight(usage: Usage, sample: Series, limits: Limits) -> Finding | None:
    """The finding of a few samples within seconds, where there is no history yet.

    Every interval must have grown; else a log line written now would fill any disk.
    """
    rises = [
        (b - a) / (later - earlier)
        for a, b, earlier, later in zip(sample.used, sample.used[1:], sample.at, sample.at[1:])
        if later > earlier
    ]
    if not rises or min(rises) <= 0:
        return None
    seconds = sample.at[-1] - sample.at[0]
    rate = (sample.used[-1] - sample.used[0]) / seconds
    left = max(0.0, (usage.room - limits.min_free.of(usage.room) - sample.used[-1]) / rate)
    if not limits.critical.broken_by(left):
        return None
    return Finding(
        CRITICAL,
        f"{usage.name} will be full in {units.say_duration(left)} at the rate of the last "
        f"{units.say_duration(seconds)}, {rate_words(rate)} "
        f"(limit {limits.critical.typed}): {_free(usage)} left, no history yet",
    )


def sharpened(judgement: Judgement, sample: Series, limits: Limits) -> Judgement:
    """The judgement with what a few samples within seconds say, unless it is CRITICAL already."""
    if judgement.finding is not None and judgement.finding.state is CRITICAL:
        return judgement
    finding = at_first_sight(judgement.usage, sample, limits)
    return replace(judgement, finding=finding or judgement.finding)


# What was not seen


def not_mounted(path: str, missing: State) -> Finding:
    """The finding for a mount point that --require names."""
    return Finding(
        missing,
        f"{safe(path, 120)} is not mounted: what is written there goes to the filesystem above it",
        next=f"findmnt --fstab {quoted(path)}; mount {quoted(path)}",
    )


def not_observed(unobserved: Unobserved, missing: State) -> Finding:
    """The finding for a subject of which nothing is known."""
    name, detail = safe(unobserved.path, 120), unobserved.detail
    if unobserved.failure is Failure.MISSING:
        return Finding(missing, f"{name} does not exist")
    if unobserved.failure is Failure.REFUSED:
        return Finding(UNKNOWN, f"{name} cannot be queried: {detail}")
    if unobserved.failure is Failure.TOO_LARGE:
        return Finding(
            UNKNOWN,
            f"{name} is too large to be walked in {detail}; give it more time with -t, or watch "
            "its filesystem",
        )
    return Finding(
        UNKNOWN,
        f"{name} does not answer: {detail}; is its server or its disk gone?",
        next=f"findmnt {quoted(unobserved.path)}; dmesg | tail -n 20",
    )


def nothing_watched(include: Sequence[str]) -> Finding:
    """The finding where there is no filesystem to watch; `include` are the patterns as typed."""
    text = "no local, writable filesystem is mounted here"
    if include:
        text = f"nothing is mounted that --include names: {safe(', '.join(include), 120)}"
    return Finding(UNKNOWN, text, next="findmnt")


# Words for the numbers


def rate_words(rate: float) -> str:
    """Bytes per second in the unit of time in which they are a number to talk about."""
    if rate * 60 >= 512 * 1048576:
        return f"{units.say_size(rate * 60)} per minute"
    if rate * 3600 >= 8 * 1048576:
        return f"{units.say_size(rate * 3600)} per hour"
    return f"{units.say_size(rate * 86400)} per day"


def _free(usage: Usage) -> str:
    if usage.is_directory:
        return f"{units.say_size(usage.free)} of its filesystem"
    return f"{units.say_size(usage.free)} of {units.say_size(usage.room)}"

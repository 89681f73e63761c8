"""A finding before --ignore, and how sizes and counts are worded in one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from twiceshy.kit import units
from twiceshy.kit.plugin import State
from twiceshy.log_rotation.logrotate.forecast import Log
from twiceshy.log_rotation.records import PreviousRun

DAY = 86400.0
GROWS_WITHIN = 7 * DAY


@dataclass(frozen=True)
class Fault:
    """A finding before --ignore; state OK makes it a remark."""

    code: str
    """Of logrotate.codes.CODES."""
    state: State
    subject: str
    """The log, file or container that it is about."""
    text: str
    file: str = ""
    """The configuration file of the stanza, where the subject is a log."""
    also: tuple[str, ...] = ()
    """Further logs that it is about."""
    more: tuple[str, ...] = ()
    """Lines to show under it."""
    next: str = ""
    """The command to type next."""
    octets: float = 0.0
    """Bytes at stake: the more, the further ahead."""
    logs: int = 1
    """How many logs it stands for."""

    @property
    def names(self) -> tuple[str, ...]:
        """All that --ignore CODE:GLOB may match."""
        return (self.subject, *((self.file,) if self.file else ()), *self.also)


def grows(log: Log, epoch: float) -> bool:
    """Whether a log has content and was written to within a week."""
    return log.kind == "file" and log.size > 0 and epoch - log.mtime < GROWS_WITHIN


def size_and_rate(path: str, size: float, previous: PreviousRun, epoch: float) -> str:
    """`3.2GiB, growing 12MiB per hour`."""
    rate = previous.rate(path, size, epoch)
    text = units.say_size(size)
    if rate is not None and rate * 3600 >= 1024 * 1024:
        text += f", growing {units.say_size(rate * 3600)} per hour"
    return text


def and_more(count: int, noun: str = "log") -> str:
    """` (+2 logs)`, or nothing."""
    return f" (+{units.count(count, noun)})" if count > 0 else ""

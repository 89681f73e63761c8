"""What logrotate would do with one log now, and why not; pure.

The order of the questions is logrotate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Callable

from twiceshy.kit import units
from twiceshy.log_rotation.logrotate.grammar import Directives, Stanza, Version
from twiceshy.log_rotation.logrotate.names import destination
from twiceshy.log_rotation.logrotate.state import StateEntry

ROTATE, WAIT, SKIP, REFUSE = "rotate", "wait", "skip", "refuse"


@dataclass(frozen=True)
class Log:
    """A log as lstat sees it; `error` if there is none or it cannot be seen."""

    kind: str = "file"
    """file, symlink, directory, other."""
    size: int = 0
    links: int = 1
    mtime: float = 0.0
    ctime: float = 0.0
    inode: tuple[int, int] = (0, 0)
    blocks: int = 0
    error: str = ""
    absent: bool = False


class Barrier(Enum):
    """What keeps logrotate from changing a name in a directory."""

    MOUNT = "mount"
    """The file system is mounted read-only."""
    SERVICE = "service"
    """The hardening of logrotate.service makes it read-only, or hides it."""
    SU = "su"
    """The user of `su` may not write there."""


@dataclass(frozen=True)
class Obstacle:
    """Why logrotate will fail to rename or create anything in a directory."""

    barrier: Barrier
    text: str


@dataclass(frozen=True)
class Parent:
    """The directory that holds a log."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    error: str = ""
    absent: bool = False
    user: str = "root"
    group: str = "root"
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class Decision:
    """rotate, wait (not yet due), skip (in silence), refuse (an error)."""

    outcome: str
    code: str
    reason: str
    due: datetime | None = None
    """For time criteria: since when, or from when on, its turn has come."""

    @property
    def error(self) -> bool:
        """Whether logrotate's exit status shows it."""
        return self.outcome == REFUSE


def next_turn(directives: Directives, last: datetime, at: Version) -> datetime | None:
    """The first moment after `last` at which a run would rotate; None for a size."""
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    if directives.criterion == "hourly":
        return last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if directives.criterion == "minutes":
        return last + timedelta(minutes=directives.minutes + 1)
    if directives.criterion == "daily":
        return day + timedelta(days=1)
    if directives.criterion == "weekly":
        if at < (3, 12, 0):
            # The old rule: a weekday smaller than that of the last rotation, or more than a week.
            sunday = (6 - day.weekday()) % 7 or 7
            return day + timedelta(days=min(7, sunday))
        weekday = (day.weekday() + 1) % 7
        ahead = (directives.weekday - weekday) % 7 or 7
        return day + timedelta(days=7 if directives.weekday > 6 else min(ahead, 7))
    if directives.criterion == "monthly":
        first = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        if not directives.monthday:
            return first
        here = day
        for _ in range(31):
            here += timedelta(days=1)
            if here.day == directives.monthday or (here + timedelta(days=1)).day == 1:
                return here
        return here
    if directives.criterion == "yearly":
        return day.replace(year=day.year + 1, month=1, day=1)
    return None


def has_come(directives: Directives, last: datetime, now: datetime, at: Version) -> bool:
    """Whether a run at `now` rotates by time; a Sunday that was slept through does not count."""
    fields = 5 if at > (3, 22, 0) else 4
    if last.timetuple()[:fields] == now.timetuple()[:fields]:
        return False
    days = (now.date() - last.date()).days
    tomorrow = now + timedelta(days=1)
    if directives.criterion == "hourly":
        return last.timetuple()[:4] != now.timetuple()[:4]
    if directives.criterion == "minutes":
        return (now - last).total_seconds() // 60 > directives.minutes
    if directives.criterion == "daily":
        return days != 0
    if directives.criterion == "weekly":
        if at < (3, 12, 0):
            earlier = now.isoweekday() % 7 < last.isoweekday() % 7
            return earlier or now - last > timedelta(days=7)
        return days >= 7 or (days >= 1 and now.isoweekday() % 7 == directives.weekday)
    if directives.criterion == "monthly":
        if not directives.monthday:
            return (now.year, now.month) != (last.year, last.month)
        is_day = now.day == directives.monthday or tomorrow.month != now.month
        return days >= 31 or (days >= 1 and is_day)
    return directives.criterion == "yearly" and now.year != last.year


def decide(
    stanza: Stanza,
    log: Log,
    parent: Parent,
    last: StateEntry | None,
    now: datetime,
    epoch: float,
    at: Version,
) -> Decision:
    """One log's turn, without what becomes of its neighbours in the stanza (see `together`)."""
    directives = stanza.directives
    if not directives.su:
        if parent.error:
            if parent.absent and directives.missingok:
                return Decision(SKIP, "", "its directory does not exist")
            return Decision(REFUSE, "log-missing", f"its directory: {parent.error}")
        if (parent.gid != 0 and parent.mode & 0o020) or parent.mode & 0o002:
            who = "everybody" if parent.mode & 0o002 else f"group {parent.group}"
            return Decision(
                REFUSE,
                "insecure-parent",
                f"its directory is writable by {who} (mode {parent.mode & 0o7777:04o}), "
                "and the stanza has no `su`",
            )
    if log.error:
        if log.absent and directives.missingok:
            return Decision(SKIP, "", "it does not exist")
        return Decision(REFUSE, "log-missing", log.error)
    if log.kind == "symlink":
        return Decision(SKIP, "log-symlink", "it is a symbolic link, which logrotate never rotates")
    if log.links != 1 and not directives.allowhardlink and at >= (3, 19, 0):
        return Decision(
            SKIP,
            "log-hardlink",
            f"it has {log.links} hard links, and the stanza has no `allowhardlink`",
        )
    rotated = last.when if last else now.replace(minute=0, second=0, microsecond=0)
    due = next_turn(directives, rotated, at)
    if directives.maxsize and log.size > directives.maxsize:
        decision = Decision(
            ROTATE, "", f"larger than maxsize {units.say_size(directives.maxsize)}", due
        )
    elif directives.criterion == "size":
        if log.size < directives.threshold:
            return Decision(WAIT, "", f"smaller than {units.say_size(directives.threshold)}", due)
        decision = Decision(ROTATE, "", f"at least {units.say_size(directives.threshold)}", due)
    elif last is None and directives.criterion != "minutes":
        text = f"not in the state file yet, so the first run records it ({directives.criterion})"
        return Decision(WAIT, "", text, due)
    elif rotated - now > timedelta(hours=25):
        decision = Decision(ROTATE, "state-future", "its last rotation lies in the future", due)
    else:
        if not has_come(directives, rotated, now, at):
            if due is not None and due <= now:
                # The day itself was slept through: the next one counts.
                later = (now.replace(hour=0, minute=0) + timedelta(days=n) for n in range(1, 40))
                due = next((day for day in later if has_come(directives, rotated, day, at)), due)
            return Decision(WAIT, "", f"{directives.criterion}, last {rotated:%Y-%m-%d %H:%M}", due)
        if directives.minsize and log.size < directives.minsize:
            return Decision(
                WAIT, "", f"smaller than minsize {units.say_size(directives.minsize)}", due
            )
        if directives.minage and directives.minage * 86400 >= epoch - log.mtime:
            return Decision(WAIT, "", f"younger than minage {directives.minage} days", due)
        decision = Decision(
            ROTATE, "", f"{directives.criterion}, last {rotated:%Y-%m-%d %H:%M}", due
        )
    if not directives.ifempty and not log.size:
        return Decision(WAIT, "", "it is empty, and `notifempty` is set", due)
    return decision


def exit_status(
    reading_failed: bool,
    sets: Sequence[tuple[Stanza, Sequence[Decision]]],
    exists: Callable[[str], bool],
    now: datetime,
) -> int:
    """What `logrotate -d` ends with."""
    failed = reading_failed
    for stanza, decisions in sets:
        for path, decision in zip(stanza.files, decisions):
            if decision.error:
                failed = True
            elif decision.outcome == ROTATE:
                name = destination(path, stanza.directives, now)
                failed |= name is not None and exists(name)
    return int(failed)


def together(stanza: Stanza, decisions: Sequence[Decision]) -> Sequence[Decision]:
    """With `sharedscripts` one refusal blocks every log of the stanza, scripts or not."""
    if not stanza.directives.sharedscripts:
        return decisions
    culprit = next(
        (path for path, one in zip(stanza.files, decisions) if one.outcome == REFUSE), None
    )
    if culprit is None:
        return decisions
    return [
        Decision(
            REFUSE,
            "sharedscripts-blocked",
            f"blocked by {culprit}: with `sharedscripts` one refusal stops all logs of the stanza",
            one.due,
        )
        if one.outcome == ROTATE
        else one
        for one in decisions
    ]

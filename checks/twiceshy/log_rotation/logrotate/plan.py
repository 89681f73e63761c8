"""What logrotate would do with one log now, and why not; pure.

The order of the questions is logrotate's.
"""

from __future__ import annotations

import bisect
import functools
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Callable

from twiceshy.kit import units
from twiceshy.log_rotation.logrotate.grammar import Settings, Stanza, Version
from twiceshy.log_rotation.logrotate.state import Entry

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
    blocked: str = ""
    """Why a name in it cannot be changed: read-only for logrotate's service, not writable for `su`.
    """


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
        return self.outcome == REFUSE


def next_turn(settings: Settings, last: datetime, at: Version) -> datetime | None:
    """The first moment after `last` at which a run would rotate; None for a size."""
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    if settings.criterion == "hourly":
        return last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if settings.criterion == "minutes":
        return last + timedelta(minutes=settings.minutes + 1)
    if settings.criterion == "daily":
        return day + timedelta(days=1)
    if settings.criterion == "weekly":
        if at < (3, 12, 0):
            # The old rule: a weekday smaller than that of the last rotation, or more than a week.
            sunday = (6 - day.weekday()) % 7 or 7
            return day + timedelta(days=min(7, sunday))
        weekday = (day.weekday() + 1) % 7
        ahead = (settings.weekday - weekday) % 7 or 7
        return day + timedelta(days=7 if settings.weekday > 6 else min(ahead, 7))
    if settings.criterion == "monthly":
        first = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        if not settings.monthday:
            return first
        here = day
        for _ in range(31):
            here += timedelta(days=1)
            if here.day == settings.monthday or (here + timedelta(days=1)).day == 1:
                return here
        return here
    if settings.criterion == "yearly":
        return day.replace(year=day.year + 1, month=1, day=1)
    return None


def has_come(settings: Settings, last: datetime, now: datetime, at: Version) -> bool:
    """Whether a run at `now` rotates by time; a Sunday that was slept through does not count."""
    fields = 5 if at > (3, 22, 0) else 4
    if last.timetuple()[:fields] == now.timetuple()[:fields]:
        return False
    days = (now.date() - last.date()).days
    tomorrow = now + timedelta(days=1)
    if settings.criterion == "hourly":
        return last.timetuple()[:4] != now.timetuple()[:4]
    if settings.criterion == "minutes":
        return (now - last).total_seconds() // 60 > settings.minutes
    if settings.criterion == "daily":
        return days != 0
    if settings.criterion == "weekly":
        if at < (3, 12, 0):
            earlier = now.isoweekday() % 7 < last.isoweekday() % 7
            return earlier or now - last > timedelta(days=7)
        return days >= 7 or (days >= 1 and now.isoweekday() % 7 == settings.weekday)
    if settings.criterion == "monthly":
        if not settings.monthday:
            return (now.year, now.month) != (last.year, last.month)
        is_day = now.day == settings.monthday or tomorrow.month != now.month
        return days >= 31 or (days >= 1 and is_day)
    return settings.criterion == "yearly" and now.year != last.year


def decide(
    stanza: Stanza,
    log: Log,
    parent: Parent,
    last: Entry | None,
    now: datetime,
    epoch: float,
    at: Version,
) -> Decision:
    """One log's turn, without what becomes of its neighbours in the stanza (see `together`)."""
    settings = stanza.settings
    if not settings.su:
        if parent.error:
            if parent.absent and settings.missingok:
                return Decision(SKIP, "", "its directory does not exist")
            return Decision(REFUSE, "log-missing", f"its directory: {parent.error}")
        if (parent.gid != 0 and parent.mode & 0o020) or parent.mode & 0o002:
            who = "everybody" if parent.mode & 0o002 else f"group {parent.group}"
            return Decision(
                REFUSE,
                "insecure-parent",
                f"its directory is writable for {who} (mode {parent.mode & 0o7777:04o}) "
                "and the stanza has no `su`",
            )
    if log.error:
        if log.absent and settings.missingok:
            return Decision(SKIP, "", "it does not exist")
        return Decision(REFUSE, "log-missing", log.error)
    if log.kind == "symlink":
        return Decision(SKIP, "log-symlink", "it is a symbolic link, which logrotate never rotates")
    if log.links != 1 and not settings.allowhardlink and at >= (3, 19, 0):
        return Decision(
            SKIP,
            "log-hardlink",
            f"it has {log.links} hard links, and the stanza no `allowhardlink`",
        )
    rotated = last.when if last else now.replace(minute=0, second=0, microsecond=0)
    due = next_turn(settings, rotated, at)
    if settings.maxsize and log.size > settings.maxsize:
        decision = Decision(
            ROTATE, "", f"larger than maxsize {units.say_size(settings.maxsize)}", due
        )
    elif settings.criterion == "size":
        if log.size < settings.threshold:
            return Decision(WAIT, "", f"smaller than {units.say_size(settings.threshold)}", due)
        decision = Decision(ROTATE, "", f"at least {units.say_size(settings.threshold)}", due)
    elif last is None and settings.criterion != "minutes":
        words = f"not in the state file yet: the first run only notes it, for {settings.criterion}"
        return Decision(WAIT, "", words, due)
    elif rotated - now > timedelta(hours=25):
        decision = Decision(ROTATE, "state-future", "its last rotation lies in the future", due)
    else:
        if not has_come(settings, rotated, now, at):
            if due is not None and due <= now:
                # The day itself was slept through: the next one counts.
                later = (now.replace(hour=0, minute=0) + timedelta(days=n) for n in range(1, 40))
                due = next((day for day in later if has_come(settings, rotated, day, at)), due)
            return Decision(WAIT, "", f"{settings.criterion}, last {rotated:%Y-%m-%d %H:%M}", due)
        if settings.minsize and log.size < settings.minsize:
            return Decision(
                WAIT, "", f"smaller than minsize {units.say_size(settings.minsize)}", due
            )
        if settings.minage and settings.minage * 86400 >= epoch - log.mtime:
            return Decision(WAIT, "", f"younger than minage {settings.minage} days", due)
        decision = Decision(ROTATE, "", f"{settings.criterion}, last {rotated:%Y-%m-%d %H:%M}", due)
    if not settings.ifempty and not log.size:
        return Decision(WAIT, "", "it is empty, and `notifempty` is set", due)
    return decision


def base_and_extension(path: str, settings: Settings) -> tuple[str, str]:
    """The name that rotated logs begin with, and the extension that they end in."""
    name = posixpath.basename(path)
    extension = ""
    if settings.addextension:
        if name.endswith(settings.addextension):
            name = name[: -len(settings.addextension)]
        extension = settings.addextension
    if settings.extension and name.endswith(settings.extension):
        name, extension = name[: -len(settings.extension)], settings.extension
    return name, extension


def rotated_directory(path: str, settings: Settings) -> str:
    parent = posixpath.dirname(path) or "/"
    return posixpath.join(parent, settings.olddir) if settings.olddir else parent


def date_suffix(settings: Settings, when: datetime) -> str:
    """The suffix that `dateext` gives today."""
    if settings.dateyesterday:
        when -= timedelta(days=1)
    if settings.datehourago:
        when -= timedelta(hours=1)
    if settings.dateformat is not None:
        known = re.sub(r"%(?![YmdHMSVsGygjUWuwz])", "%%", settings.dateformat.lstrip(" "))
        return when.strftime(known)
    if settings.criterion == "hourly":
        return when.strftime("-%Y%m%d%H")
    if settings.criterion == "minutes":
        return when.strftime("-%Y%m%d%H%M")
    return when.strftime("-%Y%m%d")


def destination(path: str, settings: Settings, now: datetime) -> str | None:
    """The name that must not exist yet, if a date is in it."""
    if not settings.dateext:
        return None
    name, extension = base_and_extension(path, settings)
    packed = (settings.compressext or ".gz") if settings.compress else ""
    directory = rotated_directory(path, settings)
    return posixpath.join(directory, name + date_suffix(settings, now) + extension + packed)


def dated(settings: Settings) -> re.Pattern[str]:
    """What stands between name and extension of a rotated log with `dateext`."""
    wanted = "-%Y%m%d" if settings.dateformat is None else settings.dateformat.lstrip(" ")
    if settings.dateformat is None and settings.criterion in ("hourly", "minutes"):
        wanted += "%H" if settings.criterion == "hourly" else "%H%M"
    return _date_regex(wanted)


@functools.lru_cache(maxsize=256)
def _date_regex(wanted: str) -> re.Pattern[str]:
    widths = {"Y": r"\d{4}", "G": r"\d{4}", "s": r"\d{10}", "j": r"\d{3}", "z": r"[-+]\d{4}"}
    widths |= {"u": r"\d", "w": r"\d"}
    widths |= dict.fromkeys("ygmdHMSVUW", r"\d{2}")
    out = ""
    at = 0
    while at < len(wanted):
        if wanted[at] == "%" and wanted[at + 1 : at + 2] in widths:
            out += widths[wanted[at + 1]]
            at += 2
        else:
            out += re.escape(wanted[at])
            at += 1
    return re.compile(out)


@functools.lru_cache(maxsize=256)
def _tail_regex(extension: str, packed: str) -> re.Pattern[str]:
    endings = {packed, ".gz", ".bz2", ".xz", ".zst", ".Z"}
    either = "|".join(re.escape(one) for one in sorted(endings))
    return re.compile(rf"(?P<kind>.*?){re.escape(extension)}(?:{either})?")


_NUMBER = re.compile(r"\.\d{1,9}")
_DATE = re.compile(r"[-.]\d{6,14}")


def siblings(path: str, settings: Settings, names: Sequence[str]) -> list[tuple[str, int | None]]:
    """Rotated copies of a log among the sorted names of its rotated directory, with their number.

    Whatever numbering or compression they were made with; None is the number of one with a date.
    """
    base, extension = base_and_extension(path, settings)
    prefixes = {base + ".", base + "-"}
    if settings.dateformat:
        prefixes.add(base + settings.dateformat.lstrip(" ").partition("%")[0])
    regex = _tail_regex(extension, settings.compressext or ".gz")
    found: set[tuple[str, int | None]] = set()
    for prefix in prefixes:
        at = bisect.bisect_left(names, prefix)
        while at < len(names) and names[at].startswith(prefix):
            name = names[at]
            at += 1
            tail = regex.fullmatch(name[len(base) :])
            if not tail:
                continue
            kind = tail["kind"]
            if _NUMBER.fullmatch(kind):
                found.add((name, int(kind[1:])))
            elif dated(settings).fullmatch(kind) or _DATE.fullmatch(kind):
                found.add((name, None))
    return sorted(found, key=lambda one: one[0])


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
                name = destination(path, stanza.settings, now)
                failed |= name is not None and exists(name)
    return int(failed)


def together(stanza: Stanza, decisions: Sequence[Decision]) -> Sequence[Decision]:
    """With `sharedscripts` one refusal blocks every log of the stanza, scripts or not."""
    if not stanza.settings.sharedscripts:
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

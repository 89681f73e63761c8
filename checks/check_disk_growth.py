#!/usr/bin/env python3
"""When will this filesystem be full at the rate it is growing?

Looks at every local, writable filesystem, remembers what it saw, and says how long the room that
is left will last. A growth is believed to go on for four times as long as it has lasted through
every part of a window (the last two looks, 1, 2, 4 and 8 hours, 3 and 7 days), and not at all
where the same has happened before and ended well: log rotations, nightly dumps, caches, prunes, of
whatever period, and working days. When it alarms, it names what grew, and who is writing it.
--explain shows what it made of each window. Run it every five minutes; the first day and a half it
is learning, and for the first week it believes half as far.

Learned from: "Production Outages - Part 1" (1 July 2014): a library flooded the log of thousands
  of media players, rotation was misconfigured, disks ran full, technicians drove out with USB
  sticks. Nobody had seen the growth before it was the end.
Reads: /proc/self/mountinfo; statvfs of each mount, asked from a child process since a dead mount
  never answers; a filesystem's UUID; sysstat's archives (sadf -- -F) once, to begin with. For what
  grows, when it alarms: the tree without crossing into other filesystems, and /proc/*/fd. Needs no
  rights; without root it sees fewer files and only its own processes' open ones.
Remembers: per filesystem (by UUID) the looks of the last ten hours, and minimum, last and maximum
  of each hour for four weeks; some tens of kB each. It must: no single look shows a growth.
Says:
  OK        none will be full within the limits, or what grows is a known cycle
  WARNING   a believed growth fills it (bytes or inodes) within --warning
  CRITICAL  a believed growth fills it within --critical; or it is full now, or has less than
            --min-free; or one that --require names is not mounted
  UNKNOWN   still learning; a mount does not answer; a directory cannot be walked in time; the
            history cannot be saved
Measures:
  SUBJECT_full_in         s  time until full; absent where it does not grow or is a known cycle
  SUBJECT_used            B  used; the maximum is what others than root can use
  SUBJECT_free            B  free for others than root
  SUBJECT_growth          -  bytes a second over the deciding window, else over the last week
  SUBJECT_inodes          -  inodes used (of a directory: entries in it)
  SUBJECT_inodes_growth   -  inodes a second
  SUBJECT_inodes_full_in  s  time until no inode is left
Examples:
  check_disk_growth
  check_disk_growth -w 4d -c 1d --require /srv/data --exclude '/media/*'
  check_disk_growth --directory /var/lib/docker --explain
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import heapq
import math
import os
import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Union

from twiceshy.disk_growth import forecast
from twiceshy.disk_growth.forecast import Outlook, Series
from twiceshy.kit import deadline, history, limits, subprocesses, units, verdict
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Measure, Report, label, safe

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Curve

# What is seen

NETWORK = {
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs",
}  # fmt: skip
ALWAYS_FULL = {"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"}
WITHOUT_A_DEVICE = {"bcachefs", "jffs2", "ubifs", "zfs"}  # their source is no /dev/...
MOVING_INODES = {"btrfs", "xfs", "zfs"}  # f_files follows the free space: no limit of its own

KEEP_LOOKS = 10 * forecast.HOUR
KEEP_DAYS = 28
MOST_LOOKS = 300  # a filesystem, should somebody look every second
APART = 100.0  # seconds between two looks worth keeping; the hours know the extremes
NEARLY = 16 * 1024 * 1024  # what the last allocation groups of XFS and btrfs never give away

TABLES = """
CREATE TABLE IF NOT EXISTS filesystem (key TEXT PRIMARY KEY, point TEXT NOT NULL, seen REAL);
CREATE TABLE IF NOT EXISTS look (
    key TEXT NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    used REAL NOT NULL, inodes REAL NOT NULL);
CREATE INDEX IF NOT EXISTS look_by_key ON look (key);
CREATE TABLE IF NOT EXISTS day (
    key TEXT NOT NULL, day INTEGER NOT NULL, hours BLOB NOT NULL, PRIMARY KEY (key, day));
"""


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    device: str
    root: str
    point: str
    kind: str
    source: str
    writable: bool

    def __str__(self) -> str:
        return f"the free space of {self.point}"


@dataclass(frozen=True)
class Place:
    """What is watched, a filesystem or a tree, and what it held at this look.

    `room` is what others than root can use altogether, `free` what they can still use, bytes;
    `inodes_room` is 0 where there is no limit. `key` survives a change of name or place.
    """

    key: str
    point: str
    kind: str
    used: float
    room: float
    free: float
    inodes: float
    inodes_room: float


def mounts(mountinfo: str) -> list[Mount]:
    """Every mount of /proc/self/mountinfo that is not hidden by a later one on the same point."""
    seen: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        point = _unescaped(fields[4])
        writable = "ro" not in fields[5].split(",") and "ro" not in rest[2].split(",")
        kind, source = rest[0], _unescaped(rest[1])
        seen.pop(point, None)
        seen[point] = Mount(fields[2], _unescaped(fields[3]), point, kind, source, writable)
    return list(seen.values())


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def is_local(mount: Mount) -> bool:
    """Whether it is a real filesystem of this machine whose growth matters."""
    if mount.kind in NETWORK or mount.kind in ALWAYS_FULL or mount.kind.startswith("fuse"):
        return False
    return mount.writable and (mount.source.startswith("/dev/") or mount.kind in WITHOUT_A_DEVICE)


def watched(
    found: Sequence[Mount], include: Sequence[opt.Pattern], exclude: Sequence[opt.Pattern]
) -> list[Mount]:
    """One mount per device, the whole filesystem rather than a part of it, nearest to the root.

    Bind mounts, btrfs subvolumes and containers show one device many times. Network and FUSE mounts
    are asked only where an include names them: asking a dead one may hang, an autofs point mounts.
    """
    chosen: dict[str, Mount] = {}
    for mount in found:
        if not (
            (mount.kind != "autofs" and any(p.matches(mount.point) for p in include))
            if include
            else is_local(mount)
        ):
            continue
        if any(p.matches(mount.point) for p in exclude):
            continue
        key = mount.source if mount.kind == "btrfs" else mount.device
        rival = chosen.get(key)
        if rival is None or _rank(mount) < _rank(rival):
            chosen[key] = mount
    return sorted(chosen.values(), key=lambda mount: mount.point)


def _rank(mount: Mount) -> tuple[bool, int, str]:
    return mount.root != "/", len(mount.point), mount.point


def held(mount: Mount) -> Place | None:
    """What a filesystem holds, asked of the kernel; None if it counts nothing. May hang: a child's.

    Room is used plus f_bavail, as df counts: what is reserved for root is not room for a daemon.
    """
    seen = os.statvfs(mount.point)
    if not seen.f_blocks:
        return None
    used = (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    free = seen.f_bavail * seen.f_frsize
    return Place(
        key=identity(mount, seen.f_fsid),
        point=mount.point,
        kind=mount.kind,
        used=used,
        room=used + free,
        free=free,
        inodes=seen.f_files - seen.f_ffree,
        inodes_room=seen.f_files,
    )


def identity(mount: Mount, fsid: int) -> str:
    """The UUID of a filesystem, else its id and device: mkfs on the same mount point is a new one.

    FS_IOC_GETFSUUID is of Linux 6.9; XFS tells its UUID by XFS_IOC_FSGEOMETRY_V1 since ever, and
    its f_fsid is the device number only. Both need no rights but to open the directory.
    """
    with contextlib.suppress(OSError):
        directory = os.open(mount.point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                told = fcntl.ioctl(directory, 0x80111500, bytes(17))
                if any(told[1:17]):
                    return told[1:17].hex()
            if mount.kind == "xfs":
                return fcntl.ioctl(directory, 0x80705864, bytes(112))[64:80].hex()
        finally:
            os.close(directory)
    if fsid and mount.kind != "xfs":
        return f"{mount.kind}:{fsid:x}"
    return f"{mount.kind}:{mount.source}"


@dataclass(frozen=True)
class Tree:
    """A directory to be walked within `seconds`."""

    path: str
    seconds: float

    def __str__(self) -> str:
        return f"the size of {self.path}"


def walked(tree: Tree) -> Place | None:
    """What a tree holds, as du counts (blocks, hard links once), without crossing filesystems.

    None if the time is up before the end of it: a part of a tree has no growth.
    """
    ends = time.monotonic() + tree.seconds
    top = os.stat(tree.path)
    used, entries = top.st_blocks * 512, 0
    linked: set[int] = set()
    waiting = [tree.path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as inside:
                for entry in inside:
                    try:
                        seen = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if seen.st_dev != top.st_dev:
                        continue
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif seen.st_nlink > 1:
                        if seen.st_ino in linked:
                            continue
                        linked.add(seen.st_ino)
                    used += seen.st_blocks * 512
        except (PermissionError, FileNotFoundError, NotADirectoryError):
            continue
        if time.monotonic() > ends:
            return None
    below = os.statvfs(tree.path)
    free = below.f_bavail * below.f_frsize
    return Place(
        f"directory:{os.path.abspath(tree.path)}", tree.path, "directory", used, used + free, free,
        entries, entries + below.f_favail if below.f_files else 0,
    )  # fmt: skip


Watched = Union[Mount, Tree]


@dataclass(frozen=True)
class Culprits:
    """What to search for what grew: `since` seconds of the epoch."""

    point: str
    since: float
    seconds: float

    def __str__(self) -> str:
        return f"what grows on {self.point}"


@dataclass(frozen=True)
class Found:
    """What was written lately: paths with bytes, who has them open, what is deleted and open.

    `by_directory`: bytes of the recently written files directly in it; `entries`: how many names
    each directory has, the largest only; `complete`: whether the time sufficed for the whole tree;
    `blind`: without root, what others keep private or hold open was not seen.
    """

    files: tuple[tuple[str, float], ...]
    by_directory: tuple[tuple[str, float], ...]
    entries: tuple[tuple[str, int], ...]
    writers: Mapping[str, str]
    deleted: tuple[tuple[str, float], ...]
    complete: bool
    blind: bool = False


def searched(wanted: Culprits) -> Found:
    """The recently written big files of a filesystem, within the time that there is."""
    ends = time.monotonic() + wanted.seconds
    device = os.stat(wanted.point).st_dev
    writers, deleted = open_files(device)
    files: list[tuple[float, str]] = []
    sizes: dict[str, float] = {}
    entries: dict[str, int] = {}
    waiting, complete = [wanted.point], True
    while waiting:
        # Breadth first: a partial answer then knows something of everywhere.
        below: list[str] = []
        for place in waiting:
            if time.monotonic() > ends:
                complete = False
                break
            count = 0
            try:
                with os.scandir(place) as inside:
                    for entry in inside:
                        count += 1
                        with contextlib.suppress(FileNotFoundError):
                            seen = entry.stat(follow_symlinks=False)
                            if seen.st_dev != device:
                                continue
                            if entry.is_dir(follow_symlinks=False):
                                below.append(entry.path)
                            elif seen.st_mtime >= wanted.since:
                                octets = seen.st_blocks * 512
                                files.append((octets, entry.path))
                                sizes[place] = sizes.get(place, 0) + octets
            except (PermissionError, FileNotFoundError, NotADirectoryError):
                continue
            entries[place] = count
        waiting = below if complete else []
    largest = heapq.nlargest(8, files)
    return Found(
        tuple((path, octets) for octets, path in largest if octets),
        tuple(heapq.nlargest(5, sizes.items(), key=lambda item: item[1])),
        tuple(heapq.nlargest(3, entries.items(), key=lambda item: item[1])),
        {path: writers[path] for _, path in largest if path in writers},
        deleted,
        complete,
        os.geteuid() != 0,
    )


def open_files(device: int) -> tuple[dict[str, str], tuple[tuple[str, float], ...]]:
    """Who writes which file of a device, and the deleted but open ones there, with their bytes."""
    writers: dict[str, str] = {}
    deleted: dict[tuple[int, int], tuple[str, float]] = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            link = f"/proc/{process}/fd/{descriptor}"
            try:
                path = os.readlink(link)
                if not path.startswith("/") or path.startswith(("/proc/", "/dev/", "/sys/")):
                    continue
                seen = os.stat(link)
                if seen.st_dev != device:
                    continue
                if seen.st_nlink == 0 and path.endswith(" (deleted)"):
                    who = f"{_program(process)}, {path[:-10]}"
                    deleted[seen.st_dev, seen.st_ino] = (who, seen.st_blocks * 512.0)
                elif os.lstat(link).st_mode & 0o200:  # opened for writing
                    writers[path] = _program(process)
            except OSError:
                continue
    return writers, tuple(heapq.nlargest(3, deleted.values(), key=lambda item: item[1]))


def _program(process: str) -> str:
    try:
        name = Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        name = "?"
    return f"{name} (pid {process})"


# What is remembered

LOW, LAST, HIGH = 0, 24, 48  # where they begin in a day's blob; the inodes' follow at 72
HOURS = [hour * forecast.HOUR for hour in range(24)]
NOTHING = array("d", [math.nan]) * 144


@dataclass
class Remembered:
    """What the history knows of one filesystem: its bytes and its inodes, and which hours."""

    used: Series
    inodes: Series
    days: dict[int, array[float]]


def recall(book: History, at: Stamp) -> dict[str, Remembered]:
    """Everything remembered, by key; times are told by the clock that counts (see history)."""
    known: dict[str, Remembered] = {}

    def of(key: str) -> Remembered:
        if key not in known:
            used = Series()
            known[key] = Remembered(used, Series(hours=used.hours), {})
        return known[key]

    oldest_day = int((at.wall - KEEP_DAYS * forecast.DAY) // forecast.DAY)
    for key, day, blob in book.sql.execute(
        "SELECT key, day, hours FROM day WHERE day >= ? AND day <= ? ORDER BY key, day",
        (oldest_day, int(at.wall // forecast.DAY)),
    ):
        mine, hours = of(key), array("d", blob)
        mine.days[day] = hours
        start = day * forecast.DAY
        columns = [hours[first : first + 24] for first in (LOW, LAST, HIGH, 72, 96, 120)]
        times = array("d", map(start.__add__, HOURS))
        # An hour that nobody saw is not a number. Few days have one.
        if math.isnan(sum(columns[1])):
            seen = [h for h in range(24) if not math.isnan(columns[1][h])]
            times, *columns = (
                array("d", [column[h] for h in seen]) for column in (times, *columns)
            )
        mine.used.hours.extend(times)
        for column, more in zip((*mine.used.columns, *mine.inodes.columns), columns):
            column.extend(more)
    for key, boot, uptime, wall, used, inodes in book.sql.execute(
        "SELECT key, boot, uptime, wall, used, inodes FROM look ORDER BY rowid"
    ):
        # Within this boot the wall clock may have been stepped; across boots there is no other.
        when = at.wall - (at.uptime - uptime) if boot == at.boot else wall
        mine = of(key)
        if when < at.wall and (not mine.used.at or when > mine.used.at[-1]):
            mine.used.at.append(when)
            mine.used.used.append(used)
            mine.inodes.at.append(when)
            mine.inodes.used.append(inodes)
    return known


def remember(book: History, place: Place, known: Remembered | None, at: Stamp) -> None:
    """Note this look, and fold the hours that are over into their days."""
    series = known.used if known else Series()
    if not series.at or at.wall - series.at[-1] >= APART:
        book.defer(
            "INSERT INTO look VALUES (?, ?, ?, ?, ?, ?)",
            (place.key, at.boot, at.uptime, at.wall, place.used, place.inodes),
        )
    this_hour = at.wall // forecast.HOUR * forecast.HOUR
    if known is None:
        book.defer(
            "INSERT OR REPLACE INTO filesystem VALUES (?, ?, ?)", (place.key, place.point, at.wall)
        )
        return
    # The current hour's looks are in the series too, this one included; they stay looks.
    if fold(known, this_hour):
        for day in {int(hour // forecast.DAY) for hour in (series.at[0], this_hour - 1)} | set(
            list(known.days)[-2:]
        ):
            if day in known.days:
                book.defer(
                    "INSERT OR REPLACE INTO day VALUES (?, ?, ?)",
                    (place.key, day, known.days[day].tobytes()),
                )
        book.defer(
            "INSERT OR REPLACE INTO filesystem VALUES (?, ?, ?)", (place.key, place.point, at.wall)
        )
        book.defer(
            "DELETE FROM look WHERE key = ? AND "
            "CASE WHEN boot = ? THEN uptime < ? ELSE wall < ? END",
            (place.key, at.boot, at.uptime - KEEP_LOOKS, at.wall - KEEP_LOOKS),
        )
        book.defer(
            "DELETE FROM look WHERE key = ?1 AND rowid <= "
            "(SELECT rowid FROM look WHERE key = ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2)",
            (place.key, MOST_LOOKS),
        )
        oldest = int((at.wall - KEEP_DAYS * forecast.DAY) // forecast.DAY)
        book.defer("DELETE FROM day WHERE key = ? AND day < ?", (place.key, oldest))


def fold(known: Remembered, before: float) -> bool:
    """Put hours that ended by `before` and are not in their day yet into it; whether any was."""
    new: dict[int, list[int]] = {}
    hours = known.used.hours
    # Unless the clock has been set back: then hours to come are in their days already.
    after = hours[-1] + forecast.HOUR if hours and hours[-1] < before else 0
    begin = bisect_left(known.used.at, after)
    for position in range(begin, bisect_left(known.used.at, before)):
        hour = int(known.used.at[position] // forecast.HOUR)
        day = known.days.get(hour // 24)
        if day is None or math.isnan(day[LAST + hour % 24]):
            new.setdefault(hour, []).append(position)
    for hour, positions in new.items():
        day = known.days.setdefault(hour // 24, array("d", NOTHING))
        for values, offset in ((known.used.used, 0), (known.inodes.used, 72)):
            seen = [values[position] for position in positions]
            day[offset + LOW + hour % 24] = min(seen)
            day[offset + LAST + hour % 24] = seen[-1]
            day[offset + HIGH + hour % 24] = max(seen)
    return bool(new)


def archived(text: str) -> dict[str, list[tuple[float, float, float]]]:
    """What `sadf -d -U -- -F` tells: per device (epoch, used bytes, inodes used), oldest first.

    Lines are host;interval;epoch;device;MBfsfree;MBfsused;%fsused;%ufsused;Ifree;Iused;%Iused, with
    a header that begins with #; the order has not changed since sysstat 10.
    """
    told: dict[str, list[tuple[float, float, float]]] = {}
    for line in text.splitlines():
        cells = line.split(";")
        if line.startswith("#") or len(cells) < 11:
            continue
        with contextlib.suppress(ValueError):
            look = (float(cells[2]), float(cells[5].replace(",", ".")) * 1048576, float(cells[9]))
            told.setdefault(cells[3], []).append(look)
    for looks in told.values():
        looks.sort()
    return told


def seeded(book: History, pairs: Sequence[tuple[Watched, Place]], at: Stamp, seconds: float) -> int:
    """Begin histories from sysstat's archives; how many hours came of it."""
    ends = time.monotonic() + seconds
    archives = sorted(
        path
        for folder in ("/var/log/sysstat", "/var/log/sa")
        for path in Path(folder).glob("sa[0-9]*")
        if not path.name.startswith("sar")
    )
    told: dict[str, list[tuple[float, float, float]]] = {}
    for archive in archives:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            ran = subprocesses.run(["sadf", "-d", "-U", str(archive), "--", "-F"], timeout=left)
        except (OSError, subprocesses.NoAnswer):
            break
        for device, looks in archived(ran.stdout).items():
            told.setdefault(device, []).extend(looks)
    hours = 0
    for mount, place in pairs:
        looks = sorted(told.get(mount.source, ())) if isinstance(mount, Mount) else []
        looks = [look for look in looks if at.wall - KEEP_DAYS * forecast.DAY < look[0] < at.wall]
        known = Remembered(
            Series([look[0] for look in looks], [look[1] for look in looks]),
            Series([look[0] for look in looks], [look[2] for look in looks]),
            {},
        )
        fold(known, at.wall)
        for day, blob in known.days.items():
            hours += 24 - sum(map(math.isnan, blob[LAST : LAST + 24]))
            book.defer(
                "INSERT OR IGNORE INTO day VALUES (?, ?, ?)", (place.key, day, blob.tobytes())
            )
        for when, used, inodes in looks:
            if at.wall - when < KEEP_LOOKS:
                book.defer(
                    "INSERT INTO look VALUES (?, 'sysstat', 0, ?, ?, ?)",
                    (place.key, when, used, inodes),
                )
    return hours


# What it means


@dataclass(frozen=True)
class Limits:
    """What the operator asked for."""

    warning: limits.Limit
    critical: limits.Limit
    min_free: Callable[[float], float]  # of the room, both bytes
    horizon: float
    learning: State

    @property
    def believe(self) -> float:
        """The farthest forecast that either limit could act on."""
        return max(
            bound
            for bound in (self.warning.worst_bound, self.critical.worst_bound)
            if math.isfinite(bound)
        )


@dataclass(frozen=True)
class Verdict:
    """What is concluded about one place: a finding if there is anything to say, and the numbers."""

    place: Place
    bytes: Outlook
    inodes: Outlook
    finding: Finding | None
    of_inodes: bool = False


def judged(place: Place, known: Remembered, asked: Limits) -> Verdict:
    """The verdict on a place whose series end with this look. Pure."""
    reserve = asked.min_free(place.room)
    used = forecast.outlook(known.used, place.room - reserve, asked.believe)
    counted = place.inodes_room > 0 and not (
        # Their inodes are made of free space: a full one is short of both, and of bytes first.
        place.kind in MOVING_INODES and place.free < place.room / 20
    )
    inodes = (
        forecast.outlook(known.inodes, place.inodes_room, asked.believe)
        if counted
        else forecast.outlook(Series(), 0, 0)
    )
    for finding, of_inodes in (
        (_full(place, reserve), False),
        (_without_inodes(place) if counted else None, True),
        (_filling(place, used, asked, reserve), False),
        (_filling_inodes(place, inodes, asked), True),
    ):
        if finding is not None and finding.state in (CRITICAL,):
            return Verdict(place, used, inodes, finding, of_inodes)
    for finding, of_inodes in (
        (_filling(place, used, asked, reserve), False),
        (_filling_inodes(place, inodes, asked), True),
    ):
        if finding is not None:
            return Verdict(place, used, inodes, finding, of_inodes)
    if used.learning:
        finding = verdict.learning(used.age, forecast.LEARNING, asked.learning)
        return Verdict(place, used, inodes, replace(finding, text=f"{place.point} {finding.text}"))
    return Verdict(place, used, inodes, None)


def _full(place: Place, reserve: float) -> Finding | None:
    least = max(reserve, min(NEARLY, place.room / 200))
    if place.free > least:
        return None
    if reserve and place.free >= reserve / 2 > NEARLY:
        return Finding(
            CRITICAL,
            f"{_name(place)} has {_free(place)} left, less than --min-free "
            f"({units.say_size(reserve)})",
        )
    return Finding(CRITICAL, f"{_name(place)} is full: {_free(place)} left")


def _without_inodes(place: Place) -> Finding | None:
    if place.inodes < place.inodes_room or place.kind == "directory":
        return None
    return Finding(
        CRITICAL,
        f"{_name(place)} is out of inodes: all {place.inodes_room:.0f} used, no file can be made, "
        f"although {units.say_size(place.free)} are free",
    )


def _filling(place: Place, seen: Outlook, asked: Limits, reserve: float) -> Finding | None:
    if seen.left is None:
        return None
    state, broken = limits.judge(seen.left, asked.warning, asked.critical)
    if broken is None:
        return None
    what = "full" if not reserve else f"down to {units.say_size(reserve)}"
    return Finding(
        state,
        f"{_name(place)} {what} in {units.say_duration(seen.left)} (limit {broken.typed}): "
        f"{_free(place)} left, growing {rate_words(seen.rate)} over the last {_span(seen.seconds)}",
    )


def _filling_inodes(place: Place, seen: Outlook, asked: Limits) -> Finding | None:
    if seen.left is None:
        return None
    state, broken = limits.judge(seen.left, asked.warning, asked.critical)
    if broken is None:
        return None
    return Finding(
        state,
        f"{_name(place)} out of inodes in {units.say_duration(seen.left)} (limit {broken.typed}): "
        f"{place.inodes_room - place.inodes:.0f} of {place.inodes_room:.0f} left, "
        f"{seen.rate * forecast.HOUR:.0f} more an hour over the last {_span(seen.seconds)}",
    )


def at_first_sight(place: Place, sample: Series, asked: Limits) -> Finding | None:
    """The verdict of a few looks within seconds, where there is no history yet. Pure.

    Every interval must have grown; else a log line written now would fill any disk.
    """
    rises = [
        (b - a) / (later - earlier)
        for a, b, earlier, later in zip(sample.used, sample.used[1:], sample.at, sample.at[1:])
        if later > earlier
    ]
    if not rises or min(rises) <= 0:
        return None
    rate = (sample.used[-1] - sample.used[0]) / (sample.at[-1] - sample.at[0])
    left = (place.room - asked.min_free(place.room) - sample.used[-1]) / rate
    if not asked.critical.broken_by(max(0.0, left)):
        return None
    return Finding(
        CRITICAL,
        f"{_name(place)} full in {units.say_duration(max(0.0, left))} at the rate of the last "
        f"{units.say_duration(sample.at[-1] - sample.at[0])}, {rate_words(rate)} "
        f"(limit {asked.critical.typed}): {_free(place)} left, no history yet",
    )


def rate_words(rate: float) -> str:
    """Bytes a second in the unit of time in which they are a number to talk about."""
    if rate * 60 >= 512 * 1048576:
        return f"{units.say_size(rate * 60)} a minute"
    if rate * 3600 >= 8 * 1048576:
        return f"{units.say_size(rate * 3600)} an hour"
    return f"{units.say_size(rate * 86400)} a day"


def _span(seconds: float) -> str:
    return units.say_duration(seconds)


def _name(place: Place) -> str:
    return safe(place.point, 80)


def _free(place: Place) -> str:
    if place.kind == "directory":
        return f"{units.say_size(place.free)} of its filesystem"
    return f"{units.say_size(place.free)} of {units.say_size(place.room)}"


def explained(seen: Outlook, of: str) -> list[str]:
    """What each window said and why it was believed or not, a line each. Pure."""
    lines = [f"{of}: {units.say_duration(seen.age)} of history"]
    for window in seen.windows:
        words = f"{of}, last {units.say_duration(window.seconds)}: "
        if window.left is None:
            words += window.doubt
        else:
            words += f"full in {units.say_duration(window.left)}"
            words += f", not believed: {window.doubt}" if window.doubt else ", believed"
        lines.append(words)
    return lines


def blamed(found: Found, before: Mapping[str, float], point: str, of_inodes: bool) -> tuple[
    str, tuple[str, ...], str
]:  # fmt: skip
    """(what to add to the first line, the lines below it, the next command to type). Pure.

    `before`: bytes of files as an earlier alarm saw them, so that growth can be told from size.
    """
    lines, first, command = [], "", ""
    where = _quoted(point)
    if of_inodes:
        if found.entries:
            path, count = found.entries[0]
            first = f"; most names are in {safe(path, 80)} ({count})"
            lines = [f"names in {safe(path, 120)}: {count}" for path, count in found.entries]
        command = f"find {where} -xdev -printf '%h\\n' | sort | uniq -c | sort -n | tail"
        return first, tuple(lines), command
    grown = sorted(
        ((octets - _before(before, path, octets), octets, path) for path, octets in found.files),
        reverse=True,
    )
    held_back = sum(octets for _, octets in found.deleted)
    for growth, octets, path in grown[:5]:
        plus = f", +{units.say_size(growth)} since the last look" if growth > 0 else ""
        by = f", written by {found.writers[path]}" if path in found.writers else ""
        lines.append(f"written lately: {safe(path, 120)} {units.say_size(octets)}{plus}{by}")
    for path, octets in found.by_directory[:3]:
        if octets > 0:
            lines.append(f"written lately below {safe(path, 120)}: {units.say_size(octets)}")
    for who, octets in found.deleted:
        if octets > 0:
            lines.append(f"deleted but still open: {units.say_size(octets)} by {safe(who, 150)}")
    if not found.complete:
        lines.append("(not the whole tree was searched: out of time)")
    if found.blind:
        lines.append("(not root: what others keep private or hold open was not seen)")
    largest = grown[0] if grown else (0.0, 0.0, "")
    if found.deleted and held_back > largest[1]:
        who, octets = found.deleted[0]
        first = f"; {units.say_size(octets)} of it deleted but held open by {safe(who, 100)}"
        command = f"lsof -nP +aL1 {where}   # then restart that program"
    elif largest[2]:
        growth, octets, path = largest
        by = f", written by {found.writers[path]}" if path in found.writers else ""
        size = f"+{units.say_size(growth)}" if growth > 0 else units.say_size(octets)
        first = f"; {safe(path, 90)} grew most ({size}){by}"
        command = f"tail -n 5 {_quoted(path)}"
    else:
        command = f"du -xh --max-depth=3 {where} | sort -h | tail -n 20"
    return first, tuple(lines), command


def _before(before: Mapping[str, float], path: str, octets: float) -> float:
    """What a file held at the earlier alarm: nothing, if it would have been named then."""
    return before.get(path, 0.0 if before and octets > min(before.values()) else octets)


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./@%+=:,-]+", path) else "'" + path.replace("'", "'\\''") + "'"


# How it is told

EVERY = "5m"


def options() -> argparse.ArgumentParser:
    """The command line of check_disk_growth."""
    parser = opt.parser("disk_growth", __doc__)
    opt.add_limits(
        parser,
        warning="48h",
        critical="12h",
        what="the time until a filesystem is full",
        unit=units.duration,
        lower_is_worse=True,
    )
    what = parser.add_argument_group("what to watch")
    opt.add_selectors(what, "mount points (network and FUSE ones too, which are else left out)")
    what.add_argument(
        "--directory",
        action="append",
        default=[],
        metavar="PATH",
        help="watch the growth of this tree instead of filesystems; repeatable",
    )
    what.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="PATH",
        help="something must be mounted here: else its parent would be watched; repeatable",
    )
    opt.add_missing(what)
    judging = parser.add_argument_group("how to judge")
    judging.add_argument(
        "--min-free",
        type=opt.argument(_min_free),
        default="0",
        metavar="SIZE",
        help="count a filesystem as full when less than this is free, 5GiB or 2%% (default: 0)",
    )
    judging.add_argument(
        "--sample",
        type=opt.positive_duration,
        default="2s",
        metavar="DURATION",
        help="look this long at what has no history yet (default: 2s; or -t 45s --sample 30s)",
    )
    judging.add_argument(
        "--horizon",
        type=opt.positive_duration,
        default="52w",
        metavar="DURATION",
        help="tell no time until full that is farther off than this (default: 52w)",
    )
    opt.add_learning(judging)
    opt.add_state_dir(parser)
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show what each window said and why it was believed or not (with -v's long output)",
    )
    return parser


def _min_free(text: str) -> Callable[[float], float]:
    if text.strip().endswith("%"):
        share = units.percent(text) / 100
        if not 0 <= share < 1:
            raise ValueError(f"{text!r} is not a share of a filesystem; type 5%")
        return lambda room: room * share
    octets = units.size(text)
    return lambda room: octets


def plan(
    args: argparse.Namespace,
    *,
    clock: Callable[[], Stamp] = history.now,
    mountinfo: Callable[[], str] = lambda: Path("/proc/self/mountinfo").read_text(
        encoding="utf-8", errors="surrogateescape"
    ),
    ask: Callable[[Mount], Place | None] = held,
    seed: Callable[[History, Sequence[tuple[Watched, Place]], Stamp, float], int] = seeded,
    search: Callable[[Culprits], Found] = searched,
) -> Check:
    """The check; the seams are the clock, the mounts, what they hold, sysstat and the search."""
    asked = Limits(args.warning, args.critical, args.min_free, args.horizon, args.learning)

    def look() -> Report:
        at = clock()
        with History.open("disk_growth", args.state_dir, TABLES) as book:
            return _report(book, at)

    def _report(book: History, at: Stamp) -> Report:
        findings: list[Finding] = []
        remarks = [book.remark] if book.remark else []
        found = mounts(mountinfo())
        points = {mount.point for mount in found}
        for path in args.require:
            if os.path.normpath(path) not in points and args.missing is not OK:
                findings.append(
                    Finding(
                        args.missing,
                        f"{safe(path, 120)} is not mounted: what is written there goes to the "
                        "filesystem above it",
                        next=f"findmnt --fstab {_quoted(path)}; mount {_quoted(path)}",
                    )
                )
        pairs, silent = _held(args, found, ask)
        findings += silent
        known = recall(book, at)
        new = [pair for pair in pairs if pair[1].key not in known]
        if new and seed(book, new, at, 3.0):
            remarks.append("sysstat's archives were read to begin the history")
            fault = book.save()
            if fault is None:
                known = recall(book, at)
        first_sight = _sampled(new, args.sample, ask) if new else {}
        told: list[Verdict] = []
        for _, place in pairs:
            mine = known.get(place.key)
            remember(book, place, mine, at)
            mine = mine or Remembered(Series(), Series(), {})
            for series, value in ((mine.used, place.used), (mine.inodes, place.inodes)):
                series.at.append(at.wall)
                series.used.append(value)
            concluded = judged(place, mine, asked)
            if place.key in first_sight and (
                concluded.finding is None or concluded.finding.state is not CRITICAL
            ):
                seen = at_first_sight(place, first_sight[place.key], asked)
                concluded = replace(concluded, finding=seen or concluded.finding)
            told.append(concluded)
        told.sort(key=_urgency)
        for position, one in enumerate(told):
            finding = one.finding
            if finding is None:
                continue
            # The tree is searched for the worst only: the others would take its time.
            if position == 0 and finding.state in (WARNING, CRITICAL):
                finding = _with_culprits(finding, one, book, at, search)
            findings.append(finding)
        if args.explain:
            for one in told:
                remarks += explained(one.bytes, _name(one.place))
                if one.inodes.windows:
                    remarks += explained(one.inodes, f"{_name(one.place)} inodes")
        fault = book.save()
        if fault is not None:
            # What cannot remember is not learning.
            findings = [one for one in findings if "still learning" not in one.text]
            findings.insert(0, fault)
        return Report(findings, measured(told, asked), summarised(told, asked, at.wall), remarks)

    return Check(
        "disk_growth",
        look,
        timeout=args.timeout,
        verbose=max(args.verbose, int(args.explain)),
    )


def _held(
    args: argparse.Namespace, found: Sequence[Mount], ask: Callable[[Mount], Place | None]
) -> tuple[list[tuple[Watched, Place]], list[Finding]]:
    """What each watched place holds, with its mount; and a finding for each that does not say."""
    subjects: Sequence[Watched]
    if args.directory:
        seconds = max(0.5, (min(args.timeout, deadline.remaining()) - 1) / 2 / len(args.directory))
        subjects = [Tree(path, seconds) for path in args.directory]
    else:
        seconds = min(2.0, args.timeout / 3)
        subjects = watched(found, args.include, args.exclude)
    answers = subprocesses.each(
        _asking(ask), subjects, seconds + 0.5 if args.directory else seconds
    )
    pairs: list[tuple[Watched, Place]] = []
    silent: list[Finding] = []
    for subject, answer in answers.items():
        path = subject.path if isinstance(subject, Tree) else subject.point
        name = safe(path, 120)
        if isinstance(answer, Place):
            pairs.append((subject, answer))
        elif isinstance(answer, subprocesses.NoAnswer):
            silent.append(
                Finding(
                    UNKNOWN,
                    f"{name} does not answer: {answer}; is its server or its disk gone?",
                    next=f"findmnt {_quoted(path)}; dmesg | tail -n 20",
                )
            )
        elif isinstance(answer, FileNotFoundError):
            silent.append(Finding(args.missing, f"{name} does not exist"))
        elif isinstance(answer, OSError):
            silent.append(Finding(UNKNOWN, f"{name} cannot be asked: {answer.strerror}"))
        elif isinstance(subject, Tree):
            silent.append(
                Finding(
                    UNKNOWN,
                    f"{name} is too large to be walked in {units.say_duration(subject.seconds)}; "
                    "give it more time with -t, or watch its filesystem",
                )
            )
    if not pairs and not silent and not args.require:
        words = "no local, writable filesystem is mounted here"
        if args.include:
            words = f"nothing is mounted that --include names: {_typed(args.include)}"
        silent.append(Finding(UNKNOWN, words, next="findmnt"))
    return pairs, silent


def _typed(patterns: Iterable[opt.Pattern]) -> str:
    return safe(", ".join(pattern.typed for pattern in patterns), 120)


def _asking(ask: Callable[[Mount], Place | None]) -> Callable[[Watched], Place | None]:
    return lambda subject: walked(subject) if isinstance(subject, Tree) else ask(subject)


def _sampled(
    new: Sequence[tuple[Watched, Place]], seconds: float, ask: Callable[[Mount], Place | None]
) -> dict[str, Series]:
    """Five looks at those without a history, `seconds` from the first to the last."""
    samples = {place.key: Series() for _, place in new}
    for turn in range(5):
        if turn:
            with deadline.doing("looking again, since there is no history yet"):
                time.sleep(seconds / 4)
        now = time.monotonic()
        for answer in subprocesses.each(
            _asking(ask), [subject for subject, _ in new], 1.0
        ).values():
            if isinstance(answer, Place) and answer.key in samples:
                samples[answer.key].at.append(now)
                samples[answer.key].used.append(answer.used)
    return samples


def _urgency(one: Verdict) -> tuple[int, float, str]:
    severity = verdict.SEVERITY.index(one.finding.state) if one.finding else 0
    times = [seen.left for seen in (one.bytes, one.inodes) if seen.left is not None]
    return -severity, min(times, default=math.inf), one.place.point


def _with_culprits(
    finding: Finding,
    one: Verdict,
    book: History,
    at: Stamp,
    search: Callable[[Culprits], Found],
) -> Finding:
    """The finding with what grew, found in a part of the time that is left."""
    seen = one.inodes if one.of_inodes else one.bytes
    seconds = min(3.0, (deadline.remaining() - 1) / 2)
    subject = f"written:{one.place.key}"
    before: Mapping[str, float] = book.note(subject) or {}
    since = at.wall - max(forecast.HOUR, min(seen.seconds, forecast.DAY))
    wanted = Culprits(one.place.point, since, seconds)
    found = next(iter(subprocesses.each(search, [wanted], seconds + 1).values()), None)
    if not isinstance(found, Found):
        return finding
    book.write_note(subject, dict(found.files), at)
    first, lines, command = blamed(found, before, one.place.point, one.of_inodes)
    return replace(finding, text=finding.text + first, more=lines, next=command)


def measured(told: Sequence[Verdict], asked: Limits) -> list[Measure]:
    """The numbers, those of the worst first, and of each the time until full first. Pure."""
    first, second = [], []
    for one in told:
        name, place = one.place.point, one.place
        for seen, prefix in ((one.bytes, ""), (one.inodes, "inodes_")):
            left = seen.left if seen.left is not None else seen.trend_left
            if left is not None and left <= asked.horizon:
                first.append(
                    Measure(
                        label(name, f"{prefix}full_in"),
                        round(left),
                        "s",
                        asked.warning,
                        asked.critical,
                        0,
                    )
                )
        first.append(Measure(label(name, "used"), place.used, "B", minimum=0, maximum=place.room))
        second.append(Measure(label(name, "free"), place.free, "B", minimum=0, maximum=place.room))
        second.append(Measure(label(name, "growth"), one.bytes.rate))
        if place.inodes_room or place.kind == "directory":
            second.append(
                Measure(
                    label(name, "inodes"),
                    place.inodes,
                    minimum=0,
                    maximum=place.inodes_room or None,
                )
            )
            second.append(Measure(label(name, "inodes_growth"), one.inodes.rate))
    return first + second


def summarised(told: Iterable[Verdict], asked: Limits, now: float) -> str:
    """The sentence when all is well: how many, and which will be full first. Pure."""
    told = list(told)
    many = len(told)
    noun = "directory" if told and told[0].place.kind == "directory" else "filesystem"
    plural = noun if many == 1 else noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    words = f"{many} {plural} watched, none full within {asked.warning.typed}"
    going = [
        (one.bytes.trend_left, one.place)
        for one in told
        if one.bytes.trend_left is not None and one.bytes.trend_left <= asked.horizon
    ]
    if going:
        left, place = min(going, key=lambda pair: pair[0])
        date = time.strftime("%Y-%m-%d", time.gmtime(now + left))
        words += f"; {_name(place)} first, in {units.say_duration(left)} ({date})"
    return words


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.disk_growth.drill import DRILL

    return DRILL


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Curve:
    """What it remembers of a subject, for `twiceshy plot`."""
    from twiceshy.disk_growth import picture as drawn

    return drawn.picture(state_dir, subject, at)


@guarded
def main() -> None:
    """Parse, look, print, exit."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

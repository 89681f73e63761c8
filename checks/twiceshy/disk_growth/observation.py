"""What is seen: the mounts, what filesystems and trees hold, once or several times within seconds.

Each subject is asked by a child process, since statvfs on a dead mount never returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

from twiceshy.disk_growth.filesystem import (
    Failure,
    Mount,
    Observation,
    Subject,
    Tree,
    Unobserved,
    Usage,
)
from twiceshy.disk_growth.forecast import Series
from twiceshy.disk_growth.settings import Selection
from twiceshy.kit import deadline, subprocesses, units
from twiceshy.kit.patterns import Pattern, matched

NETWORK = {
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs",
}  # fmt: skip
ALWAYS_FULL = {"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"}
WITHOUT_A_DEVICE = {"bcachefs", "jffs2", "ubifs", "zfs"}  # their source is no /dev/...

Ask = Callable[[Mount], "Usage | None"]


def mountinfo() -> str:
    """The mounts of this process (proc_pid_mountinfo(5))."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")


# What is watched


def is_local(mount: Mount) -> bool:
    """Whether it is a real filesystem of this machine whose growth matters."""
    if mount.kind in NETWORK or mount.kind in ALWAYS_FULL or mount.kind.startswith("fuse"):
        return False
    return mount.writable and (mount.source.startswith("/dev/") or mount.kind in WITHOUT_A_DEVICE)


def watched(
    mounts: Sequence[Mount], include: Sequence[Pattern], exclude: Sequence[Pattern]
) -> list[Mount]:
    """One mount per device, the whole filesystem rather than a part of it, nearest to the root.

    Bind mounts, btrfs subvolumes and containers show one device many times. Network and FUSE mounts
    are asked only where an include names them: asking a dead one may hang, an autofs point mounts.
    """
    chosen: dict[str, Mount] = {}
    for mount in mounts:
        if include:
            wanted = mount.kind != "autofs" and matched(include, mount.point)
        else:
            wanted = is_local(mount)
        if not wanted or matched(exclude, mount.point):
            continue
        key = mount.source if mount.kind == "btrfs" else mount.device
        rival = chosen.get(key)
        if rival is None or _rank(mount) < _rank(rival):
            chosen[key] = mount
    return sorted(chosen.values(), key=lambda mount: mount.point)


def _rank(mount: Mount) -> tuple[bool, int, str]:
    return mount.root != "/", len(mount.point), mount.point


# What it holds


def usage_of(mount: Mount) -> Usage | None:
    """What a filesystem holds, asked of the kernel; None if it counts nothing. May hang: a child's.

    Room is used plus f_bavail, as df counts: what is reserved for root is not room for a daemon.
    """
    status = os.statvfs(mount.point)
    if not status.f_blocks:
        return None
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    free = status.f_bavail * status.f_frsize
    return Usage(
        key=identity(mount, status.f_fsid),
        point=mount.point,
        kind=mount.kind,
        used=used,
        room=used + free,
        free=free,
        inodes=status.f_files - status.f_ffree,
        inodes_room=status.f_files,
    )


def identity(mount: Mount, fsid: int) -> str:
    """The UUID of a filesystem, else its id and device: mkfs on the same mount point is a new one.

    FS_IOC_GETFSUUID is of Linux 6.9; XFS has always given its UUID by XFS_IOC_FSGEOMETRY_V1, and
    its f_fsid is the device number only. Both need no rights but to open the directory.
    """
    with contextlib.suppress(OSError):
        directory = os.open(mount.point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(directory, 0x80111500, bytes(17))
                if any(answer[1:17]):
                    return answer[1:17].hex()
            if mount.kind == "xfs":
                return fcntl.ioctl(directory, 0x80705864, bytes(112))[64:80].hex()
        finally:
            os.close(directory)
    if fsid and mount.kind != "xfs":
        return f"{mount.kind}:{fsid:x}"
    return f"{mount.kind}:{mount.source}"


def tree_usage(tree: Tree) -> Usage | None:
    """What a tree holds, as du counts (blocks, hard links once), without crossing filesystems.

    None if the time is up before the end of it: a part of a tree has no growth.
    """
    ends = time.monotonic() + tree.seconds
    top = os.stat(tree.path)
    used, entries = top.st_blocks * 512, 0
    linked: set[int] = set()
    waiting = [tree.path]
    while waiting:
        with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError):
            for entry, status in _inside(waiting.pop(), top.st_dev):
                entries += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif status.st_nlink > 1:
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                used += status.st_blocks * 512
        if time.monotonic() > ends:
            return None
    below = os.statvfs(tree.path)
    free = below.f_bavail * below.f_frsize
    return Usage(
        key=f"directory:{os.path.abspath(tree.path)}",
        point=tree.path,
        kind="directory",
        used=used,
        room=used + free,
        free=free,
        inodes=entries,
        inodes_room=entries + below.f_favail if below.f_files else 0,
    )


def _inside(path: str, device: int) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """The entries of a directory that are on `device`, with what lstat says of each."""
    with os.scandir(path) as inside:
        for entry in inside:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if status.st_dev == device:
                    yield entry, status


# One observation


def observe(selection: Selection, timeout: float, mounts: Sequence[Mount], ask: Ask) -> Observation:
    """What each watched subject holds, and what could not be learned of which; asks children."""
    subjects: Sequence[Subject]
    if selection.directories:
        left = min(timeout, deadline.remaining()) - 1
        seconds = max(0.5, left / 2 / len(selection.directories))
        subjects = [Tree(path, seconds) for path in selection.directories]
        patience = seconds + 0.5
    else:
        subjects = watched(mounts, selection.include, selection.exclude)
        patience = min(2.0, timeout / 3)
    usages: list[tuple[Subject, Usage]] = []
    unobserved: list[Unobserved] = []
    for subject, answer in subprocesses.each(_asking(ask), subjects, patience).items():
        if isinstance(answer, Usage):
            usages.append((subject, answer))
        elif isinstance(answer, subprocesses.NoAnswer):
            unobserved.append(Unobserved(subject.path, Failure.NO_ANSWER, str(answer)))
        elif isinstance(answer, FileNotFoundError):
            unobserved.append(Unobserved(subject.path, Failure.MISSING))
        elif isinstance(answer, OSError):
            unobserved.append(Unobserved(subject.path, Failure.REFUSED, str(answer.strerror)))
        elif isinstance(subject, Tree):
            limit = units.say_duration(subject.seconds)
            unobserved.append(Unobserved(subject.path, Failure.TOO_LARGE, limit))
    points = {mount.point for mount in mounts}
    unmounted = tuple(path for path in selection.required if os.path.normpath(path) not in points)
    return Observation(tuple(usages), tuple(unobserved), unmounted)


def sampled(new: Sequence[tuple[Subject, Usage]], seconds: float, ask: Ask) -> dict[str, Series]:
    """Five samples of those without a history, by key, `seconds` from the first to the last."""
    samples = {usage.key: Series() for _, usage in new}
    subjects = [subject for subject, _ in new]
    for turn in range(5 if new else 0):
        if turn:
            with deadline.doing("sampling, since there is no history yet"):
                time.sleep(seconds / 4)
        now = time.monotonic()
        for answer in subprocesses.each(_asking(ask), subjects, 1.0).values():
            if isinstance(answer, Usage) and answer.key in samples:
                samples[answer.key].at.append(now)
                samples[answer.key].used.append(answer.used)
    return samples


def _asking(ask: Ask) -> Callable[[Subject], Usage | None]:
    return lambda subject: tree_usage(subject) if isinstance(subject, Tree) else ask(subject)

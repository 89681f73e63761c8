"""Big files below the log directories that no stanza claims."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Sequence

from twiceshy.kit import deadline
from twiceshy.log_rotation.logrotate.host import Host
from twiceshy.log_rotation.logrotate.names import NOT_LOGS
from twiceshy.log_rotation.records import Hidden, UnclaimedLog

DAY = 86400.0
MOST = 300_000
"""So many names are checked, and no more."""


def unclaimed_logs(
    folders: Sequence[str], big: float, claimed: Container[str], host: Host, epoch: float
) -> tuple[tuple[UnclaimedLog, ...], bool]:
    """Files of at least `big` bytes without a stanza, and whether all names were checked."""
    found: list[UnclaimedLog] = []
    queue = list(folders)
    count = 0
    visited: set[tuple[int, int]] = set()
    while queue:
        folder = queue.pop()
        with deadline.doing(f"looking for logs in {folder}"):
            try:
                about = os.stat(folder)
                if (about.st_dev, about.st_ino) in visited:
                    continue
                visited.add((about.st_dev, about.st_ino))
                entries = list(os.scandir(folder))
            except PermissionError:
                host.denied(folder, Hidden.LOGS)
                continue
            except OSError:
                continue
            for entry in entries:
                count += 1
                if count > MOST:
                    return tuple(found), False
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not (entry.name == "journal" and folder.endswith("/log")):
                        queue.append(entry.path)
                    continue
                if entry.path in claimed or NOT_LOGS.search(entry.path):
                    continue
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if seen.st_blocks * 512 >= big and stat.S_ISREG(seen.st_mode):
                    found.append(_unclaimed(entry.path, seen, epoch))
    return tuple(found), True


def _unclaimed(path: str, seen: os.stat_result, epoch: float) -> UnclaimedLog:
    """Whether it has rotated copies of its own is asked only if it was written to within a day."""
    itself = epoch - seen.st_mtime <= DAY and rotates_itself(path, epoch)
    return UnclaimedLog(path, seen.st_blocks * 512, seen.st_mtime, itself)


def rotates_itself(path: str, epoch: float) -> bool:
    """Whether the program keeps old copies itself, as log4j and logging.handlers do."""
    folder, name = os.path.split(path)
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if re.search(r"[-.]\d+$|\d{4}-?\d{2}-?\d{2}", name):
        return True
    try:
        others = os.listdir(folder)
    except OSError:
        return False
    for other in others:
        if other != name and other.startswith(stem) and re.search(r"\d", other[len(stem) :]):
            try:
                if epoch - os.lstat(f"{folder}/{other}").st_mtime < 40 * DAY:
                    return True
            except OSError:
                continue
    return False

"""The search for what grew: recently written files, who has them open, what is deleted but open.

/proc is read here rather than by psutil: its Process.open_files() leaves deleted files out, and its
import alone costs about as much as this whole pass (tests/benchmarks/open_files.py). Only a run
that alarms loads this module.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DELETED = " (deleted)"  # what d_path() in fs/d_path.c appends to the name of an unlinked file


@dataclass(frozen=True)
class Search:
    """A search for what grew on the filesystem of `point`: `since` is seconds of the epoch."""

    point: str
    since: float
    seconds: float

    def __str__(self) -> str:
        return f"what grows on {self.point}"


@dataclass(frozen=True)
class RecentWrites:
    """What was written recently: paths with bytes, who has them open, what is deleted and open.

    `by_directory`: bytes of the recently written files directly in it; `entries`: how many entries
    each directory has, the largest only; `complete`: whether the time sufficed for the whole tree;
    `unprivileged`: not root, so private directories and others' open files were not searched.
    """

    files: tuple[tuple[str, float], ...]
    by_directory: tuple[tuple[str, float], ...]
    entries: tuple[tuple[str, int], ...]
    writers: Mapping[str, str]
    deleted: tuple[tuple[str, float], ...]
    complete: bool
    unprivileged: bool = False


@dataclass
class _Directory:
    """What the search takes from one directory; `entries` is None if it could not be read whole."""

    files: list[tuple[float, str]] = field(default_factory=list)
    subdirectories: list[str] = field(default_factory=list)
    entries: int | None = None


def searched(search: Search) -> RecentWrites:
    """The recently written big files of a filesystem, within the time that there is."""
    ends = time.monotonic() + search.seconds
    device = os.stat(search.point).st_dev
    writers, deleted = open_files(device)
    files: list[tuple[float, str]] = []
    sizes: dict[str, float] = {}
    entries: dict[str, int] = {}
    # Breadth first: a partial answer then knows something of everywhere.
    waiting, complete = deque([search.point]), True
    while waiting and complete:
        if time.monotonic() > ends:
            complete = False
            break
        path = waiting.popleft()
        directory = _read(path, device, search.since)
        waiting.extend(directory.subdirectories)
        files += directory.files
        if directory.files:
            sizes[path] = sum(octets for octets, _ in directory.files)
        if directory.entries is not None:
            entries[path] = directory.entries
    largest = heapq.nlargest(8, files)
    return RecentWrites(
        tuple((path, octets) for octets, path in largest if octets),
        tuple(heapq.nlargest(5, sizes.items(), key=lambda item: item[1])),
        tuple(heapq.nlargest(3, entries.items(), key=lambda item: item[1])),
        {path: writers[path] for _, path in largest if path in writers},
        deleted,
        complete,
        unprivileged=os.geteuid() != 0,
    )


def _read(path: str, device: int, since: float) -> _Directory:
    """The files of a directory that were written after `since`, and its directories on `device`."""
    found, count = _Directory(), 0
    try:
        with os.scandir(path) as inside:
            for entry in inside:
                count += 1
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        found.subdirectories.append(entry.path)
                    elif status.st_mtime >= since:
                        found.files.append((status.st_blocks * 512, entry.path))
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return found
    found.entries = count
    return found


def open_files(device: int) -> tuple[dict[str, str], tuple[tuple[str, float], ...]]:
    """Who writes which file of a device, and the deleted but open ones there, with their bytes."""
    writers: dict[str, str] = {}
    deleted: dict[int, tuple[str, float]] = {}
    for process, link, path in _descriptors():
        try:
            status = os.stat(link)
            if status.st_dev != device:
                continue
            if status.st_nlink == 0 and path.endswith(DELETED):
                holder = f"{_program(process)}, {path[: -len(DELETED)]}"
                deleted[status.st_ino] = (holder, status.st_blocks * 512.0)
            elif os.lstat(link).st_mode & 0o200:  # opened for writing
                writers[path] = _program(process)
        except OSError:
            continue
    return writers, tuple(heapq.nlargest(3, deleted.values(), key=lambda item: item[1]))


def _descriptors() -> Iterator[tuple[str, str, str]]:
    """Pid, link and target of every descriptor of a file by name, as far as we may see them."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                link = f"/proc/{process}/fd/{descriptor}"
                with contextlib.suppress(OSError):
                    path = os.readlink(link)
                    if path.startswith("/") and not path.startswith(("/proc/", "/dev/", "/sys/")):
                        yield process, link, path


def _program(process: str) -> str:
    try:
        name = Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        name = "?"
    return f"{name} (pid {process})"

"""What is known of a filesystem or a tree, as values, and the format of mountinfo. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Union

from twiceshy.kit.verdict import safe


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5)); `kind` is the type of the filesystem."""

    device: str
    root: str
    point: str
    kind: str
    source: str
    writable: bool

    @property
    def path(self) -> str:
        return self.point

    def __str__(self) -> str:
        return f"the free space of {self.point}"


@dataclass(frozen=True)
class Tree:
    """A directory to be walked within `seconds`."""

    path: str
    seconds: float

    def __str__(self) -> str:
        return f"the size of {self.path}"


Subject = Union[Mount, Tree]


@dataclass(frozen=True)
class Usage:
    """What a filesystem or a tree holds at one instant.

    `room` is what users other than root can use altogether, `free` what they can still use, bytes;
    `inodes_room` is 0 where there is no limit. `key` survives a change of name or mount point.
    """

    key: str
    point: str
    kind: str
    used: float
    room: float
    free: float
    inodes: float
    inodes_room: float

    @property
    def name(self) -> str:
        """The mount point or path, as it may be printed."""
        return safe(self.point, 80)

    @property
    def is_directory(self) -> bool:
        return self.kind == "directory"


class Failure(Enum):
    """Why nothing is known of a subject."""

    NO_ANSWER = "no answer in time"
    MISSING = "it does not exist"
    REFUSED = "the system call failed"
    TOO_LARGE = "the tree cannot be walked in time"


@dataclass(frozen=True)
class Unobserved:
    """A subject of which nothing is known; `detail` is what the system said of it."""

    path: str
    failure: Failure
    detail: str = ""


@dataclass(frozen=True)
class Observation:
    """All that one run saw of its subjects, and which required mounts are not there."""

    usages: tuple[tuple[Subject, Usage], ...]
    unobserved: tuple[Unobserved, ...]
    unmounted: tuple[str, ...]


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Every mount of /proc/self/mountinfo that is not hidden by a later one on the same point."""
    by_point: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        point = _unescaped(fields[4])
        writable = "ro" not in fields[5].split(",") and "ro" not in rest[2].split(",")
        kind, source = rest[0], _unescaped(rest[1])
        by_point.pop(point, None)
        by_point[point] = Mount(fields[2], _unescaped(fields[3]), point, kind, source, writable)
    return list(by_point.values())


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def quoted(path: str) -> str:
    """A path as a word of a shell command."""
    import shlex  # most runs print no command

    return shlex.quote(path)

"""This host, as logrotate sees it: files, users, mounts, its program and its state file.

Everything is asked and nothing changed. What only missing permissions hide is noted in
`Host.hidden`, since logrotate runs as root.
"""

from __future__ import annotations

import bisect
import errno
import grp
import os
import pwd
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twiceshy.kit import subprocesses
from twiceshy.kit.accounts import group_name, user_name
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe
from twiceshy.log_rotation.logrotate import glob as shell
from twiceshy.log_rotation.logrotate import grammar, state
from twiceshy.log_rotation.logrotate.forecast import Log, Parent
from twiceshy.log_rotation.records import Hidden, StateFile


@dataclass(frozen=True)
class HostPaths:
    """Where this host keeps things; a test has a host of its own."""

    root: Path = Path("/")
    """Above etc, run, usr/lib and var/lib, for the schedule, the state file and journald."""
    proc: Path = Path("/proc")
    root_uid: int = 0
    """Who is root there."""

    def at(self, path: str) -> Path:
        """Where an absolute path of that host lies here."""
        return self.root / path.lstrip("/")


def text_of(path: Path, most: int = 1 << 20) -> str:
    """A regular file's text, empty if there is none or it may not be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


class Host:
    """This machine's files and users, asked and never changed: grammar.World in earnest."""

    def __init__(self, home: str = "/root", root_uid: int = 0) -> None:
        self.hidden: dict[str, Hidden] = {}
        """What this user may not see: path to what was wanted of it."""
        self._home = home
        self._listed: dict[str, list[tuple[str, bool]] | OSError] = {}
        self._absent = False
        self._root_uid = root_uid
        self._root = os.geteuid() == root_uid

    def home(self) -> str:
        """What ~ stands for in a configuration that root reads."""
        return self._home

    def denied(self, path: str, wanted: Hidden) -> bool:
        """Whether a refusal is ours alone, since logrotate runs as root; it is noted then."""
        if self._root:
            return False
        self.hidden[path] = wanted
        return True

    def source(self, path: str) -> grammar.Source:
        """A path that may hold configuration; one that only permissions hide is "other"."""
        try:
            seen = os.stat(path)
            mode = seen.st_mode
            if stat.S_ISDIR(mode):
                return grammar.Source("directory")
            # A pipe would block here for ever, as it blocks logrotate.
            if not stat.S_ISREG(mode):
                return grammar.Source("other")
            text = b""
            if seen.st_size <= 0xFFFFFF:
                with open(path, "rb") as file:
                    text = file.read(0xFFFFFF + 1)
            owner = 0 if seen.st_uid == self._root_uid else seen.st_uid
            return grammar.Source("file", "", stat.S_IMODE(mode), owner, seen.st_size, text)
        except PermissionError as error:
            if self.denied(path, Hidden.CONFIGURATION):
                return grammar.Source("other")
            return grammar.Source("", os.strerror(error.errno or 0))
        except OSError as error:
            return grammar.Source("", os.strerror(error.errno or 0))

    def names(self, path: str) -> Sequence[str] | str:
        """The names in a directory, or why they cannot be listed."""
        try:
            return os.listdir(path)
        except PermissionError as error:
            return () if self.denied(path, Hidden.CONFIGURATION) else str(error.strerror)
        except OSError as error:
            return str(error.strerror)

    def listed(self, path: str) -> list[tuple[str, bool]] | OSError:
        """Names in a directory, sorted, each with whether it is a directory itself."""
        known = self._listed.get(path)
        if known is None:
            try:
                with os.scandir(path or "/") as entries:
                    known = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in entries)
            except OSError as error:
                known = error
            except ValueError as error:
                known = OSError(errno.ENOENT, str(error))
            self._listed[path] = known
        return known

    def matches(self, pattern: str) -> grammar.Matches:
        """What glob(3) yields, less the directories."""
        given = pattern
        if pattern.startswith("~"):
            head, slash, tail = pattern.partition("/")
            pattern = (self._home if head == "~" else os.path.expanduser(head)) + slash + tail
        if not shell.has_magic(pattern):
            there = pattern if os.path.lexists(pattern) else given
            return grammar.Matches(() if self.is_directory(pattern) else (there,))
        found: list[tuple[str, bool]] = []
        self._absent = False
        error = self._walk("", pattern.split("/"), 0, found)
        if error:
            return grammar.Matches((), error)
        if not found:
            return grammar.Matches(
                () if self.is_directory(given) else (given,), absent=self._absent
            )
        return grammar.Matches(
            sorted((path for path, directory in found if not directory), key=os.fsencode),
            absent=self._absent,
        )

    def is_directory(self, path: str) -> bool:
        """By lstat: a link to a directory is none."""
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except (OSError, ValueError):
            return False

    def _walk(
        self, prefix: str, parts: Sequence[str], at: int, found: list[tuple[str, bool]]
    ) -> str:
        start = at
        while at < len(parts) and not shell.has_magic(parts[at]):
            at += 1
        literal = "/".join(parts[start:at])
        if start > 0:
            literal = prefix + ("/" + literal if at > start else "")
        if at == len(parts):
            try:
                seen = os.lstat(literal)
                found.append((literal, stat.S_ISDIR(seen.st_mode)))
            except (OSError, ValueError):
                pass
            return ""
        names = self.listed(literal)
        if isinstance(names, OSError):
            if names.errno in (errno.ENOENT, errno.ENOTDIR):
                self._absent |= names.errno == errno.ENOENT
                return ""
            if names.errno == errno.EACCES and self.denied(literal, Hidden.LOGS):
                return ""
            return os.strerror(names.errno or 0)
        fits = shell.compiled(parts[at]).fullmatch
        last = at == len(parts) - 1
        # A hundred stanzas in one directory would each go through all of its names.
        head = shell.literal_head(parts[at])
        begin = bisect.bisect_left(names, (head,))
        end = bisect.bisect_left(names, (head + chr(sys.maxunicode),))
        for name, directory in names[begin:end]:
            if fits(name):
                if last:
                    found.append((f"{literal}/{name}", directory))
                else:
                    error = self._walk(f"{literal}/{name}", parts, at + 1, found)
                    if error:
                        return error
        return ""

    def directory(self, path: str) -> grammar.Directory:
        """The directory that a log or an olddir lies in."""
        try:
            return grammar.Directory(os.stat(path).st_dev)
        except PermissionError as error:
            if self.denied(path, Hidden.LOGS):
                return grammar.Directory(0)
            return grammar.Directory(0, str(error.strerror))
        except (OSError, ValueError) as error:
            return grammar.Directory(
                0,
                getattr(error, "strerror", "") or str(error),
                isinstance(error, FileNotFoundError),
            )

    def uid(self, name: str) -> int | None:
        """The uid of a user, or of "#NUMBER" if a user has that; None if there is none."""
        try:
            if name.startswith("#"):
                return pwd.getpwuid(int(name[1:])).pw_uid
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError, OverflowError):
            return None

    def gid(self, name: str) -> int | None:
        """The gid of a group, or of "#NUMBER" if a group has that; None if there is none."""
        try:
            if name.startswith("#"):
                return grp.getgrgid(int(name[1:])).gr_gid
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError, OverflowError):
            return None

    def log(self, path: str) -> Log | None:
        """A log by lstat; None if only missing permissions hide it."""
        try:
            seen = os.lstat(path)
        except PermissionError as error:
            if self.denied(path, Hidden.LOGS):
                return None
            return Log(error=str(error.strerror))
        except (OSError, ValueError) as error:
            gone = isinstance(error, (FileNotFoundError, ValueError))
            return Log(error=os.strerror(getattr(error, "errno", 0) or errno.ENOENT), absent=gone)
        return Log(
            _KINDS.get(stat.S_IFMT(seen.st_mode), "other"),
            seen.st_size,
            seen.st_nlink,
            seen.st_mtime,
            seen.st_ctime,
            (seen.st_dev, seen.st_ino),
            seen.st_blocks * 512,
        )

    def parent(self, path: str) -> Parent | None:
        """The directory of a log; None if only missing permissions hide it."""
        try:
            seen = os.stat(path)
        except PermissionError as error:
            if self.denied(path, Hidden.LOGS):
                return None
            return Parent(error=str(error.strerror))
        except (OSError, ValueError) as error:
            gone = isinstance(error, (FileNotFoundError, ValueError))
            return Parent(error=getattr(error, "strerror", "") or str(error), absent=gone)
        return Parent(
            stat.S_IMODE(seen.st_mode),
            seen.st_uid,
            seen.st_gid,
            user=user_name(seen.st_uid),
            group=group_name(seen.st_gid),
        )

    def attribute(self, path: str, name: str) -> bytes:
        """An extended attribute, empty if there is none."""
        try:
            return os.getxattr(path, name)
        except OSError:
            return b""

    def sorted_names(self, path: str) -> list[str]:
        """The names in a directory of rotated logs; empty if it cannot be listed."""
        names = self.listed(path)
        if isinstance(names, OSError):
            if names.errno == errno.EACCES:
                self.denied(path, Hidden.LOGS)
            return []
        return [name for name, directory in names if not directory]


SYSTEM_PATH = ":/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin"
_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}


def state_file(candidates: Sequence[str], proc: Path, host: Host, epoch: float) -> StateFile:
    """The first state file that exists, or else the first place where one would be."""
    for path in candidates:
        try:
            seen = os.stat(path)
        except PermissionError:
            host.denied(path, Hidden.STATE_FILE)
            return StateFile(path, readable=False)
        except OSError:
            continue
        if stat.S_ISDIR(seen.st_mode):
            return StateFile(path, obstacle="it is a directory")
        if not stat.S_ISREG(seen.st_mode):
            return StateFile(path, obstacle="" if path == "/dev/null" else "not a regular file")
        content, readable = state.StateContent(), True
        try:
            with open(path, "rb") as file:
                content = state.parse(file.read(64 << 20))
        except PermissionError:
            readable = False
            host.denied(path, Hidden.STATE_FILE)
        except OSError as error:
            return StateFile(path, obstacle=str(error.strerror), written=seen.st_mtime)
        holder = _locked_by(proc, seen)
        held = process_age(proc, holder, epoch) if holder > 0 else 0.0
        return StateFile(path, content, seen.st_mtime, readable, "", holder, held)
    path = candidates[0]
    folder = os.path.dirname(path)
    missing = "" if os.path.isdir(folder) else f"its directory {folder} does not exist"
    return StateFile(path, obstacle=missing)


def process_age(proc: Path, pid: int, epoch: float) -> float:
    """Seconds since a process began; 0 if it is gone.

    The times of /proc/PID itself are those of the first access to it.
    """
    from twiceshy.kit import processes  # only a state file that is locked asks for it

    booted = re.search(r"^btime (\d+)", text_of(proc / "stat"), re.MULTILINE)
    process = processes.read(pid, proc)
    if not booted or process is None:
        return 0.0
    return max(0.0, epoch - int(booted[1]) - process.ticks / processes.TICKS_PER_SECOND)


def _locked_by(proc: Path, seen: os.stat_result) -> int:
    """The process that holds a lock on the state file, from /proc/locks."""
    device = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    for line in text_of(proc / "locks").splitlines():
        fields = line.split()
        if "->" not in fields and len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
            return int(fields[4]) if fields[4].isdigit() else -1
    return 0


def read_only_mounts(proc: Path) -> tuple[str, ...]:
    """Mount points that are read-only now, and their writable descendants do not count."""
    closed = []
    for line in text_of(proc / "self" / "mountinfo", 1 << 22).splitlines():
        fields = line.split()
        if len(fields) > 6:
            options = fields[5].split(",")
            closed.append(
                (
                    fields[4].replace("\\040", " "),
                    "ro" in options or " ro," in line.partition(" - ")[2],
                )
            )
    return tuple(point + ("" if ro else "\0") for point, ro in closed)


def on_read_only(path: str, mounts: Sequence[str]) -> bool:
    """Whether the longest mount point above `path` is read-only."""
    best, closed = "", False
    for one in mounts:
        writable = one.endswith("\0")
        point = one.rstrip("\0")
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, closed = point, not writable
    return closed


def missing_programs(names: Iterable[str]) -> frozenset[str]:
    """Those that logrotate would not find either; it looks for a bare name along $PATH."""
    path = os.environ.get("PATH", "") + SYSTEM_PATH
    return frozenset(name for name in names if not shutil.which(name, path=path))


def installed() -> tuple[grammar.Version, str]:
    """The version of the installed logrotate, and the state file it was built with."""
    path = os.environ.get("PATH", "") + SYSTEM_PATH
    try:
        ran = subprocesses.run(["logrotate", "--version"], timeout=5, env={"PATH": path})
    except (FileNotFoundError, PermissionError) as error:
        raise CheckError(
            "logrotate is not installed; "
            "to judge its configuration nevertheless, give --logrotate-version"
        ) from error
    except subprocesses.NoAnswer as error:
        raise CheckError(str(error)) from error
    output = ran.stdout + ran.stderr
    try:
        found = re.search(r"Default state file path:\s*(\S+)", output)
        return grammar.version(output), found[1] if found else ""
    except ValueError as error:
        raise CheckError(f"`logrotate --version` prints no version: {safe(output)}") from error

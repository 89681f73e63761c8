#!/usr/bin/env python3
"""Will these logs be rotated as intended, and were they last night?

Reads logrotate's configuration exactly as the installed logrotate reads it, finds which log belongs
to which stanza, what will be lost, refused or passed over in silence and why, whether the last
night's run is proven by a rotated file, whether there will be a next run, who still writes to a
rotated or deleted file, and which logs belong to nobody. It starts no rotation and runs no script.

Learned from: "Production Outages - Part 1" (2014): a library flooded the log of thousands of media
  players while log rotation was misconfigured; the disks filled, and technicians were sent out with
  USB sticks.
Reads: /etc/logrotate.conf and what it includes, logrotate's state file, the log directories, the
  schedule (systemd timer, cron, anacron, periodic), /proc, journald.conf, and the Docker engine's
  API if it may. Root sees all; for others it says what it could not see (`unseen`).
Remembers: sizes of the logs in trouble and when each log's turn came, for rates and for proof.
Says:
  OK        every log that grows has a rule, the rule works, and the schedule is alive
  WARNING   something will surprise: a directive without effect, a leak into other files, a failing
            run, a growing log without any rule, an orphan; no run for longer than -w
  CRITICAL  a log that exists and grows is not or will not be rotated, a process keeps filling a
            deleted or rotated file, the schedule is dead, or no run for longer than -c
  UNKNOWN   nothing to read, or parts that our rights hide (silence with --ignore unseen)
Measures:
  covered        -  logs with a stanza
  uncovered      -  big growing logs without one
  overdue        -  logs whose turn was missed
  lost           -  globs of stanzas that logrotate drops
  deleted_held   B  bytes in deleted logs that a process keeps open
  run_age        s  since the last completed run
  unbounded      B  bytes in logs of Docker containers without a limit
Examples:
  check_log_rotation
  check_log_rotation --explain /var/log/nginx/access.log
  check_log_rotation --ignore directive-unknown --ignore 'uncovered:/var/log/app/*'
"""

from __future__ import annotations

import argparse
import difflib
import errno
import fnmatch
import gc
import grp
import os
import pwd
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twiceshy import aside, deadline, history, limits, units, verdict
from twiceshy import options as opt
from twiceshy.history import History, Stamp
from twiceshy.logrotate import glob as shell
from twiceshy.logrotate import grammar, state
from twiceshy.logrotate import plan as turn
from twiceshy.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.verdict import Finding, Measure, Report, safe

# What is seen


class Host:
    """This machine's files and users, asked and never changed: grammar.World in earnest."""

    def __init__(self, home: str = "/root", root_uid: int = 0) -> None:
        self.unseen: dict[str, str] = {}
        """What our rights did not let us see: path to what was wanted of it."""
        self._home = home
        self._listed: dict[str, list[tuple[str, bool]] | OSError] = {}
        self._absent = False
        self._root_uid = root_uid
        self._root = os.geteuid() == root_uid

    def home(self) -> str:
        return self._home

    def denied(self, path: str, wanted: str) -> bool:
        """Whether a refusal is ours alone, since logrotate runs as root; it is noted then."""
        if self._root:
            return False
        self.unseen[path] = wanted
        return True

    def source(self, path: str) -> grammar.Source:
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
            if self.denied(path, "configuration"):
                return grammar.Source("other")
            return grammar.Source("", os.strerror(error.errno or 0))
        except OSError as error:
            return grammar.Source("", os.strerror(error.errno or 0))

    def names(self, path: str) -> Sequence[str] | str:
        try:
            return os.listdir(path)
        except PermissionError as error:
            return () if self.denied(path, "configuration") else str(error.strerror)
        except OSError as error:
            return str(error.strerror)

    def listed(self, path: str) -> list[tuple[str, bool]] | OSError:
        """Names in a directory, each with whether it is a directory itself."""
        known = self._listed.get(path)
        if known is None:
            try:
                with os.scandir(path or "/") as entries:
                    known = [(one.name, one.is_dir(follow_symlinks=False)) for one in entries]
            except OSError as error:
                known = error
            except ValueError as error:
                known = OSError(errno.ENOENT, str(error))
            self._listed[path] = known
        return known

    def matches(self, pattern: str) -> grammar.Matches:
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
            if names.errno == errno.EACCES and self.denied(literal, "logs"):
                return ""
            return os.strerror(names.errno or 0)
        fits = shell.compiled(parts[at]).fullmatch
        last = at == len(parts) - 1
        for name, directory in names:
            if fits(name):
                if last:
                    found.append((f"{literal}/{name}", directory))
                else:
                    error = self._walk(f"{literal}/{name}", parts, at + 1, found)
                    if error:
                        return error
        return ""

    def directory(self, path: str) -> grammar.Directory:
        try:
            return grammar.Directory(os.stat(path).st_dev)
        except PermissionError as error:
            if self.denied(path, "logs"):
                return grammar.Directory(0)
            return grammar.Directory(0, str(error.strerror))
        except (OSError, ValueError) as error:
            return grammar.Directory(
                0,
                getattr(error, "strerror", "") or str(error),
                isinstance(error, FileNotFoundError),
            )

    def uid(self, name: str) -> int | None:
        try:
            if name.startswith("#"):
                return pwd.getpwuid(int(name[1:])).pw_uid
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError, OverflowError):
            return None

    def gid(self, name: str) -> int | None:
        try:
            if name.startswith("#"):
                return grp.getgrgid(int(name[1:])).gr_gid
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError, OverflowError):
            return None

    def log(self, path: str) -> turn.Log | None:
        """A log by lstat; None if only our rights hide it."""
        try:
            seen = os.lstat(path)
        except PermissionError as error:
            if self.denied(path, "logs"):
                return None
            return turn.Log(error=str(error.strerror))
        except (OSError, ValueError) as error:
            gone = isinstance(error, (FileNotFoundError, ValueError))
            return turn.Log(
                error=os.strerror(getattr(error, "errno", 0) or errno.ENOENT), absent=gone
            )
        return turn.Log(
            _KINDS.get(stat.S_IFMT(seen.st_mode), "other"),
            seen.st_size,
            seen.st_nlink,
            seen.st_mtime,
            seen.st_ctime,
            (seen.st_dev, seen.st_ino),
            seen.st_blocks * 512,
        )

    def parent(self, path: str) -> turn.Parent | None:
        """The directory of a log; None if only our rights hide it."""
        try:
            seen = os.stat(path)
        except PermissionError as error:
            if self.denied(path, "logs"):
                return None
            return turn.Parent(error=str(error.strerror))
        except (OSError, ValueError) as error:
            gone = isinstance(error, (FileNotFoundError, ValueError))
            return turn.Parent(error=getattr(error, "strerror", "") or str(error), absent=gone)
        return turn.Parent(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid)

    def sorted_names(self, path: str) -> list[str]:
        """The names in a directory of rotated logs; empty if it cannot be listed."""
        names = self.listed(path)
        if isinstance(names, OSError):
            if names.errno == errno.EACCES:
                self.denied(path, "logs")
            return []
        return sorted(name for name, directory in names if not directory)


_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}


@dataclass(frozen=True)
class Places:
    """Where this host keeps things; a test has a host of its own."""

    root: Path = Path("/")
    """Above etc, run, usr/lib and var/lib, for the schedule, the state file and journald."""
    proc: Path = Path("/proc")
    root_uid: int = 0
    """Who is root there."""

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@dataclass(frozen=True)
class Schedule:
    """What starts logrotate."""

    name: str = ""
    """The timer, the cron script or the crontab; empty if nothing was found."""
    interval: float = 86400.0
    dead: str = ""
    """Why it will not start it again."""
    failed: str = ""
    """How the last run ended, if badly."""
    last_status: int = 0
    state_files: tuple[str, ...] = ()
    """Named on logrotate's command line there."""
    read_only: tuple[str, ...] = ()
    """Directories that the unit's hardening makes read-only or hides."""
    writable: tuple[str, ...] = ()
    note: str = ""


def _unit_lines(places: Places, unit: str) -> tuple[str, list[str]]:
    """Where a unit's file lies, and its lines with those of its drop-ins, in systemd's order."""
    where = ""
    lines: list[str] = []
    folders = (
        "etc/systemd/system",
        "run/systemd/system",
        "usr/lib/systemd/system",
        "lib/systemd/system",
    )
    for folder in folders:
        path = places.root / folder / unit
        if os.path.lexists(path):
            where = str(path)
            if os.path.islink(path) and os.readlink(path) == "/dev/null":
                return where, ["masked"]
            lines = _text(path).splitlines()
            break
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in sorted((places.root / folder / f"{unit}.d").glob("*.conf")):
            drop_ins[path.name] = path
    for name in sorted(drop_ins):
        lines += _text(drop_ins[name]).splitlines()
    return where, lines


def _text(path: Path, most: int = 1 << 20) -> str:
    """A regular file's text, empty if there is none or it may not be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def _set(lines: Iterable[str], key: str) -> list[str]:
    """The values of a unit's list setting; an empty one resets it."""
    values: list[str] = []
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and name.strip() == key:
            values = [*values, value.strip()] if value.strip() else []
    return values


_CALENDAR = {
    "minutely": 60.0,
    "hourly": 3600.0,
    "daily": 86400.0,
    "weekly": 604800.0,
    "monthly": 2592000.0,
}


def _calendar(values: Sequence[str]) -> float:
    """The interval of OnCalendar= lines, roughly: between runs of a list of times, the mean."""
    seconds = [_CALENDAR[one] for one in values if one in _CALENDAR]
    for one in values:
        if one in _CALENDAR:
            continue
        time = one.split()[-1]
        if re.match(r"^\*:\*", time):
            seconds.append(60.0)
        elif step := re.match(r"^\*:\d+/(\d+)", time):
            seconds.append(60.0 * int(step[1]))
        elif time.startswith("*:"):
            seconds.append(3600.0)
        elif step := re.match(r"^\d+/(\d+):", time):
            seconds.append(3600.0 * int(step[1]))
        elif "," in time.partition(":")[0]:
            seconds.append(86400.0 / len(time.partition(":")[0].split(",")))
        else:
            seconds.append(
                604800.0 if re.match(r"(?i)^(mon|tue|wed|thu|fri|sat|sun)\b", one) else 86400.0
            )
    return min(seconds, default=86400.0) / max(1, len([s for s in seconds if s >= 86400.0]))


def _hardening(lines: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a service may not write, and the exceptions."""
    closed: list[str] = []
    protect = (_set(lines, "ProtectSystem") or [""])[-1]
    if protect in ("yes", "true", "1", "on", "full", "strict"):
        closed += ["/usr", "/boot", "/efi"]
    if protect in ("full", "strict"):
        closed += ["/etc"]
    if protect == "strict":
        closed += ["/"]
    if (_set(lines, "ProtectHome") or [""])[-1] in ("yes", "true", "1", "on", "read-only", "tmpfs"):
        closed += ["/home", "/root", "/run/user"]
    if (_set(lines, "PrivateTmp") or [""])[-1] in ("yes", "true", "1", "on"):
        closed += ["/tmp", "/var/tmp"]
    for key in ("ReadOnlyPaths", "InaccessiblePaths", "ReadOnlyDirectories"):
        closed += [word.lstrip("-+") for value in _set(lines, key) for word in value.split()]
    opened = [
        word.lstrip("-+")
        for key in ("ReadWritePaths", "ReadWriteDirectories", "LogsDirectory", "StateDirectory")
        for value in _set(lines, key)
        for word in value.split()
    ]
    return tuple(closed), tuple(one if one.startswith("/") else f"/var/log/{one}" for one in opened)


def _state_option(text: str) -> tuple[str, ...]:
    """State files named by -s or --state on a command line."""
    return tuple(
        found[1]
        for found in re.finditer(r"logrotate\b[^\n;|&]*?\s(?:-s|--state)[ =]?([^\s\"']+)", text)
    )


def schedule(places: Places, commands: frozenset[str]) -> Schedule:
    """What will start logrotate next; `commands` are the names of the running programs."""
    systemd = places.at("run/systemd/system").is_dir()
    cron = bool(commands & {"cron", "crond", "cronie", "fcron", "bcron", "dcron", "systemd-cron"})
    if systemd:
        timer, lines = _unit_lines(places, "logrotate.timer")
        if timer:
            return _timer(places, timer, lines)
    found: list[Schedule] = []
    for folder, interval in (
        ("etc/periodic/15min", 900.0),
        ("etc/cron.hourly", 3600.0),
        ("etc/periodic/hourly", 3600.0),
        ("etc/cron.daily", 86400.0),
        ("etc/periodic/daily", 86400.0),
        ("etc/cron.weekly", 604800.0),
    ):
        for script in sorted(places.at(folder).glob("*logrotate*")):
            found.append(_script(places, script, interval, systemd, cron, commands))
    for table in _crontabs(places):
        text = "\n".join(
            line for line in _text(table).splitlines() if not line.lstrip().startswith("#")
        )
        for line in text.splitlines():
            if re.search(r"(^|[\s/])logrotate\b", line) and "=" not in line.split()[0]:
                dead = "" if cron else "no cron daemon is running"
                found.append(
                    Schedule(
                        str(table), _cron_interval(line), dead, state_files=_state_option(line)
                    )
                )
    alive = [one for one in found if not one.dead]
    if alive:
        return min(alive, key=lambda one: one.interval)
    if found:
        return found[0]
    return Schedule(dead="neither a timer nor a cron job starts logrotate")


def _timer(places: Places, timer: str, lines: list[str]) -> Schedule:
    dead = ""
    wants = places.at("etc/systemd/system/timers.target.wants/logrotate.timer")
    if lines == ["masked"]:
        dead = f"logrotate.timer is masked ({timer} -> /dev/null)"
    elif not os.path.lexists(wants):
        others = places.at("etc/systemd/system").glob("*.wants/logrotate.timer")
        if not any(others):
            dead = "logrotate.timer is not enabled"
    _, service = _unit_lines(places, "logrotate.service")
    if service == ["masked"]:
        dead = "logrotate.service is masked"
    if dead and places.at("etc/cron.daily/logrotate").exists():
        dead += ", and /etc/cron.daily/logrotate does nothing under systemd"
    failed, status = "", 0
    if places.root == Path("/"):
        dead, failed, status = _asked(dead)
    closed, opened = _hardening(service)
    return Schedule(
        "logrotate.timer",
        _calendar(_set(lines, "OnCalendar")),
        dead,
        failed,
        status,
        _state_option("\n".join(_set(service, "ExecStart"))),
        closed,
        opened,
        "ConditionACPower=true: not on battery" if "ConditionACPower=true" in service else "",
    )


def _asked(dead: str) -> tuple[str, str, int]:
    """What systemd itself says of timer and service, if it answers."""
    try:
        ran = aside.run(
            [
                "systemctl",
                "show",
                "logrotate.timer",
                "logrotate.service",
                "-p",
                "Id,ActiveState,Result,ExecMainStatus,UnitFileState",
            ],
            timeout=3,
        )
    except (OSError, aside.NoAnswer):
        return dead, "", 0
    units_: dict[str, dict[str, str]] = {}
    for block in ran.stdout.split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        units_[pairs.get("Id", "")] = pairs
    timer, service = units_.get("logrotate.timer", {}), units_.get("logrotate.service", {})
    if timer and timer.get("ActiveState") not in ("active", None) and not dead:
        dead = f"logrotate.timer is {timer['ActiveState']}"
    if timer.get("ActiveState") == "active" and dead.startswith("logrotate.timer is not enabled"):
        dead = "logrotate.timer is not enabled: it will not start after the next boot"
    status = int(service.get("ExecMainStatus") or 0)
    if service.get("Result") not in ("success", None, ""):
        return dead, f"{service['Result']}, exit status {status}", status
    return dead, "", 0


def _script(
    places: Places,
    script: Path,
    interval: float,
    systemd: bool,
    cron: bool,
    commands: frozenset[str],
) -> Schedule:
    text = _text(script)
    dead = ""
    if not os.access(script, os.X_OK):
        dead = f"{script} is not executable"
    elif not re.fullmatch(r"[A-Za-z0-9_-]+", script.name):
        dead = f"run-parts passes over {script}: a dot in its name"
    elif systemd and "/run/systemd/system" in text:
        dead = f"{script} does nothing under systemd, and there is no logrotate.timer"
    elif not cron and not commands & {"anacron"} and not _anacron(places, commands):
        dead = "no cron daemon is running"
    return Schedule(str(script), interval, dead, state_files=_state_option(text))


def _anacron(places: Places, commands: frozenset[str]) -> bool:
    """Whether a timer of systemd starts anacron."""
    return places.at("etc/anacrontab").exists() and (
        places.at("run/systemd/system").is_dir()
        and os.path.lexists(places.at("etc/systemd/system/timers.target.wants/anacron.timer"))
    )


def _crontabs(places: Places) -> list[Path]:
    tables = [places.at("etc/crontab"), places.at("etc/anacrontab")]
    tables += sorted(places.at("etc/cron.d").glob("*"))
    tables += [places.at(one) for one in ("var/spool/cron/crontabs/root", "var/spool/cron/root")]
    try:
        return [one for one in tables if one.is_file()]
    except OSError:
        return []


def _cron_interval(line: str) -> float:
    fields = line.split()
    if fields[0].startswith("@"):
        return {"@hourly": 3600.0, "@weekly": 604800.0, "@monthly": 2592000.0}.get(
            fields[0], 86400.0
        )
    if len(fields) < 5:
        return 86400.0
    minute, hour = fields[0], fields[1]
    if hour == "*":
        step = re.fullmatch(r"\*/(\d+)", minute)
        return 60.0 * int(step[1]) if step else 60.0 if minute == "*" else 3600.0
    step = re.fullmatch(r"\*/(\d+)", hour)
    if step:
        return 3600.0 * int(step[1])
    if "," in hour:
        return 86400.0 / len(hour.split(","))
    return 86400.0 if fields[4] == "*" and fields[2] == "*" else 604800.0


@dataclass(frozen=True)
class StateFile:
    """logrotate's memory, as found."""

    path: str = ""
    known: state.State = field(default_factory=state.State)
    written: float | None = None
    """mtime: the end of the last run that came to its end."""
    readable: bool = True
    trouble: str = ""
    """Why logrotate cannot use it: exit status 3, nothing is rotated."""
    locked_by: int = 0
    inode: int = 0


def state_file(candidates: Sequence[str], proc: Path, host: Host) -> StateFile:
    """The first state file that exists, or else the first place where one would be."""
    for path in candidates:
        try:
            seen = os.stat(path)
        except PermissionError:
            host.denied(path, "state file")
            return StateFile(path, readable=False)
        except OSError:
            continue
        if stat.S_ISDIR(seen.st_mode):
            return StateFile(path, trouble="it is a directory")
        if not stat.S_ISREG(seen.st_mode):
            return StateFile(
                path, written=None, trouble="" if path == "/dev/null" else "not a regular file"
            )
        known, readable = state.State(), True
        try:
            with open(path, "rb") as file:
                known = state.parse(file.read(64 << 20))
        except PermissionError:
            readable = False
            host.denied(path, "state file")
        except OSError as error:
            return StateFile(path, trouble=str(error.strerror), written=seen.st_mtime)
        return StateFile(
            path, known, seen.st_mtime, readable, "", _locked_by(proc, seen), seen.st_ino
        )
    path = candidates[0]
    folder = os.path.dirname(path)
    trouble = ""
    if not os.path.isdir(folder):
        trouble = f"its directory {folder} does not exist"
    return StateFile(path, trouble=trouble)


def _locked_by(proc: Path, seen: os.stat_result) -> int:
    """The process that holds a lock on the state file, from /proc/locks."""
    device = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    for line in _text(proc / "locks").splitlines():
        fields = line.split()
        if "->" not in fields and len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
            return int(fields[4]) if fields[4].isdigit() else -1
    return 0


@dataclass(frozen=True)
class Open:
    """A log that a process holds open for writing."""

    pid: int
    command: str
    path: str
    inode: tuple[int, int]
    octets: int
    """Allocated, not apparent: a truncated log may be sparse."""
    size: int
    mtime: float
    append: bool
    deleted: bool


@dataclass(frozen=True)
class Writers:
    """One pass over /proc."""

    opened: tuple[Open, ...] = ()
    seen: int = 0
    total: int = 0
    commands: frozenset[str] = frozenset()


def writers(proc: Path, wanted: frozenset[str], folders: Sequence[str]) -> Writers:
    """Who writes to one of the `wanted` paths, or to a deleted file below `folders`.

    psutil cannot tell: it drops deleted files. Four microseconds a descriptor; stat only hits.
    """
    prefixes = tuple(folder.rstrip("/") + "/" for folder in folders)
    opened: list[Open] = []
    seen = total = 0
    commands = set()
    readlink = os.readlink
    with deadline.doing(f"reading the open files in {proc}"):
        try:
            pids = [name for name in os.listdir(proc) if name.isdigit()]
        except OSError as error:
            raise CheckError(f"{proc} cannot be read: {error.strerror}") from error
        for pid in pids:
            command = _text(proc / pid / "comm", 64).strip()
            commands.add(command)
            try:
                handle = os.open(f"{proc}/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY)
            except PermissionError:
                if _text(proc / pid / "cmdline", 64):
                    total += 1
                continue
            except OSError:
                continue
            total += 1
            try:
                names = os.listdir(handle)
            except PermissionError:
                os.close(handle)
                continue
            except OSError:
                names = []
            seen += 1
            for name in names:
                try:
                    link = readlink(name, dir_fd=handle)
                except OSError:
                    continue
                if link in wanted:
                    deleted = False
                elif link.endswith(" (deleted)") and link.startswith(prefixes):
                    deleted, link = True, link[:-10]
                else:
                    continue
                hit = _opened(proc, pid, name, command, link, deleted)
                if hit is not None:
                    opened.append(hit)
            os.close(handle)
    unique = {(one.pid, one.inode): one for one in opened}
    return Writers(tuple(unique.values()), seen, total, frozenset(commands))


def _opened(proc: Path, pid: str, name: str, command: str, path: str, deleted: bool) -> Open | None:
    try:
        seen = os.stat(f"{proc}/{pid}/fd/{name}")
        flags_line = re.search(r"flags:\s*([0-7]+)", _text(proc / pid / "fdinfo" / name))
    except OSError:
        return None
    if flags_line is None:
        return None
    flags = int(flags_line[1], 8)
    if not stat.S_ISREG(seen.st_mode) or flags & os.O_ACCMODE == os.O_RDONLY:
        return None
    if deleted and seen.st_nlink:
        return None
    if not deleted:
        # Within a container the same path is another file.
        try:
            here = os.stat(path)
        except OSError:
            return None
        if (here.st_dev, here.st_ino) != (seen.st_dev, seen.st_ino):
            return None
    return Open(
        int(pid),
        command,
        path,
        (seen.st_dev, seen.st_ino),
        seen.st_blocks * 512,
        seen.st_size,
        seen.st_mtime,
        bool(flags & os.O_APPEND),
        deleted,
    )


@dataclass(frozen=True)
class Stray:
    """A big file below a log directory that no stanza claims."""

    path: str
    octets: int
    mtime: float


_NOT_LOGS = re.compile(
    r"(\.(gz|bz2|xz|zst|lz4|Z|zip|tgz|journal|journal~|db|sqlite|pid|lock|rrd|wsp)$)"
    r"|(^|/)(lastlog|faillog|tallylog|sa\d\d?(\d{6})?|sar\d\d)$"
)


def strays(
    folders: Sequence[str],
    big: float,
    claimed: frozenset[str] | set[str],
    host: Host,
    most: int = 300_000,
) -> tuple[list[Stray], bool]:
    """Big files without a stanza, and whether everything was walked."""
    found: list[Stray] = []
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
                host.denied(folder, "logs")
                continue
            except OSError:
                continue
            for entry in entries:
                count += 1
                if count > most:
                    return found, False
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not (entry.name == "journal" and folder.endswith("/log")):
                        queue.append(entry.path)
                    continue
                if entry.path in claimed or _NOT_LOGS.search(entry.path):
                    continue
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if seen.st_blocks * 512 >= big and stat.S_ISREG(seen.st_mode):
                    found.append(Stray(entry.path, seen.st_blocks * 512, seen.st_mtime))
    return found, True


@dataclass(frozen=True)
class Container:
    """A container's log, as the engine keeps it."""

    name: str
    driver: str
    limited: bool
    octets: int | None
    path: str = ""


@dataclass(frozen=True)
class Engine:
    """What the Docker engine says about logs; `error` if it may not be asked."""

    containers: tuple[Container, ...] = ()
    limited_by_default: bool = False
    error: str = ""


def docker_logs(places: Places, wanted: bool | None, host: Host) -> Engine | None:
    """Containers and their log options; None where there is no engine."""
    address = os.environ.get("DOCKER_HOST", "")
    socket = "/var/run/docker.sock"
    if wanted is False or (wanted is None and not address and not os.path.exists(socket)):
        return None
    if wanted is None and not address and not os.access(socket, os.R_OK | os.W_OK):
        host.denied(socket, "logs of Docker containers")
        return None
    from twiceshy.plugin import require

    if wanted is None:
        try:
            docker = require("docker", "docker")
        except CheckError:
            host.unseen[socket] = "logs of Docker containers (python3-docker is missing)"
            return None
    else:
        docker = require("docker", "docker")
    from requests.exceptions import RequestException

    found = []
    with deadline.doing("asking the Docker engine about logs"):
        try:
            client = docker.from_env(timeout=max(1.0, min(5.0, deadline.remaining() - 1)))
            for one in client.api.containers(all=True):
                try:
                    about = client.api.inspect_container(one["Id"])
                except docker.errors.NotFound:
                    continue
                found.append(_container(about))
        except (docker.errors.DockerException, RequestException, OSError) as error:
            if wanted:
                raise CheckError(
                    f"the Docker engine does not answer: {safe(str(error))}"
                ) from error
            return Engine(error=safe(str(error)))
    default = "max-size" in _text(places.at("etc/docker/daemon.json"))
    return Engine(tuple(found), default)


def _container(about: Mapping[str, Any]) -> Container:
    config = (about.get("HostConfig") or {}).get("LogConfig") or {}
    driver = config.get("Type") or ""
    path = about.get("LogPath") or ""
    octets = None
    if path:
        octets = 0
        number = 0
        while True:
            try:
                octets += os.stat(path + (f".{number}" if number else "")).st_blocks * 512
            except PermissionError:
                octets = None
                break
            except OSError:
                break
            number += 1
    limited = driver != "json-file" or "max-size" in (config.get("Config") or {})
    return Container(str(about.get("Name") or "").lstrip("/"), driver, limited, octets, path)


@dataclass(frozen=True)
class Journal:
    """The limits of journald, and what is outside of them."""

    limit: float | None = None
    limit_text: str = ""
    place: str = ""
    filesystem: float = 0.0
    foreign: tuple[tuple[str, int], ...] = ()


def journal(places: Places) -> Journal:
    limit, text, place = None, "", ""
    files = [places.at("usr/lib/systemd/journald.conf"), places.at("etc/systemd/journald.conf")]
    for folder in ("usr/lib/systemd", "run/systemd", "etc/systemd"):
        files += sorted((places.root / folder / "journald.conf.d").glob("*.conf"))
    for file in files:
        for line in _text(file).splitlines():
            found = re.match(r"\s*SystemMaxUse\s*=\s*(\S*)", line)
            if found:
                text, place = found[1], str(file)
    if text:
        number = re.fullmatch(r"(\d+)([KMGTPE]?)", text)
        limit = float(number[1]) * 1024 ** (" KMGTPE".index(number[2] or " ")) if number else None
    journals = places.at("var/log/journal")
    size = 0.0
    foreign = []
    own = _text(places.at("etc/machine-id")).strip()
    try:
        about = os.statvfs(journals)
        size = about.f_blocks * about.f_frsize
        for name in os.listdir(journals):
            if re.fullmatch(r"[0-9a-f]{32}", name) and name != own:
                octets = 0
                for entry in os.scandir(journals / name):
                    octets += entry.stat(follow_symlinks=False).st_blocks * 512
                foreign.append((str(journals / name), octets))
    except OSError:
        pass
    return Journal(limit, text, place, size, tuple(foreign))


def read_only_mounts(proc: Path) -> tuple[str, ...]:
    """Mount points that are read-only now, and their writable descendants do not count."""
    closed = []
    for line in _text(proc / "self" / "mountinfo", 1 << 22).splitlines():
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


@dataclass(frozen=True)
class Turn:
    """One log of one stanza, with what logrotate would do about it now."""

    stanza: grammar.Stanza
    path: str
    log: turn.Log
    parent: turn.Parent
    decision: turn.Decision
    entry: state.Entry | None
    rotated: tuple[tuple[str, int | None], ...] = ()
    """Its rotated copies, full paths, with their numbers."""
    proof: float = 0.0
    """ctime of the youngest of them; 0 if there is none, -1 if it was not looked for."""


@dataclass(frozen=True)
class Seen:
    """Everything that one run looked at."""

    version: grammar.Version
    reading: grammar.Reading
    turns: tuple[Turn, ...]
    lost: Mapping[str, turn.Log]
    """Logs of stanzas that logrotate drops, and that no other stanza claims."""
    state: StateFile
    schedule: Schedule
    writers: Writers
    strays: tuple[Stray, ...]
    engine: Engine | None
    journal: Journal
    unseen: Mapping[str, str]
    written: Mapping[str, float]
    """mtime of the configuration files."""
    deeper: Mapping[str, tuple[str, ...]]
    """For globs with **: the logs that people think it meets."""
    epoch: float
    walked_all: bool = True

    @property
    def main(self) -> str:
        """The file to give to logrotate when it is tried by hand."""
        return self.reading.read[0] if self.reading.read else "/etc/logrotate.conf"

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.epoch)

    @property
    def run_age(self) -> float | None:
        return None if self.state.written is None else max(0.0, self.epoch - self.state.written)


def installed() -> tuple[grammar.Version, str]:
    """The version of the installed logrotate, and the state file it was built with."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    try:
        ran = aside.run(["logrotate", "--version"], timeout=5, env={"PATH": path})
    except (FileNotFoundError, PermissionError) as error:
        raise CheckError(
            "logrotate is not installed; to judge its configuration all the same give "
            "--logrotate-version"
        ) from error
    except aside.NoAnswer as error:
        raise CheckError(str(error)) from error
    said = ran.stdout + ran.stderr
    try:
        found = re.search(r"Default state file path:\s*(\S+)", said)
        return grammar.version(said), found[1] if found else ""
    except ValueError as error:
        raise CheckError(f"`logrotate --version` says no version: {safe(said)}") from error


def look_around(args: argparse.Namespace, places: Places, epoch: float) -> Seen:
    """One look at everything: configuration, logs, /proc, schedule, engine."""
    host = Host(root_uid=places.root_uid)
    default = ""
    if args.logrotate_version:
        version = args.logrotate_version
    else:
        version, default = installed()
    with deadline.doing(f"reading {args.config}"):
        reading = grammar.read(args.config, host, version)
    if any(
        one.code == "config-missing" and one.place.file == args.config for one in reading.problems
    ):
        raise CheckError(
            f"{safe(args.config)} cannot be read: is logrotate configured elsewhere? (--config)"
        )
    if args.config in host.unseen:
        raise CheckError(f"not allowed to read {safe(args.config)}; run with sudo")
    stanzas = () if reading.stops else reading.stanzas
    claimed = {path for stanza in stanzas for path in stanza.files}
    rotated, rotated_all = _rotated(stanzas, host)
    truncated = {
        path
        for stanza in stanzas
        if stanza.settings.copytruncate or stanza.settings.copy
        for path in stanza.files
    }
    plain = {path for path in rotated_all if not _NOT_LOGS.search(path)} - claimed
    parents = {os.path.dirname(path) for path in claimed}
    writing = writers(
        places.proc, frozenset(truncated | plain), sorted({*args.log_dir, *parents} - {"", "/"})
    )
    found = schedule(places, writing.commands)
    candidates = [args.state_file] if args.state_file else []
    if not candidates:
        candidates = list(found.state_files) + ([default] if default else [])
        candidates += [
            str(places.at(one))
            for one in (
                "/var/lib/logrotate/status",
                "/var/lib/logrotate/logrotate.status",
                "/var/lib/logrotate.status",
                "/var/lib/misc/logrotate.status",
            )
        ]
    memory = state_file(candidates, places.proc, host)
    turns = _turns(stanzas, host, memory, found, places, epoch, version, rotated)
    lost = {}
    for problem in reading.problems:
        for path in problem.files:
            if path not in claimed and path not in lost:
                log = host.log(path)
                if log is not None and not log.error:
                    lost[path] = log
    big, walked = strays(args.log_dir, args.big, claimed | rotated_all | set(lost), host)
    written = {}
    for name in {*reading.read, args.config}:
        try:
            written[name] = os.stat(name).st_mtime
        except OSError:
            continue
    return Seen(
        version,
        reading,
        tuple(turns),
        lost,
        memory,
        found,
        writing,
        tuple(big),
        docker_logs(places, args.docker, host),
        journal(places),
        dict(host.unseen),
        written,
        _deeper(stanzas, claimed),
        epoch,
        walked,
    )


def _rotated(
    stanzas: Sequence[grammar.Stanza], host: Host
) -> tuple[dict[str, tuple[tuple[str, int | None], ...]], set[str]]:
    """The rotated copies of every log, and all of them as one set."""
    by_log: dict[str, tuple[tuple[str, int | None], ...]] = {}
    every: set[str] = set()
    names: dict[str, list[str]] = {}
    for stanza in stanzas:
        for path in stanza.files:
            folder = turn.rotated_directory(path, stanza.settings)
            if folder not in names:
                with deadline.doing(f"listing {folder}"):
                    names[folder] = host.sorted_names(folder)
            found = turn.siblings(path, stanza.settings, names[folder])
            if found:
                by_log[path] = tuple((f"{folder}/{name}", number) for name, number in found)
                every.update(one for one, _ in by_log[path])
    return by_log, every


def _turns(
    stanzas: Sequence[grammar.Stanza],
    host: Host,
    memory: StateFile,
    found: Schedule,
    places: Places,
    epoch: float,
    version: grammar.Version,
    rotated: Mapping[str, tuple[tuple[str, int | None], ...]],
) -> list[Turn]:
    mounts = read_only_mounts(places.proc)
    now = datetime.fromtimestamp(epoch)
    parents: dict[tuple[str, int | None, int | None], turn.Parent | None] = {}
    turns: list[Turn] = []
    for stanza in stanzas:
        settings = stanza.settings
        mine: list[Turn] = []
        for path in stanza.files:
            folder = os.path.dirname(path) or "/"
            key = (
                (folder, settings.su_uid, settings.su_gid) if settings.su else (folder, None, None)
            )
            if key not in parents:
                parent = host.parent(folder)
                if parent is not None and not parent.error:
                    parent = replace(
                        parent, blocked=_blocked(folder, parent, settings, found, mounts)
                    )
                parents[key] = parent
            above = parents[key]
            log = host.log(path)
            if log is None or above is None:
                continue
            entry = memory.known.entries.get(path)
            decision = turn.decide(stanza, log, above, entry, now, epoch, version)
            copies = rotated.get(path, ())
            proof = -1.0
            if entry is not None and not entry.placeholder and not log.error:
                proof = max((_ctime(name) for name, _ in copies), default=0.0)
            mine.append(Turn(stanza, path, log, above, decision, entry, copies, proof))
        if settings.sharedscripts and len(mine) == len(stanza.files):
            decisions = turn.together(stanza, [one.decision for one in mine])
            mine = [
                one if one.decision is decision else replace(one, decision=decision)
                for one, decision in zip(mine, decisions)
            ]
        turns += mine
    return turns


def _ctime(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


def _blocked(
    folder: str,
    parent: turn.Parent,
    settings: grammar.Settings,
    found: Schedule,
    mounts: Sequence[str],
) -> str:
    """Why logrotate will fail to rename or create anything in a directory."""
    if on_read_only(folder, mounts):
        return "it is on a file system that is mounted read-only"

    def longest(paths: Sequence[str]) -> int:
        return max(
            (len(one) for one in paths if (folder + "/").startswith(one.rstrip("/") + "/")),
            default=-1,
        )

    if longest(found.read_only) > longest(found.writable):
        return "logrotate.service may not write there (ProtectSystem=, ProtectHome= or PrivateTmp=)"
    if settings.su and settings.su_uid not in (0, None):
        if settings.su_uid == parent.uid:
            bits = parent.mode >> 6
        elif settings.su_gid == parent.gid:
            bits = parent.mode >> 3
        else:
            bits = parent.mode
        if bits & 0o3 != 0o3:
            owner = f"mode {parent.mode:04o}, uid {parent.uid}, gid {parent.gid}"
            return f"`su {settings.su_user}` may not write there ({owner})"
    return ""


def _deeper(stanzas: Sequence[grammar.Stanza], claimed: set[str]) -> dict[str, tuple[str, ...]]:
    """For `**`, which logrotate reads as `*`: the logs above and below that it misses."""
    missed: dict[str, tuple[str, ...]] = {}
    for stanza in stanzas:
        for one in stanza.globs:
            head, star, tail = one.partition("/**/")
            if not star or shell.has_magic(head) or "/" in tail:
                continue
            found: list[str] = []
            for folder, _, names in os.walk(head):
                found += [f"{folder}/{name}" for name in names if shell.matches(tail, name)]
                if len(found) > 1000:
                    break
            left = tuple(path for path in found if path not in claimed)
            if left:
                missed[one] = left
    return missed


# What it means

DAY = 86400.0
GROWS_WITHIN = 7 * DAY
SLACK = 3 * 3600.0

CODES: dict[str, tuple[str, str]] = {
    "config-error": (
        "logrotate cannot read a line and drops its stanza, the rest of the file, or the whole run",
        "mend the line; comments stand on lines of their own; sizes end in k, M or G",
    ),
    "config-writable": (
        "a configuration file that group or others may write is ignored as a whole",
        "chmod 0644 FILE",
    ),
    "config-owner": (
        "a configuration file that does not belong to root is ignored",
        "chown root FILE",
    ),
    "config-missing": (
        "an included file or directory is not there",
        "create it, or drop the include",
    ),
    "config-duplicate": (
        "a log is claimed twice: the second glob loses this log and all that follow it",
        "claim each log once, or `ignoreduplicates` in the first stanza (3.21 and later)",
    ),
    "config-taboo": (
        "the file's name is on the taboo list (.bak, .disabled, .dpkg-old ...): it is not read",
        "rename it, or remove it",
    ),
    "config-stray": (
        "an editor's or package manager's left-over is read as configuration",
        "remove it, or move it out of the directory",
    ),
    "config-leak": (
        "a directive outside of any stanza in an included file holds for all files read later",
        "move it into the stanza",
    ),
    "config-unclosed": ("the last } is missing; it works by accident", "add it"),
    "config-trailing": ("text after a } is ignored", "begin a new line"),
    "directive-unknown": (
        "a misspelt directive is ignored, with exit status 0",
        "correct the word",
    ),
    "directive-value": ("a directive without its value is ignored", "give the value"),
    "directive-overridden": (
        "of several criteria in a stanza only the last counts",
        "keep one; `daily` with `maxsize 100M` means both",
    ),
    "schedule-too-slow": (
        "hourly, minutes and maxsize act only when logrotate runs, and it runs less often",
        "run it more often: a drop-in with OnCalendar=hourly for logrotate.timer",
    ),
    "rotate-nothing": (
        "nobody said `rotate`: the log is deleted at rotation, since the default is 0",
        "say `rotate N`, or `rotate 0` if it is meant",
    ),
    "no-recursion": (
        "`**` is one level only",
        "name each level: /var/log/app/*.log /var/log/app/*/*.log",
    ),
    "own-products": (
        "a glob matches the rotated files too, and rotates them again",
        "use *.log, or an olddir",
    ),
    "insecure-parent": (
        "logrotate refuses logs in a directory that others, or a group other than root, may write",
        "add `su USER GROUP` to the stanza, or chmod g-w the directory",
    ),
    "log-missing": (
        "a log does not exist and the stanza has no `missingok`: each run fails",
        "add `missingok`",
    ),
    "sharedscripts-blocked": (
        "with `sharedscripts` one missing or refused log blocks all of the stanza",
        "mend that log, add `missingok`, or split the stanza",
    ),
    "log-symlink": ("logrotate passes over symbolic links without a word", "name the file itself"),
    "log-hardlink": (
        "logs with several hard links are passed over without a word",
        "`allowhardlink`",
    ),
    "destination-exists": (
        "the dated name exists already: a second rotation on that day is refused, yet noted "
        "as done",
        "a finer `dateformat`, as -%Y%m%d-%s",
    ),
    "read-only": (
        "the directory cannot be written when logrotate runs, though it may work by hand",
        "a drop-in with ReadWritePaths= for logrotate.service, or mount it read-write",
    ),
    "su-cannot-write": (
        "the user of `su` may not write to the log's directory",
        "another user, or chown",
    ),
    "overdue": (
        "its turn came and a run has passed, but it was not rotated",
        "logrotate -v by hand tells why",
    ),
    "no-proof": (
        "the state file says rotated, but no rotated file is that young: the rotation failed",
        "logrotate -v by hand tells why",
    ),
    "schedule-dead": (
        "nothing will start logrotate",
        "systemctl enable --now logrotate.timer, or start cron",
    ),
    "run-old": (
        "logrotate has not come to its end for longer than -w or -c",
        "look at the unit or cron's mail",
    ),
    "run-failed": ("the last run ended with an error", "journalctl -u logrotate"),
    "never-run": ("there is no state file: it has never run here", "start it once by hand"),
    "state-unusable": (
        "logrotate cannot use its state file and rotates nothing (exit status 3)",
        "make the place",
    ),
    "state-locked": (
        "another logrotate holds the state file for hours: each new one gives up",
        "end that one",
    ),
    "state-corrupt": (
        "the state file is damaged; dates are lost and periods begin anew",
        "it heals at the next run",
    ),
    "state-future": ("last rotations lie in the future: the clock was wrong", "see to the clock"),
    "state-reborn": (
        "the state file does not outlive a restart, so no weekly or monthly turn ever comes",
        "keep it on a volume, or rotate by size",
    ),
    "uncovered": ("a big log grows, and no stanza claims it", "write a stanza for it"),
    "writer-on-rotated": (
        "a process goes on writing to the rotated file: it was not told to reopen its log",
        "a postrotate that makes it reopen, or `copytruncate`",
    ),
    "deleted-held": (
        "a process holds a log that is deleted: the space is not free, and du does not show it",
        "make the process reopen its log, or restart it",
    ),
    "no-append": (
        "a process writes without O_APPEND to a log under `copytruncate`: it becomes a sparse file",
        "open the log for appending",
    ),
    "orphans": ("rotated files that no rule will ever remove", "remove them by hand"),
    "docker-unbounded": (
        "a container's json-file log has no max-size; daemon.json holds only for new containers",
        "log-opts max-size, and recreate the container",
    ),
    "journald-unbounded": (
        "journald's limit does not bound: too large, or another machine's journal",
        "lower it",
    ),
    "unseen": ("our rights hide a part of the picture", "run with sudo, or --ignore unseen"),
}
"""Every stable code: cause and cure."""

_RUN_WIDE = (
    "schedule-dead",
    "state-unusable",
    "state-locked",
    "run-old",
    "never-run",
    "run-failed",
)


@dataclass(frozen=True)
class Fault:
    """A finding before --ignore; state OK makes it a remark."""

    code: str
    state: State
    subject: str
    text: str
    also: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    next: str = ""
    octets: float = 0.0
    """At stake: the bigger, the further ahead."""
    logs: int = 1


@dataclass(frozen=True)
class Memory:
    """What the last look knew."""

    at: float = 0.0
    sizes: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, str] = field(default_factory=dict)
    """Dates of rotation in the state file, and the boot they were seen in."""
    boot: str = ""

    def rate(self, path: str, size: float, epoch: float) -> float | None:
        """Bytes a second since the last look, if that is long enough ago."""
        before = self.sizes.get(path)
        if before is None or epoch - self.at < 20 or size < before:
            return None
        return (size - before) / (epoch - self.at)


def _grows(log: turn.Log, epoch: float) -> bool:
    """Has content and was written to within a week."""
    return log.kind == "file" and log.size > 0 and epoch - log.mtime < GROWS_WITHIN


def _size(path: str, size: float, memory: Memory, epoch: float) -> str:
    """`3.2GiB, growing 12MiB/min`."""
    rate = memory.rate(path, size, epoch)
    words = units.say_size(size)
    if rate is not None and rate * 3600 >= 1024 * 1024:
        words += f", growing {units.say_size(rate * 3600)} an hour"
    return words


def _more(count: int, what: str = "logs") -> str:
    return f" (+{count} {what})" if count > 0 else ""


def configuration(seen: Seen, memory: Memory) -> list[Fault]:
    """What logrotate drops, and what it takes otherwise than written."""
    faults: list[Fault] = []
    leaks: dict[str, list[grammar.Problem]] = {}
    for problem in seen.reading.problems:
        if problem.code == "config-leak":
            leaks.setdefault(problem.place.file, []).append(problem)
        elif problem.radius in (grammar.NOTHING, grammar.LINE):
            faults.append(_line(problem))
        else:
            faults += _loss(problem, seen, memory)
    for file, problems in leaks.items():
        words = sorted({problem.text.split("`")[1] for problem in problems})
        faults.append(
            Fault(
                "config-leak",
                WARNING,
                file,
                f"{problems[0].place}: {', '.join(f'`{word}`' for word in words)} outside of "
                f"a stanza "
                "also holds for every file that is read later",
                next=f"sed -n {problems[0].place.line}p {file}",
            )
        )
    for file in seen.reading.read:
        name = os.path.basename(file)
        # firebird3.0 is a name; nginx.1 beside nginx is a copy.
        is_copy = re.search(r"\.\d+$", name) and file.rpartition(".")[0] in seen.reading.read
        if is_copy or re.search(r"(^\..*\.sw[a-p]$|^\.#|~$|\.(save|orig|old|new|bak|tmp)$)", name):
            faults.append(
                Fault(
                    "config-stray",
                    WARNING,
                    file,
                    f"{file} looks like a left-over, and is read as configuration",
                    next=f"rm {file}",
                )
            )
    return faults


def _line(problem: grammar.Problem) -> Fault:
    """A line without effect, where nothing else is lost."""
    text, level = f"{problem.place}: {problem.text}", WARNING
    if problem.code == "directive-unknown":
        word = re.findall(r"'([^']*)'", problem.text)
        guess = (
            difflib.get_close_matches(word[0].lower(), grammar.DIRECTIVES, 1, 0.7) if word else []
        )
        if guess:
            text += f"; meant is perhaps `{guess[0]}`"
    elif problem.code == "config-trailing":
        level = OK
    return Fault(
        problem.code,
        level,
        problem.place.file,
        text,
        next=f"sed -n {problem.place.line}p {problem.place.file}",
    )


_RADIUS = {
    grammar.RUN: "and all that follows is lost, included files too",
    grammar.FILE: "and the rest of the file is lost",
    grammar.STANZA: "and logrotate drops the stanza",
    grammar.GLOB: "and logrotate drops the rest of the glob",
    grammar.LOG: "and logrotate drops this one",
}


def _loss(problem: grammar.Problem, seen: Seen, memory: Memory) -> list[Fault]:
    """A stanza, file or run is lost: CRITICAL when a log grows that nobody else rotates."""
    whole = problem.code in ("config-writable", "config-owner", "config-taboo")
    why = f"{problem.place}: {problem.text}"
    if not whole and problem.code != "config-missing":
        why += f", {_RADIUS[problem.radius]}"
    logs = [(path, seen.lost[path]) for path in dict.fromkeys(problem.files) if path in seen.lost]
    logs.sort(key=lambda one: -one[1].size)
    growing = [one for one in logs if _grows(one[1], seen.epoch)]
    also = tuple(path for path, _ in logs)
    test = f"logrotate -d {seen.main}"
    following = f"sed -n {max(1, problem.place.line)}p {problem.place.file}; {test}"
    if problem.code in ("config-writable", "config-owner"):
        following = f"chown root {problem.place.file}; chmod 0644 {problem.place.file}"
    more = tuple(
        f"not rotated: {path} ({_size(path, log.size, memory, seen.epoch)})"
        for path, log in logs[1:6]
    )
    level = CRITICAL
    if problem.code == "config-taboo":
        if not growing:
            return []
        level = WARNING
    octets = float(sum(log.size for _, log in logs))
    if growing:
        path, log = growing[0]
        text = (
            f"{path} ({_size(path, log.size, memory, seen.epoch)}) will not be rotated: {why}"
            f"{_more(len(logs) - 1)}"
        )
        return [Fault(problem.code, level, problem.place.file, text, also, more, following, octets)]
    if problem.radius == grammar.RUN and problem.code != "config-missing":
        return [
            Fault(problem.code, CRITICAL, problem.place.file, why, also, more, following, octets)
        ]
    if not logs:
        why += "; its logs do not exist" if problem.patterns else ""
    if not logs and re.match(r"unknown (user|group)", problem.text):
        # What `apt remove` without --purge leaves behind: 53 of Debian's 328 files, harmless.
        return [Fault(problem.code, OK, problem.place.file, why, also)]
    if problem.code == "config-duplicate" and not logs:
        why = f"{problem.place}: {problem.text}; nothing is lost now, but every run fails"
    return [Fault(problem.code, WARNING, problem.place.file, why, also, more, following, octets)]


def directives(seen: Seen, big: float) -> list[Fault]:
    """Directives that do not do what they say, stanza by stanza."""
    faults: list[Fault] = []
    by_stanza: dict[int, list[Turn]] = {}
    for one in seen.turns:
        by_stanza.setdefault(id(one.stanza), []).append(one)
    every = f"every {units.say_duration(seen.schedule.interval)}"
    for stanza in seen.reading.stanzas:
        settings, place = stanza.settings, stanza.place
        mine = by_stanza.get(id(stanza), [])
        largest = max(mine, key=lambda one: one.log.size, default=None)
        for criterion, where in stanza.overridden:
            faults.append(
                Fault(
                    "directive-overridden",
                    OK,
                    place.file,
                    f"{where}: `{criterion}` has no effect, `{settings.criterion}` in line "
                    f"{settings.said['criterion'].line} overrides it",
                )
            )
        too_slow = ""
        if settings.criterion in ("hourly", "minutes") and seen.schedule.interval > 3700:
            too_slow = f"`{settings.criterion}`"
            harm = largest is not None and largest.log.size >= big
        elif settings.maxsize and seen.schedule.interval > 3700:
            too_slow = f"`maxsize {units.say_size(settings.maxsize)}`"
            harm = largest is not None and largest.log.size >= max(2 * settings.maxsize, big)
        if too_slow and largest is not None:
            faults.append(
                Fault(
                    "schedule-too-slow",
                    WARNING if harm else OK,
                    largest.path,
                    f"{largest.path} ({units.say_size(largest.log.size)}): {too_slow} at "
                    f"{place} is void, "
                    f"logrotate runs only {every}",
                    (place.file,),
                    next="systemctl edit logrotate.timer   # [Timer] OnCalendar=hourly",
                    octets=largest.log.size,
                )
            )
        if (
            settings.rotate == 0
            and "rotate" not in settings.said
            and largest
            and not largest.log.error
        ):
            faults.append(
                Fault(
                    "rotate-nothing",
                    WARNING,
                    largest.path,
                    f"{largest.path}: no `rotate` at {place} or above it: the log is deleted "
                    f"at rotation",
                    (place.file,),
                )
            )
        for glob in stanza.globs:
            if glob in seen.deeper:
                left = seen.deeper[glob]
                faults.append(
                    Fault(
                        "no-recursion",
                        WARNING,
                        left[0],
                        f"{left[0]} is not met by {glob} at {place}: ** is one level "
                        f"only{_more(len(left) - 1)}",
                        (place.file, *left),
                    )
                )
        names = set(stanza.files)
        products = [
            name for one in mine for name, _ in one.rotated if name in names and not settings.olddir
        ]
        if products:
            faults.append(
                Fault(
                    "own-products",
                    WARNING,
                    products[0],
                    f"{products[0]} is a rotated file, and {stanza.pattern.strip()} at "
                    f"{place} rotates it again"
                    f"{_more(len(products) - 1, 'files')}",
                    (place.file,),
                )
            )
    return faults


def rotations(seen: Seen, memory: Memory, warn_age: float) -> list[Fault]:
    """Logs whose rotation is refused, passed over, missed or unproven."""
    faults: list[Fault] = []
    claimed = {one.path for one in seen.turns}
    for one in seen.turns:
        fault = _refusal(one, seen, memory, claimed) or _missed(one, seen, memory, warn_age)
        if fault:
            faults.append(fault)
    return _grouped(faults)


def _grouped(faults: Sequence[Fault]) -> list[Fault]:
    """One finding for all logs of a directory that suffer from the same thing."""
    groups: dict[tuple[str, State, str, str], list[Fault]] = {}
    for fault in faults:
        key = (
            fault.code,
            fault.state,
            os.path.dirname(fault.subject),
            fault.also[0] if fault.also else "",
        )
        groups.setdefault(key, []).append(fault)
    out = []
    for group in groups.values():
        worst = max(group, key=lambda one: one.octets)
        others = [one for one in group if one is not worst]
        out.append(
            replace(
                worst,
                text=worst.text + _more(len(others)),
                also=(*worst.also, *(one.subject for one in others)),
                more=(*worst.more, *(f"likewise: {one.subject}" for one in others[:5])),
                octets=sum(one.octets for one in group),
                logs=len(group),
            )
        )
    return out


def _refusal(one: Turn, seen: Seen, memory: Memory, claimed: set[str]) -> Fault | None:
    place, log, decision = one.stanza.place, one.log, one.decision
    if not (decision.code or one.parent.blocked or one.stanza.settings.dateext):
        return None
    grows = _grows(log, seen.epoch)
    size = _size(one.path, log.size, memory, seen.epoch)
    also = (place.file,)
    by_hand = f"logrotate -d {seen.main}"
    if decision.code in ("insecure-parent", "sharedscripts-blocked"):
        if log.error or log.kind != "file":
            level, words = OK, one.path
        else:
            level, words = (CRITICAL if grows else WARNING), f"{one.path} ({size})"
        following = by_hand
        if decision.code == "insecure-parent":
            following = (
                f"ls -ld {os.path.dirname(one.path)}   # then add `su USER GROUP` at {place}"
            )
        return Fault(
            decision.code,
            level,
            one.path,
            f"{words} is refused by logrotate: {decision.reason} ({place})",
            also,
            (),
            following,
            log.size,
        )
    if decision.code == "log-missing":
        return Fault(
            "log-missing",
            WARNING,
            one.path,
            f"{one.path}: {decision.reason}, and {place} has no `missingok`: every run fails",
            also,
            (),
            by_hand,
        )
    if decision.code == "log-symlink":
        real = os.path.realpath(one.path)
        if real in claimed or not os.path.exists(real):
            return None
        return Fault(
            decision.code,
            WARNING,
            one.path,
            f"{one.path}: {decision.reason} ({place})",
            also,
            (),
            f"readlink -f {one.path}",
        )
    if decision.code == "log-hardlink":
        return Fault(
            decision.code,
            WARNING,
            one.path,
            f"{one.path} ({size}): {decision.reason} ({place})",
            also,
            (),
            f"find {os.path.dirname(one.path)} -samefile {one.path}",
            log.size,
        )
    if log.error or log.kind != "file":
        return None
    if one.parent.blocked:
        code = "su-cannot-write" if one.parent.blocked.startswith("`su") else "read-only"
        return Fault(
            code,
            CRITICAL if grows else WARNING,
            one.path,
            f"{one.path} ({size}) cannot be rotated: {one.parent.blocked} ({place})",
            also,
            (),
            "systemctl cat logrotate.service" if "service" in one.parent.blocked else by_hand,
            log.size,
        )
    if decision.outcome == turn.ROTATE and one.stanza.settings.dateext:
        target = turn.destination(one.path, one.stanza.settings, seen.now)
        again = one.stanza.settings.criterion == "size" or one.stanza.settings.maxsize
        if target and again and os.path.lexists(target):
            often = seen.schedule.interval < DAY
            return Fault(
                "destination-exists",
                CRITICAL if often and grows else WARNING,
                one.path,
                f"{one.path} ({size}) cannot be rotated again today: {target} exists already "
                f"({place})",
                also,
                (),
                f"ls -l {target}",
                log.size,
            )
    return None


def _missed(one: Turn, seen: Seen, memory: Memory, warn_age: float) -> Fault | None:
    """A turn that a run has let pass, or a rotation that left no trace."""
    settings, log, entry, place = one.stanza.settings, one.log, one.entry, one.stanza.place
    if (
        entry is None
        or seen.state.written is None
        or log.error
        or log.kind != "file"
        or not log.size
    ):
        return None
    # A configuration that is younger than the last run has not had its chance yet.
    if seen.written.get(place.file, 0) > seen.state.written:
        return None
    if one.decision.outcome == turn.WAIT and not 0 <= one.proof < entry.when.timestamp() - 3600:
        return None
    size = _size(one.path, log.size, memory, seen.epoch)
    following = f"logrotate -v {seen.main}"
    due = one.decision.due
    if (
        one.decision.outcome == turn.ROTATE
        and due is not None
        and entry.when < due
        and not (settings.minsize or settings.minage or not settings.ifempty)
        and all(
            turn.has_come(settings, entry.when, datetime.fromtimestamp(run), seen.version)
            for run in (seen.state.written, seen.state.written - SLACK)
        )
    ):
        return Fault(
            "overdue",
            CRITICAL if _grows(log, seen.epoch) else WARNING,
            one.path,
            f"{one.path} ({size}) was not rotated when its turn came: {settings.criterion}, last "
            f"{entry.when:%Y-%m-%d}, due {due:%Y-%m-%d}, and a run has passed since ({place})",
            (place.file,),
            (),
            following,
            log.size,
        )
    moved = settings.mail or any(
        re.search(r"\b(mv|rm|cp|rsync|savelog)\b", text) for text in settings.scripts.values()
    )
    if (
        one.proof >= 0
        and settings.rotate != 0
        and not moved
        and one.decision.outcome in (turn.ROTATE, turn.WAIT)
        and one.proof < entry.when.timestamp() - 3600
        and entry.when <= seen.now + timedelta(hours=25)
        and not (settings.maxage and seen.now - entry.when > timedelta(days=settings.maxage))
    ):
        newest = (
            f"the youngest rotated file is of {datetime.fromtimestamp(one.proof):%Y-%m-%d}"
            if one.proof
            else "there is no rotated file"
        )
        return Fault(
            "no-proof",
            CRITICAL if _grows(log, seen.epoch) and one.proof else WARNING,
            one.path,
            f"{one.path} ({size}) is noted as rotated on {entry.when:%Y-%m-%d %H:%M}, but "
            f"{newest} ({place})",
            (place.file,),
            (),
            following,
            log.size,
        )
    return None


def runs(
    seen: Seen,
    warning: limits.Limit | None,
    critical: limits.Limit | None,
    uptime: float,
) -> list[Fault]:
    """Whether logrotate runs: the schedule, the last run, the state file."""
    faults: list[Fault] = []
    memory, plan_ = seen.state, seen.schedule
    age = seen.run_age
    since = "" if age is None else f", the last run was {units.say_duration(age)} ago"
    look = "systemctl status logrotate.timer logrotate.service"
    if not plan_.name.endswith(".timer"):
        look = "ls -l /etc/cron.*/*logrotate*; pgrep -a cron"
    if plan_.dead:
        level = CRITICAL
        if plan_.dead.endswith("next boot"):
            level = WARNING
        elif not plan_.name and age is not None and not (critical and critical.broken_by(age)):
            # Somebody runs it, in a way that we do not know.
            level = WARNING if warning and warning.broken_by(age) else OK
        faults.append(
            Fault(
                "schedule-dead",
                level,
                plan_.name or "logrotate",
                f"logrotate will not run: {plan_.dead}{since}",
                next=look,
            )
        )
    elif age is not None:
        level, broken = limits.judge(age, warning, critical)
        if broken is not None:
            why = f" ({plan_.note})" if plan_.note else ""
            faults.append(
                Fault(
                    "run-old",
                    level,
                    memory.path,
                    f"logrotate has not completed a run for {units.say_duration(age)} (limit "
                    f"{broken.typed}), "
                    f"though {plan_.name or 'a schedule'} is there{why}",
                    next=look + "; journalctl -u logrotate -n 20",
                )
            )
    if plan_.failed:
        faults.append(
            Fault(
                "run-failed",
                CRITICAL if plan_.last_status == 3 else WARNING,
                "logrotate.service",
                f"the last run of logrotate.service failed: {plan_.failed}",
                next="journalctl -u logrotate -n 20",
            )
        )
    if memory.trouble:
        faults.append(
            Fault(
                "state-unusable",
                CRITICAL,
                memory.path,
                f"nothing is rotated: state file {memory.path}: {memory.trouble}",
                next=f"ls -ld {os.path.dirname(memory.path)} {memory.path}",
            )
        )
    elif memory.written is None and memory.readable and memory.path != "/dev/null":
        level = OK if uptime < 2 * DAY else WARNING
        faults.append(
            Fault(
                "never-run",
                level,
                memory.path,
                f"logrotate has never run here: {memory.path} does not exist",
                next=look,
            )
        )
    if memory.locked_by:
        held = _process_age(memory.locked_by, seen.epoch)
        if held > 3600:
            faults.append(
                Fault(
                    "state-locked",
                    CRITICAL,
                    memory.path,
                    f"nothing is rotated: {memory.path} is locked by process {memory.locked_by} "
                    f"for {units.say_duration(held)}",
                    next=f"ps -fp {memory.locked_by}",
                )
            )
    if memory.known.error:
        faults.append(
            Fault(
                "state-corrupt",
                WARNING,
                memory.path,
                f"{memory.path}:{memory.known.line}: {memory.known.error}; the dates from "
                f"there on are "
                "lost, and their periods begin anew",
                next=f"sed -n {memory.known.line}p {memory.path}",
            )
        )
    ahead = [
        path
        for path, entry in memory.known.entries.items()
        if entry.when > seen.now + timedelta(hours=25)
    ]
    if ahead:
        when = memory.known.entries[ahead[0]].when
        faults.append(
            Fault(
                "state-future",
                WARNING,
                ahead[0],
                f"{ahead[0]} was last rotated in the future "
                f"({when:%Y-%m-%d}){_more(len(ahead) - 1)}: "
                "was the clock wrong?",
                tuple(ahead[1:50]),
                next="date; timedatectl",
            )
        )
    return faults


def _process_age(pid: int, epoch: float) -> float:
    try:
        return epoch - os.stat(f"/proc/{pid}").st_mtime
    except OSError:
        return 0.0


def reborn(seen: Seen, memory: Memory, boot: str) -> list[Fault]:
    """A state file that forgets at each boot what the last look still saw in it."""
    periods = {"weekly", "monthly", "yearly", "daily"}
    if not memory.boot or memory.boot == boot or not seen.state.readable:
        return []
    entries = seen.state.known.entries
    forgotten = [
        path
        for path in memory.oldest
        if path not in entries
        or (entries[path].placeholder and entries[path].when.isoformat() > memory.oldest[path])
    ]
    timed = [one for one in seen.turns if one.stanza.settings.criterion in periods]
    if not timed or not memory.oldest or len(forgotten) < len(memory.oldest):
        return []
    return [
        Fault(
            "state-reborn",
            WARNING,
            seen.state.path,
            f"{seen.state.path} was made anew since the last start: "
            f"{timed[0].stanza.settings.criterion} "
            f"turns such as that of {timed[0].path} never come",
            next=f"df {os.path.dirname(seen.state.path)}",
        )
    ]


def uncovered(seen: Seen, memory: Memory) -> list[Fault]:
    """Big logs that grow and belong to nobody."""
    names = {stray.path for stray in seen.strays}
    faults = []
    for stray in sorted(seen.strays, key=lambda one: -one.octets):
        if seen.epoch - stray.mtime > DAY or _rotates_itself(stray, names, seen.epoch):
            continue
        before = memory.sizes.get(stray.path)
        if before is not None and before >= stray.octets and seen.epoch - memory.at > 3600:
            continue
        faults.append(
            Fault(
                "uncovered",
                WARNING,
                stray.path,
                f"{stray.path} ({_size(stray.path, stray.octets, memory, seen.epoch)}) grows "
                f"and nobody rotates "
                "it: no stanza claims it",
                next=f"fuser -v {stray.path}; grep -rn {os.path.dirname(stray.path)} {seen.main}*",
                octets=stray.octets,
            )
        )
    return faults


def _rotates_itself(stray: Stray, names: set[str], epoch: float) -> bool:
    """Whether the program keeps old copies itself, as log4j and logging.handlers do."""
    folder, name = os.path.split(stray.path)
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


def aftermath(seen: Seen, big: float) -> list[Fault]:
    """Processes that write past the rotation, and what nobody will remove."""
    faults: list[Fault] = []
    copies = {name: one for one in seen.turns for name, _ in one.rotated}
    truncated = {
        one.path: one
        for one in seen.turns
        if one.stanza.settings.copytruncate or one.stanza.settings.copy
    }
    held: dict[tuple[int, int], list[Open]] = {}
    for one in seen.writers.opened:
        if one.deleted:
            held.setdefault(one.inode, []).append(one)
            continue
        who = f"{safe(one.command)}[{one.pid}]"
        if one.path in copies:
            owner = copies[one.path]
            rotated_at = owner.entry.when.timestamp() if owner.entry else _ctime(one.path) - 1
            # A reload may come seconds later; a minute of grace is for slow ones.
            if one.mtime > rotated_at + 300 and seen.epoch - one.mtime < 3600 and one.octets:
                faults.append(
                    Fault(
                        "writer-on-rotated",
                        CRITICAL,
                        owner.path,
                        f"{who} still writes to {one.path} ({units.say_size(one.octets)}) "
                        f"after its rotation; "
                        f"{owner.path} has {units.say_size(owner.log.size)}",
                        (one.path, owner.stanza.place.file),
                        (),
                        f"ls -l /proc/{one.pid}/fd; cat {owner.stanza.place.file}",
                        one.octets,
                    )
                )
        elif one.path in truncated and not one.append and one.size:
            owner = truncated[one.path]
            faults.append(
                Fault(
                    "no-append",
                    WARNING,
                    one.path,
                    f"{who} writes to {one.path} without O_APPEND: after `copytruncate` "
                    f"({owner.stanza.place}) "
                    "it becomes a sparse file of the old length",
                    (owner.stanza.place.file,),
                    (),
                    f"grep flags /proc/{one.pid}/fdinfo/*",
                    one.octets,
                )
            )
    for holders in held.values():
        one = holders[0]
        writing = seen.epoch - one.mtime < 900
        if one.octets < big and not (writing and one.octets >= 1024 * 1024):
            continue
        who = f"{safe(one.command)}[{one.pid}]"
        faults.append(
            Fault(
                "deleted-held",
                CRITICAL if writing and one.octets >= big else WARNING,
                one.path,
                f"{who} {'keeps writing to' if writing else 'holds'} {one.path}, which is deleted: "
                f"{units.say_size(one.octets)} that du does not show",
                (),
                (),
                f"ls -l /proc/{one.pid}/fd; systemctl status {one.pid}",
                one.octets,
            )
        )
    return faults + _orphans(seen, big)


def _orphans(seen: Seen, big: float) -> list[Fault]:
    """Rotated files out of the reach of every rule, by directory."""
    folders: dict[str, list[str]] = {}
    for one in seen.turns:
        settings = one.stanza.settings
        if settings.rotate < 0:
            continue
        packed = settings.compressext or ".gz"
        for name, number in one.rotated:
            if settings.dateext:
                stale = number is not None and number < 1000
            else:
                stale = number is None or number > settings.rotate + settings.start
            if not stale and settings.compress and not settings.dateext and number is not None:
                stale = (
                    number > settings.start + 1
                    and not name.endswith(packed)
                    and not _NOT_LOGS.search(name)
                )
            if stale:
                folders.setdefault(os.path.dirname(one.path), []).append(name)
    faults = []
    for names in folders.values():
        octets = 0
        for name in names:
            try:
                octets += os.lstat(name).st_blocks * 512
            except OSError:
                continue
        faults.append(
            Fault(
                "orphans",
                WARNING if octets >= big else OK,
                names[0],
                f"{names[0]} ({units.say_size(octets)} in all) will never be removed: no rule "
                f"counts it any more"
                f"{_more(len(names) - 1, 'files')}",
                tuple(names[1:50]),
                next=f"ls -lt {os.path.dirname(names[0])}",
                octets=octets,
            )
        )
    return faults


def containers(engine: Engine, big: float) -> list[Fault]:
    """Logs of containers that nothing bounds."""
    faults: list[Fault] = []
    if engine.error:
        text = f"the Docker engine does not answer: {engine.error}"
        faults.append(Fault("docker-unbounded", UNKNOWN, "docker", text))
    late = "; daemon.json has max-size, but it holds only for containers made later"
    for one in engine.containers:
        if one.limited:
            continue
        octets = one.octets or 0
        level = OK
        if octets >= 10 << 30:
            level = CRITICAL
        elif octets >= big or engine.limited_by_default:
            level = WARNING
        size = f" ({units.say_size(octets)})" if one.octets is not None else ""
        faults.append(
            Fault(
                "docker-unbounded",
                level,
                one.name,
                f"container {safe(one.name)}: its json-file log{size} has no max-size"
                + (late if engine.limited_by_default else ""),
                (one.path,),
                (),
                f"docker inspect -f '{{{{.HostConfig.LogConfig}}}}' {safe(one.name)}",
                octets,
            )
        )
    return faults


def other_owners(seen: Seen, big: float) -> list[Fault]:
    """Logs that are not logrotate's: containers and the journal."""
    faults = containers(seen.engine, big) if seen.engine is not None else []
    kept = seen.journal
    if kept.limit is not None and kept.filesystem and kept.limit > kept.filesystem:
        faults.append(
            Fault(
                "journald-unbounded",
                WARNING,
                kept.place,
                f"{kept.place}: SystemMaxUse={kept.limit_text} is more than its file system has "
                f"({units.say_size(kept.filesystem)}): no limit",
                next="journalctl --disk-usage",
            )
        )
    for path, octets in kept.foreign:
        if octets >= big:
            faults.append(
                Fault(
                    "journald-unbounded",
                    WARNING,
                    path,
                    f"{path} ({units.say_size(octets)}) is another machine's journal, which "
                    f"journald never removes",
                    next=f"du -sh {path}; cat /etc/machine-id",
                    octets=octets,
                )
            )
    return faults


def blindness(seen: Seen) -> list[Fault]:
    """What our rights hid; an OK must not come from that."""
    parts = []
    if seen.writers.seen < seen.writers.total:
        parts.append(f"{seen.writers.seen} of {seen.writers.total} processes")
    kinds: dict[str, list[str]] = {}
    for path, wanted in seen.unseen.items():
        kinds.setdefault(wanted, []).append(path)
    hidden = []
    for wanted, paths in kinds.items():
        hidden.append(
            f"{paths[0]}{_more(len(paths) - 1, 'more')}"
            if wanted == "logs"
            else f"the {wanted} {paths[0]}"
        )
    text = ""
    if parts:
        text = f"saw {parts[0]}"
    if hidden:
        text += ("; " if text else "") + f"not allowed to see {', '.join(hidden)}"
    if not seen.walked_all:
        text += (
            "; " if text else ""
        ) + "too many files in the log directories, not all were looked at"
    if not text:
        return []
    return [
        Fault(
            "unseen",
            UNKNOWN,
            "rights",
            f"{text}: run with sudo for the rest, or --ignore unseen",
            next=f"sudo {os.path.abspath(sys.argv[0])}"
            if sys.argv[0].endswith(".py")
            else "sudo check_log_rotation",
        )
    ]


def faults_of(
    seen: Seen,
    memory: Memory,
    big: float,
    warning: limits.Limit | None,
    critical: limits.Limit | None,
    at: Stamp,
) -> list[Fault]:
    """All of them, the worst first; within a state what concerns every log, then the biggest."""
    faults = runs(seen, warning, critical, at.uptime)
    faults += configuration(seen, memory)
    faults += directives(seen, big)
    faults += rotations(seen, memory, warning.worst_bound if warning else 2 * DAY)
    faults += aftermath(seen, big)
    faults += uncovered(seen, memory)
    faults += other_owners(seen, big)
    faults += reborn(seen, memory, at.boot)
    faults += blindness(seen)
    order = verdict.SEVERITY
    return sorted(
        faults, key=lambda one: (-order.index(one.state), one.code not in _RUN_WIDE, -one.octets)
    )


# How it is told

EVERY = "1h"


def applies() -> str:
    """Why there is nothing to look at on this host, or ""."""
    for trace in ("/etc/logrotate.conf", "/usr/sbin/logrotate", "/usr/bin/logrotate"):
        if os.path.exists(trace):
            return ""
    return "logrotate is not installed, and there is no /etc/logrotate.conf"


@dataclass(frozen=True)
class Ignore:
    """--ignore CODE[:GLOB]."""

    code: str
    pattern: str = "*"

    def covers(self, fault: Fault) -> bool:
        return self.code == fault.code and (
            self.pattern == "*"
            or any(fnmatch.fnmatchcase(one, self.pattern) for one in (fault.subject, *fault.also))
        )


def _ignore(text: str) -> Ignore:
    code, colon, pattern = text.partition(":")
    if code not in CODES:
        guess = difflib.get_close_matches(code, CODES, 1, 0.5)
        raise ValueError(
            f"{code!r} is no code of a finding"
            + (f"; meant is perhaps {guess[0]!r}" if guess else "")
        )
    return Ignore(code, pattern if colon else "*")


def story(path: str, seen: Seen) -> Report:
    """--explain: who rotates this log, when, and what would happen now."""
    mine = [one for one in seen.turns if one.path == path]
    problems = [one for one in seen.reading.problems if path in one.files]
    lines = [f"{problem.place}: {problem.text} [{problem.code}]" for problem in problems]
    if not mine:
        lost = "the stanza that names it is lost" if problems else "no stanza claims it"
        read = ", ".join(seen.reading.read[:3])
        return Report(
            (
                Finding(
                    WARNING,
                    f"{path}: {lost}",
                    tuple(lines) or (f"read: {read} ...",),
                    code="explain",
                ),
            )
        )
    for one in mine:
        settings, entry = one.stanza.settings, one.entry
        criterion = settings.criterion
        if criterion == "size":
            criterion = f"at {units.say_size(settings.threshold)}"
        where = settings.said.get("criterion")
        lines.append(f"stanza: {one.stanza.pattern.strip()} at {one.stanza.place}")
        lines.append(
            f"criterion: {criterion}"
            + (f" ({where})" if where else " (the default)")
            + (f", maxsize {units.say_size(settings.maxsize)}" if settings.maxsize else "")
            + (f", minsize {units.say_size(settings.minsize)}" if settings.minsize else "")
            + f"; keeps {settings.rotate if settings.rotate >= 0 else 'all'}"
            + (f" ({settings.said['rotate']})" if "rotate" in settings.said else "")
        )
        if entry is None:
            hidden = "" if seen.state.readable else " (it may not be read: run with sudo)"
            lines.append(
                f"last rotation: not in {seen.state.path}{hidden}; the first run only notes it"
            )
        else:
            kind = "first seen" if entry.placeholder else "last rotation"
            proof = ""
            if one.proof > 0:
                proof = (
                    f"; proof: a rotated file of {datetime.fromtimestamp(one.proof):%Y-%m-%d %H:%M}"
                )
            elif one.proof == 0:
                proof = "; no rotated file proves it"
            lines.append(f"{kind}: {entry.when:%Y-%m-%d %H:%M}{proof}")
        if one.decision.due is not None:
            lines.append(f"next due: {one.decision.due:%Y-%m-%d %H:%M}")
        lines.append(f"rotated copies: {len(one.rotated)}")
        name = seen.schedule.name or "unknown"
        lines.append(
            f"schedule: {name}, every {units.say_duration(seen.schedule.interval)}"
            + (f", dead: {seen.schedule.dead}" if seen.schedule.dead else "")
        )
        lines.append(f"a run now would {one.decision.outcome}: {one.decision.reason}")
    bad = mine[0].decision.error or bool(mine[0].parent.blocked)
    why = mine[0].parent.blocked or mine[0].decision.reason
    head = f"{path}: a run now would {mine[0].decision.outcome}: {why}"
    return Report((Finding(WARNING if bad else OK, head, tuple(lines), code="explain"),))


def report(
    seen: Seen, faults: Sequence[Fault], warning: limits.Limit | None, critical: limits.Limit | None
) -> Report:
    """The faults as findings, and the numbers."""
    findings = [
        Finding(
            fault.state,
            fault.text,
            (*fault.more, f"[{fault.code}] {CODES[fault.code][0]}; cure: {CODES[fault.code][1]}"),
            fault.next,
            fault.code,
        )
        for fault in faults
        if fault.state is not OK
    ]
    covered = len({one.path for one in seen.turns if not one.log.error})
    lost = {
        one
        for problem in seen.reading.problems
        if problem.radius in (grammar.RUN, grammar.FILE, grammar.STANZA)
        and problem.code != "config-taboo"
        for one in problem.patterns
    }
    held = {one.inode: one.octets for one in seen.writers.opened if one.deleted}
    engine = seen.engine.containers if seen.engine else ()
    measures = [
        Measure("covered", covered, minimum=0),
        Measure("uncovered", sum(fault.code == "uncovered" for fault in faults), minimum=0),
        Measure(
            "overdue",
            sum(fault.logs for fault in faults if fault.code in ("overdue", "no-proof")),
            minimum=0,
        ),
        Measure("lost", len(lost), minimum=0),
        Measure("deleted_held", sum(held.values()), "B", minimum=0),
        Measure("run_age", seen.run_age, "s", warning, critical, 0),
        Measure(
            "unbounded", sum(one.octets or 0 for one in engine if not one.limited), "B", minimum=0
        ),
    ]
    age = seen.run_age
    ran = f"last run {units.say_duration(age)} ago" if age is not None else "no run yet"
    by = f" by {seen.schedule.name}" if seen.schedule.name else ""
    summary = (
        f"{covered} logs of {len(seen.reading.stanzas)} stanzas are rotated as intended, {ran}{by}"
    )
    remarks = [f"{fault.text} [{fault.code}]" for fault in faults if fault.state is OK]
    return Report(tuple(findings), tuple(measures), summary, tuple(remarks))


def options() -> argparse.ArgumentParser:
    """The command line."""
    codes = "\n".join(
        f"  {code}\n      {cause}\n      cure: {cure}" for code, (cause, cure) in CODES.items()
    )
    made = opt.parser("log_rotation", f"{__doc__}\nCodes of findings, for --ignore:\n{codes}\n")
    where = made.add_argument_group("where")
    where.add_argument(
        "--config", default="/etc/logrotate.conf", metavar="PATH",
        help="logrotate's configuration, a file or directory (default: /etc/logrotate.conf)",
    )  # fmt: skip
    where.add_argument(
        "--state-file", metavar="PATH",
        help="logrotate's state file (default: as its schedule or the program itself says)",
    )  # fmt: skip
    where.add_argument(
        "--log-dir", action="append", default=None, metavar="DIR",
        help="look here for logs that nobody rotates; repeatable (default: /var/log)",
    )  # fmt: skip
    where.add_argument(
        "--logrotate-version", type=opt.argument(grammar.version), metavar="VERSION",
        help="judge as this version, 3.8 or later, reads it (default: the installed one)",
    )  # fmt: skip
    where.add_argument(
        "--docker", action=argparse.BooleanOptionalAction, default=None,
        help="ask the Docker engine about the logs of containers (default: if its socket may be "
        "used)",
    )  # fmt: skip
    opt.add_limits(
        made, warning="49h", critical="8d", unit=units.duration,
        what="the time since logrotate's last completed run",
    )  # fmt: skip
    judging = made.add_argument_group("judging")
    judging.add_argument(
        "--big", type=opt.size, default="100MiB", metavar="SIZE",
        help="a log that nobody rotates, limits or lets go of is worth a finding from this size on "
        "(default: 100MiB)",
    )  # fmt: skip
    judging.add_argument(
        "--ignore", action="append", type=opt.argument(_ignore), default=[], metavar="CODE[:GLOB]",
        help="leave out findings with this code, or only for logs and files that match; repeatable "
        "(default: none)",
    )  # fmt: skip
    judging.add_argument(
        "--explain", metavar="PATH",
        help="tell the story of one log: its stanza, criterion, last and next rotation (default: "
        "none)",
    )  # fmt: skip
    opt.add_state_dir(made)
    return made


def _recalled(past: History) -> Memory:
    note = past.note("look")
    if not isinstance(note, dict):
        return Memory()
    return Memory(
        float(note.get("at") or 0),
        note.get("sizes") or {},
        note.get("oldest") or {},
        str(note.get("boot") or ""),
    )


def _remembered(seen: Seen, faults: Sequence[Fault], at: Stamp) -> dict[str, Any]:
    """Sizes of the logs in trouble, and a few dates of the state file."""
    sizes = {path: log.size for path, log in list(seen.lost.items())[:300]}
    sizes |= {stray.path: stray.octets for stray in seen.strays[:300]}
    troubled = {fault.subject for fault in faults}
    sizes |= {
        one.path: one.log.size for one in seen.turns if one.path in troubled and len(sizes) < 900
    }
    dated = [one for one in seen.state.known.entries.items() if not one[1].placeholder]
    dated.sort(key=lambda one: one[1].when)
    oldest = {path: entry.when.isoformat() for path, entry in dated[:20]}
    return {"at": seen.epoch, "sizes": sizes, "oldest": oldest, "boot": at.boot}


def plan(
    args: argparse.Namespace,
    *,
    places: Places = Places(),  # noqa: B008 - frozen
    clock: Callable[[], Stamp] = history.now,
) -> verdict.Check:
    """The check; `places` and `clock` stand in for the host in tests."""
    args.log_dir = [os.path.abspath(one) for one in args.log_dir or ["/var/log"]]

    def look() -> Report:
        at = clock()
        seen = look_around(args, places, at.wall)
        if args.explain:
            return story(os.path.abspath(args.explain), seen)
        with History.open("log_rotation", args.state_dir) as past:
            memory = _recalled(past)
            every = faults_of(seen, memory, args.big, args.warning, args.critical, at)
            faults = [one for one in every if not any(rule.covers(one) for rule in args.ignore)]
            if at.wall - memory.at > 20:
                past.write_note("look", _remembered(seen, every, at), at)
            unsaved = past.save()
            made = report(seen, faults, args.warning, args.critical)
            if len(every) > len(faults):
                made = replace(
                    made, remarks=(*made.remarks, f"{len(every) - len(faults)} findings ignored")
                )
            if past.remark:
                made = replace(made, remarks=(*made.remarks, past.remark))
        return replace(made, findings=(*made.findings, unsaved)) if unsaved else made

    return verdict.Check(
        "log_rotation",
        look,
        timeout=args.timeout,
        verbose=max(args.verbose, 1 if args.explain else 0),
    )


@guarded
def main() -> None:
    """Console script."""
    # With a hundred thousand logs the collector would look at every one of them again and again.
    gc.disable()
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

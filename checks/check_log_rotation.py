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
  schedule (systemd timer, cron, anacron, periodic), /proc, journald.conf, and the API of Docker or
  Podman if it may. Root sees all; for others it says what it could not see (`unseen`).
Remembers: sizes of the logs in trouble and when each log's turn came, for rates and for proof.
Says:
  OK        every log that grows has a rule, the rule works, and the schedule is alive
  WARNING   something will surprise: a directive without effect, a leak into other files, a failing
            run, a growing log without any rule, an orphan; no run for longer than -w
  CRITICAL  a log that exists and grows is not or will not be rotated, a process keeps filling a
            deleted or rotated file, the schedule is dead, or no run for longer than -c
  UNKNOWN   nothing to read, or parts that our rights hide (silence with --ignore unseen), or an
            engine that does not answer: an outage, but check_container_restarts' to tell
Measures:
  covered        -  logs with a stanza
  uncovered      -  big growing logs without one
  overdue        -  logs whose turn was missed
  lost           -  globs of stanzas that logrotate drops
  deleted_held   B  bytes in deleted logs that a process keeps open
  run_age        s  since the last completed run
  unbounded      B  bytes in logs of containers without a limit
Examples:
  check_log_rotation
  check_log_rotation --explain /var/log/nginx/access.log
  check_log_rotation --ignore directive-unknown --ignore 'uncovered:/var/log/app/*'
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import gc
import os
import re
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from twiceshy.kit import deadline, history, limits, units, verdict
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Measure, Report, safe
from twiceshy.log_rotation.logrotate import grammar
from twiceshy.log_rotation.logrotate import plan as turn
from twiceshy.log_rotation.logrotate.codes import CODES
from twiceshy.log_rotation.logrotate.host import (
    GZIP,
    Host,
    Places,
    StateFile,
    installed,
    missing_programs,
    state_file,
)
from twiceshy.log_rotation.logrotate.others import (
    NOT_LOGS,
    Engine,
    Journal,
    Stray,
    container_logs,
    journal,
    rotates_itself,
    strays,
)
from twiceshy.log_rotation.logrotate.schedule import Schedule, schedule
from twiceshy.log_rotation.logrotate.turns import (
    Turn,
    ctime,
    missed_by_recursion,
    rotated_copies,
    turns_of,
)
from twiceshy.log_rotation.logrotate.writers import Open, Writers, writers

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

# What is seen


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
    no_packers: frozenset[str] = frozenset()
    """Programs that `compress` needs and that are not there."""

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
    rotated, rotated_all = rotated_copies(stanzas, host)
    truncated = {
        path
        for stanza in stanzas
        if stanza.settings.copytruncate or stanza.settings.copy
        for path in stanza.files
    }
    plain = {path for path in rotated_all if not NOT_LOGS.search(path)} - claimed
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
    memory = state_file(candidates, places.proc, host, epoch)
    turns = turns_of(stanzas, host, memory, found, places, epoch, version, rotated)
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
        container_logs(places, args.docker, host),
        journal(places),
        dict(host.unseen),
        written,
        missed_by_recursion(stanzas, claimed),
        epoch,
        walked,
        missing_programs(
            {
                one.settings.compresscmd or GZIP
                for one in stanzas
                if one.settings.compress and one.files
            }
        ),
    )


# What it means

DAY = 86400.0
GROWS_WITHIN = 7 * DAY
SLACK = 3 * 3600.0

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


def _more(count: int, what: str = "log") -> str:
    return f" (+{count} {what}{'s' * (count > 1)})" if count > 0 else ""


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
                    next=f"head {file}",
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
        # Its scripts will run as root: whoever wrote them first.
        following = f"ls -l {problem.place.file}   # read it, then chown root, chmod 0644"
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
        too_slow, bound = "", float(settings.maxsize)
        if settings.criterion == "size" and "criterion" in settings.said:
            bound = bound or settings.threshold
        if seen.schedule.interval <= 3700 or seen.schedule.dead:
            pass
        elif settings.criterion in ("hourly", "minutes"):
            too_slow, bound = settings.criterion, 0
        elif bound:
            word = "maxsize" if settings.maxsize else "size"
            too_slow = f"{word} {units.say_size(bound)}"
        harm = largest is not None and largest.log.size >= max(2 * bound, big)
        # One in thirteen of Debian's stanzas has a size, and means it as it is.
        if too_slow and largest is not None and (harm or settings.criterion != "size"):
            faults.append(
                Fault(
                    "schedule-too-slow",
                    WARNING if harm else OK,
                    largest.path,
                    f"{largest.path} ({units.say_size(largest.log.size)}): `{too_slow}` at "
                    f"{place} does not hold, logrotate runs only {every}",
                    (place.file,),
                    next="systemctl edit logrotate.timer   # [Timer] OnCalendar=hourly",
                    octets=largest.log.size,
                )
            )
        packer = settings.compresscmd or GZIP
        if settings.compress and packer in seen.no_packers and largest and not largest.log.error:
            level, harm_done = WARNING, "each run overwrites the last rotated log"
            if settings.delaycompress:
                level = CRITICAL if _grows(largest.log, seen.epoch) else WARNING
                harm_done = "the log is rotated once, and never again"
            elif settings.dateext:
                harm_done = "no rotated log is ever removed"
            faults.append(
                Fault(
                    "compress-missing",
                    level,
                    largest.path,
                    f"{largest.path}: `compress` at {place} fails, there is no program {packer}: "
                    f"{harm_done}",
                    (place.file,),
                    next=f"command -v {packer}; grep -n compress {place.file} {seen.main}",
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
                    next=f"grep -n rotate {place.file} {seen.main}",
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
                        next=f"ls -l {left[0]}; sed -n {place.line}p {place.file}",
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
                    f"{_more(len(products) - 1, 'file')}",
                    (place.file,),
                    next=f"ls -l {os.path.dirname(products[0])}; sed -n {place.line}p {place.file}",
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
    named = f"{one.path} ({_size(one.path, log.size, memory, seen.epoch)})"
    folder = os.path.dirname(one.path)
    by_hand = f"logrotate -d {seen.main}"
    harm = CRITICAL if grows else WARNING

    def fault(code: str, level: State, text: str, following: str) -> Fault:
        return Fault(code, level, one.path, text, (place.file,), (), following, log.size)

    if decision.code in ("insecure-parent", "sharedscripts-blocked"):
        if log.error or log.kind != "file":
            harm, named = OK, one.path
        if decision.code == "insecure-parent":
            by_hand = (
                f"ls -ld {folder}   # then perhaps `su {one.parent.user} {one.parent.group}` "
                f"in the stanza at {place}"
            )
        text = f"{named} is refused by logrotate: {decision.reason} ({place})"
        return fault(decision.code, harm, text, by_hand)
    if decision.code == "log-missing":
        text = f"{one.path}: {decision.reason}, and {place} has no `missingok`: every run fails"
        return fault("log-missing", WARNING, text, by_hand)
    if decision.code == "log-symlink":
        real = os.path.realpath(one.path)
        if real in claimed or not os.path.exists(real):
            return None
        text = f"{one.path}: {decision.reason} ({place})"
        return fault("log-symlink", WARNING, text, f"readlink -f {one.path}")
    if decision.code == "log-hardlink":
        text = f"{named}: {decision.reason} ({place})"
        return fault("log-hardlink", WARNING, text, f"find {folder} -samefile {one.path}")
    if log.error or log.kind != "file":
        return None
    if one.parent.blocked:
        code, following = "read-only", f"findmnt -T {folder}"
        if one.parent.blocked.startswith("`su"):
            code, following = "su-cannot-write", f"ls -ld {folder}"
        elif "service" in one.parent.blocked:
            following = "systemctl cat logrotate.service"
        text = f"{named} cannot be rotated: {one.parent.blocked} ({place})"
        return fault(code, harm, text, following)
    if decision.outcome == turn.ROTATE and one.stanza.settings.dateext:
        target = turn.destination(one.path, one.stanza.settings, seen.now)
        again = one.stanza.settings.criterion == "size" or one.stanza.settings.maxsize
        if target and again and os.path.lexists(target):
            level = harm if seen.schedule.interval < DAY else WARNING
            text = f"{named} cannot be rotated again today: {target} exists already ({place})"
            return fault("destination-exists", level, text, f"ls -l {target}")
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
    if memory.locked_for > 3600:
        faults.append(
            Fault(
                "state-locked",
                CRITICAL,
                memory.path,
                f"nothing is rotated: process {memory.locked_by} has {memory.path} locked, and "
                f"began {units.say_duration(memory.locked_for)} ago",
                # Its child is most often the script that does not end.
                next=f"ps -wwfp {memory.locked_by} --ppid {memory.locked_by}",
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
        if seen.epoch - stray.mtime > DAY or rotates_itself(stray, names, seen.epoch):
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
            rotated_at = owner.entry.when.timestamp() if owner.entry else ctime(one.path) - 1
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
                    f"ls -ls {one.path}; ps -wwfp {one.pid}",
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
                    and not NOT_LOGS.search(name)
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
                f"{_more(len(names) - 1, 'file')}",
                tuple(names[1:50]),
                next=f"ls -lt {os.path.dirname(names[0])}",
                octets=octets,
            )
        )
    return faults


def containers(engine: Engine, claimed: Container[str], big: float) -> list[Fault]:
    """Logs of containers that nothing bounds.

    An engine that does not answer is an outage, and check_container_restarts says so; here it only
    hides a part of the picture, hence UNKNOWN.
    """
    faults: list[Fault] = []
    if engine.error:
        faults.append(
            Fault(
                "unseen",
                UNKNOWN,
                engine.server,
                f"the logs of containers are not seen: {safe(engine.error)}",
                next=f"systemctl status {engine.server}.socket {engine.server}.service",
            )
        )
    late = "; daemon.json has max-size, but it holds only for containers made later"
    for one in engine.containers:
        if one.limited or one.path in claimed:
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
                f"container {safe(one.name)}: its {one.driver} log{size} has no max-size"
                + (late if engine.limited_by_default else ""),
                (one.path,),
                (),
                f"{engine.server} inspect -f '{{{{.HostConfig.LogConfig}}}}' {safe(one.name)}",
                octets,
            )
        )
    return faults


def other_owners(seen: Seen, big: float) -> list[Fault]:
    """Logs that are not logrotate's: containers and the journal."""
    faults: list[Fault] = []
    if seen.engine is not None:
        faults += containers(seen.engine, {one.path for one in seen.turns}, big)
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
            f"{paths[0]}{f' (+{len(paths) - 1} more)' * (len(paths) > 1)}"
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
        if not seen.state.readable:
            lines.append(f"last rotation: unknown, {seen.state.path} may not be read: use sudo")
        elif entry is None:
            lines.append(f"last rotation: none is known to {seen.state.path}")
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
        if one.decision.due is not None and seen.state.readable:
            lines.append(f"next due: {one.decision.due:%Y-%m-%d %H:%M}")
        lines.append(f"rotated copies: {len(one.rotated)}")
        name = seen.schedule.name or "unknown"
        lines.append(
            f"schedule: {name}, every {units.say_duration(seen.schedule.interval)}"
            + (f", dead: {seen.schedule.dead}" if seen.schedule.dead else "")
        )
    head, level = f"a run now would {mine[0].decision.outcome}: {mine[0].decision.reason}", OK
    if mine[0].parent.blocked:
        head, level = f"a run now would fail: {mine[0].parent.blocked}", WARNING
    elif mine[0].decision.error:
        level = WARNING
    elif not seen.state.readable and mine[0].decision.due is not None:
        head = f"when it was rotated last is hidden: {seen.state.path} may not be read; use sudo"
        level = UNKNOWN
    return Report((Finding(level, f"{path}: {head}", tuple(lines), code="explain"),))


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
    unbounded = None
    if seen.engine and not seen.engine.error:
        unbounded = sum(one.octets or 0 for one in seen.engine.containers if not one.limited)
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
        Measure("unbounded", unbounded, "B", minimum=0),
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
        help="ask the container engine, Docker or Podman, about logs (default: if its socket may "
        "be used)",
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
) -> Check:
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

    return Check(
        "log_rotation",
        look,
        timeout=args.timeout,
        verbose=max(args.verbose, 1 if args.explain else 0),
    )


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.log_rotation.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    """Console script."""
    # With a hundred thousand logs the collector would look at every one of them again and again.
    gc.disable()
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Is a daemon coming and going although it always looks up?

A supervisor that restarts a crashing daemon hides the crash: whoever looks sees a process, or a
unit that is active, nearly always. This check counts lives instead. Without arguments it looks at
every daemon of every supervisor that runs on this host; --service watches some by name, and
--process, --cmdline, --pidfile and --user watch processes without a supervisor.

Crashes are judged by -w and -c, and so are exits with status 0 that the supervisor repairs, unless
--clean-exit-ok. Restarts by hand (a deploy, an operator) are told but not judged, until there are
more than -c of them in the window: that is no hand but a script in a loop. --count all judges the
sum. It is OK again by itself after one quiet window.

Learned from: "High availability taken the wrong way" (2015): rsyslogd under perp aborted at each
  start on a mistake in its configuration and was restarted every second; the process check was
  green all the time.
Reads: /proc (any user), and of each supervisor what it tells; as root all of this is seen.
  systemd: `systemctl show` (any user) and the journal (group systemd-journal; without it, restarts
    are counted from run to run). Of users' own managers (systemctl --user), whose services are
    called USER/NAME, only root sees those of others.
  runit, daemontools, s6: SERVICE/supervise/status and s6's death tally (root, or anybody after
    `chmod 755 SERVICE/supervise`). Any other user sees in /proc who comes and goes, and how it dies
    (Linux 6.6), but takes what was stopped by hand for what is dead, or the other way round.
  perp: the socket .control/perpd.sock (root); any other user sees the children of perpd.
  supervisord: its socket or URL (`chown=` and `chmod=` of [unix_http_server], $SUPERVISOR_USERNAME
    and $SUPERVISOR_PASSWORD); any other user sees its children, named by their command lines.
  monit: its URL or socket (root reads the password in the control file; any other user sets
    $MONIT_USERNAME and $MONIT_PASSWORD), and its log.
  contrib/sudoers/twiceshy-flapping has the least that sudo must allow.
Remembers: of each daemon its last life, its counter and the restarts seen, because most
  supervisors remember nothing; in <state-dir>/flapping.sqlite, written when something changed.
Says:
  OK        no more restarts within the window than -w and -c allow
  WARNING   more crashes than -w allows; or seen dead, waiting for its next start
  CRITICAL  more crashes than -c allows; restarted in a loop by others than its supervisor; given up
            by its supervisor (start limit, FATAL, unmonitored); dead at every look; named but not
            running (--missing)
  UNKNOWN   too little history where nothing remembers (--learning); not allowed to ask; history
            cannot be saved
Measures:
  services              -  daemons looked at
  restarts              -  crashes and clean exits within the window, all daemons
  restarts_by_hand      -  restarts by hand or by others within the window, all daemons
  flapping              -  daemons with more restarts than allowed
  down                  -  daemons given up, or dead at the look although wanted up
  SERVICE_restarts      -  restarts within the window that are judged
  SERVICE_restarts_total  c  restarts by its supervisor's count, or seen so far
  SERVICE_age           s  age of the current life
  SERVICE_mtbr          s  mean time between restarts within the window
Examples:
  check_flapping
  check_flapping --service rsyslog --service 'php*-fpm' -w 1 -c 3 --window 10m
  check_flapping --exclude 'worker@*' --clean-exit-ok
  check_flapping --process rsyslogd --user syslog
  check_flapping --supervisor runit --service-dir /etc/service
"""

from __future__ import annotations

import argparse
import functools
import os
import pwd
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from twiceshy.flapping import supervisors
from twiceshy.flapping.supervisors import (
    BETWEEN,
    BY_HAND,
    CLEAN,
    DOWN,
    GAVE_UP,
    UNSEEN,
    UP,
    Place,
    Service,
    process,
    systemd,
)
from twiceshy.flapping.supervisors.process import Process, Watch
from twiceshy.kit import history, subprocesses, units, verdict
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.limits import Limit, judge
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.kit.stamps import Sample, Stamp
from twiceshy.kit.verdict import Finding, Measure, Report, safe

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Timeline

# What is seen


@dataclass(frozen=True)
class Question:
    """What the command line asks for."""

    services: tuple[opt.Pattern, ...] = ()
    include: tuple[opt.Pattern, ...] = ()
    exclude: tuple[opt.Pattern, ...] = ()
    supervisors: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # service directories and sockets
    watches: tuple[Watch, ...] = ()
    window: float = 900.0
    log_lines: int = 3

    @property
    def exact_names(self) -> tuple[str, ...]:
        """Services asked for by name: they must exist."""
        return tuple(p.typed for p in self.services if is_exact(p))

    def wants(self, name: str) -> bool:
        """Whether a service is asked for, under its short name or with the unit's suffix."""
        include = (*self.services, *self.include)
        names = (name, systemd.long(name))
        if include and not any(pattern.matches(n) for pattern in include for n in names):
            return False
        return not any(pattern.matches(n) for pattern in self.exclude for n in names)

    def names(self, service: Service) -> bool:
        """Whether it is asked for by name, and so must be there."""
        return service.supervisor == "process" or any(
            systemd.short(name) == service.name for name in self.exact_names
        )

    @property
    def signature(self) -> str:
        """The same for every run that looks at the same services."""
        words = [
            *(f"s{p.typed}" for p in self.services),
            *(f"i{p.typed}" for p in self.include),
            *(f"x{p.typed}" for p in self.exclude),
            *(f"v{name}" for name in self.supervisors),
            *(f"p{place}" for place in self.places),
            *(f"w{watch}" for watch in self.watches),
        ]
        return "\x1f".join(words)


@dataclass(frozen=True)
class Seen:
    """One look at everything that was asked for."""

    services: tuple[tuple[str, Service], ...] = ()  # with the subject of the history
    trouble: tuple[Finding, ...] = ()
    known: Mapping[str, process.Known] = field(default_factory=dict)  # by subject
    supervisors: tuple[str, ...] = ()


Look = Callable[[Question, Stamp, Mapping[str, process.Known]], Seen]
Words = Callable[[Service, int], tuple[str, ...]]


def look_around(
    question: Question, now: Stamp, known: Mapping[str, process.Known], proc: Path = process.PROC
) -> Seen:
    """Services of all supervisors and watched processes; one pass over /proc serves them all."""
    processes = process.snapshot(proc)
    services: list[tuple[str, Service]] = []
    trouble: list[Finding] = []
    learned: dict[str, process.Known] = {}
    names: Sequence[str] = ()
    if question.watches:
        callers = process.ourselves_and_our_callers(processes, os.getpid(), "check_flapping")
        for watch in process.each_program(question.watches, processes, callers):
            subject = f"process::{watch.name}"
            service, learned[subject] = process.look_for(
                watch,
                processes,
                now.boot,
                process.uptime(proc),
                known=known.get(subject),
                ourselves=callers,
            )
            services.append((subject, service))
    if not question.watches or question.services or question.include or question.supervisors:
        names = question.supervisors or supervisors.running_here(processes.values())
        if not question.supervisors and systemd.NAME not in names:
            names = [*(place.supervisor for place in systemd.found(proc, processes)), *names]
        if not names:
            some = ", ".join(supervisors.PROGRAMS)
            raise CheckError(
                f"no supervisor runs here ({some}); name a daemon by --process, --pidfile or "
                "--cmdline"
            )
    for name in names:
        for place in _places(name, question, proc, processes, trouble):
            if place.trouble:
                trouble.append(Finding(UNKNOWN, f"{name} at {place.where}: {place.trouble}"))
                continue
            try:
                found = _services(place, question, now, proc, processes)
            except subprocesses.NoAnswer as error:
                whose = systemd.manager_at(place, proc, processes).called
                next_command = f"ps -p {place.pid} -o stat"
                trouble.append(Finding(CRITICAL, f"{whose} hangs: {error}", next=next_command))
            except CheckError as error:
                trouble.append(Finding(UNKNOWN, str(error)))
            else:
                services += [(f"{name}:{place.where}:{s.name}", s) for s in found]
    return Seen(tuple(services), tuple(trouble), learned, tuple(names))


def _places(
    name: str,
    question: Question,
    proc: Path,
    processes: Mapping[int, Process],
    trouble: list[Finding],
) -> list[Place]:
    found = supervisors.module(name).found(proc, processes)
    if question.places and name != systemd.NAME:
        here = [place for place in found if place.where in question.places]
        asked = {place.where for place in here}
        return here + [Place(name, where) for where in question.places if where not in asked]
    if not found and name in question.supervisors:
        trouble.append(Finding(CRITICAL, f"{name} does not run on this host", code="missing"))
    return found


def _services(
    place: Place,
    question: Question,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> list[Service]:
    if place.supervisor != systemd.NAME:
        found = supervisors.module(place.supervisor).look(place, now, proc, processes)
        return [service for service in found if question.wants(service.name)]
    only_exact = len(question.exact_names) == len(question.services) and not question.include
    return systemd.look(
        place,
        now,
        proc,
        processes,
        window=question.window,
        names=question.exact_names if only_exact else (),
        log_lines=question.log_lines,
        wanted=question.wants,
    )


def last_words(service: Service, lines: int) -> tuple[str, ...]:
    """The log lines of an offender, from its supervisor's log if the look has not brought them."""
    if service.log or not lines or service.supervisor in (systemd.NAME, "process"):
        return service.log[-lines:] if lines else ()
    ask = getattr(supervisors.module(service.supervisor), "last_words", None)
    return tuple(ask(service, lines)) if ask is not None else ()


# What it means


@dataclass(frozen=True)
class Gap:
    """The time between two looks in which a daemon died or came back, in seconds of uptime."""

    start: float  # the restarts lie between start ...
    end: float  # ... and end
    crashes: int
    by_hand: int
    blind: float = 0.0  # seconds before the life that was seen, in which others may have been


@dataclass(frozen=True)
class Memory:
    """What is remembered of a daemon; all times are seconds of uptime of one boot."""

    first: float  # first look
    first_age: float | None  # seconds; age of the life seen then
    life: str
    restarts: int | None
    faults: int | None
    gaps: tuple[Gap, ...] = ()
    total: int = 0  # restarts counted since the first look
    dead_since: float | None = None
    last_exit: str = ""
    exit_at: float = 0.0  # when last_exit was seen
    window: float = 0.0  # the longest that a run has asked for

    def as_note(self) -> dict[str, Any]:
        """JSON for the history."""
        gaps = [[round(g.start, 2), round(g.end, 2), g.crashes, g.by_hand, round(g.blind, 2)]
                for g in self.gaps]  # fmt: skip
        return {**vars(self), "gaps": gaps}

    @classmethod
    def from_note(cls, note: Any) -> Memory | None:
        """What `as_note` made; None for anything else."""
        try:
            gaps = tuple(Gap(*gap) for gap in note["gaps"])
            words = {k: v for k, v in note.items() if k not in ("gaps", "known")}
            return cls(gaps=gaps, **words)
        except (KeyError, TypeError):
            return None


_TIME_STAMP = re.compile(
    r"^\W?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(Z|[+-]\d\d:?\d\d)?\W*"
)
GAPS = 120  # remembered of one daemon; then the oldest are joined
YOUNG_SECONDS = 60.0


def remembered(
    memory: Memory | None,
    service: Service,
    uptime: float,
    previous: float | None,
    window: float,
) -> Memory:
    """The memory after a look at `uptime`; `previous` is the uptime of the look before."""
    is_running = bool(service.incarnation)
    age = service.age_seconds if is_running else 0.0
    dead_since = uptime if service.state == BETWEEN and not is_running else None
    if service.state == UNSEEN and memory is not None:
        return memory
    if memory is None or previous is None:
        age = service.age_seconds if dead_since is None else 0.0
        first = Memory(
            uptime, age, service.incarnation, service.restarts,
            service.reaped_faults, dead_since=dead_since, last_exit=service.last_exit,
            exit_at=uptime, window=window,
        )  # fmt: skip
        if service.restarts and service.restarts_seconds is not None:
            start = uptime - service.restarts_seconds
            gap = Gap(min(start, uptime), uptime - (age or 0.0), service.restarts, 0)
            return replace(first, gaps=(gap,))
        return first
    crashes, by_hand = _since(memory, service, uptime, previous)
    gaps = memory.gaps
    # Back from the dead: its death is counted, but when it came back tells of its rate.
    is_back = is_running and memory.dead_since is not None and service.restarts is None
    if crashes or by_hand or is_back:
        end = max(previous, uptime - (age or 0.0))
        gaps = (*gaps, Gap(previous, end, crashes, by_hand, end - previous))
    longest = max(window, memory.window)
    return replace(
        memory,
        life=service.incarnation if service.state in (UP, BETWEEN, GAVE_UP) else memory.life,
        restarts=memory.restarts if service.restarts is None else service.restarts,
        faults=memory.faults if service.reaped_faults is None else service.reaped_faults,
        gaps=_joined(tuple(gap for gap in gaps if gap.end > uptime - longest)),
        total=memory.total + crashes + by_hand,
        dead_since=None if dead_since is None else memory.dead_since or dead_since,
        last_exit=service.last_exit or memory.last_exit,
        exit_at=uptime if service.last_exit else memory.exit_at,
        window=longest,
    )


def _since(memory: Memory, service: Service, uptime: float, previous: float) -> tuple[int, int]:
    """Crashes and restarts by hand since the previous look: exact with a counter, else at least."""
    is_new = bool(service.incarnation) and service.incarnation != memory.life
    gap = uptime - previous
    if service.history is not None and service.history_seconds >= gap > 0:
        kinds = [life.kind for life in service.history if life.age_seconds <= gap]
        by_hand = 0 if service.on_demand or service.state == DOWN else kinds.count(BY_HAND)
        return len(kinds) - kinds.count(BY_HAND), by_hand
    if service.restarts is not None and memory.restarts is not None:
        # Fallen back: reset by hand or by a start by hand. What it shows now is new, and the next
        # difference is taken from there; a high-water mark would blind the check for ever.
        fallen = service.restarts < memory.restarts
        crashes = service.restarts - (0 if fallen else memory.restarts)
        by_others = is_new and bool(memory.life) and not crashes and not service.on_demand
        return crashes, int(by_others)
    if is_new:
        # A life older than the gap was there before: a pid file that moved on, a pool that shrank.
        is_young = service.age_seconds is None or service.age_seconds < gap
        return int(is_young and bool(memory.life)), 0
    if service.state == BETWEEN and memory.life:
        return 1, 0
    if service.state == BETWEEN and memory.dead_since is not None:
        # Dead at the last look and at this one. A keeper that has reaped nothing has not tried.
        if service.reaped_faults is not None and memory.faults is not None:
            return int(service.reaped_faults > memory.faults), 0
        return int(gap >= 5.0), 0
    return 0, 0


def _joined(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    """No more than GAPS; the oldest half of too many becomes one."""
    if len(gaps) <= GAPS:
        return gaps
    old, new = gaps[: GAPS // 2], gaps[GAPS // 2 :]
    joined = Gap(
        old[0].start,
        old[-1].end,
        sum(gap.crashes for gap in old),
        sum(gap.by_hand for gap in old),
        sum(gap.blind for gap in old),
    )
    return (joined, *new)


@dataclass(frozen=True)
class Count:
    """Restarts of one daemon within the window."""

    crashes: float = 0.0
    by_hand: float = 0.0
    seconds: float = 0.0  # what was overlooked: the window, or less
    clean: float = 0.0  # how many of the crashes were exits with status 0
    every: tuple[float, float] | None = None  # estimated: seconds from one restart to the next
    lasted: float | None = None  # seconds a life lasts
    period: float | None = None  # seconds from one restart to the next, where that is exact
    cause: str = ""
    is_first: bool = False
    have_seconds: float | None = None  # of history, where nothing remembers


def count(
    service: Service,
    memory: Memory,
    uptime: float,
    window: float,
    clean_exit_ok: bool = False,
    is_first: bool = False,
) -> Count:
    """Restarts within the window: from the history that is exact, from the looks, or estimated."""
    age = service.age_seconds if service.age_seconds is not None else 0.0
    if service.history is not None:
        told = _from_history(service, window, clean_exit_ok)
        if service.history_seconds >= window:
            return told
    else:
        told = Count(cause=service.last_exit or memory.last_exit)
    since = uptime - window
    crashes = by_hand = 0.0
    first = memory.first
    for gap in memory.gaps:
        share = _share(gap, since)
        crashes += gap.crashes * share
        by_hand += gap.by_hand * share
        # A counter that began shortly before the first look reaches back to its own beginning.
        first = min(first, gap.start) if gap.end - gap.start <= 2 * window else first
    seconds = min(window, max(uptime - first, told.seconds))
    exact = service.restarts is not None or service.exact
    every = None
    if not exact:
        at_least, every = _estimate(memory, uptime, window)
        crashes = max(crashes, at_least)
        every = every if at_least > 0 and crashes >= 1 else None
    last = service.last_exit or (memory.last_exit if memory.exit_at > since else "")
    if clean_exit_ok and not told.crashes and last in ("", "exit status 0"):
        crashes, every = 0.0, None  # nobody has seen a failure, and exits with 0 are its way
    have = None
    if not exact and service.state in (UP, BETWEEN):
        have = max(age, uptime - memory.first + (memory.first_age or 0.0), service.history_seconds)
    if every is None and crashes >= 2 and crashes > told.crashes:
        told = replace(told, period=seconds / crashes)
    return replace(
        told,
        crashes=max(told.crashes, crashes),
        by_hand=max(told.by_hand, by_hand),
        seconds=seconds,
        every=every,
        is_first=is_first,
        have_seconds=have,
    )


def _from_history(service: Service, window: float, clean_exit_ok: bool) -> Count:
    lives = [life for life in service.history or () if life.age_seconds <= window]
    failures = [life for life in lives if life.kind not in (BY_HAND, CLEAN)]
    clean = [life for life in lives if life.kind == CLEAN]
    judged = failures if clean_exit_ok else [life for life in lives if life.kind != BY_HAND]
    by_hand = sum(life.kind == BY_HAND for life in lives)
    if service.state == DOWN and by_hand:
        by_hand -= 1  # stopped by hand and not started again: no restart
    causes = Counter(life.cause for life in judged if life.cause)
    lasted = sorted(life.lasted_seconds for life in judged if life.lasted_seconds is not None)
    ends = [life.age_seconds for life in judged]
    return Count(
        period=(max(ends) - min(ends)) / (len(ends) - 1) if len(ends) > 1 else None,
        crashes=float(len(judged)),
        by_hand=0.0 if service.on_demand else float(by_hand),
        seconds=min(window, service.history_seconds),
        clean=0.0 if clean_exit_ok else float(len(clean)),
        lasted=lasted[len(lasted) // 2] if lasted else None,
        cause=causes.most_common(1)[0][0] if causes else service.last_exit,
    )


def _share(gap: Gap, since: float) -> float:
    """The share of a gap's restarts that lies after `since`, when they are spread evenly."""
    if gap.start >= since:
        return 1.0
    if gap.end <= since:
        return 0.0
    return (gap.end - since) / (gap.end - gap.start)


def _estimate(
    memory: Memory, uptime: float, window: float
) -> tuple[float, tuple[float, float] | None]:
    """Restarts that hide between looks: at least so many (95 %), and one every so many seconds.

    N gaps in which the life seen was new, T seconds in which no restart can have been: N / T is
    the maximum likelihood rate (Cho & Garcia-Molina, Estimating Frequency of Change, ACM TOIT
    3(3) 2003). For lives of constant length it is up to twice too high, hence "every T/N to 2T/N".
    """
    since = uptime - window
    events = sum(1 for gap in memory.gaps if gap.end > since)
    blind = sum(gap.blind * _share(gap, since) for gap in memory.gaps)
    covered = min(window, uptime - memory.first)
    quiet = covered - blind
    if memory.first > since and memory.first_age is not None:
        # The first look, too, saw how long ago the last restart was; a host that has just booted
        # is young as a whole.
        if memory.first - memory.first_age > 120.0 and memory.first_age < window:
            events += 1
        quiet += min(memory.first_age, window)
    if events == 0 or covered <= 0:
        return 0.0, None
    quiet = max(quiet, 0.2)
    # Supervisors start a daemon once a second at most; more than that is not claimed.
    at_least = min(poisson_at_least(events) / quiet, 1.0) * covered
    return at_least, (quiet / events, 2 * quiet / events)


def poisson_at_least(events: int, doubt: float = 0.05) -> float:
    """The mean that a Poisson count of `events` leaves no more than `doubt` to be below."""
    low, high = 0.0, float(events)
    for _ in range(40):
        mean = (low + high) / 2
        term, below = 1.0, 0.0
        for position in range(min(events, 60)):
            below += term
            term *= mean / (position + 1)
        # The chance of `events` or more at this mean (for many events the rest is negligible).
        if 1.0 - below * 2.718281828459045**-mean < doubt:
            low = mean
        else:
            high = mean
    return low


@dataclass(frozen=True)
class Limits:
    """How much is too much."""

    warning: Limit | None
    critical: Limit | None
    window: float = 900.0
    count_all: bool = False
    clean_exit_ok: bool = False
    missing: State = CRITICAL
    learning: State = UNKNOWN


def verdict_on(
    service: Service,
    tally: Count,
    memory: Memory,
    uptime: float,
    limits: Limits,
    is_named: bool = False,
) -> Finding | None:
    """What is wrong with one daemon, or None."""
    name = subject_of(service)
    crashes = round(tally.crashes + (tally.by_hand if limits.count_all else 0.0))
    state, broken = judge(crashes, limits.warning, limits.critical)
    if service.state == GAVE_UP:
        return Finding(CRITICAL, gave_up(service, tally, limits), next=service.next, code="gave-up")
    if service.state == DOWN and not service.on_demand and (is_named or service.wanted_up):
        why = f": {service.reason}" if service.reason else ""
        after = f", last {service.last_exit}" if service.last_exit else ""
        wanted = limits.missing if is_named else CRITICAL
        return Finding(wanted, f"{name} is not running{why}{after}", next=service.next, code="down")
    if service.state == UNSEEN:
        return Finding(UNKNOWN, f"{name}: {service.unseen or 'unseen'}", code="unseen")
    if state is not OK and broken is not None:
        words = flapping(service, tally, limits, broken, crashes)
        more = details(service, tally, limits)
        return Finding(state, words, more, service.next, "flapping")
    by_hand = round(tally.by_hand)
    if limits.critical is not None and limits.critical.broken_by(by_hand):
        words = (
            f"{name} was restarted {times(by_hand)} in {within(tally, limits)} (limit "
            f"{limits.critical.typed}), not by {keeper(service)} but by hand or by a script"
            f"{now_up(service)}"
        )
        return Finding(CRITICAL, words, details(service, tally, limits), service.next, "by-hand")
    if service.state == UP and service.reason:
        # Alive, and yet nobody would notice its death: its supervisor is dead.
        return Finding(WARNING, f"{name}: {service.reason}", next=service.next, code="orphan")
    is_its_way = limits.clean_exit_ok and tally.cause in ("", "exit status 0")
    if service.state == BETWEEN and not is_its_way:
        dead = uptime - (memory.dead_since if memory.dead_since is not None else uptime)
        long_dead = dead >= limits.window / 3
        how = f"dead at every look for {say(dead)}" if long_dead else "dead at this look"
        after = f", last {tally.cause}" if tally.cause else ""
        why = f"; {service.reason}" if service.reason else ""
        return Finding(
            CRITICAL if long_dead else WARNING,
            f"{name} is {how}{after}{why}",
            details(service, tally, limits),
            service.next,
            "between",
        )
    if (
        tally.is_first
        and service.history is None
        and service.restarts
        and limits.warning is not None
        and limits.warning.broken_by(service.restarts)
        and service.age_seconds is not None
        and service.age_seconds < YOUNG_SECONDS
    ):
        return Finding(
            WARNING,
            f"{name} restarted {times(service.restarts)} since its last start by hand, just now "
            f"{say(service.age_seconds)} ago; how fast, the next run tells",
            details(service, tally, limits),
            service.next,
            "young",
        )
    return None


def flapping(service: Service, tally: Count, limits: Limits, broken: Limit, crashes: int) -> str:
    """ "web restarted 257 times in 15m (limit 5): exit status 3 after 2.5s, up 0.9s"."""
    name = subject_of(service)
    if tally.every is not None:
        low, high = tally.every
        words = (
            f"{name} restarts {span(low, high)} ({times(crashes)} or more in "
            f"{within(tally, limits)}, limit {broken.typed})"
        )
    else:
        words = (
            f"{name} restarted {times(crashes)} in {within(tally, limits)} (limit {broken.typed})"
        )
        if tally.period is not None and not limits.count_all:
            words += f", every {say(tally.period)}"
    if tally.cause:
        words += f": {tally.cause}"
        if tally.lasted is not None:
            words += f" after {say(tally.lasted)}" if tally.lasted >= 0.05 else " at once"
    elif service.reason and service.state == BETWEEN:
        words += f"; {service.reason}"
    if service.parent and service.parent not in words:
        words += f", started by {service.parent}"
    return words + now_up(service) + last_line(service)


def gave_up(service: Service, tally: Count, limits: Limits) -> str:
    """ "web is down: start limit hit ..., last exit status 1"."""
    words = f"{subject_of(service)} is down"
    if service.down_seconds is not None:
        words += f" for {say(service.down_seconds)}"
    if service.reason:
        words += f": {service.reason}"
    cause = service.last_exit or tally.cause
    return words + (f", last {cause}" if cause else "") + last_line(service)


def details(service: Service, tally: Count, limits: Limits) -> tuple[str, ...]:
    """The lines under a finding: what the numbers mean, what was not seen, the last log lines."""
    lines = []
    if tally.clean and tally.clean >= tally.crashes / 2:
        lines.append("It exits with status 0 by itself; if that is its way: --clean-exit-ok")
    if round(tally.by_hand) and round(tally.crashes) and not limits.count_all:
        lines.append(f"Besides, {times(round(tally.by_hand))} by hand or by others")
    lines += [f"Log: {line}" for line in service.log]
    return tuple(lines)


def last_line(service: Service) -> str:
    """The last log line, without its own time stamp, for the first line of the output."""
    words = _TIME_STAMP.sub("", service.log[-1]) if service.log else ""
    return f', says "{safe(words, 110)}"' if words else ""


def now_up(service: Service) -> str:
    """ "; up 0.9s" """
    if service.state == BETWEEN:
        return "; dead at this look"
    return "" if service.age_seconds is None else f"; up {say(service.age_seconds)}"


def within(tally: Count, limits: Limits) -> str:
    """The window, or what was overlooked of it."""
    return say(limits.window if tally.seconds >= limits.window * 0.98 else max(tally.seconds, 1.0))


def keeper(service: Service) -> str:
    """Who ought to restart it."""
    return service.supervisor if service.supervisor != "process" else "itself"


def subject_of(service: Service) -> str:
    """How a sentence calls a daemon; a supervisor that is not the host's own is named."""
    if service.supervisor in (systemd.NAME, "process"):
        return service.name
    return f"{service.name} ({service.supervisor})"


def times(number: float) -> str:
    """ "once", "2 times" """
    return "once" if number == 1 else f"{number:.0f} times"


def span(low: float, high: float) -> str:
    """ "about every 20s-40s", "every second or faster" """
    if high < 1.0:
        return "every second or faster"
    first, second = say(low), say(high)
    return f"about every {first}-{second}" if first != second else f"about every {first}"


def tenths(seconds: float | None) -> float | None:
    """Seconds for a graph."""
    return None if seconds is None else round(seconds, 1)


def say(seconds: float) -> str:
    """Seconds in words, to a tenth."""
    return units.say_duration(round(seconds, 1) if seconds < 60 else seconds)


@dataclass(frozen=True)
class Judged:
    """One daemon with all that is known of it and what that means."""

    subject: str
    service: Service
    tally: Count
    memory: Memory
    finding: Finding | None

    @property
    def restarts(self) -> int:
        """Crashes within the window."""
        return round(self.tally.crashes)

    @property
    def by_hand(self) -> int:
        """Restarts by hand or by others within the window."""
        return round(self.tally.by_hand)


# How it is told


def applies() -> str:
    """Why there is nothing to look at on this host, or ""."""
    if os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        return ""
    processes = process.snapshot(process.PROC)
    if supervisors.running_here(processes.values()) or systemd.found(process.PROC, processes):
        return ""
    return f"no supervisor runs here ({', '.join(supervisors.PROGRAMS)})"


def report(
    judged: Sequence[Judged],
    trouble: Sequence[Finding],
    limits: Limits,
    every_measure: bool = False,
) -> Report:
    """Everything that was found in one report; the offenders' measures, or everybody's if named."""
    findings = list(trouble)
    judged = sorted(judged, key=urgency)
    findings += [one.finding for one in judged if one.finding is not None]
    need = limits.window / 3
    learners = [
        (one.tally.have_seconds, subject_of(one.service))
        for one in judged
        if one.finding is None
        and one.tally.have_seconds is not None
        and one.tally.have_seconds < need
    ]
    if learners:
        who = ", ".join(name for _, name in learners[:3])
        who += f" (+{len(learners) - 3} more)" if len(learners) > 3 else ""
        learning = verdict.learning(min(learners)[0], need, limits.learning)
        findings.append(replace(learning, text=f"{who}: {learning.text}", code="learning"))
    unseen = Counter(one.service.unseen for one in judged if one.service.unseen)
    remarks = [f"{why} ({n} services)" if n > 1 else why for why, n in unseen.items()]
    measures = [] if every_measure else aggregates(judged)
    used: set[str] = set()
    for one in judged:
        if every_measure or (one.finding is not None and one.finding.state is not OK):
            measures += measures_of(one, limits, used)
    return Report(findings, measures, summary(judged, limits), remarks)


def urgency(one: Judged) -> tuple[bool, bool, int]:
    """Sorts what is down before what flaps, and what flaps most before the rest."""
    code = "" if one.finding is None else one.finding.code
    return (code == "", code not in ("gave-up", "down"), -(one.restarts + one.by_hand))


def aggregates(judged: Sequence[Judged]) -> list[Measure]:
    """The numbers of a whole host."""
    codes = Counter(one.finding.code for one in judged if one.finding is not None)
    numbers = {
        "services": len(judged),
        "restarts": sum(one.restarts for one in judged),
        "restarts_by_hand": sum(one.by_hand for one in judged),
        "flapping": codes["flapping"] + codes["by-hand"],
        "down": codes["gave-up"] + codes["between"] + codes["down"],
    }
    return [Measure(name, float(number), minimum=0) for name, number in numbers.items()]


def measures_of(one: Judged, limits: Limits, used: set[str]) -> list[Measure]:
    """The numbers of one daemon."""
    service, tally = one.service, one.tally
    own = service.supervisor in (systemd.NAME, "process")
    name = service.name if own else f"{service.supervisor}.{service.name}"
    if name in used:
        name = one.subject
    used.add(name)
    restarts = round(tally.crashes + (tally.by_hand if limits.count_all else 0.0))
    total = service.restarts if service.restarts is not None else one.memory.total
    mtbr = tally.period
    if mtbr is None and tally.every is not None:
        mtbr = sum(tally.every) / 2
    if mtbr is None and restarts and tally.seconds:
        mtbr = tally.seconds / restarts
    return [
        Measure(
            verdict.label(name, "restarts"),
            float(restarts),
            warning=limits.warning,
            critical=limits.critical,
            minimum=0,
        ),
        Measure(verdict.label(name, "restarts_total"), float(total), "c", minimum=0),
        Measure(verdict.label(name, "age"), tenths(service.age_seconds), "s", minimum=0),
        Measure(verdict.label(name, "mtbr"), tenths(mtbr), "s", minimum=0),
    ]


def summary(judged: Sequence[Judged], limits: Limits) -> str:
    """The sentence when nothing is wrong."""
    window = say(limits.window)
    if len(judged) == 1:
        service = judged[0].service
        alive = f"up {say(service.age_seconds)}" if service.age_seconds is not None else "stopped"
        happened = told(judged[0]) or "no restart"
        return f"{subject_of(service)} {alive}, {happened} in {window}"
    restarted = [one for one in judged if one.restarts or one.by_hand]
    stopped = sum(one.service.state == DOWN for one in judged)
    words = f"{len(judged)} services watched"
    words += f" ({stopped} stopped)" if stopped else ""
    if not restarted:
        return f"{words}, none restarted in {window}"
    some = ", ".join(f"{subject_of(one.service)} {told(one)}" for one in restarted[:3])
    more = f" (+{len(restarted) - 3} more)" if len(restarted) > 3 else ""
    return f"{words}, within the limits in {window}: {some}{more}"


def told(one: Judged) -> str:
    """ "restarted once and 2 times by hand" """
    words = [times(one.restarts)] if one.restarts else []
    words += [f"{times(one.by_hand)} by hand"] if one.by_hand else []
    return "restarted " + " and ".join(words) if words else ""


def is_exact(pattern: opt.Pattern) -> bool:
    """Whether a pattern can only mean one name."""
    return not pattern.typed.startswith("re:") and not any(c in pattern.typed for c in "*?[")


def _count_choice(text: str) -> str:
    if text not in ("crashes", "all"):
        raise ValueError(f"{text!r} is neither crashes nor all")
    return text


def _lines(text: str) -> int:
    if not text.isdigit() or int(text) > 20:
        raise ValueError(f"{text!r} is not a number of lines from 0 to 20")
    return int(text)


def _supervisor(text: str) -> str:
    if text not in supervisors.PROGRAMS:
        raise ValueError(f"{text!r} is not one of {', '.join(supervisors.PROGRAMS)}")
    return text


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = opt.parser("flapping", __doc__)
    which = made.add_argument_group("which daemons")
    which.add_argument(
        "--service", action="append", default=[], type=opt.pattern, metavar="NAME",
        help="watch this service: a name that must exist, a glob, or re:REGEX; repeatable "
        "(default: all of the host)",
    )  # fmt: skip
    opt.add_selectors(made, "services")
    which.add_argument(
        "--supervisor", action="append", default=[], type=opt.argument(_supervisor),
        metavar="NAME",
        help=f"look at this supervisor only: {', '.join(supervisors.PROGRAMS)}; repeatable "
        "(default: all that run here)",
    )  # fmt: skip
    for option, words in (
        ("--service-dir", "scan or service directory of that --supervisor"),
        ("--socket", "control socket, URL or configuration file of that --supervisor"),
    ):
        which.add_argument(
            option, action="append", default=[], metavar="PATH",
            help=f"{words}, where it is not found by itself; repeatable (default: from /proc)",
        )  # fmt: skip
    plain = made.add_argument_group("processes without a supervisor")
    plain.add_argument(
        "--pidfile", action="append", default=[], metavar="FILE",
        help="watch the process whose pid is in this file; repeatable (default: none)",
    )  # fmt: skip
    plain.add_argument(
        "--process", action="append", default=[], type=opt.pattern, metavar="NAME",
        help="watch the process of this program name, its root and not its workers: a glob, or "
        "re:REGEX; repeatable (default: none)",
    )  # fmt: skip
    plain.add_argument(
        "--cmdline", action="append", default=[], type=opt.pattern, metavar="PATTERN",
        help="watch the process whose command line matches: a glob, or re:REGEX; repeatable "
        "(default: none)",
    )  # fmt: skip
    plain.add_argument(
        "--user", metavar="USER",
        help="only processes of this user name or number; alone, its root processes by name "
        "(default: all users)",
    )  # fmt: skip
    opt.add_limits(made, warning="2", critical="5", what="the number of restarts in the window")
    judging = made.add_argument_group("judging")
    judging.add_argument(
        "--window", type=opt.positive_duration, default="15m", metavar="DURATION",
        help="count restarts within the last so long (default: 15m)",
    )  # fmt: skip
    judging.add_argument(
        "--count", type=opt.argument(_count_choice), default="crashes", metavar="WHAT",
        help="judge crashes, or all: restarts by hand too (default: crashes)",
    )  # fmt: skip
    judging.add_argument(
        "--clean-exit-ok", action="store_true",
        help="exits with status 0 are no crashes: for workers that are meant to end and be run "
        "again (default: they count)",
    )  # fmt: skip
    judging.add_argument(
        "--log-lines", type=opt.argument(_lines), default="3", metavar="N",
        help="last log lines of an offender in the long output (default: 3)",
    )  # fmt: skip
    opt.add_missing(made)
    opt.add_learning(made)
    opt.add_state_dir(made)
    return made


def question_of(args: argparse.Namespace) -> Question:
    """What the command line asks for; CheckError for combinations that make no sense."""
    places = (*args.service_dir, *args.socket)
    if places and len(set(args.supervisor)) != 1:
        raise CheckError("--service-dir and --socket need one --supervisor that they belong to")
    return Question(
        tuple(args.service),
        tuple(args.include),
        tuple(args.exclude),
        tuple(dict.fromkeys(args.supervisor)),
        places,
        watches(args.pidfile, args.process, args.cmdline, args.user),
        args.window,
        args.log_lines,
    )


def watches(
    pidfiles: Sequence[str],
    programs: Sequence[opt.Pattern],
    cmdlines: Sequence[opt.Pattern],
    user: str | None,
) -> tuple[Watch, ...]:
    """One watch a pid file, program or command line; a single one of each is one watch of all."""
    uid = None
    if user is not None:
        try:
            uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
        except KeyError:
            raise CheckError(f"user {safe(user)} does not exist") from None
    if user is not None and not (pidfiles or programs or cmdlines):
        return (Watch(f"any process of {safe(user)}", uid=uid, user=user),)
    if len(pidfiles) == 1 and len(programs) <= 1 and len(cmdlines) <= 1:
        program, cmdline = next(iter(programs), None), next(iter(cmdlines), None)
        return (Watch(Path(pidfiles[0]).stem or pidfiles[0], pidfiles[0], program, cmdline, uid),)
    if len(programs) == 1 and len(cmdlines) == 1 and not pidfiles:
        return (Watch(programs[0].typed, "", programs[0], cmdlines[0], uid),)
    return (
        *(Watch(Path(path).stem or path, path, uid=uid) for path in pidfiles),
        *(Watch(program.typed, program=program, uid=uid) for program in programs),
        *(Watch(_bare(cmdline), cmdline=cmdline, uid=uid) for cmdline in cmdlines),
    )


def _bare(pattern: opt.Pattern) -> str:
    """A name for what a pattern matches: "player" for "*player*"."""
    return pattern.typed.strip("*") or pattern.typed


def plan(
    args: argparse.Namespace,
    *,
    look: Look = look_around,
    clock: Callable[[], Stamp] = history.now,
    words: Words = last_words,
) -> Check:
    """The check; `look`, `clock` and `words` stand in for the host in tests."""
    limits = Limits(
        args.warning,
        args.critical,
        args.window,
        args.count == "all",
        args.clean_exit_ok,
        args.missing,
        args.learning,
    )

    def whole() -> Report:
        question = question_of(args)
        now = clock()
        with History.open("flapping", args.state_dir) as past:
            return _told(question, now, past, limits, look, words)

    return Check("flapping", whole, timeout=args.timeout, verbose=args.verbose)


RUN = "run:"
REFRESH_SECONDS = 86400.0


def _told(
    question: Question, now: Stamp, past: History, limits: Limits, look: Look, ask: Words
) -> Report:
    """Look, remember, judge."""
    # Of an earlier boot no age and no counter means anything now.
    notes = {s: note for s, note in past.notes() if note.at.boot == now.boot}
    known = {
        subject: process.Known(*note.value["known"])
        for subject, note in notes.items()
        if isinstance(note.value, dict) and isinstance(note.value.get("known"), list)
    }
    seen = look(question, now, known)
    run = notes.get(RUN + question.signature)
    judged = []
    for subject, service in seen.services:
        note = notes.get(subject)
        before = None if note is None else Memory.from_note(note.value)
        previous = None
        if note is not None and before is not None:
            # Nothing is written of a daemon that goes on; then the last run has seen it last.
            seen_last = max(note.at.uptime, run.at.uptime if run is not None else 0.0)
            previous = min(seen_last, now.uptime)
        memory = remembered(before, service, now.uptime, previous, question.window)
        words = memory.as_note()
        if subject in seen.known:
            words["known"] = list(vars(seen.known[subject]).values())
        if note is None or words != note.value or now.uptime - note.at.uptime > REFRESH_SECONDS:
            past.write_note(subject, words, now)
        tally = count(
            service, memory, now.uptime, limits.window, limits.clean_exit_ok, before is None
        )
        judge_it = functools.partial(
            verdict_on,
            tally=tally,
            memory=memory,
            uptime=now.uptime,
            limits=limits,
            is_named=question.names(service),
        )
        finding = judge_it(service)
        if finding is not None and service.state != UNSEEN:
            service = replace(service, log=ask(service, question.log_lines))
            finding = judge_it(service)
        judged.append(Judged(subject, service, tally, memory, finding))
    trouble = [*seen.trouble, *_missing(question, judged, limits, bool(seen.trouble))]
    if not seen.trouble:
        past.write_note(RUN + question.signature, {}, now)
    _forget(past, notes, now)
    unsaved = past.save()
    trouble += [unsaved] if unsaved is not None else []
    made = report(judged, trouble, limits, bool(question.services or question.watches))
    return replace(made, remarks=(*made.remarks, past.remark)) if past.remark else made


def _missing(
    question: Question,
    judged: Sequence[Judged],
    limits: Limits,
    is_uncertain: bool,
) -> list[Finding]:
    """Services asked for by name that no supervisor has."""
    have = {systemd.short(one.service.name) for one in judged}
    gone = [name for name in question.exact_names if systemd.short(name) not in have]
    if is_uncertain and len(gone) == len(question.exact_names):
        return []  # the supervisor that would know did not answer, which is said already
    findings = [
        Finding(
            limits.missing,
            f"{safe(name)} is no service of any supervisor on this host",
            next=f"systemctl status {safe(name)}",
            code="missing",
        )
        for name in gone
    ]
    # A directory that was moved, a name mistyped: who watches nothing must not be green. --include
    # is a filter, and may leave what is no daemon.
    asked = [pattern.typed for pattern in question.services]
    asked += [*question.places, *question.supervisors]
    if not judged and not question.exact_names and not is_uncertain and asked:
        typed = safe(", ".join(asked))
        findings.append(Finding(limits.missing, f"no service is found for {typed}", code="missing"))
    return findings


def _forget(past: History, notes: Mapping[str, Sample], now: Stamp) -> None:
    """Drop what is remembered of other boots and of services that are gone for a month."""
    past.defer("DELETE FROM note WHERE boot <> ?", (now.boot,))
    for subject, note in notes.items():
        if now.uptime - note.at.uptime > 30 * REFRESH_SECONDS:
            past.defer(
                "DELETE FROM note WHERE subject = ? AND uptime = ?", (subject, note.at.uptime)
            )


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.flapping.drill import DRILL

    return DRILL


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Timeline:
    """What it remembers of a subject, for `twiceshy plot`."""
    from twiceshy.flapping import picture as drawn

    return drawn.picture(state_dir, subject, at)


@guarded
def main() -> None:
    """Console script."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

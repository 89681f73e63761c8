"""Monitors, one file each: what one can see of them from outside, and what it means.

A monitor has several organs, and each usual probe sees one of them: with Nagios' workers stopped
its status file stays fresh and its query handler answers; with Icinga's process spawner stopped
its API answers and its built-in checks go on. So every module here tells all organs apart and
gives each its own word.

A module has three parts. `found(processes)` says which instances run on this host, from the
process table alone. `sight(target, wishes)` does all I/O and ends every foreign exception.
`judged(sight, wishes, clock)` is pure. Parsers are functions from bytes to dataclasses.
"""

from __future__ import annotations

import email.utils
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twiceshy.kit import units
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.verdict import Measure, label
from twiceshy.monitor_liveness.monitors.processes import Process

# The words an operator may give to --monitor, and the module that knows the monitor.
KNOWN: Mapping[str, str] = {
    "nagios": "nagios",
    "naemon": "nagios",
    "icinga2": "icinga2",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "monit": "monit",
    "collectd": "collectd",
    "zabbix-agent": "zabbix",
    "zabbix-server": "zabbix",
    "sensu-backend": "sensu_go",
    "sensu-agent": "sensu_go",
    "sensu-client": "sensu_classic",
    "sensu-api": "sensu_classic",
    "telegraf": "telegraf",
    "newrelic": "newrelic",
    "checkmk-agent": "checkmk",
    "daemon": "daemon",
}

# A clock may be this far ahead of ours before its timestamps count as lies: NTP-disciplined hosts
# differ by milliseconds, status files carry whole seconds.
CLOCK_TOLERANCE_SECONDS = 5.0

# HTTP dates and hosts without NTP drift further before anything breaks.
REMOTE_CLOCK_TOLERANCE_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """One instance of a monitor, and where to ask it."""

    kind: str
    name: str
    url: str = ""
    host: str = ""
    port: int = 0
    config: Path | None = None
    socket: str = ""
    main: Process | None = None
    processes: tuple[Process, ...] = ()
    asked: Any = None

    @property
    def is_local(self) -> bool:
        """Whether the process table of this host can say anything about it."""
        return self.main is not None or bool(self.processes) or self.config is not None


@dataclass(frozen=True)
class Wishes:
    """How to ask, and the operator's limits. Seconds throughout; None: derive it."""

    probe_seconds: float = 3.0
    intervals: float = 2.0
    silence: float | None = None
    startup_grace: float = 120.0
    pulse: str = ""
    canary: str = ""
    user: str = ""
    password: str = ""
    token: str = ""
    ca_file: str = ""
    tls_name: str = ""
    insecure: bool = False
    namespace: str = "default"
    watchdog: str = "Watchdog"
    check: str = ""
    learning: State = UNKNOWN
    remembered: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Nap:
    """Between two looks at the wall-clock times `start` and `end` the machine slept `seconds`."""

    start: float
    end: float
    seconds: float


@dataclass(frozen=True)
class Clock:
    """The wall clock of a look, and how long this machine has slept since when.

    A laptop that is opened in the morning has a monitor whose last check is eight hours old and
    nothing wrong with it: time asleep does not count.
    """

    now: float
    naps: tuple[Nap, ...] = ()

    def age(self, timestamp: float) -> float:
        """Seconds awake since a timestamp; negative for one in the future."""
        slept = 0.0
        for nap in self.naps:
            since = max(timestamp, nap.start)
            if since < nap.end:
                slept += min(nap.seconds, nap.end - since)
        age = self.now - timestamp
        return age if age < 0 else max(0.0, age - slept)


@dataclass(frozen=True)
class Organ:
    """What was seen of one organ: its word, its state, what is true of it, what to type next.

    `is_fleeting`: a reload looks like this for a moment, so look again before judging (never said
    of a hang: a hung daemon is asked once). `is_planned`: a stop on purpose looks like this, and
    --maintenance excuses it; a hang or a kill never does.
    """

    word: str
    state: State
    text: str
    next: str = ""
    is_fleeting: bool = False
    is_planned: bool = False

    @property
    def sentence(self) -> str:
        return f"{self.word} {self.text}"


@dataclass(frozen=True)
class Seen:
    """A monitor judged: all its organs and measures.

    `started`: how many seconds ago the instance began, None when unknown; within
    --startup-grace nothing that has merely not happened yet is held against it.
    `absent`: it does not run at all; --missing decides then.
    `facts`: what the history should keep for the next look.
    """

    name: str
    organs: tuple[Organ, ...]
    measures: tuple[Measure, ...] = ()
    started: float | None = None
    absent: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def fine(word: str, text: str) -> Organ:
    return Organ(word, OK, text)


def poor(word: str, text: str, next: str = "") -> Organ:  # noqa: A002 - the Finding's own word
    return Organ(word, WARNING, text, next)


def dead(
    word: str,
    text: str,
    next: str = "",  # noqa: A002
    *,
    is_fleeting: bool = False,
    is_planned: bool = False,
) -> Organ:
    return Organ(word, CRITICAL, text, next, is_fleeting, is_planned)


def unseen(word: str, text: str, next: str = "") -> Organ:  # noqa: A002
    return Organ(word, UNKNOWN, text, next)


def module_of(kind: str) -> Any:
    """The module that knows a kind of monitor, imported when it is needed."""
    return importlib.import_module(f"twiceshy.monitor_liveness.monitors.{KNOWN[kind]}")


def found(processes: Sequence[Process]) -> list[Target]:
    """Every monitor that runs on this host, in the order of KNOWN, by its processes."""
    targets: list[Target] = []
    for module in dict.fromkeys(KNOWN.values()):
        if module != "daemon":
            targets += importlib.import_module(
                f"twiceshy.monitor_liveness.monitors.{module}"
            ).found(processes)
    return with_distinct_names(targets)


def with_distinct_names(targets: Sequence[Target]) -> list[Target]:
    """Two Nagioses on a host become nagios and nagios-2, unless their configs tell them apart."""
    seen: dict[str, int] = {}
    distinct: list[Target] = []
    # By configuration and not by pid, or a restart would exchange two names, and their graphs.
    for target in sorted(targets, key=lambda t: (list(KNOWN).index(t.kind), str(t.config), t.url)):
        seen[target.name] = seen.get(target.name, 0) + 1
        if seen[target.name] > 1:
            target = Target(
                **{**target.__dict__, "name": f"{target.name}-{seen[target.name]}"},
            )
        distinct.append(target)
    return distinct


def ago(seconds: float) -> str:
    """An age in words; whole seconds from ten on."""
    if seconds < 0:
        return f"{units.say_duration(round(-seconds))} in the future"
    return units.say_duration(round(seconds, 1 if seconds < 10 else 0))


def clock_organ(what: str, age: float, tolerance: float = CLOCK_TOLERANCE_SECONDS) -> Organ | None:
    """A timestamp in the future is never OK: it would look fresh until the clock gets there."""
    if age >= -tolerance:
        return None
    return dead(
        "clock",
        f"is wrong: {what} is {ago(age)}, no age can be trusted",
        "timedatectl; chronyc tracking",
    )


def unanswered(kind: str, text: str, next: str = "", has_login: bool = False) -> Organ:  # noqa: A002
    """The main loop of a monitor that gave no answer, by the kind of Trouble: who is at fault?"""
    if kind == "login":
        hint = (
            "check --user and --password-file" if has_login else "give --user and --password-file"
        )
        return unseen("main loop", f"{text}: {hint}")
    if kind in ("forbidden", "denied", "permission"):
        return unseen("main loop", f"cannot be asked: {text}")
    if kind == "tls":
        if "expired" in text or "yet" in text:
            return dead("main loop", text, next)
        return (unseen if "CA unknown" in text else poor)("main loop", text, next)
    if kind == "strange":
        return dead("main loop", f"answers nonsense: {text}", next)
    host = re.search(r"(?:https?://|^)([^/:\s]+)", text)
    if kind == "unreachable" and host:
        next = f"ping -c 3 {host.group(1)}; ip route get {host.group(1)}"  # noqa: A001
    return dead(
        "main loop",
        f"does not answer: {text}",
        next,
        is_fleeting=kind in ("refused", "missing", "closed"),
        is_planned=kind in ("refused", "missing", "unreachable"),
    )


def skewed(date: str, clock: Clock) -> Organ | None:
    """The clock organ from an HTTP Date header (RFC 9110, 6.6.1); None when right or absent."""
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp() if date else clock.now
    except (TypeError, ValueError):
        return None
    skew = theirs - clock.now
    if abs(skew) <= REMOTE_CLOCK_TOLERANCE_SECONDS:
        return None
    ahead = "ahead of" if skew > 0 else "behind"
    return dead("clock", f"is {ago(abs(skew))} {ahead} ours", "timedatectl on both hosts")


def age_limit(seconds: float | None) -> Limit | None:
    """A derived limit in seconds, for perfdata."""
    return None if seconds is None else Limit.parse(f"{seconds:.0f}s", unit=units.duration)


def age_measures(
    name: str,
    age: float | None,
    limit: float | None,
    probe_seconds: float | None,
    overdue: float | None = None,
    rate: float | None = None,
) -> tuple[Measure, ...]:
    """The measures that monitors have in common; what is None is left out."""
    return (
        Measure(
            label(name, "executed_age"),
            None if age is None else max(0.0, age),
            "s",
            critical=age_limit(limit),
            minimum=0,
        ),
        Measure(label(name, "probe_time"), probe_seconds, "s", minimum=0),
        Measure(label(name, "executed_rate"), rate, minimum=0),
        Measure(label(name, "overdue"), overdue, minimum=0),
    )


# Five-minute checks, twice, and a minute: what is unknown of a site's intervals is assumed slow.
UNKNOWN_INTERVAL_SECONDS = 660.0


def children_organ(
    parents: Sequence[Process], wishes: Wishes, clock: Clock
) -> tuple[Organ, dict[str, Any]]:
    """Whether workers still execute anything, as the process table shows it to everybody.

    Each child that ended and was waited for has added its page faults to its parent's cminflt; a
    counter that stands still is an executor that stands still. Needs a look before; returns the
    facts to remember.
    """
    total = sum(process.reaped_faults for process in parents)
    pids = sorted(process.pid for process in parents)
    before: Mapping[str, Any] = wishes.remembered.get("children") or {}
    is_same = before.get("pids") == pids
    moves = is_same and total != before.get("faults")
    has_moved = moves or (is_same and bool(before.get("moved")))
    # A reload renews the workers. What was learned of the old ones holds until these stand still.
    known = bool(before.get("known")) or (not is_same and bool(before.get("moved")))
    since = float(before.get("since", clock.now)) if is_same and not moves else clock.now
    facts = {
        "children": {
            "pids": pids,
            "faults": total,
            "since": since,
            "moved": has_moved,
            "known": known,
        }
    }
    still = clock.age(since)
    limit = wishes.silence or UNKNOWN_INTERVAL_SECONDS
    if still > limit:
        ps = " ".join(str(pid) for pid in pids)
        return (
            dead(
                "executor",
                f"has executed nothing for {ago(still)} (limit {ago(limit)}): no child process of "
                f"its workers has ended (pid {ps})",
                f"ps -o pid,stat,wchan,etime,args {ps}",
            ),
            facts,
        )
    if not has_moved and known:
        return fine("executor", f"was renewed {ago(still)} ago, and worked before"), facts
    if not has_moved:
        told = (
            f": it has executed nothing in {ago(still)}"
            if is_same
            else ", from what it does until the next look"
        )
        return Organ("executor", wishes.learning, f"is still to be learned{told}"), facts
    return fine("executor", f"has executed something within {ago(max(still, 1.0))}"), facts


def stopped_organ(processes: Sequence[Process], role: str) -> Organ | None:
    """Processes that are stopped, traced or dead say so in the process table, at once.

    proc(5), field `state`: T stopped, t traced, Z zombie, X dead. D is not among them: a monitor
    may be waiting for its disk; that is judged over several looks.
    """
    halted = [process for process in processes if process.state in "TtZX"]
    if not halted:
        return None
    pids = " ".join(str(process.pid) for process in halted)
    how = {
        "T": "stopped (state T)",
        "t": "held by a debugger (state t)",
        "Z": "dead and not reaped (state Z)",
        "X": "dead (state X)",
    }[halted[0].state]
    return dead(
        role if len(processes) == 1 else f"{role}s",
        f"is {how}: pid {pids}"
        if len(processes) == 1
        else f"are {how}, {len(halted)} of {len(processes)}: pid {pids}",
        f"kill -CONT {pids}" if halted[0].state == "T" else f"ps -o pid,stat,wchan,args {pids}",
    )

"""The supervisors that restart daemons: what each of them knows about its services.

One module a supervisor. A module finds the instances of its supervisor on this host and sees
their services; whether what it sees is bad is judged elsewhere (`check_flapping`). Every module has

    NAME = "runit"
    def found(proc=Path("/proc"), processes=None) -> list[Place]
    def look(place, now, proc=Path("/proc"), processes=None) -> list[Service]
    def last_words(service, lines) -> tuple[str, ...]   optional; from its log

and pure parsers of the formats it reads: bytes or text in, frozen values out. `processes` is the
one snapshot of /proc that all modules of a run share (`process.snapshot`); a module that is given
none takes its own. `look` raises nothing for what may happen on a healthy host (a service that
vanishes, a file that may not be read): that service says so in `unseen`.

Modules are imported by `module` only when their supervisor runs here or is asked for by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from twiceshy.flapping.supervisors.process import Process
    from twiceshy.kit.stamps import Stamp

UP = "up"
DOWN = "down"
BETWEEN = "between lives"  # dead, and will be started again
GAVE_UP = "gave up"  # dead, and will not be started again although it should run
UNSEEN = "unseen"

CRASH = "crash"
CLEAN = "clean"  # exit 0 by itself
BY_HAND = "by hand"  # an operator's signal, stop or restart
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Ended:
    """One life that ended."""

    age_seconds: float  # how long before the look it ended
    kind: str  # CRASH, CLEAN, BY_HAND or UNKNOWN
    cause: str = ""  # "exit status 1", "signal SEGV", "watchdog", "out of memory"
    lasted_seconds: float | None = None  # how long it lived, where that is known


@dataclass(frozen=True)
class Service:
    """One supervised daemon as one look sees it."""

    name: str  # as the operator calls it: "rsyslog", "pool:pool_01", "/etc/service/web" -> "web"
    supervisor: str  # "systemd", "runit", ... "process"
    state: str  # UP, DOWN, BETWEEN, GAVE_UP or UNSEEN
    wanted_up: bool | None  # None: cannot be told
    incarnation: str = (
        ""  # identity of the life, "" when not running: InvocationID or bootid:pid:ticks
    )
    age_seconds: float | None = None  # of the current life, never from the wall clock
    restarts: int | None = None  # the supervisor's own counter; it may fall back to 0
    history: tuple[Ended, ...] | None = None  # exact, oldest first; None: nothing remembers
    history_seconds: float = 0.0  # how far back `history` is complete
    reaped_faults: int | None = None  # cminflt of a supervisor process that has this one child
    exact: bool = False  # False, no history and no counter: lives can only be estimated
    last_exit: str = ""  # "exit status 1", "signal ABRT"
    reason: str = ""  # "start limit hit", "Exited too quickly"
    unseen: str = ""  # what could not be seen and what to do about it; "" = all was seen
    log: tuple[str, ...] = ()  # last lines, filled only for offenders
    next: str = ""  # the command to type next
    on_demand: bool = False  # a socket, bus or timer starts it: only its crashes are restarts
    restarts_seconds: float | None = None  # `restarts` began to count at most this long ago
    down_seconds: float | None = None  # since when it is not running, where that is known
    parent: str = ""  # of a plain process: "sh[812] (while :; do web; done)"


@dataclass(frozen=True)
class Place:
    """One running (or asked for) instance of a supervisor."""

    supervisor: str
    where: str  # scan directory, service directory, socket, URL or configuration file
    pid: int | None = None
    trouble: str = ""  # why it cannot be looked at, as a sentence to act on


class Supervisor(Protocol):
    """What `module` returns."""

    NAME: str

    def found(
        self, proc: Path = ..., processes: Mapping[int, Process] | None = ...
    ) -> list[Place]: ...

    def look(
        self,
        place: Place,
        now: Stamp,
        proc: Path = ...,
        processes: Mapping[int, Process] | None = ...,
    ) -> list[Service]: ...


# The program names (`comm`, or the base name of argv[0] or argv[1]) that give a supervisor away.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "systemd": ("systemd",),
    "runit": ("runsvdir", "runsv"),
    "daemontools": ("svscan", "supervise"),
    "s6": ("s6-svscan", "s6-supervise"),
    "perp": ("perpd",),
    "supervisord": ("supervisord",),
    "monit": ("monit",),
}


def module(name: str) -> Supervisor:
    """The module of one supervisor, a key of PROGRAMS, imported now."""
    return cast(Supervisor, importlib.import_module(f"{__name__}.{name}"))


def running_here(processes: Iterable[Process]) -> list[str]:
    """Names of the supervisors whose programs run, in the order of PROGRAMS; imports nothing."""
    names: set[str] = set()
    for process in processes:
        names.add(process.comm)
        if len(process.cmdline) > 1 and "python" in process.comm:
            # supervisord started as `python3 /usr/bin/supervisord` is called python3.
            names.add(process.cmdline[1].rpartition("/")[2])
    return [name for name, programs in PROGRAMS.items() if not names.isdisjoint(programs)]

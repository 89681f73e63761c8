"""A daemon as one observation shows it: its state, its current life, the lives that ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# States
UP = "up"
DOWN = "down"
BETWEEN = "between lives"  # not running, and will be restarted
GAVE_UP = "gave up"  # not running, and will not be restarted although it should run
UNSEEN = "unseen"

# Kinds of ends
CRASH = "crash"
CLEAN = "clean"  # exit 0 by itself
MANUAL = "manual"  # an operator's signal, stop or restart

# What has no supervisor but the shell loop that it may come from
NO_SUPERVISOR = "process"
SYSTEMD = "systemd"
_SUFFIX = ".service"


@dataclass(frozen=True)
class Exit:
    """How a life ended: the words for people, and whether that was with status 0."""

    text: str = ""  # "exit status 1", "signal SEGV", "watchdog"; "" if nobody knows
    is_clean: bool = False

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


NO_EXIT = Exit()


def exited(status: int) -> Exit:
    """The exit of a program that ended by itself."""
    return Exit(f"exit status {status}", is_clean=status == 0)


@dataclass(frozen=True)
class EndedLife:
    """One life that ended."""

    age_seconds: float  # how long before the observation it ended
    kind: str  # CRASH, CLEAN or MANUAL
    exit: Exit = NO_EXIT
    lasted_seconds: float | None = None  # how long it lived, where that is known


@dataclass(frozen=True)
class Service:
    """One supervised daemon, or one watched process, as one observation shows it."""

    name: str  # as the operator calls it: "rsyslog", "pool:pool_01", "/etc/service/web" -> "web"
    supervisor: str  # "systemd", "runit", ... or NO_SUPERVISOR
    state: str  # UP, DOWN, BETWEEN, GAVE_UP or UNSEEN
    wanted_up: bool | None  # None: unknown
    incarnation: str = (
        ""  # identity of the life, "" when not running: InvocationID or bootid:pid:ticks
    )
    age_seconds: float | None = None  # of the current life, never from the wall clock
    restarts: int | None = None  # the supervisor's own counter; it may fall back to 0
    history: tuple[EndedLife, ...] | None = None  # exact, oldest first; None: nothing keeps one
    history_seconds: float = 0.0  # how far back `history` is complete
    reaped_faults: int | None = None  # cminflt of a supervisor process that has this one child
    exact: bool = False  # False, no history and no counter: lives can only be estimated
    last_exit: Exit = NO_EXIT
    reason: str = ""  # "start limit hit", "Exited too quickly"
    unseen: str = ""  # what could not be seen and what to do about it; "" = all was seen
    log: tuple[str, ...] = ()  # last lines of those that may be in trouble
    next: str = ""  # the command to type next
    on_demand: bool = False  # a socket, bus or timer starts it: only its crashes are restarts
    restarts_seconds: float | None = None  # `restarts` began to count at most this long ago
    down_seconds: float | None = None  # since when it is not running, where that is known
    parent: str = ""  # of a watched process: "sh[812] (while :; do web; done)"


def short(unit: str) -> str:
    """ "rsyslog" of "rsyslog.service", as operators type it."""
    return unit[: -len(_SUFFIX)] if unit.endswith(_SUFFIX) else unit


def long(name: str) -> str:
    """ "rsyslog.service" of "rsyslog"."""
    return name if name.endswith(_SUFFIX) else name + _SUFFIX

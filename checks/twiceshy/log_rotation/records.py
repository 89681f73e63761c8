"""What one run of this check sees, as values. Pure; `observation` and `logrotate/` fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from twiceshy.log_rotation.logrotate.forecast import Decision, Log, Parent
from twiceshy.log_rotation.logrotate.grammar import Reading, Stanza, Version
from twiceshy.log_rotation.logrotate.state import StateContent, StateEntry


class Hidden(Enum):
    """What this user may not see of a path."""

    LOGS = "logs"
    CONFIGURATION = "configuration"
    STATE_FILE = "state file"
    CONTAINER_LOGS = "logs of containers"


class Standing(Enum):
    """Whether something will start logrotate again."""

    ALIVE = "alive"
    ENDS_AT_BOOT = "ends at boot"
    """A timer that is active, and not enabled."""
    DEAD = "dead"
    """A timer or a cron job is there, and will not start it."""
    NOT_FOUND = "not found"
    """Neither is there: nothing starts it, or something that we do not know."""


@dataclass(frozen=True)
class Schedule:
    """What starts logrotate."""

    name: str = ""
    """The timer, the cron script or the crontab; empty if nothing was found."""
    interval: float = 86400.0
    """Seconds between two runs."""
    standing: Standing = Standing.ALIVE
    obstacle: str = ""
    """Why it will not start logrotate again, in words."""
    is_timer: bool = False
    failed: str = ""
    """How the last run of the service ended, if badly."""
    last_status: int = 0
    """The exit status of that run."""
    state_files: tuple[str, ...] = ()
    """Named on logrotate's command line there."""
    read_only: tuple[str, ...] = ()
    """Directories that the unit's hardening makes read-only or hides."""
    writable: tuple[str, ...] = ()
    """Exceptions from that."""
    note: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether it will not, or not for ever, start logrotate."""
        return self.standing is not Standing.ALIVE


@dataclass(frozen=True)
class StateFile:
    """logrotate's state file, as found."""

    path: str = ""
    content: StateContent = field(default_factory=StateContent)
    written: float | None = None
    """mtime: the end of the last run that came to its end."""
    readable: bool = True
    obstacle: str = ""
    """Why logrotate cannot use it: exit status 3, nothing is rotated."""
    locked_by: int = 0
    """The process that holds its lock."""
    locked_for: float = 0.0
    """Seconds since that process began."""


@dataclass(frozen=True)
class ClaimedLog:
    """One log of one stanza, with what logrotate would do about it now."""

    stanza: Stanza
    path: str
    log: Log
    parent: Parent
    decision: Decision
    entry: StateEntry | None
    copies: tuple[tuple[str, int | None], ...] = ()
    """Its rotated copies, full paths, with their numbers."""
    proof: float | None = None
    """ctime of the newest of them, 0 if there is none; None if nothing is to be proven."""
    stale: tuple[tuple[str, int], ...] = ()
    """Those copies that no rule will ever remove, with their allocated bytes."""
    link_target: str = ""
    """For a symbolic link: the file that it leads to, if that exists."""
    taken: str = ""
    """The dated name that a second rotation on this day would need, if it exists already."""


@dataclass(frozen=True)
class OpenLog:
    """A log that a process holds open for writing."""

    pid: int
    command: str
    path: str
    inode: tuple[int, int]
    octets: int
    """Allocated, not apparent: a truncated log may be sparse."""
    size: int
    mtime: float
    ctime: float
    append: bool
    deleted: bool


@dataclass(frozen=True)
class OpenLogs:
    """One pass over /proc."""

    opened: tuple[OpenLog, ...] = ()
    processes_seen: int = 0
    """Processes whose descriptors could be read."""
    processes: int = 0
    commands: frozenset[str] = frozenset()
    """The names of all running programs."""


@dataclass(frozen=True)
class UnclaimedLog:
    """A big file below a log directory that no stanza claims."""

    path: str
    octets: int
    """Allocated."""
    mtime: float
    rotates_itself: bool = False
    """Its program keeps numbered or dated copies, as log4j and logging.handlers do."""


@dataclass(frozen=True)
class ContainerLog:
    """A container's log, as the engine keeps it."""

    name: str
    driver: str
    limited: bool
    octets: int | None
    """None if it cannot be seen from here: another host's, or no permission."""
    path: str = ""


@dataclass(frozen=True)
class ContainerLogs:
    """What a container engine says about logs; `error` why it does not say all."""

    server: str = "docker"
    containers: tuple[ContainerLog, ...] = ()
    limited_by_default: bool = False
    error: str = ""


@dataclass(frozen=True)
class JournalLimit:
    """The limit of journald, and journals that it does not count."""

    limit: float | None = None
    """Bytes, of SystemMaxUse=."""
    typed: str = ""
    file: str = ""
    """Where it is set."""
    filesystem: float = 0.0
    """Bytes of the file system that holds the journal; 0 without one."""
    foreign: tuple[tuple[str, int], ...] = ()
    """Directories of other machines' journals, with their allocated bytes."""


@dataclass(frozen=True)
class Configuration:
    """What logrotate knows after reading its configuration, and what belongs to that."""

    version: Version
    reading: Reading
    modified: Mapping[str, float]
    """mtime of the files."""
    missed_by_recursion: Mapping[str, tuple[str, ...]]
    """For globs with **: the logs that people think they match."""
    missing_programs: frozenset[str] = frozenset()
    """Programs that `compress` needs and that are not there."""

    @property
    def main(self) -> str:
        """The file to give to logrotate when it is run manually."""
        return self.reading.read[0] if self.reading.read else "/etc/logrotate.conf"


@dataclass(frozen=True)
class Logs:
    """The logs of logrotate's stanzas, of lost stanzas, and of none."""

    claimed: tuple[ClaimedLog, ...]
    lost: Mapping[str, Log]
    """Logs of stanzas that logrotate drops, and that no other stanza claims."""
    open: OpenLogs
    unclaimed: tuple[UnclaimedLog, ...]
    searched_all: bool = True
    """Whether the log directories were searched to their end."""
    containers: ContainerLogs | None = None
    journal: JournalLimit = JournalLimit()


@dataclass(frozen=True)
class Observation:
    """Everything that one run saw."""

    epoch: float
    configuration: Configuration
    logs: Logs
    state: StateFile
    schedule: Schedule
    hidden: Mapping[str, Hidden]
    """Path to what this user may not see of it."""
    program: str = "check_log_rotation"
    """This check, as one types it."""

    @property
    def now(self) -> datetime:
        """The instant in local time, as logrotate's state file has it."""
        return datetime.fromtimestamp(self.epoch)

    @property
    def run_age(self) -> float | None:
        """Seconds since the last completed run; None if none is known."""
        return None if self.state.written is None else max(0.0, self.epoch - self.state.written)


@dataclass(frozen=True)
class PreviousRun:
    """What the previous run of this check left in its history."""

    at: float = 0.0
    """Unix time; 0 if there was none."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, str] = field(default_factory=dict)
    """Log to date of rotation in the state file, ISO 8601."""
    boot: str = ""
    """The boot that they were seen in."""

    def rate(self, path: str, size: float, epoch: float) -> float | None:
        """Bytes per second since then, if that is long enough ago."""
        before = self.sizes.get(path)
        if before is None or epoch - self.at < 20 or size < before:
            return None
        return (size - before) / (epoch - self.at)

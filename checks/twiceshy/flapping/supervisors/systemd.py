"""systemd: every service of a manager from one `systemctl show`, their lives from the journal.

Besides the system's manager there is one for each user who is logged in or lingers
(user@UID.service); its services are called ann/web.

Rights: any user may ask the system's manager for properties, a user's manager only that user and
root. Only the journal tells a crash from a manual restart and remembers both; it is for root
and the groups systemd-journal and adm; where it is persistent, a user may read his own.

Formats: systemctl(1) show; org.freedesktop.systemd1(5) for the properties; the message ids of
sd-messages.h; https://systemd.io/JOURNAL_FILE_FORMAT for how far back the journal goes. Only
records of the manager itself are believed (the trusted field _PID, systemd.journal-fields(7)): any
user can send a message id.

NRestarts (service.c; systemd 252) counts automatic restarts alone; daemon-reload and daemon-reexec
keep it, reset-failed and the next manual start zero it, and it never decays. `Result` and
ExecMainStatus are those of the life that runs, so a sample of a crash loop says success.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    SYSTEMD,
    UP,
    EndedLife,
    Exit,
    Service,
    exited,
    long,
    short,
)
from twiceshy.flapping.supervisors import Instance
from twiceshy.kit import deadline, processes, subprocesses, units
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process, ProcessTable

NAME = SYSTEMD
Ask = Callable[..., subprocesses.Ran]
JOURNALS = ("/var/log/journal", "/run/log/journal")
NO_JOURNAL = (
    "not allowed to read the journal, so exit statuses and restarts before the first run are "
    "unknown: add the check's user to group systemd-journal"
)
KEEPS_NONE = (
    "this host keeps no journal, so exit statuses and restarts before the first run are unknown: "
    "systemd-journald is not running"
)
USER_ANSWER_SECONDS = 3.0  # a user's manager may be stopped by its user; it is one of many
RECORDS = 6000  # at most so many lines of the journal per run; about 1 MB and 60 ms
SUSPECTS = 5  # services whose own log lines are asked for together with the records

PROPERTIES = (
    "Id,LoadState,LoadError,ActiveState,SubState,Result,NRestarts,InvocationID,MainPID,"
    "ActiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic,StateChangeTimestampMonotonic,"
    "ExecMainCode,ExecMainStatus,Restart,RestartUSec,StartLimitBurst,Type,TriggeredBy,BusName,"
    "Transient"
)

RESTARTED = "5eb03494b6584870a536b337290809b3"  # SD_MESSAGE_UNIT_RESTART_SCHEDULED
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
STARTED = "39f53479d3a045ac8e11786248231fbf"
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # SD_MESSAGE_UNIT_PROCESS_EXIT; never for exit 0
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"  # SD_MESSAGE_UNIT_FAILURE_RESULT
SUCCEEDED = "7ad2d189f7e94e70a38c781354912448"  # SD_MESSAGE_UNIT_SUCCESS
OUT_OF_MEMORY = "fe6faa94e7774663a0da52717891d8ef"
MESSAGES = (
    RESTARTED, STARTING, STARTED, STOPPING, EXITED, FAILED, SUCCEEDED, OUT_OF_MEMORY,
)  # fmt: skip

RESULTS = {
    "exit-code": "",
    "signal": "",
    "core-dump": "",
    "success": "",
    "watchdog": "watchdog",
    "oom-kill": "out of memory",
    "timeout": "timed out",
    "protocol": "protocol error",
    "resources": "resources missing",
    "start-limit-hit": "start limit hit",
    "exec-condition": "its condition failed",
}
EXIT_STATUSES = {  # systemd.exec(5), "Process Exit Codes": systemd itself could not start it
    200: "CHDIR", 203: "EXEC", 209: "STDOUT", 216: "GROUP", 217: "USER", 218: "CAPABILITIES",
    226: "NAMESPACE", 238: "STATE_DIRECTORY", 243: "CREDENTIALS",
}  # fmt: skip


@dataclass(frozen=True)
class Manager:
    """The system's manager, or that of a user; and how the journal says what is whose."""

    pid: int = 1
    uid: int | None = None  # None: the system's
    user: str = ""

    @property
    def called(self) -> str:
        """Who it is, in a sentence."""
        return NAME if self.uid is None else f"{self.user}'s {NAME}"

    @property
    def prefix(self) -> str:
        """What its services are called by before their own name."""
        return "" if self.uid is None else f"{self.user}/"

    @property
    def unit(self) -> str:
        """The field of the manager's records with the unit that they are about."""
        return "UNIT" if self.uid is None else "USER_UNIT"

    @property
    def invocation(self) -> str:
        """The field of the manager's records with the life that they are about."""
        return "INVOCATION_ID" if self.uid is None else "USER_INVOCATION_ID"

    @property
    def writer(self) -> str:
        """The field of a log line with the unit that wrote it."""
        return "_SYSTEMD_UNIT" if self.uid is None else "_SYSTEMD_USER_UNIT"

    @property
    def owner(self) -> list[str]:
        """The match without which units of two users are one."""
        return [] if self.uid is None else [f"_UID={self.uid}"]

    @property
    def socket(self) -> str:
        """Where it is asked, directly and without a bus."""
        return f"/run/{'' if self.uid is None else f'user/{self.uid}/'}systemd/private"


SYSTEM = Manager()


# What the formats say


def parse_show(text: str) -> list[dict[str, str]]:
    """The blocks of `systemctl show`, one per unit, in systemd's order."""
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        properties = {}
        for line in block.split("\n"):
            key, separator, value = line.partition("=")
            if separator:
                properties[key] = value
        if properties.get("Id"):
            blocks.append(properties)
    return blocks


def is_daemon(properties: Mapping[str, str]) -> bool:
    """Whether a service is meant to stay: no oneshot, no job of a timer or of systemd-run."""
    return not (
        properties.get("LoadState") != "loaded"
        or properties.get("Type") == "oneshot"
        or any(unit.endswith(".timer") for unit in properties.get("TriggeredBy", "").split())
        or (properties.get("Transient") == "yes" and properties.get("Restart") == "no")
    )


def service_of(properties: Mapping[str, str], monotonic_us: int) -> Service:
    """One service by its properties, at an instant (microseconds, CLOCK_MONOTONIC)."""
    name = short(properties["Id"])
    active, sub = properties.get("ActiveState", ""), properties.get("SubState", "")
    restarts = _number(properties.get("NRestarts", ""))
    since = "ActiveEnterTimestampMonotonic"
    if active in ("active", "reloading"):
        state = UP
    elif active == "failed":
        state = GAVE_UP
    elif sub.startswith("auto-restart"):
        state = BETWEEN
    elif active in ("activating", "deactivating"):
        state = UP
        since = "InactiveExitTimestampMonotonic" if active == "activating" else since
    else:
        state = DOWN
    start_us = _number(properties.get(since, "")) or 0
    age = max(0.0, (monotonic_us - start_us) / 1e6) if state == UP and start_us else None
    return Service(
        name=name,
        supervisor=NAME,
        state=state,
        wanted_up=None if state == DOWN else True,
        incarnation=properties.get("InvocationID", "") if state == UP else "",
        age_seconds=age,
        restarts=restarts,
        exact=restarts is not None,
        last_exit=last_exit(properties) if state in (BETWEEN, GAVE_UP) else NO_EXIT,
        reason=_reason(properties, state, restarts),
        next=f"journalctl -u {name} -n 50",
        down_seconds=_since(properties, monotonic_us) if state in (BETWEEN, GAVE_UP) else None,
        on_demand=bool(properties.get("TriggeredBy") or properties.get("BusName")),
    )


def _since(properties: Mapping[str, str], monotonic_us: int) -> float | None:
    changed_us = _number(properties.get("StateChangeTimestampMonotonic", ""))
    return max(0.0, (monotonic_us - changed_us) / 1e6) if changed_us else None


def _reason(properties: Mapping[str, str], state: str, restarts: int | None) -> str:
    if state == BETWEEN:
        return f"systemd waits {properties.get('RestartUSec', '?')} before the next start"
    if state != GAVE_UP or properties.get("Restart", "no") == "no":
        return "" if state != GAVE_UP else "failed, and systemd does not restart it (Restart=no)"
    burst = _number(properties.get("StartLimitBurst", "")) or 0
    # 252 leaves the Result of the last life; only older ones say start-limit-hit.
    if properties.get("Result") == "start-limit-hit" or (restarts and burst and restarts >= burst):
        return f"start limit hit: systemd gave up after {restarts} restarts"
    if restarts:
        return f"systemd gave up after {units.count(restarts, 'restart')}"
    return "failed, and systemd does not restart it after such an exit"


def last_exit(properties: Mapping[str, str]) -> Exit:
    """How the last life ended, from Result, ExecMainCode and ExecMainStatus (siginfo's si_code)."""
    code = {"1": "exited", "2": "killed", "3": "dumped"}.get(properties.get("ExecMainCode", ""), "")
    result = properties.get("Result", "")
    return exit_of(result, code, properties.get("ExecMainStatus", ""))


def exit_of(result: str, code: str, status: str) -> Exit:
    """ "exit status 1", "signal SEGV, core dumped", "watchdog (signal ABRT)", "out of memory"."""
    words = RESULTS.get(result, result)
    number = _number(status)
    if code == "exited" and number is not None and (number or not words):
        how = f"exit status {number}"
        if number in EXIT_STATUSES:
            how += f"/{EXIT_STATUSES[number]}"
        if number == 203:
            how += ", the program cannot be executed"
    elif code in ("killed", "dumped") and number is not None:
        how = f"signal {processes.signal_name(number)}"
        how += ", core dumped" if code == "dumped" else ""
    else:
        how = "" if words or result in ("", "success") else "a command before or after it failed"
    is_clean = code == "exited" and number == 0 and not words
    return Exit(f"{words} ({how})" if words and how else words or how, is_clean)


@dataclass
class _Life:
    """The records of one invocation of a unit, as they are gathered."""

    began_us: int = 0
    ended_us: int = 0
    stopping: bool = False
    failed: bool = False
    restarted: bool = False
    result: str = ""
    code: str = ""
    status: str = ""


@dataclass(frozen=True)
class LogLine:
    """A log line of a service, and the life that wrote it."""

    invocation: str
    text: str


@dataclass(frozen=True)
class JournalRecords:
    """What the journal says about the services of one manager."""

    # By unit, oldest first and newest last.
    lives: Mapping[str, tuple[EndedLife, ...]] = field(default_factory=dict)
    lines: Mapping[str, tuple[LogLine, ...]] = field(default_factory=dict)
    oldest_us: int | None = None  # monotonic, of the oldest record returned
    records: int = 0


def parse_journal(
    text: str, monotonic_us: int, boot: str, manager: Manager = SYSTEM
) -> JournalRecords:
    """Records of a manager and log lines of services from `journalctl -o json`, oldest first.

    One life is what carries one INVOCATION_ID: it ends with "failed with result" or "deactivated
    successfully". "Stopping" before that is an operator or a dependency; "scheduled restart job"
    after a success is a loop of clean exits; a success without a restart is no crash.
    """
    lives: dict[str, dict[str, _Life]] = {}
    lines: dict[str, list[LogLine]] = {}
    oldest, records = None, 0
    for line in text.splitlines():
        try:
            record = json.loads(line)
            at = int(record["__MONOTONIC_TIMESTAMP"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a limit, or by a journal that was being written
        records += 1
        if record.get("_BOOT_ID", boot) != boot:
            continue
        oldest = at if oldest is None else min(oldest, at)
        message = record.get("MESSAGE_ID")
        if record.get("_PID") == str(manager.pid) and message in MESSAGES:
            unit, invocation = record.get(manager.unit), record.get(manager.invocation)
            if isinstance(unit, str) and isinstance(invocation, str):
                life = lives.setdefault(unit, {}).setdefault(invocation, _Life())
                _note(life, message, record, at)
        elif isinstance(record.get(manager.writer), str):
            line_of = LogLine(
                str(record.get("_SYSTEMD_INVOCATION_ID", "")), _message(record.get("MESSAGE"))
            )
            lines.setdefault(record[manager.writer], []).append(line_of)
    ended = {
        unit: tuple(
            _ended(life, monotonic_us)
            for life in sorted(of_unit.values(), key=lambda life: life.ended_us)
            if life.ended_us
        )
        for unit, of_unit in lives.items()
    }
    return JournalRecords(ended, {u: tuple(ll[-20:]) for u, ll in lines.items()}, oldest, records)


def _note(life: _Life, message: str, record: Mapping[str, Any], at: int) -> None:
    if message in (STARTING, STARTED):
        life.began_us = life.began_us or at
    elif message == STOPPING:
        life.stopping = life.stopping or not life.ended_us
    elif message == EXITED:
        # A reload command that fails ends no life; what the main process did comes first.
        if record.get("COMMAND") != "ExecReload" and (
            not life.code or record.get("COMMAND") == "ExecStart"
        ):
            life.code = str(record.get("EXIT_CODE", ""))
            life.status = str(record.get("EXIT_STATUS", ""))
    elif message == OUT_OF_MEMORY:
        life.result = life.result or "oom-kill"
    elif message in (FAILED, SUCCEEDED):
        # After the start limit the same invocation fails once more: no second death.
        if not life.ended_us:
            life.ended_us = at
            life.failed = message == FAILED
            life.result = str(record.get("UNIT_RESULT", "")) or life.result
    elif message == RESTARTED:
        life.restarted = True
        life.ended_us = life.ended_us or at


def _ended(life: _Life, monotonic_us: int) -> EndedLife:
    if life.stopping:
        kind = MANUAL
    elif life.failed:
        kind = CRASH
    else:
        kind = CLEAN if life.restarted else MANUAL
    how = exited(0) if kind == CLEAN else NO_EXIT
    if kind == CRASH:
        how = exit_of(life.result, life.code, life.status)
    return EndedLife(
        age_seconds=max(0.0, (monotonic_us - life.ended_us) / 1e6),
        kind=kind,
        exit=how,
        lasted_seconds=(life.ended_us - life.began_us) / 1e6 if life.began_us else None,
    )


def _message(content: object) -> str:
    if isinstance(content, list):  # bytes that are not UTF-8
        return bytes(byte & 255 for byte in content if isinstance(byte, int)).decode(
            "utf-8", "replace"
        )
    return content if isinstance(content, str) else ""


def head_realtime(header: bytes) -> float | None:
    """Seconds (Unix) of the oldest entry of a journal file; None if there is none in it.

    JOURNAL_FILE_FORMAT, "Header": le64 head_entry_realtime in microseconds at offset 184.
    """
    if len(header) < 192 or header[:8] != b"LPKSHHRH":
        return None
    microseconds = struct.unpack_from("<Q", header, 184)[0]
    return float(microseconds) / 1e6 if microseconds else None


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


# What is asked


@dataclass(frozen=True)
class Query:
    """What to ask a manager for."""

    window: float = 900.0  # seconds of the journal to read
    names: Sequence[str] = ()  # only these services, whatever they are; () is all daemons
    log_lines: int = 3
    wanted: Callable[[str], bool] = lambda name: True


def instances(table: ProcessTable) -> list[Instance]:
    """The system's manager, if it is pid 1 of this host (or container), and the users' below it.

    Of the users' those that we may ask: a user's own, and all for root.
    """
    first = table.processes.get(1)
    if first is None and table.is_real:
        # hidepid= hides pid 1 from other users; this is how sd_booted(3) knows.
        is_booted = os.path.isdir("/run/systemd/system")
    else:
        is_booted = first is not None and first.comm == NAME
    if not is_booted:
        return []
    found = [Instance(NAME, "system", 1)]
    for process in table.processes.values():
        # A container has a pid 1 of its own, and its managers are below that.
        is_users = process.ppid == 1 and process.comm == NAME and "--user" in process.cmdline
        if is_users and os.geteuid() in (0, process.uid):
            found.append(Instance(NAME, _name_and_group(process.uid)[0], process.pid))
    return found


def _name_and_group(uid: int) -> tuple[str, int]:
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), uid
    return account.pw_name, account.pw_gid


def manager_of(instance: Instance, table: ProcessTable) -> Manager:
    """Whom an instance stands for."""
    if instance.pid in (None, 1):
        return SYSTEM
    process = table.process(instance.pid)
    return Manager(instance.pid, process.uid if process else -1, instance.address)


def services(
    instance: Instance,
    table: ProcessTable,
    query: Query = Query(),
    *,
    ask: Ask = subprocesses.run,
    journals: Sequence[str] = JOURNALS,
) -> list[Service]:
    """All daemons, or the named ones; one `systemctl show`, at most one `journalctl`.

    CheckError when systemd cannot be queried, subprocesses.NoAnswer when it hangs.
    """
    manager = manager_of(instance, table)
    own = [name[len(manager.prefix) :] for name in query.names if name.startswith(manager.prefix)]
    own = [name for name in own if "/" not in name]
    if query.names and not own:
        return []
    found = {}
    blocks, monotonic_us = _shown(manager, own, ask)
    for position, properties in enumerate(blocks):
        service = service_of(properties, monotonic_us)
        if own and len(blocks) == len(own):
            # An alias answers under its own name: the operator's word is kept.
            service = replace(service, name=short(own[position]))
        if own and properties.get("LoadState") != "loaded":
            continue  # not there; the caller misses it by name
        if (own or is_daemon(properties)) and query.wanted(manager.prefix + service.name):
            found[service.name] = service
    process: Process | None = table.processes.get(manager.pid)
    age = table.age(process) if process else None
    if not found:
        return []
    journal = Journal(manager, table, query.window, monotonic_us, age, ask, journals)
    counted = [replace(service, restarts_seconds=age) for service in found.values()]
    return [_of(manager, one) for one in _with_journal(counted, journal, query.log_lines)]


def _of(manager: Manager, service: Service) -> Service:
    """A service as it is called among those of all managers."""
    if manager.uid is None:
        return service
    return replace(service, name=manager.prefix + service.name)


def log_command(manager: Manager, name: str, with_sudo: bool = False) -> str:
    """The command that shows what a service of a manager has logged."""
    unit = f"-u {name}"
    if manager.uid is not None:
        unit = f"_UID={manager.uid} _SYSTEMD_USER_UNIT={long(name)}"
    return f"{'sudo ' * with_sudo}journalctl {unit} -n 50"


def _shown(manager: Manager, names: Sequence[str], ask: Ask) -> tuple[list[dict[str, str]], int]:
    """The properties of named services, or all; and the instant (CLOCK_MONOTONIC, in us)."""
    named = [long(name) for name in names] or [long("*")]
    show = ["show", "-p", PROPERTIES, "--", *named]
    try:
        if manager.uid is None:
            ran = ask(["systemctl", *show])
        elif not os.path.exists(manager.socket):
            return [], 0  # its user logs in or out just now
        else:
            ran = _asked_as(manager, ["systemctl", "--user", *show], ask)
    except OSError as error:
        program = error.filename or "systemctl"
        raise CheckError(
            f"{manager.called} cannot be queried: {error.strerror} ({program})"
        ) from error
    monotonic_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    if ran.status == 0:
        return parse_show(ran.stdout), monotonic_us
    if manager.uid is not None and not os.path.exists(manager.socket):
        return [], 0
    complaint = (ran.stderr.strip().splitlines() or ["it gave no reason"])[0]
    raise CheckError(f"{manager.called} cannot be queried: {complaint}")


def _asked_as(manager: Manager, argv: list[str], ask: Ask) -> subprocesses.Ran:
    """A user's manager answers its user alone, so root asks as that user (and not by PAM)."""
    become: list[str] = []
    if manager.uid is not None and os.geteuid() != manager.uid:
        group = _name_and_group(manager.uid)[1]
        become = ["setpriv", f"--reuid={manager.uid}", f"--regid={group}", "--clear-groups", "--"]
    seconds = min(USER_ANSWER_SECONDS, deadline.remaining() / 2)
    try:
        return ask(
            [*become, *argv],
            timeout=seconds,
            env={"XDG_RUNTIME_DIR": f"/run/user/{manager.uid}"},
        )
    except subprocesses.NoAnswer:  # which names setpriv
        raise subprocesses.NoAnswer(
            f"systemctl did not answer within {units.say_duration(seconds)}"
        ) from None


# The journal


@dataclass(frozen=True)
class Journal:
    """Where one manager's records are, how they are asked for, and from when on they count."""

    manager: Manager
    table: ProcessTable
    window: float  # seconds
    monotonic_us: int  # now, by CLOCK_MONOTONIC
    manager_age: float | None  # seconds
    ask: Ask
    directories: Sequence[str]


def _with_journal(services: Sequence[Service], journal: Journal, log_lines: int) -> list[Service]:
    """The services with what the journal remembers of them, or with why it does not."""
    may_read = may_read_journal(journal.directories, journal.manager)
    services = [
        replace(one, next=log_command(journal.manager, one.name, with_sudo=not may_read))
        for one in services
    ]
    if not may_read:
        # The directories of files that only the journal's group may read can be seen by all.
        why = NO_JOURNAL if any(map(os.path.isdir, journal.directories)) else KEEPS_NONE
        return [replace(one, unseen=why) for one in services]
    suspects = _suspects(services, journal.window) if log_lines else []
    records = _read(journal, suspects)
    if records is not None and records.records >= RECORDS and suspects:
        # A talkative service crowded the records of all others out.
        lines = records.lines
        records = _read(journal, [])
        records = records and replace(records, lines=lines)
    if records is None:
        return [replace(one, unseen="journalctl did not answer") for one in services]
    reach = _reach(records, journal)
    return [_with_lives(service, records, reach, log_lines) for service in services]


def may_read_journal(journals: Sequence[str] = JOURNALS, manager: Manager = SYSTEM) -> bool:
    """Whether its journal is there and may be read (journalctl itself answers with a hint)."""
    return any(os.access(path, os.R_OK) for path in _journal_files(journals, manager, ".journal"))


def _journal_files(journals: Sequence[str], manager: Manager, end: str) -> list[str]:
    """The files with the records of a manager: a user has his own where they are persistent."""
    for name in ([] if manager.uid is None else [f"user-{manager.uid}"]) + ["system"]:
        files = [path for root in journals for path in glob.glob(f"{root}/*/{name}{end}")]
        if files:
            return files
    return []


def _suspects(services: Iterable[Service], window: float) -> list[str]:
    """The services whose last lines will most likely be wanted, worst first."""
    young = [
        service
        for service in services
        if service.state in (GAVE_UP, BETWEEN)
        or (service.restarts and (service.age_seconds or 0.0) < window)
    ]
    young.sort(key=lambda service: (service.state == UP, -(service.restarts or 0)))
    return [service.name for service in young[:SUSPECTS]]


def _read(journal: Journal, suspects: Sequence[str]) -> JournalRecords | None:
    """The records of a manager and the lines of suspects; None if journalctl does not answer."""
    manager, boot = journal.manager, journal.table.now.boot.replace("-", "")
    argv = [
        "journalctl", "-q", "-o", "json", "-n", str(RECORDS),
        f"--since=-{int(journal.window) + 1}s",
        "--output-fields=MESSAGE_ID,EXIT_CODE,EXIT_STATUS,COMMAND,UNIT_RESULT,_PID,_BOOT_ID,"
        f"{manager.unit},{manager.invocation},{manager.writer}"
        + (",_SYSTEMD_INVOCATION_ID,MESSAGE" if suspects else ""),
        f"_BOOT_ID={boot}", *manager.owner, f"_PID={manager.pid}",
        *(f"MESSAGE_ID={message}" for message in MESSAGES),
    ]  # fmt: skip
    for name in suspects:
        argv += ["+", f"_BOOT_ID={boot}", *manager.owner, f"{manager.writer}={long(name)}"]
    try:
        ran = journal.ask(argv)
    except (OSError, subprocesses.NoAnswer):
        return None
    if ran.status != 0:
        return None
    return parse_journal(ran.stdout, journal.monotonic_us, boot, manager)


def _reach(records: JournalRecords, journal: Journal) -> float:
    """How many seconds back the journal is complete; the whole window where it goes that far."""
    if records.records >= RECORDS and records.oldest_us is not None:
        return (journal.monotonic_us - records.oldest_us) / 1e6
    heads = []
    for path in _journal_files(journal.directories, journal.manager, "[.@]*journal"):
        try:
            with open(path, "rb") as file:
                head = head_realtime(file.read(192))
        except OSError:
            continue
        if head is not None:
            heads.append(journal.table.now.wall - head)
    reach = max(heads, default=0.0)
    if journal.manager_age is not None and reach > journal.manager_age - 60.0:
        return journal.window  # it goes back to the start of this systemd: there is no more to know
    return min(journal.window, max(0.0, reach))


def _with_lives(service: Service, records: JournalRecords, reach: float, log_lines: int) -> Service:
    lives = records.lives.get(long(service.name), ())
    if service.state == BETWEEN and lives and lives[-1].kind == MANUAL:
        # A success that waits for its restart; the record of that restart is still to come.
        lives = (*lives[:-1], replace(lives[-1], kind=CLEAN, exit=exited(0)))
    crashes = [life for life in lives if life.kind in (CRASH, CLEAN)]
    lines = last_lines(records.lines.get(long(service.name), ()), service)
    return replace(
        service,
        history=lives,
        history_seconds=reach,
        exact=True,
        last_exit=service.last_exit or (crashes[-1].exit if crashes else NO_EXIT),
        log=lines[-log_lines:] if log_lines else (),
    )


def last_lines(lines: Sequence[LogLine], service: Service) -> tuple[str, ...]:
    """What lives that ended have logged; the current one's greetings only if that is nothing."""
    prefix = long(service.name) + ": "  # of what systemd's child logs before it is the program
    dead = [line for line in lines if line.invocation != service.incarnation]
    texts = [line.text for line in dead or lines if line.text.strip()]
    return tuple(text[len(prefix) :] if text.startswith(prefix) else text for text in texts)

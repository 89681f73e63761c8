"""Nagios Core 4 and Naemon: query handler, status.dat, command FIFO, process table.

What goes stale when (measured with 4.4.6): with the main loop stopped, the query handler at once
and status.dat after its interval; with the workers stopped, nothing but the `last_check` of
actively checked services: the status file is rewritten, the handler answers and passive results
come in as if all were well. Passive results set check_type to 1, so they cannot pass for work.

`last_update` in every block is the time of writing, not of checking. A clean stop deletes
status.dat; kill -9 leaves it. On a full disk Nagios writes an empty file and renames it over the
good one, every other time.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from twiceshy.kit import deadline, units
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import Measure, label
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    ago,
    asking,
    children_organ,
    clock_organ,
    contact,
    dead,
    fine,
    poor,
    processes,
    stopped_organ,
    unseen,
)
from twiceshy.monitor_liveness.monitors.processes import Process

CONFIGS = (
    "/etc/nagios4/nagios.cfg",
    "/usr/local/nagios/etc/nagios.cfg",
    "/etc/nagios/nagios.cfg",
    "/etc/naemon/naemon.cfg",
)

# A block of status.dat ends with this line (xdata/xsddefault.c); values hold no newline.
END_OF_BLOCK = b"\n\t}\n"

CHUNK = 1024 * 1024

# Below this a full disk is certain: the next status.dat will be cut short.
FULL_DISK_BYTES = 64 * 1024

# More than half of the services late, and enough of them to call it more than bad luck.
LATE_SHARE, LATE_LEAST = 0.5, 10


@dataclass(frozen=True)
class Config:
    """What of nagios.cfg tells where to look and what to expect; seconds."""

    status_file: str
    command_file: str
    query_socket: str
    lock_file: str = ""
    interval_length: float = 60.0
    status_update_interval: float = 10.0
    service_check_timeout: float = 60.0
    takes_commands: bool = True


@dataclass(frozen=True)
class Service:
    """One service's part in the evidence; times are Unix, 0 for never."""

    name: str
    last_check: float
    next_check: float
    interval: float
    is_active: bool
    is_passive_result: bool
    output: str = ""


@dataclass(frozen=True)
class Status:
    """status.dat in a few numbers.

    `newest` is the last time that a plugin was executed for any service or host; `fastest` the
    smallest interval among services that are due (not outside their check_period), None when
    there are none; `most_overdue` seconds beyond the due time, negative when nothing is late.
    """

    created: float
    pid: int
    program_start: float
    notifications: bool
    service_checks: bool
    passive_checks: bool
    newest: float
    newest_name: str
    scheduled: int
    fastest: float | None
    overdue: int
    most_overdue: float
    executed_last_minute: float | None
    expected_per_minute: float
    passive_only: int = 0
    pulse: Service | None = None
    canary: Service | None = None


class Truncated(Exception):
    """A status.dat that ends in the middle; the text says where."""


def parse_config(text: str) -> Config:
    """nagios.cfg or naemon.cfg: `key=value`, the last counts. CheckError without status_file."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            values[key.strip()] = value.strip()
    try:
        status = values.get("status_file") or values["xsddefault_status_file"]
    except KeyError:
        raise CheckError("this is no nagios.cfg: it has no status_file") from None
    command = values.get("command_file", "")
    socket = values.get("query_socket") or os.path.join(
        os.path.dirname(command or status), "nagios.qh"
    )

    def number(key: str, default: float) -> float:
        try:
            return float(values.get(key, default))
        except ValueError:
            return default

    return Config(
        status_file=status,
        command_file=command,
        query_socket=socket,
        lock_file=values.get("lock_file", ""),
        interval_length=number("interval_length", 60.0),
        status_update_interval=number("status_update_interval", 10.0),
        service_check_timeout=number("service_check_timeout", 60.0),
        takes_commands=values.get("check_external_commands", "1") != "0",
    )


def _field(block: bytes, key: bytes, start: int = 0) -> tuple[bytes, int]:
    """The value of `key` in a block, and where it was: the next search may begin there."""
    at = block.find(b"\n\t" + key + b"=", start)
    if at < 0:
        # Naemon and other releases order fields differently.
        at = block.find(b"\n\t" + key + b"=") if start else -1
        if at < 0:
            return b"", start
    value = at + len(key) + 3
    end = block.find(b"\n", value)
    return block[value : end if end >= 0 else len(block)], at


def _number(value: bytes) -> float:
    """Naemon writes times as sec.usec, Nagios as sec."""
    try:
        return float(value)
    except ValueError:
        return 0.0


def split_name(name: str) -> tuple[str, str]:
    """A service as operators type it: `host;service` or `host!service`."""
    for mark in (";", "!"):
        host, found, service = name.partition(mark)
        if found:
            return host.strip(), service.strip()
    raise CheckError(f"{name!r} does not name a service; type HOST;SERVICE")


def read_status(
    stream: BinaryIO,
    now: float,
    config: Config,
    intervals: float = 2.0,
    pulse: str = "",
    canary: str = "",
) -> Status:
    """One pass over status.dat, a block at a time; 300 MB need seconds and a few MiB.

    Truncated when the file is empty, ends inside a block or lacks the program's own.
    """
    created = newest = 0.0
    newest_name = b""
    program: dict[bytes, bytes] = {}
    scheduled = overdue = passive_only = 0
    fastest: float | None = None
    most_overdue = float("-inf")
    expected = 0.0
    wanted = {
        tuple(part.encode() for part in split_name(name)): name for name in (pulse, canary) if name
    }
    services: dict[str, Service] = {}
    length = config.interval_length
    slack = config.status_update_interval + config.service_check_timeout
    rest, has_any = b"", False

    while True:
        chunk = stream.read(CHUNK)
        if not chunk:
            break
        has_any = True
        blocks = (rest + chunk).split(END_OF_BLOCK)
        rest = blocks.pop()
        for block in blocks:
            opening = block.find(b" {\n")
            kind = block[block.rfind(b"\n", 0, opening) + 1 : opening] if opening >= 0 else b""
            if kind == b"servicestatus" or kind == b"hoststatus":
                # The order of fields is that of xsddefault.c, so each search goes on from the last.
                at = opening
                interval_text, at = _field(block, b"check_interval", at)
                scheduled_text, at = _field(block, b"should_be_scheduled", at)
                type_text, at = _field(block, b"check_type", at)
                last_text, at = _field(block, b"last_check", at)
                next_text, at = _field(block, b"next_check", at)
                active_text, at = _field(block, b"active_checks_enabled", at)
                interval = _number(interval_text) * length
                last, due = _number(last_text), _number(next_text)
                is_active = active_text == b"1" and scheduled_text == b"1" and interval > 0
                if type_text == b"0" and last > newest:
                    newest, newest_name = last, block
                if active_text == b"0" and kind == b"servicestatus":
                    passive_only += 1
                if is_active and due > 0 and due <= now + interval + slack:
                    scheduled += 1
                    expected += 60.0 / interval
                    late = now - due
                    if late > most_overdue:
                        most_overdue = late
                    if late > (intervals - 1) * interval + slack:
                        overdue += 1
                    if fastest is None or interval < fastest:
                        fastest = interval
                if wanted and kind == b"servicestatus":
                    key = (
                        _field(block, b"host_name")[0],
                        _field(block, b"service_description")[0],
                    )
                    if key in wanted:
                        services[wanted[key]] = Service(
                            name=wanted[key],
                            last_check=last,
                            next_check=due,
                            interval=interval,
                            is_active=is_active,
                            is_passive_result=type_text == b"1",
                            output=_field(block, b"plugin_output")[0].decode("utf-8", "replace"),
                        )
            elif kind == b"info":
                created = _number(_field(block, b"created")[0])
            elif kind == b"programstatus":
                for line in block[opening:].split(b"\n\t"):
                    key_text, _, value = line.partition(b"=")
                    program[key_text] = value
    if not has_any:
        raise Truncated("is empty (0 bytes)")
    if not program:
        raise Truncated("ends before the program's own block")
    if rest.strip():
        raise Truncated("ends in the middle of a block")

    stats = program.get(b"active_scheduled_service_check_stats", b"").split(b",")
    name = b""
    if newest_name:
        host, at = _field(newest_name, b"host_name")
        service = _field(newest_name, b"service_description")[0]
        name = host + (b";" + service if service else b"")
    return Status(
        created=created,
        pid=int(_number(program.get(b"nagios_pid", program.get(b"naemon_pid", b"0")))),
        program_start=_number(program.get(b"program_start", b"0")),
        notifications=program.get(b"enable_notifications", b"1") == b"1",
        service_checks=program.get(b"active_service_checks_enabled", b"1") == b"1",
        passive_checks=program.get(b"passive_service_checks_enabled", b"1") == b"1",
        newest=newest,
        newest_name=name.decode("utf-8", "replace"),
        scheduled=scheduled,
        fastest=fastest,
        overdue=overdue,
        most_overdue=most_overdue,
        executed_last_minute=_number(stats[0]) if stats[0] else None,
        expected_per_minute=expected,
        passive_only=passive_only,
        pulse=services.get(pulse),
        canary=services.get(canary),
    )


@dataclass(frozen=True)
class Worker:
    """A worker as `#wproc wpstats` tells it."""

    pid: int
    running: int
    started: int


def parse_workers(text: str) -> tuple[Worker, ...]:
    """The answer to `#wproc wpstats`: a line a worker, `name=..;pid=..;jobs_running=..;...`."""
    workers = []
    for line in text.replace("\0", "\n").splitlines():
        fields = dict(part.partition("=")[::2] for part in line.split(";"))
        try:
            workers.append(
                Worker(int(fields["pid"]), int(fields["jobs_running"]), int(fields["jobs_started"]))
            )
        except (KeyError, ValueError):
            continue
    return tuple(workers)


# What is seen


@dataclass(frozen=True)
class Sight:
    """All that was seen of one Nagios in one look."""

    name: str
    config: Config
    status: Status | None
    status_trouble: tuple[str, str] = ("", "")
    echo_seconds: float | None = None
    echo_trouble: tuple[str, str] = ("", "")
    workers: tuple[Worker, ...] = ()
    intake: tuple[str, str] = ("", "")
    free_bytes: int | None = None
    filesystem: str = ""
    main: Process | None = None
    worker_processes: tuple[Process, ...] = ()
    has_process_table: bool = True
    submitted: tuple[str, str] = ("", "")
    config_path: str = ""


def is_main(process: Process) -> bool:
    return (
        process.program in ("nagios", "nagios4", "naemon")
        and "--worker" not in process.argv
        and any(not word.startswith("-") for word in process.argv[1:])
        and not any(
            word in ("-v", "--verify-config", "-s", "--test-scheduling") for word in process.argv
        )
    )


def is_worker(process: Process) -> bool:
    return process.program in ("nagios", "nagios4", "naemon") and "--worker" in process.argv


def config_of(process: Process) -> str:
    """The main configuration file on a daemon's command line: its only plain argument."""
    return next((word for word in process.argv[1:] if not word.startswith("-")), "")


def found(table: Sequence[Process]) -> list[Target]:
    """Every Nagios and Naemon whose main process is there, or that has left orphans behind.

    Nagios forks a second process of the same command line (its command file worker): only the
    parent of the two is a main.
    """
    mains = [process for process in table if is_main(process)]
    pids = {process.pid for process in mains}
    targets = [
        Target(
            kind="naemon" if main.program == "naemon" else "nagios",
            name="naemon" if main.program == "naemon" else "nagios",
            config=Path(processes.path_of(main, config_of(main))),
            main=main,
            processes=tuple(processes.family_of(main.pid, table)),
        )
        for main in mains
        if main.parent not in pids
    ]
    orphans = [
        process
        for process in table
        if is_worker(process) and process.parent not in {p.pid for p in table if is_main(p)}
    ]
    if orphans and not targets:
        config = next((path for path in CONFIGS if os.path.exists(path)), "")
        targets.append(
            Target(
                kind="nagios",
                name="nagios",
                config=Path(config) if config else None,
                processes=tuple(orphans),
            )
        )
    return targets


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    """Ask the query handler once, read status.dat once, look at FIFO, disk and processes."""
    path = contact.config_of(target, CONFIGS)
    if not path:
        raise CheckError(f"no configuration of {target.kind} found; say --config FILE")
    try:
        config = parse_config(Path(path).read_text(errors="replace"))
    except PermissionError:
        raise CheckError(
            f"not allowed to read {path}; run the check as the monitor's user"
        ) from None
    except OSError as error:
        raise CheckError(f"cannot read {path}: {error.strerror}") from error

    # A status file of a big site takes seconds to read; the echo of one that hangs does, too.
    (echo_seconds, echo_trouble), (status, status_trouble) = asking.at_once(
        [
            lambda: _echo(config.query_socket, wishes.probe_seconds),
            lambda: _status(config, wishes),
        ]
    )
    workers: tuple[Worker, ...] = ()
    if echo_seconds is not None:
        # A hung daemon is asked once a run and no more; this one has just answered.
        try:
            workers = parse_workers(
                asking.converse(
                    config.query_socket, b"#wproc wpstats\0", lambda _: False, wishes.probe_seconds
                ).text
            )
        except asking.Trouble:
            workers = ()
    main = target.main
    if main is None:
        main = next(
            (
                p
                for p in table
                if is_main(p) and os.path.realpath(config_of(p)) == os.path.realpath(path)
            ),
            None,
        )
    if main is None and status is not None and status.pid:
        main = next((p for p in table if p.pid == status.pid and is_main(p)), None)
    submitted = ("", "")
    if wishes.canary and config.command_file:
        submitted = _submit_canary(config, wishes)
    free, filesystem = _free_bytes(os.path.dirname(config.status_file) or ".")
    return Sight(
        name=target.name,
        config=config,
        status=status,
        status_trouble=status_trouble,
        echo_seconds=echo_seconds,
        echo_trouble=echo_trouble,
        workers=workers,
        intake=asking.intake_of(config.command_file)
        if config.takes_commands and config.command_file
        else ("off", "external commands are off"),
        free_bytes=free,
        filesystem=filesystem,
        main=main,
        has_process_table=any(process.pid == 1 for process in table),
        worker_processes=tuple(p for p in table if is_worker(p) and config.query_socket in p.argv),
        submitted=submitted,
        config_path=path,
    )


def _echo(path: str, seconds: float) -> tuple[float | None, tuple[str, str]]:
    nonce = secrets.token_hex(8)
    try:
        answer = asking.converse(
            path, b"@echo " + nonce.encode() + b"\0", lambda said: nonce.encode() in said, seconds
        )
    except asking.Trouble as trouble:
        return None, trouble.told
    if nonce not in answer.text:
        return None, ("strange", f"{path} does not echo")
    return answer.seconds, ("", "")


def _status(config: Config, wishes: Wishes) -> tuple[Status | None, tuple[str, str]]:
    """status.dat, read again for a while when cut short: a full disk empties every other one."""
    path = config.status_file
    ends = time.monotonic() + min(wishes.probe_seconds, deadline.remaining() * 0.4)
    while True:
        try:
            with deadline.doing(f"reading {path}"), open(path, "rb", buffering=0) as stream:
                return (
                    read_status(
                        stream, time.time(), config, wishes.intervals, wishes.pulse, wishes.canary
                    ),
                    ("", ""),
                )
        except Truncated as cut:
            if time.monotonic() >= ends:
                return None, ("truncated", f"{path} {cut}")
            time.sleep(0.25)
        except FileNotFoundError:
            return None, ("missing", f"{path} does not exist")
        except PermissionError:
            return None, ("denied", f"not allowed to read {path}")
        except OSError as error:
            return None, ("unreadable", f"{path} cannot be read: {error.strerror}")


def _free_bytes(directory: str) -> tuple[int | None, str]:
    try:
        numbers = os.statvfs(directory)
    except OSError:
        return None, directory
    return numbers.f_bavail * numbers.f_frsize, directory


def _submit_canary(config: Config, wishes: Wishes) -> tuple[str, str]:
    """Put a passive result with a fresh nonce into the FIFO, unless one is still under way.

    Returns the nonce and "", or "" and why it could not be submitted.
    """
    pending: Mapping[str, Any] = wishes.remembered.get("canary") or {}
    if pending and not pending.get("returned") and time.time() - pending.get("at", 0) < 60:
        return "", ""
    host, service = split_name(wishes.canary)
    nonce = secrets.token_hex(6)
    line = (
        f"[{int(time.time())}] PROCESS_SERVICE_CHECK_RESULT;{host};{service};0;"
        f"canary {nonce} of check_monitor_liveness\n"
    )
    try:
        asking.submit(config.command_file, line)
    except asking.Trouble as trouble:
        return "", trouble.text
    return nonce, ""


# What it means


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    """Every organ of a Nagios."""
    status = seen.status
    service_name = (
        "naemon"
        if "naemon" in seen.config_path
        else "nagios4"
        if "nagios4" in seen.config_path
        else "nagios"
    )
    restart = f"systemctl status {service_name}; journalctl -u {service_name} -n 50"
    started = clock.age(status.program_start) if status and status.program_start else None
    if seen.main is not None and seen.main.started:
        started = min(x for x in (started, clock.age(seen.main.started)) if x is not None)
    is_young = contact.is_young(started, wishes)
    organs: list[Organ] = []
    measures: list[Measure] = []

    absent = _absent(seen)
    if absent:
        return Seen(
            seen.name,
            (replace(absent, next=restart),),
            _measures(seen, clock, None),
            absent=not seen.worker_processes and seen.status_trouble[0] == "missing",
        )
    organs += _processes(seen)
    organs.append(_main_loop(seen, clock, restart))
    limit: float | None = None
    facts: dict[str, Any] = {}
    if status is None:
        organs.append(_state_file_trouble(seen, is_young, restart))
        if seen.worker_processes:
            organ, facts = children_organ(seen.worker_processes, wishes, clock)
            organs.append(organ)
    else:
        for what, age in (
            ("the writing of status.dat", clock.age(status.created)),
            ("the newest result", clock.age(status.newest) if status.newest else 0.0),
        ):
            future = clock_organ(what, age)
            if future:
                organs.append(future)
                break
        organs.append(_state_file(seen, status, clock, is_young, restart))
        executor, limit = _executor(seen, status, wishes, clock, is_young)
        organs.append(executor)
        if not status.notifications:
            organs.append(
                poor(
                    "notifications",
                    "are disabled: it sees faults and tells nobody",
                    _submit(seen.config, "ENABLE_NOTIFICATIONS"),
                )
            )
    organs += _intake(seen, wishes, clock)
    measures += _measures(seen, clock, limit)
    if wishes.canary:
        facts["canary"] = _canary_facts(seen, wishes, clock)
    return Seen(seen.name, tuple(organs), tuple(measures), started=started, facts=facts)


def _absent(seen: Sight) -> Organ | None:
    """Why the monitor is not there at all; None if anything shows that it is."""
    if seen.echo_seconds is not None or seen.main is not None:
        return None
    if seen.echo_trouble[0] in ("hung", "closed", "strange"):
        return None
    if seen.echo_trouble[0] == "denied" and not seen.has_process_table:
        return None
    orphans = seen.worker_processes
    if orphans:
        pids = " ".join(str(process.pid) for process in orphans)
        return dead(
            "main process",
            f"is gone, it was killed: {len(orphans)} orphaned "
            f"worker{'s' if len(orphans) > 1 else ''} left (pid {pids})",
        )
    if seen.echo_trouble[0] == "refused" or seen.status is not None:
        return dead(
            "main process",
            "is not running: it was killed, its status file was left behind",
            is_fleeting=True,
        )
    return dead(
        "main process",
        "is not running: there is no such process"
        if seen.status_trouble[0] == "denied"
        else f"is not running ({seen.status_trouble[1]}: stopped or never started)",
        is_fleeting=True,
        is_planned=True,
    )


def _processes(seen: Sight) -> list[Organ]:
    organs = []
    if seen.main is not None:
        organ = stopped_organ([seen.main], "main process")
        if organ:
            organs.append(organ)
    if seen.worker_processes:
        organ = stopped_organ(seen.worker_processes, "worker")
        if organ:
            organs.append(replace(organ, text=f"{organ.text}; checks handed to them never return"))
    return organs


def _main_loop(seen: Sight, clock: Clock, restart: str) -> Organ:
    kind, text = seen.echo_trouble
    if seen.echo_seconds is not None:
        return fine("main loop", f"answers in {seen.echo_seconds * 1000:.1f}ms")
    if kind == "hung":
        still = ""
        if seen.status is not None:
            still = f" (status.dat still {ago(clock.age(seen.status.created))} old)"
        return dead("main loop", f"does not answer: {text}{still}", restart)
    if kind == "denied":
        return unseen(
            "main loop", f"cannot be asked: {text}; add the check's user to the group of the socket"
        )
    # A reload takes the socket away for a moment.
    return dead("main loop", f"does not answer: {text}", restart, is_fleeting=True)


def _state_file_trouble(seen: Sight, is_young: bool, restart: str) -> Organ:
    kind, text = seen.status_trouble
    if kind == "denied":
        return unseen(
            "state file",
            f"cannot be read: {text}; add the check's user to the group of its directory",
        )
    full = _full(seen)
    if full:
        return dead("state file", f"is cut short: {text}; {full}", f"df -h {seen.filesystem}")
    if is_young:
        return fine("state file", f"{text} yet; it has only just started")
    return dead("state file", text, restart, is_fleeting=kind == "missing")


def _full(seen: Sight) -> str:
    if seen.free_bytes is None or seen.free_bytes >= FULL_DISK_BYTES:
        return ""
    return (
        f"the disk under {seen.filesystem} is full ({units.say_size(seen.free_bytes)} free), "
        "status and retention data are being lost"
    )


def _state_file(seen: Sight, status: Status, clock: Clock, is_young: bool, restart: str) -> Organ:
    age = clock.age(status.created)
    limit = 3 * seen.config.status_update_interval + 5
    full = _full(seen)
    if full:
        return dead("state file", f"cannot be written: {full}", f"df -h {seen.filesystem}")
    if age > limit and not is_young:
        return dead(
            "state file",
            f"is stale: status.dat was written {ago(age)} ago (every "
            f"{units.say_duration(seen.config.status_update_interval)} is configured)",
            restart,
        )
    return fine("state file", f"is {ago(max(0.0, age))} old")


def _submit(config: Config, command: str) -> str:
    """How to give Nagios an external command by hand (Nagios Core, External Commands)."""
    target = config.command_file or "ITS_COMMAND_FILE"
    return f"printf '[%s] {command}\\n' $(date +%s) > {target}"


def _executor(
    seen: Sight, status: Status, wishes: Wishes, clock: Clock, is_young: bool
) -> tuple[Organ, float | None]:
    """Whether plugins are really being executed, and the limit that was derived for it."""
    config = seen.config
    if not status.service_checks:
        return (
            dead(
                "checks",
                "are disabled for the whole program: nothing is being checked",
                _submit(config, "START_EXECUTING_SVC_CHECKS"),
            ),
            None,
        )
    if wishes.pulse:
        return _pulse(status, wishes, config, clock, is_young)
    if status.fastest is None:
        passive = " (passive results only)" if status.passive_only else ""
        return fine(
            "executor", f"has nothing to do: no active checks are scheduled now{passive}"
        ), None
    limit = wishes.silence or (
        wishes.intervals * status.fastest
        + config.status_update_interval
        + config.service_check_timeout
    )
    silence = clock.age(max(status.newest, status.program_start))
    overdue = clock.now - status.most_overdue
    waited = clock.age(overdue) if status.most_overdue > 0 else 0.0
    if silence > limit and waited > limit - status.fastest and not is_young:
        return _silent(seen, status, silence, limit), limit
    share = f"{status.overdue} of {status.scheduled} scheduled checks overdue"
    if (
        status.overdue >= LATE_LEAST
        and status.overdue > LATE_SHARE * status.scheduled
        and not is_young
    ):
        return (
            poor(
                "executor",
                f"falls behind: {share}, the newest result is {ago(silence)} old",
                "nagios4stats; ps -C nagios4 -o pid,stat,etime,args",
            ),
            limit,
        )
    if status.newest:
        return fine(
            "executor",
            f"last executed a plugin {ago(max(0.0, clock.age(status.newest)))} ago; {share}",
        ), limit
    return fine("executor", f"has not executed a plugin yet; {share}"), limit


def _silent(seen: Sight, status: Status, silence: float, limit: float) -> Organ:
    stuck = [worker for worker in seen.workers if worker.running]
    jobs = sum(worker.running for worker in stuck)
    why = (
        f", {jobs} job{'s' if jobs > 1 else ''} stuck in {len(stuck)} of "
        f"{len(seen.workers)} workers"
        if stuck
        else ""
    )
    last = f" (last: {status.newest_name})" if status.newest_name else ""
    pids = " ".join(str(worker.pid) for worker in seen.workers)
    return dead(
        "executor",
        f"has not executed a plugin for {ago(silence)} (limit {ago(limit)}){last}{why}",
        f"ps -o pid,stat,wchan,etime,args {pids}" if pids else "ps -ef; look for the workers",
    )


def _pulse(
    status: Status, wishes: Wishes, config: Config, clock: Clock, is_young: bool
) -> tuple[Organ, float | None]:
    pulse = status.pulse
    if pulse is None:
        raise CheckError(f"there is no service {wishes.pulse!r} in {config.status_file} (--pulse)")
    if not pulse.is_active:
        return unseen(
            "executor",
            f"cannot be judged: {pulse.name} is not actively checked, choose another --pulse",
        ), None
    limit = wishes.silence or wishes.intervals * pulse.interval + config.status_update_interval
    if pulse.is_passive_result:
        return unseen(
            "executor", f"cannot be judged: the last result of {pulse.name} was passive"
        ), limit
    silence = clock.age(max(pulse.last_check, status.program_start))
    if silence > limit and not (is_young and silence < limit + wishes.startup_grace):
        return (
            dead(
                "executor",
                f"has not executed {pulse.name} for {ago(silence)} (limit {ago(limit)})",
                "ps -ef; look for the workers",
            ),
            limit,
        )
    return fine(
        "executor", f"executed {pulse.name} {ago(max(0.0, clock.age(pulse.last_check)))} ago"
    ), limit


def _intake(seen: Sight, wishes: Wishes, clock: Clock) -> list[Organ]:
    """Whether commands and passive results get in."""
    kind, text = seen.intake
    next_step = f"ls -l {seen.config.command_file}; rm it if it is no FIFO, then restart"
    needed = bool(wishes.canary) or bool(seen.status and seen.status.passive_only)
    if kind == "off":
        return []
    if kind == "denied":
        if wishes.canary:
            return [unseen("intake", f"cannot be tried: {text}, which --canary needs")]
        return []
    if kind != "reader":
        say = dead if needed or kind == "no reader" else poor
        organ = say("intake", f"takes no commands nor passive results: {text}", next_step)
        return [replace(organ, is_fleeting=kind in ("missing", "no reader"))]
    if not wishes.canary:
        return [fine("intake", "has its reader at the command FIFO")]
    if seen.submitted[1]:
        return [dead("intake", f"does not take the canary: {seen.submitted[1]}", next_step)]
    if seen.status is not None and seen.status.canary is None:
        return [
            unseen("intake", f"cannot be tried: there is no service {wishes.canary!r} (--canary)")
        ]
    facts = _canary_facts(seen, wishes, clock)
    if facts.get("waited", 0) > canary_limit(seen.config):
        return [
            dead(
                "intake",
                f"has lost the canary submitted {ago(facts['waited'])} ago: commands and passive "
                "results are not taken in",
                next_step,
            )
        ]
    if facts.get("last_return") is not None:
        return [
            fine(
                "intake", f"brought the last canary back {ago(clock.age(facts['last_return']))} ago"
            )
        ]
    return [fine("intake", "has a canary under way; the next look reads it back")]


def canary_limit(config: Config) -> float:
    """A passive result is in status.dat after one status interval; allow the second."""
    return 2 * config.status_update_interval + 10


def _canary_facts(seen: Sight, wishes: Wishes, clock: Clock) -> dict[str, Any]:
    """What to remember of the canary: its nonce, when it left, since when one is waited for."""
    before: Mapping[str, Any] = wishes.remembered.get("canary") or {}
    nonce, at = before.get("nonce", ""), before.get("at", 0.0)
    waiting_since, last_return = before.get("waiting_since"), before.get("last_return")
    service = seen.status.canary if seen.status else None
    returned = bool(nonce and service and nonce in service.output)
    if returned:
        waiting_since, last_return = None, clock.now
    if seen.submitted[0]:
        nonce, at, returned = seen.submitted[0], clock.now, False
        waiting_since = clock.now if waiting_since is None else waiting_since
    return {
        "nonce": nonce,
        "at": at,
        "returned": returned,
        "waiting_since": waiting_since,
        "last_return": last_return,
        "waited": 0.0 if waiting_since is None else clock.age(waiting_since),
    }


def _measures(seen: Sight, clock: Clock, limit: float | None) -> tuple[Measure, ...]:
    status = seen.status
    newest = status.pulse.last_check if status and status.pulse else status.newest if status else 0
    return (
        Measure(
            label(seen.name, "executed_age"),
            max(0.0, clock.age(newest)) if newest else None,
            "s",
            critical=Limit.parse(f"{limit:.0f}s", unit=units.duration) if limit else None,
            minimum=0,
        ),
        Measure(
            label(seen.name, "status_age"),
            max(0.0, clock.age(status.created)) if status else None,
            "s",
            critical=Limit.parse(
                f"{3 * seen.config.status_update_interval + 5:.0f}s", unit=units.duration
            ),
            minimum=0,
        ),
        Measure(label(seen.name, "probe_time"), seen.echo_seconds, "s", minimum=0),
        Measure(
            label(seen.name, "executed_rate"),
            status.executed_last_minute / 60
            if status and status.executed_last_minute is not None
            else None,
            minimum=0,
        ),
        Measure(label(seen.name, "overdue"), status.overdue if status else None, minimum=0),
    )

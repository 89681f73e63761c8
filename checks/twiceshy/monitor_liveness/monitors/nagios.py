"""Nagios Core 4 and Naemon: query handler, status.dat, command FIFO, process table.

What goes stale when (measured with 4.4.6): with the main loop stopped, the query handler at once
and status.dat after its interval; with the workers stopped, nothing but the `last_check` of
actively checked services: the status file is rewritten, the handler answers and passive results
come in as if all were well.

A clean stop deletes status.dat; kill -9 leaves it. On a full disk Nagios writes an empty file and
renames it over the good one, every other time.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twiceshy.kit import deadline, http, units
from twiceshy.kit.http import HttpError
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import Measure, label
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    age_limit,
    age_measures,
    ago,
    critical,
    future,
    is_young,
    milliseconds,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import fifo, parallel, processes, sockets
from twiceshy.monitor_liveness.monitors.fifo import Fifo, Intake
from twiceshy.monitor_liveness.monitors.nagios_files import (
    Config,
    StatusFile,
    Truncated,
    Worker,
    parse_config,
    parse_workers,
    read_status,
    split_name,
)
from twiceshy.monitor_liveness.monitors.processes import executing, stopped
from twiceshy.monitor_liveness.monitors.targets import Target, config_of
from twiceshy.monitor_liveness.settings import MonitorSettings

CONFIGS = (
    "/etc/nagios4/nagios.cfg",
    "/usr/local/nagios/etc/nagios.cfg",
    "/etc/nagios/nagios.cfg",
    "/etc/naemon/naemon.cfg",
)

# Below this a full disk is certain: the next status.dat will be cut short.
FULL_DISK_BYTES = 64 * 1024

# More than half of the services late, and enough of them to call it more than bad luck.
LATE_SHARE, LATE_LEAST = 0.5, 10


# What is observed


class StatusFault(enum.Enum):
    """Why there is nothing to know from status.dat."""

    TRUNCATED = "truncated"
    MISSING = "missing"
    DENIED = "denied"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class StatusFailure:
    """A status.dat that could not be read; the text is a sentence about it."""

    fault: StatusFault
    text: str


@dataclass(frozen=True)
class Submission:
    """A canary that was put into the FIFO: its nonce, or why that failed; neither: not tried."""

    nonce: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Observation:
    """One Nagios: status or its failure, echo of the query handler or its failure, and so on."""

    name: str
    config: Config
    status: StatusFile | None
    status_failure: StatusFailure | None = None
    echo_seconds: float | None = None
    echo_failure: HttpError | None = None
    workers: tuple[Worker, ...] = ()
    intake: Fifo = fifo.OFF
    free_bytes: int | None = None
    filesystem: str = ""
    main: Process | None = None
    worker_processes: tuple[Process, ...] = ()
    has_process_table: bool = True
    submitted: Submission = Submission()
    config_path: str = ""


def is_main(process: Process) -> bool:
    """Whether a process is a Nagios or Naemon daemon, and neither its worker nor a test run."""
    return (
        process.program in ("nagios", "nagios4", "naemon")
        and "--worker" not in process.cmdline
        and any(not word.startswith("-") for word in process.cmdline[1:])
        and not any(
            word in ("-v", "--verify-config", "-s", "--test-scheduling") for word in process.cmdline
        )
    )


def is_worker(process: Process) -> bool:
    """Whether a process executes plugins for a Nagios or Naemon."""
    return process.program in ("nagios", "nagios4", "naemon") and "--worker" in process.cmdline


def config_argument(process: Process) -> str:
    """The main configuration file on a daemon's command line: its only plain argument."""
    return next((word for word in process.cmdline[1:] if not word.startswith("-")), "")


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
            config=Path(processes.path_of(main, config_argument(main))),
            main=main,
            processes=tuple(processes.family_of(main.pid, table)),
        )
        for main in mains
        if main.ppid not in pids
    ]
    orphans = [
        process
        for process in table
        if is_worker(process) and process.ppid not in {p.pid for p in table if is_main(p)}
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


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask the query handler once, read status.dat once, examine FIFO, disk and processes."""
    path = config_of(target, CONFIGS)
    if not path:
        raise CheckError(f"no configuration of {target.kind} found; give --config FILE")
    config = _config(path)
    # A status file of a big site takes seconds to read; the echo of one that hangs does, too.
    (echo_seconds, echo_failure), (status, status_failure) = parallel.at_once(
        [
            lambda: _echo(config.query_socket, settings.probe_seconds),
            lambda: _status(config, settings),
        ]
    )
    # A hung daemon is asked once per run and no more.
    has_answered = echo_seconds is not None
    submitted = Submission()
    if settings.canary and config.command_file:
        submitted = _submit_canary(config, settings, history)
    free, filesystem = _free_bytes(os.path.dirname(config.status_file) or ".")
    takes_commands = config.takes_commands and bool(config.command_file)
    return Observation(
        name=target.name,
        config=config,
        status=status,
        status_failure=status_failure,
        echo_seconds=echo_seconds,
        echo_failure=echo_failure,
        workers=_workers(config, settings) if has_answered else (),
        intake=fifo.intake_of(config.command_file) if takes_commands else fifo.OFF,
        free_bytes=free,
        filesystem=filesystem,
        main=target.main or _main(path, status, table),
        has_process_table=any(process.pid == 1 for process in table),
        worker_processes=tuple(
            p for p in table if is_worker(p) and config.query_socket in p.cmdline
        ),
        submitted=submitted,
        config_path=path,
    )


def _config(path: str) -> Config:
    try:
        return parse_config(Path(path).read_text(errors="replace"))
    except PermissionError:
        raise CheckError(
            f"not allowed to read {path}; run the check as the monitor's user"
        ) from None
    except OSError as error:
        raise CheckError(f"cannot read {path}: {error.strerror}") from error


def _main(path: str, status: StatusFile | None, table: Sequence[Process]) -> Process | None:
    """The main process, by the configuration on its command line, else by status.dat's pid."""
    mains = [process for process in table if is_main(process)]
    for process in mains:
        if os.path.realpath(config_argument(process)) == os.path.realpath(path):
            return process
    pid = status.pid if status else 0
    return next((process for process in mains if pid and process.pid == pid), None)


def _echo(path: str, seconds: float) -> tuple[float | None, HttpError | None]:
    nonce = os.urandom(8).hex()
    try:
        answer = sockets.converse(
            path,
            b"@echo " + nonce.encode() + b"\0",
            lambda received: nonce.encode() in received,
            seconds,
        )
    except HttpError as failure:
        return None, failure
    if nonce not in answer.text:
        return None, http.Malformed(f"{path} does not echo")
    return answer.seconds, None


def _workers(config: Config, settings: MonitorSettings) -> tuple[Worker, ...]:
    try:
        answer = sockets.converse(
            config.query_socket, b"#wproc wpstats\0", lambda _: False, settings.probe_seconds
        )
    except HttpError:
        return ()
    return parse_workers(answer.text)


def _status(
    config: Config, settings: MonitorSettings
) -> tuple[StatusFile | None, StatusFailure | None]:
    """status.dat, read again for a while when cut short: a full disk empties every other one."""
    path = config.status_file
    ends = time.monotonic() + min(settings.probe_seconds, deadline.remaining() * 0.4)
    while True:
        try:
            with deadline.doing(f"reading {path}"), open(path, "rb", buffering=0) as stream:
                status = read_status(
                    stream,
                    time.time(),
                    config,
                    settings.intervals,
                    settings.pulse,
                    settings.canary,
                )
            return status, None
        except Truncated as cut:
            if time.monotonic() >= ends:
                return None, StatusFailure(StatusFault.TRUNCATED, f"{path} {cut}")
            time.sleep(0.25)
        except FileNotFoundError:
            return None, StatusFailure(StatusFault.MISSING, f"{path} does not exist")
        except PermissionError:
            return None, StatusFailure(StatusFault.DENIED, f"not allowed to read {path}")
        except OSError as error:
            text = f"{path} cannot be read: {error.strerror}"
            return None, StatusFailure(StatusFault.UNREADABLE, text)


def _free_bytes(directory: str) -> tuple[int | None, str]:
    try:
        numbers = os.statvfs(directory)
    except OSError:
        return None, directory
    return numbers.f_bavail * numbers.f_frsize, directory


def _submit_canary(
    config: Config, settings: MonitorSettings, history: Mapping[str, Any]
) -> Submission:
    """Put a passive result with a fresh nonce into the FIFO, unless one is still under way."""
    pending: Mapping[str, Any] = history.get("canary") or {}
    if pending and not pending.get("returned") and time.time() - pending.get("at", 0) < 60:
        return Submission()
    host, service = split_name(settings.canary)
    nonce = os.urandom(6).hex()
    line = (
        f"[{int(time.time())}] PROCESS_SERVICE_CHECK_RESULT;{host};{service};0;"
        f"canary {nonce} of check_monitor_liveness\n"
    )
    try:
        fifo.submit(config.command_file, line)
    except fifo.NotSubmitted as error:
        return Submission(failure=str(error))
    return Submission(nonce)


# What it means


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of a Nagios."""
    status = observation.status
    restart = _restart(observation.config_path)
    started = _started(observation, clock)
    young = is_young(started, settings.startup_grace)
    absent = _absent(observation)
    if absent:
        failure = observation.status_failure
        is_missing = failure is not None and failure.fault is StatusFault.MISSING
        return Health(
            observation.name,
            (replace(absent, next=restart),),
            _measures(observation, clock, None),
            absent=not observation.worker_processes and is_missing,
        )
    components = _processes(observation)
    components.append(_main_loop(observation, clock, restart))
    limit: float | None = None
    facts: dict[str, Any] = {}
    if status is None:
        components.append(_without_state_file(observation, young, restart))
        if observation.worker_processes:
            component, facts = executing(
                observation.worker_processes, clock, settings.silence, settings.learning, history
            )
            components.append(component)
    else:
        components += _clock(status, clock)
        components.append(_state_file(observation, status, clock, young, restart))
        executor, limit = _executor(observation, status, settings, clock, young)
        components.append(executor)
        if not status.notifications:
            components.append(
                warning(
                    "notifications",
                    "are disabled: it sees problems and notifies nobody",
                    _submit(observation.config, "ENABLE_NOTIFICATIONS"),
                )
            )
    canary = _canary_facts(observation, clock, history) if settings.canary else {}
    components += _intake(observation, settings, clock, canary)
    if settings.canary:
        facts["canary"] = canary
    return Health(
        observation.name,
        tuple(components),
        _measures(observation, clock, limit),
        started=started,
        facts=facts,
    )


def _restart(config_path: str) -> str:
    """What to type about the service, whose name the path of its configuration tells."""
    names = ("naemon", "nagios4")
    service = next((name for name in names if name in config_path), "nagios")
    return f"systemctl status {service}; journalctl -u {service} -n 50"


def _started(observation: Observation, clock: Clock) -> float | None:
    """How many seconds ago it began, by status.dat or its process, whichever is later."""
    status, main = observation.status, observation.main
    ages = []
    if status and status.program_start:
        ages.append(clock.age(status.program_start))
    if main is not None:
        ages.append(processes.age_of(main, clock))
    return min(ages, default=None)


def _clock(status: StatusFile, clock: Clock) -> list[Component]:
    """The clock, if what was written or executed lies in the future."""
    for what, at in (
        ("the writing of status.dat", status.created),
        ("the newest result", status.newest),
    ):
        component = future(what, clock.age(at)) if at else None
        if component:
            return [component]
    return []


def _absent(observation: Observation) -> Component | None:
    """Why the monitor is not there at all; None if anything shows that it is."""
    failure, orphans = observation.echo_failure, observation.worker_processes
    if observation.echo_seconds is not None or observation.main is not None:
        return None
    if isinstance(failure, (http.TimedOut, http.Closed, http.Malformed)):
        return None
    if isinstance(failure, http.NotAllowed) and not observation.has_process_table:
        return None
    if orphans:
        pids = " ".join(str(process.pid) for process in orphans)
        left = units.count(len(orphans), "orphaned worker")
        return critical("main process", f"is gone, it was killed: {left} left (pid {pids})")
    if isinstance(failure, http.Refused) or observation.status is not None:
        return critical(
            "main process",
            "is not running: it was killed, its status file was left behind",
            is_fleeting=True,
        )
    status_failure = observation.status_failure
    text = "is not running: there is no such process"
    if status_failure and status_failure.fault is not StatusFault.DENIED:
        text = f"is not running ({status_failure.text}: stopped or never started)"
    return critical("main process", text, is_fleeting=True, is_planned=True)


def _processes(observation: Observation) -> list[Component]:
    components = []
    if observation.main is not None:
        component = stopped([observation.main], "main process")
        if component:
            components.append(component)
    if observation.worker_processes:
        component = stopped(observation.worker_processes, "worker")
        if component:
            text = f"{component.text}; checks handed to them never return"
            components.append(replace(component, text=text))
    return components


def _main_loop(observation: Observation, clock: Clock, restart: str) -> Component:
    failure = observation.echo_failure
    if observation.echo_seconds is not None:
        return ok("main loop", f"answers in {milliseconds(observation.echo_seconds, 1)}")
    if isinstance(failure, http.TimedOut):
        still = ""
        if observation.status is not None:
            still = f" (status.dat still {ago(clock.age(observation.status.created))} old)"
        return critical("main loop", f"does not answer: {failure}{still}", restart)
    if isinstance(failure, http.NotAllowed):
        return unknown(
            "main loop",
            f"cannot be queried: {failure}; add the check's user to the group of the socket",
        )
    # A reload takes the socket away for a moment.
    return critical("main loop", f"does not answer: {failure}", restart, is_fleeting=True)


def _without_state_file(observation: Observation, young: bool, restart: str) -> Component:
    failure = observation.status_failure or StatusFailure(StatusFault.UNREADABLE, "is unreadable")
    if failure.fault is StatusFault.DENIED:
        return unknown(
            "state file",
            f"cannot be read: {failure.text}; add the check's user to the group of its directory",
        )
    full = _full(observation)
    if full:
        next_step = f"df -h {observation.filesystem}"
        return critical("state file", f"is cut short: {failure.text}; {full}", next_step)
    if young:
        return ok("state file", f"{failure.text} yet; it has only just started")
    is_fleeting = failure.fault is StatusFault.MISSING
    return critical("state file", failure.text, restart, is_fleeting=is_fleeting)


def _full(observation: Observation) -> str:
    """That the disk is full, in words; "" when it is not."""
    if observation.free_bytes is None or observation.free_bytes >= FULL_DISK_BYTES:
        return ""
    return (
        f"the disk under {observation.filesystem} is full "
        f"({units.say_size(observation.free_bytes)} free), status and retention data are being lost"
    )


def _status_limit(config: Config) -> float:
    """Seconds after which a status file is stale: three of its intervals, and five."""
    return 3 * config.status_update_interval + 5


def _state_file(
    observation: Observation, status: StatusFile, clock: Clock, young: bool, restart: str
) -> Component:
    age = clock.age(status.created)
    full = _full(observation)
    if full:
        next_step = f"df -h {observation.filesystem}"
        return critical("state file", f"cannot be written: {full}", next_step)
    if age > _status_limit(observation.config) and not young:
        interval = units.say_duration(observation.config.status_update_interval)
        return critical(
            "state file",
            f"is stale: status.dat was written {ago(age)} ago (every {interval} is configured)",
            restart,
        )
    return ok("state file", f"is {ago(max(0.0, age))} old")


def _submit(config: Config, command: str) -> str:
    """How to give Nagios an external command (Nagios Core, External Commands)."""
    target = config.command_file or "ITS_COMMAND_FILE"
    return f"printf '[%s] {command}\\n' $(date +%s) > {target}"


def _executor(
    observation: Observation,
    status: StatusFile,
    settings: MonitorSettings,
    clock: Clock,
    young: bool,
) -> tuple[Component, float | None]:
    """Whether plugins are really being executed, and the limit that was derived for it."""
    config = observation.config
    if not status.service_checks:
        next_step = _submit(config, "START_EXECUTING_SVC_CHECKS")
        text = "are disabled for the whole program: nothing is being checked"
        return critical("checks", text, next_step), None
    if settings.pulse:
        return _pulse(status, settings, config, clock, young)
    if status.fastest is None:
        passive = " (passive results only)" if status.passive_only else ""
        text = f"has nothing to do: no active checks are scheduled now{passive}"
        return ok("executor", text), None
    limit = settings.silence or (
        settings.intervals * status.fastest
        + config.status_update_interval
        + config.service_check_timeout
    )
    silence = clock.age(max(status.newest, status.program_start))
    overdue = clock.now - status.most_overdue
    waited = clock.age(overdue) if status.most_overdue > 0 else 0.0
    if silence > limit and waited > limit - status.fastest and not young:
        return _silent(observation, status, silence, limit), limit
    share = f"{status.overdue} of {status.scheduled} scheduled checks overdue"
    is_behind = status.overdue >= LATE_LEAST and status.overdue > LATE_SHARE * status.scheduled
    if is_behind and not young:
        return (
            warning(
                "executor",
                f"falls behind: {share}, the newest result is {ago(silence)} old",
                "nagios4stats; ps -C nagios4 -o pid,stat,etime,args",
            ),
            limit,
        )
    if status.newest:
        last = ago(max(0.0, clock.age(status.newest)))
        return ok("executor", f"last executed a plugin {last} ago; {share}"), limit
    return ok("executor", f"has not executed a plugin yet; {share}"), limit


def _silent(
    observation: Observation, status: StatusFile, silence: float, limit: float
) -> Component:
    stuck = [worker for worker in observation.workers if worker.running]
    jobs = units.count(sum(worker.running for worker in stuck), "job")
    why = f", {jobs} stuck in {len(stuck)} of {len(observation.workers)} workers" if stuck else ""
    last = f" (last: {status.newest_name})" if status.newest_name else ""
    pids = " ".join(str(worker.pid) for worker in observation.workers)
    return critical(
        "executor",
        f"has not executed a plugin for {ago(silence)} (limit {ago(limit)}){last}{why}",
        f"ps -o pid,stat,wchan,etime,args {pids}" if pids else "ps -ef; look for the workers",
    )


def _pulse(
    status: StatusFile, settings: MonitorSettings, config: Config, clock: Clock, young: bool
) -> tuple[Component, float | None]:
    pulse = status.pulse
    if pulse is None:
        raise CheckError(
            f"there is no service {settings.pulse!r} in {config.status_file} (--pulse)"
        )
    if not pulse.is_active:
        text = f"cannot be judged: {pulse.name} is not actively checked, choose another --pulse"
        return unknown("executor", text), None
    limit = settings.silence or settings.intervals * pulse.interval + config.status_update_interval
    if pulse.is_passive_result:
        text = f"cannot be judged: the last result of {pulse.name} was passive"
        return unknown("executor", text), limit
    silence = clock.age(max(pulse.last_check, status.program_start))
    if silence > limit and not (young and silence < limit + settings.startup_grace):
        text = f"has not executed {pulse.name} for {ago(silence)} (limit {ago(limit)})"
        return critical("executor", text, "ps -ef; look for the workers"), limit
    last = ago(max(0.0, clock.age(pulse.last_check)))
    return ok("executor", f"executed {pulse.name} {last} ago"), limit


def _intake(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    canary: Mapping[str, Any],
) -> list[Component]:
    """Whether commands and passive results get in; `canary` are the facts about one."""
    intake, text = observation.intake.intake, observation.intake.text
    next_step = f"ls -l {observation.config.command_file}; rm it if it is not a FIFO, then restart"
    if intake is Intake.OFF:
        return []
    if intake is Intake.DENIED:
        if settings.canary:
            return [unknown("intake", f"cannot be tried: {text}, which --canary needs")]
        return []
    if intake is not Intake.READER:
        passive_only = observation.status.passive_only if observation.status else 0
        is_needed = settings.canary or passive_only or intake is Intake.NO_READER
        component = (critical if is_needed else warning)(
            "intake", f"takes neither commands nor passive results: {text}", next_step
        )
        is_fleeting = intake in (Intake.MISSING, Intake.NO_READER)
        return [replace(component, is_fleeting=is_fleeting)]
    if not settings.canary:
        return [ok("intake", "has a reader on the command FIFO")]
    return [_canary(observation, settings, clock, canary, next_step)]


def _canary(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    facts: Mapping[str, Any],
    next_step: str,
) -> Component:
    """Whether the passive result of --canary has gone in and come back."""
    if observation.submitted.failure:
        text = f"does not accept the canary: {observation.submitted.failure}"
        return critical("intake", text, next_step)
    if observation.status is not None and observation.status.canary is None:
        text = f"cannot be tried: there is no service {settings.canary!r} (--canary)"
        return unknown("intake", text)
    if facts["waited"] > canary_limit(observation.config):
        return critical(
            "intake",
            f"has lost the canary submitted {ago(facts['waited'])} ago: commands and passive "
            "results are not taken in",
            next_step,
        )
    if facts["last_return"] is not None:
        returned = ago(clock.age(facts["last_return"]))
        return ok("intake", f"returned the last canary {returned} ago")
    return ok("intake", "has a canary under way; the next run reads it back")


def canary_limit(config: Config) -> float:
    """A passive result is in status.dat after one status interval; allow the second. Seconds."""
    return 2 * config.status_update_interval + 10


def _canary_facts(
    observation: Observation, clock: Clock, history: Mapping[str, Any]
) -> dict[str, Any]:
    """What to remember of the canary: its nonce, when it left, since when one is waited for."""
    before: Mapping[str, Any] = history.get("canary") or {}
    nonce, at = before.get("nonce", ""), before.get("at", 0.0)
    waiting_since, last_return = before.get("waiting_since"), before.get("last_return")
    service = observation.status.canary if observation.status else None
    returned = bool(nonce and service and nonce in service.output)
    if returned:
        waiting_since, last_return = None, clock.now
    if observation.submitted.nonce:
        nonce, at, returned = observation.submitted.nonce, clock.now, False
        waiting_since = clock.now if waiting_since is None else waiting_since
    return {
        "nonce": nonce,
        "at": at,
        "returned": returned,
        "waiting_since": waiting_since,
        "last_return": last_return,
        "waited": 0.0 if waiting_since is None else clock.age(waiting_since),
    }


def _measures(observation: Observation, clock: Clock, limit: float | None) -> tuple[Measure, ...]:
    status = observation.status
    newest = status.pulse.last_check if status and status.pulse else status.newest if status else 0
    last_minute = status.executed_last_minute if status else None
    executed_age, *others = age_measures(
        observation.name,
        clock.age(newest) if newest else None,
        limit or None,
        observation.echo_seconds,
        status.overdue if status else None,
        last_minute / 60 if last_minute is not None else None,
    )
    status_age = Measure(
        label(observation.name, "status_age"),
        max(0.0, clock.age(status.created)) if status else None,
        "s",
        critical=age_limit(_status_limit(observation.config)),
        minimum=0,
    )
    return (executed_age, status_age, *others)

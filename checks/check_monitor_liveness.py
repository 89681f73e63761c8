#!/usr/bin/env python3
"""Is the monitor itself alive, and getting its work done?

A monitor has several organs, and every usual probe sees one of them. With Nagios' workers stopped
its status file stays fresh, its query handler answers and passive results come in; with Icinga's
process spawner stopped its API answers and its built-in checks go on. So this asks each organ by
itself: the main loop (does it answer now), the scheduler, the executor (are plugins really being
executed), the intake of commands and results, the state file, the clock, and whether checks and
notifications are switched on. Without arguments it finds the monitors that run on this host and
judges each; one that it has seen running and that is gone is an alarm. It must not be run by the
monitor that it watches alone: use a timer or cron, a peer's monitor, and --ping-url.

Learned from: "The importance of failure" (NullMind, December 2008): a hypervisor's cable was
  pulled and nothing was detected for three minutes, because the monitor daemon had hung and
  nothing monitored the monitor. "Day in our DevOps lives" (Cameron Laird): workers looked like
  rebooting during planned work, and jobs stood still for six hours.
Reads: the process table; configuration, status file, query socket and command FIFO of Nagios and
  Naemon (group nagios); the APIs of Icinga 2 (status/query, objects/query/Service and, where there
  are only hosts, objects/query/Host; for --canary actions/process-check-result too), Prometheus,
  Alertmanager, Monit and Sensu; the sockets of collectd, Zabbix and Checkmk; for any daemon its
  pidfile, heartbeat, health page, socket, systemd unit and a number that must rise. What it may
  not read is UNKNOWN, and the rest still counts.
Remembers: which monitors it has seen running, counters to see them move, the canary that is under
  way, and when the machine slept, since no monitor can be asked for its past once it has hung.
Says:
  OK        every organ of every monitor does its work; within --startup-grace, after a resume, and
            with checks only every five minutes, too
  OK        a monitor is stopped on purpose while --maintenance FILE is younger than its limit
  WARNING   it works, but falls behind, tells nobody (notifications disabled), starves a part of
            its work, goes on with an old configuration, or its umbrella process is broken
  WARNING   the outbound ping cannot be sent, or --maintenance FILE is too old to excuse anything
  CRITICAL  an organ is dead: no answer from the main loop, no plugin executed within the limit,
            workers stopped, commands not taken in, state not written (disk full), checks disabled
  CRITICAL  a timestamp lies in the future: no age can be trusted
  CRITICAL  it is not running (--missing), was killed, or restarts again and again
  UNKNOWN   an organ cannot be asked: no permission, wrong password, unknown CA; or nothing is
            found, or it is still to be learned whether a counter moves
Measures:
  MONITOR_executed_age  s  age of the newest executed check, sample or value
  MONITOR_status_age    s  age of Nagios' status file
  MONITOR_probe_time    s  how long the main loop took to answer
  MONITOR_executed_rate  -  checks (Prometheus: samples) executed a second
  MONITOR_overdue       -  checks, targets or services that are late
  MONITOR_heartbeat_age  s  age of a daemon's heartbeat
  MONITOR_advance_age   s  time since a daemon's work last advanced
Examples:
  check_monitor_liveness
  check_monitor_liveness --monitor nagios --config /etc/nagios4/nagios.cfg --pulse 'monitor;pulse'
  check_monitor_liveness --monitor icinga2 -H icinga.example.com --tls-name icinga.example.com \\
      --user watch --password-file /etc/twiceshy/icinga --ca-file /etc/twiceshy/icinga-ca.crt
  check_monitor_liveness --monitor prometheus --url http://prometheus.example.com:9090
  check_monitor_liveness --process worker --advances json:http://127.0.0.1:8080/stats#jobs.done \\
      --within 30m
  check_monitor_liveness --ping-url-file /etc/twiceshy/deadmansswitch --maintenance /run/maintenance
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from twiceshy.kit import deadline, history, units, verdict
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Measure, Report, safe
from twiceshy.monitor_liveness.monitors import (
    KNOWN,
    Clock,
    Nap,
    Organ,
    Seen,
    Target,
    Wishes,
    ago,
    asking,
    contact,
    dead,
    found,
    module_of,
    processes,
    unseen,
    with_distinct_names,
)
from twiceshy.monitor_liveness.monitors.processes import Process

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

# A reload takes its sockets away for a moment: what looks stopped is looked at once more.
SECOND_LOOK_SECONDS = 2.0

# Sleeps of the machine that are remembered, and starts of a monitor that never got past its grace.
MOST_NAPS, MOST_STARTS = 20, 10

# So many different starts, and for so many graces nothing else, are a restart loop.
LOOP_STARTS, LOOP_GRACES = 3, 3.0

CLOCK_STEP_SECONDS = 1.0

# What is seen


@dataclass(frozen=True)
class Maintenance:
    """The operator's file that declares planned work; `age` is None when there is none."""

    path: str
    age: float | None
    limit: float

    @property
    def excuses(self) -> bool:
        return self.age is not None and -60 <= self.age <= self.limit


def maintenance(path: Path | None, limit: float, now: float) -> Maintenance:
    """The age of a maintenance file by its mtime. CheckError if it cannot be looked at."""
    if path is None:
        return Maintenance("", None, limit)
    try:
        return Maintenance(str(path), now - path.stat().st_mtime, limit)
    except FileNotFoundError:
        return Maintenance(str(path), None, limit)
    except OSError as error:
        raise CheckError(f"cannot look at --maintenance {path}: {error.strerror}") from error


def slept_seconds() -> float:
    """Seconds that this machine was suspended since boot, by two clocks (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def look_at(
    target: Target, wishes: Wishes, clock: Callable[[], Clock], table: Sequence[Process]
) -> Seen:
    """A monitor seen and judged; what cannot be asked at all is one organ that says so."""
    module = module_of(target.kind)
    try:
        sight = module.sight(target, wishes, table)
        # The clock is read after the asking, which may take seconds: else what is new lies ahead.
        seen: Seen = module.judged(sight, wishes, clock())
    except CheckError as error:
        return Seen(target.name, (unseen("cannot", f"be judged: {error}"),))
    host = safe(contact.elsewhere(target), 60)
    return replace(seen, organs=tuple(contact.there(organ, host) for organ in seen.organs))


def targets_of(args: argparse.Namespace, table: Sequence[Process]) -> list[Target]:
    """What the command line names; else all that runs on this host."""
    if not args.monitor:
        return [
            target
            for target in found(table)
            if opt.selected(target.name, args.include, args.exclude)
        ]
    name = args.name or args.monitor
    if args.monitor == "daemon":
        from twiceshy.monitor_liveness.monitors import (
            daemon,  # 12 ms of the 140 of a start, for this kind alone
        )

        asked = daemon.Asked(
            pidfile=args.pidfile or "",
            process=args.process or "",
            heartbeat=args.heartbeat or "",
            heartbeat_within=args.heartbeat_within,
            health_url=args.url or "",
            answers=tuple(args.answers),
            send=args.send or "",
            expect=args.expect or "",
            unit=args.unit or "",
            advances=tuple(args.advances),
            within=args.within,
        )
        return [Target("daemon", args.name or args.process or args.unit or "daemon", asked=asked)]
    if args.url or args.host or args.socket:
        return [
            Target(
                args.monitor,
                name,
                url=(args.url or "").rstrip("/"),
                host=args.host or "",
                port=args.port or 0,
                config=args.config,
                socket=args.socket or "",
            )
        ]
    local = [t for t in module_of(args.monitor).found(table) if t.kind == args.monitor]
    if args.config:
        wanted = os.path.realpath(args.config)
        local = [t for t in local if t.config and os.path.realpath(t.config) == wanted]
    local = [
        replace(
            t, name=args.name or t.name, port=args.port or t.port, config=args.config or t.config
        )
        for t in local
    ]
    return local or [Target(args.monitor, name, port=args.port or 0, config=args.config)]


def ping(url: str, seconds: float) -> str:
    """Tell the dead man's switch that all is well; "" or why it did not take it."""
    try:
        answer = asking.fetch(url, seconds, most=65536)
    except asking.Trouble as trouble:
        return trouble.text
    return "" if answer.status < 300 else f"it says HTTP {answer.status}"


def touch(path: Path, now: float) -> str:
    """Write the time of this OK into a file, whole or not at all; "" or why not."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(f"{now:.0f}\n")
            os.chmod(name, 0o644)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


class Forgetful:
    """A history that has no place: it remembers nothing and says so, every time."""

    def __init__(self, why: str) -> None:
        self.why = why
        self.remark = ""

    def __enter__(self) -> Forgetful:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, subject: str) -> Any:
        return None

    def write_note(self, subject: str, value: Any, at: Stamp) -> None:
        pass

    def save(self) -> Finding | None:
        why = self.why if "history" in self.why else f"no history: {self.why}"
        return Finding(UNKNOWN, why)


# What it means


def naps(before: Mapping[str, Any], boot: str, slept: float, now: float) -> list[Nap]:
    """When the machine slept, from what earlier looks remembered and this one sees."""
    known = [Nap(*nap) for nap in before.get("naps", [])]
    if before.get("boot") == boot and slept - before["slept"] > CLOCK_STEP_SECONDS:
        known.append(Nap(before["wall"], now, slept - before["slept"]))
    return known[-MOST_NAPS:]


def never_settled(
    before: Mapping[str, Any], started: float | None, grace: float, clock: Clock
) -> tuple[Organ | None, dict[str, Any]]:
    """Whether a monitor was within its startup grace at every look: a restart loop hides there.

    Returns the organ, and what to remember of the starts.
    """
    if started is None or not 0 <= started < grace:
        return None, {}
    start = clock.now - started
    since = float(before.get("since", clock.now))
    starts = [float(at) for at in before.get("starts", [])]
    if all(abs(start - at) > 3 for at in starts):
        starts.append(start)
    lasts = clock.age(since)
    if len(starts) >= LOOP_STARTS and lasts > LOOP_GRACES * grace:
        return (
            dead(
                "process",
                f"restarts again and again: {len(starts)} starts seen in {ago(lasts)}, "
                f"the last {ago(started)} ago",
                "journalctl -n 100; look for why it ends",
            ),
            {"since": since, "starts": starts[-MOST_STARTS:]},
        )
    return None, {"since": since, "starts": starts[-MOST_STARTS:]}


def finding(seen: Seen, missing: State, plan_: Maintenance) -> Finding:
    """One finding a monitor: its worst organ first, all others under it."""
    organs = list(seen.organs)
    excused = [o for o in organs if o.is_planned and o.state is not OK and plan_.excuses]
    organs = [replace(o, state=OK) if o in excused else o for o in organs]
    if seen.absent:
        organs = [replace(o, state=missing) if o.state is CRITICAL else o for o in organs]
    worst = sorted(organs, key=lambda o: -verdict.SEVERITY.index(o.state))
    bad = [o for o in worst if o.state is not OK]
    if excused and not bad:
        return Finding(
            OK,
            f"{seen.name}: {excused[0].sentence}; planned, {plan_.path} is "
            f"{ago(max(0.0, plan_.age or 0.0))} old (limit {ago(plan_.limit)})",
        )
    if not bad:
        return Finding(OK, f"{seen.name}: {', '.join(o.sentence for o in organs)}")
    others = tuple(
        f"{str(o.state).upper()}: {o.sentence}" if o.state is not OK else f"{o.sentence}"
        for o in worst
        if o is not bad[0]
    )
    return Finding(bad[0].state, f"{seen.name}: {bad[0].sentence}", others, bad[0].next)


def gone(
    before: Mapping[str, Any], here: Sequence[str], args: argparse.Namespace, clock: Clock
) -> list[tuple[str, Seen | None]]:
    """Monitors that were seen running and are not any more; None for those to forget.

    One whose configuration has gone with it was removed on purpose.
    """
    lost: list[tuple[str, Seen | None]] = []
    for identity, note in before.items():
        if identity in here:
            continue
        name, config = note.get("name") or note["kind"], note.get("config") or ""
        is_removed = bool(config) and not os.path.lexists(config)
        if is_removed or not opt.selected(name, args.include, args.exclude):
            lost.append((identity, None))
            continue
        age = clock.age(float(note.get("at", 0)))
        organ = dead(
            "process",
            f"is gone: it was running {ago(age)} ago",
            f"systemctl status '*{name.partition('-')[0]}*'; journalctl -n 100",
            is_fleeting=True,
            is_planned=True,
        )
        lost.append((identity, Seen(name, (organ,), absent=True)))
    return lost


def identity_of(target: Target) -> str:
    """What stays the same of an instance when others come and go: its kind and configuration."""
    return f"{target.kind} {target.config or target.url or target.port or ''}".rstrip()


# How it is told


def applies() -> str:
    """Why there is nothing to look at on this host, or ""; one that is gone is looked for."""
    if found(processes.all_of_host()):
        return ""
    with history.History.open("monitor_liveness") as memory:
        return "" if memory.note("running") else "no monitor runs on this host"


def options() -> argparse.ArgumentParser:
    """The options of check_monitor_liveness."""
    made = opt.parser("monitor_liveness", __doc__)
    which = made.add_argument_group("which monitor (default: all that run on this host)")
    which.add_argument(
        "--monitor",
        choices=sorted(KNOWN),
        metavar="KIND",
        help="one of " + ", ".join(sorted(KNOWN)),
    )
    which.add_argument("--name", help="what to call it (default: its kind)")
    which.add_argument("--config", type=Path, metavar="FILE", help="its main configuration file")
    which.add_argument("-H", "--host", help="ask this host (default: this one)")
    which.add_argument("-p", "--port", type=int, help="its port (default: the monitor's own)")
    which.add_argument("--url", help="ask here; for --monitor daemon its health page")
    which.add_argument(
        "--socket", metavar="PATH", help="ask collectd's unixsock or Monit's httpd here"
    )
    opt.add_selectors(made, "monitors (when none is named)")
    login = made.add_argument_group("login")
    login.add_argument("--user", help="HTTP user")
    login.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="its password, in the first line (default: $TWICESHY_PASSWORD)",
    )
    login.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="bearer token or Sensu API key (default: $TWICESHY_TOKEN)",
    )
    login.add_argument("--ca-file", metavar="FILE", help="the CA of its certificate, Icinga's own")
    login.add_argument(
        "--tls-name", metavar="NAME", help="the name in its certificate (default: host)"
    )
    login.add_argument("--insecure", action="store_true", help="do not verify its certificate")
    work = made.add_argument_group("work")
    work.add_argument(
        "--pulse",
        default="",
        metavar="HOST;SERVICE",
        help="judge the executor by this service alone, a cheap one with a short interval: "
        "2 intervals and one status interval (Sensu: ENTITY;CHECK)",
    )
    work.add_argument(
        "--canary",
        default="",
        metavar="HOST;SERVICE",
        help="submit a passive result for this service and see it come back (Nagios: next look)",
    )
    work.add_argument(
        "--intervals",
        type=opt.argument(_intervals),
        default="2",
        metavar="K",
        help="the limit for silence is K check intervals, the status interval and the check "
        "timeout (default: 2)",
    )
    work.add_argument(
        "--silence", type=opt.positive_duration, metavar="DURATION", help="that limit, as you say"
    )
    work.add_argument(
        "--startup-grace",
        type=opt.duration,
        default="2m",
        metavar="DURATION",
        help="hold nothing against a monitor that has merely not happened yet (default: 2m)",
    )
    work.add_argument(
        "--probe-timeout",
        type=opt.positive_duration,
        default="3s",
        metavar="DURATION",
        help="a monitor that does not answer within this has hung (default: 3s)",
    )
    work.add_argument(
        "--watchdog", default="", metavar="ALERT", help="always-firing alert (default: Watchdog)"
    )
    work.add_argument("--namespace", default="default", help="of Sensu Go (default: default)")
    any_daemon = made.add_argument_group("any daemon (--monitor daemon)")
    any_daemon.add_argument("--pidfile", metavar="FILE", help="its process, by a pidfile")
    any_daemon.add_argument(
        "--process", metavar="NAME", help="its process, by program or command name"
    )
    any_daemon.add_argument(
        "--heartbeat", metavar="FILE", help="a file with a time or a nonce, or just written anew"
    )
    any_daemon.add_argument(
        "--heartbeat-within",
        type=opt.positive_duration,
        default="5m",
        metavar="DURATION",
        help="how old that may be (default: 5m)",
    )
    any_daemon.add_argument(
        "--answers",
        action="append",
        default=[],
        metavar="SOCKET",
        help="tcp://HOST:PORT or unix:/PATH that must say something; repeatable",
    )
    any_daemon.add_argument("--send", metavar="TEXT", help="what to send there (\\r, \\n, \\0)")
    any_daemon.add_argument(
        "--expect", metavar="TEXT", help="what the answer or health page must hold"
    )
    any_daemon.add_argument(
        "--unit", metavar="UNIT", help="its systemd unit, and that unit's watchdog"
    )
    any_daemon.add_argument(
        "--advances",
        action="append",
        default=[],
        metavar="SOURCE",
        help="work that must advance: json:PLACE#PATH, prom:PLACE#METRIC, file:PATH (PLACE is a "
        "URL or a file), newest:DIR, log:FILE, run:COMMAND that prints a number; repeatable",
    )
    any_daemon.add_argument(
        "--within",
        type=opt.positive_duration,
        default="30m",
        metavar="DURATION",
        help="how long it may stand still (default: 30m)",
    )
    planned = made.add_argument_group("planned work, and telling others")
    planned.add_argument(
        "--maintenance",
        type=Path,
        metavar="FILE",
        help="while this file exists and is young, a monitor may be stopped; a hang stays a hang",
    )
    planned.add_argument(
        "--maintenance-max",
        type=opt.positive_duration,
        default="4h",
        metavar="DURATION",
        help="how old it may be (default: 4h)",
    )
    planned.add_argument(
        "--ping-url",
        metavar="URL",
        help="ask this when, and only when, all is OK: its silence is the alarm",
    )
    planned.add_argument(
        "--ping-url-file", type=Path, metavar="FILE", help="the same, the URL in this file"
    )
    planned.add_argument(
        "--ping-file", type=Path, metavar="FILE", help="write the time here when all is OK"
    )
    opt.add_missing(made)
    opt.add_learning(made)
    opt.add_state_dir(made)
    return made


def _intervals(text: str) -> float:
    number = units.number(text)
    if number < 1:
        raise ValueError(f"{text!r} is less than one interval")
    return number


DAEMON_OPTIONS = (
    "pidfile",
    "process",
    "heartbeat",
    "answers",
    "unit",
    "advances",
    "expect",
    "send",
)


def understood(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments, --monitor daemon where only that makes sense; CheckError where none does."""
    about_daemon = [name for name in DAEMON_OPTIONS if getattr(args, name)]
    if about_daemon and not args.monitor:
        args.monitor = "daemon"
    if about_daemon and args.monitor != "daemon":
        raise CheckError(f"--{about_daemon[0]} is for --monitor daemon, not {args.monitor}")
    if args.monitor == "daemon" and not (about_daemon or args.url):
        raise CheckError(
            "--monitor daemon needs something to look at: --pidfile, --process, --heartbeat, "
            "--url, --answers, --unit or --advances"
        )
    for name in ("host", "port", "url", "socket", "config", "name", "pulse", "canary"):
        if getattr(args, name) and not args.monitor:
            raise CheckError(f"--{name} needs --monitor, to know what to expect there")
    if args.socket and args.monitor not in ("collectd", "monit"):
        raise CheckError(f"--socket is for --monitor collectd and monit, not {args.monitor}")
    if args.url and not asking.is_url(args.url):
        raise CheckError(
            f"--url {safe(args.url, 80)} is no URL; type http://HOST:PORT or https://..."
        )
    return args


def plan(
    args: argparse.Namespace,
    *,
    now: Callable[[], Stamp] = history.now,
    table: Callable[[], Sequence[Process]] = processes.all_of_host,
    slept: Callable[[], float] = slept_seconds,
    pause: Callable[[float], None] = time.sleep,
) -> Check:
    """The check; `now`, `table`, `slept` are clock, process table, time suspended."""

    def look() -> Report:
        understood(args)
        try:
            memory: history.History | Forgetful = history.History.open(
                "monitor_liveness", args.state_dir
            )
        except CheckError as error:
            # A monitor that has hung must not hide behind a state directory of ours.
            memory = Forgetful(str(error))
        with memory:
            return _report(args, memory, now, table, slept(), pause)

    return Check("monitor_liveness", look, timeout=args.timeout, verbose=args.verbose)


def _wishes(args: argparse.Namespace) -> Wishes:
    password = opt.secret(args.password_file, "TWICESHY_PASSWORD") if args.user else ""
    if args.user and not password:
        raise CheckError("--user needs its password, from --password-file or $TWICESHY_PASSWORD")
    if args.ca_file and not os.access(args.ca_file, os.R_OK):
        raise CheckError(f"cannot read --ca-file {args.ca_file}")
    return Wishes(
        probe_seconds=args.probe_timeout,
        intervals=args.intervals,
        silence=args.silence,
        startup_grace=args.startup_grace,
        pulse=args.pulse,
        canary=args.canary,
        user=args.user or "",
        password=password or "",
        token=opt.secret(args.token_file, "TWICESHY_TOKEN") or "",
        ca_file=args.ca_file or "",
        tls_name=args.tls_name or "",
        insecure=args.insecure,
        namespace=args.namespace,
        watchdog=args.watchdog,
        learning=args.learning,
    )


def _report(
    args: argparse.Namespace,
    memory: history.History | Forgetful,
    now: Callable[[], Stamp],
    table: Callable[[], Sequence[Process]],
    slept: float,
    pause: Callable[[float], None],
) -> Report:
    at = now()
    machine = memory.note("machine") or {}
    resting = naps(machine, at.boot, slept, at.wall)
    memory.write_note(
        "machine",
        {
            "boot": at.boot,
            "slept": slept,
            "wall": at.wall,
            "naps": [[nap.start, nap.end, nap.seconds] for nap in resting],
        },
        at,
    )

    def looked_at(those: Sequence[Target]) -> list[Seen]:
        return _looked(
            those, wishes, lambda: Clock(now().wall, tuple(resting)), running, memory, at, place
        )

    def wait_for_second_look() -> None:
        """Whatever else has been waited for counts: a silent monitor has been waited for."""
        pause(max(0.0, began + SECOND_LOOK_SECONDS - time.monotonic()))

    began = time.monotonic()
    planned = maintenance(args.maintenance, args.maintenance_max, at.wall)
    wishes = _wishes(args)
    running = table()
    targets = with_distinct_names(targets_of(args, running))
    # Two definitions for two hosts share a history file, and must not share what it remembers.
    place = "" if not (args.url or args.host) else f" {args.url or args.host}:{args.port or ''}"
    looked = looked_at(targets)
    if any(_is_fleeting(seen) for seen in looked) and _may_look_again():
        wait_for_second_look()
        running = table()
        again = {t.name: t for t in with_distinct_names(targets_of(args, running))}
        fleeting = [t for t, seen in zip(targets, looked) if _is_fleeting(seen)]
        second = iter(looked_at([again.get(target.name, target) for target in fleeting]))
        looked = [next(second) if _is_fleeting(seen) else seen for seen in looked]
    if not args.monitor:
        clock = Clock(at.wall, tuple(resting))
        looked += _gone(args, memory, targets, clock, at, table, wait_for_second_look)
    findings = [finding(seen, args.missing, planned) for seen in looked]
    if not looked:
        findings.append(
            Finding(
                UNKNOWN,
                "no monitor runs on this host; name one with --monitor, --process or --url",
                next="check_monitor_liveness --help",
            )
        )
    findings += _about_maintenance(planned, findings)
    unsaved = memory.save()
    if unsaved:
        findings.append(unsaved)
    if all(one.state is OK for one in findings):
        findings += _told_outside(args, at.wall)
    problems = [one for one in findings if one.state is not OK]
    measures: list[Measure] = [measure for seen in looked for measure in seen.measures]
    remarks = [memory.remark] if memory.remark else []
    if problems:
        return Report(findings, measures, remarks=remarks)
    summary = (
        findings[0].text
        if len(findings) == 1
        else f"{len(looked)} monitors alive and working: {', '.join(seen.name for seen in looked)}"
    )
    return Report(
        [Finding(OK, summary, tuple(one.text for one in findings if one.text != summary))],
        measures,
        summary,
        remarks,
    )


def _looked(
    targets: Sequence[Target],
    wishes: Wishes,
    clock: Callable[[], Clock],
    running: Sequence[Process],
    memory: history.History | Forgetful,
    at: Stamp,
    place: str,
) -> list[Seen]:
    """A look at monitors, with what is remembered of them; and what is to be remembered.

    All are asked at the same time, so that two that have hung take no longer than one.
    """
    subjects = [f"of {target.kind} {target.name}{place}" for target in targets]
    remembered = [memory.note(subject) or {} for subject in subjects]

    def look(target: Target, before: Mapping[str, Any]) -> Seen:
        with deadline.doing(f"looking at {target.name}"):
            return look_at(target, replace(wishes, remembered=before), clock, running)

    looks = [partial(look, target, before) for target, before in zip(targets, remembered)]
    looked = []
    for subject, before, seen in zip(subjects, remembered, asking.at_once(looks)):
        settled, starts = never_settled(
            before.get("start") or {}, seen.started, wishes.startup_grace, clock()
        )
        memory.write_note(subject, {**before, **seen.facts, "start": starts}, at)
        looked.append(replace(seen, organs=(settled, *seen.organs)) if settled else seen)
    return looked


def _is_fleeting(seen: Seen) -> bool:
    bad = [organ for organ in seen.organs if organ.state in (CRITICAL, WARNING)]
    return bool(bad) and all(organ.is_fleeting for organ in bad)


def _may_look_again() -> bool:
    return deadline.remaining() > SECOND_LOOK_SECONDS + 3


def _gone(
    args: argparse.Namespace,
    memory: history.History | Forgetful,
    targets: Sequence[Target],
    clock: Clock,
    at: Stamp,
    table: Callable[[], Sequence[Process]],
    wait_for_second_look: Callable[[], None],
) -> list[Seen]:
    """Monitors of earlier looks that do not run any more; remembers those that do."""
    before: dict[str, Any] = dict(memory.note("running") or {})
    here = {identity_of(target): target for target in targets if target.main is not None}
    if at.uptime < args.startup_grace:
        return []  # the machine has just booted, and may not have got to it yet
    lost = gone(before, [identity_of(target) for target in targets], args, clock)
    if any(seen for _, seen in lost) and _may_look_again():
        # Between the old process and the new one of a restart there is none.
        wait_for_second_look()
        again = [identity_of(target) for target in targets_of(args, table())]
        lost = gone(before, [*again, *here], args, clock)
    for identity, seen in lost:
        if seen is None:
            del before[identity]
    for identity, target in here.items():
        before[identity] = {
            "kind": target.kind,
            "name": target.name,
            "config": str(target.config) if target.config else "",
            "at": at.wall,
        }
    memory.write_note("running", before, at)
    return [seen for _, seen in lost if seen is not None]


def _about_maintenance(planned: Maintenance, findings: Sequence[Finding]) -> list[Finding]:
    """A maintenance file that has been forgotten: planned work must not mask alarms for ever."""
    if planned.age is None or planned.excuses:
        return []
    if planned.age < 0:
        return [
            Finding(
                WARNING, f"maintenance file {planned.path} is from the future, and excuses nothing"
            )
        ]
    return [
        Finding(
            WARNING,
            f"maintenance file {planned.path} is {ago(planned.age)} old "
            f"(limit {ago(planned.limit)}), and excuses nothing any more",
            next=f"rm {planned.path}  # or touch it, if the work goes on",
        )
    ]


def _told_outside(args: argparse.Namespace, now: float) -> list[Finding]:
    """The outbound half: on OK only, so that silence itself becomes the alarm elsewhere."""
    findings = []
    url = args.ping_url or opt.secret(args.ping_url_file, "TWICESHY_PING_URL")
    if url:
        trouble = ping(url, args.probe_timeout)
        if trouble:
            findings.append(
                Finding(
                    WARNING,
                    "the monitors are well, but the outbound ping was not taken: "
                    f"{safe(trouble, 150)}",
                    next=f"curl -m 5 -i '{safe(url.partition('?')[0], 100)}'",
                )
            )
    if args.ping_file:
        trouble = touch(args.ping_file, now)
        if trouble:
            findings.append(
                Finding(
                    WARNING, f"the monitors are well, but --ping-file cannot be written: {trouble}"
                )
            )
    return findings


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.monitor_liveness.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

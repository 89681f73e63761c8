#!/usr/bin/env python3
"""Is the monitor itself alive, and getting its work done?

A monitor has several components, and every usual probe sees one of them. With Nagios' workers
stopped its status file stays fresh, its query handler answers and passive results come in; with
Icinga's process spawner stopped its API answers and its built-in checks go on. So this check asks
each component separately: the main loop (does it answer now), the scheduler, the executor (are
plugins really being executed), the intake of commands and results, the state file, the clock, and
whether checks and notifications are switched on.

Without arguments it finds the monitors that run on this host and judges each; one that it has seen
running and that is gone is an alarm. It must not be run only by the monitor that it watches: use a
timer or cron, a peer's monitor, and --ping-url.

Learned from: "The importance of failure" (NullMind, December 2008): a hypervisor's cable was
  pulled and nothing was detected for three minutes, because the monitor daemon had hung and
  nothing monitored the monitor. "Day in our DevOps lives" (Cameron Laird): workers looked as
  if they were rebooting during planned work, and jobs stood still for six hours.
Reads: the process table; configuration, status file, query socket and command FIFO of Nagios and
  Naemon (group nagios); the APIs of Icinga 2 (status/query, objects/query/Service and, where there
  are only hosts, objects/query/Host; for --canary actions/process-check-result too), Prometheus,
  Alertmanager, Monit and Sensu; the sockets of collectd, Zabbix and Checkmk; for any daemon its
  pidfile, heartbeat, health page, socket, systemd unit and a number that must rise. What it is not
  allowed to read is UNKNOWN, and the rest still counts.
Remembers: which monitors it has seen running, counters to see them move, the canary that is under
  way, and when the machine slept, since no monitor can be asked for its past once it has hung.
Says:
  OK        every component of every monitor does its work; also within --startup-grace, after a
            resume, with checks only every five minutes, and while a counter has no baseline yet
            (--learning)
  OK        a monitor is stopped on purpose while --maintenance FILE is younger than its limit
  WARNING   it works, but falls behind, has notifications disabled, uses an old configuration, some
            of its checks are starved, or its parent process is broken
  WARNING   the outbound ping failed, or --maintenance FILE is too old to excuse anything
  CRITICAL  a component does not work: no answer from the main loop, no plugin executed within the
            limit, workers stopped, commands not taken in, state not written (disk full), checks
            disabled
  CRITICAL  a timestamp lies in the future: no age can be trusted
  CRITICAL  it is not running (--missing), was killed, or restarts again and again
  UNKNOWN   no permission to ask a component, wrong password, unknown CA; or no monitor is found
Measures:
  MONITOR_executed_age  s  age of the newest executed check, sample or value
  MONITOR_status_age    s  age of Nagios' status file
  MONITOR_probe_time    s  how long the main loop took to answer
  MONITOR_executed_rate  -  checks (Prometheus: samples) executed per second
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
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from twiceshy.kit import deadline, units
from twiceshy.kit import history as kit_history
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.plugin import OK, guarded
from twiceshy.kit.processes import Process
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Report
from twiceshy.monitor_liveness import history, judgement, observation, outward, report
from twiceshy.monitor_liveness.components import Clock, Health, Suspension
from twiceshy.monitor_liveness.monitors import processes
from twiceshy.monitor_liveness.monitors.targets import KNOWN, Target, found
from twiceshy.monitor_liveness.settings import Settings, settings_of

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

# A reload takes its sockets away for a moment: what looks stopped is observed once more.
SECOND_TRY_SECONDS = 2.0


EVERY = "1m"


def applies() -> str:
    """Why there is nothing to check on this host, or ""; a monitor that is gone is missed."""
    if found(processes.of_host()):
        return ""
    with History.open(history.CHECK) as memory:
        return "" if history.running(memory) else "no monitor runs on this host"


def plan(
    args: argparse.Namespace,
    *,
    now: Callable[[], Stamp] = kit_history.now,
    table: Callable[[], Sequence[Process]] = processes.of_host,
    slept: Callable[[], float] = observation.slept_seconds,
    pause: Callable[[float], None] = time.sleep,
) -> Check:
    """The check; `now`, `table`, `slept` are clock, process table, time suspended."""

    def run() -> Report:
        settings = settings_of(args)
        with History.open(history.CHECK, settings.state_dir) as memory:
            suspensions = history.suspensions(memory, slept(), now())
            return Run(settings, memory, suspensions, now, table, pause).report()

    return Check(history.CHECK, run, timeout=args.timeout, verbose=args.verbose)


class Run:
    """One run of the check: its settings, what it remembers, and the clocks of its host."""

    def __init__(
        self,
        settings: Settings,
        memory: History,
        suspensions: tuple[Suspension, ...],
        now: Callable[[], Stamp],
        table: Callable[[], Sequence[Process]],
        pause: Callable[[float], None],
    ) -> None:
        self.settings = settings
        self.memory = memory
        self.suspensions = suspensions
        self.now = now
        self.table = table
        self.pause = pause
        self.at = now()
        self.began = time.monotonic()

    def report(self) -> Report:
        """Observe, judge, remember, report; and signal outwards when all is well."""
        maintenance = observation.maintenance(self.settings.maintenance, self.at.wall)
        running = self.table()
        targets = observation.targets_of(self.settings, running)
        healths = self.settled(targets, self.healths(targets, running))
        if not self.settings.kind:
            healths += self.gone(targets)
        excused = [judgement.excused(h, self.settings.missing, maintenance) for h in healths]
        findings = [report.finding(each, maintenance) for each in excused] or [report.NOTHING]
        findings += report.about_maintenance(maintenance)
        unsaved = self.memory.save()
        if unsaved:
            findings.append(unsaved)
        if all(finding.state is OK for finding in findings):
            findings += outward.announce(self.settings.outward, self.at.wall)
        return report.report(healths, findings, [self.memory.remark] if self.memory.remark else [])

    def healths(self, targets: Sequence[Target], running: Sequence[Process]) -> list[Health]:
        """Monitors observed and judged; and what is to be remembered of them."""
        settings, endpoint = self.settings.monitor, self.settings.endpoint
        notes = history.of_monitors(self.memory, targets, endpoint)
        healths = observation.healths_of(targets, settings, self.clock, running, notes)
        for place, (target, note, health) in enumerate(zip(targets, notes, healths)):
            loop, starts = judgement.restart_loop(
                note.get("start") or {}, health.started, settings.startup_grace, self.clock()
            )
            subject = history.subject_of(target, endpoint)
            history.remember_monitor(self.memory, subject, note, health, starts, self.at)
            if loop:
                healths[place] = replace(health, components=(loop, *health.components))
        return healths

    def settled(self, targets: Sequence[Target], healths: list[Health]) -> list[Health]:
        """The same, with a second observation of what may only have been reloading."""
        fleeting = [t for t, health in zip(targets, healths) if judgement.is_fleeting(health)]
        if not fleeting or not self.may_try_again():
            return healths
        self.wait_for_second_try()
        running = self.table()
        again = {target.name: target for target in observation.targets_of(self.settings, running)}
        second = iter(self.healths([again.get(t.name, t) for t in fleeting], running))
        return [next(second) if judgement.is_fleeting(health) else health for health in healths]

    def gone(self, targets: Sequence[Target]) -> list[Health]:
        """Monitors of earlier runs that do not run any more; remembers those that do."""
        if self.at.uptime < self.settings.monitor.startup_grace:
            return []  # the machine has just booted, and may not have got to it yet
        notes = history.running(self.memory)
        clock = self.clock_at(self.at)
        here = [target for target in targets if target.main is not None]

        def lost_beside(present: Sequence[Target]) -> tuple[list[Health], set[str]]:
            dismissed = observation.dismissed(notes, present, self.settings)
            known = {target.identity for target in present}
            return judgement.gone(notes, known, dismissed, clock), dismissed

        lost, dismissed = lost_beside(targets)
        if lost and self.may_try_again():
            # Between the old process and the new one of a restart there is none.
            self.wait_for_second_try()
            lost, dismissed = lost_beside(
                [*observation.targets_of(self.settings, self.table()), *here]
            )
        history.remember_running(self.memory, notes, here, dismissed, self.at)
        return lost

    def clock(self) -> Clock:
        """The clock of this instant."""
        return self.clock_at(self.now())

    def clock_at(self, instant: Stamp) -> Clock:
        """The clock of an instant."""
        return Clock(instant.wall, self.suspensions, instant.wall - instant.uptime)

    def may_try_again(self) -> bool:
        """Whether -t leaves time for a second observation."""
        return deadline.remaining() > SECOND_TRY_SECONDS + 3

    def wait_for_second_try(self) -> None:
        """Whatever else has been waited for counts: a silent monitor has been waited for."""
        self.pause(max(0.0, self.began + SECOND_TRY_SECONDS - time.monotonic()))


def options() -> argparse.ArgumentParser:
    """The options of check_monitor_liveness."""
    made = opt.parser(history.CHECK, __doc__)
    _add_which(made.add_argument_group("which monitor (default: all that run on this host)"))
    opt.add_selectors(made, "monitors (when none is named)")
    _add_login(made.add_argument_group("login"))
    _add_work(made.add_argument_group("work"))
    _add_daemon(made.add_argument_group("any daemon (--monitor daemon)"))
    _add_outward(made.add_argument_group("planned work and outbound signals"))
    opt.add_missing(made)
    opt.add_learning(made)
    opt.add_state_dir(made)
    return made


def _add_which(to: argparse._ActionsContainer) -> None:
    to.add_argument(
        "--monitor",
        choices=sorted(KNOWN),
        metavar="KIND",
        help="one of " + ", ".join(sorted(KNOWN)),
    )
    to.add_argument("--name", help="name to report it under (default: its kind)")
    to.add_argument("--config", type=Path, metavar="FILE", help="its main configuration file")
    to.add_argument("-H", "--host", help="host to ask (default: this one)")
    to.add_argument("-p", "--port", type=int, help="its port (default: the monitor's own)")
    to.add_argument("--url", help="URL to ask; for --monitor daemon, its health page")
    to.add_argument(
        "--socket", metavar="PATH", help="socket to ask: collectd's unixsock or Monit's httpd"
    )


def _add_login(to: argparse._ActionsContainer) -> None:
    to.add_argument("--user", help="HTTP user")
    to.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="file whose first line is the password (default: $TWICESHY_PASSWORD)",
    )
    to.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with a bearer token or Sensu API key (default: $TWICESHY_TOKEN)",
    )
    to.add_argument(
        "--ca-file", metavar="FILE", help="CA of the monitor's certificate, such as Icinga's own"
    )
    to.add_argument("--tls-name", metavar="NAME", help="name in its certificate (default: host)")
    to.add_argument("--insecure", action="store_true", help="do not verify its certificate")


def _add_work(to: argparse._ActionsContainer) -> None:
    to.add_argument(
        "--pulse",
        default="",
        metavar="HOST;SERVICE",
        help="judge the executor by this service alone, a cheap one with a short interval; its "
        "limit is two intervals plus one status interval (Sensu: ENTITY;CHECK)",
    )
    to.add_argument(
        "--canary",
        default="",
        metavar="HOST;SERVICE",
        help="submit a passive result for this service and expect it back (Nagios: in the next "
        "run)",
    )
    to.add_argument(
        "--intervals",
        type=opt.argument(_intervals),
        default="2",
        metavar="K",
        help="the limit for silence is K check intervals plus the status interval and the check "
        "timeout (default: 2)",
    )
    to.add_argument(
        "--silence",
        type=opt.positive_duration,
        metavar="DURATION",
        help="maximum silence, overriding --intervals",
    )
    to.add_argument(
        "--startup-grace",
        type=opt.duration,
        default="2m",
        metavar="DURATION",
        help="ignore checks that are merely not due yet after a start (default: 2m)",
    )
    to.add_argument(
        "--probe-timeout",
        type=opt.positive_duration,
        default="3s",
        metavar="DURATION",
        help="a monitor that does not answer within this has hung (default: 3s)",
    )
    to.add_argument(
        "--watchdog", default="", metavar="ALERT", help="always-firing alert (default: Watchdog)"
    )
    to.add_argument(
        "--namespace", default="default", help='Sensu Go namespace (default: "default")'
    )


def _add_daemon(to: argparse._ActionsContainer) -> None:
    to.add_argument("--pidfile", metavar="FILE", help="its process, by a pidfile")
    to.add_argument("--process", metavar="NAME", help="its process, by program or command name")
    to.add_argument(
        "--heartbeat",
        metavar="FILE",
        help="a file whose timestamp, counter or mtime must advance",
    )
    to.add_argument(
        "--heartbeat-within",
        type=opt.positive_duration,
        default="5m",
        metavar="DURATION",
        help="maximum age of the heartbeat (default: 5m)",
    )
    to.add_argument(
        "--answers",
        action="append",
        default=[],
        metavar="SOCKET",
        help="tcp://HOST:PORT or unix:/PATH that must answer; repeatable",
    )
    to.add_argument("--send", metavar="TEXT", help="what to send there (\\r, \\n, \\0)")
    to.add_argument("--expect", metavar="TEXT", help="what the answer or health page must contain")
    to.add_argument("--unit", metavar="UNIT", help="its systemd unit, and that unit's watchdog")
    to.add_argument(
        "--advances",
        action="append",
        default=[],
        metavar="SOURCE",
        help="work that must advance: json:PLACE#PATH, prom:PLACE#METRIC, file:PATH (PLACE is a "
        "URL or a file), newest:DIR, log:FILE, run:COMMAND that prints a number; repeatable",
    )
    to.add_argument(
        "--within",
        type=opt.positive_duration,
        default="30m",
        metavar="DURATION",
        help="how long that work may stand still (default: 30m)",
    )


def _add_outward(to: argparse._ActionsContainer) -> None:
    to.add_argument(
        "--maintenance",
        type=Path,
        metavar="FILE",
        help="while this file exists and is recent, a monitor may be stopped; a hang is an alarm "
        "all the same",
    )
    to.add_argument(
        "--maintenance-max",
        type=opt.positive_duration,
        default="4h",
        metavar="DURATION",
        help="maximum age of that file (default: 4h)",
    )
    to.add_argument(
        "--ping-url",
        metavar="URL",
        help="request this URL when, and only when, all is OK: silence is the alarm",
    )
    to.add_argument(
        "--ping-url-file", type=Path, metavar="FILE", help="the same, with the URL in this file"
    )
    to.add_argument(
        "--ping-file", type=Path, metavar="FILE", help="write the time to this file when all is OK"
    )


def _intervals(text: str) -> float:
    number = units.number(text)
    if number < 1:
        raise ValueError(f"{text!r} is less than one interval")
    return number


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.monitor_liveness.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    """The command."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Is a daemon coming and going although it always looks up?

A supervisor that restarts a crashing daemon hides the crash: nearly every look finds a process,
or an active unit. This check counts lives instead. Without arguments it observes
every daemon of every supervisor that runs on this host; --service selects some by name, and
--process, --cmdline, --pidfile and --user watch processes without a supervisor.

-w and -c apply to crashes, and to exits with status 0 that the supervisor repairs, unless
--clean-exit-ok is given. Manual restarts (a deploy, an operator) are reported but not judged; more
than -c of them in the window are treated as a script's doing: CRITICAL. --count all judges the sum.
The check returns to OK by itself after one quiet window.

Learned from: "High availability taken the wrong way" (2015): rsyslogd under perp aborted at each
  start on a mistake in its configuration and was restarted every second; the process check was
  green all the time.
Reads: /proc (any user), and what each supervisor knows; root can read all of it.
  systemd: `systemctl show` (any user) and the journal (group systemd-journal; without it, restarts
    are counted from run to run). The services of users' own managers (systemctl --user) are called
    USER/NAME; only root sees those of others.
  runit, daemontools, s6: SERVICE/supervise/status and s6's death tally (root, or anybody after
    `chmod 755 SERVICE/supervise`). Other users see in /proc which processes come and go, and how
    they die (Linux 6.6), but cannot tell a service that was stopped from one that has died.
  perp: the socket .control/perpd.sock (root); other users see the children of perpd.
  supervisord: its socket or URL (`chown=` and `chmod=` of [unix_http_server], $SUPERVISOR_USERNAME
    and $SUPERVISOR_PASSWORD); other users see its children, named by their command lines.
  monit: its URL or socket (root reads the password in the control file; other users set
    $MONIT_USERNAME and $MONIT_PASSWORD), and its log.
  contrib/sudoers/twiceshy-flapping has the least that sudo must allow.
Remembers: of each daemon its last life, its counter and the restarts seen, because most
  supervisors remember nothing; in <state-dir>/flapping.sqlite, written when something changed.
Says:
  OK        no more restarts within the window than -w and -c allow; or still learning: too little
            history where the supervisor keeps none (--learning)
  WARNING   more crashes than -w allows; or found not running, waiting to be restarted
  CRITICAL  more crashes than -c allows; restarted in a loop, but not by its supervisor; given up
            by its supervisor (start limit, FATAL, unmonitored); not running at any check; named but
            not running (--missing)
  UNKNOWN   no permission to ask; history cannot be saved
Measures:
  services              -  daemons observed
  restarts              -  crashes and clean exits within the window, all daemons
  restarts_by_hand      -  manual restarts, and those by others, within the window, all daemons
  flapping              -  daemons with more restarts than allowed
  down                  -  daemons given up, or not running although they should be
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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from twiceshy.flapping import history, judgement, observation, supervisors, unsupervised
from twiceshy.flapping.counting import count, updated
from twiceshy.flapping.history import Notes
from twiceshy.flapping.judgement import Assessment, verdict_on
from twiceshy.flapping.observation import Observation
from twiceshy.flapping.report import missing, report
from twiceshy.flapping.service import Service
from twiceshy.flapping.settings import Settings, settings_of
from twiceshy.flapping.unsupervised import KnownProcess
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History, now
from twiceshy.kit.plugin import guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Timeline

Look = Callable[[Settings, Stamp, "Mapping[str, KnownProcess]"], Observation]

# What the command line takes


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
        help=f"ask only this supervisor: {', '.join(supervisors.PROGRAMS)}; repeatable "
        "(default: all that run here)",
    )  # fmt: skip
    for option, what in (
        ("--service-dir", "scan or service directory of that --supervisor"),
        ("--socket", "control socket, URL or configuration file of that --supervisor"),
    ):
        which.add_argument(
            option, action="append", default=[], metavar="PATH",
            help=f"{what}, if it is not found automatically; repeatable (default: from /proc)",
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
        "--user", type=opt.argument(unsupervised.user), metavar="USER",
        help="only processes of this user, by name or uid; without the options above, all root "
        "processes of this user, by program name (default: all users)",
    )  # fmt: skip
    opt.add_limits(made, warning="2", critical="5", what="the number of restarts in the window")
    judging = made.add_argument_group("judging")
    judging.add_argument(
        "--window", type=opt.positive_duration, default="15m", metavar="DURATION",
        help="count restarts within this period before now (default: 15m)",
    )  # fmt: skip
    judging.add_argument(
        "--count", type=opt.argument(_count_choice), default="crashes", metavar="WHAT",
        help="judge crashes, or all: manual restarts too (default: crashes)",
    )  # fmt: skip
    judging.add_argument(
        "--clean-exit-ok", action="store_true",
        help="do not count exits with status 0 as crashes: for workers that are meant to exit "
        "and be started again (default: they count)",
    )  # fmt: skip
    judging.add_argument(
        "--log-lines", type=opt.argument(_lines), default="3", metavar="N",
        help="show this many log lines of an offender in the long output (default: 3)",
    )  # fmt: skip
    opt.add_missing(made)
    opt.add_learning(made)
    opt.add_state_dir(made)
    return made


def _count_choice(typed: str) -> str:
    if typed not in ("crashes", "all"):
        raise ValueError(f"{typed!r} is neither crashes nor all")
    return typed


def _lines(typed: str) -> int:
    if not typed.isdigit() or int(typed) > 20:
        raise ValueError(f"{typed!r} is not a number of lines from 0 to 20")
    return int(typed)


def _supervisor(typed: str) -> str:
    if typed not in supervisors.PROGRAMS:
        raise ValueError(f"{typed!r} is not one of {', '.join(supervisors.PROGRAMS)}")
    return typed


# One run


def plan(
    args: argparse.Namespace,
    *,
    look: Look = observation.observe,
    clock: Callable[[], Stamp] = now,
) -> Check:
    """The check; `look` and `clock` stand in for the host in tests."""

    def run() -> Report:
        settings, at = settings_of(args), clock()
        with History.open("flapping", args.state_dir) as past:
            return _run(settings, at, past, look)

    return Check("flapping", run, timeout=args.timeout, verbose=args.verbose)


def _run(settings: Settings, at: Stamp, past: History, look: Look) -> Report:
    """Observe, remember, judge, report."""
    selection, limits = settings.selection, settings.limits
    notes = history.read(past, selection.signature, at)
    observed = look(settings, at, notes.known)

    assessments = []
    for subject, service in observed.services:
        assessment = _assessed(subject, service, notes, settings, at)
        known = observed.known.get(subject)
        history.write(past, notes, subject, assessment.record, known, at)
        assessments.append(assessment)

    findings = [*observed.findings, *_missing(observed, settings)]
    if not observed.findings:
        history.write_run(past, selection.signature, at)
    history.forget(past, notes, at)
    unsaved = past.save()
    if unsaved is not None:
        findings.append(unsaved)
    is_named = bool(selection.services or selection.watches)
    made = report(assessments, findings, limits, every_measure=is_named)
    return replace(made, remarks=(*made.remarks, past.remark)) if past.remark else made


def _assessed(
    subject: str, service: Service, notes: Notes, settings: Settings, at: Stamp
) -> Assessment:
    """A daemon with its restarts within the window and what they mean."""
    limits = settings.limits
    before, seen = notes.record(subject), notes.last_seen(subject)
    previous = None if before is None or seen is None else min(seen, at.uptime)
    record = updated(before, service, at.uptime, previous, limits.window)
    counted = count(
        service, record, at.uptime, limits.window, limits.clean_exit_ok, is_first=before is None
    )
    is_named = settings.selection.names(service)
    verdict = verdict_on(service, counted, record, at.uptime, limits, is_named)
    log = service.log[-settings.log_lines :] if settings.log_lines else ()
    return Assessment(subject, replace(service, log=log), counted, record, verdict)


def _missing(observed: Observation, settings: Settings) -> list[Finding]:
    """What was asked for and is not there."""
    selection, is_uncertain = settings.selection, bool(observed.findings)
    services = [service for _, service in observed.services]
    names = judgement.missing_names(selection, services, is_uncertain)
    unmatched = judgement.unmatched(selection, services, is_uncertain)
    return missing(names, unmatched, settings.limits)


# For `twiceshy`


EVERY = "1m"


def applies() -> str:
    """Why there is nothing to check on this host, or ""."""
    if observation.has_supervisor():
        return ""
    return f"no supervisor is running here ({', '.join(supervisors.PROGRAMS)})"


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

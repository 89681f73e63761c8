#!/usr/bin/env python3
"""Will these logs be rotated as intended, and were they last night?

Reads logrotate's configuration exactly as the installed logrotate reads it, finds which log belongs
to which stanza, what is lost, refused or silently skipped and why, whether a rotated file proves
last night's run, whether there will be a next run, which processes still write to a rotated or
deleted file, and which logs have no stanza. It starts no rotation and runs no script.

Learned from: "Production Outages - Part 1" (2014): a library flooded the log of thousands of media
  players while log rotation was misconfigured; the disks filled, and technicians were sent out with
  USB sticks.
Reads: /etc/logrotate.conf and what it includes, logrotate's state file, the log directories, the
  schedule (systemd timer, cron, anacron, periodic), /proc, journald.conf, and the API of Docker or
  Podman if permitted. Root sees everything; for other users it reports what it could not see
  (`unseen`).
Remembers: the sizes of logs with findings and when each log was last rotated, for rates and proof.
Says:
  OK        every log that grows has a stanza, the stanza works, and so does the schedule
  WARNING   something does not work as written: a directive without effect, a leak into other
            files, a failing run, a growing log without a stanza, an orphan; no run for longer
            than -w
  CRITICAL  a log that exists and grows is not or will not be rotated, a process keeps filling a
            deleted or rotated file, the schedule is dead, or no run for longer than -c
  UNKNOWN   nothing to read, or parts that need more permissions (accept with --ignore unseen), or
            an engine that does not answer: an outage that check_container_restarts reports
Measures:
  covered        -  logs with a stanza
  uncovered      -  big growing logs without one
  overdue        -  logs that were not rotated when due
  lost           -  globs of stanzas that logrotate drops
  deleted_held   B  bytes in deleted logs that a process keeps open
  run_age        s  since the last completed run
  unbounded      B  bytes in container logs without a limit
Examples:
  check_log_rotation
  check_log_rotation --explain /var/log/nginx/access.log
  check_log_rotation --ignore directive-unknown --ignore 'uncovered:/var/log/app/*'
"""

from __future__ import annotations

import argparse
import gc
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from twiceshy.kit import history as clocks
from twiceshy.kit import options as opt
from twiceshy.kit import units
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.plugin import guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Report
from twiceshy.log_rotation import history
from twiceshy.log_rotation.judgement import faults_of
from twiceshy.log_rotation.logrotate import grammar
from twiceshy.log_rotation.logrotate.codes import CODES
from twiceshy.log_rotation.logrotate.host import HostPaths
from twiceshy.log_rotation.observation import observe
from twiceshy.log_rotation.report import explanation, report
from twiceshy.log_rotation.settings import Settings, ignored, settings_of

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

EVERY = "1h"


def applies() -> str:
    """Why there is nothing to check on this host, or ""."""
    for trace in ("/etc/logrotate.conf", "/usr/sbin/logrotate", "/usr/bin/logrotate"):
        if os.path.exists(trace):
            return ""
    return "logrotate is not installed, and there is no /etc/logrotate.conf"


def options() -> argparse.ArgumentParser:
    """The command line."""
    codes = "\n".join(
        f"  {code}\n      {cause}\n      remedy: {remedy}"
        for code, (cause, remedy) in CODES.items()
    )
    made = opt.parser("log_rotation", f"{__doc__}\nCodes of findings, for --ignore:\n{codes}\n")
    where = made.add_argument_group("where")
    where.add_argument(
        "--config", default="/etc/logrotate.conf", metavar="PATH",
        help="logrotate's configuration, a file or directory (default: /etc/logrotate.conf)",
    )  # fmt: skip
    where.add_argument(
        "--state-file", metavar="PATH",
        help="logrotate's state file (default: from its schedule or from logrotate itself)",
    )  # fmt: skip
    where.add_argument(
        "--log-dir", action="append", default=None, metavar="DIR",
        help="search here for logs without a stanza; repeatable (default: /var/log)",
    )  # fmt: skip
    where.add_argument(
        "--logrotate-version", type=opt.argument(grammar.version), metavar="VERSION",
        help="read the configuration as this version of logrotate does, 3.8 or later (default: "
        "the installed one)",
    )  # fmt: skip
    where.add_argument(
        "--docker", action=argparse.BooleanOptionalAction, default=None,
        help="ask the container engine, Docker or Podman, about container logs (default: if this "
        "user may use its socket)",
    )  # fmt: skip
    opt.add_limits(
        made, warning="49h", critical="8d", unit=units.duration,
        what="the time since logrotate's last completed run",
    )  # fmt: skip
    judging = made.add_argument_group("judging")
    judging.add_argument(
        "--big", type=opt.size, default="100MiB", metavar="SIZE",
        help="size from which to report logs that are not rotated, have no limit, or are still "
        "held open after deletion (default: 100MiB)",
    )  # fmt: skip
    judging.add_argument(
        "--ignore", action="append", type=opt.argument(ignored), default=[], metavar="CODE[:GLOB]",
        help="omit findings with this code, or only those about logs and files that match GLOB; "
        "repeatable (default: none)",
    )  # fmt: skip
    judging.add_argument(
        "--explain", metavar="PATH",
        help="explain one log: its stanza, criterion, last and next rotation (default: none)",
    )  # fmt: skip
    opt.add_state_dir(made)
    return made


def run(settings: Settings, paths: HostPaths, at: Stamp) -> Report:
    """One run: observe, judge by what the previous run left, remember, report."""
    observation = observe(settings, paths, at.wall)
    if settings.explain:
        return explanation(os.path.abspath(settings.explain), observation)
    state_dir = Path(settings.state_dir) if settings.state_dir else None
    with History.open("log_rotation", state_dir) as past:
        previous = history.recalled(past)
        every = faults_of(observation, previous, settings.limits, at)
        faults = settings.kept(every)
        history.remember(past, observation, every, previous, at)
        unsaved = past.save()
        remarks = []
        if len(every) > len(faults):
            remarks.append(f"{units.count(len(every) - len(faults), 'finding')} ignored")
        if past.remark:
            remarks.append(past.remark)
    made = report(observation, faults, settings.limits, remarks)
    return replace(made, findings=(*made.findings, unsaved)) if unsaved else made


def plan(
    args: argparse.Namespace,
    *,
    paths: HostPaths = HostPaths(),  # noqa: B008 - frozen
    clock: Callable[[], Stamp] = clocks.now,
) -> Check:
    """The check; `paths` and `clock` stand in for the host in tests."""
    settings = settings_of(args)
    return Check(
        "log_rotation",
        lambda: run(settings, paths, clock()),
        timeout=settings.timeout,
        verbose=settings.verbose,
    )


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.log_rotation.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    """Console script."""
    # With a hundred thousand logs the garbage collector would visit each of them again and again.
    gc.disable()
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

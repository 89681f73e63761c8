#!/usr/bin/env python3
"""FILL ME IN (the question): Can people still log in?

FILL ME IN (what it does): pam_nologin(8) refuses every login but root's while /run/nologin or
/etc/nologin exists. The time counts from the first run that saw the file, if it is older: a
shutdown that is announced again writes the file again.

Learned from: FILL ME IN (the outage, with its year): hosts on which every check was green and
  nobody could log in. The boot had never ended, or a shutdown had been called off halfway.
Reads: FILL ME IN (and with which rights): age and first line of both files. Needs no rights.
Remembers: FILL ME IN (or "nothing."): since when logins have been refused, until they are not.
Says:
  OK        FILL ME IN (when, for each state): logins are allowed, or have been refused for a
            shorter time than --warning
  WARNING   logins have been refused for longer than --warning
  CRITICAL  logins have been refused for longer than --critical
  UNKNOWN   whether a file exists cannot be seen; the history cannot be kept
Measures:
  refused  s  FILL ME IN (a line for each measure): how long logins have been refused
Examples:
  check_NAME
  check_NAME -w 30m -c 4h
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from twiceshy.kit import options as opt
from twiceshy.kit import units
from twiceshy.kit.check import Check
from twiceshy.kit.history import History, now
from twiceshy.kit.plugin import guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Report
from twiceshy.NAME import history
from twiceshy.NAME.judgement import judged
from twiceshy.NAME.observation import observe
from twiceshy.NAME.report import report
from twiceshy.NAME.settings import FILES, Settings, settings_of

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

EVERY = "5m"


def applies() -> str:
    """Why there is nothing to check on this host, or ""."""
    # FILL ME IN: why not, where the subject is not installed. If it may be there and cannot be
    # seen, return "", and the run is UNKNOWN: what is hidden must not be passed over.
    return ""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = opt.parser("NAME", __doc__)
    # FILL ME IN: options of its own, and limits.
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="PATH",
        help=f"a file that refuses logins; repeatable (default: {', '.join(FILES)})",
    )
    opt.add_limits(
        parser,
        warning="10m",
        critical="1h",
        unit=units.duration,
        what="the time for which logins have been refused",
    )
    opt.add_state_dir(parser)
    return parser


def plan(args: argparse.Namespace, *, clock: Callable[[], Stamp] = now) -> Check:
    """The check; `clock` is a test's own, if it has one."""
    settings = settings_of(args)
    return Check(
        "NAME",
        lambda: run(settings, clock()),
        timeout=settings.timeout,
        verbose=settings.verbose,
    )


def run(settings: Settings, at: Stamp) -> Report:
    """One run: observe, recall, judge, remember, report."""
    # FILL ME IN: the flow. Without a memory, everything about history and --state-dir goes.
    refusals = observe(settings)
    with History.open("NAME", settings.state_dir) as past:
        judgement = judged(refusals, history.recalled(past), at)
        history.remember(past, judgement, at)
        not_saved = past.save()
        made = report(judgement, settings.limits, [past.remark] if past.remark else [])
    return replace(made, findings=[*made.findings, not_saved]) if not_saved else made


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.NAME.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    """Parse the command line, run, print, exit."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

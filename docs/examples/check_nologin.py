#!/usr/bin/env python3
"""Can people still log in?

pam_nologin(8) refuses every login but root's while /run/nologin or /etc/nologin exists. A shutdown
puts the file there five minutes ahead, and a boot takes it away when it has finished.

Learned from: hosts on which every check was green and nobody could log in ("System is booting up.
  Unprivileged users are not permitted to log in yet"): the boot had never ended, or a shutdown had
  been called off halfway, and the file stayed.
Reads: age and first line of both files. Needs no rights.
Remembers: nothing.
Says:
  OK        logins are allowed, or have been refused for a shorter time than --warning
  WARNING   logins have been refused for longer than --warning
  CRITICAL  logins have been refused for longer than --critical
  UNKNOWN   whether a file exists cannot be seen
Measures:
  refused  s  how long logins have been refused
Examples:
  check_nologin
  check_nologin -w 30m -c 4h
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.kit import options as opt
from twiceshy.kit import units
from twiceshy.kit.check import Check
from twiceshy.kit.limits import Limit, judge
from twiceshy.kit.plugin import CheckError, guarded
from twiceshy.kit.verdict import Finding, Measure, Report, safe

EVERY = "5m"
FILES = ("/run/nologin", "/etc/nologin")


@dataclass(frozen=True)
class Refusal:
    """A file that keeps people out: since when (Unix time), and what it tells them."""

    path: str
    since: float
    words: str


def options() -> opt.Parser:
    """The command line."""
    parser = opt.parser("nologin", __doc__)
    parser.add_argument("--file", action="append", metavar="PATH", default=[],
                        help="pam_nologin's file=; repeatable (default: both)")  # fmt: skip
    opt.add_limits(parser, warning="10m", critical="1h", unit=units.duration,
                   what="the time for which logins have been refused")  # fmt: skip
    return parser


def refusals(paths: Sequence[str]) -> list[Refusal]:
    """What is seen: the files that exist. CheckError where even that cannot be known."""
    found = []
    for path in paths:
        try:
            since, words = os.stat(path).st_mtime, ""
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckError(f"{path} cannot be looked up: {error.strerror}") from error
        with contextlib.suppress(OSError), open(path, errors="replace") as file:
            words = file.readline(200)
        found.append(Refusal(path, since, words))
    return found


def judged(found: Sequence[Refusal], now: float, warning: Limit, critical: Limit) -> Report:
    """What it means. Pure: the time and the limits are arguments."""
    findings, longest = [], 0.0
    for refusal in found:
        seconds = max(0.0, now - refusal.since)
        longest = max(longest, seconds)
        state, limit = judge(seconds, warning, critical)
        text = f"logins have been refused for {units.say_duration(seconds)}"
        text += f" (limit {limit.typed})" if limit else ""
        text += f": {refusal.path} says {safe(refusal.words) or 'nothing'}"
        look = f"ls -l {shlex.quote(refusal.path)}; systemctl status systemd-user-sessions"
        findings.append(Finding(state, text, next=look))
    measure = Measure("refused", longest, "s", warning, critical, minimum=0)
    return Report(findings, [measure], summary="logins are allowed")


def plan(args: argparse.Namespace) -> Check:
    """One run: observe, then judge."""
    return Check(
        "nologin",
        lambda: judged(refusals(args.file or FILES), time.time(), args.warning, args.critical),
        timeout=args.timeout,
        verbose=args.verbose,
    )


@guarded
def main() -> None:
    """The command."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

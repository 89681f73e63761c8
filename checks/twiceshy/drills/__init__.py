"""Failure is worth practising: each check's own outage, staged for real and mended again.

In a throw-away sandbox the check's world is made, broken and mended, and the real check is run
against it: green, red, green. Nothing on the host is changed, and all is cleared away at the end,
Ctrl-C included. With --notify the red state is held up, so that you see your own pager go off.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import select
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, ModuleType

from twiceshy import deadline, options, roster, units
from twiceshy.drills import stage
from twiceshy.drills.stage import GREEN, Cannot, Failed, Play, Sandbox
from twiceshy.plugin import UNKNOWN_STATUS, CheckError
from twiceshy.roster import Entry
from twiceshy.rounds import Visit

# One file a drill, called like its check.
DRILLS = (
    "flapping",
    "container_restarts",
    "log_rotation",
    "disk_growth",
    "config_freshness",
    "monitor_liveness",
)


@dataclass(frozen=True)
class Outcome:
    """How a drill went: `missing` what it could not have, `failure` what the check did not do."""

    check: str
    red_seconds: float | None = None
    green_seconds: float | None = None
    missing: str = ""
    failure: str = ""


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy drill`."""
    to.add_argument(
        "checks",
        nargs="+",
        metavar="CHECK",
        help=f"whose outage, or all: {', '.join(DRILLS)}",
    )
    to.add_argument(
        "--notify",
        nargs="?",
        const="10m",
        type=options.positive_duration,
        metavar="DURATION",
        help="hold the red state up until Enter is pressed, this long at most (default: 10m), and "
        "print how your monitoring system gets to see it",
    )


def run(args: argparse.Namespace) -> int:
    """Give the drills one after the other; 0 if none failed and at least one was given."""
    names = list(DRILLS) if "all" in args.checks else _known(args.checks)
    for left in stage.sweep():
        print(f"cleared {left}, which a killed drill had left")
    outcomes = []
    for entry in roster.chosen(names, _with_files()):
        outcomes.append(given(entry, args.notify))
        print(flush=True)
    if len(outcomes) > 1:
        _summarise(outcomes)
    if any(outcome.failure for outcome in outcomes):
        return 2
    return 0 if any(outcome.red_seconds is not None for outcome in outcomes) else UNKNOWN_STATUS


def _known(names: list[str]) -> list[str]:
    short = [name[len("check_") :] if name.startswith("check_") else name for name in names]
    for name in short:
        if name not in DRILLS:
            raise CheckError(f"there is no drill for {name!r}; there are: {', '.join(DRILLS)}, all")
    return short


def _with_files() -> list[Entry]:
    return [entry for entry in roster.found() if entry.name in DRILLS]


def given(entry: Entry, notify_seconds: float | None = None) -> Outcome:
    """One drill from its first green to its last, told line by line."""
    drill = importlib.import_module(f"twiceshy.drills.{entry.name}")
    print(f"drill {entry.name}: {drill.OUTAGE}", flush=True)
    try:
        with _interruptible(), Sandbox() as box:
            outcome = _performed(entry, drill, box, notify_seconds)
    except (Cannot, CheckError) as error:
        print(f"  left out: {error}")
        return Outcome(entry.name, missing=str(error))
    except Failed as error:
        print(f"  FAILED: {error}")
        return Outcome(entry.name, failure=str(error))
    finally:
        print("           cleared: processes ended, sandbox removed", flush=True)
    return outcome


def _performed(
    entry: Entry, drill: ModuleType, box: Sandbox, notify_seconds: float | None
) -> Outcome:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - began:6.1f}s  {text}", flush=True)

    play: Play = drill.stage(box)
    say(f"runs: {shlex.join([entry.program, *play.arguments])}")
    visit, _ = stage.until(GREEN, entry, play, box, "what is healthy")
    say(_told(visit))
    say(f"FAULT: {play.fault}")
    play.break_it()
    visit, red = stage.until(play.red, entry, play, box, "the fault")
    say(f"{_told(visit)}  <- red after {units.say_duration(red)}")
    for line in visit.long[:4]:
        print(f"           {line}")
    if notify_seconds is not None:
        _hold(entry, play, box, visit, notify_seconds)
    say(f"MENDED: {play.remedy}")
    play.mend_it()
    visit, green = stage.until(GREEN, entry, play, box, "the remedy")
    say(f"{_told(visit)}  <- green again after {units.say_duration(green)}")
    return Outcome(entry.name, red, green)


def _told(visit: Visit) -> str:
    return f"{str(visit.state).upper():8}  {visit.text}"


def _hold(entry: Entry, play: Play, box: Sandbox, visit: Visit, seconds: float) -> None:
    """Keep the red state up and say how a monitoring system gets to see it."""
    environment = " ".join(
        f"{name}={shlex.quote(box.environment()[name])}" for name in ("TWICESHY_STATE_DIR",)
    )
    status = int(visit.state) if visit.state is not None else UNKNOWN_STATUS
    host, words = socket.gethostname(), f"DRILL {visit.text}"
    print(
        f"\n  The red state stays up for {units.say_duration(seconds)}. To see your pager go off:\n"
        "  * point a service of your monitoring system at this command (as this user), and look\n"
        f"    for a {str(visit.state).upper()} of it, its notification, and its recovery:\n"
        f"      {environment} {shlex.join(stage.command(entry, play))}\n"
        "  * or hand the result in by hand, for a service that takes passive results:\n"
        f"      Nagios:  printf '[%s] PROCESS_SERVICE_CHECK_RESULT;{host};{entry.name};{status};"
        f'{_quoted(words)}\\n\' "$(date +%s)" > /var/lib/nagios4/rw/nagios.cmd\n'
        f"      Icinga:  the same into /run/icinga2/cmd/icinga2.cmd\n"
        f"      Sensu:   curl -s -H 'Content-Type: application/json' 127.0.0.1:3031/events -d "
        f'\'{{"check":{{"metadata":{{"name":"{entry.name}"}},"status":{status},'
        f'"output":"{_quoted(words)}"}}}}\'\n'
        "  Look for: which phone, after how long, does the text name the culprit, and does the\n"
        "  recovery come through. Enter ends it.",
        flush=True,
    )
    ends = time.monotonic() + seconds
    # Without a terminal there is no Enter to wait for: the time decides.
    listening = sys.stdin is not None and sys.stdin.isatty()
    while time.monotonic() < ends:
        # The check is run on, so that what it remembers stays red too.
        stage.looked(entry, play, box)
        if not listening:
            time.sleep(min(play.every_seconds, max(0.0, ends - time.monotonic())))
        elif select.select([sys.stdin], [], [], play.every_seconds)[0]:
            sys.stdin.readline()
            return


def _quoted(text: str) -> str:
    return text.replace("'", "").replace('"', "").replace("%", "%%").replace("\\", "")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a drill as Ctrl-C does, with everything cleared."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        stage.INTERRUPTED.append(number)
        raise KeyboardInterrupt

    stage.INTERRUPTED.clear()
    before = {number: signal.signal(number, interrupt) for number in deadline.Deadline.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summarise(outcomes: list[Outcome]) -> None:
    width = max(len(outcome.check) for outcome in outcomes)
    for outcome in outcomes:
        if outcome.missing:
            told = f"left out: {outcome.missing}"
        elif outcome.failure:
            told = f"FAILED: {outcome.failure}"
        else:
            told = (
                f"red after {units.say_duration(outcome.red_seconds or 0)}, "
                f"green again after {units.say_duration(outcome.green_seconds or 0)}"
            )
        print(f"  {outcome.check:{width}}  {told}")
    if os.geteuid() != 0 and any(outcome.missing for outcome in outcomes):
        print("  as root more drills can be given")

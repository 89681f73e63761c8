"""Practise failure: stage each check's own outage for real, and fix it again.

In a throw-away sandbox the check's world is set up, broken and fixed, and the real check is run
against it: green, red, green. Nothing on the host is changed, and everything is cleared away at the
end, on Ctrl-C too. With --notify the red state is held, so that you see your own pager go off.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from twiceshy.command import roster, rounds
from twiceshy.command.roster import Entry
from twiceshy.command.rounds import Visit
from twiceshy.kit import deadline, options, units
from twiceshy.kit.drill import (
    INTERRUPTED,
    MARK,
    PREFIX,
    Cannot,
    Drill,
    Failed,
    Play,
    Sandbox,
    die_with_parent,
    heed,
)
from twiceshy.kit.plugin import OK, UNKNOWN_STATUS, CheckError, State

GREEN = (OK,)


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
        help="the check whose outage to stage, or all",
    )
    to.add_argument(
        "--notify",
        nargs="?",
        const="10m",
        type=options.positive_duration,
        metavar="DURATION",
        help="hold the red state until Enter is pressed, for at most this long (default: 10m), "
        "and print how to show it to your monitoring system",
    )


def run(args: argparse.Namespace) -> int:
    """Run the drills one after the other; 0 if none failed and at least one was run."""
    entries = roster.with_part([] if "all" in args.checks else args.checks, "drill", "drill")
    for left in sweep():
        print(f"cleared {left}, left behind by a killed drill")
    outcomes = []
    for entry in entries:
        outcomes.append(given(entry, args.notify))
        print(flush=True)
    if len(outcomes) > 1:
        _summarise(outcomes)
    if any(outcome.failure for outcome in outcomes):
        return 2
    return 0 if any(outcome.red_seconds is not None for outcome in outcomes) else UNKNOWN_STATUS


def given(entry: Entry, notify_seconds: float | None = None) -> Outcome:
    """One drill from its first green to its last, reported line by line."""
    drill: Drill = roster.load(entry).drill()
    print(f"drill {entry.name}: {drill.outage}", flush=True)
    try:
        with _interruptible(), Sandbox() as box:
            outcome = _performed(entry, drill, box, notify_seconds)
    except (Cannot, CheckError) as error:
        print(f"  skipped: {error}")
        return Outcome(entry.name, missing=str(error))
    except Failed as error:
        print(f"  FAILED: {error}")
        return Outcome(entry.name, failure=str(error))
    finally:
        print("           cleared: processes ended, sandbox removed", flush=True)
    return outcome


def _performed(entry: Entry, drill: Drill, box: Sandbox, notify_seconds: float | None) -> Outcome:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - began:6.1f}s  {text}", flush=True)

    play: Play = drill.stage(box)
    say(f"runs: {shlex.join([entry.program, *play.arguments])}")
    visit, _ = until(GREEN, entry, play, box, "a healthy start")
    say(_line(visit))
    say(f"FAULT: {play.fault}")
    play.break_it()
    visit, red = until(play.red, entry, play, box, "the fault")
    say(f"{_line(visit)}  <- red after {units.say_duration(red)}")
    for line in visit.long[:4]:
        print(f"           {line}")
    if notify_seconds is not None:
        _hold(entry, play, box, visit, notify_seconds)
    say(f"FIXED: {play.remedy}")
    play.mend_it()
    visit, green = until(GREEN, entry, play, box, "the remedy")
    say(f"{_line(visit)}  <- green again after {units.say_duration(green)}")
    return Outcome(entry.name, red, green)


def _line(visit: Visit) -> str:
    return f"{str(visit.state).upper():8}  {visit.text}"


def _hold(entry: Entry, play: Play, box: Sandbox, visit: Visit, seconds: float) -> None:
    """Hold the red state and say how a monitoring system gets to see it."""
    environment = " ".join(
        f"{name}={shlex.quote(box.environment()[name])}" for name in ("TWICESHY_STATE_DIR",)
    )
    status = int(visit.state) if visit.state is not None else UNKNOWN_STATUS
    host, words = socket.gethostname(), f"DRILL {visit.text}"
    print(
        f"\n  The red state stays for {units.say_duration(seconds)}. To see your pager go off:\n"
        "  * point a service of your monitoring system at this command (as this user), and look\n"
        f"    for the {str(visit.state).upper()}, its notification, and its recovery:\n"
        f"      {environment} {shlex.join(command(entry, play))}\n"
        "  * or submit the result yourself, for a service that accepts passive results:\n"
        f"      Nagios:  printf '[%s] PROCESS_SERVICE_CHECK_RESULT;{host};{entry.name};{status};"
        f'{_quoted(words)}\\n\' "$(date +%s)" > /var/lib/nagios4/rw/nagios.cmd\n'
        f"      Icinga:  the same into /run/icinga2/cmd/icinga2.cmd\n"
        f"      Sensu:   curl -s -H 'Content-Type: application/json' 127.0.0.1:3031/events -d "
        f'\'{{"check":{{"metadata":{{"name":"{entry.name}"}},"status":{status},'
        f'"output":"{_quoted(words)}"}}}}\'\n'
        "  Watch for: which phone rings and how soon, whether the text names the culprit, and\n"
        "  whether the recovery comes through. Press Enter to end it.",
        flush=True,
    )
    ends = time.monotonic() + seconds
    # Without a terminal there is no Enter to wait for: the time decides.
    listening = sys.stdin is not None and sys.stdin.isatty()
    while time.monotonic() < ends:
        # The check is run on, so that what it remembers stays red too.
        checked(entry, play, box)
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
        INTERRUPTED.append(number)
        raise KeyboardInterrupt

    INTERRUPTED.clear()
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
            text = f"skipped: {outcome.missing}"
        elif outcome.failure:
            text = f"FAILED: {outcome.failure}"
        else:
            text = (
                f"red after {units.say_duration(outcome.red_seconds or 0)}, "
                f"green again after {units.say_duration(outcome.green_seconds or 0)}"
            )
        print(f"  {outcome.check:{width}}  {text}")
    if os.geteuid() != 0 and any(outcome.missing for outcome in outcomes):
        print("  more drills can run as root")


def sweep() -> list[str]:
    """Clear what drills that were killed themselves have left; their sandboxes' names."""
    swept = []
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = left.name[len(PREFIX) :].partition("-")[0]
        with contextlib.suppress(OSError):
            if not owner.isdigit() or left.stat().st_uid != os.geteuid() or _is_alive(int(owner)):
                continue
            for process in Path("/proc").glob("[0-9]*/environ"):
                with contextlib.suppress(OSError):
                    if f"{MARK}={left}".encode() in process.read_bytes().split(b"\0"):
                        os.kill(int(process.parent.name), signal.SIGKILL)
            shutil.rmtree(left, ignore_errors=True)
            swept.append(str(left))
    return swept


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def command(entry: Entry, play: Play) -> list[str]:
    """The command line of the check in this play."""
    return [*play.before, sys.executable, roster.file_of(entry), *play.arguments]


def checked(entry: Entry, play: Play, box: Sandbox) -> Visit:
    """One run of the real check."""
    if play.is_first_look:
        shutil.rmtree(box.environment()["TWICESHY_STATE_DIR"], ignore_errors=True)
    try:
        done = subprocess.run(
            command(entry, play),
            env={**box.environment(), **play.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{entry.program} did not exit within 1m, in spite of its -t") from None
    heed()
    return rounds.visit_of(entry.name, done.returncode, done.stdout.decode("utf-8", "replace"))


def until(
    states: Sequence[State], entry: Entry, play: Play, box: Sandbox, what: str
) -> tuple[Visit, float]:
    """Run the check until it has one of `states`; the visit, and the seconds that it took."""
    began = time.monotonic()
    while True:
        begins = time.monotonic()
        visit = checked(entry, play, box)
        took = time.monotonic() - began
        if visit.state in states:
            return visit, took
        if took > play.patience_seconds:
            raise Failed(
                f"after {what}, the check was not {' or '.join(str(state) for state in states)} "
                f"within {units.say_duration(took)}; it reports {visit.state}: {visit.text}"
            )
        # The check may have taken longer than its pause.
        time.sleep(max(0.0, play.every_seconds - (time.monotonic() - begins)))

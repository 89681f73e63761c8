"""The rounds: every check that applies to this host, each with its defaults.

The libraries that the checks share are imported once; each check then runs in a forked child with
its own deadline, so that one that crashes, hangs or calls exit costs only its own line. What a
check prints is what a monitoring system would have seen of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import gc
import importlib
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import twiceshy
from twiceshy.command import roster
from twiceshy.command.roster import Entry
from twiceshy.kit import deadline, history, options, units, verdict
from twiceshy.kit.limits import plain
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.kit.stamps import seconds_between

STATE_OF_STATUS = {0: OK, 1: WARNING, 2: CRITICAL, 3: UNKNOWN}

# A check ends by itself at its own -t; what is still there after this much more is killed.
GRACE_SECONDS = 2.0
AT_ONCE = 8
OUTPUT_BYTES = 64 * 1024
REMIND_SECONDS = 86400.0


@dataclass(frozen=True)
class Perfdatum:
    """One number of a check, as it stood in its perfdata."""

    label: str
    value: float
    uom: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Visit:
    """What came of one check: `state` is None when it does not apply, then `text` says why not."""

    name: str
    state: State | None
    text: str
    long: tuple[str, ...] = ()
    perfdata: tuple[Perfdatum, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0


# What is run


@dataclass
class _Running:
    entry: Entry
    pid: int
    began: float
    output_pipe: int
    excuse_pipe: int
    output: bytes = b""
    excuse: bytes = b""


def visits(
    entries: Sequence[Entry], arguments: Sequence[str], seconds: float
) -> Iterator[Visit | list[str]]:
    """Run the checks, at most eight at once, and yield each visit as it ends.

    Yields the names of those that are still waited for whenever that changes. `arguments` go to
    every check, `seconds` is the -t they hold.
    """
    _share_imports()
    waiting = list(entries)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(_started(waiting.pop(0), arguments))
            yield [one.entry.name for one in running] + [entry.name for entry in waiting]
            for one, visit in _ended(running, seconds + GRACE_SECONDS):
                running.remove(one)
                yield visit
    finally:
        for one in running:
            _kill(one.pid)
            os.waitpid(one.pid, 0)


# What most checks import sooner or later; once here is cheaper than once in each child.
SHARED = ("hashlib", "heapq", "shlex", "subprocess", "concurrent.futures", "glob", "grp")


def _share_imports() -> None:
    """Import what the children will share, and keep the collector off its memory pages.

    A collection in a child would write into every object's header, and so copy every page; and
    for lives this short there is little to collect.
    """
    for module in SHARED:
        importlib.import_module(module)
    gc.freeze()
    gc.set_threshold(50_000)


def _started(entry: Entry, arguments: Sequence[str]) -> _Running:
    said, say = os.pipe2(os.O_CLOEXEC)
    excused, excuse = os.pipe2(os.O_CLOEXEC)
    # A Ctrl-C that comes while Python forks would be lost in one of its at-fork hooks.
    signal.pthread_sigmask(signal.SIG_BLOCK, deadline.Deadline.SIGNALS)
    pid = os.fork()
    if pid == 0:
        _visit_and_leave(entry, arguments, say, excuse)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, deadline.Deadline.SIGNALS)
    os.close(say)
    os.close(excuse)
    for reads in (said, excused):
        fcntl.fcntl(reads, fcntl.F_SETFL, os.O_NONBLOCK)
    return _Running(entry, pid, time.monotonic(), said, excused)


def _visit_and_leave(entry: Entry, arguments: Sequence[str], say: int, excuse: int) -> None:
    """The child's life: a check as if it had been started from a command line. Never returns."""
    status = 70
    try:
        os.setsid()  # what it starts can then be ended together with it
        signal.set_wakeup_fd(-1)
        for number in deadline.Deadline.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, deadline.Deadline.SIGNALS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(say, 1)
        os.dup2(nowhere, 2)
        sys.argv = [entry.program, *arguments]
        status = _as_a_process(entry, excuse)
    except BaseException as error:  # noqa: BLE001 - whatever a check does, it does not come back
        with contextlib.suppress(BaseException):
            os.write(1, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _as_a_process(entry: Entry, excuse: int) -> int:
    def main() -> None:
        check = roster.load(entry)
        reason = roster.why_not(check)
        if reason:
            os.write(excuse, reason.encode("utf-8", "replace")[:4000])
            return
        check.main()

    main.__module__ = entry.program  # the name that begins the line of an internal error
    try:
        guarded(main)()
    except SystemExit as left:
        if sys.stdout is not None:  # a check that prints and exits without the kit
            sys.stdout.flush()
        if left.code is None:
            return 0
        return left.code if isinstance(left.code, int) else 1
    if sys.stdout is not None:
        sys.stdout.flush()
    return 0


def _ended(running: list[_Running], seconds: float) -> Iterator[tuple[_Running, Visit]]:
    """Wait for a moment, read what was printed, and yield those that have ended."""
    descriptors = [fd for one in running for fd in (one.output_pipe, one.excuse_pipe) if fd >= 0]
    # With all pipes closed nothing wakes us but the clock: an exit follows within milliseconds.
    ready = select.select(descriptors, [], [], 0.05 if descriptors else 0.005)[0]
    for one in list(running):
        if one.output_pipe in ready:
            one.output_pipe, one.output = _read(one.output_pipe, one.output)
        if one.excuse_pipe in ready:
            one.excuse_pipe, one.excuse = _read(one.excuse_pipe, one.excuse)
        pid, status, usage = os.wait4(one.pid, os.WNOHANG)
        late = ""
        if pid == 0 and time.monotonic() - one.began > seconds:
            late = f"did not exit within {units.say_duration(seconds)} and was killed"
            _kill(one.pid)
            pid, status, usage = os.wait4(one.pid, 0)
        if pid:
            # A grandchild may hold the pipe open for ever; what is in it now is all there is.
            if one.output_pipe >= 0:
                one.output_pipe, one.output = _read(one.output_pipe, one.output)
            if one.excuse_pipe >= 0:
                one.excuse_pipe, one.excuse = _read(one.excuse_pipe, one.excuse)
            for left in (one.output_pipe, one.excuse_pipe):
                if left >= 0:
                    os.close(left)
            _kill(one.pid)
            visit = visit_of(
                one.entry.name,
                os.waitstatus_to_exitcode(status),
                one.output.decode("utf-8", "replace"),
                one.excuse.decode("utf-8", "replace"),
                late,
            )
            yield (
                one,
                dataclasses.replace(
                    visit,
                    seconds=time.monotonic() - one.began,
                    cpu_seconds=usage.ru_utime + usage.ru_stime,
                ),
            )


def _read(descriptor: int, so_far: bytes) -> tuple[int, bytes]:
    """What a pipe has; the descriptor becomes -1 when its other end is closed."""
    try:
        while True:
            piece = os.read(descriptor, 65536)
            if not piece:
                os.close(descriptor)
                return -1, so_far
            so_far = (so_far + piece)[:OUTPUT_BYTES]
    except BlockingIOError:
        return descriptor, so_far


def _kill(leader: int) -> None:
    """SIGKILL to a check and all that it started and that stayed in its session's group."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


# What it means


def visit_of(name: str, status: int, output: str, excuse: str = "", late: str = "") -> Visit:
    """A visit from what a process left behind: exit status (negative: a signal) and output."""
    if excuse and status == 0 and not output:
        return Visit(name, None, verdict.safe(excuse))
    words, _, numbers = output.partition("|")
    first, *long = [line for line in words.strip().splitlines() if line.strip()] or [""]
    match = re.match(r"[A-Z0-9_]+ (?:OK|WARNING|CRITICAL|UNKNOWN)(?: - )?(.*)", first)
    text = verdict.safe(match[1] if match else first, 400)
    state = STATE_OF_STATUS.get(status, UNKNOWN)
    if late:
        state, text = UNKNOWN, late
    elif status < 0:
        state, text = UNKNOWN, f"crashed: {_signal_name(-status)}"
    elif status not in STATE_OF_STATUS:
        state, text = UNKNOWN, f"exited with status {status}: {text or 'no output'}"
    elif not match:
        state, text = UNKNOWN, f"printed no state (exit {status}): {text or 'no output'}"
    return Visit(
        name, state, text, tuple(verdict.safe(line, 400) for line in long), perfdata(numbers)
    )


def _signal_name(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}"


def perfdata(text: str) -> tuple[Perfdatum, ...]:
    """The numbers in `label=value[uom];warn;crit;min;max ...`; what is not one is left out."""
    found = []
    for item in text.split():
        label, _, rest = item.partition("=")
        value, *limits = rest.split(";")
        match = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)([A-Za-z%]*)", value)
        if label and match:
            limits = (limits + [""] * 4)[:4]
            found.append(Perfdatum(label, float(match[1]), match[2], tuple(limits)))
    return tuple(found)


def worst(found: Sequence[Visit]) -> State:
    """CRITICAL > WARNING > UNKNOWN > OK over what applies; UNKNOWN when nothing does."""
    states = [visit.state for visit in found if visit.state is not None]
    return max(states, key=verdict.SEVERITY.index) if states else UNKNOWN


def in_order(found: Sequence[Visit]) -> list[Visit]:
    """Worst first, then by name; what does not apply comes last."""
    return sorted(
        found,
        key=lambda visit: (
            -verdict.SEVERITY.index(visit.state) if visit.state is not None else 1,
            visit.name,
        ),
    )


def is_news(found: Sequence[Visit], before: dict[str, str] | None, silent_seconds: float) -> bool:
    """Whether a state has changed since the last report, or the last one is a day old and red."""
    now = {visit.name: str(visit.state) for visit in found if visit.state is not None}
    if before is None:
        return any(state != "ok" for state in now.values())
    if any(before.get(name, "ok") != state for name, state in now.items()):
        return True
    return silent_seconds >= REMIND_SECONDS and any(state != "ok" for state in now.values())


# How it is shown

COLOURS = {OK: "\033[32m", WARNING: "\033[33m", CRITICAL: "\033[31;1m", UNKNOWN: "\033[35m"}
DIM, PLAIN, ERASE = "\033[2m", "\033[0m", "\r\033[K"


def table(
    found: Sequence[Visit], seconds: float, *, width: int, colour: bool, verbose: int = 0
) -> str:
    """The rounds for people: one line per check, wrapped to `width`, with the next step if red."""
    import textwrap

    ordered = in_order(found)
    names = max([len(visit.name) for visit in ordered] + [4])
    margin = 2 + 8 + 2 + names + 2
    lines = []
    for visit in ordered:
        word = str(visit.state).upper() if visit.state is not None else "-"
        shown = f"{word:8}"
        if colour:
            shown = f"{COLOURS[visit.state] if visit.state is not None else DIM}{shown}{PLAIN}"
        text = visit.text if visit.state is not None else f"does not apply: {visit.text}"
        wrapped = textwrap.wrap(text, max(30, width - margin)) or [""]
        lines.append(f"  {shown}  {visit.name:{names}}  {wrapped[0]}")
        lines += [" " * margin + more for more in wrapped[1:]]
        red = visit.state is not None and visit.state is not OK
        for more in visit.long:
            if verbose or (red and more.startswith("Next: ")):
                lines.append(" " * margin + more)
        if verbose and visit.perfdata:
            numbers = [
                f"{number.label}={plain(number.value)}{number.uom}" for number in visit.perfdata
            ]
            lines += textwrap.wrap(
                " ".join(numbers), max(30, width - margin), initial_indent=" " * margin,
                subsequent_indent=" " * margin, break_on_hyphens=False, break_long_words=False,
            )  # fmt: skip
    applying = [visit for visit in found if visit.state is not None]
    cpu = sum(visit.cpu_seconds for visit in found)
    state = worst(found)
    word = str(state).upper()
    lines.append("")
    lines.append(
        f"  {COLOURS[state] + word + PLAIN if colour else word}: {len(applying)} "
        f"check{'' if len(applying) == 1 else 's'} on {os.uname().nodename} "
        f"in {units.say_duration(seconds)} ({units.say_duration(cpu)} of CPU)"
        + ("" if applying else "; no check applies to this host")
    )
    return "\n".join(lines)


def hints(found: Sequence[Visit], called: str) -> list[str]:
    """What to try next, for somebody who has just met these checks. `called`: the command."""
    lines = []
    if not any(visit.state is not None for visit in found):
        lines.append("Nothing that these checks watch runs on this host.")
    return [
        *lines,
        f"{called} drill all       stages each check's own outage in a sandbox: red, then green",
        f"{called} define nagios   writes definitions for your monitoring (icinga2, sensu, ...)",
        f"{called} --help          shows everything else",
    ]


def as_json(found: Sequence[Visit], seconds: float) -> dict[str, Any]:
    """The rounds for programs."""
    state = worst(found)
    return {
        "twiceshy": twiceshy.__version__,
        "host": os.uname().nodename,
        "time": round(time.time(), 3),
        "state": str(state),
        "status": int(state),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(sum(visit.cpu_seconds for visit in found), 3),
        "checks": [
            {
                "name": visit.name,
                "state": str(visit.state),
                "status": int(visit.state),
                "text": visit.text,
                "long": list(visit.long),
                "perfdata": [
                    {
                        "label": number.label,
                        "value": number.value,
                        "uom": number.uom,
                        **dict(zip(("warn", "crit", "min", "max"), number.limits)),
                    }
                    for number in visit.perfdata
                ],
                "seconds": round(visit.seconds, 3),
                "cpu_seconds": round(visit.cpu_seconds, 3),
            }
            for visit in in_order(found)
            if visit.state is not None
        ],
        "not_applicable": {visit.name: visit.text for visit in found if visit.state is None},
    }


def make(
    entries: Sequence[Entry],
    arguments: Sequence[str] = (),
    seconds: float = 10.0,
    progress: Callable[[list[str]], None] = lambda names: None,
) -> list[Visit]:
    """All visits; `progress` gets the names of those still waited for."""
    found = []
    for event in visits(entries, arguments, seconds):
        if isinstance(event, Visit):
            found.append(event)
        else:
            progress(event)
    return found


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of the rounds."""
    to.add_argument(
        "checks",
        nargs="*",
        metavar="CHECK",
        help="run only these checks (default: all that apply to this host)",
    )
    to.add_argument("--json", action="store_true", help="print JSON, for programs")
    to.add_argument(
        "--news",
        action="store_true",
        help="print only when a state has changed since the last --news, or once a day while "
        "something is wrong: for cron, which mails whatever is printed",
    )
    to.add_argument(
        "-t",
        "--timeout",
        type=options.positive_duration,
        default="10s",
        metavar="DURATION",
        help="the timeout of each check (default: 10s)",
    )
    to.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="show the long output and the perfdata of each check",
    )


def run(args: argparse.Namespace) -> int:
    """Make the rounds, report them, and return the worst state as exit status."""
    entries = roster.chosen(args.checks)
    if not entries:
        raise CheckError("no check is installed; reinstall twiceshy")
    terminal = sys.stdout.isatty()
    arguments = ["-t", f"{args.timeout:g}s"] + ["-v"] * args.verbose
    width = (os.get_terminal_size(1).columns or 80) if terminal else 100

    def progress(names: list[str]) -> None:
        line = f"  waiting for {', '.join(names)} ..."
        sys.stdout.write(ERASE + line[: width - 1])
        sys.stdout.flush()

    quiet = args.json or args.news or not terminal
    began = time.monotonic()
    try:
        found = make(entries, arguments, args.timeout, (lambda names: None) if quiet else progress)
    finally:
        if not quiet:
            sys.stdout.write(ERASE)
            sys.stdout.flush()
    took = time.monotonic() - began
    if args.news and not _note_news(found):
        return int(worst(found))
    if args.json:
        import json

        print(json.dumps(as_json(found, took), indent=2))
    else:
        # https://no-color.org: present and not empty
        colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        print(table(found, took, width=width, colour=colour, verbose=args.verbose))
        nothing = not any(visit.state is not None for visit in found)
        if not args.checks and not args.news and (nothing or roster.is_checkout()):
            called = "./try" if roster.is_checkout() else "twiceshy"
            print("\n".join(["", *(f"  {line}" for line in hints(found, called))]))
    return int(worst(found))


def _note_news(found: Sequence[Visit]) -> bool:
    """Whether there is something that was not reported before; remembers it as reported.

    What cannot be remembered is reported every time: better twice than never.
    """
    at = history.now()
    with history.History.open("rounds") as kept:
        before = dict(kept.notes()).get("told")
        states = before.value if before else None
        silent = seconds_between(before.at, at) if before else 0.0
        news = is_news(found, states, silent)
        if news or before is None:
            now = {visit.name: str(visit.state) for visit in found if visit.state is not None}
            kept.write_note("told", now, at)
        return news if kept.save() is None else news or worst(found) is not OK

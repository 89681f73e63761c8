"""The option parser that all checks share: one spelling everywhere, and errors that help.

argparse on its own exits 2 for a bad option, which is CRITICAL, says so on stderr, which no
monitoring system shows, and takes any prefix of an option, which changes meaning with the next
release. Here every error is one line on stdout and exit 3. So are `--help` and `--version` (exit
3): a command line mangled into them must not look green.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from pathlib import Path
from typing import Any, Callable, NoReturn, TypeVar

import twiceshy
from twiceshy.kit import limits, patterns, plugin, units
from twiceshy.kit.plugin import UNKNOWN_STATUS, CheckError, leave, name_of
from twiceshy.kit.verdict import safe

Value = TypeVar("Value")
EVERY_CHECK_HAS = "options of every check"  # the title of the group of options that parser() adds


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The manual as it was written, and options in a column that leaves room for words."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def _split_lines(self, text: str, width: int) -> list[str]:
        # at blanks only: "sensu-backend" is one name, and "--state-dir" one option
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that speaks to monitoring systems: one line on stdout, exit 3."""

    def error(self, message: str) -> NoReturn:
        leave(
            f"{name_of(self.prog)} UNKNOWN - {safe(message, 500)} (try {self.prog} --help)",
            UNKNOWN_STATUS,
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        leave(message or "", UNKNOWN_STATUS)

    def print_help(self, file: Any = None) -> None:
        leave(self.format_help(), UNKNOWN_STATUS)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        leave(f"{parser.prog} {twiceshy.__version__}", UNKNOWN_STATUS)


def parser(name: str, doc: str | None) -> Parser:
    """The parser of `check_NAME`, with the options that every check has; `doc` is its manual."""
    made = Parser(
        prog=f"check_{name}",
        description=doc,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    made._optionals.title = "options"  # Python 3.9 says "optional arguments"
    common = made.add_argument_group(EVERY_CHECK_HAS)
    common.add_argument(
        "-t",
        "--timeout",
        type=positive_duration,
        default="10s",
        metavar="DURATION",
        help="exit UNKNOWN after this long, and say what the check was waiting for (default: 10s)",
    )
    common.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="show more of the long output and all perfdata, up to 8 KiB; -vvv adds tracebacks",
    )
    common.add_argument(
        "-V", "--version", nargs=0, action=_Version, help="print the version and exit 3"
    )
    common.add_argument("-h", "--help", action="help", help="print this manual and exit 3")
    return made


def add_limits(
    to: argparse._ActionsContainer,
    *,
    warning: str | None,
    critical: str | None,
    what: str,
    unit: units.Unit = units.number,
    lower_is_worse: bool = False,
) -> None:
    """-w and -c, Nagios ranges in `unit`; `what` is measured, with its unit, for the help."""
    group = to.add_argument_group("limits")
    for flag, option, default in (("-w", "--warning", warning), ("-c", "--critical", critical)):
        group.add_argument(
            flag,
            option,
            type=limit(unit, lower_is_worse),
            default=default,
            metavar="RANGE",
            help=f"{option[2:].upper()} when {what} is "
            + ("below" if lower_is_worse else "outside")
            + f" this range (default: {default or 'none'})",
        )


def add_state_dir(to: argparse._ActionsContainer) -> None:
    """--state-dir, where the history is kept."""
    to.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="directory of the history (default: $TWICESHY_STATE_DIR, /var/lib/twiceshy if it "
        "belongs to this user, $XDG_STATE_HOME/twiceshy or ~/.local/state/twiceshy)",
    )


def add_learning(to: argparse._ActionsContainer) -> None:
    """--learning, the state while there is too little history."""
    to.add_argument(
        "--learning",
        type=learning_state,
        default="ok",
        metavar="STATE",
        help="state while there is too little history to judge: ok or unknown (default: ok)",
    )


def add_missing(to: argparse._ActionsContainer, default: str = "critical") -> None:
    """--missing, the state for a watched thing that is absent."""
    to.add_argument(
        "--missing",
        type=state,
        default=default,
        metavar="STATE",
        help="state when something requested by name does not exist: ok, warning, critical or "
        f"unknown (default: {default})",
    )


def add_selectors(
    to: argparse._ActionsContainer, what: str, include: str = "", exclude: str = ""
) -> None:
    """--include and --exclude, repeatable; `what` they select, in the plural.

    `include`, `exclude`: the help of either in other words.
    """
    for option, words in (
        ("--include", include or f"check only these {what}"),
        ("--exclude", exclude or f"skip these {what}"),
    ):
        to.add_argument(
            option,
            action="append",
            type=pattern,
            default=[],
            metavar="PATTERN",
            help=f"{words}: a glob, or re:REGEX; repeatable",
        )


# Types for add_argument


def argument(reading: Callable[[str], Value]) -> Callable[[str], Value]:
    """A reading as an argparse type that shows the sentence of its ValueError."""

    def typed(text: str) -> Value:
        try:
            return reading(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def _positive(text: str) -> float:
    seconds = units.duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a positive duration")
    return seconds


def _learning_state(text: str) -> plugin.State:
    if text not in ("ok", "unknown"):
        raise ValueError(f"{text!r} is neither ok nor unknown")
    return plugin.state(text)


duration = argument(units.duration)
positive_duration = argument(_positive)
size = argument(units.size)
state = argument(plugin.state)
learning_state = argument(_learning_state)
pattern = argument(patterns.pattern)


def limit(
    unit: units.Unit = units.number, lower_is_worse: bool = False
) -> Callable[[str], limits.Limit]:
    """The argparse type of a Nagios range in `unit`."""
    return argument(lambda text: limits.Limit.parse(text, unit, lower_is_worse))


def secret(file: Path | None, variable: str) -> str | None:
    """A password from the first line of a file or from an environment variable; None without both.

    A command line is world-readable in /proc, so no option takes one. CheckError if the file cannot
    be read or is empty.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CheckError(
            f"secret file {safe(str(file))} cannot be read: {reason}; make it readable by the "
            "check's user only"
        ) from error
    if not lines or not lines[0].strip():
        raise CheckError(f"secret file {safe(str(file))} is empty")
    return lines[0].strip()

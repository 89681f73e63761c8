"""twiceshy makes the rounds: every check that applies to this host, with no configuration.

And what goes with them: definitions for the monitoring system in use, drills of every check's own
outage, pictures of what they remember, completion and man pages. `twiceshy` alone is the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, Callable, NoReturn

import twiceshy
from twiceshy.kit import deadline
from twiceshy.kit.plugin import UNKNOWN_STATUS, CheckError, hold_standard_streams

# Word, the module with add_arguments() and run(), and what it is for. A module is imported only
# when its word is typed, so that the rounds stay quick.
COMMANDS = {
    "rounds": ("twiceshy.command.rounds", "make the rounds of this host (the default)"),
    "define": ("twiceshy.command.define", "write ready definitions for a monitoring system"),
    "metrics": (
        "twiceshy.command.metrics",
        "the rounds as Prometheus metrics (textfile collector)",
    ),
    "drill": (
        "twiceshy.command.drill",
        "stage a check's own outage in a sandbox",
    ),
    "plot": ("twiceshy.command.plot", "draw what a check remembers"),
    "history": (
        "twiceshy.command.histories",
        "what the checks remember; forget a subject",
    ),
    "completion": ("twiceshy.command.completion", "print the completion script of a shell"),
    "man": ("twiceshy.command.manpage", "print the man page of twiceshy or of a check"),
}


class Parser(argparse.ArgumentParser):
    """For a command that people type: help is no error, and errors go to stderr.

    Usage errors exit 3 all the same: the rounds may run as a check, and 1 and 2 mean a state.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (try {self.prog} --help)", file=sys.stderr)
        raise SystemExit(UNKNOWN_STATUS)


def parser_of(word: str) -> Parser:
    """The parser of one command, complete with its options."""
    module = importlib.import_module(COMMANDS[word][0])
    if word == "rounds":
        lines = [f"  {name:11} {purpose}" for name, (_, purpose) in COMMANDS.items()]
        made = Parser(
            prog="twiceshy",
            description=__doc__,
            epilog="commands (twiceshy COMMAND --help tells more):\n" + "\n".join(lines) + "\n\n"
            "exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; the worst of all checks, where\n"
            "CRITICAL is worse than WARNING, and WARNING worse than UNKNOWN",
        )
        made.add_argument("-V", "--version", action="version", version=version())
    else:
        made = Parser(prog=f"twiceshy {word}", description=module.__doc__)
    module.add_arguments(made)
    return made


def version() -> str:
    """What --version prints."""
    return f"twiceshy {twiceshy.__version__}"


def dispatched(argv: list[str]) -> int:
    """Run the command that `argv` names, the rounds if it names none."""
    word = argv[0] if argv and argv[0] in COMMANDS else "rounds"
    args = parser_of(word).parse_args(argv[1:] if argv[:1] == [word] else argv)
    run: Callable[[argparse.Namespace], int] = importlib.import_module(COMMANDS[word][0]).run
    return run(args)


def main() -> None:
    """The command."""
    hold_standard_streams()
    try:
        status = dispatched(sys.argv[1:])
        sys.stdout.flush()
    except CheckError as error:
        print(f"twiceshy: {error}", file=sys.stderr)
        status = UNKNOWN_STATUS
    except KeyboardInterrupt:
        deadline.kill_children()
        print("twiceshy: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # twiceshy | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = UNKNOWN_STATUS
    raise SystemExit(status)

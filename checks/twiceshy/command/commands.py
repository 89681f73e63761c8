"""The commands of the command line `twiceshy WORD`, and the parser of each."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any, NoReturn

import twiceshy
from twiceshy.kit.plugin import UNKNOWN_STATUS

MANUAL = """twiceshy runs every check that applies to this host, with no configuration.

Without a command it makes the rounds: it runs the checks. Other commands write definitions for the
monitoring system in use, stage each check's own outage as a drill, draw what the checks remember,
and print completion scripts and man pages.
"""

# Word, the module with add_arguments() and run(), and what it is for. A module is imported only
# when its word is typed, so that the rounds stay quick.
COMMANDS = {
    "rounds": (
        "twiceshy.command.rounds",
        "run every check that applies to this host (the default)",
    ),
    "define": ("twiceshy.command.define", "write ready-made definitions for a monitoring system"),
    "metrics": (
        "twiceshy.command.metrics",
        "print the rounds as Prometheus metrics (for the textfile collector)",
    ),
    "drill": (
        "twiceshy.command.drill",
        "stage a check's own outage in a sandbox",
    ),
    "plot": ("twiceshy.command.plot", "draw what a check remembers"),
    "history": (
        "twiceshy.command.histories",
        "show what the checks remember, or forget a subject",
    ),
    "completion": ("twiceshy.command.completion", "print the completion script of a shell"),
    "man": ("twiceshy.command.manpage", "print the man page of twiceshy or of a check"),
}


class CommandParser(argparse.ArgumentParser):
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


def parser_of(word: str) -> CommandParser:
    """The parser of one command, complete with its options."""
    module = importlib.import_module(COMMANDS[word][0])
    if word == "rounds":
        lines = [f"  {name:11} {purpose}" for name, (_, purpose) in COMMANDS.items()]
        made = CommandParser(
            prog="twiceshy",
            description=MANUAL,
            epilog="commands (see twiceshy COMMAND --help):\n" + "\n".join(lines) + "\n\n"
            "exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; the worst of all checks, where\n"
            "CRITICAL is worse than WARNING, and WARNING worse than UNKNOWN",
        )
        made.add_argument("-V", "--version", action="version", version=version())
    else:
        made = CommandParser(prog=f"twiceshy {word}", description=module.__doc__)
    module.add_arguments(made)
    return made


def version() -> str:
    """What --version prints."""
    return f"twiceshy {twiceshy.__version__}"

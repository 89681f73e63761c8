"""The command `twiceshy`: finds the word, runs it, and turns what goes wrong into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Callable

from twiceshy.command.commands import COMMANDS, parser_of
from twiceshy.kit import deadline
from twiceshy.kit.plugin import UNKNOWN_STATUS, CheckError, hold_standard_streams


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

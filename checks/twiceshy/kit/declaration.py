"""What a check says of itself, read off its own option parser and manual.

Definitions for monitoring systems, shell completion and man pages are all made from this one
declaration, so that none can drift from what the check really takes.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from types import ModuleType

import twiceshy
from twiceshy.kit import units

# What a check may have besides options(), plan() and main(): why it has nothing to do on a host,
# its outage to practise, a picture of its history.
OPTIONAL_PARTS = ("applies", "drill", "picture")


@dataclass(frozen=True)
class Option:
    """One option of a check, or one positional argument (then `flags` is empty).

    `placeholder` is what stands for its value in the help, [FILE] for one that may be left out and
    "" for a switch; `counts` is true for a switch that says more when repeated (-vvv).
    """

    flags: tuple[str, ...]
    name: str
    placeholder: str
    help: str
    default: str
    group: str
    repeatable: bool
    required: bool
    counts: bool
    choices: tuple[str, ...]

    @property
    def long(self) -> str:
        """The long flag where there is one; definitions are read more often than written."""
        return next((flag for flag in self.flags if flag.startswith("--")), *self.flags[:1])

    @property
    def is_path(self) -> bool:
        """Whether its value names a file or directory here."""
        return bool(re.search(r"FILE|DIR|PATH|SOCKET", self.placeholder))


@dataclass(frozen=True)
class Declaration:
    """A check: its names, the question it answers, its manual, its options, how often to ask.

    `parts`: those of the functions that a check may do without which it has. `url`: its manual page
    with the runbook, "" for a check of somebody else that does not name one in its URL.
    """

    name: str
    program: str
    question: str
    manual: str
    usage: str
    options: tuple[Option, ...]
    every_seconds: int
    parts: tuple[str, ...] = ()
    url: str = ""

    @property
    def command(self) -> str:
        """What it is called as a command."""
        return f"check_{self.name}"

    @property
    def settings(self) -> tuple[Option, ...]:
        """The options that a definition may set: not help and version."""
        return tuple(
            option for option in self.options if not {"--help", "--version"} & set(option.flags)
        )


def manual_url(name: str, check: ModuleType) -> str:
    """The published manual page of a check of ours; "" for one of another package."""
    ours = check.__name__.startswith("twiceshy.")
    return f"{twiceshy.__url__}check_{name}/" if ours else ""


def declared(name: str, check: ModuleType, program: str = "") -> Declaration:
    """The declaration of a check module, from its options(), its docstring and its EVERY."""
    parser: argparse.ArgumentParser = check.options()
    manual = (check.__doc__ or "").strip()
    return Declaration(
        name=name,
        program=program,
        question=manual.partition("\n")[0],
        manual=manual,
        usage=" ".join(parser.format_usage().split()),
        options=read(parser),
        every_seconds=int(units.duration(getattr(check, "EVERY", "1m"))),
        parts=tuple(part for part in OPTIONAL_PARTS if hasattr(check, part)),
        url=getattr(check, "URL", "") or manual_url(name, check),
    )


def read(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    """The options of a parser, in the order of its help."""
    options = []
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.help is argparse.SUPPRESS:
                continue
            takes_value = action.nargs != 0
            choices = tuple(str(choice) for choice in action.choices or ())
            options.append(
                Option(
                    flags=tuple(action.option_strings),
                    name=action.dest,
                    placeholder=_placeholder(action, choices) if takes_value else "",
                    help=" ".join(_expanded(action, parser).split()),
                    default="" if action.default in (None, [], (), False, 0) or not takes_value
                    else str(action.default),
                    group=group.title or "",
                    repeatable=isinstance(action, argparse._AppendAction)
                    or action.nargs in ("*", "+"),
                    required=action.required,
                    counts=isinstance(action, argparse._CountAction),
                    choices=choices,
                )
            )  # fmt: skip
    return tuple(options)


def _placeholder(action: argparse.Action, choices: tuple[str, ...]) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else ""
    shown = shown or f"{{{','.join(choices)}}}" * bool(choices)
    shown = shown or action.dest.upper().replace("_", "-")
    return f"[{shown}]" if action.option_strings and action.nargs == "?" else shown


def _expanded(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    words = {**vars(action), "prog": parser.prog}
    return (action.help or "") % words

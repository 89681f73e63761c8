"""Print a man page, generated from a check's manual and options, as plain troff (man(7)).

twiceshy man check_flapping | man -l -

The .deb and .rpm packages install them; after pip or pipx, this is how to read them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

import twiceshy
from twiceshy.command import roster
from twiceshy.kit import declaration
from twiceshy.kit.declaration import Option
from twiceshy.kit.plugin import CheckError

# "Learned from: ..." and "Says:" at the margin begin a part of their own.
TITLE = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?):(?: (.*))?$")


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy man`."""
    to.formatter_class = argparse.RawDescriptionHelpFormatter
    to.add_argument(
        "name",
        nargs="?",
        default="twiceshy",
        metavar="NAME",
        help="twiceshy or the name of a check (default: twiceshy)",
    )


def run(args: argparse.Namespace) -> int:
    """Print a man page."""
    if args.name == "twiceshy":
        sys.stdout.write(own_page())
        return 0
    checks, reasons = roster.declare(roster.chosen([args.name]))
    if not checks:
        raise CheckError(f"{args.name} {next(iter(reasons.values()), 'cannot be read')}")
    check = checks[0]
    sys.stdout.write(page(check.command, check.question, check.usage, check.manual, check.options))
    return 0


def own_page() -> str:
    """twiceshy(1), with a section for each command."""
    from twiceshy.command import commands as command

    parts = [
        page(
            "twiceshy",
            "run every check that applies to this host, and more",
            " ".join(command.parser_of("rounds").format_usage().split()),
            command.MANUAL,
            declaration.read(command.parser_of("rounds")),
        )
    ]
    for word, (_, purpose) in command.COMMANDS.items():
        if word != "rounds":
            parser = command.parser_of(word)
            parts.append(f'.SH "TWICESHY {word.upper()}"\n{_text(purpose)}.\n')
            parts.append(f".PP\n{_text(' '.join(parser.format_usage().split()))}\n")
            parts.append(_options(declaration.read(parser)))
    parts.append(
        '.SH "EXIT STATUS"\n0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: the worst of all checks, where '
        "CRITICAL is worse than WARNING, and WARNING worse than UNKNOWN.\n"
    )
    return "".join(parts)


def page(name: str, purpose: str, usage: str, manual: str, options: Sequence[Option]) -> str:
    """A man page: pure."""
    synopsis = re.sub(r"^usage: ", "", usage)
    return (
        f'.TH {_text(name).upper()} 1 "" "twiceshy {twiceshy.__version__}" "Monitoring plugins"\n'
        f".SH NAME\n{_text(name)} \\- {_text(purpose)}\n"
        f".SH SYNOPSIS\n{_text(synopsis)}\n"
        ".SH DESCRIPTION\n" + _manual(manual) + ".SH OPTIONS\n" + _options(options)
    )


def _manual(manual: str) -> str:
    """The docstring: paragraphs are filled; the indented parts below a title stay as they are."""
    lines: list[str] = []
    literal = False
    for line in manual.strip().splitlines()[1:] or [manual]:
        title = TITLE.match(line)
        if title:
            if literal:
                lines.append(".fi")
            lines.append(f'.SH "{_text(title[1].upper())}"')
            lines.append(".nf")
            literal = True
            if title[2]:
                lines.append(_line(title[2]))
        elif not line.strip():
            lines.append(".PP" if not literal else "")
        else:
            lines.append(_line(line[2:] if literal and line.startswith("  ") else line))
    if literal:
        lines.append(".fi")
    return "\n".join(lines).strip("\n") + "\n"


def _options(options: Sequence[Option]) -> str:
    parts, group = [], ""
    for option in options:
        if option.group != group:
            group = option.group
            parts.append(f'.SS "{_text(group)}"\n')
        flags = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in option.flags)
        value = f"\\fI{_text(option.placeholder)}\\fR" if option.placeholder else ""
        parts.append(f".TP\n{' '.join(part for part in (flags, value) if part)}\n")
        parts.append(f"{_line(option.help)}\n")
    return "".join(parts)


def _text(text: str) -> str:
    """Text in troff: hyphens that can be copied, quotes that end no argument."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")


def _line(text: str) -> str:
    """A line of text; a dot or an apostrophe at its start would be a request."""
    return ("\\&" if text[:1] in (".", "'") else "") + _text(text)

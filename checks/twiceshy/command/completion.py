"""Print the completion script of bash or zsh, for the options of twiceshy and its checks.

twiceshy completion bash > /etc/bash_completion.d/twiceshy
twiceshy completion zsh > "${fpath[1]}/_twiceshy"

The .deb and .rpm packages install both.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence

from twiceshy.command import roster
from twiceshy.command.commands import COMMANDS, parser_of
from twiceshy.kit import declaration
from twiceshy.kit.declaration import Option

SHELLS = ("bash", "zsh")


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy completion`."""
    to.formatter_class = argparse.RawDescriptionHelpFormatter
    to.add_argument("shell", choices=SHELLS, help="the shell to print the script for")


def run(args: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    checks, _ = roster.declare(roster.found())
    commands = {word: declaration.read(parser_of(word)) for word in COMMANDS}
    programs = {check.command: check.options for check in checks}
    names = [check.name for check in checks]
    make = bash if args.shell == "bash" else zsh
    sys.stdout.write(make(programs, commands, names))
    return 0


def _values(option: Option, names: Sequence[str]) -> Sequence[str]:
    """The values that an option or a positional argument takes, if that is a closed list."""
    if option.choices:
        return option.choices
    if option.placeholder == "STATE":
        return ("ok", "warning", "critical", "unknown")
    return names if option.placeholder == "CHECK" else ()


def bash(
    programs: Mapping[str, Sequence[Option]],
    commands: Mapping[str, Sequence[Option]],
    names: Sequence[str],
) -> str:
    """One function for twiceshy and one for the checks."""
    lines = [
        "# bash completion of twiceshy and its checks, written by `twiceshy completion bash`",
        "_twiceshy_words() {  # COMMAND: its options, positional words, and those that take files",
        "    case $1 in",
    ]
    for name, options in [*commands.items(), *programs.items()]:
        flags = [flag for option in options for flag in option.flags]
        words = [word for option in options if not option.flags for word in _values(option, names)]
        if name == "rounds":
            words += [word for word in commands if word != "rounds"]
        if name == "drill":
            words.append("all")
        lines.append(f"    {name}) echo {shlex.quote(' '.join([*flags, *words]))} ;;")
    lines += ["    esac", "}", "_twiceshy_values() {  # COMMAND OPTION", '    case "$1 $2" in']
    for name, options in [*commands.items(), *programs.items()]:
        for option in options:
            if option.flags and option.placeholder:
                values = _values(option, names)
                answer = "FILES" if option.is_path and not values else " ".join(values) or "ANY"
                patterns = "|".join(f'"{name} {flag}"' for flag in option.flags)
                lines.append(f"    {patterns}) echo {shlex.quote(answer)} ;;")
    lines += [
        "    esac",
        "}",
        "_twiceshy() {",
        "    local command=${COMP_WORDS[0]##*/} current=${COMP_WORDS[COMP_CWORD]}",
        "    local previous=${COMP_WORDS[COMP_CWORD-1]} values",
        "    command=${command%.py}",
        '    if [ "$command" = twiceshy ]; then',
        "        command=rounds",
        f"        case ${{COMP_WORDS[1]}} in {'|'.join(commands)})",
        '            [ "$COMP_CWORD" -gt 1 ] && command=${COMP_WORDS[1]} ;;',
        "        esac",
        "    fi",
        '    values=$(_twiceshy_values "$command" "$previous")',
        "    case $values in",
        "    FILES) compopt -o filenames 2>/dev/null",
        '        COMPREPLY=($(compgen -f -- "$current")) ;;',
        "    ANY) COMPREPLY=() ;;",
        '    "") COMPREPLY=($(compgen -W "$(_twiceshy_words "$command")" -- "$current")) ;;',
        '    *) COMPREPLY=($(compgen -W "$values" -- "$current")) ;;',
        "    esac",
        "}",
        f"complete -F _twiceshy twiceshy {' '.join(programs)}",
        "",
    ]
    return "\n".join(lines)


def zsh(
    programs: Mapping[str, Sequence[Option]],
    commands: Mapping[str, Sequence[Option]],
    names: Sequence[str],
) -> str:
    """A #compdef file: _arguments specifications with the help texts."""
    lines = [
        f"#compdef twiceshy {' '.join(programs)}",
        "# written by `twiceshy completion zsh`",
        "_twiceshy_of() {",
        "    case $1 in",
    ]
    for name, options in [*commands.items(), *programs.items()]:
        specifications = [spec for option in options for spec in _zsh(option, names)]
        lines.append(f"    {name})")
        lines.append("        _arguments -s \\")
        lines += [f"            {shlex.quote(spec)} \\" for spec in specifications[:-1]]
        lines += [f"            {shlex.quote(spec)}" for spec in specifications[-1:]]
        lines.append("        ;;")
    words = " ".join(word for word in commands if word != "rounds")
    lines += [
        "    esac",
        "}",
        "_twiceshy() {",
        "    local command=${service%.py}",
        '    if [[ $command != twiceshy ]]; then _twiceshy_of "$command"; return; fi',
        f"    local -a words_of=({words})",
        "    if (( CURRENT > 2 )) && (( ${words_of[(Ie)${words[2]}]} )); then",
        "        command=${words[2]}",
        "        shift words; (( CURRENT-- ))",
        '        _twiceshy_of "$command"',
        "    else",
        '        (( CURRENT == 2 )) && compadd -- "${words_of[@]}"',
        "        _twiceshy_of rounds",
        "    fi",
        "}",
        '_twiceshy "$@"',
        "",
    ]
    return "\n".join(lines)


def _zsh(option: Option, names: Sequence[str]) -> list[str]:
    values = _values(option, names)
    offered = f"({' '.join(values)})" if values else "_files" if option.is_path else " "
    if not option.flags:
        return [f"*:{_escaped(option.placeholder)}:{offered}"]
    colon = "::" if option.placeholder.startswith("[") else ":"
    action = f"{colon}{_escaped(option.placeholder)}:{offered}" if option.placeholder else ""
    again = "*" if option.repeatable or option.counts else ""
    return [f"{again}{flag}[{_escaped(option.help)}]{action}" for flag in option.flags]


def _escaped(text: str) -> str:
    """Text that _arguments does not mistake for its own syntax."""
    return re.sub(r"[][:\\]", r"\\\g<0>", text)

"""How the contract suite runs a check: a case says with what arguments, and what it stands for.

Every tests/test_check_NAME.py has for it:

    def contract_case(tmp_path: Path) -> Case      an ordinary run, which ends by itself anywhere
    def hanging_case(tmp_path: Path) -> Case       a run whose other side never answers
    NEVER_WAITS = "it reads two files of /proc"    instead, for a check that waits for nobody
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# label=value[uom];warn;crit;min;max, as draft-kaestle-monitoring-plugins-interface has it, narrowed
# to what Nagios, Icinga 2, Sensu Go and PNP4Nagios all read: unquoted, at least one semicolon.
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?"
PERFDATUM = re.compile(
    rf"(?P<label>[A-Za-z0-9_.-]{{1,80}})=(?P<value>{_NUMBER})(?P<uom>s|B|%|c|)"
    rf";(?P<warn>{_RANGE})?(?:;(?P<crit>{_RANGE})?(?:;(?:{_NUMBER})?(?:;(?:{_NUMBER})?)?)?)?"
)
FIRST_LINE = re.compile(r"(?P<name>[A-Z_]+) (?P<state>OK|WARNING|CRITICAL|UNKNOWN) - (?P<text>.+)")
STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


@dataclass(frozen=True)
class Case:
    """Arguments and environment of a run; `libraries` are those that it cannot do without."""

    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """What a monitoring system understands of an output."""

    name: str
    state: str
    text: str
    long_lines: list[str]
    perfdata: dict[str, tuple[str, str]]


def understood(output: str) -> Told:
    """An output read strictly; AssertionError for whatever a consumer might misread."""
    assert output.endswith("\n")
    assert all(letter.isprintable() or letter == "\n" for letter in output), repr(output)
    assert output.count("|") <= 1
    words, _, perfdata = output.rstrip("\n").partition("|")
    assert "\n" not in perfdata
    first, *long_lines = words.rstrip().split("\n")
    line = FIRST_LINE.fullmatch(first.rstrip())
    assert line, first
    measures = {}
    for item in perfdata.split():
        match = PERFDATUM.fullmatch(item)
        assert match, item
        assert match["label"] not in measures, f"two measures are called {match['label']}"
        measures[match["label"]] = (match["value"], match["uom"])
    return Told(line["name"], line["state"], line["text"], long_lines, measures)


def section(doc: str, title: str) -> list[str]:
    """The indented lines of a manual below `Title:`, without the indentation."""
    lines: list[str] = []
    inside = False
    for line in doc.splitlines():
        if re.match(r"\S", line):
            inside = line.startswith(f"{title}:")
        elif inside:
            lines.append(line[2:])
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def measures(doc: str) -> list[tuple[re.Pattern[str], str]]:
    """The labels that a manual declares, as patterns, each with its unit.

    A line is `label  unit  meaning`; words in capitals stand for the subject, `-` for no unit.
    """
    declared = []
    for line in section(doc, "Measures"):
        match = re.match(r"(\S+) {2,}(s|B|%|c|-)(?: {2,}|$)", line)
        if match:
            pattern = re.sub(
                r"[A-Z]{2,}", "[A-Za-z0-9_.-]+", re.escape(match[1]).replace(r"\-", "-")
            )
            declared.append((re.compile(pattern), match[2].replace("-", "")))
    return declared

#!/usr/bin/env python3
"""What a check of this repository must have, and what to write where it has not.

    tests/completeness.py [NAME...]

`missing(root, name)` looks at a checkout and gives one sentence for each thing that is missing: a
check that nobody can install, find, run as an ordinary user or act upon at night is not finished.
Any Python from 3.9 on will do, without a library.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import house

MANUAL_PARTS = ("Learned from", "Reads", "Remembers", "Says", "Measures", "Examples")
PAGE_PARTS = {
    "The outage": "what was published of it, with the year and the address (an https:// link)",
    "What it reads, and the rights it needs": "as root, and as an ordinary user",
    "Options": "generated",
    "Every way to each state": "a table: state, when, what to do",
    "Perfdata": "generated",
    "Tuning": "which option for which complaint",
    "Runbook": "first line of an alarm -> what it means -> what to type",
    "Known false alarms and how to tell": "or that none is known",
    "What it cannot see": "honestly",
}
# The generated parts of a page, in this order, and the heading that each belongs below.
MARKERS = {
    "Reads": "What it reads, and the rights it needs",
    "Remembers": "What it reads, and the rights it needs",
    "Options": "Options",
    "Examples": "Options",
    "Says": "Every way to each state",
    "Measures": "Perfdata",
}
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# What contrib/new-check leaves where somebody who knows the subject has to write.
MARK = "FILL ME IN"
# Where it leaves a line that names the check.
SHARED = ("README.md", "docs/index.md", "CHANGELOG.md", "tests/live/test_consumers.py")


def missing(root: Path, name: str) -> list[str]:
    """One sentence for each thing that `check_NAME` lacks; empty when it is complete."""
    return [
        *in_the_house(root, name),
        *in_the_program(root, name),
        *in_the_package(root, name),
        *in_the_docs(root, name),
        *in_contrib(root, name),
        *in_the_tests(root, name),
        *not_filled_in(root, name),
    ]


def in_the_house(root: Path, name: str) -> Iterator[str]:
    """The parts of its folder."""
    for complaint in house.missing_parts(root / "checks"):
        if re.match(rf"check_{name}\b", complaint):
            yield complaint


def in_the_program(root: Path, name: str) -> Iterator[str]:
    """Manual, interval, applicability and drill."""
    file = root / f"checks/check_{name}.py"
    if not file.is_file():
        yield f"write checks/check_{name}.py: the manual, options() and the flow of one run"
        return
    if not os.access(file, os.X_OK):
        yield f"chmod +x checks/check_{name}.py"
    tree = ast.parse(file.read_text())
    manual = ast.get_docstring(tree) or ""
    if not manual.partition("\n")[0].endswith("?"):
        yield f"check_{name}.py: the first line of its manual is the question that it answers"
    for part in MANUAL_PARTS:
        text = section(manual, part)
        if not text:
            yield f"check_{name}.py: its manual has no text under `{part}:`"
    said = re.findall(r"^  ([A-Z]+)\b", section(manual, "Says", stripped=False), re.MULTILINE)
    for state in STATES if section(manual, "Says") else ():
        if state not in said:
            yield f"check_{name}.py: `Says:` has no line that begins with {state}: when is it?"
    if len(section(manual, "Learned from").split()) < 8:
        yield f"check_{name}.py: `Learned from:` tells the outage in a sentence, with its year"
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if "applies" not in names:
        yield f'check_{name}.py: applies() says why there is nothing to check on a host, or ""'
    if "EVERY" not in names:
        yield f'check_{name}.py: EVERY = "5m" says how often to run it; definitions use that'
    if "drill" not in names:
        yield (
            f"check_{name}.py: drill() returns a kit.drill.Drill that stages its outage in a "
            "sandbox, for `twiceshy drill`"
        )


def section(manual: str, title: str, stripped: bool = True) -> str:
    """The text of a part of a manual: beside its title and below it."""
    match = re.search(rf"^{title}:(.*(?:\n(?:[ \t].*|$))*)", manual, re.MULTILINE)
    text = match[1] if match else ""
    return text.strip() if stripped else text


def in_the_package(root: Path, name: str) -> Iterator[str]:
    """The one line of registration."""
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    line = f"check_{name} = twiceshy.{name}.program:main"
    if line not in config["options.entry_points"]["console_scripts"].split("\n"):
        yield f"setup.cfg, console_scripts: {line}"


def in_the_docs(root: Path, name: str) -> Iterator[str]:
    """Its page, the rows that lead there, the changelog."""
    page = root / f"docs/check_{name}.md"
    if not page.is_file():
        yield f"write docs/check_{name}.md with the parts: {', '.join(PAGE_PARTS)}"
    else:
        yield from in_the_page(page, name)
    for place, what in (
        ("README.md", "a row in the table of checks"),
        ("docs/index.md", "a row in the table of checks"),
        ("mkdocs.yml", "a line in nav"),
        ("CHANGELOG.md", "what it is, for operators"),
    ):
        file = root / place
        if not file.is_file() or f"check_{name}" not in file.read_text():
            yield f"{place}: {what} for check_{name}"


def in_the_page(page: Path, name: str) -> Iterator[str]:
    """Its parts, its fact box, and the markers between which contrib/generate writes."""
    text, told = page.read_text(), f"docs/check_{name}.md"
    for title, what in PAGE_PARTS.items():
        if not below(text, title).strip():
            yield f"{told}: `## {title}`: {what}"
    if not re.search(r"(?im)^\| *\**needs root\?\** *\|", text.partition("\n## ")[0]):
        yield (
            f"{told}: the fact box has no row `| needs root? | no ...|`, or what it needs it for; "
            "the box is a table between the title and `## The outage`"
        )
    for part, title in MARKERS.items():
        marker = f"<!-- check_{name}: {part} -->"
        if not re.search(rf"^{marker}\n(?s:.*?)<!-- end -->$", below(text, title), re.M):
            yield (
                f"{told}: `## {title}` lacks the lines `{marker}` and `<!-- end -->`: between "
                "them contrib/generate writes that part of the manual"
            )
    found = re.findall(rf"^<!-- check_{name}: (\w+) -->$", text, re.MULTILINE)
    if sorted(found) == sorted(MARKERS) and found != list(MARKERS):
        yield f"{told}: the generated parts come in the order {', '.join(MARKERS)}"


def below(page: str, title: str) -> str:
    """The text of a page below a heading that begins with `title`; "" without one."""
    body = re.search(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return body[1] if body else ""


def in_contrib(root: Path, name: str) -> Iterator[str]:
    """How it is rolled out, and what root must allow."""
    defaults = root / "contrib/ansible/roles/twiceshy/defaults/main.yml"
    if f"- check_{name}\n" not in defaults.read_text():
        yield f"{defaults.relative_to(root)}: twiceshy_checks has no check_{name}"
    sudoers = root / f"contrib/sudoers/twiceshy-{name.replace('_', '-')}"
    page = root / f"docs/check_{name}.md"
    without = page.is_file() and re.search(r"(?i)needs root\?? *\| *\*{0,2}no\b", page.read_text())
    if not sudoers.is_file() and not without:
        yield (
            f"write {sudoers.relative_to(root)}, the least that sudo must allow, or say "
            f"`| needs root? | no ...|` in the fact box of docs/check_{name}.md"
        )


def in_the_tests(root: Path, name: str) -> Iterator[str]:
    """Fast tests with a case for the contract, and live ones against the real thing."""
    for which in ("contract_case", "hanging_case"):
        yield from lacks_case(root, name, which)
        if not test_file(root, name).is_file():
            break
    if not list((root / "tests/live").glob(f"test_{name}*.py")):
        yield f"write tests/live/test_{name}.py: against the real thing, in its real fault"
    consumers = root / "tests/live/test_consumers.py"
    states = cases_of_consumers(consumers.read_text()).get(name, set())
    for state in sorted(set(STATES) - states, key=STATES.index):
        yield f'tests/live/test_consumers.py: CASES["{name}"]["{state}"]: options that lead to it'


def test_file(root: Path, name: str) -> Path:
    """The fast tests of a check."""
    return root / f"tests/test_check_{name}.py"


def lacks_case(root: Path, name: str, which: str) -> Iterator[str]:
    """What to write so that the contract's tests can run the check; nothing if it is there."""
    file = test_file(root, name)
    told = f"tests/{file.name}"
    if not file.is_file():
        yield f"write {told} with contract_case(tmp_path) -> contract.Case"
        return
    text = file.read_text()
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    if which in names:
        return
    if which == "contract_case":
        yield f"{told}: contract_case(tmp_path), an ordinary run"
    elif never_waits(root, name) is None:
        yield (
            f"{told}: hanging_case(tmp_path), a run whose other side never "
            'answers; or NEVER_WAITS = "why there is none"'
        )


def never_waits(root: Path, name: str) -> str | None:
    """Why a check waits for nobody, as its test file says; None if it does not say so."""
    file = test_file(root, name)
    for node in ast.parse(file.read_text()).body if file.is_file() else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NEVER_WAITS":
            return str(ast.literal_eval(node.value))
    return None


def cases_of_consumers(text: str) -> dict[str, set[str]]:
    """The states to which the live tests with monitoring systems lead each check."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CASES":
            cases = ast.literal_eval(node.value)
            return {name: set(states) for name, states in cases.items()}
    return {}


def not_filled_in(root: Path, name: str) -> Iterator[str]:
    """Each place that contrib/new-check has left to fill in; what is generated does not count."""
    folder = root / "checks/twiceshy" / name
    files = [
        root / f"checks/check_{name}.py",
        *(file for file in sorted(folder.rglob("*.py")) if not file.is_symlink()),
        root / f"docs/check_{name}.md",
        test_file(root, name),
        *sorted((root / "tests/live").glob(f"test_{name}*.py")),
    ]
    for file in (*files, *(root / place for place in SHARED)):
        if file.is_file():
            place = str(file.relative_to(root))
            for number, line in enumerate(by_hand(file.read_text()).splitlines(), start=1):
                mine = place not in SHARED or re.search(rf"\bcheck_{name}\b", line)
                if MARK in line and mine:
                    yield f"{place}:{number}: {line[line.index(MARK) :].strip()}"


def by_hand(page: str) -> str:
    """A file without what contrib/generate writes into it, in as many lines."""
    page = re.sub(
        r"^<!-- check_\w+: \w+ -->\n(?s:.*?)<!-- end -->",
        lambda block: "\n" * block[0].count("\n"),
        page,
        flags=re.MULTILINE,
    )
    return re.sub(
        r"^(\| \[check_\w+\]\([^)]+\)) \| [^|\n]+ \|", r"\1 | |", page, flags=re.MULTILINE
    )


def stale(root: Path) -> list[str]:
    """What to run, if what is generated is out of date, and what that is."""
    ran = subprocess.run(
        [sys.executable, root / "contrib/generate", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode == 0:
        return []
    files = ran.stdout.splitlines()[:-1]
    if not files:
        why = (ran.stderr or ran.stdout).strip().rpartition("\n")[2]
        return [f"run contrib/generate; whether it is needed is not known: {why}"]
    return [f"run contrib/generate: {', '.join(files)}: out of date"]


def main() -> int:
    """Say what the named checks lack, or all of them."""
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(
        prog="tests/completeness.py", description="Say what a check of this repository still lacks."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="disk_growth (default: all)")
    names = parser.parse_args().names or house.rooms_of_checks(here / "checks")
    found = dict.fromkeys(sentence for name in names for sentence in missing(here, name))
    complaints = [*found, *stale(here)]
    print("\n".join(complaints) or "nothing is missing")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())

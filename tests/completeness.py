"""What a check of this repository must have, and what to write where it has not.

`missing(root, name)` looks at a checkout and gives one sentence for each thing that is missing: a
check that nobody can install, find, run as an ordinary user or act upon at night is not finished.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import house

MANUAL_PARTS = ("Learned from", "Reads", "Remembers", "Says", "Measures", "Examples")
PAGE_PARTS = {
    "The outage": "what was published of it, with the year and the address",
    "What it reads, and the rights it needs": "as root, and as an ordinary user",
    "Options": "generated",
    "Every way to each state": "a table: state, when, what to do",
    "Perfdata": "generated",
    "Tuning": "which option for which complaint",
    "Runbook": "first line of an alarm -> what it means -> what to type",
    "Known false alarms and how to tell": "or that none is known",
    "What it cannot see": "honestly",
}


def missing(root: Path, name: str) -> list[str]:
    """One sentence for each thing that `check_NAME` lacks; empty when it is complete."""
    return [
        *in_the_house(root, name),
        *in_the_program(root, name),
        *in_the_package(root, name),
        *in_the_docs(root, name),
        *in_contrib(root, name),
        *in_the_tests(root, name),
    ]


def in_the_house(root: Path, name: str) -> Iterator[str]:
    """The parts of its folder."""
    for complaint in house.missing_parts(root / "checks"):
        if re.match(rf"check_{name}\b", complaint):
            yield complaint


def in_the_program(root: Path, name: str) -> Iterator[str]:
    """Manual, interval and applicability."""
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


def section(manual: str, title: str) -> str:
    """The text of a part of a manual: beside its title and below it."""
    match = re.search(rf"^{title}:(.*(?:\n(?:[ \t].*|$))*)", manual, re.MULTILINE)
    return match[1].strip() if match else ""


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
        text = page.read_text()
        for title, what in PAGE_PARTS.items():
            body = re.search(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S)
            if not body or not body[1].strip():
                yield f"docs/check_{name}.md: `## {title}`: {what}"
    for place, what in (
        ("README.md", "a row in the table of checks"),
        ("docs/index.md", "a row in the table of checks"),
        ("mkdocs.yml", "a line in nav"),
        ("CHANGELOG.md", "what it is, for operators"),
    ):
        file = root / place
        if not file.is_file() or f"check_{name}" not in file.read_text():
            yield f"{place}: {what} for check_{name}"


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
    file = root / f"tests/test_check_{name}.py"
    if not file.is_file():
        yield f"write tests/test_check_{name}.py with contract_case(tmp_path) -> contract.Case"
    else:
        tree = ast.parse(file.read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "contract_case" not in names:
            yield f"tests/test_check_{name}.py: contract_case(tmp_path), an ordinary run"
        if "hanging_case" not in names and "NEVER_WAITS" not in file.read_text():
            yield (
                f"tests/test_check_{name}.py: hanging_case(tmp_path), a run whose other side never "
                'answers; or NEVER_WAITS = "why there is none"'
            )
    if not list((root / "tests/live").glob(f"test_{name}*.py")):
        yield f"write tests/live/test_{name}.py: against the real thing, in its real fault"


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    names = sys.argv[1:] or house.rooms_of_checks(here / "checks")
    found = [sentence for name in names for sentence in missing(here, name)]
    print("\n".join(found) or "nothing is missing")
    sys.exit(bool(found))

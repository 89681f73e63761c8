"""Every check is complete; a seventh, added to a copy of this tree, is told what it lacks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import completeness
import house
from conftest import CHECKS, ROOT

NAMES = [check.stem[len("check_") :] for check in CHECKS]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_missing(name: str) -> None:
    assert completeness.missing(ROOT, name) == []


def copied(target: Path) -> Path:
    """This tree once more, without what was made in it."""
    made = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, target, symlinks=True, ignore=made)
    return target


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path / "copy")


def test_a_check_that_is_a_name_only_is_told_everything(copy: Path) -> None:
    (copy / "checks/check_lamp.py").write_text("")
    (copy / "checks/check_lamp.py").chmod(0o755)
    said = "\n".join(completeness.missing(copy, "lamp"))
    for what in (
        "twiceshy/lamp/settings.py",
        "twiceshy/lamp/judgement.py",
        "ln -s ../../check_lamp.py",
        "has no function plan()",
        "the question that it answers",
        "no text under `Says:`",
        "tells the outage",
        "applies()",
        "EVERY",
        "drill() returns a kit.drill.Drill",
        "check_lamp = twiceshy.lamp.program:main",
        "docs/check_lamp.md",
        "README.md: a row",
        "docs/index.md: a row",
        "mkdocs.yml",
        "CHANGELOG.md",
        "twiceshy_checks has no check_lamp",
        "contrib/sudoers/twiceshy-lamp",
        "tests/test_check_lamp.py",
        "tests/live/test_lamp.py",
        'CASES["lamp"]["UNKNOWN"]',
    ):
        assert what in said, what


def test_an_empty_page_is_not_a_page(copy: Path) -> None:
    (copy / "docs/check_flapping.md").write_text("# check_flapping\n\n## Runbook\n\n## Options\n")
    said = completeness.missing(copy, "flapping")
    parts = len(completeness.PAGE_PARTS) + len(completeness.MARKERS)
    # One more: whether it needs root.
    assert [line.partition(":")[0] for line in said] == ["docs/check_flapping.md"] * (parts + 1)


def test_an_empty_manual_is_not_a_manual(copy: Path) -> None:
    file = copy / "checks/check_flapping.py"
    manual = completeness.ast.get_docstring(completeness.ast.parse(file.read_text())) or ""
    file.write_text(file.read_text().replace(manual, "Is it?\n\nSays:\nReads:\n"))
    house.modules.cache_clear()
    assert len(completeness.missing(copy, "flapping")) == len(completeness.MANUAL_PARTS) + 1


@pytest.mark.parametrize(
    ("place", "old", "new", "sentence"),
    [
        (
            "docs/check_flapping.md",
            "<!-- check_flapping: Examples -->",
            "",
            "`## Options` lacks the lines `<!-- check_flapping: Examples -->` and `<!-- end -->`: "
            "between them contrib/generate writes that part of the manual",
        ),
        (
            "docs/check_flapping.md",
            "| Needs root? |",
            "| Rights |",
            "the fact box has no row `| needs root? | no ...|`, or what it needs it for; the box "
            "is a table between the title and `## The outage`",
        ),
        (
            "docs/check_flapping.md",
            "## What it cannot see\n",
            "## Blind spots\n",
            "`## What it cannot see`: honestly",
        ),
        (
            "checks/check_flapping.py",
            "\n  UNKNOWN ",
            "\n          ",
            "`Says:` has no line that begins with UNKNOWN: when is it?",
        ),
        (
            "tests/live/test_consumers.py",
            '        "WARNING": "--include flaps -c 100000",\n',
            "",
            'CASES["flapping"]["WARNING"]: options that lead to it',
        ),
    ],
    ids=["marker", "needs root", "heading", "state", "consumers"],
)
def test_what_is_missing_is_named_with_its_place(
    copy: Path, place: str, old: str, new: str, sentence: str
) -> None:
    text = (copy / place).read_text()
    assert old in text
    (copy / place).write_text(text.replace(old, new, 1))
    house.modules.cache_clear()
    told = place[len("checks/") :] if place.startswith("checks/") else place
    assert completeness.missing(copy, "flapping") == [f"{told}: {sentence}"]


def test_generated_parts_in_another_order_are_named(copy: Path) -> None:
    page = copy / "docs/check_flapping.md"
    text = page.read_text()
    blocks = [
        re.search(rf"<!-- check_flapping: {part} -->\n.*?<!-- end -->", text, re.DOTALL)
        for part in ("Options", "Examples")
    ]
    options, examples = (block[0] for block in blocks if block)
    page.write_text(text.replace(examples, "").replace(options, f"{examples}\n\n{options}"))
    assert completeness.missing(copy, "flapping") == [
        "docs/check_flapping.md: the generated parts come in the order "
        "Reads, Remembers, Options, Examples, Says, Measures"
    ]


def test_what_is_out_of_date_is_named_last(copy: Path) -> None:
    file = copy / "checks/check_flapping.py"
    file.write_text(file.read_text().replace("always looks up?", "looks up?", 1))
    (sentence,) = completeness.stale(copy)
    assert sentence.startswith("run contrib/generate: ")
    assert "README.md" in sentence
    assert "contrib/cron/twiceshy" in sentence


def test_the_documentation_demands_the_headings_that_are_demanded() -> None:
    page = (ROOT / "docs/writing-a-check.md").read_text()
    demanded = [f"`## {title}`" for title in completeness.PAGE_PARTS]
    assert [heading for heading in demanded if heading not in page] == []
    for marker in completeness.MARKERS:
        assert f"`{marker}`" in page

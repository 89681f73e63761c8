"""Every check is complete; a seventh, added to a copy of this tree, hears what it lacks."""

from __future__ import annotations

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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The part of this repository that knows of its checks."""
    for place in ("checks", "docs", "contrib/ansible", "contrib/sudoers"):
        shutil.copytree(
            ROOT / place, tmp_path / place, symlinks=True, ignore=shutil.ignore_patterns("*.pyc")
        )
    for place in ("setup.cfg", "README.md", "CHANGELOG.md", "mkdocs.yml"):
        shutil.copy(ROOT / place, tmp_path / place)
    for file in (*ROOT.glob("tests/test_check_*.py"), *ROOT.glob("tests/live/test_*.py")):
        target = tmp_path / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path


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
    ):
        assert what in said, what


def test_an_empty_page_is_not_a_page(copy: Path) -> None:
    (copy / "docs/check_flapping.md").write_text("# check_flapping\n\n## Runbook\n\n## Options\n")
    said = completeness.missing(copy, "flapping")
    assert [line.partition(":")[0] for line in said] == ["docs/check_flapping.md"] * len(
        completeness.PAGE_PARTS
    )


def test_an_empty_manual_is_not_a_manual(copy: Path) -> None:
    file = copy / "checks/check_flapping.py"
    manual = completeness.ast.get_docstring(completeness.ast.parse(file.read_text())) or ""
    file.write_text(file.read_text().replace(manual, "Is it?\n\nSays:\nReads:\n"))
    house.modules.cache_clear()
    assert len(completeness.missing(copy, "flapping")) == len(completeness.MANUAL_PARTS) + 1

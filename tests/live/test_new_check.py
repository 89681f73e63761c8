"""A check that contrib/new-check has begun runs, keeps every rule, and lacks only what is marked.

Not fast: each test works in a copy of this tree, with processes of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import completeness
import house
from conftest import CHECKS, ROOT
from contract import understood
from test_seventh_check import copied

pytestmark = pytest.mark.live

NAMES = [check.stem[len("check_") :] for check in CHECKS]
SKELETON = ROOT / "contrib/skeleton"
BEGUN = "lamp_post"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path / "copy")


def new_check(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "contrib/new-check", *args],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def in_tree(root: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in a copy, with that copy's modules and not those of this tree."""
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONPATH")}
    return subprocess.run(
        argv, cwd=root, capture_output=True, text=True, check=False,
        env={**kept, "PYTHONPATH": str(root / "checks"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip


def pytest_in(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return in_tree(root, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree, and in it a check that contrib/new-check has begun."""
    root = copied(tmp_path_factory.mktemp("begun") / "copy")
    ran = new_check(root, BEGUN)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith(f"next: tests/completeness.py {BEGUN}\n")
    return root


def test_a_check_that_is_begun_lacks_only_what_is_to_be_filled_in(begun: Path) -> None:
    marked = Counter(
        str(file.relative_to(SKELETON)).replace("NAME", BEGUN)
        for file in SKELETON.rglob("*.[pm][yd]")
        for line in file.read_text().splitlines()
        if completeness.MARK in line
    )
    marked.update(completeness.SHARED)
    house.modules.cache_clear()
    said = completeness.missing(begun, BEGUN)
    assert Counter(sentence.partition(":")[0] for sentence in said) == marked
    for sentence in said:
        place, number, mark = sentence.split(":", 2)
        line = (begun / place).read_text().splitlines()[int(number) - 1]
        assert line.strip().endswith(mark.strip())
        assert mark.startswith(f" {completeness.MARK}")
    assert completeness.stale(begun) == []
    assert completeness.missing(begun, "flapping") == []


def test_a_check_that_is_begun_keeps_the_rules_of_the_house(begun: Path) -> None:
    house.modules.cache_clear()
    assert [complaint for rule in house.RULES for complaint in rule(begun / "checks")] == []


def test_the_tests_of_a_check_that_is_begun_pass(begun: Path) -> None:
    ran = pytest_in(begun, f"tests/test_check_{BEGUN}.py", "tests/test_contract.py", "-k", BEGUN)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\d{2} passed", ran.stdout.splitlines()[-1]), ran.stdout


def test_the_pages_and_tables_of_a_check_that_is_begun_are_good(begun: Path) -> None:
    ran = pytest_in(
        begun, "tests/test_docs.py", "-k", f"{BEGUN} or README or index or table or nav"
    )
    assert ran.returncode == 0, ran.stdout


def test_a_check_that_is_begun_runs_its_drill(begun: Path) -> None:
    ran = in_tree(begun, sys.executable, "-m", "twiceshy", "drill", BEGUN)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "green again" in ran.stdout


def test_a_check_that_is_begun_runs(begun: Path, tmp_path: Path) -> None:
    ran = in_tree(
        begun, sys.executable, f"checks/check_{BEGUN}.py",
        f"--file={tmp_path / 'nologin'}", f"--state-dir={tmp_path / 'state'}",
    )  # fmt: skip
    told = understood(ran.stdout)
    assert (told.name, told.state, told.text) == ("LAMP_POST", "OK", "logins are allowed")


@pytest.mark.parametrize("name", ["abc", BEGUN, "long_name_of_two_dozen_z"])
def test_what_is_begun_needs_no_formatting_whatever_its_name(name: str, copy: Path) -> None:
    assert new_check(copy, name).returncode == 0
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():  # not beside the oldest and the newest Python
        for command in ("check",), ("format", "--check"):
            ran = in_tree(copy, ruff, *command, "--no-cache", ".")
            assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("flapping", "checks/twiceshy/flapping is there already"),
        ("kit", "checks/twiceshy/kit is there already"),
        ("consumers", "tests/live/test_consumers.py is there already"),
        ("check_lamp", "leave out check_: contrib/new-check lamp"),
        ("Lamp", "lower case"),
        ("lamp-post", "lower case"),
        ("lamp__post", "lower case"),
        ("../lamp", "lower case"),
        ("while", "not a name"),
        ("ab", "3 to 24"),
        ("l" * 25, "3 to 24"),
        ("--nonsense", "required: NAME"),
    ],
)
def test_a_name_that_is_bad_or_taken_changes_nothing(name: str, why: str) -> None:
    before = sorted(ROOT.glob("checks/**/*"))
    ran = new_check(ROOT, name)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert why in ran.stderr
    assert sorted(ROOT.glob("checks/**/*")) == before


def test_new_check_explains_itself() -> None:
    ran = new_check(ROOT, "--help")
    assert (ran.returncode, "FILL ME IN" in ran.stdout) == (0, True)


def test_without_its_test_file_a_check_fails_the_contract_and_no_other_does(copy: Path) -> None:
    assert new_check(copy, BEGUN).returncode == 0
    (copy / f"tests/test_check_{BEGUN}.py").unlink()
    ran = pytest_in(copy, "tests/test_contract.py", "-k", "bare or heavy")
    assert f"write tests/test_check_{BEGUN}.py with contract_case(tmp_path)" in ran.stdout
    assert f"2 failed, {2 * len(NAMES)} passed" in ran.stdout, ran.stdout

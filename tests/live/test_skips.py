"""With CI set, a test that is skipped fails: what is skipped everywhere has never run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import conftest
from conftest import ROOT

pytestmark = pytest.mark.live

SKIPPING = """
import pytest

def test_that_runs(): pass
def test_that_skips(): pytest.skip("no hens on this machine")
@pytest.mark.skipif(True, reason="no eggs either")
def test_that_is_marked(): pass
@pytest.mark.xfail
def test_that_is_known_to_fail(): assert False
def test_with_an_excuse(): pytest.skip("there is /proc on this machine")
def test_with_an_excuse_that_is_not_true(): pytest.skip("there is /no/hens on this machine")
"""


def outcome(tmp_path: Path, text: str, **env: str) -> list[str]:
    """The last line of pytest's output, in parts, without the time."""
    (tmp_path / "test_hens.py").write_text(text)
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider",
         "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path / "test_hens.py")],
        env={**kept, "PYTHONPATH": f"{ROOT}/tests:{ROOT}/checks",
             "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    return ran.stdout.splitlines()[-1].partition(" in ")[0].split(", ")


def test_a_skip_is_a_skip_where_people_work(tmp_path: Path) -> None:
    assert outcome(tmp_path, SKIPPING) == ["1 passed", "4 skipped", "1 xfailed"]


def test_a_skip_without_a_true_excuse_is_a_failure_in_ci(tmp_path: Path) -> None:
    assert outcome(tmp_path, SKIPPING, CI="true") == [
        "2 failed",
        "1 passed",
        "1 skipped",
        "1 xfailed",
        "1 error",  # skipped before it began
    ]


def test_a_module_that_skips_itself_is_a_failure_in_ci(tmp_path: Path) -> None:
    text = 'import pytest\npytest.importorskip("hens")\n'
    assert outcome(tmp_path, text) == ["1 skipped"]
    assert outcome(tmp_path, text, CI="true") == ["1 error"]


@pytest.mark.parametrize(
    ("reason", "fine"),
    [
        ("there is /proc on this machine", True),
        ("there is /proc/hens on this machine", False),
        ("could not be bothered", False),
    ],
)
def test_an_excuse_must_be_listed_and_true(reason: str, fine: bool) -> None:
    assert conftest.is_excused(reason) is fine

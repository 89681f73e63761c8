"""The environments of ./try and tests/run: used again, unless they were made of something else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT

# Stands in for an interpreter: `-m venv DIRECTORY` copies it there, `-m pip` notes what is wanted.
PYTHON = """#!/bin/sh
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*) [ ! -e "$HEN/no-network" ] && echo "$@" >>"$HEN/installed" ;;
"-c import sys; print"*) echo "{version}" ;;
esac
"""


class Checkout:
    """A checkout with an interpreter, and pip's doings in `installed`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "checkout").mkdir()
        for name in ("setup.cfg", "pyproject.toml"):
            (path / "checkout" / name).write_text("")
        self.python("3.11.2")

    def python(self, version: str, name: str = "python") -> None:
        """An interpreter of this version."""
        (self.path / name).write_text(PYTHON.replace("{version}", version))
        (self.path / name).chmod(0o755)

    def make(self, *what: str, python: str = "python", checkout: str = "checkout") -> int:
        """Ask for the environment; how often pip has installed so far, -1 when it cannot be had."""
        here = self.path / checkout
        script = (
            f"set -eu; self=hen here={here}; . {ROOT}/contrib/packaging/environment.sh; "
            f'environment {here}/.venvs/tests {self.path}/{python} "$@"'
        )
        ran = subprocess.run(
            ["sh", "-c", script, "hen", *(what or ("-e", "."))],
            capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "HEN": str(self.path)},
        )  # fmt: skip
        if ran.returncode:
            return -1
        return len((self.path / "installed").read_text().splitlines())


@pytest.fixture
def made(tmp_path: Path) -> Checkout:
    """A checkout whose environment has been made."""
    checkout = Checkout(tmp_path)
    assert checkout.make() == 1
    return checkout


def test_an_environment_is_made_once(made: Checkout) -> None:
    assert [made.make(), made.make()] == [1, 1]


def test_another_interpreter_makes_it_anew(made: Checkout) -> None:
    made.python("3.11.7", name="pyenv-python")
    assert made.make(python="pyenv-python") == 2
    assert made.make(python="pyenv-python") == 2


def test_an_upgraded_interpreter_makes_it_anew(made: Checkout) -> None:
    made.python("3.11.3")
    assert made.make() == 2


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml"])
def test_other_dependencies_make_it_anew(made: Checkout, name: str) -> None:
    (made.path / "checkout" / name).write_text("install_requires = hens")
    assert made.make() == 2


def test_other_wishes_make_it_anew(made: Checkout) -> None:
    assert made.make("-e", ".[test]") == 2


def test_one_that_was_killed_half_made_is_made_anew(made: Checkout) -> None:
    (made.path / "checkout/.venvs/tests/made-of").unlink()
    assert made.make() == 2


def test_a_clone_that_was_renamed_makes_it_anew(made: Checkout) -> None:
    (made.path / "checkout").rename(made.path / "renamed")
    assert made.make(checkout="renamed") == 2


def test_one_whose_interpreter_is_gone_is_made_anew(made: Checkout) -> None:
    (made.path / "checkout/.venvs/tests/bin/python").unlink()
    assert made.make() == 2


def test_what_was_there_before_is_gone_with_it(made: Checkout) -> None:
    stale = made.path / "checkout/.venvs/tests/bin/stale"
    stale.write_text("")
    assert made.make("-e", ".[test]") == 2
    assert not stale.exists()


def test_without_a_network_it_fails_and_is_tried_again(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / "no-network").touch()
    assert checkout.make() == -1
    (tmp_path / "no-network").unlink()
    assert checkout.make() == 1


def test_two_at_once_make_one(made: Checkout) -> None:
    shutil.rmtree(made.path / "checkout/.venvs")
    script = (
        f"self=hen here={made.path}/checkout; . {ROOT}/contrib/packaging/environment.sh; "
        f"for one in 1 2 3; do environment $here/.venvs/tests {made.path}/python x & "
        "done; wait"
    )
    env = {"PATH": "/usr/bin:/bin", "HEN": str(made.path)}
    subprocess.run(["sh", "-c", script], env=env, check=True, capture_output=True)
    assert len((made.path / "installed").read_text().splitlines()) == 2

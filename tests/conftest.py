"""What all tests share: the list of scripts, and what live tests need."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECKS = sorted((ROOT / "checks").glob("check_*.py"))
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def setup_cfg() -> configparser.ConfigParser:
    """The project's setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def run_script(
    script: Path, *args: str, timeout: float = 30, **options: object
) -> subprocess.CompletedProcess[str]:
    """A script as a monitoring system runs it: own process, output captured."""
    return subprocess.run(
        [sys.executable, str(script), *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """`needs("logrotate")` skips without these programs; in CI their absence is a failure."""

    def needed(*programs: str) -> None:
        path = os.environ["PATH"] + ":" + SBIN
        missing = [name for name in programs if shutil.which(name, path=path) is None]
        if os.geteuid() != 0:
            missing.append("root")
        if missing and os.environ.get("CI"):
            pytest.fail(f"not on this machine: {', '.join(missing)}")
        if missing:
            pytest.skip(f"not on this machine: {', '.join(missing)}; tests/run installs them")

    return needed


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the history of the machine that it runs on."""
    monkeypatch.setenv("TWICESHY_STATE_DIR", str(tmp_path / "state"))

"""Every drill, for real: red and green again, as root, and those that can as nobody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from conftest import CHECKS, ROOT

pytestmark = pytest.mark.live

NAMES = sorted(check.stem[len("check_") :] for check in CHECKS)
NEEDED = {"log_rotation": ["logrotate"], "container_restarts": ["dockerd"]}
WITHOUT_ROOT = [name for name in NAMES if name != "container_restarts"]


def drilled(name: str, checkout: Path, *program: str) -> str:
    """What `twiceshy drill NAME` prints; AssertionError unless it went red and green."""
    done = subprocess.run(
        [*program, "-m", "twiceshy", "drill", name],
        env={**os.environ, "PYTHONPATH": str(checkout / "checks"), "PYTHONDONTWRITEBYTECODE": "1",
             "HOME": "/nonexistent"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280, check=False, cwd="/",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"<- red after", said), said
    assert re.search(r"<- green again after", said), said
    return said


@pytest.mark.parametrize("name", NAMES)
def test_root_sees_it_red_and_green_and_finds_nothing_left(
    name: str, needs: Callable[..., None]
) -> None:
    needs(*NEEDED.get(name, []))
    said = drilled(name, ROOT, sys.executable)
    (sandbox,) = set(re.findall(r"/tmp/twiceshy-drill-\d+-\w+", said)) or {"/nowhere"}
    assert not Path(sandbox).exists()
    assert sandbox not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """The checks where nobody may read them: a checkout may lie in root's own directory."""
    place = Path(tempfile.mkdtemp(prefix="twiceshy-readable-"))
    try:
        shutil.copytree(ROOT / "checks", place / "checks", ignore=shutil.ignore_patterns("*.pyc"))
        shutil.copy(ROOT / "setup.cfg", place)
        subprocess.run(["chmod", "-R", "a+rX", place], check=True)
        yield place
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("name", WITHOUT_ROOT)
def test_nobody_sees_it_red_and_green_too(
    name: str, needs: Callable[..., None], readable: Path
) -> None:
    needs("setpriv", "unshare", *NEEDED.get(name, []))
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if name in ("disk_growth", "log_rotation"):
        spaces = subprocess.run(
            [*as_nobody, "unshare", "--user", "--map-root-user", "--mount", "true"],
            capture_output=True, check=False,
        )  # fmt: skip
        if spaces.returncode:
            pytest.skip("this kernel gives nobody no user namespaces")
    drilled(name, readable, *as_nobody, "/usr/bin/python3")

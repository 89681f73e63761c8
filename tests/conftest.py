"""What all tests share: the list of scripts, and what live tests need."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Callable

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


def _fails(*argv: str) -> bool:
    """Whether a command that asks this kernel for something is refused."""
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


def _no_acls() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        try:
            # An ACL of the three classes alone; Linux keeps it as the mode (acl(5)).
            entry = "0100 {} ffffffff"
            classes = " ".join(entry.format(perm) for perm in ("0600", "0400", "0400"))
            tags = classes.replace("0100", "{}").format("0100", "0400", "2000")
            os.setxattr(file.name, "system.posix_acl_access", bytes.fromhex("02000000" + tags))
        except OSError:
            return True
    return False


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# In CI a test that is skipped is a failure, save for these reasons, and only while they are true.
SKIPS: tuple[tuple[str, Callable[[re.Match[str]], bool]], ...] = (
    # A container without CAP_SYS_ADMIN; the live tests, which need it anyway, do the same.
    ("no rights to a mount namespace", lambda _: _fails("unshare", "--mount", "true")),
    (
        "this kernel gives nobody no user namespaces",
        lambda _: _fails(*NOBODY, "unshare", "--user", "--map-root-user", "--mount", "true"),
    ),
    ("no ACLs on this file system", lambda _: _no_acls()),
    ("no /dev/fuse here", lambda _: not os.path.exists("/dev/fuse")),
    # An engine of this machine is not ours to stop.
    (r"there is (/\S+) on this machine", lambda match: os.path.exists(match[1])),
    # A check without -w and -c refuses no bad range.
    ("has no ranges", lambda _: True),
)


def is_excused(reason: str) -> bool:
    """Whether CI takes this reason to skip, because it is listed and is true here."""
    matches = ((re.match(pattern, reason), is_true) for pattern, is_true in SKIPS)
    return any(match is not None and is_true(match) for match, is_true in matches)


def _failed_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure: what nobody sees failing would never run anywhere."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = why.removeprefix("Skipped: ")
    if not is_excused(reason):
        report.outcome = "failed"
        report.longrepr = f"skipped, which in CI is a failure: {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Skips of single tests."""
    _failed_in_ci((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """Skips of whole modules."""
    _failed_in_ci((yield).get_result())


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the history of the machine that it runs on."""
    monkeypatch.setenv("TWICESHY_STATE_DIR", str(tmp_path / "state"))

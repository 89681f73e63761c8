"""check_NAME: stories on a clock that the test moves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from contract import Case
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN
from twiceshy.kit.stamps import Stamp
from twiceshy.NAME.program import options, plan


def contract_case(tmp_path: Path) -> Case:
    """An ordinary run; FILL ME IN: with hostile names, which the output must survive."""
    file = tmp_path / "no|login"
    file.write_text("down | now\x1b[31m\n")
    return Case(["--file", str(file)])


def hanging_case(tmp_path: Path) -> Case:
    """FILL ME IN, or NEVER_WAITS = "why": a file that nobody ever writes."""
    os.mkfifo(tmp_path / "nologin")
    return Case(["--file", str(tmp_path / "nologin")])


class Host:
    """A host with a file of its own, on a clock that a test moves."""

    def __init__(self, place: Path) -> None:
        self.file, self.state = place / "nologin", place / "history"
        self.now = Stamp("boot 1", 1000.0, 1_000_000_000.0)

    def announces(self, words: str) -> None:
        """A shutdown writes the file, as if it were the host's now."""
        self.file.write_text(words)
        os.utime(self.file, (self.now.wall, self.now.wall))

    def after(self, seconds: float) -> Host:
        self.now = replace(self.now, uptime=self.now.uptime + seconds, wall=self.now.wall + seconds)
        return self

    def checked(self) -> Check:
        args = [f"--file={self.file}", f"--state-dir={self.state}"]
        made = plan(options().parse_args(args), clock=lambda: self.now)
        made()
        return made


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# FILL ME IN: stories named after what the user sees, whole values compared.
def test_a_shutdown_that_is_announced_again_and_again_alarms_all_the_same(host: Host) -> None:
    for _ in range(3):
        host.announces("Going down.\n")
        host.checked()
        host.after(1800)
    made = host.checked()
    assert (made.state, made.summary_str, made.perfdata) == (
        CRITICAL,
        f"logins have been refused for 1h30m (limit 1h): {host.file} says Going down.",
        ["refused=5400s;600;3600;0"],
    )
    host.file.unlink()
    made = host.checked()
    assert (made.state, made.summary_str) == (OK, "logins are allowed")


def test_a_file_that_cannot_be_looked_up_is_unknown(host: Host) -> None:
    (host.file.parent / "plain").touch()
    host.file = host.file.parent / "plain" / "nologin"
    made = host.checked()
    assert (made.state, made.summary_str) == (
        UNKNOWN,
        f"{host.file} cannot be looked up: Not a directory",
    )

"""daemontools: the status file, zombies that look up, and whose log is whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from sides.proctree import Proc
from twiceshy.flapping.service import BETWEEN, DOWN, UP
from twiceshy.flapping.supervisors import Instance, daemontools

DATA = Path(__file__).parent / "data/flapping"


def captured(name: str) -> bytes:
    """A status file that supervise 0.76 wrote."""
    return (DATA / f"daemontools-0.76-status-{name}").read_bytes()


def status(pid: int, want: bytes = b"u") -> bytes:
    """A status file that supervise might write."""
    return bytes.fromhex("400000006b016ca036d6db44") + pid.to_bytes(4, "little") + b"\0" + want


@pytest.mark.parametrize(
    ("name", "runs", "wanted_up"),
    [("ok", True, True), ("stopped", False, False), ("instant", True, True)],
)
def test_the_status_file(name: str, runs: bool, wanted_up: bool) -> None:
    parsed = daemontools.parse_status(captured(name))
    assert (parsed.pid > 0, parsed.wanted_up) == (runs, wanted_up)


@pytest.mark.parametrize("content", [b"", b"x" * 18, b"\0" * 20])
def test_other_files_are_no_status(content: bytes) -> None:
    with pytest.raises(ValueError):
        daemontools.parse_status(content)


class Services:
    """An svscan (pid 10) with one supervise per service (pids from 11)."""

    def __init__(self, tmp_path: Path, as_root: bool = True) -> None:
        self.directory = tmp_path / "service"
        self.directory.mkdir()
        self.proc = Proc(tmp_path / "proc")
        self.as_root = as_root
        self.proc.add(10, 1, "svscan", str(self.directory))
        self.pid = 10

    def add(self, name: str, content: bytes, faults: int = 0) -> int:
        """A service or NAME/log; returns the pid of its supervise."""
        self.pid += 1
        path = self.directory / name
        (path / "supervise").mkdir(parents=True)
        if self.as_root:
            (path / "supervise/status").write_bytes(content)
        (path / "run").write_text("#!/bin/sh\n")
        (path / "run").chmod(0o755)
        cwd = path if self.as_root else None
        self.proc.add(self.pid, 10, "supervise", path.name, faults=faults, cwd=cwd)
        return self.pid

    def look(self) -> list[daemontools.Service]:
        """One observation."""
        return daemontools.services(
            Instance("daemontools", str(self.directory), 10), self.proc.table()
        )


def test_a_zombie_is_not_up_though_svstat_says_so(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100))
    services.proc.add(100, keeper, "run", state="Z", age=0.3)
    (web,) = services.look()
    assert (web.state, web.incarnation, web.wanted_up) == (BETWEEN, "", True)


def test_root_sees_what_is_up_and_what_is_stopped(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100), faults=216)
    identity = services.proc.add(100, keeper, "web", age=77.0)
    services.add("stopped", status(0, b"d"))
    stopped, web = services.look()
    assert (stopped.state, stopped.wanted_up) == (DOWN, False)
    assert (web.state, web.incarnation, web.age_seconds, web.reaped_faults) == (
        UP,
        identity,
        77.0,
        216,
    )


@pytest.mark.parametrize("as_root", [True, False])
def test_a_log_is_called_after_its_service(tmp_path: Path, as_root: bool) -> None:
    services = Services(tmp_path, as_root)
    for name in ("mail", "web", "web/log"):
        keeper = services.add(name, status(services.pid + 91))
        services.proc.add(keeper + 90, keeper, "multilog" if "log" in name else name)
    assert [s.name for s in services.look()] == ["mail", "web", "web/log"]


def test_the_last_words_come_from_multilog(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100))
    services.proc.add(100, keeper, "web", age=9)
    keeper = services.add("web/log", status(101))
    services.proc.add(101, keeper, "multilog", "t", "./main")
    (services.directory / "web/log/main").mkdir()
    (services.directory / "web/log/main/current").write_text("@40 bad port\n")
    assert services.look()[0].log == ("@40 bad port",)

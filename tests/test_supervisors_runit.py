"""runit: the status file, and what root and another user see."""

from __future__ import annotations

from pathlib import Path

import pytest

from sides.proctree import Proc
from twiceshy.flapping.counting import Count, Record
from twiceshy.flapping.judgement import Assessment, Code, Verdict, verdict_on
from twiceshy.flapping.report import finding_of
from twiceshy.flapping.service import (
    BETWEEN,
    DOWN,
    GAVE_UP,
    NO_EXIT,
    UNSEEN,
    UP,
    Exit,
    Service,
    exited,
)
from twiceshy.flapping.settings import Limits
from twiceshy.flapping.supervisors import Instance, runit
from twiceshy.kit.plugin import WARNING

DATA = Path(__file__).parent / "data/flapping"


def captured(name: str) -> bytes:
    """A status file that runsv 2.1.2 wrote."""
    return (DATA / f"runit-2.1.2-status-{name}").read_bytes()


def status(pid: int, want: bytes = b"u", state: int = 1) -> bytes:
    """A status file that runsv might write."""
    return (
        bytes.fromhex("400000006b016ca02eeaa0b4")
        + pid.to_bytes(4, "little")
        + b"\0"
        + want
        + bytes((0, state))
    )


@pytest.mark.parametrize(
    ("name", "runs", "wanted_up", "is_finishing"),
    [
        ("run", True, True, False),
        ("down-want-up", False, True, False),
        ("stopped", False, False, False),
        ("finish", True, True, True),
    ],
)
def test_the_status_file(name: str, runs: bool, wanted_up: bool, is_finishing: bool) -> None:
    parsed = runit.parse_status(captured(name))
    assert (parsed.pid > 0, parsed.wanted_up, parsed.is_finishing) == (
        runs,
        wanted_up,
        is_finishing,
    )


@pytest.mark.parametrize("content", [b"", b"\0" * 20, captured("run")[:18]])
def test_other_files_are_no_status(content: bytes) -> None:
    with pytest.raises(ValueError):
        runit.parse_status(content)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("/bin/sh", "./finish", "4", "0"), exited(4)),
        (("./finish", "-1", "11"), Exit("signal SEGV")),
        (("./finish", "-1", "134"), Exit("signal ABRT")),
        (("./finish", "x", "y"), NO_EXIT),
        (("./web", "4", "0"), NO_EXIT),
    ],
)
def test_finish_is_told_how_it_ended(words: tuple[str, ...], expected: Exit) -> None:
    assert runit.finish_exit(words) == expected


class Services:
    """A runsvdir (pid 10) with one runsv per service (pids from 11)."""

    def __init__(self, tmp_path: Path, as_root: bool = True) -> None:
        self.directory = tmp_path / "service"
        self.directory.mkdir()
        self.proc = Proc(tmp_path / "proc")
        self.as_root = as_root
        self.proc.add(10, 1, "runsvdir", str(self.directory))
        self.pid = 10

    def add(self, name: str, content: bytes | None, faults: int = 0, run: bool = True) -> int:
        """A service; returns the pid of its runsv."""
        self.pid += 1
        path = self.directory / name
        (path / "supervise").mkdir(parents=True)
        if content is not None:
            (path / "supervise/status").write_bytes(content)
        if run:
            (path / "run").write_text("#!/bin/sh\n")
            (path / "run").chmod(0o755)
        cwd = path if self.as_root else None
        self.proc.add(self.pid, 10, "runsv", name, faults=faults, cwd=cwd)
        return self.pid

    def seen(self) -> list[tuple[object, ...]]:
        """(name, state, wanted up, age) of all services."""
        return [(s.name, s.state, s.wanted_up, s.age_seconds) for s in self.look()]

    def look(self) -> list[runit.Service]:
        """One observation."""
        return runit.services(Instance("runit", str(self.directory), 10), self.proc.table())


def test_root_sees_what_is_up_down_and_between(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100))
    identity = services.proc.add(100, keeper, "web", age=77.0)
    services.add("crash", status(0, b"u", 0))
    services.add("stopped", status(0, b"d", 0))
    looked = services.look()
    assert [(s.name, s.state, s.wanted_up) for s in looked] == [
        ("crash", BETWEEN, True),
        ("stopped", DOWN, False),
        ("web", UP, True),
    ]
    assert (looked[2].incarnation, looked[2].age_seconds) == (identity, 77.0)


def test_the_age_is_the_processs_and_not_the_status_files(tmp_path: Path) -> None:
    # The stamp in the file is wall clock; after a step back sv says "run: web: 0s".
    services = Services(tmp_path)
    future = bytes.fromhex("400000007b016ca02eeaa0b4") + status(100)[12:]
    keeper = services.add("web", future)
    services.proc.add(100, keeper, "web", age=1200.0)
    assert services.seen() == [("web", UP, True, 1200.0)]


def test_a_running_finish_script_is_between_lives_and_tells_why(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100, state=2))
    services.proc.add(100, keeper, "/bin/sh", "./finish", "4", "0")
    (looked,) = services.look()
    assert (looked.state, looked.incarnation, looked.last_exit) == (
        BETWEEN,
        "",
        exited(4),
    )


def test_a_log_service_is_a_service_too(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(101), faults=500)
    (services.directory / "web/log/supervise").mkdir(parents=True)
    (services.directory / "web/log/supervise/status").write_bytes(status(100))
    services.proc.add(100, keeper, "svlogd", "./main", age=50)
    services.proc.add(101, keeper, "web", age=40)
    looked = services.look()
    assert [(s.name, s.age_seconds) for s in looked] == [("web", 40.0), ("web/log", 50.0)]
    # runsv has reaped for both.
    assert looked[0].reaped_faults is None


def test_the_last_words_come_from_the_log_service(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(101))
    (services.directory / "web/log/supervise").mkdir(parents=True)
    (services.directory / "web/log/supervise/status").write_bytes(status(100))
    (services.directory / "web/log/main").mkdir()
    (services.directory / "web/log/main/current").write_text("bad port\nbye\n")
    services.proc.add(100, keeper, "svlogd", "-tt", "./main", age=50)
    services.proc.add(101, keeper, "web", age=40)
    assert services.look()[0].log == ("bad port", "bye")


def test_a_service_without_a_run_script_says_so(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, b"u", 0), run=False)
    assert services.look()[0].reason == "it has no run script"


def test_the_status_file_of_a_dead_runsv_is_not_believed(tmp_path: Path) -> None:
    services = Services(tmp_path)
    (services.directory / "web/supervise").mkdir(parents=True)
    (services.directory / "web/supervise/status").write_bytes(status(3_999_999))
    looked = runit.services(Instance("runit", str(services.directory)), services.proc.table())
    assert [(s.name, s.state, s.wanted_up, s.reason) for s in looked] == [
        ("web", GAVE_UP, True, "its runsv is dead, nothing restarts it")
    ]


def test_a_torn_status_file_is_unseen_and_not_a_verdict(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", b"torn")
    assert services.look()[0].state == UNSEEN


def test_a_stranger_sees_lives_and_faults_and_says_what_not(tmp_path: Path) -> None:
    services = Services(tmp_path, as_root=False)
    keeper = services.add("web", None, faults=2163)
    identity = services.proc.add(100, keeper, "web", age=77.0)
    services.add("stopped", None, faults=216)
    stopped, web = services.look()
    assert (web.state, web.wanted_up, web.incarnation, web.reaped_faults) == (
        UP,
        None,
        identity,
        2163,
    )
    assert (stopped.state, stopped.wanted_up, stopped.reaped_faults) == (DOWN, None, 216)
    assert "not allowed" in web.unseen
    assert "sudo" in web.unseen


def test_a_stranger_does_not_take_the_logger_for_the_daemon(tmp_path: Path) -> None:
    services = Services(tmp_path, as_root=False)
    keeper = services.add("web", None)
    services.proc.add(100, keeper, "svlogd", "./main", age=1000.0)
    web, log = services.look()
    assert (web.name, web.state, web.incarnation) == ("web", DOWN, "")
    assert (log.name, log.state, log.age_seconds) == ("web/log", UP, 1000.0)


def test_a_stranger_sees_a_finish_script_as_between_lives(tmp_path: Path) -> None:
    services = Services(tmp_path, as_root=False)
    keeper = services.add("web", None)
    services.proc.add(100, keeper, "/bin/sh", "./finish", "-1", "6")
    (web,) = services.look()
    assert (web.state, web.incarnation, web.last_exit) == (BETWEEN, "", Exit("signal ABRT"))


def test_a_daemon_that_has_lost_its_runsv_is_a_warning_although_it_runs() -> None:
    orphan = Service(
        "web", "runit", UP, True, "boot:7:1", 900.0,
        reason="its runsv is dead: it is still running, but nothing would restart it",
    )  # fmt: skip
    record, limits = Record(0.0, 0.0, "boot:7:1", None, None), Limits(None, None)
    verdict = verdict_on(orphan, Count(), record, 900.0, limits)
    assert verdict == Verdict(WARNING, Code.ORPHAN)
    (finding,) = finding_of(Assessment("runit::web", orphan, Count(), record, verdict), limits)
    assert finding.text.startswith("web (runit): its runsv is dead")

"""s6: the status file of all its versions, and the death tally as exact history."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sides.proctree import NOW, Proc
from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    UNSEEN,
    UP,
    EndedLife,
    Exit,
    exited,
)
from twiceshy.flapping.supervisors import Instance, s6
from twiceshy.kit.stamps import Stamp

DATA = Path(__file__).parent / "data/flapping"
BASE = 0x400000006B016CBB


def captured(name: str) -> bytes:
    """A file that s6-supervise 2.11.3.2 wrote."""
    return (DATA / f"s6-2.11-{name}").read_bytes()


def stamp(second: float) -> bytes:
    """A TAI64N stamp, seconds after an arbitrary one."""
    whole = int(second // 1)
    return (BASE + whole).to_bytes(8, "big") + int((second - whole) * 1e9).to_bytes(4, "big")


def status(pid: int, flags: int, second: float = 0.0, wait_status: int = 0) -> bytes:
    """A status file of 2.11."""
    return (
        stamp(second)
        + stamp(second)
        + pid.to_bytes(8, "big")
        + wait_status.to_bytes(2, "big")
        + bytes((flags,))
    )


def death(second: float, exit_code: int, signal: int = 0) -> bytes:
    """One record of a tally."""
    return stamp(second) + bytes((exit_code, signal))


@pytest.mark.parametrize(
    ("name", "runs", "wanted_up", "wait_status"),
    [("up", True, True, 0), ("stopped", False, False, 15), ("between", False, True, 11)],
)
def test_the_status_file(name: str, runs: bool, wanted_up: bool, wait_status: int) -> None:
    parsed = s6.parse_status(captured(f"status-{name}"))
    assert (parsed.pid > 0, parsed.wanted_up, parsed.wait_status) == (runs, wanted_up, wait_status)


def test_the_status_file_of_2_13_has_a_process_group_more() -> None:
    old = status(4242, 0b0100, wait_status=0x300)
    new = old[:32] + (4242).to_bytes(8, "big") + old[32:]
    assert s6.parse_status(new) == s6.parse_status(old)


@pytest.mark.parametrize(
    ("flags", "wanted_up", "is_finishing"),
    [
        (0b00100, True, False),  # up, 2.11
        (0b01100, True, False),  # down and ready, wanted up, 2.11
        (0b01000, False, False),  # down and ready, 2.11
        (0b00110, True, True),  # finishing, 2.11
        (0b11100, True, False),  # down and ready, wanted up, 2.10
        (0b10100, False, False),  # down and ready, 2.10
        (0b01110, True, True),  # finishing, 2.10
    ],
)
def test_the_flags_changed_their_places_in_2_11(
    flags: int, wanted_up: bool, is_finishing: bool
) -> None:
    parsed = s6.parse_status(status(0, flags))
    assert (parsed.wanted_up, parsed.is_finishing) == (wanted_up, is_finishing)


@pytest.mark.parametrize("length", [0, 18, 34, 36, 44])
def test_other_lengths_are_no_status(length: int) -> None:
    with pytest.raises(ValueError):
        s6.parse_status(bytes(length))


def test_the_death_tally() -> None:
    deaths = s6.parse_tally(captured("death-tally-segv-every-3s"))
    assert len(deaths) == 20
    assert {(one.exit_code, one.signal) for one in deaths} == {(139, 11)}
    gaps = [later.at - earlier.at for earlier, later in zip(deaths, deaths[1:])]
    assert all(3 < gap < 5 for gap in gaps)


def test_a_tally_that_is_cut_is_refused() -> None:
    with pytest.raises(ValueError):
        s6.parse_tally(captured("death-tally-segv-every-3s")[:-1])


@pytest.mark.parametrize(
    ("record", "down_signal", "kind", "how"),
    [
        (death(0, 143, 15), 15, MANUAL, Exit("signal TERM")),
        (death(0, 143, 15), 3, CRASH, Exit("signal TERM")),
        (death(0, 131, 3), 3, MANUAL, Exit("signal QUIT")),
        (death(0, 139, 11), 15, CRASH, Exit("signal SEGV")),
        (death(0, 1), 15, CRASH, exited(1)),
        (death(0, 0), 15, CLEAN, exited(0)),
    ],
)
def test_a_death_by_the_down_signal_is_the_operators(
    record: bytes, down_signal: int, kind: str, how: Exit
) -> None:
    (one,) = s6.parse_tally(record)
    assert s6.ended(one, 5.0, down_signal) == EndedLife(5.0, kind, how)


@pytest.mark.parametrize(
    ("text", "number"), [("SIGQUIT\n", 3), ("int", 2), ("9", 9), ("nonsense", 15), ("", 15)]
)
def test_the_down_signal_file(text: str, number: int) -> None:
    assert s6.parse_down_signal(text) == number


def test_finish_is_told_how_it_ended() -> None:
    assert s6.finish_exit(("/bin/sh", "./finish", "4", "0", "web")) == exited(4)
    assert s6.finish_exit(("finish", "256", "6", "web")) == Exit("signal ABRT")
    assert s6.finish_exit(("web", "4", "0")) == NO_EXIT


class Services:
    """An s6-svscan (pid 10) with one s6-supervise per service (pids from 11), 1000 s old."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "service"
        self.directory.mkdir()
        self.proc = Proc(tmp_path / "proc")
        self.proc.add(10, 1, "s6-svscan", str(self.directory), cwd=self.directory)
        self.pid = 10

    def add(self, name: str, content: bytes, tally: bytes = b"") -> int:
        """A service; returns the pid of its s6-supervise."""
        self.pid += 1
        path = self.directory / name
        (path / "supervise").mkdir(parents=True)
        (path / "supervise/status").write_bytes(content)
        (path / "supervise/death_tally").write_bytes(tally)
        (path / "run").write_text("#!/bin/sh\n")
        (path / "run").chmod(0o755)
        self.proc.add(self.pid, 10, "s6-supervise", name, cwd=path)
        return self.pid

    def look(self, now: Stamp = NOW) -> s6.Service:
        """One observation of the only service."""
        (service,) = s6.services(Instance("s6", str(self.directory), 10), self.proc.table(now))
        return service


def test_the_tally_is_the_whole_history_of_a_crasher(tmp_path: Path) -> None:
    services = Services(tmp_path)
    tally = death(0, 9) + death(10, 9) + death(20, 9)
    keeper = services.add("web", status(100, 0b0100, 21), tally)
    services.proc.add(100, keeper, "web", age=4.0)
    service = services.look()
    assert (service.state, service.exact, service.last_exit) == (UP, True, exited(9))
    assert service.history == (
        EndedLife(25.0, CRASH, exited(9), None),
        EndedLife(15.0, CRASH, exited(9), 10.0),
        EndedLife(5.0, CRASH, exited(9), 10.0),
    )
    assert service.history_seconds == pytest.approx(1000.0)


def test_a_full_tally_reaches_back_only_as_far_as_its_first_death(tmp_path: Path) -> None:
    services = Services(tmp_path)
    tally = b"".join(death(second, 9) for second in range(100))
    keeper = services.add("web", status(100, 0b0100, 100), tally)
    services.proc.add(100, keeper, "web", age=0.0)
    assert services.look().history_seconds == pytest.approx(100.0)


def test_the_clock_may_have_been_stepped_since_the_last_death(tmp_path: Path) -> None:
    # Stamps are an hour ahead of the clock now; the ages come from the living process.
    services = Services(tmp_path)
    keeper = services.add("web", status(100, 0b0100, 11), death(10, 9))
    services.proc.add(100, keeper, "web", age=4.0)
    an_hour_back = Stamp(NOW.boot, NOW.uptime, NOW.wall - 3600)
    assert services.look(an_hour_back).history == (EndedLife(5.0, CRASH, exited(9)),)


def test_a_dead_service_dates_its_deaths_by_the_status_file(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, 0b1100, 10.5), death(10, 9))
    os.utime(services.directory / "web/supervise/status", (NOW.wall - 2, NOW.wall - 2))
    service = services.look()
    assert service.state == BETWEEN
    assert service.history is not None
    assert service.history[0].age_seconds == pytest.approx(2.5)


def test_stopped_by_hand_is_down_and_not_wanted(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, 0b1000, 10, 15), death(10, 143, 15))
    service = services.look()
    assert (service.state, service.wanted_up) == (DOWN, False)
    assert [one.kind for one in service.history or ()] == [MANUAL]


def test_a_crasher_that_was_stopped_by_hand_is_no_give_up(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, 0b1000, 10), death(10, 9))
    assert services.look().state == DOWN


@pytest.mark.parametrize("script", ["exit 125\n", "s6-permafailon 60 5 1-255\n"])
def test_a_finish_script_that_gives_up_is_seen(tmp_path: Path, script: str) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, 0b1000, 10), death(10, 9))
    (services.directory / "web/finish").write_text("#!/bin/sh\n" + script)
    service = services.look()
    assert (service.state, service.last_exit) == (GAVE_UP, exited(9))


def test_a_run_script_that_never_started_is_between_lives(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", status(0, 0b1100))
    (services.directory / "web/run").unlink()
    service = services.look()
    assert (service.state, service.reason) == (BETWEEN, "it has no run script")


def test_an_unknown_version_is_unseen_and_not_a_verdict(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.add("web", bytes(51))
    assert services.look().state == UNSEEN


def test_without_a_tally_it_says_what_it_could_not_see(tmp_path: Path) -> None:
    services = Services(tmp_path)
    keeper = services.add("web", status(100, 0b0100), b"torn")
    services.proc.add(100, keeper, "web", age=4.0)
    service = services.look()
    assert (service.history, service.exact) == (None, False)
    assert "death tally" in service.unseen

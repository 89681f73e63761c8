"""supervisord: its configuration, its log as history, and a fake one that answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from sides.proctree import Proc
from sides.supervisord import Supervisord, info
from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    UP,
    EndedLife,
    Exit,
    Service,
    exited,
)
from twiceshy.flapping.supervisors import Instance, single_daemon, supervisord
from twiceshy.flapping.supervisors.local_http import Server

DATA = Path(__file__).parent / "data/flapping"
CAPTURED = (DATA / "supervisord-4.2.5.log").read_text()

CONFIGURATION = """
[unix_http_server]
file=%(here)s/sup.sock  ; the path
username=admin
password=sec;ret
[inet_http_server]
port = *:9001
[supervisord]
logfile=%(here)s/sup.log
[program:web]
command=/usr/bin/web --port 80
environment=A="%(ENV_HOME)s"
[include]
files = conf.d/*.conf
"""


def test_the_configuration_file() -> None:
    read = supervisord.parse_configuration(CONFIGURATION, "/etc/sup")
    assert read == supervisord.Configuration(
        (Server("/etc/sup/sup.sock", "admin", "sec;ret"), Server("http://127.0.0.1:9001")),
        {("/usr/bin/web", "--port", "80"): "web"},
        ("conf.d/*.conf",),
    )


def test_a_file_that_is_none() -> None:
    with pytest.raises(ValueError):
        supervisord.parse_configuration("not = a file\n", "/")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("supervisord", "-n", "-c", "/a.conf"), "/a.conf"),
        (("python3", "/usr/bin/supervisord", "-c/a.conf"), "/a.conf"),
        (("supervisord", "--configuration=/a.conf"), "/a.conf"),
        (("supervisord", "--configuration", "/a.conf"), "/a.conf"),
        (("supervisord", "-n"), ""),
    ],
)
def test_the_configuration_is_named_on_the_command_line(
    words: tuple[str, ...], expected: str
) -> None:
    assert single_daemon.configured(words) == expected


def test_the_log_tells_every_life() -> None:
    events = [(line.event, line.program) for line in supervisord.parse_log(CAPTURED)]
    assert events[:3] == [("spawned", "clean"), ("spawned", "crash"), ("spawned", "done")]
    assert ("exited", "pool_01") in events


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "WARN exited: web (exit status 7; not expected)",
            EndedLife(5.0, CRASH, exited(7)),
        ),
        (
            "WARN exited: web (terminated by SIGSEGV (core dumped); not expected)",
            EndedLife(5.0, CRASH, Exit("signal SEGV")),
        ),
        (
            "INFO exited: web (exit status 0; expected)",
            EndedLife(5.0, CLEAN, exited(0)),
        ),
        (
            "INFO exited: web (exit status 2; expected)",
            EndedLife(5.0, CLEAN, exited(2)),
        ),
        ("WARN stopped: web (terminated by SIGTERM)", EndedLife(5.0, MANUAL, Exit("signal TERM"))),
        (
            "INFO stopped: web (exit status 0)",
            EndedLife(5.0, MANUAL, exited(0)),
        ),
    ],
)
def test_a_death_is_told_from_a_stop_by_hand(line: str, expected: EndedLife) -> None:
    (parsed,) = supervisord.parse_log(f"2026-11-21 10:07:09,372 {line}\n")
    assert supervisord.ended(parsed, 5.0) == expected


def test_the_zone_of_the_log_is_found_by_a_spawn_whose_time_is_known() -> None:
    text = "2026-11-21 12:07:09,372 INFO spawned: 'web' with pid 7\n"
    lines = supervisord.parse_log(text)
    start = int(supervisord.time_of("2026-11-21 10:07:09"))
    assert supervisord.ahead_of_utc(lines, {"web": start}) == 7200.0
    assert supervisord.ahead_of_utc(lines, {"other": start}) is None


Serve = Callable[..., Instance]
CLOCK = supervisord.time_of("2026-11-21 10:08:00")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a fake supervisord."""
    running = []

    def started(processes: list[dict[str, Any]], log: str = "", pid: int = 9) -> Instance:
        running.append(Supervisord(tmp_path / "sock", processes, log, pid))
        return Instance("supervisord", str(tmp_path / "sock"))

    yield started
    for one in running:
        one.close()


def one(looked: list[Service]) -> Service:
    """The only service."""
    (service,) = looked
    return service


@pytest.mark.parametrize(
    ("reported", "state", "wanted_up", "reason"),
    [
        (info("web", "STOPPED"), DOWN, False, ""),
        (info("web", "STOPPING", pid=100), DOWN, False, ""),
        (info("web", "EXITED", stop=5, now=900), DOWN, False, ""),
        (
            info("web", "BACKOFF", spawnerr="Exited too quickly"),
            BETWEEN,
            True,
            "Exited too quickly",
        ),
        (
            info("web", "FATAL", spawnerr="can't find command '/x'"),
            GAVE_UP,
            True,
            "can't find command '/x'",
        ),
        (
            info("web", "EXITED", spawnerr="Bad exit code 7", exitstatus=7, stop=899, now=900),
            BETWEEN,
            True,
            "",
        ),
        (
            info("web", "EXITED", spawnerr="Bad exit code 7", exitstatus=7, stop=800, now=900),
            GAVE_UP,
            True,
            "its exit was unexpected, and autorestart=false leaves it down",
        ),
    ],
)
def test_the_states(
    tmp_path: Path, serve: Serve, reported: dict[str, Any], state: str, wanted_up: bool, reason: str
) -> None:
    proc = Proc(tmp_path / "proc")
    service = one(supervisord.services(serve([reported]), proc.table()))
    assert (service.state, service.wanted_up, service.reason) == (state, wanted_up, reason)


def test_a_crash_loop_has_its_history_although_it_runs(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    identity = proc.add(102, 9, "web", age=10.0)
    log = (
        "2026-11-21 10:07:00,000 INFO supervisord started with pid 9\n"
        "2026-11-21 10:07:01,000 INFO spawned: 'web' with pid 100\n"
        "2026-11-21 10:07:04,000 WARN exited: web (exit status 7; not expected)\n"
        "2026-11-21 10:07:05,000 INFO spawned: 'web' with pid 101\n"
        "2026-11-21 10:07:48,000 WARN stopped: web (terminated by SIGTERM)\n"
        "2026-11-21 10:07:50,000 INFO spawned: 'web' with pid 102\n"
    )
    start = int(supervisord.time_of("2026-11-21 10:07:50"))
    web = info("web", "RUNNING", pid=102, start=start, stop=start - 2, now=int(CLOCK))
    service = one(supervisord.services(serve([web], log), proc.table()))
    assert service == Service(
        "web",
        "supervisord",
        UP,
        True,
        identity,
        10.0,
        history=(
            EndedLife(56.0, CRASH, exited(7), 3.0),
            EndedLife(12.0, MANUAL, Exit("signal TERM"), 43.0),
        ),
        history_seconds=60.0,
        exact=True,
        last_exit=Exit("signal TERM"),
        next="supervisorctl tail -2000 web",
    )


def test_a_pool_is_judged_by_member(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(100, 9, "worker", age=60.0)
    proc.add(101, 9, "worker", age=10.0)
    log = (
        "2026-11-21 10:07:00,000 INFO spawned: 'pool_00' with pid 100\n"
        "2026-11-21 10:07:49,000 WARN exited: pool_01 (exit status 5; not expected)\n"
        "2026-11-21 10:07:50,000 INFO spawned: 'pool_01' with pid 101\n"
    )
    members = [
        info("pool_00", "RUNNING", group="pool", pid=100, now=int(CLOCK)),
        info("pool_01", "RUNNING", group="pool", pid=101, now=int(CLOCK)),
    ]
    looked = supervisord.services(serve(members, log), proc.table())
    assert [(s.name, len(s.history or ())) for s in looked] == [
        ("pool:pool_00", 0),
        ("pool:pool_01", 1),
    ]


def test_two_programs_of_one_name_have_no_history(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    log = "2026-11-21 10:07:49,000 WARN exited: w (exit status 5; not expected)\n"
    reported = [info("w", "STOPPED", group="a"), info("w", "STOPPED", group="b")]
    looked = supervisord.services(serve(reported, log), proc.table())
    assert [(s.name, s.history, s.exact) for s in looked] == [
        ("a:w", None, False),
        ("b:w", None, False),
    ]


def test_without_a_log_there_is_no_history(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    service = one(supervisord.services(serve([info("web", "STOPPED")]), proc.table()))
    assert (service.history, service.exact) == (None, False)


def test_a_clock_step_since_the_last_spawn_is_taken_back(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(100, 9, "web", age=3610.0)
    log = (
        "2026-11-21 10:07:48,000 WARN exited: web (exit status 7; not expected)\n"
        "2026-11-21 10:07:50,000 INFO spawned: 'web' with pid 100\n"
    )
    # The clock says 10 seconds, the process is an hour older: it was stepped back.
    web = info("web", "RUNNING", pid=100, now=int(CLOCK))
    service = one(supervisord.services(serve([web], log), proc.table()))
    assert service.history is not None
    assert service.history[0].age_seconds == pytest.approx(3612.0)


def test_a_socket_that_nobody_listens_at_is_its_outage(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    instance = Instance("supervisord", str(tmp_path / "none.sock"))
    service = one(supervisord.services(instance, proc.table()))
    assert (service.name, service.state) == ("supervisord", GAVE_UP)


def test_a_stranger_sees_its_children_as_far_as_they_can_be_told_apart(tmp_path: Path) -> None:
    configuration = tmp_path / "sup.conf"
    configuration.write_text("[program:web]\ncommand=/usr/bin/web --port 80\n")
    proc = Proc(tmp_path / "proc")
    proc.add(9, 1, "/usr/bin/python3", "/usr/bin/supervisord", "-c", str(configuration),
             comm="supervisord")  # fmt: skip
    proc.add(100, 9, "/usr/bin/python3", "/usr/bin/web", "--port", "80", age=70.0)
    proc.add(101, 9, "/usr/bin/worker", age=50.0)
    youngest = proc.add(102, 9, "/usr/bin/worker", age=40.0)
    (instance,) = supervisord.instances(proc.table())
    assert instance == Instance("supervisord", str(configuration), 9)
    looked = supervisord.services(instance, proc.table())
    assert [(s.name, s.state, s.age_seconds) for s in looked] == [
        ("web", UP, 70.0),
        ("worker", UP, 40.0),
    ]
    assert looked[1].incarnation == youngest
    assert looked[0].unseen

"""monit: its control file, its XML and its log, and a fake httpd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from sides.monit import Monit, answer, process
from sides.proctree import NOW, Proc
from twiceshy.flapping.service import (
    BETWEEN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    UNSEEN,
    UP,
    EndedLife,
    Exit,
    Service,
)
from twiceshy.flapping.supervisors import Instance, monit
from twiceshy.flapping.supervisors.local_http import Server

DATA = Path(__file__).parent / "data/flapping"
XML = (DATA / "monit-5.33-status.xml").read_bytes()
LOG = (DATA / "monit-5.33.log").read_text()

CONTROL = """
set daemon 120            # check services at 2-minute intervals
set log /var/log/monit.log
set httpd port 2812 and
    use address localhost  # only accept connection from localhost
    allow localhost
    allow admin:"secret word"
    allow @monit
include /etc/monit/conf.d/*
check process web with pidfile /run/web.pid
    if failed port 80 then restart
"""


def test_the_control_file() -> None:
    assert monit.parse_control(CONTROL) == monit.Control(
        Server("http://127.0.0.1:2812", "admin", "secret word"),
        "/var/log/monit.log",
        ("/etc/monit/conf.d/*",),
    )


def test_a_control_file_with_a_unix_socket_and_syslog() -> None:
    text = "set log syslog\nset httpd unixsocket /run/monit.sock allow u:p\n"
    assert monit.parse_control(text) == monit.Control(Server("/run/monit.sock", "u", "p"))


def test_monits_xml() -> None:
    seen = {one.name: (one.pid > 0, one.is_monitored, one.mode) for one in monit.parse_status(XML)}
    assert seen == {
        "ok": (False, False, 0),
        "flap": (True, True, 0),
        "gaveup": (False, False, 0),
        "byhand": (False, False, 0),
        "missing": (False, True, 0),
        "passive": (False, True, monit.PASSIVE),
    }


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"<monit>"])
def test_anything_else_is_not_monits_xml(content: bytes) -> None:
    with pytest.raises(ValueError):
        monit.parse_status(content)


def test_the_log_tells_what_monit_did() -> None:
    lines = monit.parse_log(LOG, NOW.wall)
    assert (1795255638.0, "ok", "process is not running") in lines
    ends = monit.lives(lines, "gaveup", [100.0] * len(lines))
    # The first of three was the start of a process that monit found absent at its own start.
    assert ends == (EndedLife(100.0, CRASH, Exit("process is not running")),) * 2


def test_the_stamps_of_older_monits_have_no_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    monit.time.tzset()
    (line,) = monit.parse_log(
        "[UTC Nov 21 10:07:18] info     : 'web' trying to restart\n", NOW.wall
    )
    assert line == (1795255638.0, "web", "trying to restart")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ok", (monit.Unmonitored.BY_USER, "")),
        ("byhand", (monit.Unmonitored.BY_USER, "")),
        (
            "gaveup",
            (
                monit.Unmonitored.BY_LIMIT,
                "service restarted 3 times within 4 cycles(s) - unmonitor",
            ),
        ),
        ("flap", (monit.Unmonitored.UNKNOWN, "")),
    ],
)
def test_only_the_log_tells_monits_own_limit_from_an_operator(
    name: str, expected: tuple[monit.Unmonitored, str]
) -> None:
    assert monit.unmonitored_by(monit.parse_log(LOG, NOW.wall), name) == expected


Serve = Callable[..., Instance]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a fake monit; the password is in the environment."""
    running = []
    monkeypatch.setenv("MONIT_USERNAME", "admin")
    monkeypatch.setenv("MONIT_PASSWORD", "monit")

    def started(*services: str, log: str = "") -> Instance:
        running.append(Monit(tmp_path / "sock", answer(*services), log))
        return Instance("monit", str(tmp_path / "sock"))

    yield started
    for one in running:
        one.close()


def stamped(seconds_ago: int, text: str) -> str:
    """A line of the log of monit 5.33."""
    import time

    at = time.gmtime(NOW.wall - seconds_ago)
    return f"[{time.strftime('%Y-%m-%dT%H:%M:%S', at)}+0000] info     : {text}\n"


def states(looked: list[Service]) -> list[tuple[str, str, object]]:
    """(name, state, wanted up)"""
    return [(s.name, s.state, s.wanted_up) for s in looked]


def test_every_state_as_monit_tells_it(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    identity = proc.add(100, 1, "web", age=77.0)
    instance = serve(
        process("web", 100),
        process("dead", status=512),
        process("vanished", 101),
        process("limit", monitor=0),
        process("byhand", monitor=0),
        process("unknown", monitor=0),
        process("passive", status=512, mode=monit.PASSIVE),
        process("manual", monitor=0, mode=monit.ON_REQUEST),
        log=stamped(900, "'byhand' unmonitor on user request")
        + stamped(800, "'limit' service restarted 3 times within 5 cycles(s) - unmonitor"),
    )
    looked = monit.services(instance, proc.table())
    assert states(looked) == [
        ("web", UP, True),
        ("dead", BETWEEN, True),
        ("vanished", BETWEEN, True),
        ("limit", GAVE_UP, True),
        ("byhand", DOWN, False),
        ("unknown", GAVE_UP, True),
        ("passive", GAVE_UP, True),
        ("manual", DOWN, False),
    ]
    assert (looked[0].incarnation, looked[0].age_seconds) == (identity, 77.0)
    assert "restarted 3 times within 5 cycles" in looked[3].reason


def test_the_log_page_is_the_history(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(100, 1, "web", age=3.0)
    log = (
        stamped(600, "'host' Monit 5.33.0 started")
        + stamped(600, "'web' process is not running")
        + stamped(600, "'web' trying to restart")
        + stamped(60, "'web' process is not running")
        + stamped(60, "'web' trying to restart")
        + stamped(30, "'web' restart on user request")
        + stamped(10, "'web' failed protocol test [HTTP] at [localhost]:80 -- <refused>")
        + stamped(10, "'web' trying to restart")
    )
    (service,) = monit.services(serve(process("web", 100), log=log), proc.table())
    assert service.history == (
        EndedLife(60.0, CRASH, Exit("process is not running")),
        EndedLife(30.0, MANUAL, Exit("manual restart")),
        EndedLife(10.0, CRASH, Exit("failed protocol test [HTTP] at [localhost]:80 -- <refused>")),
    )
    assert service.history_seconds == 600.0


def test_a_wrong_password_is_unseen_and_says_what_to_do(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = serve(process("web", 100))
    monkeypatch.setenv("MONIT_PASSWORD", "wrong")
    (service,) = monit.services(instance, Proc(tmp_path / "proc").table())
    assert service.state == UNSEEN
    assert "$MONIT_USERNAME" in service.unseen


def test_a_monit_that_does_not_answer_is_its_outage(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    instance = Instance("monit", str(tmp_path / "none.sock"))
    assert states(monit.services(instance, proc.table())) == [("monit", GAVE_UP, True)]


def test_a_control_file_that_may_not_be_read_is_unseen(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    instance = Instance("monit", str(tmp_path / "monitrc"))
    (service,) = monit.services(instance, proc.table())
    assert service.state == UNSEEN
    assert "sudo" in service.unseen


def test_a_typed_command_is_no_daemon(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(100, 1, "monit", "-c", "/etc/my/monitrc")
    proc.add(101, 1, "monit", "-c", "/etc/my/monitrc", "status")
    assert monit.instances(proc.table()) == [Instance("monit", "/etc/my/monitrc", 100)]

"""perp: packets as perpd 2.05 sends them, perpls' text, and a fake perpd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from sides import perpd
from sides.proctree import Proc
from twiceshy.flapping.service import BETWEEN, DOWN, GAVE_UP, NO_EXIT, UP, Exit, exited
from twiceshy.flapping.supervisors import Instance, perp

DATA = Path(__file__).parent / "data/flapping"


def captured(name: str) -> bytes:
    """A packet that perpd 2.05 sent."""
    for line in (DATA / "perpd-2.05-packets.txt").read_text().splitlines():
        if line.startswith(f"{name} "):
            return bytes.fromhex(line.split()[1])
    raise LookupError(name)


def test_the_question_is_19_bytes_little_endian() -> None:
    assert perp.query(0x0102, 0x0304) == bytes.fromhex("02 51 10 0201000000000000 0403000000000000")


@pytest.mark.parametrize(
    ("name", "pid", "flags", "log_pid"),
    [
        ("ok", 5430, 0, None),
        ("down", 0, perp.WANT_DOWN, None),
        ("slowreset", 7125, perp.RESET, None),
        ("withlog", 5436, 0, 5435),
    ],
)
def test_a_status_reply(name: str, pid: int, flags: int, log_pid: int | None) -> None:
    reply = perp.parse_reply(captured(name))
    assert (reply.main.pid, reply.main.flags) == (pid, flags)
    assert (reply.log.pid if reply.log else None) == log_pid


def test_the_stamps_are_big_endian_whatever_the_protocols_text_says() -> None:
    reply = perp.parse_reply(captured("ok"))
    assert reply.main.since == pytest.approx(0x6B0170FC, abs=1)


def test_a_refusal_has_its_errno() -> None:
    with pytest.raises(perp.Refused) as refused:
        perp.parse_reply(captured("inactive"))
    assert refused.value.number == 20


@pytest.mark.parametrize("packet", [b"", b"\x02S\x42", b"\x03S\x00", b"\x02X\x00", b"HTTP/1.0"])
def test_anything_else_is_no_packet_of_protocol_2(packet: bytes) -> None:
    with pytest.raises(perp.Protocol):
        perp.parse_reply(packet)


def test_perpls_g() -> None:
    listed = perp.parse_perpls((DATA / "perpls-2.05-g.txt").read_text())
    assert [(one.name, one.panel, one.pids) for one in listed] == [
        ("clean", ("+", "++r", "---"), (15477, 0)),
        ("down", ("+", "...", "---"), (0, 0)),
        ("inactive", ("-", "---", "---"), (0, 0)),
        ("instant", ("+", "+++", "---"), (15424, 0)),
        ("ok", ("+", "+++", "---"), (5430, 0)),
        ("slow", ("+", "!..", "---"), (0, 0)),
        ("slowreset", ("+", "!..", "---"), (0, 0)),
        ("withlog", ("+", "+++", "+++"), (5436, 5435)),
    ]


@pytest.mark.parametrize(
    ("panel", "flags"),
    [
        ("+++", 0),
        ("...", perp.WANT_DOWN),
        ("!..", 0),
        ("!++", perp.WANT_DOWN),
        ("++r", perp.RESET),
        ("+o+", perp.ONCE),
    ],
)
def test_the_three_signs_of_perpls(panel: str, flags: int) -> None:
    half = perp.half_listed(panel, 7)
    assert half is not None
    assert half.flags == flags


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("/bin/sh", "./rc.main", "reset", "web", "exit", "3"), exited(3)),
        (("./rc.main", "reset", "web", "signal", "11", "SIGSEGV"), Exit("signal SEGV")),
        # perpd hands over a buffer that is out of scope; today's compilers make garbage of it.
        (("/bin/sh", "./rc.main", "reset", "web", "exit", "?q?k"), NO_EXIT),
        (("./rc.main", "start", "web"), NO_EXIT),
    ],
)
def test_reset_is_told_how_it_ended(words: tuple[str, ...], expected: Exit) -> None:
    assert perp.reset_exit(words) == expected


Serve = Callable[[dict[str, bytes]], perpd.Perpd]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a fake perpd on tmp_path/perp."""
    running = []

    def started(services: dict[str, bytes]) -> perpd.Perpd:
        running.append(perpd.Perpd(tmp_path / "perp", services))
        return running[-1]

    yield started
    for one in running:
        one.close()


def test_every_state_as_perpd_tells_it(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(9, 1, "perpd", str(tmp_path / "perp"))
    identity = proc.add(100, 9, "web", age=77.0)
    proc.add(101, 9, "perpd", str(tmp_path / "perp"), age=0.5)
    proc.add(102, 9, "/bin/sh", "./rc.main", "reset", "resetting", "exit", "4")
    serve(
        {
            "web": perpd.status(perpd.half(100)),
            "governed": perpd.status(perpd.half(101)),
            "resetting": perpd.status(perpd.half(102, perp.RESET)),
            "stopped": perpd.status(perpd.half(0, perp.WANT_DOWN)),
            "dead": perpd.status(perpd.half(0)),
            "once": perpd.status(perpd.half(0, perp.ONCE)),
        }
    )
    (tmp_path / "perp/inactive").mkdir()
    (instance,) = perp.instances(proc.table())
    assert instance == Instance("perp", str(tmp_path / "perp"), 9)
    looked = perp.services(instance, proc.table())
    assert [(s.name, s.state, s.wanted_up, s.last_exit) for s in looked] == [
        ("dead", BETWEEN, True, NO_EXIT),
        ("governed", BETWEEN, True, NO_EXIT),
        ("once", DOWN, False, NO_EXIT),
        ("resetting", BETWEEN, True, exited(4)),
        ("stopped", DOWN, False, NO_EXIT),
        ("web", UP, True, NO_EXIT),
    ]
    assert (looked[-1].incarnation, looked[-1].age_seconds) == (identity, 77.0)


def test_a_log_is_a_service_of_its_own(tmp_path: Path, serve: Serve) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(100, 9, "web", age=77.0)
    proc.add(101, 9, "tinylog", "/var/log/web", age=5.0)
    serve({"web": perpd.status(perpd.half(100), perpd.half(101, 1))})
    looked = perp.services(Instance("perp", str(tmp_path / "perp")), proc.table())
    assert [(s.name, s.age_seconds) for s in looked] == [("web", 77.0), ("web/log", 5.0)]


def test_a_service_that_perpd_has_not_seen_yet_is_left_out(tmp_path: Path, serve: Serve) -> None:
    serve({"web": perpd.refusal(20)})
    proc = Proc(tmp_path / "proc")
    assert perp.services(Instance("perp", str(tmp_path / "perp")), proc.table()) == []


def test_a_socket_that_nobody_listens_at_is_perpds_outage(tmp_path: Path) -> None:
    (tmp_path / "perp").mkdir()
    proc = Proc(tmp_path / "proc")
    (looked,) = perp.services(Instance("perp", str(tmp_path / "perp")), proc.table())
    assert (looked.name, looked.state) == ("perpd", GAVE_UP)


def test_a_stranger_sees_perpds_children(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(9, 1, "perpd", "/etc/perp")
    proc.add(100, 9, "/bin/sh", "./rc.main", "start", "web", age=7.0)
    proc.add(101, 9, "rsyslogd", "-n", age=70.0)
    instance = Instance("perp", "/etc/perp", 9)
    looked = perp.children_of(instance, "not allowed", proc.table())
    assert [(s.name, s.state, s.age_seconds, s.unseen) for s in looked] == [
        ("rsyslogd", UP, 70.0, "not allowed"),
        ("web", UP, 7.0, "not allowed"),
    ]

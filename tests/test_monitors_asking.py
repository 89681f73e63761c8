"""How monitors are asked: FIFOs, sockets, and whose fault it is when nothing comes back."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from sides.monitors import talker
from twiceshy.kit import http
from twiceshy.kit.http import HttpError, TlsFault, Untrusted
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, WARNING, State
from twiceshy.monitor_liveness.monitors import answers, fifo, sockets
from twiceshy.monitor_liveness.monitors.fifo import Intake

# A command FIFO


def test_a_fifo_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "nagios.cmd")
    os.mkfifo(path)
    assert fifo.intake_of(path) == fifo.Fifo(Intake.NO_READER, f"no process reads {path}")
    with pytest.raises(fifo.NotSubmitted, match="no process reads"):
        fifo.submit(path, "x\n")


def test_a_line_gets_to_the_reader_of_a_fifo(tmp_path: Path) -> None:
    path = str(tmp_path / "nagios.cmd")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert fifo.intake_of(path).intake is Intake.READER
        fifo.submit(path, "[1] DISABLE_NOTIFICATIONS\n")
        assert os.read(reader, 100) == b"[1] DISABLE_NOTIFICATIONS\n"
        with pytest.raises(fifo.NotSubmitted, match="is full"):
            list(map(partial(fifo.submit, path), ["x" * 4000] * 100))
    finally:
        os.close(reader)


def test_a_file_in_place_of_the_fifo_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "nagios.cmd"
    assert fifo.intake_of(str(path)).intake is Intake.MISSING
    path.write_text("")
    found = fifo.intake_of(str(path))
    assert found == fifo.Fifo(Intake.NOT_A_FIFO, f"{path} is a regular file, not a FIFO")
    with pytest.raises(fifo.NotSubmitted):
        fifo.submit(str(path), "x")
    assert path.read_text() == ""


# A socket


def test_the_end_of_the_stream_is_enough_if_anything_was_said(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with talker(b"some words", path=path):
        answer = sockets.converse(path, b"?", lambda _: False, 2.0)
    assert answer.body == b"some words"


def test_a_socket_that_says_too_much_is_too_large(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with talker(b"x" * 5000, path=path), pytest.raises(http.TooLarge):
        sockets.converse(path, b"?", lambda _: False, 2.0, most_bytes=1000)


# Whose fault


@pytest.mark.parametrize(
    ("failure", "state", "is_fleeting", "is_planned"),
    [
        (http.TimedOut("no"), CRITICAL, False, False),
        (http.ConnectTimedOut("no", host="a"), CRITICAL, False, True),
        (http.Refused("no", host="a"), CRITICAL, True, True),
        (http.Unreachable("no", host="a"), CRITICAL, False, True),
        (http.Missing("no"), CRITICAL, True, True),
        (http.Closed("no"), CRITICAL, True, False),
        (http.Malformed("no"), CRITICAL, False, False),
        (http.TooLarge("no"), CRITICAL, False, False),
        (http.NotAllowed("no"), UNKNOWN, False, False),
        (http.Rejected("no"), UNKNOWN, False, False),
        (http.Forbidden("no"), UNKNOWN, False, False),
        (answers.NotThere("no"), UNKNOWN, False, False),
        (Untrusted("no", TlsFault.EXPIRED), CRITICAL, False, False),
        (Untrusted("no", TlsFault.NOT_YET_VALID), CRITICAL, False, False),
        (Untrusted("no", TlsFault.UNKNOWN_CA), UNKNOWN, False, False),
        (Untrusted("no", TlsFault.WRONG_NAME), WARNING, False, False),
        (Untrusted("no", TlsFault.HANDSHAKE), WARNING, False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HttpError) else "",
)
def test_an_answer_that_does_not_come(
    failure: HttpError, state: State, is_fleeting: bool, is_planned: bool
) -> None:
    component = answers.unanswered(failure, "restart it")
    found = (component.state, component.is_fleeting, component.is_planned)
    assert found == (state, is_fleeting, is_planned)


def test_a_host_that_is_silent_is_pinged_from_here() -> None:
    component = answers.unanswered(http.ConnectTimedOut("no", host="far"), "restart it")
    assert (component.next, component.next_is_here) == ("ping -c 3 far; ip route get far", True)
    component = answers.unanswered(http.Refused("no", host="far"), "restart it")
    assert (component.next, component.next_is_here) == ("restart it", False)

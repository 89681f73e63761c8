"""HTTP to supervisors: what each failure of the other side is, and what it means for the check."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from sides.proctree import Proc
from twiceshy.flapping.service import GAVE_UP, UNSEEN
from twiceshy.flapping.supervisors import Instance, local_http, monit, supervisord
from twiceshy.flapping.supervisors.local_http import Server
from twiceshy.kit import http

OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Speaker:
    """Reads a request at a unix socket, and says `answer` whatever it was; None: nothing at all."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with self.request.makefile("rb") as lines:
                    length = 0
                    while (line := lines.readline()).strip():
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split()[1])
                    lines.read(length)
                if answer is None:
                    time.sleep(1)
                else:
                    self.request.sendall(answer)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


Speak = Callable[["bytes | None"], str]


@pytest.fixture
def speak(tmp_path: Path) -> Iterator[Speak]:
    """Starts a server that says so; returns its address."""
    running = []

    def started(answer: bytes | None) -> str:
        running.append(Speaker(tmp_path / "sock", answer))
        return str(tmp_path / "sock")

    yield started
    for speaker in running:
        speaker.close()


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()


def test_an_answer_comes_with_status_and_body(speak: Speak) -> None:
    answer = local_http.ask(Server(speak(OK_ANSWER)), "/", 1000)
    assert (answer.status, answer.body) == (200, b"hello")


def test_no_more_of_an_answer_is_read_than_is_wanted(speak: Speak) -> None:
    assert local_http.ask(Server(speak(OK_ANSWER)), "/", 2).body == b"he"


@pytest.mark.parametrize(
    ("answer", "error"), [(b"", http.Closed), (b"SSH-2.0-x\r\n", http.Malformed)], ids=str
)
def test_what_is_no_answer_is_an_error(
    speak: Speak, answer: bytes, error: type[http.HttpError]
) -> None:
    with pytest.raises(error):
        local_http.ask(Server(speak(answer)), "/", 1000)


def test_a_server_that_says_nothing_is_not_waited_for(
    speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_http, "ANSWER_SECONDS", 0.2)
    with pytest.raises(http.TimedOut):
        local_http.ask(Server(speak(None)), "/", 1000)


def test_a_socket_that_is_not_there_and_one_that_is_deserted(speak: Speak, tmp_path: Path) -> None:
    with pytest.raises(http.Unreachable):
        local_http.ask(Server(str(tmp_path / "none")), "/", 1000)
    with pytest.raises(http.Refused):
        local_http.ask(Server("http://127.0.0.1:1"), "/", 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:2812", True),
        ("unix:///run/s.sock", True),
        ("/nowhere/s.sock", True),
        ("/etc/monitrc", False),
    ],
)
def test_an_address_is_told_from_a_configuration_file(text: str, expected: bool) -> None:
    assert local_http.is_address(text) is expected


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (status("401 Unauthorized"), UNSEEN, "requires a user name and a password"),
        (status("500 Oops"), GAVE_UP, "it answers with HTTP status 500"),
        (OK_ANSWER, GAVE_UP, "it does not speak XML-RPC"),
        (b"", GAVE_UP, "does not answer at"),
    ],
    ids=["a login", "an error", "another language", "nothing"],
)
def test_what_a_supervisord_may_answer(
    speak: Speak, tmp_path: Path, answer: bytes, state: str, reason: str
) -> None:
    instance = Instance("supervisord", speak(answer))
    (service,) = supervisord.services(instance, Proc(tmp_path / "proc").table())
    assert (service.name, service.state) == ("supervisord", state)
    assert reason in service.reason + service.unseen


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (status("403 Forbidden"), UNSEEN, "requires a user name and a password"),
        (status("500 Oops"), UNSEEN, "answers with HTTP status 500"),
        (OK_ANSWER, UNSEEN, "does not answer like monit"),
        (b"", GAVE_UP, "does not answer at"),
    ],
    ids=["a login", "an error", "another language", "nothing"],
)
def test_what_a_monit_may_answer(
    speak: Speak, tmp_path: Path, answer: bytes, state: str, reason: str
) -> None:
    instance = Instance("monit", speak(answer))
    (service,) = monit.services(instance, Proc(tmp_path / "proc").table())
    assert (service.name, service.state) == ("monit", state)
    assert reason in service.reason + service.unseen

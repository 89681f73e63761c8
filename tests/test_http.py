"""The transport, against small real servers: slow, endless, rude, encrypted and none at all."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest

from conftest import ROOT
from twiceshy.kit import deadline, http
from twiceshy.kit.http import Request, ask


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; the path says how."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "fields": dict(self.headers),
                "body": self.rfile.read(length).decode(),
            }
        ).encode()
        status = int(self.path[1:4]) if self.path[1:4].isdigit() else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Twice", "a")
        self.send_header("X-Twice", "b")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET
    do_PUT = do_GET

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_: object) -> None:
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def echo(trust: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of an Echo, over TLS with a context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if trust:
        server.socket = trust.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    with serving(server):
        yield f"http{'s' if trust else ''}://127.0.0.1:{server.server_address[1]}"


@contextlib.contextmanager
def behaving(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that does this with every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=served, args=(connection,), daemon=True).start()

        def served(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def dripping(text: bytes, every: float = 0.05) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        for letter in text * 1000:
            connection.sendall(bytes([letter]))
            time.sleep(every)

    return serve


def saying(text: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)

    return serve


def failure(request: Request) -> http.HttpError:
    with pytest.raises(http.HttpError) as caught:
        ask(request)
    return caught.value


def echoed(request: Request) -> dict[str, Any]:
    return dict(json.loads(ask(request).body))


# Questions and answers


def test_a_whole_answer_has_status_fields_body_and_seconds() -> None:
    with echo() as url:
        answer = ask(Request(f"{url}/503/a b?c=d&e"))
    assert (answer.status, answer.url) == (503, f"{url}/503/a b?c=d&e")
    assert answer.header("x-twice") == "a, b"
    assert answer.header("X-None") == ""
    assert json.loads(answer.text)["path"] == "/503/a%20b?c=d&e"
    assert 0 < answer.seconds < 2


def test_a_body_is_posted_and_fields_are_sent() -> None:
    with echo() as url:
        posted = echoed(Request(url, body=b"<x/>", fields=[("Content-Type", "text/xml")]))
        put = echoed(Request(url, method="PUT", body=b"x"))
    assert (posted["method"], posted["path"], posted["body"]) == ("POST", "/", "<x/>")
    assert posted["fields"]["Content-Type"] == "text/xml"
    assert put["method"] == "PUT"


@pytest.mark.parametrize(
    ("how", "header"),
    [
        ({"user": "me", "password": "pä:s"}, "Basic bWU6cMOkOnM="),
        ({"token": "t0k"}, "Bearer t0k"),
        ({"token": "t0k", "user": "me", "password": "x"}, "Basic bWU6eA=="),
        ({}, None),
    ],
    ids=["basic", "bearer", "a user goes before a token", "none"],
)  # fmt: skip
def test_credentials(how: dict[str, Any], header: str | None) -> None:
    with echo() as url:
        assert echoed(Request(url, **how))["fields"].get("Authorization") == header


def test_a_login_in_the_url_is_used_and_not_shown() -> None:
    request = Request("http://me:s%23cret@127.0.0.1:1/x?token=y")
    assert request.where == "http://127.0.0.1:1/x"
    assert "s%23cret" not in str(failure(request))
    with echo() as url:
        fields = echoed(Request(url.replace("//", "//me:s%23cret@")))["fields"]
    assert fields["Authorization"] == "Basic " + base64.b64encode(b"me:s#cret").decode()


def test_secrets_are_not_in_the_representation() -> None:
    assert "s3cret" not in repr(Request("http://x", password="s3cret", token="s3cret"))


def test_a_unix_socket_is_asked_whatever_host_the_url_names(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with serving(UnixServer(path, Echo)):
        said = echoed(Request("http://supervisor/RPC2", unix_socket=path, body=b"x", user="u"))
    assert (said["path"], said["fields"]["Host"]) == ("/RPC2", "localhost")
    assert said["fields"]["Authorization"] == "Basic dTo="


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with behaving(saying(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n")) as url:
        assert ask(Request(url)).status == 302


def test_an_answer_in_chunks() -> None:
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    with behaving(saying(chunks)) as url:
        assert ask(Request(url)).body == b"abcde"


def test_names_are_resolved() -> None:
    with echo() as url:
        assert ask(Request(url.replace("127.0.0.1", "localhost"))).status == 200


# Statuses that are no answers


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(401, http.Rejected, "rejected"), (403, http.Forbidden, "forbidden")],
)
def test_a_rejected_login(status: int, kind: type[http.HttpError], code: str) -> None:
    with echo() as url:
        error = failure(Request(f"{url}/{status}"))
    assert (type(error), error.code, error.host) == (kind, code, "127.0.0.1")


# No answers


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (lambda connection: time.sleep(20), http.TimedOut),
        (dripping(b"HTTP/1.1 200 OK\r\nX-A: b\r\n"), http.TimedOut),
        (dripping(b"X"), http.TimedOut),
        (saying(b""), http.Closed),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), http.Closed),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"), http.Closed),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), http.Malformed),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n"), http.Malformed),
    ],
    ids=[
        "says nothing",
        "drips its headers",
        "drips what is no HTTP",
        "hangs up",
        "hangs up in its body",
        "hangs up in a chunk",
        "speaks SSH",
        "headers without end",
    ],
)  # fmt: skip
def test_a_server_that(serve: Callable[[socket.socket], None], kind: type[http.HttpError]) -> None:
    with behaving(serve) as url:
        began = time.monotonic()
        error = failure(Request(url, seconds=0.5))
    assert type(error) is kind
    assert str(error).isprintable()
    assert time.monotonic() - began < 1.5


def test_a_dripping_body_ends_with_the_deadline() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        dripping(b".")(connection)

    with behaving(serve) as url:
        began = time.monotonic()
        error = failure(Request(url, seconds=0.4))
    assert (error.code, str(error)) == ("timed-out", f"{url} does not answer within 0.4s")
    assert time.monotonic() - began < 1.2


def test_an_endless_body_is_too_large() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with behaving(serve) as url:
        error = failure(Request(url, most_bytes=100_000))
    assert isinstance(error, http.TooLarge)
    assert isinstance(error, http.Malformed)


def test_a_body_is_cut_where_its_beginning_will_do() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)

    with behaving(serve) as url:
        assert ask(Request(url, most_bytes=100_000, cut=True)).body == b"x" * 100_000


def test_a_connection_is_closed_when_its_time_is_over() -> None:
    closed = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        if connection.recv(1) == b"":
            closed.set()

    with behaving(serve) as url:
        failure(Request(url, seconds=0.3))
        assert closed.wait(2)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    error = failure(Request(f"http://127.0.0.1:{port}/"))
    assert (error.code, str(error)) == ("refused", f"nobody listens on http://127.0.0.1:{port}/")


def test_a_socket_that_does_not_exist_and_one_that_may_not_be_opened(tmp_path: Path) -> None:
    missing = failure(Request("http://x/", unix_socket=str(tmp_path / "none")))
    assert (missing.code, isinstance(missing, http.Unreachable)) == ("missing", True)
    (tmp_path / "file").touch()
    assert failure(Request("http://x/", unix_socket=str(tmp_path / "file"))).code == "refused"


def test_a_full_backlog_is_a_server_that_hangs(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(path)
        listening.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(path)
        error = failure(Request("http://x/", unix_socket=path, seconds=0.3))
    assert (error.code, "does not accept connections" in str(error)) == ("timed-out", True)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_name_that_is_none(host: str) -> None:
    assert failure(Request(f"http://{host}/")).code == "missing"


@pytest.mark.parametrize("url", ["http://[::1", "http://x:99999/"])
def test_what_is_no_url(url: str) -> None:
    assert failure(Request(url)).code == "malformed"
    assert not http.is_url(url)


def test_urls() -> None:
    assert http.is_url("https://x:1/y")
    assert not any(map(http.is_url, ("x", "ftp://x", "http:///x", "http://x:0", "localhost:80")))


def test_a_field_that_would_split_the_request_is_not_sent() -> None:
    with echo() as url:
        assert failure(Request(url, token="a\r\nX: y")).code == "malformed"


def test_two_thirds_of_what_the_deadline_leaves_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadline, "remaining", lambda: 1.0)
    assert [http.patience(seconds) for seconds in (9.0, 0.5, 0.0)] == [0.6, 0.5, 0.2]


def test_the_module_costs_no_start() -> None:
    code = (
        "import sys; from twiceshy.kit import http;"
        "print({'http.client', 'ssl', 'socket', 'email', 'urllib.parse'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=ROOT / "checks",
    )  # fmt: skip
    assert done.stdout == "set()\n"


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server `node` and a client signed by it, and another CA."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    place = tmp_path_factory.mktemp("certificates")
    (place / "ext").write_text("subjectAltName=DNS:node\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=CA",
        "req -x509 -newkey rsa:2048 -nodes -keyout o.key -out other.crt -days 2 -subj /CN=Other",
        "req -newkey rsa:2048 -nodes -keyout node.key -out node.csr -subj /CN=node",
        "x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out node.crt -days 2 "
        "-extfile ext",
    ):
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture
def served(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "node.crt", certificates / "node.key")
    return context


def test_a_certificate_of_an_own_ca_under_another_name(
    certificates: Path, served: ssl.SSLContext
) -> None:
    ca = str(certificates / "ca.crt")
    with echo(served) as url:
        assert ask(Request(url, ca_file=ca, tls_name="node")).status == 200
        assert ask(Request(url, insecure=True)).status == 200
        unnamed = failure(Request(url, ca_file=ca))
        unknown = failure(Request(url, ca_file=str(certificates / "other.crt"), tls_name="node"))
        system = failure(Request(url, tls_name="node"))
    for error, fault in (
        (unnamed, http.TlsFault.WRONG_NAME),
        (unknown, http.TlsFault.UNKNOWN_CA),
        (system, http.TlsFault.UNKNOWN_CA),
    ):
        assert isinstance(error, http.Untrusted)
        assert (error.code, error.fault) == ("untrusted", fault)
    assert str(unnamed) == f"the certificate of {url} is for another name"


def test_a_server_that_wants_the_clients_certificate(
    certificates: Path, served: ssl.SSLContext
) -> None:
    served.verify_mode = ssl.CERT_REQUIRED
    served.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the server is not what is tested here
    served.load_verify_locations(certificates / "ca.crt")
    how: dict[str, Any] = {"ca_file": str(certificates / "ca.crt"), "tls_name": "node"}
    mine = {
        "certificate_file": str(certificates / "node.crt"),
        "key_file": str(certificates / "node.key"),
    }
    with echo(served) as url:
        assert ask(Request(url, **how, **mine)).status == 200
        assert failure(Request(url, **how)).code in ("untrusted", "closed")


def test_files_that_cannot_be_used(certificates: Path, served: ssl.SSLContext) -> None:
    with echo(served) as url:
        none = failure(Request(url, ca_file="/nowhere/ca.crt"))
        key = failure(Request(url, ca_file=str(certificates / "ca.key")))
        client = failure(Request(url, certificate_file=str(certificates / "ca.key")))
    assert [error.code for error in (none, key, client)] == ["not-allowed"] * 3
    assert str(none) == "cannot use /nowhere/ca.crt: No such file or directory"


def test_tls_asked_of_a_server_without() -> None:
    with echo() as url:
        error = failure(Request(url.replace("http", "https"), seconds=1))
    assert error.code == "untrusted"


def test_a_handshake_that_never_ends() -> None:
    with behaving(lambda _: time.sleep(20)) as url:
        began = time.monotonic()
        error = failure(Request(url.replace("http", "https"), seconds=0.3))
    assert error.code == "timed-out"
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("verify_code", "fault", "words"),
    [
        (9, http.TlsFault.NOT_YET_VALID,
         "the certificate of x is not valid yet: is a clock wrong?"),
        (10, http.TlsFault.EXPIRED, "the certificate of x has expired"),
        (18, http.TlsFault.UNKNOWN_CA, "the certificate of x is signed by an unknown CA"),
        (62, http.TlsFault.WRONG_NAME, "the certificate of x is for another name"),
        (23, http.TlsFault.HANDSHAKE, "no TLS with x: certificate revoked"),
    ],
)  # fmt: skip
def test_certificates_that_do_not_hold_are_told_apart_by_their_code(
    verify_code: int, fault: http.TlsFault, words: str
) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = verify_code, "certificate revoked"
    made = http.untrusted(error, "x")
    assert (made.fault, str(made)) == (fault, words)

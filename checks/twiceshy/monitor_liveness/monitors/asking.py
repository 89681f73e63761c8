"""Questions over sockets and HTTP, each bounded in time and size, and what went wrong with them.

A hung daemon still accepts connections: the kernel does that for it. So a connection proves
nothing, only an answer does, and every wait here is for the answer as a whole: a server that
drips one byte a second is as hung as one that says nothing.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import errno
import json
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from twiceshy.kit import deadline

# Enough for every status answer of a monitor; an endless body must not become our memory.
MOST_BYTES = 64 * 1024 * 1024

Address = Union[str, tuple[str, int]]


class Trouble(Exception):
    """Why there is no answer.

    kind: `hung` (accepted, not answered in time), `refused` (nobody listens), `missing` (no such
    socket or name), `unreachable` (no way there), `denied` (not allowed to connect), `closed`
    (hung up on without an answer), `login` (HTTP 401), `forbidden` (HTTP 403), `tls` (the
    certificate does not hold), `strange` (an answer that is not one of this monitor).
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text

    @property
    def told(self) -> tuple[str, str]:
        return self.kind, self.text


@dataclass(frozen=True)
class Answer:
    """What was answered, and how long it took."""

    body: bytes
    seconds: float
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def budget(seconds: float) -> float:
    """A probe's time: what was wished, but never more than a third short of what -t leaves."""
    return max(0.2, min(seconds, deadline.remaining() * 0.6))


def at_once(questions: Sequence[Callable[[], Any]]) -> list[Any]:
    """The answers to all questions, in their order, after as long as the slowest one takes.

    What hangs costs its own time and nobody else's. An exception of a question comes out of here.
    """
    if len(questions) < 2:
        return [question() for question in questions]
    with concurrent.futures.ThreadPoolExecutor(len(questions)) as threads:
        return list(threads.map(lambda question: question(), questions))


def named(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def converse(
    address: Address,
    send: bytes,
    enough: Callable[[bytes], bool],
    seconds: float,
    most: int = MOST_BYTES,
) -> Answer:
    """Send something to a Unix socket (a path) or a TCP port and read until it is `enough`.

    The end of the stream is enough too, if anything was said. Trouble otherwise.
    """
    began = time.monotonic()
    ends = began + budget(seconds)
    where = named(address)
    with deadline.doing(f"asking {where}"):
        try:
            connection = _connected(address, ends)
        except OSError as error:
            raise _connecting_failed(error, address, where, time.monotonic() - began) from error
        received = b""
        with connection:
            try:
                if send:
                    connection.sendall(send)
                while not enough(received):
                    left = ends - time.monotonic()
                    if left <= 0:
                        raise socket.timeout
                    connection.settimeout(left)
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    received += piece
                    if len(received) > most:
                        raise Trouble("strange", f"{where} answers without end")
            except socket.timeout:
                raise Trouble(
                    "hung",
                    f"{where} accepts connections but does not answer within "
                    f"{time.monotonic() - began:.1f}s",
                ) from None
            except OSError as error:
                raise Trouble("closed", f"{where} hung up: {error.strerror or error}") from error
    if not received and not enough(received):
        raise Trouble("closed", f"{where} hung up without a word")
    return Answer(received, time.monotonic() - began)


def _connected(address: Address, ends: float) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.05, ends - time.monotonic()))
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection(address, max(0.05, ends - time.monotonic()))


def _connecting_failed(error: OSError, address: Address, where: str, took: float) -> Trouble:
    if isinstance(error, socket.timeout) and not isinstance(address, str):
        return Trouble("unreachable", f"{where} cannot be reached (waited {took:.1f}s)")
    if isinstance(error, (socket.timeout, BlockingIOError)):
        # A full backlog: earlier probes are still queued at a daemon that accepts nothing.
        return Trouble("hung", f"{where} does not accept connections (waited {took:.1f}s)")
    if isinstance(error, PermissionError):
        return Trouble("denied", f"not allowed to connect to {where}")
    if isinstance(error, ConnectionRefusedError):
        return Trouble("refused", f"nobody listens on {where}")
    if isinstance(error, FileNotFoundError):
        return Trouble("missing", f"{where} does not exist")
    if isinstance(error, socket.gaierror):
        return Trouble("missing", f"the name of {where} cannot be resolved: {error.strerror}")
    return Trouble("unreachable", f"{where} cannot be reached: {error.strerror or error}")


def fetch(
    url: str,
    seconds: float,
    *,
    user: str = "",
    password: str = "",
    token: str = "",
    ca_file: str = "",
    tls_name: str = "",
    insecure: bool = False,
    post: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    unix_socket: str = "",
    most: int = MOST_BYTES,
) -> Answer:
    """GET (or POST a JSON object to) a URL, the whole of it within `seconds`; else Trouble.

    Any status but 401 and 403 is an answer; no redirect is followed, no proxy asked: it is the
    monitor itself that is wanted. The standard library does that, and starts in half the time
    that requests takes. Timeouts of sockets are per read, and a dripping server holds a call for
    ever: so it asks in a thread that we stop waiting for.
    """
    began = time.monotonic()
    whole = budget(seconds)
    where = unix_socket or _shown(url)
    try:
        place = urlsplit(url)
        address: Address = unix_socket or (
            place.hostname or "",
            place.port or (443 if place.scheme == "https" else 80),
        )
    except ValueError as error:
        raise Trouble("strange", f"{where} is no URL: {error}") from error
    result: list[Answer | Trouble] = []

    def ask() -> None:
        try:
            result.append(_asked())
        except Trouble as trouble:
            result.append(trouble)

    def _asked() -> Answer:
        trust = _trust(place.scheme, ca_file, insecure)
        with _way_to(address, whole, where, tls_name, trust) as way:
            way.request(
                "POST" if post is not None else "GET",
                url=quote(
                    urlunsplit(("", "", place.path or "/", place.query, "")),
                    safe="/?%:@!$&'()*+,;=~",
                ),
                body=None if post is None else json.dumps(post),
                headers={
                    "Accept": "application/json, */*;q=0.5",
                    "Connection": "close",
                    **({"Content-Type": "application/json"} if post is not None else {}),
                    **_authorization(
                        user or unquote(place.username or ""),
                        password or unquote(place.password or ""),
                        token,
                    ),
                    **(headers or {}),
                },
            )
            answer = way.getresponse()
            body = b""
            while piece := answer.read(65536):
                body += piece
                if len(body) > most:
                    raise Trouble("strange", f"{where} answers without end")
            if answer.length:
                raise Trouble("closed", f"{where} hung up without a whole answer")
        if answer.status == 401:
            raise Trouble("login", f"{where} does not take this login (HTTP 401)")
        if answer.status == 403:
            raise Trouble("forbidden", f"{where} does not allow it (HTTP 403)")
        return Answer(body, time.monotonic() - began, answer.status, dict(answer.headers))

    with deadline.doing(f"asking {where}"):
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(whole + 0.1)
    if not result:
        raise _hung(where, time.monotonic() - began)
    if isinstance(result[0], Trouble):
        raise result[0]
    return result[0]


@contextlib.contextmanager
def _way_to(
    address: Address, seconds: float, where: str, tls_name: str, trust: Any
) -> Iterator[Any]:
    """An HTTP connection that is made, and what goes wrong with it until it is closed."""
    import http.client
    import ssl

    began = time.monotonic()
    host, port = ("localhost", 80) if isinstance(address, str) else address
    try:
        sock = _connected(address, began + seconds)
    except OSError as error:
        raise _connecting_failed(error, address, where, time.monotonic() - began) from error
    except UnicodeError as error:
        raise Trouble("missing", f"the name in {where} is none: {error}") from error
    way = http.client.HTTPConnection(host, port)
    try:
        sock.settimeout(seconds)
        # A monitor's certificate carries a node name, which need not be the one to connect to.
        way.sock = trust.wrap_socket(sock, server_hostname=tls_name or host) if trust else sock
        yield way
    except socket.timeout as error:
        raise _hung(where, time.monotonic() - began) from error
    except ssl.SSLError as error:
        raise Trouble("tls", tls_words(str(error), where)) from error
    except (OSError, http.client.IncompleteRead) as error:
        raise Trouble("closed", f"{where} hung up without a whole answer") from error
    except (http.client.HTTPException, UnicodeError) as error:
        raise Trouble("strange", f"{where}: {type(error).__name__} {error}".rstrip()) from error
    finally:
        way.close()
        sock.close()


def _trust(scheme: str, ca_file: str, insecure: bool) -> Any:
    """Whom to believe: an SSL context, None without TLS."""
    import ssl

    if scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # a CA file that is not there, not to be read or none at all
        raise Trouble("denied", f"cannot use {ca_file}: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(user: str, password: str, token: str) -> dict[str, str]:
    """A basic login (RFC 7617), else a bearer token (RFC 6750), else nothing."""
    if user:
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_url(text: str) -> bool:
    """Whether it can be asked by `fetch`."""
    try:
        return urlsplit(text).port != 0 and bool(re.match(r"https?://[^/]", text))
    except ValueError:
        return False


def _shown(url: str) -> str:
    """A URL for a sentence: without user and query."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def _hung(where: str, took: float) -> Trouble:
    return Trouble("hung", f"{where} does not answer within {took:.1f}s")


def tls_words(error: str, where: str) -> str:
    """What is wrong with a certificate, from OpenSSL's words."""
    if "certificate has expired" in error:
        return f"the certificate of {where} has expired"
    if "not yet valid" in error:
        return f"the certificate of {where} is not valid yet: is a clock wrong?"
    if "doesn't match" in error or "ostname mismatch" in error or "IP address mismatch" in error:
        return f"the certificate of {where} is for another name (--tls-name)"
    if "self-signed" in error or "self signed" in error or "unable to get local issuer" in error:
        return f"the certificate of {where} is signed by a CA unknown here (--ca-file)"
    if "timed out" in error:
        return f"the TLS handshake with {where} timed out"
    return f"no TLS with {where}: {error[-160:]}"


def intake_of(path: str) -> tuple[str, str]:
    """Whether somebody reads a command FIFO: a kind and a sentence; nothing is written to it.

    kind: `reader`, `no reader`, `not a fifo`, `missing`, `denied`. A FIFO without a reader blocks
    an ordinary open for ever; O_NONBLOCK gets ENXIO at once (fifo(7)). Never O_CREAT: a missing
    FIFO would become a regular file, which the next start of the monitor cannot replace.
    """
    try:
        mode = os.lstat(path).st_mode
    except PermissionError:
        return "denied", f"not allowed to look at {path}"
    except OSError as error:
        return "missing", f"{path} is missing ({error.strerror})"
    if not stat.S_ISFIFO(mode):
        return "not a fifo", f"{path} is {_kind_of(mode)}, not a FIFO"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except PermissionError:
        return "denied", f"not allowed to write to {path}"
    except OSError as error:
        if error.errno == errno.ENXIO:
            return "no reader", f"nobody reads {path}"
        return "missing", f"{path} cannot be opened: {error.strerror}"
    return "reader", f"{path} has a reader"


def _kind_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a regular file"
    return "a directory" if stat.S_ISDIR(mode) else "something else"


def submit(path: str, line: str) -> None:
    """Write one line to a command FIFO without ever blocking; Trouble when nobody takes it.

    At most PIPE_BUF bytes, which pipe(7) writes whole or not at all.
    """
    kind, text = intake_of(path)
    if kind != "reader":
        raise Trouble(kind, text)
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if not stat.S_ISFIFO(os.fstat(fifo).st_mode):
                raise Trouble("not a fifo", f"{path} is not a FIFO any more")
            os.write(fifo, line.encode()[:4096])
        finally:
            os.close(fifo)
    except BlockingIOError:
        raise Trouble("full", f"{path} is full: its reader takes nothing out") from None
    except OSError as error:
        raise Trouble("missing", f"{path} cannot be written: {error.strerror}") from error

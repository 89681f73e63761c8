"""Questions over sockets and HTTP, each bounded in time and size, and what went wrong with them.

A hung daemon still accepts connections: the kernel does that for it. So a connection proves
nothing, only an answer does, and every wait here is for the answer as a whole: a server that
drips one byte a second is as hung as one that says nothing.
"""

from __future__ import annotations

import concurrent.futures
import errno
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from twiceshy import deadline
from twiceshy.plugin import require

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
    family = socket.AF_UNIX if isinstance(address, str) else 0
    with deadline.doing(f"asking {where}"):
        try:
            connection = _connected(address, family, ends)
        except OSError as error:
            raise _connecting_failed(error, where, time.monotonic() - began) from error
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


def _connected(address: Address, family: int, ends: float) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.05, ends - time.monotonic()))
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection(address, max(0.05, ends - time.monotonic()))


def _connecting_failed(error: OSError, where: str, took: float) -> Trouble:
    if isinstance(error, socket.timeout) and "/" not in where:
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
    most: int = MOST_BYTES,
) -> Answer:
    """GET (or POST a JSON object to) a URL, the whole of it within `seconds`; else Trouble.

    Any status but 401 and 403 is an answer. requests' own timeout is per read: a dripping server
    holds a `timeout=1` call for ever. So it asks in a thread that we stop waiting for.
    """
    requests = require("requests", "python3-requests")
    began = time.monotonic()
    whole = budget(seconds)
    result: list[Answer | Trouble] = []

    def ask() -> None:
        try:
            result.append(_asked())
        except Trouble as trouble:
            result.append(trouble)

    def _asked() -> Answer:
        if insecure:
            requests.packages.urllib3.disable_warnings()
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no ~/.netrc: we ask the monitor itself
            if tls_name:
                session.mount("https://", _named_adapter(requests, tls_name))
            try:
                answer = session.request(
                    "POST" if post is not None else "GET",
                    url,
                    json=post,
                    auth=(user, password) if user else None,
                    headers={
                        "Accept": "application/json, */*;q=0.5",
                        **({"Authorization": f"Bearer {token}"} if token else {}),
                        **(headers or {}),
                    },
                    verify=False if insecure else (ca_file or True),
                    timeout=whole,
                    stream=True,
                    allow_redirects=False,
                )
                with answer:
                    body = b""
                    for piece in answer.iter_content(65536):
                        body += piece
                        if len(body) > most:
                            raise Trouble("strange", f"{_shown(url)} answers without end")
            except requests.exceptions.ConnectTimeout as error:
                raise Trouble(
                    "unreachable",
                    f"{_shown(url)} cannot be reached (waited {time.monotonic() - began:.1f}s)",
                ) from error
            except requests.exceptions.SSLError as error:
                raise Trouble("tls", tls_words(str(error), _shown(url))) from error
            except requests.exceptions.ConnectionError as error:
                raise _http_connection_failed(str(error), _shown(url)) from error
            except requests.exceptions.Timeout as error:
                raise _hung(url, time.monotonic() - began) from error
            except requests.exceptions.RequestException as error:
                raise Trouble("strange", f"{_shown(url)}: {error}") from error
            except OSError as error:  # a CA file that is not there or not to be read
                raise Trouble("denied", f"cannot use {ca_file or url}: {error}") from error
        took = time.monotonic() - began
        if answer.status_code == 401:
            raise Trouble("login", f"{_shown(url)} does not take this login (HTTP 401)")
        if answer.status_code == 403:
            raise Trouble("forbidden", f"{_shown(url)} does not allow it (HTTP 403)")
        return Answer(body, took, answer.status_code, dict(answer.headers))

    with deadline.doing(f"asking {_shown(url)}"):
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(whole + 0.1)
    if not result:
        raise _hung(url, time.monotonic() - began)
    if isinstance(result[0], Trouble):
        raise result[0]
    return result[0]


def _named_adapter(requests: Any, name: str) -> Any:
    """Monitors' certificates carry node names, which need not be the names one connects to."""

    class Named(requests.adapters.HTTPAdapter):  # type: ignore[misc]  # requests comes late
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
            return super().init_poolmanager(
                *args, **kwargs, assert_hostname=name, server_hostname=name
            )

    return Named()


def _shown(url: str) -> str:
    """A URL for a sentence: without user and query."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def _hung(url: str, took: float) -> Trouble:
    return Trouble("hung", f"{_shown(url)} does not answer within {took:.1f}s")


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


def _http_connection_failed(error: str, where: str) -> Trouble:
    if "timed out" in error:
        return Trouble("hung", f"{where} does not answer: timed out")
    if "Connection refused" in error:
        return Trouble("refused", f"nobody listens at {where}")
    if re.search(r"resol|Name or service not known|nodename", error):
        return Trouble("missing", f"the name in {where} cannot be resolved")
    if "No route to host" in error or "unreachable" in error:
        return Trouble("unreachable", f"there is no way to {where}")
    if "Remote end closed" in error or "Connection reset" in error or "aborted" in error:
        return Trouble("closed", f"{where} hung up without an answer")
    return Trouble("unreachable", f"{where} cannot be reached: {error[-160:]}")


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

"""HTTP to a daemon of this host: over TCP or over a unix socket, with limits on time and size.

The one module of this check that speaks HTTP. Its errors are those of `kit.http`.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass

from twiceshy.kit import deadline
from twiceshy.kit.http import (
    Answer,
    Closed,
    HttpError,
    Malformed,
    NotAllowed,
    Refused,
    TimedOut,
    Unreachable,
)

ANSWER_SECONDS = 3.0  # for connecting and for each piece of the answer


@dataclass(frozen=True)
class Server:
    """Whom to ask: http://host:port, unix:///path or /path; and as whom."""

    address: str = ""
    user: str = ""
    password: str = ""


def is_address(text: str) -> bool:
    """Whether a text is a URL or a socket, rather than a configuration file."""
    if text.startswith(("http://", "unix://")):
        return True
    try:
        return stat.S_ISSOCK(os.stat(text).st_mode)
    except OSError:
        return text.endswith((".sock", ".socket"))


def ask(
    server: Server,
    target: str,
    most_bytes: int,
    body: bytes | None = None,
    fields: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to a GET of `target`, or to a POST with a `body`, whatever its status is.

    NotAllowed for a socket that this user may not open, another HttpError for what is no answer.
    Of the body `most_bytes` are read.
    """
    began = time.monotonic()
    connection = _connection(server, min(ANSWER_SECONDS, deadline.remaining() / 2))
    try:
        try:
            connection.request(
                "GET" if body is None else "POST",
                target,
                body=body,
                headers={**_authorization(server), **(fields or {})},
            )
        except BrokenPipeError:
            pass  # it has read enough to refuse; its answer says why
        response = connection.getresponse()
        content = response.read(most_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise _translated(error) from error
    finally:
        connection.close()
    seconds = time.monotonic() - began
    return Answer(response.status, response.getheaders(), content, seconds, server.address)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(server: Server, seconds: float) -> http.client.HTTPConnection:
    """A connection, not made yet."""
    if server.address.startswith("http://"):
        host = server.address[len("http://") :].rstrip("/")
        try:
            return http.client.HTTPConnection(host, timeout=seconds)
        except http.client.InvalidURL as error:
            raise Unreachable(f"{server.address} is not a URL") from error
    return _UnixConnection(server.address.replace("unix://", "", 1), seconds)


def _authorization(server: Server) -> dict[str, str]:
    """The field of HTTP basic authentication (RFC 7617); none without a user."""
    if not server.user:
        return {}
    token = base64.b64encode(f"{server.user}:{server.password}".encode()).decode("ascii")
    return {"Authorization": f"Basic {token}"}


def _translated(error: OSError | http.client.HTTPException) -> HttpError:
    text = getattr(error, "strerror", None) or str(error) or "no answer"
    if isinstance(error, PermissionError):
        return NotAllowed(text)
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return Closed(text)
    if isinstance(error, ConnectionRefusedError):
        return Refused(text)
    if isinstance(error, socket.timeout):
        return TimedOut(f"no answer within {ANSWER_SECONDS:.0f}s")
    if isinstance(error, OSError):
        return Unreachable(text)
    return Malformed(text)

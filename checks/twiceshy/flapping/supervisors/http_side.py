"""HTTP to a daemon of this host: over TCP or over a unix socket, with a limit on time."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import stat


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(server: str, seconds: float) -> http.client.HTTPConnection:
    """A connection, not made yet, to http://host:port, unix:///path or /path."""
    if server.startswith("http://"):
        return http.client.HTTPConnection(server[len("http://") :].rstrip("/"), timeout=seconds)
    return _UnixConnection(server.replace("unix://", "", 1), seconds)


def is_server(where: str) -> bool:
    """Whether a place is a URL or a socket, rather than a configuration file."""
    if where.startswith(("http://", "unix://")):
        return True
    try:
        return stat.S_ISSOCK(os.stat(where).st_mode)
    except OSError:
        return where.endswith((".sock", ".socket"))


def authorization(user: str, password: str) -> list[tuple[str, str]]:
    """The header of HTTP basic authentication (RFC 7617); none without a user."""
    if not user:
        return []
    token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return [("Authorization", f"Basic {token}")]

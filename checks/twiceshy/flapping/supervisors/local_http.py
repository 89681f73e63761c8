"""HTTP to a supervisor of this host, over TCP or a unix socket: `kit.http`, as supervisors want it.

Supervisors are asked for as much of their log as is wanted, and a status that rejects the login is
an answer: it says which credentials are missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.kit import deadline, http
from twiceshy.kit.http import Answer, HttpError, Request

ANSWER_SECONDS = 3.0

# What is said of an address that does not answer, behind its name.
REASONS: dict[type[HttpError], str] = {
    http.Refused: "connection refused",
    http.Missing: "no such file or host",
    http.Unreachable: "no route to it",
    http.NotAllowed: "permission denied",
    http.TimedOut: "no answer in time",
    http.Closed: "it hung up",
    http.Malformed: "it does not speak HTTP",
}


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
    fields: Sequence[tuple[str, str]] = (),
) -> Answer:
    """The answer to a GET of `target`, or to a POST with a `body`, whatever its status is.

    NotAllowed for a socket that this user may not open, another HttpError for what is no answer;
    the texts are reasons, without the address. Of the body `most_bytes` are read.
    """
    over_tcp = server.address.startswith("http://")
    request = Request(
        (server.address.rstrip("/") if over_tcp else "http://localhost") + target,
        unix_socket="" if over_tcp else server.address.replace("unix://", "", 1),
        body=body,
        fields=fields,
        user=server.user,
        password=server.password,
        seconds=min(ANSWER_SECONDS, deadline.remaining() / 2),
        most_bytes=most_bytes,
        cut=True,
    )
    try:
        return http.ask(request)
    except http.Forbidden:
        return Answer(403, (), b"", 0.0, server.address)
    except http.Rejected:
        return Answer(401, (), b"", 0.0, server.address)
    except HttpError as error:
        found = (REASONS[kind] for kind in type(error).__mro__ if kind in REASONS)
        raise type(error)(next(found, str(error)), host=error.host) from error

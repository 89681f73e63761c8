"""Asking over HTTP: one interface for every check, and one tree of errors.

HttpError            nothing usable came back; `code` says in which way, the text says it
├── Refused          nobody listens there
├── Unreachable      no such name, no route, no such socket
├── NotAllowed       this user may not open the socket, or read the CA or key file
├── TimedOut         connected or not, the whole answer was not there in time
├── Untrusted        TLS failed: certificate expired, unknown CA, another name
├── Closed           the other side hung up before the answer was whole
├── Malformed        what came is no HTTP
│   └── TooLarge     more bytes than the caller wants to hold
└── Rejected         the server wants another login (401) or does not allow it (403)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class HttpError(Exception):
    """Nothing usable came back. `code` is stable; the text is a sentence for an operator."""

    code = "http"


class Refused(HttpError):
    """Nobody listens there (ECONNREFUSED)."""

    code = "refused"


class Unreachable(HttpError):
    """No such name, no route, or no such socket file."""

    code = "unreachable"


class NotAllowed(HttpError):
    """This user may not open the socket, or read the CA file or the client's key."""

    code = "not-allowed"


class TimedOut(HttpError):
    """The whole answer was not there in time."""

    code = "timed-out"


class Untrusted(HttpError):
    """TLS failed; the text says whether by date, CA or name."""

    code = "untrusted"


class Closed(HttpError):
    """The other side hung up before the answer was whole."""

    code = "closed"


class Malformed(HttpError):
    """What came is no HTTP, or not the form that was asked for."""

    code = "malformed"


class TooLarge(Malformed):
    """More bytes came than the caller wants to hold."""

    code = "too-large"


class Rejected(HttpError):
    """The server wants another login (401) or does not allow it (403)."""

    code = "rejected"


@dataclass(frozen=True)
class Answer:
    """A whole answer: status, header fields in order, body, and the seconds that it took."""

    status: int
    fields: Sequence[tuple[str, str]]
    body: bytes
    seconds: float
    url: str = ""

    def header(self, name: str) -> str:
        """The value of a field, several joined by ", " (RFC 9110 section 5.3); "" without one."""
        return ", ".join(value for key, value in self.fields if key.lower() == name.lower())

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacement characters."""
        return self.body.decode("utf-8", "replace")

"""Asking over HTTP: one interface for every check, and one tree of errors.

    answer = ask(Request("https://mon.example.com:5665/v1/status", user="watch", password=...))

A hung daemon still accepts connections: the kernel does that for it. So every wait is for the
answer as a whole, and `Request.seconds` covers name, connection, TLS, headers and body together: a
server that drips one byte per second is as hung as one that sends nothing. No redirect is followed
and no proxy is asked. The transport is http.client, since start-up counts: it is imported by the
first question, not by the first `import`.

HttpError              nothing usable came back; `code` says in which way, the text says it
├── Refused            nobody listens there
├── Unreachable        no route, or the host rejects it
│   └── Missing        no such host name, no such socket file
├── NotAllowed         this user may not open the socket, or read the CA, certificate or key file
├── TimedOut           the whole answer was not there in time
│   └── ConnectTimedOut  nor was the connection: the host itself does not answer
├── Untrusted          TLS failed; `fault` says whether by date, CA or name
├── Closed             the other side hung up before the answer was whole
├── Malformed          what came is no HTTP, or not the form that was asked for
│   └── TooLarge       more bytes than the caller wants to hold
└── Rejected           the server wants another login (401)
    └── Forbidden      the server does not allow it (403)
"""

from __future__ import annotations

import contextlib
import enum
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twiceshy.kit import deadline

if TYPE_CHECKING:
    import http.client
    import socket
    import ssl

# Enough for every status answer; an endless body must not become our memory.
MOST_BYTES = 64 * 1024 * 1024


class HttpError(Exception):
    """Nothing usable came back. `code` is stable; the text is a sentence for an operator.

    `host` is the name or address that was asked, "" for a socket of this host.
    """

    code = "http"

    def __init__(self, text: str = "", *, host: str = "") -> None:
        super().__init__(text)
        self.host = host


class Refused(HttpError):
    """Nobody listens there (ECONNREFUSED)."""

    code = "refused"


class Unreachable(HttpError):
    """There is no way to the host, by the network's own word."""

    code = "unreachable"


class Missing(Unreachable):
    """No such host name, or no such socket file."""

    code = "missing"


class NotAllowed(HttpError):
    """This user may not open the socket, or read the CA file or the client's key."""

    code = "not-allowed"


class TimedOut(HttpError):
    """The whole answer was not there in time."""

    code = "timed-out"


class ConnectTimedOut(TimedOut):
    """Not even the connection was there in time: the host does not answer, only silence."""

    code = "connect-timed-out"


class TlsFault(enum.Enum):
    """What is wrong with TLS, by OpenSSL's verify code (openssl-verification-options(1))."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_NAME = "wrong-name"
    UNKNOWN_CA = "unknown-ca"
    HANDSHAKE = "handshake"


class Untrusted(HttpError):
    """TLS failed; `fault` and the text say whether by date, CA or name."""

    code = "untrusted"

    def __init__(
        self, text: str = "", fault: TlsFault = TlsFault.HANDSHAKE, *, host: str = ""
    ) -> None:
        super().__init__(text, host=host)
        self.fault = fault


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
    """The server wants another login (HTTP 401)."""

    code = "rejected"


class Forbidden(Rejected):
    """The server knows who asks, and does not allow it (HTTP 403)."""

    code = "forbidden"


@dataclass(frozen=True)
class Request:
    """How to ask: where, what, as whom, whom to trust, and for how long.

    `url` may hold a login, which `user` overrides. With `unix_socket`, a path, only the path and
    query of `url` count. `method` is GET, or POST with a body, unless given. `user` and `password`
    are a basic login (RFC 7617), else `token` is a bearer token (RFC 6750). `ca_file` replaces the
    system's CAs; `certificate_file` and `key_file` (PEM; the key may stand in the former) are the
    client's own; `tls_name` is the name to expect in the certificate where it is not the host.
    `seconds` is for everything together, `most_bytes` for the body, which is TooLarge beyond that
    or, with `cut`, ends there. Of two `fields` of one name the later counts.
    """

    url: str
    method: str = ""
    body: bytes | None = None
    fields: Sequence[tuple[str, str]] = ()
    unix_socket: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    tls_name: str = ""
    insecure: bool = False
    seconds: float = 3.0
    most_bytes: int = MOST_BYTES
    cut: bool = False

    @property
    def where(self) -> str:
        """What is asked, for a sentence: the socket, or the URL without login and query."""
        return self.unix_socket or re.sub(r"//[^/@]*@", "//", self.url).partition("?")[0]


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


def is_url(text: str) -> bool:
    """Whether a text is a URL that `ask` can ask: http or https, with a host and a valid port."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(text).port != 0 and bool(re.match(r"https?://[^/]", text))
    except ValueError:
        return False


def patience(seconds: float) -> float:
    """Seconds to wait for an answer: as wanted, but at most three fifths of what -t leaves.

    The rest is for saying what did not answer, which is worth more than "timed out".
    """
    return max(0.2, min(seconds, deadline.remaining() * 0.6))


def ask(request: Request) -> Answer:
    """The whole answer to a request, within its seconds; HttpError in every other case.

    Every status but 401 and 403 is an answer, a redirect too.
    """
    began = time.monotonic()
    ends = began + patience(request.seconds)
    with deadline.doing(f"asking {request.where}"):
        return _asked(request, began, ends)


def _asked(request: Request, began: float, ends: float) -> Answer:
    import http.client
    import socket
    import ssl
    from urllib.parse import quote, unquote, urlsplit, urlunsplit

    where = request.where
    try:
        parts = urlsplit(request.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Malformed(f"{where} is not a URL: {error}") from error
    if request.unix_socket:
        host, port = "localhost", 80
    trust = _trust(request) if parts.scheme == "https" else None
    with connected(request.unix_socket or (host, port), ends, where) as sock:
        connection = http.client.HTTPConnection(host, port)
        try:
            sock.settimeout(max(0.01, ends - time.monotonic()))
            if trust is not None:
                # A monitor's certificate carries a node name, often not the one to connect to.
                sock = trust.wrap_socket(sock, server_hostname=request.tls_name or host)
            connection.sock = _Wire(sock, ends)
            # Who has read enough to reject it may hang up; the answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    request.method or ("GET" if request.body is None else "POST"),
                    quote(
                        urlunsplit(("", "", parts.path or "/", parts.query, "")),
                        safe="/?%:@!$&'()*+,;=~",
                    ),
                    body=request.body,
                    headers={
                        "Accept": "*/*",
                        "Connection": "close",
                        **_authorization(
                            request.user or unquote(parts.username or ""),
                            request.password or unquote(parts.password or ""),
                            request.token,
                        ),
                        **dict(request.fields),
                    },
                )
            response = connection.getresponse()
            body = _body(response, request)
        except socket.timeout as error:
            raise _timed_out(where, host, began) from error
        except ssl.SSLError as error:
            raise untrusted(error, where, host) from error
        except (OSError, http.client.IncompleteRead) as error:
            raise Closed(f"{where} hung up before its answer was whole", host=host) from error
        except (http.client.HTTPException, ValueError) as error:
            words = " ".join(str(error).split())[:100] or type(error).__name__
            raise Malformed(f"{where} does not answer in HTTP: {words}", host=host) from error
        finally:
            sock.close()
    if response.status == 401:
        raise Rejected(f"{where} rejects this login (HTTP 401)", host=host)
    if response.status == 403:
        raise Forbidden(f"{where} does not allow it (HTTP 403)", host=host)
    return Answer(
        response.status, response.getheaders(), body, time.monotonic() - began, request.url
    )


def _body(response: http.client.HTTPResponse, request: Request) -> bytes:
    pieces, size = [], 0
    while piece := response.read(65536):
        pieces.append(piece)
        size += len(piece)
        if size > request.most_bytes and request.cut:
            return b"".join(pieces)[: request.most_bytes]
        if size > request.most_bytes:
            raise TooLarge(f"{request.where} answers with more than {request.most_bytes} bytes")
    if response.length:  # what Content-Length has announced and did not come
        raise Closed(f"{request.where} hung up before its answer was whole")
    return b"".join(pieces)


def _timed_out(where: str, host: str, began: float) -> TimedOut:
    return TimedOut(f"{where} does not answer within {time.monotonic() - began:.1f}s", host=host)


class _Wire:
    """What http.client takes for a socket: all that it sends and reads ends by one instant.

    A timeout of a socket is per read, and a server that drips would hold it for ever.
    """

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock = sock
        self._ends = ends

    def sendall(self, data: bytes) -> None:
        """As of a socket."""
        self._sock.settimeout(max(0.01, self._ends - time.monotonic()))
        self._sock.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What is received, to be read."""
        return io.BufferedReader(_Incoming(self._sock, self._ends), 65536)

    def close(self) -> None:
        """Nothing yet: http.client closes as soon as it has the headers of a last answer."""


class _Incoming(io.RawIOBase):
    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock = sock
        self._ends = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import socket

        left = self._ends - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


def _authorization(user: str, password: str, token: str) -> dict[str, str]:
    if user:
        from base64 import b64encode

        return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


# Connections, also for other protocols


def connected(address: str | tuple[str, int], ends: float, where: str) -> socket.socket:
    """A stream socket to a path (Unix) or a host and port (TCP), before `ends` (monotonic clock).

    HttpError where there is none; `where` is what its sentence calls the address.
    """
    import socket

    began = time.monotonic()
    host = "" if isinstance(address, str) else address[0]
    try:
        if isinstance(address, str):
            return _opened(socket.AF_UNIX, address, ends - time.monotonic())
        addresses = _addresses(address, ends)
        for position, (family, to) in enumerate(addresses):
            # The first of two addresses must not use up the time of the second.
            share = (ends - time.monotonic()) / (len(addresses) - position)
            try:
                return _opened(family, to, share)
            except OSError:
                if position == len(addresses) - 1:
                    raise
        raise Missing(f"the name in {where} has no address", host=host)
    except UnicodeError as error:
        raise Missing(f"the name in {where} is not a host name: {error}", host=host) from error
    except OSError as error:
        raise _unconnected(error, host, where, time.monotonic() - began) from error


def _opened(family: int, to: Any, seconds: float) -> socket.socket:
    import socket

    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(0.05, seconds))
        sock.connect(to)
    except BaseException:
        sock.close()
        raise
    return sock


def _addresses(address: tuple[str, int], ends: float) -> list[tuple[int, Any]]:
    """Family and address of a host; OSError, or TimedOut when its name is not resolved in time.

    The resolver knows no deadline: it is asked in a thread that can be left behind.
    """
    import socket
    import threading

    def resolved(flags: int) -> list[tuple[int, Any]]:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=flags)
        return [(int(entry[0]), entry[4]) for entry in found]

    try:
        return resolved(socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    results: list[list[tuple[int, Any]] | Exception] = []

    def resolve() -> None:
        try:
            results.append(resolved(0))
        except (OSError, UnicodeError) as error:
            results.append(error)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(max(0.05, ends - time.monotonic()))
    if not results:
        raise TimedOut(f"the name {address[0]} was not resolved in time", host=address[0])
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _unconnected(error: OSError, host: str, where: str, took: float) -> HttpError:
    import socket

    if isinstance(error, socket.timeout) and host:
        return ConnectTimedOut(f"{where} cannot be reached (waited {took:.1f}s)", host=host)
    if isinstance(error, (socket.timeout, BlockingIOError)):
        # A full backlog: earlier questions are still queued at a daemon that accepts nothing.
        return TimedOut(f"{where} does not accept connections (waited {took:.1f}s)")
    if isinstance(error, PermissionError):
        return NotAllowed(f"not allowed to connect to {where}", host=host)
    if isinstance(error, ConnectionRefusedError):
        return Refused(f"nobody listens on {where}", host=host)
    if isinstance(error, FileNotFoundError):
        return Missing(f"{where} does not exist")
    if isinstance(error, socket.gaierror):
        return Missing(f"the name in {where} cannot be resolved: {error.strerror}", host=host)
    return Unreachable(f"{where} cannot be reached: {error.strerror or error}", host=host)


# Trust

# OpenSSL's x509_vfy.h: X509_V_ERR_*.
_FAULTS = {
    9: TlsFault.NOT_YET_VALID,
    10: TlsFault.EXPIRED,
    18: TlsFault.UNKNOWN_CA,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: TlsFault.UNKNOWN_CA,  # SELF_SIGNED_CERT_IN_CHAIN
    20: TlsFault.UNKNOWN_CA,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    62: TlsFault.WRONG_NAME,  # HOSTNAME_MISMATCH
    64: TlsFault.WRONG_NAME,  # IP_ADDRESS_MISMATCH
}
_WORDS = {
    TlsFault.NOT_YET_VALID: "the certificate of {} is not valid yet: is a clock wrong?",
    TlsFault.EXPIRED: "the certificate of {} has expired",
    TlsFault.WRONG_NAME: "the certificate of {} is for another name",
    TlsFault.UNKNOWN_CA: "the certificate of {} is signed by an unknown CA",
}


def untrusted(error: ssl.SSLError, where: str, host: str = "") -> Untrusted:
    """The exception for an error of the ssl module, by its verify code."""
    fault = _FAULTS.get(getattr(error, "verify_code", 0), TlsFault.HANDSHAKE)
    if fault in _WORDS:
        return Untrusted(_WORDS[fault].format(where), fault, host=host)
    why = getattr(error, "verify_message", "") or error.reason or "the connection was closed"
    words = str(why).replace("_", " ").lower()
    return Untrusted(f"no TLS with {where}: {words}", fault, host=host)


def _trust(request: Request) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=request.ca_file or None)
    except OSError as error:  # not there, not to be read, or no certificate in it
        raise _unusable(request.ca_file, error) from error
    if request.ca_file:
        # Python 3.13 demands extensions (RFC 5280) that the CAs of Icinga and of openssl req -x509
        # of yesterday do not have. Whom to trust the operator has said; the chain is verified.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if request.certificate_file:
        try:
            context.load_cert_chain(
                request.certificate_file,
                request.key_file or None,
                # Without a password to give, OpenSSL would ask the terminal for one.
                password=lambda: "",
            )
        except OSError as error:
            files = " with ".join(filter(None, (request.certificate_file, request.key_file)))
            raise _unusable(files, error) from error
    if request.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(files: str, error: OSError) -> NotAllowed:
    import ssl

    is_content = isinstance(error, ssl.SSLError)
    why = "it does not hold what it should, in PEM" if is_content else error.strerror
    return NotAllowed(f"cannot use {files}: {why}")

"""Many small HTTP requests at once, each bounded in time and in bytes.

requests and urllib3 know timeouts for one read only: a server that sends a byte a second is read
for ever (measured: still running after 12 s with timeout=2, header and body alike), and a gzip
bomb is unpacked whole. So every connection can be hung up from outside, by shutting its socket
down, and bodies are read and unpacked by ourselves, up to a cap.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import queue
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, TypeVar
from urllib.parse import urljoin, urlsplit

import twiceshy
from twiceshy.kit.plugin import CheckError, require
from twiceshy.kit.units import say_duration, say_size
from twiceshy.kit.verdict import safe

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

# One thread an endpoint, so that a run takes as long as its slowest; the usual limit on open
# files (1024) allows two descriptors each.
MOST_THREADS = 300
MOST_REDIRECTS = 3
PIECE = 16_384


class NoAnswer(Exception):
    """There is no (whole) answer. `kind` is one word or TUF's name for it, the text a predicate:
    "refuses connections".
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer; header names in lower case, `wire` as sent, `body` decoded."""

    status: int
    headers: Mapping[str, str]
    wire: bytes = b""
    body: bytes = b""
    seconds: float = 0.0
    peer: str = ""  # address:port that answered
    came: float = 0.0  # our wall clock when the header was there


@dataclass(frozen=True)
class Manners:
    """How to ask: the same for all endpoints of a run."""

    max_bytes: int = 4 << 20
    headers: Mapping[str, str] = field(default_factory=dict)  # credentials among them
    basic: tuple[str, str] | None = None
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    use_environment: bool = False  # proxies, ~/.netrc


@dataclass(frozen=True)
class Trust:
    """Whom to trust: contexts for servers that are asked by name, and by address."""

    by_name: ssl.SSLContext
    by_address: ssl.SSLContext


def trust(manners: Manners) -> Trust:
    """Contexts for all connections: reading the system's CAs costs 15 ms of CPU each time."""
    urllib3 = require("urllib3", "python3-urllib3")
    by_name = _context(manners)
    if not urllib3.__version__.startswith("1."):
        return Trust(by_name, by_name)
    # urllib3 1 does not tell ssl the name if it is an address, and compares it with the certificate
    # by itself where ssl was told not to
    by_address = _context(manners)
    by_address.check_hostname = False
    return Trust(by_name, by_address)


def _context(manners: Manners) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=str(manners.ca_file) if manners.ca_file else None
        )
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise CheckError(f"CA file {safe(str(manners.ca_file))} cannot be used: {why}") from error
    if manners.certificate:
        try:
            context.load_cert_chain(manners.certificate, manners.key)
        except (OSError, ssl.SSLError) as error:
            is_ssl = isinstance(error, ssl.SSLError)
            why = "certificate and key do not fit" if is_ssl else error.strerror
            raise CheckError(
                f"client certificate {safe(str(manners.certificate))} cannot be used: {why}"
            ) from error
    return context


def is_address(host: str) -> bool:
    """Whether a host is an IP address, with or without brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Line:
    """The connections to one endpoint: made by one thread, hung up by another if need be."""

    def __init__(self, address: str = "") -> None:
        self.address = address  # connect here, whatever the URL's host name says
        self.hung_up = False
        self.stage = "its turn"
        self.received = 0
        self.peer = ""
        self._spares: list[socket.socket] = []
        self._lock = threading.Lock()

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        self.stage = "its name to be looked up"
        # A name lookup cannot be interrupted: a thread that hangs in it is left behind.
        found = socket.getaddrinfo(self.address or host, port, type=socket.SOCK_STREAM)
        self.stage = "a connection"
        ends = time.monotonic() + timeout
        last: OSError = OSError("no address")
        for family, kind, protocol, _, place in found:
            if self.hung_up:
                break
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(max(0.05, ends - time.monotonic()))
                self._watch(made)
                made.connect(place)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                made.close()
                last = error
                continue
            where = str(place[0])
            at = f"[{where}]" if ":" in where else where
            self.peer = f"{at}:{port}"
            self.stage = "the header"
            return made
        raise last

    def _watch(self, made: socket.socket) -> None:
        """Keep a second descriptor: TLS takes the first one away (ssl detaches its socket)."""
        spare = made.dup()
        with self._lock:
            self._spares.append(spare)
        if self.hung_up:
            self.hang_up()

    def hang_up(self) -> None:
        self.hung_up = True
        with self._lock:
            for spare in self._spares:
                with contextlib.suppress(OSError):
                    spare.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for spare in self._spares:
                spare.close()
            self._spares.clear()


def prepare() -> None:
    """Load requests, which may take long on a busy host, before any clock of an answer runs."""
    require("requests", "python3-requests")


def _session(line: Line, manners: Manners, trusted: Trust | None) -> Any:
    """A requests.Session whose sockets are made by the line, and that follows nothing by itself."""
    requests = require("requests", "python3-requests")
    from requests.adapters import HTTPAdapter
    from requests.utils import select_proxy
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return line.connect(self.host, self.port, _seconds(self.timeout))

    context = trusted.by_name if trusted else None

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            if trusted and is_address(self.host):
                self.ssl_context = trusted.by_address
            super().connect()

        def _new_conn(self) -> socket.socket:
            return line.connect(self.host, self.port, _seconds(self.timeout))

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = {"http": PlainPool, "https": SecurePool}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *_: Any, **__: Any) -> None:
            self.poolmanager = PoolManager(num_pools=4, maxsize=1, ssl_context=context)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, ssl_context=context, **options)
            manager.pool_classes_by_scheme = pools
            return manager

        # requests would read its own CA bundle for every pool; ours is in the context already
        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            conn.cert_reqs = "CERT_REQUIRED"

        def get_connection(self, url: Any, proxies: Any = None) -> Any:
            proxy = select_proxy(url, proxies)
            manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            return manager.connection_from_url(url)

        def get_connection_with_tls_context(
            self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
        ) -> Any:
            return self.get_connection(request.url, proxies)

    session = requests.Session()
    # or requests reads the whole body of a redirect, unbounded, and leaves us none of it
    session.get_redirect_target = lambda _: None
    session.trust_env = manners.use_environment
    session.headers.clear()
    session.headers.update(
        {
            "User-Agent": f"check_config_freshness/{twiceshy.__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
    )
    adapter = Adapter()
    session.adapters.clear()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _seconds(timeout: Any) -> float:
    """urllib3 1 and 2 hand the connection a number, or (1.25) its Timeout's default object."""
    return float(timeout) if isinstance(timeout, (int, float)) else 10.0


class Asker:
    """Asks one endpoint, over one kept connection where the server allows."""

    def __init__(self, line: Line, manners: Manners, trusted: Trust | None, ends: float) -> None:
        self.line = line
        self._manners = manners
        self._ends = ends  # by the monotonic clock
        self._session = _session(line, manners, trusted)

    def close(self) -> None:
        self._session.close()
        self.line.close()

    def ask(
        self, url: str, headers: Mapping[str, str] | None = None, credentials: bool = True
    ) -> Answer:
        """The answer to a GET, redirects within the same host followed; NoAnswer."""
        where = ""
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._ask(url, headers or {}, credentials)
            place = answer.headers.get("location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not place:
                return answer
            target = urljoin(url, place)
            # the host and path alone: login pages carry tokens in their query
            parts = urlsplit(target)
            where = safe(f"{parts.hostname or parts.scheme}{parts.path}", 80)
            if not _same_host(url, target):
                raise NoAnswer("redirect", f"redirects to {where}, not followed")
            url = target
        text = f"redirects more than {MOST_REDIRECTS} times, last to {where}"
        raise NoAnswer("redirect", text)

    def _ask(self, url: str, headers: Mapping[str, str], credentials: bool) -> Answer:
        line, began = self.line, time.monotonic()
        own = dict(self._manners.headers) if credentials else {}
        if line.stage == "its turn" and self._ends - began <= 0.05:
            # it is we who were slow; nobody else is to be blamed
            raise CheckError("no time was left to ask anybody; give a longer -t")
        if self._ends - began <= 0.05:
            raise NoAnswer("slow retrieval", "is slow: no time was left to ask again")
        line.received, line.stage = 0, "the header"
        try:
            response = self._session.get(
                url,
                headers={**own, **headers},
                auth=self._manners.basic if credentials else None,
                timeout=self._ends - began,
                allow_redirects=False,
                stream=True,
            )
            came = time.time()
            with contextlib.closing(response):
                if line.hung_up:  # its end looks like the end of the header
                    raise self._too_slow(time.monotonic() - began)
                wire = self._wire(response)
        except NoAnswer:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            # requests' and urllib3's errors are OSErrors, HTTPExceptions or ValueErrors, but for
            # urllib3's own HTTPError, which is caught where the body is read
            raise self._explained(error, time.monotonic() - began) from error
        lower = {key.lower(): value for key, value in response.headers.items()}
        body = decoded(wire, lower.get("content-encoding", ""), self._manners.max_bytes)
        seconds = time.monotonic() - began
        return Answer(response.status_code, lower, wire, body, seconds, line.peer, came)

    def _wire(self, response: Any) -> bytes:
        """The body as sent; NoAnswer when it is cut, endless or slow."""
        from urllib3.exceptions import HTTPError

        line, began, cap = self.line, time.monotonic(), self._manners.max_bytes
        line.stage = "the body"
        pieces = []
        declared = response.headers.get("Content-Length", "")
        if response.request.method == "HEAD" or response.status_code in (204, 304):
            declared = ""
        try:
            for piece in response.raw.stream(PIECE, decode_content=False):
                pieces.append(piece)
                line.received += len(piece)
                if line.received > cap:
                    raise NoAnswer("endless data", f"sends endless data: more than {say_size(cap)}")
                if time.monotonic() > self._ends:
                    line.hung_up = True
                    break
        except HTTPError as error:
            raise self._explained(error, time.monotonic() - began) from error
        if line.hung_up:
            raise self._too_slow(time.monotonic() - began)
        if declared.isdigit() and line.received < int(declared):
            raise NoAnswer("cut", f"cuts the body: {line.received} of {declared} bytes")
        return b"".join(pieces)

    def _too_slow(self, seconds: float) -> NoAnswer:
        line = self.line
        if line.stage == "the body":
            text = f"is slow: {say_size(line.received)} of the body in {say_duration(seconds)}"
        else:
            text = f"is slow: waited {say_duration(seconds)} for {line.stage}"
        return NoAnswer("slow retrieval", text)

    def _explained(self, error: BaseException, seconds: float) -> NoAnswer:
        if self.line.hung_up:
            return self._too_slow(seconds)
        chain = _chain(error)
        for known in chain:
            if isinstance(known, ssl.SSLCertVerificationError):
                why = known.verify_message or "cannot be verified"
                return NoAnswer("tls", f"has a certificate that is not trusted: {safe(why)}")
            if type(known).__name__ == "CertificateError":  # urllib3 1 has one of its own
                return NoAnswer("tls", f"has a certificate for another name: {safe(str(known))}")
        for known in chain:
            if isinstance(known, (TimeoutError, socket.timeout)):
                return self._too_slow(seconds)
            if isinstance(known, ssl.SSLError):
                why = (known.reason or "handshake failed").replace("_", " ").lower()
                return NoAnswer("tls", f"fails at TLS: {safe(why)}")
            if isinstance(known, socket.gaierror):
                return NoAnswer("down", f"has no address: {safe(known.strerror or 'unknown name')}")
            if isinstance(known, http.client.IncompleteRead):
                return NoAnswer("cut", f"cuts the body after {self.line.received} bytes")
            if isinstance(known, http.client.RemoteDisconnected):
                return NoAnswer("down", "hangs up without an answer")
            if isinstance(known, ConnectionRefusedError):
                return NoAnswer("down", "refuses connections")
            if isinstance(known, ConnectionResetError):
                return NoAnswer("down", "resets the connection")
            if isinstance(known, http.client.HTTPException):
                return NoAnswer("down", f"does not speak HTTP: {safe(str(known), 80)}")
        for known in chain:
            if isinstance(known, OSError) and known.errno and known.strerror:
                return NoAnswer("down", f"cannot be reached: {known.strerror}")
        return NoAnswer("down", f"cannot be read: {safe(str(error), 100)}")


def _chain(error: BaseException) -> list[BaseException]:
    """An exception with those that it wraps: libraries keep them in args, reason or __cause__."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < 20:
        current = waiting.pop(0)
        if current in found:
            continue
        found.append(current)
        inner = [*current.args, getattr(current, "reason", None)]
        inner += [current.__cause__, current.__context__]
        waiting += [each for each in inner if isinstance(each, BaseException)]
    return found


def _same_host(url: str, target: str) -> bool:
    """Whether a redirect stays with the server; from http to https on the usual ports it does."""
    before, after = urlsplit(url), urlsplit(target)
    if before.hostname != after.hostname or after.scheme not in ("http", "https"):
        return False
    usual = {"http": 80, "https": 443}
    try:
        ports = [part.port or usual[part.scheme] for part in (before, after)]
    except ValueError:
        return False
    if before.scheme == after.scheme:
        return ports[0] == ports[1]
    return before.scheme == "http" and ports == [80, 443]


def decoded(wire: bytes, coding: str, cap: int) -> bytes:
    """A body without its content coding: we asked for none, servers do as they like. NoAnswer."""
    coding = coding.strip().lower()
    if coding in ("", "identity") or not wire:
        return wire
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise NoAnswer("coding", f"sends {safe(coding, 20)} although identity was asked for")
    body, rest = b"", wire
    try:
        while rest:
            # "deflate" means zlib's format, and is sent raw by some all the same
            is_raw = coding == "deflate" and rest[0] & 0x0F != 8
            unpacker = zlib.decompressobj(-15 if is_raw else 47)
            body += unpacker.decompress(rest, cap + 1 - len(body))
            if len(body) > cap:
                raise NoAnswer(
                    "endless data",
                    f"sends endless data: {say_size(len(wire))} of {coding} unpack to more than "
                    f"{say_size(cap)}",
                )
            if not unpacker.eof:
                raise NoAnswer("cut", f"cuts the body: its {coding} stream has no end")
            rest = unpacker.unused_data
    except zlib.error:
        raise NoAnswer("cut", f"sends a broken {coding} stream") from None
    return body


def all_at_once(
    jobs: Mapping[Key, Callable[[Line], Result]],
    seconds: float,
    addresses: Mapping[Key, str] | None = None,
) -> dict[Key, Result | NoAnswer]:
    """Every job's result, each in a thread with a line of its own, after `seconds` at the latest.

    A job that takes longer is hung up; one that even then does not end (a name lookup) is left
    behind with a NoAnswer.
    """
    ends = time.monotonic() + seconds
    waiting: queue.SimpleQueue[Key] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Key, Any]] = queue.SimpleQueue()
    lines = {key: Line((addresses or {}).get(key, "")) for key in jobs}
    for key in jobs:
        waiting.put(key)

    def work() -> None:
        while True:
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((key, jobs[key](lines[key])))
            except BaseException as error:  # noqa: BLE001 - it is raised again by who waits for it
                done.put((key, error))

    for _ in range(min(len(jobs), MOST_THREADS)):
        threading.Thread(target=work, daemon=True).start()
    results: dict[Key, Result | NoAnswer] = {}
    grace = min(0.3, 0.1 * seconds)
    while len(results) < len(jobs):
        left = ends - time.monotonic()
        if left <= 0:
            for key in jobs.keys() - results.keys():
                lines[key].hang_up()
        try:
            key, result = done.get(timeout=max(left, grace))
        except queue.Empty:
            if left <= 0:
                break
            continue
        if left < -2 * grace:
            break
        if isinstance(result, BaseException) and not isinstance(result, NoAnswer):
            raise result
        results[key] = result
    for key in jobs.keys() - results.keys():
        text = f"is slow: waited {say_duration(seconds)} for {lines[key].stage}"
        results[key] = NoAnswer("slow retrieval", text)
    return results


def addresses_of(host: str, port: int, _: Line) -> list[str]:
    """Every address behind a name, in a stable order; NoAnswer."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoAnswer(
            "down", f"has no address: {safe(error.strerror or 'unknown name')}"
        ) from None
    return sorted({str(place[0]) for *_, place in found})


def small_file(path: str, cap: int) -> bytes:
    """A local file of at most `cap` bytes; OSError as it comes, NoAnswer when it is larger."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        raw = file.read(cap + 1) or b""
    if len(raw) > cap:
        raise NoAnswer("endless data", f"is larger than {say_size(cap)}")
    return raw

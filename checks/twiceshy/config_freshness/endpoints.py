"""Asking one HTTP endpoint with requests, bounded in time and in bytes.

What requests lacks is a bound on the whole of an answer. Its timeouts are for one read, so a server
that sends a byte a second is read for ever; Session.send reads all of a redirect's body; and a gzip
bomb is unpacked whole. So a request goes through requests' transport adapter, which follows
nothing; bodies are read and unpacked here, up to a cap; and `threads` holds the deadline. Before
the header has arrived nobody but http.client has the socket: it reads no more than 100 header lines
of 65,536 bytes each.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import twiceshy
from twiceshy.config_freshness.http_errors import Cut, Redirected, Undecodable, explained
from twiceshy.config_freshness.threads import Progress, Stage
from twiceshy.kit.http import Answer, TimedOut, TooLarge, Unreachable, Untrusted
from twiceshy.kit.plugin import CheckError, require
from twiceshy.kit.units import say_size
from twiceshy.kit.verdict import safe

MOST_REDIRECTS = 3
PIECE_BYTES = 16_384
LEAST_SECONDS = 0.05


@dataclass(frozen=True)
class Received(Answer):
    """An answer as these checks need it: `body` is decoded, `wire` is as it was sent."""

    wire: bytes = b""
    peer: str = ""  # address:port that answered
    received_at: float = 0.0  # our wall clock when the header was there


@dataclass(frozen=True)
class Policy:
    """How to ask: the same for all endpoints of a run; paths of files, "" for none."""

    max_bytes: int = 4 << 20
    headers: Mapping[str, str] = field(default_factory=dict)  # credentials among them
    basic: tuple[str, str] | None = None
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    use_environment: bool = False  # proxies, ~/.netrc


class Client:
    """What all requests of a run share: the library, whom to trust, how to ask.

    `is_secure`: some URL is https. CheckError if requests is not installed, or a CA file or
    certificate cannot be used.
    """

    def __init__(self, policy: Policy, is_secure: bool) -> None:
        self.policy = policy
        self._requests = require("requests", "python3-requests")
        self._adapter_class = _adapter_class()
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        if is_secure:
            self._context(is_address=False)
        paths = ssl.get_default_verify_paths()
        # The contexts trust all of these already. requests makes them load one for each connection
        # once more: a directory costs nothing, since OpenSSL looks into it as need be.
        self.bundle = policy.ca_file or paths.capath or paths.cafile

    def _context(self, is_address: bool) -> ssl.SSLContext:
        """One for all connections: reading the system's CAs costs 15 ms of CPU each time."""
        with self._lock:
            self._contexts = self._contexts or _contexts(self.policy)
            return self._contexts[is_address]

    def session(self) -> Any:
        """A requests.Session, which prepares requests and keeps cookies; it sends nothing."""
        session = self._requests.Session()
        session.trust_env = self.policy.use_environment
        session.headers.clear()
        session.headers.update(
            {
                "User-Agent": f"check_config_freshness/{twiceshy.__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            }
        )
        return session

    def adapter(self, scheme: str, host: str) -> Any:
        """A transport adapter for one host, whose certificate must be for that name."""
        context = self._context(is_address(host)) if scheme == "https" else None
        return self._adapter_class({"ssl_context": context, "server_hostname": host})


def _adapter_class() -> Any:
    """requests' HTTPAdapter with our TLS settings, by its documented way to extend it."""
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def __init__(self, tls: Mapping[str, Any]) -> None:
            self.tls = tls
            super().__init__(pool_connections=2, pool_maxsize=1)

        def init_poolmanager(
            self, connections: int, maxsize: int, block: bool = False, **options: Any
        ) -> None:
            super().init_poolmanager(connections, maxsize, block, **options, **self.tls)

        def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
            tls = {"ssl_context": self.tls["ssl_context"]}
            return super().proxy_manager_for(proxy, **options, **tls)

    return Adapter


def _contexts(policy: Policy) -> dict[bool, ssl.SSLContext]:
    """The TLS contexts for hosts that are names (False), and for those that are addresses (True).

    urllib3 1 does not tell ssl the name if it is an address; it compares it with the certificate
    by itself, which it does where ssl was told not to. urllib3 2 needs no difference.
    """
    by_name = _context(policy)
    if int(require("urllib3", "python3-urllib3").__version__.partition(".")[0]) > 1:
        return {False: by_name, True: by_name}
    by_address = _context(policy)
    by_address.check_hostname = False
    return {False: by_name, True: by_address}


def _context(policy: Policy) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=policy.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise CheckError(f"CA file {safe(policy.ca_file)} cannot be used: {why}") from error
    if policy.certificate:
        try:
            context.load_cert_chain(policy.certificate, policy.key or None)
        except (OSError, ssl.SSLError) as error:
            is_ssl = isinstance(error, ssl.SSLError)
            why = "certificate and key do not match" if is_ssl else error.strerror
            raise CheckError(
                f"client certificate {safe(policy.certificate)} cannot be used: {why}"
            ) from error
    return context


def is_address(host: str) -> bool:
    """Whether a host is an IP address, with or without brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Requester:
    """Asks one endpoint, over one connection as long as the server keeps it open.

    `ends` by the monotonic clock; `addresses`: where to connect instead of where a host's name
    leads.
    """

    def __init__(
        self,
        client: Client,
        progress: Progress,
        ends: float,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.progress = progress
        self._client = client
        self._ends = ends
        self._addresses = addresses or {}
        self._session = client.session()
        self._adapters: dict[tuple[str, str], Any] = {}  # by scheme and host

    def __enter__(self) -> Requester:
        return self

    def __exit__(self, *_: object) -> None:
        for adapter in self._adapters.values():
            adapter.close()
        self.progress.close()

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, credentials: bool = True
    ) -> Received:
        """The answer to a GET, redirects within the same host followed; HttpError."""
        where = ""
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._get(url, headers or {}, credentials)
            location = answer.header("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            target = urljoin(url, location)
            # the host and path alone: login pages carry tokens in their query
            parts = urlsplit(target)
            where = safe(f"{parts.hostname or parts.scheme}{parts.path}", 80)
            if not is_same_host(url, target):
                raise Redirected(f"redirects to {where}, not followed")
            url = target
        raise Redirected(f"redirects more than {MOST_REDIRECTS} times, last to {where}")

    def _get(self, url: str, headers: Mapping[str, str], credentials: bool) -> Received:
        """The answer to one GET, whatever its status."""
        from urllib3.exceptions import HTTPError

        progress, began = self.progress, time.monotonic()
        if self._ends - began <= LEAST_SECONDS:
            if progress.stage is Stage.TURN:
                # it is we who were slow; nobody else is to be blamed
                raise CheckError("no time was left to ask any endpoint; give a longer -t")
            raise TimedOut("is slow (slow retrieval): no time was left to ask again")
        progress.received, progress.stage = 0, Stage.ANSWER
        try:
            response = self._send(url, headers, credentials, self._ends - began)
            received_at = time.time()
            with contextlib.closing(response):
                progress.header_arrived(response.raw)
                wire = self._wire(response)
        # requests' own errors are OSErrors or ValueErrors
        except (OSError, ValueError, http.client.HTTPException, HTTPError) as error:
            raise explained(error, progress, time.monotonic() - began) from error
        fields = tuple(response.headers.items())
        coding = response.headers.get("content-encoding", "")
        body = decoded(wire, coding, self._client.policy.max_bytes)
        seconds = time.monotonic() - began
        return Received(
            status=response.status_code,
            fields=fields,
            body=body,
            seconds=seconds,
            url=url,
            wire=wire,
            peer=progress.peer,
            received_at=received_at,
        )

    def _send(self, url: str, headers: Mapping[str, str], credentials: bool, seconds: float) -> Any:
        """A requests.Response whose body has not been read; errors as requests raises them.

        Not Session.send, which reads the whole body of a redirect, unbounded, and leaves us none.
        """
        from requests import Request
        from requests.utils import select_proxy

        policy, session = self._client.policy, self._session
        own = policy.headers if credentials else {}
        basic = policy.basic if credentials else None
        prepared = session.prepare_request(
            Request("GET", url, headers={**own, **headers}, auth=basic)
        )
        bundle = self._client.bundle
        parts = urlsplit(prepared.url)
        if parts.scheme == "https" and not bundle:
            raise Untrusted(
                "has a certificate that is not trusted: this host has no CAs, give --ca-file"
            )
        options = session.merge_environment_settings(prepared.url, {}, True, bundle, None)
        host = str(parts.hostname)
        address = self._addresses.get(host, "")
        if address and not select_proxy(prepared.url, options["proxies"]):
            prepared.headers["Host"] = parts.netloc.rpartition("@")[2]
            prepared.url = _at_address(prepared.url, address)
        key = (parts.scheme, host)
        if key not in self._adapters:
            self._adapters[key] = self._client.adapter(*key)
        response = self._adapters[key].send(prepared, timeout=(seconds, seconds), **options)
        session.cookies.update(response.cookies)
        return response

    def _wire(self, response: Any) -> bytes:
        """The body as sent; HttpError when it is cut, endless or slow."""
        progress, began = self.progress, time.monotonic()
        cap = self._client.policy.max_bytes
        pieces = []
        while piece := response.raw.read(PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            progress.received += len(piece)
            if progress.received > cap:
                raise TooLarge(f"sends endless data: more than {say_size(cap)}")
            if time.monotonic() > self._ends:
                raise progress.too_slow(time.monotonic() - began)
        if progress.is_abandoned:  # the end of the connection was made by us
            raise progress.too_slow(time.monotonic() - began)
        declared = response.headers.get("content-length", "")
        is_bare = response.status_code in (204, 304)
        # urllib3 1 does not complain
        if not is_bare and declared.isdigit() and progress.received < int(declared):
            raise Cut(f"truncates the body: {progress.received} of {declared} bytes")
        return b"".join(pieces)


def _at_address(url: str, address: str) -> str:
    """A URL whose host is an address."""
    parts = urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=host + port).geturl()


def is_same_host(url: str, target: str) -> bool:
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
    """A body without its content coding: we asked for none, servers do as they like. HttpError."""
    coding = coding.strip().lower()
    if coding in ("", "identity") or not wire:
        return wire
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Undecodable(f"sends {safe(coding, 20)} although identity was asked for")
    body, rest = b"", wire
    try:
        while rest:
            # "deflate" means zlib's format, and is sent raw by some all the same
            is_raw = coding == "deflate" and rest[0] & 0x0F != 8
            unpacker = zlib.decompressobj(-15 if is_raw else 47)
            body += unpacker.decompress(rest, cap + 1 - len(body))
            if len(body) > cap:
                raise TooLarge(
                    f"sends endless data: {say_size(len(wire))} of {coding} unpacks to more than "
                    f"{say_size(cap)}"
                )
            if not unpacker.eof:
                raise Cut(f"truncates the body: its {coding} stream has no end")
            rest = unpacker.unused_data
    except zlib.error:
        raise Cut(f"sends a broken {coding} stream") from None
    return body


def addresses_of(host: str, port: int, _: Progress) -> list[str]:
    """Every address behind a name, in a stable order; Unreachable."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"has no address: {safe(error.strerror or 'unknown name')}") from None
    return sorted({str(place[0]) for *_, place in found})

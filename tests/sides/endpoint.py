"""A configuration server that can do every rude thing that we have met."""

from __future__ import annotations

import base64
import email.utils
import functools
import gzip
import hashlib
import socket
import ssl
import threading
import time
import zlib


@functools.lru_cache(maxsize=1)
def bomb() -> bytes:
    """200 MB of nothing in 190 KiB."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()])


class Endpoint:
    """An HTTP/1.1 server on loopback: one file, its sidecar, and a `manner` to serve them in.

    Manners: honest, slow-headers, slow-body, silent, endless, bomb, cut, cut-without-length,
    page, always-304, etag-for-any, never-304, refuse (closes at once), redirect, endless-redirect,
    nonsense (no HTTP).
    """

    def __init__(self, body: bytes = b'{"version": 1}', address: str = "127.0.0.1", **habits):
        self.body = body
        self.path = "/app.json"
        self.manner = "honest"
        self.status = 200
        self.etag: str | None = "auto"
        self.digest: str | None = "Repr-Digest"  # header field, or None
        self.digest_of: bytes | None = None  # lies when set
        self.sidecar: bytes | None = None
        self.content_type = "application/json"
        self.last_modified: float | None = None
        self.skew = 0.0
        self.gzip = False
        self.location = ""
        self.headers: dict = {}
        self.pages: dict = {}  # further paths -> bytes
        self.after = None  # called with the number of requests of `path` so far
        self.asked: list = []  # (method, path, {header: value})
        self.connections = 0
        self.tls: ssl.SSLContext | None = None
        for name, value in habits.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, 0), family=family, backlog=300)
        self.address = address
        self.port = self._socket.getsockname()[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Stops listening: the next one to come is refused."""
        self._stopping.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.port}{self.path}"

    @property
    def sha256(self):
        return hashlib.sha256(self.body).hexdigest()

    def with_sidecar(self):
        self.sidecar = f"{self.sha256}  {self.path[1:]}\n".encode()
        return self

    def _serve(self):
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        try:
            if self.manner == "refuse":
                return
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            incoming = connection.makefile("rb")
            while self._answer(connection, incoming):
                pass
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def _answer(self, connection, incoming):
        words = incoming.readline().decode("latin-1").split()
        if len(words) != 3:
            return False
        asked = {}
        for line in iter(incoming.readline, b"\r\n"):
            if not line:
                return False
            key, _, value = line.decode("latin-1").partition(":")
            asked[key.strip().lower()] = value.strip()
        self.asked.append((words[0], words[1], asked))
        if words[1].split("?")[0] == self.path:
            return self._configuration(connection, asked)
        if words[1] == self.path + ".sha256" and self.sidecar is not None:
            return self._send(connection, 200, {"Content-Type": "text/plain"}, self.sidecar)
        if words[1] in self.pages:
            return self._send(connection, 200, {}, self.pages[words[1]])
        return self._send(connection, 404, {"Content-Type": "text/html"}, b"<html>no</html>")

    def _send(self, connection, status, headers, body, length=None):
        date = email.utils.formatdate(time.time() + self.skew, usegmt=True)
        lines = [f"HTTP/1.1 {status} X", f"Date: {date}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        if status != 304:
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return True

    def _drip(self, connection, raw, pause=0.1):
        for byte in raw * 1000:
            if self._stopping.wait(pause):
                return
            connection.sendall(bytes([byte]))

    def _configuration(self, connection, asked):
        if self.after:
            self.after(sum(path.split("?")[0] == self.path for _, path, _ in self.asked))
        body, headers, manner = self.body, {"Content-Type": self.content_type}, self.manner
        etag = self.etag
        if etag == "auto":
            etag = f'"{hashlib.md5(body).hexdigest()[:8]}-{self.port}"'
        if manner == "nonsense":
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            return False
        if manner == "silent":
            self._stopping.wait(60)
            return False
        if manner == "slow-headers":
            self._drip(connection, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 50)
            return False
        if manner == "redirect":
            # with a body, as all real servers send one
            page = b"<html><h1>302 Found</h1></html>"
            return self._send(connection, 302, {"Location": self.location}, page)
        if manner == "endless-redirect":
            connection.sendall(f"HTTP/1.1 302 X\r\nLocation: {self.location}\r\n\r\n".encode())
            while not self._stopping.is_set():
                connection.sendall(b"x = 1\n" * 10_000)
            return False
        if manner == "page":
            headers = {"Content-Type": "text/html; charset=utf-8"}
            return self._send(connection, 200, headers, b"<!DOCTYPE html><title>Log in</title>")
        if etag:
            headers["ETag"] = etag
        if self.last_modified is not None:
            headers["Last-Modified"] = email.utils.formatdate(self.last_modified, usegmt=True)
        validator = asked.get("if-none-match")
        matches = validator is not None and (validator == etag or manner == "etag-for-any")
        if manner == "always-304" or (matches and manner != "never-304"):
            return self._send(connection, 304, {"ETag": etag} if etag else {}, b"")
        if self.gzip:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        if self.digest:
            true = hashlib.sha256(body if self.digest_of is None else self.digest_of).digest()
            text = base64.b64encode(true).decode()
            md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
            headers[self.digest] = {
                "Digest": f"SHA-256={text}",
                "Content-MD5": md5,
            }.get(self.digest, f"sha-256=:{text}:")
        headers.update(self.headers)
        if manner == "bomb":
            headers["Content-Encoding"] = "gzip"
            return self._send(connection, 200, headers, bomb())
        if manner == "endless":
            head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
            while not self._stopping.is_set():
                connection.sendall(b"x = 1\n" * 10_000)
            return False
        if manner == "slow-body":
            head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            connection.sendall(f"HTTP/1.1 200 OK\r\n{head}Content-Length: 9999\r\n\r\n".encode())
            self._drip(connection, b"{")
            return False
        if manner == "cut":
            self._send(connection, 200, headers, body[:-3], len(body))
            return False
        if manner == "cut-without-length":
            head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body[:-3])
            return False
        return self._send(connection, self.status, headers, body)

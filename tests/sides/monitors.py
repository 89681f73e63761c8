"""Fake other sides of monitors: small, real sockets, on loopback and in temporary directories."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from twiceshy.kit.processes import TICKS_PER_SECOND, Process


def process(pid: int, *argv: str, parent: int = 1, state: str = "S", **more: float) -> Process:
    """`started` is a time of the wall clock, for a host that booted at 0.0."""
    return Process(
        pid=pid,
        ppid=parent,
        comm=argv[0].rpartition("/")[2][:15],
        state=state,
        ticks=int(more.get("started", 0.0) * TICKS_PER_SECOND),
        reaped_faults=int(more.get("faults", 0)),
        cmdline=argv,
        uid=0,
    )


class Website(http.server.ThreadingHTTPServer):
    """HTTP from a dict: path to (status, body). `hang` says nothing, `drip` a byte at a time."""

    daemon_threads = True

    def __init__(self, pages: Mapping[str, tuple[int, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.pages = dict(pages)
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Page(http.server.BaseHTTPRequestHandler):
    server: Website

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("Authorization", "")))
        status, body = self.server.pages.get(path, (404, "no such page"))
        if body == "hang":
            time.sleep(30)
            return
        self.send_response(status)
        self.send_header("Content-Length", "10000" if body == "drip" else str(len(body.encode())))
        self.end_headers()
        if body == "drip":
            for _ in range(100):
                try:
                    self.wfile.write(b".")
                except OSError:
                    return
                time.sleep(0.2)
        elif status not in (204, 304):
            self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def website(pages: Mapping[str, tuple[int, str]]) -> Iterator[Website]:
    server = Website(pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def talker(says: bytes | None, waits: bool = True, path: str = "") -> Iterator[int]:
    """A socket that says something to everybody; None hangs, b"" hangs up. Yields its port."""
    listening = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(path or ("127.0.0.1", 0))
    listening.listen(8)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            kept.append(connection)
            try:
                if says is None:
                    continue
                if waits:
                    connection.recv(4096)
                connection.sendall(says)
                connection.close()
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield 0 if path else int(listening.getsockname()[1])
    finally:
        listening.close()
        for connection in kept:
            connection.close()

"""A monit httpd on a unix socket: /_status?format=xml and /_viewlog, behind a password."""

from __future__ import annotations

import base64
import html
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class Monit:
    """Serves `xml` and `log`."""

    def __init__(self, path: Path, xml: str, log: str = "", user: str = "admin:monit") -> None:
        self.path = path
        expected = "Basic " + base64.b64encode(user.encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers.get("Authorization") != expected:
                    self.send_response(401)
                    self.end_headers()
                    return
                page = f"<form><textarea cols=80>{html.escape(log)}</textarea></form>"
                body = (xml if self.path.startswith("/_status") else page).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *words: object) -> None:
                """Say nothing."""

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def process(name: str, pid: int = 0, monitor: int = 1, status: int = 0, mode: int = 0) -> str:
    """One <service type="3"> as monit 5.33 writes it."""
    life = f"<pid>{pid}</pid><ppid>1</ppid><uptime>3</uptime>" if pid else ""
    return (
        f'<service type="3"><name>{name}</name><collected_sec>1795255667</collected_sec>'
        f"<status>{status}</status><monitor>{monitor}</monitor><monitormode>{mode}</monitormode>"
        f"{life}</service>"
    )


def answer(*services: str) -> str:
    """The whole document."""
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><monit><server><poll>2</poll></server>'
        + "".join(services)
        + "</monit>"
    )

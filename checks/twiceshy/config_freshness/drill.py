"""The service desk's outage: serving ETags took the checksum away, on both services at once."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading

from twiceshy.kit.drill import Drill, Play, Sandbox

OUTAGE = "a change to ETags takes the checksum of the configuration away on both endpoints at once"

CONFIGURATION = b'{"release": 7, "database": "db1.example.org", "subscriptions": 40}\n'


class Service:
    """A configuration service on loopback, as the two of the outage were."""

    def __init__(self) -> None:
        self.has_etags = False
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                digest = hashlib.sha256(CONFIGURATION).digest()
                etag = f'"{digest.hex()[:16]}"'
                known = service.has_etags and self.headers.get("If-None-Match") == etag
                self.send_response(304 if known else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Last-Modified", "Tue, 17 Nov 2026 08:00:00 GMT")
                if service.has_etags:
                    self.send_header("ETag", etag)
                else:
                    value = base64.b64encode(digest).decode()
                    self.send_header("Repr-Digest", f"sha-256=:{value}:")
                self.send_header("Content-Length", "0" if known else str(len(CONFIGURATION)))
                self.end_headers()
                if not known:
                    self.wfile.write(CONFIGURATION)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/app.json"

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def stage(box: Sandbox) -> Play:
    """Two services in threads of ours; the check is the only thing that leaves the process."""
    services = [Service(), Service()]
    for service in services:
        box.undo(service.end)

    def roll_out(etags: bool) -> None:
        for service in services:
            service.has_etags = etags

    return Play(
        arguments=[
            *(f"--endpoint={name}={service.url}" for name, service in zip("ab", services)),
            "--parse=json",
            "--checksum=header",
        ],
        fault="both services are changed to serve ETags, and no longer send Repr-Digest",
        break_it=lambda: roll_out(True),
        remedy="the change is backed out on both",
        mend_it=lambda: roll_out(False),
    )


DRILL = Drill(OUTAGE, stage)

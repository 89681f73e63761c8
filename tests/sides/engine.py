"""A container engine on a unix socket, answering from captured inspections.

    with Engine(tmp_path) as engine:
        web = engine.add("docker-20.10-running-steady", "web", started=-3600)
        engine.faults["/containers/json"] = "html"

Times are seconds from the engine's `now`, negative for the past. Faults, by a part of the path:
"hang" (never answers), "drip" (a byte a second), "html" (a proxy's error page), "vanish" (404), or
a status with a message.
"""

from __future__ import annotations

import calendar
import copy
import hashlib
import json
import socketserver
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data" / "container_restarts"
NEVER = "0001-01-01T00:00:00Z"


def captured(what: str) -> Any:
    return json.loads((DATA / f"{what}.json").read_text())


def stamp(at: float) -> str:
    """A time as the engine writes it, with nanoseconds."""
    whole = int(at // 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(at % 1 * 1e9):09d}Z"


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _TCPServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class Engine:
    def __init__(
        self,
        directory: Path,
        kind: str = "docker-20.10",
        now: float | None = None,
        tls: ssl.SSLContext | None = None,
        tcp: bool = False,
    ) -> None:
        self.socket = directory / "engine.sock"
        self.tcp = tcp or tls is not None
        self.tls = tls
        self.kind = kind
        self._version = self._captured_version()
        self.now = time.time() if now is None else now
        self.containers: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.services: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.is_manager = False
        self.untagged: set[str] = set()  # ids whose image has lost its name, to a prune or a pull
        self.logs = b""
        self.faults: dict[str, Any] = {}
        self.asked: list[str] = []
        self.url = f"unix://{self.socket}"
        self.ended = threading.Event()

    def __enter__(self) -> Engine:
        engine = self

        class Handler(_Handler):
            side = engine

        self.server: socketserver.BaseServer
        if self.tcp:
            listening = _TCPServer(("127.0.0.1", 0), Handler)
            self.url = f"tcp://localhost:{listening.server_address[1]}"
            if self.tls:
                listening.socket = self.tls.wrap_socket(listening.socket, server_side=True)
            self.server = listening
        else:
            self.server = _UnixServer(str(self.socket), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def add(
        self,
        what: str,
        name: str,
        *,
        created: float = -86400.0,
        started: float | None = -3600.0,
        finished: float | None = None,
        count: int | None = None,
        policy: str | None = None,
        labels: dict[str, str] | None = None,
        image: str | None = None,
        command: str | None = None,
        id: str | None = None,  # noqa: A002 - docker's own word
        **state: Any,
    ) -> dict[str, Any]:
        """A container like the captured one, with a name and times of its own; its inspection."""
        one = copy.deepcopy(captured(what))
        one["Id"] = hashlib.sha256((id or name).encode()).hexdigest()
        one["Name"] = f"/{name}"
        one["Created"] = stamp(self.now + created)
        if one["State"]["Restarting"] and finished is None and started is not None:
            finished = started + 0.02  # as long as the captured ones lived
        one["State"]["StartedAt"] = NEVER if started is None else stamp(self.now + started)
        one["State"]["FinishedAt"] = NEVER if finished is None else stamp(self.now + finished)
        one["State"].update(state)
        if count is not None:
            one["RestartCount"] = count
        if policy is not None:
            base, _, tries = policy.partition(":")
            one["HostConfig"]["RestartPolicy"] = {
                "Name": base,
                "MaximumRetryCount": int(tries or 0),
            }
        if labels:
            one["Config"]["Labels"] = labels
        if image:
            one["Config"]["Image"] = image
        if command:
            one["Config"]["Cmd"] = command.split()
        self.containers[one["Id"]] = one
        return one

    def remove(self, one: dict[str, Any]) -> None:
        del self.containers[one["Id"]]

    def restarted(self, one: dict[str, Any], seconds_ago: float, by_policy: bool = True) -> None:
        """A new life of a container, begun so long ago."""
        one["State"]["StartedAt"] = stamp(self.now - seconds_ago)
        one["State"]["FinishedAt"] = stamp(self.now - seconds_ago - 0.25)
        one["RestartCount"] = one["RestartCount"] + 1 if by_policy else 0

    def happened(
        self, one: dict[str, Any] | str, action: str, seconds_ago: float, **attributes: str
    ) -> None:
        """An event of a container; with an id instead, of one that is gone."""
        if isinstance(one, str):
            identity, own = one, {}
        else:
            identity = one["Id"]
            own = {"name": one["Name"][1:], "image": one["Config"]["Image"]}
            own.update(one["Config"]["Labels"] or {})
        at = self.now - seconds_ago
        event = {
            "Type": "container",
            "Action": action,
            "Actor": {"ID": identity, "Attributes": {**own, **attributes}},
            "scope": "local",
            "time": int(at),
            "timeNano": int(at * 1e9),
        }
        if not self.kind.startswith("docker-29"):  # API 1.52 has dropped them
            event.update(status=action, id=identity, **{"from": own.get("image", "")})
        self.events.append(event)
        self.events.sort(key=lambda event: event["timeNano"])
        if not self.kind.startswith("podman"):
            del self.events[:-256]

    def listed(self) -> list[dict[str, Any]]:
        entries = []
        for one in self.containers.values():
            config = one["Config"]
            command = " ".join(config["Cmd"] or [])
            entries.append(
                {
                    "Id": one["Id"],
                    "Names": [one["Name"]],
                    "Image": one["Image"] if one["Id"] in self.untagged else config["Image"],
                    "ImageID": one["Image"],
                    "Command": command,
                    "Created": int(_epoch(one["Created"])),
                    "Ports": [],
                    "Labels": config["Labels"] or {},
                    "State": one["State"]["Status"],
                    "Status": "Up",
                    "HostConfig": {"NetworkMode": "none"},
                    "NetworkSettings": {"Networks": {}},
                    "Mounts": [],
                }
            )
        return entries

    def version(self) -> dict[str, Any]:
        return self._version

    def _captured_version(self) -> dict[str, Any]:
        if self.kind.startswith("docker-29"):
            newer: dict[str, Any] = captured("docker-20.10-version")
            newer.update(Version="29.1.0", ApiVersion="1.52", MinAPIVersion="1.44")
            return newer
        version: dict[str, Any] = captured(f"{self.kind}-version")
        return version


def _epoch(text: str) -> float:
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


class _Handler(BaseHTTPRequestHandler):
    side: Engine
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "local"

    def version_string(self) -> str:
        return "Libpod/4.3.1 (linux)" if self.side.kind[0] == "p" else "Docker/20.10.24 (linux)"

    def do_GET(self) -> None:
        side = self.side
        split = urllib.parse.urlsplit(self.path)
        path = split.path
        side.asked.append(self.path)
        for part, fault in side.faults.items():
            if part in path:
                self.fail(fault)
                return
        if path.startswith("/v1."):
            asked = tuple(int(part) for part in path[2:].split("/")[0].split("."))
            path = "/" + path.split("/", 2)[2]
            if side.kind.startswith("docker-29") and asked < (1, 44):
                self.answer({"message": "client version is too old"}, 400)
                return
        question = dict(urllib.parse.parse_qsl(split.query))
        if path == "/_ping":
            self.send(b"OK", "text/plain")
        elif path == "/version":
            self.answer(side.version())
        elif path == "/containers/json":
            self.answer(side.listed())
        elif path.startswith("/containers/") and path.endswith("/json"):
            one = side.containers.get(path.split("/")[2])
            if one is None:
                self.answer({"message": "No such container"}, 404)
            else:
                self.answer(one)
        elif path.startswith("/containers/") and path.endswith("/logs"):
            frame = b"\x01\0\0\0" + len(side.logs).to_bytes(4, "big") + side.logs
            self.send(frame, "application/octet-stream")
        elif path == "/events":
            since = float(question.get("since", 0))
            events = [event for event in side.events if event["timeNano"] / 1e9 >= since]
            if side.kind[0] == "p" and "until" in question:
                events = []
            self.send("".join(json.dumps(event) + "\n" for event in events).encode())
        elif path in ("/services", "/tasks"):
            if not side.is_manager:
                self.answer({"message": "This node is not a swarm manager."}, 503)
            else:
                self.answer(getattr(side, path[1:]))
        else:
            self.answer({"message": "page not found"}, 404)

    def answer(self, document: Any, status: int = 200) -> None:
        self.send(json.dumps(document).encode(), status=status)

    def send(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        if kind != "text/html":
            self.send_header("Api-Version", self.side.version()["ApiVersion"])
        if self.side.kind.startswith("podman"):
            self.send_header("Libpod-Api-Version", "4.3.1")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, fault: Any) -> None:
        if fault == "hang":
            self.side.ended.wait(60)
            self.close_connection = True
        elif fault == "drip":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "100000")
            self.end_headers()
            while not self.side.ended.wait(0.3):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
        elif fault == "html":
            self.send(b"<html><h1>502 Bad Gateway</h1></html>", "text/html")
        elif fault == "vanish":
            self.answer({"message": "No such container"}, 404)
        else:
            status, message = fault
            self.answer({"message": message}, status)

"""A supervisord that answers XML-RPC on a unix socket: processes, the end of its log, its pid."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/RPC2",)
    disable_nagle_algorithm = False

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class _Server(socketserver.ThreadingUnixStreamServer, SimpleXMLRPCDispatcher):
    logRequests = False  # noqa: N815  (SimpleXMLRPCServer's name)

    def __init__(self, path: str) -> None:
        SimpleXMLRPCDispatcher.__init__(self, allow_none=False)
        socketserver.ThreadingUnixStreamServer.__init__(self, path, _Handler)


class Supervisord:
    """Serves `processes` and `log`; `pid` is what it says its own pid is."""

    def __init__(self, path: Path, processes: list[dict[str, Any]], log: str, pid: int = 1) -> None:
        self._server = _Server(str(path))
        self._server.register_function(lambda: processes, "supervisor.getAllProcessInfo")
        self._server.register_function(lambda offset, length: log[offset:], "supervisor.readLog")
        self._server.register_function(lambda: pid, "supervisor.getPID")
        # Unlike the standard library's, supervisord's does not wrap each answer in a list.
        self._server.register_function(
            lambda calls: [
                self._server._dispatch(call["methodName"], tuple(call["params"])) for call in calls
            ],
            "system.multicall",
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def info(name: str, statename: str, **more: Any) -> dict[str, Any]:
    """One answer of getAllProcessInfo, with the fields of supervisor 4.2.5."""
    return {
        "name": name,
        "group": name,
        "start": 0,
        "stop": 0,
        "now": 1795255638,
        "statename": statename,
        "spawnerr": "",
        "exitstatus": 0,
        "logfile": "",
        "stdout_logfile": "",
        "stderr_logfile": "",
        "pid": 0,
        "description": "",
        **more,
    }

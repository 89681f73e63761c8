"""A perpd that answers status queries at its socket, and nothing else.

Bytes as captured from perp 2.05; see perp/PROTO_V2.txt of its source.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

PERPD = 16948
STARTED = bytes.fromhex("400000006b0170fc26f0f0d4")


def half(pid: int = 0, flags: int = 0, since: bytes = STARTED) -> bytes:
    """The 18 bytes of a main or log part: pid, stamp, flags, reserved."""
    stamp = since if pid else bytes(12)
    return pid.to_bytes(4, "little") + stamp + bytes((flags, 0))


def status(main: bytes, log: bytes | None = None, flags: int = 1) -> bytes:
    """A status packet, 69 bytes."""
    head = PERPD.to_bytes(4, "little") + STARTED + STARTED
    flags |= 2 if log is not None else 0
    return b"\x02S\x42" + head + bytes((flags, 0)) + main + (log or bytes(18))


def refusal(number: int) -> bytes:
    """An error packet."""
    return b"\x02E\x04" + number.to_bytes(4, "little")


class Perpd:
    """Serves BASE/.control/perpd.sock; `services` maps names of activated services to packets."""

    def __init__(self, base: Path, services: dict[str, bytes]) -> None:
        self.base = base
        (base / ".control").mkdir(parents=True)
        self._packets: dict[tuple[int, int], bytes] = {}
        for name, packet in services.items():
            (base / name).mkdir(exist_ok=True)
            (base / name).chmod(0o1755)
            found = os.stat(base / name)
            self._packets[found.st_dev, found.st_ino] = packet
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(base / ".control/perpd.sock"))
        self._listener.listen(5)
        self.questions: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while True:
                    question = connection.recv(258)
                    if not question:
                        break
                    self.questions.append(question)
                    where = (
                        int.from_bytes(question[3:11], "little"),
                        int.from_bytes(question[11:19], "little"),
                    )
                    packet = self._packets.get(where, refusal(20))
                    # In two pieces, as a stream may bring them.
                    connection.sendall(packet[:5])
                    connection.sendall(packet[5:])

    def close(self) -> None:
        """Hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

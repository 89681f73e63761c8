"""Many questions at once, each in a thread that is abandoned when time is up.

A thread cannot be stopped, and what it hangs in may have no timeout of its own: a name lookup, a
server that sends a byte a second. So whoever waits holds the deadline. A connection whose answer
has begun is shut down from here; a thread that cannot be reached so is left behind, and being a
daemon ends with the process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any, Callable, Protocol, TypeVar

from twiceshy.kit.http import HttpError, TimedOut
from twiceshy.kit.units import say_duration, say_size

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

# One thread per endpoint, so that a run takes as long as its slowest; the usual limit on open
# files (1024) allows two descriptors each.
MOST_THREADS = 300


class Stage(Enum):
    """What a thread waits for; the values complete "waited 2s for"."""

    TURN = "its turn"
    ANSWER = "an answer"
    CONNECTION = "a connection"
    BODY = "the body"


class HasDescriptor(Protocol):
    """A response whose connection can be found."""

    def fileno(self) -> int:
        """The connection's descriptor; OSError or ValueError if it is closed already."""


class Progress:
    """How far the thread of one endpoint has come, for whoever waits for it."""

    def __init__(self) -> None:
        self.stage = Stage.TURN
        self.received = 0  # bytes of the body
        self.peer = ""
        self.is_abandoned = False
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def header_arrived(self, response: HasDescriptor) -> None:
        """Keep a second descriptor of the connection, by which it can be shut down."""
        self.close()
        with contextlib.suppress(OSError, ValueError), self._lock:
            self._connection = socket.socket(fileno=os.dup(response.fileno()))
            host, port = self._connection.getpeername()[:2]
            self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.stage = Stage.BODY
        if self.is_abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Nobody waits any longer: the thread's next read finds the end of the connection."""
        self.is_abandoned = True
        with contextlib.suppress(OSError), self._lock:
            if self._connection:
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the second descriptor back; the connection itself goes on."""
        with self._lock:
            if self._connection:
                self._connection.close()
                self._connection = None

    def too_slow(self, seconds: float) -> TimedOut:
        """The error when the answer is not whole after `seconds`."""
        if self.stage is Stage.BODY:
            found = f"{say_size(self.received)} of the body in {say_duration(seconds)}"
        else:
            found = f"waited {say_duration(seconds)} for {self.stage.value}"
        return TimedOut(f"is slow (slow retrieval): {found}")


def all_at_once(
    jobs: Mapping[Key, Callable[[Progress], Result]], seconds: float
) -> dict[Key, Result | HttpError]:
    """Every job's result, or the HttpError that it ended with, after `seconds` at the latest.

    Each runs in a thread with a progress of its own. One that takes longer is abandoned, and has a
    moment to say how far it came; one that hangs in a name lookup or a header that drips cannot.
    What else a job raises is raised here.
    """
    ends = time.monotonic() + seconds
    waiting: queue.SimpleQueue[Key] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Key, Any]] = queue.SimpleQueue()
    progress = {key: Progress() for key in jobs}
    for key in jobs:
        waiting.put(key)

    def work() -> None:
        while True:
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((key, jobs[key](progress[key])))
            except BaseException as error:  # noqa: BLE001 - it is raised again by who waits for it
                done.put((key, error))

    for _ in range(min(len(jobs), MOST_THREADS)):
        threading.Thread(target=work, daemon=True).start()
    results: dict[Key, Result | HttpError] = {}
    moment = min(0.3, 0.1 * seconds)
    while len(results) < len(jobs):
        left = ends - time.monotonic()
        if left <= 0:
            for key in jobs.keys() - results.keys():
                progress[key].abandon()
        try:
            key, result = done.get(timeout=max(left, moment))
        except queue.Empty:
            if left <= 0:
                break
            continue
        if left < -2 * moment:
            break
        if isinstance(result, BaseException) and not isinstance(result, HttpError):
            raise result
        results[key] = result
    for key in jobs.keys() - results.keys():
        results[key] = progress[key].too_slow(seconds)
    return results

"""-t, which ends the process from outside whatever it hangs in, and says what that was.

nagiosplugin's own timeout raises an exception from SIGALRM: a tolerant `except` eats it once and
the alarm never rings again, and inside a C call that does not return it never rings at all. Here a
thread waits beside the check. It is woken by the interpreter's wake-up descriptor (signal(7)
arrives there at once, even while the main thread sits in a system call), prints the one line and
leaves with `os._exit`.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Iterator

from twiceshy.kit import units
from twiceshy.kit.plugin import UNKNOWN_STATUS

# What the process waits for right now, oldest first. There is one process and one end of it, so
# this is the one place in the kit that is shared by all threads of a process.
WAITING_FOR: list[str] = []

DEADLINES: list[Deadline] = []


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what is waited for, as a clause: `with doing("asking systemctl")`."""
    WAITING_FOR.append(what)
    try:
        yield
    finally:
        WAITING_FOR.remove(what)


def remaining() -> float:
    """Seconds until the process would be ended, for shorter timeouts inside; infinity without."""
    return max(0.0, DEADLINES[-1].ends - time.monotonic()) if DEADLINES else math.inf


def children(pid: int) -> list[int]:
    """The living children of a process of ours, from proc(5) /proc/PID/task/*/children.

    A kernel without CONFIG_PROC_CHILDREN has no such file; then every /proc/*/stat is read.
    """
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as listed:
                found += [int(child) for child in listed.read().split()]
    except OSError:
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, IndexError), open(f"/proc/{entry}/stat") as stat:
                    if stat.read().rpartition(")")[2].split()[1] == str(pid):
                        found.append(int(entry))
    return found


def kill_children() -> None:
    """SIGKILL to every descendant, so that nothing of a check outlives it.

    All are found before the first is killed: the child of a dead child is nobody's descendant.
    """
    family = [os.getpid()]
    for member in family:
        family += children(member)
    for member in family[1:]:
        with contextlib.suppress(OSError):
            os.kill(member, signal.SIGKILL)


class Deadline:
    """A running `-t`: from `start()` to `stop()` the process may not take longer than `seconds`.

    Installs handlers for SIGTERM, SIGINT and SIGHUP and needs the main thread for that.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.ends = math.inf
        self._wake: int | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Lock()

    def start(self) -> Deadline:
        self.ends = time.monotonic() + self.seconds
        reads, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in self.SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        DEADLINES.append(self)
        self._thread = threading.Thread(target=self._watch, args=(reads,), daemon=True)
        self._thread.start()
        return self

    def claim_the_last_word(self) -> None:
        """From here on the check itself speaks; blocks for ever if the deadline speaks already."""
        self._over.acquire()
        if self in DEADLINES:
            DEADLINES.remove(self)

    def _watch(self, reads: int) -> None:
        while True:
            left = self.ends - time.monotonic()
            if left <= 0:
                self._end(f"timed out after {units.say_duration(self.seconds)}")
                return
            # A poll of days would overflow the C int of milliseconds.
            if select.select([reads], [], [], min(left, 3600.0))[0]:
                for number in os.read(reads, 64):
                    if number in self.SIGNALS:
                        self._end(f"ended by {signal.Signals(number).name}")
                        return

    def _end(self, why: str) -> None:
        if not self._over.acquire(blocking=False):
            return  # the check is speaking already, and will be done in a moment
        waiting = list(WAITING_FOR)
        clause = f" while {waiting[-1]}" if waiting else ""
        if len(set(waiting)) > 1:
            clause = f" while {waiting[0]} (+{len(set(waiting)) - 1} more)"
        line = f"{self.name} UNKNOWN - {why}{clause}\n"
        with contextlib.suppress(OSError):
            os.write(1, line.encode("utf-8", "replace"))
        kill_children()
        os._exit(UNKNOWN_STATUS)

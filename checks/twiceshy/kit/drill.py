"""What a check stages its own outage with: a sandbox that is cleared whatever happens, and a play.

All that a drill starts is a descendant of this process (prctl(2) PR_SET_CHILD_SUBREAPER: daemons
that detach themselves too) and carries the sandbox's name in its environment, so that even after
a kill -9 of the drill the next one finds and ends what was left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from twiceshy.kit import deadline, units
from twiceshy.kit.plugin import CRITICAL, State

PREFIX = "twiceshy-drill-"
MARK = "TWICESHY_DRILL"

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


# The signals that have asked the drill to end. An exception raised by a signal's handler is lost if
# it comes while Python forks, so whoever waits looks here too.
INTERRUPTED: list[int] = []


def heed() -> None:
    """KeyboardInterrupt if the drill has been asked to end."""
    if INTERRUPTED:
        raise KeyboardInterrupt


class Cannot(Exception):
    """The drill needs something that this machine does not have; the text says what."""


class Failed(Exception):
    """The check did not do what the drill expects of it."""


@dataclass
class Play:
    """A fault and its remedy, and how the check is run meanwhile.

    `before` is the command in front of the check's own (nsenter ...); `red` are the states that
    the fault may lead to; the check is run every `every_seconds`, `patience_seconds` at most for
    each turn.
    """

    arguments: Sequence[str]
    fault: str
    break_it: Callable[[], object]
    remedy: str
    mend_it: Callable[[], object]
    red: Sequence[State] = (CRITICAL,)
    before: Sequence[str] = ()
    every_seconds: float = 1.0
    patience_seconds: float = 90.0
    environment: dict[str, str] = field(default_factory=dict)
    is_first_look: bool = False
    """Forget all before each run, where the check learns for days and a drill must not."""


@dataclass(frozen=True)
class Drill:
    """What a check's function `drill()` returns: its outage in a sentence, and how to stage it."""

    outage: str
    stage: Callable[[Sandbox], Play]


class Sandbox:
    """A directory of its own, processes, and whatever else is to be undone at the end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        # What runs in namespaces or containers as somebody else must find its way; nothing in
        # here is secret.
        self.directory.chmod(0o755)
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Sandbox:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _undisturbed():
            try:
                self._undo.close()
            finally:
                end_descendants()
                shutil.rmtree(self.directory, ignore_errors=True)

    def undo(self, how: Callable[..., object], *arguments: Any) -> None:
        """Do this at the end, the last first, whatever has happened."""
        self._undo.callback(how, *arguments)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file in the sandbox, its directory made."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self, *argv: str, log: str = "log", **more: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with the drill at the latest; it writes into the file `log`."""
        with open(self.directory / log, "ab") as output:
            return subprocess.Popen(
                argv,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self.environment(), **more},
                start_new_session=True,  # Ctrl-C is for the drill, which then clears up in order
                preexec_fn=die_with_parent,
            )

    def environment(self) -> dict[str, str]:
        """The environment of all that runs here: marked, and with its own history."""
        return {
            **os.environ,
            MARK: str(self.directory),
            "TWICESHY_STATE_DIR": str(self.directory / "state"),
            "PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin",
        }

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """Poll until `condition()` is true; Failed if it never is, with the end of the log."""
        ends = time.monotonic() + seconds
        while not condition():
            heed()
            if time.monotonic() > ends:
                raise Cannot(f"waited {units.say_duration(seconds)} in vain for {what}"
                             f"{self._last_words()}")  # fmt: skip
            time.sleep(0.1)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError, IndexError):
            log = (self.directory / "log").read_text(errors="replace").strip()
            return f": {log.splitlines()[-1][:300]}"
        return ""


def program(*names: str) -> str:
    """The path of the first of these programs that is here, sbin included; "" without any."""
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    return next((found for name in names for found in [shutil.which(name, path=path)] if found), "")


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No second Ctrl-C while the first is being obeyed."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in deadline.Deadline.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_descendants(seconds: float = 5.0) -> None:
    """SIGKILL to all descendants, also those that come to us as their parents die; reap them."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        deadline.kill_children()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)

"""Questions asked by a child process, because some of them never return.

statvfs(2) on a mount whose server is gone sleeps uninterruptibly: no signal, no thread, no timeout
of ours gets it back. A child can be left behind. Its standard streams are not ours, or the
monitoring agent would wait on our pipe for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, TypeVar

from twiceshy.kit import deadline, units

Subject = TypeVar("Subject")
Answer = TypeVar("Answer")

# Left for the deadline's own work when a question has used up its time.
HEADROOM_SECONDS = 0.5


class NoAnswer(Exception):
    """The question was not answered in time; the text says by whom and after how long."""


@dataclass(frozen=True)
class Ran:
    """What a command returned: exit status (negative: a signal ended it) and decoded output."""

    status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    timeout: float | None = None,
    input: str | None = None,  # noqa: A002 - the name subprocess.run has taught everybody
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run a command in the C locale and wait for it, `timeout` seconds at most.

    NoAnswer when it takes longer (it is killed then), FileNotFoundError and PermissionError as
    they come. Output that is not UTF-8 is decoded with replacement characters.
    """
    import subprocess  # a twentieth of a start's cost, and most runs start no command

    seconds = min(math.inf if timeout is None else timeout, deadline.remaining() - HEADROOM_SECONDS)
    with deadline.doing(f"waiting for {os.path.basename(argv[0])} {' '.join(argv[1:3])}".rstrip()):
        try:
            done = subprocess.run(
                list(argv),
                input=None if input is None else input.encode(),
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                timeout=None if math.isinf(seconds) else max(0.05, seconds),
                env={**os.environ, "LC_ALL": "C", **(env or {})},
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise NoAnswer(
                f"{os.path.basename(argv[0])} did not answer within "
                f"{units.say_duration(expired.timeout)}"
            ) from None
    return Ran(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def each(
    question: Callable[[Subject], Answer],
    subjects: Iterable[Subject],
    timeout: float,
) -> dict[Subject, Answer | NoAnswer | OSError]:
    """Ask `question` of every subject in a child process; a stuck one costs only itself.

    `timeout` is seconds per subject. The answer must be picklable; an OSError is an answer too.
    A child that is stuck is killed and left to the kernel, and another goes on after it.
    """
    answers: dict[Subject, Answer | NoAnswer | OSError] = {}
    left = list(subjects)
    while left:
        answers.update(_ask_until_stuck(question, left, timeout))
        left = [subject for subject in left if subject not in answers]
    return answers


def _ask_until_stuck(
    question: Callable[[Subject], Answer], subjects: list[Subject], timeout: float
) -> dict[Subject, Answer | NoAnswer | OSError]:
    reads, writes = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer_and_leave(question, subjects, writes)
    os.close(writes)
    answers: dict[Subject, Answer | NoAnswer | OSError] = {}
    try:
        for subject in subjects:
            seconds = max(0.05, min(timeout, deadline.remaining() - HEADROOM_SECONDS))
            with deadline.doing(f"asking for {subject}"):
                answer: list[Answer] | None = _receive(reads, seconds)
            if answer is None:
                answers[subject] = NoAnswer(f"no answer within {units.say_duration(seconds)}")
                break
            answers[subject] = answer[0]
    finally:
        os.close(reads)
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
        _reap(child)
    return answers


def _answer_and_leave(
    question: Callable[[Subject], Answer], subjects: list[Subject], writes: int
) -> None:
    """The child's life. It must not return, and must not hold the parent's streams."""
    try:
        signal.set_wakeup_fd(-1)
        for number in deadline.Deadline.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        for subject in subjects:
            try:
                answer: object = question(subject)
            except OSError as error:
                answer = error
            payload = pickle.dumps(answer)
            view = memoryview(len(payload).to_bytes(8, "big") + payload)
            while view:
                view = view[os.write(writes, view) :]
    finally:
        os._exit(0)


def _receive(reads: int, seconds: float) -> list[Answer] | None:
    """One pickled answer, in a list; None when it does not come in time or the child has died."""
    ends = time.monotonic() + seconds
    received, wanted = b"", 8
    while len(received) < wanted:
        left = ends - time.monotonic()
        if left <= 0 or not select.select([reads], [], [], left)[0]:
            return None
        piece = os.read(reads, min(65536, wanted - len(received)))
        if not piece:
            return None
        received += piece
        if wanted == 8 and len(received) == 8:
            wanted = 8 + int.from_bytes(received, "big")
    return [pickle.loads(received[8:])]


def _reap(child: int) -> None:
    """Wait a moment for a killed child; one that sleeps uninterruptibly is init's to reap."""
    ends = time.monotonic() + 0.2
    while time.monotonic() < ends:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
                continue
        return

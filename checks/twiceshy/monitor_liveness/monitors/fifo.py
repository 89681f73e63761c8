"""A monitor's command FIFO: whether somebody reads it, and a line for that reader."""

from __future__ import annotations

import enum
import errno
import os
import stat
from dataclasses import dataclass


class Intake(enum.Enum):
    """What became of an attempt to open a command FIFO for writing."""

    READER = "reader"
    NO_READER = "no-reader"
    NOT_A_FIFO = "not-a-fifo"
    MISSING = "missing"
    DENIED = "denied"
    OFF = "off"


@dataclass(frozen=True)
class Fifo:
    """A command FIFO as it was found; the text is a sentence about it."""

    intake: Intake
    text: str = ""


# A monitor that is configured to take no commands.
OFF = Fifo(Intake.OFF)


class NotSubmitted(Exception):
    """A line that nobody takes; the text says why."""


def intake_of(path: str) -> Fifo:
    """Whether somebody reads a command FIFO; nothing is written to it.

    A FIFO without a reader blocks an ordinary open for ever; O_NONBLOCK gets ENXIO at once
    (fifo(7)). Never O_CREAT: a missing FIFO would become a regular file, which the next start of
    the monitor cannot replace.
    """
    try:
        mode = os.lstat(path).st_mode
    except PermissionError:
        return Fifo(Intake.DENIED, f"not allowed to access {path}")
    except OSError as error:
        return Fifo(Intake.MISSING, f"{path} is missing ({error.strerror})")
    if not stat.S_ISFIFO(mode):
        return Fifo(Intake.NOT_A_FIFO, f"{path} is {_kind_of(mode)}, not a FIFO")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except PermissionError:
        return Fifo(Intake.DENIED, f"not allowed to write to {path}")
    except OSError as error:
        if error.errno == errno.ENXIO:
            return Fifo(Intake.NO_READER, f"no process reads {path}")
        return Fifo(Intake.MISSING, f"{path} cannot be opened: {error.strerror}")
    return Fifo(Intake.READER, f"{path} has a reader")


def _kind_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a regular file"
    return "a directory" if stat.S_ISDIR(mode) else "something else"


def submit(path: str, line: str) -> None:
    """Write one line to a command FIFO without ever blocking; NotSubmitted when nobody takes it.

    At most PIPE_BUF bytes, which pipe(7) writes whole or not at all.
    """
    found = intake_of(path)
    if found.intake is not Intake.READER:
        raise NotSubmitted(found.text)
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if not stat.S_ISFIFO(os.fstat(fifo).st_mode):
                raise NotSubmitted(f"{path} is not a FIFO any more")
            os.write(fifo, line.encode()[:4096])
        finally:
            os.close(fifo)
    except BlockingIOError:
        raise NotSubmitted(f"{path} is full: its reader has stopped reading") from None
    except OSError as error:
        raise NotSubmitted(f"{path} cannot be written: {error.strerror}") from error

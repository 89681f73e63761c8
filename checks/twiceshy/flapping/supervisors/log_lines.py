"""The last lines that a service logged, from its logger's files or its supervisor's title."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from twiceshy.flapping.service import Service
from twiceshy.kit.processes import Process

TAIL_BYTES = 32768
TAIL_LINES = 20  # of which the most telling are chosen
SHOWN_LINES = 3
WANTED_SECONDS = 900.0  # the log of services that are older than that is not asked for


def are_wanted(service: Service) -> bool:
    """Whether its last lines may be asked for: it is young or not running."""
    return service.age_seconds is None or service.age_seconds < WANTED_SECONDS


# Which logger writes where


def log_directories(argv: Iterable[str]) -> list[str]:
    """The directories that a logger's command line names (svlogd, multilog, s6-log, tinylog).

    svlogd(8), tinylog(8) take them as last arguments, multilog(8) and s6-log write those
    that begin with a slash or a dot.
    """
    program, *arguments = list(argv) or [""]
    name = program.rpartition("/")[2]
    if name in ("svlogd", "tinylog"):
        return [word for word in arguments if not word.startswith("-")]
    if name in ("multilog", "s6-log"):
        return [word for word in arguments if word[:1] in ("/", ".")]
    return []


def is_logger(process: Process) -> bool:
    """Whether a process is one of the family's loggers."""
    return process.comm in ("svlogd", "multilog", "s6-log", "tinylog", "sissylog", "logger")


def in_title(argv: Iterable[str]) -> str:
    """The last output of services without a log of their own.

    runsvdir(8) and readproctitle(8) keep the last bytes in an argument of their command line,
    which anyone may read; it is filled with dots from the left.
    """
    title = ""
    for word in argv:
        if word.startswith(("log:", "service errors:", "readproctitle")) or "....." in word:
            title = word
    return title.rpartition(".....")[2].lstrip(".") if "....." in title else ""


# Reading


def of_service(via_root: str, logger: Process | None, title: Process | None) -> tuple[str, ...]:
    """The telling lines of one service: by its logger's files, else by the scanner's title.

    `via_root`: a path into its service directory, "" if there is none.
    """
    if via_root:
        named = log_directories(logger.cmdline) if logger else []
        lines = of_logger(f"{via_root}/log", (*named, "main", "."))
        if lines:
            return lines
    return telling(in_title(title.cmdline).splitlines()) if title is not None else ()


def of_logger(base: str, directories: Sequence[str]) -> tuple[str, ...]:
    """The telling lines of the first of these log directories that has a file `current`."""
    for directory in directories:
        lines = tail(os.path.join(base, directory, "current"))
        if lines:
            return telling(lines)
    return ()


def tail(path: str, lines: int = TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a file; () if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        size = os.fstat(descriptor).st_size
        offset = max(0, size - TAIL_BYTES)
        content = os.pread(descriptor, TAIL_BYTES, offset)
    except OSError:  # a fifo, a directory
        return ()
    finally:
        os.close(descriptor)
    if offset:
        content = content.partition(b"\n")[2]
    whole = content.decode("utf-8", "replace").splitlines()
    return tuple([line for line in whole if line.strip()][-lines:])


_COMPLAINT = re.compile(
    r"\b(errors?|fatal|panic|abort(?:ed|ing|s)?|cannot|can't|could not|fail\w*|unable|denied"
    r"|invalid|refused|no such|not found|traceback|exception)\b",
    re.IGNORECASE,
)


def telling(lines: Sequence[str], most: int = SHOWN_LINES) -> tuple[str, ...]:
    """Of the last lines those that complain, with who does ("rsyslogd: error ..."), else the last.

    A daemon that dies of a mistake in its configuration often ends with good advice, and names the
    mistake some lines before.
    """
    different = list(dict.fromkeys(line for line in lines if line.strip()))
    marks = [bool(_COMPLAINT.search(line)) * (1 + (": " in line)) for line in different]
    highest = max(marks, default=0)
    chosen = [line for line, mark in zip(different, marks) if mark == highest]
    return tuple(chosen[-most:])

"""The way into the files of a process that may live in another mount namespace.

What a supervisor in a container calls /etc/service/web is another directory here, or none. Into a
process' own view of its files the kernel leads by /proc/PID/cwd and /proc/PID/root (proc(5)): root,
and the process' owner. Everybody else is left with the path as it is.
"""

from __future__ import annotations

import os

from twiceshy.flapping.supervisors.processes import ProcessTable


def working_directory(pid: int, table: ProcessTable) -> str:
    """A path that leads into the working directory of a process."""
    return f"{table.proc}/{pid}/cwd"


def service_directory(pid: int, path: str, table: ProcessTable) -> str:
    """A path into the service directory in which a supervising process works, "" if not allowed.

    `path` is what that process calls it, "" if unknown.
    """
    cwd = working_directory(pid, table)
    if os.access(f"{cwd}/.", os.R_OK | os.X_OK):
        return cwd
    return opened(path)


def opened(path: str) -> str:
    """A service directory whose supervise/ has been opened to this user, else ""."""
    return path if path and os.access(f"{path}/supervise", os.X_OK) else ""

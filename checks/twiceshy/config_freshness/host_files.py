"""Files of this host: read up to a cap, inspected and hashed; and those that Puppet leaves."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping

from twiceshy.config_freshness import digests, puppet
from twiceshy.config_freshness.differences import FileQuery, FileState
from twiceshy.kit import subprocesses
from twiceshy.kit.accounts import group_name, user_name
from twiceshy.kit.units import say_size
from twiceshy.kit.verdict import safe

SUMMARIES = (
    "/opt/puppetlabs/puppet/public/last_run_summary.yaml",
    "/var/cache/puppet/public/last_run_summary.yaml",
    "/opt/puppetlabs/puppet/cache/state/last_run_summary.yaml",
    "/var/lib/puppet/state/last_run_summary.yaml",
)
TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
}  # fmt: skip


def small_file(path: str, cap: int) -> bytes:
    """A file of at most `cap` bytes; OSError, EFBIG when it is larger."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        raw = file.read(cap + 1) or b""
    if len(raw) > cap:
        raise OSError(errno.EFBIG, f"it is larger than {say_size(cap)}")
    return raw


def inspected(queries: Mapping[str, FileQuery], timeout: float) -> dict[str, FileState]:
    """The state of every path, by the manifest's name for it; `timeout` in seconds for each.

    They are inspected in a child process: a file on a dead mount never answers.
    """
    answers = subprocesses.each(file_state, list(queries.values()), timeout=timeout)
    found = {}
    for name, query in queries.items():
        answer = answers[query]
        if not isinstance(answer, FileState):
            answer = FileState("?", trouble=str(answer))
        found[name] = answer
    return found


def file_state(query: FileQuery) -> FileState:
    """One path as it is."""
    path = query.path
    try:
        status = os.stat(path, follow_symlinks=query.followed)
    except (FileNotFoundError, NotADirectoryError):
        return FileState()
    except OSError as error:
        return FileState("?", trouble=error.strerror or "cannot be read")
    kind = TYPES.get(stat.S_IFMT(status.st_mode), "?")
    link, trouble = "", ""
    names: tuple[str, ...] = ()
    found: dict[str, bytes] = {}
    try:
        if kind == "link":
            link = os.readlink(path)
        if kind == "dir" and query.listed:
            names = tuple(sorted(os.listdir(path)))
        if kind == "file" and query.algorithms:
            found = _hashed(path, query.algorithms, 0 if query.followed else os.O_NOFOLLOW)
    except OSError as error:
        trouble = error.strerror or "cannot be read"
    return FileState(
        kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, user_name(status.st_uid),
        group_name(status.st_gid), status.st_size, link, found, trouble, names,
    )  # fmt: skip


def _hashed(path: str, algorithms: tuple[str, ...], flags: int) -> dict[str, bytes]:
    # a fifo may have taken the file's place since stat: O_NONBLOCK does not wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    sums = {name: hashlib.new(name) for name in algorithms}
    with open(descriptor, "rb", buffering=0) as file:
        while piece := file.read(1 << 18):
            for each in sums.values():
                each.update(piece)
    return {name: each.digest() for name, each in sums.items()}


def first_summary() -> str:
    """Puppet's last_run_summary.yaml in the first of its usual places that has one."""
    return next((path for path in SUMMARIES if os.path.lexists(path)), SUMMARIES[0])


def puppet_run(typed: str, clock: float) -> puppet.Run:
    """Puppet's last run by its summary and by the lock beside it, at the wall clock `clock`."""
    path = typed or first_summary()
    disabled, why = _disabled(os.path.dirname(path), clock)
    shown = safe(path)
    try:
        summary = puppet.summary(digests.text_of(small_file(path, 1 << 20)))
    except PermissionError:
        remedy = f"chmod 644 {path}, or add the check's user to its group"
        return puppet.Run(None, disabled, why, f"not allowed to read {shown}", remedy)
    except FileNotFoundError:
        remedy = "puppet config print lastrunfile  # and give --puppet that path"
        return puppet.Run(None, disabled, why, f"there is no {shown}", remedy)
    except OSError as error:
        trouble = f"cannot read {shown}: {safe(error.strerror or str(error))}"
        return puppet.Run(None, disabled, why, trouble)
    except puppet.NotASummary as error:
        return puppet.Run(None, disabled, why, f"{shown} is not a summary: {error}", f"cat {path}")
    return puppet.Run(summary, disabled, why)


def _disabled(directory: str, clock: float) -> tuple[float | None, str]:
    """For how many seconds Puppet has been disabled, and why; None if it is not."""
    for place in (directory, f"{directory}/../state", f"{directory}/../cache/state"):
        lock = os.path.normpath(f"{place}/agent_disabled.lock")
        try:
            seconds = max(0.0, clock - os.stat(lock).st_mtime)
        except OSError:
            continue
        try:
            return seconds, puppet.reason(digests.text_of(small_file(lock, 65536)))
        except OSError:
            # the reason is not for us, the age of the lock is
            return seconds, ""
    return None, ""

"""The processes of this host as monitors: which may be one, and what they prove of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twiceshy.kit.plugin import State
from twiceshy.kit.processes import (
    PROC,
    TICKS_PER_SECOND,
    Process,
    snapshot,
    text_of,
    working_directory,
)
from twiceshy.monitor_liveness.components import Clock, Component, ago, critical, ok


def of_host(proc: Path = PROC) -> list[Process]:
    """Every process of this pid namespace, by pid; those of containers below it are left out.

    A Nagios in a container has its configuration in there, not here.
    """
    return [
        titled(process)
        for _, process in sorted(snapshot(proc).items())
        if not is_contained(process.pid, proc)
    ]


def is_contained(pid: int, proc: Path = PROC) -> bool:
    """Whether a process has a pid of its own in a deeper namespace (proc(5) status, NSpid)."""
    try:
        _, _, pids = text_of(f"{proc}/{pid}/status").partition("\nNSpid:")
    except OSError:
        return False
    return len(pids.partition("\n")[0].split()) > 1


def titled(process: Process) -> Process:
    """A process whose command line is fit to be read, compared and remembered.

    Daemons that rewrite their title pad it with blanks instead of NULs; and what is no UTF-8
    becomes U+FFFD, since a monitor's configuration is a subject of the history, which is UTF-8.
    """
    words = process.cmdline
    if not words or (words[-1] and words[-1][-1] != " " and all(map(str.isascii, words))):
        return process
    raw = "\0".join(words).encode("utf-8", "surrogateescape").rstrip(b"\0 ")
    readable = raw.decode("utf-8", "replace")
    return replace(process, cmdline=tuple(readable.split("\0")) if readable else ())


def age_of(process: Process, clock: Clock) -> float:
    """Seconds awake since a process began."""
    return clock.age(clock.booted + process.ticks / TICKS_PER_SECOND)


def family_of(root: int, processes: Sequence[Process]) -> list[Process]:
    """A process and all its descendants, by pid."""
    by_parent: dict[int, list[Process]] = {}
    for process in processes:
        by_parent.setdefault(process.ppid, []).append(process)
    family = [process for process in processes if process.pid == root]
    at = 0
    while at < len(family):
        family += by_parent.get(family[at].pid, [])
        at += 1
    return family


def option_of(argv: Sequence[str], *names: str) -> str:
    """The value of a command-line option, `--name value`, `--name=value` or `-nvalue`; else ""."""
    for at, word in enumerate(argv):
        for name in names:
            if word == name and at + 1 < len(argv):
                return argv[at + 1]
            if word.startswith(f"{name}="):
                return word[len(name) + 1 :]
            if (
                len(name) == 2
                and not name.startswith("--")
                and word.startswith(name)
                and len(word) > 2
            ):
                return word[2:]
    return ""


def path_of(process: Process, path: str) -> str:
    """A path on a daemon's command line, which may be relative to where it was started.

    Only its own user and root may know where; else it stays as it is.
    """
    if not path or path.startswith("/"):
        return path
    try:
        return os.path.join(os.readlink(working_directory(process.pid)), path)
    except OSError:
        return path


# What it means

# Five-minute checks, twice, and a minute: what is unknown of a site's intervals is assumed slow.
UNKNOWN_INTERVAL_SECONDS = 660.0


def executing(
    parents: Sequence[Process],
    clock: Clock,
    silence: float | None,
    learning: State,
    history: Mapping[str, Any],
) -> tuple[Component, dict[str, Any]]:
    """Whether workers still execute anything, as the process table shows it to everybody.

    Each child that ended and was waited for has added its page faults to its parent's cminflt; a
    counter that stands still is an executor that stands still. Needs a run before; returns the
    facts to remember.
    """
    total = sum(process.reaped_faults for process in parents)
    pids = sorted(process.pid for process in parents)
    before: Mapping[str, Any] = history.get("children") or {}
    is_same = before.get("pids") == pids
    moves = is_same and total != before.get("faults")
    has_moved = moves or (is_same and bool(before.get("moved")))
    # A reload renews the workers. What was learned of the old ones holds until these stand still.
    known = bool(before.get("known")) or (not is_same and bool(before.get("moved")))
    since = float(before.get("since", clock.now)) if is_same and not moves else clock.now
    facts = {
        "children": {
            "pids": pids,
            "faults": total,
            "since": since,
            "moved": has_moved,
            "known": known,
        }
    }
    still = clock.age(since)
    limit = silence or UNKNOWN_INTERVAL_SECONDS
    if still > limit:
        ps = " ".join(str(pid) for pid in pids)
        component = critical(
            "executor",
            f"has executed nothing for {ago(still)} (limit {ago(limit)}): no child process of "
            f"its workers has ended (pid {ps})",
            f"ps -o pid,stat,wchan,etime,args {ps}",
        )
    elif has_moved:
        component = ok("executor", f"has executed something within {ago(max(still, 1.0))}")
    elif known:
        component = ok("executor", f"was renewed {ago(still)} ago, and worked before")
    else:
        have = f": nothing executed in {ago(still)}" if is_same else ": this is the first run"
        component = Component("executor", learning, f"has no baseline yet{have}")
    return component, facts


def stopped(processes: Sequence[Process], role: str) -> Component | None:
    """Processes that are stopped, traced or dead say so in the process table, at once.

    proc(5), field `state`: T stopped, t traced, Z zombie, X dead. D is not among them: a monitor
    may be waiting for its disk; that is judged over several runs.
    """
    halted = [process for process in processes if process.state in "TtZX"]
    if not halted:
        return None
    pids = " ".join(str(process.pid) for process in halted)
    how = {
        "T": "stopped (state T)",
        "t": "held by a debugger (state t)",
        "Z": "defunct (state Z)",
        "X": "dead (state X)",
    }[halted[0].state]
    return critical(
        role if len(processes) == 1 else f"{role}s",
        f"is {how}: pid {pids}"
        if len(processes) == 1
        else f"are {how}, {len(halted)} of {len(processes)}: pid {pids}",
        f"kill -CONT {pids}" if halted[0].state == "T" else f"ps -o pid,stat,wchan,args {pids}",
    )

"""The process table: what any user may read of any process, and what it proves of a monitor.

One pass over /proc, without a library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twiceshy.kit.plugin import State
from twiceshy.monitor_liveness.components import Clock, Component, ago, critical, ok

# proc(5), /proc/PID/stat, counted from the field after the command name.
STATE, PPID = 0, 1
MINFLT_OF_CHILDREN, UTIME, STIME = 8, 11, 12
CUTIME, CSTIME = 13, 14
STARTTIME = 19


@dataclass(frozen=True)
class Process:
    """One process: `reaped_faults` rises whenever a child of it has ended and been waited for.

    That counter (cminflt) is how one sees without any rights that a worker executes plugins:
    every plugin that ran to its end added hundreds of page faults to its parent's.
    """

    pid: int
    parent: int
    name: str
    argv: tuple[str, ...] = ()
    state: str = "S"
    started: float = 0.0
    reaped_faults: int = 0

    @property
    def program(self) -> str:
        """The base name of what was executed, as argv says it, else the command name."""
        return os.path.basename(self.argv[0]) if self.argv and self.argv[0] else self.name


def parse_stat(pid: int, stat: str, boot_time: float, ticks: int) -> Process:
    """A Process from the text of /proc/PID/stat; ValueError when it is not one.

    The command name may hold blanks and parentheses; it ends at the last ")".
    """
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    return Process(
        pid=pid,
        parent=int(fields[PPID]),
        name=name,
        state=fields[STATE],
        started=boot_time + int(fields[STARTTIME]) / ticks,
        reaped_faults=int(fields[MINFLT_OF_CHILDREN]),
    )


def boot_time(proc: str = "/proc") -> float:
    """The wall-clock time of the boot, from /proc/stat btime."""
    with open(f"{proc}/stat") as stat:
        for line in stat:
            if line.startswith("btime "):
                return float(line.split()[1])
    return 0.0


def process_of(pid: int, proc: str = "/proc", booted: float | None = None) -> Process | None:
    """One process, or None when it is gone or hidden (hidepid)."""
    try:
        with open(f"{proc}/{pid}/stat", errors="replace") as stat_file:
            stat = stat_file.read()
        with open(f"{proc}/{pid}/cmdline", "rb") as cmdline:
            raw = cmdline.read(65536)
    except OSError:
        return None
    try:
        process = parse_stat(
            pid, stat, boot_time(proc) if booted is None else booted, os.sysconf("SC_CLK_TCK")
        )
    except (ValueError, IndexError):
        return None
    # Daemons that rewrite their title pad with blanks instead of NULs.
    argv = tuple(part.decode("utf-8", "replace") for part in raw.rstrip(b"\0 ").split(b"\0"))
    return Process(**{**process.__dict__, "argv": argv if argv != ("",) else ()})


def all_of_host(proc: str = "/proc") -> list[Process]:
    """Every process of this pid namespace; those of containers below it are left out.

    A Nagios in a container has its configuration in there, not here. CheckError-free: what ends
    while we read is not there any more.
    """
    booted = boot_time(proc)
    processes = []
    for entry in os.listdir(proc):
        if entry.isdigit():
            process = process_of(int(entry), proc, booted)
            if process is not None and not is_contained(process.pid, proc):
                processes.append(process)
    return sorted(processes, key=lambda process: process.pid)


def is_contained(pid: int, proc: str = "/proc") -> bool:
    """Whether a process has a pid of its own in a deeper namespace (proc(5) status, NSpid)."""
    try:
        with open(f"{proc}/{pid}/status", errors="replace") as status:
            for line in status:
                if line.startswith("NSpid:"):
                    return len(line.split()) > 2
    except OSError:
        pass
    return False


def children_of(parent: int, processes: Sequence[Process]) -> list[Process]:
    """The direct children of a process."""
    return [process for process in processes if process.parent == parent]


def family_of(root: int, processes: Sequence[Process]) -> list[Process]:
    """A process and all its descendants, by pid."""
    by_parent: dict[int, list[Process]] = {}
    for process in processes:
        by_parent.setdefault(process.parent, []).append(process)
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
        return os.path.join(os.readlink(f"/proc/{process.pid}/cwd"), path)
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

"""The process table: processes as /proc shows them to any user, without a library.

The identity of a life is boot id + pid + start ticks (field 22 of /proc/PID/stat), never a wall
clock creation time: psutil's create_time() moves with every clock step, for it is counted from
`btime`, which the kernel recomputes at each read (psutil #1724). Start ticks survive exec(), so a
daemon that re-executes itself (haproxy -W, uwsgi reload) has not restarted.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twiceshy.kit.stamps import Stamp

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h, in field 9 of /proc/PID/stat


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat, with the command line and the owner.

    `reaped_faults` (cminflt) rises whenever a child has ended and been waited for: every program
    that ran to its end added hundreds of page faults to its parent's. So one sees without any
    rights that a worker executes plugins, or that a supervisor has lost a daemon.
    """

    pid: int
    ppid: int
    comm: str  # at most 15 bytes
    state: str  # R S D Z T ...
    ticks: int  # start, in clock ticks since boot
    reaped_faults: int
    cmdline: tuple[str, ...]  # () for kernel threads and zombies
    uid: int  # effective

    @property
    def is_alive(self) -> bool:
        """Not a zombie: daemontools shows an instant crasher as up while its pid is one."""
        return self.state not in ("Z", "X", "x")

    @property
    def program(self) -> str:
        """The base name of what was executed, as its command line says it, else its comm."""
        return self.cmdline[0].rpartition("/")[2] if self.cmdline and self.cmdline[0] else self.comm


@dataclass(frozen=True)
class ProcessTable:
    """One snapshot of the processes of this host: taken once, shared by all who ask in a run."""

    now: Stamp
    processes: Mapping[int, Process]  # by pid
    proc: Path = PROC

    @classmethod
    def observed(cls, now: Stamp, proc: Path = PROC) -> ProcessTable:
        """A snapshot taken now."""
        return cls(now, snapshot(proc), proc)

    @property
    def is_real(self) -> bool:
        """Whether the kernel may be asked about these pids; not about those of another /proc."""
        return self.proc == PROC

    def process(self, pid: int) -> Process | None:
        """A process of the snapshot, or one that was born after it."""
        return self.processes.get(pid) or read(pid, self.proc)

    def age(self, process: Process) -> float:
        """Seconds from the start of a process to this snapshot, or to now if it was born after it.

        Start ticks are counted on the boot-time clock, suspend included, and that is immune to
        clock steps. /proc/uptime is not asked: lxcfs puts the container's own uptime there, while
        /proc/PID/stat keeps counting from the host's boot.
        """
        born = process.ticks / TICKS_PER_SECOND
        if born > self.now.uptime and self.is_real:
            return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - born)
        return max(0.0, self.now.uptime - born)

    def identity(self, process: Process) -> str:
        """Identity of one life of a process, for as long as this host is up."""
        return f"{self.now.boot}:{process.pid}:{process.ticks}"


def parse_stat(text: str) -> tuple[int, int, str, str, int, int, bool]:
    """(pid, ppid, comm, state, ticks, cminflt, is a kernel thread) of /proc/PID/stat (proc(5)).

    The comm may hold spaces and parentheses, so fields are counted from the last one.
    ValueError if it is no such line.
    """
    head, separator, tail = text.rpartition(")")
    pid, parenthesis, comm = head.partition(" (")
    fields = tail.split()
    if not separator or not parenthesis or len(fields) < 20:
        raise ValueError("not a line of /proc/PID/stat")
    in_kernel = bool(int(fields[6]) & KERNEL_THREAD)
    return int(pid), int(fields[1]), comm, fields[0], int(fields[19]), int(fields[8]), in_kernel


def snapshot(proc: Path = PROC) -> dict[int, Process]:
    """All processes, by pid, in one pass. A process that ends meanwhile is left out."""
    processes: dict[int, Process] = {}
    for name in os.listdir(proc):
        if name.isdigit():
            process = read(int(name), proc)
            if process is not None:
                processes[process.pid] = process
    return processes


def read(pid: int, proc: Path = PROC) -> Process | None:
    """One process, or None if there is none of that pid."""
    directory = f"{proc}/{pid}"
    try:
        uid = os.stat(directory).st_uid
        found, ppid, comm, state, ticks, faults, in_kernel = parse_stat(
            text_of(f"{directory}/stat")
        )
        # Kernel threads have no command line: half the files saved.
        cmdline = "" if in_kernel else text_of(f"{directory}/cmdline")
    except (OSError, ValueError):  # it ended, or hidepid hides it
        return None
    words = tuple(cmdline.rstrip("\0").split("\0")) if cmdline else ()
    return Process(found, ppid, comm, state, ticks, faults, words, uid)


def working_directory(pid: int, proc: Path = PROC) -> str:
    """A path that leads into the working directory of a process, whatever that is called.

    A process may live in another mount namespace: what a supervisor in a container calls
    /etc/service/web is another directory here, or none. The kernel leads into a process' own view
    of its files by /proc/PID/cwd (proc(5)): root, and the process' owner.
    """
    return f"{proc}/{pid}/cwd"


def signal_name(number: int) -> str:
    """ "SEGV" for 11; the number for one without a name."""
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)


def text_of(path: str) -> str:
    """The first 64 KiB of a file of /proc; OSError as it comes."""
    # os.open is a third of the price of open(), and there are hundreds of these files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
    return content.decode("utf-8", "surrogateescape")

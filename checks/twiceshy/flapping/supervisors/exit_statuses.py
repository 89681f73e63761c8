"""Exit statuses that no supervisor keeps: of the daemons that end while we watch for a moment.

The kernel reports them in three ways, tried in this order: by the process connector (root on the
host; anyone since Linux 6.6), by the child's pidfd (anyone since 6.15), and by its zombie (root, if
we are quick).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from twiceshy.flapping.service import NO_EXIT, Exit, exited
from twiceshy.kit import deadline, processes
from twiceshy.kit.processes import Process, ProcessTable

YOUNG_SECONDS = 3.0  # a daemon that is younger is suspicious
MOST_WATCHED = 40
# A suspicious service is watched this long: all keepers start a daemon at most once a second.
WATCHED_SECONDS = 1.3
POLL_SECONDS = 0.001
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes), linux/pidfd.h, Linux 6.13
PIDFD_INFO_EXIT = 1 << 3  # Linux 6.15: still answered when the process has been reaped


def exit_of(wait_status: int) -> Exit:
    """ "exit status 1", "signal SEGV" of a wait status (wait(2))."""
    if os.WIFSIGNALED(wait_status):
        return Exit(f"signal {processes.signal_name(os.WTERMSIG(wait_status))}")
    return exited(os.WEXITSTATUS(wait_status))


def watching_seconds(seconds: float) -> float:
    """So long at most, and never so long that a run would miss its own deadline."""
    return min(seconds, deadline.remaining() / 3)


@dataclass(frozen=True)
class WatchedChildren:
    """What the children of one process did while we watched."""

    child: Process | None = None  # the last one that was seen
    last_exit: Exit = NO_EXIT
    deaths: int = 0


class ExitEvents:
    """The kernel's own messages about every process that ends: exact, however short it lived.

    The process connector (linux/cn_proc.h) serves root in the host's first namespaces only, and
    names the parent since Linux 4.18. OSError from the constructor where it does not answer.
    """

    _CONNECTOR, _GROUP = 11, 1  # NETLINK_CONNECTOR, CN_IDX_PROC
    _LISTEN, _IGNORE = 1, 2
    _NONE, _EXIT = 0, 0x80000000

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self._CONNECTOR)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.socket.bind((0, self._GROUP))
            self._send(self._LISTEN)
            self.socket.settimeout(0.1)
            # In a container the kernel keeps silent instead of refusing.
            while self._NONE not in (what for what, _ in self._parsed(self.socket.recv(65536))):
                pass
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise

    def _send(self, what: int) -> None:
        message = struct.pack("=IIIIHHI", self._GROUP, 1, 0, 0, 4, 0, what)
        header = struct.pack("=IHHII", 16 + len(message), 3, 0, 0, os.getpid())  # NLMSG_DONE
        self.socket.send(header + message)

    def _parsed(self, content: bytes) -> Iterator[tuple[int, tuple[int, int, int]]]:
        """What each message is, and (pid, parent, wait status)."""
        at = 0
        while len(content) - at >= 36:
            length, *_ = struct.unpack_from("=I", content, at)
            event = content[at + 36 : at + length]
            if len(event) >= 20:
                (what,) = struct.unpack_from("=I", event)
                words = struct.unpack_from("=6I", event + bytes(24), 16)
                # Not the end of a thread: its pid is not its thread group's.
                if what == self._NONE or (what == self._EXIT and words[0] == words[1]):
                    yield what, (words[0], words[5], words[2])
            at += max(length, 16) + 3 & ~3

    def deaths(self) -> list[tuple[int, int, int]]:
        """(pid, parent, wait status) of all that have ended since the last call."""
        ended: list[tuple[int, int, int]] = []
        while True:
            try:
                content = self.socket.recv(65536)
            except BlockingIOError:
                return ended
            except OSError:  # too many to keep up with
                continue
            ended += [words for what, words in self._parsed(content) if what == self._EXIT]

    def close(self) -> None:
        """Unsubscribe: the kernel counts its listeners."""
        with contextlib.suppress(OSError):
            self._send(self._IGNORE)
        self.socket.close()


def children_of(pid: int, table: ProcessTable) -> list[int]:
    """The children of a process now, from proc(5) /proc/PID/task/PID/children."""
    try:
        listed = processes.text_of(f"{table.proc}/{pid}/task/{pid}/children")
        return [int(child) for child in listed.split()]
    except OSError:  # it died, or the kernel has no such list
        return []


def of_children(
    parents: Iterable[int],
    table: ProcessTable,
    seconds: float = WATCHED_SECONDS,
    apart_from: Iterable[int] = (),
) -> dict[int, WatchedChildren]:
    """Watches parents until each has lost a child, or until the time is up.

    For the exit status that runit and daemontools keep nowhere, and for the instant crasher that
    another user always misses. Where the kernel reports nothing to this user the status stays
    unknown, and a child that lives for less than a millisecond may be missed. `apart_from`: pids of
    children that do not matter.
    """
    parents, others = list(parents), set(apart_from)
    if not table.is_real or not parents:
        return {}
    alone = {parent for parent in parents if not set(children_of(parent, table)) - others}
    ends = _from_connector(parents, (), others, seconds, alone)
    if ends is None:
        return of_children_by_pidfd(parents, table, seconds, others)
    seen = {}
    for parent in parents:
        now = [processes.read(pid, table.proc) for pid in children_of(parent, table)]
        child = next((one for one in now if one and one.pid not in others), None)
        seen[parent] = WatchedChildren(child, ends.get(parent, NO_EXIT), int(parent in ends))
    return seen


def of_processes(pids: Iterable[int], table: ProcessTable, seconds: float) -> dict[int, Exit]:
    """How those of the processes ended that end within so many seconds."""
    pids = list(pids)
    if not table.is_real or not pids:
        return {}
    ends = _from_connector((), pids, (), seconds)
    return of_processes_by_pidfd(pids, table, seconds) if ends is None else ends


def _from_connector(
    parents: Iterable[int],
    pids: Iterable[int],
    apart_from: Iterable[int],
    seconds: float,
    alone: Iterable[int] = (),
) -> dict[int, Exit] | None:
    """How children of parents, and the pids, ended, by parent or pid; None where it is silent.

    Parents that are `alone` are not waited for longer than it takes them to start a child.
    """
    try:
        events = ExitEvents()
    except OSError:
        return None
    ends: dict[int, Exit] = {}
    bereft, themselves, apart = set(parents), set(pids), set(apart_from)
    begin = time.monotonic()
    poll = select.poll()
    poll.register(events.socket, select.POLLIN)
    try:
        while bereft or themselves:
            passed = time.monotonic() - begin
            if passed > WATCHED_SECONDS:
                bereft -= set(alone)
            if passed > seconds:
                break
            poll.poll(100)
            for pid, parent, status in events.deaths():
                if pid in themselves:
                    ends[pid] = exit_of(status)
                    themselves.discard(pid)
                elif parent in bereft and pid not in apart:
                    ends[parent] = exit_of(status)
                    bereft.discard(parent)
            # Not at each of the thousand processes of a busy host.
            time.sleep(0.02)
    finally:
        events.close()
    return ends


class _Pidfds:
    """The children of some parents, watched by their pidfds, without any right."""

    def __init__(self, table: ProcessTable, apart_from: Iterable[int]) -> None:
        self.table = table
        self.seen: dict[int, WatchedChildren] = {}
        self.lists: dict[int, int] = {}  # parent -> descriptor of its list of children
        self._alive: dict[int, tuple[int, Process]] = {}  # pidfd -> parent, child
        self._dead: dict[int, tuple[int, Process]] = {}  # the same, ended, status unknown
        self._known = set(apart_from)
        self._poll = select.poll()

    def add(self, parent: int) -> None:
        """Watch one parent more."""
        try:
            path = f"{self.table.proc}/{parent}/task/{parent}/children"
            self.lists[parent] = os.open(path, os.O_RDONLY)
        except OSError:  # it died, or the kernel has no such list
            return
        self.seen[parent] = WatchedChildren()

    @property
    def busy(self) -> set[int]:
        """The parents with a child that is alive."""
        return {parent for parent, _ in self._alive.values()}

    def find_children(self) -> None:
        """Open the new children of the parents that have none."""
        for parent in self.lists.keys() - self.busy:
            for pid in map(int, os.pread(self.lists[parent], 65536, 0).split()):
                child = None if pid in self._known else processes.read(pid, self.table.proc)
                self._known.add(pid)
                if child is None:
                    continue
                self.seen[parent] = replace(self.seen[parent], child=child)
                try:
                    descriptor = os.pidfd_open(pid)
                except OSError:
                    continue
                self._alive[descriptor] = parent, child
                self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Until a child ends, or for so long; but only for a moment where something is pending."""
        is_pending = bool(self._dead) or bool(self.lists.keys() - self.busy)
        for descriptor, _ in self._poll.poll((POLL_SECONDS if is_pending else seconds) * 1000):
            self._poll.unregister(descriptor)
            parent, _ = self._dead[descriptor] = self._alive.pop(descriptor)
            self.seen[parent] = replace(self.seen[parent], deaths=self.seen[parent].deaths + 1)

    def read_statuses(self) -> None:
        """Of those that have ended; a parent whose child's is known need not be watched."""
        for descriptor, (parent, child) in list(self._dead.items()):
            last_exit = _exit_by_pidfd(descriptor, child.pid, self.table)
            if last_exit is None:
                continue
            os.close(descriptor)
            del self._dead[descriptor]
            if last_exit == exited(127) and child.comm == "s6-supervise":
                continue  # s6-supervise forks for ./finish even where there is none
            if last_exit and parent in self.lists:
                self.seen[parent] = replace(self.seen[parent], last_exit=last_exit)
                os.close(self.lists.pop(parent))

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self.lists.values(), *self._alive, *self._dead):
            os.close(descriptor)


def of_children_by_pidfd(
    parents: Iterable[int], table: ProcessTable, seconds: float, apart_from: Iterable[int]
) -> dict[int, WatchedChildren]:
    """The same as `of_children`, without the process connector."""
    if not hasattr(os, "pidfd_open"):
        return {}
    pidfds = _Pidfds(table, apart_from)
    begin = time.monotonic()
    try:
        for parent in parents:
            pidfds.add(parent)
        while pidfds.lists:
            passed = time.monotonic() - begin
            if passed >= seconds or (passed >= WATCHED_SECONDS and not pidfds.busy):
                break
            pidfds.find_children()
            pidfds.wait(max(0.0, seconds - passed))
            pidfds.read_statuses()
    finally:
        pidfds.close()
    return pidfds.seen


def of_processes_by_pidfd(
    pids: Iterable[int], table: ProcessTable, seconds: float
) -> dict[int, Exit]:
    """The same as `of_processes`, without the process connector."""
    ends: dict[int, Exit] = {}
    if not hasattr(os, "pidfd_open"):
        return ends
    watched: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                watched[os.pidfd_open(pid)] = pid
            except OSError:
                continue
        end = time.monotonic() + seconds
        while watched and time.monotonic() < end:
            poll = select.poll()
            for descriptor in watched:
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(max(0.0, end - time.monotonic()) * 1000):
                last_exit = _exit_by_pidfd(descriptor, watched[descriptor], table)
                if last_exit is None:
                    time.sleep(POLL_SECONDS)
                    continue
                ends[watched.pop(descriptor)] = last_exit
                os.close(descriptor)
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return ends


def _exit_by_pidfd(pidfd: int, pid: int, table: ProcessTable) -> Exit | None:
    """How a process ended that has ended; NO_EXIT if unknown, None if it is to be asked again."""
    try:
        fields = processes.text_of(f"{table.proc}/{pid}/stat").rpartition(")")[2].split()
        is_zombie = fields[0] == "Z"
        # Others than root read 0 for every status.
        if is_zombie and (int(fields[49]) or os.geteuid() == 0):
            return exit_of(int(fields[49]))
    except (OSError, IndexError, ValueError):
        is_zombie = False
    request = bytearray(64)
    struct.pack_into("Q", request, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, request)
    except OSError:  # ENOTTY before Linux 6.13, ESRCH or EREMOTE before 6.15
        return NO_EXIT
    if struct.unpack_from("Q", request, 0)[0] & PIDFD_INFO_EXIT:
        return exit_of(struct.unpack_from("i", request, 60)[0])
    return None if is_zombie else NO_EXIT  # a zombie: its parent has not reaped it yet

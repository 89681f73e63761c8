"""How daemons end while we watch: the exit statuses that no supervisor keeps.

The kernel tells by three ways, tried in this order: the process connector (root on the host; anyone
since Linux 6.6), the child's pidfd (anyone since 6.15), and its zombie (root, if we are quick).
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
from pathlib import Path

from twiceshy.flapping.supervisors import process
from twiceshy.flapping.supervisors.process import Process

YOUNG_SECONDS = 3.0
MOST_WITNESSED = 40
# A suspicious service is watched this long: all keepers start a daemon at most once a second.
WATCHED_SECONDS = 1.3
POLL_SECONDS = 0.001
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes), linux/pidfd.h, Linux 6.13
PIDFD_INFO_EXIT = 1 << 3  # Linux 6.15: still answered when the process has been reaped


def cause(wait_status: int) -> str:
    """ "exit status 1", "signal SEGV" of a wait status (wait(2))."""
    if os.WIFSIGNALED(wait_status):
        return f"signal {process.signal_name(os.WTERMSIG(wait_status))}"
    return f"exit status {os.WEXITSTATUS(wait_status)}"


@dataclass(frozen=True)
class Witnessed:
    """What a keeper's children did while we looked."""

    child: Process | None = None  # the last one that was seen
    last_exit: str = ""
    deaths: int = 0


class ExitEvents:
    """The kernel's own news of every process that ends: exact, however short it lived.

    The process connector (linux/cn_proc.h) speaks to root in the host's first namespaces only, and
    names the parent since Linux 4.18. OSError from the constructor where it does not speak.
    """

    _CONNECTOR, _GROUP = 11, 1  # NETLINK_CONNECTOR, CN_IDX_PROC
    _LISTEN, _IGNORE = 1, 2
    _NONE, _EXIT = 0, 0x80000000

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self._CONNECTOR)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.socket.bind((0, self._GROUP))
            self._say(self._LISTEN)
            self.socket.settimeout(0.1)
            # In a container the kernel keeps silent instead of refusing.
            while self._NONE not in (what for what, _ in self._parsed(self.socket.recv(65536))):
                pass
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise

    def _say(self, what: int) -> None:
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
            self._say(self._IGNORE)
        self.socket.close()


def children_of(keeper: int, proc: Path) -> list[int]:
    try:
        listed = process._text(f"{proc}/{keeper}/task/{keeper}/children")
        return [int(pid) for pid in listed.split()]
    except OSError:  # it died, or the kernel has no such list
        return []


def _told_by_kernel(
    keepers: Iterable[int],
    pids: Iterable[int],
    apart_from: Iterable[int],
    seconds: float,
    alone: Iterable[int] = (),
) -> dict[int, str] | None:
    """How children of keepers, and the pids, ended, by keeper or pid; None if it tells nothing.

    Keepers that are `alone` are not waited for longer than it takes them to start a child.
    """
    try:
        events = ExitEvents()
    except OSError:
        return None
    ends: dict[int, str] = {}
    parents, themselves, apart = set(keepers), set(pids), set(apart_from)
    begin = time.monotonic()
    poll = select.poll()
    poll.register(events.socket, select.POLLIN)
    try:
        while parents or themselves:
            passed = time.monotonic() - begin
            if passed > WATCHED_SECONDS:
                parents -= set(alone)
            if passed > seconds:
                break
            poll.poll(100)
            for pid, parent, status in events.deaths():
                if pid in themselves:
                    ends[pid] = cause(status)
                    themselves.discard(pid)
                elif parent in parents and pid not in apart:
                    ends[parent] = cause(status)
                    parents.discard(parent)
            # Not at each of the thousand processes of a busy host.
            time.sleep(0.02)
    finally:
        events.close()
    return ends


def watch(
    keepers: Iterable[int],
    proc: Path = process.PROC,
    seconds: float = WATCHED_SECONDS,
    apart_from: Iterable[int] = (),
) -> dict[int, Witnessed]:
    """Watches keepers until each has lost a child, or until the time is up.

    For the exit status that runit and daemontools keep nowhere, and for the instant crasher that
    another user's look always misses. The status comes from the process connector (root on the
    host), else by the child's pidfd (Linux 6.15, any user), else from its zombie (root), else it
    stays unknown; and a child that lives for less than a millisecond may be missed.
    """
    seen: dict[int, Witnessed] = {}
    keepers = list(keepers)
    if proc != process.PROC or not keepers:
        return seen
    apart_from = set(apart_from)
    alone = {keeper for keeper in keepers if not set(children_of(keeper, proc)) - apart_from}
    told = _told_by_kernel(keepers, (), apart_from, seconds, alone)
    if told is not None:
        for keeper in keepers:
            now = [process.read(pid, proc) for pid in children_of(keeper, proc)]
            child = next((one for one in now if one and one.pid not in apart_from), None)
            seen[keeper] = Witnessed(child, told.get(keeper, ""), int(keeper in told))
        return seen
    if not hasattr(os, "pidfd_open"):
        return seen
    lists: dict[int, int] = {}  # keeper -> fd of its list of children
    watched: dict[int, tuple[int, Process]] = {}  # pidfd -> keeper, child
    dead: dict[int, tuple[int, Process]] = {}  # the same of those that have ended, status unknown
    poll = select.poll()
    begin = time.monotonic()
    try:
        for keeper in keepers:
            try:
                lists[keeper] = os.open(f"{proc}/{keeper}/task/{keeper}/children", os.O_RDONLY)
            except OSError:  # it died, or the kernel has no such list
                continue
            seen[keeper] = Witnessed()
        known: set[int] = set(apart_from)
        while lists:
            passed = time.monotonic() - begin
            busy = {keeper for keeper, child in watched.values()}
            if passed >= seconds or (passed >= WATCHED_SECONDS and not busy):
                break
            for keeper in lists.keys() - busy:
                for pid in map(int, os.pread(lists[keeper], 65536, 0).split()):
                    child = None if pid in known else process.read(pid, proc)
                    known.add(pid)
                    if child is None:
                        continue
                    seen[keeper] = replace(seen[keeper], child=child)
                    try:
                        descriptor = os.pidfd_open(pid)
                    except OSError:
                        continue
                    watched[descriptor] = keeper, child
                    poll.register(descriptor, select.POLLIN)
            idle = bool(dead) or bool(lists.keys() - {keeper for keeper, _ in watched.values()})
            wait = POLL_SECONDS if idle else seconds - passed
            for descriptor, _ in poll.poll(max(0.0, wait) * 1000):
                poll.unregister(descriptor)
                keeper, child = dead[descriptor] = watched.pop(descriptor)
                seen[keeper] = replace(seen[keeper], deaths=seen[keeper].deaths + 1)
            for descriptor, (keeper, child) in list(dead.items()):
                last_exit = exit_of(descriptor, child.pid, proc)
                if last_exit is None:
                    continue
                os.close(descriptor)
                del dead[descriptor]
                if last_exit == "exit status 127" and child.comm == "s6-supervise":
                    continue  # s6-supervise forks for ./finish even where there is none
                if last_exit and keeper in lists:
                    seen[keeper] = replace(seen[keeper], last_exit=last_exit)
                    os.close(lists.pop(keeper))
    finally:
        for descriptor in (*lists.values(), *watched, *dead):
            os.close(descriptor)
    return seen


def endings(pids: Iterable[int], proc: Path, seconds: float) -> dict[int, str]:
    """How those of the processes ended that end while we watch."""
    ends: dict[int, str] = {}
    pids = list(pids)
    if proc != process.PROC or not pids:
        return ends
    told = _told_by_kernel((), pids, (), seconds)
    if told is not None or not hasattr(os, "pidfd_open"):
        return told or ends
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
                last_exit = exit_of(descriptor, watched[descriptor], proc)
                if last_exit is None:
                    time.sleep(POLL_SECONDS)
                    continue
                ends[watched.pop(descriptor)] = last_exit
                os.close(descriptor)
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return ends


def exit_of(pidfd: int, pid: int, proc: Path) -> str | None:
    """How a process ended that has ended; "" if nobody tells, None if it is to be asked again."""
    try:
        words = process._text(f"{proc}/{pid}/stat").rpartition(")")[2].split()
        is_zombie = words[0] == "Z"
        # Others than root read 0 for every status.
        if is_zombie and (int(words[49]) or os.geteuid() == 0):
            return cause(int(words[49]))
    except (OSError, IndexError, ValueError):
        is_zombie = False
    question = bytearray(64)
    struct.pack_into("Q", question, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, question)
    except OSError:  # ENOTTY before Linux 6.13, ESRCH or EREMOTE before 6.15
        return ""
    if struct.unpack_from("Q", question, 0)[0] & PIDFD_INFO_EXIT:
        return cause(struct.unpack_from("i", question, 60)[0])
    return None if is_zombie else ""  # a zombie: its keeper has not reaped it yet

"""perp: one perpd for all services, asked at its socket.

Asks BASE/.control/perpd.sock for each activated service (perp/PROTO_V2.txt of the source, packets
of at most 258 bytes), because `perpls` hides what is needed here: it shows a life of less than a
second as down, without its pid. `perpls -g` is the fallback for a perpd of another protocol.
perp keeps neither a count nor an exit status; the latter is watched for, or read off a
running `rc.main reset`.

Rights: the socket is 0700, root's. Any other user is left with the children of perpd in /proc: no
wanted state, and names by command line.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.flapping.service import BETWEEN, DOWN, NO_EXIT, Exit, Service
from twiceshy.flapping.supervisors import (
    Instance,
    exit_statuses,
    log_lines,
    running,
    single_daemon,
    timestamps,
)
from twiceshy.flapping.supervisors.single_daemon import Unobservable, Unresponsive
from twiceshy.kit import deadline, processes, subprocesses
from twiceshy.kit.processes import Process, ProcessTable

NAME = "perp"
BASE = "/etc/perp"
SOCKET = ".control/perpd.sock"
PROTOCOL = 2
ANSWER_SECONDS = 3.0
DAEMON = single_daemon.Daemon(NAME, "perpd", "perpls -g")

# perp_common.h
HAS_LOG, CULL = 0x02, 0x04
RESET, ONCE, PAUSED, WANT_DOWN, FAILING = 0x02, 0x04, 0x08, 0x10, 0x20


# What the formats say


@dataclass(frozen=True)
class Half:
    """The main or the log part of a service."""

    pid: int
    since: float  # TAI seconds of the last start
    flags: int


@dataclass(frozen=True)
class Reply:
    """The 66 bytes of a status reply."""

    perpd: int
    flags: int
    main: Half
    log: Half | None


class Protocol(Exception):
    """perpd speaks another protocol."""


class Refused(Exception):
    """perpd answered with an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def query(device: int, inode: int) -> bytes:
    """A status query; little-endian, 19 bytes (PROTO_V2.txt)."""
    return (
        bytes((PROTOCOL, ord("Q"), 16))
        + (device & (1 << 64) - 1).to_bytes(8, "little")
        + inode.to_bytes(8, "little")
    )


def parse_reply(packet: bytes) -> Reply:
    """A status reply. Refused for an error packet, Protocol for anything else.

    PROTO_V2.txt calls all of it little-endian, but the stamps are big-endian, as TAI64N is.
    """
    if len(packet) < 3 or packet[0] != PROTOCOL or len(packet) != packet[2] + 3:
        raise Protocol("not a packet of protocol 2")
    payload = packet[3:]
    if packet[1:2] == b"E" and len(payload) == 4:
        raise Refused(int.from_bytes(payload, "little"))
    if packet[1:2] != b"S" or len(payload) < 66:
        raise Protocol("not a status reply")
    flags = payload[28]
    return Reply(
        perpd=int.from_bytes(payload[0:4], "little"),
        flags=flags,
        main=_half(payload[30:47]),
        log=_half(payload[48:65]) if flags & HAS_LOG else None,
    )


def _half(content: bytes) -> Half:
    return Half(
        int.from_bytes(content[:4], "little"), timestamps.tai64n(content[4:16]), content[16]
    )


def reset_exit(argv: Sequence[str]) -> Exit:
    """The last exit by the arguments of a running `rc.main reset` (perpetrate(5)), else NO_EXIT.

    `rc.main reset NAME exit CODE` or `rc.main reset NAME signal NUMBER SIGNALNAME`.
    """
    for at, word in enumerate(argv):
        is_reset = word == "reset" and argv[at - 1].endswith(("rc.main", "rc.log"))
        if is_reset and len(argv) >= at + 4:
            how, number = argv[at + 2 : at + 4]
            if not number.isdigit():
                return NO_EXIT
            return exit_statuses.exit_of(int(number) if how == "signal" else int(number) << 8)
    return NO_EXIT


def name_by_script(process: Process) -> str:
    """The service of a child of perpd, while its script runs; its program's name after that."""
    argv = process.cmdline
    for at, word in enumerate(argv[:-2]):
        if word.endswith(("rc.main", "rc.log")):
            half = "/log" if word.endswith("rc.log") else ""
            return f"{argv[at + 2]}{half}" if argv[at + 1] == "start" else ""
    if not argv and process.comm.startswith("rc."):
        return ""  # a zombie: there is no telling whose
    return "" if process.comm == "perpd" else single_daemon.name_of_command(argv, process.comm)


_PERPLS = re.compile(
    r"\[(.) (...) (...)\]\s+(\S+)\s+(?:uptime:\s*(\S+?)s?/(\S+?)s?\s+pids:\s*(\S+?)/(\S+))?"
)


@dataclass(frozen=True)
class PerplsLine:
    """One line of `perpls -g`."""

    name: str
    panel: tuple[str, str, str]  # "+", "+++", "---"
    pids: tuple[int, int]  # 0: none, or hidden in its first second


def parse_perpls(text: str) -> list[PerplsLine]:
    """The lines of `perpls -g` (perpls(8)); others are left out."""
    listed = []
    for line in text.splitlines():
        found = _PERPLS.match(line.strip())
        if found:
            active, main, log, name, _, _, main_pid, log_pid = found.groups()
            pids = [int(pid) if pid and pid.isdigit() else 0 for pid in (main_pid, log_pid)]
            listed.append(PerplsLine(name, (active, main, log), (pids[0], pids[1])))
    return listed


def half_listed(panel: str, pid: int) -> Half | None:
    """A part of a service by its three signs in perpls; None if there is no such part."""
    if panel == "---":
        return None
    is_up = panel[1] != "."
    is_off = panel[0] == "!"
    flags = WANT_DOWN if is_off == is_up else 0
    flags |= RESET if panel[2] == "r" else PAUSED if panel[2] == "p" else 0
    return Half(pid, 0.0, flags | (ONCE if panel[1] == "o" else 0))


# What is observed


def instances(table: ProcessTable) -> list[Instance]:
    """The perpds that run here, each with its base directory."""
    found = []
    for process in table.processes.values():
        parent = table.processes.get(process.ppid)
        is_forked = parent is not None and parent.comm == "perpd"
        if process.comm != "perpd" or not process.is_alive or is_forked:
            continue  # a perpd below perpd is a child that waits to be allowed to start
        base = next((word for word in reversed(process.cmdline[1:]) if word.startswith("/")), "")
        if not base:
            try:
                base = os.readlink(processes.working_directory(process.pid, table.proc))
            except OSError:
                base = BASE
        found.append(Instance(NAME, base, process.pid))
    return found


def services(instance: Instance, table: ProcessTable) -> list[Service]:
    """The services of one perpd. The address is its base directory or its socket."""
    base = instance.address
    if base.endswith(f"/{SOCKET}"):
        base = base[: -len(SOCKET) - 1]
    return single_daemon.services(
        DAEMON,
        lambda: _watched(_replies(base), base, table),
        lambda why: children_of(instance, why, table),
    )


def children_of(instance: Instance, why: str, table: ProcessTable) -> list[Service]:
    """What /proc alone shows of the services of a perpd."""
    if not instance.pid:
        return []
    return single_daemon.children(instance.pid, NAME, why, table, name_by_script)


# Asking


def _replies(base: str) -> list[tuple[str, Reply]]:
    """What perpd says of each activated service."""
    path = f"{base}/{SOCKET}"
    replies: list[tuple[str, Reply]] = []
    try:
        with _connected(path) as connection:
            for name, device, inode in _activated(base):
                try:
                    reply = _asked(connection, device, inode)
                except Refused:  # activated, but perpd has not looked at it yet
                    continue
                replies.append((name, reply))
    except PermissionError:
        raise Unobservable(f"not allowed to use {path}: run the check with sudo") from None
    except (ConnectionRefusedError, FileNotFoundError):
        raise Unresponsive(path, "no perpd listens there") from None
    except socket.timeout:
        raise Unresponsive(path, f"no answer within {ANSWER_SECONDS:.0f}s") from None
    except Protocol:
        return _replies_by_perpls(base, path)
    except OSError as error:
        raise Unresponsive(path, error.strerror or str(error)) from error
    return replies


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(min(ANSWER_SECONDS, deadline.remaining() / 2))
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _activated(base: str) -> list[tuple[str, int, int]]:
    """(name, device, inode) of the service directories with the sticky bit."""
    found = []
    for name in sorted(os.listdir(base)):
        if name.startswith("."):
            continue
        try:
            status = os.stat(f"{base}/{name}")
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
            found.append((name, status.st_dev, status.st_ino))
    return found


def _asked(connection: socket.socket, device: int, inode: int) -> Reply:
    connection.sendall(query(device, inode))
    packet = b""
    while len(packet) < 3 or len(packet) < packet[2] + 3:
        more = connection.recv(258)
        if not more:
            raise Protocol("perpd hung up")
        packet += more
        if packet[0] != PROTOCOL:
            break
    return parse_reply(packet)


def _replies_by_perpls(base: str, path: str) -> list[tuple[str, Reply]]:
    """The same by `perpls -g`, where perpd speaks another protocol than 2."""
    try:
        ran = subprocesses.run(["perpls", "-b", base, "-g"], timeout=ANSWER_SECONDS)
    except (OSError, subprocesses.NoAnswer):
        raise Unresponsive(path, "it does not speak protocol 2, and perpls cannot be run") from None
    replies = []
    for listed in parse_perpls(ran.stdout):
        main = half_listed(listed.panel[1], listed.pids[0])
        if listed.panel[0] == "-" or main is None:
            continue
        log = half_listed(listed.panel[2], listed.pids[1])
        replies.append((listed.name, Reply(0, HAS_LOG if log else 0, main, log)))
    return replies


# The services


def _watched(replies: Sequence[tuple[str, Reply]], base: str, table: ProcessTable) -> list[Service]:
    """The services, the young and the dead ones after having been watched for a moment."""
    found: list[Service] = []
    pids: dict[str, int] = {}
    for name, reply in replies:
        found += _both_halves(name, base, reply, table)
        for half, half_name in ((reply.main, name), (reply.log, f"{name}/log")):
            if half is not None and half.pid and not half.flags & RESET:
                pids[half_name] = half.pid
    suspects = [
        pids[service.name]
        for service in found
        if service.name in pids
        and (service.state == BETWEEN or (service.age_seconds or 60) < exit_statuses.YOUNG_SECONDS)
    ]
    ends = exit_statuses.of_processes(
        suspects[: exit_statuses.MOST_WATCHED],
        table,
        exit_statuses.watching_seconds(exit_statuses.YOUNG_SECONDS),
    )
    return [
        replace(
            service, last_exit=service.last_exit or ends.get(pids.get(service.name, 0), NO_EXIT)
        )
        for service in found
    ]


def _both_halves(name: str, base: str, reply: Reply, table: ProcessTable) -> list[Service]:
    if reply.flags & CULL:  # being deactivated
        return [Service(name, NAME, DOWN, False, next=f"perpstat -b {base} {name}")]
    halves = [(name, reply.main)]
    if reply.log is not None:
        halves.append((f"{name}/log", reply.log))
    found = [_service(half_name, base, half, table) for half_name, half in halves]
    if log_lines.are_wanted(found[0]) and reply.log is not None:
        logger = table.processes.get(reply.log.pid)
        directories = log_lines.log_directories(logger.cmdline) if logger else []
        into = processes.working_directory(reply.log.pid, table.proc)
        found[0] = replace(found[0], log=log_lines.of_logger(into, directories))
    return found


def _service(name: str, base: str, half: Half, table: ProcessTable) -> Service:
    is_wanted = not half.flags & WANT_DOWN
    service = Service(
        name, NAME, DOWN, is_wanted, next=f"perpstat -b {base} {name.partition('/')[0]}"
    )
    if half.flags & FAILING:
        return replace(service, state=BETWEEN, reason="perpd cannot start it")
    process = table.process(half.pid) if half.pid else None
    if half.flags & RESET and half.pid:
        # rc.main reset runs, with how the daemon ended. Paused or slow, it is no life either.
        last_exit = reset_exit(process.cmdline) if process else NO_EXIT
        state = BETWEEN if is_wanted and not half.flags & ONCE else DOWN
        return replace(service, state=state, last_exit=last_exit)
    if not half.pid:
        if half.flags & ONCE:
            return replace(service, wanted_up=False)
        return replace(service, state=BETWEEN) if is_wanted else service
    if process is None:
        return replace(service, state=BETWEEN)
    parent = table.processes.get(process.ppid)
    is_forked = process.comm == "perpd" and parent is not None and parent.comm == "perpd"
    if not process.is_alive or is_forked:
        # The respawn governor sleeps in the child, before the program is there.
        return replace(service, state=BETWEEN)
    return running(service, process, table)

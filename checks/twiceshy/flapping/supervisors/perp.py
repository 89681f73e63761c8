"""perp: one perpd for all services, asked at its socket.

Asks BASE/.control/perpd.sock for each activated service (perp/PROTO_V2.txt of the source, packets
of at most 258 bytes), because `perpls` hides what is needed here: it shows a life of less than a
second as down, without its pid. `perpls -g` is the fallback for a perpd of another protocol.
perp keeps neither a count nor an exit status; the latter is witnessed, or read off a running
`rc.main reset`.

Rights: the socket is 0700, root's. Any other user is left with the children of perpd in /proc: no
wanted state, and names by command line.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twiceshy.flapping.supervisors import (
    BETWEEN,
    DOWN,
    Place,
    Service,
    outside,
    process,
    servicedir,
    witness,
)
from twiceshy.flapping.supervisors.process import Process
from twiceshy.kit import deadline, subprocesses

if TYPE_CHECKING:
    from twiceshy.kit.stamps import Stamp

NAME = "perp"
BASE = "/etc/perp"
SOCKET = ".control/perpd.sock"
PROTOCOL = 2
ANSWER_SECONDS = 3.0

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
    """perpd speaks otherwise."""


class Refused(Exception):
    """perpd answered with an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def question(device: int, inode: int) -> bytes:
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
        int.from_bytes(content[:4], "little"), servicedir.tai64n(content[4:16]), content[16]
    )


def reset_exit(words: Sequence[str]) -> str:
    """The last exit by the arguments of a running `rc.main reset` (perpetrate(5)), "" else.

    `rc.main reset NAME exit CODE` or `rc.main reset NAME signal NUMBER SIGNALNAME`.
    """
    for at, word in enumerate(words):
        if (
            word == "reset"
            and len(words) >= at + 4
            and words[at - 1].endswith(("rc.main", "rc.log"))
        ):
            how, number = words[at + 2 : at + 4]
            if not number.isdigit():
                return ""
            return witness.cause(int(number) if how == "signal" else int(number) << 8)
    return ""


def name_by_script(one: Process) -> str:
    """The service of a child of perpd, while its script runs; its program's name after that."""
    for at, word in enumerate(one.cmdline[:-2]):
        if word.endswith(("rc.main", "rc.log")):
            half = "/log" if word.endswith("rc.log") else ""
            return f"{one.cmdline[at + 2]}{half}" if one.cmdline[at + 1] == "start" else ""
    if not one.cmdline and one.comm.startswith("rc."):
        return ""  # a zombie: whose, nobody tells any more
    return "" if one.comm == "perpd" else outside.called(one.cmdline, one.comm)


_PERPLS = re.compile(
    r"\[(.) (...) (...)\]\s+(\S+)\s+(?:uptime:\s*(\S+?)s?/(\S+?)s?\s+pids:\s*(\S+?)/(\S+))?"
)


@dataclass(frozen=True)
class Listed:
    """One line of `perpls -g`."""

    name: str
    panel: tuple[str, str, str]  # "+", "+++", "---"
    pids: tuple[int, int]  # 0: none, or hidden in its first second


def parse_perpls(text: str) -> list[Listed]:
    """The lines of `perpls -g` (perpls(8)); others are left out."""
    listed = []
    for line in text.splitlines():
        found = _PERPLS.match(line.strip())
        if found:
            active, main, log, name, _, _, main_pid, log_pid = found.groups()
            pids = [int(pid) if pid and pid.isdigit() else 0 for pid in (main_pid, log_pid)]
            listed.append(Listed(name, (active, main, log), (pids[0], pids[1])))
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


# What is seen


def found(proc: Path = process.PROC, processes: Mapping[int, Process] | None = None) -> list[Place]:
    """The perpds that run here, each with its base directory."""
    everyone = process.snapshot(proc) if processes is None else processes
    places = []
    for one in everyone.values():
        parent = everyone.get(one.ppid)
        if one.comm != "perpd" or not one.is_alive or (parent and parent.comm == "perpd"):
            continue  # a perpd below perpd is a child that waits to be allowed to start
        base = next((word for word in reversed(one.cmdline[1:]) if word.startswith("/")), "")
        if not base:
            try:
                base = os.readlink(f"{proc}/{one.pid}/cwd")
            except OSError:
                base = BASE
        places.append(Place(NAME, base, one.pid))
    return places


def look(
    place: Place,
    now: Stamp,
    proc: Path = process.PROC,
    processes: Mapping[int, Process] | None = None,
) -> list[Service]:
    """The services of one perpd. A place is its base directory or its socket."""
    everyone = process.snapshot(proc) if processes is None else processes
    base = place.where
    if base.endswith(f"/{SOCKET}"):
        base = base[: -len(SOCKET) - 1]
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
        unseen = f"not allowed to use {path}: run the check by sudo"
        return _from_outside(place, unseen, now, proc, everyone)
    except (ConnectionRefusedError, FileNotFoundError):
        return [_silent(path, "no perpd listens there")]
    except socket.timeout:
        return [_silent(path, f"no answer within {ANSWER_SECONDS:.0f}s")]
    except Protocol:
        return _by_perpls(base, path, now, proc, everyone)
    except OSError as error:
        return [_silent(path, error.strerror or str(error))]
    return _all_services(replies, base, now, proc, everyone)


def _all_services(
    replies: Sequence[tuple[str, Reply]],
    base: str,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> list[Service]:
    """The services, the young and the dead ones after having been watched for a moment."""
    services: list[Service] = []
    pids: dict[str, int] = {}
    for name, reply in replies:
        services += _services(name, base, reply, now, proc, processes)
        for half, called in ((reply.main, name), (reply.log, f"{name}/log")):
            if half is not None and half.pid and not half.flags & RESET:
                pids[called] = half.pid
    suspects = [
        pids[service.name]
        for service in services
        if service.name in pids
        and (service.state == BETWEEN or (service.age_seconds or 60) < witness.YOUNG_SECONDS)
    ]
    ends = witness.endings(
        suspects[: witness.MOST_WITNESSED],
        proc,
        min(witness.YOUNG_SECONDS, deadline.remaining() / 3),
    )
    return [
        replace(service, last_exit=service.last_exit or ends.get(pids.get(service.name, 0), ""))
        for service in services
    ]


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
    found_services = []
    for name in sorted(os.listdir(base)):
        if name.startswith("."):
            continue
        try:
            status = os.stat(f"{base}/{name}")
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
            found_services.append((name, status.st_dev, status.st_ino))
    return found_services


def _asked(connection: socket.socket, device: int, inode: int) -> Reply:
    connection.sendall(question(device, inode))
    packet = b""
    while len(packet) < 3 or len(packet) < packet[2] + 3:
        more = connection.recv(258)
        if not more:
            raise Protocol("perpd hung up")
        packet += more
        if packet[0] != PROTOCOL:
            break
    return parse_reply(packet)


def _services(
    name: str,
    base: str,
    reply: Reply,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> list[Service]:
    if reply.flags & CULL:  # being deactivated
        return [Service(name, NAME, DOWN, False, next=f"perpstat -b {base} {name}")]
    halves = [(name, reply.main)]
    if reply.log is not None:
        halves.append((f"{name}/log", reply.log))
    services = [_service(called, base, half, now, proc, processes) for called, half in halves]
    if servicedir.is_talked_about(services[0]) and reply.log is not None:
        logger = processes.get(reply.log.pid)
        door = f"{proc}/{reply.log.pid}/cwd"
        words = servicedir.log_directories(logger.cmdline) if logger else []
        for directory in words:
            lines = servicedir.tail(os.path.join(door, directory, "current"), servicedir.LOG_LINES)
            if lines:
                services[0] = replace(services[0], log=servicedir.telling(lines, 3))
                break
    return services


def _service(
    name: str,
    base: str,
    half: Half,
    now: Stamp,
    proc: Path,
    processes: Mapping[int, Process],
) -> Service:
    is_wanted = not half.flags & WANT_DOWN
    service = Service(
        name, NAME, DOWN, is_wanted, next=f"perpstat -b {base} {name.partition('/')[0]}"
    )
    if half.flags & FAILING:
        return replace(service, state=BETWEEN, reason="perpd cannot start it")
    one = (processes.get(half.pid) or process.read(half.pid, proc)) if half.pid else None
    if half.flags & RESET and half.pid:
        # rc.main reset runs, told how the daemon ended. Paused or slow, it is no life either.
        last_exit = reset_exit(one.cmdline) if one else ""
        state = BETWEEN if is_wanted and not half.flags & ONCE else DOWN
        return replace(service, state=state, last_exit=last_exit)
    if not half.pid:
        if half.flags & ONCE:
            return replace(service, wanted_up=False)
        return replace(service, state=BETWEEN) if is_wanted else service
    if one is None:
        return replace(service, state=BETWEEN)
    parent = processes.get(one.ppid)
    if not one.is_alive or (one.comm == "perpd" and parent and parent.comm == "perpd"):
        # The respawn governor sleeps in the child, before the program is there.
        return replace(service, state=BETWEEN)
    return servicedir.alive(service, one, now.boot, proc)


def _by_perpls(
    base: str, path: str, now: Stamp, proc: Path, processes: Mapping[int, Process]
) -> list[Service]:
    """What `perpls -g` says, where perpd speaks another protocol than 2."""
    try:
        ran = subprocesses.run(["perpls", "-b", base, "-g"], timeout=ANSWER_SECONDS)
    except (OSError, subprocesses.NoAnswer):
        return [_silent(path, "it does not speak protocol 2, and perpls cannot be run")]
    replies = []
    for listed in parse_perpls(ran.stdout):
        main = half_listed(listed.panel[1], listed.pids[0])
        if listed.panel[0] == "-" or main is None:
            continue
        log = half_listed(listed.panel[2], listed.pids[1])
        replies.append((listed.name, Reply(0, HAS_LOG if log else 0, main, log)))
    return _all_services(replies, base, now, proc, processes)


def _silent(path: str, why: str) -> Service:
    return outside.silent("perpd", NAME, path, why, "perpls -g")


def _from_outside(
    place: Place, unseen: str, now: Stamp, proc: Path, processes: Mapping[int, Process]
) -> list[Service]:
    if not place.pid:
        return [outside.unseen("perpd", NAME, unseen)]
    services = outside.children(place.pid, NAME, unseen, now.boot, proc, processes, name_by_script)
    return services or [outside.unseen("perpd", NAME, unseen)]

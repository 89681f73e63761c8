"""The files of Nagios Core 4 and Naemon, as values: nagios.cfg, status.dat, worker statistics.

`last_update` in every block of status.dat is the time of writing, not of checking. Passive results
set check_type to 1, so they cannot pass for work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from twiceshy.kit.plugin import CheckError

# A block of status.dat ends with this line (xdata/xsddefault.c); values hold no newline.
END_OF_BLOCK = b"\n\t}\n"

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Config:
    """What in nagios.cfg tells where things are and what to expect; seconds."""

    status_file: str
    command_file: str
    query_socket: str
    lock_file: str = ""
    interval_length: float = 60.0
    status_update_interval: float = 10.0
    service_check_timeout: float = 60.0
    takes_commands: bool = True


@dataclass(frozen=True)
class Service:
    """One service's part in the evidence; times are Unix, 0 for never."""

    name: str
    last_check: float
    next_check: float
    interval: float
    is_active: bool
    is_passive_result: bool
    output: str = ""


@dataclass(frozen=True)
class StatusFile:
    """status.dat in a few numbers.

    `newest` is the last time that a plugin was executed for any service or host; `fastest` the
    smallest interval among services that are due (not outside their check_period), None when
    there are none; `most_overdue` seconds beyond the due time, negative when nothing is late.
    """

    created: float
    pid: int
    program_start: float
    notifications: bool
    service_checks: bool
    passive_checks: bool
    newest: float
    newest_name: str
    scheduled: int
    fastest: float | None
    overdue: int
    most_overdue: float
    executed_last_minute: float | None
    expected_per_minute: float
    passive_only: int = 0
    pulse: Service | None = None
    canary: Service | None = None


class Truncated(Exception):
    """A status.dat that ends in the middle; the text says where."""


def parse_config(text: str) -> Config:
    """nagios.cfg or naemon.cfg: `key=value`, the last counts. CheckError without status_file."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            values[key.strip()] = value.strip()
    try:
        status = values.get("status_file") or values["xsddefault_status_file"]
    except KeyError:
        raise CheckError("this is no nagios.cfg: it has no status_file") from None
    command = values.get("command_file", "")
    socket = values.get("query_socket") or os.path.join(
        os.path.dirname(command or status), "nagios.qh"
    )

    def number(key: str, default: float) -> float:
        try:
            return float(values.get(key, default))
        except ValueError:
            return default

    return Config(
        status_file=status,
        command_file=command,
        query_socket=socket,
        lock_file=values.get("lock_file", ""),
        interval_length=number("interval_length", 60.0),
        status_update_interval=number("status_update_interval", 10.0),
        service_check_timeout=number("service_check_timeout", 60.0),
        takes_commands=values.get("check_external_commands", "1") != "0",
    )


def _field(block: bytes, key: bytes, start: int = 0) -> tuple[bytes, int]:
    """The value of `key` in a block, and where it was: the next search may begin there."""
    at = block.find(b"\n\t" + key + b"=", start)
    if at < 0:
        # Naemon and other releases order fields differently.
        at = block.find(b"\n\t" + key + b"=") if start else -1
        if at < 0:
            return b"", start
    value = at + len(key) + 3
    end = block.find(b"\n", value)
    return block[value : end if end >= 0 else len(block)], at


def _number(value: bytes) -> float:
    """Naemon writes times as sec.usec, Nagios as sec."""
    try:
        return float(value)
    except ValueError:
        return 0.0


def split_name(name: str) -> tuple[str, str]:
    """A service as operators type it: `host;service` or `host!service`."""
    for mark in (";", "!"):
        host, found, service = name.partition(mark)
        if found:
            return host.strip(), service.strip()
    raise CheckError(f"{name!r} does not name a service; type HOST;SERVICE")


def read_status(
    stream: BinaryIO,
    now: float,
    config: Config,
    intervals: float = 2.0,
    pulse: str = "",
    canary: str = "",
) -> StatusFile:
    """One pass over status.dat, a block at a time; 300 MB need seconds and a few MiB.

    Truncated when the file is empty, ends inside a block or lacks the program's own.
    """
    created = 0.0
    program: dict[bytes, bytes] = {}
    evidence = _Evidence(now, config, intervals, [name for name in (pulse, canary) if name])
    blocks = _Blocks(stream)
    for block in blocks:
        opening = block.find(b" {\n")
        kind = block[block.rfind(b"\n", 0, opening) + 1 : opening] if opening >= 0 else b""
        if kind == b"servicestatus" or kind == b"hoststatus":
            evidence.add(block, opening, kind == b"servicestatus")
        elif kind == b"info":
            created = _number(_field(block, b"created")[0])
        elif kind == b"programstatus":
            for line in block[opening:].split(b"\n\t"):
                key, _, value = line.partition(b"=")
                program[key] = value
    if not blocks.has_any:
        raise Truncated("is empty (0 bytes)")
    if not program:
        raise Truncated("ends before the program's own block")
    if blocks.rest.strip():
        raise Truncated("ends in the middle of a block")
    stats = program.get(b"active_scheduled_service_check_stats", b"").split(b",")
    return StatusFile(
        created=created,
        pid=int(_number(program.get(b"nagios_pid", program.get(b"naemon_pid", b"0")))),
        program_start=_number(program.get(b"program_start", b"0")),
        notifications=program.get(b"enable_notifications", b"1") == b"1",
        service_checks=program.get(b"active_service_checks_enabled", b"1") == b"1",
        passive_checks=program.get(b"passive_service_checks_enabled", b"1") == b"1",
        newest=evidence.newest,
        newest_name=evidence.newest_name,
        scheduled=evidence.scheduled,
        fastest=evidence.fastest,
        overdue=evidence.overdue,
        most_overdue=evidence.most_overdue,
        executed_last_minute=_number(stats[0]) if stats[0] else None,
        expected_per_minute=evidence.expected,
        passive_only=evidence.passive_only,
        pulse=evidence.services.get(pulse),
        canary=evidence.services.get(canary),
    )


class _Blocks:
    """The whole blocks of a status.dat, one after the other; then `rest`, which is no whole one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.rest = b""
        self.has_any = False

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._stream.read(CHUNK):
            self.has_any = True
            blocks = (self.rest + chunk).split(END_OF_BLOCK)
            self.rest = blocks.pop()
            yield from blocks


class _Evidence:
    """What the services and hosts of a status.dat prove together, block by block."""

    def __init__(self, now: float, config: Config, intervals: float, wanted: Sequence[str]) -> None:
        self._now = now
        self._length = config.interval_length
        self._slack = config.status_update_interval + config.service_check_timeout
        self._intervals = intervals
        self._wanted = {tuple(part.encode() for part in split_name(name)): name for name in wanted}
        self.services: dict[str, Service] = {}
        self.newest = 0.0
        self._newest_block = b""
        self.scheduled = self.overdue = self.passive_only = 0
        self.fastest: float | None = None
        self.most_overdue = float("-inf")
        self.expected = 0.0

    @property
    def newest_name(self) -> str:
        """Of what the newest execution was: `host;service`, `host` or ""."""
        host = _field(self._newest_block, b"host_name")[0]
        service = _field(self._newest_block, b"service_description")[0]
        return (host + (b";" + service if service else b"")).decode("utf-8", "replace")

    def add(self, block: bytes, opening: int, is_service: bool) -> None:
        """Add a service's or host's block, whose fields begin at `opening`."""
        # The order of fields is that of xsddefault.c, so each search goes on from the last.
        interval_text, at = _field(block, b"check_interval", opening)
        scheduled_text, at = _field(block, b"should_be_scheduled", at)
        type_text, at = _field(block, b"check_type", at)
        last_text, at = _field(block, b"last_check", at)
        next_text, at = _field(block, b"next_check", at)
        active_text, at = _field(block, b"active_checks_enabled", at)
        interval = _number(interval_text) * self._length
        last, due = _number(last_text), _number(next_text)
        is_active = active_text == b"1" and scheduled_text == b"1" and interval > 0
        if type_text == b"0" and last > self.newest:
            self.newest, self._newest_block = last, block
        if active_text == b"0" and is_service:
            self.passive_only += 1
        if is_active and 0 < due <= self._now + interval + self._slack:
            self._add_scheduled(interval, self._now - due)
        if self._wanted and is_service:
            key = (_field(block, b"host_name")[0], _field(block, b"service_description")[0])
            if key in self._wanted:
                name = self._wanted[key]
                self.services[name] = Service(
                    name=name,
                    last_check=last,
                    next_check=due,
                    interval=interval,
                    is_active=is_active,
                    is_passive_result=type_text == b"1",
                    output=_field(block, b"plugin_output")[0].decode("utf-8", "replace"),
                )

    def _add_scheduled(self, interval: float, late: float) -> None:
        self.scheduled += 1
        self.expected += 60.0 / interval
        if late > self.most_overdue:
            self.most_overdue = late
        if late > (self._intervals - 1) * interval + self._slack:
            self.overdue += 1
        if self.fastest is None or interval < self.fastest:
            self.fastest = interval


@dataclass(frozen=True)
class Worker:
    """A worker as `#wproc wpstats` tells it."""

    pid: int
    running: int
    started: int


def parse_workers(text: str) -> tuple[Worker, ...]:
    """The answer to `#wproc wpstats`: one line per worker, `name=..;pid=..;jobs_running=..;...`."""
    workers = []
    for line in text.replace("\0", "\n").splitlines():
        fields = dict(part.partition("=")[::2] for part in line.split(";"))
        try:
            workers.append(
                Worker(int(fields["pid"]), int(fields["jobs_running"]), int(fields["jobs_started"]))
            )
        except (KeyError, ValueError):
            continue
    return tuple(workers)

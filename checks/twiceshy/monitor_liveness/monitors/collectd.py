"""collectd: the newest value in its cache, by the unixsock plugin; else the newest file it wrote.

Read threads block one by one (collectd issues 1365, 922, 2707), so the newest of all values says
whether anything is read at all, and the destination whether it is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Seen,
    Target,
    Wishes,
    age_measures,
    ago,
    asking,
    clock_organ,
    dead,
    fine,
    processes,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.contact import config_of, halted, instance, is_young
from twiceshy.monitor_liveness.monitors.processes import Process

CONFIGS = ("/etc/collectd/collectd.conf", "/etc/collectd.conf", "/opt/collectd/etc/collectd.conf")
SOCKET = "/var/run/collectd-unixsock"

# Files enough to find the newest; a big site writes hundreds of thousands.
MOST_FILES = 20000


@dataclass(frozen=True)
class Config:
    """What of collectd.conf says where to look (collectd.conf(5)); seconds."""

    interval: float = 10.0
    socket: str = ""
    data_dir: str = ""


def parse_config(text: str) -> Config:
    """Interval, SocketFile of unixsock and DataDir of csv or rrdtool; the rest is not read."""
    text = re.sub(r"(?m)^\s*#.*$", "", text)

    def option(name: str) -> str:
        found = re.search(rf"(?im)^\s*{name}\s+\"?([^\"\n]+?)\"?\s*$", text)
        return found.group(1) if found else ""

    has_socket = re.search(r"(?im)^\s*(?:LoadPlugin\s+\"?|<LoadPlugin\s+\"?)unixsock\b", text)
    try:
        interval = float(option("Interval") or 10)
    except ValueError:
        interval = 10.0
    return Config(
        interval, (option("SocketFile") or SOCKET) if has_socket else "", option("DataDir")
    )


def parse_listval(text: str) -> list[float]:
    """The times in an answer to LISTVAL (collectd-unixsock(5)): `N Values found`, `TIME IDENT`."""
    status, _, values = text.partition("\n")
    if not re.match(r"-?\d+ ", status):
        raise asking.Trouble("strange", "the answer is not collectd's")
    times = []
    for line in values.splitlines():
        try:
            times.append(float(line.partition(" ")[0]))
        except ValueError:
            continue
    return times


def has_all_values(received: bytes) -> bool:
    """Whether all lines that the first one announces have come."""
    first, newline, rest = received.partition(b"\n")
    try:
        return bool(newline) and rest.count(b"\n") >= int(first.split()[0])
    except (ValueError, IndexError):
        return bool(newline)


@dataclass(frozen=True)
class Sight:
    """One collectd in one look; `newest` is None when nothing was found."""

    name: str
    config: Config
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    newest: float | None = None
    source: str = ""
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance(
            "collectd",
            process,
            config=processes.path_of(process, processes.option_of(process.argv, "-C"))
            or CONFIGS[0],
        )
        for process in table
        if process.program == "collectd"
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    path = config_of(target, CONFIGS)
    config = Config(socket=target.socket)
    if path and not target.socket:
        try:
            config = parse_config(Path(path).read_text("utf-8", "replace"))
        except OSError as error:
            if target.main is None:
                raise CheckError(f"cannot read {path}: {error.strerror}") from error
    seen = Sight(target.name, config, main=target.main)
    if config.socket:
        try:
            answer = asking.converse(
                config.socket, b"LISTVAL\n", has_all_values, wishes.probe_seconds
            )
            newest = max(parse_listval(answer.text), default=None)
        except asking.Trouble as trouble:
            return replace(seen, trouble=trouble.told)
        return replace(seen, probe_seconds=answer.seconds, newest=newest, source="value")
    if config.data_dir:
        try:
            with deadline.doing(f"looking through {config.data_dir}"):
                newest = newest_file(config.data_dir)
        except OSError as error:
            text = f"cannot look into {config.data_dir}: {error.strerror}"
            return replace(seen, trouble=("denied", text))
        return replace(seen, newest=newest, source="file")
    return seen


def newest_file(directory: str) -> float | None:
    """The newest modification time under a directory, of at most MOST_FILES files."""
    newest: float | None = None
    count = 0
    waiting = [directory]
    while waiting and count < MOST_FILES:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                count += 1
                at = entry.stat(follow_symlinks=False).st_mtime
                if newest is None or at > newest:
                    newest = at
    return newest


RESTART = "journalctl -u collectd -n 50"


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    started = clock.age(seen.main.started) if seen.main else None
    limit = wishes.silence or wishes.intervals * seen.config.interval + 10
    if seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=RESTART))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, limit, None), started)
    if seen.probe_seconds is not None:
        organs.append(fine("main loop", f"answers in {seen.probe_seconds * 1000:.1f}ms"))
    age = clock.age(seen.newest) if seen.newest is not None else None
    if not seen.source:
        organs.append(
            unseen("executor", "cannot be judged: neither unixsock nor a DataDir is configured")
        )
    elif age is None or age > limit:
        if is_young(started, wishes):
            organs.append(fine("executor", "has no value yet; it has only just started"))
        else:
            silent = (
                "brings no value" if age is None else f"brings no new {seen.source} for {ago(age)}"
            )
            organs.append(dead("executor", f"{silent} (limit {ago(limit)})", RESTART))
    else:
        future = clock_organ(f"its newest {seen.source}", age)
        organs.append(
            future or fine("executor", f"brought its newest {seen.source} {ago(max(0.0, age))} ago")
        )
    return Seen(
        seen.name, tuple(organs), age_measures(seen.name, age, limit, seen.probe_seconds), started
    )

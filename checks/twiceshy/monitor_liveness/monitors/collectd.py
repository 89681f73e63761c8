"""collectd: the newest value in its cache, by the unixsock plugin; else the newest file it wrote.

Read threads block one by one (collectd issues 1365, 922, 2707), so the newest of all values says
whether anything is read at all, and the destination whether it is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twiceshy.kit import deadline, http
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    ago,
    critical,
    future,
    is_young,
    milliseconds,
    ok,
    unknown,
)
from twiceshy.monitor_liveness.monitors import answers, processes, sockets
from twiceshy.monitor_liveness.monitors.targets import Target, config_of, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

CONFIGS = ("/etc/collectd/collectd.conf", "/etc/collectd.conf", "/opt/collectd/etc/collectd.conf")
SOCKET = "/var/run/collectd-unixsock"

# Files enough to find the newest; a big site writes hundreds of thousands.
MOST_FILES = 20000


@dataclass(frozen=True)
class Config:
    """What in collectd.conf tells where values are (collectd.conf(5)); seconds."""

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
        raise http.Malformed("the answer is not collectd's")
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
class Observation(answers.MonitorObservation):
    """One collectd; `newest` is None when nothing was found in the `source`: value or file."""

    config: Config = Config()
    newest: float | None = None
    source: str = ""


def found(table: Sequence[Process]) -> list[Target]:
    """Every collectd of this host, by its process."""
    return [
        instance(
            "collectd",
            process,
            config=processes.path_of(process, processes.option_of(process.cmdline, "-C"))
            or CONFIGS[0],
        )
        for process in table
        if process.program == "collectd"
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask the unixsock for the newest value, or look for the newest file."""
    path = config_of(target, CONFIGS)
    config = Config(socket=target.socket)
    if path and not target.socket:
        try:
            config = parse_config(Path(path).read_text("utf-8", "replace"))
        except OSError as error:
            if target.main is None:
                raise CheckError(f"cannot read {path}: {error.strerror}") from error
    observation = Observation(target.name, main=target.main, config=config)
    if config.socket:

        def asking(empty: Observation) -> Observation:
            answer = sockets.converse(
                config.socket, b"LISTVAL\n", has_all_values, settings.probe_seconds
            )
            newest = max(parse_listval(answer.text), default=None)
            return answers.answered_by(empty, answer, newest=newest, source="value")

        return answers.observed(observation, asking)
    if config.data_dir:
        try:
            with deadline.doing(f"looking through {config.data_dir}"):
                newest = newest_file(config.data_dir)
        except OSError as error:
            why = f"cannot list {config.data_dir}: {error.strerror}"
            return replace(observation, failure=http.NotAllowed(why))
        return replace(observation, newest=newest, source="file")
    return observation


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


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    started = answers.process_age(observation, clock)
    limit = settings.silence or settings.intervals * observation.config.interval + 10
    if observation.failure:
        components.append(answers.unanswered(observation.failure, RESTART))
        return answers.health(observation, components, started=started, limit=limit)
    if observation.seconds is not None:
        components.append(ok("main loop", f"answers in {milliseconds(observation.seconds, 1)}"))
    age = clock.age(observation.newest) if observation.newest is not None else None
    components.append(
        _executor(observation.source, age, limit, is_young(started, settings.startup_grace))
    )
    return answers.health(observation, components, started=started, age=age, limit=limit)


def _executor(source: str, age: float | None, limit: float, young: bool) -> Component:
    """Whether anything is read and written, by the age of the newest value or file."""
    if not source:
        return unknown("executor", "cannot be judged: neither unixsock nor a DataDir is configured")
    if age is None or age > limit:
        if young:
            return ok("executor", "has no value yet; it has only just started")
        silent = "has collected no value"
        if age is not None:
            silent = f"has collected no new {source} for {ago(age)}"
        return critical("executor", f"{silent} (limit {ago(limit)})", RESTART)
    return future(f"its newest {source}", age) or ok(
        "executor", f"collected its newest {source} {ago(max(0.0, age))} ago"
    )

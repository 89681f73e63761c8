"""What is observed in a run: which monitors to ask, what they answer, and the rest of the host."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import Clock, Health, unknown
from twiceshy.monitor_liveness.judgement import Maintenance
from twiceshy.monitor_liveness.monitors.parallel import at_once
from twiceshy.monitor_liveness.monitors.targets import (
    Target,
    found,
    module_of,
    typed_there,
    with_distinct_names,
)
from twiceshy.monitor_liveness.settings import MaintenanceSettings, MonitorSettings, Settings


def slept_seconds() -> float:
    """Seconds that this machine was suspended since boot, by two clocks (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def maintenance(settings: MaintenanceSettings, now: float) -> Maintenance:
    """The age of a maintenance file by its mtime. CheckError if it cannot be examined."""
    path, limit = settings.path, settings.limit
    if path is None:
        return Maintenance("", None, limit)
    try:
        return Maintenance(str(path), now - path.stat().st_mtime, limit)
    except FileNotFoundError:
        return Maintenance(str(path), None, limit)
    except OSError as error:
        raise CheckError(f"cannot examine --maintenance {path}: {error.strerror}") from error


def targets_of(settings: Settings, table: Sequence[Process]) -> list[Target]:
    """What the command line names; else all that runs on this host. Their names are distinct."""
    if not settings.kind:
        return [target for target in found(table) if settings.selects(target.name)]
    return with_distinct_names(_named(settings, table))


def _named(settings: Settings, table: Sequence[Process]) -> list[Target]:
    kind, config = settings.kind, settings.config
    name = settings.name or kind
    if kind == "daemon":
        daemon = settings.daemon
        name = settings.name or daemon.process or daemon.unit or "daemon"
        return [Target("daemon", name, daemon=daemon)]
    if settings.url or settings.host or settings.socket:
        return [
            Target(
                kind,
                name,
                url=settings.url.rstrip("/"),
                host=settings.host,
                port=settings.port,
                config=config,
                socket=settings.socket,
            )
        ]
    local = [target for target in module_of(kind).found(table) if target.kind == kind]
    if config:
        wanted = os.path.realpath(config)
        local = [t for t in local if t.config and os.path.realpath(t.config) == wanted]
    return [
        replace(
            target,
            name=settings.name or target.name,
            port=settings.port or target.port,
            config=config or target.config,
        )
        for target in local
    ] or [Target(kind, name, port=settings.port, config=config)]


def health_of(
    target: Target,
    settings: MonitorSettings,
    clock: Callable[[], Clock],
    table: Sequence[Process],
    history: Mapping[str, Any],
) -> Health:
    """A monitor observed and judged; of one that cannot be queried, one component says so."""
    module = module_of(target.kind)
    try:
        with deadline.doing(f"asking {target.name}"):
            observation = module.observe(target, settings, table, history)
        # The clock is read after the asking, which may take seconds: else what is new lies ahead.
        health: Health = module.judge(observation, settings, clock(), history)
    except CheckError as error:
        return Health(target.name, (unknown("cannot", f"be judged: {error}"),))
    host = safe(target.remote_host, 60)
    return replace(health, components=tuple(typed_there(c, host) for c in health.components))


def healths_of(
    targets: Sequence[Target],
    settings: MonitorSettings,
    clock: Callable[[], Clock],
    table: Sequence[Process],
    histories: Sequence[Mapping[str, Any]],
) -> list[Health]:
    """All monitors, asked at the same time: two that have hung take no longer than one."""
    return at_once(
        [
            partial(health_of, target, settings, clock, table, history)
            for target, history in zip(targets, histories)
        ]
    )


def dismissed(notes: Mapping[str, Any], here: Sequence[Target], settings: Settings) -> set[str]:
    """Identities of remembered monitors that are not here, and are not to be missed.

    One whose configuration has gone with it was removed on purpose; so was one that is not
    selected any more.
    """
    present = {target.identity for target in here}
    return {
        identity
        for identity, note in notes.items()
        if identity not in present
        and (
            not settings.selects(note.get("name") or note["kind"])
            or (note.get("config") and not os.path.lexists(note["config"]))
        )
    }

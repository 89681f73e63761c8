"""What a run sees of an engine, or, where there is none, of this host. All I/O begins here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from twiceshy.container_restarts.engine import ContainerEngine, LoginRefused, login
from twiceshy.container_restarts.formats import (
    Absence,
    Observation,
    Outage,
    Ring,
    SwarmObservation,
)
from twiceshy.container_restarts.restarts import STOP_SECONDS, Past
from twiceshy.container_restarts.selection import Selection
from twiceshy.kit.engine import SOCKETS, EngineDown
from twiceshy.kit.patterns import Pattern, matched


def absence() -> Absence:
    """What is installed on a host where no engine has a socket."""
    is_podman_alone = bool(shutil.which("podman")) and not shutil.which("dockerd")
    return Absence(SOCKETS, is_podman_alone, os.geteuid() == 0)


def has_containers_without_engine() -> bool:
    """Whether docker has containers on this host although it may be down. Root alone can tell."""
    with contextlib.suppress(OSError):
        return bool(os.listdir("/var/lib/docker/containers"))
    return False


def outage(address: str, error: EngineDown) -> Outage:
    """Why the engine at an address could not be asked."""
    following = login(address) if address.startswith("ssh:") else ""
    return Outage(error.server, address, str(error), following, isinstance(error, LoginRefused))


def containers_of(engine: ContainerEngine, selection: Selection, now: float) -> Observation:
    """The selected containers, still without events; `now` is in the engine's clock.

    The list has only the id of an image whose name went to a newer one, or with a prune; then the
    inspection decides.
    """
    listed = [
        entry
        for entry in engine.listed()
        if selection.selects(
            entry.name, None if entry.image.startswith("sha256:") else entry.image, entry.labels
        )
    ]
    inspected, unanswered = engine.inspected(listed, selection.group_by)
    images = {container.id: container.image for container in inspected}
    listed = [replace(entry, image=images.get(entry.id, entry.image)) for entry in listed]
    listed = [entry for entry in listed if selection.selects(entry.name, entry.image, entry.labels)]
    ids = {entry.id for entry in listed}
    containers = [container for container in inspected if container.id in ids]
    return Observation(
        engine.url, now, listed, containers, Ring(), unanswered, is_podman=engine.is_podman
    )


def with_events(
    observation: Observation, engine: ContainerEngine, past: Mapping[str, Past], window: float
) -> Observation:
    """The same with the events since the last run; for containers new to us, of the window."""
    containers, now = observation.containers, observation.now
    known = [past[container.id].observed_at for container in containers if container.id in past]
    is_one_new = len(known) < len(containers)
    since = now - window if is_one_new or not known else min(known) - STOP_SECONDS
    return replace(observation, ring=engine.ring(max(since, now - window), now))


def swarm_of(engine: ContainerEngine, patterns: Sequence[Pattern], now: float) -> SwarmObservation:
    """The services whose names match, and the tasks of the swarm, through a manager.

    CheckError if this engine is no manager.
    """
    services, tasks = engine.services()
    selected = [service for service in services if matched(patterns, service.name)]
    return SwarmObservation(
        now,
        sorted(selected, key=lambda service: service.name),
        tasks,
        [service.name for service in services],
    )

"""What container engines say: lists, inspections, events and swarm tasks as values.

Formats: the Docker Engine API (https://docs.docker.com/reference/api/engine/), versions 1.41 to
1.52, and podman's compatible one, which differs in small things that are named where they matter.
No I/O here.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALIVE = frozenset(("running", "restarting", "paused"))

# What both engines call a container that nobody named: happy_noether, clever_wing3.
MADE_UP_NAME = re.compile(r"[a-z]+_[a-z]+\d?\Z")

# com.docker.swarm.task.name is SERVICE.SLOT.TASK, or SERVICE.NODE.TASK for a global service.
TASK_NAME = re.compile(r"(.+)\.[0-9a-z]{25}\Z")

STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d+)?\s?(Z|[+-]\d\d:?\d\d)?")


@dataclass(frozen=True)
class Group:
    """What stays the same when a container is replaced by a new one.

    `kind`: compose, swarm, label, name or image. `is_service`: something keeps it running, so that
    an exit with 0 is no success but an end.
    """

    key: str
    name: str
    kind: str
    is_service: bool = False


@dataclass(frozen=True)
class Listed:
    """One entry of the list of containers, which never waits for the container itself."""

    id: str
    name: str
    image: str
    command: str
    created: float
    labels: Mapping[str, str]
    state: str


@dataclass(frozen=True)
class Health:
    """The health check of a container; `failing_since` in engine time, None while it passes."""

    status: str
    failing_since: float | None = None
    says: str = ""
    patience: float = 120.0


@dataclass(frozen=True)
class Container:
    """A container as inspected. Times in seconds of the engine's clock, None for never."""

    id: str
    name: str
    group: Group
    image: str
    created: float
    status: str
    started: str
    started_at: float | None = None
    finished: str = ""
    finished_at: float | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    policy: str = "no"
    max_retries: int = 0
    memory_limit: int = 0
    health: Health | None = None

    @property
    def is_alive(self) -> bool:
        return self.status in ALIVE

    @property
    def policy_words(self) -> str:
        return f"{self.policy}:{self.max_retries}" if self.max_retries else self.policy


@dataclass(frozen=True)
class Event:
    """One thing that happened to a container, in the words of docker's events."""

    at: float
    action: str
    id: str
    name: str = ""
    image: str = ""
    labels: Mapping[str, str] | None = None
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Ring:
    """The events that the engine still remembers; complete from `covered_from` on."""

    events: Sequence[Event] = ()
    covered_from: float | None = None

    def of(self, container_id: str) -> list[Event]:
        return [event for event in self.events if event.id == container_id]

    def by_container(self) -> dict[str, list[Event]]:
        sorted_out: dict[str, list[Event]] = {}
        for event in self.events:
            sorted_out.setdefault(event.id, []).append(event)
        return sorted_out


@dataclass(frozen=True)
class Task:
    """One try to run one replica of a swarm service."""

    id: str
    service_id: str
    slot: str
    created: float
    state: str
    desired: str
    error: str
    exit_code: int | None
    changed: float


@dataclass(frozen=True)
class Service:
    """A swarm service; `running` and `desired` are None where the engine is too old to say."""

    id: str
    name: str
    mode: str
    restarts_on: str
    running: int | None
    desired: int | None
    updated: float


def instant(text: str) -> float | None:
    """Seconds since 1970 of the engine's time stamp; None for its zero time and for nonsense.

    Nanoseconds are kept as far as a float goes; docker's "never" is the year 1.
    """
    read = STAMP.match(text or "")
    if not read or read.group(1) == "0001":
        return None
    year, month, day, hour, minute, second = (int(part) for part in read.groups()[:6])
    seconds = calendar.timegm((year, month, day, hour, minute, second)) + float(read[7] or 0)
    zone = read[8] or "Z"
    if zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds


def listed(entry: Mapping[str, Any]) -> Listed:
    """An entry of GET /containers/json. A link adds /other/alias; the own name has one slash."""
    names = [str(name) for name in entry.get("Names") or ()]
    own = [name for name in names if name.count("/") == 1] or names
    created = entry.get("Created") or 0
    return Listed(
        id=str(entry.get("Id") or ""),
        name=own[0].lstrip("/") if own else str(entry.get("Id") or "")[:12],
        image=str(entry.get("Image") or ""),
        command=str(entry.get("Command") or ""),
        created=float(created) if isinstance(created, (int, float)) else 0.0,
        labels=entry.get("Labels") or {},
        state=str(entry.get("State") or "").lower(),
    )


def group_of(
    name: str, image: str, command: str, labels: Mapping[str, str], group_by: str = ""
) -> Group:
    """The group of a container: by label asked for, compose, swarm, own name, image and command."""
    if group_by and labels.get(group_by):
        value = labels[group_by]
        return Group(f"label:{group_by}={value}", value, "label")
    project, service = (
        labels.get("com.docker.compose.project"),
        labels.get("com.docker.compose.service"),
    )
    if project and service:
        if str(labels.get("com.docker.compose.oneoff")).lower() == "true":
            return Group(f"compose-run:{project}/{service}", f"{project}-{service}-run", "label")
        number = labels.get("com.docker.compose.container-number") or "1"
        said = f"{project}-{service}-{number}"  # as compose names it, unless container_name is set
        return Group(f"compose:{project}/{service}/{number}", said, "compose", True)
    swarm, task = (
        labels.get("com.docker.swarm.service.name"),
        labels.get("com.docker.swarm.task.name"),
    )
    if swarm:
        read = TASK_NAME.match(task or name)
        slot = read[1] if read else swarm
        return Group(f"swarm:{slot}", slot, "swarm", True)
    if name and not MADE_UP_NAME.match(name):
        return Group(f"name:{name}", name, "name")
    short = " ".join(command.split())
    said = f"{image} ({short[:40]})" if short else image
    return Group(f"image:{image} {short}", said, "image")


def inspected(document: Mapping[str, Any], entry: Listed, group_by: str = "") -> Container:
    """GET /containers/ID/json together with the list's entry, which has the epoch of creation.

    KeyError if the document is none.
    """
    state: Mapping[str, Any] = document["State"]
    host: Mapping[str, Any] = document.get("HostConfig") or {}
    configured: Mapping[str, Any] = document.get("Config") or {}
    policy: Mapping[str, Any] = host.get("RestartPolicy") or {}
    labels = configured.get("Labels") or entry.labels
    name = str(document.get("Name") or entry.name).lstrip("/")
    image = str(configured.get("Image") or entry.image)
    command = entry.command
    policy_name = str(policy.get("Name") or "no")
    group = group_of(name, image, command, labels, group_by)
    status = str(state.get("Status") or entry.state).lower()
    if state.get("Restarting"):
        status = "restarting"  # docker: Running is true as well, and the pid is 0
    started, finished = str(state.get("StartedAt") or ""), str(state.get("FinishedAt") or "")
    return Container(
        id=str(document.get("Id") or entry.id),
        name=name,
        group=group,
        image=image,
        created=instant(str(document.get("Created") or "")) or entry.created,
        status=status,
        started=started,
        started_at=instant(started),
        finished=finished,
        finished_at=instant(finished),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        restart_count=int(document.get("RestartCount") or 0),
        policy=policy_name,
        max_retries=int(policy.get("MaximumRetryCount") or 0),
        memory_limit=int(host.get("Memory") or 0),
        health=_health(state, configured),
    )


def _health(state: Mapping[str, Any], configured: Mapping[str, Any]) -> Health | None:
    """The health check. Docker omits it when the image has none; podman leaves the status empty."""
    said = state.get("Health") or state.get("Healthcheck") or {}
    status = str(said.get("Status") or "").lower()
    if not status or status == "none":
        return None
    probe = configured.get("Healthcheck") or {}
    interval = (probe.get("Interval") or 30e9) / 1e9
    limit = (probe.get("Timeout") or 30e9) / 1e9
    patience = (probe.get("StartPeriod") or 0) / 1e9
    patience += (probe.get("Retries") or 3) * (interval + limit)
    log = [entry for entry in said.get("Log") or () if isinstance(entry, dict)]
    last = instant(str(log[-1].get("End") or log[-1].get("Start") or "")) if log else None
    streak = int(said.get("FailingStreak") or 0)
    since = None
    if last is not None and streak:
        # The log holds five probes only; a longer streak began that many steps before the last.
        first = instant(str(log[0].get("Start") or ""))
        pace = (last - first) / (len(log) - 1) if first and len(log) > 1 else interval
        since = last - (streak - 1) * max(pace, 0.0)
    says = str(log[-1].get("Output") or "") if log else ""
    return Health(status, since, " ".join(says.split()), patience)


def events(lines: Iterable[str | Mapping[str, Any]]) -> list[Event]:
    """Container events in docker's words, oldest first.

    API 1.52 has dropped `status`, `id` and `from`, so only Action and Actor are read; podman before
    its translation says `died`. Anything else in the stream is left out.
    """
    found = []
    for document in lines:
        if not isinstance(document, dict) or document.get("Type", "container") != "container":
            continue
        actor = document.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        action = str(document.get("Action") or "").partition(":")[0]
        nano = document.get("timeNano")
        at = nano / 1e9 if isinstance(nano, (int, float)) and nano else document.get("time")
        if not actor.get("ID") or not isinstance(at, (int, float)):
            continue
        found.append(
            Event(
                at=float(at),
                action={"died": "die", "remove": "destroy"}.get(action, action),
                id=str(actor["ID"]),
                name=str(attributes.get("name") or ""),
                image=str(attributes.get("image") or ""),
                labels=attributes,
                exit_code=_number(attributes.get("exitCode")) if action[:3] == "die" else None,
                signal=_number(attributes.get("signal")),
            )
        )
    return sorted(found, key=lambda event: event.at)


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


def task(document: Mapping[str, Any]) -> Task:
    """An entry of GET /tasks; a global service has a task per node instead of a slot."""
    status = document.get("Status") or {}
    inner = status.get("ContainerStatus") or {}
    created = instant(str(document.get("CreatedAt") or "")) or 0.0
    return Task(
        id=str(document.get("ID") or ""),
        service_id=str(document.get("ServiceID") or ""),
        slot=str(document.get("Slot") or document.get("NodeID") or ""),
        created=created,
        state=str(status.get("State") or ""),
        desired=str(document.get("DesiredState") or ""),
        error=str(status.get("Err") or ""),
        exit_code=_number(inner.get("ExitCode")),
        changed=instant(str(status.get("Timestamp") or "")) or created,
    )


def service(document: Mapping[str, Any]) -> Service:
    """An entry of GET /services?status=true (the counts since API 1.41)."""
    spec = document.get("Spec") or {}
    template = spec.get("TaskTemplate") or {}
    status = document.get("ServiceStatus") or {}
    modes = list(spec.get("Mode") or {"Replicated": {}})
    return Service(
        id=str(document.get("ID") or ""),
        name=str(spec.get("Name") or document.get("ID") or ""),
        mode=modes[0],
        restarts_on=str((template.get("RestartPolicy") or {}).get("Condition") or "any"),
        running=_number(status.get("RunningTasks")),
        desired=_number(status.get("DesiredTasks")),
        updated=instant(str(document.get("UpdatedAt") or "")) or 0.0,
    )

"""What container engines answer: lists, inspections, events and swarm tasks as values.

Formats: the Docker Engine API (https://docs.docker.com/reference/api/engine/), versions 1.41 to
1.52, and podman's compatible one, which differs in details that are named where they matter.
Pure.
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

# Docker has no code for an occupied port, only these words of libnetwork, in English everywhere.
PORT_TAKEN = re.compile(
    r":(?P<port>\d+)(: bind: address already in use|(?P<other> failed: port is already allocated))"
)

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
    """The health check of a container.

    `failing_since` is in engine time, None while it passes; `output` is what the last probe
    printed; `patience` is how many seconds it may take to leave "starting".
    """

    status: str
    failing_since: float | None = None
    output: str = ""
    patience: float = 120.0


@dataclass(frozen=True)
class PortConflict:
    """A port that a container could not have, because a process or another container has it."""

    port: int
    is_containers: bool


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
    port_conflict: PortConflict | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, is paused, or waits to be restarted by its policy."""
        return self.status in ALIVE

    @property
    def ended(self) -> float:
        """When it ended, in engine time; when it was created if it never started."""
        return self.finished_at or self.created

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an exit status other than 0, or its last start failed."""
        return self.exit_code != 0 or bool(self.error)

    @property
    def policy_typed(self) -> str:
        """The restart policy as `docker run --restart` takes it: "always", "on-failure:3"."""
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
    """The events that the engine still has; complete from `covered_from` (engine time) on.

    `covered_from` is None, and there are no events, if the engine did not give any; `missing` says
    why.
    """

    events: Sequence[Event] = ()
    covered_from: float | None = None
    missing: str = ""

    def by_container(self) -> dict[str, list[Event]]:
        """The events of each container, by its id, oldest first."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.id, []).append(event)
        return found


@dataclass(frozen=True)
class Task:
    """One attempt to run one replica of a swarm service."""

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
    """A swarm service; `running` and `desired` are None where the engine is too old to tell.

    `is_job`: its tasks are meant to end (mode ReplicatedJob or GlobalJob).
    """

    id: str
    name: str
    is_job: bool
    restarts_on: str
    running: int | None
    desired: int | None
    updated: float


@dataclass(frozen=True)
class Observation:
    """What one run has seen of an engine's containers; `now` is in the engine's own clock.

    `listed` are the containers that were asked for, `containers` those of them that were
    inspected, and `unanswered` maps the names of the others to the reason.
    """

    engine: str
    now: float
    listed: Sequence[Listed]
    containers: Sequence[Container]
    ring: Ring
    unanswered: Mapping[str, str]
    is_podman: bool = False


@dataclass(frozen=True)
class SwarmObservation:
    """What one run has seen of a swarm, through a manager; `now` is in the manager's clock.

    `services` are those that were asked for, `names` those of all.
    """

    now: float
    services: Sequence[Service]
    tasks: Sequence[Task]
    names: Sequence[str]


@dataclass(frozen=True)
class Absence:
    """No engine has a socket here. `is_podman_alone`: podman is installed and dockerd is not."""

    sockets: Sequence[str]
    is_podman_alone: bool
    is_root: bool


@dataclass(frozen=True)
class Outage:
    """Why an engine could not be asked, in words.

    `login` is the command that logs in where an ssh:// address points, else ""; `is_refused` means
    that ssh, or docker behind it, does not let this user in, which is no outage of the engine.
    """

    server: str
    address: str
    text: str
    login: str = ""
    is_refused: bool = False


def instant(text: str) -> float | None:
    """Seconds since 1970 of the engine's time stamp; None for its zero time and for garbage.

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
    """An entry of GET /containers/json. A link adds /other/alias; its own name has one slash."""
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
    """A container's group: by the label `group_by`, compose, swarm, name, or image and command."""
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
        usual = f"{project}-{service}-{number}"  # what compose calls it, without container_name
        return Group(f"compose:{project}/{service}/{number}", usual, "compose", True)
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
    return Group(f"image:{image} {short}", f"{image} ({short[:40]})" if short else image, "image")


def inspected(document: Mapping[str, Any], entry: Listed, group_by: str = "") -> Container:
    """GET /containers/ID/json together with the list's entry, which has the epoch of creation.

    KeyError if the document is no inspection.
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
    error = str(state.get("Error") or "")
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
        error=error,
        restart_count=int(document.get("RestartCount") or 0),
        policy=policy_name,
        max_retries=int(policy.get("MaximumRetryCount") or 0),
        memory_limit=int(host.get("Memory") or 0),
        health=_health(state, configured),
        port_conflict=port_conflict(error),
    )


def port_conflict(error: str) -> PortConflict | None:
    """The port in State.Error over which a start failed, or None (moby libnetwork/portmapper)."""
    conflict = PORT_TAKEN.search(error)
    return PortConflict(int(conflict["port"]), bool(conflict["other"])) if conflict else None


def _health(state: Mapping[str, Any], configured: Mapping[str, Any]) -> Health | None:
    """The health check. Docker omits it when the image has none; podman leaves the status empty."""
    health = state.get("Health") or state.get("Healthcheck") or {}
    status = str(health.get("Status") or "").lower()
    if not status or status == "none":
        return None
    probe = configured.get("Healthcheck") or {}
    interval = (probe.get("Interval") or 30e9) / 1e9
    limit = (probe.get("Timeout") or 30e9) / 1e9
    patience = (probe.get("StartPeriod") or 0) / 1e9
    patience += (probe.get("Retries") or 3) * (interval + limit)
    log = [entry for entry in health.get("Log") or () if isinstance(entry, dict)]
    last = instant(str(log[-1].get("End") or log[-1].get("Start") or "")) if log else None
    streak = int(health.get("FailingStreak") or 0)
    since = None
    if last is not None and streak:
        # The log holds five probes only; a longer streak began that many steps before the last.
        first = instant(str(log[0].get("Start") or ""))
        pace = (last - first) / (len(log) - 1) if first and len(log) > 1 else interval
        since = last - (streak - 1) * max(pace, 0.0)
    output = str(log[-1].get("Output") or "") if log else ""
    return Health(status, since, " ".join(output.split()), patience)


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
        is_job=modes[0].endswith("Job"),
        restarts_on=str((template.get("RestartPolicy") or {}).get("Condition") or "any"),
        running=_number(status.get("RunningTasks")),
        desired=_number(status.get("DesiredTasks")),
        updated=instant(str(document.get("UpdatedAt") or "")) or 0.0,
    )

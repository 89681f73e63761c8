"""How often containers restarted: from counts, incarnations, successors and events. Pure.

RestartCount rises at a death, before the back-off, and is zeroed by every start through the API
(moby daemon/monitor.go, daemon/start.go). StartedAt names the incarnation within one id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Callable

from twiceshy.container_restarts.formats import (
    ALIVE,
    Container,
    Event,
    Group,
    Ring,
    Service,
    Task,
    group_of,
)  # fmt: skip
from twiceshy.kit import units

# Docker waits 0.1 s after the first quick death and doubles that up to a minute; a life of ten
# seconds sets it back (moby restartmanager.go).
FIRST_BACK_OFF = 0.1
LAST_BACK_OFF = 60.0

# Signals with which `docker stop` and `docker kill` end a container; HUP, USR1 .. do not.
ENDING_SIGNALS = frozenset((2, 3, 6, 9, 15))
STOP_SECONDS = 60.0

# So many containers started again within so short a time: the engine or the host restarted.
TOGETHER = 3
TOGETHER_SECONDS = 120.0
ENGINE = Group("@engine", "the engine", "engine")

# What restarted a container (`Restarts.by`), as the history file has it.
POLICY, OTHERS, NEW, OOM, TASK = "policy", "others", "new", "oom", "task"


class Ending(Enum):
    """Who ended a container, where the engine's events prove it."""

    MANUAL = "hand"
    ALONE = "alone"


@dataclass(frozen=True)
class Past:
    """A container as an earlier run found it, `ago` seconds back.

    `run` names that run; `ending` is who had ended the container, if it was known, and
    `ending_finished` the FinishedAt for which that holds. `new_boot`: the host has booted since.
    """

    id: str
    group: Group
    name: str
    image: str
    created: float
    started: str
    started_at: float | None
    finished_at: float | None
    restart_count: int
    status: str
    exit_code: int
    ending: Ending | None
    ending_finished: str
    run: str
    observed_at: float
    ago: float
    new_boot: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it ran, was paused, or waited to be restarted by its policy."""
        return self.status in ALIVE


@dataclass(frozen=True)
class Restarts:
    """`count` restarts of a group, the last one `ago` seconds back, spread over `span` before it.

    `by`: POLICY, OTHERS (docker restart, stop and start), NEW (a container in place of an ended
    one), TASK (of a swarm), or OOM for a process killed inside a container that lives on.
    `is_certain` is False where the exit of the predecessor was not seen.
    """

    group: Group
    by: str
    id: str
    mark: str
    count: int
    ago: float
    span: float = 0.0
    exit_code: int | None = None
    oom: bool = False
    is_certain: bool = True


@dataclass(frozen=True)
class Recorded:
    """What earlier runs have recorded of an engine: containers by id, and restarts."""

    containers: Mapping[str, Past]
    restarts: Sequence[Restarts]


def within(rows: Iterable[Restarts], window: float) -> int:
    """How many restarts fell into the window.

    The last of a row is exact; the others are spread evenly over the row's span, so that 40 in six
    unwatched hours are not 40 in the last quarter of an hour.
    """
    total = 0.0
    for row in rows:
        if row.ago > window or row.count <= 0:
            continue
        share = 1.0 if row.span <= 0 else min(1.0, (window - row.ago) / row.span)
        total += 1 + (row.count - 1) * share
    return int(total + 1e-6)


def fuller(rows: Sequence[Restarts], others: Sequence[Restarts], window: float) -> list[Restarts]:
    """The one of two accounts of the same restarts that has more of them in the window."""
    return list(others if within(others, window) > within(rows, window) else rows)


def quick_deaths_in_a_row(waited: float) -> int:
    """How many quick deaths docker's back-off has seen, when it has waited so long already."""
    if waited < FIRST_BACK_OFF:
        return 0
    return int(math.log2(min(waited, LAST_BACK_OFF) / FIRST_BACK_OFF)) + 1


# Restarts of one container


@dataclass(frozen=True)
class _Life:
    """The present life of a container, or the wait for the next one.

    `last`, in engine time: when it started, or, while it waits, when it died. `starts`: when the
    events say that it was started since the last run, or within the window.
    """

    container: Container
    now: float
    waits: bool
    last: float
    exit_code: int | None
    oom: bool
    starts: Sequence[float]

    @property
    def ago(self) -> float:
        return max(0.0, self.now - self.last)

    def restarts(
        self, by: str, count: int, ago: float | None = None, span: float = 0.0
    ) -> list[Restarts]:
        """So many restarts, the last of them the one that led to this life."""
        if count <= 0:
            return []
        mark = f"{self.container.started}/{self.container.restart_count}"
        return [
            Restarts(
                self.container.group, by, self.container.id, mark, count,
                self.ago if ago is None else ago, max(0.0, span), self.exit_code, self.oom,
            )
        ]  # fmt: skip

    def restarts_of_events(self, by: str, count: int) -> list[Restarts]:
        """So many restarts, spread over the starts that the events tell of."""
        if count <= 0:
            return []
        ago = max(0.0, self.now - self.starts[-1])
        return self.restarts(by, count, ago, self.starts[-1] - self.starts[0])


def restarts_of(
    container: Container,
    past: Past | None,
    events: Sequence[Event],
    now: float,
    window: float,
    is_podman: bool = False,
) -> list[Restarts]:
    """The restarts of one container since the last run, or, at the first, as far as it is known.

    RestartCount rises at a death, before the back-off, and is zeroed by every start through the
    API; so it going down, or StartedAt changing under an unchanged count, is a start from outside.
    `events`: those of this container.
    """
    if container.started_at is None:
        return []
    waits = container.status == "restarting" and container.finished_at is not None
    last = max(container.started_at, container.finished_at or 0.0) if waits else None
    since = now - window if past is None else max(now - window, past.observed_at)
    recent = [event for event in events if event.at > since]
    starts = [event.at for event in recent if event.action == "start"]
    if starts and any(event.action == "create" for event in events) and past is None:
        starts = starts[1:]
    if is_podman:  # it says `restart` for every automatic one as well
        by_others = max(0, len(starts) - container.restart_count) if past is None else 0
    else:
        by_others = min(len(starts), commanded(recent))
    exit_code, oom = last_end(container, events)
    life = _Life(
        container, now, waits, container.started_at if last is None else last, exit_code, oom,
        starts,
    )  # fmt: skip
    if past is None:
        return _before_the_first_run(life, by_others, window, is_podman)
    return _since_the_last_run(life, past, by_others, window)


def _before_the_first_run(
    life: _Life, by_others: int, window: float, is_podman: bool
) -> list[Restarts]:
    """What a container tells by itself: its count, its back-off, its age and its events."""
    container = life.container
    count = container.restart_count
    policy = life.restarts(POLICY, count, span=life.last - container.created)
    if life.waits and not is_podman:
        waited = life.now - (container.finished_at or life.now)
        in_a_row = min(count, quick_deaths_in_a_row(waited))
        policy = fuller(policy, life.restarts(POLICY, in_a_row, span=2 * waited), window)
    if count:
        in_events = min(len(life.starts) - by_others, count)
        policy = fuller(policy, life.restarts_of_events(POLICY, in_events), window)
    others = life.restarts_of_events(OTHERS, by_others)
    # Compose and `docker create` start a container somewhat after making it.
    if not others and not count and (container.started_at or 0.0) - container.created > 60:
        others = life.restarts(OTHERS, 1)
    return policy + others


def _since_the_last_run(life: _Life, past: Past, by_others: int, window: float) -> list[Restarts]:
    """What has changed since the last run: the count, the incarnation, or both."""
    container = life.container
    grown = container.restart_count - past.restart_count
    span = past.ago - life.ago
    others = life.restarts_of_events(OTHERS, by_others)
    if grown >= 0 and container.started == past.started:
        return life.restarts(POLICY, grown, span=span)
    if grown > 0:
        return life.restarts(POLICY, grown, span=span) + others
    if grown == 0:
        if past.status == "restarting" and not others:
            return []  # counted at its death already; this is the start that was waited for
        if past.started_at is None:
            return others  # its first start
    others = fuller(life.restarts(OTHERS, 1), others, window)
    return others + life.restarts(POLICY, container.restart_count, span=span)


def commanded(events: Sequence[Event]) -> int:
    """How many times docker was told to start a container again: restart, or stop and start."""
    actions = [event.action for event in events if event.action in ("stop", "start", "restart")]
    pairs = list(zip(actions, actions[1:]))
    return max(actions.count("restart"), pairs.count(("stop", "start")))


def last_end(container: Container, events: Sequence[Event]) -> tuple[int | None, bool]:
    """The exit code of the last life, and whether memory ended it. A start zeroes both."""
    oom = container.oom_killed or _oom(events)
    if container.status in ("restarting", "exited", "dead", "stopped"):
        return container.exit_code, oom
    exits = [event.exit_code for event in events if event.action == "die"]
    return (exits[-1] if exits else None), oom


def killed_inside(
    container: Container, past: Past | None, events: Sequence[Event], now: float, window: float
) -> list[Restarts]:
    """Processes killed for lack of memory since the last run, while the container lived on."""
    since = now - window if past is None else max(now - window, past.observed_at)
    ends = [event.at for event in events if event.action == "die"]
    kills = [
        event.at
        for event in events
        if event.action == "oom" and event.at > since
        # The kill of the main process is followed by the container's death.
        if not any(0 <= end - event.at < 2 for end in ends)
    ]
    if not kills:
        return []
    ago = max(0.0, now - kills[-1])
    return [
        Restarts(
            container.group, OOM, container.id, f"{kills[-1]:.6f}", len(kills), ago,
            kills[-1] - kills[0], None, True,
        )
    ]  # fmt: skip


def _oom(events: Iterable[Event]) -> bool:
    return any(event.action == "oom" for event in events)


# New containers in place of ended ones


@dataclass(frozen=True)
class Member:
    """One container of a group, living or gone, as far as it is known."""

    id: str
    group: Group
    created: float
    begun: float | None
    ended_at: float | None
    exit_code: int | None
    is_alive: bool
    is_service: bool
    last_alive: float | None = None
    oom: bool = False


def replacements(members: Iterable[Member], now: float, window: float) -> list[Restarts]:
    """New containers that began after the one before them in their group had ended."""
    by_group: dict[str, list[Member]] = {}
    for member in members:
        by_group.setdefault(member.group.key, []).append(member)
    rows = []
    for siblings in by_group.values():
        siblings.sort(key=lambda member: member.created)
        for before, after in zip(siblings, siblings[1:]):
            if after.begun is None or now - after.begun > window:
                continue
            if not _ended_before(before, after.begun) or _is_job_done(before, after):
                continue
            rows.append(
                Restarts(
                    after.group, NEW, after.id, "", 1, max(0.0, now - after.begun), 0.0,
                    before.exit_code, before.oom,
                    is_certain=_is_service(before, after) or before.exit_code is not None,
                )
            )  # fmt: skip
    return rows


def _ended_before(member: Member, begun: float) -> bool:
    """Whether it had ended by then.

    Two that live side by side are a pool, not a replacement: a scale-up, a deploy of five.
    """
    if member.is_alive:
        return False
    if member.ended_at is not None:
        return member.ended_at <= begun + 2
    return (member.last_alive or 0.0) <= begun


def _is_job_done(before: Member, after: Member) -> bool:
    """Whether the first ended with 0, or may have, and nothing was to keep it running."""
    if _is_service(before, after):
        return False
    return before.exit_code == 0 or (before.exit_code is None and after.group.kind == "image")


def _is_service(before: Member, after: Member) -> bool:
    return after.is_service or before.is_service


def members_of(
    containers: Sequence[Container],
    ring: Ring,
    past: Mapping[str, Past],
    group_by: str,
    is_wanted: Callable[[Event], bool],
) -> list[Member]:
    """All containers that are known: those inspected, those that earlier runs found, and those
    that only events tell of, as far as `is_wanted` says of their last event.
    """
    events = ring.by_container()
    found: dict[str, Member] = {}
    groups: dict[str, dict[str, Group]] = {}  # of unnamed containers: by image, by key
    for present in containers:
        found[present.id] = _inspected_member(present, events.get(present.id, ()))
        if present.group.kind == "image":
            groups.setdefault(present.image, {})[present.group.key] = present.group
    for gone in past.values():
        if gone.id not in found:
            found[gone.id] = _recorded_member(gone, events.get(gone.id, ()))
        if gone.group.kind == "image":
            groups.setdefault(gone.image, {})[gone.group.key] = gone.group
    for container_id, own_events in events.items():
        if container_id not in found and is_wanted(own_events[-1]):
            member = _member_of_events(container_id, own_events, groups, group_by)
            if member is not None:
                found[container_id] = member
    return list(found.values())


def _inspected_member(container: Container, events: Sequence[Event]) -> Member:
    has_failed_start = container.status == "created" and container.has_failed
    return Member(
        container.id,
        container.group,
        container.created,
        container.started_at or (container.created if has_failed_start else None),
        None if container.is_alive else container.ended,
        None if container.is_alive else container.exit_code,
        container.is_alive,
        container.group.is_service or container.policy in ("always", "unless-stopped"),
        oom=container.oom_killed or _oom(events),
    )


def _recorded_member(gone: Past, events: Sequence[Event]) -> Member:
    """A container that has been removed since an earlier run; the events may tell of its end."""
    ends = [event for event in events if event.action == "die"]
    begun, ended_at, exit_code, last_alive = gone.started_at, gone.finished_at, None, None
    if gone.is_alive:
        ended_at, last_alive = None, gone.observed_at
    else:
        begun = begun or gone.created
        ended_at, exit_code = ended_at or gone.created, gone.exit_code
    if ends:
        ended_at, exit_code = ends[-1].at, ends[-1].exit_code
    return Member(
        gone.id, gone.group, gone.created, begun or None, ended_at, exit_code, False,
        gone.group.is_service, last_alive, _oom(events),
    )  # fmt: skip


def _member_of_events(
    container_id: str,
    events: Sequence[Event],
    groups: Mapping[str, Mapping[str, Group]],
    group_by: str,
) -> Member | None:
    """A container that no run has found; None if its beginning is not among the events."""
    first = {event.action: event for event in reversed(events)}
    created = first.get("create") or first.get("start")
    begun = first.get("start") or first.get("create")
    if created is None or begun is None:
        return None
    last = events[-1]
    group = group_of(last.name, last.image, "", last.labels or {}, group_by)
    if group.kind == "image":
        # Events do not tell the command; one group of that image is as good as certain.
        known = list(groups.get(last.image, {}).values())
        group = known[0] if len(known) == 1 else group
    died = first.get("die")
    return Member(
        container_id, group, created.at, begun.at,
        died.at if died else None, died.exit_code if died else None,
        False, group.is_service, oom="oom" in first,
    )  # fmt: skip


# Of many containers, of an ended one, of a swarm


def collapsed(
    rows: Sequence[Restarts], past: Mapping[str, Past], containers: Sequence[Container]
) -> tuple[list[Restarts], str]:
    """Starts from outside that are one: the engine or the host restarted. Rows, and a remark.

    dockerd restarts them all with their counts at 0 and its events forgotten; nothing in its API
    says so.
    """
    started = [row for row in rows if row.by == OTHERS]
    if not started:
        return list(rows), ""
    alive = [container for container in containers if container.id in past]
    agos = [row.ago for row in started]
    rebooted = any(past[row.id].new_boot for row in started if row.id in past)
    many = len(started) >= TOGETHER and 2 * len(started) > len(alive)
    together = max(agos) - min(agos) <= TOGETHER_SECONDS and all(row.count == 1 for row in started)
    if not rebooted and not (many and together and alive):
        return list(rows), ""
    cause = "the engine was restarted, or all of them were"
    remark = (
        f"{len(started)} of {units.count(len(alive), 'container')} restarted together "
        f"{units.say_duration(round(min(agos)))} ago: "
        f"{'the host was rebooted' if rebooted else cause}"
    )
    engine = Restarts(
        ENGINE, OTHERS, ENGINE.key, f"{min(row.mark for row in started)}", 1, min(agos)
    )
    return [row for row in rows if row.by != OTHERS] + ([] if rebooted else [engine]), remark


def how_it_ended(
    container: Container, events: Sequence[Event], covered_from: float | None
) -> Ending | None:
    """Who ended a container, where its events prove it; they are complete from `covered_from` on.

    Docker says stop after a `docker stop`, and kill with a signal for every signal sent through it.
    Podman says neither for all of its stops, and so never proves that a container died alone.
    """
    finished_at = container.finished_at
    if finished_at is None:
        return None
    starts = [event.at for event in events if event.action == "start"]
    begun = max((at for at in starts if at <= finished_at), default=0.0)
    near = [
        event
        for event in events
        if event.at >= begun and abs(event.at - finished_at) <= STOP_SECONDS
    ]
    if any(event.action == "stop" for event in near if event.at >= finished_at - 1):
        return Ending.MANUAL
    if any(
        event.action == "kill" and event.signal in ENDING_SIGNALS and event.at <= finished_at + 1
        for event in near
    ):
        return Ending.MANUAL
    died = any(event.action == "die" and abs(event.at - finished_at) < 2 for event in events)
    if not died or covered_from is None:
        return None
    was_created_meanwhile = any(event.action == "create" for event in events)
    is_covered = covered_from <= finished_at - STOP_SECONDS or was_created_meanwhile
    return Ending.ALONE if is_covered else None


def lived(members: Sequence[Container], events: Mapping[str, Sequence[Event]]) -> float | None:
    """Seconds that the last complete life of a group lasted, if anything tells."""
    for container in members:
        started, finished = container.started_at, container.finished_at
        has_ended = container.status in ("restarting", "exited") and finished is not None
        if has_ended and (finished or 0) >= (started or math.inf):
            return (finished or 0) - (started or 0)
        turns = [
            event for event in events.get(container.id, ()) if event.action in ("start", "die")
        ]
        for before, after in zip(reversed(turns[:-1]), reversed(turns)):
            if before.action == "start" and after.action == "die":
                return after.at - before.at
    return None


def task_rows(
    services: Mapping[str, Service], tasks: Iterable[Task], now: float, window: float
) -> list[Restarts]:
    """Tasks that failed, were rejected, or ended although their service goes on."""
    rows = []
    for task in tasks:
        service = services.get(task.service_id)
        if service is None or now - task.changed > window:
            continue
        ended_badly = task.state in ("failed", "rejected", "orphaned")
        goes_on = service.restarts_on == "any" and not service.is_job
        if ended_badly or (task.state == "complete" and goes_on):
            group = Group(f"service:{service.id}/{task.slot}", service.name, "service", True)
            ago = max(0.0, now - task.changed)
            rows.append(Restarts(group, TASK, task.id, "", 1, ago, 0.0, task.exit_code))
    return rows

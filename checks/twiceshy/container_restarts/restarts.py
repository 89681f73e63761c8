"""How often containers restarted: from counts, incarnations, successors and events. Pure.

RestartCount rises at a death, before the back-off, and is zeroed by every start through the API
(moby daemon/monitor.go, daemon/start.go). StartedAt names the incarnation within one id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

# So many containers started anew within so short a time: the engine or the host restarted.
TOGETHER = 3
TOGETHER_SECONDS = 120.0
ENGINE = Group("@engine", "the engine", "engine")


@dataclass(frozen=True)
class Past:
    """What was remembered of a container; `ago` is seconds since that look."""

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
    ended: str
    looked: str
    looked_at: float
    ago: float
    new_boot: bool = False

    @property
    def is_alive(self) -> bool:
        return self.status in ALIVE


@dataclass(frozen=True)
class Restarts:
    """`count` restarts of a group, the last one `ago` seconds back, spread over `span` before it.

    `by`: policy, others, new, or oom for a process killed inside a container that lives on.
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


def fuller(one: Sequence[Restarts], other: Sequence[Restarts], window: float) -> list[Restarts]:
    """The one of two accounts of the same restarts that has more of them in the window."""
    return list(other if within(other, window) > within(one, window) else one)


def quick_deaths_in_a_row(waited: float) -> int:
    """How many quick deaths docker's back-off has seen, when it has waited so long already."""
    if waited < FIRST_BACK_OFF:
        return 0
    return int(math.log2(min(waited, LAST_BACK_OFF) / FIRST_BACK_OFF)) + 1


def restarts_of(
    seen: Container,
    past: Past | None,
    heard: Sequence[Event],
    now: float,
    window: float,
    is_podman: bool = False,
) -> list[Restarts]:
    """The restarts of one container since the last look, or, at the first, as far as it is known.

    RestartCount rises at a death, before the back-off, and is zeroed by every start through the
    API; so it going down, or StartedAt changing under an unchanged count, is a start from outside.
    `heard`: what the events say of this container.
    """
    if seen.started_at is None:
        return []
    waits = seen.status == "restarting" and seen.finished_at is not None
    last = max(seen.started_at, seen.finished_at or 0.0) if waits else seen.started_at
    ago = max(0.0, now - last)
    exit_code, oom = last_end(seen, heard)
    mark = f"{seen.started}/{seen.restart_count}"

    def row(by: str, count: int, last_ago: float = ago, span: float = 0.0) -> list[Restarts]:
        if count <= 0:
            return []
        return [
            Restarts(seen.group, by, seen.id, mark, count, last_ago, max(0.0, span), exit_code, oom)
        ]

    since = now - window if past is None else max(now - window, past.looked_at)
    recent = [event for event in heard if event.at > since]
    starts = [event.at for event in recent if event.action == "start"]
    if starts and any(event.action == "create" for event in heard) and past is None:
        starts = starts[1:]
    if is_podman:  # it says `restart` for every automatic one as well
        by_others = max(0, len(starts) - seen.restart_count) if past is None else 0
    else:
        by_others = min(len(starts), commanded(recent))

    def of_ring(by: str, count: int) -> list[Restarts]:
        if count <= 0:
            return []
        return row(by, count, max(0.0, now - starts[-1]), starts[-1] - starts[0])

    if past is None:
        policy = row("policy", seen.restart_count, ago, last - seen.created)
        if waits and not is_podman:
            waited = now - (seen.finished_at or now)
            in_a_row = min(seen.restart_count, quick_deaths_in_a_row(waited))
            policy = fuller(policy, row("policy", in_a_row, ago, 2 * waited), window)
        if seen.restart_count:
            heard_policy = min(len(starts) - by_others, seen.restart_count)
            policy = fuller(policy, of_ring("policy", heard_policy), window)
        others = of_ring("others", by_others)
        # Compose and `docker create` start a container somewhat after making it.
        if not others and not seen.restart_count and seen.started_at - seen.created > 60:
            others = row("others", 1)
        return policy + others

    grown = seen.restart_count - past.restart_count
    span = past.ago - ago
    others = of_ring("others", by_others)
    if grown < 0:
        return fuller(row("others", 1), others, window) + row(
            "policy", seen.restart_count, ago, span
        )
    if seen.started == past.started:
        return row("policy", grown, ago, span)
    if grown > 0:
        return row("policy", grown, ago, span) + others
    if past.status == "restarting" and not others:
        return []  # counted at its death already; this is the start that was waited for
    if past.started_at is None:
        return others  # its first start
    return fuller(row("others", 1), others, window) + row("policy", seen.restart_count, ago, span)


def commanded(heard: Sequence[Event]) -> int:
    """How many times docker was told to start a container again: restart, or stop and start."""
    actions = [event.action for event in heard if event.action in ("stop", "start", "restart")]
    pairs = list(zip(actions, actions[1:]))
    return max(actions.count("restart"), pairs.count(("stop", "start")))


def last_end(seen: Container, heard: Sequence[Event]) -> tuple[int | None, bool]:
    """The exit code of the last life, and whether memory ended it. A start zeroes both."""
    oom = seen.oom_killed or any(event.action == "oom" for event in heard)
    if seen.status in ("restarting", "exited", "dead", "stopped"):
        return seen.exit_code, oom
    died = [event.exit_code for event in heard if event.action == "die"]
    return (died[-1] if died else None), oom


def killed_inside(
    seen: Container, past: Past | None, heard: Sequence[Event], now: float, window: float
) -> list[Restarts]:
    """Processes killed for lack of memory since the last look, while the container lived on."""
    since = now - window if past is None else max(now - window, past.looked_at)
    ends = [event.at for event in heard if event.action == "die"]
    kills = [
        event.at
        for event in heard
        if event.action == "oom" and event.at > since
        # The kill of the main process is followed by the container's death.
        if not any(0 <= end - event.at < 2 for end in ends)
    ]
    if not kills:
        return []
    ago = max(0.0, now - kills[-1])
    return [
        Restarts(
            seen.group, "oom", seen.id, f"{kills[-1]:.6f}", len(kills), ago, kills[-1] - kills[0],
            None, True,
        )
    ]  # fmt: skip


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
    """New containers that began after the one before them in their group had ended.

    Two that live side by side are a pool, not a replacement: a scale-up, a deploy of five. A job
    that ended with 0 before the next began is a job done.
    """
    rows = []
    by_group: dict[str, list[Member]] = {}
    for member in members:
        by_group.setdefault(member.group.key, []).append(member)
    for siblings in by_group.values():
        siblings.sort(key=lambda member: member.created)
        for before, after in zip(siblings, siblings[1:]):
            if after.begun is None or now - after.begun > window or before.is_alive:
                continue
            if before.ended_at is not None and before.ended_at > after.begun + 2:
                continue
            if before.ended_at is None and (before.last_alive or 0.0) > after.begun:
                continue
            is_service = after.is_service or before.is_service
            if not is_service:
                if before.exit_code == 0:
                    continue
                if before.exit_code is None and after.group.kind == "image":
                    continue
            rows.append(
                Restarts(
                    after.group, "new", after.id, "", 1, max(0.0, now - after.begun), 0.0,
                    before.exit_code, before.oom,
                    is_certain=is_service or before.exit_code is not None,
                )
            )  # fmt: skip
    return rows


def members_of(
    containers: Sequence[Container],
    ring: Ring,
    past: Mapping[str, Past],
    group_by: str,
    is_wanted: Callable[[Event], bool],
) -> list[Member]:
    """All containers that are known: those seen, those that were, and those only heard of."""
    heard = ring.by_container()
    found: dict[str, Member] = {}
    for one in containers:
        failed_start = one.status == "created" and (one.error or one.exit_code)
        found[one.id] = Member(
            one.id, one.group, one.created,
            one.started_at or (one.created if failed_start else None),
            None if one.is_alive else (one.finished_at or one.created),
            None if one.is_alive else one.exit_code,
            one.is_alive,
            one.group.is_service or one.policy in ("always", "unless-stopped"),
            oom=one.oom_killed or _oom(heard.get(one.id, ())),
        )  # fmt: skip
    kinds: dict[str, list[Group]] = {}
    for one in containers:
        if one.group.kind == "image":
            kinds.setdefault(one.image, []).append(one.group)
    for was in past.values():
        if was.group.kind == "image":
            kinds.setdefault(was.image, []).append(was.group)
        if was.id in found:
            continue
        ended = [event for event in heard.get(was.id, ()) if event.action == "die"]
        code = ended[-1].exit_code if ended else None if was.is_alive else was.exit_code
        found[was.id] = Member(
            was.id, was.group, was.created,
            was.started_at or (was.created if not was.is_alive else None),
            ended[-1].at if ended else (None if was.is_alive else was.finished_at or was.created),
            code, False, was.group.is_service,
            was.looked_at if was.is_alive else None,
            _oom(heard.get(was.id, ())),
        )  # fmt: skip
    for container_id, told in heard.items():
        if container_id in found or not is_wanted(told[-1]):
            continue
        first = {event.action: event for event in reversed(told)}
        if "create" not in first and "start" not in first:
            continue
        last = told[-1]
        group = group_of(last.name, last.image, "", last.labels or {}, group_by)
        if group.kind == "image":
            # Events do not tell the command; one group of that image is as good as certain.
            known = {candidate.key: candidate for candidate in kinds.get(last.image, ())}
            group = next(iter(known.values())) if len(known) == 1 else group
        died = first.get("die")
        begun = first.get("start") or first["create"]
        found[container_id] = Member(
            container_id, group, (first.get("create") or begun).at, begun.at,
            died.at if died else None, died.exit_code if died else None,
            False, group.is_service, oom="oom" in first,
        )  # fmt: skip
    return list(found.values())


def _oom(heard: Iterable[Event]) -> bool:
    return any(event.action == "oom" for event in heard)


def collapsed(
    rows: Sequence[Restarts], past: Mapping[str, Past], seen: Sequence[Container]
) -> tuple[list[Restarts], str]:
    """Starts from outside that are one: the engine or the host restarted. Rows, and a remark.

    dockerd restarts them all with their counts at 0 and its events forgotten; nothing in its API
    says so.
    """
    started = [row for row in rows if row.by == "others"]
    if not started:
        return list(rows), ""
    alive = [one for one in seen if one.id in past]
    agos = [row.ago for row in started]
    rebooted = any(past[row.id].new_boot for row in started if row.id in past)
    many = len(started) >= TOGETHER and 2 * len(started) > len(alive)
    together = max(agos) - min(agos) <= TOGETHER_SECONDS and all(row.count == 1 for row in started)
    if not rebooted and not (many and together and alive):
        return list(rows), ""
    why = "the host was rebooted" if rebooted else "the engine or all of them were restarted"
    remark = (
        f"{len(started)} of {len(alive)} containers were started anew together "
        f"{units.say_duration(round(min(agos)))} ago: {why}"
    )
    one = Restarts(
        ENGINE, "others", ENGINE.key, f"{min(row.mark for row in started)}", 1, min(agos)
    )
    return [row for row in rows if row.by != "others"] + ([] if rebooted else [one]), remark


def how_it_ended(one: Container, heard: Sequence[Event], covered: float | None) -> str:
    """ "hand" or "alone" where the events prove it, else "".

    Docker says stop after a `docker stop`, and kill with a signal for every signal sent through it.
    Podman says neither for all of its stops, and so never proves that a container died alone.
    """
    if one.finished_at is None:
        return ""
    starts = [event.at for event in heard if event.action == "start"]
    begun = max((at for at in starts if at <= one.finished_at), default=0.0)
    near = [
        event
        for event in heard
        if event.at >= begun and abs(event.at - one.finished_at) <= STOP_SECONDS
    ]
    if any(event.action == "stop" for event in near if event.at >= one.finished_at - 1):
        return "hand"
    if any(
        event.action == "kill"
        and event.signal in ENDING_SIGNALS
        and event.at <= one.finished_at + 1
        for event in near
    ):
        return "hand"
    died = any(event.action == "die" and abs(event.at - one.finished_at) < 2 for event in heard)
    if died and covered is not None and covered <= one.finished_at - STOP_SECONDS:
        return "alone"
    born_under_watch = any(event.action == "create" for event in heard)
    return "alone" if died and born_under_watch and covered is not None else ""


def lived(members: Sequence[Container], heard: Mapping[str, Sequence[Event]]) -> float | None:
    """Seconds that the last complete life of a group lasted, if anything tells."""
    for one in members:
        has_ended = one.status in ("restarting", "exited") and one.finished_at is not None
        if has_ended and (one.finished_at or 0) >= (one.started_at or math.inf):
            return (one.finished_at or 0) - (one.started_at or 0)
        ends = [event for event in heard.get(one.id, ()) if event.action in ("start", "die")]
        for before, after in zip(reversed(ends[:-1]), reversed(ends)):
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
        goes_on = service.restarts_on == "any" and not service.mode.endswith("Job")
        if ended_badly or (task.state == "complete" and goes_on):
            group = Group(f"service:{service.id}/{task.slot}", service.name, "service", True)
            ago = max(0.0, now - task.changed)
            rows.append(Restarts(group, "task", task.id, "", 1, ago, 0.0, task.exit_code))
    return rows

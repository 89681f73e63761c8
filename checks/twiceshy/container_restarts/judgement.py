"""What an observation of containers, or of a swarm's services, means: what is wrong with which.

Pure: time, history and the operator's rules are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from twiceshy.container_restarts.formats import (
    Container,
    Event,
    Group,
    Observation,
    Service,
    SwarmObservation,
    Task,
)
from twiceshy.container_restarts.restarts import (
    ENGINE,
    NEW,
    OOM,
    OTHERS,
    POLICY,
    TASK,
    Ending,
    Member,
    Past,
    Recorded,
    Restarts,
    collapsed,
    how_it_ended,
    killed_inside,
    lived,
    members_of,
    replacements,
    restarts_of,
    task_rows,
    within,
)
from twiceshy.container_restarts.selection import Selection
from twiceshy.kit import units
from twiceshy.kit.limits import Limit, judge
from twiceshy.kit.plugin import CRITICAL, OK, WARNING, State

CAUSES = {
    POLICY: "by its policy",
    OTHERS: "from outside (manually, by cron or by autoheal)",
    NEW: "as a new container",
}

# By the shell's convention, and docker's for what it could not execute (docker run(1)).
SIGNALS = {129: "HUP", 130: "INT", 131: "QUIT", 134: "ABRT", 137: "KILL", 139: "SEGV", 143: "TERM"}
EXITS = {126: "not executable", 127: "command not found"}
EXITS.update({code: f"signal {name}" for code, name in SIGNALS.items()})

# An engine needs this long to restart a container that it means to restart.
RESTART_SECONDS = 15.0


class Kind(Enum):
    """What is wrong with a group: the code of its finding."""

    POLICY = "policy"
    OTHERS = "others"
    NEW = "new"
    OOM = "oom"
    GAVE_UP = "gave-up"
    NO_EFFECT = "no-effect"
    STOPPED = "stopped"
    ONESHOT = "oneshot"
    UNHEALTHY = "unhealthy"
    PAUSED = "paused"
    TASKS_FAILED = "tasks-failed"
    TASKS_MISSING = "tasks-missing"


DOWN_FOR_GOOD = frozenset((Kind.GAVE_UP, Kind.NO_EFFECT))
DOWN = DOWN_FOR_GOOD | {Kind.STOPPED}


@dataclass(frozen=True)
class Rules:
    """By what to judge: limits of restarts, seconds of window and grace, and a state for what
    some operators want to know: a container that somebody may have stopped, that is unhealthy or
    paused, that has no policy and failed.
    """

    window: float
    warning: Limit | None
    critical: Limit | None
    grace: float
    maybe_stopped: State = WARNING
    unhealthy: State = CRITICAL
    paused: State = OK
    oneshot_failures: State = OK


@dataclass(frozen=True)
class Clause:
    """One thing that is wrong with a group, without its name; the worst makes the first line."""

    state: State
    text: str
    kind: Kind
    container: Container | None = None


@dataclass(frozen=True)
class Judgement:
    """What a run concludes: for each group, by its key, restarts and what is wrong.

    `new_restarts` and `endings` (by container id) are to be recorded. `mass_restart` is a remark
    if the engine or the host restarted, else "".
    """

    groups: Mapping[str, Group]
    clauses: Mapping[str, Sequence[Clause]]
    counts: Mapping[str, int]
    new_restarts: Sequence[Restarts]
    endings: Mapping[str, Ending]
    mass_restart: str = ""
    remarks: Sequence[str] = ()


def judgement(
    observation: Observation, recorded: Recorded, rules: Rules, selection: Selection
) -> Judgement:
    """What is wrong with the selected containers, and how often each group restarted."""
    now, past = observation.now, recorded.containers
    events = observation.ring.by_container()
    members = members_of(
        observation.containers, observation.ring, past, selection.group_by, selection.selects_event
    )
    new_restarts, mass_restart = _new_restarts(observation, recorded, members, rules.window)
    groups, containers_by_group, rows_by_group = _grouped(
        observation.containers, (*recorded.restarts, *new_restarts)
    )
    clauses: dict[str, list[Clause]] = {}
    counts: dict[str, int] = {}
    endings: dict[str, Ending] = {}
    remarks: list[str] = []
    for key in groups:
        containers, rows = containers_by_group.get(key, []), rows_by_group.get(key, [])
        if not containers and key != ENGINE.key:
            # Removed for good, unless it is a loop of containers that remove themselves.
            rows = [row for row in rows if row.by == NEW and row.ago <= rules.window]
            if not rows or not _is_selected(rows, selection, events, past):
                continue
        counts[key], loop = loop_clause(rows, containers, rules, lived(containers, events))
        found = [loop]
        for container in containers:
            if container.is_alive:
                own_rows = [row for row in rows if row.id == container.id]
                found += [kills_clause(own_rows, container, rules)]
                found += [health_clause(container, rules, now)]
                continue
            own_events = events.get(container.id, ())
            ending = _ending(container, past.get(container.id), own_events, observation)
            if ending is not None:
                endings[container.id] = ending
            found += [down_clause(container, ending, rules, now, own_events)]
            if ending is Ending.MANUAL and container.policy in ("always", "unless-stopped"):
                seconds = max(0.0, now - (container.finished_at or now))
                remarks.append(
                    f"{container.name} was stopped manually {_rounded(seconds)} ago, "
                    f"policy {container.policy}"
                )
        clauses[key] = [clause for clause in found if clause is not None]
    return Judgement(groups, clauses, counts, new_restarts, endings, mass_restart, remarks)


def _new_restarts(
    observation: Observation, recorded: Recorded, members: Sequence[Member], window: float
) -> tuple[list[Restarts], str]:
    """The restarts since the last run, and a remark if the engine or the host restarted."""
    now, past = observation.now, recorded.containers
    events = observation.ring.by_container()
    found: list[Restarts] = []
    for container in observation.containers:
        own_events, before = events.get(container.id, []), past.get(container.id)
        found += restarts_of(container, before, own_events, now, window, observation.is_podman)
        found += killed_inside(container, before, own_events, now, window)
    found, mass_restart = collapsed(found, past, observation.containers)
    # A group's new containers are found again at every run, until they are out of the window.
    counted = {row.id for row in recorded.restarts if row.by == NEW}
    found += [row for row in replacements(members, now, window) if row.id not in counted]
    return found, mass_restart


def _grouped(
    containers: Sequence[Container], rows: Sequence[Restarts]
) -> tuple[dict[str, Group], dict[str, list[Container]], dict[str, list[Restarts]]]:
    """Groups by key, with their containers, the newest first, and their restarts."""
    present = {container.id: container.group for container in containers}
    groups: dict[str, Group] = {}
    rows_by_group: dict[str, list[Restarts]] = {}
    for row in rows:
        group = present.get(row.id, row.group)  # renamed since
        groups.setdefault(group.key, group)
        rows_by_group.setdefault(group.key, []).append(row)
    containers_by_group: dict[str, list[Container]] = {}
    for container in sorted(containers, key=lambda container: -container.created):
        groups[container.group.key] = container.group
        containers_by_group.setdefault(container.group.key, []).append(container)
    return groups, containers_by_group, rows_by_group


def _is_selected(
    rows: Sequence[Restarts],
    selection: Selection,
    events: Mapping[str, Sequence[Event]],
    past: Mapping[str, Past],
) -> bool:
    """Whether a group without a living member is among those asked for.

    Of what has gone only names and images are known, from an earlier run or from the events.
    """
    for row in rows:
        if row.id in events:
            return selection.selects_event(events[row.id][-1])
        if row.id in past:
            return selection.selects(past[row.id].name, past[row.id].image, {})
    group = rows[0].group
    return group.kind == "name" and selection.selects(group.name, "", {})


def _ending(
    container: Container, past: Past | None, events: Sequence[Event], observation: Observation
) -> Ending | None:
    """Who ended a container, by its events or, once they are gone, by an earlier run."""
    ending = how_it_ended(container, events, observation.ring.covered_from)
    if observation.is_podman and ending is Ending.ALONE:
        ending = None
    if ending is None and past is not None and past.ending_finished == container.finished:
        return past.ending
    return ending


# Loops


def loop_clause(
    rows: Sequence[Restarts],
    containers: Sequence[Container],
    rules: Rules,
    life_seconds: float | None,
) -> tuple[int, Clause | None]:
    """How often a group restarted within the window, and what to say if that is too often.

    `containers`: those of the group, the newest first; `life_seconds`: how long the last of them
    lived, if that is known.
    """
    loops = sorted((row for row in rows if row.by != OOM), key=lambda row: row.ago)
    counts = {by: within([row for row in loops if row.by == by], rules.window) for by in CAUSES}
    total = sum(counts.values())
    state, limit = judge(total, rules.warning, rules.critical)
    if limit is None:
        return total, None
    certain = within([row for row in loops if row.is_certain], rules.window)
    if state is CRITICAL and judge(certain, rules.warning, rules.critical)[0] is not CRITICAL:
        state = WARNING
    newest = containers[0] if containers else None
    causes = [by for by in CAUSES if counts[by]]
    text = _loop_text(counts, causes, newest, rules.window, limit, _is_spread(loops, rules.window))
    if any(row.oom for row in loops):
        text += f", killed for lack of memory{_memory(newest)}"
    exit_code = next((row.exit_code for row in loops if row.exit_code is not None), None)
    if exit_code is not None:
        text += f", last exit {exit_text(exit_code)}"
        text += " (exits by itself)" if exit_code == 0 else ""
    elif not all(row.is_certain for row in loops):
        text += ", exit status unknown"
    if life_seconds is not None and causes != [OTHERS]:
        text += f", living {units.say_duration(round(life_seconds, 1))} each time"
    return total, Clause(state, text, Kind(causes[-1]) if causes else Kind.POLICY, newest)


def _is_spread(loops: Sequence[Restarts], window: float) -> bool:
    """Whether the count is an estimate: restarts spread over more time than the window."""
    return any(row.count > 1 and row.ago <= window and row.ago + row.span > window for row in loops)


def _loop_text(
    counts: Mapping[str, int],
    causes: Sequence[str],
    newest: Container | None,
    window: float,
    limit: Limit,
    is_estimate: bool,
) -> str:
    """How often, by what, and the limit."""
    times = f"{'about ' if is_estimate else ''}{units.count(sum(counts.values()), 'time')}"
    times += f" in {units.say_duration(window)}"
    if causes == [NEW]:
        return f"was replaced by a new container {times} (limit {limit.typed})"
    if len(causes) == 1:
        cause = CAUSES[causes[0]]
        if causes == [POLICY] and newest and newest.policy != "no":
            cause += f" {newest.policy_typed}"
        return f"restarted {times} {cause} (limit {limit.typed})"
    parts = ", ".join(f"{counts[by]} {CAUSES[by]}" for by in causes)
    return f"restarted {times} (limit {limit.typed}){': ' if parts else ''}{parts}"


def exit_text(code: int) -> str:
    """An exit code with what it stands for: "137 (signal KILL)"."""
    return f"{code} ({EXITS[code]})" if code in EXITS else str(code)


def kills_clause(rows: Sequence[Restarts], container: Container, rules: Rules) -> Clause | None:
    """A loop of out-of-memory kills inside a container that stays up; `rows`: its own."""
    count = within([row for row in rows if row.by == OOM], rules.window)
    state, limit = judge(count, rules.warning, rules.critical)
    if limit is None or not container.is_alive:
        return None
    text = (
        f"had {units.count(count, 'process', 'processes')} killed for lack of memory"
        f"{_memory(container)} in {units.say_duration(rules.window)} (limit {limit.typed}), "
        "and stays up"
    )
    return Clause(state, text, Kind.OOM, container)


def _memory(container: Container | None) -> str:
    """A container's memory limit, if it has one, in parentheses."""
    if container is None or not container.memory_limit:
        return ""
    return f" ({units.say_size(container.memory_limit)})"


def _rounded(seconds: float) -> str:
    return units.say_duration(round(seconds))


# Down


def has_failed_for_good(container: Container, now: float, window: float) -> bool:
    """Whether a one-shot, a container without restart policy, failed within the window."""
    has_failed = container.has_failed and not container.is_alive
    is_recent = now - container.ended <= window
    return container.policy == "no" and has_failed and is_recent and not container.group.is_service


def down_clause(
    container: Container,
    ending: Ending | None,
    rules: Rules,
    now: float,
    events: Sequence[Event] = (),
) -> Clause | None:
    """A container that is down: nothing if it may be; else who gave up on it.

    `ending`: who ended it, as this or an earlier run found; `events`: its own.
    """
    policy = container.policy_typed
    if container.policy == "no" or (container.policy == "on-failure" and not container.has_failed):
        return _oneshot_clause(container, rules, now)
    if container.started_at is None:
        return _never_started_clause(container, rules, now)
    seconds = max(0.0, now - container.ended)
    has_been_down = f"has been down for {_rounded(seconds)}"
    although = f"{has_been_down} although its policy is {policy}"
    if container.error:
        text = f"{although}; the engine gave up: {container.error}"
        return Clause(CRITICAL, text, Kind.GAVE_UP, container)
    last_exit = f"exit {exit_text(container.exit_code)}"
    if container.oom_killed:
        last_exit += ", killed for lack of memory"
    if 0 < container.max_retries <= container.restart_count:
        text = f"{has_been_down}: all retries of its policy {policy} are used up, last {last_exit}"
        return Clause(CRITICAL, text, Kind.GAVE_UP, container)
    if ending is Ending.MANUAL:
        return None
    if ending is Ending.ALONE and seconds > min(rules.grace, RESTART_SECONDS):
        hup = any(event.action == "kill" and event.signal == 1 for event in events)
        signal = "-s HUP had" if hup else "with a signal may have"
        text = (
            f"{although}: it died by itself with {last_exit}{',' if container.oom_killed else ''} "
            f"and was not restarted; docker kill {signal} switched the policy off"
        )
        return Clause(CRITICAL, text, Kind.NO_EFFECT, container)
    if seconds <= rules.grace:
        return None
    text = f"{although}, last {last_exit}: stopped manually, or its policy had no effect"
    return Clause(rules.maybe_stopped, text, Kind.STOPPED, container)


def _oneshot_clause(container: Container, rules: Rules, now: float) -> Clause | None:
    """A container that nothing restarts and that has failed, if the operator wants to know."""
    if not has_failed_for_good(container, now, rules.window):
        return None
    seconds = max(0.0, now - container.ended)
    text = f"failed {_rounded(seconds)} ago with exit {exit_text(container.exit_code)}"
    text += f": {container.error}" if container.error else ""
    return Clause(rules.oneshot_failures, text, Kind.ONESHOT, container)


def _never_started_clause(container: Container, rules: Rules, now: float) -> Clause | None:
    """A container of which no start has succeeded."""
    policy = container.policy_typed
    if container.has_failed:
        cause = container.error or f"exit {exit_text(container.exit_code)}"
        text = f"never started, and its policy {policy} does not retry: {cause}"
        return Clause(CRITICAL, text, Kind.GAVE_UP, container)
    seconds = max(0.0, now - container.ended)
    if seconds <= rules.grace:
        return None
    text = f"was created {_rounded(seconds)} ago and never started although its policy is {policy}"
    return Clause(rules.maybe_stopped, text, Kind.STOPPED, container)


# Up, and not well


def health_clause(container: Container, rules: Rules, now: float) -> Clause | None:
    """A container that is unhealthy, once the grace is over, or paused; engines restart neither."""
    if container.status == "paused" and rules.paused is not OK:
        return Clause(rules.paused, "is paused", Kind.PAUSED, container)
    health = container.health
    if health is None or container.status != "running" or container.started_at is None:
        return None
    age = max(0.0, now - container.started_at)
    output = f": {health.output}" if health.output else ""
    if health.status == "unhealthy":
        since = health.failing_since
        seconds = min(age, max(0.0, now - since)) if since is not None else age
        if seconds <= rules.grace:
            return None
        text = f"has been unhealthy for {_rounded(seconds)}{output}"
        return Clause(rules.unhealthy, text, Kind.UNHEALTHY, container)
    if health.status == "starting" and age > health.patience + rules.grace:
        state = OK if rules.unhealthy is OK else WARNING
        text = f"has been up for {_rounded(age)}, and its health check is still starting{output}"
        return Clause(state, text, Kind.UNHEALTHY, container)
    return None


# Services of a swarm


@dataclass(frozen=True)
class ServiceJudgement:
    """How often the tasks of a service failed within the window, and what is wrong with it."""

    service: Service
    failures: int
    clauses: Sequence[Clause]


def new_failures(
    observation: SwarmObservation, recorded: Recorded, window: float
) -> list[Restarts]:
    """The tasks of the selected services that have failed since the last run."""
    counted = {row.id for row in recorded.restarts if row.by == TASK}
    services = {service.id: service for service in observation.services}
    rows = task_rows(services, observation.tasks, observation.now, window)
    return [row for row in rows if row.id not in counted]


def swarm_judgement(
    observation: SwarmObservation,
    rows: Sequence[Restarts],
    rules: Rules,
    below_seconds: Mapping[str, float],
) -> list[ServiceJudgement]:
    """What is wrong with the selected services.

    `rows`: recorded and new failures; `below_seconds`, by service id: for how long it has run
    fewer tasks than desired.
    """
    return [
        _service_judgement(
            service,
            [row for row in rows if row.group.key.startswith(f"service:{service.id}/")],
            [task for task in observation.tasks if task.service_id == service.id],
            rules,
            below_seconds[service.id],
        )
        for service in observation.services
    ]


def _service_judgement(
    service: Service,
    rows: Sequence[Restarts],
    tasks: Sequence[Task],
    rules: Rules,
    below_seconds: float,
) -> ServiceJudgement:
    by_slot: dict[str, list[Restarts]] = {}
    for row in rows:
        by_slot.setdefault(row.group.key, []).append(row)
    counts = [within(slot, rules.window) for slot in by_slot.values()]
    last = _last_failure(tasks)
    clauses = (
        _failures_clause(counts, rules, last),
        _missing_tasks_clause(service, tasks, rules, below_seconds, last),
    )
    found = [clause for clause in clauses if clause is not None]
    return ServiceJudgement(service, sum(counts), found)


def _last_failure(tasks: Sequence[Task]) -> str:
    """The end of a sentence that says why the last task failed, or ""."""
    # Later tasks may still be pending, with no error yet.
    ends = [task for task in tasks if task.error or task.exit_code]
    if not ends:
        return ""
    last = max(ends, key=lambda task: task.changed)
    return f", last: {last.error or f'exit {last.exit_code}'}"


def _failures_clause(counts: Sequence[int], rules: Rules, last: str) -> Clause | None:
    """Too many failed tasks, by the worst replica; `counts`: of each replica."""
    state, limit = judge(max(counts, default=0), rules.warning, rules.critical)
    if limit is None:
        return None
    failing = sum(1 for count in counts if count)
    replicas = f" in {units.count(failing, 'replica')}" if len(counts) > 1 else ""
    text = (
        f"had {units.count(sum(counts), 'task')} fail in {units.say_duration(rules.window)}"
        f"{replicas} (limit {limit.typed} per replica){last}"
    )
    return Clause(state, text, Kind.TASKS_FAILED)


def _missing_tasks_clause(
    service: Service, tasks: Sequence[Task], rules: Rules, below_seconds: float, last: str
) -> Clause | None:
    """Fewer tasks than desired for longer than the grace; those that have done their work count."""
    if service.running is None or not service.desired or service.is_job:
        return None
    wanted = service.desired
    if service.restarts_on in ("none", "on-failure"):
        done = sum(1 for task in tasks if task.state == "complete" and task.desired != "running")
        wanted -= min(wanted, done)
    if service.running >= wanted or below_seconds <= rules.grace:
        return None
    state = CRITICAL if service.running == 0 else WARNING
    text = f"has run {service.running} of {units.count(service.desired, 'task')}"
    return Clause(state, f"{text} for {_rounded(below_seconds)}{last}", Kind.TASKS_MISSING)

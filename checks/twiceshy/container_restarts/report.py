"""How a judgement is reported: findings, commands to type next, measures and remarks. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.container_restarts.formats import (
    Absence,
    Container,
    Group,
    Observation,
    Outage,
    Ring,
    SwarmObservation,
)
from twiceshy.container_restarts.judgement import (
    DOWN,
    DOWN_FOR_GOOD,
    Clause,
    Judgement,
    Kind,
    Rules,
    ServiceJudgement,
    has_failed_for_good,
)
from twiceshy.container_restarts.selection import Selection
from twiceshy.kit import units, verdict
from twiceshy.kit.patterns import Pattern
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, State
from twiceshy.kit.verdict import Finding, Measure, Report, safe

# Engines that cannot be queried


def no_engine(absence: Absence, missing: State) -> Report:
    """What to say when no engine has a socket. Podman runs containers without one."""
    if absence.is_podman_alone:
        text = "podman is installed, but its API socket does not exist"
        following = f"systemctl {'' if absence.is_root else '--user '}enable --now podman.socket"
    else:
        text = f"no container engine: there is no socket at {', '.join(absence.sockets)} or in "
        text += "this user's runtime directory"
        following = "systemctl status docker.socket podman.socket"
    findings = [] if missing is OK else [Finding(missing, text, next=following, code="no-engine")]
    return Report(findings, summary=text)


def engine_down(outage: Outage) -> Report:
    """An engine that does not answer, or whose ssh does not let us in."""
    engine = f"{outage.server} engine at {safe(outage.address)}"
    if outage.is_refused:
        text = f"{engine} cannot be queried: {outage.text}"
        return Report([Finding(UNKNOWN, text, next=outage.login, code="login-refused")])
    if outage.login:
        following = outage.login
    elif outage.address.startswith("unix:"):
        user = "--user " if outage.address.startswith("unix:///run/user/") else ""
        unit = "podman.socket" if outage.server == "podman" else "docker"
        following = f"systemctl {user}status {unit}"
    else:
        following = f"docker -H {shlex.quote(outage.address)} version"
    text = f"{engine} does not answer: {outage.text}"
    return Report([Finding(CRITICAL, text, next=following, code="engine-down")])


# Findings


@dataclass(frozen=True)
class Offender:
    """A finding about a group, the container that it is about, and the group's restarts."""

    finding: Finding
    container: Container | None
    count: int


def offenders(
    judged: Judgement, observation: Observation, command: str, window: float, verbose: int
) -> list[Offender]:
    """The groups with which something is wrong, the most urgent first."""
    found = []
    for key, clauses in judged.clauses.items():
        wrong = ranked(clauses)
        if not wrong:
            continue
        worst, group = wrong[0], judged.groups[key]
        finding = finding_of(group, wrong)
        if worst.container is not None and verbose:  # else the room is for the other offenders
            more = (*finding.more, details(worst.container, observation.now))
            finding = replace(finding, more=more)
        following = next_command(group, worst, command, window, observation.engine)
        finding = replace(finding, next=following)
        found.append((worst, Offender(finding, worst.container, judged.counts.get(key, 0))))
    # What is down for good comes before what goes up and down.
    found.sort(key=lambda item: (item[0].kind not in DOWN_FOR_GOOD, -item[1].count))
    found.sort(key=lambda item: -verdict.SEVERITY.index(item[0].state))
    return [offender for _, offender in found]


def ranked(clauses: Sequence[Clause]) -> list[Clause]:
    """What is wrong with a group, the worst first."""
    wrong = [clause for clause in clauses if clause.state is not OK]
    # That it is down for good says more than how often it tried.
    wrong.sort(key=lambda clause: clause.kind not in DOWN_FOR_GOOD)
    wrong.sort(key=lambda clause: -verdict.SEVERITY.index(clause.state))
    return wrong


def finding_of(group: Group, wrong: Sequence[Clause]) -> Finding:
    """One finding of all that is wrong with a group, ranked."""
    worst = wrong[0]
    more = tuple(f"{group.name} also {clause.text}" for clause in wrong[1:])
    text = f"{_name(group, worst.container)} {worst.text}"
    return Finding(worst.state, text, more, code=worst.kind.value)


def _name(group: Group, container: Container | None) -> str:
    """A group's name, and the container's where a compose file has given it quite another one."""
    if container is None or group.kind != "compose":
        return group.name
    is_alike = container.name.replace("_", "-").endswith(group.name.replace("_", "-"))
    return group.name if is_alike else f"{group.name} (container {container.name})"


def with_logs(found: Sequence[Offender], logs: Mapping[str, Sequence[str]]) -> list[Finding]:
    """The findings, with the last lines of the log of those containers that have some here."""
    return [
        replace(
            offender.finding,
            more=(
                *(logs.get(offender.container.id, ()) if offender.container else ()),
                *offender.finding.more,
            ),
        )
        for offender in found
    ]


def unanswered(observation: Observation) -> list[Finding]:
    """The containers that could not be inspected."""
    return [
        Finding(UNKNOWN, f"{name} could not be inspected: {cause}", code="no-answer")
        for name, cause in observation.unanswered.items()
    ]


def absent(
    judged: Judgement,
    observation: Observation,
    selection: Selection,
    missing: State,
    command: str,
) -> list[Finding]:
    """What was asked for and is not there, unless a loop of new ones is between two of them."""
    looping = [judged.groups[key].name for key in judged.clauses]
    return [
        Finding(missing, f"no container is {safe(wanted)}", next=f"{command} ps -a", code="missing")
        for wanted in selection.absent(observation.listed, looping)
        if missing is not OK
    ]


def details(container: Container, now: float) -> str:
    """One line of facts about an offender; `now` is in the engine's clock."""
    parts = [f"{container.name}: {container.status}"]
    if container.is_alive and container.status != "restarting" and container.started_at:
        parts.append(f"up {units.say_duration(round(max(0.0, now - container.started_at)))}")
    elif container.finished_at:
        parts.append(f"exit {container.exit_code}")
    parts.append(f"policy {container.policy_typed}, RestartCount {container.restart_count}")
    if container.oom_killed:
        parts.append("OOMKilled")
    if container.memory_limit:
        parts.append(f"memory {units.say_size(container.memory_limit)}")
    if container.health:
        parts.append(f"health {container.health.status}")
    if container.error:
        parts.append(f"error: {container.error}")
    parts.append(f"image {container.image}")
    return ", ".join(parts)


# Commands to type next


def client_command(server: str, docker_host: str | None) -> str:
    """The command line of docker or podman, with the address if one was given."""
    if not docker_host:
        return server
    return f"{server} {'--url' if server == 'podman' else '-H'} {shlex.quote(docker_host)}"


def next_command(group: Group, clause: Clause, command: str, window: float, engine: str) -> str:
    """The command that shows more of this fault; `engine` is the address of its engine."""
    since = units.say_duration(window)
    container = clause.container
    if group.kind == "engine":
        return f"journalctl -u docker --since -{since}"
    if clause.kind is Kind.NEW and group.kind == "swarm":
        service = group.name.rpartition(".")[0] or group.name
        return f"docker service ps --no-trunc {shlex.quote(service)}"
    if clause.kind is Kind.NEW and (container is None or not container.is_alive):
        if group.kind == "image" and container is not None:
            return f"{command} logs --tail 50 {container.id[:12]}"
        which = f"--filter container={shlex.quote(group.name)} " if group.kind == "name" else ""
        return f"{command} events --since {since} --until 1s {which}--filter event=die"
    if container is None:
        return f"{command} ps -a"
    name = shlex.quote(container.name)
    if clause.kind is Kind.OTHERS:
        return f"{command} events --since {since} --until 1s --filter container={name}"
    if clause.kind is Kind.UNHEALTHY:
        return f"{command} inspect -f '{{{{json .State.Health}}}}' {name}"
    if clause.kind is Kind.GAVE_UP and container.error:
        conflict = container.port_conflict
        if conflict and conflict.is_containers:
            return f"{command} ps --filter publish={conflict.port}"
        if conflict and engine.startswith("unix:"):
            return f"ss -ltnp 'sport = :{conflict.port}'"
        return f"{command} start {name}"
    return f"{command} logs --tail 50 {name}"


# Summary, remarks and measures


def summary(judged: Judgement, observation: Observation, rules: Rules, selection: Selection,
            is_first_run: bool) -> str:  # fmt: skip
    """The sentence when nothing is wrong."""
    count = len(observation.containers)
    if not count:
        return "no containers selected" if selection.is_narrowed else "no containers"
    restarted = sum(judged.counts.values())
    window = units.say_duration(rules.window)
    restarts = units.count(restarted, "restart") if restarted else "no restarts"
    limit = rules.warning or rules.critical
    text = f"{units.count(count, 'container')} watched, "
    if is_first_run:
        text += f"{restarts} known in the last {window} (first run, "
        text += f"{_reach(observation.ring, observation.now, rules.window)})"
    elif not restarted:
        text += f"none restarted in {window}"
    else:
        text += f"{restarts} in {window}{f' (limit {limit.typed} each)' if limit else ''}"
    paused = sum(1 for container in observation.containers if container.status == "paused")
    failed = sum(
        1
        for container in observation.containers
        if has_failed_for_good(container, observation.now, rules.window)
    )
    text += f", {paused} paused" if paused else ""
    return text + (f", {failed} without a restart policy ended with an error" if failed else "")


def remarks(
    judged: Judgement, observation: Observation, window: float, is_first_run: bool
) -> list[str]:
    """What is odd, or limits what could be seen."""
    found = [judged.mass_restart, observation.ring.missing]
    if is_first_run and observation.containers:
        reach = _reach(observation.ring, observation.now, window)
        found.append(f"first run against this engine: {reach}")
    return [*(remark for remark in found if remark), *judged.remarks]


def _reach(ring: Ring, now: float, window: float) -> str:
    """How far back the engine's events are complete."""
    if ring.covered_from is None:
        return "no events available"
    seconds = min(window, max(0.0, now - ring.covered_from))
    part = f" of the {units.say_duration(window)} window" if seconds < window else ""
    return f"events reach back {units.say_duration(round(seconds))}{part}"


def measures(judged: Judgement, observation: Observation, rules: Rules) -> list[Measure]:
    """Sums first, then each group's restarts by name, then counts and ages."""
    limits: dict[str, Any] = {"warning": rules.warning, "critical": rules.critical, "minimum": 0}
    containers = observation.containers
    down = {
        clause.container.id
        for clauses in judged.clauses.values()
        for clause in clauses
        if clause.container and clause.kind in DOWN
    }
    unhealthy = [one for one in containers if one.health and one.health.status == "unhealthy"]
    found = [
        Measure("containers", len(containers), minimum=0),
        Measure("running", sum(1 for one in containers if one.is_alive), minimum=0),
        Measure("restarts", sum(judged.counts.values()), minimum=0),
        Measure("most_restarts", max(judged.counts.values(), default=0), **limits),
        Measure("down", len(down), minimum=0),
        Measure("unhealthy", len(unhealthy), minimum=0),
    ]
    subjects = _subjects(judged)
    ordered = sorted(judged.counts, key=lambda key: subjects[key])
    found += [
        Measure(verdict.label(subjects[key], "restarts"), judged.counts[key], **limits)
        for key in ordered
    ]
    newest: dict[str, Container] = {}
    for container in containers:
        key = container.group.key
        if key not in newest or container.created > newest[key].created:
            newest[key] = container
    for key in ordered:
        if key in newest:
            found += _measures_of(newest[key], subjects[key], observation.now)
    return found


def _subjects(judged: Judgement) -> dict[str, str]:
    """What the labels of a group begin with: its name, or its key where two share a name."""
    names = {key: judged.groups[key].name for key in judged.counts}
    shared = Counter(names.values())
    return {key: name if shared[name] == 1 else key for key, name in names.items()}


def _measures_of(container: Container, subject: str, now: float) -> list[Measure]:
    """RestartCount and age of the newest container of a group."""
    found = [Measure(verdict.label(subject, "restarts_total"), container.restart_count, "c")]
    if container.is_alive and container.started_at:
        age = round(max(0.0, now - container.started_at), 3)
        found.append(Measure(verdict.label(subject, "age"), age, "s", minimum=0))
    return found


# Services of a swarm


def services_report(
    observation: SwarmObservation,
    judged: Sequence[ServiceJudgement],
    patterns: Sequence[Pattern],
    missing: State,
    window: float,
) -> Report:
    """What is wrong with the services of a swarm, and which of them do not exist."""
    findings = []
    measures: list[Measure] = []
    for item in judged:
        service = item.service
        wrong = ranked(item.clauses)
        if wrong:
            group = Group(f"service:{service.id}", service.name, "service", True)
            following = f"docker service ps --no-trunc {shlex.quote(service.name)}"
            findings.append(replace(finding_of(group, wrong), next=following))
        running = Measure(
            verdict.label(service.name, "running"), service.running, minimum=0,
            maximum=service.desired,
        )  # fmt: skip
        measures += [
            Measure(verdict.label(service.name, "restarts"), item.failures, minimum=0),
            running,
        ]
    findings += [
        Finding(missing, f"no service is called {safe(pattern.typed)}", code="missing")
        for pattern in patterns
        if missing is not OK and not any(pattern.matches(name) for name in observation.names)
    ]
    failures = sum(item.failures for item in judged)
    tasks = units.count(failures, "task") if failures else "no tasks"
    return Report(
        findings,
        [
            Measure("services", len(judged), minimum=0),
            Measure("restarts", failures, minimum=0),
            *measures,
        ],
        f"{units.count(len(judged), 'service')} watched, {tasks} failed in "
        f"{units.say_duration(window)}",
    )

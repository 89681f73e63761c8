#!/usr/bin/env python3
"""Is a container restarting faster than it can work, or down although its policy says up?

A container that dies every twelve seconds is "running" in 98 of 100 looks, and the engine's
RestartCount is zeroed by every start by hand and never goes down otherwise: one alert, and red for
ever. This check counts restarts within a window, whoever caused them: the restart policy, a
`docker restart` by cron or autoheal, or new containers in place of ended ones (`while true; docker
run`, compose, swarm). It recovers by itself one quiet window after the last restart. It also finds
containers that are down although their policy says up, because the engine gave up on them or
because `docker kill -s HUP` switched the policy off, loops of out-of-memory kills, and containers
that stay unhealthy, which no engine restarts.

Containers are grouped by --group-by LABEL, compose service, swarm service and slot, name, or, when
nobody named them, image and command. Not alarmed: a deploy, a restart of the engine or of the host
(said in one remark), a scale-up, jobs that end with 0, one-shots, an old high count that is stable.

Learned from: "High availability taken the wrong way" (25 July 2015): a dockerised application died,
  its --restart=always had no effect, and the remedy asked for was a loop inside a loop.
Reads: the engine's API at --docker-host, $DOCKER_HOST or the first that may be used of
  /var/run/docker.sock, /run/podman/podman.sock, $XDG_RUNTIME_DIR/docker.sock and
  $XDG_RUNTIME_DIR/podman/podman.sock:
  ping, list, one inspect for each selected container, events; with --service services and tasks
  (on a swarm manager). Docker and podman; unix, tcp (with TLS) and ssh. Whoever may write to that
  socket is root: rather than adding the check's user to group docker, let it use a socket proxy
  that allows GET on containers and events alone, or run this check by sudo. Rootless containers
  are seen at their user's socket only.
Remembers: per container its incarnation and count, per group its restarts, twice the window.
Says:
  OK        no group restarted more often than -w within --window, nothing down, nothing unhealthy
  WARNING   more restarts than -w; new containers whose exit nobody saw, more than -w or -c
  WARNING   down longer than --grace although the policy says up, and it may have been stopped by
            hand (--stopped-by-hand); health check still "starting" long after its time
  CRITICAL  more restarts than -c, by policy, from outside, or as new containers or tasks
  CRITICAL  more processes than -c killed for lack of memory in a container that stays up
  CRITICAL  the engine gave up: start failed, never started, on-failure:N used up
  CRITICAL  died by itself and was not restarted although the policy says up
  CRITICAL  unhealthy for longer than --grace (--unhealthy)
  CRITICAL  --service: no task running, or, as WARNING, fewer than desired for longer than --grace
  CRITICAL  the engine does not answer
  CRITICAL  no engine is here; what was asked for by name is absent (--missing)
  UNKNOWN   not allowed to ask the engine, its ssh key refused; a container that does not answer;
            history not kept
Measures:
  containers              -  containers looked at
  services                -  services looked at (--service)
  running                 -  of the containers, those running
  restarts                -  restarts of all groups within the window
  most_restarts           -  restarts of the worst group within the window
  down                    -  containers down although their policy says up
  unhealthy               -  containers whose health check fails
  SUBJECT_restarts        -  restarts of one group within the window
  SUBJECT_restarts_total  c  RestartCount, as the engine has it
  SUBJECT_age             s  since the last start
  SUBJECT_running         -  tasks running (--service)
Examples:
  check_container_restarts
  check_container_restarts --include 'web*' -w 1 -c 3 --window 30m --log-lines 3
  check_container_restarts --compose shop --stopped-by-hand ok
  check_container_restarts --docker-host unix:///run/user/1000/podman/podman.sock
  check_container_restarts --service '*'
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from twiceshy.container_restarts.engine import (
    SOCKETS,
    Engine,
    EngineDown,
    NotLetIn,
    engine_address,
    knock,
    login,
    quiet_ssh,
    tls_of,
)  # fmt: skip
from twiceshy.container_restarts.formats import Container, Event, Group, Listed, Ring, Service, Task
from twiceshy.container_restarts.memory import TABLES, Memory, below_for
from twiceshy.container_restarts.restarts import (
    ENGINE,
    STOP_SECONDS,
    Member,
    Past,
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
)  # fmt: skip
from twiceshy.kit import history, units, verdict
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.limits import Limit, judge
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Measure, Report, safe

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Timeline

WORDS = {
    "policy": "by its policy",
    "others": "from outside (by hand, cron or autoheal)",
    "new": "as a new container",
}

PORT_TAKEN = re.compile(
    r":(?P<port>\d+)(: bind: address already in use|(?P<other> failed: port is already allocated))"
)


# What is seen


@dataclass(frozen=True)
class Seen:
    """One look at an engine, in its own clock; `unanswered` maps a name to the reason."""

    engine: str
    now: float
    containers: Sequence[Container]
    ring: Ring
    unanswered: Mapping[str, str]
    remarks: Sequence[str] = ()


# What it means


@dataclass(frozen=True)
class Rules:
    """What the operator asked for."""

    window: float
    warning: Limit | None
    critical: Limit | None
    grace: float
    stopped_by_hand: State = WARNING
    unhealthy: State = CRITICAL
    paused: State = OK
    oneshot_failures: State = OK


@dataclass(frozen=True)
class Clause:
    """One thing that is wrong with a group, without its name; the worst makes the first line."""

    state: State
    text: str
    kind: str
    container: Container | None = None


def loop_clause(
    rows: Sequence[Restarts], members: Sequence[Container], rules: Rules, lived: float | None
) -> tuple[int, Clause | None]:
    """How often a group restarted within the window, and what to say if that is too often."""
    loops = [row for row in rows if row.by != "oom"]
    counts = {by: within([row for row in loops if row.by == by], rules.window) for by in WORDS}
    total = sum(counts.values())
    state, limit = judge(total, rules.warning, rules.critical)
    if limit is None:
        return total, None
    certain = within([row for row in loops if row.is_certain], rules.window)
    if state is CRITICAL and judge(certain, rules.warning, rules.critical)[0] is not CRITICAL:
        state = WARNING
    newest = members[0] if members else None
    recent = sorted(loops, key=lambda row: row.ago)
    spread = [row for row in recent if row.count > 1 and row.ago <= rules.window]
    about = "about " if any(row.ago + row.span > rules.window for row in spread) else ""
    window = units.say_duration(rules.window)
    causes = [by for by in WORDS if counts[by]]
    policy = f" {newest.policy_words}" if newest and newest.policy != "no" else ""
    if causes == ["new"]:
        text = f"was replaced by a new container {about}{total} times in {window}"
        text += f" (limit {limit.typed})"
    elif len(causes) == 1:
        words = WORDS[causes[0]] + (policy if causes == ["policy"] else "")
        text = f"restarted {about}{total} times in {window} {words} (limit {limit.typed})"
    else:
        parts = ", ".join(f"{counts[by]} {WORDS[by]}" for by in causes)
        text = f"restarted {about}{total} times in {window} (limit {limit.typed}): {parts}"
    if any(row.oom for row in recent):
        memory = newest.memory_limit if newest else 0
        text += ", killed for lack of memory" + (f" ({units.say_size(memory)})" if memory else "")
    code = next((row.exit_code for row in recent if row.exit_code is not None), None)
    if code is not None:
        text += f", last exit {exit_words(code)}"
    elif not all(row.is_certain for row in loops):
        text += ", nobody saw their exit"
    if lived is not None and causes != ["others"]:
        text += f", up {units.say_duration(round(lived, 1))} at a time"
    return total, Clause(state, text, causes[-1], newest)


def exit_words(code: int) -> str:
    """An exit code with what it stands for, by the shell's convention."""
    signals = {129: "HUP", 130: "INT", 131: "QUIT", 134: "ABRT", 137: "KILL", 139: "SEGV"}
    signals[143] = "TERM"
    words = {code: f"signal {name}" for code, name in signals.items()}
    words.update({0: "it ends by itself", 126: "not executable", 127: "command not found"})
    return f"{code} ({words[code]})" if code in words else str(code)


def kills_clause(rows: Sequence[Restarts], one: Container, rules: Rules) -> Clause | None:
    """A loop of out-of-memory kills inside a container that stays up."""
    count = within([row for row in rows if row.by == "oom"], rules.window)
    state, limit = judge(count, rules.warning, rules.critical)
    if limit is None or not one.is_alive:
        return None
    memory = f" ({units.say_size(one.memory_limit)})" if one.memory_limit else ""
    return Clause(
        state,
        f"had {count} processes killed for lack of memory{memory} in "
        f"{units.say_duration(rules.window)} (limit {limit.typed}), and stays up",
        "oom",
        one,
    )


def has_failed_for_good(one: Container, now: float, window: float) -> bool:
    """Whether a one-shot, a container without restart policy, failed within the window."""
    failed = (one.exit_code != 0 or bool(one.error)) and not one.is_alive
    is_recent = now - (one.finished_at or one.created) <= window
    return one.policy == "no" and failed and is_recent and not one.group.is_service


def down_clause(
    one: Container, ended: str, rules: Rules, now: float, heard: Sequence[Event] = ()
) -> Clause | None:
    """A container that is down: nothing, if it may be; else who gave up on it.

    `ended`: what `how_it_ended` found now or at an earlier look.
    """
    since = one.finished_at or one.created
    seconds = max(0.0, now - since)
    said = units.say_duration(round(seconds))
    policy = one.policy_words
    failed = one.exit_code != 0 or bool(one.error)
    if one.policy == "no" or (one.policy == "on-failure" and not failed):
        if rules.oneshot_failures is OK or not has_failed_for_good(one, now, rules.window):
            return None
        reason = f": {one.error}" if one.error else ""
        return Clause(
            rules.oneshot_failures,
            f"failed {said} ago with exit {exit_words(one.exit_code)}{reason}",
            "oneshot",
            one,
        )
    if one.started_at is None:
        if one.error or one.exit_code:
            reason = one.error or f"exit {exit_words(one.exit_code)}"
            text = f"never started, and its policy {policy} does not try again: {reason}"
            return Clause(CRITICAL, text, "gave-up", one)
        if seconds <= rules.grace:
            return None
        text = f"was created {said} ago and never started although its policy is {policy}"
        return Clause(rules.stopped_by_hand, text, "hand", one)
    if one.error:
        text = (
            f"is down for {said} although its policy is {policy}, the engine gave up: {one.error}"
        )
        return Clause(CRITICAL, text, "gave-up", one)
    exit_said = f"exit {exit_words(one.exit_code)}".replace(" (it ends by itself)", "")
    if one.oom_killed:
        exit_said += ", killed for lack of memory"
    if 0 < one.max_retries <= one.restart_count:
        text = f"is down for {said}: its policy {policy} is used up, last {exit_said}"
        return Clause(CRITICAL, text, "gave-up", one)
    if ended == "hand":
        return None
    if ended == "alone" and seconds > min(rules.grace, 15.0):
        hup = any(event.action == "kill" and event.signal == 1 for event in heard)
        why = (
            "docker kill -s HUP had switched the policy off"
            if hup
            else "docker kill with a signal may have switched the policy off"
        )
        text = (
            f"is down for {said} although its policy is {policy}: it died by itself ({exit_said}) "
            f"and was not restarted; {why}"
        )
        return Clause(CRITICAL, text, "no-effect", one)
    if seconds <= rules.grace:
        return None
    text = (
        f"is down for {said} although its policy is {policy} ({exit_said}): stopped by hand, or "
        "its policy had no effect"
    )
    return Clause(rules.stopped_by_hand, text, "hand", one)


def health_clause(one: Container, rules: Rules, now: float) -> Clause | None:
    """An unhealthy container, once the grace is over; engines never restart those."""
    if one.status == "paused" and rules.paused is not OK:
        return Clause(rules.paused, "is paused", "paused", one)
    if one.health is None or one.status != "running" or one.started_at is None:
        return None
    age = max(0.0, now - one.started_at)
    says = f": {one.health.says}" if one.health.says else ""
    if one.health.status == "unhealthy":
        since = one.health.failing_since
        seconds = min(age, max(0.0, now - since)) if since is not None else age
        if seconds <= rules.grace:
            return None
        text = f"is unhealthy for {units.say_duration(round(seconds))}{says}"
        return Clause(rules.unhealthy, text, "unhealthy", one)
    if one.health.status == "starting" and age > one.health.patience + rules.grace:
        state = OK if rules.unhealthy is OK else WARNING
        text = f"is up for {units.say_duration(round(age))}, its health still only starting{says}"
        return Clause(state, text, "unhealthy", one)
    return None


def finding_of(group: Group, clauses: Sequence[Clause]) -> Finding | None:
    """One finding of all that is wrong with a group, the worst first."""
    wrong = [clause for clause in clauses if clause.state is not OK]
    # That it is down for good says more than how often it tried.
    wrong.sort(key=lambda clause: clause.kind not in ("gave-up", "no-effect"))
    wrong.sort(key=lambda clause: -verdict.SEVERITY.index(clause.state))
    if not wrong:
        return None
    text = f"{called(group, wrong[0].container)} {wrong[0].text}"
    more = tuple(f"{group.name} also {clause.text}" for clause in wrong[1:])
    return Finding(wrong[0].state, text, more, code=wrong[0].kind)


def called(group: Group, one: Container | None) -> str:
    """A group's name, and the container's where a compose file has given it quite another one."""
    if one is None or group.kind != "compose":
        return group.name
    is_alike = one.name.replace("_", "-").endswith(group.name.replace("_", "-"))
    return group.name if is_alike else f"{group.name} (container {one.name})"


def service_clauses(
    service: Service,
    rows: Sequence[Restarts],
    tasks: Sequence[Task],
    rules: Rules,
    now: float,
    below_seconds: float,
) -> tuple[int, list[Clause]]:
    """What is wrong with a swarm service, and how often its tasks failed within the window."""
    by_slot: dict[str, list[Restarts]] = {}
    for row in rows:
        by_slot.setdefault(row.group.key, []).append(row)
    counts = [within(slot, rules.window) for slot in by_slot.values()]
    total, worst = sum(counts), max(counts, default=0)
    window = units.say_duration(rules.window)
    state, limit = judge(worst, rules.warning, rules.critical)
    # Later tasks may still be pending, without words of their own.
    ends = sorted(
        (task for task in tasks if task.error or task.exit_code), key=lambda task: -task.changed
    )
    said = f", last: {ends[0].error or f'exit {ends[0].exit_code}'}" if ends else ""
    clauses = []
    if limit is not None:
        slots = f" in {sum(1 for count in counts if count)} replicas" if len(counts) > 1 else ""
        text = f"had {total} tasks fail in {window}{slots} (limit {limit.typed} a replica){said}"
        clauses.append(Clause(state, text, "task"))
    if service.running is not None and service.desired and not service.mode.endswith("Job"):
        done = sum(1 for task in tasks if task.state == "complete" and task.desired != "running")
        wanted = service.desired
        if service.restarts_on in ("none", "on-failure"):
            wanted -= min(wanted, done)
        if service.running < wanted and below_seconds > rules.grace:
            state = CRITICAL if service.running == 0 else WARNING
            text = f"runs {service.running} of {service.desired} tasks for "
            text += units.say_duration(round(below_seconds)) + said
            clauses.append(Clause(state, text, "tasks"))
    return total, clauses


@dataclass(frozen=True)
class Judged:
    """What a look means: clauses by group, new restarts to record, how containers ended."""

    groups: Mapping[str, Group]
    clauses: Mapping[str, Sequence[Clause]]
    counts: Mapping[str, int]
    rows: Sequence[Restarts]
    ended: Mapping[str, str]
    remark: str = ""
    remarks: Sequence[str] = ()


def judgement(
    seen: Seen,
    past: Mapping[str, Past],
    remembered: Sequence[Restarts],
    rules: Rules,
    group_by: str = "",
    is_wanted: Callable[[Event], bool] = lambda event: True,
    is_podman: bool = False,
) -> Judged:
    """The whole judgement of one look, pure: what is seen and remembered in, clauses out."""
    now, heard = seen.now, seen.ring.by_container()
    fresh: list[Restarts] = []
    for one in seen.containers:
        told_of, was = heard.get(one.id, []), past.get(one.id)
        fresh += restarts_of(one, was, told_of, now, rules.window, is_podman)
        fresh += killed_inside(one, was, told_of, now, rules.window)
    fresh, remark = collapsed(fresh, past, seen.containers)
    # A group's new containers are found again at every look, until they are out of the window.
    members = members_of(seen.containers, seen.ring, past, group_by, is_wanted)
    recorded = {(row.by, row.id) for row in remembered if row.by == "new"}
    fresh += [
        row for row in replacements(members, now, rules.window) if ("new", row.id) not in recorded
    ]
    present = {one.id: one.group for one in seen.containers}
    rows_by_group: dict[str, list[Restarts]] = {}
    groups: dict[str, Group] = {}
    for row in (*remembered, *fresh):
        group = present.get(row.id, row.group)  # renamed since
        groups.setdefault(group.key, group)
        rows_by_group.setdefault(group.key, []).append(row)
    by_group: dict[str, list[Container]] = {}
    for one in sorted(seen.containers, key=lambda one: -one.created):
        groups[one.group.key] = one.group
        by_group.setdefault(one.group.key, []).append(one)

    clauses: dict[str, list[Clause]] = {}
    counts: dict[str, int] = {}
    ended: dict[str, str] = {}
    remarks: list[str] = []
    for key in groups:
        present_members = by_group.get(key, [])
        rows = rows_by_group.get(key, [])
        if not present_members and key != ENGINE.key:
            # Removed for good, unless it is a loop of containers that remove themselves.
            rows = [row for row in rows if row.by == "new" and row.ago <= rules.window]
            if not rows or not is_group_selected(rows, members, is_wanted, heard, past):
                continue
        counts[key], loop = loop_clause(rows, present_members, rules, lived(present_members, heard))
        found = [loop] if loop else []
        for one in present_members:
            told_of, was = heard.get(one.id, []), past.get(one.id)
            if one.is_alive:
                kills = kills_clause([row for row in rows if row.id == one.id], one, rules)
                found += [clause for clause in (kills, health_clause(one, rules, now)) if clause]
                continue
            how = how_it_ended(one, told_of, seen.ring.covered_from)
            if is_podman and how == "alone":
                how = ""
            if not how and was and was.ended and was.ended.partition(":")[2] == one.finished:
                how = was.ended.partition(":")[0]
            if how:
                ended[one.id] = f"{how}:{one.finished}"
            down = down_clause(one, how, rules, now, told_of)
            found += [down] if down else []
            if how == "hand" and one.policy in ("always", "unless-stopped"):
                seconds = round(max(0.0, now - (one.finished_at or now)))
                ago = units.say_duration(seconds)
                remarks.append(f"{one.name} was stopped by hand {ago} ago, policy {one.policy}")
        clauses[key] = found
    return Judged(groups, clauses, counts, fresh, ended, remark, remarks)


def is_group_selected(
    rows: Sequence[Restarts],
    members: Sequence[Member],
    is_wanted: Callable[[Event], bool],
    heard: Mapping[str, Sequence[Event]],
    past: Mapping[str, Past],
) -> bool:
    """Whether a group without a living member is among those asked for.

    Of what has gone only names and images are known, from the last look or from the events.
    """
    for row in rows:
        if row.id in heard:
            return is_wanted(heard[row.id][-1])
        if row.id in past:
            was = past[row.id]
            return is_wanted(Event(0.0, "", was.id, was.name, was.image, {}))
    group = rows[0].group
    return group.kind == "name" and is_wanted(Event(0.0, "", "", group.name, "", {}))


# How it is told


def applies() -> str:
    """Why there is nothing to look at on this host, or ""."""
    if engine_address(None) is not None:
        return ""
    with contextlib.suppress(OSError):
        if os.listdir("/var/lib/docker/containers"):  # an engine that is down, with containers
            return ""
    return "no container engine has a socket here"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = opt.parser("container_restarts", __doc__)
    opt.add_limits(parser, warning="2", critical="5", what="restarts of one group within --window")
    group = parser.add_argument_group("what to look at")
    group.add_argument(
        "--docker-host",
        metavar="URL",
        help="unix:///path, tcp://host:port or ssh://user@host (default: $DOCKER_HOST, else the "
        "first usual socket of docker or podman that this user may use)",
    )
    group.add_argument(
        "--cert-path",
        type=Path,
        metavar="DIR",
        help="TLS for tcp: ca.pem, cert.pem and key.pem are here (default: $DOCKER_CERT_PATH if "
        "$DOCKER_TLS_VERIFY is set)",
    )
    opt.add_selectors(parser, "containers, by name,")
    group.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY[=GLOB]",
        help="only containers with this label; repeatable, all must fit (default: any)",
    )
    group.add_argument(
        "--compose",
        action="append",
        default=[],
        metavar="PROJECT[/SERVICE]",
        help="only containers of this compose project or service, globs; repeatable (default: any)",
    )
    group.add_argument(
        "--image",
        action="append",
        type=opt.pattern,
        default=[],
        metavar="PATTERN",
        help="only containers of this image: a glob, or re:REGEX; repeatable (default: any)",
    )
    group.add_argument(
        "--group-by",
        default="",
        metavar="LABEL",
        help="new containers with the same value of this label take each other's place (default: "
        "compose service, swarm slot, name, or image and command)",
    )
    group.add_argument(
        "--service",
        action="append",
        type=opt.pattern,
        default=[],
        metavar="PATTERN",
        help="on a swarm manager: judge the tasks of these services, wherever they run, instead of "
        "local containers; repeatable, '*' for all (default: none)",
    )
    opt.add_missing(parser)
    judging = parser.add_argument_group("how to judge")
    judging.add_argument(
        "--window",
        type=opt.positive_duration,
        default="15m",
        metavar="DURATION",
        help="count restarts within this time (default: 15m)",
    )
    judging.add_argument(
        "--grace",
        type=opt.duration,
        default="2m",
        metavar="DURATION",
        help="down, unhealthy or short of tasks for this long is no problem yet (default: 2m)",
    )
    for option, default, words in (
        ("--stopped-by-hand", "warning", "down although the policy says up, and perhaps stopped by "
         "hand; a stop that the engine remembers is always ok"),
        ("--unhealthy", "critical", "unhealthy for longer than --grace"),
        ("--paused", "ok", "paused"),
        ("--oneshot-failures", "ok", "without restart policy, failed within --window"),
    ):  # fmt: skip
        judging.add_argument(
            option,
            type=opt.state,
            default=default,
            metavar="STATE",
            help=f"state of a container that is {words} (default: {default})",
        )
    judging.add_argument(
        "--log-lines",
        type=_lines,
        default="1",
        metavar="N",
        help="show the last N lines of the worst container's log, with -v those of the five worst "
        "(default: 1)",
    )
    opt.add_state_dir(parser)
    return parser


def _lines(text: str) -> int:
    if not text.isdigit() or int(text) > 50:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 0 to 50")
    return int(text)


def is_selected(
    args: argparse.Namespace, name: str, image: str | None, labels: Mapping[str, str]
) -> bool:
    """Whether a container is to be looked at, from what the list or an event tells of it.

    An image that is not known yet fits.
    """
    if not opt.selected(name, args.include, args.exclude):
        return False
    if not all(_is_labelled(labels, wanted) for wanted in args.label):
        return False
    if args.compose and not any(_is_of_compose(labels, wanted) for wanted in args.compose):
        return False
    return image is None or not args.image or any(one.matches(image) for one in args.image)


def _is_labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, has_value, value = wanted.partition("=")
    return key in labels and (not has_value or _like(labels[key], value))


def _is_of_compose(labels: Mapping[str, str], wanted: str) -> bool:
    project = labels.get("com.docker.compose.project", "")
    service = labels.get("com.docker.compose.service", "")
    of_project, _, of_service = wanted.partition("/")
    return bool(project) and _like(project, of_project) and _like(service, of_service or "*")


def _like(text: str, glob: str) -> bool:
    return fnmatch.fnmatchcase(text, glob)


def plan(
    args: argparse.Namespace,
    clock: Callable[[], Stamp] = history.now,
) -> Check:
    """The check; `clock` tells the time of the look."""

    def look() -> Report:
        at = clock()
        address = engine_address(args.docker_host)
        if address is None:
            found = no_engine(args.missing)
            return Report([found] if args.missing is not OK else [], summary=found.text)
        engine = None
        try:
            with quiet_ssh(address):
                knock(address)
                engine = Engine(address, tls_of(address, args.cert_path))
                engine.meet()
                if args.service:
                    return look_at_services(engine, args, at)
                return look_at_containers(engine, args, at)
        except EngineDown as error:
            server = engine.server if engine else "podman" if "podman" in address else "docker"
            return Report([down_finding(server, address, error)])
        finally:
            if engine is not None:
                engine.close()

    return Check("container_restarts", look, timeout=args.timeout, verbose=args.verbose)


def no_engine(state: State) -> Finding:
    """What to say when there is no socket at all. Podman runs containers without one."""
    if shutil.which("podman") and not shutil.which("dockerd"):
        text = "podman is installed, but its socket, through which it is asked, is not there"
        user = "" if os.geteuid() == 0 else "--user "
        return Finding(state, text, next=f"systemctl {user}enable --now podman.socket")
    places = ", ".join(SOCKETS)
    text = f"no container engine: there is neither {places} nor a socket of this user's"
    return Finding(state, text, next="systemctl status docker.socket podman.socket")


def down_finding(server: str, address: str, error: EngineDown) -> Finding:
    if isinstance(error, NotLetIn):
        text = f"{server} engine at {safe(address)} cannot be asked: {error}"
        return Finding(UNKNOWN, text, next=login(address), code="not-let-in")
    if address.startswith("unix:"):
        user = "--user " if address.startswith("unix:///run/user/") else ""
        following = f"systemctl {user}status {'podman.socket' if server == 'podman' else 'docker'}"
    elif address.startswith("ssh:"):
        following = login(address)
    else:
        following = f"docker -H {shlex.quote(address)} version"
    text = f"{server} engine at {safe(address)} does not answer: {error}"
    return Finding(CRITICAL, text, next=following, code="engine-down")


def look_at_containers(engine: Engine, args: argparse.Namespace, at: Stamp) -> Report:
    """One look at the containers of an engine, with what was remembered of it."""
    now = at.wall + engine.clock_offset
    rules = rules_of(args)
    wanted, containers, unanswered = selected(engine, args)
    with history.History.open("container_restarts", args.state_dir, TABLES) as kept:
        memory = Memory(kept, engine.url, at)
        past = memory.containers()
        remembered = memory.restarts()
        known = [past[one.id].looked_at for one in containers if one.id in past]
        is_new = len(known) < len(containers)
        since = now - args.window if is_new or not known else min(known) - STOP_SECONDS
        ring, trouble = engine.ring(max(since, now - args.window), now)
        seen = Seen(engine.url, now, containers, ring, unanswered)

        def is_wanted(event: Event) -> bool:
            return is_selected(args, event.name, event.image, event.labels or {})

        judged = judgement(
            seen, past, remembered, rules, args.group_by, is_wanted, engine.is_podman
        )
        moved = [one for one in containers if one.id in past and past[one.id].group != one.group]
        for one in moved:
            memory.regroup(one.id, one.group)
        memory.record(judged.rows, past)
        for one in containers:
            memory.note(one, judged.ended.get(one.id, ""), now)
        memory.forget(args.window)
        unsaved = kept.save()
        remarks = [kept.remark] if kept.remark else []

    findings = told(engine, args, judged, seen)
    findings += [
        Finding(UNKNOWN, f"{name} could not be inspected: {why}", code="no-answer")
        for name, why in unanswered.items()
    ]
    findings += absent(args, wanted, judged, command_of(engine, args))
    findings += [unsaved] if unsaved else []
    reach = reach_of(ring, now, args.window, trouble)
    remarks += [judged.remark] if judged.remark else []
    remarks += [trouble] if trouble else []
    if not past and containers:
        remarks.append(f"first look at this engine; its events reach back {reach}")
    remarks += judged.remarks
    return Report(findings, measures_of(containers, judged, rules, now), summary(judged, seen, args,
                  not past, reach), remarks)  # fmt: skip


def selected(
    engine: Engine, args: argparse.Namespace
) -> tuple[list[Listed], list[Container], dict[str, str]]:
    """What to look at, as listed and as inspected, and why some could not be inspected.

    The list has only the id of an image whose name went to a newer one, or with a prune.
    """
    asked = [
        one
        for one in engine.listed()
        if is_selected(
            args, one.name, None if one.image.startswith("sha256:") else one.image, one.labels
        )
    ]
    containers, unanswered = engine.inspected(asked, args.group_by)
    images = {one.id: one.image for one in containers}
    wanted = [replace(one, image=images.get(one.id, one.image)) for one in asked]
    wanted = [one for one in wanted if is_selected(args, one.name, one.image, one.labels)]
    ids = {one.id for one in wanted}
    return wanted, [one for one in containers if one.id in ids], unanswered


def rules_of(args: argparse.Namespace) -> Rules:
    return Rules(
        args.window, args.warning, args.critical, args.grace, args.stopped_by_hand, args.unhealthy,
        args.paused, args.oneshot_failures,
    )  # fmt: skip


def reach_of(ring: Ring, now: float, window: float, trouble: str) -> str:
    """How far back the engine's events tell of everything."""
    if trouble or ring.covered_from is None:
        return "nowhere"
    seconds = min(window, max(0.0, now - ring.covered_from))
    return units.say_duration(round(seconds)) + (
        f" of the {units.say_duration(window)} window" if seconds < window else ""
    )


def told(engine: Engine, args: argparse.Namespace, judged: Judged, seen: Seen) -> list[Finding]:
    """The findings with details, last words and the next command; worst and most first."""
    found: list[tuple[int, Finding, Container | None]] = []
    for key, clauses in judged.clauses.items():
        finding = finding_of(judged.groups[key], clauses)
        if finding is None:
            continue
        worst = next(clause for clause in clauses if clause.kind == finding.code)
        one = worst.container
        more = list(finding.more)
        if one is not None and args.verbose:  # else the room is for the other offenders
            more.append(details(one, seen.now))
        following = next_command(engine, args, judged.groups[key], worst)
        finding = replace(finding, more=tuple(more), next=following)
        found.append((judged.counts.get(key, 0), finding, one))
    # Down for good comes before up and down.
    found.sort(key=lambda one: (one[1].code not in ("gave-up", "no-effect"), -one[0]))
    found.sort(key=lambda one: -verdict.SEVERITY.index(one[1].state))
    findings = []
    shown = 5 if args.verbose else 1
    for position, (_, finding, one) in enumerate(found):
        if args.log_lines and position < shown and one is not None and one.started_at is not None:
            words = engine.last_words(one.id, args.log_lines)
            finding = replace(finding, more=(*words, *finding.more))
        findings.append(finding)
    return findings


def details(one: Container, now: float) -> str:
    """One line of facts about an offender."""
    parts = [f"{one.name}: {one.status}"]
    if one.is_alive and one.status != "restarting" and one.started_at:
        parts.append(f"up {units.say_duration(round(max(0.0, now - one.started_at)))}")
    elif one.finished_at:
        parts.append(f"exit {one.exit_code}")
    parts.append(f"policy {one.policy_words}, RestartCount {one.restart_count}")
    if one.oom_killed:
        parts.append("OOMKilled")
    if one.memory_limit:
        parts.append(f"memory {units.say_size(one.memory_limit)}")
    if one.health:
        parts.append(f"health {one.health.status}")
    if one.error:
        parts.append(f"error: {one.error}")
    parts.append(f"image {one.image}")
    return ", ".join(parts)


def command_of(engine: Engine, args: argparse.Namespace) -> str:
    """docker or podman, with the address that it needs."""
    if not args.docker_host:
        return engine.server
    return (
        f"{engine.server} {'--url' if engine.is_podman else '-H'} {shlex.quote(args.docker_host)}"
    )


def next_command(engine: Engine, args: argparse.Namespace, group: Group, clause: Clause) -> str:
    """The command that shows more of this fault, for this engine."""
    command = command_of(engine, args)
    window = units.say_duration(args.window)
    if group.kind == "engine":
        return f"journalctl -u docker --since -{window}"
    if group.kind == "swarm" and clause.kind == "new":
        service = group.name.rpartition(".")[0] or group.name
        return f"docker service ps --no-trunc {shlex.quote(service)}"
    one = clause.container
    if clause.kind == "others" and one is not None:
        name = shlex.quote(one.name)
        return f"{command} events --since {window} --until 1s --filter container={name}"
    if clause.kind == "new" and (one is None or not one.is_alive):
        if group.kind == "image" and one is not None:
            return f"{command} logs --tail 50 {one.id[:12]}"
        name = shlex.quote(group.name)
        which = f"--filter container={name} " if group.kind == "name" else ""
        return f"{command} events --since {window} --until 1s {which}--filter event=die"
    if one is None:
        return f"{command} ps -a"
    name = shlex.quote(one.name)
    if clause.kind == "unhealthy":
        return f"{command} inspect -f '{{{{json .State.Health}}}}' {name}"
    if clause.kind == "gave-up" and one.error:
        taken = PORT_TAKEN.search(one.error)
        if taken and taken["other"]:  # by another container
            return f"{command} ps --filter publish={taken['port']}"
        if taken and engine.url.startswith("unix:"):
            return f"ss -ltnp 'sport = :{taken['port']}'"
        return f"{command} start {name}"
    return f"{command} logs --tail 50 {name}"


def absent(
    args: argparse.Namespace, there: Sequence[Listed], judged: Judged, command: str
) -> list[Finding]:
    """What was asked for and is not there, unless a loop of new ones is between two of them."""
    if args.missing is OK:
        return []
    looping = [judged.groups[key].name for key in judged.clauses]
    names = (*(one.name for one in there), *looping)
    missed = [
        f"called {pattern.typed}"
        for pattern in args.include
        if not any(pattern.matches(name) for name in names)
    ]
    if there or not looping:
        missed += [
            f"of compose project {wanted}"
            for wanted in args.compose
            if not any(_is_of_compose(one.labels, wanted) for one in there)
        ]
        missed += [
            f"of image {pattern.typed}"
            for pattern in args.image
            if not any(pattern.matches(one.image) for one in there)
        ]
    missed += [] if names else [f"labelled {wanted}" for wanted in args.label]
    if not there and missed:  # each might be there, but none that is all of it
        missed = [", ".join(missed)]
    return [
        Finding(
            args.missing, f"no container is {safe(words)}", next=f"{command} ps -a", code="missing"
        )
        for words in missed
    ]


def summary(judged: Judged, seen: Seen, args: argparse.Namespace, first: bool, reach: str) -> str:
    """The sentence when nothing is wrong."""
    count = len(seen.containers)
    if not count:
        asked = args.include or args.exclude or args.label or args.compose or args.image
        return "no containers" + (" selected" if asked else "")
    restarted = sum(judged.counts.values())
    containers = f"{count} container{'s' if count != 1 else ''} watched"
    window = units.say_duration(args.window)
    restarts = f"{restarted or 'no'} restart{'s' if restarted != 1 else ''}"
    limit = args.warning or args.critical
    if first:
        text = f"{containers}, {restarts} known of the last {window}"
        text += f" (first look, events reach back {reach})"
    elif not restarted:
        text = f"{containers}, none restarted in {window}"
    else:
        text = f"{containers}, {restarts} in {window}"
        text += f" (limit {limit.typed} each)" if limit else ""
    paused = sum(1 for one in seen.containers if one.status == "paused")
    failed = sum(1 for one in seen.containers if has_failed_for_good(one, seen.now, args.window))
    text += f", {paused} paused" if paused else ""
    return text + (f", {failed} without a restart policy ended with an error" if failed else "")


def measures_of(
    containers: Sequence[Container], judged: Judged, rules: Rules, now: float
) -> list[Measure]:
    """Sums first, then each group's restarts by name, then counts and ages."""
    limits: dict[str, Any] = {"warning": rules.warning, "critical": rules.critical, "minimum": 0}
    down = {
        clause.container.id
        for clauses in judged.clauses.values()
        for clause in clauses
        if clause.container and clause.kind in ("gave-up", "hand", "no-effect")
    }
    sick = [one for one in containers if one.health and one.health.status == "unhealthy"]
    measures = [
        Measure("containers", len(containers), minimum=0),
        Measure("running", sum(1 for one in containers if one.is_alive), minimum=0),
        Measure("restarts", sum(judged.counts.values()), minimum=0),
        Measure("most_restarts", max(judged.counts.values(), default=0), **limits),
        Measure("down", len(down), minimum=0),
        Measure("unhealthy", len(sick), minimum=0),
    ]
    newest: dict[str, Container] = {}
    for one in containers:
        if one.group.key not in newest or one.created > newest[one.group.key].created:
            newest[one.group.key] = one
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for key in judged.counts:
        taken[judged.groups[key].name] = taken.get(judged.groups[key].name, 0) + 1
    for key in judged.counts:
        name = judged.groups[key].name
        names[key] = name if taken[name] == 1 else key
    ordered = sorted(judged.counts, key=lambda key: names[key])
    for key in ordered:
        measures.append(
            Measure(verdict.label(names[key], "restarts"), judged.counts[key], **limits)
        )
    for key in ordered:
        one_of = newest.get(key)
        if one_of is None:
            continue
        label = names[key]
        total = Measure(verdict.label(label, "restarts_total"), one_of.restart_count, "c")
        measures.append(total)
        if one_of.is_alive and one_of.started_at:
            age = round(max(0.0, now - one_of.started_at), 3)
            measures.append(Measure(verdict.label(label, "age"), age, "s", minimum=0))
    return measures


def look_at_services(engine: Engine, args: argparse.Namespace, at: Stamp) -> Report:
    """One look at the services of a swarm, through a manager."""
    now = at.wall + engine.clock_offset
    rules = rules_of(args)
    every, tasks = engine.services()
    services = {
        service.id: service
        for service in every
        if any(pattern.matches(service.name) for pattern in args.service)
    }
    with history.History.open("container_restarts", args.state_dir, TABLES) as kept:
        memory = Memory(kept, engine.url, at)
        remembered = [row for row in memory.restarts() if row.by == "task"]
        have = {row.id for row in remembered}
        fresh = [row for row in task_rows(services, tasks, now, args.window) if row.id not in have]
        memory.record(fresh, {})
        findings: list[Finding] = []
        measures: list[Measure] = []
        restarts = 0
        for service in sorted(services.values(), key=lambda service: service.name):
            own_tasks = [task for task in tasks if task.service_id == service.id]
            rows = [
                row
                for row in (*remembered, *fresh)
                if row.group.key.startswith(f"service:{service.id}/")
            ]
            below = below_for(kept, engine.url, service, own_tasks, at, now)
            total, clauses = service_clauses(service, rows, own_tasks, rules, now, below)
            restarts += total
            group = Group(f"service:{service.id}", service.name, "service", True)
            finding = finding_of(group, clauses)
            if finding:
                name = shlex.quote(service.name)
                findings.append(replace(finding, next=f"docker service ps --no-trunc {name}"))
            label = verdict.label(service.name, "restarts")
            measures.append(Measure(label, total, minimum=0))
            measures.append(
                Measure(
                    verdict.label(service.name, "running"), service.running, minimum=0,
                    maximum=service.desired,
                )
            )  # fmt: skip
        memory.forget(args.window)
        unsaved = kept.save()
    findings += [unsaved] if unsaved else []
    if args.missing is not OK:
        findings += [
            Finding(args.missing, f"no service is called {safe(pattern.typed)}", code="missing")
            for pattern in args.service
            if not any(pattern.matches(service.name) for service in every)
        ]
    count = len(services)
    said = f"{count} service{'s' if count != 1 else ''} watched, {restarts or 'no'} tasks failed in"
    return Report(
        findings,
        [
            Measure("services", count, minimum=0),
            Measure("restarts", restarts, minimum=0),
            *measures,
        ],
        f"{said} {units.say_duration(args.window)}",
    )


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.container_restarts.drill import DRILL

    return DRILL


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Timeline:
    """What it remembers of a subject, for `twiceshy plot`."""
    from twiceshy.container_restarts import picture as drawn

    return drawn.picture(state_dir, subject, at)


@guarded
def main() -> None:
    """The command."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

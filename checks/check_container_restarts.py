#!/usr/bin/env python3
"""Is a container restarting faster than it can work, or down although its policy says up?

A container that dies every twelve seconds is "running" 98 times out of 100, and the engine's
RestartCount is zeroed by every manual start and never goes down otherwise: one alert, and red for
ever. This check counts restarts within a window, whatever caused them: the restart policy, a
`docker restart` by cron or autoheal, or new containers in place of ended ones (`while true; docker
run`, compose, swarm). It recovers by itself one quiet window after the last restart. It also finds
containers that are down although their policy says up, because the engine gave up on them or
because `docker kill -s HUP` switched the policy off, loops of out-of-memory kills, and containers
that stay unhealthy, which no engine restarts.

Containers are grouped by --group-by LABEL, compose service, swarm service and slot, name, or, if
they are unnamed, image and command. No alarm is raised for a deploy, a restart of the engine or of
the host (reported in one remark), a scale-up, jobs that exit with 0, one-shots, or an old, stable
high count.

Learned from: "High availability taken the wrong way" (25 July 2015): a dockerised application died,
  its --restart=always had no effect, and the remedy asked for was a loop inside a loop.
Reads: the engine's API at --docker-host, $DOCKER_HOST or the first that this user may use of
  /var/run/docker.sock, /run/podman/podman.sock, $XDG_RUNTIME_DIR/docker.sock and
  $XDG_RUNTIME_DIR/podman/podman.sock:
  ping, list, one inspect per selected container, events; with --service services and tasks
  (on a swarm manager). Docker and podman; unix, tcp (with TLS) and ssh. Needs Python's docker
  library (apt install python3-docker, or pip install 'twiceshy[containers]'). Whoever may write to
  that socket is root: rather than adding the check's user to group docker, let it use a socket
  proxy that allows GET on containers and events alone, or run this check with sudo. Rootless
  containers are visible only at their own user's socket.
Remembers: per container its incarnation and count, per group its restarts; for twice the window.
Says:
  OK        no group restarted more often than -w within --window, nothing down, nothing unhealthy
  WARNING   more restarts than -w; more new containers than -w or -c, some of which replace
            containers whose exit status is unknown
  WARNING   down for longer than --grace although the policy says up, and perhaps stopped manually
            (--stopped-by-hand); health check still "starting" long after its time
  CRITICAL  more restarts than -c, by policy, from outside, or as new containers or tasks
  CRITICAL  more processes than -c killed for lack of memory in a container that stays up
  CRITICAL  the engine gave up: start failed, never started, all retries of on-failure:N used up
  CRITICAL  died by itself and was not restarted although the policy says up
  CRITICAL  unhealthy for longer than --grace (--unhealthy)
  CRITICAL  --service: no task running, or, as WARNING, fewer than desired for longer than --grace
  CRITICAL  the engine does not answer
  CRITICAL  there is no engine here; what was requested by name is absent (--missing)
  UNKNOWN   no permission to ask the engine, ssh key refused; a container that does not answer;
            history cannot be saved; Python's docker library missing
Measures:
  containers              -  containers checked
  services                -  services checked (--service)
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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from twiceshy.container_restarts import report
from twiceshy.container_restarts.engine import ContainerEngine, connected
from twiceshy.container_restarts.history import EngineHistory, opened
from twiceshy.container_restarts.judgement import judgement, new_failures, swarm_judgement
from twiceshy.container_restarts.observation import (
    absence,
    containers_of,
    has_containers_without_engine,
    outage,
    swarm_of,
    with_events,
)  # fmt: skip
from twiceshy.container_restarts.settings import Settings, settings_of
from twiceshy.kit import history
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.engine import EngineDown, engine_address
from twiceshy.kit.plugin import guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Report

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Timeline


def plan(
    args: argparse.Namespace,
    clock: Callable[[], Stamp] = history.now,
) -> Check:
    """The check; `clock` tells the time of the run."""
    settings = settings_of(args)

    def run() -> Report:
        at = clock()
        address = engine_address(settings.docker_host)
        if address is None:
            return report.no_engine(absence(), settings.missing)
        try:
            with connected(address, settings.cert_path) as engine:
                if settings.services:
                    return services(engine, settings, at)
                return containers(engine, settings, at)
        except EngineDown as error:
            return report.engine_down(outage(address, error))

    return Check("container_restarts", run, timeout=settings.timeout, verbose=settings.verbose)


def containers(engine: ContainerEngine, settings: Settings, at: Stamp) -> Report:
    """One run over the containers of an engine, with what earlier runs have recorded of it."""
    rules, selection = settings.rules, settings.selection
    observation = containers_of(engine, selection, at.wall + engine.clock_offset)
    with opened(settings.state_dir) as file:
        engine_history = EngineHistory(file, engine.url, at)
        recorded = engine_history.recorded()
        past = recorded.containers
        observation = with_events(observation, engine, past, rules.window)
        judged = judgement(observation, recorded, rules, selection)
        engine_history.record_restarts(judged.new_restarts, past)
        engine_history.record_containers(observation, judged.endings, past)
        engine_history.forget(rules.window)
        unsaved = file.save()

    command = report.client_command(engine.server, settings.docker_host)
    offenders = report.offenders(judged, observation, command, rules.window, settings.verbose)
    findings = [
        *report.with_logs(offenders, logs(engine, offenders, settings)),
        *report.unanswered(observation),
        *report.absent(judged, observation, selection, settings.missing, command),
        *([unsaved] if unsaved else []),
    ]
    remarks = report.remarks(judged, observation, rules.window, is_first_run=not past)
    return Report(
        findings,
        report.measures(judged, observation, rules),
        report.summary(judged, observation, rules, selection, is_first_run=not past),
        [file.remark, *remarks] if file.remark else remarks,
    )


def logs(
    engine: ContainerEngine, offenders: Sequence[report.Offender], settings: Settings
) -> Mapping[str, Sequence[str]]:
    """The last lines of the logs of the worst containers, by id."""
    return {
        container.id: engine.log_tail(container.id, settings.log_lines)
        for container in (offender.container for offender in offenders[: settings.logs_shown])
        if container is not None and container.started_at is not None
    }


def services(engine: ContainerEngine, settings: Settings, at: Stamp) -> Report:
    """One run over the services of a swarm, through a manager."""
    rules = settings.rules
    observation = swarm_of(engine, settings.services, at.wall + engine.clock_offset)
    with opened(settings.state_dir) as file:
        engine_history = EngineHistory(file, engine.url, at)
        recorded = engine_history.recorded()
        failures = new_failures(observation, recorded, rules.window)
        engine_history.record_restarts(failures, {})
        below = engine_history.below_seconds(observation)
        judged = swarm_judgement(observation, (*recorded.restarts, *failures), rules, below)
        engine_history.forget(rules.window)
        unsaved = file.save()
    swarm = report.services_report(
        observation, judged, settings.services, settings.missing, rules.window
    )
    return replace(swarm, findings=[*swarm.findings, unsaved]) if unsaved else swarm


EVERY = "1m"


def applies() -> str:
    """Why there is nothing to check on this host, or ""."""
    if engine_address(None) is not None or has_containers_without_engine():
        return ""
    return "no container engine has a socket here"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = opt.parser("container_restarts", __doc__)
    opt.add_limits(
        parser,
        warning="2",
        critical="5",
        what="the number of restarts of one group within --window",
    )
    _add_selection(parser)
    opt.add_missing(parser)
    _add_judging(parser)
    opt.add_state_dir(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to watch")
    group.add_argument(
        "--docker-host",
        metavar="URL",
        help="unix:///path, tcp://host:port or ssh://user@host (default: $DOCKER_HOST, or the "
        "first of the usual sockets of docker and podman that this user may use)",
    )
    group.add_argument(
        "--cert-path",
        type=Path,
        metavar="DIR",
        help="TLS for tcp: ca.pem, cert.pem and key.pem are here (default: $DOCKER_CERT_PATH if "
        "$DOCKER_TLS_VERIFY is set)",
    )
    opt.add_selectors(parser, "containers (by name)")
    group.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY[=GLOB]",
        help="only containers with this label; repeatable, all must match (default: any)",
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
        help="containers with the same value of this label replace each other (default: "
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


def _add_judging(parser: argparse.ArgumentParser) -> None:
    judging = parser.add_argument_group("judging")
    judging.add_argument(
        "--window",
        type=opt.positive_duration,
        default="15m",
        metavar="DURATION",
        help="count restarts within this period before now (default: 15m)",
    )
    judging.add_argument(
        "--grace",
        type=opt.duration,
        default="2m",
        metavar="DURATION",
        help="tolerate being down, unhealthy or short of tasks for this long (default: 2m)",
    )
    for option, default, condition in (
        ("--stopped-by-hand", "warning", "is down although its policy says up, and may have been "
         "stopped manually; a stop that the engine remembers is always ok"),
        ("--unhealthy", "critical", "has been unhealthy for longer than --grace"),
        ("--paused", "ok", "is paused"),
        ("--oneshot-failures", "ok", "has no restart policy and failed within --window"),
    ):  # fmt: skip
        judging.add_argument(
            option,
            type=opt.state,
            default=default,
            metavar="STATE",
            help=f"state of a container that {condition} (default: {default})",
        )
    judging.add_argument(
        "--log-lines",
        type=_log_lines,
        default="1",
        metavar="N",
        help="show the last N lines of the worst container's log, with -v those of the five worst "
        "(default: 1)",
    )


def _log_lines(text: str) -> int:
    if not text.isdigit() or int(text) > 50:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 0 to 50")
    return int(text)


def drill() -> Drill:
    """The outage that it was learned from, staged, for `twiceshy drill`."""
    from twiceshy.container_restarts.drill import DRILL

    return DRILL


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Timeline:
    """The recorded restarts of a group, for `twiceshy plot`."""
    from twiceshy.container_restarts.picture import picture as timeline

    return timeline(state_dir, subject, at)


@guarded
def main() -> None:
    """Parse, run, print and exit."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

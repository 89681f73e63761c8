"""Whether logrotate runs: the schedule, the last run, the state file. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import timedelta

from twiceshy.kit import limits, units
from twiceshy.kit.plugin import CRITICAL, OK, WARNING
from twiceshy.log_rotation.faults import DAY, Fault, and_more
from twiceshy.log_rotation.records import Observation, PreviousRun, Standing
from twiceshy.log_rotation.settings import Limits

LOCKED_SECONDS = 3600
"""A run that has held the lock for longer does not come to its end."""
PERIODS = {"weekly", "monthly", "yearly", "daily"}


def runs(observation: Observation, wanted: Limits, uptime: float) -> list[Fault]:
    """All about the runs; `uptime` of the host in seconds."""
    return [
        *_schedule(observation, wanted),
        *_last_run(observation),
        *_state_file(observation, uptime),
        *_state_content(observation),
    ]


def _status(observation: Observation) -> str:
    """The command that shows whether logrotate is started."""
    if observation.schedule.is_timer:
        return "systemctl status logrotate.timer logrotate.service"
    return "ls -l /etc/cron.*/*logrotate*; pgrep -a cron"


def _schedule(observation: Observation, wanted: Limits) -> Iterator[Fault]:
    """A schedule that will not start logrotate, or has not for too long."""
    schedule, age = observation.schedule, observation.run_age
    if schedule.is_dead:
        level = CRITICAL
        if schedule.standing is Standing.ENDS_AT_BOOT:
            level = WARNING
        elif schedule.standing is Standing.NOT_FOUND and age is not None:
            # Something runs it that we do not know, as long as the last run is young enough.
            level = limits.judge(age, wanted.warning, wanted.critical)[0]
        since = "" if age is None else f"; the last run was {units.say_duration(age)} ago"
        yield Fault(
            "schedule-dead",
            level,
            schedule.name or "logrotate",
            f"logrotate will not run: {schedule.obstacle}{since}",
            next=_status(observation),
        )
    elif age is not None:
        level, broken = limits.judge(age, wanted.warning, wanted.critical)
        if broken is not None:
            note = f" ({schedule.note})" if schedule.note else ""
            yield Fault(
                "run-old",
                level,
                observation.state.path,
                f"logrotate has not completed a run for {units.say_duration(age)} "
                f"(limit {broken.typed}), although {schedule.name or 'a schedule'} exists{note}",
                next=_status(observation) + "; journalctl -u logrotate -n 20",
            )


def _last_run(observation: Observation) -> Iterator[Fault]:
    if observation.schedule.failed:
        yield Fault(
            "run-failed",
            CRITICAL if observation.schedule.last_status == 3 else WARNING,
            "logrotate.service",
            f"the last run of logrotate.service failed: {observation.schedule.failed}",
            next="journalctl -u logrotate -n 20",
        )


def _state_file(observation: Observation, uptime: float) -> Iterator[Fault]:
    """A state file that cannot be used, was never written, or is locked for too long."""
    state = observation.state
    if state.obstacle:
        yield Fault(
            "state-unusable",
            CRITICAL,
            state.path,
            f"nothing is rotated: state file {state.path}: {state.obstacle}",
            next=f"ls -ld {posixpath.dirname(state.path)} {state.path}",
        )
    elif state.written is None and state.readable and state.path != "/dev/null":
        yield Fault(
            "never-run",
            OK if uptime < 2 * DAY else WARNING,
            state.path,
            f"logrotate has never run here: {state.path} does not exist",
            next=_status(observation),
        )
    if state.locked_for > LOCKED_SECONDS:
        yield Fault(
            "state-locked",
            CRITICAL,
            state.path,
            f"nothing is rotated: process {state.locked_by}, started "
            f"{units.say_duration(state.locked_for)} ago, holds the lock on {state.path}",
            # Its child is most often the script that does not end.
            next=f"ps -wwfp {state.locked_by} --ppid {state.locked_by}",
        )


def _state_content(observation: Observation) -> Iterator[Fault]:
    """Dates that are lost, or cannot be."""
    state, content = observation.state, observation.state.content
    if content.failed:
        yield Fault(
            "state-corrupt",
            WARNING,
            state.path,
            f"{state.path}:{content.line}: {content.error}; the dates from there on are lost, and "
            "those logs' periods start over",
            next=f"sed -n {content.line}p {state.path}",
        )
    ahead = [
        path
        for path, entry in content.entries.items()
        if entry.when > observation.now + timedelta(hours=25)
    ]
    if ahead:
        when = content.entries[ahead[0]].when
        yield Fault(
            "state-future",
            WARNING,
            ahead[0],
            f"{ahead[0]} was last rotated in the future ({when:%Y-%m-%d})"
            f"{and_more(len(ahead) - 1)}: was the clock wrong?",
            also=tuple(ahead[1:50]),
            next="date; timedatectl",
        )


def reborn(observation: Observation, previous: PreviousRun, boot: str) -> list[Fault]:
    """A state file that forgets at each boot what the previous run still saw in it."""
    state = observation.state
    if not previous.boot or previous.boot == boot or not state.readable:
        return []
    entries = state.content.entries
    forgotten = [
        path
        for path in previous.oldest
        if path not in entries
        or (entries[path].placeholder and entries[path].when.isoformat() > previous.oldest[path])
    ]
    timed = [one for one in observation.logs.claimed if one.stanza.directives.criterion in PERIODS]
    if not timed or not previous.oldest or len(forgotten) < len(previous.oldest):
        return []
    return [
        Fault(
            "state-reborn",
            WARNING,
            state.path,
            f"{state.path} has been recreated since the last boot: "
            f"{timed[0].stanza.directives.criterion} rotations never become due, such as that "
            f"of {timed[0].path}",
            next=f"df {posixpath.dirname(state.path)}",
        )
    ]

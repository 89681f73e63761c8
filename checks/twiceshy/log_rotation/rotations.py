"""Logs whose rotation is refused, skipped, missed or unproven. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from twiceshy.kit.plugin import CRITICAL, OK, WARNING, State
from twiceshy.log_rotation.faults import DAY, Fault, and_more, grows, size_and_rate
from twiceshy.log_rotation.logrotate import forecast
from twiceshy.log_rotation.logrotate.forecast import Barrier
from twiceshy.log_rotation.records import ClaimedLog, Observation, PreviousRun

SLACK = 3 * 3600.0
"""A turn must have been due for this long before the last run."""
PROOF_SLACK = 3600.0
"""A rotated file may be older than its date in the state file by this."""
MOVERS = re.compile(r"\b(mv|rm|cp|rsync|savelog)\b")
"""Programs in a script of a stanza that may take the rotated file away."""


def rotations(observation: Observation, previous: PreviousRun) -> list[Fault]:
    """One finding for all logs of a directory and stanza that suffer from the same thing."""
    faults: list[Fault] = []
    claimed = {one.path for one in observation.logs.claimed}
    for one in observation.logs.claimed:
        fault = _refusal(one, observation, previous, claimed)
        fault = fault or _overdue(one, observation, previous)
        fault = fault or _unproven(one, observation, previous)
        if fault:
            faults.append(fault)
    return _grouped(faults)


def _grouped(faults: Sequence[Fault]) -> list[Fault]:
    groups: dict[tuple[str, State, str, str], list[Fault]] = {}
    for fault in faults:
        key = (fault.code, fault.state, posixpath.dirname(fault.subject), fault.file)
        groups.setdefault(key, []).append(fault)
    grouped = []
    for group in groups.values():
        worst = max(group, key=lambda one: one.octets)
        others = [one for one in group if one is not worst]
        grouped.append(
            replace(
                worst,
                text=worst.text + and_more(len(others)),
                also=(*worst.also, *(one.subject for one in others)),
                more=(*worst.more, *(f"likewise: {one.subject}" for one in others[:5])),
                octets=sum(one.octets for one in group),
                logs=len(group),
            )
        )
    return grouped


def _refusal(
    one: ClaimedLog, observation: Observation, previous: PreviousRun, claimed: Container[str]
) -> Fault | None:
    """A log that logrotate refuses, skips or fails at."""
    log, decision = one.log, one.decision
    if not (decision.code or one.parent.obstacle or one.taken):
        return None
    where, code = one.stanza.position, decision.code
    folder, test = posixpath.dirname(one.path), f"logrotate -d {observation.configuration.main}"
    named = f"{one.path} ({size_and_rate(one.path, log.size, previous, observation.epoch)})"
    harm = CRITICAL if grows(log, observation.epoch) else WARNING

    def fault(code: str, level: State, text: str, following: str) -> Fault:
        return Fault(code, level, one.path, text, where.file, next=following, octets=log.size)

    if code in ("insecure-parent", "sharedscripts-blocked"):
        if log.error or log.kind != "file":
            harm, named = OK, one.path
        if code == "insecure-parent":
            test = (
                f"ls -ld {folder}   # then perhaps `su {one.parent.user} {one.parent.group}` "
                f"in the stanza at {where}"
            )
        return fault(
            code, harm, f"{named} is refused by logrotate: {decision.reason} ({where})", test
        )
    if code == "log-missing":
        text = f"{one.path}: {decision.reason}, and {where} has no `missingok`: every run fails"
        return fault(code, WARNING, text, test)
    if code == "log-symlink":
        if one.link_target in claimed or not one.link_target:
            return None
        text = f"{one.path}: {decision.reason} ({where})"
        return fault(code, WARNING, text, f"readlink -f {one.path}")
    if code == "log-hardlink":
        text = f"{named}: {decision.reason} ({where})"
        return fault(code, WARNING, text, f"find {folder} -samefile {one.path}")
    if log.error or log.kind != "file":
        return None
    if one.parent.obstacle:
        code, following = {
            Barrier.MOUNT: ("read-only", f"findmnt -T {folder}"),
            Barrier.SERVICE: ("read-only", "systemctl cat logrotate.service"),
            Barrier.SU: ("su-cannot-write", f"ls -ld {folder}"),
        }[one.parent.obstacle.barrier]
        text = f"{named} cannot be rotated: {one.parent.obstacle.text} ({where})"
        return fault(code, harm, text, following)
    if decision.outcome == forecast.ROTATE and one.taken:
        level = harm if observation.schedule.interval < DAY else WARNING
        text = f"{named} cannot be rotated again today: {one.taken} already exists ({where})"
        return fault("destination-exists", level, text, f"ls -l {one.taken}")
    return None


def _had_its_chance(one: ClaimedLog, observation: Observation) -> bool:
    """Whether the last run saw this log under this configuration, with a date of its own."""
    last_run = observation.state.written
    if one.entry is None or last_run is None:
        return False
    if one.log.error or one.log.kind != "file" or not one.log.size:
        return False
    # A configuration that is younger than the last run has not had its chance yet.
    return observation.configuration.modified.get(one.stanza.position.file, 0) <= last_run


def _overdue(one: ClaimedLog, observation: Observation, previous: PreviousRun) -> Fault | None:
    """A turn that a run has let pass."""
    given, log, entry, due = one.stanza.directives, one.log, one.entry, one.decision.due
    last_run = observation.state.written
    if entry is None or last_run is None or not _had_its_chance(one, observation):
        return None
    if one.decision.outcome != forecast.ROTATE or due is None or entry.when >= due:
        return None
    if given.minsize or given.minage or not given.ifempty:
        return None
    version = observation.configuration.version
    if not all(
        forecast.has_come(given, entry.when, datetime.fromtimestamp(run), version)
        for run in (last_run, last_run - SLACK)
    ):
        return None
    size = size_and_rate(one.path, log.size, previous, observation.epoch)
    return Fault(
        "overdue",
        CRITICAL if grows(log, observation.epoch) else WARNING,
        one.path,
        f"{one.path} ({size}) was not rotated when due: {given.criterion}, "
        f"last {entry.when:%Y-%m-%d}, due {due:%Y-%m-%d}, and logrotate has run since "
        f"({one.stanza.position})",
        one.stanza.position.file,
        next=f"logrotate -v {observation.configuration.main}",
        octets=log.size,
    )


def _unproven(one: ClaimedLog, observation: Observation, previous: PreviousRun) -> Fault | None:
    """A rotation in the state file that left no rotated file."""
    given, log, entry, now = one.stanza.directives, one.log, one.entry, observation.now
    if entry is None or not _had_its_chance(one, observation):
        return None
    if one.decision.outcome not in (forecast.ROTATE, forecast.WAIT):
        return None
    if one.proof is None or one.proof >= entry.when.timestamp() - PROOF_SLACK:
        return None
    if given.rotate == 0 or given.mail or any(map(MOVERS.search, given.scripts.values())):
        return None
    if entry.when > now + timedelta(hours=25):
        return None
    if given.maxage and now - entry.when > timedelta(days=given.maxage):
        return None
    newest = "there is no rotated file"
    if one.proof:
        newest = f"the newest rotated file dates from {datetime.fromtimestamp(one.proof):%Y-%m-%d}"
    size = size_and_rate(one.path, log.size, previous, observation.epoch)
    return Fault(
        "no-proof",
        CRITICAL if grows(log, observation.epoch) and one.proof else WARNING,
        one.path,
        f"{one.path} ({size}) is recorded as rotated on {entry.when:%Y-%m-%d %H:%M}, but "
        f"{newest} ({one.stanza.position})",
        one.stanza.position.file,
        next=f"logrotate -v {observation.configuration.main}",
        octets=log.size,
    )

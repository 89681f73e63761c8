"""What check_monitor_liveness remembers between two runs.

Four kinds of notes: when the machine slept, which monitors have been seen running, and per monitor
the facts of its last Health and its recent starts. The keys in the notes are those of the first
release, whose histories are still read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp
from twiceshy.monitor_liveness import judgement
from twiceshy.monitor_liveness.components import Health, Suspension
from twiceshy.monitor_liveness.monitors.targets import Target

CHECK = "monitor_liveness"


def suspensions(history: History, slept: float, at: Stamp) -> tuple[Suspension, ...]:
    """When the machine slept, with what `slept` (seconds since boot) says; and remembers it."""
    known = judgement.suspensions(history.note("machine") or {}, at.boot, slept, at.wall)
    history.write_note(
        "machine",
        {
            "boot": at.boot,
            "slept": slept,
            "wall": at.wall,
            "naps": [[nap.start, nap.end, nap.seconds] for nap in known],
        },
        at,
    )
    return known


def subject_of(target: Target, endpoint: str) -> str:
    """What a monitor's note is called.

    Two definitions for two hosts share a history file, and must not share what it remembers.
    """
    return f"of {target.kind} {target.name}{f' {endpoint}' if endpoint else ''}"


def of_monitors(
    history: History, targets: Sequence[Target], endpoint: str
) -> list[Mapping[str, Any]]:
    """What is remembered of each monitor: the facts of its last Health, and its `start`."""
    return [history.note(subject_of(target, endpoint)) or {} for target in targets]


def remember_monitor(
    history: History,
    subject: str,
    before: Mapping[str, Any],
    health: Health,
    starts: Mapping[str, Any],
    at: Stamp,
) -> None:
    """Replace the note of a monitor; facts that its Health does not renew stay."""
    history.write_note(subject, {**before, **health.facts, "start": starts}, at)


def running(history: History) -> dict[str, Any]:
    """The monitors that have been seen running, by identity: kind, name, config, and when."""
    return dict(history.note("running") or {})


def remember_running(
    history: History,
    before: Mapping[str, Any],
    here: Iterable[Target],
    dismissed: Iterable[str],
    at: Stamp,
) -> None:
    """Add the monitors that run `here`, and forget those that are `dismissed`."""
    notes = {identity: note for identity, note in before.items() if identity not in set(dismissed)}
    for target in here:
        notes[target.identity] = {
            "kind": target.kind,
            "name": target.name,
            "config": str(target.config) if target.config else "",
            "at": at.wall,
        }
    history.write_note("running", notes, at)

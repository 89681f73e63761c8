"""What is remembered: sizes of the logs with findings, and a few dates of the state file.

They are one note of the history, "look": at (Unix time), sizes (path to bytes), oldest (path to
date of rotation, ISO 8601), boot.
"""

from __future__ import annotations

from collections.abc import Iterable

from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp
from twiceshy.log_rotation.faults import Fault
from twiceshy.log_rotation.records import Observation, PreviousRun

NOTE = "look"
APART = 20.0
"""Runs that follow sooner are not remembered: a rate over less is none."""
MOST_DATES = 20
MOST_LOGS, MOST_SIZES = 300, 900


def recalled(history: History) -> PreviousRun:
    """What the previous run left; an empty record if there was none."""
    note = history.note(NOTE)
    if not isinstance(note, dict):
        return PreviousRun()
    return PreviousRun(
        float(note.get("at") or 0),
        note.get("sizes") or {},
        note.get("oldest") or {},
        str(note.get("boot") or ""),
    )


def remember(
    history: History,
    observation: Observation,
    faults: Iterable[Fault],
    previous: PreviousRun,
    at: Stamp,
) -> None:
    """Replaces what the previous run left, unless that was a moment ago; saved by History.save."""
    if at.wall - previous.at <= APART:
        return
    logs = observation.logs
    sizes = {path: log.size for path, log in list(logs.lost.items())[:MOST_LOGS]}
    sizes |= {one.path: one.octets for one in logs.unclaimed[:MOST_LOGS]}
    troubled = {fault.subject for fault in faults}
    sizes |= {
        one.path: one.log.size
        for one in logs.claimed
        if one.path in troubled and len(sizes) < MOST_SIZES
    }
    dated = [
        (path, entry.when)
        for path, entry in observation.state.content.entries.items()
        if not entry.placeholder
    ]
    dated.sort(key=lambda one: one[1])
    oldest = {path: when.isoformat() for path, when in dated[:MOST_DATES]}
    note = {"at": observation.epoch, "sizes": sizes, "oldest": oldest, "boot": at.boot}
    history.write_note(NOTE, note, at)

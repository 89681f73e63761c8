"""The history of daemons from run to run: a note per daemon, and one per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twiceshy.flapping.counting import Record
from twiceshy.flapping.unsupervised import KnownProcess
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Sample, Stamp

RUN = "run:"
REFRESH_SECONDS = 86400.0  # a note that does not change is rewritten this often
FORGET_SECONDS = 30 * REFRESH_SECONDS


@dataclass(frozen=True)
class Notes:
    """What earlier runs of this boot have left, by subject."""

    by_subject: Mapping[str, Sample]
    last_run: float  # uptime of the last run that asked for the same services; 0.0 without one

    def record(self, subject: str) -> Record | None:
        """The record of a daemon; None for one that is new, or whose note is none of ours."""
        note = self.by_subject.get(subject)
        return None if note is None else Record.from_note(note.value)

    def last_seen(self, subject: str) -> float | None:
        """The uptime at which some run has last seen a daemon; None if none has.

        Nothing is written of a daemon that just goes on; then the last run has seen it last.
        """
        note = self.by_subject.get(subject)
        return None if note is None else max(note.at.uptime, self.last_run)

    @property
    def known(self) -> dict[str, KnownProcess]:
        """What the last run knew of watched processes, by subject."""
        return {
            subject: KnownProcess(*note.value["known"])
            for subject, note in self.by_subject.items()
            if isinstance(note.value, dict) and isinstance(note.value.get("known"), list)
        }


def read(past: History, signature: str, now: Stamp) -> Notes:
    """The notes of this boot; of an earlier one no age and no counter means anything now."""
    notes = {subject: note for subject, note in past.notes() if note.at.boot == now.boot}
    run = notes.get(RUN + signature)
    return Notes(notes, run.at.uptime if run is not None else 0.0)


def write(
    past: History,
    notes: Notes,
    subject: str,
    record: Record,
    known: KnownProcess | None,
    now: Stamp,
) -> None:
    """Write the note of a daemon, if it differs from the one that is there or that one is old."""
    value = record.as_note()
    if known is not None:
        value["known"] = list(vars(known).values())
    note = notes.by_subject.get(subject)
    if note is None or value != note.value or now.uptime - note.at.uptime > REFRESH_SECONDS:
        past.write_note(subject, value, now)


def write_run(past: History, signature: str, now: Stamp) -> None:
    """Note that a run has seen everything that it asked for."""
    past.write_note(RUN + signature, {}, now)


def forget(past: History, notes: Notes, now: Stamp) -> None:
    """Drop the notes of other boots, and of services that have been gone for a month."""
    past.defer("DELETE FROM note WHERE boot <> ?", (now.boot,))
    for subject, note in notes.by_subject.items():
        if now.uptime - note.at.uptime > FORGET_SECONDS:
            past.defer(
                "DELETE FROM note WHERE subject = ? AND uptime = ?", (subject, note.at.uptime)
            )


def records(state_dir: Path | None, boot: str) -> dict[str, Record]:
    """All records of one boot, by subject; CheckError if no run has left any."""
    with History.of_runs("flapping", state_dir) as past:
        found = {
            subject: Record.from_note(note.value)
            for subject, note in past.notes()
            if note.at.boot == boot
        }
    return {subject: record for subject, record in found.items() if record is not None}

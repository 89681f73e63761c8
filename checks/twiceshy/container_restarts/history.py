"""What a run records of an engine for the next one: containers as it found them, and restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twiceshy.container_restarts.formats import Group, Observation, Service, SwarmObservation
from twiceshy.container_restarts.restarts import Ending, Past, Recorded, Restarts
from twiceshy.kit.history import History
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.stamps import Stamp, seconds_between

CHECK = "container_restarts"

TABLES = """
CREATE TABLE IF NOT EXISTS container (
    engine TEXT NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL /* subject */,
    grp_name TEXT NOT NULL /* alias */,
    kind TEXT NOT NULL, is_service INTEGER NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL,
    created REAL NOT NULL, started TEXT NOT NULL, started_at REAL, finished_at REAL,
    restart_count INTEGER NOT NULL, status TEXT NOT NULL, exit_code INTEGER NOT NULL,
    ended TEXT NOT NULL, looked TEXT NOT NULL, engine_time REAL NOT NULL,
    boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL, PRIMARY KEY (engine, id));
CREATE TABLE IF NOT EXISTS restart (
    engine TEXT NOT NULL, grp TEXT NOT NULL /* subject */,
    grp_name TEXT NOT NULL /* alias */, kind TEXT NOT NULL,
    is_service INTEGER NOT NULL, by TEXT NOT NULL, id TEXT NOT NULL, mark TEXT NOT NULL,
    count INTEGER NOT NULL, span REAL NOT NULL, exit_code INTEGER, oom INTEGER NOT NULL,
    is_certain INTEGER NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    UNIQUE (engine, by, id, mark));
"""

ENDINGS = {ending.value: ending for ending in Ending}

RESTARTS = (
    "SELECT grp, grp_name, kind, is_service, by, id, mark, count, span, exit_code, oom, is_certain,"
    " boot, uptime, wall FROM restart"
)


def opened(state_dir: Path | None) -> History:
    """The history file of this check."""
    return History.open(CHECK, state_dir, TABLES)


class EngineHistory:
    """What is recorded of one engine, as of the run at `at`; written when `file` is saved."""

    def __init__(self, file: History, engine: str, at: Stamp) -> None:
        self._file = file
        self._engine = engine
        self._at = at

    def recorded(self) -> Recorded:
        """All that earlier runs have recorded and none has forgotten."""
        rows = self._file.sql.execute(f"{RESTARTS} WHERE engine = ?", (self._engine,))
        return Recorded(self._containers(), [_restarts(row, self._at) for row in rows])

    def _containers(self) -> dict[str, Past]:
        found = {}
        for row in self._file.sql.execute(
            "SELECT id, grp, grp_name, kind, is_service, name, image, created, started, started_at,"
            " finished_at, restart_count, status, exit_code, ended, looked, engine_time, boot,"
            " uptime, wall FROM container WHERE engine = ?",
            (self._engine,),
        ):
            run = Stamp(*row[17:20])
            ending, _, ending_finished = row[14].partition(":")
            found[row[0]] = Past(
                row[0], Group(row[1], row[2], row[3], bool(row[4])), row[5], row[6], row[7],
                row[8], row[9], row[10], row[11], row[12], row[13],
                ENDINGS.get(ending), ending_finished, row[15], row[16],
                ago=seconds_between(run, self._at),
                new_boot=run.boot != self._at.boot and self._engine.startswith("unix:"),
            )  # fmt: skip
        return found

    def record_restarts(self, rows: Iterable[Restarts], past: Mapping[str, Past]) -> None:
        """Add restarts, unless another run has found that container meanwhile and added them."""
        for row in rows:
            at = (self._at.boot, self._at.uptime - row.ago, self._at.wall - row.ago)
            run = past[row.id].run if row.id in past else None
            self._file.defer(
                "INSERT OR IGNORE INTO restart"
                " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                " WHERE ? IN ('new', 'task')"
                " OR (SELECT looked FROM container WHERE engine = ? AND id = ?) IS ?",
                (
                    self._engine, row.group.key, row.group.name, row.group.kind,
                    row.group.is_service, row.by, row.id, row.mark, row.count, row.span,
                    row.exit_code, row.oom, row.is_certain, *at, row.by, self._engine, row.id, run,
                ),
            )  # fmt: skip

    def record_containers(
        self,
        observation: Observation,
        endings: Mapping[str, Ending],
        past: Mapping[str, Past],
    ) -> None:
        """Record how containers were found, after their restarts, and who has ended them, by id."""
        for container in observation.containers:
            if container.id in past and past[container.id].group != container.group:
                self._regroup(container.id, container.group)
            ending = endings.get(container.id)
            self._file.defer(
                "INSERT OR REPLACE INTO container VALUES"
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._engine, container.id, container.group.key, container.group.name,
                    container.group.kind, container.group.is_service, container.name,
                    container.image, container.created, container.started, container.started_at,
                    container.finished_at, container.restart_count, container.status,
                    container.exit_code, f"{ending.value}:{container.finished}" if ending else "",
                    f"{self._at.boot}/{self._at.uptime!r}", observation.now,
                    self._at.boot, self._at.uptime, self._at.wall,
                ),
            )  # fmt: skip

    def _regroup(self, container_id: str, group: Group) -> None:
        """A container was renamed: its restarts go with it."""
        self._file.defer(
            "UPDATE OR IGNORE restart SET grp = ?, grp_name = ?, kind = ?"
            " WHERE engine = ? AND id = ?",
            (group.key, group.name, group.kind, self._engine, container_id),
        )

    def below_seconds(self, observation: SwarmObservation) -> dict[str, float]:
        """By service id: for how long it has run fewer tasks than desired, as far as is known."""
        return {
            service.id: self._below_seconds(service, observation)
            for service in observation.services
        }

    def _below_seconds(self, service: Service, observation: SwarmObservation) -> float:
        """The first run that finds it so takes the oldest task that still waits to run."""
        subject = f"below {self._engine} {service.id}"
        if service.running is None or service.running >= (service.desired or 0):
            self._file.forget(subject)
            return 0.0
        note = self._file.note(subject)
        if note is not None:
            return seconds_between(Stamp(*note), self._at)
        waiting = [
            observation.now - task.created
            for task in observation.tasks
            if task.service_id == service.id
            and task.desired in ("running", "ready")
            and task.state != "running"
        ]
        seconds = max(0.0, max(waiting, default=0.0))
        since = [self._at.boot, self._at.uptime - seconds, self._at.wall - seconds]
        self._file.write_note(subject, since, self._at)
        return seconds

    def forget(self, window: float) -> None:
        """Drop what is older than twice the largest window that runs give for this engine."""
        self._file.write_note(f"window {self._engine} {window:g}", window, self._at)
        largest = window
        for subject, sample in self._file.notes():
            if subject.startswith(f"window {self._engine} "):
                if seconds_between(sample.at, self._at) < 86400:
                    largest = max(largest, float(sample.value))
                else:
                    self._file.forget(subject)
        seconds = 2 * largest
        at = self._at
        old = (self._engine, at.boot, at.uptime - seconds, at.wall - seconds)
        for table in ("container", "restart"):
            self._file.defer(
                f"DELETE FROM {table} WHERE engine = ?"  # noqa: S608 - two constants
                " AND CASE WHEN boot = ? THEN uptime < ? ELSE wall < ? END",
                old,
            )


def all_restarts(state_dir: Path | None, at: Stamp) -> list[Restarts]:
    """The restarts that runs have recorded of any engine; CheckError if there are none yet."""
    with History.of_runs(CHECK, state_dir) as file:
        try:
            return [_restarts(row, at) for row in file.sql.execute(RESTARTS)]
        except sqlite3.Error as error:
            raise CheckError(f"check_{CHECK} has recorded no restarts yet: {error}") from error


def _restarts(row: Sequence[Any], at: Stamp) -> Restarts:
    """A row of RESTARTS."""
    grp, name, kind, is_service, by, id_, mark, count, span, exit_code, oom, certain = row[:12]
    ago = seconds_between(Stamp(*row[12:15]), at)
    return Restarts(
        Group(grp, name, kind, bool(is_service)), by, id_, mark, count, ago, span, exit_code,
        bool(oom), bool(certain),
    )  # fmt: skip

"""What a look at an engine leaves for the next: containers as they were found, restarts counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twiceshy.container_restarts.formats import Container, Group, Service, Task
from twiceshy.container_restarts.restarts import Past, Restarts
from twiceshy.kit import history
from twiceshy.kit.stamps import Stamp, seconds_between

TABLES = """
CREATE TABLE IF NOT EXISTS container (
    engine TEXT NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL, grp_name TEXT NOT NULL,
    kind TEXT NOT NULL, is_service INTEGER NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL,
    created REAL NOT NULL, started TEXT NOT NULL, started_at REAL, finished_at REAL,
    restart_count INTEGER NOT NULL, status TEXT NOT NULL, exit_code INTEGER NOT NULL,
    ended TEXT NOT NULL, looked TEXT NOT NULL, engine_time REAL NOT NULL,
    boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL, PRIMARY KEY (engine, id));
CREATE TABLE IF NOT EXISTS restart (
    engine TEXT NOT NULL, grp TEXT NOT NULL, grp_name TEXT NOT NULL, kind TEXT NOT NULL,
    is_service INTEGER NOT NULL, by TEXT NOT NULL, id TEXT NOT NULL, mark TEXT NOT NULL,
    count INTEGER NOT NULL, span REAL NOT NULL, exit_code INTEGER, oom INTEGER NOT NULL,
    is_certain INTEGER NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    UNIQUE (engine, by, id, mark));
"""


class Memory:
    """What was remembered of one engine, and what is to be."""

    def __init__(self, kept: history.History, engine: str, at: Stamp) -> None:
        self._kept = kept
        self._engine = engine
        self._at = at

    def containers(self) -> dict[str, Past]:
        """Every container seen at earlier looks and not yet forgotten, by id."""
        found = {}
        for row in self._kept.sql.execute(
            "SELECT id, grp, grp_name, kind, is_service, name, image, created, started, started_at,"
            " finished_at, restart_count, status, exit_code, ended, looked, engine_time, boot,"
            " uptime, wall FROM container WHERE engine = ?",
            (self._engine,),
        ):
            looked = Stamp(*row[17:20])
            found[row[0]] = Past(
                row[0], Group(row[1], row[2], row[3], bool(row[4])), row[5], row[6], row[7],
                row[8], row[9], row[10], row[11], row[12], row[13], row[14], row[15], row[16],
                ago=seconds_between(looked, self._at),
                new_boot=looked.boot != self._at.boot and self._engine.startswith("unix:"),
            )  # fmt: skip
        return found

    def restarts(self) -> list[Restarts]:
        """Every restart that was recorded and not yet forgotten."""
        return [
            Restarts(
                Group(row[0], row[1], row[2], bool(row[3])), row[4], row[5], row[6], row[7],
                seconds_between(Stamp(*row[12:15]), self._at), row[8], row[9],
                bool(row[10]), bool(row[11]),
            )
            for row in self._kept.sql.execute(
                "SELECT grp, grp_name, kind, is_service, by, id, mark, count, span, exit_code, oom,"
                " is_certain, boot, uptime, wall FROM restart WHERE engine = ?",
                (self._engine,),
            )
        ]  # fmt: skip

    def record(self, rows: Iterable[Restarts], past: Mapping[str, Past]) -> None:
        """Adds restarts, unless another run has looked at that container in between and did so."""
        for row in rows:
            at = (self._at.boot, self._at.uptime - row.ago, self._at.wall - row.ago)
            looked = past[row.id].looked if row.id in past else None
            self._kept.defer(
                "INSERT OR IGNORE INTO restart"
                " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                " WHERE ? IN ('new', 'task')"
                " OR (SELECT looked FROM container WHERE engine = ? AND id = ?) IS ?",
                (
                    self._engine, row.group.key, row.group.name, row.group.kind,
                    row.group.is_service, row.by, row.id, row.mark, row.count, row.span,
                    row.exit_code, row.oom, row.is_certain, *at, row.by, self._engine, row.id,
                    looked,
                ),
            )  # fmt: skip

    def note(self, one: Container, ended: str, engine_time: float) -> None:
        """Remembers how a container was found."""
        self._kept.defer(
            "INSERT OR REPLACE INTO container VALUES"
            " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._engine, one.id, one.group.key, one.group.name, one.group.kind,
                one.group.is_service, one.name, one.image, one.created, one.started,
                one.started_at, one.finished_at, one.restart_count, one.status, one.exit_code,
                ended, f"{self._at.boot}/{self._at.uptime!r}", engine_time,
                self._at.boot, self._at.uptime, self._at.wall,
            ),
        )  # fmt: skip

    def regroup(self, container_id: str, group: Group) -> None:
        """A container was renamed: its restarts go with it."""
        self._kept.defer(
            "UPDATE OR IGNORE restart SET grp = ?, grp_name = ?, kind = ?"
            " WHERE engine = ? AND id = ?",
            (group.key, group.name, group.kind, self._engine, container_id),
        )

    def forget(self, window: float) -> None:
        """Drops what is older than twice the largest window that looks at this engine."""
        self._kept.write_note(f"window {self._engine} {window:g}", window, self._at)
        largest = window
        for subject, sample in self._kept.notes():
            if subject.startswith(f"window {self._engine} "):
                if seconds_between(sample.at, self._at) < 86400:
                    largest = max(largest, float(sample.value))
                else:
                    self._kept.forget(subject)
        seconds = 2 * largest
        at = self._at
        old = (self._engine, at.boot, at.uptime - seconds, at.wall - seconds)
        for table in ("container", "restart"):
            self._kept.defer(
                f"DELETE FROM {table} WHERE engine = ?"  # noqa: S608 - two constants
                " AND CASE WHEN boot = ? THEN uptime < ? ELSE wall < ? END",
                old,
            )


def below_for(
    kept: history.History,
    engine: str,
    service: Service,
    tasks: Sequence[Task],
    at: Stamp,
    now: float,
) -> float:
    """Seconds for which a service has run fewer tasks than desired, as far as is known.

    The first look that finds it so takes the oldest task that still waits to run.
    """
    subject = f"below {engine} {service.id}"
    if service.running is None or service.running >= (service.desired or 0):
        kept.forget(subject)
        return 0.0
    note = kept.note(subject)
    if note is not None:
        return seconds_between(Stamp(*note), at)
    waiting = [
        now - task.created
        for task in tasks
        if task.desired in ("running", "ready") and task.state != "running"
    ]
    seconds = max(0.0, max(waiting, default=0.0))
    kept.write_note(subject, [at.boot, at.uptime - seconds, at.wall - seconds], at)
    return seconds

"""The restarts of a group of containers on a timeline."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twiceshy.kit.figures import Event, Timeline, chosen
from twiceshy.kit.history import History
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.stamps import Stamp, seconds_between


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Timeline:
    """The restarts of a group of containers."""
    with History.of_runs("container_restarts", state_dir) as book:
        groups: dict[str, list[Event]] = {}
        try:
            rows = book.sql.execute(
                "SELECT grp_name, by, count, span, exit_code, boot, uptime, wall FROM restart"
            ).fetchall()
        except sqlite3.Error as error:
            raise CheckError(
                f"check_container_restarts remembers no restarts yet: {error}"
            ) from error
    for name, by, count, span, exit_code, boot, uptime, wall in rows:
        end = at.wall - seconds_between(Stamp(boot, uptime, wall), at)
        words = f"{count} by {by}" + ("" if exit_code is None else f", exit {exit_code}")
        groups.setdefault(name, []).append(Event(end - span, end, count, words))
    subject = chosen(wanted, {name: len(found) for name, found in groups.items()}, "container")
    events = sorted(groups[subject], key=lambda event: event.end)
    return Timeline(f"{subject}: restarts", min(e.start for e in events), at.wall, events)

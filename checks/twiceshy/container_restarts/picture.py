"""The restarts of a group of containers on a timeline."""

from __future__ import annotations

from pathlib import Path

from twiceshy.container_restarts import restarts
from twiceshy.container_restarts.history import all_restarts
from twiceshy.kit.figures import Event, Timeline, chosen
from twiceshy.kit.stamps import Stamp

CAUSES = {
    restarts.POLICY: "by policy",
    restarts.OTHERS: "from outside",
    restarts.NEW: "as a new container",
    restarts.OOM: "killed for lack of memory",
    restarts.TASK: "as a new task",
}


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Timeline:
    """The restarts of a group of containers, from the history; CheckError if it has none."""
    groups: dict[str, list[Event]] = {}
    for row in all_restarts(state_dir, at):
        end = at.wall - row.ago
        exit_text = "" if row.exit_code is None else f", exit {row.exit_code}"
        text = f"{row.count} {CAUSES.get(row.by, row.by)}{exit_text}"
        groups.setdefault(row.group.name, []).append(Event(end - row.span, end, row.count, text))
    subject = chosen(wanted, {name: len(events) for name, events in groups.items()}, "container")
    events = sorted(groups[subject], key=lambda event: event.end)
    start = min(event.start for event in events)
    return Timeline(f"{subject}: restarts", start, at.wall, events)

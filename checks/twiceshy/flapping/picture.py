"""The restarts of a service on a timeline."""

from __future__ import annotations

from pathlib import Path

from twiceshy.flapping import history
from twiceshy.kit.figures import Event, Timeline, chosen
from twiceshy.kit.stamps import Stamp


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Timeline:
    """The restarts of a service, between the runs that saw them."""
    records = history.records(state_dir, at.boot)
    sizes = {subject: len(record.gaps) for subject, record in records.items()}
    subject = chosen(wanted, sizes, "service")
    record = records[subject]

    def wall(uptime: float) -> float:
        return at.wall - (at.uptime - uptime)

    events = []
    for gap in record.gaps:
        parts = [f"{gap.crashes} crashed"] if gap.crashes else []
        parts += [f"{gap.manual} manual"] if gap.manual else []
        if parts:
            count = gap.crashes + gap.manual
            events.append(Event(wall(gap.start), wall(gap.end), count, ", ".join(parts)))
    began = min([wall(record.first), *(event.start for event in events)])
    return Timeline(f"{subject}: restarts", began, at.wall, events)

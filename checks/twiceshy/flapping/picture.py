"""The restarts of a service on a timeline."""

from __future__ import annotations

from pathlib import Path

from twiceshy.flapping import program as check
from twiceshy.kit.figures import Event, Timeline, chosen
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp


def picture(state_dir: Path | None, wanted: str | None, at: Stamp) -> Timeline:
    """The restarts of a service, between the looks that saw them."""
    with History.of_runs("flapping", state_dir) as book:
        memories = {}
        for subject, note in book.notes():
            memory = check.Memory.from_note(note.value) if note.at.boot == at.boot else None
            if memory is not None:
                memories[subject] = memory
    subject = chosen(
        wanted, {name: len(memory.gaps) for name, memory in memories.items()}, "service"
    )
    memory = memories[subject]

    def wall(uptime: float) -> float:
        return at.wall - (at.uptime - uptime)

    events = []
    for gap in memory.gaps:
        words = [f"{gap.crashes} crashed"] if gap.crashes else []
        words += [f"{gap.by_hand} by hand"] if gap.by_hand else []
        if words:
            count = gap.crashes + gap.by_hand
            events.append(Event(wall(gap.start), wall(gap.end), count, ", ".join(words)))
    began = min([wall(memory.first), *(event.start for event in events)])
    return Timeline(f"{subject}: restarts", began, at.wall, events)

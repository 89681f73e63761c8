"""What the Healths of a run mean together, with what is remembered. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit.plugin import CRITICAL, OK, WARNING, State
from twiceshy.monitor_liveness.components import (
    Clock,
    Component,
    Health,
    Suspension,
    ago,
    critical,
)

# Suspensions that are remembered, and starts of a monitor that never got past its grace.
MOST_SUSPENSIONS, MOST_STARTS = 20, 10

# So many different starts, and for so many graces nothing else, are a restart loop.
LOOP_STARTS, LOOP_GRACES = 3, 3.0

# Two starts that differ by less are one: /proc counts in ticks, and clocks are adjusted.
SAME_START_SECONDS = 3.0

CLOCK_STEP_SECONDS = 1.0

# A maintenance file may be this far in the future: its filesystem may have another clock.
MAINTENANCE_AHEAD_SECONDS = 60.0


@dataclass(frozen=True)
class Maintenance:
    """The operator's file that declares planned work; seconds; `age` is None without a file."""

    path: str
    age: float | None
    limit: float

    @property
    def excuses(self) -> bool:
        """Whether planned work goes on: the file is there and not too old."""
        return self.age is not None and -MAINTENANCE_AHEAD_SECONDS <= self.age <= self.limit

    @property
    def is_forgotten(self) -> bool:
        """Whether there is a file, and it excuses nothing: it is too old, or from the future."""
        return self.age is not None and not self.excuses


@dataclass(frozen=True)
class Excused:
    """A Health after --maintenance and --missing; `planned` is a component that was excused."""

    health: Health
    planned: Component | None = None


def suspensions(
    before: Mapping[str, Any], boot: str, slept: float, now: float
) -> tuple[Suspension, ...]:
    """When the machine slept, from what earlier runs remembered and this one sees.

    `slept` is how long it has been suspended since its boot, in seconds; `now` is Unix time.
    """
    known = [Suspension(*entry) for entry in before.get("naps", [])]
    if before.get("boot") == boot and slept - before["slept"] > CLOCK_STEP_SECONDS:
        known.append(Suspension(before["wall"], now, slept - before["slept"]))
    return tuple(known[-MOST_SUSPENSIONS:])


def restart_loop(
    before: Mapping[str, Any], started: float | None, grace: float, clock: Clock
) -> tuple[Component | None, dict[str, Any]]:
    """Whether a monitor was within its startup grace in every run: a restart loop hides there.

    Returns the component, and what to remember of the starts.
    """
    if started is None or not 0 <= started < grace:
        return None, {}
    start = clock.now - started
    since = float(before.get("since", clock.now))
    starts = [float(at) for at in before.get("starts", [])]
    if all(abs(start - at) > SAME_START_SECONDS for at in starts):
        starts.append(start)
    facts = {"since": since, "starts": starts[-MOST_STARTS:]}
    lasts = clock.age(since)
    if len(starts) < LOOP_STARTS or lasts <= LOOP_GRACES * grace:
        return None, facts
    return (
        critical(
            "process",
            f"restarts again and again: {len(starts)} starts seen in {ago(lasts)}, "
            f"the last {ago(started)} ago",
            "journalctl -n 100; look for why it ends",
        ),
        facts,
    )


def is_fleeting(health: Health) -> bool:
    """Whether all that is wrong looks as a reload does for a moment: observe it again."""
    bad = [each for each in health.components if each.state in (CRITICAL, WARNING)]
    return bool(bad) and all(each.is_fleeting for each in bad)


def excused(health: Health, missing: State, maintenance: Maintenance) -> Excused:
    """A Health whose planned stops are OK under maintenance, and whose absence is `missing`."""
    components, planned = [], None
    for component in health.components:
        if component.is_planned and component.state is not OK and maintenance.excuses:
            component = replace(component, state=OK)
            planned = planned or component
        elif health.absent and component.state is CRITICAL:
            component = replace(component, state=missing)
        components.append(component)
    return Excused(replace(health, components=tuple(components)), planned)


def gone(
    before: Mapping[str, Any], here: Collection[str], dismissed: Collection[str], clock: Clock
) -> list[Health]:
    """Monitors that have been seen running, are not `here` and were not `dismissed`."""
    return [
        _gone(note, clock)
        for identity, note in before.items()
        if identity not in here and identity not in dismissed
    ]


def _gone(note: Mapping[str, Any], clock: Clock) -> Health:
    name = str(note.get("name") or note["kind"])
    component = critical(
        "process",
        f"is gone: it was running {ago(clock.age(float(note.get('at', 0))))} ago",
        f"systemctl status '*{name.partition('-')[0]}*'; journalctl -n 100",
        is_fleeting=True,
        is_planned=True,
    )
    return Health(name, (component,), absent=True)

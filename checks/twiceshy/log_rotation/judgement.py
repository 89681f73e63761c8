"""What it means: every fault of an observation, the worst first. Pure.

By subject: `configuration` (what is lost, and what is without effect), `rotations` (log by log),
`runs` (the schedule and the state file), `unrotated` (space that no rotation frees).
"""

from __future__ import annotations

from twiceshy.kit import verdict
from twiceshy.kit.plugin import UNKNOWN
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.units import count
from twiceshy.log_rotation import configuration, rotations, runs, unrotated
from twiceshy.log_rotation.faults import Fault
from twiceshy.log_rotation.records import Hidden, Observation, PreviousRun
from twiceshy.log_rotation.settings import Limits

RUN_WIDE = (
    "schedule-dead",
    "state-unusable",
    "state-locked",
    "run-old",
    "never-run",
    "run-failed",
)
"""Codes of what concerns every log."""


def faults_of(
    observation: Observation, previous: PreviousRun, wanted: Limits, at: Stamp
) -> list[Fault]:
    """All of them, the worst first; within a state what concerns every log, then the biggest."""
    faults = runs.runs(observation, wanted, at.uptime)
    faults += configuration.configuration(observation, previous)
    faults += configuration.directives(observation, wanted.big)
    faults += rotations.rotations(observation, previous)
    faults += unrotated.open_logs(observation, wanted.big)
    faults += unrotated.orphans(observation, wanted.big)
    faults += unrotated.uncovered(observation, previous)
    faults += unrotated.of_others(observation, wanted.big)
    faults += runs.reborn(observation, previous, at.boot)
    faults += hidden(observation)
    severity = verdict.SEVERITY.index
    return sorted(
        faults, key=lambda one: (-severity(one.state), one.code not in RUN_WIDE, -one.octets)
    )


def hidden(observation: Observation) -> list[Fault]:
    """What this user may not see; an OK must not come from that."""
    opened, parts = observation.logs.open, []
    if opened.processes_seen < opened.processes:
        processes = count(opened.processes, "process", "processes")
        parts.append(f"saw {opened.processes_seen} of {processes}")
    kinds: dict[Hidden, list[str]] = {}
    for path, kind in observation.hidden.items():
        kinds.setdefault(kind, []).append(path)
    named = []
    for kind, paths in kinds.items():
        if kind is Hidden.LOGS:
            more = f" (+{len(paths) - 1} more)" if len(paths) > 1 else ""
            named.append(f"{paths[0]}{more}")
        else:
            named.append(f"the {kind.value} {paths[0]}")
    if named:
        parts.append(f"no permission to see {', '.join(named)}")
    if not observation.logs.searched_all:
        parts.append("too many files in the log directories, some were not checked")
    if not parts:
        return []
    return [
        Fault(
            "unseen",
            UNKNOWN,
            "rights",
            f"{'; '.join(parts)}: run with sudo for the rest, or --ignore unseen",
            next=f"sudo {observation.program}",
        )
    ]

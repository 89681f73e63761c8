"""How it is reported: findings, measures, summary, and the explanation of one log. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from twiceshy.kit.plugin import OK, UNKNOWN, WARNING, State
from twiceshy.kit.units import count, say_duration, say_size
from twiceshy.kit.verdict import Finding, Measure, Report
from twiceshy.log_rotation.faults import Fault
from twiceshy.log_rotation.logrotate import forecast, grammar
from twiceshy.log_rotation.logrotate.codes import CODES
from twiceshy.log_rotation.records import ClaimedLog, Observation
from twiceshy.log_rotation.settings import Limits

# What logrotate would do with a log, after "a run now would".
WOULD = {
    forecast.ROTATE: "rotate it",
    forecast.WAIT: "not rotate it yet",
    forecast.SKIP: "skip it",
    forecast.REFUSE: "refuse it",
}


def report(
    observation: Observation, faults: Sequence[Fault], wanted: Limits, remarks: Sequence[str] = ()
) -> Report:
    """The faults as findings, those in state OK as remarks, and the numbers."""
    findings = [
        Finding(
            fault.state,
            fault.text,
            (
                *fault.more,
                f"[{fault.code}] {CODES[fault.code][0]}; remedy: {CODES[fault.code][1]}",
            ),
            fault.next,
            fault.code,
        )
        for fault in faults
        if fault.state is not OK
    ]
    harmless = [f"{fault.text} [{fault.code}]" for fault in faults if fault.state is OK]
    return Report(
        tuple(findings),
        measures(observation, faults, wanted),
        summary(observation),
        (*harmless, *remarks),
    )


def summary(observation: Observation) -> str:
    """The sentence when all is well."""
    covered, age = _covered(observation), observation.run_age
    stanzas = len(observation.configuration.reading.stanzas)
    ran = f"last run {say_duration(age)} ago" if age is not None else "no run yet"
    by = f" by {observation.schedule.name}" if observation.schedule.name else ""
    return (
        f"{count(covered, 'log')} of {count(stanzas, 'stanza')} {'is' if covered == 1 else 'are'} "
        f"rotated as intended, {ran}{by}"
    )


def measures(
    observation: Observation, faults: Sequence[Fault], wanted: Limits
) -> tuple[Measure, ...]:
    """The numbers for the graphs, as the manual lists them."""
    lost = {
        pattern
        for problem in observation.configuration.reading.problems
        if problem.radius in (grammar.RUN, grammar.FILE, grammar.STANZA)
        and problem.code != "config-taboo"
        for pattern in problem.patterns
    }
    held = {one.inode: one.octets for one in observation.logs.open.opened if one.deleted}
    engine, unbounded = observation.logs.containers, None
    if engine and not engine.error:
        unbounded = sum(one.octets or 0 for one in engine.containers if not one.limited)
    overdue = sum(fault.logs for fault in faults if fault.code in ("overdue", "no-proof"))
    return (
        Measure("covered", _covered(observation), minimum=0),
        Measure("uncovered", sum(fault.code == "uncovered" for fault in faults), minimum=0),
        Measure("overdue", overdue, minimum=0),
        Measure("lost", len(lost), minimum=0),
        Measure("deleted_held", sum(held.values()), "B", minimum=0),
        Measure("run_age", observation.run_age, "s", wanted.warning, wanted.critical, 0),
        Measure("unbounded", unbounded, "B", minimum=0),
    )


def _covered(observation: Observation) -> int:
    """How many existing logs have a stanza."""
    return len({one.path for one in observation.logs.claimed if not one.log.error})


# One log


def explanation(path: str, observation: Observation) -> Report:
    """--explain: who rotates this log, when, and what would happen now."""
    mine = [one for one in observation.logs.claimed if one.path == path]
    reading = observation.configuration.reading
    problems = [one for one in reading.problems if path in one.files]
    lines = [f"{problem.position}: {problem.text} [{problem.code}]" for problem in problems]
    if not mine:
        lost = "no logrotate stanza matches it"
        if problems:
            lost = "logrotate drops the stanza that names it"
        lines = lines or [f"read: {', '.join(reading.read[:3])} ..."]
        return _explained(path, WARNING, lost, lines)
    for one in mine:
        lines += [
            f"stanza: {one.stanza.pattern.strip()} at {one.stanza.position}",
            _criterion(one),
            *_dates(one, observation),
            f"rotated copies: {len(one.copies)}",
            _schedule(observation),
        ]
    level, text = _now(mine[0], observation)
    return _explained(path, level, text, lines)


def _explained(path: str, level: State, text: str, lines: Sequence[str]) -> Report:
    return Report((Finding(level, f"{path}: {text}", tuple(lines), code="explain"),))


def _now(one: ClaimedLog, observation: Observation) -> tuple[State, str]:
    """What a run now would do with a log, and whether that is as it should be."""
    decision, state = one.decision, observation.state
    if one.parent.obstacle:
        return WARNING, f"a run now would fail: {one.parent.obstacle.text}"
    if decision.error:
        return WARNING, f"a run now would {WOULD[decision.outcome]}: {decision.reason}"
    if not state.readable and decision.due is not None:
        return UNKNOWN, f"last rotation unknown, no permission to read {state.path}; run with sudo"
    return OK, f"a run now would {WOULD[decision.outcome]}: {decision.reason}"


def _criterion(one: ClaimedLog) -> str:
    """When the stanza wants a rotation and how many copies it keeps, with the lines that say so."""
    given = one.stanza.directives
    criterion = given.criterion
    if criterion == "size":
        criterion = f"at {say_size(given.threshold)}"
    where = given.set_at.get("criterion")
    return (
        f"criterion: {criterion}"
        + (f" ({where})" if where else " (the default)")
        + (f", maxsize {say_size(given.maxsize)}" if given.maxsize else "")
        + (f", minsize {say_size(given.minsize)}" if given.minsize else "")
        + f"; keeps {given.rotate if given.rotate >= 0 else 'all'}"
        + (f" ({given.set_at['rotate']})" if "rotate" in given.set_at else "")
    )


def _dates(one: ClaimedLog, observation: Observation) -> list[str]:
    """The last rotation with its proof, and the next one."""
    state, entry = observation.state, one.entry
    if not state.readable:
        return [f"last rotation: unknown, no permission to read {state.path}; run with sudo"]
    if entry is None:
        lines = [f"last rotation: none is known to {state.path}"]
    else:
        kind = "first seen" if entry.placeholder else "last rotation"
        proof = ""
        if one.proof:
            rotated_at = datetime.fromtimestamp(one.proof)
            proof = f"; proof: a rotated file from {rotated_at:%Y-%m-%d %H:%M}"
        elif one.proof is not None:
            proof = "; no rotated file proves it"
        lines = [f"{kind}: {entry.when:%Y-%m-%d %H:%M}{proof}"]
    if one.decision.due is not None:
        lines.append(f"next due: {one.decision.due:%Y-%m-%d %H:%M}")
    return lines


def _schedule(observation: Observation) -> str:
    schedule = observation.schedule
    text = f"schedule: {schedule.name or 'unknown'}, every {say_duration(schedule.interval)}"
    return text + (f"; it will not run: {schedule.obstacle}" if schedule.is_dead else "")

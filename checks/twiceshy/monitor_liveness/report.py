"""How a run is reported: findings, summary and measures. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.kit import units, verdict
from twiceshy.kit.plugin import OK, UNKNOWN, WARNING
from twiceshy.kit.verdict import Finding, Report, safe
from twiceshy.monitor_liveness.components import Component, Health, ago
from twiceshy.monitor_liveness.judgement import Excused, Maintenance

NOTHING = Finding(
    UNKNOWN,
    "no monitor runs on this host; name one with --monitor, --process or --url",
    next="check_monitor_liveness --help",
)


def finding(excused: Excused, maintenance: Maintenance) -> Finding:
    """One finding per monitor: its worst component first, all others under it."""
    health, planned = excused.health, excused.planned
    worst = sorted(health.components, key=lambda c: -verdict.SEVERITY.index(c.state))
    bad = [component for component in worst if component.state is not OK]
    if planned and not bad:
        age, limit = ago(max(0.0, maintenance.age or 0.0)), ago(maintenance.limit)
        return Finding(
            OK,
            f"{health.name}: {planned.sentence}; planned, {maintenance.path} is {age} old "
            f"(limit {limit})",
        )
    if not bad:
        sentences = ", ".join(component.sentence for component in health.components)
        return Finding(OK, f"{health.name}: {sentences}")
    others = tuple(_line(component) for component in worst if component is not bad[0])
    return Finding(bad[0].state, f"{health.name}: {bad[0].sentence}", others, bad[0].next)


def _line(component: Component) -> str:
    if component.state is OK:
        return component.sentence
    return f"{str(component.state).upper()}: {component.sentence}"


def about_maintenance(maintenance: Maintenance) -> list[Finding]:
    """A maintenance file that has been forgotten: planned work must not mask alarms for ever."""
    if not maintenance.is_forgotten or maintenance.age is None:
        return []
    if maintenance.age < 0:
        text = f"maintenance file {maintenance.path} is from the future, and excuses nothing"
        return [Finding(WARNING, text)]
    return [
        Finding(
            WARNING,
            f"maintenance file {maintenance.path} is {ago(maintenance.age)} old "
            f"(limit {ago(maintenance.limit)}), and no longer excuses anything",
            next=f"rm {maintenance.path}  # or touch it, if the work goes on",
        )
    ]


def not_pinged(url: str, why: str) -> Finding:
    """The outbound ping that failed; `url` is a secret but for its beginning."""
    return Finding(
        WARNING,
        f"all monitors are healthy, but the outbound ping failed: {safe(why, 150)}",
        next=f"curl -m 5 -i '{safe(url.partition('?')[0], 100)}'",
    )


def not_touched(why: str) -> Finding:
    """The file of --ping-file that could not be written."""
    return Finding(WARNING, f"all monitors are healthy, but --ping-file cannot be written: {why}")


def report(
    healths: Sequence[Health], findings: Sequence[Finding], remarks: Sequence[str]
) -> Report:
    """The report of a run: its problems, or one sentence about all its monitors."""
    measures = [measure for health in healths for measure in health.measures]
    if any(finding.state is not OK for finding in findings):
        return Report(findings, measures, remarks=remarks)
    summary = findings[0].text
    others: tuple[str, ...] = ()
    if len(findings) > 1:
        names = ", ".join(health.name for health in healths)
        summary = f"{units.count(len(healths), 'monitor')} alive and working: {names}"
        others = tuple(finding.text for finding in findings)
    return Report([Finding(OK, summary, others)], measures, summary, remarks)

"""Puppet's own account of its last run: last_run_summary.yaml and the lock that disables it.

The summary is two levels of `key: value` as Psych writes them (puppet 5 to 8 looked at), which
needs no YAML library. A catalog that does not compile leaves only `version` and `time.last_run`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from twiceshy.config_freshness.wording import ago, roughly
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, WARNING
from twiceshy.kit.units import count, say_duration
from twiceshy.kit.verdict import Finding, safe


class NotASummary(ValueError):
    """The file is not a last_run_summary."""


@dataclass(frozen=True)
class Summary:
    """What last_run_summary.yaml says of a run."""

    last_run: float  # wall clock
    config: str  # version.config: what the catalog was compiled from
    failed: int  # resources, restarts and events together
    has_resources: bool  # False: there was no catalog
    out_of_sync: int
    changed: int


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def summary(text: str) -> Summary:
    """last_run_summary.yaml; NotASummary."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"( *)([A-Za-z_0-9:]+|\"[^\"]*\"|'[^']*'):(?: +(.*))?$", line)
        if not match:
            continue
        key, value = match[2].strip("\"'"), (match[3] or "").strip().strip("\"'")
        if not match[1]:
            section = sections.setdefault(key, {})
        else:
            section[key] = value
    last_run = _number(sections.get("time", {}).get("last_run", ""))
    if not last_run:
        raise NotASummary("it has no time.last_run")
    resources, events = sections.get("resources", {}), sections.get("events", {})
    failed = sum(int(_number(resources.get(key, ""))) for key in ("failed", "failed_to_restart"))
    return Summary(
        last_run,
        sections.get("version", {}).get("config", ""),
        max(failed, int(_number(events.get("failure", "")))),
        "total" in resources,
        int(_number(resources.get("out_of_sync", ""))),
        int(_number(resources.get("changed", ""))),
    )


def reason(text: str) -> str:
    """Why `puppet agent --disable REASON` was typed; "" when the lock does not say."""
    try:
        lock = json.loads(text)
    except ValueError:
        return ""
    return str(lock.get("disabled_message") or "") if isinstance(lock, dict) else ""


@dataclass(frozen=True)
class Run:
    """What the summary and the lock beside it say; or why they could not be read."""

    summary: Summary | None = None
    disabled: float | None = None  # age of the lock in seconds
    reason: str = ""
    trouble: str = ""
    remedy: str = ""  # a command


def judged(run: Run, clock: float, max_age: float, grace: float) -> list[Finding]:
    """Puppet's last run, as of the wall clock `clock`: age, failures, whether it is disabled."""
    findings: list[Finding] = []
    if run.disabled is not None:
        state = CRITICAL if run.disabled >= grace else WARNING
        why = f": {safe(run.reason, 100)}" if run.reason else ""
        text = f"puppet has been disabled for {roughly(run.disabled)}{why} "
        text += f"(limit {say_duration(grace)})"
        findings.append(Finding(state, text, next="puppet agent --enable", code="puppet-disabled"))
    if run.summary is None:
        text = f"puppet: {run.trouble}" + (f"; {run.remedy}" if run.remedy else "")
        findings.append(Finding(UNKNOWN, text, next=run.remedy, code="puppet-unreadable"))
        return findings
    age = age_of(run.summary, clock)
    follow = "puppet agent --test --noop"
    if age > max_age and run.disabled is None:
        state = CRITICAL if age >= grace else WARNING
        text = f"puppet last ran {ago(age)} (limit {say_duration(max_age)})"
        findings.append(Finding(state, text, next=follow, code="puppet-age"))
    if not run.summary.has_resources:
        text = f"puppet could not compile or fetch its catalog {ago(age)}: nothing was applied"
        findings.append(Finding(CRITICAL, text, next=follow, code="puppet-failed"))
    elif run.summary.failed:
        text = f"puppet failed to apply {count(run.summary.failed, 'resource')} {ago(age)}"
        findings.append(Finding(CRITICAL, text, next=follow, code="puppet-failed"))
    elif run.summary.out_of_sync > run.summary.changed:
        left = run.summary.out_of_sync - run.summary.changed
        text = f"puppet left {count(left, 'resource')} out of sync (noop?)"
        findings.append(Finding(WARNING, text, next=follow, code="puppet-noop"))
    return findings


def age_of(summary: Summary, clock: float) -> float:
    """Seconds since the run that a summary is of, at the wall clock `clock`."""
    return max(0.0, clock - summary.last_run)

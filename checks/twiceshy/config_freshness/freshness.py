"""Whether one endpoint's answer is as fresh as it should be, and its 304s are true. Pure."""

from __future__ import annotations

from twiceshy.config_freshness import documents
from twiceshy.config_freshness.answers import Served
from twiceshy.config_freshness.past import ConfigPast, EndpointPast
from twiceshy.config_freshness.settings import FreshnessSettings
from twiceshy.config_freshness.wording import ago, roughly
from twiceshy.kit import limits
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.units import say_duration, say_size
from twiceshy.kit.verdict import Finding, safe

# Date has a resolution of one second, and an answer may have been under way for some.
SKEW_SECONDS = 30.0
HOUR = 3600.0


def age_of(served: Served) -> float | None:
    """Seconds since its Last-Modified, by the server's own clock; negative if that is ahead."""
    if served.last_modified is None:
        return None
    return (served.date or served.received_at) - served.last_modified


def conditional(served: Served, not_modified: State) -> tuple[list[Finding], list[str]]:
    """Whether If-None-Match tells one node's clients the truth; two nodes' are never compared."""
    findings: list[Finding] = []
    remarks: list[str] = []
    if served.other_etag == 304:
        text = f"{served.label} answers 304 to clients that hold another version (freeze): they "
        text += "never learn of a change"
        findings.append(Finding(CRITICAL, text, (), served.retry, "freeze-304"))
    if served.alternates:
        text = f"{served.label} serves two versions in turn: several nodes behind one name?"
        findings.append(Finding(WARNING, text, code="flapping"))
    if served.own_etag == 200:
        text = f"{served.label} answers 200 to its own ETag {safe(served.etag, 40)}, never 304"
        if not_modified is OK:
            remarks.append(text)
        else:
            findings.append(Finding(not_modified, text, code="never-304"))
    return findings, remarks


def returned(served: Served, past: EndpointPast, config: ConfigPast) -> list[str]:
    """A remark about an endpoint that serves an older version again; none about the others."""
    ages = {version.key: version.age for version in config.versions}
    before = past.key if past.key != served.key else past.left_key
    if served.key not in ages or ages.get(before, ages[served.key]) >= ages[served.key]:
        return []
    when = ago(ages[served.key])
    return [f"{served.label} again serves the version first seen {when} (rollback)"]


def fresh(
    served: Served, past: EndpointPast, settings: FreshnessSettings
) -> tuple[list[Finding], list[str]]:
    """Whether one endpoint's configuration is as young, and its clock as right, as it should be."""
    findings, remarks = _aged(served, settings)
    skewed, more = _skewed(served, settings)
    findings += skewed
    remarks += more
    name = served.label
    if served.cached_seconds > settings.max_cached:
        text = f"{name} answers from a cache: {roughly(served.cached_seconds)} old (Age), limit "
        findings.append(Finding(WARNING, text + say_duration(settings.max_cached), code="cached"))
    findings += _changed(served, past, settings)
    seconds = served.seconds or 0.0
    state, broken = limits.judge(seconds, settings.warning, settings.critical)
    if broken:
        text = f"{name} is slow (slow retrieval): {roughly(seconds)} for "
        text += f"{say_size(len(served.wire))} (limit {broken.typed})"
        findings.append(Finding(state, text, code="slow retrieval"))
    return findings, remarks


def _aged(served: Served, settings: FreshnessSettings) -> tuple[list[Finding], list[str]]:
    """Last-Modified against --max-age, and against the server's own clock."""
    age, name = age_of(served), served.label
    findings: list[Finding] = []
    remarks: list[str] = []
    if settings.max_age is not None:
        limit = say_duration(settings.max_age)
        if age is None:
            text = f"{name} sends no Last-Modified: its age is unknown, limit {limit}"
            findings.append(Finding(UNKNOWN, text, code="no-last-modified"))
        elif age > settings.max_age:
            text = f"{name} serves a configuration last modified {ago(age)} (freeze), limit {limit}"
            findings.append(Finding(CRITICAL, text, code="freeze"))
    if age is not None and age < -SKEW_SECONDS:
        remarks.append(f"{name}: Last-Modified is {roughly(-age)} ahead of its own Date")
    return findings, remarks


def _skewed(served: Served, settings: FreshnessSettings) -> tuple[list[Finding], list[str]]:
    """The server's clock against ours."""
    if not served.date:
        return [], []
    skew = served.date + served.cached_seconds - served.received_at
    direction = "ahead of" if skew > 0 else "behind"
    text = f"{served.label}: its clock is {roughly(abs(skew))} {direction} ours"
    if settings.max_skew is not None and abs(skew) > settings.max_skew:
        text += f" (limit {say_duration(settings.max_skew)})"
        return [Finding(CRITICAL, text, code="skew")], []
    return [], [text] if abs(skew) > SKEW_SECONDS else []


def _changed(served: Served, past: EndpointPast, settings: FreshnessSettings) -> list[Finding]:
    """This version against those before: gone back, unchanged for too long, changed too often."""
    findings, name = [], served.label
    if served.version and past.version and not settings.allow_rollback:
        now, before = documents.order(served.version), documents.order(past.version)
        if now < before:
            text = f"{name} went back from version {safe(past.version, 40)} to {served.version}"
            findings.append(Finding(CRITICAL, text + " (rollback)", code="rollback"))
    since = past.since or 0.0 if past.key == served.key else 0.0
    unchanged = max(since, age_of(served) or 0.0)
    if settings.expect_change is not None and unchanged > settings.expect_change:
        text = f"{name} has not changed for {roughly(unchanged)} (freeze), expected within "
        text += say_duration(settings.expect_change)
        findings.append(Finding(WARNING, text, code="unchanged"))
    changes = sum(1 for change in past.changes if change <= HOUR)
    changes += bool(past.key) and past.key != served.key
    if changes > settings.max_changes:
        text = f"{name} changed {changes} times within 1h (limit {settings.max_changes}): several "
        text += "nodes behind one name?"
        findings.append(Finding(WARNING, text, code="flapping"))
    return findings

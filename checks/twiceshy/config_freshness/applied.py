"""What applications say they run with, and whether that is what is published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.config_freshness import digests, documents
from twiceshy.config_freshness.answers import Application, Running
from twiceshy.config_freshness.past import ApplicationPast, ConfigPast, Version
from twiceshy.config_freshness.wording import ago, roughly
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding, safe


def running(source: str, text: bytes) -> Running:
    """What an application's answer says that it runs with; `source` may end in #path or #metric."""
    path = source.partition("#")[2]
    if not path:
        tokens = digests.text_of(text).split()
        if len(tokens) == 1 and len(tokens[0]) <= 256:
            return Running(safe(tokens[0], 256))
        if not tokens:
            return Running(trouble="sends an empty answer")
        # the whole of it is the configuration that it runs with
        return Running(hashlib.sha256(text).hexdigest())
    head = text.lstrip()[:1]
    if head in (b"{", b"["):
        try:
            value = documents.at(documents.parse("json", text), path)
        except documents.NotParsed:
            return Running(trouble="sends invalid JSON")
        except KeyError:
            return Running(trouble=f"does not report {safe(path, 60)}")
        if value is None or value == "":
            return Running(trouble=f"reports an empty {safe(path, 60)}")
        return Running(safe(documents.scalar(value), 256))
    values = documents.metric(digests.text_of(text), path)
    if not values:
        return Running(trouble=f"does not report {safe(path, 60)}")
    if len(set(values)) > 1:
        return Running(trouble=f"reports {len(set(values))} different values of {safe(path, 60)}")
    return Running(safe(values[0], 256))


def is_named(value: str, names: Sequence[str]) -> bool:
    """Whether a value is one of the names, or the beginning (7 hex digits or more) of a hash."""
    value = value.strip().removeprefix("W/").strip('"')
    for prefix in ("sha256:", "sha256-", "sha512:", "sha1:", "md5:"):
        value = value.removeprefix(prefix)
    if not value:
        return False
    hexadecimal = len(value) >= 7 and all(c in "0123456789abcdef" for c in value.lower())
    long = [name for name in names if len(name) in (32, 40, 64, 128)]
    return value in names or (hexadecimal and any(n.startswith(value.lower()) for n in long))


def lag(value: str, current: Sequence[Version], config: ConfigPast) -> float | None:
    """Seconds since what an application runs with was superseded on all endpoints.

    0 when it is served now; None when it was never published. A version that was published twice
    is superseded by what followed its last publication.
    """
    if any(is_named(value, version.names) for version in current):
        return 0.0
    version = next((v for v in config.versions if is_named(value, v.names)), None)
    if version is None:
        return None
    last = max(
        (index for index, (key, _) in enumerate(config.published) if key == version.key),
        default=-1,
    )
    later = [age for _, age in config.published[last + 1 :]]
    if last < 0:
        later = [age for age in later if age <= version.age]
    # nothing followed: it is newer than what all serve
    return later[0] if later else 0.0


@dataclass(frozen=True)
class ApplicationVerdict:
    """One application: its finding, its lag in seconds, and what to remember."""

    finding: Finding | None
    lag: float | None
    is_current: bool = False
    is_odd: bool = False
    is_mute: bool = False


def _by_grace(seconds: float, grace: float) -> State:
    return CRITICAL if seconds >= grace else WARNING if seconds >= grace / 2 else OK


def _left(seconds: float, grace: float) -> str:
    """The rest of a sentence about what has lasted for `seconds`: "; 3h left (grace 8h)"."""
    limit = f"(grace {say_duration(grace)})"
    return f"; {roughly(grace - seconds)} left {limit}" if seconds < grace else f" {limit}"


def applied(
    application: Application,
    running: Running,
    past: ApplicationPast,
    current: Sequence[Version],
    config: ConfigPast,
) -> ApplicationVerdict:
    """Whether an application runs what is published; `current` are the versions served now."""
    name, grace = safe(application.name, 60), application.grace
    if running.locked:
        text = f"{name} cannot be judged: not allowed to read {safe(running.locked, 100)}"
        return ApplicationVerdict(Finding(UNKNOWN, text, code="refused"), None)
    if running.trouble:
        return ApplicationVerdict(_mute(application, running, past), None, is_mute=True)
    if not current and not config.published:
        return ApplicationVerdict(None, None)
    behind = lag(running.value, current, config)
    short = safe(running.value[:12] if len(running.value) >= 32 else running.value, 40)
    if behind == 0.0:
        return ApplicationVerdict(None, 0.0, is_current=True)
    if behind is not None:
        text = f"{name} still runs {short}, outdated for {roughly(behind)}"
        text += _left(behind, grace)
        return ApplicationVerdict(Finding(_by_grace(behind, grace), text, code="behind"), behind)
    if config.begun < grace:
        # it may be from before our time: the grace begins with our history
        begun = config.begun
        text = f"{name} runs {short}, which was not published in the {roughly(begun)} of history"
        text += _left(begun, grace)
        finding = Finding(_by_grace(begun, grace), text, code="behind")
        return ApplicationVerdict(finding, begun, is_odd=True)
    odd = past.odd or 0.0
    text = f"{name} runs an unknown configuration, {short}, which was never published"
    if odd:
        text = f"{name} has run an unknown configuration, {short}, which was never published, for "
        text += f"{roughly(odd)} (grace {say_duration(grace)})"
    state = CRITICAL if odd >= grace else WARNING
    return ApplicationVerdict(Finding(state, text, code="unknown"), odd, is_odd=True)


def _mute(application: Application, running: Running, past: ApplicationPast) -> Finding:
    """The finding about an application that does not report what it runs."""
    grace = application.grace
    since = past.current if past.current is not None else past.mute or 0.0
    state = CRITICAL if since >= grace else WARNING
    had = f"; it last ran what is published {ago(since)}" if past.current is not None else ""
    text = f"{safe(application.name, 60)} does not report its configuration: it {running.trouble}"
    return Finding(state, text + had + _left(since, grace), code="mute")

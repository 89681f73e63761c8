"""What applications say they run with, and whether that is what is published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.config_freshness import digests, documents
from twiceshy.config_freshness.memory import Chronicle, Taken, Version
from twiceshy.config_freshness.words import ago, roughly
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding, safe


@dataclass(frozen=True)
class Application:
    """One user of a configuration, and where to learn what it runs with."""

    name: str
    source: str  # URL[#path], /file, puppet[:/file]
    grace: float

    @property
    def config(self) -> str:
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class Running:
    """What an application says it runs with; or why not (a predicate), or why we may not ask."""

    value: str = ""
    trouble: str = ""
    locked: str = ""


def running(source: str, text: bytes) -> Running:
    """What an application's answer says that it runs with; `source` may end in #path or #metric."""
    path = source.partition("#")[2]
    if not path:
        words = digests.text_of(text).split()
        if len(words) == 1 and len(words[0]) <= 256:
            return Running(safe(words[0], 256))
        if not words:
            return Running(trouble="says nothing, an empty answer")
        # the whole of it is the configuration that it runs with
        return Running(hashlib.sha256(text).hexdigest())
    head = text.lstrip()[:1]
    if head in (b"{", b"["):
        try:
            value = documents.at(documents.parse("json", text), path)
        except documents.NotParsed:
            return Running(trouble="answers broken JSON")
        except KeyError:
            return Running(trouble=f"does not say {safe(path, 60)}")
        if value is None or value == "":
            return Running(trouble=f"has nothing at {safe(path, 60)}")
        return Running(safe(documents.scalar(value), 256))
    values = documents.metric(digests.text_of(text), path)
    if not values:
        return Running(trouble=f"does not say {safe(path, 60)}")
    if len(set(values)) > 1:
        return Running(trouble=f"says {len(set(values))} different things at {safe(path, 60)}")
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


def lag(value: str, current: Sequence[Version], chronicle: Chronicle) -> float | None:
    """Seconds since what an application runs with was superseded on all endpoints.

    0 when it is served now; None when it was never published. A version that was published twice
    is superseded by what followed its last publication.
    """
    if any(is_named(value, version.names) for version in current):
        return 0.0
    version = next((v for v in chronicle.versions if is_named(value, v.names)), None)
    if version is None:
        return None
    last = max(
        (place for place, (key, _) in enumerate(chronicle.published) if key == version.key),
        default=-1,
    )
    later = [age for _, age in chronicle.published[last + 1 :]]
    if last < 0:
        later = [age for age in later if age <= version.age]
    # nothing followed: it is newer than what all serve
    return later[0] if later else 0.0


@dataclass(frozen=True)
class Judged:
    """One application: its finding, its lag in seconds, and what to remember."""

    finding: Finding | None
    lag: float | None
    is_current: bool = False
    is_odd: bool = False


def _by_grace(seconds: float, grace: float) -> State:
    return CRITICAL if seconds >= grace else WARNING if seconds >= grace / 2 else OK


def taken(
    application: Application,
    said: Running,
    past: Taken,
    current: Sequence[Version],
    chronicle: Chronicle,
) -> Judged:
    """Whether an application runs what is published; `current` are the versions served now."""
    name, grace = safe(application.name, 60), application.grace
    limit = say_duration(grace)
    if said.locked:
        text = f"{name} cannot be judged: not allowed to read {safe(said.locked, 100)}"
        return Judged(Finding(UNKNOWN, text, code="refused"), None)
    if said.trouble:
        since = past.current if past.current is not None else past.mute or 0.0
        state = CRITICAL if since >= grace else WARNING
        left = f"{roughly(grace - since)} left of {limit} of grace" if since < grace else ""
        had = f"had the published configuration {ago(since)}" if past.current is not None else ""
        rest = ", ".join(part for part in (had, left or f"the {limit} of grace are over") if part)
        text = f"{name} does not tell its configuration: it {said.trouble}; {rest}"
        return Judged(Finding(state, text, code="mute"), None)
    if not current and not chronicle.published:
        return Judged(None, None)
    behind = lag(said.value, current, chronicle)
    short = safe(said.value[:12] if len(said.value) >= 32 else said.value, 40)
    if behind == 0.0:
        return Judged(None, 0.0, is_current=True)
    if behind is not None:
        state = _by_grace(behind, grace)
        text = f"{name} still runs {short}, outdated for {roughly(behind)}; "
        text += f"{roughly(grace - behind)} left of {limit}" if behind < grace else f"limit {limit}"
        return Judged(Finding(state, text + " of grace", code="behind"), behind)
    if chronicle.begun < grace:
        # it may be from before our time: the grace begins with our history
        state = _by_grace(chronicle.begun, grace)
        text = (
            f"{name} runs {short}, not published within our {roughly(chronicle.begun)} of history; "
        )
        text += f"{roughly(grace - chronicle.begun)} left of {limit} of grace"
        return Judged(Finding(state, text, code="behind"), chronicle.begun, is_odd=True)
    odd = past.odd or 0.0
    text = f"{name} runs an unknown configuration, {short}, that was never published"
    text += f", for {roughly(odd)} (limit {limit})" if odd else ""
    state = CRITICAL if odd >= grace else WARNING
    return Judged(Finding(state, text, code="unknown"), odd, is_odd=True)

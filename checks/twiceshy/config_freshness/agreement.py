"""Whether redundant endpoints serve the same, and which is stale; whether they are redundant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from twiceshy.config_freshness import documents
from twiceshy.config_freshness.answers import Served
from twiceshy.config_freshness.past import ConfigPast, Past
from twiceshy.config_freshness.wording import ago, listing, of_config, roughly
from twiceshy.kit.plugin import CRITICAL, OK, WARNING
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding, safe


class By(Enum):
    """How it is known which of several versions is the newest."""

    NOTHING = "nothing"
    AGREEMENT = "agreement"
    VERSION = "version"
    FIRST_SEEN = "first seen"
    LAST_MODIFIED = "Last-Modified"


@dataclass(frozen=True)
class Order:
    """How several served versions stand to each other: which is the newest, and how we know."""

    newest: str = ""  # key, "" when nobody can tell
    by: By = By.NOTHING


def newest(served: Sequence[Served], past: ConfigPast) -> Order:
    """The newest of the versions that are served: by version field, by what was seen first, by
    Last-Modified, in this order."""
    keys = sorted({each.key for each in served})
    if len(keys) == 1:
        return Order(keys[0], By.AGREEMENT)
    if all(each.version for each in served):
        ranks = {each.key: documents.order(each.version) for each in served}
        if len(set(ranks.values())) == len(keys):
            return Order(max(keys, key=lambda key: ranks[key]), By.VERSION)
    ages = {version.key: version.age for version in past.versions}
    if past.known and len({ages.get(key, 0.0) for key in keys}) == len(keys):
        return Order(min(keys, key=lambda key: ages.get(key, 0.0)), By.FIRST_SEEN)
    modified = {key: max(s.last_modified or 0.0 for s in served if s.key == key) for key in keys}
    if all(modified.values()) and len(set(modified.values())) == len(keys):
        return Order(max(keys, key=lambda key: modified[key]), By.LAST_MODIFIED)
    return Order()


def agreement(
    served: Sequence[Served], past: Past, config: ConfigPast, sync_grace: float
) -> list[Finding]:
    """Whether redundant endpoints, all of them readable, serve the same; which is stale, and by
    how much. `sync_grace` in seconds.
    """
    keys = {each.key for each in served}
    if len(keys) < 2:
        return []
    order = newest(served, config)
    ahead = [each for each in served if each.key == order.newest]
    apart = config.apart or 0.0
    if not config.known and order.by is By.LAST_MODIFIED:
        # the first run: the newer file is as old as its server says
        dates = [s.date - s.last_modified for s in ahead if s.date and s.last_modified]
        apart = max(0.0, *dates) if dates else 0.0
    state = CRITICAL if apart > sync_grace else OK
    limit = f"(limit {say_duration(sync_grace)})"
    if not order.newest:
        parts = [
            f"{listing([s.name for s in served if s.key == key], 3)} {key[:8]}"
            for key in sorted(keys)
        ]
        subject = f"endpoints{of_config(served[0].config)}"
        since = f"have served different configurations for {roughly(apart)}"
        if apart < 1:
            since = "serve different configurations as of this run"
        text = f"{subject} {since} {limit}: {'; '.join(parts[:4])}{_hint(served)}"
        return [Finding(state, text, code="disagreement")]
    since = (
        f"they have differed for {roughly(apart)}" if apart >= 1 else "they differ as of this run"
    )
    findings = []
    for key in sorted(keys - {order.newest}):
        behind = [each for each in served if each.key == key]
        stale = listing([each.name for each in behind], 3)
        predicate = _staleness(behind, ahead, past, config, order)
        text = f"{stale} {predicate}; {since} {limit}{_hint([*ahead, *behind])}"
        findings.append(Finding(state, text, (), behind[0].retry, "stale"))
    return findings


def _staleness(
    behind: Sequence[Served],
    ahead: Sequence[Served],
    past: Past,
    config: ConfigPast,
    order: Order,
) -> str:
    """What stale endpoints do, as a predicate: "serves the version that a left 9h ago"."""
    one, other = behind[0], ahead[0]
    own, their = past.endpoint(one.name), past.endpoint(other.name)
    versions = f" ({one.version} instead of {other.version})" if one.version else ""
    came_back = (
        own.key and own.key == other.key and one.key in {v.key for v in config.versions}
    ) or (own.left_key == other.key and own.since is not None)
    name = safe(other.name, 50)
    serves = "serve" if len(behind) > 1 else "serves"
    if came_back and order.by is not By.LAST_MODIFIED:
        first = next((v.age for v in config.versions if v.key == one.key), 0.0)
        return (
            f"again {serves} the version first seen {ago(first)} (rollback), while {name} serves "
            f"the newer one{versions}"
        )
    if their.left_key == one.key and their.since is not None and their.key == other.key:
        return f"{serves} the version that {name} replaced {ago(their.since)}{versions}"
    if their.key == one.key and their.key != other.key:
        return f"{serves} the version that {name} has just replaced{versions}"
    if one.last_modified and other.last_modified and other.last_modified > one.last_modified:
        older = roughly(other.last_modified - one.last_modified)
        return f"{serves} a version {older} older than that of {name}{versions}"
    return f"{serves} an older version than {name}{versions}"


def _hint(served: Sequence[Served]) -> str:
    """What makes two versions equal after all, as an operator would like to know."""
    if len({documents.without_line_ends(each.body) for each in served}) == 1:
        return " (they differ only in line endings or trailing blanks)"
    try:
        meanings = {documents.canonical(documents.parse("json", each.body)) for each in served}
    except (documents.NotParsed, RecursionError):
        return ""
    return " (equal as JSON: --canonical json)" if len(meanings) == 1 else ""


def independence(served: Sequence[Served], by_address: bool) -> list[Finding]:
    """The same node behind two names is no redundancy; behind a proxy all have one address."""
    findings = []
    for noun in ("node", *(["address"] if by_address else [])):
        names: dict[str, list[str]] = {}
        for each in served:
            # a node's own name counts more than its address, which may be a balancer's
            place = each.node if noun == "node" else "" if each.node else each.peer
            if place:
                names.setdefault(place, []).append(each.name)
        for place, same in names.items():
            if len(same) > 1:
                text = f"{listing(same)} are not independent: the same {noun} {place} answers"
                findings.append(Finding(WARNING, text, code="not-independent"))
    return findings

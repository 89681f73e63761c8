"""Whether redundant endpoints serve the same, and which is stale; whether they are redundant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twiceshy.config_freshness import documents
from twiceshy.config_freshness.memory import Chronicle, Remembered, Served, past_of
from twiceshy.config_freshness.words import ago, listing, of_config, roughly
from twiceshy.kit.plugin import CRITICAL, OK, WARNING
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding, safe


@dataclass(frozen=True)
class Order:
    """How several served versions stand to each other: which is the newest, and how we know."""

    newest: str = ""  # key, "" when nobody can tell
    by: str = ""


def newest(served: Sequence[Served], chronicle: Chronicle) -> Order:
    """The newest of the versions that are served: by version field, by what was seen first, by
    Last-Modified, in this order."""
    keys = sorted({seen.key for seen in served})
    if len(keys) == 1:
        return Order(keys[0], "agreement")
    if all(seen.version for seen in served):
        ranks = {seen.key: documents.order(seen.version) for seen in served}
        if len(set(ranks.values())) == len(keys):
            return Order(max(keys, key=lambda key: ranks[key]), "version")
    ages = {version.key: version.age for version in chronicle.versions}
    if chronicle.known and len({ages.get(key, 0.0) for key in keys}) == len(keys):
        return Order(min(keys, key=lambda key: ages.get(key, 0.0)), "first seen")
    modified = {key: max(s.last_modified or 0.0 for s in served if s.key == key) for key in keys}
    if all(modified.values()) and len(set(modified.values())) == len(keys):
        return Order(max(keys, key=lambda key: modified[key]), "Last-Modified")
    return Order()


def agreement(
    looks: Sequence[Served],
    pasts: Mapping[str, Remembered],
    chronicle: Chronicle,
    sync_grace: float,
) -> list[Finding]:
    """Whether redundant endpoints serve the same; which is stale, and by how much."""
    served = [seen for seen in looks if not seen.trouble]
    keys = {seen.key for seen in served}
    if len(keys) < 2:
        return []
    order = newest(served, chronicle)
    ahead = [seen for seen in served if seen.key == order.newest]
    apart = chronicle.apart or 0.0
    if not chronicle.known and order.by == "Last-Modified":
        # the first run: the newer file is as old as its server says
        dates = [s.date - s.last_modified for s in ahead if s.date and s.last_modified]
        apart = max(0.0, *dates) if dates else 0.0
    state = CRITICAL if apart > sync_grace else OK
    clock = f"for {roughly(apart)}" if apart >= 1 else "since this run"
    clock += f" (limit {say_duration(sync_grace)})"
    if not order.newest:
        hint = _hint(served)
        parts = [
            f"{listing([s.name for s in served if s.key == key], 3)} {key[:8]}"
            for key in sorted(keys)
        ]
        text = f"endpoints{of_config(looks[0].config)} serve different configurations {clock}: "
        return [Finding(state, text + "; ".join(parts[:4]) + hint, code="disagreement")]
    findings = []
    for key in sorted(keys - {order.newest}):
        behind = [seen for seen in served if seen.key == key]
        stale = listing([seen.name for seen in behind], 3)
        said = _staleness(behind, ahead, pasts, chronicle, order)
        verb = "serve" if len(behind) > 1 else "serves"
        text = f"{stale} {verb} {said}; different {clock}{_hint([*ahead, *behind])}"
        findings.append(Finding(state, text, (), behind[0].retry, "stale"))
    return findings


def _staleness(
    behind: Sequence[Served],
    ahead: Sequence[Served],
    pasts: Mapping[str, Remembered],
    chronicle: Chronicle,
    order: Order,
) -> str:
    """What a stale endpoint serves, as an object: "the version that a left 9h ago"."""
    one, other = behind[0], ahead[0]
    past, their = past_of(pasts, one), past_of(pasts, other)
    versions = f" ({one.version} instead of {other.version})" if one.version else ""
    came_back = (
        past.key and past.key == other.key and one.key in {v.key for v in chronicle.versions}
    ) or (past.left_key == other.key and past.since is not None)
    name = safe(other.name, 50)
    if came_back and order.by != "Last-Modified":
        first = next((v.age for v in chronicle.versions if v.key == one.key), 0.0)
        back = f"again the version first seen {ago(first)} (rollback)"
        return f"{back}, while {name} serves the newer{versions}"
    if their.left_key == one.key and their.since is not None and their.key == other.key:
        return f"the version that {name} left {ago(their.since)}{versions}"
    if their.key == one.key and their.key != other.key:
        return f"the version that {name} has just left{versions}"
    if one.last_modified and other.last_modified and other.last_modified > one.last_modified:
        older = roughly(other.last_modified - one.last_modified)
        return f"a version {older} older than that of {name}{versions}"
    return f"an older version than {name}{versions}"


def _hint(served: Sequence[Served]) -> str:
    """What makes two versions equal after all, as an operator would like to know."""
    if len({documents.without_line_ends(seen.body) for seen in served}) == 1:
        return " (only line ends or blanks at line ends differ)"
    try:
        meanings = {documents.canonical(documents.parse("json", seen.body)) for seen in served}
    except (documents.NotParsed, RecursionError):
        return ""
    return " (equal as JSON: --canonical json)" if len(meanings) == 1 else ""


def independence(looks: Sequence[Served], by_address: bool) -> list[Finding]:
    """The same node behind two names is no redundancy; behind a proxy all have one address."""
    findings = []
    for what, attribute in (("node", "node"), *([("address", "peer")] if by_address else [])):
        places: dict[str, list[str]] = {}
        for seen in looks:
            value = getattr(seen, attribute)
            if value and not (attribute == "peer" and seen.node):
                places.setdefault(value, []).append(seen.name)
        for place, names in places.items():
            if len(names) > 1:
                text = f"{listing(names)} are not independent: the same {what} {place} answers"
                findings.append(Finding(WARNING, text, code="not-independent"))
    return findings

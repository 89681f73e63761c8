"""What a check concludes: findings, measures, and the words for them.

A check returns a `Report`. The state order is CRITICAL > WARNING > UNKNOWN > OK, that of
monitoring-plugins 3 and Linuxfabrik: a subject that cannot be queried never hides a broken one
(nagiosplugin ranks by exit code; bb-Ricardo/check_redfish issue 174 and olorin/nagiosplugin pull
request 8 show what that costs). Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twiceshy.kit import units
from twiceshy.kit.limits import Limit, plain
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State

SEVERITY = (OK, UNKNOWN, WARNING, CRITICAL)


@dataclass(frozen=True)
class Finding:
    """A conclusion about one subject: a state and one line, subject first.

    `more` are lines to show under it, `next` is the command to type next, `code` a stable short
    name where an operator may want to silence this kind of finding.
    """

    state: State
    text: str
    more: tuple[str, ...] = ()
    next: str = ""
    code: str = ""


@dataclass(frozen=True)
class Measure:
    """One number for the graphs; `uom` is "", "s", "B", "%" or "c"; None leaves it out."""

    label: str
    value: float | None
    uom: str = ""
    warning: Limit | None = None
    critical: Limit | None = None
    minimum: float | None = None
    maximum: float | None = None

    def __str__(self) -> str:
        """`label=value[uom];warn;crit;min;max`; Sensu Go needs the `;` to end a bare value."""
        if self.value is None or not math.isfinite(self.value):
            return ""
        bounds = [
            self.warning.perfdata if self.warning else "",
            self.critical.perfdata if self.critical else "",
            "" if self.minimum is None else plain(self.minimum),
            "" if self.maximum is None else plain(self.maximum),
        ]
        rounded = round(self.value) if self.uom in ("B", "c") else self.value
        return f"{self.label}={plain(rounded)}{self.uom};" + ";".join(bounds).rstrip(";")


@dataclass(frozen=True)
class Report:
    """All that a run of a check has to report.

    `findings`: what is wrong, or worth the headline. `measures`: most important first, since the
    default output has room for some 440 bytes of them. `summary`: the sentence when all is well.
    `remarks`: odd but harmless.
    """

    findings: Sequence[Finding] = ()
    measures: Sequence[Measure] = ()
    summary: str = ""
    remarks: Sequence[str] = ()


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by severity; those of one state keep the order in which the check gave them."""
    return sorted(findings, key=lambda finding: -SEVERITY.index(finding.state))


def learning(have_seconds: float, need_seconds: float, state: State = OK) -> Finding:
    """The finding of a check that has not seen enough yet, in the state of --learning."""
    return Finding(
        state,
        f"still learning: {units.say_duration(have_seconds)} of history, "
        f"{units.say_duration(need_seconds)} needed",
        code="learning",
    )


# Words from outside

# Each needs one of these to be there. They are compiled when a text has one: that is a tenth of the
# cost of a start, and most names have none.
_SUSPECT = re.compile(r"[@=:\s]")
_CREDENTIALS = (
    # ssh:// needs the bare user, who is no secret; elsewhere a token may stand alone before the @.
    (r"(?i)\b([a-z][a-z0-9+.-]*://)(?!(?<=\bssh://)[\w.-]+@)[^\s/@]+@", r"\1***@"),
    (
        r"(?i)\b((?:[\w-]*(?:token|passw(?:or)?d|secret|api[_-]?key|access[_-]?key))"
        r"[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s&\"',;]+",
        r"\1***",
    ),
    (r"(?i)(\s--?[\w-]*(?:token|passw(?:or)?d|secret|api-?key)\s+)[^\s-]\S*", r"\1***"),
    (r"(?i)\b(authorization\s*[=:]\s*)(?:(?:bearer|basic|digest)\s+)?\S+", r"\1***"),
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{12,}", r"\1 ***"),
)


def safe(text: str, limit: int = 200) -> str:
    """Text from outside as one printable line of at most `limit` characters, without credentials.

    `|` would begin perfdata, a newline a long line; control characters, bidirectional overrides
    and broken UTF-8 become `?`.
    """
    if _SUSPECT.search(text):
        for pattern, replacement in _CREDENTIALS:
            text = re.sub(pattern, replacement, text)
    text = " ".join(text.replace("|", "/").split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def label(subject: str, measure: str = "") -> str:
    """A perfdata label for a measure of a subject, of `[A-Za-z0-9_.-]` only, at most 80 long.

    Stable between runs, and two paths never share one, nor do two names: where cleaning could make
    two alike, a hash of the original follows. A path keeps its words: /var/log is var_log, which a
    name in the same check would have to be called, too, to share its label.
    """
    if subject == "/":
        clean = "root"
    else:
        stripped = subject[1:] if subject.startswith("/") else subject
        is_path = subject.startswith("/")
        clean = re.sub(r"[^A-Za-z0-9.-]" if is_path else r"[^A-Za-z0-9_.-]", "_", stripped)
        unique = (
            clean.replace("_", "/") == stripped and clean != "root"
            if is_path
            else clean == stripped
        )
        if not unique or not clean or len(clean) > 56:
            import hashlib  # rarely needed, and a tenth of the start-up time

            digest = hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()
            clean = f"{clean[:47]}_{digest[:8]}"
    return f"{clean}_{measure}" if measure else clean

"""Whether endpoints have checksum data, and serve what it fits."""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.config_freshness import digests
from twiceshy.config_freshness.answers import Served
from twiceshy.config_freshness.past import ConfigPast, EndpointPast, Past, kinds_of
from twiceshy.config_freshness.settings import ChecksumSettings
from twiceshy.config_freshness.wording import ago, all_of, listing, of_config
from twiceshy.kit.plugin import CRITICAL, WARNING
from twiceshy.kit.verdict import Finding, safe


def misfits(served: Served) -> list[digests.Checksum]:
    """Checksums that the answer does not fit. Digest fields cover the coded bytes (RFC 9530)."""
    return [c for c in served.checksums if not (c.fits(served.wire) or c.fits(served.body))]


def is_sound(served: Served, mode: str) -> bool:
    """Whether what was served is a version at all: readable, and as its checksums say."""
    return not served.failure and (mode == "none" or not (served.foreign or misfits(served)))


def is_suspicious(served: Served, pinned: digests.Checksum | None) -> bool:
    """Whether a readable answer differs from what a checksum says, so that it is asked again."""
    is_other = pinned is not None and not pinned.fits(served.body)
    return bool(served.foreign or misfits(served)) or is_other


def demanded(past: EndpointPast, settings: ChecksumSettings) -> tuple[str, ...]:
    """Kinds of checksum data that an endpoint must have: "header", "sidecar", "any", or none."""
    if settings.mode == "none":
        return ()
    wanted = set(past.kinds) if settings.mode == "auto" else {settings.mode}
    if settings.sidecar:
        wanted.add("sidecar")
    return tuple(sorted(wanted))


LACKING = {
    "header": "no Repr-Digest or other digest in the header",
    "sidecar": "no sidecar",
    "any": "neither digest nor sidecar",
}


def lost(served: Served, past: EndpointPast, settings: ChecksumSettings) -> str:
    """What checksum data an endpoint lacks and should have, as a clause; "" when nothing."""
    have = {*kinds_of(served), *(["any"] if served.checksums else [])}
    lacking = [kind for kind in demanded(past, settings) if kind not in have]
    if not lacking:
        return ""
    clause = "; ".join(served.broken) or "; ".join(LACKING[kind] for kind in lacking)
    was_there = past.kinds_at is not None and set(lacking) & set(past.kinds)
    return clause + (f"; it was there {ago(past.kinds_at or 0.0)}" if was_there else "")


def checksummed(
    answers: Sequence[Served], past: Past, config: ConfigPast, left: str, settings: ChecksumSettings
) -> tuple[list[Finding], list[str]]:
    """Findings and remarks about the checksum data of one configuration: missing, wrong, weak;
    and about a pinned value. `left` says how long the applications can run without.
    """
    served = [each for each in answers if not each.failure]
    missing = {
        each.name: clause
        for each in served
        for clause in [lost(each, past.endpoint(each.name), settings)]
        if clause and not each.foreign
    }
    findings = _missing(answers, served, missing, left)
    remarks: list[str] = []
    for each in served:
        findings += _wrong(each, served, config, settings.pinned)
        remarks += _weak(each, each.name in missing)
    if served and settings.mode == "auto" and not missing and not any(s.checksums for s in served):
        remarks.append(
            f"no endpoint{of_config(answers[0].config)} has checksum data: give --checksum-url, "
            "or make it send Repr-Digest"
        )
    return findings, remarks


def _missing(
    answers: Sequence[Served], served: Sequence[Served], missing: dict[str, str], left: str
) -> list[Finding]:
    """Checksum data that is missing: one finding if from all that can be read, else one each."""
    config, code = answers[0].config, "checksum-missing"
    if not missing:
        return []
    if len(missing) < len(served):
        have = len(served) - len(missing)
        others = f"{have} of {len(answers)} endpoints{of_config(config)}"
        others += " has it" if have == 1 else " have it"
        return [
            Finding(
                WARNING,
                f"checksum data is missing from {each.label}: {missing[each.name]}; {others}",
                (),
                each.retry,
                code,
            )
            for each in served
            if each.name in missing
        ]
    who = f"{all_of(config, len(answers))}, {listing(list(missing))}"
    if len(missing) < len(answers):
        who = f"{listing(list(missing))}, all that can be read of {len(answers)} endpoints"
        who += of_config(config)
    text = f"checksum data is missing from {who}; {left}: {missing[served[0].name]}"
    more = tuple(f"{each.label}: {missing[each.name]}" for each in served[1:])
    return [Finding(CRITICAL, text, more, served[0].retry, code)]


def _wrong(
    each: Served, served: Sequence[Served], config: ConfigPast, pinned: digests.Checksum | None
) -> list[Finding]:
    """Checksums of one endpoint that its body does not match."""
    findings = []
    if each.foreign:
        text = f"{each.label}: {each.foreign}, twice in a row"
        findings.append(Finding(CRITICAL, text, (), each.retry, "checksum-mismatch"))
    for misfit in misfits(each):
        noun = {"sidecar": "sidecar's checksum"}.get(misfit.kind, misfit.kind)
        text = f"{each.label} serves a body that does not match its {noun}, twice in a row"
        text += _mixed(each, misfit, served, config)
        findings.append(Finding(CRITICAL, text, (), each.retry, "checksum-mismatch"))
    if pinned and not pinned.fits(each.body):
        text = f"{each.label} serves {each.key[:12]}, not what is pinned "
        text += f"({pinned.algorithm} {pinned.value.hex()[:12]})"
        findings.append(Finding(CRITICAL, text, code="pinned"))
    return findings


def _mixed(
    each: Served, misfit: digests.Checksum, served: Sequence[Served], config: ConfigPast
) -> str:
    """Whose checksum it is then, in brackets; "" when nobody knows."""
    value = misfit.value.hex()
    elsewhere = next((s.name for s in served if s.key == value), "")
    if elsewhere and elsewhere != each.name:
        return f" (mix-and-match: it is the checksum of what {safe(elsewhere, 50)} serves)"
    version = next((v for v in config.versions if v.key == value), None)
    if version is not None and value != each.key:
        return f" (mix-and-match: it is that of the version first seen {ago(version.age)})"
    return ""


def _weak(each: Served, is_missing: bool) -> list[str]:
    """Remarks about checksum data that is good enough, but not good."""
    remarks = []
    fields = [c for c in each.checksums if c.kind in digests.FIELDS]
    kinds = {c.kind for c in fields}
    if kinds and kinds <= digests.OBSOLETE:
        remarks.append(f"{each.label} has only {listing(sorted(kinds))}, which is obsolete")
    elif each.checksums and all(c.algorithm in digests.WEAK for c in each.checksums):
        remarks.append(f"{each.label} has only weak checksums ({each.checksums[0].algorithm})")
    if each.broken and not is_missing:
        remarks.append(f"{each.label}: {'; '.join(each.broken)}")
    if any(not c.fits(each.wire) and c.fits(each.body) for c in fields):
        remarks.append(
            f"{each.label}: its digest covers the decoded bytes; RFC 9530 wants the encoded ones"
        )
    return remarks

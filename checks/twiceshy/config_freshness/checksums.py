"""Whether endpoints have checksum data, and serve what it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twiceshy.config_freshness import digests
from twiceshy.config_freshness.memory import Chronicle, Remembered, Served, kinds_of, past_of
from twiceshy.config_freshness.words import ago, all_of, listing, of_config
from twiceshy.kit.plugin import CRITICAL, WARNING
from twiceshy.kit.verdict import Finding, safe


def misfits(seen: Served) -> list[digests.Checksum]:
    """Checksums that the answer does not fit. Digest fields cover the coded bytes (RFC 9530)."""
    return [each for each in seen.checksums if not (each.fits(seen.wire) or each.fits(seen.body))]


def fits(seen: Served, mode: str) -> bool:
    """Whether what was served is a version at all: readable, and as its checksums say."""
    return not seen.trouble and (mode == "none" or not (seen.foreign or misfits(seen)))


def demanded(past: Remembered, mode: str, has_url: bool) -> tuple[str, ...]:
    """Kinds of checksum data that an endpoint must have: "header", "sidecar", "any", or none."""
    kinds = {"auto": (), "any": ("any",), "header": ("header",), "sidecar": ("sidecar",)}
    if mode == "none":
        return ()
    wanted = set(kinds[mode])
    if mode == "auto":
        wanted.update(past.kinds)
    if has_url:
        wanted.add("sidecar")
    return tuple(sorted(wanted))


WORDS = {
    "header": "no Repr-Digest or other digest in the header",
    "sidecar": "no sidecar",
    "any": "neither digest nor sidecar",
}


def lost(seen: Served, past: Remembered, mode: str, has_url: bool) -> str:
    """What checksum data an endpoint lacks and should have, as a clause; "" when nothing."""
    have = {*kinds_of(seen), *(["any"] if seen.checksums else [])}
    lacking = [kind for kind in demanded(past, mode, has_url) if kind not in have]
    if not lacking:
        return ""
    said = "; ".join(seen.broken) or "; ".join(WORDS[kind] for kind in lacking)
    seen_before = past.kinds_seen is not None and set(lacking) & set(past.kinds)
    return said + (f"; it was there {ago(past.kinds_seen or 0.0)}" if seen_before else "")


def checksummed(
    looks: Sequence[Served],
    pasts: Mapping[str, Remembered],
    chronicle: Chronicle,
    left: str,
    mode: str,
    has_url: bool,
    pinned: digests.Checksum | None,
) -> tuple[list[Finding], list[str]]:
    """Findings and remarks about checksum data: missing, wrong, weak; and about a pinned value."""
    findings: list[Finding] = []
    remarks: list[str] = []
    served = [seen for seen in looks if not seen.trouble]
    config = looks[0].config
    missing = {
        seen.name: text
        for seen in served
        for text in [lost(seen, past_of(pasts, seen), mode, has_url)]
        if text and not seen.foreign
    }
    if missing and len(missing) == len(served):
        who = f"from {all_of(config, len(looks))}, {listing(list(missing))}"
        if len(missing) < len(looks):
            who = f"from {listing(list(missing))}, all that can be read of {len(looks)} endpoints"
            who += of_config(config)
        rest = list(missing)[1:]
        text = f"checksum data is missing {who}; {left}: {next(iter(missing.values()))}"
        more = tuple(f"{safe(name, 60)}: {missing[name]}" for name in rest)
        first = next(seen for seen in served if seen.name in missing)
        findings.append(Finding(CRITICAL, text, more, first.retry, "checksum-missing"))
    else:
        for name, why in missing.items():
            others = len(served) - len(missing)
            text = f"checksum data is missing from {safe(name, 60)}: {why}"
            text += f"; {others} of {len(looks)} endpoints{of_config(config)} have it"
            retry = next(seen.retry for seen in served if seen.name == name)
            findings.append(Finding(WARNING, text, (), retry, "checksum-missing"))
    known = {version.key: version for version in chronicle.versions}
    for seen in served:
        if seen.foreign:
            text = f"{seen.called}: {seen.foreign}, twice"
            findings.append(Finding(CRITICAL, text, (), seen.retry, "checksum-mismatch"))
        for misfit in misfits(seen):
            what = {"sidecar": "sidecar's checksum"}.get(misfit.kind, misfit.kind)
            text = f"{seen.called} serves a body that its {what} does not fit, twice"
            other = misfit.value.hex()
            elsewhere = next((s.name for s in served if s.key == other), "")
            if elsewhere and elsewhere != seen.name:
                text += f" (mix-and-match: it is the checksum of what {safe(elsewhere, 50)} serves)"
            elif other in known and other != seen.key:
                when = ago(known[other].age)
                text += f" (mix-and-match: it is that of the version first seen {when})"
            findings.append(Finding(CRITICAL, text, (), seen.retry, "checksum-mismatch"))
        if pinned and not pinned.fits(seen.body):
            text = f"{seen.called} serves {seen.key[:12]}, not what is pinned "
            text += f"({pinned.algorithm} {pinned.value.hex()[:12]})"
            findings.append(Finding(CRITICAL, text, code="pinned"))
        kinds = {each.kind for each in seen.checksums if each.kind in digests.FIELDS}
        if kinds and kinds <= {"Digest", "Content-MD5"}:
            remarks.append(f"{seen.called} has only {listing(sorted(kinds))}, which is obsolete")
        elif seen.checksums and all(e.algorithm in digests.WEAK for e in seen.checksums):
            remarks.append(f"{seen.called} has only weak checksums ({seen.checksums[0].algorithm})")
        if seen.broken and seen.name not in missing:
            remarks.append(f"{seen.called}: {'; '.join(seen.broken)}")
        if any(e.kind in digests.FIELDS and not e.fits(seen.wire) and e.fits(seen.body)
               for e in seen.checksums):  # fmt: skip
            remarks.append(
                f"{seen.called}: its digest is of the decoded bytes, not as RFC 9530 says"
            )
    if served and mode == "auto" and not missing and not any(s.checksums for s in served):
        remarks.append(
            f"no endpoint{of_config(config)} gives checksum data: give --checksum-url, or let it "
            "send Repr-Digest"
        )
    return findings, remarks

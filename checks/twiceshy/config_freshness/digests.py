"""Checksums as they come with a file over HTTP: header fields and sidecar files.

`Repr-Digest` and `Content-Digest` are RFC 9530 (a structured-field dictionary, base64 between
colons), `Digest` is RFC 3230 (obsolete), `Content-MD5` RFC 1864 (removed by RFC 7231). A sidecar
is what `sha256sum`, BSD `sha256`, `openssl dgst` or somebody's shell script wrote next to the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

# hashlib name -> bytes, weakest first
SIZES = {"md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}
WEAK = ("md5", "sha1")
FIELDS = ("Repr-Digest", "Content-Digest", "Digest", "Content-MD5")
OBSOLETE = {"Digest", "Content-MD5"}


class Unusable(ValueError):
    """Checksum data is there, but cannot be used; the text is a sentence's end ("is empty")."""


class ForAnother(Unusable):
    """The checksum is one, but of another file."""


@dataclass(frozen=True)
class Checksum:
    """A checksum that came with a file, or was typed."""

    kind: str  # the header field's name, "sidecar" or "pinned"
    algorithm: str  # hashlib's name for it
    value: bytes

    def fits(self, body: bytes) -> bool:
        """Whether it is that of `body`."""
        return hashlib.new(self.algorithm, body).digest() == self.value


def algorithm_named(name: str) -> str:
    """hashlib's name for `SHA-256`, `sha2-256`, `SHA256`, `sha`; "" when it is none of ours."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    plain = re.sub(r"^sha2(?=(224|256|384|512)$)", "sha", plain)
    plain = {"sha": "sha1"}.get(plain, plain)
    return plain if plain in SIZES else ""


def algorithm_sized(length: int) -> str:
    """hashlib's name for the algorithm whose digests have `length` bytes; "" when none has."""
    return next((name for name, size in SIZES.items() if size == length), "")


def strongest(found: list[Checksum]) -> Checksum:
    """The checksum with the longest digest."""
    return max(found, key=lambda checksum: SIZES[checksum.algorithm])


def _decoded(algorithm: str, text: str) -> bytes:
    """The digest from base64 or hex; Unusable when it is not of the algorithm's length."""
    size = SIZES[algorithm]
    if len(text) == 2 * size and re.fullmatch(r"[0-9A-Fa-f]+", text):
        return bytes.fromhex(text)
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("is not base64") from None
    if len(value) != size:
        raise Unusable(f"has {len(value)} bytes, {algorithm} has {size}")
    return value


def from_field(name: str, text: str) -> Checksum:
    """The strongest checksum of one header field that we can compute; Unusable if there is none.

    Algorithms that are not ours are passed over (RFC 9530 section 2: ignore what you do not know).
    """
    if name == "Content-MD5":
        members = [("md5", text.strip())]
    elif name == "Digest":
        members = [
            (key.strip(), value.strip())
            for key, _, value in (part.partition("=") for part in text.split(","))
        ]
    else:
        members = re.findall(r"([A-Za-z*][A-Za-z0-9_.*-]*)\s*=\s*:([^:]*):", text)
    ours = [(algorithm_named(key), value) for key, value in members]
    found = [Checksum(name, key, _decoded(key, value)) for key, value in ours if key]
    if found:
        return strongest(found)
    if not text.strip():
        raise Unusable("is empty")
    if members and any(value for _, value in members):
        named = ", ".join(key for key, _ in members)[:60]
        raise Unusable(f"has only unsupported algorithms ({named})")
    raise Unusable("is malformed")


def from_headers(headers: Mapping[str, str]) -> tuple[list[Checksum], list[str]]:
    """Every usable checksum of an answer's header, and a sentence for each unusable field."""
    lower = {key.lower(): value for key, value in headers.items()}
    found, broken = [], []
    for name in FIELDS:
        text = lower.get(name.lower())
        if text is None:
            continue
        try:
            found.append(from_field(name, text))
        except Unusable as why:
            broken.append(f"{name} {why}")
    return found, broken


# Sidecars and lists of checksums

_PLAIN = re.compile(r"(?P<escaped>\\?)(?P<hash>[0-9A-Fa-f]{32,128})(?:[ \t]+\*?(?P<file>.+))?")
_BSD = re.compile(
    r"(?P<escaped>\\?)(?P<algorithm>[A-Za-z0-9-]+) ?\((?P<file>.+)\) ?= ?(?P<hash>[0-9A-Fa-f]+)"
)
_PREFIXED = re.compile(
    r"(?P<algorithm>sha-?\d+|md5)\s*(?P<sep>[:=-])\s*(?P<hash>[A-Za-z0-9+/=]+)", re.I
)


def text_of(raw: bytes) -> str:
    """Text of a foreign file: UTF-8, with or without a mark, or what PowerShell's `>` writes."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    return raw.decode("utf-8-sig", "replace")


def _unescaped(name: str) -> str:
    r"""sha256sum's file names: `\\`, `\n` and `\r` when the line begins with a backslash."""
    return re.sub(r"\\([\\nr])", lambda m: {"n": "\n", "r": "\r"}.get(m[1], "\\"), name)


def lines_of(text: str) -> list[tuple[str, str, bytes]]:
    """(file name or "", algorithm, digest) of every line of a checksum list."""
    rows = []
    for line in text.splitlines():
        line = line.strip()
        match = _PLAIN.fullmatch(line)
        if match:
            algorithm = algorithm_sized(len(match["hash"]) // 2)
        else:
            match = _BSD.fullmatch(line) or _PREFIXED.fullmatch(line)
            algorithm = algorithm_named(match["algorithm"]) if match else ""
        if not match or not algorithm:
            continue
        try:
            value = _decoded(algorithm, match["hash"])
        except Unusable:
            continue
        name = match.groupdict().get("file") or ""
        if match.groupdict().get("escaped"):
            name = _unescaped(name)
        rows.append((name, algorithm, value))
    return rows


def from_sidecar(raw: bytes, file_name: str) -> Checksum:
    """The strongest checksum for `file_name` in a sidecar or a list of many; Unusable otherwise.

    Only the last part of names is compared: lists are written in other directories than served.
    """
    rows = lines_of(text_of(raw))
    if not rows:
        raise Unusable("is empty" if not raw.strip() else "holds no checksum")
    wanted = file_name.rsplit("/", 1)[-1]
    ours = [row for row in rows if row[0].rsplit("/", 1)[-1] == wanted and row[0]]
    bare = [row for row in rows if not row[0] or row[0] == "-"]
    ours = ours or (
        bare if len({(a, v) for _, a, v in bare}) == len({a for _, a, _ in bare}) else []
    )
    if not ours:
        others = ", ".join(sorted({name for name, _, _ in rows if name})[:3])
        raise ForAnother(f"is for {others or 'several files'}, not for {wanted or 'this URL'}")
    by_algorithm: dict[str, set[bytes]] = {}
    for _, algorithm, value in ours:
        by_algorithm.setdefault(algorithm, set()).add(value)
    if any(len(values) > 1 for values in by_algorithm.values()):
        raise Unusable(f"names {wanted} twice with different values")
    return strongest([Checksum("sidecar", a, v) for _, a, v in ours])


def pinned(text: str) -> Checksum:
    """A checksum as a person types it: hex, or `sha256:hex`, or `sha-256=:base64:`; ValueError."""
    rows = lines_of(text.replace("=:", "=").rstrip(":"))
    if len(rows) != 1 or rows[0][0]:
        raise ValueError(f"{text!r} is not a checksum (64 hex digits of SHA-256, for example)")
    return Checksum("pinned", rows[0][1], rows[0][2])

"""What a directory should hold: mtree(8) specifications and lists that `sha256sum` wrote.

mtree: NetBSD's and FreeBSD's mtree(8) and mtree(5): `/set` and `/unset` defaults, entries that
nest by `type=dir` and `..`, or (`mtree -C`) full paths; names are vis(3)-encoded.
"""

from __future__ import annotations

import datetime
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from twiceshy.config_freshness import digests

TYPES = ("file", "dir", "link", "fifo", "socket", "char", "block")
_DIGESTS = {
    "sha256": "sha256", "sha256digest": "sha256", "sha512": "sha512", "sha512digest": "sha512",
    "sha384": "sha384", "sha384digest": "sha384", "sha1": "sha1", "sha1digest": "sha1",
    "md5": "md5", "md5digest": "md5",
}  # fmt: skip


class NotAManifest(ValueError):
    """The text is no manifest, or a line of it cannot be understood."""


@dataclass(frozen=True)
class FileEntry:
    """One file as it should be; None and "" mean that the manifest does not say."""

    path: str  # relative to the root, "." the root itself, or absolute
    type: str = ""
    mode: int | None = None
    owner: str = ""
    group: str = ""
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    link: str = ""
    checksums: tuple[digests.Checksum, ...] = ()
    optional: bool = False
    ignored: bool = False  # below it anything goes


@dataclass(frozen=True)
class Manifest:
    """What a directory should hold."""

    entries: tuple[FileEntry, ...]
    tree: str = ""  # where it was made, by its own comment
    made: float | None = None  # wall clock, by its own comment; mtree writes local time
    complete: bool = False  # a directory that it lists must hold nothing else


_VIS = re.compile(rb"\\([0-3][0-7]{2}|M-.|M\^.|\^.|[a-zA-Z\\#])", re.DOTALL)
_CSTYLE = dict(zip(b"snrtabvfE0", b" \n\r\t\a\b\v\f\x1b\0"))


def unvis(text: str) -> str:
    r"""vis(3) decoding: `\040`, `\s` and its like, `\M-C`, `\M^C`, `\^C`, `\\`, `\#`.

    The bytes are then read as UTF-8; others are kept as os.fsdecode does.
    """

    def byte(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if len(code) == 3 and code.isdigit():
            return bytes([int(code, 8) & 0xFF])
        if len(code) == 1:
            return bytes([_CSTYLE.get(code[0], code[0])])
        meta = 0x80 if code[:1] == b"M" else 0
        last = code[-1]
        if b"^" in code[:2]:
            last = 0x7F if last == 0x3F else last & 0x1F
        return bytes([meta | last])

    raw = text.encode("utf-8", "surrogateescape")
    return _VIS.sub(byte, raw).decode("utf-8", "surrogateescape")


def _mode(text: str) -> int:
    """Octal as mtree writes it, or symbolic as people write it (`u=rw,g=r,o=`); ValueError."""
    if re.fullmatch(r"[0-7]{1,6}", text):
        return int(text, 8) & 0o7777
    mode = 0
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)=([rwxst]*)", clause)
        if not match:
            raise ValueError(text)
        who = match[1].replace("a", "ugo") or "ugo"
        for place, shift, special in (("u", 6, 0o4000), ("g", 3, 0o2000), ("o", 0, 0)):
            if place in who:
                bits = sum(4 >> "rwx".index(c) for c in set(match[2]) & set("rwx"))
                mode |= bits << shift
                mode |= special if "s" in match[2] else 0
        mode |= 0o1000 if "t" in match[2] else 0
    return mode


def _logical_lines(text: str) -> Iterator[str]:
    held = ""
    for line in text.splitlines():
        line = held + line.strip()
        if line.endswith("\\") and not line.endswith("\\\\"):
            held = line[:-1] + " "
            continue
        held = ""
        yield line
    if held:
        yield held


def _keywords(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _entry(path: str, words: dict[str, str]) -> FileEntry:
    """A FileEntry from mtree keywords; NotAManifest names the keyword that is not understood."""

    def whole(key: str) -> int | None:
        if key not in words:
            return None
        try:
            return int(words[key])
        except ValueError:
            raise NotAManifest(f"{path}: {key}={words[key]} is not a number") from None

    mode = None
    if "mode" in words:
        try:
            mode = _mode(words["mode"])
        except ValueError:
            raise NotAManifest(f"{path}: mode={words['mode']} is not understood") from None
    kind = words.get("type", "")
    if kind and kind not in TYPES:
        raise NotAManifest(f"{path}: type={kind} is not understood")
    checksums = []
    for key, algorithm in _DIGESTS.items():
        if key in words:
            try:
                value = bytes.fromhex(words[key])
            except ValueError:
                raise NotAManifest(f"{path}: {key} is not hex") from None
            if len(value) != digests.SIZES[algorithm]:
                raise NotAManifest(f"{path}: {key} has a wrong length")
            checksums.append(digests.Checksum("manifest", algorithm, value))
    return FileEntry(
        path, kind, mode, unvis(words.get("uname", "")), unvis(words.get("gname", "")),
        whole("uid"), whole("gid"), whole("size"), unvis(words.get("link", "")),
        tuple(checksums), "optional" in words, "ignore" in words,
    )  # fmt: skip


def _made(comment: str) -> float | None:
    """`# date: Sat Nov 21 09:58:00 2026`, as asctime(3) writes it, in this machine's time zone."""
    try:
        return datetime.datetime.strptime(comment.strip(), "%a %b %d %H:%M:%S %Y").timestamp()
    except ValueError:
        return None


def mtree(text: str) -> Manifest:
    """An mtree specification; NotAManifest."""
    defaults: dict[str, str] = {}
    entries: dict[str, FileEntry] = {}
    here: list[str] = []
    tree, made = "", None
    for line in _logical_lines(text):
        if line.startswith("#"):
            comment = re.match(r"#\s*(tree|date):\s*(.+)", line)
            if comment and comment[1] == "tree":
                tree = comment[2]
            elif comment:
                made = _made(comment[2])
            continue
        words = line.split()
        if not words:
            continue
        if words[0] == "/set":
            defaults.update(_keywords(words[1:]))
            continue
        if words[0] == "/unset":
            for key in words[1:]:
                defaults.pop(key, None)
            if "all" in words[1:]:
                defaults.clear()
            continue
        if words[0] == "..":
            if not here:
                raise NotAManifest("'..' above the root")
            here.pop()
            continue
        name = unvis(words[0])
        merged = {**defaults, **_keywords(words[1:])}
        if "/" in name:
            path = posixpath.normpath(name)
        else:
            path = posixpath.normpath(posixpath.join(*here, name)) if here else name
            if merged.get("type") == "dir":
                here.append(name)
        if path == ".." or path.startswith("../"):
            raise NotAManifest(f"{name} lies outside of the tree")
        entries[path] = _entry(path, merged)
    if not entries:
        raise NotAManifest("it lists no file")
    return Manifest(tuple(entries.values()), tree, made, complete=True)


def checksum_list(text: str) -> Manifest:
    """What `sha256sum` and its kin write; says nothing about other files of the directory."""
    rows = digests.lines_of(text)
    if not rows or not all(name for name, _, _ in rows):
        raise NotAManifest("it lists no file")
    entries = []
    for name, algorithm, value in rows:
        path = posixpath.normpath(name)
        if path == ".." or path.startswith("../"):
            raise NotAManifest(f"{name} lies outside of the tree")
        checksum = digests.Checksum("manifest", algorithm, value)
        entries.append(FileEntry(path, "file", checksums=(checksum,)))
    return Manifest(tuple(entries))


def parse(raw: bytes) -> Manifest:
    """A manifest in whichever of the two formats; NotAManifest says what is wrong with it."""
    text = digests.text_of(raw)
    meant = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not meant:
        raise NotAManifest("it is empty")
    if meant[0].lstrip()[:1] == "<":
        raise NotAManifest("it is a web page")
    if digests.lines_of(meant[0]):
        if len(digests.lines_of("\n".join(meant))) != len(meant):
            raise NotAManifest("some of its lines are no checksums")
        return checksum_list(text)
    return mtree(text)

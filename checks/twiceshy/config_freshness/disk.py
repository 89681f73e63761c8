"""Files as they are, against files as a manifest says they should be."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twiceshy.config_freshness import manifests
from twiceshy.config_freshness.words import how_many
from twiceshy.kit.options import Pattern
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, WARNING
from twiceshy.kit.verdict import Finding, Measure, Report, safe


@dataclass(frozen=True)
class OnDisk:
    """One path as it is."""

    type: str = ""  # "" missing
    mode: int = 0
    uid: int = 0
    gid: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    link: str = ""
    digests: Mapping[str, bytes] = field(default_factory=dict)
    trouble: str = ""
    names: tuple[str, ...] = ()  # what a directory holds


@dataclass(frozen=True)
class Place:
    """A path to look at, the digests to compute, whether to list it and whether to follow it."""

    path: str
    algorithms: tuple[str, ...] = ()
    listed: bool = False
    followed: bool = False

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Difference:
    kind: str
    text: str
    path: str


KINDS = ("hash", "mode", "owner", "group", "type", "link", "size", "missing", "extra", "unreadable")


def differences(entry: manifests.Entry, found: OnDisk) -> list[Difference]:
    """How one path differs from what the manifest says of it."""
    path = safe(entry.path, 120)
    if found.type == "":
        return [] if entry.optional else [Difference("missing", f"{path} is missing", entry.path)]
    if found.type == "?":
        return [
            Difference("unreadable", f"{path} cannot be looked at: {found.trouble}", entry.path)
        ]
    if entry.type and entry.type != found.type:
        return [
            Difference("type", f"{path} is a {found.type}, should be a {entry.type}", entry.path)
        ]
    differ = []
    if entry.mode is not None and entry.mode != found.mode and found.type != "link":
        text = f"{path} has mode {found.mode:04o}, should be {entry.mode:04o}"
        if found.mode & 0o6000 & ~entry.mode:
            text += " (setuid or setgid)"
        elif found.mode & 0o002 & ~entry.mode:
            text += " (anyone may write)"
        differ.append(Difference("mode", text, entry.path))
    # names count, where there are some: numbers differ between hosts
    if entry.owner and entry.owner != found.owner:
        differ.append(
            Difference(
                "owner",
                f"{path} belongs to {found.owner}, should to {safe(entry.owner)}",
                entry.path,
            )
        )
    elif not entry.owner and entry.uid is not None and entry.uid != found.uid:
        differ.append(
            Difference(
                "owner", f"{path} belongs to uid {found.uid}, should to {entry.uid}", entry.path
            )
        )
    if entry.group and entry.group != found.group:
        text = f"{path} has group {found.group}, should have {safe(entry.group)}"
        differ.append(Difference("group", text, entry.path))
    elif not entry.group and entry.gid is not None and entry.gid != found.gid:
        differ.append(
            Difference("group", f"{path} has gid {found.gid}, should have {entry.gid}", entry.path)
        )
    if entry.link and found.type == "link" and entry.link != found.link:
        text = f"{path} points to {safe(found.link, 80)}, should to {safe(entry.link, 80)}"
        differ.append(Difference("link", text, entry.path))
    if found.trouble:
        differ.append(
            Difference("unreadable", f"{path} cannot be read: {found.trouble}", entry.path)
        )
    elif found.type == "file":
        wrong = [c for c in entry.checksums if found.digests.get(c.algorithm) != c.value]
        if wrong:
            differ.append(
                Difference("hash", f"{path} has other content ({wrong[0].algorithm})", entry.path)
            )
        elif entry.size is not None and entry.size != found.size:
            text = f"{path} has {found.size} bytes, should have {entry.size}"
            differ.append(Difference("size", text, entry.path))
    return differ


def extras(
    manifest: manifests.Manifest,
    found: Mapping[str, OnDisk],
    include: Sequence[Pattern] = (),
    exclude: Sequence[Pattern] = (),
) -> list[Difference]:
    """What lies in directories that a complete manifest lists, and is not in it."""
    if not manifest.complete:
        return []
    listed = {entry.path for entry in manifest.entries}
    extra = []
    for entry in manifest.entries:
        if entry.ignored:
            continue
        for name in found.get(entry.path, OnDisk()).names:
            path = posixpath.normpath(posixpath.join(entry.path, name))
            if path not in listed and is_selected(path, include, exclude):
                extra.append(Difference("extra", f"{safe(path, 120)} is extra", path))
    return extra


def is_selected(path: str, include: Sequence[Pattern], exclude: Sequence[Pattern]) -> bool:
    """Whether a path counts; a pattern is held against the path and against the file's name."""

    def matches(pattern: Pattern) -> bool:
        return pattern.matches(path) or pattern.matches(posixpath.basename(path))

    return (not include or any(map(matches, include))) and not any(map(matches, exclude))


def places(
    manifest: manifests.Manifest, root: str, include: Sequence[Pattern], exclude: Sequence[Pattern]
) -> dict[str, Place]:
    """Where to look, by the manifest's paths."""
    return {
        entry.path: Place(
            os.path.normpath(os.path.join(root, entry.path)),
            tuple(sorted({each.algorithm for each in entry.checksums})),
            manifest.complete and not entry.ignored,
            # mtree lists links as links, sha256sum has read what they point to
            not manifest.complete,
        )
        for entry in manifest.entries
        if is_selected(entry.path, include, exclude)
    }


def held_against(
    manifest: manifests.Manifest,
    found: Mapping[str, OnDisk],
    root: str,
    include: Sequence[Pattern],
    exclude: Sequence[Pattern],
) -> Report:
    """The files that were found, against the manifest."""
    entries = [entry for entry in manifest.entries if entry.path in found]
    differ = [each for entry in entries for each in differences(entry, found[entry.path])]
    differ += extras(manifest, found, include, exclude)
    counted = [
        Measure(f"files_{kind}", sum(each.kind == kind for each in differ), minimum=0)
        for kind in KINDS
    ]
    summary = f"{how_many(len(entries), 'file')} below {safe(root, 60)} as in the manifest"
    return Report(findings(differ, len(entries), root), counted, summary)


def findings(differ: Sequence[Difference], count: int, root: str) -> list[Finding]:
    """Three findings at most: what is wrong, what is too much, and what we could not see."""
    found = []
    for state, kinds in (
        (CRITICAL, set(KINDS) - {"extra", "unreadable"}),
        (WARNING, {"extra"}),
        (UNKNOWN, {"unreadable"}),
    ):
        ours = [each for each in differ if each.kind in kinds]
        if not ours:
            continue
        # a skewed privilege looks like anything but itself: name it first
        ours.sort(key=lambda each: ("mode", "owner", "group").count(each.kind) == 0)
        text = "; ".join(each.text for each in ours[:3])
        text += f" and {len(ours) - 3} more" if len(ours) > 3 else ""
        what = {CRITICAL: "differ from the manifest", WARNING: "are not in the manifest"}.get(
            state, "cannot be judged"
        )
        many = len({each.path for each in ours})
        first = f"{many} of {count} files below {safe(root, 60)} {what}: "
        if state is WARNING:
            first = f"{many} files below {safe(root, 60)} {what}: "
        more = tuple(each.text for each in ours[3:20])
        place = shlex.quote(os.path.normpath(os.path.join(root, ours[0].path)))
        found.append(Finding(state, first + text, more, f"ls -ld {place}", "manifest"))
    return found

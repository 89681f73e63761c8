"""Files as they are, against files as a manifest says they should be. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twiceshy.config_freshness.manifests import FileEntry, Manifest
from twiceshy.config_freshness.settings import FileSettings
from twiceshy.kit.patterns import selected
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, WARNING
from twiceshy.kit.units import count
from twiceshy.kit.verdict import Finding, safe


@dataclass(frozen=True)
class FileState:
    """One path as it is."""

    type: str = ""  # of manifests.TYPES; "" missing, "?" not known
    mode: int = 0
    uid: int = 0
    gid: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    link: str = ""
    digests: Mapping[str, bytes] = field(default_factory=dict)
    trouble: str = ""  # why it cannot be read: strerror(3)
    names: tuple[str, ...] = ()  # what a directory holds


@dataclass(frozen=True)
class FileQuery:
    """A path to inspect, the digests to compute, whether to list it and whether to follow it."""

    path: str
    algorithms: tuple[str, ...] = ()
    listed: bool = False
    followed: bool = False

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Difference:
    """One way in which a path differs; `kind` is one of KINDS."""

    kind: str
    text: str
    path: str


KINDS = ("hash", "mode", "owner", "group", "type", "link", "size", "missing", "extra", "unreadable")
PRIVILEGES = ("mode", "owner", "group")


def differences(entry: FileEntry, found: FileState) -> list[Difference]:
    """How one path differs from what the manifest says of it."""
    path = safe(entry.path, 120)

    def differs(kind: str, predicate: str) -> Difference:
        return Difference(kind, f"{path} {predicate}", entry.path)

    if found.type == "":
        return [] if entry.optional else [differs("missing", "is missing")]
    if found.type == "?":
        return [differs("unreadable", f"cannot be inspected: {found.trouble}")]
    if entry.type and entry.type != found.type:
        return [differs("type", f"is a {found.type}, should be a {entry.type}")]
    differ = [differs(kind, predicate) for kind, predicate in _privileges(entry, found)]
    if entry.link and found.type == "link" and entry.link != found.link:
        links = f"points to {safe(found.link, 80)}, should point to {safe(entry.link, 80)}"
        differ.append(differs("link", links))
    if found.trouble:
        differ.append(differs("unreadable", f"cannot be read: {found.trouble}"))
    elif found.type == "file":
        wrong = [c for c in entry.checksums if found.digests.get(c.algorithm) != c.value]
        if wrong:
            differ.append(differs("hash", f"has different content ({wrong[0].algorithm})"))
        elif entry.size is not None and entry.size != found.size:
            sizes = f"has {count(found.size, 'byte')}, should have {entry.size}"
            differ.append(differs("size", sizes))
    return differ


def _privileges(entry: FileEntry, found: FileState) -> list[tuple[str, str]]:
    """Mode, owner and group that differ, each with its predicate."""
    differ = []
    if entry.mode is not None and entry.mode != found.mode and found.type != "link":
        text = f"has mode {found.mode:04o}, should be {entry.mode:04o}"
        if found.mode & 0o6000 & ~entry.mode:
            text += " (setuid or setgid)"
        elif found.mode & 0o002 & ~entry.mode:
            text += " (anyone may write)"
        differ.append(("mode", text))
    # names count, where there are some: numbers differ between hosts
    if entry.owner and entry.owner != found.owner:
        differ.append(("owner", f"belongs to {found.owner}, should belong to {safe(entry.owner)}"))
    elif not entry.owner and entry.uid is not None and entry.uid != found.uid:
        differ.append(("owner", f"belongs to uid {found.uid}, should belong to uid {entry.uid}"))
    if entry.group and entry.group != found.group:
        differ.append(("group", f"has group {found.group}, should be {safe(entry.group)}"))
    elif not entry.group and entry.gid is not None and entry.gid != found.gid:
        differ.append(("group", f"has gid {found.gid}, should be {entry.gid}"))
    return differ


def extras(
    manifest: Manifest, found: Mapping[str, FileState], settings: FileSettings
) -> list[Difference]:
    """What lies in directories that a complete manifest lists, and is not in it."""
    if not manifest.complete:
        return []
    listed = {entry.path for entry in manifest.entries}
    extra = []
    for entry in manifest.entries:
        if entry.ignored:
            continue
        for name in found.get(entry.path, FileState()).names:
            path = posixpath.normpath(posixpath.join(entry.path, name))
            if path not in listed and is_selected(path, settings):
                extra.append(Difference("extra", f"{safe(path, 120)} is extra", path))
    return extra


def is_selected(path: str, settings: FileSettings) -> bool:
    """Whether a path counts; a pattern is matched against the path and against the file's name."""
    return selected(path, settings.include, settings.exclude, posixpath.basename(path))


def queries(manifest: Manifest, root: str, settings: FileSettings) -> dict[str, FileQuery]:
    """What to inspect, by the manifest's paths."""
    return {
        entry.path: FileQuery(
            _below(root, entry.path),
            tuple(sorted({each.algorithm for each in entry.checksums})),
            manifest.complete and not entry.ignored,
            # mtree lists links as links, sha256sum has read what they point to
            not manifest.complete,
        )
        for entry in manifest.entries
        if is_selected(entry.path, settings)
    }


def all_differences(
    manifest: Manifest, found: Mapping[str, FileState], settings: FileSettings
) -> list[Difference]:
    """How the files that were inspected differ from the manifest."""
    entries = [entry for entry in manifest.entries if entry.path in found]
    differ = [each for entry in entries for each in differences(entry, found[entry.path])]
    return differ + extras(manifest, found, settings)


def findings(differ: Sequence[Difference], total: int, root: str) -> list[Finding]:
    """Three findings at most: what is wrong, what is too much, and what we could not see."""
    found = []
    below = f"below {safe(root, 60)}"
    for state, kinds in (
        (CRITICAL, set(KINDS) - {"extra", "unreadable"}),
        (WARNING, {"extra"}),
        (UNKNOWN, {"unreadable"}),
    ):
        ours = [each for each in differ if each.kind in kinds]
        if not ours:
            continue
        # a skewed privilege looks like anything but itself: name it first
        ours.sort(key=lambda each: each.kind not in PRIVILEGES)
        text = "; ".join(each.text for each in ours[:3])
        text += f" and {len(ours) - 3} more" if len(ours) > 3 else ""
        many = len({each.path for each in ours})
        subject = f"{many} of {count(total, 'file')} {below}"
        if state is CRITICAL:
            subject += f" {'differs' if many == 1 else 'differ'} from the manifest"
        elif state is UNKNOWN:
            subject += " cannot be checked"
        else:
            verb = "is" if many == 1 else "are"
            subject = f"{count(many, 'file')} {below} {verb} not in the manifest"
        more = tuple(each.text for each in ours[3:20])
        place = shlex.quote(_below(root, ours[0].path))
        found.append(Finding(state, f"{subject}: {text}", more, f"ls -ld {place}", "manifest"))
    return found


def _below(root: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(root, path))

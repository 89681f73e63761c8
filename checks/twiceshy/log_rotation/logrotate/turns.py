"""Every log of every stanza, with what logrotate would do about it now: the plan on this host."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twiceshy.kit import deadline
from twiceshy.log_rotation.logrotate import access, grammar, state
from twiceshy.log_rotation.logrotate import glob as shell
from twiceshy.log_rotation.logrotate import plan as turn
from twiceshy.log_rotation.logrotate.host import (
    Host,
    Places,
    StateFile,
    on_read_only,
    read_only_mounts,
)
from twiceshy.log_rotation.logrotate.schedule import Schedule


@dataclass(frozen=True)
class Turn:
    """One log of one stanza, with what logrotate would do about it now."""

    stanza: grammar.Stanza
    path: str
    log: turn.Log
    parent: turn.Parent
    decision: turn.Decision
    entry: state.Entry | None
    rotated: tuple[tuple[str, int | None], ...] = ()
    """Its rotated copies, full paths, with their numbers."""
    proof: float = 0.0
    """ctime of the youngest of them; 0 if there is none, -1 if it was not looked for."""


def rotated_copies(
    stanzas: Sequence[grammar.Stanza], host: Host
) -> tuple[dict[str, tuple[tuple[str, int | None], ...]], set[str]]:
    """The rotated copies of every log, and all of them as one set."""
    by_log: dict[str, tuple[tuple[str, int | None], ...]] = {}
    every: set[str] = set()
    names: dict[str, list[str]] = {}
    for stanza in stanzas:
        for path in stanza.files:
            folder = turn.rotated_directory(path, stanza.settings)
            if folder not in names:
                with deadline.doing(f"listing {folder}"):
                    names[folder] = host.sorted_names(folder)
            found = turn.siblings(path, stanza.settings, names[folder])
            if found:
                by_log[path] = tuple((f"{folder}/{name}", number) for name, number in found)
                every.update(one for one, _ in by_log[path])
    return by_log, every


def turns_of(
    stanzas: Sequence[grammar.Stanza],
    host: Host,
    memory: StateFile,
    found: Schedule,
    places: Places,
    epoch: float,
    version: grammar.Version,
    rotated: Mapping[str, tuple[tuple[str, int | None], ...]],
) -> list[Turn]:
    mounts = read_only_mounts(places.proc)
    now = datetime.fromtimestamp(epoch)
    parents: dict[tuple[str, int | None, int | None], turn.Parent | None] = {}
    turns: list[Turn] = []
    for stanza in stanzas:
        settings = stanza.settings
        mine: list[Turn] = []
        for path in stanza.files:
            folder = os.path.dirname(path) or "/"
            key = (
                (folder, settings.su_uid, settings.su_gid) if settings.su else (folder, None, None)
            )
            if key not in parents:
                parent = host.parent(folder)
                if parent is not None and not parent.error:
                    parent = replace(
                        parent, blocked=_blocked(host, folder, parent, settings, found, mounts)
                    )
                parents[key] = parent
            above = parents[key]
            log = host.log(path)
            if log is None or above is None:
                continue
            entry = memory.known.entries.get(path)
            decision = turn.decide(stanza, log, above, entry, now, epoch, version)
            copies = rotated.get(path, ())
            proof = -1.0
            if entry is not None and not entry.placeholder and not log.error:
                proof = max((ctime(name) for name, _ in copies), default=0.0)
            mine.append(Turn(stanza, path, log, above, decision, entry, copies, proof))
        if settings.sharedscripts and len(mine) == len(stanza.files):
            decisions = turn.together(stanza, [one.decision for one in mine])
            mine = [
                one if one.decision is decision else replace(one, decision=decision)
                for one, decision in zip(mine, decisions)
            ]
        turns += mine
    return turns


def ctime(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


def _blocked(
    host: Host,
    folder: str,
    parent: turn.Parent,
    settings: grammar.Settings,
    found: Schedule,
    mounts: Sequence[str],
) -> str:
    """Why logrotate will fail to rename or create anything in a directory."""
    if on_read_only(folder, mounts):
        return "it is on a file system that is mounted read-only"

    def longest(paths: Sequence[str]) -> int:
        return max(
            (len(one) for one in paths if (folder + "/").startswith(one.rstrip("/") + "/")),
            default=-1,
        )

    if longest(found.read_only) > longest(found.writable):
        return "logrotate.service may not write there (ProtectSystem=, ProtectHome= or PrivateTmp=)"
    uid, gid = settings.su_uid, settings.su_gid
    if settings.su and uid and gid is not None:
        acl = host.attribute(folder, access.ATTRIBUTE)
        if not access.may_rename(parent.mode, parent.uid, parent.gid, acl, uid, gid):
            owner = f"{parent.user}:{parent.group}, mode {parent.mode:04o}"
            return f"`su {settings.su_user}` may not write there, it is {owner}"
    return ""


def missed_by_recursion(
    stanzas: Sequence[grammar.Stanza], claimed: set[str]
) -> dict[str, tuple[str, ...]]:
    """For `**`, which logrotate reads as `*`: the logs above and below that it misses."""
    missed: dict[str, tuple[str, ...]] = {}
    for stanza in stanzas:
        for one in stanza.globs:
            head, star, tail = one.partition("/**/")
            if not star or shell.has_magic(head) or "/" in tail:
                continue
            found: list[str] = []
            for folder, _, names in os.walk(head):
                found += [f"{folder}/{name}" for name in names if shell.matches(tail, name)]
                if len(found) > 1000:
                    break
            left = tuple(path for path in found if path not in claimed)
            if left:
                missed[one] = left
    return missed

"""Every log of every stanza, with what logrotate would do about it now, on this host."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twiceshy.kit import deadline
from twiceshy.log_rotation.logrotate import access, forecast, grammar, names
from twiceshy.log_rotation.logrotate import glob as shell
from twiceshy.log_rotation.logrotate.forecast import Barrier, Obstacle, Parent
from twiceshy.log_rotation.logrotate.host import Host, on_read_only
from twiceshy.log_rotation.records import ClaimedLog, Schedule, StateFile

Copies = Mapping[str, tuple[tuple[str, "int | None"], ...]]
"""Log to its rotated copies, full paths, with their numbers."""


@dataclass(frozen=True)
class Circumstances:
    """What a log's turn depends on beside its stanza."""

    version: grammar.Version
    state: StateFile
    schedule: Schedule
    mounts: Sequence[str]
    """Of host.read_only_mounts."""
    epoch: float

    @property
    def now(self) -> datetime:
        """The instant in local time."""
        return datetime.fromtimestamp(self.epoch)


def rotated_copies(stanzas: Sequence[grammar.Stanza], host: Host) -> tuple[Copies, set[str]]:
    """The rotated copies of every log, and all of them as one set."""
    by_log: dict[str, tuple[tuple[str, int | None], ...]] = {}
    every: set[str] = set()
    listed: dict[str, list[str]] = {}
    for stanza in stanzas:
        for path in stanza.files:
            folder = names.rotated_directory(path, stanza.directives)
            if folder not in listed:
                with deadline.doing(f"listing {folder}"):
                    listed[folder] = host.sorted_names(folder)
            found = names.siblings(path, stanza.directives, listed[folder])
            if found:
                by_log[path] = tuple((f"{folder}/{name}", number) for name, number in found)
                every.update(one for one, _ in by_log[path])
    return by_log, every


def claimed_logs(
    stanzas: Sequence[grammar.Stanza], host: Host, copies: Copies, about: Circumstances
) -> tuple[ClaimedLog, ...]:
    """Every log of the stanzas, less those that only missing permissions hide."""
    now = about.now
    parents: dict[tuple[str, int | None, int | None], Parent | None] = {}
    claimed: list[ClaimedLog] = []
    for stanza in stanzas:
        directives = stanza.directives
        mine: list[ClaimedLog] = []
        for path in stanza.files:
            folder = os.path.dirname(path) or "/"
            key: tuple[str, int | None, int | None] = (folder, None, None)
            if directives.su:
                key = (folder, directives.su_uid, directives.su_gid)
            if key not in parents:
                parents[key] = _parent(host, folder, directives, about)
            parent = parents[key]
            log = host.log(path)
            if log is None or parent is None:
                continue
            entry = about.state.content.entries.get(path)
            decision = forecast.decide(stanza, log, parent, entry, now, about.epoch, about.version)
            proof = None
            if entry is not None and not entry.placeholder and not log.error:
                proof = max((_ctime(name) for name, _ in copies.get(path, ())), default=0.0)
            mine.append(
                ClaimedLog(
                    stanza,
                    path,
                    log,
                    parent,
                    decision,
                    entry,
                    copies.get(path, ()),
                    proof,
                    _stale(copies.get(path, ()), directives),
                    _link_target(path) if log.kind == "symlink" else "",
                    _taken(path, directives, decision, now) if directives.dateext else "",
                )
            )
        if directives.sharedscripts and len(mine) == len(stanza.files):
            decisions = forecast.together(stanza, [one.decision for one in mine])
            mine = [
                one if one.decision is decision else replace(one, decision=decision)
                for one, decision in zip(mine, decisions)
            ]
        claimed += mine
    return tuple(claimed)


def _parent(
    host: Host, folder: str, directives: grammar.Directives, about: Circumstances
) -> Parent | None:
    """The directory of logs, with what keeps logrotate from changing names in it."""
    parent = host.parent(folder)
    if parent is None or parent.error:
        return parent
    return replace(parent, obstacle=_obstacle(host, folder, parent, directives, about))


def _obstacle(
    host: Host,
    folder: str,
    parent: Parent,
    directives: grammar.Directives,
    about: Circumstances,
) -> Obstacle | None:
    if on_read_only(folder, about.mounts):
        return Obstacle(Barrier.MOUNT, "its file system is mounted read-only")

    def longest(paths: Sequence[str]) -> int:
        return max(
            (len(one) for one in paths if (folder + "/").startswith(one.rstrip("/") + "/")),
            default=-1,
        )

    if longest(about.schedule.read_only) > longest(about.schedule.writable):
        return Obstacle(
            Barrier.SERVICE,
            "logrotate.service may not write to its directory "
            "(ProtectSystem=, ProtectHome= or PrivateTmp=)",
        )
    uid, gid = directives.su_uid, directives.su_gid
    if directives.su and uid and gid is not None:
        acl = host.attribute(folder, access.ATTRIBUTE)
        if not access.may_rename(parent.mode, parent.uid, parent.gid, acl, uid, gid):
            return Obstacle(
                Barrier.SU,
                f"`su {directives.su_user}` may not write to its directory, owned by "
                f"{parent.user}:{parent.group}, mode {parent.mode:04o}",
            )
    return None


def _ctime(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


def _stale(
    copies: Sequence[tuple[str, int | None]], directives: grammar.Directives
) -> tuple[tuple[str, int], ...]:
    """The copies that no rule will ever remove, with their allocated bytes; 0 if one is gone."""
    found = []
    for name in names.stale_copies(copies, directives):
        try:
            found.append((name, os.lstat(name).st_blocks * 512))
        except OSError:
            found.append((name, 0))
    return tuple(found)


def _link_target(path: str) -> str:
    """The file that a symbolic link leads to, if that exists."""
    target = os.path.realpath(path)
    return target if os.path.exists(target) else ""


def _taken(
    path: str, directives: grammar.Directives, decision: forecast.Decision, now: datetime
) -> str:
    """The dated name that a second rotation on this day would need, if it exists already."""
    again = directives.criterion == "size" or directives.maxsize
    if decision.outcome != forecast.ROTATE or not again:
        return ""
    target = names.destination(path, directives, now)
    return target if target and os.path.lexists(target) else ""


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
            for folder, _, files in os.walk(head):
                found += [f"{folder}/{name}" for name in files if shell.matches(tail, name)]
                if len(found) > 1000:
                    break
            left = tuple(path for path in found if path not in claimed)
            if left:
                missed[one] = left
    return missed

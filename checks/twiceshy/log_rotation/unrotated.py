"""Space that no rotation frees: logs held open or left over, and logs of others. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Container

from twiceshy.kit import units
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING
from twiceshy.kit.verdict import safe
from twiceshy.log_rotation.faults import DAY, Fault, and_more, size_and_rate
from twiceshy.log_rotation.records import (
    ClaimedLog,
    ContainerLogs,
    JournalLimit,
    Observation,
    OpenLog,
    PreviousRun,
)

REOPENED_WITHIN = 300.0
"""A reload may come seconds after the rotation; minutes of grace are for slow ones."""
WRITTEN_WITHIN = 3600.0
HELD_WRITTEN_WITHIN = 900.0
"""A deleted log that was written to within so many seconds is still being filled."""
HUGE = 10 << 30
"""Bytes from which on the unlimited log of a container is CRITICAL."""
MIB = 1024 * 1024


def open_logs(observation: Observation, big: float) -> list[Fault]:
    """Processes that write past the rotation."""
    faults: list[Fault] = []
    claimed = observation.logs.claimed
    copies = {name: one for one in claimed for name, _ in one.copies}
    truncated = {
        one.path: one
        for one in claimed
        if one.stanza.directives.copytruncate or one.stanza.directives.copy
    }
    held: dict[tuple[int, int], OpenLog] = {}
    for one in observation.logs.open.opened:
        fault = None
        if one.deleted:
            held.setdefault(one.inode, one)
        elif one.path in copies:
            fault = _on_rotated(one, copies[one.path], observation.epoch)
        elif one.path in truncated and not one.append and one.size:
            fault = _without_append(one, truncated[one.path])
        if fault:
            faults.append(fault)
    for one in held.values():
        writing = observation.epoch - one.mtime < HELD_WRITTEN_WITHIN
        if one.octets >= big or (writing and one.octets >= MIB):
            faults.append(_held(one, writing, big))
    return faults


def _who(one: OpenLog) -> str:
    return f"{safe(one.command)}[{one.pid}]"


def _on_rotated(one: OpenLog, owner: ClaimedLog, epoch: float) -> Fault | None:
    """A process that has not reopened its log after the rotation."""
    rotated_at = owner.entry.when.timestamp() if owner.entry else one.ctime - 1
    writing = one.mtime > rotated_at + REOPENED_WITHIN and epoch - one.mtime < WRITTEN_WITHIN
    if not writing or not one.octets:
        return None
    return Fault(
        "writer-on-rotated",
        CRITICAL,
        owner.path,
        f"{_who(one)} still writes to {one.path} ({units.say_size(one.octets)}) after its "
        f"rotation; {owner.path} has {units.say_size(owner.log.size)}",
        owner.stanza.position.file,
        (one.path,),
        next=f"ls -l /proc/{one.pid}/fd; cat {owner.stanza.position.file}",
        octets=one.octets,
    )


def _without_append(one: OpenLog, owner: ClaimedLog) -> Fault:
    """A process that will go on writing at the old offset after `copytruncate`."""
    return Fault(
        "no-append",
        WARNING,
        one.path,
        f"{_who(one)} writes to {one.path} without O_APPEND: after `copytruncate` "
        f"({owner.stanza.position}) it becomes a sparse file of the old length",
        owner.stanza.position.file,
        next=f"ls -ls {one.path}; ps -wwfp {one.pid}",
        octets=one.octets,
    )


def _held(one: OpenLog, writing: bool, big: float) -> Fault:
    """A deleted log whose space is not free."""
    return Fault(
        "deleted-held",
        CRITICAL if writing and one.octets >= big else WARNING,
        one.path,
        f"{_who(one)} {'keeps writing to' if writing else 'holds'} {one.path}, which is deleted: "
        f"{units.say_size(one.octets)} that du does not show",
        next=f"ls -l /proc/{one.pid}/fd; systemctl status {one.pid}",
        octets=one.octets,
    )


def orphans(observation: Observation, big: float) -> list[Fault]:
    """Rotated files out of the reach of every rule, by directory."""
    folders: dict[str, list[tuple[str, int]]] = {}
    for one in observation.logs.claimed:
        if one.stale:
            folders.setdefault(posixpath.dirname(one.path), []).extend(one.stale)
    faults = []
    for stale in folders.values():
        octets = sum(size for _, size in stale)
        names = [name for name, _ in stale]
        faults.append(
            Fault(
                "orphans",
                WARNING if octets >= big else OK,
                names[0],
                f"{names[0]} ({units.say_size(octets)} in all) will never be removed: no stanza "
                f"counts it any more{and_more(len(names) - 1, 'file')}",
                also=tuple(names[1:50]),
                next=f"ls -lt {posixpath.dirname(names[0])}",
                octets=octets,
            )
        )
    return faults


def uncovered(observation: Observation, previous: PreviousRun) -> list[Fault]:
    """Big logs that grow, and that no stanza and no program of their own rotates."""
    faults = []
    epoch, main = observation.epoch, observation.configuration.main
    for one in sorted(observation.logs.unclaimed, key=lambda one: -one.octets):
        if epoch - one.mtime > DAY or one.rotates_itself:
            continue
        before = previous.sizes.get(one.path)
        if before is not None and before >= one.octets and epoch - previous.at > 3600:
            continue
        faults.append(
            Fault(
                "uncovered",
                WARNING,
                one.path,
                f"{one.path} ({size_and_rate(one.path, one.octets, previous, epoch)}) is growing "
                "and is not rotated: no logrotate stanza matches it",
                next=f"fuser -v {one.path}; grep -rn {posixpath.dirname(one.path)} {main}*",
                octets=one.octets,
            )
        )
    return faults


def containers(engine: ContainerLogs, claimed: Container[str], big: float) -> list[Fault]:
    """Logs of containers that nothing bounds.

    An engine that does not answer is an outage, and check_container_restarts says so; here it only
    hides a part of the picture, hence UNKNOWN.
    """
    faults: list[Fault] = []
    if engine.error:
        faults.append(
            Fault(
                "unseen",
                UNKNOWN,
                engine.server,
                f"container logs cannot be checked: {safe(engine.error)}",
                next=f"systemctl status {engine.server}.socket {engine.server}.service",
            )
        )
    late = ""
    if engine.limited_by_default:
        late = "; daemon.json has max-size, but it applies only to containers created later"
    for one in engine.containers:
        if one.limited or one.path in claimed:
            continue
        octets = one.octets or 0
        level = OK
        if octets >= HUGE:
            level = CRITICAL
        elif octets >= big or engine.limited_by_default:
            level = WARNING
        size = f" ({units.say_size(octets)})" if one.octets is not None else ""
        faults.append(
            Fault(
                "docker-unbounded",
                level,
                one.name,
                f"container {safe(one.name)}: its {one.driver} log{size} has no max-size{late}",
                also=(one.path,),
                next=f"{engine.server} inspect -f '{{{{.HostConfig.LogConfig}}}}' {safe(one.name)}",
                octets=octets,
            )
        )
    return faults


def journals(journal: JournalLimit, big: float) -> list[Fault]:
    """journald's limit that bounds nothing, and journals that it does not count."""
    faults: list[Fault] = []
    if journal.limit is not None and journal.filesystem and journal.limit > journal.filesystem:
        faults.append(
            Fault(
                "journald-unbounded",
                WARNING,
                journal.file,
                f"{journal.file}: SystemMaxUse={journal.typed} is more than its file system has "
                f"({units.say_size(journal.filesystem)}): no limit",
                next="journalctl --disk-usage",
            )
        )
    for path, octets in journal.foreign:
        if octets >= big:
            faults.append(
                Fault(
                    "journald-unbounded",
                    WARNING,
                    path,
                    f"{path} ({units.say_size(octets)}) is another machine's journal, which "
                    "journald never removes",
                    next=f"du -sh {path}; cat /etc/machine-id",
                    octets=octets,
                )
            )
    return faults


def of_others(observation: Observation, big: float) -> list[Fault]:
    """Logs that are not logrotate's: containers and the journal."""
    faults: list[Fault] = []
    if observation.logs.containers is not None:
        claimed = {one.path for one in observation.logs.claimed}
        faults += containers(observation.logs.containers, claimed, big)
    return faults + journals(observation.logs.journal, big)

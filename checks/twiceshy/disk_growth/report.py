"""How it is reported: the order of findings, what grew, the numbers, the sentence when all is well.

Pure.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twiceshy.disk_growth.filesystem import quoted
from twiceshy.disk_growth.forecast import Outlook
from twiceshy.disk_growth.judgement import LEARNING, Judgement, history_words
from twiceshy.disk_growth.settings import Limits
from twiceshy.kit import units, verdict
from twiceshy.kit.plugin import OK
from twiceshy.kit.verdict import Finding, Measure, label, safe

if TYPE_CHECKING:
    from twiceshy.disk_growth.culprits import RecentWrites


def urgency(judgement: Judgement) -> tuple[int, float, str]:
    """What to sort by, the most urgent first: severity, time left, name."""
    finding = judgement.finding
    severity = verdict.SEVERITY.index(finding.state) if finding else 0
    times = [one.left for one in (judgement.bytes, judgement.inodes) if one.left is not None]
    return -severity, min(times, default=math.inf), judgement.usage.point


def headed(findings: Sequence[Finding], summary: str) -> list[Finding]:
    """The findings; where all of them are only "no forecast yet" and OK, the summary leads."""
    if findings and all(finding.state is OK and finding.code == LEARNING for finding in findings):
        return [Finding(OK, summary), *findings]
    return list(findings)


def without_learning(findings: Sequence[Finding]) -> list[Finding]:
    """The findings of a check that cannot save its history: it is not learning."""
    return [finding for finding in findings if finding.code != LEARNING]


def summarised(judgements: Sequence[Judgement], limits: Limits, now: float) -> str:
    """The sentence when all is well: how many are watched, and which will be full first."""
    if judgements and judgements[0].usage.is_directory:
        watched = units.count(len(judgements), "directory", "directories")
    else:
        watched = units.count(len(judgements), "filesystem")
    learning = [judgement for judgement in judgements if judgement.is_learning]
    judging = [judgement for judgement in judgements if not judgement.is_learning]
    clauses = [f"{watched} watched"]
    if judging or not judgements:
        clauses.append(f"none full within {limits.warning.typed}")
    if learning:
        clauses.append(_unforecast(learning))
    return ", ".join(clauses) + _first_full(judging, limits.horizon, now)


def _unforecast(learning: Sequence[Judgement]) -> str:
    """Which have no forecast yet, by the youngest history: the others will have one sooner."""
    youngest = min(learning, key=lambda one: one.bytes.age)
    which = youngest.usage.name
    if len(learning) > 1:
        which += f" and {units.count(len(learning) - 1, 'other')}"
    return f"no forecast yet for {which} ({history_words(youngest.bytes.age)})"


def _first_full(judgements: Sequence[Judgement], horizon: float, now: float) -> str:
    going = [
        (one.bytes.trend_left, one.usage.name)
        for one in judgements
        if one.bytes.trend_left is not None and one.bytes.trend_left <= horizon
    ]
    if not going:
        return ""
    left, name = min(going)
    try:
        day = datetime.datetime.fromtimestamp(now + left, datetime.timezone.utc).date()
    except (OverflowError, ValueError):  # --horizon may lie beyond the year 9999
        return f"; {name} first, in {units.say_duration(left)}"
    return f"; {name} first, in {units.say_duration(left)} ({day})"


def measured(judgements: Sequence[Judgement], limits: Limits) -> list[Measure]:
    """The numbers, those of the worst first, and of each the time until full first."""
    first, second = [], []
    for judgement in judgements:
        usage = judgement.usage
        for outlook, prefix in ((judgement.bytes, ""), (judgement.inodes, "inodes_")):
            left = outlook.left if outlook.left is not None else outlook.trend_left
            if left is not None and left <= limits.horizon:
                name = label(usage.point, f"{prefix}full_in")
                first.append(
                    Measure(name, round(left), "s", limits.warning, limits.critical, minimum=0)
                )
        used, free = label(usage.point, "used"), label(usage.point, "free")
        first.append(Measure(used, usage.used, "B", minimum=0, maximum=usage.room))
        second.append(Measure(free, usage.free, "B", minimum=0, maximum=usage.room))
        second.append(Measure(label(usage.point, "growth"), judgement.bytes.rate))
        if usage.inodes_room or usage.is_directory:
            inodes, room = label(usage.point, "inodes"), usage.inodes_room or None
            second.append(Measure(inodes, usage.inodes, minimum=0, maximum=room))
            second.append(Measure(label(usage.point, "inodes_growth"), judgement.inodes.rate))
    return first + second


def explained(judgement: Judgement) -> list[str]:
    """What --explain adds of a filesystem."""
    lines = explained_windows(judgement.bytes, judgement.usage.name)
    if judgement.inodes.windows:
        lines += explained_windows(judgement.inodes, f"{judgement.usage.name} inodes")
    return lines


def explained_windows(outlook: Outlook, of: str) -> list[str]:
    """What each window says and why it is believed or not, a line each."""
    lines = [f"{of}: {units.say_duration(outlook.age)} of history"]
    for window in outlook.windows:
        words = f"{of}, last {units.say_duration(window.seconds)}: "
        if window.left is None:
            words += window.doubt
        else:
            words += f"full in {units.say_duration(window.left)}"
            words += f", not believed: {window.doubt}" if window.doubt else ", believed"
        lines.append(words)
    return lines


# What grew


def blamed(
    judgement: Judgement, finding: Finding, writes: RecentWrites, before: Mapping[str, float]
) -> Finding:
    """The finding with what grew: in its text, in the lines below it, and in the next command.

    `before`: bytes of files as an earlier alarm saw them, so that growth can be told from size.
    """
    point = quoted(judgement.usage.point)
    if judgement.of_inodes:
        return _blamed_for_inodes(finding, writes, point)
    grown = sorted(
        (
            (octets - _size_before(before, path, octets), octets, path)
            for path, octets in writes.files
        ),
        reverse=True,
    )
    growth, octets, path = grown[0] if grown else (0.0, 0.0, "")
    if writes.deleted and sum(held for _, held in writes.deleted) > octets:
        holder, held = writes.deleted[0]
        text = f"; {units.say_size(held)} of it deleted but held open by {safe(holder, 100)}"
        command = f"lsof -nP +aL1 {point}   # then restart that program"
    elif path:
        size = f"+{units.say_size(growth)}" if growth > 0 else units.say_size(octets)
        text = f"; {safe(path, 90)} grew most ({size}){_writer(writes, path)}"
        command = f"tail -n 5 {quoted(path)}"
    else:
        text, command = "", f"du -xh --max-depth=3 {point} | sort -h | tail -n 20"
    more = _lines(writes, grown)
    return replace(finding, text=finding.text + text, more=more, next=command)


def _blamed_for_inodes(finding: Finding, writes: RecentWrites, point: str) -> Finding:
    text, lines = "", []
    if writes.entries:
        path, count = writes.entries[0]
        text = f"; most entries are in {safe(path, 80)} ({count})"
        lines = [f"entries in {safe(path, 120)}: {count}" for path, count in writes.entries]
    command = f"find {point} -xdev -printf '%h\\n' | sort | uniq -c | sort -n | tail"
    return replace(finding, text=finding.text + text, more=tuple(lines), next=command)


def _lines(writes: RecentWrites, grown: Sequence[tuple[float, float, str]]) -> tuple[str, ...]:
    """What was written, where, and what is held open: a line each."""
    lines = []
    for growth, octets, path in grown[:5]:
        plus = f", +{units.say_size(growth)} since the last alarm" if growth > 0 else ""
        size, writer = units.say_size(octets), _writer(writes, path)
        lines.append(f"recently written: {safe(path, 120)} {size}{plus}{writer}")
    for path, octets in writes.by_directory[:3]:
        if octets > 0:
            lines.append(f"recently written in {safe(path, 120)}: {units.say_size(octets)}")
    for holder, octets in writes.deleted:
        if octets > 0:
            lines.append(f"deleted but still open: {units.say_size(octets)} by {safe(holder, 150)}")
    if not writes.complete:
        lines.append("(the search did not cover the whole tree: out of time)")
    if writes.unprivileged:
        lines.append("(not root: private directories and others' open files were not searched)")
    return tuple(lines)


def _writer(writes: RecentWrites, path: str) -> str:
    return f", written by {writes.writers[path]}" if path in writes.writers else ""


def _size_before(before: Mapping[str, float], path: str, octets: float) -> float:
    """What a file held at the earlier alarm: nothing, if it would have been named then."""
    return before.get(path, 0.0 if before and octets > min(before.values()) else octets)

#!/usr/bin/env python3
"""When will this filesystem be full at the rate it is growing?

Observes every local, writable filesystem, remembers what it saw, and reports how long the space
that is left will last. Growth is extrapolated to at most four times the period in which it has
been observed, and only if it went on through every part of a window: the last two runs, 1, 2, 4
and 8 hours, 3 and 7 days. Growth that has happened before and ended well is ignored: log rotations,
nightly dumps, caches and prunes of whatever period, and working days. An alarm names what grew and
who is writing it. --explain shows what was concluded from each window. Run it every five minutes.
For the first day and a half it has no forecast yet and reports only what is full, or fills within
hours; in the first week it extrapolates half as far.

Learned from: "Production Outages - Part 1" (1 July 2014): a library flooded the log of thousands
  of media players, rotation was misconfigured, disks ran full, technicians drove out with USB
  sticks. Nobody had seen the growth before the disks were full.
Reads: /proc/self/mountinfo; statvfs of each mount, called in a child process since a dead mount
  never answers; a filesystem's UUID; sysstat's archives (sadf -- -F) once, to start the history
  with. When it alarms: the directory tree, without crossing into other filesystems, and /proc/*/fd.
  Needs no privileges; without root it sees fewer files, and only its own user's open files.
Remembers: per filesystem (by UUID) the samples of the last ten hours, and minimum, last and maximum
  of each hour for four weeks; some tens of kB each. It has to: no single run can show growth.
Says:
  OK        none will be full within the limits; what grows is a known cycle; or there is no
            forecast yet (too little history; see --learning)
  WARNING   sustained growth will fill it (bytes or inodes) within --warning
  CRITICAL  sustained growth will fill it within --critical; or it is full now, or has less than
            --min-free left; or a mount point that --require names is not mounted
  UNKNOWN   a mount does not answer; a directory cannot be walked in time; the history was lost or
            cannot be saved
Measures:
  SUBJECT_full_in         s  time until full; absent where it does not grow or is a known cycle
  SUBJECT_used            B  used; the maximum is what users other than root can use
  SUBJECT_free            B  free for users other than root
  SUBJECT_growth          -  bytes per second over the deciding window, or over the last week
  SUBJECT_inodes          -  inodes used (of a directory: entries in it)
  SUBJECT_inodes_growth   -  inodes per second
  SUBJECT_inodes_full_in  s  time until no inode is left
Examples:
  check_disk_growth
  check_disk_growth -w 4d -c 1d --require /srv/data --exclude '/media/*'
  check_disk_growth --directory /var/lib/docker --explain
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from twiceshy.disk_growth import forecast, history
from twiceshy.disk_growth.filesystem import (
    Mount,
    Observation,
    Subject,
    Usage,
    parse_mounts,
)
from twiceshy.disk_growth.history import TABLES, FilesystemHistory
from twiceshy.disk_growth.judgement import (
    Judgement,
    judged,
    not_mounted,
    not_observed,
    nothing_watched,
    sharpened,
)
from twiceshy.disk_growth.observation import mountinfo as read_mountinfo
from twiceshy.disk_growth.observation import observe, sampled, usage_of
from twiceshy.disk_growth.report import (
    blamed,
    explained,
    headed,
    measured,
    summarised,
    urgency,
    without_learning,
)
from twiceshy.disk_growth.settings import (
    DEFAULT_CRITICAL,
    DEFAULT_WARNING,
    Limits,
    MinFree,
    Selection,
    Settings,
    settings_of,
)
from twiceshy.kit import deadline, subprocesses, units
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History, now
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding, Report

if TYPE_CHECKING:
    from pathlib import Path

    from twiceshy.disk_growth.culprits import RecentWrites, Search
    from twiceshy.kit.drill import Drill
    from twiceshy.kit.figures import Curve

EVERY = "5m"


def options() -> argparse.ArgumentParser:
    """The command line of check_disk_growth."""
    parser = opt.parser("disk_growth", __doc__)
    opt.add_limits(
        parser,
        warning=DEFAULT_WARNING,
        critical=DEFAULT_CRITICAL,
        what="the time until a filesystem fills up",
        unit=units.duration,
        lower_is_worse=True,
    )
    what = parser.add_argument_group("what to watch")
    opt.add_selectors(
        what,
        "mount points",
        include="check only these mount points (the only way to include network and FUSE mounts)",
    )
    what.add_argument(
        "--directory",
        action="append",
        default=[],
        metavar="PATH",
        help="watch the growth of this tree instead of filesystems; repeatable",
    )
    what.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="PATH",
        help="a mount point that must be mounted, since otherwise the filesystem above it would "
        "be watched instead; repeatable",
    )
    opt.add_missing(what)
    judging = parser.add_argument_group("judging")
    judging.add_argument(
        "--min-free",
        type=opt.argument(MinFree.parse),
        default="0",
        metavar="SIZE",
        help="treat a filesystem as full when less than this is free, such as 5GiB or 2%% "
        "(default: 0)",
    )
    judging.add_argument(
        "--sample",
        type=opt.positive_duration,
        default="2s",
        metavar="DURATION",
        help="how long to observe a filesystem that has no history yet (default: 2s; longer, "
        "with more time: -t 45s --sample 30s)",
    )
    judging.add_argument(
        "--horizon",
        type=opt.positive_duration,
        default="52w",
        metavar="DURATION",
        help="do not report times until full beyond this (default: 52w)",
    )
    opt.add_learning(judging)
    opt.add_state_dir(parser)
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show what each window says and why it is believed or not (implies -v)",
    )
    return parser


def searched(search: Search) -> RecentWrites:
    """What was written recently; only a run that alarms loads the module for it."""
    from twiceshy.disk_growth import culprits

    return culprits.searched(search)


@dataclass(frozen=True)
class Host:
    """What a run asks of the machine; a test has a host of its own.

    `ask`: what a mount holds; `seed`: begin histories from sysstat's archives; `search`: what was
    written recently.
    """

    clock: Callable[[], Stamp]
    mountinfo: Callable[[], str]
    ask: Callable[[Mount], Usage | None]
    seed: Callable[[History, Sequence[tuple[Subject, Usage]], Stamp, float], int]
    search: Callable[[Search], RecentWrites]


def plan(
    args: argparse.Namespace,
    *,
    clock: Callable[[], Stamp] = now,
    mountinfo: Callable[[], str] = read_mountinfo,
    ask: Callable[[Mount], Usage | None] = usage_of,
    seed: Callable[[History, Sequence[tuple[Subject, Usage]], Stamp, float], int] = history.seed,
    search: Callable[[Search], RecentWrites] = searched,
) -> Check:
    """The check; the seams are what it asks of the machine."""
    settings, host = settings_of(args), Host(clock, mountinfo, ask, seed, search)
    return Check(
        "disk_growth",
        lambda: run(settings, host),
        timeout=settings.timeout,
        verbose=settings.verbose,
    )


def run(settings: Settings, host: Host) -> Report:
    """One run: observe, recall, judge, remember, report."""
    at = host.clock()
    with History.open("disk_growth", settings.state_dir, TABLES) as book:
        mounts = parse_mounts(host.mountinfo())
        observation = observe(settings.selection, settings.timeout, mounts, host.ask)
        known = history.recall(book, at)
        new = [(subject, usage) for subject, usage in observation.usages if usage.key not in known]
        remarks = [book.remark] if book.remark else []
        if new and host.seed(book, new, at, 3.0):
            remarks.append("the history was started from sysstat's archives")
            if book.save() is None:
                known = history.recall(book, at)
        limits = settings.limits
        if history.is_lost(book, at):
            # Otherwise a corrupt history would look like that of a new host, which is OK.
            limits = replace(limits, learning=UNKNOWN)
            remarks += [] if book.remark else ["the earlier history was corrupt and was set aside"]
        samples = sampled(new, settings.sample_seconds, host.ask)

        judgements = []
        for _, usage in observation.usages:
            judgement = judged_and_remembered(book, usage, known.get(usage.key), at, limits)
            if usage.key in samples:
                judgement = sharpened(judgement, samples[usage.key], limits)
            judgements.append(judgement)
        judgements.sort(key=urgency)

        findings = unobserved_findings(observation, settings.selection)
        findings += judgement_findings(judgements, book, at, host.search)
        fault = book.save()
        if fault is not None:
            findings = [fault, *without_learning(findings)]
    if settings.explain:
        remarks += [line for judgement in judgements for line in explained(judgement)]
    summary = summarised(judgements, limits, at.wall)
    return Report(headed(findings, summary), measured(judgements, limits), summary, remarks)


def judged_and_remembered(
    book: History, usage: Usage, known: FilesystemHistory | None, at: Stamp, limits: Limits
) -> Judgement:
    """The judgement on a filesystem by its history and this sample, which joins the history."""
    history.remember(book, usage, known, at)
    mine = known or FilesystemHistory()
    mine.add(at.wall, usage.used, usage.inodes)
    return judged(usage, mine.used, mine.inodes, limits)


def unobserved_findings(observation: Observation, selection: Selection) -> list[Finding]:
    """A finding for each subject that is not there or could not be observed."""
    findings = [
        not_mounted(path, selection.missing)
        for path in observation.unmounted
        if selection.missing is not OK
    ]
    findings += [not_observed(one, selection.missing) for one in observation.unobserved]
    if not (observation.usages or observation.unobserved or selection.required):
        findings.append(nothing_watched([pattern.typed for pattern in selection.include]))
    return findings


def judgement_findings(
    judgements: Sequence[Judgement],
    book: History,
    at: Stamp,
    search: Callable[[Search], RecentWrites],
) -> list[Finding]:
    """The findings of judgements, worst first; the first of them with what grew.

    The tree is searched for the worst only: the others would take its time.
    """
    findings = []
    for position, judgement in enumerate(judgements):
        finding = judgement.finding
        if position == 0 and finding is not None and finding.state in (WARNING, CRITICAL):
            finding = with_culprits(judgement, finding, book, at, search)
        if finding is not None:
            findings.append(finding)
    return findings


def with_culprits(
    judgement: Judgement,
    finding: Finding,
    book: History,
    at: Stamp,
    search: Callable[[Search], RecentWrites],
) -> Finding:
    """The finding with what grew, found in a part of the time that is left."""
    from twiceshy.disk_growth.culprits import RecentWrites, Search

    outlook = judgement.inodes if judgement.of_inodes else judgement.bytes
    seconds = min(3.0, (deadline.remaining() - 1) / 2)
    since = at.wall - max(forecast.HOUR, min(outlook.seconds, forecast.DAY))
    wanted = Search(judgement.usage.point, since, seconds)
    writes = next(iter(subprocesses.each(search, [wanted], seconds + 1).values()), None)
    if not isinstance(writes, RecentWrites):
        return finding
    before = history.sizes_at_last_alarm(book, judgement.usage.key)
    history.remember_sizes(book, judgement.usage.key, writes.files, at)
    return blamed(judgement, finding, writes, before)


def applies() -> str:
    """Always: a host on which nothing is writable any more must not be passed over."""
    return ""


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.disk_growth.drill import DRILL

    return DRILL


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Curve:
    """What it remembers of a subject, for `twiceshy plot`."""
    from twiceshy.disk_growth import picture as drawn

    return drawn.picture(state_dir, subject, at)


@guarded
def main() -> None:
    """Parse the command line, run, print, exit."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

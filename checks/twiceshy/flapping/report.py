"""How restarts are reported: sentences, details, numbers, and what comes first. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from twiceshy.flapping.counting import Count
from twiceshy.flapping.judgement import (
    Assessment,
    Code,
    Verdict,
    judged_restarts,
    learners,
    needed_seconds,
)
from twiceshy.flapping.service import BETWEEN, DOWN, NO_SUPERVISOR, SYSTEMD, Service
from twiceshy.flapping.settings import Limits
from twiceshy.kit import units
from twiceshy.kit.plugin import OK
from twiceshy.kit.verdict import Finding, Measure, Report, label, learning, safe

_TIME_STAMP = re.compile(
    r"^\W?\d{4}[-/]\d\d[-/]\d\d[T\s]\d\d:\d\d:\d\d[.,\d]*(Z|[+-]\d\d:?\d\d)?\W*"
)
_NAMES = 3  # of a list in the first line; the rest is counted


def report(
    assessments: Sequence[Assessment],
    findings: Sequence[Finding],
    limits: Limits,
    every_measure: bool = False,
) -> Report:
    """Everything that was found in one report; the offenders' measures, or everybody's if named.

    `findings` are those that are about no single daemon.
    """
    assessments = sorted(assessments, key=urgency)
    found = [*findings, *(finding for one in assessments for finding in finding_of(one, limits))]
    young = learners(assessments, limits)
    if young and limits.learning is not OK:
        still = learning(_shortest(young), needed_seconds(limits), limits.learning)
        found.append(replace(still, text=f"{_named(young)}: {still.text}"))
    measures = [] if every_measure else aggregates(assessments)
    used: set[str] = set()
    for one in assessments:
        if every_measure or (one.verdict is not None and one.verdict.state is not OK):
            measures += measures_of(one, limits, used)
    return Report(found, measures, summary(assessments, limits), remarks(assessments))


def urgency(one: Assessment) -> tuple[bool, bool, int]:
    """Sorts what is down before what flaps, and what flaps most before the rest."""
    code = None if one.verdict is None else one.verdict.code
    return (code is None, code not in (Code.GAVE_UP, Code.DOWN), -(one.restarts + one.manual))


def remarks(assessments: Sequence[Assessment]) -> list[str]:
    """What could not be seen of healthy daemons and others, each reason once."""
    unseen = Counter(one.service.unseen for one in assessments if one.service.unseen)
    return [f"{why} ({units.count(n, 'service')})" if n > 1 else why for why, n in unseen.items()]


def missing(names: Sequence[str], unmatched: Sequence[str], limits: Limits) -> list[Finding]:
    """The findings about services that were asked for and are not there."""
    findings = [
        Finding(
            limits.missing,
            f"{safe(name)} is not a service of any supervisor on this host",
            next=f"systemctl status {safe(name)}",
            code="missing",
        )
        for name in names
    ]
    if unmatched:
        typed = safe(", ".join(unmatched))
        findings.append(Finding(limits.missing, f"no service matches {typed}", code="missing"))
    return findings


# Sentences


def finding_of(one: Assessment, limits: Limits) -> list[Finding]:
    """The finding about one daemon; none if nothing is wrong with it."""
    if one.verdict is None:
        return []
    code = one.verdict.code
    text = {
        Code.GAVE_UP: _gave_up,
        Code.DOWN: _down,
        Code.UNSEEN: _unseen,
        Code.FLAPPING: _flapping,
        Code.MANUAL: _restarted_manually,
        Code.ORPHAN: _orphan,
        Code.BETWEEN: _between,
        Code.YOUNG: _young,
    }[code](one, one.verdict, limits)
    has_details = code in (Code.FLAPPING, Code.MANUAL, Code.BETWEEN, Code.YOUNG)
    more = details(one, limits) if has_details else ()
    following = "" if code is Code.UNSEEN else one.service.next
    return [Finding(one.verdict.state, text, more, following, code.value)]


def _gave_up(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    """ "web has been down for 2m5s: start limit hit ..., last exit status 1"."""
    service = one.service
    text = f"{subject_of(service)} is down"
    if service.down_seconds is not None:
        text = f"{subject_of(service)} has been down for {say(service.down_seconds)}"
    if service.reason:
        text += f": {service.reason}"
    last = service.last_exit or one.count.cause
    return text + (f", last {last}" if last else "") + last_line(service)


def _down(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    service = one.service
    why = f": {service.reason}" if service.reason else ""
    after = f", last {service.last_exit}" if service.last_exit else ""
    return f"{subject_of(service)} is not running{why}{after}"


def _unseen(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    return f"{subject_of(one.service)}: {one.service.unseen or 'unseen'}"


def _flapping(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    """ "web restarted 257 times in 15m (limit 5): exit status 3 after 2.5s, up 0.9s"."""
    service, count = one.service, one.count
    limit = f"limit {verdict.limit.typed}" if verdict.limit else ""
    often, window = times(verdict.restarts), within(count, limits)
    if count.every is not None:
        text = (
            f"{subject_of(service)} restarts {span(*count.every)} "
            f"(at least {often} in {window}, {limit})"
        )
    else:
        text = f"{subject_of(service)} restarted {often} in {window} ({limit})"
        if count.period is not None and not limits.count_all:
            text += f", every {say(count.period)}"
    # The reason of a watched process names its parent already.
    parent = f", started by {service.parent}" if service.parent else ""
    if count.cause:
        text += f": {count.cause}"
        if count.lasted is not None:
            text += f" after {say(count.lasted)}" if count.lasted >= 0.05 else " at once"
    elif service.reason and service.state == BETWEEN:
        text += f"; {service.reason}"
        parent = ""
    return text + parent + now_up(service) + last_line(service)


def _restarted_manually(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    limit = verdict.limit.typed if verdict.limit else ""
    return (
        f"{subject_of(one.service)} was restarted {times(verdict.restarts)} in "
        f"{within(one.count, limits)} (limit {limit}), not by {one.service.supervisor} but "
        f"manually or by a script{now_up(one.service)}"
    )


def _orphan(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    return f"{subject_of(one.service)}: {one.service.reason}"


def _between(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    """ "web is not running, waiting to be restarted, last exit status 1"."""
    how = "is not running, waiting to be restarted"
    if verdict.absent_seconds is not None:
        how = f"has not been running at any check for {say(verdict.absent_seconds)}"
    after = f", last {one.count.cause}" if one.count.cause else ""
    why = f"; {one.service.reason}" if one.service.reason else ""
    return f"{subject_of(one.service)} {how}{after}{why}"


def _young(one: Assessment, verdict: Verdict, limits: Limits) -> str:
    return (
        f"{subject_of(one.service)} restarted {times(verdict.restarts)} since its last manual "
        f"start, most recently {say(one.service.age_seconds or 0.0)} ago; the next run will know "
        "how fast"
    )


def details(one: Assessment, limits: Limits) -> tuple[str, ...]:
    """The lines under a finding: what the numbers mean, what was not seen, the last log lines."""
    lines = []
    if one.count.clean and one.count.clean >= one.count.crashes / 2:
        lines.append("It exits with status 0 by itself; if that is intended, use --clean-exit-ok")
    if one.manual and one.restarts and not limits.count_all:
        lines.append(f"It was also restarted {times(one.manual)} manually or by others")
    lines += [f"Log: {line}" for line in one.service.log]
    return tuple(lines)


def summary(assessments: Sequence[Assessment], limits: Limits) -> str:
    """The sentence when nothing is wrong."""
    window = say(limits.window)
    young = learners(assessments, limits)
    still = learning(_shortest(young), needed_seconds(limits)).text if young else ""
    if len(assessments) == 1:
        service = assessments[0].service
        alive = f"up {say(service.age_seconds)}" if service.age_seconds is not None else "stopped"
        happened = still or f"{_restarts(assessments[0]) or 'no restarts'} in {window}"
        return f"{subject_of(service)} {alive}, {happened}"
    restarted = [one for one in assessments if one.restarts or one.manual]
    stopped = sum(one.service.state == DOWN for one in assessments)
    text = f"{units.count(len(assessments), 'service')} watched"
    text += f" ({stopped} stopped)" if stopped else ""
    if restarted:
        some = [f"{subject_of(one.service)} {_restarts(one)}" for one in restarted]
        text += f", within the limits in {window}: {_some(some)}"
    else:
        text += f", none restarted in {window}"
    return f"{text}; {_named(young)}: {still}" if young else text


def _restarts(one: Assessment) -> str:
    """ "1 restart and 2 manual restarts"; "" without any."""
    parts = [units.count(one.restarts, "restart")] if one.restarts else []
    parts += [units.count(one.manual, "manual restart")] if one.manual else []
    return " and ".join(parts)


def _named(some: Sequence[Assessment]) -> str:
    return _some([subject_of(one.service) for one in some])


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" (+{len(names) - _NAMES} more)" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _shortest(some: Sequence[Assessment]) -> float:
    return min(one.count.have_seconds or 0.0 for one in some)


# Parts of sentences


def last_line(service: Service) -> str:
    """The last log line, without its own time stamp, for the first line of the output."""
    text = _TIME_STAMP.sub("", service.log[-1]) if service.log else ""
    return f', says "{safe(text, 110)}"' if text else ""


def now_up(service: Service) -> str:
    """ "; up 0.9s" """
    if service.state == BETWEEN:
        return "; not running now"
    return "" if service.age_seconds is None else f"; up {say(service.age_seconds)}"


def within(count: Count, limits: Limits) -> str:
    """The window, or as much of it as is covered."""
    return say(limits.window if count.seconds >= limits.window * 0.98 else max(count.seconds, 1.0))


def subject_of(service: Service) -> str:
    """What a sentence calls a daemon; a supervisor that is not the host's own is named."""
    if service.supervisor in (SYSTEMD, NO_SUPERVISOR):
        return service.name
    return f"{service.name} ({service.supervisor})"


def times(number: float) -> str:
    """ "once", "2 times" """
    return "once" if number == 1 else f"{number:.0f} times"


def span(low: float, high: float) -> str:
    """ "about every 20s-40s", "every second or faster" """
    if high < 1.0:
        return "every second or faster"
    first, second = say(low), say(high)
    return f"about every {first}-{second}" if first != second else f"about every {first}"


def say(seconds: float) -> str:
    """Seconds in words, to a tenth."""
    return units.say_duration(round(seconds, 1) if seconds < 60 else seconds)


# Numbers


def aggregates(assessments: Sequence[Assessment]) -> list[Measure]:
    """The numbers of a whole host."""
    codes = Counter(one.verdict.code for one in assessments if one.verdict is not None)
    numbers = {
        "services": len(assessments),
        "restarts": sum(one.restarts for one in assessments),
        "restarts_by_hand": sum(one.manual for one in assessments),
        "flapping": codes[Code.FLAPPING] + codes[Code.MANUAL],
        "down": codes[Code.GAVE_UP] + codes[Code.BETWEEN] + codes[Code.DOWN],
    }
    return [Measure(name, float(number), minimum=0) for name, number in numbers.items()]


def measures_of(one: Assessment, limits: Limits, used: set[str]) -> list[Measure]:
    """The numbers of one daemon; `used` are the names that have labels already, and grows."""
    service, count = one.service, one.count
    is_own = service.supervisor in (SYSTEMD, NO_SUPERVISOR)
    name = service.name if is_own else f"{service.supervisor}.{service.name}"
    if name in used:
        name = one.subject
    used.add(name)
    restarts = judged_restarts(count, limits)
    total = service.restarts if service.restarts is not None else one.record.total
    return [
        Measure(
            label(name, "restarts"),
            float(restarts),
            warning=limits.warning,
            critical=limits.critical,
            minimum=0,
        ),
        Measure(label(name, "restarts_total"), float(total), "c", minimum=0),
        Measure(label(name, "age"), _tenths(service.age_seconds), "s", minimum=0),
        Measure(label(name, "mtbr"), _tenths(_mtbr(count, restarts)), "s", minimum=0),
    ]


def _mtbr(count: Count, restarts: int) -> float | None:
    """Mean seconds between restarts within the window: exact, else estimated, else divided."""
    if count.period is not None:
        return count.period
    if count.every is not None:
        return sum(count.every) / 2
    return count.seconds / restarts if restarts and count.seconds else None


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)

"""Which endpoints of a configuration can be read, and how long applications can wait. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.config_freshness.answers import Application, Failure, Served
from twiceshy.config_freshness.past import ConfigPast, Past
from twiceshy.config_freshness.wording import ago, listing, of_config, roughly
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, WARNING, State
from twiceshy.kit.units import say_duration
from twiceshy.kit.verdict import Finding

# Something is served, and it is no configuration.
CONTENT = (Failure.CONTENT, Failure.CUT, Failure.ENDLESS, Failure.REDIRECT, Failure.CODING)


def time_left(
    config: str, applications: Sequence[Application], grace: float, past: ConfigPast
) -> str:
    """How long the applications can go on with the configuration that they have, as a clause."""
    bad = past.good if past.good is not None else past.begun
    grace = min([each.grace for each in applications if each.config == config] or [grace])
    left = grace - bad
    if left <= 0:
        return f"the applications' grace of {say_duration(grace)} is over"
    rest = "another" if past.good is not None else "at most another"
    return (
        f"applications can run without it for {rest} {roughly(left)} (grace {say_duration(grace)})"
    )


def readable(answers: Sequence[Served], past: Past, left: str, one_down: State) -> list[Finding]:
    """Findings about endpoints of one configuration that do not serve configuration at all."""
    failed = [each for each in answers if each.failure]
    # who never let us in does not let us in: that is for us to fix
    locked = [
        each
        for each in failed
        if each.failure is Failure.REFUSED and past.endpoint(each.name).good is None
    ]
    unasked = [each for each in failed if each.failure is Failure.UNASKED]
    wrong = [each for each in failed if each.failure in CONTENT]
    down = [each for each in failed if each not in locked + unasked + wrong]
    if down and len(failed) == len(answers) and not locked and not unasked:
        findings = [_none_readable(answers, down, left)]
    else:
        rest = len(answers) - len(failed)
        findings = [_one_down(each, past, rest, answers, one_down) for each in down]
    for state, group in ((CRITICAL, wrong), (WARNING, unasked)):
        for each in group:
            text = f"{each.label} {each.predicate}"
            findings.append(Finding(state, text, (), each.retry, _code(each)))
    for each in locked:
        text = f"{each.label} {each.predicate}: give --bearer, --basic or --cert"
        findings.append(Finding(UNKNOWN, text, code=_code(each)))
    return findings


def _code(served: Served) -> str:
    return served.failure.value if served.failure else ""


def _none_readable(answers: Sequence[Served], down: Sequence[Served], left: str) -> Finding:
    """The finding when no endpoint can be read, and at least one is down."""
    code, retry = Failure.DOWN.value, down[0].retry
    if len(answers) == 1:
        only = answers[0]
        return Finding(CRITICAL, f"{only.label} {only.predicate}; {left}", (), retry, code)
    none = f"no endpoint{of_config(answers[0].config)} can be read"
    if len(down) == len(answers) and len({each.predicate for each in down}) == 1:
        names = listing([each.name for each in answers])
        text = f"{none}, {names}: each {down[0].predicate}; {left}"
        return Finding(CRITICAL, text, (), retry, code)
    lines = [f"{each.label} {each.predicate}" for each in answers]
    text = f"{none}; {left}: {'; '.join(lines[:4])}"
    return Finding(CRITICAL, text, tuple(lines[4:]), retry, code)


def _one_down(
    served: Served, past: Past, rest: int, answers: Sequence[Served], one_down: State
) -> Finding:
    """The finding about one endpoint that is down while `rest` others can be read."""
    good = past.endpoint(served.name).good
    was = f" (last read {ago(good)})" if good is not None else ""
    text = f"{served.label} {served.predicate}{was}; {rest} of {len(answers)} endpoints"
    text += f"{of_config(served.config)} left"
    return Finding(one_down if rest else CRITICAL, text, (), served.retry, _code(served))

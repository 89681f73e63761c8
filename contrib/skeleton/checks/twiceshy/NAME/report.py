"""How it is said: a finding for each file, the measure, and the sentence of a good day. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from twiceshy.kit import units
from twiceshy.kit.limits import judge
from twiceshy.kit.verdict import Finding, Measure, Report, safe
from twiceshy.NAME.judgement import Judgement, Refused
from twiceshy.NAME.settings import Limits


# FILL ME IN: subject first, the value with its unit, the limit as typed, the cause; then the
# command to type next.
def report(judgement: Judgement, limits: Limits, remarks: Sequence[str]) -> Report:
    """The report of a run."""
    findings = [_finding(refused, limits) for refused in judgement.refused]
    longest = max((refused.seconds for refused in judgement.refused), default=0.0)
    measure = Measure("refused", longest, "s", limits.warning, limits.critical, minimum=0)
    return Report(findings, [measure], "logins are allowed", remarks)


def _finding(refused: Refused, limits: Limits) -> Finding:
    state, limit = judge(refused.seconds, limits.warning, limits.critical)
    text = f"logins have been refused for {units.say_duration(refused.seconds)}"
    text += f" (limit {limit.typed})" if limit else ""
    text += f": {safe(refused.path)} says {safe(refused.first_line) or 'nothing'}"
    look = f"ls -l {shlex.quote(refused.path)}; systemctl status systemd-user-sessions"
    return Finding(state, text, next=look, code="refused")

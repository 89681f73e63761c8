"""Prometheus: `twiceshy metrics` by systemd timer into node_exporter's textfile collector.

The rules alarm on states, and on a textfile that is no longer written: a bridge that died must not
leave its last green state behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration

TEXTFILE = "/var/lib/prometheus/node-exporter/twiceshy.prom"


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """A service, its timer, and alerting rules."""
    every = max(60, min(check.every_seconds for check in checks))
    names = " ".join(check.name for check in checks)
    return {
        "systemd/twiceshy-metrics.service": f"""# Written by `twiceshy define prometheus`.
[Unit]
Description=The rounds of twiceshy, for node_exporter's textfile collector

[Service]
Type=oneshot
ExecStart={place.twiceshy} metrics --write {TEXTFILE} {names}
StateDirectory=twiceshy-root
Environment=TWICESHY_STATE_DIR=/var/lib/twiceshy-root
""",
        "systemd/twiceshy-metrics.timer": f"""[Unit]
Description=The rounds of twiceshy every {every}s

[Timer]
OnBootSec=1min
OnUnitActiveSec={every}s
AccuracySec=5s

[Install]
WantedBy=timers.target
""",
        "rules/twiceshy.yml": _rules(checks, every),
    }


def _rules(checks: Sequence[Declaration], every: int) -> str:
    lines = ["groups:", "  - name: twiceshy", "    rules:"]
    for check in checks:
        for status, severity in ((2, "critical"), (1, "warning"), (3, "warning")):
            word = {1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}[status]
            alert = "".join(part.capitalize() for part in check.name.split("_")) + word.capitalize()
            expression = f'twiceshy_check_status{{check="{check.name}"}} == {status}'
            summary = f"{check.command} is {word} on {{{{ $labels.instance }}}}"
            lines += [
                f"      - alert: {alert}",
                f"        expr: {json.dumps(expression)}",
                f"        for: {max(every, check.every_seconds) * 2}s",
                "        labels:",
                f"          severity: {severity}",
                "        annotations:",
                f"          summary: {json.dumps(summary)}",
                f"          description: {json.dumps(check.question)}",
            ]
    lines += [
        "      - alert: TwiceshyRoundsAreNotMade",
        f"        expr: time() - twiceshy_rounds_timestamp_seconds > {every * 5}",
        "        labels:",
        "          severity: critical",
        "        annotations:",
        '          summary: "the rounds on {{ $labels.instance }} have stopped: no check runs"',
    ]
    return "\n".join(lines) + "\n"

"""Sensu Go: one CheckConfig per check, for `sensuctl create --file`.

JSON strings are YAML strings, so quoting is left to json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from twiceshy.command.define.place import Place, comment
from twiceshy.kit.declaration import Declaration

# Sensu ends a check that takes longer and calls that CRITICAL; ours end by themselves before.
TIMEOUT_SECONDS = 30


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy.yml."""
    return {
        "twiceshy.yml": "# Written by `twiceshy define sensu`; for sensuctl create --file\n"
        + "".join(_config(check, place) for check in checks)
    }


def _config(check: Declaration, place: Place) -> str:
    # Agents find a check of a runtime asset by its name alone.
    path = place.path(check, "").lstrip("/") if not check.program else place.path(check, "")
    lines = [
        "---",
        *comment(check),
        "type: CheckConfig",
        "api_version: core/v2",
        "metadata:",
        f"  name: {check.command}",
        "  annotations:",
        f"    question: {json.dumps(check.question)}",
        "spec:",
        f"  command: {json.dumps(path)}",
        f"  interval: {check.every_seconds}",
        f"  timeout: {TIMEOUT_SECONDS}",
        "  publish: true",
        "  subscriptions:",
        f"    - {json.dumps(f'entity:{place.host}')}",
        "  output_metric_format: nagios_perfdata",
        "  output_metric_handlers: []",
        "  handlers: []",
    ]
    return "\n".join(lines) + "\n"

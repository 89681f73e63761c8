"""Checkmk: lines for the agent's mrpe.cfg, `NAME (interval=SECONDS) COMMAND`.

The agent caches a result for the interval, so slow checks do not hold up every agent run.
"""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.command.define.place import Place, comment
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """mrpe.cfg, for /etc/check_mk."""
    parts = ["# Written by `twiceshy define checkmk`.\n"]
    for check in checks:
        path = place.path(check, "/usr/lib/nagios/plugins")
        line = f"{check.name} (interval={check.every_seconds}) {path}"
        parts.append("\n".join([*comment(check), line, ""]))
    return {"mrpe.cfg": "\n".join(parts)}

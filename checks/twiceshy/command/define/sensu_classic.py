"""Sensu 1.x: checks in one JSON file for /etc/sensu/conf.d. JSON has no comments."""

from __future__ import annotations

import json
from collections.abc import Sequence

from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy.json; standalone, so that the client schedules them itself."""
    made = {
        check.command: {
            "command": place.path(check, "/usr/lib/nagios/plugins"),
            "standalone": True,
            "interval": check.every_seconds,
            "timeout": 30,
            "occurrences": 2,
            "handlers": ["default"],
            "question": check.question,
        }
        for check in checks
    }
    return {"twiceshy.json": json.dumps({"checks": made}, indent=2, ensure_ascii=False) + "\n"}

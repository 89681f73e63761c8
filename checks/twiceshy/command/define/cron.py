"""cron: the rounds, and mail when a state changes; for hosts without any monitoring.

cron mails whatever is printed, and `--news` prints only changes and one reminder a day.
"""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.command.define.place import Place, minutes
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy, for /etc/cron.d; whom the checks run as decides what they may see."""
    every = min(59, max(1, min(minutes(check) for check in checks)))
    names = " ".join(check.name for check in checks)
    lines = ["# Written by `twiceshy define cron`; for /etc/cron.d/twiceshy"]
    lines += [f"# {check.name}: {check.question}" for check in checks]
    lines += [
        f"MAILTO={place.mail}",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"*/{every} * * * * root {place.twiceshy} --news {names} 2>&1",
        "",
    ]
    return {"twiceshy": "\n".join(lines)}

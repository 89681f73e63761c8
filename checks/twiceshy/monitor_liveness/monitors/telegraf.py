"""Telegraf: its health output (outputs.health), from the plugin's documentation.

Its default state is healthy: without `max_time_between_metrics` (or a compare) it says so for
ever, while inputs hang. So set that; or have the destination tell how new the newest value is
(--monitor daemon --advances).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Seen,
    Target,
    Wishes,
    age_measures,
    asking,
    dead,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.contact import answered, ask, halted, instance, url_of
from twiceshy.monitor_liveness.monitors.processes import Process

PORT = 8080
RESTART = "journalctl -u telegraf -n 50"


@dataclass(frozen=True)
class Sight:
    """One Telegraf in one look."""

    name: str
    url: str
    is_told: bool
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    status: int = 0
    body: str = ""
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [instance("telegraf", process) for process in table if process.program == "telegraf"]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    seen = Sight(
        target.name,
        url_of(target, PORT),
        is_told=bool(target.url or target.host or target.port),
        main=target.main,
    )
    try:
        answer = ask(seen.url, wishes)
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    return replace(seen, probe_seconds=answer.seconds, status=answer.status, body=answer.text)


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    if seen.trouble[0] == "refused" and not seen.is_told:
        organs.append(
            unseen(
                "main loop",
                f"cannot be asked: {seen.trouble[1]}; configure outputs.health (or give --url)",
            )
        )
    elif seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=RESTART, has_login=bool(wishes.user)))
    elif seen.status == 200:
        organs += answered(seen.probe_seconds, "", clock)
    elif seen.status == 503:
        organs.append(dead("outputs", f"are unhealthy, it says: {safe(seen.body, 100)}", RESTART))
    else:
        organs.append(
            unseen(
                "main loop",
                f"cannot be asked: HTTP {seen.status}; is {seen.url} its health output?",
            )
        )
    return Seen(
        seen.name,
        tuple(organs),
        age_measures(seen.name, None, None, seen.probe_seconds),
        clock.age(seen.main.started) if seen.main else None,
    )

"""Telegraf: its health output (outputs.health), from the plugin's documentation.

Its default state is healthy: without `max_time_between_metrics` (or a compare) it says so for
ever, while inputs hang. So set that; or have the destination tell how new the newest value is
(--monitor daemon --advances).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_measures,
    asking,
    dead,
    fine,
    stopped_organ,
    unanswered,
    unseen,
)
from twiceshy.monitors.processes import Process
from twiceshy.verdict import safe

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
    return [
        Target(kind="telegraf", name="telegraf", main=process, processes=(process,))
        for process in table
        if process.program == "telegraf"
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    url = target.url or f"http://{target.host or '127.0.0.1'}:{target.port or PORT}"
    is_told = bool(target.url or target.host or target.port)
    try:
        answer = asking.fetch(
            url,
            wishes.probe_seconds,
            user=wishes.user,
            password=wishes.password,
            ca_file=wishes.ca_file,
            tls_name=wishes.tls_name,
            insecure=wishes.insecure,
        )
    except asking.Trouble as trouble:
        return Sight(
            target.name, url, is_told, trouble=(trouble.kind, trouble.text), main=target.main
        )
    return Sight(
        target.name, url, is_told, answer.seconds, ("", ""), answer.status, answer.text, target.main
    )


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs: list[Organ] = []
    stopped = stopped_organ([seen.main], "process") if seen.main else None
    if stopped:
        organs.append(stopped)
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
        organs.append(fine("main loop", f"answers in {(seen.probe_seconds or 0) * 1000:.0f}ms"))
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

"""Alertmanager: is the always-firing Watchdog alert there, and do notifications get out?

`/-/healthy` and `/-/ready` are constant 200 handlers. The Watchdog (or DeadMansSwitch) alert that
Prometheus sends all the time proves the way from rule to here: its `endsAt` lies minutes ahead for
as long as Prometheus renews it. `updatedAt` rises only about every minute and is no evidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Seen,
    Target,
    Wishes,
    age_measures,
    ago,
    asking,
    dead,
    fine,
    poor,
    unanswered,
)
from twiceshy.monitor_liveness.monitors.contact import (
    answered,
    expected,
    halted,
    instance,
    is_young,
    page,
    url_of,
)
from twiceshy.monitor_liveness.monitors.processes import Process
from twiceshy.monitor_liveness.monitors.prometheus import (
    Metrics,
    first,
    grown,
    local_url,
    parse_metrics,
    rfc3339,
)

PORT = 9093
WATCHDOG = "Watchdog"


def parse_ends(text: str) -> list[float]:
    """The `endsAt` of alerts from /api/v2/alerts; Trouble when it is not that."""
    with expected("the list of alerts is not Alertmanager's"):
        return [rfc3339(str(alert["endsAt"])) for alert in json.loads(text)]


@dataclass(frozen=True)
class Sight:
    """One Alertmanager in one look; `ends`: until when each Watchdog alert holds."""

    name: str
    url: str
    probe_seconds: float | None = None
    date: str = ""
    trouble: tuple[str, str] = ("", "")
    metrics: Metrics | None = None
    ends: tuple[float, ...] = ()
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance("alertmanager", process, url=local_url(process, PORT))
        for process in table
        if process.program in ("alertmanager", "prometheus-alertmanager")
    ]


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    url = url_of(target, PORT)
    seen = Sight(target.name, url, main=target.main)
    wanted = quote(f'alertname="{wishes.watchdog or WATCHDOG}"', safe="")
    try:
        answer = page(f"{url}/api/v2/alerts?active=true&filter={wanted}", wishes)
        return replace(
            seen,
            probe_seconds=answer.seconds,
            date=answer.headers.get("Date", ""),
            ends=tuple(parse_ends(answer.text)),
            metrics=parse_metrics(page(url + "/metrics", wishes).text),
        )
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)


RESTART = "journalctl -u prometheus-alertmanager -u alertmanager -n 50"


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    metrics = seen.metrics
    if metrics is None:
        organs.append(unanswered(*seen.trouble, next=RESTART, has_login=bool(wishes.user)))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, None, None))
    organs += answered(seen.probe_seconds, seen.date, clock)
    began = first(metrics, "process_start_time_seconds")
    started = clock.age(began) if began else None
    name = safe(wishes.watchdog or WATCHDOG, 60)
    latest = max(seen.ends, default=0.0)
    was_there = bool(wishes.remembered.get("watchdog"))
    # A host that has just been looked at for the first time, by itself, may never have had one.
    is_expected = bool(wishes.watchdog) or was_there or seen.main is None
    if latest > clock.now:
        organs.append(
            fine("intake", f"has the alert {name}, good for {ago(latest - clock.now)} more")
        )
    elif is_young(started, wishes):
        organs.append(fine("intake", f"has no alert {name} yet; it has only just started"))
    elif is_expected:
        ended = f" (it ended {ago(clock.age(latest))} ago)" if latest else ""
        organs.append(
            dead(
                "intake",
                f"lacks the always-firing alert {name}{ended}: no alert of Prometheus arrives",
                "look at prometheus: its rules, and its alertmanagers at /api/v1/alertmanagers",
            )
        )
    else:
        organs.append(fine("intake", f"has no alert {name}: nothing proves that alerts arrive"))
    if first(metrics, "alertmanager_config_last_reload_successful") == 0:
        organs.append(
            poor(
                "configuration",
                "was not taken: its last reload failed, it goes on with an old one",
                "amtool check-config /etc/prometheus/alertmanager.yml",
            )
        )
    failed, facts = grown(metrics, ("alertmanager_notifications_failed_total",), wishes)
    # One that is tried again with success is no outage: two looks in a row count.
    if failed and wishes.remembered.get("failed"):
        organs.append(poor("notifications", f"fail: {failed:.0f} since the last look", RESTART))
    peers = first(metrics, "alertmanager_cluster_members")
    before = wishes.remembered.get("members")
    if peers is not None and before is not None and peers < before:
        organs.append(
            poor("cluster", f"has {peers:.0f} members, {before:.0f} at the last look", RESTART)
        )
    return Seen(
        seen.name,
        tuple(organs),
        age_measures(seen.name, None, None, seen.probe_seconds),
        started=started,
        facts={**facts, "failed": failed, "watchdog": was_there or latest > 0, "members": peers},
    )

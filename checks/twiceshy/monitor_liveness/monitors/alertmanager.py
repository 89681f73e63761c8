"""Alertmanager: is the always-firing Watchdog alert there, and do notifications get out?

`/-/healthy` and `/-/ready` are constant 200 handlers. The Watchdog (or DeadMansSwitch) alert that
Prometheus sends all the time proves the way from rule to here: its `endsAt` lies minutes ahead for
as long as Prometheus renews it. `updatedAt` rises only about every minute and is no evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twiceshy.kit import http
from twiceshy.kit.http import Answer
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    ago,
    critical,
    is_young,
    ok,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers
from twiceshy.monitor_liveness.monitors.metrics import (
    Metrics,
    first,
    grown,
    local_url,
    not_reloaded,
    parse_metrics,
    rfc3339,
)
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

PORT = 9093
WATCHDOG = "Watchdog"
RESTART = "journalctl -u prometheus-alertmanager -u alertmanager -n 50"


def parse_ends(text: str) -> list[float]:
    """The `endsAt` of alerts from /api/v2/alerts; Malformed when it is not that."""
    with answers.expected("the list of alerts is not Alertmanager's"):
        return [rfc3339(str(alert["endsAt"])) for alert in json.loads(text)]


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Alertmanager; `ends`: until when each Watchdog alert holds."""

    metrics: Metrics | None = None
    ends: tuple[float, ...] = ()


def found(table: Sequence[Process]) -> list[Target]:
    """Every Alertmanager of this host, by its process."""
    return [
        instance("alertmanager", process, url=local_url(process, PORT))
        for process in table
        if process.program in ("alertmanager", "prometheus-alertmanager")
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask for the Watchdog alerts and the metrics."""
    from urllib.parse import quote

    wanted = quote(f'alertname="{settings.watchdog or WATCHDOG}"', safe="")
    url = answers.url_of(target, PORT)

    def page(path: str) -> Answer:
        return answers.page(answers.request_of(url + path, settings))

    def asking(empty: Observation) -> Observation:
        alerts = page(f"/api/v2/alerts?active=true&filter={wanted}")
        ends = tuple(parse_ends(alerts.text))
        metrics = parse_metrics(page("/metrics").text)
        return answers.answered_by(empty, alerts, ends=ends, metrics=metrics)

    return answers.observed(Observation(target.name, url, main=target.main), asking)


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    metrics = observation.metrics
    if observation.failure or metrics is None:
        failure = observation.failure or http.HttpError()
        components.append(answers.unanswered(failure, RESTART, has_login=bool(settings.user)))
        return answers.health(observation, components)
    components += answers.answers(observation, clock)
    began = first(metrics, "process_start_time_seconds")
    started = clock.age(began) if began else None
    latest = max(observation.ends, default=0.0)
    was_there = bool(history.get("watchdog"))
    # A host that has just been observed for the first time, by itself, may never have had one.
    is_expected = bool(settings.watchdog) or was_there or observation.main is None
    components.append(_watchdog(latest, settings, clock, started, is_expected))
    if first(metrics, "alertmanager_config_last_reload_successful") == 0:
        components.append(not_reloaded("amtool check-config /etc/prometheus/alertmanager.yml"))
    failed, facts = grown(metrics, ("alertmanager_notifications_failed_total",), history)
    # One that is tried again with success is no outage: two runs in a row count.
    if failed and history.get("failed"):
        components.append(
            warning("notifications", f"fail: {failed:.0f} since the last run", RESTART)
        )
    peers = first(metrics, "alertmanager_cluster_members")
    before = history.get("members")
    if peers is not None and before is not None and peers < before:
        components.append(
            warning("cluster", f"has {peers:.0f} members, {before:.0f} at the last run", RESTART)
        )
    facts.update(failed=failed, watchdog=was_there or latest > 0, members=peers)
    return answers.health(observation, components, started=started, facts=facts)


def _watchdog(
    latest: float,
    settings: MonitorSettings,
    clock: Clock,
    started: float | None,
    is_expected: bool,
) -> Component:
    """Whether alerts arrive, by the one that always fires and holds until `latest`."""
    name = safe(settings.watchdog or WATCHDOG, 60)
    if latest > clock.now:
        return ok("intake", f"has the alert {name}, valid for another {ago(latest - clock.now)}")
    if is_young(started, settings.startup_grace):
        return ok("intake", f"has no alert {name} yet; it has only just started")
    if is_expected:
        ended = f" (it ended {ago(clock.age(latest))} ago)" if latest else ""
        return critical(
            "intake",
            f"lacks the always-firing alert {name}{ended}: no alert from Prometheus arrives",
            "check the rules of Prometheus, and its alertmanagers at /api/v1/alertmanagers",
        )
    return ok("intake", f"has no alert {name}: nothing proves that alerts arrive")

"""Prometheus: its own metrics and its list of targets, not its health page.

`/-/healthy` proves the HTTP handler. Work shows in `prometheus_tsdb_head_max_time_seconds` (the
newest sample of all), in each target's `lastScrape` (some pools may hang while others go on) and in
`prometheus_rule_group_last_evaluation_timestamp_seconds`. Counters of dropped notifications are
judged by their growth: a healthy start drops one, before Alertmanager is discovered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import http, units
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
    total,
)
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

PORT = 9090
RESTART = "journalctl -u prometheus -n 50"
APPENDED = "prometheus_tsdb_head_samples_appended_total"
LOST = ("prometheus_notifications_dropped_total", "prometheus_notifications_errors_total")


@dataclass(frozen=True)
class Scraped:
    """One active target: when it was last scraped (0: never), how often it should be."""

    name: str
    last: float
    interval: float
    timeout: float

    def limit(self, intervals: float) -> float:
        """Seconds after which no scrape is a fault; ten for a loaded machine."""
        return intervals * self.interval + self.timeout + 10


def parse_targets(text: str) -> list[Scraped]:
    """/api/v1/targets; Malformed when it is not that. Before 2.29 there is no interval: 1m then."""
    with answers.expected("the list of targets is not Prometheus'"):
        return [
            Scraped(
                name=f"{target.get('scrapePool', '')} {target.get('scrapeUrl', '')}".strip(),
                last=rfc3339(str(target.get("lastScrape", ""))),
                interval=units.duration(target.get("scrapeInterval") or "1m"),
                timeout=units.duration(target.get("scrapeTimeout") or "10s"),
            )
            for target in json.loads(text)["data"]["activeTargets"]
        ]


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Prometheus."""

    metrics: Metrics | None = None
    targets: tuple[Scraped, ...] = ()


def found(table: Sequence[Process]) -> list[Target]:
    """Every Prometheus of this host, by its process."""
    return [
        instance("prometheus", process, url=local_url(process, PORT))
        for process in table
        if process.program == "prometheus"
    ]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask for the metrics and the targets."""
    url = answers.url_of(target, PORT)

    def page(path: str) -> Answer:
        return answers.page(answers.request_of(url + path, settings))

    def asking(empty: Observation) -> Observation:
        answer = page("/metrics")
        metrics = parse_metrics(answer.text)
        if not any(name.startswith("prometheus_") for name in metrics):
            raise http.Malformed(f"{url}/metrics has no metrics of a Prometheus")
        targets = tuple(parse_targets(page("/api/v1/targets?state=active").text))
        return answers.answered_by(empty, answer, metrics=metrics, targets=targets)

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
    young = is_young(started, settings.startup_grace)
    newest = first(metrics, "prometheus_tsdb_head_max_time_seconds")
    age = clock.age(newest) if newest and newest > 0 else None
    limit = _limit(observation.targets, settings)
    late = [t for t in observation.targets if _is_late(t, settings, clock)]
    if limit is not None and age is not None and age < -5:
        components.append(
            critical("clock", f"is wrong: the newest sample is {ago(age)}", "timedatectl")
        )
    components.append(_scheduler(observation, late, age, limit, young, clock))
    components += _rules(metrics, settings, clock, young)
    if first(metrics, "prometheus_config_last_reload_successful") == 0:
        components.append(not_reloaded("promtool check config /etc/prometheus/prometheus.yml"))
    lost, facts = grown(metrics, LOST, history)
    # A start or a reload drops a few, before Alertmanager is discovered: two runs in a row count.
    if lost and history.get("lost") and not young:
        components.append(
            replace(
                warning(
                    "notifications",
                    f"are lost: {lost:.0f} alerts have not reached Alertmanager since the last run",
                    f"curl -s {observation.url}/api/v1/alertmanagers",
                ),
                next_is_here=True,
            )
        )
    facts.update(lost=lost, appended=total(metrics, APPENDED), at=clock.now)
    return answers.health(
        observation,
        components,
        started=started,
        age=age,
        limit=limit,
        overdue=float(len(late)) if observation.targets else None,
        rate=_rate(metrics, clock, history),
        facts=facts,
    )


def _limit(targets: Sequence[Scraped], settings: MonitorSettings) -> float | None:
    """After how many seconds without any sample Prometheus stands still; None without targets."""
    if not targets:
        return None
    fastest = min(targets, key=lambda target: target.interval)
    return settings.silence or fastest.limit(settings.intervals)


def _is_late(target: Scraped, settings: MonitorSettings, clock: Clock) -> bool:
    return bool(target.last) and clock.age(target.last) > target.limit(settings.intervals)


def _scheduler(
    observation: Observation,
    late: Sequence[Scraped],
    age: float | None,
    limit: float | None,
    young: bool,
    clock: Clock,
) -> Component:
    """Whether targets are scraped: all, some, or none; `age` is that of the newest sample."""
    count = len(observation.targets)
    if limit is None:
        return ok("scheduler", "has nothing to do: no targets are configured")
    targets = units.count(count, "target")
    if (age is None or age > limit) and not young:
        silent = "has collected no sample" + ("" if age is None else f" for {ago(age)}")
        return critical("scheduler", f"{silent} (limit {ago(limit)}) from {targets}", RESTART)
    if late and not young:
        worst = min(late, key=lambda target: target.last)
        component = (critical if len(late) == count else warning)(
            "scheduler",
            f"has not scraped {len(late)} of {targets} in time, {safe(worst.name, 80)} for "
            f"{ago(clock.age(worst.last))} ({units.say_duration(worst.interval)} is configured)",
            f"curl -s {observation.url}/api/v1/targets",
        )
        return replace(component, next_is_here=True)
    at = f"newest sample {ago(max(0.0, age))} old" if age is not None else "no sample yet"
    return ok("scheduler", f"scrapes {targets}, {at}")


def _rate(metrics: Metrics, clock: Clock, history: Mapping[str, Any]) -> float | None:
    before, now = history.get("appended"), total(metrics, APPENDED)
    seconds = clock.now - float(history.get("at") or clock.now)
    if before is None or now is None or now < before or seconds <= 0:
        return None
    return float(now - before) / seconds


def _rules(
    metrics: Metrics, settings: MonitorSettings, clock: Clock, young: bool
) -> list[Component]:
    """Whether rule groups are evaluated, each against its own interval."""
    intervals = {
        labels.get("rule_group", ""): value
        for labels, value in metrics.get("prometheus_rule_group_interval_seconds", [])
    }
    groups = [
        (
            labels.get("rule_group", ""),
            clock.age(value),
            intervals.get(labels.get("rule_group", ""), 60.0),
        )
        for labels, value in metrics.get(
            "prometheus_rule_group_last_evaluation_timestamp_seconds", []
        )
        if value > 0
    ]
    if not groups:
        return []
    late = [g for g in groups if g[1] > settings.intervals * g[2] + 10]
    if not late or young:
        return [ok("rules", f"are evaluated in time ({units.count(len(groups), 'group')})")]
    name, age, interval = max(late, key=lambda g: g[1])
    return [
        (critical if len(late) == len(groups) else warning)(
            "rules",
            f"have not been evaluated in time: {len(late)} of "
            f"{units.count(len(groups), 'group')}, {safe(name.rpartition(';')[2], 60)} for "
            f"{ago(age)} ({units.say_duration(interval)} is configured)",
            RESTART,
        )
    ]

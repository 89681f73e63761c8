"""Prometheus: its own metrics and its list of targets, not its health page.

`/-/healthy` proves the HTTP handler. Work shows in `prometheus_tsdb_head_max_time_seconds` (the
newest sample of all), in each target's `lastScrape` (some pools may hang while others go on) and in
`prometheus_rule_group_last_evaluation_timestamp_seconds`. Counters of dropped notifications are
judged by their growth: a healthy start drops one, before Alertmanager is discovered.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import units
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_measures,
    ago,
    asking,
    dead,
    fine,
    poor,
    processes,
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

PORT = 9090

Metrics = Mapping[str, list[tuple[Mapping[str, str], float]]]

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def parse_metrics(text: str) -> Metrics:
    """The text exposition format (prometheus.io, "Exposition formats"); odd lines are skipped."""
    metrics: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = _SAMPLE.match(line)
        if not found:
            continue
        try:
            value = float(found.group(3))
        except ValueError:
            continue
        labels = {
            name: _ESCAPED.sub(lambda m: "\n" if m.group(1) == "n" else m.group(1), raw)
            for name, raw in _LABEL.findall(found.group(2) or "")
        }
        metrics.setdefault(found.group(1), []).append((labels, value))
    return metrics


def first(metrics: Metrics, name: str) -> float | None:
    """The first finite sample of a metric."""
    return next((v for _, v in metrics.get(name, []) if math.isfinite(v)), None)


def total(metrics: Metrics, name: str) -> float | None:
    """The sum of a metric over its labels; None when it is not exposed."""
    values = [v for _, v in metrics.get(name, []) if math.isfinite(v)]
    return sum(values) if values else None


def rfc3339(text: str) -> float:
    """A time as Go writes it, nanoseconds and all; 0 for Go's zero time and for nonsense."""
    matched = re.match(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$", text)
    if not matched or text.startswith("0001"):
        return 0.0
    zone = matched.group(3).upper().replace("Z", "+00:00")
    whole = datetime.datetime.fromisoformat(matched.group(1).upper() + zone).timestamp()
    return whole + float(matched.group(2) or 0)


@dataclass(frozen=True)
class Scraped:
    """One active target: when it was last scraped (0: never), how often it should be."""

    name: str
    last: float
    interval: float
    timeout: float


def parse_targets(text: str) -> list[Scraped]:
    """/api/v1/targets; Trouble when it is not that. Before 2.29 there is no interval: 1m then."""
    with expected("the list of targets is not Prometheus'"):
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
class Sight:
    """One Prometheus in one look."""

    name: str
    url: str
    probe_seconds: float | None = None
    date: str = ""
    trouble: tuple[str, str] = ("", "")
    metrics: Metrics | None = None
    targets: tuple[Scraped, ...] | None = None
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    return [
        instance("prometheus", process, url=local_url(process, PORT))
        for process in table
        if process.program == "prometheus"
    ]


def local_url(process: Process, port: int) -> str:
    """Where a Go monitor of this family listens, from its command line."""
    listen = (
        processes.option_of(process.argv, "--web.listen-address", "-web.listen-address")
        or f":{port}"
    )
    host, _, its_port = listen.rpartition(":")
    host = "127.0.0.1" if host in ("", "0.0.0.0", "[::]", "*") else host
    prefix = processes.option_of(process.argv, "--web.route-prefix").strip("/")
    return f"http://{host}:{its_port or port}" + (f"/{prefix}" if prefix else "")


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    url = url_of(target, PORT)
    seen = Sight(target.name, url, main=target.main)
    try:
        answer = page(url + "/metrics", wishes)
        metrics = parse_metrics(answer.text)
        if not any(name.startswith("prometheus_") for name in metrics):
            raise asking.Trouble("strange", f"{url}/metrics has no metrics of a Prometheus")
        targets = parse_targets(page(url + "/api/v1/targets?state=active", wishes).text)
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    return replace(
        seen,
        probe_seconds=answer.seconds,
        date=answer.headers.get("Date", ""),
        metrics=metrics,
        targets=tuple(targets),
    )


RESTART = "journalctl -u prometheus -n 50"


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    metrics = seen.metrics
    if metrics is None:
        organs.append(unanswered(*seen.trouble, next=RESTART, has_login=bool(wishes.user)))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, None, None))
    organs += answered(seen.probe_seconds, seen.date, clock)
    began = first(metrics, "process_start_time_seconds")
    started = clock.age(began) if began else None
    young = is_young(started, wishes)
    newest = first(metrics, "prometheus_tsdb_head_max_time_seconds")
    age = clock.age(newest) if newest and newest > 0 else None
    targets = seen.targets or ()
    limit: float | None = None
    stuck: list[Scraped] = []
    if targets:
        fastest = min(targets, key=lambda target: target.interval)
        limit = wishes.silence or wishes.intervals * fastest.interval + fastest.timeout + 10
        stuck = [
            t
            for t in targets
            if t.last and clock.age(t.last) > wishes.intervals * t.interval + t.timeout + 10
        ]
        if age is not None and age < -5:
            organs.append(
                dead("clock", f"is wrong: the newest sample lies {ago(age)}", "timedatectl")
            )
        if (age is None or age > limit) and not young:
            silent = "brings no sample" if age is None else f"brings no new sample for {ago(age)}"
            organs.append(
                dead(
                    "scheduler",
                    f"{silent} (limit {ago(limit)}) from {len(targets)} targets",
                    RESTART,
                )
            )
        elif stuck and not young:
            say = dead if len(stuck) == len(targets) else poor
            worst = min(stuck, key=lambda t: t.last)
            organs.append(
                say(
                    "scheduler",
                    f"leaves {len(stuck)} of {len(targets)} targets out, "
                    f"{safe(worst.name, 80)} for {ago(clock.age(worst.last))} "
                    f"(every {units.say_duration(worst.interval)} is configured)",
                    f"curl -s {seen.url}/api/v1/targets",
                )
            )
        else:
            at = f"newest sample {ago(max(0.0, age))} old" if age is not None else "no sample yet"
            organs.append(fine("scheduler", f"scrapes {len(targets)} targets, {at}"))
    else:
        organs.append(fine("scheduler", "has nothing to do: no targets are configured"))
    organs += _rules(metrics, wishes, clock, young)
    if first(metrics, "prometheus_config_last_reload_successful") == 0:
        organs.append(
            poor(
                "configuration",
                "was not taken: its last reload failed, it goes on with an old one",
                "promtool check config /etc/prometheus/prometheus.yml",
            )
        )
    lost, facts = grown(
        metrics,
        ("prometheus_notifications_dropped_total", "prometheus_notifications_errors_total"),
        wishes,
    )
    # A start or a reload drops a few, before Alertmanager is discovered: two looks in a row count.
    if lost and wishes.remembered.get("lost") and not young:
        organs.append(
            poor(
                "notifications",
                f"are lost: {lost:.0f} alerts did not reach Alertmanager since the last look",
                f"curl -s {seen.url}/api/v1/alertmanagers",
            )
        )
    return Seen(
        seen.name,
        tuple(organs),
        age_measures(
            seen.name,
            age,
            limit,
            seen.probe_seconds,
            overdue=float(len(stuck)) if targets else None,
            rate=_rate(metrics, wishes, clock),
        ),
        started=started,
        facts={
            **facts,
            "lost": lost,
            "appended": total(metrics, "prometheus_tsdb_head_samples_appended_total"),
            "at": clock.now,
        },
    )


def _rate(metrics: Metrics, wishes: Wishes, clock: Clock) -> float | None:
    before, now = (
        wishes.remembered.get("appended"),
        total(metrics, "prometheus_tsdb_head_samples_appended_total"),
    )
    seconds = clock.now - float(wishes.remembered.get("at") or clock.now)
    if before is None or now is None or now < before or seconds <= 0:
        return None
    return float(now - before) / seconds


def grown(metrics: Metrics, names: Sequence[str], wishes: Wishes) -> tuple[float, dict[str, Any]]:
    """By how much counters grew since the last look (0 on the first), and what to remember."""
    grew = 0.0
    facts: dict[str, Any] = {}
    before = wishes.remembered.get("counters") or {}
    for name in names:
        now = total(metrics, name)
        if now is None:
            continue
        facts[name] = now
        then = before.get(name)
        if then is not None and now > then:
            grew += now - then
    return grew, {"counters": facts}


def _rules(metrics: Metrics, wishes: Wishes, clock: Clock, young: bool) -> list[Organ]:
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
    late = [g for g in groups if g[1] > wishes.intervals * g[2] + 10]
    if not late or young:
        return [fine("rules", f"are evaluated in time ({len(groups)} groups)")]
    name, age, interval = max(late, key=lambda g: g[1])
    say = dead if len(late) == len(groups) else poor
    return [
        say(
            "rules",
            f"are not evaluated: {len(late)} of {len(groups)} groups, "
            f"{safe(name.rpartition(';')[2], 60)} for {ago(age)} "
            f"(every {units.say_duration(interval)} is configured)",
            RESTART,
        )
    ]

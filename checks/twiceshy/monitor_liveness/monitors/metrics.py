"""Metrics in Prometheus' text format, and what its family of daemons has in common."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import Component, warning
from twiceshy.monitor_liveness.monitors import processes

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


def grown(
    metrics: Metrics, names: Sequence[str], history: Mapping[str, Any]
) -> tuple[float, dict[str, Any]]:
    """By how much counters grew since the last run (0 in the first), and what to remember."""
    grew = 0.0
    facts: dict[str, Any] = {}
    before = history.get("counters") or {}
    for name in names:
        now = total(metrics, name)
        if now is None:
            continue
        facts[name] = now
        then = before.get(name)
        if then is not None and now > then:
            grew += now - then
    return grew, {"counters": facts}


def rfc3339(text: str) -> float:
    """A time as Go writes it, nanoseconds and all; 0 for Go's zero time and for nonsense."""
    matched = re.match(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$", text)
    if not matched or text.startswith("0001"):
        return 0.0
    import datetime  # only for monitors that answer with such times

    zone = matched.group(3).upper().replace("Z", "+00:00")
    whole = datetime.datetime.fromisoformat(matched.group(1).upper() + zone).timestamp()
    return whole + float(matched.group(2) or 0)


def local_url(process: Process, port: int) -> str:
    """Where a daemon of this family listens, from its command line."""
    listen = (
        processes.option_of(process.cmdline, "--web.listen-address", "-web.listen-address")
        or f":{port}"
    )
    host, _, its_port = listen.rpartition(":")
    host = "127.0.0.1" if host in ("", "0.0.0.0", "[::]", "*") else host
    prefix = processes.option_of(process.cmdline, "--web.route-prefix").strip("/")
    return f"http://{host}:{its_port or port}" + (f"/{prefix}" if prefix else "")


def not_reloaded(next: str) -> Component:  # noqa: A002
    """A configuration that the daemon has rejected; `next` checks it."""
    return warning(
        "configuration", "was not loaded: its last reload failed, the old one is in use", next
    )

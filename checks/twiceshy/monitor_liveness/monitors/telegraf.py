"""Telegraf: its health output (outputs.health), from the plugin's documentation.

Its default state is healthy: without `max_time_between_metrics` (or a compare) it says so for
ever, while inputs hang. So set that; or have the destination tell how new the newest value is
(--monitor daemon --advances).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twiceshy.kit import http
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.components import NO_HISTORY, Clock, Health, critical, unknown
from twiceshy.monitor_liveness.monitors import answers
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

PORT = 8080
RESTART = "journalctl -u telegraf -n 50"


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Telegraf."""

    status: int = 0
    body: str = ""


def found(table: Sequence[Process]) -> list[Target]:
    """Every Telegraf of this host, by its process."""
    return [instance("telegraf", process) for process in table if process.program == "telegraf"]


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask the health output."""

    def asking(empty: Observation) -> Observation:
        answer = answers.ask(empty.url, settings)
        return answers.answered_by(empty, answer, status=answer.status, body=answer.text)

    url = answers.url_of(target, PORT)
    is_guessed = not target.is_located
    return answers.observed(
        Observation(target.name, url, main=target.main, is_guessed=is_guessed), asking
    )


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    failure = observation.failure
    if isinstance(failure, http.Refused) and observation.is_guessed:
        components.append(
            unknown(
                "main loop",
                f"cannot be queried: {failure}; configure outputs.health (or give --url)",
            )
        )
    elif failure:
        components.append(answers.unanswered(failure, RESTART, has_login=bool(settings.user)))
    elif observation.status == 200:
        components += answers.answers(observation, clock)
    elif observation.status == 503:
        components.append(
            critical("outputs", f"are unhealthy: {safe(observation.body, 100)}", RESTART)
        )
    else:
        components.append(
            unknown(
                "main loop",
                f"cannot be queried: HTTP {observation.status}; is {observation.url} its health "
                "output?",
            )
        )
    return answers.health(observation, components, started=answers.process_age(observation, clock))

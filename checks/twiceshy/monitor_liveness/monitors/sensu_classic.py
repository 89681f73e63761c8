"""Classic Sensu (Core 0.x/1.x): the client's socket and the server's API, from its documentation.

The API's /health says 204 when RabbitMQ and Redis are connected and the queues are short, 412 (503
in old releases) when not. The client answers `ping` with `pong` on its socket, which a hung check
inside it does not stop: name a check that runs all the time (--pulse CLIENT;CHECK) for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import units
from twiceshy.kit.http import HttpError
from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    critical,
    ok,
    unknown,
)
from twiceshy.monitor_liveness.monitors import answers, sockets
from twiceshy.monitor_liveness.monitors.answers import Executed
from twiceshy.monitor_liveness.monitors.targets import Target, instance
from twiceshy.monitor_liveness.settings import MonitorSettings

CLIENT_PORT, API_PORT = 3030, 4567
MOST_MESSAGES = 10000


@dataclass(frozen=True)
class Link:
    """What /info says: whether the transport and the store are connected, and queued results."""

    transport: bool
    redis: bool
    consumers: int
    queued: int


def parse_info(text: str) -> Link:
    """GET /info; Malformed when it is not that."""
    with answers.expected("the answer is not that of a Sensu API"):
        info = json.loads(text)
        transport = info.get("transport") or info["rabbitmq"]
        results = transport.get("results") or {}
        return Link(
            bool(transport["connected"]),
            bool(info["redis"]["connected"]),
            int(results.get("consumers") or 0),
            int(results.get("messages") or 0),
        )


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One client (which says `pong`) or API (which has a `link`)."""

    kind: str = ""
    pong: bool = False
    link: Link | None = None
    pulse: Executed | None = None
    pulse_failure: HttpError | None = None


def found(table: Sequence[Process]) -> list[Target]:
    """Every classic Sensu client and API of this host, by its process."""
    targets = []
    for process in table:
        # Ruby programs: argv[0] is the interpreter.
        names = [word.rpartition("/")[2] for word in process.cmdline[:2]]
        for kind in ("sensu-client", "sensu-api"):
            if kind in names:
                targets.append(instance(kind, process))
    return targets


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask the client for a pong or the API for its links, and for the result of --pulse."""
    url = answers.url_of(target, API_PORT)

    def asking_client(empty: Observation) -> Observation:
        answer = sockets.converse(
            (target.host or "127.0.0.1", target.port or CLIENT_PORT),
            b"ping",
            lambda received: b"pong" in received,
            settings.probe_seconds,
        )
        return answers.answered_by(empty, answer, pong="pong" in answer.text)

    def asking_api(empty: Observation) -> Observation:
        answer = answers.ask(url + "/info", settings)
        return replace(empty, seconds=answer.seconds, link=parse_info(answer.text))

    is_client = target.kind == "sensu-client"
    observation = answers.observed(
        Observation(target.name, url, main=target.main, kind=target.kind),
        asking_client if is_client else asking_api,
    )
    if observation.failure or is_client or not settings.pulse:
        return observation
    try:
        return replace(observation, pulse=_pulse(url, settings))
    except HttpError as failure:
        return replace(observation, pulse_failure=failure)


def _pulse(url: str, settings: MonitorSettings) -> Executed:
    from urllib.parse import quote

    client, check = answers.pulse_of(settings.pulse, "CLIENT;CHECK")
    path = f"/results/{quote(client, safe='')}/{quote(check, safe='')}"
    answer = answers.ask(url + path, settings)
    if answer.status == 404:
        raise answers.NotThere(f"there is no result {client};{check}")
    return answers.parse_event(answer.text)


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    kind = observation.kind
    restart = f"journalctl -u {kind} -n 50; tail /var/log/sensu/{kind}.log"
    components = answers.halted(observation.main)
    started = answers.process_age(observation, clock)
    if observation.failure:
        components.append(
            answers.unanswered(observation.failure, restart, has_login=bool(settings.user))
        )
        return answers.health(observation, components, started=started)
    if kind == "sensu-client":
        components.append(
            ok("main loop", "answers ping with pong")
            if observation.pong
            else critical("main loop", "does not answer ping with pong", restart)
        )
    if observation.link is not None:
        components += answers.answers(observation, clock)
        components.append(_work(observation.link, restart))
    age = limit = None
    if observation.pulse is not None:
        age = clock.age(observation.pulse.at)
        limit = settings.silence or settings.intervals * observation.pulse.interval + 30
        components.append(answers.executor(settings.pulse, age, limit, restart))
    elif observation.pulse_failure:
        components.append(
            unknown("executor", f"cannot be judged: {observation.pulse_failure} (--pulse)")
        )
    return answers.health(observation, components, started=started, age=age, limit=limit)


def _work(link: Link, restart: str) -> Component:
    """Whether results get from the queue to a server."""
    down = [name for name, up in (("transport", link.transport), ("redis", link.redis)) if not up]
    if down:
        return critical("links", f"are down: {' and '.join(down)} not connected", restart)
    if link.consumers < 1:
        return critical("intake", "stands still: no server takes results out of the queue", restart)
    if link.queued > MOST_MESSAGES:
        return critical("intake", f"falls behind: {link.queued} results are queued", restart)
    consumers, queued = units.count(link.consumers, "consumer"), units.count(link.queued, "result")
    return ok("intake", f"has {consumers} and {queued} queued")

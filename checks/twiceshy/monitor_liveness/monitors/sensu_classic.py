"""Classic Sensu (Core 0.x/1.x): the client's socket and the server's API, from its documentation.

The API's /health says 204 when RabbitMQ and Redis are connected and the queues are short, 412 (503
in old releases) when not. The client answers `ping` with `pong` on its socket, which a hung check
inside it does not stop: name a check that runs all the time (--pulse CLIENT;CHECK) for that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from twiceshy.kit.plugin import CheckError
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
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.contact import (
    answered,
    ask,
    expected,
    halted,
    instance,
    url_of,
)
from twiceshy.monitor_liveness.monitors.processes import Process
from twiceshy.monitor_liveness.monitors.sensu_go import Executed, parse_event

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
    """GET /info; Trouble when it is not that."""
    with expected("the answer is not that of a Sensu API"):
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
class Sight:
    """One client or API in one look."""

    name: str
    kind: str
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    pong: bool = False
    link: Link | None = None
    pulse: Executed | None = None
    pulse_trouble: tuple[str, str] = ("", "")
    main: Process | None = None


def found(table: Sequence[Process]) -> list[Target]:
    targets = []
    for process in table:
        # Ruby programs: argv[0] is the interpreter.
        names = [word.rpartition("/")[2] for word in process.argv[:2]]
        for name, kind in (("sensu-client", "sensu-client"), ("sensu-api", "sensu-api")):
            if name in names:
                targets.append(instance(kind, process))
    return targets


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    seen = Sight(target.name, target.kind, main=target.main)
    try:
        if target.kind == "sensu-client":
            answer = asking.converse(
                (target.host or "127.0.0.1", target.port or CLIENT_PORT),
                b"ping",
                lambda said: b"pong" in said,
                wishes.probe_seconds,
            )
            return replace(seen, probe_seconds=answer.seconds, pong="pong" in answer.text)
        url = url_of(target, API_PORT)
        answer = ask(url + "/info", wishes)
        seen = replace(seen, probe_seconds=answer.seconds, link=parse_info(answer.text))
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    if wishes.pulse:
        client, mark, check = wishes.pulse.replace("!", ";").partition(";")
        if not mark:
            raise CheckError(f"{wishes.pulse!r} names no result; type CLIENT;CHECK")
        try:
            answer = ask(f"{url}/results/{quote(client, safe='')}/{quote(check, safe='')}", wishes)
            if answer.status == 404:
                raise asking.Trouble("missing", f"there is no result {client};{check}")
            seen = replace(seen, pulse=parse_event(answer.text))
        except asking.Trouble as trouble:
            seen = replace(seen, pulse_trouble=trouble.told)
    return seen


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    restart = f"journalctl -u {seen.kind} -n 50; tail /var/log/sensu/{seen.kind}.log"
    organs = halted(seen.main)
    started = clock.age(seen.main.started) if seen.main else None
    if seen.trouble[0]:
        organs.append(unanswered(*seen.trouble, next=restart, has_login=bool(wishes.user)))
        return Seen(seen.name, tuple(organs), age_measures(seen.name, None, None, None), started)
    if seen.kind == "sensu-client":
        organs.append(
            fine("main loop", "answers ping with pong")
            if seen.pong
            else dead("main loop", "does not answer ping with pong", restart)
        )
    link = seen.link
    if link is not None:
        organs += answered(seen.probe_seconds, "", clock)
        down = [
            name for name, up in (("transport", link.transport), ("redis", link.redis)) if not up
        ]
        if down:
            organs.append(dead("links", f"are down: {' and '.join(down)} not connected", restart))
        elif link.consumers < 1:
            organs.append(
                dead("intake", "stands still: no server takes results out of the queue", restart)
            )
        elif link.queued > MOST_MESSAGES:
            organs.append(
                dead("intake", f"falls behind: {link.queued} results are queued", restart)
            )
        else:
            organs.append(
                fine("intake", f"has {link.consumers} consumers and {link.queued} results queued")
            )
    age = limit = None
    if seen.pulse is not None:
        age = clock.age(seen.pulse.at)
        limit = wishes.silence or wishes.intervals * seen.pulse.interval + 30
        if age > limit:
            organs.append(
                dead(
                    "executor",
                    f"has not executed {wishes.pulse} for {ago(age)} (limit {ago(limit)})",
                    restart,
                )
            )
        else:
            organs.append(fine("executor", f"executed {wishes.pulse} {ago(max(0.0, age))} ago"))
    elif seen.pulse_trouble[0]:
        organs.append(unseen("executor", f"cannot be judged: {seen.pulse_trouble[1]} (--pulse)"))
    return Seen(
        seen.name, tuple(organs), age_measures(seen.name, age, limit, seen.probe_seconds), started
    )

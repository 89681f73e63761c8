"""Icinga 2: its API, and its three processes.

The umbrella process starts the worker (API, scheduler), which starts the process spawner (it forks
the plugins). With the spawner stopped the API answers, passive results come in and the built-in
checks (`icinga`, `dummy`, `cluster-zone`) go on; only results of real plugins stop. One can tell
them apart: a plugin's check result keeps its command as an array (lib/methods/pluginchecktask.cpp,
cr->SetCommand(commandLine)), a built-in's as a string. Icinga/icinga2 issue 5147 is that hang.

With active checks disabled `next_check` goes on moving into the future, so lateness alone misses
it; the flags and the age of the last plugin result do not.

An API user without objects/query gets "404 No objects found", not 403 (measured with 2.13.6).
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twiceshy.kit import units
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import WARNING, CheckError
from twiceshy.kit.verdict import Measure, label, safe
from twiceshy.monitor_liveness.monitors import (
    REMOTE_CLOCK_TOLERANCE_SECONDS,
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    ago,
    asking,
    children_organ,
    contact,
    dead,
    fine,
    poor,
    processes,
    stopped_organ,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.processes import Process

PORT = 5665

# What Icinga executes inside its worker, without a process (its template library, ITL).
BUILT_IN = frozenset(
    [
        "icinga",
        "cluster",
        "cluster-zone",
        "dummy",
        "passive",
        "random",
        "exception",
        "null",
        "sleep",
        "ido",
        "icingadb",
        "ifw-api",
    ]
)

# A check that is executed as a process may take this long (CheckCommand's own default timeout).
PLUGIN_TIMEOUT_SECONDS = 60.0

LATE_SHARE, LATE_LEAST = 0.5, 10

# One list call of everything must stay bounded: a service needs some 300 bytes of answer.
ATTRIBUTES = (
    "last_check",
    "next_check",
    "check_interval",
    "check_period",
    "check_command",
    "command_endpoint",
    "enable_active_checks",
    "paused",
    "zone",
)
# A query whose filter does not fit into a URL (doc/12-icinga2-api.md, "Requests").
OVERRIDE = {"X-HTTP-Method-Override": "GET"}
EXECUTED = (
    "{0}.last_check_result && {0}.last_check_result.active "
    "&& typeof({0}.last_check_result.command) == Array && {0}.last_check > cut"
)

# The statistics' minute, and half of one more until all checks have had their first turn.
RATE_SECONDS = 90.0


@dataclass(frozen=True)
class Application:
    """/v1/status in a few values; flags are None where the user may not see them."""

    node: str
    pid: int
    started: float
    uptime: float
    notifications: bool | None
    host_checks: bool | None
    service_checks: bool | None
    services: int
    executed_last_minute: float | None
    pending: int | None
    own_zones: frozenset[str] = frozenset()
    hosts: int = 0
    hosts_executed_last_minute: float | None = None


@dataclass(frozen=True)
class Service:
    """A service, or where there are none a host, that this node is to check; times are Unix."""

    name: str
    last_check: float
    next_check: float
    interval: float
    has_period: bool


def parse_status(text: str) -> Application:
    """/v1/status (doc/12-icinga2-api.md, "Status and Statistics"). Trouble when it is not that."""
    with contact.expected("the answer is not that of an Icinga 2 API"):
        parts = {part["name"]: part["status"] for part in json.loads(text)["results"]}
        app = parts["IcingaApplication"]["icingaapplication"]["app"]
    cib = parts.get("CIB") or {}
    checker = (parts.get("CheckerComponent") or {}).get("checkercomponent") or {}
    zones = ((parts.get("ApiListener") or {}).get("api") or {}).get("zones") or {}
    node = str(app.get("node_name", ""))
    pending = [c.get("pending") for c in checker.values() if isinstance(c, dict)]
    started = float(app.get("program_start") or 0)
    return Application(
        node=node,
        pid=int(app.get("pid") or 0),
        started=started,
        uptime=float(cib.get("uptime") or 0),
        notifications=app.get("enable_notifications"),
        host_checks=app.get("enable_host_checks"),
        service_checks=app.get("enable_service_checks"),
        services=_count(cib, "num_services_", ("ok", "warning", "critical", "unknown", "pending")),
        executed_last_minute=cib.get("active_service_checks_1min"),
        pending=int(sum(p or 0 for p in pending)) if pending else None,
        own_zones=frozenset(
            name for name, zone in zones.items() if node in (zone.get("endpoints") or [])
        ),
        hosts=_count(cib, "num_hosts_", ("up", "down", "unreachable", "pending")),
        hosts_executed_last_minute=cib.get("active_host_checks_1min"),
    )


def _count(cib: Mapping[str, Any], prefix: str, states: Sequence[str]) -> int:
    return int(sum(float(cib.get(prefix + state) or 0) for state in states))


def parse_services(text: str, app: Application) -> list[Service]:
    """Services that this node executes as processes: not built-in, not another zone's or agent's.

    In a high-availability zone the other endpoint's share is paused here.
    """
    services = []
    with contact.expected("the list of services is not Icinga's"):
        results = json.loads(text)["results"]
        for result in results:
            attrs = result["attrs"]
            if (
                attrs.get("enable_active_checks")
                and not attrs.get("paused")
                and attrs.get("check_command") not in BUILT_IN
                and attrs.get("command_endpoint", "") in ("", None, app.node)
                and (not attrs.get("zone") or not app.own_zones or attrs["zone"] in app.own_zones)
                and float(attrs.get("check_interval") or 0) > 0
            ):
                services.append(
                    Service(
                        name=str(result["name"]),
                        last_check=max(0.0, float(attrs.get("last_check") or 0)),
                        next_check=float(attrs.get("next_check") or 0),
                        interval=float(attrs["check_interval"]),
                        has_period=bool(attrs.get("check_period")),
                    )
                )
    return services


def parse_executed(text: str) -> list[tuple[str, float]]:
    """Names and times of services whose last result was a plugin's."""
    with contact.expected("the list of services is not Icinga's"):
        return [
            (str(result["name"]), float(result["attrs"]["last_check"]))
            for result in json.loads(text)["results"]
        ]


# What is seen


@dataclass(frozen=True)
class Sight:
    """All that was seen of one Icinga in one look."""

    name: str
    url: str
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    app: Application | None = None
    what: str = "services"
    services: tuple[Service, ...] | None = None
    services_trouble: tuple[str, str] = ("", "")
    executed: tuple[tuple[str, float], ...] = ()
    canary: tuple[str, str] = ("", "")
    umbrella: Process | None = None
    worker: Process | None = None
    spawner: Process | None = None
    is_local: bool = False
    has_login: bool = False
    at: float = 0.0


def is_icinga(process: Process) -> bool:
    return (
        process.program == "icinga2"
        and "daemon" in process.argv
        and not ({"-C", "--validate", "console"} & set(process.argv))
    )


def found(table: Sequence[Process]) -> list[Target]:
    """Every umbrella process: an icinga2 daemon whose parent is none.

    Orphans of a killed umbrella are found by the same rule: the oldest of them is taken for it.
    During a reload there are two workers under one umbrella.
    """
    ours = [process for process in table if is_icinga(process)]
    pids = {process.pid for process in ours}
    return [
        Target(
            kind="icinga2",
            name="icinga2",
            url=f"https://127.0.0.1:{_port(process)}",
            main=process,
            processes=tuple(p for p in processes.family_of(process.pid, table) if is_icinga(p)),
        )
        for process in ours
        if process.parent not in pids
    ]


def _port(process: Process) -> int:
    """The API's port, if its feature file may be read; else the default."""
    config = processes.option_of(process.argv, "-c", "--config") or "/etc/icinga2/icinga2.conf"
    for path in (Path(config), Path(config).parent / "features-enabled" / "api.conf"):
        try:
            port = re.search(
                r"^[^/#]*\bbind_port\s*=\s*\"?(\d+)", path.read_text("utf-8", "replace"), re.M
            )
        except OSError:
            continue
        if port:
            return int(port.group(1))
    return PORT


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    """Ask /v1/status, then for the services; stop at the first question that is not answered.

    Where none is to be checked here, checks of hosts are the evidence.
    """
    url = contact.url_of(target, PORT, "https")
    umbrella, worker, spawner = roles(target.processes)
    seen = Sight(
        name=target.name,
        url=url,
        umbrella=umbrella,
        worker=worker,
        spawner=spawner,
        is_local=target.is_local,
        has_login=bool(wishes.user),
        at=time.time(),
    )
    try:
        status = _ask(url + "/v1/status" if wishes.user else url + "/", wishes)
        seen = replace(seen, probe_seconds=status.seconds, app=parse_status(status.text))
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    if seen.app is None:
        return seen
    app, seen = seen.app, _with_work(seen, seen.app, "services", wishes)
    if _is_idle(seen, app) and app.hosts and not wishes.pulse:
        by_hosts = _with_work(seen, app, "hosts", wishes)
        if not app.services or by_hosts.services_trouble[0] != "permission":
            seen = by_hosts
    if wishes.canary:
        seen = replace(seen, canary=_canary(url, wishes))
    return seen


def _with_work(seen: Sight, app: Application, what: str, wishes: Wishes) -> Sight:
    """What was seen and all services, or all hosts, that this node is to check."""
    try:
        wanted = {"attrs": list(ATTRIBUTES), **_only(what, wishes)}
        listed = _ask(f"{seen.url}/v1/objects/{what}", wishes, wanted).text
        services = parse_services(listed, app)
        executed = _executed(seen.url, what, wishes, services)
    except asking.Trouble as trouble:
        return replace(seen, what=what, services_trouble=trouble.told)
    return replace(
        seen, what=what, services=tuple(services), services_trouble=("", ""), executed=executed
    )


def _is_idle(seen: Sight, app: Application) -> bool:
    """Whether no service is to be checked here; with none at all the API says 404."""
    if seen.services_trouble[0] == "permission":
        return app.services == 0
    return seen.services == ()


def _only(what: str, wishes: Wishes) -> dict[str, Any]:
    if wishes.pulse:
        return {
            "filter": "service.__name == pulse",
            "filter_vars": {"pulse": _object(wishes.pulse)},
        }
    return {"filter": f"{what[:-1]}.enable_active_checks"}


def _object(name: str) -> str:
    """`host;service` as Icinga's object name, `host!service`."""
    return name.replace(";", "!", 1) if "!" not in name else name


def _executed(
    url: str, what: str, wishes: Wishes, services: Sequence[Service]
) -> tuple[tuple[str, float], ...]:
    """What plugins have been executed for lately; everything ever, only if that is nothing.

    Bounded for big sites: a healthy one answers with the results of the last interval.
    """
    if not services:
        return ()
    fastest = min(service.interval for service in services)
    for cut in (time.time() - fastest - 10, 0.0):
        wanted: dict[str, Any] = {
            "attrs": ["last_check"],
            "filter": EXECUTED.format(what[:-1]),
            "filter_vars": {"cut": cut},
        }
        if wishes.pulse:
            wanted["filter"] += " && service.__name == pulse"
            wanted["filter_vars"]["pulse"] = _object(wishes.pulse)
        executed = parse_executed(_ask(f"{url}/v1/objects/{what}", wishes, wanted).text)
        # A result that an agent or another node has sent is not this node's work.
        own = {service.name for service in services}
        executed = [(name, at) for name, at in executed if name in own]
        if executed:
            return tuple(executed)
    return ()


def _ask(url: str, wishes: Wishes, post: dict[str, Any] | None = None) -> asking.Answer:
    is_query = post is not None and "/v1/objects/" in url
    answer = contact.ask(
        url,
        wishes,
        # Without a login there is nothing to give away to an impostor.
        insecure=wishes.insecure or not wishes.user,
        post=post,
        # Without just this Accept a POST is answered with 400.
        headers={"Accept": "application/json", **(OVERRIDE if is_query else {})},
    )
    if answer.status == 404:
        raise asking.Trouble("permission", "the API says 404: no objects found")
    if answer.status >= 400:
        raise asking.Trouble(
            "strange", f"the API says HTTP {answer.status}: {safe(answer.text, 120)}"
        )
    return answer


def _canary(url: str, wishes: Wishes) -> tuple[str, str]:
    """Submit a passive result with a nonce and read it back: a kind and a sentence."""
    nonce = secrets.token_hex(6)
    name = _object(wishes.canary)
    try:
        _ask(
            f"{url}/v1/actions/process-check-result?service={quote(name, safe='')}",
            wishes,
            {"exit_status": 0, "plugin_output": f"canary {nonce} of check_monitor_liveness"},
        )
        began = time.monotonic()
        while True:
            back = _ask(
                f"{url}/v1/objects/services/{quote(name, safe='')}?attrs=last_check_result", wishes
            )
            if nonce in back.text:
                return "returned", ""
            if time.monotonic() - began > wishes.probe_seconds:
                return "lost", f"has lost the canary submitted to {name}"
            time.sleep(0.1)
    except asking.Trouble as trouble:
        if trouble.kind in ("permission", "forbidden"):
            return (
                "denied",
                f"cannot be tried with {name}: no such service, or the API user lacks "
                "actions/process-check-result",
            )
        return "lost", f"does not take the canary: {trouble.text}"


def roles(
    family: Sequence[Process],
) -> tuple[Process | None, Process | None, Process | None]:
    """Umbrella, worker and spawner: parent, child and grandchild.

    During a reload there are two workers, and the newest that has its spawner counts. Two
    generations instead of three are a worker and its spawner whose umbrella was killed.
    """
    if not family:
        return None, None, None
    umbrella = family[0]
    workers = sorted(
        (p for p in family if p.parent == umbrella.pid), key=lambda p: p.started, reverse=True
    )
    for worker in workers:
        for spawner in family:
            if spawner.parent == worker.pid:
                return umbrella, worker, spawner
    if workers:
        return None, umbrella, workers[0]
    return umbrella, None, None


# What it means

RESTART = "systemctl status icinga2; journalctl -u icinga2 -n 50"


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    """Every organ of an Icinga."""
    app = seen.app
    started: float | None = None
    if app is not None and app.started:
        started = app.uptime or clock.age(app.started)
    elif seen.worker is not None:
        started = clock.age(seen.worker.started)
    is_young = contact.is_young(started, wishes)
    organs = _processes(seen)
    if seen.umbrella is None and seen.worker is not None and not is_young:
        organs.append(
            dead(
                "umbrella process",
                f"is gone, it was killed: an orphaned worker goes on (pid {seen.worker.pid}), "
                "which nothing reloads nor restarts",
                RESTART,
            )
        )
    organs.append(_main_loop(seen, is_young))
    facts: dict[str, Any] = {}
    limit: float | None = None
    if app is None:
        if seen.spawner is not None:
            organ, facts = children_organ([seen.spawner], wishes, clock)
            organs.append(organ)
    else:
        skew = app.started + app.uptime - clock.now
        if app.uptime and abs(skew) > REMOTE_CLOCK_TOLERANCE_SECONDS:
            ahead = "ahead of" if skew > 0 else "behind"
            organs.append(
                (dead if seen.is_local else poor)(
                    "clock",
                    f"is {ago(abs(skew))} {ahead} ours",
                    "timedatectl on both hosts",
                )
            )
        executor, limit = _executor(seen, app, wishes, clock, is_young)
        organs.append(executor)
        if app.notifications is False:
            organs.append(
                poor(
                    "notifications",
                    "are disabled: it sees faults and tells nobody",
                    "set enable_notifications of IcingaApplication, by the API or in the web",
                )
            )
    if seen.canary[0]:
        kind, text = seen.canary
        say = {"returned": fine, "denied": unseen}.get(kind, dead)
        organs.append(say("intake", text or "brought the canary back at once"))
    return Seen(
        seen.name,
        tuple(organs),
        _measures(seen, clock, limit),
        started=started,
        absent=seen.trouble[0] == "refused" and not seen.is_local,
        facts=facts,
    )


def _processes(seen: Sight) -> list[Organ]:
    organs = []
    for process, role, consequence in (
        (seen.worker, "worker", "it schedules nothing and answers nobody"),
        (seen.spawner, "process spawner", "no plugin can be executed"),
        (
            seen.umbrella,
            "umbrella process",
            "checks go on, but it cannot reload nor restart its worker",
        ),
    ):
        organ = stopped_organ([process], role) if process else None
        if organ:
            state = WARNING if process is seen.umbrella else organ.state
            organs.append(replace(organ, text=f"{organ.text}; {consequence}", state=state))
    if seen.umbrella is not None and seen.worker is None and seen.app is None:
        organs.append(
            dead("worker", "is not there: nothing runs under the umbrella process", RESTART)
        )
    return organs


def _main_loop(seen: Sight, is_young: bool) -> Organ:
    kind, text = seen.trouble
    if not kind:
        return fine("main loop", f"answers in {(seen.probe_seconds or 0) * 1000:.0f}ms (API)")
    if kind == "login":
        if not seen.has_login:
            return fine("main loop", "answers (API; no login was given)")
        return unseen("main loop", f"{text}: check --user and --password-file")
    if kind in ("forbidden", "permission"):
        return unseen(
            "main loop", "cannot be asked: the API user lacks the permission status/query"
        )
    if kind == "refused" and seen.worker is not None and is_young:
        return fine("main loop", "does not listen yet; it has only just started")
    if kind == "refused" and seen.worker is not None and not seen.has_login:
        return unseen(
            "main loop",
            f"cannot be asked: {text}; is the API enabled "
            "(icinga2 feature enable api), or elsewhere (--url)?",
        )
    return unanswered(
        kind,
        text,
        f"openssl s_client -connect {seen.url.partition('//')[2]}" if kind == "tls" else RESTART,
        seen.has_login,
    )


def _executor(
    seen: Sight, app: Application, wishes: Wishes, clock: Clock, is_young: bool
) -> tuple[Organ, float | None]:
    is_by_hosts = seen.what == "hosts"
    if (app.host_checks if is_by_hosts else app.service_checks) is False:
        return (
            dead(
                "checks",
                "are disabled for the whole program: nothing is being checked",
                f"set enable_{seen.what[:-1]}_checks of IcingaApplication by the API or in the web "
                "interface",
            ),
            None,
        )
    kind, text = seen.services_trouble
    if kind == "permission" and not (app.services or app.hosts):
        return fine("executor", "has nothing to do: no services are configured"), None
    if kind in ("permission", "forbidden"):
        return (
            unseen(
                "executor",
                "cannot be asked: the API user lacks the permission objects/query/"
                f"{'Host' if is_by_hosts else 'Service'}",
            ),
            None,
        )
    if kind:
        return dead(
            "executor", f"cannot be judged, the API does not tell the {seen.what}: {text}", RESTART
        ), None
    services = seen.services or ()
    if not services:
        if wishes.pulse:
            raise CheckError(
                f"this node executes no plugin for a service {wishes.pulse!r} (--pulse)"
            )
        return fine(
            "executor", "has nothing to do: no active checks are scheduled on this node"
        ), None
    # Outside its check_period a service is put off again and again: old, but never late.
    due = [s for s in services if not s.has_period or clock.now > s.next_check] or []
    if not due:
        return fine(
            "executor", "has nothing to do: all services are outside their check periods"
        ), None
    fastest = min(service.interval for service in due)
    limit = wishes.silence or (
        wishes.intervals * fastest + (10.0 if wishes.pulse else PLUGIN_TIMEOUT_SECONDS)
    )
    newest_name, newest = max(seen.executed, key=lambda item: item[1], default=("", 0.0))
    silence = clock.age(max(newest, app.started))
    late = [
        s
        for s in due
        if clock.age(s.next_check) > (wishes.intervals - 1) * s.interval + PLUGIN_TIMEOUT_SECONDS
    ]
    # Enabled, without a check period, and yet not executed: late or put off makes no difference.
    waited = max(
        clock.age(min(s.next_check for s in due)) + fastest,
        min(
            (clock.age(s.last_check) for s in due if not s.has_period and s.last_check), default=0.0
        ),
    )
    if (
        silence > limit
        and waited > limit
        and not (is_young and silence < limit + wishes.startup_grace)
    ):
        last = f" (last: {newest_name.replace('!', ';')})" if newest_name else ""
        pending = f", {app.pending} pending" if app.pending else ""
        pid = f"ps -o pid,ppid,stat,wchan,args --ppid {app.pid}" if seen.is_local else RESTART
        return (
            dead(
                "executor",
                f"has not executed a plugin for {ago(silence)} (limit {ago(limit)}){last}{pending}",
                pid,
            ),
            limit,
        )
    share = f"{len(late)} of {len(services)} plugin checks overdue"
    if len(late) >= LATE_LEAST and len(late) > LATE_SHARE * len(services) and not is_young:
        return (
            poor(
                "executor",
                f"falls behind: {share}, the newest result is {ago(silence)} old",
                RESTART,
            ),
            limit,
        )
    rate = _rate(seen)
    expected = sum(60 / service.interval for service in due)
    # Built-in checks, agents' and peers' are in that rate, too: it may be more, never less.
    has_a_minute = app.uptime > RATE_SECONDS and clock.age(clock.now - 60) >= 60
    if (
        rate is not None
        and expected >= LATE_LEAST
        and rate < (1 - LATE_SHARE) * expected
        and has_a_minute
        and not is_young
    ):
        return (
            poor(
                "executor",
                f"falls behind: {rate:.0f} checks executed in the last minute, {expected:.0f} "
                "expected",
                RESTART,
            ),
            limit,
        )
    if newest:
        return fine(
            "executor", f"last executed a plugin {ago(max(0.0, clock.age(newest)))} ago; {share}"
        ), limit
    return fine("executor", f"has not executed a plugin yet; {share}"), limit


def _rate(seen: Sight) -> float | None:
    """Checks executed in the last minute, of the kind that it is judged by."""
    if seen.app is None:
        return None
    by_hosts = seen.what == "hosts"
    return seen.app.hosts_executed_last_minute if by_hosts else seen.app.executed_last_minute


def _measures(seen: Sight, clock: Clock, limit: float | None) -> tuple[Measure, ...]:
    newest = max((at for _, at in seen.executed), default=None)
    rate = _rate(seen)
    overdue = None
    if seen.services is not None:
        overdue = sum(
            clock.now - s.next_check > s.interval + PLUGIN_TIMEOUT_SECONDS for s in seen.services
        )
    return (
        Measure(
            label(seen.name, "executed_age"),
            max(0.0, clock.age(newest)) if newest is not None else None,
            "s",
            critical=Limit.parse(f"{limit:.0f}s", unit=units.duration) if limit else None,
            minimum=0,
        ),
        Measure(label(seen.name, "probe_time"), seen.probe_seconds, "s", minimum=0),
        Measure(
            label(seen.name, "executed_rate"),
            float(rate) / 60 if rate is not None else None,
            minimum=0,
        ),
        Measure(label(seen.name, "overdue"), overdue, minimum=0),
    )

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

import enum
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twiceshy.kit import http
from twiceshy.kit.http import Answer, HttpError
from twiceshy.kit.plugin import WARNING, CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import Measure, safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    REMOTE_CLOCK_TOLERANCE_SECONDS,
    Clock,
    Component,
    Health,
    age_measures,
    ago,
    critical,
    is_young,
    milliseconds,
    off,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers, processes
from twiceshy.monitor_liveness.monitors.answers import NotThere
from twiceshy.monitor_liveness.monitors.processes import executing, stopped
from twiceshy.monitor_liveness.monitors.targets import Target
from twiceshy.monitor_liveness.settings import MonitorSettings

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
OVERRIDE = ("X-HTTP-Method-Override", "GET")
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
    """/v1/status (doc/12-icinga2-api.md, "Status and Statistics"); else Malformed."""
    with answers.expected("the answer is not that of an Icinga 2 API"):
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
    with answers.expected("the list of services is not Icinga's"):
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
    with answers.expected("the list of services is not Icinga's"):
        return [
            (str(result["name"]), float(result["attrs"]["last_check"]))
            for result in json.loads(text)["results"]
        ]


# What is observed


class Returned(enum.Enum):
    """What became of a canary."""

    RETURNED = "returned"
    LOST = "lost"
    DENIED = "denied"


@dataclass(frozen=True)
class Canary:
    """A passive result that was submitted, and what became of it; the text says so."""

    returned: Returned
    text: str


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Icinga. `services` are `what`: services or hosts, None where they could not be asked."""

    app: Application | None = None
    what: str = "services"
    services: tuple[Service, ...] | None = None
    services_failure: HttpError | None = None
    executed: tuple[tuple[str, float], ...] = ()
    canary: Canary | None = None
    umbrella: Process | None = None
    worker: Process | None = None
    spawner: Process | None = None
    is_local: bool = False
    has_login: bool = False


def is_icinga(process: Process) -> bool:
    """Whether a process is a daemon of Icinga 2, whichever of the three."""
    return (
        process.program == "icinga2"
        and "daemon" in process.cmdline
        and not ({"-C", "--validate", "console"} & set(process.cmdline))
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
        if process.ppid not in pids
    ]


def _port(process: Process) -> int:
    """The API's port, if its feature file may be read; else the default."""
    config = processes.option_of(process.cmdline, "-c", "--config") or "/etc/icinga2/icinga2.conf"
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


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask /v1/status, then for the services; stop at the first question that is not answered.

    Where none is to be checked here, checks of hosts are the evidence.
    """
    url = answers.url_of(target, PORT, "https")
    umbrella, worker, spawner = roles(target.processes)

    def asking(empty: Observation) -> Observation:
        status = _ask(url + ("/v1/status" if settings.user else "/"), settings)
        return replace(empty, seconds=status.seconds, app=parse_status(status.text))

    observation = answers.observed(
        Observation(
            name=target.name,
            url=url,
            umbrella=umbrella,
            worker=worker,
            spawner=spawner,
            is_local=target.is_local,
            has_login=bool(settings.user),
        ),
        asking,
    )
    app = observation.app
    if app is None:
        return observation
    observation = _with_work(observation, app, "services", settings)
    if _is_idle(observation, app) and app.hosts and not settings.pulse:
        by_hosts = _with_work(observation, app, "hosts", settings)
        if not app.services or not isinstance(by_hosts.services_failure, NotThere):
            observation = by_hosts
    if settings.canary:
        observation = replace(observation, canary=_canary(url, settings))
    return observation


def _with_work(
    observation: Observation, app: Application, what: str, settings: MonitorSettings
) -> Observation:
    """An observation with all services, or all hosts, that this node is to check."""
    try:
        wanted = {"attrs": list(ATTRIBUTES), **_only(what, settings)}
        listed = _ask(f"{observation.url}/v1/objects/{what}", settings, wanted).text
        services = parse_services(listed, app)
        executed = _executed(observation.url, what, settings, services)
    except HttpError as failure:
        return replace(observation, what=what, services_failure=failure)
    return replace(
        observation,
        what=what,
        services=tuple(services),
        services_failure=None,
        executed=executed,
    )


def _is_idle(observation: Observation, app: Application) -> bool:
    """Whether no service is to be checked here; with none at all the API says 404."""
    if isinstance(observation.services_failure, NotThere):
        return app.services == 0
    return observation.services == ()


def _only(what: str, settings: MonitorSettings) -> dict[str, Any]:
    if settings.pulse:
        return {
            "filter": "service.__name == pulse",
            "filter_vars": {"pulse": _object(settings.pulse)},
        }
    return {"filter": f"{what[:-1]}.enable_active_checks"}


def _object(name: str) -> str:
    """`host;service` as Icinga's object name, `host!service`."""
    return name.replace(";", "!", 1) if "!" not in name else name


def _executed(
    url: str, what: str, settings: MonitorSettings, services: Sequence[Service]
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
        if settings.pulse:
            wanted["filter"] += " && service.__name == pulse"
            wanted["filter_vars"]["pulse"] = _object(settings.pulse)
        executed = parse_executed(_ask(f"{url}/v1/objects/{what}", settings, wanted).text)
        # A result that an agent or another node has sent is not this node's work.
        own = {service.name for service in services}
        executed = [(name, at) for name, at in executed if name in own]
        if executed:
            return tuple(executed)
    return ()


def _ask(url: str, settings: MonitorSettings, post: dict[str, Any] | None = None) -> Answer:
    request = answers.request_of(url, settings, post)
    is_query = post is not None and "/v1/objects/" in url
    request = replace(
        request,
        # Without a login there is nothing to give away to an impostor.
        insecure=settings.insecure or not settings.user,
        # Without just this Accept a POST is answered with 400.
        fields=(
            *request.fields,
            ("Accept", "application/json"),
            *([OVERRIDE] if is_query else []),
        ),
    )
    answer = http.ask(request)
    if answer.status == 404:
        raise NotThere("the API says 404: no objects found")
    if answer.status >= 400:
        words = safe(answer.text, 120)
        raise http.Malformed(f"the API says HTTP {answer.status}: {words}")
    return answer


def _canary(url: str, settings: MonitorSettings) -> Canary:
    """Submit a passive result with a nonce and read it back."""
    from urllib.parse import quote

    nonce = os.urandom(6).hex()
    name = _object(settings.canary)
    path = quote(name, safe="")
    result = {"exit_status": 0, "plugin_output": f"canary {nonce} of check_monitor_liveness"}
    try:
        _ask(f"{url}/v1/actions/process-check-result?service={path}", settings, result)
        began = time.monotonic()
        while True:
            back = _ask(f"{url}/v1/objects/services/{path}?attrs=last_check_result", settings)
            if nonce in back.text:
                return Canary(Returned.RETURNED, "returned the canary at once")
            if time.monotonic() - began > settings.probe_seconds:
                return Canary(Returned.LOST, f"has lost the canary submitted to {name}")
            time.sleep(0.1)
    except (NotThere, http.Forbidden):
        return Canary(
            Returned.DENIED,
            f"cannot be tried with {name}: no such service, or the API user lacks "
            "actions/process-check-result",
        )
    except HttpError as failure:
        return Canary(Returned.LOST, f"does not accept the canary: {failure}")


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
        (p for p in family if p.ppid == umbrella.pid), key=lambda p: p.ticks, reverse=True
    )
    for worker in workers:
        for spawner in family:
            if spawner.ppid == worker.pid:
                return umbrella, worker, spawner
    if workers:
        return None, umbrella, workers[0]
    return umbrella, None, None


# What it means

RESTART = "systemctl status icinga2; journalctl -u icinga2 -n 50"


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of an Icinga."""
    app, worker = observation.app, observation.worker
    started: float | None = None
    if app is not None and app.started:
        started = app.uptime or clock.age(app.started)
    elif worker is not None:
        started = processes.age_of(worker, clock)
    young = is_young(started, settings.startup_grace)
    components = _processes(observation)
    if observation.umbrella is None and worker is not None and not young:
        components.append(
            critical(
                "umbrella process",
                f"is gone, it was killed: an orphaned worker goes on (pid {worker.pid}), "
                "and nothing can reload or restart it",
                RESTART,
            )
        )
    components.append(_main_loop(observation, young))
    facts: dict[str, Any] = {}
    limit: float | None = None
    if app is not None:
        skew = app.started + app.uptime - clock.now
        if app.uptime and abs(skew) > REMOTE_CLOCK_TOLERANCE_SECONDS:
            wrong = off(skew)
            components.append(wrong if observation.is_local else replace(wrong, state=WARNING))
        executor, limit = _executor(observation, app, settings, clock, young)
        components.append(executor)
        if app.notifications is False:
            components.append(
                warning(
                    "notifications",
                    "are disabled: it sees problems and notifies nobody",
                    "set enable_notifications of IcingaApplication, by the API or in the web",
                )
            )
    elif observation.spawner is not None:
        component, facts = executing(
            [observation.spawner], clock, settings.silence, settings.learning, history
        )
        components.append(component)
    if observation.canary:
        say = {Returned.RETURNED: ok, Returned.DENIED: unknown, Returned.LOST: critical}
        components.append(say[observation.canary.returned]("intake", observation.canary.text))
    is_refused = isinstance(observation.failure, http.Refused)
    return Health(
        observation.name,
        tuple(components),
        _measures(observation, clock, limit),
        started=started,
        absent=is_refused and not observation.is_local,
        facts=facts,
    )


def _processes(observation: Observation) -> list[Component]:
    components = []
    for process, role, consequence in (
        (observation.worker, "worker", "it schedules nothing and answers no requests"),
        (observation.spawner, "process spawner", "no plugin can be executed"),
        (
            observation.umbrella,
            "umbrella process",
            "checks go on, but it cannot reload or restart its worker",
        ),
    ):
        component = stopped([process], role) if process else None
        if component:
            state = WARNING if process is observation.umbrella else component.state
            text = f"{component.text}; {consequence}"
            components.append(replace(component, text=text, state=state))
    is_alone = observation.worker is None and observation.app is None
    if observation.umbrella is not None and is_alone:
        components.append(
            critical("worker", "is not there: nothing runs under the umbrella process", RESTART)
        )
    return components


def _main_loop(observation: Observation, young: bool) -> Component:
    failure, worker = observation.failure, observation.worker
    if failure is None:
        return ok("main loop", f"answers in {milliseconds(observation.seconds)} (API)")
    if isinstance(failure, (http.Forbidden, NotThere)):
        return unknown(
            "main loop", "cannot be queried: the API user lacks the permission status/query"
        )
    if isinstance(failure, http.Rejected):
        if not observation.has_login:
            return ok("main loop", "answers (API; no login was given)")
        return unknown("main loop", f"{failure}: check --user and --password-file")
    if isinstance(failure, http.Refused) and worker is not None and young:
        return ok("main loop", "does not listen yet; it has only just started")
    if isinstance(failure, http.Refused) and worker is not None and not observation.has_login:
        return unknown(
            "main loop",
            f"cannot be queried: {failure}; is the API enabled "
            "(icinga2 feature enable api), or elsewhere (--url)?",
        )
    if isinstance(failure, http.Untrusted):
        inspect = f"openssl s_client -connect {observation.url.partition('//')[2]}"
        return replace(answers.unanswered(failure, inspect), next_is_here=True)
    return answers.unanswered(failure, RESTART, observation.has_login)


def _executor(
    observation: Observation,
    app: Application,
    settings: MonitorSettings,
    clock: Clock,
    young: bool,
) -> tuple[Component, float | None]:
    """Whether plugins are really being executed, and the limit that was derived for it."""
    component = _without_work(observation, app, settings)
    if component:
        return component, None
    # Outside its check_period a service is put off again and again: old, but never late.
    services = observation.services or ()
    due = [s for s in services if not s.has_period or clock.now > s.next_check]
    if not due:
        text = "has nothing to do: all services are outside their check periods"
        return ok("executor", text), None
    fastest = min(service.interval for service in due)
    limit = settings.silence or (
        settings.intervals * fastest + (10.0 if settings.pulse else PLUGIN_TIMEOUT_SECONDS)
    )
    newest_name, newest = max(observation.executed, key=lambda item: item[1], default=("", 0.0))
    silence = clock.age(max(newest, app.started))
    has_grace = young and silence < limit + settings.startup_grace
    if silence > limit and _waited(due, fastest, clock) > limit and not has_grace:
        return _silent(observation, app, silence, limit, newest_name), limit
    late = [s for s in due if _is_late(s, settings, clock)]
    share = f"{len(late)} of {len(services)} plugin checks overdue"
    behind = ""
    if len(late) >= LATE_LEAST and len(late) > LATE_SHARE * len(services):
        behind = f"falls behind: {share}, the newest result is {ago(silence)} old"
    elif not young:
        behind = _slow(observation, app, due, clock)
    if behind and not young:
        return warning("executor", behind, RESTART), limit
    if newest:
        last = ago(max(0.0, clock.age(newest)))
        return ok("executor", f"last executed a plugin {last} ago; {share}"), limit
    return ok("executor", f"has not executed a plugin yet; {share}"), limit


def _without_work(
    observation: Observation, app: Application, settings: MonitorSettings
) -> Component | None:
    """The executor where there are no services to judge it by; None where there are."""
    failure, is_by_hosts = observation.services_failure, observation.what == "hosts"
    if (app.host_checks if is_by_hosts else app.service_checks) is False:
        return critical(
            "checks",
            "are disabled for the whole program: nothing is being checked",
            f"set enable_{observation.what[:-1]}_checks of IcingaApplication by the API or in the "
            "web interface",
        )
    if isinstance(failure, NotThere) and not (app.services or app.hosts):
        return ok("executor", "has nothing to do: no services are configured")
    if isinstance(failure, (NotThere, http.Forbidden)):
        return unknown(
            "executor",
            "cannot be queried: the API user lacks the permission objects/query/"
            f"{'Host' if is_by_hosts else 'Service'}",
        )
    if failure:
        return critical(
            "executor",
            f"cannot be judged, the API does not list the {observation.what}: {failure}",
            RESTART,
            # A reload between two questions: the next worker does not listen yet.
            is_fleeting=isinstance(failure, (http.Refused, http.Closed)),
        )
    if observation.services:
        return None
    if settings.pulse:
        raise CheckError(f"this node executes no plugin for a service {settings.pulse!r} (--pulse)")
    return ok("executor", "has nothing to do: no active checks are scheduled on this node")


def _is_late(service: Service, settings: MonitorSettings, clock: Clock) -> bool:
    allowed = (settings.intervals - 1) * service.interval + PLUGIN_TIMEOUT_SECONDS
    return clock.age(service.next_check) > allowed


def _waited(due: Sequence[Service], fastest: float, clock: Clock) -> float:
    """For how long something has been due, in seconds.

    Enabled, without a check period, and yet not executed: late or put off makes no difference.
    """
    return max(
        clock.age(min(s.next_check for s in due)) + fastest,
        min(
            (clock.age(s.last_check) for s in due if not s.has_period and s.last_check), default=0.0
        ),
    )


def _silent(
    observation: Observation, app: Application, silence: float, limit: float, newest_name: str
) -> Component:
    last = f" (last: {newest_name.replace('!', ';')})" if newest_name else ""
    pending = f", {app.pending} pending" if app.pending else ""
    return critical(
        "executor",
        f"has not executed a plugin for {ago(silence)} (limit {ago(limit)}){last}{pending}",
        f"ps -o pid,ppid,stat,wchan,args --ppid {app.pid}" if observation.is_local else RESTART,
    )


def _slow(observation: Observation, app: Application, due: Sequence[Service], clock: Clock) -> str:
    """That fewer checks were executed in the last minute than should have been, or "".

    Built-in checks, agents' and peers' are in that rate, too: it may be more, never less.
    """
    rate = _rate(observation)
    wanted = sum(60 / service.interval for service in due)
    has_a_minute = app.uptime > RATE_SECONDS and clock.age(clock.now - 60) >= 60
    if rate is None or not has_a_minute or wanted < LATE_LEAST or rate >= (1 - LATE_SHARE) * wanted:
        return ""
    return f"falls behind: {rate:.0f} checks executed in the last minute, {wanted:.0f} expected"


def _rate(observation: Observation) -> float | None:
    """Checks executed in the last minute, of the kind that it is judged by."""
    app = observation.app
    if app is None:
        return None
    is_by_hosts = observation.what == "hosts"
    return app.hosts_executed_last_minute if is_by_hosts else app.executed_last_minute


def _measures(observation: Observation, clock: Clock, limit: float | None) -> tuple[Measure, ...]:
    newest = max((at for _, at in observation.executed), default=None)
    rate = _rate(observation)
    overdue = None
    if observation.services is not None:
        overdue = sum(
            clock.now - s.next_check > s.interval + PLUGIN_TIMEOUT_SECONDS
            for s in observation.services
        )
    return age_measures(
        observation.name,
        clock.age(newest) if newest is not None else None,
        limit or None,
        observation.seconds,
        overdue,
        float(rate) / 60 if rate is not None else None,
    )

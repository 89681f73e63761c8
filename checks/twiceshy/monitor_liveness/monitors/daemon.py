"""Any daemon: its process, heartbeat, answers, systemd unit, and the work that must advance.

CPU time proves nothing: a healthy daemon may use none for half a minute and a hung one may spin.
What proves work is a number that rises, for the day when everything looks alive and the jobs stand
still.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from twiceshy.kit import deadline, http, subprocesses, units
from twiceshy.kit.http import HttpError
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.verdict import Measure, label, safe
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    age_limit,
    ago,
    critical,
    future,
    is_young,
    milliseconds,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers, parallel, sockets
from twiceshy.monitor_liveness.monitors.processes import age_of, stopped
from twiceshy.monitor_liveness.monitors.targets import Target
from twiceshy.monitor_liveness.settings import DaemonSettings, MonitorSettings

# State D is a disk wait; so many runs and seconds of nothing else are a hang.
STUCK_RUNS, STUCK_SECONDS = 3, 30.0


# Parsers


def parse_heartbeat(text: str) -> float | None:
    """The time that a heartbeat file holds in its first line: Unix seconds, ms, or ISO 8601."""
    first = text.strip().splitlines()[0].strip() if text.strip() else ""
    number = re.match(r"(\d{10})(\d{3})?(\.\d+)?(?!\d)", first)
    if number:
        seconds = float(number.group(1)) + float(number.group(3) or 0)
        return seconds + (float(number.group(2)) / 1000 if number.group(2) else 0)
    stamp = re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?\s?([Zz]|[+-]\d\d:?\d\d)?", first)
    if stamp:
        text = first[:19].replace(" ", "T")
        zone = (stamp.group(2) or "").upper().replace("Z", "+00:00")
        if re.fullmatch(r"[+-]\d{4}", zone):
            zone = f"{zone[:3]}:{zone[3:]}"
        import datetime  # most heartbeats are numbers

        try:
            return datetime.datetime.fromisoformat(text + zone).timestamp()
        except ValueError:
            return None
    return None


def json_number(text: str, path: str) -> float:
    """A number in JSON by a dotted path: `jobs.done`, `0.count`; booleans are no numbers."""
    value: Any = json.loads(text)
    for step in path.split(".") if path else []:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"there is no {safe(path, 60)} in it") from None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{safe(path, 60)} is not a number")
    return float(value)


def metric_number(text: str, wanted: str) -> float:
    """The sum of a metric in Prometheus text: `name` or `name{label="value",...}`."""
    from twiceshy.monitor_liveness.monitors.metrics import parse_metrics

    name, _, rest = wanted.partition("{")
    labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    values = [
        value
        for have, value in parse_metrics(text).get(name.strip(), [])
        if all(have.get(key) == text for key, text in labels.items())
    ]
    if not values:
        raise ValueError(f"there is no metric {safe(wanted, 80)}")
    return sum(values)


def first_number(text: str) -> float:
    """The first number in a text; ValueError when there is none."""
    found = re.search(r"[-+]?\d+(?:\.\d+)?", text)
    if not found:
        raise ValueError(f"there is no number in {safe(text, 60)!r}")
    return float(found.group())


def split_source(source: str) -> tuple[str, str, str]:
    """`KIND:PLACE#PART` of --advances; CheckError with the forms when it is none."""
    kind, colon, rest = source.partition(":")
    if not colon or kind not in ("json", "prom", "file", "newest", "log", "run") or not rest:
        raise CheckError(
            f"{safe(source, 60)!r} is not a source; type json:PLACE#PATH, prom:PLACE#METRIC, "
            "file:PATH, newest:DIR, log:FILE or run:COMMAND"
        )
    place, _, part = rest.partition("#") if kind in ("json", "prom") else (rest, "", "")
    return kind, place, part


# What is observed


@dataclass(frozen=True)
class Progress:
    """A number that must rise, or the time of the last work where the source itself knows it.

    `trouble` says why there is neither; `is_ours`: for want of a permission of ours.
    """

    source: str
    number: float | None = None
    at: float | None = None
    trouble: str = ""
    is_ours: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """A heartbeat file: the time in its content, else None; its mtime; and its content."""

    path: str
    stamp: float | None = None
    modified: float = 0.0
    content: str = ""
    trouble: str = ""
    is_denied: bool = False
    filesystem: str = ""


@dataclass(frozen=True)
class EndpointAnswer:
    """One endpoint that must answer: in how many seconds it did, or why not."""

    where: str
    seconds: float | None = None
    failure: HttpError | None = None


@dataclass(frozen=True)
class Unit:
    """A systemd unit by `systemctl show`; `trouble` says why there are no properties."""

    name: str
    properties: Mapping[str, str] | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Observation:
    """One daemon. `processes` None: nobody asked for them; `monotonic`: when, for the watchdog."""

    name: str
    daemon: DaemonSettings
    processes: tuple[Process, ...] | None = None
    process_trouble: str = ""
    heartbeat: Heartbeat | None = None
    replies: tuple[EndpointAnswer, ...] = ()
    progress: tuple[Progress, ...] = ()
    unit: Unit | None = None
    monotonic: float = 0.0


def found(table: Sequence[Process]) -> list[Target]:
    """None: a daemon is named by the operator."""
    return []


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask all that the operator has named at the same time."""
    daemon = target.daemon or DaemonSettings()
    observation = Observation(
        target.name, daemon, monotonic=time.clock_gettime(time.CLOCK_MONOTONIC)
    )
    if daemon.pidfile or daemon.process:
        listed, trouble = _processes(daemon, table)
        observation = replace(observation, processes=listed, process_trouble=trouble)
    if daemon.heartbeat:
        observation = replace(observation, heartbeat=_heartbeat(daemon.heartbeat))
    endpoints = [partial(_reply, where, daemon, settings) for where in daemon.answers]
    if daemon.health_url:
        endpoints.append(partial(_health_page, daemon, settings))
    sources = [partial(_progress, source, settings) for source in daemon.advances]
    unit = [partial(_unit, daemon.unit)] if daemon.unit else []
    results = parallel.at_once([*endpoints, *sources, *unit])
    return replace(
        observation,
        replies=tuple(results[: len(endpoints)]),
        progress=tuple(results[len(endpoints) : len(endpoints) + len(sources)]),
        unit=results[-1] if unit else None,
    )


def _processes(daemon: DaemonSettings, table: Sequence[Process]) -> tuple[tuple[Process, ...], str]:
    if daemon.pidfile:
        try:
            pid = int(Path(daemon.pidfile).read_text("utf-8", "replace").split()[0])
        except PermissionError:
            raise CheckError(f"not allowed to read {daemon.pidfile}") from None
        except OSError as error:
            return (), f"{daemon.pidfile}: {error.strerror}"
        except (ValueError, IndexError):
            return (), f"{daemon.pidfile} contains no pid"
        found = tuple(p for p in table if p.pid == pid)
        if not found:
            return (), f"pid {pid} of {daemon.pidfile} does not exist"
        # A pid that was given to something else since says nothing about the daemon.
        if daemon.process and not _is_called(found[0], daemon.process):
            return (), f"pid {pid} of {daemon.pidfile} is {safe(found[0].program, 40)} now"
        return found, ""
    listed = tuple(p for p in table if _is_called(p, daemon.process))
    return listed, "" if listed else f"no process is called {daemon.process}"


def _is_called(process: Process, name: str) -> bool:
    """By program or command name, never by a word among the arguments: an editor is no daemon.

    The second word counts where the first is an interpreter.
    """
    script = os.path.basename(process.cmdline[1]) if len(process.cmdline) > 1 else ""
    is_script = bool(
        re.match(r"(python|perl|ruby|node|java|php|sh|bash|dash)[\d.]*$", process.program)
    )
    return name in (process.program, process.comm) or (is_script and script == name)


def _heartbeat(path: str) -> Heartbeat:
    try:
        with deadline.doing(f"reading {path}"), open(path, "rb") as stream:
            content = stream.read(4096).decode("utf-8", "replace")
            modified = os.fstat(stream.fileno()).st_mtime
        flags = os.statvfs(path)
    except PermissionError:
        return Heartbeat(path, trouble=f"not allowed to read {path}", is_denied=True)
    except OSError as error:
        return Heartbeat(path, trouble=f"{path}: {error.strerror}")
    filesystem = ""
    if flags.f_flag & os.ST_RDONLY:
        filesystem = "is read-only"
    elif flags.f_bavail == 0:
        filesystem = "is full"
    return Heartbeat(path, parse_heartbeat(content), modified, content[:200], filesystem=filesystem)


def _reply(where: str, daemon: DaemonSettings, settings: MonitorSettings) -> EndpointAnswer:
    """Connecting proves nothing, the kernel does that: something must be said."""
    address: sockets.Address
    if where.startswith("unix:"):
        address = where[5:]
    else:
        host, _, port = where.partition("://")[2].rpartition(":")
        try:
            address = (host.strip("[]"), int(port))
        except ValueError:
            raise CheckError(
                f"{where!r} is not a socket; type tcp://HOST:PORT or unix:/PATH"
            ) from None
    expect = daemon.expect.encode()
    send = daemon.send.encode().decode("unicode_escape").encode("latin-1")
    try:
        answer = sockets.converse(
            address,
            send,
            lambda received: bool(received) and expect in received,
            settings.probe_seconds,
        )
    except HttpError as failure:
        return EndpointAnswer(where, failure=failure)
    if expect not in answer.body:
        words = f"{where} says {safe(answer.text, 60)!r}, without {daemon.expect!r}"
        return EndpointAnswer(where, answer.seconds, http.Malformed(words))
    return EndpointAnswer(where, answer.seconds)


def _health_page(daemon: DaemonSettings, settings: MonitorSettings) -> EndpointAnswer:
    shown = daemon.health_url.partition("?")[0]
    try:
        answer = answers.ask(daemon.health_url, settings)
    except HttpError as failure:
        return EndpointAnswer(shown, failure=failure)
    if answer.status >= 300:
        words = f"HTTP {answer.status}: {safe(answer.text, 80)}"
        return EndpointAnswer(shown, answer.seconds, http.Malformed(words))
    if daemon.expect not in answer.text:
        words = f"HTTP {answer.status}, but its body lacks {safe(daemon.expect, 40)!r}"
        return EndpointAnswer(shown, answer.seconds, http.Malformed(words))
    return EndpointAnswer(shown, answer.seconds)


UNIT_PROPERTIES = "LoadState,ActiveState,SubState,WatchdogUSec,WatchdogTimestampMonotonic"


def _unit(unit: str) -> Unit:
    try:
        ran = subprocesses.run(
            ["systemctl", "show", "--property", UNIT_PROPERTIES, "--", unit], timeout=5
        )
    except (OSError, subprocesses.NoAnswer) as error:
        return Unit(unit, trouble=str(error))
    if ran.status != 0:
        return Unit(unit, trouble=safe(ran.stderr or ran.stdout, 120))
    return Unit(unit, dict(line.partition("=")[::2] for line in ran.stdout.splitlines()))


def _progress(source: str, settings: MonitorSettings) -> Progress:
    kind, place, part = split_source(source)
    shown = safe(source, 100)
    try:
        with deadline.doing(f"reading {shown}"):
            if kind == "newest":
                return Progress(shown, at=_newest_in(place))
            if kind == "log":
                return Progress(shown, at=os.stat(place).st_mtime)
            if kind == "run":
                return _progress_of_command(shown, place, settings)
            text = _text_of(place, settings)
            if kind == "json":
                return Progress(shown, number=json_number(text, part))
            if kind == "prom":
                return Progress(shown, number=metric_number(text, part))
            return Progress(shown, number=first_number(text))
    except HttpError as failure:
        return Progress(shown, trouble=str(failure), is_ours=isinstance(failure, http.Rejected))
    except PermissionError:
        return Progress(shown, trouble="not allowed to read it", is_ours=True)
    except OSError as error:
        return Progress(shown, trouble=error.strerror or str(error))
    except (ValueError, subprocesses.NoAnswer) as error:
        return Progress(shown, trouble=safe(str(error), 120))


def _progress_of_command(shown: str, command: str, settings: MonitorSettings) -> Progress:
    ran = subprocesses.run(shlex.split(command), timeout=settings.probe_seconds)
    if ran.status != 0:
        words = safe(ran.stderr or ran.stdout, 100)
        return Progress(shown, trouble=f"exit {ran.status}: {words}")
    return Progress(shown, number=first_number(ran.stdout))


def _newest_in(directory: str) -> float:
    """The newest mtime of the files of a directory; a directory without files says 0."""
    with os.scandir(directory) as entries:
        return max((e.stat().st_mtime for e in entries if e.is_file()), default=0.0)


def _text_of(place: str, settings: MonitorSettings) -> str:
    if not re.match(r"https?://", place):
        with open(place, "rb") as stream:
            return stream.read(http.MOST_BYTES).decode("utf-8", "replace")
    return answers.page(answers.request_of(place, settings)).text


# What it means


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    daemon = observation.daemon
    components: list[Component] = []
    measures: list[Measure] = []
    facts: dict[str, Any] = {}
    started: float | None = None
    if observation.processes:
        started = age_of(min(observation.processes, key=lambda process: process.ticks), clock)
        component, facts["waiting"] = _alive(observation.processes, clock, history)
        components.append(component)
    elif observation.processes is not None:
        text = f"is not running: {observation.process_trouble}"
        components.append(critical("process", text, is_fleeting=True, is_planned=True))
    young = is_young(started, settings.startup_grace)
    components += [_answers(reply) for reply in observation.replies]
    if observation.heartbeat is not None:
        component, age, facts["beat"] = _beats(
            observation.heartbeat, daemon.heartbeat_within, clock, young, history.get("beat") or {}
        )
        components.append(component)
        limit = age_limit(daemon.heartbeat_within)
        name = label(observation.name, "heartbeat_age")
        measures.append(Measure(name, age, "s", critical=limit, minimum=0))
    if observation.unit is not None:
        components.append(_active(observation.unit, observation.monotonic))
    progress: dict[str, Any] = {}
    for item in observation.progress:
        before = (history.get("progress") or {}).get(item.source) or {}
        component, age, progress[item.source] = _advances(
            item, daemon.within, settings, clock, young, before
        )
        components.append(component)
        is_one = len(observation.progress) == 1
        name = label(observation.name if is_one else item.source, "advance_age")
        measures.append(Measure(name, age, "s", critical=age_limit(daemon.within), minimum=0))
    if progress:
        facts["progress"] = progress
    # One probe_time is enough for a graph: the slowest.
    probes = [reply.seconds for reply in observation.replies if reply.seconds is not None]
    if probes:
        name = label(observation.name, "probe_time")
        measures.append(Measure(name, max(probes), "s", minimum=0))
    absent = observation.processes == ()
    return Health(observation.name, tuple(components), tuple(measures), started, absent, facts)


def _answers(reply: EndpointAnswer) -> Component:
    where = safe(reply.where, 80)
    if reply.failure is None:
        return ok("main loop", f"{where} answers in {milliseconds(reply.seconds)}")
    if not where.startswith("http"):
        return answers.unanswered(reply.failure)
    component = answers.unanswered(reply.failure, f"curl -m 5 -i {where}")
    return replace(component, next_is_here=True)


def _alive(
    table: Sequence[Process], clock: Clock, history: Mapping[str, Any]
) -> tuple[Component, Mapping[str, Any]]:
    """State T, Z or X is a fault at once; D only when nothing else was seen for some runs."""
    component = stopped(table, "process")
    if component:
        return component, {}
    waiting = [p for p in table if p.state == "D"]
    if not waiting:
        pids = " ".join(str(p.pid) for p in table[:5])
        return ok("process", f"is running (pid {pids}, state {table[0].state})"), {}
    pid = waiting[0].pid
    before = history.get("waiting") or {}
    same = before.get("pid") == pid
    runs = int(before.get("looks", 0)) + 1 if same else 1
    since = float(before.get("since", clock.now)) if same else clock.now
    lasts = clock.age(since)
    facts = {"pid": pid, "looks": runs, "since": since}
    text = f"has waited uninterruptibly (state D) for {ago(lasts)}, {runs} runs in a row: pid {pid}"
    next_step = f"cat /proc/{pid}/stack /proc/{pid}/wchan; dmesg | tail"
    if runs >= STUCK_RUNS and lasts >= STUCK_SECONDS:
        return critical("process", text, next_step), facts
    if runs == 1:
        return ok("process", f"is running (pid {pid}), waiting for its disk"), facts
    return warning("process", text, next_step), facts


def _beats(
    heartbeat: Heartbeat, within: float, clock: Clock, young: bool, before: Mapping[str, Any]
) -> tuple[Component, float | None, Mapping[str, Any]]:
    """By the time in the content, else its change, else mtime: a cron's touch is no heartbeat.

    Returns the component, the age in seconds, and what to remember.
    """
    path = heartbeat.path
    if heartbeat.trouble:
        if heartbeat.is_denied:
            component = unknown("heartbeat", f"cannot be read: {heartbeat.trouble}")
        elif young:
            component = ok("heartbeat", f"is not there yet: {heartbeat.trouble}")
        else:
            component = critical("heartbeat", f"is missing: {heartbeat.trouble}", f"ls -l {path}")
        return component, None, before
    changed = bool(before) and before.get("content") != heartbeat.content
    ever = bool(before.get("ever")) or changed
    since = clock.now if changed else float(before.get("since", heartbeat.modified))
    facts = {
        "content": heartbeat.content,
        "ever": ever,
        "since": since if ever else heartbeat.modified,
    }
    what = "was written"
    if heartbeat.stamp is not None:
        at, what = heartbeat.stamp, "beat"
    elif heartbeat.content.strip() and ever and not changed:
        at, what = min(since, heartbeat.modified), "changed its content"
    else:
        at = heartbeat.modified
    age = clock.age(at)
    component = _beat_of(heartbeat, f"in {path} {what}", age, within, young)
    return component, age, facts


def _beat_of(heartbeat: Heartbeat, what: str, age: float, within: float, young: bool) -> Component:
    path = heartbeat.path
    component = future(f"the heartbeat in {path}", age)
    if component:
        return component
    if age <= within or young:
        return ok("heartbeat", f"{what} {ago(max(0.0, age))} ago")
    text = f"{what} {ago(age)} ago (limit {ago(within)})"
    if heartbeat.filesystem:
        text += f"; its filesystem {heartbeat.filesystem}, the daemon itself may be healthy"
        return warning("heartbeat", text, f"df -h {path}; mount")
    return critical("heartbeat", text, f"ls -l {path}")


def _active(unit: Unit, monotonic: float) -> Component:
    """A unit's state and watchdog (systemd.service(5), WatchdogSec=; systemctl show)."""
    properties, name = unit.properties, safe(unit.name, 80)
    restart = f"systemctl status {name}; journalctl -u {name} -n 50"
    if properties is None:
        return unknown(
            "unit", f"cannot be judged, systemctl has no answer about {name}: {unit.trouble}"
        )
    if properties.get("LoadState") == "not-found":
        return unknown("unit", f"does not exist: {name}")
    active, sub = properties.get("ActiveState"), properties.get("SubState")
    if active not in ("active", "reloading"):
        return critical("unit", f"{name} is {active} ({sub})", restart)
    watchdog = properties.get("WatchdogUSec", "")
    try:
        limit = (
            units.duration(watchdog.replace("min", "m").replace(" ", ""))
            if watchdog not in ("", "0", "infinity")
            else 0.0
        )
        last = float(properties.get("WatchdogTimestampMonotonic") or 0) / 1e6
    except ValueError:
        limit = last = 0.0
    if not (limit and last):
        return ok("unit", f"{name} is active ({sub})")
    fed = ago(monotonic - last)
    if monotonic - last > limit:
        text = f"{name} last fed its watchdog {fed} ago (limit {ago(limit)})"
        return critical("unit", text, restart)
    return ok("unit", f"{name} is active ({sub}), watchdog fed {fed} ago")


def _advances(
    item: Progress,
    within: float,
    settings: MonitorSettings,
    clock: Clock,
    young: bool,
    before: Mapping[str, Any],
) -> tuple[Component, float | None, Mapping[str, Any]]:
    """Whether a number has risen within the time. A fall is a restart, not work: it re-bases.

    Returns the component, the seconds since the last advance, and what to remember.
    """
    if item.trouble:
        say = unknown if item.is_ours else critical
        return say("work", f"cannot be read, {item.source}: {item.trouble}"), None, before
    if item.at is not None:
        component, age = _dated(item.source, item.at, within, clock, young)
        return component, age, {}
    number = item.number or 0.0
    at = f"{item.source} at {units.say_number(number)}"
    if not before:
        facts = {"number": number, "since": clock.now, "ever": False}
        text = f"has no baseline yet: {at}, this is the first run"
        return Component("work", settings.learning, text), None, facts
    rose = number > float(before["number"])
    since = clock.now if rose else float(before["since"])
    ever = rose or bool(before.get("ever"))
    facts = {"number": number, "since": since, "ever": ever}
    age = clock.age(since)
    if age > within and not young:
        text = f"has stood still: {at} for {ago(age)} (limit {ago(within)})"
        return critical("work", text), age, facts
    if not ever:
        text = f"has no baseline yet: {at} for {ago(age)}"
        return Component("work", settings.learning, text), age, facts
    return ok("work", f"advanced {ago(age)} ago ({at})"), age, facts


def _dated(
    source: str, at: float, within: float, clock: Clock, young: bool
) -> tuple[Component, float | None]:
    """Work whose source knows when it was done, 0 for never; with its age."""
    age = clock.age(at)
    component = future(f"the newest work in {source}", age)
    if component:
        return component, age
    if age > within and not young:
        when = f"for {ago(age)}" if at else "at all"
        text = f"has stood still: {source} shows none {when} (limit {ago(within)})"
        return critical("work", text), age if at else None
    return ok("work", f"advanced {ago(max(0.0, age))} ago ({source})"), age

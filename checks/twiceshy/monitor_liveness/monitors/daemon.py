"""Any daemon: its process, heartbeat, answers, systemd unit, and the work that must advance.

CPU time proves nothing: a healthy daemon may use none for half a minute and a hung one may spin.
What proves work is a number that rises, for the day when everything looks alive and the jobs stand
still.
"""

from __future__ import annotations

import datetime
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

from twiceshy.kit import deadline, subprocesses, units
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import Measure, label, safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_limit,
    ago,
    asking,
    clock_organ,
    contact,
    dead,
    fine,
    poor,
    stopped_organ,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.processes import Process
from twiceshy.monitor_liveness.monitors.prometheus import parse_metrics

# State D is a disk wait; so many looks and seconds of nothing else are a hang.
STUCK_LOOKS, STUCK_SECONDS = 3, 30.0


@dataclass(frozen=True)
class Asked:
    """What an operator says about a daemon; everything is optional, but something must be said."""

    pidfile: str = ""
    process: str = ""
    heartbeat: str = ""
    heartbeat_within: float = 300.0
    health_url: str = ""
    answers: tuple[str, ...] = ()
    send: str = ""
    expect: str = ""
    unit: str = ""
    advances: tuple[str, ...] = ()
    within: float = 1800.0


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
            f"{safe(source, 60)!r} is no source; type json:PLACE#PATH, prom:PLACE#METRIC, "
            "file:PATH, newest:DIR, log:FILE or run:COMMAND"
        )
    place, _, part = rest.partition("#") if kind in ("json", "prom") else (rest, "", "")
    return kind, place, part


# What is seen


@dataclass(frozen=True)
class Progress:
    """A number that must rise, or the time of the last work where the source itself knows it."""

    source: str
    number: float | None = None
    at: float | None = None
    trouble: str = ""
    is_ours: bool = False


@dataclass(frozen=True)
class Beat:
    """A heartbeat file: time in its content, else None; its mtime; and a digest of the content."""

    path: str
    told: float | None = None
    modified: float = 0.0
    content: str = ""
    trouble: str = ""
    is_denied: bool = False
    filesystem: str = ""


@dataclass(frozen=True)
class Reply:
    """One thing that must answer."""

    where: str
    seconds: float | None = None
    trouble: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Sight:
    """One daemon in one look."""

    name: str
    asked: Asked
    processes: tuple[Process, ...] | None = None
    process_trouble: str = ""
    beat: Beat | None = None
    replies: tuple[Reply, ...] = ()
    progress: tuple[Progress, ...] = ()
    unit: Mapping[str, str] | None = None
    unit_trouble: str = ""
    monotonic: float = 0.0


def found(table: Sequence[Process]) -> list[Target]:
    return []


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    asked: Asked = target.asked or Asked()
    seen = Sight(target.name, asked, monotonic=time.clock_gettime(time.CLOCK_MONOTONIC))
    if asked.pidfile or asked.process:
        listed, trouble = _processes(asked, table)
        seen = replace(seen, processes=listed, process_trouble=trouble)
    if asked.heartbeat:
        seen = replace(seen, beat=_beat(asked.heartbeat))
    questions = [partial(_reply, where, asked, wishes) for where in asked.answers]
    if asked.health_url:
        questions.append(partial(_health, asked, wishes))
    sources = [partial(_progress, source, wishes) for source in asked.advances]
    replies, progress, (unit, trouble) = asking.at_once(
        [
            lambda: asking.at_once(questions),
            lambda: asking.at_once(sources),
            lambda: _unit(asked.unit),
        ]
    )
    return replace(
        seen,
        replies=tuple(replies),
        progress=tuple(progress),
        unit=unit,
        unit_trouble=trouble,
    )


def _processes(asked: Asked, table: Sequence[Process]) -> tuple[tuple[Process, ...], str]:
    if asked.pidfile:
        try:
            pid = int(Path(asked.pidfile).read_text("utf-8", "replace").split()[0])
        except PermissionError:
            raise CheckError(f"not allowed to read {asked.pidfile}") from None
        except OSError as error:
            return (), f"{asked.pidfile}: {error.strerror}"
        except (ValueError, IndexError):
            return (), f"{asked.pidfile} holds no pid"
        found = tuple(p for p in table if p.pid == pid)
        if not found:
            return (), f"pid {pid} of {asked.pidfile} does not exist"
        # A pid that was given to something else since says nothing about the daemon.
        if asked.process and not _is_called(found[0], asked.process):
            return (), f"pid {pid} of {asked.pidfile} is {safe(found[0].program, 40)} now"
        return found, ""
    listed = tuple(p for p in table if _is_called(p, asked.process))
    return listed, "" if listed else f"no process is called {asked.process}"


def _is_called(process: Process, name: str) -> bool:
    """By program or command name, never by a word among the arguments: an editor is no daemon.

    The second word counts where the first is an interpreter.
    """
    script = os.path.basename(process.argv[1]) if len(process.argv) > 1 else ""
    is_script = bool(
        re.match(r"(python|perl|ruby|node|java|php|sh|bash|dash)[\d.]*$", process.program)
    )
    return name in (process.program, process.name) or (is_script and script == name)


def _beat(path: str) -> Beat:
    try:
        with deadline.doing(f"reading {path}"), open(path, "rb") as stream:
            content = stream.read(4096).decode("utf-8", "replace")
            modified = os.fstat(stream.fileno()).st_mtime
        flags = os.statvfs(path)
    except PermissionError:
        return Beat(path, trouble=f"not allowed to read {path}", is_denied=True)
    except OSError as error:
        return Beat(path, trouble=f"{path}: {error.strerror}")
    filesystem = ""
    if flags.f_flag & os.ST_RDONLY:
        filesystem = "is read-only"
    elif flags.f_bavail == 0:
        filesystem = "is full"
    return Beat(path, parse_heartbeat(content), modified, content[:200], filesystem=filesystem)


def _reply(where: str, asked: Asked, wishes: Wishes) -> Reply:
    """Connecting proves nothing, the kernel does that: something must be said."""
    address: asking.Address
    if where.startswith("unix:"):
        address = where[5:]
    else:
        host, _, port = where.partition("://")[2].rpartition(":")
        try:
            address = (host.strip("[]"), int(port))
        except ValueError:
            raise CheckError(
                f"{where!r} is no socket; type tcp://HOST:PORT or unix:/PATH"
            ) from None
    expect = asked.expect.encode()
    send = asked.send.encode().decode("unicode_escape").encode("latin-1") if asked.send else b""
    try:
        answer = asking.converse(
            address, send, lambda said: bool(said) and expect in said, wishes.probe_seconds
        )
    except asking.Trouble as trouble:
        return Reply(where, trouble=trouble.told)
    if expect not in answer.body:
        return Reply(
            where,
            answer.seconds,
            ("strange", f"{where} says {safe(answer.text, 60)!r}, without {asked.expect!r}"),
        )
    return Reply(where, answer.seconds)


def _health(asked: Asked, wishes: Wishes) -> Reply:
    shown = asked.health_url.partition("?")[0]
    try:
        answer = contact.ask(asked.health_url, wishes)
    except asking.Trouble as trouble:
        return Reply(shown, trouble=trouble.told)
    if answer.status >= 300:
        return Reply(
            shown, answer.seconds, ("strange", f"HTTP {answer.status}: {safe(answer.text, 80)}")
        )
    if asked.expect not in answer.text:
        return Reply(
            shown,
            answer.seconds,
            ("strange", f"HTTP {answer.status}, but its body lacks {safe(asked.expect, 40)!r}"),
        )
    return Reply(shown, answer.seconds)


UNIT_PROPERTIES = "LoadState,ActiveState,SubState,WatchdogUSec,WatchdogTimestampMonotonic"


def _unit(unit: str) -> tuple[Mapping[str, str] | None, str]:
    if not unit:
        return None, ""
    try:
        ran = subprocesses.run(
            ["systemctl", "show", "--property", UNIT_PROPERTIES, "--", unit], timeout=5
        )
    except (OSError, subprocesses.NoAnswer) as error:
        return None, str(error)
    if ran.status != 0:
        return None, safe(ran.stderr or ran.stdout, 120)
    return dict(line.partition("=")[::2] for line in ran.stdout.splitlines()), ""


def _progress(source: str, wishes: Wishes) -> Progress:
    kind, place, part = split_source(source)
    shown = safe(source, 100)
    try:
        with deadline.doing(f"reading {shown}"):
            if kind == "newest":
                return Progress(shown, at=_newest_in(place))
            if kind == "log":
                return Progress(shown, at=os.stat(place).st_mtime)
            if kind == "run":
                ran = subprocesses.run(shlex.split(place), timeout=wishes.probe_seconds)
                if ran.status != 0:
                    return Progress(
                        shown, trouble=f"exit {ran.status}: {safe(ran.stderr or ran.stdout, 100)}"
                    )
                return Progress(shown, number=first_number(ran.stdout))
            text = _text_of(place, wishes)
            if kind == "json":
                return Progress(shown, number=json_number(text, part))
            if kind == "prom":
                return Progress(shown, number=metric_number(text, part))
            return Progress(shown, number=first_number(text))
    except asking.Trouble as trouble:
        return Progress(shown, trouble=trouble.text, is_ours=trouble.kind in ("login", "forbidden"))
    except PermissionError:
        return Progress(shown, trouble="not allowed to read it", is_ours=True)
    except OSError as error:
        return Progress(shown, trouble=error.strerror or str(error))
    except (ValueError, subprocesses.NoAnswer) as error:
        return Progress(shown, trouble=safe(str(error), 120))


def _newest_in(directory: str) -> float:
    """The newest mtime of the files of a directory; a directory without files says 0."""
    with os.scandir(directory) as entries:
        return max((e.stat().st_mtime for e in entries if e.is_file()), default=0.0)


def _text_of(place: str, wishes: Wishes) -> str:
    if not re.match(r"https?://", place):
        with open(place, "rb") as stream:
            return stream.read(asking.MOST_BYTES).decode("utf-8", "replace")
    return contact.page(place, wishes).text


# What it means


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    asked = seen.asked
    organs: list[Organ] = []
    measures: list[Measure] = []
    facts: dict[str, Any] = {}
    started: float | None = None
    absent = False
    if seen.processes is not None:
        if not seen.processes:
            absent = True
            organs.append(
                dead(
                    "process",
                    f"is not running: {seen.process_trouble}",
                    is_fleeting=True,
                    is_planned=True,
                )
            )
        else:
            started = clock.age(min(p.started for p in seen.processes))
            organ, facts["waiting"] = _alive(seen.processes, wishes, clock)
            organs.append(organ)
    is_young = contact.is_young(started, wishes)
    for reply in seen.replies:
        where = safe(reply.where, 80)
        if reply.trouble[0]:
            organs.append(
                unanswered(
                    *reply.trouble, next=f"curl -m 5 -i {where}" if where.startswith("http") else ""
                )
            )
        else:
            organs.append(
                fine("main loop", f"{where} answers in {(reply.seconds or 0) * 1000:.0f}ms")
            )
        measures.append(Measure(label(seen.name, "probe_time"), reply.seconds, "s", minimum=0))
    if seen.beat is not None:
        organ, age, facts["beat"] = _beating(seen.beat, asked, wishes, clock, is_young)
        organs.append(organ)
        measures.append(
            Measure(
                label(seen.name, "heartbeat_age"),
                age,
                "s",
                critical=age_limit(asked.heartbeat_within),
                minimum=0,
            )
        )
    if asked.unit:
        organs.append(_unit_organ(seen))
    progress: dict[str, Any] = {}
    for item in seen.progress:
        organ, age, progress[item.source] = _advancing(item, asked, wishes, clock, is_young)
        organs.append(organ)
        name = (
            label(seen.name, "advance_age")
            if len(seen.progress) == 1
            else label(item.source, "advance_age")
        )
        measures.append(Measure(name, age, "s", critical=age_limit(asked.within), minimum=0))
    if progress:
        facts["progress"] = progress
    # One probe_time is enough for a graph: the slowest.
    probes = [m for m in measures if m.label.endswith("_probe_time") and m.value is not None]
    measures = [m for m in measures if not m.label.endswith("_probe_time")]
    if probes:
        measures.append(max(probes, key=lambda m: m.value or 0.0))
    return Seen(seen.name, tuple(organs), tuple(measures), started, absent, facts)


def _alive(
    table: Sequence[Process], wishes: Wishes, clock: Clock
) -> tuple[Organ, Mapping[str, Any]]:
    """State T, Z or X is a fault at once; D only when nothing else was seen for some looks."""
    stopped = stopped_organ(table, "process")
    if stopped:
        return stopped, {}
    waiting = [p for p in table if p.state == "D"]
    if not waiting:
        pids = " ".join(str(p.pid) for p in table[:5])
        return fine("process", f"is there (pid {pids}, state {table[0].state})"), {}
    pid = waiting[0].pid
    before = wishes.remembered.get("waiting") or {}
    same = before.get("pid") == pid
    looks = int(before.get("looks", 0)) + 1 if same else 1
    since = float(before.get("since", clock.now)) if same else clock.now
    lasts = clock.age(since)
    facts = {"pid": pid, "looks": looks, "since": since}
    text = f"waits uninterruptibly (state D) for {ago(lasts)}, {looks} looks in a row: pid {pid}"
    next_step = f"cat /proc/{pid}/stack /proc/{pid}/wchan; dmesg | tail"
    if looks >= STUCK_LOOKS and lasts >= STUCK_SECONDS:
        return dead("process", text, next_step), facts
    if looks == 1:
        return fine("process", f"is there (pid {pid}), waiting for its disk"), facts
    return poor("process", text, next_step), facts


def _beating(
    beat: Beat, asked: Asked, wishes: Wishes, clock: Clock, is_young: bool
) -> tuple[Organ, float | None, Mapping[str, Any]]:
    """By the time in the content, else its change, else mtime: a cron's touch is no heartbeat."""
    before = wishes.remembered.get("beat") or {}
    if beat.trouble:
        if beat.is_denied:
            return unseen("heartbeat", f"cannot be read: {beat.trouble}"), None, before
        if is_young:
            return fine("heartbeat", f"is not there yet: {beat.trouble}"), None, before
        return dead("heartbeat", f"is missing: {beat.trouble}", f"ls -l {beat.path}"), None, before
    changed = bool(before) and before.get("content") != beat.content
    ever = bool(before.get("ever")) or changed
    since = clock.now if changed else float(before.get("since", beat.modified))
    facts = {"content": beat.content, "ever": ever, "since": since if ever else beat.modified}
    what = "was written"
    if beat.told is not None:
        at, what = beat.told, "beat"
    elif beat.content.strip() and ever and not changed:
        at, what = min(since, beat.modified), "changed its content"
    else:
        at = beat.modified
    age = clock.age(at)
    future = clock_organ(f"the heartbeat in {beat.path}", age)
    if future:
        return future, age, facts
    if age > asked.heartbeat_within and not is_young:
        text = f"in {beat.path} {what} {ago(age)} ago (limit {ago(asked.heartbeat_within)})"
        if beat.filesystem:
            return (
                poor(
                    "heartbeat",
                    f"{text}; its filesystem {beat.filesystem}, the daemon may be well",
                    f"df -h {beat.path}; mount",
                ),
                age,
                facts,
            )
        return dead("heartbeat", text, f"ls -l {beat.path}"), age, facts
    return fine("heartbeat", f"in {beat.path} {what} {ago(max(0.0, age))} ago"), age, facts


def _unit_organ(seen: Sight) -> Organ:
    unit, name = seen.unit, safe(seen.asked.unit, 80)
    restart = f"systemctl status {name}; journalctl -u {name} -n 50"
    if unit is None:
        return unseen(
            "unit", f"cannot be judged, systemctl does not tell about {name}: {seen.unit_trouble}"
        )
    if unit.get("LoadState") == "not-found":
        return unseen("unit", f"does not exist: {name}")
    if unit.get("ActiveState") not in ("active", "reloading"):
        return dead(
            "unit", f"{name} is {unit.get('ActiveState')} ({unit.get('SubState')})", restart
        )
    watchdog = unit.get("WatchdogUSec", "")
    try:
        limit = (
            units.duration(watchdog.replace("min", "m").replace(" ", ""))
            if watchdog not in ("", "0", "infinity")
            else 0.0
        )
        last = float(unit.get("WatchdogTimestampMonotonic") or 0) / 1e6
    except ValueError:
        limit = last = 0.0
    if limit and last and seen.monotonic - last > limit:
        return dead(
            "unit",
            f"{name} last fed its watchdog {ago(seen.monotonic - last)} ago (limit {ago(limit)})",
            restart,
        )
    fed = f", watchdog fed {ago(seen.monotonic - last)} ago" if limit and last else ""
    return fine("unit", f"{name} is active ({unit.get('SubState')}){fed}")


def _advancing(
    item: Progress, asked: Asked, wishes: Wishes, clock: Clock, is_young: bool
) -> tuple[Organ, float | None, Mapping[str, Any]]:
    """Whether a number has risen within the time. A fall is a restart, not work: it re-bases."""
    before = (wishes.remembered.get("progress") or {}).get(item.source) or {}
    if item.trouble:
        say = unseen if item.is_ours else dead
        return say("work", f"cannot be seen, {item.source}: {item.trouble}"), None, before
    if item.at is not None:
        age = clock.age(item.at)
        future = clock_organ(f"the newest work in {item.source}", age)
        if future:
            return future, age, {}
        if age > asked.within and not is_young:
            when = f"for {ago(age)}" if item.at else "at all"
            return (
                dead(
                    "work",
                    f"stands still: {item.source} shows none {when} (limit {ago(asked.within)})",
                ),
                age if item.at else None,
                {},
            )
        return fine("work", f"advanced {ago(max(0.0, age))} ago ({item.source})"), age, {}
    number = item.number or 0.0
    told = units.say_number(number)
    if not before:
        facts = {"number": number, "since": clock.now, "ever": False}
        return (
            Organ(
                "work",
                wishes.learning,
                f"is still to be learned: {item.source} at {told}, the first look",
            ),
            None,
            facts,
        )
    rose = number > float(before["number"])
    since = clock.now if rose else float(before["since"])
    ever = rose or bool(before.get("ever"))
    facts = {"number": number, "since": since, "ever": ever}
    age = clock.age(since)
    if age > asked.within and not is_young:
        return (
            dead(
                "work",
                f"stands still: {item.source} at {units.say_number(number)} for {ago(age)} "
                f"(limit {ago(asked.within)})",
            ),
            age,
            facts,
        )
    if not ever:
        return (
            Organ(
                "work",
                wishes.learning,
                f"is still to be learned: {item.source} at {told} for {ago(age)}",
            ),
            age,
            facts,
        )
    return (
        fine("work", f"advanced {ago(age)} ago ({item.source} at {units.say_number(number)})"),
        age,
        facts,
    )

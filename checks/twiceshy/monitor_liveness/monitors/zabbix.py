"""Zabbix agent and server, in their own protocol (Zabbix manual, appendix "Protocols").

agent.ping proves the agent's passive half only. A server or proxy answers `zabbix.stats` to the
hosts of its StatsAllowedIP; some of its items are costly, so it is one question a run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Seen,
    Target,
    Wishes,
    age_measures,
    asking,
    dead,
    fine,
    poor,
    processes,
    unanswered,
    unseen,
)
from twiceshy.monitor_liveness.monitors.contact import expected, halted
from twiceshy.monitor_liveness.monitors.processes import Process

AGENT_PORT, SERVER_PORT = 10050, 10051
BUSY_PERCENT = 95.0


def packet(text: str) -> bytes:
    """`ZBXD`, flags 1, length, reserved, data."""
    raw = text.encode()
    return b"ZBXD\x01" + struct.pack("<II", len(raw), 0) + raw


def is_whole(received: bytes) -> bool:
    return len(received) >= 13 and len(received) >= 13 + struct.unpack("<I", received[5:9])[0]


def parse_packet(received: bytes) -> str:
    """The data of a packet; Trouble when it is not one."""
    if received[:4] != b"ZBXD" or not is_whole(received):
        raise asking.Trouble("strange", "the answer is not in Zabbix' protocol")
    return received[13:].decode("utf-8", "replace")


def parse_stats(text: str) -> Mapping[str, Any]:
    """The answer to zabbix.stats; Trouble when it is refused or no such answer."""
    with expected("the answer is not that of zabbix.stats"):
        answer = json.loads(text)
        if answer.get("response") != "success":
            raise asking.Trouble("forbidden", f"zabbix.stats is refused: {answer.get('info', '')}")
        return dict(answer["data"])


@dataclass(frozen=True)
class Sight:
    """One Zabbix agent or server in one look."""

    name: str
    kind: str
    address: str
    probe_seconds: float | None = None
    trouble: tuple[str, str] = ("", "")
    ping: str = ""
    stats: Mapping[str, Any] | None = None
    main: Process | None = None


AGENTS = ("zabbix_agent2", "zabbix_agentd")
SERVERS = ("zabbix_server", "zabbix_proxy")


def found(table: Sequence[Process]) -> list[Target]:
    pids = {p.pid for p in table if p.name.startswith("zabbix_")}
    targets = []
    for process in table:
        name = process.program.partition(":")[0].split()[0] if process.program else ""
        if name not in AGENTS + SERVERS or process.parent in pids:
            continue
        config = processes.option_of(process.argv, "-c", "--config")
        is_agent = name in AGENTS
        targets.append(
            Target(
                kind="zabbix-agent" if is_agent else "zabbix-server",
                name="zabbix-agent" if is_agent else "zabbix-server",
                port=_port(config, AGENT_PORT if is_agent else SERVER_PORT),
                config=Path(config) if config else None,
                main=process,
                processes=tuple(processes.family_of(process.pid, table)),
            )
        )
    return targets


def _port(config: str, default: int) -> int:
    try:
        for line in Path(config).read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "ListenPort":
                return int(value)
    except (OSError, ValueError):
        pass
    return default


def sight(target: Target, wishes: Wishes, table: Sequence[Process]) -> Sight:
    is_agent = target.kind == "zabbix-agent"
    port = target.port or (
        _port(str(target.config), AGENT_PORT if is_agent else SERVER_PORT)
        if target.config
        else AGENT_PORT
        if is_agent
        else SERVER_PORT
    )
    address = (target.host or "127.0.0.1", port)
    question = "agent.ping" if is_agent else json.dumps({"request": "zabbix.stats"})
    seen = Sight(target.name, target.kind, asking.named(address), main=target.main)
    try:
        answer = asking.converse(address, packet(question), is_whole, wishes.probe_seconds)
        text = parse_packet(answer.body)
        stats = None if is_agent else parse_stats(text)
    except asking.Trouble as trouble:
        return replace(seen, trouble=trouble.told)
    return replace(seen, probe_seconds=answer.seconds, ping=text, stats=stats)


def judged(seen: Sight, wishes: Wishes, clock: Clock) -> Seen:
    organs = halted(seen.main)
    restart = f"journalctl -u '{seen.kind}*' -n 50"
    measures = age_measures(seen.name, None, None, seen.probe_seconds)
    started = clock.age(seen.main.started) if seen.main else None
    kind, text = seen.trouble
    if kind == "closed":
        # It hangs up on hosts that are not in its list.
        option = "Server" if seen.kind == "zabbix-agent" else "StatsAllowedIP"
        organs.append(
            unseen("main loop", f"cannot be asked: {text}; is this host in its {option}=?")
        )
    elif kind:
        organs.append(unanswered(kind, text, restart))
    elif seen.kind == "zabbix-agent":
        if seen.ping.strip() == "1":
            organs.append(
                fine("main loop", f"answers agent.ping in {(seen.probe_seconds or 0) * 1000:.0f}ms")
            )
        else:
            organs.append(dead("main loop", "answers, but not 1 to agent.ping", restart))
    else:
        organs += _server(seen.stats or {}, restart)
        boot = (seen.stats or {}).get("boottime")
        started = clock.age(float(boot)) if boot else started
    return Seen(seen.name, tuple(organs), measures, started=started)


def _server(stats: Mapping[str, Any], restart: str) -> list[Organ]:
    organs = [fine("main loop", "answers zabbix.stats")]
    busy = []
    for kind, process in (stats.get("process") or {}).items():
        try:
            percent = float(process["busy"]["avg"])
        except (KeyError, TypeError, ValueError):
            continue
        if percent >= BUSY_PERCENT:
            busy.append((percent, kind))
    if busy:
        percent, kind = max(busy)
        organs.append(
            poor(
                "executor",
                f"falls behind: all {kind} processes are {percent:.0f}% busy",
                restart,
            )
        )
    else:
        organs.append(fine("executor", "keeps up: no process type is busy all the time"))
    free = ((stats.get("wcache") or {}).get("history") or {}).get("pfree")
    if free is not None and float(free) < 5:
        organs.append(
            dead(
                "writes",
                f"do not reach the database: {float(free):.1f}% of the history cache is free",
                restart,
            )
        )
    return organs

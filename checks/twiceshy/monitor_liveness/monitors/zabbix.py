"""Zabbix agent and server, in their own protocol (Zabbix manual, appendix "Protocols").

agent.ping proves the agent's passive half only. A server or proxy answers `zabbix.stats` to the
hosts of its StatsAllowedIP; some of its items are costly, so it is one question per run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twiceshy.kit import http
from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import (
    NO_HISTORY,
    Clock,
    Component,
    Health,
    critical,
    milliseconds,
    ok,
    unknown,
    warning,
)
from twiceshy.monitor_liveness.monitors import answers, processes, sockets
from twiceshy.monitor_liveness.monitors.targets import Target
from twiceshy.monitor_liveness.settings import MonitorSettings

AGENT_PORT, SERVER_PORT = 10050, 10051
BUSY_PERCENT = 95.0


def packet(text: str) -> bytes:
    """`ZBXD`, flags 1, length, reserved, data."""
    raw = text.encode()
    return b"ZBXD\x01" + len(raw).to_bytes(4, "little") + bytes(4) + raw


def is_whole(received: bytes) -> bool:
    """Whether all bytes that the header announces have come."""
    return len(received) >= 13 + int.from_bytes(received[5:9], "little")


def parse_packet(received: bytes) -> str:
    """The data of a packet; Malformed when it is not one."""
    if received[:4] != b"ZBXD" or not is_whole(received):
        raise http.Malformed("the answer is not in Zabbix' protocol")
    return received[13:].decode("utf-8", "replace")


def parse_stats(text: str) -> Mapping[str, Any]:
    """The answer to zabbix.stats; Forbidden when it is refused, else Malformed."""
    with answers.expected("the answer is not that of zabbix.stats"):
        answer = json.loads(text)
        if answer.get("response") != "success":
            raise http.Forbidden(f"zabbix.stats is refused: {answer.get('info', '')}")
        return dict(answer["data"])


@dataclass(frozen=True)
class Observation(answers.MonitorObservation):
    """One Zabbix agent (its answer to agent.ping) or server (its statistics)."""

    kind: str = ""
    ping: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)


AGENTS = ("zabbix_agent2", "zabbix_agentd")
SERVERS = ("zabbix_server", "zabbix_proxy")


def found(table: Sequence[Process]) -> list[Target]:
    """Every Zabbix agent, server and proxy of this host, by its process."""
    pids = {p.pid for p in table if p.comm.startswith("zabbix_")}
    targets = []
    for process in table:
        name = process.program.partition(":")[0].split()[0] if process.program else ""
        if name not in AGENTS + SERVERS or process.ppid in pids:
            continue
        config = processes.option_of(process.cmdline, "-c", "--config")
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


def observe(
    target: Target,
    settings: MonitorSettings,
    table: Sequence[Process],
    history: Mapping[str, Any] = NO_HISTORY,
) -> Observation:
    """Ask once, in Zabbix' own protocol."""
    is_agent = target.kind == "zabbix-agent"
    default = AGENT_PORT if is_agent else SERVER_PORT
    port = target.port or (_port(str(target.config), default) if target.config else default)
    address = (target.host or "127.0.0.1", port)
    question = "agent.ping" if is_agent else json.dumps({"request": "zabbix.stats"})

    def asking(empty: Observation) -> Observation:
        answer = sockets.converse(address, packet(question), is_whole, settings.probe_seconds)
        text = parse_packet(answer.body)
        stats = {} if is_agent else parse_stats(text)
        return answers.answered_by(empty, answer, ping=text, stats=stats)

    return answers.observed(Observation(target.name, main=target.main, kind=target.kind), asking)


def judge(
    observation: Observation,
    settings: MonitorSettings,
    clock: Clock,
    history: Mapping[str, Any] = NO_HISTORY,
) -> Health:
    """Every component of what was observed, with what is remembered of the last run."""
    components = answers.halted(observation.main)
    restart = f"journalctl -u '{observation.kind}*' -n 50"
    started = answers.process_age(observation, clock)
    is_agent = observation.kind == "zabbix-agent"
    failure = observation.failure
    if isinstance(failure, http.Closed):
        # It hangs up on hosts that are not in its list.
        option = "Server" if is_agent else "StatsAllowedIP"
        components.append(
            unknown("main loop", f"cannot be queried: {failure}; is this host in its {option}=?")
        )
    elif failure:
        components.append(answers.unanswered(failure, restart))
    elif not is_agent:
        components += _server(observation.stats, restart)
        boot = observation.stats.get("boottime")
        started = clock.age(float(boot)) if boot else started
    elif observation.ping.strip() == "1":
        took = milliseconds(observation.seconds)
        components.append(ok("main loop", f"answers agent.ping in {took}"))
    else:
        components.append(critical("main loop", "answers, but not 1 to agent.ping", restart))
    return answers.health(observation, components, started=started)


def _server(stats: Mapping[str, Any], restart: str) -> list[Component]:
    components = [ok("main loop", "answers zabbix.stats")]
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
        text = f"falls behind: all {kind} processes are {percent:.0f}% busy"
        components.append(warning("executor", text, restart))
    else:
        components.append(ok("executor", "keeps up: no process type is busy all the time"))
    free = ((stats.get("wcache") or {}).get("history") or {}).get("pfree")
    if free is not None and float(free) < 5:
        components.append(
            critical(
                "writes",
                f"do not reach the database: {float(free):.1f}% of the history cache is free",
                restart,
            )
        )
    return components

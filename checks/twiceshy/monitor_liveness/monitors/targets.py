"""Instances of monitors: which kinds there are, which run here, and where to ask each."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import Component
from twiceshy.monitor_liveness.settings import DaemonSettings

# What an operator may give to --monitor, and the module that knows the monitor.
KNOWN: Mapping[str, str] = {
    "nagios": "nagios",
    "naemon": "nagios",
    "icinga2": "icinga2",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "monit": "monit",
    "collectd": "collectd",
    "zabbix-agent": "zabbix",
    "zabbix-server": "zabbix",
    "sensu-backend": "sensu_go",
    "sensu-agent": "sensu_go",
    "sensu-client": "sensu_classic",
    "sensu-api": "sensu_classic",
    "telegraf": "telegraf",
    "newrelic": "newrelic",
    "checkmk-agent": "checkmk",
    "daemon": "daemon",
}

# What stands in the command name or the first two words of a command line if a module's monitor
# may be running: on most hosts most modules need not be imported.
MARKS: Mapping[str, tuple[str, ...]] = {
    "nagios": ("nagios", "naemon"),
    "icinga2": ("icinga2",),
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager",),
    "monit": ("monit",),
    "collectd": ("collectd",),
    "zabbix": ("zabbix_",),
    "sensu_go": ("sensu-",),
    "sensu_classic": ("sensu-",),
    "telegraf": ("telegraf",),
    "newrelic": ("newrelic-infra",),
    "checkmk": ("cmk-agent-ctl",),
}


@dataclass(frozen=True)
class Target:
    """One instance of a monitor, and where to ask it."""

    kind: str
    name: str
    url: str = ""
    host: str = ""
    port: int = 0
    config: Path | None = None
    socket: str = ""
    main: Process | None = None
    processes: tuple[Process, ...] = ()
    daemon: DaemonSettings | None = None

    @property
    def is_local(self) -> bool:
        """Whether the process table of this host can say anything about it."""
        return self.main is not None or bool(self.processes) or self.config is not None

    @property
    def is_located(self) -> bool:
        """Whether the operator says where to ask; else that is a guess of ours."""
        return bool(self.url or self.host or self.port or self.socket)

    @property
    def identity(self) -> str:
        """What stays the same when others come and go: its kind and configuration."""
        return f"{self.kind} {self.config or self.url or self.port or ''}".rstrip()

    @property
    def remote_host(self) -> str:
        """The host that is asked over the network; "" for this one."""
        if self.is_local:
            return ""
        asked = self.host
        if self.url:
            from urllib.parse import urlsplit

            asked = urlsplit(self.url).hostname or ""
        return "" if asked in ("127.0.0.1", "::1", "localhost") else asked


def module_of(kind: str) -> Any:
    """The module that knows a kind of monitor, imported when it is needed."""
    return importlib.import_module(f"twiceshy.monitor_liveness.monitors.{KNOWN[kind]}")


def found(processes: Sequence[Process]) -> list[Target]:
    """Every monitor that runs on this host, in the order of KNOWN, by its processes."""
    targets: list[Target] = []
    words = " ".join(word for each in processes for word in (each.comm, *each.cmdline[:2]))
    for module, marks in MARKS.items():
        if any(mark in words for mark in marks):
            targets += importlib.import_module(
                f"twiceshy.monitor_liveness.monitors.{module}"
            ).found(processes)
    return with_distinct_names(targets)


def with_distinct_names(targets: Sequence[Target]) -> list[Target]:
    """Two Nagioses on a host become nagios and nagios-2, in the order of their configurations."""
    count: dict[str, int] = {}
    distinct: list[Target] = []
    # By configuration and not by pid, or a restart would exchange two names, and their graphs.
    for target in sorted(targets, key=lambda t: (list(KNOWN).index(t.kind), str(t.config), t.url)):
        count[target.name] = number = count.get(target.name, 0) + 1
        distinct.append(replace(target, name=f"{target.name}-{number}") if number > 1 else target)
    return distinct


def instance(
    kind: str, process: Process, *, url: str = "", port: int = 0, config: str = ""
) -> Target:
    """The target that one process is, called by its kind."""
    return Target(
        kind=kind,
        name=kind,
        url=url,
        port=port,
        config=Path(config) if config else None,
        main=process,
        processes=(process,),
    )


def config_of(target: Target, usual: Sequence[str]) -> str:
    """The target's configuration file, else the first usual one that exists, else ""."""
    if target.config:
        return str(target.config)
    return next((path for path in usual if os.path.exists(path)), "")


def typed_there(component: Component, host: str) -> Component:
    """A component whose next command says on which host to type it; "" is this one."""
    if not host or not component.next or component.next_is_here:
        return component
    return replace(component, next=f"on {host}: {component.next}")

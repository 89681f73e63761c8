"""The command line of check_monitor_liveness, typed and made once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twiceshy.kit import http
from twiceshy.kit import options as opt
from twiceshy.kit.patterns import Pattern, selected
from twiceshy.kit.plugin import OK, CheckError, State
from twiceshy.kit.verdict import safe


@dataclass(frozen=True)
class MonitorSettings:
    """How to ask a monitor, and the limits to judge it by. Seconds; `silence` None: derive it."""

    probe_seconds: float = 3.0
    user: str = ""
    password: str = ""
    token: str = ""
    ca_file: str = ""
    tls_name: str = ""
    insecure: bool = False
    pulse: str = ""
    canary: str = ""
    namespace: str = "default"
    watchdog: str = ""
    intervals: float = 2.0
    silence: float | None = None
    startup_grace: float = 120.0
    learning: State = OK


@dataclass(frozen=True)
class DaemonSettings:
    """What an operator says about any daemon; all is optional, but something must be said."""

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


@dataclass(frozen=True)
class MaintenanceSettings:
    """The file that declares planned work, and how old it may be in seconds."""

    path: Path | None = None
    limit: float = 4 * 3600.0


@dataclass(frozen=True)
class OutwardSettings:
    """Whom to tell that all is well. The secret in `url_file` is read only when it is."""

    url: str = ""
    url_file: Path | None = None
    file: Path | None = None
    seconds: float = 3.0


@dataclass(frozen=True)
class Settings:
    """A run of the check. `kind` is "" for all the monitors that run on this host."""

    kind: str
    name: str
    config: Path | None
    host: str
    port: int
    url: str
    socket: str
    daemon: DaemonSettings
    include: Sequence[Pattern]
    exclude: Sequence[Pattern]
    monitor: MonitorSettings
    missing: State
    maintenance: MaintenanceSettings
    outward: OutwardSettings
    state_dir: Path | None

    @property
    def endpoint(self) -> str:
        """Where a monitor is asked that need not be on this host; "" when it is."""
        return f"{self.url or self.host}:{self.port or ''}" if self.url or self.host else ""

    def selects(self, name: str) -> bool:
        """Whether --include and --exclude select a monitor of this name."""
        return selected(name, self.include, self.exclude)


# Options that describe a daemon, and so mean --monitor daemon.
DAEMON_OPTIONS = (
    "pidfile",
    "process",
    "heartbeat",
    "answers",
    "unit",
    "advances",
    "expect",
    "send",
)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of a command line; CheckError for what contradicts itself or is unreadable."""
    kind = _kind(args)
    if args.ca_file and not os.access(args.ca_file, os.R_OK):
        raise CheckError(f"cannot read --ca-file {args.ca_file}")
    password = opt.secret(args.password_file, "TWICESHY_PASSWORD") if args.user else ""
    if args.user and not password:
        raise CheckError("--user needs its password, from --password-file or $TWICESHY_PASSWORD")
    return Settings(
        kind=kind,
        name=args.name or "",
        config=args.config,
        host=args.host or "",
        port=args.port or 0,
        url=args.url or "",
        socket=args.socket or "",
        daemon=_daemon(args),
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        monitor=MonitorSettings(
            probe_seconds=args.probe_timeout,
            user=args.user or "",
            password=password or "",
            token=opt.secret(args.token_file, "TWICESHY_TOKEN") or "",
            ca_file=args.ca_file or "",
            tls_name=args.tls_name or "",
            insecure=args.insecure,
            pulse=args.pulse,
            canary=args.canary,
            namespace=args.namespace,
            watchdog=args.watchdog,
            intervals=args.intervals,
            silence=args.silence,
            startup_grace=args.startup_grace,
            learning=args.learning,
        ),
        missing=args.missing,
        maintenance=MaintenanceSettings(args.maintenance, args.maintenance_max),
        outward=OutwardSettings(
            args.ping_url or "", args.ping_url_file, args.ping_file, args.probe_timeout
        ),
        state_dir=args.state_dir,
    )


def _kind(args: argparse.Namespace) -> str:
    """The kind of monitor that is meant, `daemon` where only that makes sense; else CheckError."""
    about_daemon = [name for name in DAEMON_OPTIONS if getattr(args, name)]
    kind = args.monitor or ("daemon" if about_daemon else "")
    if about_daemon and kind != "daemon":
        raise CheckError(f"--{about_daemon[0]} is for --monitor daemon, not {kind}")
    if kind == "daemon" and not (about_daemon or args.url):
        raise CheckError(
            "--monitor daemon needs something to check: --pidfile, --process, --heartbeat, "
            "--url, --answers, --unit or --advances"
        )
    for name in ("host", "port", "url", "socket", "config", "name", "pulse", "canary"):
        if getattr(args, name) and not kind:
            raise CheckError(f"--{name} needs --monitor, to know what to expect there")
    if args.socket and kind not in ("collectd", "monit"):
        raise CheckError(f"--socket is for --monitor collectd and monit, not {kind}")
    if args.url and not http.is_url(args.url):
        raise CheckError(
            f"--url {safe(args.url, 80)} is not a URL; type http://HOST:PORT or https://..."
        )
    return str(kind)


def _daemon(args: argparse.Namespace) -> DaemonSettings:
    return DaemonSettings(
        pidfile=args.pidfile or "",
        process=args.process or "",
        heartbeat=args.heartbeat or "",
        heartbeat_within=args.heartbeat_within,
        health_url=args.url or "",
        answers=tuple(args.answers),
        send=args.send or "",
        expect=args.expect or "",
        unit=args.unit or "",
        advances=tuple(args.advances),
        within=args.within,
    )

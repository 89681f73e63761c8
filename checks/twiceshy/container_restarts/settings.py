"""What the operator has typed, as values."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from twiceshy.container_restarts.judgement import Rules
from twiceshy.container_restarts.selection import Selection
from twiceshy.kit.patterns import Pattern
from twiceshy.kit.plugin import CRITICAL, State


@dataclass(frozen=True)
class Settings:
    """One run's settings; durations are in seconds.

    `docker_host` and `cert_path` are None where docker's own variables, or the usual sockets, are
    to tell. `services`: judge these services of a swarm instead of containers. `log_lines`: how
    many lines of the log to show of each of the worst `logs_shown` containers.
    """

    docker_host: str | None
    cert_path: Path | None
    selection: Selection
    services: tuple[Pattern, ...]
    rules: Rules
    missing: State = CRITICAL
    log_lines: int = 1
    state_dir: Path | None = None
    timeout: float = 10.0
    verbose: int = 0

    @property
    def logs_shown(self) -> int:
        """Of how many containers the log is shown."""
        return (5 if self.verbose else 1) if self.log_lines else 0


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings on a parsed command line."""
    return Settings(
        docker_host=args.docker_host,
        cert_path=args.cert_path,
        selection=Selection(
            include=tuple(args.include),
            exclude=tuple(args.exclude),
            labels=tuple(args.label),
            compose=tuple(args.compose),
            images=tuple(args.image),
            group_by=args.group_by,
        ),
        services=tuple(args.service),
        rules=Rules(
            window=args.window,
            warning=args.warning,
            critical=args.critical,
            grace=args.grace,
            maybe_stopped=args.stopped_by_hand,
            unhealthy=args.unhealthy,
            paused=args.paused,
            oneshot_failures=args.oneshot_failures,
        ),
        missing=args.missing,
        log_lines=args.log_lines,
        state_dir=args.state_dir,
        timeout=args.timeout,
        verbose=args.verbose,
    )

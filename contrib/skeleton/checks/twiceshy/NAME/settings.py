"""What the operator asked for, read from the command line once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twiceshy.kit.limits import Limit

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

# FILL ME IN: what is checked without options, and what the options come to.
FILES = ("/run/nologin", "/etc/nologin")


@dataclass(frozen=True)
class Limits:
    """-w and -c, in seconds for which logins have been refused."""

    warning: Limit
    critical: Limit


@dataclass(frozen=True)
class Settings:
    """One run of the check."""

    files: tuple[str, ...]
    limits: Limits
    state_dir: Path | None
    timeout: float
    verbose: int


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that a command line comes to."""
    return Settings(
        tuple(args.file) or FILES,
        Limits(args.warning, args.critical),
        args.state_dir,
        args.timeout,
        args.verbose,
    )

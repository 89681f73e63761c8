"""What the command line asks for, as values."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twiceshy.kit.limits import Limit
from twiceshy.log_rotation.faults import Fault
from twiceshy.log_rotation.logrotate.codes import CODES
from twiceshy.log_rotation.logrotate.grammar import Version

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True)
class Where:
    """Where this host keeps its logs and logrotate's files."""

    config: str = "/etc/logrotate.conf"
    state_file: str = ""
    """Empty: as the schedule or the program itself says."""
    log_dirs: tuple[str, ...] = ("/var/log",)
    version: Version | None = None
    """None: that of the installed logrotate."""
    docker: bool | None = None
    """None: ask the engine if its socket may be used."""


@dataclass(frozen=True)
class Limits:
    """What is worth a finding."""

    warning: Limit | None = None
    """For the seconds since the last completed run."""
    critical: Limit | None = None
    big: float = 100 * 1024.0**2
    """Bytes from which on a log that is not rotated, bounded or closed counts."""


@dataclass(frozen=True)
class Ignore:
    """--ignore CODE[:GLOB]."""

    code: str
    pattern: str = "*"

    def covers(self, fault: Fault) -> bool:
        """Whether it has this code and a subject, file or further log that the glob matches."""
        return self.code == fault.code and (
            self.pattern == "*"
            or any(fnmatch.fnmatchcase(one, self.pattern) for one in fault.names)
        )


@dataclass(frozen=True)
class Settings:
    """All that the command line says."""

    where: Where
    limits: Limits
    ignore: tuple[Ignore, ...] = ()
    explain: str = ""
    """The log to explain, instead of the findings."""
    state_dir: str = ""
    """Empty: the first of the usual directories that is safe."""
    timeout: float = 10.0
    verbose: int = 0

    def kept(self, faults: Iterable[Fault]) -> list[Fault]:
        """The faults that no --ignore covers."""
        return [one for one in faults if not any(rule.covers(one) for rule in self.ignore)]


def ignored(typed: str) -> Ignore:
    """Of "CODE" or "CODE:GLOB"; ValueError with a guess for a code that there is not."""
    code, colon, pattern = typed.partition(":")
    if code not in CODES:
        import difflib

        guess = difflib.get_close_matches(code, CODES, 1, 0.5)
        raise ValueError(
            f"{code!r} is not the code of a finding"
            + (f"; did you mean {guess[0]!r}?" if guess else "")
        )
    return Ignore(code, pattern if colon else "*")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings, from the command line as it was parsed."""
    return Settings(
        Where(
            args.config,
            args.state_file or "",
            tuple(args.log_dir or ("/var/log",)),
            args.logrotate_version,
            args.docker,
        ),
        Limits(args.warning, args.critical, args.big),
        tuple(args.ignore),
        args.explain or "",
        str(args.state_dir or ""),
        args.timeout,
        max(args.verbose, 1 if args.explain else 0),
    )

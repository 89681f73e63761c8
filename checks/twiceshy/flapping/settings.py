"""What the command line asks for: which daemons, and how much is too much."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from twiceshy.flapping.service import NO_SUPERVISOR, Service, long, short
from twiceshy.kit.limits import Limit
from twiceshy.kit.patterns import Pattern, selected
from twiceshy.kit.plugin import CRITICAL, OK, CheckError, State
from twiceshy.kit.verdict import safe


@dataclass(frozen=True)
class User:
    """An owner of processes, as typed and by number."""

    typed: str
    uid: int


@dataclass(frozen=True)
class Watch:
    """Which process is meant: by pid file, program, command line, owner; all that are given."""

    name: str
    pidfile: str = ""
    program: Pattern | None = None
    cmdline: Pattern | None = None
    uid: int | None = None
    user: str = ""  # of a watch that names nothing but its owner


@dataclass(frozen=True)
class Selection:
    """Which daemons are asked for."""

    services: tuple[Pattern, ...] = ()
    include: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()
    supervisors: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # service directories, sockets, URLs, configuration files
    watches: tuple[Watch, ...] = ()

    @property
    def exact_names(self) -> tuple[str, ...]:
        """Services asked for by name: they must exist."""
        return tuple(p.typed for p in self.services if _is_exact(p))

    @property
    def only_exact(self) -> bool:
        """Whether nothing but these names is asked for, so that nothing else need be read."""
        return len(self.exact_names) == len(self.services) and not self.include

    @property
    def by_supervisor(self) -> bool:
        """Whether supervisors are to be asked, and not watched processes alone."""
        return bool(not self.watches or self.services or self.include or self.supervisors)

    def wants(self, name: str) -> bool:
        """Whether a service is asked for, under its short name or with the unit's suffix."""
        include = (*self.services, *self.include)
        return selected(name, include, self.exclude, long(name))

    def names(self, service: Service) -> bool:
        """Whether it is asked for by name, and so must be there."""
        return service.supervisor == NO_SUPERVISOR or any(
            short(name) == service.name for name in self.exact_names
        )

    @property
    def signature(self) -> str:
        """The same for every run that asks for the same services."""
        parts = [
            *(f"s{p.typed}" for p in self.services),
            *(f"i{p.typed}" for p in self.include),
            *(f"x{p.typed}" for p in self.exclude),
            *(f"v{name}" for name in self.supervisors),
            *(f"p{address}" for address in self.addresses),
            *(f"w{watch}" for watch in self.watches),
        ]
        return "\x1f".join(parts)


@dataclass(frozen=True)
class Limits:
    """How much is too much."""

    warning: Limit | None
    critical: Limit | None
    window: float = 900.0  # seconds
    count_all: bool = False
    clean_exit_ok: bool = False
    missing: State = CRITICAL
    learning: State = OK


@dataclass(frozen=True)
class Settings:
    """Everything that the command line says about what to observe and how to judge it."""

    selection: Selection
    limits: Limits
    log_lines: int = 3


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of a parsed command line; CheckError for combinations that make no sense."""
    addresses = (*args.service_dir, *args.socket)
    if addresses and len(set(args.supervisor)) != 1:
        raise CheckError("--service-dir and --socket need exactly one --supervisor")
    selection = Selection(
        services=tuple(args.service),
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        supervisors=tuple(dict.fromkeys(args.supervisor)),
        addresses=addresses,
        watches=watches(args.pidfile, args.process, args.cmdline, args.user),
    )
    limits = Limits(
        warning=args.warning,
        critical=args.critical,
        window=args.window,
        count_all=args.count == "all",
        clean_exit_ok=args.clean_exit_ok,
        missing=args.missing,
        learning=args.learning,
    )
    return Settings(selection, limits, args.log_lines)


def watches(
    pidfiles: Sequence[str],
    programs: Sequence[Pattern],
    cmdlines: Sequence[Pattern],
    user: User | None,
) -> tuple[Watch, ...]:
    """One watch per pid file, program or command line; a single one of each is one watch of all."""
    uid = None if user is None else user.uid
    if user is not None and not (pidfiles or programs or cmdlines):
        return (Watch(f"any process of {safe(user.typed)}", uid=uid, user=user.typed),)
    if len(pidfiles) == 1 and len(programs) <= 1 and len(cmdlines) <= 1:
        program, cmdline = next(iter(programs), None), next(iter(cmdlines), None)
        return (Watch(_stem(pidfiles[0]), pidfiles[0], program, cmdline, uid),)
    if len(programs) == 1 and len(cmdlines) == 1 and not pidfiles:
        return (Watch(programs[0].typed, "", programs[0], cmdlines[0], uid),)
    return (
        *(Watch(_stem(path), path, uid=uid) for path in pidfiles),
        *(Watch(program.typed, program=program, uid=uid) for program in programs),
        *(Watch(_bare(cmdline), cmdline=cmdline, uid=uid) for cmdline in cmdlines),
    )


def _is_exact(pattern: Pattern) -> bool:
    """Whether a pattern can only mean one name."""
    return not pattern.typed.startswith("re:") and not any(c in pattern.typed for c in "*?[")


def _stem(path: str) -> str:
    """ "web" of "/run/web.pid"."""
    base = path.rstrip("/").rpartition("/")[2]
    return base.rpartition(".")[0] or base or path


def _bare(pattern: Pattern) -> str:
    """A name for what a pattern matches: "player" for "*player*"."""
    return pattern.typed.strip("*") or pattern.typed

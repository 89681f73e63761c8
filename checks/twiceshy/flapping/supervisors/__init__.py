"""The supervisors that restart daemons: what each of them knows about its services.

One module per supervisor. A module finds the instances of its supervisor on this host and observes
their services; whether what it sees is bad is judged elsewhere (`flapping.judgement`). Every module
has

    NAME = "runit"
    def instances(table) -> list[Instance]
    def services(instance, table) -> list[Service]

and pure parsers of the formats it reads: bytes or text in, frozen values out. `table` is the one
snapshot of /proc that all modules of a run share (`kit.processes.ProcessTable`). `services` raises
nothing for what may happen on a healthy host (a service that vanishes, a file that may not be
read): that service says so in `unseen`.

Modules are imported by `module` only when their supervisor runs here or is asked for by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from twiceshy.flapping.service import UP, Service

if TYPE_CHECKING:
    from twiceshy.kit.processes import Process, ProcessTable


@dataclass(frozen=True)
class Instance:
    """One running (or asked for) instance of a supervisor."""

    supervisor: str
    address: str  # scan directory, service directory, socket, URL or configuration file
    pid: int | None = None


def running(service: Service, process: Process, table: ProcessTable) -> Service:
    """A service whose process runs."""
    return replace(
        service, state=UP, incarnation=table.identity(process), age_seconds=table.age(process)
    )


class Supervisor(Protocol):
    """What `module` returns."""

    NAME: str

    def instances(self, table: ProcessTable) -> list[Instance]:
        """The instances that run on this host."""

    def services(self, instance: Instance, table: ProcessTable) -> list[Service]:
        """The services of one instance."""


# The program names (`comm`, or the base name of argv[0] or argv[1]) that give a supervisor away.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "systemd": ("systemd",),
    "runit": ("runsvdir", "runsv"),
    "daemontools": ("svscan", "supervise"),
    "s6": ("s6-svscan", "s6-supervise"),
    "perp": ("perpd",),
    "supervisord": ("supervisord",),
    "monit": ("monit",),
}


def module(name: str) -> Supervisor:
    """The module of one supervisor, a key of PROGRAMS, imported now."""
    return cast(Supervisor, importlib.import_module(f"{__name__}.{name}"))


def running_here(processes: Iterable[Process]) -> list[str]:
    """Names of the supervisors whose programs run, in the order of PROGRAMS; imports nothing."""
    names: set[str] = set()
    for process in processes:
        names.add(process.comm)
        if len(process.cmdline) > 1 and "python" in process.comm:
            # supervisord started as `python3 /usr/bin/supervisord` is called python3.
            names.add(process.cmdline[1].rpartition("/")[2])
    return [name for name, programs in PROGRAMS.items() if not names.isdisjoint(programs)]

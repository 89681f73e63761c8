"""What a run observes: the services of all supervisors, and the watched processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twiceshy.flapping import supervisors, unsupervised
from twiceshy.flapping.service import NO_SUPERVISOR, SYSTEMD, Service
from twiceshy.flapping.settings import Selection, Settings
from twiceshy.flapping.supervisors import Instance
from twiceshy.flapping.unsupervised import KnownProcess
from twiceshy.kit import subprocesses
from twiceshy.kit.plugin import CRITICAL, UNKNOWN, CheckError
from twiceshy.kit.processes import PROC, ProcessTable, snapshot
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding


@dataclass(frozen=True)
class Observation:
    """Everything that was asked for, at one instant."""

    services: tuple[tuple[str, Service], ...] = ()  # with the subject of the history
    findings: tuple[Finding, ...] = ()  # about supervisors that could not be asked
    known: Mapping[str, KnownProcess] = field(default_factory=dict)  # by subject, for the next run


def observe(
    settings: Settings, now: Stamp, known: Mapping[str, KnownProcess], proc: Path = PROC
) -> Observation:
    """Services of all supervisors and watched processes; one pass over /proc serves them all.

    `known`: what the last run knew of watched processes. CheckError if there is nothing to ask.
    """
    table = ProcessTable.observed(now, proc)
    selection = settings.selection
    services, learned = _watched_processes(selection, table, known)
    findings: list[Finding] = []
    for name in _supervisors(selection, table) if selection.by_supervisor else ():
        instances = _instances(name, selection, table)
        if not instances and name in selection.supervisors:
            text = f"{name} is not running on this host"
            findings.append(Finding(CRITICAL, text, code="missing"))
        for instance in instances:
            try:
                found = _services(instance, settings, table)
            except subprocesses.NoAnswer as error:
                findings.append(_hangs(instance, table, error))
            except CheckError as error:
                findings.append(Finding(UNKNOWN, str(error)))
            else:
                services += [
                    (f"{name}:{instance.address}:{service.name}", service) for service in found
                ]
    return Observation(tuple(services), tuple(findings), learned)


def has_supervisor(proc: Path = PROC) -> bool:
    """Whether some supervisor runs on this host."""
    if os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        return True
    return bool(supervisors.running_here(snapshot(proc).values()))


def _watched_processes(
    selection: Selection, table: ProcessTable, known: Mapping[str, KnownProcess]
) -> tuple[list[tuple[str, Service]], dict[str, KnownProcess]]:
    """The watched processes as services with their subjects, and what to know of each."""
    services: list[tuple[str, Service]] = []
    learned: dict[str, KnownProcess] = {}
    if not selection.watches:
        return services, learned
    callers = unsupervised.ourselves_and_our_callers(table.processes, os.getpid(), "check_flapping")
    for watch in unsupervised.each_program(selection.watches, table.processes, callers):
        subject = f"{NO_SUPERVISOR}::{watch.name}"
        service, learned[subject] = unsupervised.observed(
            watch, table, known=known.get(subject), ourselves=callers
        )
        services.append((subject, service))
    return services, learned


def _supervisors(selection: Selection, table: ProcessTable) -> Sequence[str]:
    """The supervisors to ask, by name; CheckError without any."""
    if selection.supervisors:
        return selection.supervisors
    names = supervisors.running_here(table.processes.values())
    if SYSTEMD not in names and supervisors.module(SYSTEMD).instances(table):
        names = [SYSTEMD, *names]
    if not names:
        some = ", ".join(supervisors.PROGRAMS)
        raise CheckError(
            f"no supervisor is running here ({some}); name a daemon with --process, --pidfile or "
            "--cmdline"
        )
    return names


def _instances(name: str, selection: Selection, table: ProcessTable) -> Sequence[Instance]:
    """The instances of a supervisor: those at the given addresses, else all that run."""
    running = supervisors.module(name).instances(table)
    if not selection.addresses or name == SYSTEMD:
        return running
    here = [instance for instance in running if instance.address in selection.addresses]
    found = {instance.address for instance in here}
    return here + [
        Instance(name, address) for address in selection.addresses if address not in found
    ]


def _services(instance: Instance, settings: Settings, table: ProcessTable) -> list[Service]:
    """The services of one instance that are asked for."""
    selection = settings.selection
    if instance.supervisor != SYSTEMD:
        found = supervisors.module(instance.supervisor).services(instance, table)
        return [service for service in found if selection.wants(service.name)]
    from twiceshy.flapping.supervisors import systemd

    query = systemd.Query(
        window=settings.limits.window,
        names=selection.exact_names if selection.only_exact else (),
        log_lines=settings.log_lines,
        wanted=selection.wants,
    )
    return systemd.services(instance, table, query)


def _hangs(instance: Instance, table: ProcessTable, error: subprocesses.NoAnswer) -> Finding:
    """systemd, or a user's, has given no answer in time."""
    from twiceshy.flapping.supervisors import systemd

    whose = systemd.manager_of(instance, table).called
    return Finding(CRITICAL, f"{whose} hangs: {error}", next=f"ps -p {instance.pid} -o stat")

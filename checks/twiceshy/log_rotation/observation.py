"""What is seen: configuration, logs, /proc, schedule and container engine, in one pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe
from twiceshy.log_rotation.logrotate import grammar
from twiceshy.log_rotation.logrotate.claims import (
    Circumstances,
    claimed_logs,
    missed_by_recursion,
    rotated_copies,
)
from twiceshy.log_rotation.logrotate.container_logs import container_logs
from twiceshy.log_rotation.logrotate.forecast import Log
from twiceshy.log_rotation.logrotate.host import (
    Host,
    HostPaths,
    installed,
    missing_programs,
    read_only_mounts,
    state_file,
)
from twiceshy.log_rotation.logrotate.journald import journal_limit
from twiceshy.log_rotation.logrotate.names import GZIP, NOT_LOGS
from twiceshy.log_rotation.logrotate.open_logs import open_logs
from twiceshy.log_rotation.logrotate.schedule import schedule
from twiceshy.log_rotation.logrotate.unclaimed import unclaimed_logs
from twiceshy.log_rotation.records import Configuration, Logs, Observation
from twiceshy.log_rotation.settings import Settings

STATE_FILES = (
    "/var/lib/logrotate/status",
    "/var/lib/logrotate/logrotate.status",
    "/var/lib/logrotate.status",
    "/var/lib/misc/logrotate.status",
)


def observe(settings: Settings, paths: HostPaths, epoch: float) -> Observation:
    """Everything that the judgement needs, at Unix time `epoch`; nothing is changed.

    CheckError if there is no configuration, if it may not be read, or if /proc cannot be.
    """
    where = settings.where
    host = Host(root_uid=paths.root_uid)
    version, default_state_file = (where.version, "") if where.version else installed()
    reading = _configuration(where.config, host, version)
    stanzas = () if reading.stops else reading.stanzas
    log_dirs = [os.path.abspath(one) for one in where.log_dirs]
    claimed = {path for stanza in stanzas for path in stanza.files}
    copies, all_copies = rotated_copies(stanzas, host)
    truncated = {
        path
        for stanza in stanzas
        if stanza.directives.copytruncate or stanza.directives.copy
        for path in stanza.files
    }
    plain = {path for path in all_copies if not NOT_LOGS.search(path)} - claimed
    parents = {os.path.dirname(path) for path in claimed}
    opened = open_logs(
        paths.proc, frozenset(truncated | plain), sorted({*log_dirs, *parents} - {"", "/"})
    )
    found = schedule(paths, opened.commands)
    candidates = [where.state_file] if where.state_file else list(found.state_files)
    if not where.state_file:
        candidates += [default_state_file] if default_state_file else []
        candidates += [str(paths.at(one)) for one in STATE_FILES]
    state = state_file(candidates, paths.proc, host, epoch)
    about = Circumstances(version, state, found, read_only_mounts(paths.proc), epoch)
    claims = claimed_logs(stanzas, host, copies, about)
    lost = _lost(reading.problems, claimed, host)
    unclaimed, searched_all = unclaimed_logs(
        log_dirs, settings.limits.big, claimed | all_copies | set(lost), host, epoch
    )
    modified = {}
    for name in {*reading.read, where.config}:
        try:
            modified[name] = os.stat(name).st_mtime
        except OSError:
            continue
    containers = container_logs(paths, where.docker, host)
    packers = {
        one.directives.compresscmd or GZIP
        for one in stanzas
        if one.directives.compress and one.files
    }
    return Observation(
        epoch=epoch,
        configuration=Configuration(
            version,
            reading,
            modified,
            missed_by_recursion=missed_by_recursion(stanzas, claimed),
            missing_programs=missing_programs(packers),
        ),
        logs=Logs(
            claims,
            lost,
            opened,
            unclaimed,
            searched_all=searched_all,
            containers=containers,
            journal=journal_limit(paths),
        ),
        state=state,
        schedule=found,
        hidden=dict(host.hidden),
        program=_program(),
    )


def _configuration(path: str, host: Host, version: grammar.Version) -> grammar.Reading:
    """logrotate's configuration as this version reads it; CheckError if there is none."""
    with deadline.doing(f"reading {path}"):
        reading = grammar.read(path, host, version)
    if any(one.code == "config-missing" and one.position.file == path for one in reading.problems):
        raise CheckError(
            f"{safe(path)} cannot be read: is logrotate configured elsewhere? (--config)"
        )
    if path in host.hidden:
        raise CheckError(f"no permission to read {safe(path)}; run with sudo")
    return reading


def _lost(problems: Sequence[grammar.Problem], claimed: set[str], host: Host) -> dict[str, Log]:
    """The logs of lost stanzas that no other stanza claims, if they exist."""
    lost: dict[str, Log] = {}
    for problem in problems:
        for path in problem.files:
            if path not in claimed and path not in lost:
                log = host.log(path)
                if log is not None and not log.error:
                    lost[path] = log
    return lost


def _program() -> str:
    """This check, as one types it."""
    started = sys.argv[0]
    return os.path.abspath(started) if started.endswith(".py") else "check_log_rotation"

"""What starts logrotate: a timer, cron, anacron or busybox's periodic; and whether it will."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from twiceshy.kit import subprocesses
from twiceshy.log_rotation.logrotate import timetable
from twiceshy.log_rotation.logrotate.host import HostPaths, text_of
from twiceshy.log_rotation.records import Schedule, Standing

MASKED = ["masked"]
"""In place of the lines of a unit that is a link to /dev/null."""
NO_CRON = "no cron daemon is running"


def _unit_lines(paths: HostPaths, unit: str) -> tuple[str, list[str]]:
    """Where a unit's file lies, and its lines with those of its drop-ins, in systemd's order."""
    where = ""
    lines: list[str] = []
    folders = (
        "etc/systemd/system",
        "run/systemd/system",
        "usr/lib/systemd/system",
        "lib/systemd/system",
    )
    for folder in folders:
        path = paths.root / folder / unit
        if os.path.lexists(path):
            where = str(path)
            if os.path.islink(path) and os.readlink(path) == "/dev/null":
                return where, MASKED
            lines = text_of(path).splitlines()
            break
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in sorted((paths.root / folder / f"{unit}.d").glob("*.conf")):
            drop_ins[path.name] = path
    for name in sorted(drop_ins):
        lines += text_of(drop_ins[name]).splitlines()
    return where, lines


def schedule(paths: HostPaths, commands: frozenset[str]) -> Schedule:
    """What will start logrotate next; `commands` are the names of the running programs."""
    systemd = paths.at("run/systemd/system").is_dir()
    cron = bool(commands & {"cron", "crond", "cronie", "fcron", "bcron", "dcron", "systemd-cron"})
    if systemd:
        timer, lines = _unit_lines(paths, "logrotate.timer")
        if timer:
            return _timer(paths, timer, lines)
    found = _scripts(paths, systemd, cron, commands) + _table_lines(paths, cron)
    alive = [one for one in found if not one.is_dead]
    if alive:
        return min(alive, key=lambda one: one.interval)
    if found:
        return found[0]
    return Schedule(
        standing=Standing.NOT_FOUND, obstacle="neither a timer nor a cron job starts logrotate"
    )


def _scripts(
    paths: HostPaths, systemd: bool, cron: bool, commands: frozenset[str]
) -> list[Schedule]:
    """The scripts named after logrotate in cron's and periodic's directories."""
    return [
        _script(paths, script, interval, systemd, cron, commands)
        for folder, interval in (
            ("etc/periodic/15min", 900.0),
            ("etc/cron.hourly", 3600.0),
            ("etc/periodic/hourly", 3600.0),
            ("etc/cron.daily", 86400.0),
            ("etc/periodic/daily", 86400.0),
            ("etc/cron.weekly", 604800.0),
        )
        for script in sorted(paths.at(folder).glob("*logrotate*"))
    ]


def _table_lines(paths: HostPaths, cron: bool) -> list[Schedule]:
    """The lines of crontabs that start logrotate."""
    found = []
    for table in _crontabs(paths):
        for line in text_of(table).splitlines():
            if line.lstrip().startswith("#"):
                continue
            if re.search(r"(^|[\s/])logrotate\b", line) and "=" not in line.split()[0]:
                found.append(
                    Schedule(
                        str(table),
                        timetable.cron_interval(line),
                        Standing.ALIVE if cron else Standing.DEAD,
                        "" if cron else NO_CRON,
                        state_files=timetable.state_option(line),
                    )
                )
    return found


@dataclass(frozen=True)
class _Outlook:
    """Whether systemd will start logrotate again, and how the last run ended."""

    standing: Standing = Standing.ALIVE
    obstacle: str = ""
    not_enabled: bool = False
    failed: str = ""
    last_status: int = 0


def _timer(paths: HostPaths, timer: str, lines: list[str]) -> Schedule:
    _, service = _unit_lines(paths, "logrotate.service")
    outlook = _by_files(paths, timer, lines, service)
    if paths.root == Path("/"):
        outlook = _by_systemd(outlook)
    closed, opened = timetable.hardening(service)
    on_battery = "ConditionACPower=true: it does not run on battery"
    return Schedule(
        "logrotate.timer",
        timetable.interval(timetable.values(lines, "OnCalendar")),
        outlook.standing,
        outlook.obstacle,
        True,
        outlook.failed,
        outlook.last_status,
        timetable.state_option("\n".join(timetable.values(service, "ExecStart"))),
        closed,
        opened,
        on_battery if "ConditionACPower=true" in service else "",
    )


def _by_files(paths: HostPaths, timer: str, lines: list[str], service: list[str]) -> _Outlook:
    """What the unit files say of timer and service."""
    obstacle, not_enabled = "", False
    wants = paths.at("etc/systemd/system/timers.target.wants/logrotate.timer")
    if lines == MASKED:
        obstacle = f"logrotate.timer is masked ({timer} -> /dev/null)"
    elif not os.path.lexists(wants):
        others = paths.at("etc/systemd/system").glob("*.wants/logrotate.timer")
        if not any(others):
            obstacle, not_enabled = "logrotate.timer is not enabled", True
    if service == MASKED:
        obstacle, not_enabled = "logrotate.service is masked", False
    if not obstacle:
        return _Outlook()
    if paths.at("etc/cron.daily/logrotate").exists():
        obstacle += ", and /etc/cron.daily/logrotate does nothing under systemd"
    return _Outlook(Standing.DEAD, obstacle, not_enabled)


def _by_systemd(outlook: _Outlook) -> _Outlook:
    """What systemd itself says of timer and service, if it answers."""
    try:
        ran = subprocesses.run(
            [
                "systemctl",
                "show",
                "logrotate.timer",
                "logrotate.service",
                "-p",
                "Id,ActiveState,Result,ExecMainStatus,UnitFileState",
            ],
            timeout=3,
        )
    except (OSError, subprocesses.NoAnswer):
        return outlook
    units: dict[str, dict[str, str]] = {}
    for block in ran.stdout.split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        units[pairs.get("Id", "")] = pairs
    timer, service = units.get("logrotate.timer", {}), units.get("logrotate.service", {})
    state = timer.get("ActiveState")
    if state not in ("active", None) and outlook.standing is Standing.ALIVE:
        outlook = replace(outlook, standing=Standing.DEAD, obstacle=f"logrotate.timer is {state}")
    if state == "active" and outlook.not_enabled:
        text = "logrotate.timer is not enabled: it will not start after the next boot"
        outlook = replace(outlook, standing=Standing.ENDS_AT_BOOT, obstacle=text)
    status, result = int(service.get("ExecMainStatus") or 0), service.get("Result")
    failed = "" if result in ("success", None, "") else f"{result}, exit status {status}"
    return replace(outlook, failed=failed, last_status=status)


def _script(
    paths: HostPaths,
    script: Path,
    interval: float,
    systemd: bool,
    cron: bool,
    commands: frozenset[str],
) -> Schedule:
    text = text_of(script)
    obstacle = ""
    if not os.access(script, os.X_OK):
        obstacle = f"{script} is not executable"
    elif not re.fullmatch(r"[A-Za-z0-9_-]+", script.name):
        obstacle = f"run-parts skips {script}: its name has a dot in it"
    elif systemd and "/run/systemd/system" in text:
        obstacle = f"{script} does nothing under systemd, and there is no logrotate.timer"
    elif not cron and not commands & {"anacron"} and not _anacron(paths, commands):
        obstacle = NO_CRON
    standing = Standing.DEAD if obstacle else Standing.ALIVE
    return Schedule(
        str(script), interval, standing, obstacle, state_files=timetable.state_option(text)
    )


def _anacron(paths: HostPaths, commands: frozenset[str]) -> bool:
    """Whether a timer of systemd starts anacron."""
    return paths.at("etc/anacrontab").exists() and (
        paths.at("run/systemd/system").is_dir()
        and os.path.lexists(paths.at("etc/systemd/system/timers.target.wants/anacron.timer"))
    )


def _crontabs(paths: HostPaths) -> list[Path]:
    tables = [paths.at("etc/crontab"), paths.at("etc/anacrontab")]
    tables += sorted(paths.at("etc/cron.d").glob("*"))
    tables += [paths.at(one) for one in ("var/spool/cron/crontabs/root", "var/spool/cron/root")]
    try:
        return [one for one in tables if one.is_file()]
    except OSError:
        return []

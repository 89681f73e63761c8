"""What starts logrotate: a timer, cron, anacron or busybox's periodic; and whether it will."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from twiceshy.kit import subprocesses
from twiceshy.log_rotation.logrotate import timetable
from twiceshy.log_rotation.logrotate.host import Places, text_of


@dataclass(frozen=True)
class Schedule:
    """What starts logrotate."""

    name: str = ""
    """The timer, the cron script or the crontab; empty if nothing was found."""
    interval: float = 86400.0
    dead: str = ""
    """Why it will not start it again."""
    failed: str = ""
    """How the last run ended, if badly."""
    last_status: int = 0
    state_files: tuple[str, ...] = ()
    """Named on logrotate's command line there."""
    read_only: tuple[str, ...] = ()
    """Directories that the unit's hardening makes read-only or hides."""
    writable: tuple[str, ...] = ()
    note: str = ""


def _unit_lines(places: Places, unit: str) -> tuple[str, list[str]]:
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
        path = places.root / folder / unit
        if os.path.lexists(path):
            where = str(path)
            if os.path.islink(path) and os.readlink(path) == "/dev/null":
                return where, ["masked"]
            lines = text_of(path).splitlines()
            break
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in sorted((places.root / folder / f"{unit}.d").glob("*.conf")):
            drop_ins[path.name] = path
    for name in sorted(drop_ins):
        lines += text_of(drop_ins[name]).splitlines()
    return where, lines


def schedule(places: Places, commands: frozenset[str]) -> Schedule:
    """What will start logrotate next; `commands` are the names of the running programs."""
    systemd = places.at("run/systemd/system").is_dir()
    cron = bool(commands & {"cron", "crond", "cronie", "fcron", "bcron", "dcron", "systemd-cron"})
    if systemd:
        timer, lines = _unit_lines(places, "logrotate.timer")
        if timer:
            return _timer(places, timer, lines)
    found: list[Schedule] = []
    for folder, interval in (
        ("etc/periodic/15min", 900.0),
        ("etc/cron.hourly", 3600.0),
        ("etc/periodic/hourly", 3600.0),
        ("etc/cron.daily", 86400.0),
        ("etc/periodic/daily", 86400.0),
        ("etc/cron.weekly", 604800.0),
    ):
        for script in sorted(places.at(folder).glob("*logrotate*")):
            found.append(_script(places, script, interval, systemd, cron, commands))
    for table in _crontabs(places):
        text = "\n".join(
            line for line in text_of(table).splitlines() if not line.lstrip().startswith("#")
        )
        for line in text.splitlines():
            if re.search(r"(^|[\s/])logrotate\b", line) and "=" not in line.split()[0]:
                dead = "" if cron else "no cron daemon is running"
                found.append(
                    Schedule(
                        str(table),
                        timetable.cron_interval(line),
                        dead,
                        state_files=timetable.state_option(line),
                    )
                )
    alive = [one for one in found if not one.dead]
    if alive:
        return min(alive, key=lambda one: one.interval)
    if found:
        return found[0]
    return Schedule(dead="neither a timer nor a cron job starts logrotate")


def _timer(places: Places, timer: str, lines: list[str]) -> Schedule:
    dead = ""
    wants = places.at("etc/systemd/system/timers.target.wants/logrotate.timer")
    if lines == ["masked"]:
        dead = f"logrotate.timer is masked ({timer} -> /dev/null)"
    elif not os.path.lexists(wants):
        others = places.at("etc/systemd/system").glob("*.wants/logrotate.timer")
        if not any(others):
            dead = "logrotate.timer is not enabled"
    _, service = _unit_lines(places, "logrotate.service")
    if service == ["masked"]:
        dead = "logrotate.service is masked"
    if dead and places.at("etc/cron.daily/logrotate").exists():
        dead += ", and /etc/cron.daily/logrotate does nothing under systemd"
    failed, status = "", 0
    if places.root == Path("/"):
        dead, failed, status = _asked(dead)
    closed, opened = timetable.hardening(service)
    return Schedule(
        "logrotate.timer",
        timetable.interval(timetable.values(lines, "OnCalendar")),
        dead,
        failed,
        status,
        timetable.state_option("\n".join(timetable.values(service, "ExecStart"))),
        closed,
        opened,
        "ConditionACPower=true: not on battery" if "ConditionACPower=true" in service else "",
    )


def _asked(dead: str) -> tuple[str, str, int]:
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
        return dead, "", 0
    units_: dict[str, dict[str, str]] = {}
    for block in ran.stdout.split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        units_[pairs.get("Id", "")] = pairs
    timer, service = units_.get("logrotate.timer", {}), units_.get("logrotate.service", {})
    if timer and timer.get("ActiveState") not in ("active", None) and not dead:
        dead = f"logrotate.timer is {timer['ActiveState']}"
    if timer.get("ActiveState") == "active" and dead.startswith("logrotate.timer is not enabled"):
        dead = "logrotate.timer is not enabled: it will not start after the next boot"
    status = int(service.get("ExecMainStatus") or 0)
    if service.get("Result") not in ("success", None, ""):
        return dead, f"{service['Result']}, exit status {status}", status
    return dead, "", 0


def _script(
    places: Places,
    script: Path,
    interval: float,
    systemd: bool,
    cron: bool,
    commands: frozenset[str],
) -> Schedule:
    text = text_of(script)
    dead = ""
    if not os.access(script, os.X_OK):
        dead = f"{script} is not executable"
    elif not re.fullmatch(r"[A-Za-z0-9_-]+", script.name):
        dead = f"run-parts passes over {script}: a dot in its name"
    elif systemd and "/run/systemd/system" in text:
        dead = f"{script} does nothing under systemd, and there is no logrotate.timer"
    elif not cron and not commands & {"anacron"} and not _anacron(places, commands):
        dead = "no cron daemon is running"
    return Schedule(str(script), interval, dead, state_files=timetable.state_option(text))


def _anacron(places: Places, commands: frozenset[str]) -> bool:
    """Whether a timer of systemd starts anacron."""
    return places.at("etc/anacrontab").exists() and (
        places.at("run/systemd/system").is_dir()
        and os.path.lexists(places.at("etc/systemd/system/timers.target.wants/anacron.timer"))
    )


def _crontabs(places: Places) -> list[Path]:
    tables = [places.at("etc/crontab"), places.at("etc/anacrontab")]
    tables += sorted(places.at("etc/cron.d").glob("*"))
    tables += [places.at(one) for one in ("var/spool/cron/crontabs/root", "var/spool/cron/root")]
    try:
        return [one for one in tables if one.is_file()]
    except OSError:
        return []

"""What the definitions of a timer, a service and a cron job say of logrotate's runs; pure.

Formats: systemd.time(7), systemd.exec(5), crontab(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def values(lines: Iterable[str], key: str) -> list[str]:
    """The values of a unit's list setting; an empty one resets it."""
    found: list[str] = []
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and name.strip() == key:
            found = [*found, value.strip()] if value.strip() else []
    return found


_CALENDAR = {
    "minutely": 60.0,
    "hourly": 3600.0,
    "daily": 86400.0,
    "weekly": 604800.0,
    "monthly": 2592000.0,
}


def interval(values: Sequence[str]) -> float:
    """Seconds between two runs by OnCalendar= lines, roughly; of a list of times the mean."""
    seconds = [_CALENDAR[one] for one in values if one in _CALENDAR]
    for one in values:
        if one in _CALENDAR:
            continue
        time = one.split()[-1]
        if re.match(r"^\*:\*", time):
            seconds.append(60.0)
        elif step := re.match(r"^\*:\d+/(\d+)", time):
            seconds.append(60.0 * int(step[1]))
        elif time.startswith("*:"):
            seconds.append(3600.0)
        elif step := re.match(r"^\d+/(\d+):", time):
            seconds.append(3600.0 * int(step[1]))
        elif "," in time.partition(":")[0]:
            seconds.append(86400.0 / len(time.partition(":")[0].split(",")))
        else:
            seconds.append(
                604800.0 if re.match(r"(?i)^(mon|tue|wed|thu|fri|sat|sun)\b", one) else 86400.0
            )
    return min(seconds, default=86400.0) / max(1, len([s for s in seconds if s >= 86400.0]))


def hardening(lines: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a service may not write, and the exceptions."""
    closed: list[str] = []
    protect = (values(lines, "ProtectSystem") or [""])[-1]
    if protect in ("yes", "true", "1", "on", "full", "strict"):
        closed += ["/usr", "/boot", "/efi"]
    if protect in ("full", "strict"):
        closed += ["/etc"]
    if protect == "strict":
        closed += ["/"]
    if (values(lines, "ProtectHome") or [""])[-1] in (
        "yes",
        "true",
        "1",
        "on",
        "read-only",
        "tmpfs",
    ):
        closed += ["/home", "/root", "/run/user"]
    if (values(lines, "PrivateTmp") or [""])[-1] in ("yes", "true", "1", "on"):
        closed += ["/tmp", "/var/tmp"]
    for key in ("ReadOnlyPaths", "InaccessiblePaths", "ReadOnlyDirectories"):
        closed += [word.lstrip("-+") for value in values(lines, key) for word in value.split()]
    opened = [
        word.lstrip("-+")
        for key in ("ReadWritePaths", "ReadWriteDirectories", "LogsDirectory", "StateDirectory")
        for value in values(lines, key)
        for word in value.split()
    ]
    return tuple(closed), tuple(one if one.startswith("/") else f"/var/log/{one}" for one in opened)


def state_option(text: str) -> tuple[str, ...]:
    """State files named by -s or --state on a command line."""
    return tuple(
        found[1]
        for found in re.finditer(r"logrotate\b[^\n;|&]*?\s(?:-s|--state)[ =]?([^\s\"']+)", text)
    )


def cron_interval(line: str) -> float:
    """Seconds between two runs of a line of crontab(5), roughly: a day where it says more."""
    fields = line.split()
    if fields[0].startswith("@"):
        return {"@hourly": 3600.0, "@weekly": 604800.0, "@monthly": 2592000.0}.get(
            fields[0], 86400.0
        )
    if len(fields) < 5:
        return 86400.0
    minute, hour = fields[0], fields[1]
    if hour == "*":
        step = re.fullmatch(r"\*/(\d+)", minute)
        return 60.0 * int(step[1]) if step else 60.0 if minute == "*" else 3600.0
    step = re.fullmatch(r"\*/(\d+)", hour)
    if step:
        return 3600.0 * int(step[1])
    if "," in hour:
        return 86400.0 / len(hour.split(","))
    return 86400.0 if fields[4] == "*" and fields[2] == "*" else 604800.0

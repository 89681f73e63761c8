"""Saying elsewhere that all is well, so that silence itself becomes the alarm there."""

from __future__ import annotations

import os
from pathlib import Path

from twiceshy.kit import http
from twiceshy.kit import options as opt
from twiceshy.kit.verdict import Finding
from twiceshy.monitor_liveness import report
from twiceshy.monitor_liveness.settings import OutwardSettings


def announce(settings: OutwardSettings, now: float) -> list[Finding]:
    """Ping and touch what the settings name; the findings about what failed.

    To be called when, and only when, all is OK. `now` is Unix time.
    """
    findings = []
    url = settings.url or opt.secret(settings.url_file, "TWICESHY_PING_URL")
    if url:
        why = ping(url, settings.seconds)
        if why:
            findings.append(report.not_pinged(url, why))
    if settings.file:
        why = touch(settings.file, now)
        if why:
            findings.append(report.not_touched(why))
    return findings


def ping(url: str, seconds: float) -> str:
    """Ask the URL of a dead man's switch; "" or why that failed."""
    try:
        answer = http.ask(http.Request(url, seconds=seconds, most_bytes=65536))
    except http.HttpError as error:
        return str(error)
    return "" if answer.status < 300 else f"it answers HTTP {answer.status}"


def touch(path: Path, now: float) -> str:
    """Write the time of this OK into a file, whole or not at all; "" or why not."""
    import tempfile  # some 10 ms, and most runs write no such file

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(f"{now:.0f}\n")
            os.chmod(name, 0o644)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""

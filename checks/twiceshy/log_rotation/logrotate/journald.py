"""journald's limit, and the journals that it does not count (journald.conf(5))."""

from __future__ import annotations

import os
import re

from twiceshy.log_rotation.logrotate.host import HostPaths, text_of
from twiceshy.log_rotation.records import JournalLimit


def journal_limit(paths: HostPaths) -> JournalLimit:
    """SystemMaxUse= as the last file sets it, and the journals of other machines."""
    typed, set_in = _limit(paths)
    number = re.fullmatch(r"(\d+)([KMGTPE]?)", typed)
    limit = float(number[1]) * 1024 ** (" KMGTPE".index(number[2] or " ")) if number else None
    journals = paths.at("var/log/journal")
    size = 0.0
    foreign = []
    own = text_of(paths.at("etc/machine-id")).strip()
    try:
        about = os.statvfs(journals)
        size = about.f_blocks * about.f_frsize
        for name in os.listdir(journals):
            if re.fullmatch(r"[0-9a-f]{32}", name) and name != own:
                octets = 0
                for entry in os.scandir(journals / name):
                    octets += entry.stat(follow_symlinks=False).st_blocks * 512
                foreign.append((str(journals / name), octets))
    except OSError:
        pass
    return JournalLimit(limit, typed, set_in, size, tuple(foreign))


def _limit(paths: HostPaths) -> tuple[str, str]:
    """SystemMaxUse= as typed, and the file that sets it."""
    typed, set_in = "", ""
    files = [paths.at("usr/lib/systemd/journald.conf"), paths.at("etc/systemd/journald.conf")]
    for folder in ("usr/lib/systemd", "run/systemd", "etc/systemd"):
        files += sorted((paths.root / folder / "journald.conf.d").glob("*.conf"))
    for file in files:
        for line in text_of(file).splitlines():
            found = re.match(r"\s*SystemMaxUse\s*=\s*(\S*)", line)
            if found:
                typed, set_in = found[1], str(file)
    return typed, set_in

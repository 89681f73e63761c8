"""sysstat's archives: what its collector has recorded of the filesystems in the last weeks."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from twiceshy.kit import subprocesses

DIRECTORIES = ("/var/log/sysstat", "/var/log/sa")  # Debian's, Red Hat's


@dataclass(frozen=True, order=True)
class Record:
    """One sample of a device: seconds of the epoch, bytes and inodes used."""

    at: float
    used: float
    inodes: float


def archived(seconds: float) -> dict[str, list[Record]]:
    """Per device what `sadf` reads from the archives within `seconds`; nothing without sysstat."""
    ends = time.monotonic() + seconds
    archives = sorted(
        path
        for directory in DIRECTORIES
        for path in Path(directory).glob("sa[0-9]*")
        if not path.name.startswith("sar")
    )
    records: dict[str, list[Record]] = {}
    for archive in archives:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            ran = subprocesses.run(["sadf", "-d", "-U", str(archive), "--", "-F"], timeout=left)
        except (OSError, subprocesses.NoAnswer):
            break
        for device, more in parse(ran.stdout).items():
            records.setdefault(device, []).extend(more)
    return records


def parse(text: str) -> dict[str, list[Record]]:
    """What `sadf -d -U -- -F` prints: the records of each device, oldest first.

    Lines are host;interval;epoch;device;MBfsfree;MBfsused;%fsused;%ufsused;Ifree;Iused;%Iused, with
    a header that begins with #; the order has not changed since sysstat 10.
    """
    records: dict[str, list[Record]] = {}
    for line in text.splitlines():
        cells = line.split(";")
        if line.startswith("#") or len(cells) < 11:
            continue
        with contextlib.suppress(ValueError):
            used = float(cells[5].replace(",", ".")) * 1048576
            record = Record(float(cells[2]), used, float(cells[9]))
            records.setdefault(cells[3], []).append(record)
    for mine in records.values():
        mine.sort()
    return records

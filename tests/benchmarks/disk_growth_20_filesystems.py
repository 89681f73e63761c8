#!/usr/bin/env python3
"""What a run of check_disk_growth costs with 20 filesystems and four weeks of history.

    sudo tests/benchmarks/disk_growth_20_filesystems.py [RUNS]

Mounts loop images in a mount namespace of its own. Runs the check as its console script does, with
bytecode cached, each time (median of RUNS, default 15) on a fresh copy of the same history: as it
mostly is, five minutes after the last run, and as it is once an hour, when finished hours are
folded. CPU time is user and system, children included. A transaction ends with its journal's
unlink, which strace counts with the fsyncs before it; without strace that column is left out.
"""

from __future__ import annotations

import math
import os
import platform
import random
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

CHECKS = Path(__file__).resolve().parents[2] / "checks"
FILESYSTEMS, WEEKS = 20, 4
HOUR, DAY = 3600.0, 86400.0


def console_script(check: str, *arguments: str) -> list[str]:
    """The command line that the installed console script comes to."""
    script = f"import sys; sys.argv[0] = '{check}'; from {check} import main; main()"
    return [sys.executable, "-c", script, *arguments]


def mounted(top: Path) -> None:
    """Small ext4 images, each on a mount point of its own; gone with the namespace."""
    for number in range(FILESYSTEMS):
        image, point = top / f"{number}.img", top / f"mnt{number:02}"
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(16 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)


def remembered(book: Path, last: float) -> None:
    """Four weeks of daily saw-teeth for all that the first run has seen, until `last`."""
    rng = random.Random(1)
    with sqlite3.connect(book) as sql:
        boot, uptime, wall = sql.execute("SELECT boot, uptime, wall FROM look").fetchone()
        keys = [key for (key,) in sql.execute("SELECT key FROM filesystem")]
        sql.execute("DELETE FROM look")
        for key in keys:
            base, swing = rng.uniform(1e6, 4e6), rng.uniform(1e5, 1e6)
            this_hour = last // HOUR * HOUR
            days: dict[int, array[float]] = {}
            hour = this_hour - WEEKS * 7 * DAY
            while hour < this_hour:
                day = days.setdefault(int(hour // DAY), array("d", [math.nan] * 144))
                level = base + swing * (hour % DAY) / DAY
                for offset, extra in ((0, 0), (24, 4096), (48, 8192)):
                    day[offset + int(hour % DAY // HOUR)] = level + extra
                    day[72 + offset + int(hour % DAY // HOUR)] = 1000
                hour += HOUR
            sql.executemany(
                "INSERT INTO day VALUES (?, ?, ?)",
                [(key, day, hours.tobytes()) for day, hours in days.items()],
            )
            looks = [last - n * 300 for n in range(120, -1, -1)]
            sql.executemany(
                "INSERT INTO look VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (key, boot, uptime + at - wall, at, base + swing * (at % DAY) / DAY, 1000)
                    for at in looks
                ],
            )


def run(command: list[str], env: dict[str, str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    """CPU seconds, children included, and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done


def main() -> None:
    """Mount, remember, measure."""
    if os.geteuid() != 0:
        raise SystemExit("only root may mount: sudo tests/benchmarks/disk_growth_20_filesystems.py")
    if "TWICESHY_BENCHMARK_NAMESPACE" not in os.environ:
        os.environ["TWICESHY_BENCHMARK_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        try:
            measure(top, runs)
        finally:
            for point in top.glob("mnt*"):
                subprocess.run(["umount", str(point)], check=False)


def measure(top: Path, runs: int) -> None:
    """The table."""
    mounted(top)
    state, pristine = top / "state", top / "pristine"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPATH": str(CHECKS), "PYTHONPYCACHEPREFIX": str(top / "bytecode")}
    check = console_script(
        "check_disk_growth", "--state-dir", str(state), "--include", f"{top}/mnt*", "--sample", "1s"
    )
    bare, _ = min(
        (run([sys.executable, "-c", "import nagiosplugin, sqlite3"], env) for _ in range(runs)),
        key=lambda pair: pair[0],
    )
    _, first = run(check, env)
    if not state.is_dir():
        raise SystemExit(first.stdout or first.stderr)
    (book,) = state.iterdir()
    shutil.copy(book, pristine)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"python and nagiosplugin and sqlite3 alone: {bare * 1000:.0f} ms CPU")
    now = time.time()
    # So that the last sample is in this hour or in the one before, whatever the minute is.
    in_this_hour = now - min(300, now % HOUR / 2)
    for story, last in (
        ("five minutes after the last run", in_this_hour),
        ("first run of an hour", now // HOUR * HOUR - 1),
    ):
        shutil.copy(pristine, book)
        remembered(book, last)
        full = book.read_bytes()
        seconds = []
        for _ in range(runs):
            book.write_bytes(full)
            used, said = run(check, env)
            seconds.append(used)
        line = f"{story}: {statistics.median(seconds) * 1000:.0f} ms CPU"
        if shutil.which("strace"):
            book.write_bytes(full)
            calls = "trace=fsync,fdatasync,unlink,unlinkat"
            _, traced = run(["strace", "-f", "-e", calls, *check], env)
            commits = re.findall(r"unlink(?:at)?\([^)]*-journal", traced.stderr)
            syncs = re.findall(r"f(?:data)?sync\(", traced.stderr)
            line += f", {len(commits)} transaction(s) with {len(syncs)} fsyncs"
        print(f"{line}\n    {said.stdout.splitlines()[0].split(' | ')[0]}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Who holds files of a filesystem open: our reading of /proc against psutil's.

    tests/benchmarks/open_files.py [RUNS]

A process holds one file open for writing and three that are deleted, in the temporary directory.
Each pass looks for them in a process of its own, with bytecode cached; CPU time is user and system
beyond that of a run of the check that does not look for them, the median of RUNS (default 15), the
passes taking turns. root sees every process's files, others only their own. Without psutil there is
nothing to compare with, and it says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKS = Path(__file__).resolve().parents[2] / "checks"
DELETED = 3

# What a run of the check has imported before it looks for culprits.
CHECK = "import twiceshy.disk_growth.program\n"
OURS = f"""{CHECK}
import json, os, sys
from twiceshy.disk_growth.culprits import open_files
writers, deleted = open_files(os.stat(sys.argv[1]).st_dev)
print(json.dumps([sum(sys.argv[1] in holder for holder, _ in deleted),
                  sum(sys.argv[1] in path for path in writers)]))
"""
# By its public interface. It leaves out what is not at its path any more; a deleted file that it
# did list would have a path that cannot be queried.
PSUTIL = f"""{CHECK}
import json, os, sys
import psutil
device, deleted, writers = os.stat(sys.argv[1]).st_dev, set(), set()
for process in psutil.process_iter():
    try:
        files = process.open_files()
    except psutil.Error:
        continue
    for file in files:
        try:
            if os.stat(file.path).st_dev == device and file.mode != "r":
                writers.add(file.path)
        except OSError:
            deleted.add((process.pid, file.fd))
print(json.dumps([len(deleted), sum(sys.argv[1] in path for path in writers)]))
"""
PROGRAMS = {
    "nothing": "",
    "kit": "import twiceshy.kit.check, twiceshy.kit.options",
    "check": CHECK,
    "import": f"{CHECK}import psutil",
    "ours": OURS,
    "psutil": PSUTIL,
}
HOLDER = """
import os, sys, time
paths = [os.path.join(sys.argv[1], f"held{number}") for number in range(int(sys.argv[2]) + 1)]
files = [open(path, "wb") for path in paths]
for file in files:
    file.write(b"x" * 8 * 1024 * 1024)  # the check names the largest only
    file.flush()
    os.fsync(file)
for path in paths[1:]:
    os.unlink(path)
print("holding", flush=True)
time.sleep(3600)
"""


def run(program: str, directory: str, env: dict[str, str]) -> tuple[float, str]:
    """CPU seconds of a Python program, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, directory],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def main() -> None:
    """Hold files, look for them both ways, print the table."""
    if importlib.util.find_spec("psutil") is None:
        print("psutil is not installed here: nothing to compare with (pip install psutil)")
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(prefix="held-") as name:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, name, str(DELETED)], stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            measure(name, runs)
        finally:
            holder.kill()
            holder.wait()


def measure(directory: str, runs: int) -> None:
    """Every program in turn, `runs` times, and the table of medians."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    printed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as bytecode:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": str(CHECKS), "PYTHONPYCACHEPREFIX": bytecode}
        for turn in range(runs + 1):
            for name, program in PROGRAMS.items():
                used, printed[name] = run(program, directory, env)
                if turn:  # the first compiles
                    seconds[name].append(used)
    median = {name: statistics.median(used) * 1000 for name, used in seconds.items()}
    ours, theirs = median["ours"] - median["check"], median["psutil"] - median["check"]
    kit, importing = median["kit"] - median["nothing"], median["import"] - median["check"]
    import psutil

    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"psutil {psutil.__version__}, {len(psutil.pids())} processes\n"
    )
    print(f"| pass | CPU | ratio | of {DELETED} deleted files | of 1 that is written |")
    print("|---|---|---|---|---|")
    for name, cpu, found in (
        ("/proc, as the check reads it", ours, printed["ours"]),
        ("psutil, its import included", theirs, printed["psutil"]),
    ):
        deleted, written = json.loads(found)
        print(f"| {name} | {cpu:.0f} ms | {cpu / ours:.1f} | {deleted} | {written} |")
    print(
        f"\nimporting psutil: {importing:.0f} ms, {importing / kit:.1f} of importing the kit "
        f"({kit:.0f} ms)"
    )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""CPU time of check_log_rotation by the number of stanzas, logs and open files.

    sudo tests/benchmarks/log_rotation_many.py [STANZAS LOGS [OPEN FILES] [one]]

Without arguments a table up to 2,500 stanzas, 100,000 logs and 75,000 open files, so that it can be
seen whether the cost is linear. Each log has two rotated copies and a line in the state file; a
stanza is a drop-in of its own, with a directory of its own, or (second half of the table, or "one"
behind the numbers) all are in one directory. "this host" is the check as it would run here. CPU
time is user and system of the process, the start of Python included, bytecode cached as when
installed; the best of three. Root's, since logrotate reads only root's files.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

CHECKS = Path(__file__).resolve().parent.parent.parent / "checks"
SIZES = ((250, 10_000), (2_500, 10_000), (250, 100_000), (2_500, 100_000))
TABLE = [(0, 0, 0, False), (0, 0, 75_000, False)]
TABLE += [(stanzas, logs, 0, one) for one in (False, True) for stanzas, logs in SIZES]
RUN = "from twiceshy.log_rotation.program import main; main()"
HOLDER = """
import resource, sys
count = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = [open("/etc/passwd", "rb") for _ in range(count)]
print("ready", flush=True)
sys.stdin.read()
"""


def build(home: Path, stanzas: int, logs: int, one: bool) -> list[str]:
    """A tree of that size, healthy; the check's arguments for it."""
    drop_ins = home / "logrotate.d"
    drop_ins.mkdir()
    yesterday = datetime.now() - timedelta(days=1)
    noted = f"{yesterday.year}-{yesterday.month}-{yesterday.day}-6:25:1"
    state = ["logrotate state -- version 2"]
    for number in range(stanzas):
        folder = home / ("log" if one else f"log/app{number}")
        folder.mkdir(parents=True, exist_ok=True)
        (drop_ins / f"app{number}").write_text(
            f"# logs of app {number}\n{folder}/app{number}-*.log {{\n\tweekly\n\trotate 4\n"
            "\tcompress\n\tdelaycompress\n\tmissingok\n\tnotifempty\n\tcreate 0640 root adm\n"
            f"\tsharedscripts\n\tpostrotate\n\t\tsystemctl reload app{number}\n\tendscript\n}}\n"
        )
        for log in range(number, logs, stanzas):
            for ending in (".log", ".log.1", ".log.2.gz"):
                (folder / f"app{number}-{log}{ending}").touch()
            state.append(f'"{folder}/app{number}-{log}.log" {noted}')
    (home / "log").mkdir(exist_ok=True)
    (home / "status").write_text("\n".join(state) + "\n")
    (home / "logrotate.conf").write_text(f"weekly\nrotate 4\ncreate\ninclude {drop_ins}\n")
    return [
        f"--config={home}/logrotate.conf", f"--state-file={home}/status", f"--log-dir={home}/log",
        "--no-docker", "--timeout=10m",
    ]  # fmt: skip


def cpu_milliseconds(arguments: list[str], state: str) -> tuple[float, str]:
    """Of the best of three runs after a first one, and what the last one printed."""
    env = {**os.environ, "PYTHONPATH": str(CHECKS), "PYTHONPYCACHEPREFIX": f"{state}/bytecode"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    times = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run(
            [sys.executable, "-c", RUN, f"--state-dir={state}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=env,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times[1:]) * 1000, ran.stdout


@contextlib.contextmanager
def open_files(count: int) -> Iterator[None]:
    """Processes that hold so many files open."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 20
    with contextlib.ExitStack() as stack:
        while count > 0:
            holder = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLDER, str(min(count, most))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            assert holder.stdout is not None
            assert holder.stdout.readline()
            count -= most
        yield


def measure(stanzas: int, logs: int, files: int, one: bool) -> None:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="log-rotation-") as place, open_files(files):
        home = Path(place)
        (home / "state").mkdir(mode=0o700)
        arguments = build(home, stanzas, logs, one)
        spent, output = cpu_milliseconds(arguments, f"{home}/state")
        found = re.search(r"covered=(\d+)", output)
        assert found is not None, output
        assert int(found[1]) == logs, output
    each = f"{spent / logs * 1000:7.1f}" if logs else "      -"
    place = "one" if one else "each"
    print(f"{stanzas:8,} {logs:8,} {place:>9} {files:10,} {spent:8.0f} {each}")


def main() -> None:
    """Print the table."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, Linux", end=" ")
    print(f"{platform.release()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o700)
        spent, _ = cpu_milliseconds(["--timeout=10m"], state)
    print(" stanzas     logs directory open files   CPU ms  us/log")
    print(f"this host                              {spent:8.0f}")
    numbers = [int(one) for one in sys.argv[1:] if one != "one"]
    if numbers:
        stanzas, logs, files = (*numbers, 0)[:3]
        measure(stanzas, logs, files, "one" in sys.argv)
    else:
        for row in TABLE:
            measure(*row)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""CPU time of the rounds against that of the same checks run one by one, on this host.

    tests/benchmarks/rounds_cpu.py [RUNS]

Both as they are when installed (console scripts, bytecode cached), with the same Python and no
history shared with the host's own. The rounds leave out what does not apply to this host, which a
check that is run by itself cannot know; so there is a second figure for those that apply alone. CPU
time is user and system, children included, so that a loaded machine does not matter much; the
median of RUNS (default 5) counts. On a machine with a thousand processes of others, a quiet one:
unshare --pid --fork --mount-proc --kill-child tests/benchmarks/rounds_cpu.py
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKS = Path(__file__).resolve().parent.parent.parent / "checks"


def cpu_seconds(commands: list[list[str]], env: dict[str, str]) -> float:
    """User and system time of these commands, one after the other."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure and print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o700)
        env = {
            **os.environ,
            "PYTHONPATH": str(CHECKS),
            "TWICESHY_STATE_DIR": state,
            "PYTHONPYCACHEPREFIX": f"{state}/bytecode",
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        rounds = [sys.executable, "-m", "twiceshy"]
        seen = subprocess.run(
            [*rounds, "--json"], env=env, capture_output=True, text=True, check=False
        )
        told = json.loads(seen.stdout)
        applying = sorted(check["name"] for check in told["checks"])
        names = sorted([*applying, *told["not_applicable"]])
        alone = {
            name: [sys.executable, "-c", f"from check_{name} import main; main()"] for name in names
        }
        for command in alone.values():  # the bytecode
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
        together, fewer, single, few = [], [], [], []
        each: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(runs):
            together.append(cpu_seconds([rounds], env))
            fewer.append(cpu_seconds([[*rounds, *applying]], env))
            for name, command in alone.items():
                each[name].append(cpu_seconds([command], env))
            single.append(sum(times[-1] for times in each.values()))
            few.append(sum(each[name][-1] for name in applying))
    for name, times in each.items():
        print(f"{name:20} {statistics.median(times) * 1000:7.0f} ms")
    for words, alike, by_one in (
        (f"all {len(names)}", together, single),
        (f"the {len(applying)} that apply", fewer, few),
    ):
        one, all_ = statistics.median(alike), statistics.median(by_one)
        print(f"{words}: one by one {all_ * 1000:.0f} ms, the rounds {one * 1000:.0f} ms", end="")
        print(f" = {100 * one / all_:.0f} %")


if __name__ == "__main__":
    main()

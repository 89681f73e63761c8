"""What 200 endpoints cost: wall time, CPU per endpoint, memory; and what one curl process costs.

    python tests/benchmarks/config_freshness_many.py

The server runs in a process of its own, so that its CPU is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from sides.endpoint import Endpoint  # noqa: E402

COUNT = 200


def spent(argv: list[str]) -> tuple[float, float, int, int]:
    """Wall seconds, CPU seconds, KiB and exit status of a process."""
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.WEXITSTATUS(status)
    return (
        time.monotonic() - began,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss,
        process.returncode,
    )


def serve() -> None:
    body = b'{"version": 1, "text": "%s"}' % (b"x" * 3000)
    with Endpoint(body=body) as honest, Endpoint(manner="silent") as silent:
        print(json.dumps([honest.url, silent.url]), flush=True)
        sys.stdin.read()


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    honest, silent = json.loads(server.stdout.readline())
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "endpoints.json")
        script = str(ROOT / "checks" / "check_config_freshness.py")
        base = [sys.executable, script, "--state-dir", f"{place}/state"]
        for title, table in (
            ("1 endpoint", {"c0/a": honest}),
            (f"{COUNT} endpoints", {f"c{n}/a": honest for n in range(COUNT)}),
            (
                f"{COUNT} endpoints, one silent, -t 4s",
                {**{f"c{n}/a": honest for n in range(COUNT - 1)}, "c0/b": silent},
            ),
        ):
            file.write_text(json.dumps({"endpoints": table}))
            more = ["-t", "4s"] if "silent" in title else []
            for run in ("first", "next"):
                wall, cpu, memory, status = spent([*base, "--endpoints", str(file), *more])
                print(
                    f"{title}, {run} run: {wall:.2f}s wall, {1000 * cpu / len(table):.1f}ms CPU "
                    f"per endpoint, {memory // 1024}MiB, exit {status}"
                )
    curl = [spent(["curl", "-s", honest]) for _ in range(20)]
    print(f"one curl process: {1000 * min(c[1] for c in curl):.1f}ms CPU at least, "
          f"{1000 * sum(c[1] for c in curl) / 20:.1f}ms on average")  # fmt: skip
    server.communicate("")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()

#!/usr/bin/env python3
"""What a run of check_flapping costs beside the commands that it cannot do without.

    sudo tests/benchmarks/flapping_300_services.py      starts a systemd of its own, see live/lab.py

Best of five, in seconds. "own" is the CPU time of the check without its children.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "checks")]

from live.lab import Lab  # noqa: E402
from twiceshy.flapping.supervisors import systemd  # noqa: E402

CPU = """
import os, resource, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(1, f"{used.ru_utime + used.ru_stime:.3f}".encode())
"""


def main() -> None:
    with Lab() as lab:
        check = lab.install_checks() + "/check_flapping.py"
        lab.write("/opt/cpu.py", CPU)
        lab.unit("many@.service", "[Service]\nRestart=always\nExecStart=/bin/sleep 100000\n")
        lab.run(["systemctl", "daemon-reload"])

        def best(*argv: str) -> float:
            def once() -> float:
                began = time.perf_counter()
                lab.run(argv)
                return time.perf_counter() - began

            return min(once() for _ in range(5)) - enter

        enter = 0.0
        enter = best("true")
        print("services  check  own    systemctl  journalctl  python+nagiosplugin  ratio")
        for services in (50, 300):
            lab.run(["systemctl", "start", *(f"many@{n}" for n in range(services))])
            whole = best("/usr/bin/python3", check)
            own = min(
                float(lab.run(["/usr/bin/python3", "/opt/cpu.py", check]).stdout.split()[-1])
                for _ in range(5)
            )
            show = best("systemctl", "show", "-p", systemd.PROPERTIES, "--", "*.service")
            ids = [f"MESSAGE_ID={message}" for message in systemd.MESSAGES]
            journal = best("journalctl", "-q", "-o", "json", "--since=-900s", "_PID=1", *ids)
            path = f"import sys; sys.path.insert(0, {str(Path(check).parent)!r})"
            bare = best("/usr/bin/python3", "-c", f"{path}; import nagiosplugin")
            print(
                f"{services:8}  {whole:.3f}  {own:.3f}  {show:9.3f}  {journal:10.3f}  "
                f"{bare:19.3f}  {whole / (show + journal + bare):5.2f}"
            )


if __name__ == "__main__":
    main()

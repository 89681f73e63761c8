"""A status.dat of a big site, streamed: seconds and the process's largest size.

    python3 tests/benchmarks/monitor_liveness_status.py [SERVICES]

100,000 services with long output make 300 MB. The aim: within 64 MiB, under 3 s.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "monitor_liveness" / "nagios-status-healthy-4.4.6.dat"
SERVICE_BYTES = 3000


def write_status(path: Path, services: int) -> None:
    """The captured file with its one active service many times over, under names of their own."""
    head, _, rest = DATA.read_text().partition("servicestatus {")
    block = "servicestatus {" + rest.split("servicestatus {")[1].split("\t}\n")[0] + "\t}\n\n"
    padding = "long_plugin_output=" + "x" * (SERVICE_BYTES - len(block))
    block = block.replace("long_plugin_output=", padding)
    with path.open("w") as stream:
        stream.write(head)
        for number in range(services):
            stream.write(
                block.replace("host_name=here", f"host_name=h{number // 50}").replace(
                    "service_description=pulse", f"service_description=s{number}"
                )
            )


def measured(path: Path) -> tuple[int, float, float]:
    """Services seen, seconds, and the process's largest size in MiB so far."""
    sys.path.insert(0, str(ROOT / "checks"))
    from twiceshy.monitor_liveness.monitors import nagios_files

    config = nagios_files.Config(str(path), "", "")
    began = time.monotonic()
    with path.open("rb", buffering=0) as stream:
        status = nagios_files.read_status(stream, time.time(), config, pulse="h5;s270")
    seconds = time.monotonic() - began
    return (
        int(status.expected_per_minute),
        seconds,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--read":
        print(*measured(Path(sys.argv[2])))
        sys.exit()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "status.dat"
        write_status(path, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
        size = path.stat().st_size / 1e6
        _, seconds, mebibytes = measured(path)
        print(f"{size:.0f} MB in {seconds:.2f}s, largest size {mebibytes:.0f} MiB")

"""The outage of 2008: the monitor itself had hung, and everything looked up."""

from __future__ import annotations

import os
import signal
import sys

from twiceshy.kit.drill import Drill, Play, Sandbox

OUTAGE = "the monitor daemon hangs: its process is there, its last words still say that all is well"

DAEMON = """
import os, sys, time
directory = sys.argv[1]
open(directory + "/watchd.pid", "w").write(str(os.getpid()))
while True:
    with open(directory + "/heartbeat.new", "w") as heartbeat:
        heartbeat.write(str(time.time()))
    os.rename(directory + "/heartbeat.new", directory + "/heartbeat")
    time.sleep(0.5)
"""


def stage(box: Sandbox) -> Play:
    """A monitor of a dozen lines that writes a heartbeat."""
    box.start(sys.executable, str(box.write("watchd.py", DAEMON)), str(box.directory))
    pidfile, heartbeat = box.directory / "watchd.pid", box.directory / "heartbeat"
    box.wait_for(heartbeat.exists, "the daemon's heartbeat")
    pid = int(pidfile.read_text())
    return Play(
        arguments=[
            "--monitor=daemon", "--name=watchd", f"--pidfile={pidfile}",
            f"--heartbeat={heartbeat}", "--heartbeat-within=5s", "--startup-grace=0s",
        ],
        fault="the daemon stops in its tracks (SIGSTOP)",
        break_it=lambda: os.kill(pid, signal.SIGSTOP),
        remedy="it continues (SIGCONT)",
        mend_it=lambda: os.kill(pid, signal.SIGCONT),
    )  # fmt: skip


DRILL = Drill(OUTAGE, stage)

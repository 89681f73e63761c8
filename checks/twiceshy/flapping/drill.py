"""The outage of 2015: a daemon that aborts at each start is restarted every second."""

from __future__ import annotations

import os
import signal

from twiceshy.kit.drill import Drill, Play, Sandbox, program

OUTAGE = "a daemon aborts on a mistake in its configuration and is restarted every second"

DAEMON = """#!/bin/sh
# Stands for rsyslogd: it reads its configuration, and then serves until it is told otherwise.
if grep -q mistake '{directory}/daemon.conf'; then
    echo "daemon.conf:1: unknown directive, aborting" >&2
    exit 1
fi
echo $$ > '{directory}/daemon.pid'
exec sleep 86400
"""

LOOP = """#!/bin/sh
# A supervisor of three lines, where no real one is installed.
while :; do
    '{directory}/service/drilld/run' & echo $! > '{directory}/drilld.pid'; wait $!; sleep 0.7
done
"""


def stage(box: Sandbox) -> Play:
    """A supervisor of our own with one daemon: runit's or s6's if installed, else a shell loop."""
    config = box.write("daemon.conf", "listen 514\n")
    directory = str(box.directory)
    run = box.write("service/drilld/run", DAEMON.format(directory=directory), 0o755)
    limits = ["-w", "1", "-c", "2", "--window", "15s"]
    runsvdir = program("runsvdir")
    if runsvdir:
        box.start(runsvdir, "-P", f"{directory}/service")
        supervised = run.parent / "supervise" / "status"
        box.wait_for(supervised.exists, "runsvdir")
        arguments = ["--supervisor", "runit", "--service-dir", f"{directory}/service", *limits]
    else:
        box.start(str(box.write("supervisor", LOOP.format(directory=directory), 0o755)))
        box.wait_for((box.directory / "drilld.pid").exists, "the supervisor")
        arguments = ["--pidfile", f"{directory}/drilld.pid", *limits]

    pidfile = box.directory / "daemon.pid"
    box.wait_for(pidfile.exists, "the daemon")

    def break_it() -> None:
        config.write_text("mistake\n")
        os.kill(int(pidfile.read_text()), signal.SIGTERM)

    return Play(
        arguments=arguments,
        fault="a mistake in daemon.conf; somebody restarts the daemon",
        break_it=break_it,
        remedy="the mistake is removed; the supervisor's next start succeeds",
        mend_it=lambda: config.write_text("listen 514\n"),
        every_seconds=0.5,
    )


DRILL = Drill(OUTAGE, stage)

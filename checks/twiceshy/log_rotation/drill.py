"""The outage of 2014: a library floods the log while its rotation is misconfigured."""

from __future__ import annotations

import os
import subprocess

from twiceshy.kit.drill import Cannot, Drill, Play, Sandbox, program

OUTAGE = "an application floods its log, whose rotation a misplaced comment has switched off"

STANZA = """{directory}/log/player.log {{
    daily
    rotate 7{comment}
    missingok
}}
"""

FLOOD_BYTES = 4 * 1024 * 1024
LINE = "2014-07-01 12:00:00 ERROR player: exception in codec, see the trace that follows\n"


def stage(box: Sandbox) -> Play:
    """A log, its rotation, and one real run of logrotate, so that all is in order."""
    logrotate = program("logrotate")
    if not logrotate:
        raise Cannot("no logrotate: apt install logrotate")
    directory, state = str(box.directory), box.directory / "logrotate.status"
    log = box.write("log/player.log", LINE)

    def configure(comment: str) -> None:
        box.write("logrotate.conf", STANZA.format(directory=directory, comment=comment))

    def rotate(*more: str) -> None:
        subprocess.run(
            [logrotate, *more, "-s", str(state), f"{directory}/logrotate.conf"],
            capture_output=True,
            check=False,
            env=box.environment(),
        )

    def flood() -> None:
        log.write_text(LINE * (FLOOD_BYTES // len(LINE)))

    def break_it() -> None:
        configure("  # the players have small cards")
        flood()

    def mend_it() -> None:
        configure("")
        rotate()

    before = own_root()
    configure("")
    rotate("--force")
    log.write_text(LINE)
    rotate()
    return Play(
        arguments=[
            f"--config={directory}/logrotate.conf", f"--state-file={state}",
            f"--log-dir={directory}/log", "--no-docker", "--big=1MiB",
            # Whether and when this host runs logrotate is not what is staged here.
            "--ignore=schedule-dead",
            # Without root it cannot see who writes to a log, and there is nobody here who does.
            *(["--ignore=unseen"] if before else []),
        ],
        fault="a comment after `rotate 7`, where logrotate allows none; the log is flooded",
        break_it=break_it,
        remedy="the comment is removed, and logrotate has run",
        mend_it=mend_it,
        before=before,
    )  # fmt: skip


def own_root() -> list[str]:
    """What makes our files root's for the check: logrotate ignores those of others."""
    if os.geteuid() == 0:
        return []
    before = ["unshare", "--user", "--map-root-user"]
    try:
        tried = subprocess.run([*before, "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        tried = 1
    if tried:
        raise Cannot("logrotate reads root's files only: needs root, or unprivileged namespaces")
    return before


DRILL = Drill(OUTAGE, stage)

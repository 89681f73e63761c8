"""The outage of 2014, an hour earlier: a filesystem fills while its level is still low."""

from __future__ import annotations

import os
import subprocess

from twiceshy.kit.drill import Cannot, Drill, Play, Sandbox, program

OUTAGE = "an application writes faster than anybody cleans up, on a filesystem that is nearly empty"

# In a mount namespace of its own (and, without root, a user namespace), so that the host never
# sees the mount; it is gone with the last process in it.
HOLDER = "mount -t tmpfs -o size=256m,mode=0755 drill {room} && echo ready >&2 && exec sleep 86400"
WRITER = "while :; do head -c 200000 /dev/zero >>{room}/player.log; sleep 0.1; done"


def stage(box: Sandbox) -> Play:
    """A filesystem of 256 MiB in memory, which only this drill can see."""
    if not (program("unshare") and program("nsenter")):
        raise Cannot("no unshare and nsenter: apt install util-linux")
    room = box.directory / "room"
    room.mkdir()
    own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    holder = box.start("unshare", *own, "sh", "-c", HOLDER.format(room=room), log="holder")

    def is_mounted() -> bool:
        if holder.poll() is not None:
            words = (box.directory / "holder").read_text().strip().splitlines()[-1:]
            raise Cannot(
                f"a filesystem of its own ({' '.join(words) or 'unshare failed'}): needs root, or "
                "unprivileged user namespaces"
            )
        return "ready" in (box.directory / "holder").read_text()

    box.wait_for(is_mounted, "a mount namespace")
    enter = ["nsenter", f"--target={holder.pid}", "--mount"]
    if os.geteuid() != 0:
        enter += ["--user", "--preserve-credentials"]
    writers: list[subprocess.Popen[bytes]] = []

    def break_it() -> None:
        writers.append(box.start(*enter, "sh", "-c", WRITER.format(room=room)))

    def mend_it() -> None:
        for writer in writers:
            writer.kill()
            writer.wait()
        subprocess.run([*enter, "rm", f"{room}/player.log"], check=False)

    return Play(
        arguments=[f"--include={room}", "--sample=1s"],
        fault="the application logs 2 MB per second",
        break_it=break_it,
        remedy="the application is stopped, and its log removed",
        mend_it=mend_it,
        before=enter,
        # It takes a day and a half to learn what is normal; a drill shows what it sees at once.
        is_first_look=True,
    )


DRILL = Drill(OUTAGE, stage)

"""A /proc of a host that does not exist, for observing supervisors without running them."""

from __future__ import annotations

from pathlib import Path

from twiceshy.kit.processes import ProcessTable
from twiceshy.kit.stamps import Stamp

BOOT = "11111111-2222-3333-4444-555555555555"
UPTIME = 100_000.0
WALL = 1_795_255_700.0
NOW = Stamp(BOOT, UPTIME, WALL)


class Proc:
    """A directory that looks like /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/kernel/random").mkdir(parents=True)
        (root / "sys/kernel/random/boot_id").write_text(BOOT + "\n")
        (root / "uptime").write_text(f"{UPTIME} 1.0\n")

    def table(self, now: Stamp = NOW) -> ProcessTable:
        """A snapshot of it."""
        return ProcessTable.observed(now, self.root)

    def add(
        self,
        pid: int,
        ppid: int,
        *words: str,
        age: float = 1000.0,
        state: str = "S",
        faults: int = 0,
        cwd: Path | None = None,
        comm: str = "",
    ) -> str:
        """A process; returns the identity of its life. Without `cwd` it is another user's."""
        directory = self.root / str(pid)
        directory.mkdir()
        comm = comm or words[0].rpartition("/")[2][:15]
        ticks = int((UPTIME - age) * 100)
        # Fields 3.. of proc(5): state ppid pgrp session tty tpgid flags minflt cminflt ...
        fields = [state, ppid, pid, pid, 0, -1, 0, 0, faults, *[0] * 10, ticks, *[0] * 30]
        (directory / "stat").write_text(f"{pid} ({comm}) {' '.join(map(str, fields))}\n")
        (directory / "cmdline").write_text("".join(f"{word}\0" for word in words))
        if cwd is not None:
            (directory / "cwd").symlink_to(cwd)
        return f"{BOOT}:{pid}:{ticks}"

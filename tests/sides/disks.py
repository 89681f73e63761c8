"""Filesystems that a test fills, and the mountinfo that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from twiceshy.disk_growth.culprits import RecentWrites, Search
from twiceshy.disk_growth.filesystem import Mount, Usage
from twiceshy.disk_growth.program import options, plan
from twiceshy.kit.check import Check
from twiceshy.kit.stamps import Stamp

GIB = 1024.0**3


@dataclass
class Disks:
    """Filesystems by mount point; `ask` answers as statvfs would, those in `gone` raise instead."""

    usages: dict[str, Usage] = field(default_factory=dict)
    gone: dict[str, OSError] = field(default_factory=dict)

    def add(self, point: str, used: float = 50, room: float = 100, **more: object) -> None:
        """A filesystem of `room` GiB with `used` GiB in it."""
        self.usages[point] = Usage(
            key=f"uuid of {point}",
            point=point,
            kind="ext4",
            used=used * GIB,
            room=room * GIB,
            free=(room - used) * GIB,
            inodes=1000,
            inodes_room=1_000_000,
        )
        self.usages[point] = replace(self.usages[point], **more)  # type: ignore[arg-type]

    def use(self, point: str, used: float, **more: object) -> None:
        """Now it holds `used` GiB."""
        usage = self.usages[point]
        self.usages[point] = replace(
            usage,
            used=used * GIB,
            free=usage.room - used * GIB,
            **more,  # type: ignore[arg-type]
        )

    def mountinfo(self) -> str:
        return "".join(
            f"{number} 1 8:{number} / {point} rw,relatime shared:1 - ext4 /dev/sd{number} rw\n"
            for number, point in enumerate(self.usages, start=20)
        )

    def ask(self, mount: Mount) -> Usage | None:
        if mount.point in self.gone:
            raise self.gone[mount.point]
        return self.usages[mount.point]


NOTHING_GREW = RecentWrites((), (), (), {}, (), True)


@dataclass
class Watch:
    """Runs of the check on these disks, on a clock of its own."""

    disks: Disks
    state_dir: Path
    now: Stamp = field(default_factory=lambda: Stamp("boot-1", 5000.0, 1_700_000_000.0))
    found: RecentWrites = NOTHING_GREW
    archive: int = 0

    def later(self, seconds: float) -> None:
        self.now = Stamp(self.now.boot, self.now.uptime + seconds, self.now.wall + seconds)

    def look(self, *arguments: str) -> Check:
        """One run of the check."""
        args = options().parse_args(
            ["--state-dir", str(self.state_dir), "--sample", "1ms", *arguments]
        )
        check = plan(
            args,
            clock=lambda: self.now,
            mountinfo=self.disks.mountinfo,
            ask=self.disks.ask,
            seed=lambda *_: self.archive,
            search=self._search,
        )
        check()
        return check

    def _search(self, search: Search) -> RecentWrites:
        return self.found

    def hours(self, hours: float, every: float = 3600, **growth: float) -> None:
        """Run every so often, while disks (srv is /srv) grow by so many GiB per hour."""
        for _ in range(round(hours * 3600 / every)):
            self.later(every)
            for name, per_hour in growth.items():
                usage = self.disks.usages[f"/{name}"]
                self.disks.use(f"/{name}", usage.used / GIB + per_hour * every / 3600)
            self.look()

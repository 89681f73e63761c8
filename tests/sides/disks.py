"""Filesystems that a test fills, and the mountinfo that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from check_disk_growth import Mount, Place

GIB = 1024.0**3


@dataclass
class Disks:
    """Filesystems by mount point; `ask` answers as statvfs would, `stuck` ones raise instead."""

    places: dict[str, Place] = field(default_factory=dict)
    gone: dict[str, OSError] = field(default_factory=dict)

    def add(self, point: str, used: float = 50, room: float = 100, **more: object) -> None:
        """A filesystem of `room` GiB with `used` GiB in it."""
        self.places[point] = Place(
            key=f"uuid of {point}",
            point=point,
            kind="ext4",
            used=used * GIB,
            room=room * GIB,
            free=(room - used) * GIB,
            inodes=1000,
            inodes_room=1_000_000,
        )
        self.places[point] = replace(self.places[point], **more)  # type: ignore[arg-type]

    def use(self, point: str, used: float, **more: object) -> None:
        """Now it holds `used` GiB."""
        place = self.places[point]
        self.places[point] = replace(
            place,
            used=used * GIB,
            free=place.room - used * GIB,
            **more,  # type: ignore[arg-type]
        )

    def mountinfo(self) -> str:
        return "".join(
            f"{number} 1 8:{number} / {point} rw,relatime shared:1 - ext4 /dev/sd{number} rw\n"
            for number, point in enumerate(self.places, start=20)
        )

    def ask(self, mount: Mount) -> Place | None:
        if mount.point in self.gone:
            raise self.gone[mount.point]
        return self.places[mount.point]

"""A host with logrotate: configuration, logs, state file, schedule, processes; in one directory."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from twiceshy.kit.stamps import Stamp
from twiceshy.log_rotation import program as check_log_rotation
from twiceshy.log_rotation.logrotate.host import HostPaths

MAIN = "weekly\nrotate 4\ncreate\ninclude {etc}/logrotate.d\n"
DAY = 86400.0


class Machine:
    """Stock Debian in small: a daily cron job that ran seven hours ago, and a cron daemon."""

    def __init__(self, where: Path, version: str = "3.21.0") -> None:
        self.root = where / "host"
        self.etc = self.root / "etc"
        self.logs = self.root / "var/log"
        self.version = version
        self.now = time.time()
        self.boot = "first"
        for folder in ("etc/logrotate.d", "etc/cron.daily", "var/log", "var/lib/logrotate", "proc"):
            (self.root / folder).mkdir(parents=True, mode=0o755)
        self.history = where / "history"
        self.main(MAIN)
        self.script = self.etc / "cron.daily/logrotate"
        self.script.write_text("#!/bin/sh\n/usr/sbin/logrotate /etc/logrotate.conf\n")
        self.script.chmod(0o755)
        self.process(1, "cron")
        self.state({})

    # Configuration

    def filled(self, text: str) -> str:
        return text.replace("LOG", str(self.logs)).replace("{etc}", str(self.etc))

    def main(self, text: str) -> Path:
        path = self.etc / "logrotate.conf"
        path.write_text(self.filled(text))
        path.chmod(0o644)
        self._aged(path, 30 * DAY)
        return path

    def drop_in(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.etc / "logrotate.d" / name
        path.write_text(self.filled(text))
        path.chmod(mode)
        self._aged(path, 30 * DAY)
        return path

    def stanza(self, name: str, *lines: str, glob: str = "") -> Path:
        """A drop-in of one stanza for LOG/NAME.log."""
        body = "".join(f"    {line}\n" for line in lines)
        return self.drop_in(name, f"{glob or f'LOG/{name}.log'} {{\n{body}}}\n")

    # Logs and state file

    def log(self, name: str, size: int = 1000, age: float = 60.0) -> Path:
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with path.open("wb") as file:
            if size:
                file.write(b"x" * min(size, 4096))
                os.posix_fallocate(file.fileno(), 0, size) if size > 4096 else None
        self._aged(path, age)
        return path

    def state(
        self, entries: dict[str, float], ran: float = 7 * 3600.0, first: bool = False
    ) -> Path:
        """Log name to seconds since its last rotation; the last run was `ran` seconds ago."""
        lines = ["logrotate state -- version 2"]
        for name, age in entries.items():
            when = datetime.fromtimestamp(self.now - age)
            seconds = "0:0" if first else f"{when.minute}:{when.second or 1}"
            lines.append(
                f'"{self.logs / name}" {when.year}-{when.month}-{when.day}-{when.hour}:{seconds}'
            )
        return self.raw_state("\n".join(lines).encode() + b"\n", ran)

    def raw_state(self, content: bytes, ran: float = 7 * 3600.0) -> Path:
        path = self.root / "var/lib/logrotate/status"
        path.write_bytes(content)
        path.chmod(0o640)
        self._aged(path, ran)
        return path

    def _aged(self, path: Path, seconds: float) -> None:
        os.utime(path, (self.now - seconds, self.now - seconds))

    # Processes

    def process(self, pid: int, command: str, real: int = 0) -> None:
        """A process; with `real` its open files are those of a real one."""
        path = self.root / "proc" / str(pid)
        if real:
            path.symlink_to(f"/proc/{real}")
            return
        (path / "fd").mkdir(parents=True)
        (path / "comm").write_text(command + "\n")
        (path / "cmdline").write_text(command + "\0")

    def without(self, pid: int) -> None:
        path = self.root / "proc" / str(pid)
        for name in ("comm", "cmdline"):
            (path / name).unlink()
        (path / "fd").rmdir()
        path.rmdir()

    # The check

    def check(self, *more: str, later: float = 0.0) -> Any:
        """The check, run on this host, `later` seconds from now."""
        argv = [
            "--config", str(self.etc / "logrotate.conf"), "--log-dir", str(self.logs),
            "--logrotate-version", self.version, "--state-dir", str(self.history), "--no-docker",
            "--ignore", "unseen", *more,
        ]  # fmt: skip
        at = Stamp(self.boot, 30 * DAY + later, self.now + later)
        check = check_log_rotation.plan(
            check_log_rotation.options().parse_args(argv),
            paths=HostPaths(self.root, self.root / "proc", os.geteuid()),
            clock=lambda: at,
        )
        check()
        return check

    def codes(self, *more: str, later: float = 0.0) -> dict[str, str]:
        """Code to state of every finding."""
        check = self.check(*more, later=later)
        return {one.code: str(one.state) for one in check.findings if one.code}

    def remarked(self, *more: str) -> str:
        return "\n".join(self.check(*more).remarks)

"""check_disk_growth on real filesystems: loop-mounted images, a hung FUSE mount, a full disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from conftest import ROOT, run_script
from twiceshy.disk_growth import sysstat
from twiceshy.disk_growth.filesystem import parse_mounts
from twiceshy.disk_growth.history import TABLES, recall
from twiceshy.disk_growth.observation import watched
from twiceshy.disk_growth.program import options, plan
from twiceshy.kit import history
from twiceshy.kit.check import Check
from twiceshy.kit.stamps import Stamp

pytestmark = pytest.mark.live

SCRIPT = ROOT / "checks" / "check_disk_growth.py"
MIB = 1024 * 1024
ENV = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
Volume = Callable[..., Path]


def sh(*argv: object) -> str:
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, env=ENV, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def volume(tmp_path: Path, needs: Callable[..., None]) -> Iterator[Volume]:
    """`volume("xfs", 400)` is a mounted filesystem of 400 MiB; `again=` makes it anew in place."""
    needs("mount", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
    mounted: list[Path] = []
    # A short path: the check's first line has room for a directory below it.
    points = Path(tempfile.mkdtemp(prefix="d-"))

    def made(kind: str, mebibytes: int, *mkfs: str, name: str = "vol") -> Path:
        image, point = tmp_path / f"{name}.img", points / name
        if point in mounted:
            sh("umount", point)
            mounted.remove(point)
        point.mkdir(exist_ok=True)
        image.unlink(missing_ok=True)
        image.touch()
        os.truncate(image, mebibytes * MIB)
        sh(f"mkfs.{kind}", *mkfs, "-F" if kind == "ext4" else "-f", "-q", image)
        sh("mount", "-o", "loop", image, point)
        mounted.append(point)
        return point

    yield made
    for point in reversed(mounted):
        subprocess.run(["umount", "-l", str(point)], check=False)
    shutil.rmtree(points, ignore_errors=True)


class Operator:
    """Runs the check on real mounts, on a clock of its own."""

    def __init__(self, state_dir: Path, *include: Path) -> None:
        self.state_dir = state_dir
        self.include = include
        self.now = Stamp("boot", 90_000.0, 1_700_000_000.0)

    def look(self, *more: str, seconds: float = 0) -> Check:
        self.now = replace(self.now, uptime=self.now.uptime + seconds, wall=self.now.wall + seconds)
        named = [word for point in self.include for word in ("--include", str(point))]
        args = options().parse_args(
            ["--state-dir", str(self.state_dir), "--sample", "5ms", *named, *more]
        )
        check = plan(args, clock=lambda: self.now)
        check()
        return check

    def learn(self) -> None:
        """Two quiet days, looked at every hour."""
        for _ in range(49):
            self.look(seconds=3600)


def write(path: Path, mebibytes: float) -> None:
    with open(path, "ab") as file:
        file.write(os.urandom(int(mebibytes * MIB)))
        file.flush()
        os.fsync(file)
    sh("sync", "-f", path)  # btrfs counts when it commits


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_log_that_grows_is_told_with_its_name(volume: Volume, tmp_path: Path, kind: str) -> None:
    point = volume(kind, 400)
    operator = Operator(tmp_path / "state", point)
    operator.learn()
    (point / "log").mkdir()
    for number in range(14):
        # A file each: XFS gives an appended one room ahead, in ever larger steps.
        write(point / "log" / f"debug.{number:02}", 12)
        check = operator.look(seconds=300)
    assert check.exitcode == 2, check.output()
    assert check.summary_str.startswith(f"{point} will be full in ")
    assert f"{point}/log/debug.13 grew most" in check.summary_str
    assert f"Next: tail -n 5 {point}/log/debug.13" in check.output()


def test_a_disk_filled_to_the_last_block_is_full(volume: Volume, tmp_path: Path) -> None:
    for kind in ("ext4", "xfs", "btrfs"):
        point = volume(kind, 400, name=kind)
        with contextlib.suppress(OSError):
            for number in range(50):
                write(point / f"file{number}", 20)
        for number in range(3):
            with contextlib.suppress(OSError):
                write(point / f"small{number}", 0.1)
        check = Operator(tmp_path / "state", point).look()
        assert check.exitcode == 2, check.output()
        assert check.summary_str.startswith(f"{point} is full: "), check.output()


def test_reserved_blocks_are_not_counted_as_room(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 300, "-m", "50")
    with contextlib.suppress(OSError):
        while os.statvfs(point).f_bavail:
            write(point / "file", 4)
    seen = os.statvfs(point)
    assert seen.f_bfree * seen.f_frsize > 100 * MIB
    check = Operator(tmp_path / "state", point).look()
    assert check.summary_str.startswith(f"{point} is full: 0B of")


def test_inodes_that_run_out_are_told(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 100, "-N", "3000")
    operator = Operator(tmp_path / "state", point)
    operator.learn()
    (point / "spool").mkdir()
    for turn in range(14):
        for number in range(150):
            (point / "spool" / f"{turn}-{number}").touch()
        check = operator.look(seconds=300)
    assert check.exitcode == 2, check.output()
    assert f"{point} will run out of inodes in" in check.summary_str
    assert f"most entries are in {point}/spool" in check.summary_str
    with contextlib.suppress(OSError):
        for number in range(3000):
            (point / "spool" / f"last-{number}").touch()
    assert f"{point} is out of inodes: all 3" in operator.look(seconds=300).summary_str


def test_xfs_inodes_that_shrink_with_the_space_are_no_inode_alarm(
    volume: Volume, tmp_path: Path
) -> None:
    point = volume("xfs", 500)
    operator = Operator(tmp_path / "state", point)
    operator.learn()
    before = os.statvfs(point).f_files
    write(point / "data", 380)
    assert os.statvfs(point).f_files < before
    check = operator.look(seconds=300)
    assert "inode" not in check.summary_str


def test_a_grown_filesystem_is_the_same_one(volume: Volume, tmp_path: Path) -> None:
    point = volume("xfs", 320)
    operator = Operator(tmp_path / "state", point)
    operator.learn()
    image = tmp_path / "vol.img"
    os.truncate(image, 640 * MIB)
    device = sh("findmnt", "-no", "SOURCE", point).strip()
    sh("losetup", "-c", device)
    sh("xfs_growfs", point)
    check = operator.look(seconds=300)
    assert check.summary_str == "1 filesystem watched, none full within 48h"
    assert any(
        float(text.split(";")[-1]) > 500 * MIB for text in check.perfdata if "_used=" in text
    )


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_mkfs_on_the_same_mount_point_begins_a_new_history(
    volume: Volume, tmp_path: Path, kind: str
) -> None:
    point = volume(kind, 320)
    operator = Operator(tmp_path / "state", point)
    operator.learn()
    assert operator.look(seconds=300).exitcode == 0
    volume(kind, 320)
    check = operator.look(seconds=300)
    assert check.exitcode == 0
    assert check.summary_str == (
        f"1 filesystem watched, no forecast yet for {point} (0s of history, 1d12h needed)"
    )


def test_a_readonly_filesystem_is_left_out(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 100)

    def seen() -> bool:
        found = parse_mounts(Path("/proc/self/mountinfo").read_text())
        return str(point) in {mount.point for mount in watched(found, (), ())}

    assert seen()
    sh("mount", "-o", "remount,ro", point)
    assert not seen()


def test_a_mount_that_is_missing_does_not_show_its_parents_numbers(
    volume: Volume, tmp_path: Path
) -> None:
    point = volume("ext4", 100)
    operator = Operator(tmp_path / "state", point)
    assert operator.look("--require", str(point), "--learning", "ok").exitcode == 0
    sh("umount", point)
    check = operator.look("--require", str(point), "--learning", "ok")
    assert check.exitcode == 2
    assert check.summary_str.startswith(f"{point} is not mounted: ")
    assert check.perfdata == []
    sh("mount", "-o", "loop", tmp_path / "vol.img", point)


def test_a_hung_mount_costs_only_itself(
    volume: Volume, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("fusermount3")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    point, hung = volume("ext4", 100), tmp_path / "hung"
    hung.mkdir()
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "sides" / "hung_fuse.py"), str(hung)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n"
        began = time.monotonic()
        done = run_script(
            SCRIPT, "--include", str(hung), "--include", str(point), "--learning", "ok",
            "--sample", "20ms", "-t", "8s",
        )  # fmt: skip
        assert done.returncode == 3, done.stdout
        assert f"{hung} does not answer: no answer within 2s" in done.stdout
        assert "_used=" in done.stdout
        assert time.monotonic() - began < 30
        # Without an include it is not even asked.
        done = run_script(SCRIPT, "--learning", "ok", "--sample", "20ms")
        assert str(hung) not in done.stdout
    finally:
        server.kill()
        server.wait()
        subprocess.run(["umount", "-l", str(hung)], check=False)


def test_two_runs_at_once_lose_nothing(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 100)
    arguments = ["--state-dir", str(tmp_path / "state"), "--include", str(point)]
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda _: run_script(SCRIPT, *arguments, "--sample", "20ms", "--learning", "ok"),
                range(4),
            )
        )
    assert [done.returncode for done in runs] == [0, 0, 0, 0], [done.stdout for done in runs]
    with history.History.open("disk_growth", tmp_path / "state", TABLES) as book:
        assert len(recall(book, history.now())) == 1


def test_the_state_on_the_full_disk_hides_no_verdict(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 60)
    operator = Operator(point / "state", point)
    operator.look()
    with contextlib.suppress(OSError):
        for number in range(100):
            write(point / f"file{number}", 1)
    with contextlib.suppress(OSError):
        while True:
            write(point / "rest", 0.01)
    check = operator.look(seconds=300)
    assert check.exitcode == 2
    assert check.summary_str.startswith(f"{point} is full: 0B of ")
    shutil.rmtree(point / "state")
    check = operator.look(seconds=300)
    assert check.exitcode == 2, check.output()


def test_a_deleted_file_that_is_held_open_is_named(volume: Volume, tmp_path: Path) -> None:
    point = volume("ext4", 100)
    with open(point / "held.log", "wb") as held, contextlib.suppress(OSError):
        (point / "held.log").unlink()
        held.write(b"x" * 60 * MIB)
        held.flush()
        os.fsync(held)
        with contextlib.suppress(OSError):
            for number in range(100):
                write(point / f"file{number}", 1)
        check = Operator(tmp_path / "state", point).look()
        assert (
            f"60MiB of it deleted but held open by {Path(sys.executable).name[:6]}"
            in (check.summary_str)
            or f"(pid {os.getpid()}), {point}/held.log" in check.summary_str
        )


def test_sysstat_gives_the_first_run_a_history(
    volume: Volume, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("sadf")
    point = volume("ext4", 100)
    archive = tmp_path / "sa21"
    collector = next(
        path for path in ("/usr/lib/sysstat/sadc", "/usr/lib64/sa/sadc") if os.path.exists(path)
    )
    sh(collector, "-S", "XDISK", "1", "3", archive)
    records = sysstat.parse(sh("sadf", "-d", "-U", archive, "--", "-F"))
    device = sh("findmnt", "-no", "SOURCE", point).strip()
    seen = os.statvfs(point)
    assert records[device], records
    used = (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    assert abs(records[device][0].used - used) < 2 * MIB
    assert records[device][0].inodes == seen.f_files - seen.f_ffree

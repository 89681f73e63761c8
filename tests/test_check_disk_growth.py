"""What is watched, what is remembered, and what the operator reads."""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract import Case
from sides.disks import GIB, Disks, Watch
from twiceshy.command import histories
from twiceshy.disk_growth import history as growth_history
from twiceshy.disk_growth import program as check_disk_growth
from twiceshy.disk_growth import sysstat
from twiceshy.disk_growth.culprits import RecentWrites, Search, searched
from twiceshy.disk_growth.filesystem import Tree, Usage, parse_mounts
from twiceshy.disk_growth.forecast import Series
from twiceshy.disk_growth.judgement import at_first_sight
from twiceshy.disk_growth.observation import tree_usage, watched
from twiceshy.disk_growth.settings import settings_of
from twiceshy.kit import options, subprocesses
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp


def contract_case(tmp_path: Path) -> Case:
    (tmp_path / "tree").mkdir(exist_ok=True)
    return Case(["--directory", str(tmp_path / "tree"), "--sample", "20ms"])


def hanging_case(tmp_path: Path) -> Case:
    """A first look that takes longer than there is time; a mount that hangs is tested live."""
    (tmp_path / "tree").mkdir(exist_ok=True)
    return Case(["--directory", str(tmp_path / "tree"), "--sample", "60s"])


@pytest.fixture
def disks() -> Disks:
    made = Disks()
    made.add("/srv")
    return made


@pytest.fixture
def watch(disks: Disks) -> Iterator[Watch]:
    # In memory where there is some: a story is hundreds of runs, and every run is one fsync.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Watch(disks, Path(place) / "history")


def told(check: object) -> tuple[int, str]:
    return int(check.exitcode), check.summary_str  # type: ignore[attr-defined]


# What is watched

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 254:1 / /srv/my\\040data rw,noatime shared:2 master:1 - xfs /dev/vdb rw
45 27 254:0 /var/lib/docker /var/lib/docker rw - ext4 /dev/vda rw
46 45 0:52 / /var/lib/docker/overlay2/da44/merged rw - overlay overlay rw,lowerdir=/l
47 27 7:0 / /snap/core/1 ro,nodev - squashfs /dev/loop0 ro
48 27 8:1 / /boot ro,relatime - ext4 /dev/sda1 rw
49 27 8:2 / /readonly rw,relatime - ext4 /dev/sda2 ro,errors=remount-ro
50 27 0:60 / /home rw - nfs4 server:/home rw
51 27 0:61 / /mnt/share rw - fuse.sshfs me@host:/ rw
52 27 0:62 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
53 27 0:63 /@ /data rw - btrfs /dev/sdd rw,subvolid=256
54 27 0:64 /@home /data/home rw - btrfs /dev/sdd rw,subvolid=257
55 27 0:65 / /tank rw - zfs tank rw
56 27 0:66 / /run rw - tmpfs tmpfs rw
57 27 0:67 / /auto rw - autofs systemd-1 rw
58 27 8:5 / /mnt/over rw - ext4 /dev/sde1 rw
59 58 8:6 / /mnt/over rw - ext4 /dev/sdf1 rw
not a line of mountinfo
"""


def points(*include: str, exclude: tuple[str, ...] = ()) -> list[str]:
    chosen = watched(
        parse_mounts(MOUNTINFO),
        tuple(options.pattern(text) for text in include),
        tuple(options.pattern(text) for text in exclude),
    )
    return [mount.point for mount in chosen]


def test_one_of_each_local_writable_device_is_watched() -> None:
    assert points() == ["/", "/data", "/mnt/over", "/srv/my data", "/tank"]


def test_network_and_fuse_mounts_are_watched_by_name_only_and_autofs_never() -> None:
    assert points("/home", "/mnt/share", "/auto") == ["/home", "/mnt/share"]


def test_what_is_excluded_is_left_out() -> None:
    assert points(exclude=("/srv/*", "/mnt/*")) == ["/", "/data", "/tank"]


def test_a_mount_hides_the_one_below_it() -> None:
    hidden = [m.source for m in parse_mounts(MOUNTINFO) if m.point == "/mnt/over"]
    assert hidden == ["/dev/sdf1"]


# Stories


def test_the_first_run_is_ok_and_says_that_there_is_no_forecast_yet(watch: Watch) -> None:
    assert told(watch.look()) == (
        0,
        "1 filesystem watched, no forecast yet for /srv (0s of history, 1d12h needed)",
    )


def test_a_first_run_of_several_filesystems_is_one_sentence(watch: Watch, disks: Disks) -> None:
    disks.add("/data")
    disks.add("/home")
    check = watch.look("-v")
    assert told(check) == (
        0,
        "3 filesystems watched, no forecast yet for /data and 2 others "
        "(0s of history, 1d12h needed)",
    )
    assert check.output().splitlines()[1:3] == [
        "/data has no forecast yet: 0s of history, 1d12h needed",
        "/home has no forecast yet: 0s of history, 1d12h needed",
    ]


def test_a_new_filesystem_beside_a_known_one_has_no_forecast_yet(
    watch: Watch, disks: Disks
) -> None:
    watch.hours(80, srv=0.1)
    disks.add("/data")
    assert told(watch.look()) == (
        0,
        "2 filesystems watched, none full within 48h, no forecast yet for /data "
        "(0s of history, 1d12h needed); /srv first, in 17d12h (2023-12-05)",
    )


def test_learning_can_be_unknown_for_those_who_want_to_see_it(watch: Watch, disks: Disks) -> None:
    disks.add("/data")
    check = watch.look("--learning", "unknown")
    assert told(check) == (
        3,
        "/data has no forecast yet: 0s of history, 1d12h needed (+1 more)",
    )
    assert "UNKNOWN: /srv has no forecast yet: 0s of history, 1d12h needed" in check.output()


def test_what_is_full_comes_before_what_has_no_forecast_yet(watch: Watch, disks: Disks) -> None:
    disks.add("/data")
    disks.use("/srv", 100)
    assert told(watch.look()) == (2, "/srv is full: 0B of 100GiB left")
    assert told(watch.look("--learning", "unknown"))[1] == (
        "/srv is full: 0B of 100GiB left (+1 more)"
    )


def test_a_corrupt_history_is_unknown_and_no_new_host(watch: Watch) -> None:
    watch.hours(40)
    (watch.state_dir / "disk_growth.sqlite").write_bytes(b"SQLite format 3\0" + b"torn" * 500)
    words = "/srv has no forecast yet: {} of history, 1d12h needed"
    assert told(watch.look()) == (3, words.format("0s"))
    watch.hours(1, every=300)
    assert told(watch.look()) == (3, words.format("1h13m"))
    watch.hours(36)
    assert told(watch.look()) == (0, "1 filesystem watched, none full within 48h")


def test_after_two_days_all_is_well(watch: Watch) -> None:
    watch.look()
    watch.hours(48)
    assert told(watch.look()) == (0, "1 filesystem watched, none full within 48h")


def test_a_full_disk_is_critical_at_the_first_run(watch: Watch, disks: Disks) -> None:
    disks.use("/srv", 100)
    assert told(watch.look()) == (2, "/srv is full: 0B of 100GiB left")


def test_a_full_disk_stays_critical_although_it_no_longer_grows(watch: Watch, disks: Disks) -> None:
    """netdata issue 7842: the alarm went away when the disk was full."""
    watch.hours(40)
    disks.use("/srv", 100)
    watch.hours(12)
    assert told(watch.look()) == (2, "/srv is full: 0B of 100GiB left")


def test_reserved_blocks_are_not_room(watch: Watch, disks: Disks) -> None:
    disks.add("/srv", used=40, room=41, free=1 * GIB)
    watch.look()
    disks.add("/srv", used=40, room=40, free=0)
    assert told(watch.look()) == (2, "/srv is full: 0B of 40GiB left")


def test_growth_over_hours_is_told_with_the_time_the_rate_and_the_culprit(watch: Watch) -> None:
    watch.hours(200)
    watch.hours(6, every=300, srv=3)
    watch.found = RecentWrites(
        (("/srv/log/debug.log", 20 * GIB),),
        (("/srv/log", 20 * GIB),),
        (("/srv/log", 4),),
        {"/srv/log/debug.log": "java (pid 812)"},
        (),
        True,
    )
    check = watch.look()
    assert told(check) == (
        2,
        "/srv will be full in 10h40m (limit 12h): 32GiB of 100GiB left, "
        "growing by 3GiB per hour over the last 4h; /srv/log/debug.log grew most (20GiB), "
        "written by java (pid 812)",
    )
    assert check.output().splitlines()[-1].startswith("Next: tail -n 5 /srv/log/debug.log | ")
    watch.found = replace(watch.found, files=(("/srv/log/debug.log", 21 * GIB),))
    watch.later(60)
    assert "/srv/log/debug.log grew most (+1GiB), written by" in watch.look().summary_str


def test_deleted_files_that_are_still_open_are_named_first(watch: Watch, disks: Disks) -> None:
    disks.use("/srv", 100)
    watch.found = RecentWrites(
        (("/srv/a", GIB),), (), (), {}, (("mysqld (pid 9), /srv/tmp/x", 40 * GIB),), True
    )
    check = watch.look()
    assert check.summary_str == (
        "/srv is full: 0B of 100GiB left; 40GiB of it deleted but held open by "
        "mysqld (pid 9), /srv/tmp/x"
    )
    assert "Next: lsof -nP +aL1 /srv" in check.output()


def test_a_clean_up_ends_the_alarm(watch: Watch, disks: Disks) -> None:
    watch.hours(40)
    watch.hours(4, every=300, srv=6)
    assert told(watch.look())[0] == 2
    disks.use("/srv", 50)
    watch.hours(1, every=300)
    assert told(watch.look())[0] == 0


def test_inodes_run_out_while_the_bytes_stay(watch: Watch, disks: Disks) -> None:
    watch.hours(40)
    for _ in range(24):
        watch.later(300)
        disks.use("/srv", 50, inodes=disks.usages["/srv"].inodes + 20_000)
        watch.look()
    watch.found = RecentWrites((), (), (("/srv/spool", 900_000), ("/srv", 3)), {}, (), True)
    check = watch.look()
    assert told(check) == (
        2,
        "/srv will run out of inodes in 2h10m (limit 12h): 519000 of 1000000 left, "
        "240000 more per hour over the last 2h; most entries are in /srv/spool (900000)",
    )


def test_no_inode_left_is_critical_at_once(watch: Watch, disks: Disks) -> None:
    disks.add("/srv", inodes=500, inodes_room=500)
    assert told(watch.look()) == (
        2,
        "/srv is out of inodes: all 500 used, no file can be created, although 50GiB are free",
    )


def test_xfs_short_of_space_is_not_called_short_of_inodes(watch: Watch, disks: Disks) -> None:
    disks.add("/srv", used=98, kind="xfs", inodes=500, inodes_room=500)
    assert "inodes" not in watch.look("--learning", "ok").summary_str


def test_min_free_is_as_good_as_full(watch: Watch, disks: Disks) -> None:
    disks.use("/srv", 96)
    assert told(watch.look("--min-free", "5%")) == (
        2,
        "/srv has 4GiB of 100GiB left, less than --min-free (5GiB)",
    )


def test_an_extension_in_the_middle_keeps_the_growth(watch: Watch, disks: Disks) -> None:
    watch.hours(80, srv=0.5)
    place = disks.usages["/srv"]
    disks.usages["/srv"] = replace(place, room=200 * GIB, free=200 * GIB - place.used)
    watch.later(300)
    check = watch.look()
    assert check.summary_str.startswith("1 filesystem watched, none full within 48h; /srv first")


def test_mkfs_on_the_same_mount_point_begins_anew(watch: Watch, disks: Disks) -> None:
    watch.hours(40)
    disks.add("/srv", used=1, key="another uuid")
    assert told(watch.look()) == (
        0,
        "1 filesystem watched, no forecast yet for /srv (0s of history, 1d12h needed)",
    )


def test_a_reboot_with_a_clock_two_hours_back_neither_alarms_nor_forgets(watch: Watch) -> None:
    watch.hours(40)
    watch.now = Stamp("boot-2", 20.0, watch.now.wall - 7200)
    assert told(watch.look()) == (0, "1 filesystem watched, none full within 48h")
    watch.hours(4)
    assert told(watch.look())[0] == 0


def test_a_clock_stepped_within_a_boot_does_not_move_the_looks(watch: Watch) -> None:
    watch.hours(40)
    watch.hours(2, every=300, srv=1)
    watch.now = replace(watch.now, wall=watch.now.wall + 86400 * 365)
    watch.later(300)
    with History.open("disk_growth", watch.state_dir, growth_history.TABLES) as book:
        series = growth_history.recall(book, watch.now)["uuid of /srv"].used
    assert [round(watch.now.wall - at) for at in series.at[-3:]] == [900, 600, 300]


def test_two_looks_within_a_second_are_one_in_the_history(watch: Watch) -> None:
    watch.look()
    watch.later(0.5)
    watch.look()
    rows = sqlite3.connect(watch.state_dir / "disk_growth.sqlite").execute("SELECT * FROM look")
    assert len(rows.fetchall()) == 1


def test_its_history_is_listed_by_mount_point(watch: Watch) -> None:
    watch.look()
    rows = sqlite3.connect(watch.state_dir / "disk_growth.sqlite")
    assert histories.aliases(rows) == {"/srv": "uuid of /srv"}
    assert histories.subjects(rows) == {"uuid of /srv": 2}


def test_the_hours_are_kept_when_the_looks_are_gone(watch: Watch, disks: Disks) -> None:
    watch.hours(50, srv=0.1)
    with History.open("disk_growth", watch.state_dir, growth_history.TABLES) as book:
        known = growth_history.recall(book, watch.now)["uuid of /srv"]
    assert len(known.used.at) <= 12
    assert 48 <= len(known.used.hours) <= 50
    assert list(known.used.hours) == sorted(set(known.used.hours))
    assert [round(x / GIB, 1) for x in known.used.last[-2:]] == [54.8, 54.9]


def test_history_of_a_busy_check_is_bounded(watch: Watch) -> None:
    watch.look()
    with History.open("disk_growth", watch.state_dir, growth_history.TABLES) as book:
        for number in range(1, 500):
            stamp = (watch.now.boot, watch.now.uptime + number, watch.now.wall + number, GIB, 1)
            book.defer("INSERT INTO look VALUES ('uuid of /srv', ?, ?, ?, ?, ?)", stamp)
        book.save()
    watch.hours(2)
    rows = sqlite3.connect(watch.state_dir / "disk_growth.sqlite").execute("SELECT * FROM look")
    assert len(rows.fetchall()) <= growth_history.MOST_SAMPLES + 2


def test_a_mount_that_does_not_answer_leaves_the_others_judged(watch: Watch, disks: Disks) -> None:
    disks.add("/mnt/dead")
    disks.gone["/mnt/dead"] = OSError(107, "Transport endpoint is not connected")
    disks.use("/srv", 100)
    check = watch.look()
    assert told(check) == (2, "/srv is full: 0B of 100GiB left (+1 more)")
    assert (
        "UNKNOWN: /mnt/dead cannot be queried: Transport endpoint is not connected"
        in check.output()
    )


def test_a_missing_mount_is_critical_if_it_is_required(watch: Watch) -> None:
    assert told(watch.look("--require", "/data", "--require", "/srv", "--learning", "ok")) == (
        2,
        "/data is not mounted: what is written there goes to the filesystem above it",
    )


def test_an_include_that_names_no_mount_is_said(watch: Watch) -> None:
    assert told(watch.look("--include", "/no/such")) == (
        3,
        "nothing is mounted that --include names: /no/such",
    )


def test_a_history_that_cannot_be_saved_is_unknown_and_hides_nothing(
    watch: Watch, disks: Disks
) -> None:
    watch.state_dir.parent.joinpath("history").write_text("a file where a directory should be")
    disks.use("/srv", 100)
    check = watch.look()
    assert told(check) == (2, "/srv is full: 0B of 100GiB left (+1 more)")
    assert "UNKNOWN: history cannot be kept" in check.output()


def test_explain_says_what_each_window_made_of_it(watch: Watch) -> None:
    watch.hours(40)
    watch.hours(3, every=300, srv=0.1)
    lines = watch.look("--explain").output()
    assert "Remark: /srv: 1d18h of history" in lines
    assert "Remark: /srv, last 1h: full in " in lines
    assert "not believed: that is beyond the limits" in lines


def test_perfdata_has_no_time_where_nothing_grows(watch: Watch) -> None:
    watch.hours(40)
    assert [text.partition("=")[0] for text in watch.look().perfdata] == [
        "srv_used",
        "srv_free",
        "srv_growth",
        "srv_inodes",
        "srv_inodes_growth",
    ]


def test_perfdata_of_a_growing_disk_begins_with_its_time(watch: Watch) -> None:
    watch.hours(80, srv=0.1)
    first = watch.look().perfdata[0]
    assert first.startswith("srv_full_in=")
    assert first.endswith("s;172800:;43200:;0")


# At first sight


def test_a_disk_that_fills_while_it_is_looked_at_is_critical_at_the_first_run() -> None:
    place = Usage("k", "/srv", "ext4", 60 * GIB, 100 * GIB, 40 * GIB, 1, 100)
    looks = Series([0, 0.5, 1, 1.5, 2], [60 * GIB + n * GIB / 4 for n in range(5)])
    limits = settings_of(check_disk_growth.options().parse_args([])).limits
    finding = at_first_sight(place, looks, limits)
    assert finding is not None
    assert finding.text == (
        "/srv will be full in 1m18s at the rate of the last 2s, 30GiB per minute (limit 12h): "
        "40GiB of 100GiB left, no history yet"
    )
    paused = Series(looks.at, [*looks.used[:4], looks.used[3]])
    assert at_first_sight(place, paused, limits) is None


def test_sysstat_begins_the_history() -> None:
    text = (
        "# hostname;interval;timestamp;FILESYSTEM;MBfsfree;MBfsused;%fsused;"
        "%ufsused;Ifree;Iused;%Iused\n"
        "web1;600;1763636400;/dev/sda1;1024,00;2048.50;66.67;71.79;64000;1536;2.34\n"
        "web1;600;1763637000;/dev/sda1;1000.00;2072.50;67.00;72.00;63999;1537;2.35\n"
        "web1;600;LINUX-RESTART;(2 CPU)\n"
    )
    assert sysstat.parse(text) == {
        "/dev/sda1": [
            sysstat.Record(1763636400.0, 2148007936.0, 1536.0),
            sysstat.Record(1763637000.0, 2173173760.0, 1537.0),
        ]
    }


# Trees and culprits


def test_a_directory_is_counted_as_du_counts_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "sub" / "file", tmp_path / "again")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 10**9)
    (tmp_path / "link").symlink_to("/")
    place = tree_usage(Tree(str(tmp_path), 5))
    du = int(subprocesses.run(["du", "-s", "-B1", str(tmp_path)]).stdout.split()[0])
    assert place is not None
    assert (place.used, place.inodes) == (du, 5)


def test_a_directory_too_large_for_the_time_has_no_size(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    assert tree_usage(Tree(str(tmp_path), -1)) is None


def test_a_watched_directory_is_learning_too(watch: Watch, tmp_path: Path) -> None:
    check = watch.look("--directory", str(tmp_path))
    assert told(check) == (
        0,
        f"1 directory watched, no forecast yet for {tmp_path} (0s of history, 1d12h needed)",
    )


def test_a_directory_that_is_not_there_is_missing(watch: Watch) -> None:
    assert told(watch.look("--directory", "/no/such")) == (2, "/no/such does not exist")


def test_what_grew_is_found_with_its_writer_and_what_is_deleted_but_open(tmp_path: Path) -> None:
    mine = f"python (pid {os.getpid()})"
    with open(tmp_path / "app.log", "wb") as log, open(tmp_path / "gone", "wb") as gone:
        log.write(b"x" * 300_000)
        log.flush()
        os.fsync(log)
        gone.write(b"x" * 200_000)
        gone.flush()
        os.fsync(gone)
        (tmp_path / "gone").unlink()
        (tmp_path / "old").write_bytes(b"x" * 900_000)
        os.utime(tmp_path / "old", (1, 1))
        found = searched(Search(str(tmp_path), 1000, 5))
    assert [path for path, _ in found.files] == [str(tmp_path / "app.log")]
    (writer,) = found.writers.values()
    assert writer.endswith(f"(pid {os.getpid()})"), mine
    assert any(f"(pid {os.getpid()}), {tmp_path}/gone" in who for who, _ in found.deleted)


@pytest.mark.parametrize("typed", ["5GB%", "-", "120%", "abc"])
def test_a_min_free_that_is_no_size_is_refused(typed: str) -> None:
    with pytest.raises((argparse.ArgumentTypeError, SystemExit)):
        check_disk_growth.options().parse_args([f"--min-free={typed}"])

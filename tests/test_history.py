from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twiceshy.kit import history
from twiceshy.kit.history import History
from twiceshy.kit.plugin import UNKNOWN
from twiceshy.kit.stamps import Sample, Stamp, seconds_between

CHECKS = str(Path(__file__).parent.parent / "checks")
NOON = Stamp("boot-1", 1000.0, 50000.0)


def later(seconds: float) -> Stamp:
    return Stamp("boot-1", NOON.uptime + seconds, NOON.wall + seconds)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_what_was_saved_is_there_the_next_time(place: Path) -> None:
    with History.open("story", place) as first:
        first.remember("a", {"restarts": 3}, NOON)
        first.remember("a", {"restarts": 4}, later(60))
        first.write_note("b", "note", NOON)
        assert first.save() is None
    with History.open("story", place) as second:
        assert second.samples("a") == [
            Sample(NOON, {"restarts": 3}),
            Sample(later(60), {"restarts": 4}),
        ]
        assert (second.note("b"), second.note("a")) == ("note", None)
        assert second.subjects() == ["a", "b"]
        assert second.notes() == [("b", Sample(NOON, "note"))]
    assert place.stat().st_mode & 0o777 == 0o700


def test_what_was_not_saved_is_not_there(place: Path) -> None:
    with History.open("story", place) as first:
        first.remember("a", 1, NOON)
    with History.open("story", place) as second:
        assert second.samples("a") == []


def test_old_samples_are_forgotten_also_across_a_reboot(place: Path) -> None:
    with History.open("story", place) as story:
        for seconds in (0, 100, 200):
            story.remember("a", seconds, later(seconds))
        story.forget_before("a", 150, later(200))
        story.save()
        assert [sample.value for sample in story.samples("a")] == [100, 200]
        story.forget_before("a", 50, Stamp("boot-2", 5.0, NOON.wall + 200))
        story.save()
        assert [sample.value for sample in story.samples("a")] == [200]


def test_the_newest_are_kept_and_a_subject_can_be_forgotten(place: Path) -> None:
    with History.open("story", place) as story:
        for n in range(5):
            story.remember("a", n, later(n))
            story.remember("b", n, later(n))
        story.keep_newest("a", 2)
        story.forget("b")
        story.save()
        assert [sample.value for sample in story.samples("a")] == [3, 4]
        assert story.subjects() == ["a"]


def test_a_check_may_have_tables_of_its_own(place: Path) -> None:
    tables = "CREATE TABLE IF NOT EXISTS hourly (subject TEXT, used REAL);"
    with History.open("story", place, tables) as story:
        story.defer("INSERT INTO hourly VALUES (?, ?)", ("a", 1.5))
        story.save()
        assert story.sql.execute("SELECT * FROM hourly").fetchall() == [("a", 1.5)]


@pytest.mark.parametrize(
    ("to", "seconds"),
    [
        (Stamp("boot-1", 1060.0, 50060.0), 60),
        (Stamp("boot-1", 1060.0, 40000.0), 60),
        (Stamp("boot-2", 10.0, 50300.0), 300),
        (Stamp("boot-2", 10.0, 20000.0), 10),
    ],
    ids=["plain", "wall clock stepped back", "reboot", "reboot and the clock stepped back"],
)
def test_time_passes_forward_whatever_the_clocks_do(to: Stamp, seconds: float) -> None:
    assert seconds_between(NOON, to) == seconds


def unsafe(tmp_path: Path, how: str) -> Path:
    place = tmp_path / "place"
    if how == "symlink":
        (tmp_path / "real").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "real")
    elif how == "writable by others":
        place.mkdir()
        place.chmod(0o777)
    elif how == "file":
        place.write_text("")
    elif how == "file in it is a symlink":
        place.mkdir(mode=0o700)
        (place / "story.sqlite").symlink_to("/etc/passwd")
    elif how == "another user's":
        place.mkdir(mode=0o700)
        os.chown(place, 12345, 12345)
    return place


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("symlink", "is a symlink"),
        ("writable by others", "is writable by others; chmod 700 it"),
        ("file", "is not a directory"),
        ("file in it is a symlink", "is not a regular file; remove it"),
        pytest.param(
            "another user's",
            "belongs to uid 12345, not to uid 0",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root"),
        ),
    ],
)
def test_an_unsafe_place_is_said_every_time_and_not_used(
    tmp_path: Path, how: str, words: str
) -> None:
    place = unsafe(tmp_path, how)
    for _ in range(2):
        with History.open("story", place) as story:
            story.write_note("a", 1, NOON)
            finding = story.save()
            assert finding is not None
            assert finding.state is UNKNOWN
            assert finding.text.startswith("history cannot be kept: ")
            assert words in finding.text
            assert story.note("a") is None


def test_a_user_without_a_home_is_told_to_give_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWICESHY_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    with History.open("story") as story:
        finding = story.save()
    assert finding is not None
    assert finding.text == (
        "history cannot be kept: this user has no home directory; give --state-dir"
    )


def test_a_read_only_file_is_unknown_and_still_read(place: Path) -> None:
    with History.open("story", place) as first:
        first.write_note("a", 1, NOON)
        first.save()
    with History.open("story", place) as second:
        second.sql.execute("PRAGMA query_only = 1")
        second.write_note("a", 2, NOON)
        finding = second.save()
        assert finding is not None
        assert "is read-only" in finding.text
        assert second.note("a") == 1


def test_a_file_torn_in_the_middle_is_set_aside(place: Path) -> None:
    with History.open("story", place) as first:
        for n in range(2000):
            first.remember("a", "x" * 50, later(n))
        first.save()
    file = place / "story.sqlite"
    octets = bytearray(file.read_bytes())
    octets[40000:60000] = os.urandom(20000)
    file.write_bytes(octets)
    with History.open("story", place) as second:
        assert "the history file was corrupt; started a new one" in second.remark
        assert second.samples("a") == []
        assert second.save() is None
    assert (place / "story.sqlite.torn").exists()


def test_another_run_that_holds_the_file_for_long_is_unknown(place: Path) -> None:
    with History.open("story", place) as first, History.open("story", place) as second:
        first.sql.execute("BEGIN IMMEDIATE")
        second.sql.execute("PRAGMA busy_timeout = 50")
        second.write_note("a", 1, NOON)
        finding = second.save()
        assert finding is not None
        assert "another run has held it" in finding.text
        first.sql.execute("ROLLBACK")
        assert second.save() is None
        assert second.note("a") == 1


WRITER = """
import sys
from pathlib import Path
from twiceshy.kit.history import History, now
n = 0
while True:
    with History.open("story", Path(sys.argv[1])) as story:
        n += 1
        story.write_note("one", n, now())
        story.write_note("two", n, now())
        assert story.save() is None
    print(n, flush=True)
"""


def writer(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place)],
        env={**os.environ, "PYTHONPATH": CHECKS},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_kill_9_at_any_instant_leaves_the_old_state_or_the_new_one(place: Path) -> None:
    for attempt in range(6):
        process = writer(place)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.013 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with History.open("story", place) as story:
            assert story.remark == ""
            assert story.note("one") == story.note("two")
            assert story.note("one") >= 1


def test_two_runs_at_once_lose_nothing(place: Path) -> None:
    program = """
import sys
from pathlib import Path
from twiceshy.kit.history import History, now
for n in range(15):
    with History.open("story", Path(sys.argv[1])) as story:
        story.remember(sys.argv[2], n, now())
        finding = story.save()
        assert finding is None, finding
"""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(place), who],
            env={**os.environ, "PYTHONPATH": CHECKS},
        )
        for who in ("a", "b")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    with History.open("story", place) as story:
        assert [len(story.samples(who)) for who in ("a", "b")] == [15, 15]


def test_one_save_is_one_transaction(place: Path) -> None:
    with History.open("story", place) as story:
        for n in range(50):
            story.remember("a", n, NOON)
        story.defer("THIS IS NOT SQL")
        finding = story.save()
        assert finding is not None
        assert not story.sql.in_transaction
        assert story.samples("a") == []
        with pytest.raises(sqlite3.OperationalError):
            story.sql.execute("ROLLBACK")


def test_now_is_in_this_boot() -> None:
    one, other = history.now(), history.now()
    assert one.boot == other.boot
    assert 0 <= seconds_between(one, other) < 5

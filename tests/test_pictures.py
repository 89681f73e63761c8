"""Pictures: the terminal's letter by letter, the others as files that are what they say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from twiceshy.command import roster
from twiceshy.command.plot import terminal as charts
from twiceshy.container_restarts import history as container_restarts
from twiceshy.disk_growth import history as disk_growth
from twiceshy.flapping.counting import Gap, Record
from twiceshy.kit import history
from twiceshy.kit.figures import Curve, Event, Span, Timeline
from twiceshy.kit.plugin import CheckError

HOUR = 3600.0
GIB = 1024.0**3


def growing(forecast: bool = True) -> Curve:
    """Ten hours of growth from nothing to half full, and as long until it is full."""
    points = [(hour * HOUR, hour * GIB) for hour in range(11)]
    return Curve(
        title="/srv: bytes used",
        points=points,
        full=20 * GIB,
        forecast=[points[-1], (20 * HOUR, 20 * GIB)] if forecast else [],
        spans=[
            Span(6 * HOUR, 10 * HOUR, "4h: full in 10h, believed", True),
            Span(2 * HOUR, 10 * HOUR, "8h: no growth", False),
        ],
        notes=["full in 10h"],
    )


@pytest.fixture(autouse=True)
def _greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_growth_its_forecast_and_the_window_that_decided() -> None:
    assert charts.curve(growing(), 32, 4, is_unicode=False).splitlines() == [
        "/srv: bytes used",
        "    20GiB |               .....",
        "          |          .....",
        "    10GiB |        ###",
        "          |   ########",
        "          +--------------------",
        "           00:00:00    20:00:00",
        "         *       ====",
        "           4h: full in 10h, believed",
        "             --------",
        "           8h: no growth",
        "  full in 10h",
    ]


def test_letters_of_a_terminal_that_can_show_eighths() -> None:
    chart = charts.curve(growing(forecast=False), 32, 4)
    assert "▃" in chart
    assert "·" in charts.curve(growing(), 32, 4)


def test_a_series_of_one_look_can_be_drawn() -> None:
    curve = Curve("/", [(0.0, 1.0)], 2.0, [], [], [])
    assert "/" in charts.curve(curve, 80, 8)


def test_restarts_on_a_time_line() -> None:
    line = Timeline(
        "rsyslog: restarts",
        0.0,
        HOUR,
        [Event(0, 60, 1, "1 by hand"), Event(3500, 3590, 9, "9 crashed")],
    )
    assert charts.timeline(line, 32, 10, is_unicode=False).splitlines() == [
        "rsyslog: restarts: 10 in 1h",
        "          .                  #",
        "          --------------------",
        "          00:00:00    01:00:00",
        "  00:01:00  1 by hand (within 1m)",
        "  00:59:50  9 crashed (within 1m30s)",
    ]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_pictures_are_files_of_their_kind(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    from twiceshy.command.plot import image as artwork

    for name, picture in (("a", growing()), ("b", Timeline("t", 0, 1, [Event(0, 1, 2, "2")]))):
        artwork.draw(picture, tmp_path / (name + suffix))
        assert (tmp_path / (name + suffix)).read_bytes().startswith(magic)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    from twiceshy.command.plot import image as artwork

    with pytest.raises(CheckError, match=r"must end in .png, .svg"):
        artwork.draw(growing(), tmp_path / "a.doc")


def known(name: str) -> roster.Entry:
    """A check of this checkout; skips where it is not (yet) there."""
    entries = [entry for entry in roster.found() if entry.name == name]
    if not entries or not roster.file_of(entries[0]):
        pytest.skip(f"check_{name} is not in this checkout")
    return entries[0]


def test_the_disk_check_s_own_history_is_drawn(tmp_path: Path) -> None:
    at = history.now()
    with history.History.open("disk_growth", tmp_path, disk_growth.TABLES) as book:
        for ago in range(36, 0, -1):
            seconds = ago * 600
            book.defer(
                "INSERT INTO look VALUES ('k', ?, ?, ?, ?, 1)",
                (at.boot, at.uptime - seconds, at.wall - seconds, GIB * (36 - ago)),
            )
        book.defer("INSERT INTO filesystem VALUES ('k', '/no/such/place', ?)", (at.wall,))
        assert book.save() is None
    drawn = roster.load(known("disk_growth")).picture(tmp_path, None, at)
    assert drawn.title == "/no/such/place: bytes used"
    assert drawn.points[-1][1] == 35 * GIB
    assert {span.words.partition(":")[0] for span in drawn.spans} >= {"1h", "2h", "4h"}
    with pytest.raises(CheckError, match="there are: /no/such/place"):
        roster.load(known("disk_growth")).picture(tmp_path, "/home", at)


def test_the_flapping_check_s_own_history_is_drawn(tmp_path: Path) -> None:
    at = history.now()
    gap = Gap(at.uptime - 60, at.uptime - 30, 4, 1)
    memory = Record(at.uptime - 100, None, "1", 1, 1, gaps=(gap,))
    with history.History.open("flapping", tmp_path) as book:
        book.write_note("runit:rsyslog", memory.as_note(), at)
        assert book.save() is None
    drawn = roster.load(known("flapping")).picture(tmp_path, "rsyslog", at)
    assert [(event.count, event.words) for event in drawn.events] == [(5, "4 crashed, 1 manual")]


def test_the_container_check_s_own_history_is_drawn(tmp_path: Path) -> None:
    at = history.now()
    with history.History.open("container_restarts", tmp_path, container_restarts.TABLES) as book:
        columns = [row[1] for row in book.sql.execute("PRAGMA table_info(restart)")]
        values = {"grp_name": "web", "by": "policy", "count": 7, "span": 30.0, "exit_code": 1,
                  "boot": at.boot, "uptime": at.uptime - 5, "wall": at.wall - 5}  # fmt: skip
        row = [values.get(column, 0) for column in columns]
        book.defer(f"INSERT INTO restart VALUES ({','.join('?' * len(row))})", row)
        assert book.save() is None
    drawn = roster.load(known("container_restarts")).picture(tmp_path, "web", at)
    assert [(event.count, event.words) for event in drawn.events] == [(7, "7 by policy, exit 1")]


def test_what_remembers_nothing_yet_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="has no history yet"):
        roster.load(known("flapping")).picture(tmp_path, None, history.now())

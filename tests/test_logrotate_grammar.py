"""Logrotate's language: real mismatches that became fixtures, and no way to break it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twiceshy.log_rotation.logrotate import forecast, grammar, names, state
from twiceshy.log_rotation.logrotate import glob as shell
from twiceshy.log_rotation.logrotate.grammar import Directory, Matches, Source

V321 = (3, 21, 0)
VERSIONS = [(3, 8, 0), (3, 11, 0), (3, 14, 0), (3, 18, 1), V321, (3, 22, 0), grammar.DEVELOPMENT]


@dataclass
class World:
    """A host in a dictionary: path to text."""

    files: dict[str, bytes]
    logs: tuple[str, ...] = ()
    users: dict[str, int] = field(default_factory=lambda: {"root": 0, "#0": 0})

    def source(self, path: str) -> Source:
        if any(one.startswith(path.rstrip("/") + "/") for one in self.files):
            return Source("directory")
        if path not in self.files:
            return Source("", "No such file or directory")
        return Source("file", size=len(self.files[path]), text=self.files[path])

    def names(self, path: str) -> Sequence[str]:
        inside = path.rstrip("/") + "/"
        return [one[len(inside) :] for one in self.files if one.startswith(inside)]

    def matches(self, pattern: str) -> Matches:
        found = [one for one in self.logs if shell.path_matches(pattern, one)]
        return Matches(sorted(found) or [pattern])

    def directory(self, path: str) -> Directory:
        return Directory(1)

    def uid(self, name: str) -> int | None:
        return self.users.get(name)

    gid = uid

    def home(self) -> str:
        return "/root"


def read(text: str, at: grammar.Version = V321, logs: tuple[str, ...] = ()) -> grammar.Reading:
    return grammar.read(
        "/main", World({"/main": text.encode("utf-8", "surrogateescape")}, logs), at
    )


def patterns(text: str, at: grammar.Version = V321) -> list[str]:
    return [stanza.pattern.strip() for stanza in read(text, at).stanzas]


def codes(text: str, at: grammar.Version = V321) -> list[tuple[str, str]]:
    return [(one.code, one.radius) for one in read(text, at).problems]


# Fixtures: each of these was a difference to the real program once, or is one of its oddities.


def test_an_indented_brace_does_not_end_an_error() -> None:
    text = "/a {\n rotate x\n }\n/b {\n}\n/c {\n}\n"
    assert patterns(text) == ["/c"]


def test_the_last_stanza_survives_its_error_when_nothing_ends_it() -> None:
    reading = read("/a {\n daily\n rotate -2\n missingok\n }\n")
    assert [(one.pattern.strip(), one.torn, one.directives.rotate) for one in reading.stanzas] == [
        ("/a", True, -2)
    ]
    assert reading.failed


def test_a_directive_without_its_value_eats_the_next_character() -> None:
    assert patterns("/a {\n rotate\n}\n/b {\n}\n/c {\n}\n") == ["/c"]


def test_a_quote_in_a_name_swallows_the_blanks_up_to_the_brace() -> None:
    assert read("/a'b {\n}\n").stanzas[0].files == ("/ab ",)
    assert read("/a'b {\n}\n", (3, 22, 0)).stanzas[0].files == ("/ab",)


def test_a_carriage_return_behind_a_directive_without_value_is_a_zero() -> None:
    assert read("/a {\nrotate\r\n}\n").stanzas[0].directives.rotate == 0


def test_no_newline_at_the_end_keeps_the_blank_and_makes_an_error() -> None:
    assert read("rotate 5 ").failed
    assert not read("rotate 5 \n").failed


def test_the_last_criterion_wins_and_the_loser_is_reported() -> None:
    stanza = read("/a {\n daily\n size 10k\n}\n").stanzas[0]
    assert (stanza.directives.criterion, stanza.directives.threshold) == ("size", 10240)
    assert [(word, place.line) for word, place in stanza.overridden] == [("daily", 2)]


def test_without_any_directive_a_log_is_deleted_at_one_mebibyte() -> None:
    defaults = read("/a {\n}\n").stanzas[0].directives
    assert (defaults.criterion, defaults.threshold, defaults.rotate) == ("size", 1 << 20, 0)


def test_addextension_is_not_handed_down() -> None:
    assert read("addextension .log\n/a {\n}\n").stanzas[0].directives.addextension is None


def test_comments_among_the_names_are_skipped_since_3_12() -> None:
    text = "/a\n# and {\n/b {\n}\n"
    assert read(text).stanzas[0].files == ("/a", "/b")


def test_a_brace_glob_is_no_glob_and_costs_the_rest_of_the_file() -> None:
    assert codes("/var/log/{a,b} {\n daily\n}\n") == [
        ("config-error", "stanza"),
        ("config-error", "run"),
    ]


def test_tabooext_inside_a_stanza_costs_the_stanza() -> None:
    assert patterns("/a {\n tabooext + .x\n}\n/b {\n}\n") == ["/b"]


@pytest.mark.parametrize("word", ["rotate 7 # x", "size 10MB", "maxage 1w", "create 0640 a b c"])
def test_an_error_at_global_level_costs_all_that_follows(word: str) -> None:
    assert codes(f"{word}\n/a {{\n}}\n") == [("config-error", "run")]
    assert patterns(f"/a {{\n}}\n{word}\n/b {{\n}}\n") == ["/a"]


@pytest.mark.parametrize(
    ("at", "failed"), [((3, 18, 0), False), (V321, True), (grammar.DEVELOPMENT, True)]
)
def test_a_semicolon_is_an_error_since_3_19(at: grammar.Version, failed: bool) -> None:
    assert read("/a {\n daily; \n}\n", at).failed is failed or at < (3, 19, 0)


def test_a_mode_that_is_none_is_an_error_since_3_22() -> None:
    assert not read("/a {\n create root root\n}\n", (3, 22, 0)).failed
    assert read("/a {\n create 0648 root root\n}\n", (3, 22, 0)).failed


def test_a_bad_file_fails_the_run_only_since_3_22() -> None:
    world = World({"/d/a": b"/a {\n}\n"})
    world.source = lambda path: (  # type: ignore[method-assign]
        Source("directory")
        if path == "/d"
        else Source("file", mode=0o664, size=7, text=b"/a {\n}\n")
    )
    assert grammar.read("/d", world, V321).failed is False
    assert grammar.read("/d", world, (3, 22, 0)).failed is True


def test_names_on_the_taboo_list_are_not_read_and_vim_s_dot_files_are() -> None:
    text = b"/%s {\n}\n"
    names = ("a.bak", "b~", "c.old", ".d.swp", "e.dpkg-old", "f")
    world = World({f"/d/{name}": text % name.encode() for name in names})
    assert [one.files[0] for one in grammar.read("/d", world, V321).stanzas] == [
        "/.d.swp",
        "/c.old",
        "/f",
    ]
    assert [one.files[0] for one in grammar.read("/d", world, (3, 22, 0)).stanzas] == [
        "/.d.swp",
        "/f",
    ]


def test_a_duplicate_costs_the_rest_of_its_glob() -> None:
    logs = ("/l/a.log", "/l/b.log", "/l/c.log")
    reading = read("/l/b.log {\n}\n/l/*.log {\n}\n", logs=logs)
    assert [one.files for one in reading.stanzas] == [("/l/b.log",), ("/l/a.log",)]
    assert reading.problems[0].files == ("/l/b.log", "/l/c.log")


@pytest.mark.parametrize(
    ("text", "code", "owner"),
    [
        ("/a {\n create 0640 nosuch adm\n}\n", "config-error", "nosuch"),
        ("/a {\n su root nogroup\n}\n", "config-error", "nogroup"),
        ("create 0640 nosuch root\n", "config-error", "nosuch"),
        ("/a {\n rotate x\n}\n", "config-error", ""),
    ],
)
def test_an_owner_that_does_not_exist_is_a_field_of_the_problem(
    text: str, code: str, owner: str
) -> None:
    assert [(one.code, one.unknown_owner) for one in read(text).problems] == [(code, owner)]


def test_a_word_that_is_wrong_is_a_field_of_the_problem() -> None:
    assert [(one.code, one.word) for one in read("/a {\n dailly\n}\n").problems] == [
        ("directive-unknown", "dailly")
    ]
    leaking = World({"/d/a": b"rotate 3\n/a {\n}\n"})
    assert [(one.code, one.word) for one in grammar.read("/d", leaking, V321).problems] == [
        ("config-leak", "rotate")
    ]


# Nothing breaks it


PIECES = st.sampled_from(
    [
        "/a {", "}", "{", "\n", " ", "daily", "rotate 5", "rotate x", "size 1k", "# c",
        "postrotate", "endscript", "tabooext + .x", "'", '"', "\\", "\r", "\0", "=",
        "su root root", "create 640", "weekly 3", "weekly x", "~/x", "olddir old", "\ufeff",
        "missingok", "compresscmd /bin/xz",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=30), st.sampled_from(VERSIONS))
def test_no_composition_makes_it_raise_or_loop(pieces: list[str], at: grammar.Version) -> None:
    text = "".join(one + random.Random(len(pieces)).choice(["\n", " ", ""]) for one in pieces)
    read(text, at)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from(VERSIONS))
def test_no_bytes_make_it_raise_or_loop(content: bytes, at: grammar.Version) -> None:
    grammar.read("/main", World({"/main": content}), at)
    state.parse(b"logrotate state -- version 2\n" + content)
    shell.matches(content.decode("latin-1"), "name")


def test_what_includes_itself_ends() -> None:
    assert grammar.read("/d", World({"/d/a": b"include /d\n/a {\n}\n"}), V321).failed
    twice = b"include /m\n" * 3 + b"rotate x\n"
    assert grammar.read("/m", World({"/m": twice}), V321).failed


# Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*.log", "a.log", True), ("*.log", ".a.log", False), ("?[!b]", "ab", False),
        ("[^b]x", "ax", True), ("[[:digit:]]*", "7up", True), (r"\*", "*", True),
        (r"\*", "a", False), ("[a-c]", "b", True),
        ("[]a]", "]", True), ("[", "[", True), ("a*b*c", "aXbYc", True), ("*", "", True),
    ],
)  # fmt: skip
def test_globs_fit_as_the_c_library_has_them(pattern: str, name: str, fits: bool) -> None:
    assert shell.matches(pattern, name) is fits


# The state file

TOP = b"logrotate state -- version 2\n"


def test_both_versions_of_the_state_file_are_read() -> None:
    one = state.parse(b'logrotate state -- version 1\n"/a" 2026-1-2\n')
    two = state.parse(
        b'logrotate state -- version 2\n"/a b" 2026-1-2-3:4:5\n"/q\\"\\n" 2026-1-2-3:0:0\n'
    )
    assert one.entries["/a"].when == datetime(2026, 1, 2)
    assert two.entries["/a b"] == state.StateEntry(datetime(2026, 1, 2, 3, 4, 5))
    assert two.entries['/q"\n'].placeholder


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\0\0\0\0", 1), (b"logrotate state -- version 3\n", 1),
        (TOP + b'"/a" 2026-1-1-0:0:1\n"/b" 1812-1-1-0:0:0\n"/c" 2026-1-1-0:0:1\n', 3),
        (TOP + b'"/a" 2026-13-1-0:0:0\n', 2), (TOP + b"nonsense\n", 2),
        (TOP + b'"/a" 2026-1-1-0:0:0', 2),
    ],
)  # fmt: skip
def test_a_damaged_state_file_is_read_up_to_the_damage(content: bytes, line: int) -> None:
    read_ = state.parse(content)
    assert read_.failed
    assert read_.line == line
    assert set(read_.entries) <= {"/a"}


# Turns


@pytest.mark.parametrize(
    ("criterion", "last", "due"),
    [
        ("hourly", datetime(2026, 11, 21, 9, 30), datetime(2026, 11, 21, 10)),
        ("daily", datetime(2026, 11, 21, 9, 30), datetime(2026, 11, 22)),
        ("weekly", datetime(2026, 11, 21, 9, 30), datetime(2026, 11, 22)),
        ("weekly 7", datetime(2026, 11, 21, 9, 30), datetime(2026, 11, 28)),
        ("weekly 6", datetime(2026, 11, 21, 9, 30), datetime(2026, 11, 28)),
        ("monthly", datetime(2026, 12, 31, 9, 30), datetime(2027, 1, 1)),
        ("yearly", datetime(2026, 2, 28, 9, 30), datetime(2027, 1, 1)),
    ],
)
def test_when_a_log_s_turn_comes(criterion: str, last: datetime, due: datetime) -> None:
    stanza = read(f"/a {{\n {criterion}\n}}\n").stanzas[0]
    assert forecast.next_turn(stanza.directives, last, V321) == due


@pytest.mark.parametrize(
    ("criterion", "now", "comes"),
    [
        ("weekly", datetime(2026, 11, 22, 0, 5), True),
        ("weekly", datetime(2026, 11, 23, 0, 5), False),
        ("weekly", datetime(2026, 11, 25, 0, 5), True),
        ("monthly", datetime(2026, 11, 30, 0, 5), False),
        ("monthly", datetime(2026, 12, 3, 0, 5), True),
        ("daily", datetime(2026, 11, 18, 23, 59), False),
    ],
)
def test_a_weekday_that_was_slept_through_does_not_count(
    criterion: str, now: datetime, comes: bool
) -> None:
    stanza = read(f"/a {{\n {criterion}\n}}\n").stanzas[0]
    assert forecast.has_come(stanza.directives, datetime(2026, 11, 18, 6, 30), now, V321) is comes


def test_the_names_of_rotated_logs(tmp_path: Any) -> None:
    listed = sorted(
        [
            "a.log",
            "a.log.1",
            "a.log.2.gz",
            "a.log-20261120",
            "a.log-20261119.gz",
            "a.logger.1",
            "b.log.1",
            "a.log.bak",
        ]
    )
    stanza = read("/l/a.log {\n dateext\n}\n").stanzas[0]
    assert names.siblings("/l/a.log", stanza.directives, listed) == [
        ("a.log-20261119.gz", None), ("a.log-20261120", None), ("a.log.1", 1), ("a.log.2.gz", 2),
    ]  # fmt: skip
    stanza = read("/l/a.log {\n extension .log\n}\n").stanzas[0]
    assert names.siblings("/l/a.log", stanza.directives, ["a.1.log", "a.2.log.gz", "a.log"]) == [
        ("a.1.log", 1), ("a.2.log.gz", 2),
    ]  # fmt: skip


def test_paths_that_are_not_utf_8_survive() -> None:
    raw = os.fsdecode(b"/l/\xe9.log")
    assert grammar.read("/m", World({"/m": b"/l/\xe9.log {\n}\n"}), V321).stanzas[0].files == (raw,)

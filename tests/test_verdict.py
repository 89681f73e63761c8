from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twiceshy.kit import verdict
from twiceshy.kit.check import Check
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import CRITICAL, OK, WARNING
from twiceshy.kit.verdict import Finding, Measure, Report, label, safe


def told(report: Report, verbose: int = 0) -> str:
    check = Check("story", lambda: report, verbose=verbose)
    check()
    return check.output()


def test_when_all_is_well_one_line_says_so() -> None:
    report = Report(
        measures=[Measure("watched", 24)], summary="24 services watched", remarks=["odd"]
    )
    assert told(report) == "STORY OK - 24 services watched | watched=24;"
    assert told(report, 1) == "STORY OK - 24 services watched\nRemark: odd | watched=24;"


def test_a_problem_shows_its_lines_the_others_and_last_the_next_command() -> None:
    report = Report(
        findings=[
            Finding(WARNING, "cron is young", more=("not shown",)),
            Finding(
                CRITICAL, "rsyslog restarted 57 times", more=("bad line 3",), next="journalctl -u x"
            ),
        ],
        measures=[Measure("restarts", 57, "", Limit.parse("2"), Limit.parse("5"), 0)],
        remarks=["the clock stepped"],
    )
    assert told(report) == (
        "STORY CRITICAL - rsyslog restarted 57 times (+1 more)\n"
        "bad line 3\n"
        "WARNING: cron is young\n"
        "Remark: the clock stepped\n"
        "Next: journalctl -u x | restarts=57;2;5;0"
    )


def test_an_ok_finding_is_the_headline_when_nothing_is_wrong() -> None:
    assert told(Report([Finding(OK, "engine restarted 2m ago")], summary="s")) == (
        "STORY OK - engine restarted 2m ago"
    )


def test_the_default_output_stays_under_one_kibibyte_and_keeps_whole_perfdata() -> None:
    report = Report(
        findings=[
            Finding(CRITICAL, f"{n} " + "ü" * 500, more=("y" * 300,) * 50, next="z" * 200)
            for n in range(30)
        ],
        measures=[Measure(f"label_{n}", n) for n in range(200)],
    )
    for verbose, bound in ((0, 1024), (1, 8192)):
        text = told(report, verbose)
        assert len(text.encode()) < bound
        assert text.count("|") == 1
        assert re.fullmatch(r"( label_\d+=\d+;)+", text.partition("|")[2])
        assert "\nNext: zzz" in text


@given(
    st.lists(st.tuples(st.sampled_from([OK, WARNING, CRITICAL]), st.text(), st.lists(st.text()))),
    st.lists(st.tuples(st.text(), st.floats())),
    st.text(),
    st.integers(0, 2),
)
def test_whatever_comes_from_outside_the_output_is_clean(
    findings: list, measures: list, summary: str, verbose: int
) -> None:
    text = told(
        Report(
            [Finding(state, words, tuple(more), next=words) for state, words, more in findings],
            [Measure(label(name, "x"), value, "s") for name, value in measures],
            summary,
            [summary],
        ),
        verbose,
    )
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert text.count("|") <= 1
    assert len(text.encode()) < (8192 if verbose else 1024)
    for item in text.partition("|")[2].split():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+=-?\d+(\.\d+)?s;", item)


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a | b\nc\td", "a / b c d"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("right\u202eleft", "right?left"),
        ("https://user:hunter2@example.org/x?token=abc&b=1", "https://***@example.org/x?token=***&b=1"),
        ("docker -H ssh://nagios@web1:22 logs", "docker -H ssh://nagios@web1:22 logs"),
        ("docker -H ssh://nagios:hunter2@web1 logs", "docker -H ssh://***@web1 logs"),
        ("https://hunter2@example.org/", "https://***@example.org/"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: ***"),
        ("bearer\u00a0abcdefghijklmnop", "bearer ***"),
        ('{"password": "hunter2", "a": 1}', '{"password": "***", "a": 1}'),
        ("DB_PASSWORD=hunter2 ./run", "DB_PASSWORD=*** ./run"),
        ("mysql --password hunter2x", "mysql --password ***"),
        ("x" * 300, "x" * 197 + "..."),
        ("Grüße", "Grüße"),
        ("token bucket is empty", "token bucket is empty"),
    ],
)  # fmt: skip
def test_words_from_outside_are_made_safe(hostile: str, harmless: str) -> None:
    assert safe(hostile) == harmless


@pytest.mark.parametrize(
    ("subject", "clean"),
    [
        ("/", "root_n"),
        ("/var/log", "var_log_n"),
        ("rsyslog", "rsyslog_n"),
        ("pool_01", "pool_01_n"),
        ("a-b.c", "a-b.c_n"),
    ],
)
def test_ordinary_names_keep_their_words_as_labels(subject: str, clean: str) -> None:
    assert label(subject, "n") == clean


NAMES = st.text(st.sampled_from("ab/_ =@.-é"), max_size=6)


@given(NAMES, NAMES)
def test_two_paths_or_two_names_never_share_a_label(one: str, other: str) -> None:
    if one.startswith("/") == other.startswith("/"):
        assert (label(one, "n") == label(other, "n")) == (one == other)


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure("a", 1.5, "s", Limit.parse("2"), None, 0), "a=1.5s;2;;0"),
        (Measure("a", 7.6, "B"), "a=8B;"),
        (Measure("a", 3, "c", minimum=0, maximum=9), "a=3c;;;0;9"),
        (Measure("a", float("inf")), ""),
        (Measure("a", 1 / 3), "a=0.333333;"),
    ],
)
def test_a_measure_is_perfdata_that_every_consumer_reads(measure: Measure, text: str) -> None:
    assert str(measure) == text


def test_learning_says_how_much_is_there_and_how_much_is_needed() -> None:
    assert verdict.learning(40, 300).text == "still learning: 40s of history, 5m needed"

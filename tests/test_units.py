from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twiceshy.kit import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("10s", 10),
        ("1h30m", 5400),
        ("2d", 172800),
        ("500ms", 0.5),
        ("1w", 604800),
        ("1.5h", 5400),
        (" 15 min ", 900),
        ("-5m", -300),
    ],
)
def test_a_duration_is_read_as_typed(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5 parsecs", "h", "1h30x", "1e3", "nan", "--5", "5m:", "１０s"]
)
def test_what_is_no_duration_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; type 30s"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("4096", 4096),
        ("1.5GiB", 1610612736),
        ("10G", 10737418240),
        ("1MB", 1000000),
        ("1kB", 1000),
        ("0.5TiB", 549755813888),
        ("7 B", 7),
    ],
)
def test_a_size_is_read_as_typed(text: str, octets: float) -> None:
    assert units.size(text) == octets


@pytest.mark.parametrize("text", ["", "GiB", "5X", "1e9", "inf"])
def test_what_is_no_size_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; type 4096"):
        units.size(text)


@pytest.mark.parametrize("text", ["1e3", "nan", "inf", "", "1,5", "0x10"])
def test_numbers_have_no_exponents_and_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        units.number(text)


def test_a_percentage_may_have_its_sign() -> None:
    assert (units.percent("85%"), units.percent("85")) == (85.0, 85.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.05, "50ms"),
        (0.9, "0.9s"),
        (2.54, "2.5s"),
        (59.7, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (7199, "2h"),
        (90061, "1d1h"),
        (86399.9, "1d"),
        (-90, "-1m30s"),
    ],
)
def test_a_duration_is_said_in_two_units(seconds: float, words: str) -> None:
    assert units.say_duration(seconds) == words


@pytest.mark.parametrize(
    ("octets", "words"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (1610612736, "1.5GiB"), (2**60, "1024PiB")],
)
def test_a_size_is_said_in_binary_units(octets: float, words: str) -> None:
    assert units.say_size(octets) == words


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_that_was_said_can_be_typed_back(seconds: float) -> None:
    assert units.duration(units.say_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.06)


@given(st.floats(min_value=0, max_value=1e15))
def test_a_size_that_was_said_can_be_typed_back(octets: float) -> None:
    assert units.size(units.say_size(octets)) == pytest.approx(octets, rel=0.06, abs=1)


@given(st.text())
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    for read in (units.duration, units.size, units.number, units.percent):
        try:
            read(text)
        except ValueError:
            pass

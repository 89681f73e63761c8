from __future__ import annotations

import math

import pytest

from twiceshy.kit import units
from twiceshy.kit.limits import Limit, judge, plain
from twiceshy.kit.plugin import CRITICAL, OK, WARNING, CheckError


@pytest.mark.parametrize(
    ("typed", "fine", "broken"),
    [
        ("5", [0, 5], [5.1, -1]),
        ("5:", [5, 1e9], [4.9, -1]),
        ("~:5", [-100, 5], [5.1]),
        ("1:5", [1, 5], [0.9, 5.1]),
        ("@1:3", [0.9, 3.1], [1, 2, 3]),
        ("@5", [-1, 5.1], [0, 5]),
    ],
)
def test_a_range_means_what_the_guidelines_say(
    typed: str, fine: list[float], broken: list[float]
) -> None:
    limit = Limit.parse(typed)
    assert [value for value in fine if limit.broken_by(value)] == []
    assert [value for value in broken if not limit.broken_by(value)] == []
    assert limit.typed == typed


def test_bounds_carry_units() -> None:
    assert Limit.parse("@5m:1h30m", units.duration) == Limit(300, 5400, True, "@5m:1h30m")


def test_a_bare_bound_is_the_least_where_lower_is_worse() -> None:
    limit = Limit.parse("48h", units.duration, lower_is_worse=True)
    assert (limit.broken_by(3600), limit.broken_by(200000)) == (True, False)


@pytest.mark.parametrize("text", ["", ":", "@", "@:", "5:1", "a", "1:2:3", "nan", "~", "~:~"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("typed", "perfdata"),
    [("5m", "300"), ("0:5m", "300"), ("5m:", "300:"), ("~:5m", "~:300"), ("@1:3m", "@1:180")],
)
def test_perfdata_has_base_units_and_plain_numbers_where_it_can(typed: str, perfdata: str) -> None:
    assert Limit.parse(typed, units.duration).perfdata == perfdata


def test_a_value_that_is_not_a_number_is_an_error_and_not_ok() -> None:
    with pytest.raises(CheckError, match="not a number"):
        Limit.parse("5").broken_by(math.nan)


def test_infinity_breaks_an_upper_bound() -> None:
    assert Limit.parse("5").broken_by(math.inf)


def test_critical_is_judged_before_warning() -> None:
    warning, critical = Limit.parse("2"), Limit.parse("5")
    assert judge(6, warning, critical) == (CRITICAL, critical)
    assert judge(3, warning, critical) == (WARNING, warning)
    assert judge(1, warning, critical) == (OK, None)
    assert judge(100, None, None) == (OK, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-7, "0"), (1e20, "100000000000000000000"), (-0.0, "0"), (0.25, "0.25"), (5.0, "5")],
)
def test_plain_numbers_have_no_exponent(value: float, text: str) -> None:
    assert plain(value) == text

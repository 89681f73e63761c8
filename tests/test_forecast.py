"""When will it be full? The scenarios that every other forecast was switched off for, and those it
was bought for. Levels are GiB on a volume of 100, a look every five minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from twiceshy.disk_growth import forecast
from twiceshy.disk_growth.forecast import DAY, HOUR, Outlook, Series

FULL = 100.0
BELIEVE = 48 * HOUR
A_DAY = 288  # looks


def look(series: Series, at: float, level: float, newest: list[float]) -> None:
    """One look more, as the check would remember it; `newest` are those of the current hour."""
    if newest and at // HOUR > series.at[-1] // HOUR:
        series.hours.append(series.at[-1] // HOUR * HOUR)
        series.low.append(min(newest))
        series.last.append(newest[-1])
        series.high.append(max(newest))
        newest.clear()
        del series.at[:-120], series.used[:-120]
    newest.append(level)
    series.at.append(at)
    series.used.append(level)


def seen(levels: Sequence[float | None]) -> Series:
    """The series that the check would remember of these looks; None: nobody looked."""
    series, newest = Series(), []
    for number, level in enumerate(levels):
        if level is not None:
            look(series, number * 300.0, level, newest)
    return series


def over(days: float, level: Callable[[float], float]) -> list[float]:
    """Levels by day, from a function of the day."""
    return [level(look / A_DAY) for look in range(int(days * A_DAY) + 1)]


def outlook(levels: Sequence[float | None]) -> Outlook:
    return forecast.outlook(seen(levels), FULL, BELIEVE)


def alarms(levels: Sequence[float], since_day: float = 0) -> list[float]:
    """The days at which a growth was believed, from a day on."""
    series, newest, believed = Series(), [], []
    for number, level in enumerate(levels):
        look(series, number * 300.0, level, newest)
        if number >= since_day * A_DAY and forecast.outlook(series, FULL, BELIEVE).left is not None:
            believed.append(number / A_DAY)
    return believed


def hours_left(levels: Sequence[float | None]) -> int | None:
    left = outlook(levels).left
    return None if left is None else round(left / HOUR)


# What must be said


def test_a_line_that_is_full_in_thirty_hours_is_full_in_thirty_hours() -> None:
    assert hours_left(over(10, lambda day: 87.5 - (10 - day) * 10)[A_DAY:]) == 30


def test_a_line_that_is_full_in_ten_hours_is_full_in_ten_hours() -> None:
    assert hours_left(over(5, lambda day: 95 - (5 - day) * 12)) == 10


def test_a_line_that_is_full_in_two_hundred_days_is_only_told() -> None:
    slow = outlook(over(14, lambda day: 50 + day * 0.25))
    assert slow.left is None
    assert slow.trend_left is not None
    assert round(slow.trend_left / DAY) == 186


def test_a_runaway_is_told_at_the_second_look_after_it_began() -> None:
    quiet = over(14, lambda day: 30)
    assert hours_left([*quiet, 40]) is None
    assert outlook([*quiet, 40, 50]).left == 25 * 60


def test_a_rotation_that_stopped_is_told_once_the_tooth_is_longer_than_all_before() -> None:
    levels = over(16, lambda day: 60 + 20 * (day % 1 if day < 14 else day - 14))
    assert alarms(levels[: 15 * A_DAY], since_day=10) == []
    assert 7 <= (hours_left(levels[: int(15.4 * A_DAY)]) or 0) <= 15


def test_peaks_that_rise_are_told_although_the_troughs_stay() -> None:
    levels = over(16, lambda day: 30 + (day % 1) * (35 + 2 * day))
    assert 30 <= (hours_left(levels) or 0) <= 40


def test_peaks_that_rise_on_working_days_are_told_at_the_weekend() -> None:
    levels = over(26.5, lambda day: 30 + (day % 1) * (43.2 + day) * (0.6 if day % 7 >= 5 else 1))
    assert 24 <= (hours_left(levels[: int(26.2 * A_DAY)]) or 0) <= 48


def test_a_nightly_staircase_is_told() -> None:
    levels = over(20, lambda day: 98.5 - 2 * (20 - int(day)))
    assert 16 <= (hours_left(levels) or 0) <= 20


def test_the_same_growth_after_a_clean_up_by_hand_is_told_again() -> None:
    levels = over(24, lambda day: 50 + 3 * day if day < 14 else 60 + 4 * (day - 14))[:-1]
    assert hours_left(levels[: int(14.4 * A_DAY)]) is None
    assert hours_left(levels) == 0


def test_growth_goes_on_across_hours_in_which_nobody_looked() -> None:
    levels = over(6, lambda day: 92.5 - (6 - day) * 6)
    night = range(5 * A_DAY, 5 * A_DAY + 240)
    assert hours_left([None if n in night else level for n, level in enumerate(levels)]) == 30


# What must not be said


def test_a_disk_that_is_always_at_94_is_fine() -> None:
    assert alarms(over(14, lambda day: 94)) == []


def test_a_daily_saw_tooth_is_fine_from_the_second_day_on() -> None:
    assert alarms(over(21, lambda day: 70 + 22 * (day % 1)), since_day=1.1) == []


def test_a_weekly_saw_tooth_is_fine_once_it_was_seen() -> None:
    assert alarms(over(21, lambda day: 45 + 35 * (day % 7) / 7), since_day=6) == []


def test_a_weekly_saw_tooth_that_is_nearly_full_is_fine_once_it_was_seen_twice() -> None:
    levels = over(28, lambda day: 60 + 35 * (day % 7) / 7)
    assert alarms(levels, since_day=15) == []
    assert {int(day) for day in alarms(levels, since_day=7)} == {13}


def office_day(day: float, gib: float) -> float:
    """What a host has written by that time of a day, from eight to seven, swept at midnight."""
    return gib * min(1.0, max(0.0, day % 1 * 24 - 8) / 11)


def test_a_busy_day_is_fine_since_it_ends_in_the_evening() -> None:
    levels = over(10, lambda day: 55 + office_day(day, 30 if day > 9 else 18))
    assert alarms(levels, since_day=2) == []


def test_a_day_of_which_the_like_was_never_seen_is_told() -> None:
    levels = over(9.75, lambda day: 55 + office_day(day, 48 if day > 9 else 8))
    assert round(min(alarms(levels, since_day=2)) % 1 * 24) == 12


def test_a_day_three_times_as_busy_is_told_since_its_rest_will_be_so_too() -> None:
    levels = over(9.75, lambda day: 58 + office_day(day, 45 if day > 9 else 14))
    assert round(min(alarms(levels, since_day=2)) % 1 * 24) == 13


def test_a_growth_that_ended_two_hours_ago_is_fine() -> None:
    levels = over(14, lambda day: 60 + 20 * min(1, max(0, day * 24 - 14 * 24 + 9) / 6.5))
    assert alarms(levels, since_day=13.98) == []


def test_in_the_first_week_a_growth_is_believed_half_as_far() -> None:
    def growing(age: float) -> list[float]:
        return over(age, lambda day: 50 + 3 * max(0, (day - age) * 24 + 6))

    assert hours_left(growing(2)) is None
    assert hours_left(growing(8)) == 11


def test_a_saw_tooth_of_five_hours_is_fine() -> None:
    assert alarms(over(7, lambda day: 80 + 15 * (day * 24 / 5 % 1)), since_day=1) == []


def test_a_daily_and_a_weekly_saw_tooth_at_once_are_fine() -> None:
    levels = over(28, lambda day: 50 + 15 * (day % 1) + 25 * (day % 7) / 7)
    assert alarms(levels, since_day=15) == []


def test_a_cache_kept_between_95_and_99_is_fine() -> None:
    assert alarms(over(14, lambda day: 95 + 4 * (day * 1.7 % 1)), since_day=2) == []


def test_a_nightly_dump_is_fine_from_the_second_night_on() -> None:
    levels = over(14, lambda day: 60 + (25 if 1 / 24 < day % 1 < 3 / 24 else 0))
    assert alarms(levels, since_day=1) == []


def test_a_dump_that_is_written_slowly_is_fine_from_the_third_night_on() -> None:
    levels = over(14, lambda day: 60 + 25 * min(1, (day % 1) * 24) * (day % 1 < 4 / 24))
    assert alarms(levels, since_day=2) == []


def test_a_copy_that_stays_is_fine() -> None:
    assert alarms(over(14, lambda day: 60 + (25 if day > 7 else 0))) == []


def test_an_upgrade_of_a_small_root_is_fine() -> None:
    """netdata issue 859: 1.5 of 8 GB by apt-get upgrade, within one interval."""
    levels = over(8, lambda day: 50 + 19 * (day > 7))
    assert alarms(levels, since_day=6) == []


def test_a_restore_onto_a_new_machine_is_fine() -> None:
    levels = over(4, lambda day: min(70, 2 + day * 24 * 35))
    assert alarms(levels) == []


def test_a_shrinking_disk_is_fine() -> None:
    """netdata issue 1173 told of -14871866 hours."""
    shrinking = outlook(over(10, lambda day: 90 - 4 * day))
    assert (shrinking.left, shrinking.trend_left) == (None, None)


def test_a_retention_ramp_is_fine_until_it_would_really_be_full() -> None:
    levels = over(28, lambda day: 10 + 60 * min(1, day / 14))
    assert alarms(levels) == []


def test_one_look_says_nothing() -> None:
    assert outlook(over(0, lambda day: 50)).left is None


def test_no_look_says_nothing() -> None:
    assert forecast.outlook(Series(), FULL, BELIEVE).left is None


def test_two_looks_in_one_second_are_no_runaway() -> None:
    series = seen(over(7, lambda day: 50))
    for used in (50, 60):
        series.at.append(series.at[-1])
        series.used.append(used)
    assert forecast.outlook(series, FULL, BELIEVE).left is None


# How it is told


def test_a_window_says_why_it_is_not_believed() -> None:
    levels = over(14, lambda day: 70 + 22 * (day % 1))[: int(13.75 * A_DAY)]
    told = {w.seconds / HOUR: w.doubt for w in outlook(levels).windows}
    assert told[8] == "it has been this high before and fell again (13 times)"
    assert told[72] == "it did not grow in every part of the window"


def test_climbs_are_told_apart_by_falls() -> None:
    assert forecast.climbs([1, 5, 4.5, 6, 2, 3, 7, 1, 2], 2) == ([(1, 6), (2, 7)], 1)

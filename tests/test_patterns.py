"""Patterns of --include and --exclude."""

from __future__ import annotations

import pytest

from twiceshy.kit.patterns import exactly, matched, pattern, selected


def test_without_selectors_everything_is_selected() -> None:
    assert selected("anything", [], [])


def test_any_name_of_a_thing_selects_it_and_any_excludes_it() -> None:
    assert selected("web", [pattern("web.service")], [], "web.service")
    assert not selected("web", [], [pattern("*.service")], "web.service")


def test_a_glob_is_about_the_whole_name() -> None:
    home = pattern("/home")
    assert [home.matches(name) for name in ("/home", "/data/home")] == [True, False]


def test_exactly_one_name_matches_whatever_its_letters_mean() -> None:
    assert [exactly("a*b").matches(name) for name in ("a*b", "axb", "a*b2")] == [True, False, False]


def test_no_pattern_matches_nothing() -> None:
    assert not matched([], "web")
    assert matched([pattern("x"), pattern("w?b")], "mail", "web")


def test_what_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'re:\(' is not a valid regular expression: "):
        pattern("re:(")

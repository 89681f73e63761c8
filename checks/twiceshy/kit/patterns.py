"""Patterns of names, as --include and --exclude take them: a glob, or `re:REGEX`. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A glob or, with the prefix `re:`, a regular expression searched anywhere in the name."""

    typed: str
    regex: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Whether a name is meant."""
        return self.regex.search(name) is not None


def pattern(text: str) -> Pattern:
    """A pattern as typed; ValueError if it is no regular expression."""
    if not text.startswith("re:"):
        return Pattern(text, re.compile(r"\A" + fnmatch.translate(text)))
    try:
        return Pattern(text, re.compile(text[3:]))
    except re.error as error:
        raise ValueError(f"{text!r} is not a valid regular expression: {error}") from error


def exactly(name: str) -> Pattern:
    """The pattern that matches one name only."""
    return Pattern(name, re.compile(re.escape(name) + r"\Z"))


def matched(patterns: Iterable[Pattern], *names: str) -> bool:
    """Whether any of the patterns matches any of the names of one thing."""
    return any(each.matches(name) for each in patterns for name in names)


def selected(
    name: str, include: Sequence[Pattern], exclude: Sequence[Pattern], *aliases: str
) -> bool:
    """Whether a thing is included (no --include includes all) and not excluded, by any name."""
    if include and not matched(include, name, *aliases):
        return False
    return not matched(exclude, name, *aliases)

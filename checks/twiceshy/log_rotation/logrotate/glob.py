"""Shell patterns as the C library matches them, for logrotate's globs and taboo patterns; pure.

Python's own fnmatch knows neither `[^a]`, nor `[[:alpha:]]`, nor a backslash, nor FNM_PERIOD, and
logrotate's users meet all four.
"""

from __future__ import annotations

import functools
import re

_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9A-Fa-f",
}


def has_magic(pattern: str) -> bool:
    """Whether glob(3) has to look into directories for this."""
    return any(mark in pattern for mark in "*?[")


def literal_head(pattern: str) -> str:
    """What every name that matches begins with."""
    return re.split(r"[*?\[\\]", pattern, maxsplit=1)[0]


def _bracket(pattern: str, start: int) -> tuple[str, int] | None:
    """The regex of the bracket that opens at `start`, and where it ends; None: a literal."""
    at = start + 1
    negated = at < len(pattern) and pattern[at] in "!^"
    at += negated
    items: list[str] = []
    first = True
    while at < len(pattern):
        char = pattern[at]
        if char == "]" and not first:
            body = "".join(items)
            return f"[{'^' if negated else ''}{body}]", at + 1
        first = False
        if pattern.startswith("[:", at):
            end = pattern.find(":]", at)
            name = pattern[at + 2 : end] if end > 0 else ""
            if name in _CLASSES:
                items.append(_CLASSES[name])
                at = end + 2
                continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            char = pattern[at]
        if pattern[at + 1 : at + 2] == "-" and pattern[at + 2 : at + 3] not in ("", "]"):
            high = pattern[at + 2]
            if high >= char:
                items.append(f"{re.escape(char)}-{re.escape(high)}")
            at += 3
            continue
        items.append(re.escape(char))
        at += 1
    return None


@functools.lru_cache(maxsize=4096)
def _regex(pattern: str, period: bool) -> re.Pattern[str]:
    out = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        # FNM_PERIOD: a leading dot of the name is only ever matched by a dot in the pattern.
        guard = r"(?!\.)" if period and at == 0 else ""
        if char == "*":
            out.append(guard + ".*")
            at += 1
        elif char == "?":
            out.append(guard + ".")
            at += 1
        elif char == "[" and (bracket := _bracket(pattern, at)) is not None:
            out.append(guard + bracket[0])
            at = bracket[1]
        elif char == "\\" and at + 1 < len(pattern):
            out.append(re.escape(pattern[at + 1]))
            at += 2
        else:
            out.append(re.escape(char))
            at += 1
    return re.compile("".join(out), re.DOTALL)


def matches(pattern: str, name: str, period: bool = True) -> bool:
    """fnmatch(3) on one path component; `period` is FNM_PERIOD."""
    return _regex(pattern, period).fullmatch(name) is not None


def compiled(pattern: str) -> re.Pattern[str]:
    """For a caller that matches the names of a whole directory."""
    return _regex(pattern, True)


def path_matches(pattern: str, path: str) -> bool:
    """glob(3) asked backwards: would this pattern yield this path?"""
    wanted, parts = pattern.split("/"), path.split("/")
    return len(wanted) == len(parts) and all(matches(one, part) for one, part in zip(wanted, parts))

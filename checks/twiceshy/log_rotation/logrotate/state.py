"""logrotate's state file, versions 1 and 2: when it believes it last rotated each log; pure.

A date in it is no proof: a rotation that failed is written down like one that worked, and a log
that is seen for the first time gets the current hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from twiceshy.log_rotation.logrotate.grammar import path_name, split_words

_TOPS = (b"logrotate state -- version 1\n", b"logrotate state -- version 2\n")
_QUICK = re.compile(rb'"([^"\\\n]+)" (\d+)-(\d+)-(\d+)(?:-(\d+):(\d+):(\d+))?\Z')
_DATE = re.compile(
    r"\s*([+-]?\d+)-([+-]?\d+)-([+-]?\d+)(?:-([+-]?\d+)(?::([+-]?\d+)(?::([+-]?\d+))?)?)?"
)
_LONGEST = 4096


@dataclass(frozen=True)
class StateEntry:
    """When a log was rotated, in local time as written."""

    when: datetime
    placeholder: bool = False
    """Only the hour is known: the log had been seen for the first time, and was not rotated then.
    """


@dataclass(frozen=True)
class StateContent:
    """What logrotate knows after reading its state file."""

    entries: Mapping[str, StateEntry] = field(default_factory=dict)
    error: str = ""
    """Why logrotate stops reading here; it then forgets the dates of this and all later lines."""
    line: int = 0

    @property
    def failed(self) -> bool:
        """Whether logrotate stops reading somewhere, which its exit status shows."""
        return bool(self.error)


def _unescaped(text: str) -> str:
    """What logrotate escapes beside the quoting: backslash, quote and newline."""
    return re.sub(r"\\([\\\"n])", lambda found: "\n" if found[1] == "n" else found[1], text)


def parse(content: bytes) -> StateContent:
    """The entries, up to the first line that logrotate cannot read."""
    if not content:
        return StateContent()
    lines = content.split(b"\n")
    if lines[0] + b"\n" not in _TOPS or len(lines) == 1:
        return StateContent(error="bad top line", line=1)
    entries: dict[str, StateEntry] = {}
    for number, line in enumerate(lines[1:], 2):
        last = number == len(lines)
        if last and not line:
            break
        if last or len(line) > _LONGEST - 3:
            return StateContent(entries, "a line that is unterminated or too long", number)
        line = line.split(b"\0", 1)[0]
        if not line:
            if lines[number - 1]:
                return StateContent(entries, "NUL bytes", number)
            continue
        quick = _QUICK.match(line)
        if quick:
            path = path_name(quick[1])
            fields = [int(one) if one else 0 for one in quick.groups()[1:]]
        else:
            words = split_words(line.decode("latin-1"))
            date = _DATE.match(words[1]) if words and len(words) == 2 else None
            if not words or date is None:
                return StateContent(entries, "bad line", number)
            path = path_name(_unescaped(words[0]).encode("latin-1"))
            fields = [int(one) if one else 0 for one in date.groups()]
        year, month, day, hour, minute, second = fields
        if year != 1900 and not 1970 <= year <= 2100:
            return StateContent(entries, f"bad year {year}", number)
        if not (1 <= month <= 12 and 0 <= day <= 31 and 0 <= hour <= 23):
            return StateContent(entries, "bad date", number)
        if not (0 <= minute <= 59 and 0 <= second <= 59):
            return StateContent(entries, "bad time", number)
        try:
            when = datetime(year, month, max(day, 1), hour, minute, second)
        except ValueError:
            # 31 June: mktime makes it 1 July.
            when = datetime(year + month // 12, month % 12 + 1, 1, hour, minute, second)
        entries[path] = StateEntry(when, placeholder=minute == 0 and second == 0)
    return StateContent(entries)

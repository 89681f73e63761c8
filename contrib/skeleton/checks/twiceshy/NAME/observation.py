"""What is seen: the files that refuse logins. All input and output of a run is here."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe
from twiceshy.NAME.settings import Settings

FIRST_LINE_CHARACTERS = 200


# FILL ME IN: what is seen, and how. Whatever may hang says so with `doing`.
@dataclass(frozen=True)
class Refusal:
    """A file that keeps people out: when it was written (Unix time), and its first line."""

    path: str
    written: float
    first_line: str


def observe(settings: Settings) -> tuple[Refusal, ...]:
    """The files that exist; CheckError if that of one cannot be seen."""
    found = []
    for path in settings.files:
        with deadline.doing(f"reading {safe(path)}"):
            try:
                written, first_line = os.stat(path).st_mtime, ""
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CheckError(f"{safe(path)} cannot be looked up: {error.strerror}") from error
            with contextlib.suppress(OSError), open(path, errors="replace") as file:
                first_line = file.readline(FIRST_LINE_CHARACTERS)
        found.append(Refusal(path, written, first_line))
    return tuple(found)

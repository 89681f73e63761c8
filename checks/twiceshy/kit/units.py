"""Durations, sizes and numbers as operators type them, and back into words.

Pure; the standard library alone. Words that cannot be read raise ValueError with a sentence that
says what would have been right.
"""

from __future__ import annotations

import re
from typing import Callable

Unit = Callable[[str], float]

SECONDS: dict[str, float] = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
}

# A bare K, M, G or T is binary, as in df -h and du -h; kB, MB ... are decimal, as disk makers use.
BYTES: dict[str, float] = {
    "": 1,
    "b": 1,
    **{
        prefix + suffix: base**power
        for power, prefix in enumerate("kmgtp", start=1)
        for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
    },
}

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")


def duration(text: str) -> float:
    """Seconds of "90", "10s", "1h30m", "2d" or "500ms"; a bare number is seconds."""
    complaint = f"{text!r} is not a duration; type 30s, 15m, 1h30m or 2d"
    sign, rest = _sign(text)
    if _NUMBER.fullmatch(rest):
        return sign * float(rest)
    seconds, position = 0.0, 0
    while position < len(rest):
        match = _QUANTITY.match(rest, position)
        if not match or match[2].lower() not in SECONDS:
            raise ValueError(complaint)
        seconds += float(match[1]) * SECONDS[match[2].lower()]
        position = match.end()
    if position == 0:
        raise ValueError(complaint)
    return sign * seconds


def size(text: str) -> float:
    """Bytes of "4096", "10GiB", "1.5GB" or "200M"; a bare letter is binary, as in `df -h`."""
    sign, rest = _sign(text)
    match = _QUANTITY.fullmatch(rest)
    if not match or match[2].lower() not in BYTES:
        raise ValueError(f"{text!r} is not a size; type 4096, 500MiB, 10GiB or 1.5TB")
    return sign * float(match[1]) * BYTES[match[2].lower()]


def number(text: str) -> float:
    """A plain decimal number, without exponent."""
    sign, rest = _sign(text)
    if not _NUMBER.fullmatch(rest):
        raise ValueError(f"{text!r} is not a number")
    return sign * float(rest)


def percent(text: str) -> float:
    """A percentage, with or without its sign: "85%" and "85" are 85.0."""
    try:
        return number(text.strip()[:-1] if text.strip().endswith("%") else text)
    except ValueError:
        raise ValueError(f"{text!r} is not a percentage; type 85%") from None


def _sign(text: str) -> tuple[int, str]:
    text = text.strip()
    return (-1, text[1:].strip()) if text.startswith("-") else (1, text)


def say_duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: "0.9s", "1m30s", "2h", "3d4h"."""
    if seconds < 0:
        return "-" + say_duration(-seconds)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}ms" if 0 < seconds < 0.1 else f"{say_number(seconds)}s"
    if seconds < 9.95:
        return f"{say_number(seconds)}s"
    whole = round(seconds)
    if whole >= 86400:
        whole = round(seconds / 3600) * 3600
    elif whole >= 3600:
        whole = round(seconds / 60) * 60
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def say_size(octets: float) -> str:
    """Bytes in the binary unit that gives one to four digits: "512B", "1.5GiB"."""
    if octets < 0:
        return "-" + say_size(-octets)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if octets < 1023.95 or (unit == "B" and octets < 1024):
            return f"{octets:.0f}B" if unit == "B" else f"{say_number(octets)}{unit}"
        octets /= 1024
    return f"{say_number(octets)}PiB"


def say_number(value: float) -> str:
    """A number with at most one decimal and no needless zero: "3", "2.5", "1200"."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def count(number: float, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 log", "2 logs", "0 processes" (with `plural` "processes")."""
    return f"{say_number(number)} {noun if number == 1 else plural or noun + 's'}"

"""The names of rotated copies, and which of them no rule counts any more; pure.

By logrotate(8): dateext, dateformat, start, extension, addextension, compressext, olddir.
"""

from __future__ import annotations

import bisect
import functools
import posixpath
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from twiceshy.log_rotation.logrotate.grammar import Directives

NOT_LOGS = re.compile(
    r"(\.(gz|bz2|xz|zst|lz4|Z|zip|tgz|journal|journal~|db|sqlite|pid|lock|rrd|wsp)$)"
    r"|(^|/)(lastlog|faillog|tallylog|sa\d\d?(\d{6})?|sar\d\d)$"
)
"""Names below a log directory that are no growing logs: compressed ones, databases, accounting."""
GZIP = "/bin/gzip"
"""What `compress` starts unless `compresscmd` names another program."""


def base_and_extension(path: str, directives: Directives) -> tuple[str, str]:
    """The name that rotated logs begin with, and the extension that they end in."""
    name = posixpath.basename(path)
    extension = ""
    if directives.addextension:
        if name.endswith(directives.addextension):
            name = name[: -len(directives.addextension)]
        extension = directives.addextension
    if directives.extension and name.endswith(directives.extension):
        name, extension = name[: -len(directives.extension)], directives.extension
    return name, extension


def rotated_directory(path: str, directives: Directives) -> str:
    """The directory that rotated copies of a log are put into."""
    parent = posixpath.dirname(path) or "/"
    return posixpath.join(parent, directives.olddir) if directives.olddir else parent


def date_suffix(directives: Directives, when: datetime) -> str:
    """The suffix that `dateext` gives today."""
    if directives.dateyesterday:
        when -= timedelta(days=1)
    if directives.datehourago:
        when -= timedelta(hours=1)
    if directives.dateformat is not None:
        known = re.sub(r"%(?![YmdHMSVsGygjUWuwz])", "%%", directives.dateformat.lstrip(" "))
        return when.strftime(known)
    if directives.criterion == "hourly":
        return when.strftime("-%Y%m%d%H")
    if directives.criterion == "minutes":
        return when.strftime("-%Y%m%d%H%M")
    return when.strftime("-%Y%m%d")


def destination(path: str, directives: Directives, now: datetime) -> str | None:
    """The name that must not exist yet, if a date is in it."""
    if not directives.dateext:
        return None
    name, extension = base_and_extension(path, directives)
    packed = (directives.compressext or ".gz") if directives.compress else ""
    directory = rotated_directory(path, directives)
    return posixpath.join(directory, name + date_suffix(directives, now) + extension + packed)


def dated(directives: Directives) -> re.Pattern[str]:
    """What stands between name and extension of a rotated log with `dateext`."""
    wanted = "-%Y%m%d" if directives.dateformat is None else directives.dateformat.lstrip(" ")
    if directives.dateformat is None and directives.criterion in ("hourly", "minutes"):
        wanted += "%H" if directives.criterion == "hourly" else "%H%M"
    return _date_regex(wanted)


@functools.lru_cache(maxsize=256)
def _date_regex(wanted: str) -> re.Pattern[str]:
    widths = {"Y": r"\d{4}", "G": r"\d{4}", "s": r"\d{10}", "j": r"\d{3}", "z": r"[-+]\d{4}"}
    widths |= {"u": r"\d", "w": r"\d"}
    widths |= dict.fromkeys("ygmdHMSVUW", r"\d{2}")
    out = ""
    at = 0
    while at < len(wanted):
        if wanted[at] == "%" and wanted[at + 1 : at + 2] in widths:
            out += widths[wanted[at + 1]]
            at += 2
        else:
            out += re.escape(wanted[at])
            at += 1
    return re.compile(out)


@functools.lru_cache(maxsize=256)
def _tail_regex(extension: str, packed: str) -> re.Pattern[str]:
    endings = {packed, ".gz", ".bz2", ".xz", ".zst", ".Z"}
    either = "|".join(re.escape(one) for one in sorted(endings))
    return re.compile(rf"(?P<kind>.*?){re.escape(extension)}(?:{either})?")


_NUMBER = re.compile(r"\.\d{1,9}")
_DATE = re.compile(r"[-.]\d{6,14}")


def siblings(
    path: str, directives: Directives, names: Sequence[str]
) -> list[tuple[str, int | None]]:
    """Rotated copies of a log among the sorted names of its rotated directory, with their number.

    Whatever numbering or compression they were made with; None is the number of one with a date.
    """
    base, extension = base_and_extension(path, directives)
    prefixes = {base + ".", base + "-"}
    if directives.dateformat:
        prefixes.add(base + directives.dateformat.lstrip(" ").partition("%")[0])
    regex = _tail_regex(extension, directives.compressext or ".gz")
    found: set[tuple[str, int | None]] = set()
    for prefix in prefixes:
        at = bisect.bisect_left(names, prefix)
        while at < len(names) and names[at].startswith(prefix):
            name = names[at]
            at += 1
            tail = regex.fullmatch(name[len(base) :])
            if not tail:
                continue
            kind = tail["kind"]
            if _NUMBER.fullmatch(kind):
                found.add((name, int(kind[1:])))
            elif dated(directives).fullmatch(kind) or _DATE.fullmatch(kind):
                found.add((name, None))
    return sorted(found, key=lambda one: one[0])


def stale_copies(copies: Sequence[tuple[str, int | None]], directives: Directives) -> list[str]:
    """Rotated copies of a log that logrotate will never remove: no rule counts them any more.

    With `dateext` those with a number, without it those with a date or a number beyond `rotate`,
    and uncompressed ones among compressed ones.
    """
    if directives.rotate < 0:
        return []
    packed = directives.compressext or ".gz"
    found = []
    for name, number in copies:
        if directives.dateext:
            stale = number is not None and number < 1000
        else:
            stale = number is None or number > directives.rotate + directives.start
        if not stale and directives.compress and not directives.dateext and number is not None:
            stale = (
                number > directives.start + 1
                and not name.endswith(packed)
                and not NOT_LOGS.search(name)
            )
        if stale:
            found.append(name)
    return found

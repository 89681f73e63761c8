"""What is seen of published configuration, and what earlier runs remember of it, as ages."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.config_freshness import digests, documents
from twiceshy.kit import history as remembered
from twiceshy.kit.stamps import Stamp, seconds_between
from twiceshy.kit.verdict import safe

# An endpoint that no run asks about was renamed or switched off, or its check runs once a quarter.
KEPT_SECONDS = 90 * 86400.0
# With --each-address in a cloud, names come and go by the hour.
KEPT_SUBJECTS = 1000
# So often it is written down that a subject is still asked about.
ASKED_SECONDS = 86400.0
# The samples that belong to a note.
SAMPLES = {"endpoint": ("change",), "config": ("versions", "published")}


@dataclass(frozen=True)
class Served:
    """What one endpoint answered. With a `trouble` (a predicate) the rest may be empty."""

    name: str
    trouble: str = ""
    kind: str = ""  # of trouble: down, tls, slow retrieval, refused, unasked, or about the content
    retry: str = ""  # a command that shows the same
    peer: str = ""
    node: str = ""
    seconds: float | None = None
    body: bytes = b""  # identity
    wire: bytes = b""  # as sent
    key: str = ""  # by which it is compared: SHA-256 of the body, or of its canonical form
    version: str = ""
    content_type: str = ""
    etag: str = ""
    last_modified: float | None = None
    date: float | None = None  # the server's clock
    came: float = 0.0  # ours, at the same moment
    cached: float = 0.0  # Age
    checksums: tuple[digests.Checksum, ...] = ()
    broken: tuple[str, ...] = ()  # checksum data that is there, and useless: sentences
    foreign: str = ""  # the sidecar is for another file: a sentence
    own_etag: int = 0  # status for If-None-Match with the ETag that it just gave; 0: not asked
    other_etag: int = 0  # status for that of another version
    flips: bool = False  # asked again at once, it served something else, and then this again

    @property
    def config(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def called(self) -> str:
        """Its name for a sentence."""
        return safe(self.name, 60)


@dataclass(frozen=True)
class Remembered:
    """What earlier runs know of an endpoint; ages in seconds, None where nothing is known."""

    key: str = ""
    since: float | None = None  # since when it has served `key`
    good: float | None = None  # when it was last read
    kinds: tuple[str, ...] = ()  # of checksum data that it had
    kinds_seen: float | None = None
    left_key: str = ""  # the version before
    etags: tuple[tuple[str, str], ...] = ()  # (SHA-256 of the body, ETag), newest first
    version: str = ""  # the highest
    changes: tuple[float, ...] = ()  # ages of changes


def past_of(pasts: Mapping[str, Remembered], seen: Served) -> Remembered:
    return pasts.get(seen.name, Remembered())


@dataclass(frozen=True)
class Version:
    """A version of a configuration, by all the names an application may give it."""

    key: str
    names: tuple[str, ...]
    age: float  # since it was first seen on any endpoint


@dataclass(frozen=True)
class Chronicle:
    """What earlier runs know of a configuration; ages in seconds."""

    begun: float = 0.0
    known: bool = False  # False: this is the first run
    good: float | None = None  # an endpoint was readable, with its checksum
    apart: float | None = None  # since when endpoints differ
    versions: tuple[Version, ...] = ()
    published: tuple[tuple[str, float], ...] = ()  # (key, age) each time all agreed on another


@dataclass(frozen=True)
class Taken:
    """What earlier runs know of an application; ages in seconds."""

    current: float | None = None  # when it last ran what was published
    odd: float | None = None  # since when it runs something unheard of
    mute: float | None = None  # since when it does not say


def kinds_of(seen: Served) -> tuple[str, ...]:
    return tuple(
        sorted({"sidecar" if each.kind == "sidecar" else "header" for each in seen.checksums})
    )


def names_of(seen: Served) -> tuple[str, ...]:
    """Every name by which an application may call what it runs with.

    The last number is Alertmanager's config_hash: the first 48 bits of MD5, little-endian.
    """
    md5 = hashlib.md5(seen.body)
    sha256 = hashlib.sha256(seen.body)
    names = [
        seen.key,
        sha256.hexdigest(),
        hashlib.sha1(seen.body).hexdigest(),
        md5.hexdigest(),
        hashlib.sha512(seen.body).hexdigest(),
        base64.b64encode(sha256.digest()).decode(),
        base64.b64encode(md5.digest()).decode(),
        seen.version,
        seen.etag.removeprefix("W/").strip('"'),
        str(int.from_bytes(md5.digest()[:6], "little")),
    ]
    return tuple(dict.fromkeys(name for name in names if name))


class Memory:
    """The history of this check, in ages instead of stamps."""

    def __init__(self, history: remembered.History, now: Stamp) -> None:
        self._history = history
        self._now = now
        self._notes = dict(history.notes())
        self._asked: set[str] = set()

    def _note(self, subject: str) -> dict[str, Any]:
        self._asked.add(subject)
        note = self._notes[subject].value if subject in self._notes else None
        return note if isinstance(note, dict) else {}

    def _age(self, stamp: Any) -> float | None:
        if not isinstance(stamp, list) or len(stamp) != 3:
            return None
        return seconds_between(Stamp(*stamp), self._now)

    def _stamp(self) -> list[Any]:
        return [self._now.boot, self._now.uptime, self._now.wall]

    def endpoint(self, name: str) -> Remembered:
        note = self._note(f"endpoint {name}")
        changes = self._history.samples(f"change {name}") if note else []
        return Remembered(
            note.get("key", ""),
            self._age(note.get("since")),
            self._age(note.get("good")),
            tuple(note.get("kinds", ())),
            self._age(note.get("kinds_seen")),
            note.get("left_key", ""),
            tuple((sha256, etag) for sha256, etag in note.get("etags", ())),
            note.get("version", ""),
            tuple(seconds_between(each.at, self._now) for each in changes),
        )

    def chronicle(self, config: str) -> Chronicle:
        note = self._note(f"config {config}")
        if not note:
            return Chronicle()
        ages = seconds_between
        seen: dict[str, Version] = {}
        for sample in self._history.samples(f"versions {config}"):
            key, names = sample.value
            if key not in seen:
                seen[key] = Version(key, tuple(names), ages(sample.at, self._now))
        published: list[tuple[str, float]] = []
        for sample in self._history.samples(f"published {config}"):
            # two runs at once may both have seen it
            if not published or published[-1][0] != sample.value:
                published.append((sample.value, ages(sample.at, self._now)))
        return Chronicle(
            self._age(note.get("begun")) or 0.0,
            True,
            self._age(note.get("good")),
            self._age(note.get("apart")),
            tuple(seen.values()),
            tuple(published),
        )

    def application(self, name: str) -> Taken:
        note = self._note(f"applied {name}")
        return Taken(*(self._age(note.get(each)) for each in ("current", "odd", "mute")))

    def remember_endpoint(self, seen: Served, past: Remembered) -> None:
        if seen.trouble:
            return
        subject, stamp = f"endpoint {seen.name}", self._stamp()
        note = dict(self._note(subject))
        if past.key != seen.key:
            if past.key:
                note.update(left_key=past.key)
                self._history.remember(f"change {seen.name}", seen.key, self._now)
                self._history.keep_newest(f"change {seen.name}", 60)
            note.update(key=seen.key, since=stamp)
        note.update(good=stamp)
        # not by key, which may stand for several bodies
        sha256 = hashlib.sha256(seen.body).hexdigest()
        before = [pair for pair in past.etags if pair[0] != sha256]
        note.update(etags=[*([(sha256, seen.etag)] if seen.etag else []), *before][:2])
        kinds = kinds_of(seen)
        if kinds:
            note.update(kinds=sorted({*kinds, *past.kinds}))
        if not set(past.kinds) - set(kinds):
            note.update(kinds_seen=stamp)
        if seen.version and documents.order(seen.version) >= documents.order(past.version):
            note.update(version=seen.version)
        self._history.write_note(subject, note, self._now)

    def remember_config(
        self, config: str, looks: Sequence[Served], chronicle: Chronicle, is_good: bool
    ) -> Chronicle:
        """The chronicle as it is after this run, which is also what is written."""
        subject, stamp = f"config {config}", self._stamp()
        note = {"begun": stamp, **self._note(subject)}
        served = {seen.key: seen for seen in looks if not seen.trouble}
        known = {version.key: version for version in chronicle.versions}
        for key, seen in served.items():
            if key not in known:
                known[key] = Version(key, names_of(seen), 0.0)
                self._history.remember(f"versions {config}", [key, names_of(seen)], self._now)
                self._history.keep_newest(f"versions {config}", 200)
        published = chronicle.published
        if len(served) == 1:
            key = next(iter(served))
            if not published or published[-1][0] != key:
                published = (*published, (key, 0.0))
                self._history.remember(f"published {config}", key, self._now)
                self._history.keep_newest(f"published {config}", 200)
            note["apart"] = None
        elif served and not note.get("apart"):
            note["apart"] = stamp
        if is_good:
            note["good"] = stamp
        self._history.write_note(subject, note, self._now)
        return replace(chronicle, versions=tuple(known.values()), published=published)

    def remember_application(
        self, name: str, is_current: bool, is_odd: bool, is_mute: bool
    ) -> None:
        subject, stamp = f"applied {name}", self._stamp()
        note = dict(self._note(subject))
        if is_current:
            note.update(current=stamp)
        note["odd"] = (note.get("odd") or stamp) if is_odd else None
        note["mute"] = (note.get("mute") or stamp) if is_mute else None
        self._history.write_note(subject, note, self._now)

    def forget_the_unasked(self) -> None:
        """Drops what no run has asked about for KEPT_SECONDS, and the oldest above KEPT_SUBJECTS.

        What this run asked about stays as long as it is asked about, be it down for ever.
        """
        stamp = self._stamp()
        unasked = []
        for subject, sample in self._notes.items():
            age = seconds_between(sample.at, self._now)
            if subject not in self._asked:
                unasked.append((age, subject))
            elif age > ASKED_SECONDS:
                self._history.defer(
                    "UPDATE note SET boot = ?, uptime = ?, wall = ? WHERE subject = ?",
                    (*stamp, subject),
                )
        for place, (age, subject) in enumerate(sorted(unasked)):
            if age > KEPT_SECONDS or place >= KEPT_SUBJECTS:
                kind, _, name = subject.partition(" ")
                for each in (kind, *SAMPLES.get(kind, ())):
                    self._history.forget(f"{each} {name}")

"""What check_config_freshness remembers: the kit's history, read as ages and written as stamps.

A subject is `endpoint NAME`, `config NAME` or `applied NAME`; its note holds what is known of it
now, and samples beside it what has changed when (`change`, `versions`, `published`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from twiceshy.config_freshness import documents
from twiceshy.config_freshness.answers import Served, Subjects
from twiceshy.config_freshness.applied import ApplicationVerdict
from twiceshy.config_freshness.judgement import ConfigVerdict, Judgement
from twiceshy.config_freshness.past import (
    ApplicationPast,
    ConfigPast,
    EndpointPast,
    Past,
    Version,
    kinds_of,
)
from twiceshy.kit.history import History
from twiceshy.kit.stamps import Stamp, seconds_between

# An endpoint that no run asks about was renamed or switched off, or its check runs once a quarter.
UNASKED_SECONDS = 90 * 86400.0
# With --each-address in a cloud, names come and go by the hour.
UNASKED_SUBJECTS = 1000
# So often it is written down that a subject is still asked about.
ASKED_SECONDS = 86400.0
# The samples that belong to a note.
SAMPLES = {"endpoint": ("change",), "config": ("versions", "published")}


class ConfigHistory:
    """The history of this check, in ages instead of stamps."""

    def __init__(self, history: History, now: Stamp) -> None:
        self._history = history
        self._now = now
        self._notes = dict(history.notes())
        self._asked: set[str] = set()

    def past(self, subjects: Subjects) -> Past:
        """What earlier runs know of the subjects of this run."""
        configs = dict.fromkeys(each.config for each in subjects.endpoints)
        return Past(
            {each.name: self._endpoint(each.name) for each in subjects.endpoints},
            {config: self._config(config) for config in configs},
            {each.name: self._application(each.name) for each in subjects.applications},
        )

    def record(self, judgement: Judgement, past: Past) -> None:
        """Put a run into the history; it is written when the history is saved."""
        for config, verdict in judgement.configs.items():
            self._record_config(config, verdict, past.configs[config])
            for served in verdict.sound:
                self._record_endpoint(served, past.endpoint(served.name))
        for name, application in judgement.applications.items():
            self._record_application(name, application)
        self._forget_unasked()

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

    # Reading

    def _endpoint(self, name: str) -> EndpointPast:
        note = self._note(f"endpoint {name}")
        changes = self._history.samples(f"change {name}") if note else []
        return EndpointPast(
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

    def _config(self, config: str) -> ConfigPast:
        note = self._note(f"config {config}")
        if not note:
            return ConfigPast()
        versions: dict[str, Version] = {}
        for sample in self._history.samples(f"versions {config}"):
            key, names = sample.value
            if key not in versions:
                versions[key] = Version(key, tuple(names), seconds_between(sample.at, self._now))
        published: list[tuple[str, float]] = []
        for sample in self._history.samples(f"published {config}"):
            # two runs at once may both have seen it
            if not published or published[-1][0] != sample.value:
                published.append((sample.value, seconds_between(sample.at, self._now)))
        return ConfigPast(
            self._age(note.get("begun")) or 0.0,
            True,
            self._age(note.get("good")),
            self._age(note.get("apart")),
            tuple(versions.values()),
            tuple(published),
        )

    def _application(self, name: str) -> ApplicationPast:
        note = self._note(f"applied {name}")
        return ApplicationPast(*(self._age(note.get(key)) for key in ("current", "odd", "mute")))

    # Writing

    def _add(self, subject: str, value: Any, count: int) -> None:
        """A sample more, of which the newest `count` stay."""
        self._history.remember(subject, value, self._now)
        self._history.keep_newest(subject, count)

    def _record_endpoint(self, served: Served, past: EndpointPast) -> None:
        subject, stamp = f"endpoint {served.name}", self._stamp()
        note = dict(self._note(subject))
        if past.key != served.key:
            if past.key:
                note.update(left_key=past.key)
                self._add(f"change {served.name}", served.key, 60)
            note.update(key=served.key, since=stamp)
        note.update(good=stamp, etags=_etags(served, past))
        kinds = kinds_of(served)
        if kinds:
            note.update(kinds=sorted({*kinds, *past.kinds}))
        if not set(past.kinds) - set(kinds):
            note.update(kinds_seen=stamp)
        if served.version and documents.order(served.version) >= documents.order(past.version):
            note.update(version=served.version)
        self._history.write_note(subject, note, self._now)

    def _record_config(self, config: str, verdict: ConfigVerdict, before: ConfigPast) -> None:
        subject, stamp = f"config {config}", self._stamp()
        note = {"begun": stamp, **self._note(subject)}
        for version in verdict.past.versions[len(before.versions) :]:
            self._add(f"versions {config}", [version.key, version.names], 200)
        for key, _ in verdict.past.published[len(before.published) :]:
            self._add(f"published {config}", key, 200)
        keys = {served.key for served in verdict.sound}
        if len(keys) == 1:
            note["apart"] = None
        elif keys and not note.get("apart"):
            note["apart"] = stamp
        if verdict.is_good:
            note["good"] = stamp
        self._history.write_note(subject, note, self._now)

    def _record_application(self, name: str, verdict: ApplicationVerdict) -> None:
        subject, stamp = f"applied {name}", self._stamp()
        note = dict(self._note(subject))
        if verdict.is_current:
            note.update(current=stamp)
        note["odd"] = (note.get("odd") or stamp) if verdict.is_odd else None
        note["mute"] = (note.get("mute") or stamp) if verdict.is_mute else None
        self._history.write_note(subject, note, self._now)

    def _forget_unasked(self) -> None:
        """Drop what no run has asked about for UNASKED_SECONDS, and the oldest of too many.

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
        for number, (age, subject) in enumerate(sorted(unasked)):
            if age > UNASKED_SECONDS or number >= UNASKED_SUBJECTS:
                kind, _, name = subject.partition(" ")
                for each in (kind, *SAMPLES.get(kind, ())):
                    self._history.forget(f"{each} {name}")


def _etags(served: Served, past: EndpointPast) -> Sequence[tuple[str, str]]:
    """(SHA-256, ETag) of this answer and of the body before; a `key` may stand for several."""
    sha256 = hashlib.sha256(served.body).hexdigest()
    before = [pair for pair in past.etags if pair[0] != sha256]
    return [*([(sha256, served.etag)] if served.etag else []), *before][:2]

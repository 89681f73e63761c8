"""What earlier runs know of published configuration, as ages in seconds; and how a run adds to it.

Pure: `history` reads and writes it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from twiceshy.config_freshness.answers import Served


@dataclass(frozen=True)
class EndpointPast:
    """What earlier runs know of an endpoint; None where nothing is known."""

    key: str = ""
    since: float | None = None  # since when it has served `key`
    good: float | None = None  # when it was last read
    kinds: tuple[str, ...] = ()  # of checksum data that it had: header, sidecar
    kinds_at: float | None = None  # when it had all of them
    left_key: str = ""  # the version before
    etags: tuple[tuple[str, str], ...] = ()  # (SHA-256 of the body, ETag), newest first
    version: str = ""  # the highest
    changes: tuple[float, ...] = ()  # ages of changes


@dataclass(frozen=True)
class Version:
    """A version of a configuration, by all the names an application may give it."""

    key: str
    names: tuple[str, ...]
    age: float  # since it was first seen on any endpoint


@dataclass(frozen=True)
class ConfigPast:
    """What earlier runs know of a configuration."""

    begun: float = 0.0  # since when we have known it
    known: bool = False  # False: this is the first run
    good: float | None = None  # when an endpoint was readable, with its checksum
    apart: float | None = None  # since when endpoints have differed
    versions: tuple[Version, ...] = ()
    published: tuple[tuple[str, float], ...] = ()  # (key, age) each time all agreed on another


@dataclass(frozen=True)
class ApplicationPast:
    """What earlier runs know of an application."""

    current: float | None = None  # when it last ran what was published
    odd: float | None = None  # since when it has run something unheard of
    mute: float | None = None  # since when it has not reported anything


@dataclass(frozen=True)
class Past:
    """What earlier runs know of everything that this run asks about, by name."""

    endpoints: Mapping[str, EndpointPast] = field(default_factory=dict)
    configs: Mapping[str, ConfigPast] = field(default_factory=dict)
    applications: Mapping[str, ApplicationPast] = field(default_factory=dict)

    def endpoint(self, name: str) -> EndpointPast:
        """The past of an endpoint, which may be empty."""
        return self.endpoints.get(name, EndpointPast())


def kinds_of(served: Served) -> tuple[str, ...]:
    """The kinds of usable checksum data of an answer: header, sidecar."""
    return tuple(
        sorted({"sidecar" if each.kind == "sidecar" else "header" for each in served.checksums})
    )


def names_of(served: Served) -> tuple[str, ...]:
    """Every name by which an application may call what it runs with.

    The last number is Alertmanager's config_hash: the first 48 bits of MD5, little-endian.
    """
    md5 = hashlib.md5(served.body)
    sha256 = hashlib.sha256(served.body)
    names = [
        served.key,
        sha256.hexdigest(),
        hashlib.sha1(served.body).hexdigest(),
        md5.hexdigest(),
        hashlib.sha512(served.body).hexdigest(),
        base64.b64encode(sha256.digest()).decode(),
        base64.b64encode(md5.digest()).decode(),
        served.version,
        served.etag.removeprefix("W/").strip('"'),
        str(int.from_bytes(md5.digest()[:6], "little")),
    ]
    return tuple(dict.fromkeys(name for name in names if name))


def with_run(past: ConfigPast, sound: Sequence[Served]) -> ConfigPast:
    """The past of a configuration with what its endpoints serve in this run."""
    versions = {version.key: version for version in past.versions}
    for served in sound:
        if served.key not in versions:
            versions[served.key] = Version(served.key, names_of(served), 0.0)
    published = past.published
    keys = {served.key for served in sound}
    if len(keys) == 1:
        key = next(iter(keys))
        if not published or published[-1][0] != key:
            published = (*published, (key, 0.0))
    return replace(past, versions=tuple(versions.values()), published=published)

"""What a run is asked to do, typed once from the command line; and the types of its arguments.

Pure: files are named here and read by `observation`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from twiceshy.config_freshness import digests
from twiceshy.kit.limits import Limit
from twiceshy.kit.patterns import Pattern
from twiceshy.kit.plugin import OK, WARNING, CheckError, State
from twiceshy.kit.units import duration
from twiceshy.kit.verdict import safe

GRACE_SECONDS = 8 * 3600.0


@dataclass(frozen=True)
class SubjectSettings:
    """Who is asked: names and URLs as typed, and the file that has more of them."""

    urls: Sequence[str] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    applications: Mapping[str, str] = field(default_factory=dict)
    graces: Mapping[str, float] = field(default_factory=dict)  # by application, "" the default
    file: str = ""
    each_address: bool = False


@dataclass(frozen=True)
class ContentSettings:
    """What is configuration, and which of several versions it is."""

    format: str = ""  # "" for bytes
    required_keys: Sequence[str] = ()
    version_key: str = ""
    canonical: bool = False
    node_header: str = ""


@dataclass(frozen=True)
class ChecksumSettings:
    """Which checksum data endpoints must have."""

    mode: str = "auto"  # auto, any, header, sidecar, none
    sidecar: str = ""  # suffix or URL
    pinned: digests.Checksum | None = None


@dataclass(frozen=True)
class FreshnessSettings:
    """How old, how slow and how changeable an endpoint's answer may be; in seconds."""

    max_age: float | None = None
    max_cached: float = 300.0
    max_skew: float | None = None
    expect_change: float | None = None
    max_changes: int = 10
    allow_rollback: bool = False
    warning: Limit | None = None
    critical: Limit | None = None


@dataclass(frozen=True)
class FileSettings:
    """Files here, and the manifest that they are compared with; "" for none."""

    manifest: str = ""
    root: str = ""
    max_age: float | None = None
    include: Sequence[Pattern] = ()
    exclude: Sequence[Pattern] = ()


@dataclass(frozen=True)
class PuppetSettings:
    """Puppet's summary ("" for the usual places, None for none), and how old it may be."""

    summary: str | None = None
    max_age: float = 7200.0


@dataclass(frozen=True)
class RequestSettings:
    """How endpoints are asked; paths of files, "" for none."""

    max_bytes: int = 4 << 20
    bearer: str = ""
    basic: str = ""
    header_file: str = ""
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    use_environment: bool = False  # proxies, ~/.netrc


@dataclass(frozen=True)
class Settings:
    """Everything that a run is asked to do; `timeout` and `sync_grace` in seconds."""

    subjects: SubjectSettings = field(default_factory=SubjectSettings)
    content: ContentSettings = field(default_factory=ContentSettings)
    checksums: ChecksumSettings = field(default_factory=ChecksumSettings)
    freshness: FreshnessSettings = field(default_factory=FreshnessSettings)
    files: FileSettings = field(default_factory=FileSettings)
    puppet: PuppetSettings = field(default_factory=PuppetSettings)
    requests: RequestSettings = field(default_factory=RequestSettings)
    one_down: State = WARNING
    not_modified: State = OK
    sync_grace: float = 300.0
    timeout: float = 10.0
    state_dir: str = ""

    @property
    def grace(self) -> float:
        """How long applications without a grace of their own can run with what they have."""
        return self.subjects.graces.get("", GRACE_SECONDS)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of a command line; CheckError if options do not go together."""
    if not args.parse and (args.require_key or args.version_key or args.canonical):
        raise CheckError("--require-key, --version-key and --canonical need --parse")
    return Settings(
        SubjectSettings(
            tuple(args.urls), dict(args.endpoint), dict(args.applied), dict(args.grace),
            _path(args.endpoints), args.each_address,
        ),
        ContentSettings(
            args.parse or "", tuple(args.require_key), args.version_key, bool(args.canonical),
            args.node_header,
        ),
        ChecksumSettings(args.checksum, args.checksum_url or "", args.pinned),
        FreshnessSettings(
            args.max_age, args.max_cached, args.max_skew, args.expect_change, args.max_changes,
            args.allow_rollback, args.warning, args.critical,
        ),
        FileSettings(
            args.manifest or "", args.root or "", args.max_manifest_age, tuple(args.include),
            tuple(args.exclude),
        ),
        PuppetSettings(args.puppet, args.puppet_max_age),
        RequestSettings(
            int(args.max_size), _path(args.bearer), _path(args.basic), _path(args.header_file),
            _path(args.ca_file), _path(args.cert), _path(args.key), args.use_environment,
        ),
        args.one_down, args.not_modified, args.sync_grace, args.timeout, _path(args.state_dir),
    )  # fmt: skip


def _path(typed: object) -> str:
    return str(typed) if typed else ""


# Types of arguments: ValueError with a sentence


def checked_url(url: str, name: str = "") -> str:
    """The URL itself."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        of = f" of {name}" if name else ""
        raise ValueError(f"{safe(url, 80)!r}{of} is not an http:// or https:// URL")
    return url


def public_url(text: str) -> str:
    """A URL from the command line; not one with credentials, which all may read there."""
    url = checked_url(text)
    if "@" in urlsplit(url).netloc:
        raise ValueError(
            "a command line can be read by every user: put credentials into a file (--basic FILE)"
        )
    return url


def public_source(text: str) -> str:
    """A URL without credentials, or whatever is no URL."""
    return public_url(text) if "://" in text else text


def named_url(text: str) -> tuple[str, str]:
    """NAME=URL of --endpoint."""
    name, equals, url = text.partition("=")
    if not equals or not name or "://" in name:
        raise ValueError(f"{safe(text, 80)!r} is not NAME=URL")
    return name, public_url(url)


def named_source(text: str) -> tuple[str, str]:
    """NAME=SOURCE of --applied."""
    name, equals, source = text.partition("=")
    if not equals or not name or not source:
        raise ValueError(f"{safe(text, 80)!r} is not NAME=URL[#path], NAME=/file or NAME=puppet")
    if "://" in source:
        public_url(source)
    elif not source.startswith("/") and source.split(":")[0] != "puppet":
        raise ValueError(f"{safe(source, 80)!r} is neither a URL, nor /file, nor puppet")
    return name, source


def named_grace(text: str) -> tuple[str, float]:
    """[NAME=]DURATION of --grace, in seconds."""
    name, equals, typed = text.rpartition("=")
    seconds = duration(typed)
    if seconds <= 0 or (equals and not name):
        raise ValueError(f"{text!r} is not a positive DURATION or NAME=DURATION")
    return name, seconds


def whole_number(text: str) -> int:
    """A number of --max-changes."""
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


class Graces(argparse.Action):
    """--grace 8h --grace web=12h, later ones over earlier ones and over the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        namespace.grace = {**namespace.grace, values[0]: values[1]}

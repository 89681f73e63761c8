"""What a run asks about and what it is answered: endpoints, applications, files, Puppet. Pure.

`observation` makes these values; judgement and report read nothing else of the outside world.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from twiceshy.config_freshness import digests, puppet
from twiceshy.config_freshness.differences import FileState
from twiceshy.config_freshness.manifests import Manifest
from twiceshy.kit.verdict import safe


class Failure(Enum):
    """In which way an endpoint did not serve configuration; the values are codes of findings."""

    DOWN = "down"  # refused, no address, reset, HTTP 500
    TLS = "tls"
    SLOW = "slow retrieval"  # TUF's name for it
    REFUSED = "refused"  # 401, 403, 407
    UNASKED = "unasked"  # 304 to a request without a condition
    CONTENT = "content"  # a web page, an empty body, what does not parse
    CUT = "cut"
    ENDLESS = "endless data"  # TUF's name for it
    REDIRECT = "redirect"
    CODING = "coding"


class Show(Enum):
    """What the command that shows an answer should show of it: curl's options and its output."""

    HEADER = ("-sv", " -o /dev/null")
    REDIRECTS = ("-svL", " -o /dev/null")
    BEGINNING = ("-sS", " -r 0-500")
    BODY = ("-sS", "")


@dataclass(frozen=True)
class Endpoint:
    """One URL that serves a configuration; endpoints of one `config` are redundant."""

    name: str
    url: str
    address: str = ""  # connect here instead of where the name leads

    @property
    def config(self) -> str:
        """billing of billing/a; "" where there is one configuration only."""
        return self.name.rpartition("/")[0]


def curl(endpoint: Endpoint, show: Show = Show.HEADER) -> str:
    """The command that shows an endpoint's answer as the check got it, without credentials."""
    flags, output = show.value
    parts = urlsplit(endpoint.url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    to = f" --connect-to ::{endpoint.address}:" if endpoint.address else ""
    return f"curl {flags}{to}{output} {shlex.quote(bare)}"


@dataclass(frozen=True)
class Application:
    """One user of a configuration, and where to learn what it runs with."""

    name: str
    source: str  # URL[#path], /file, puppet[:/file]
    grace: float  # seconds

    @property
    def config(self) -> str:
        """billing of billing/web1; "" where there is one configuration only."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class Subjects:
    """Everything that a run asks about over HTTP, apart from the manifest."""

    endpoints: Sequence[Endpoint] = ()
    applications: Sequence[Application] = ()


@dataclass(frozen=True)
class Served:
    """What one endpoint answered. With a `failure` the rest may be empty."""

    name: str
    failure: Failure | None = None
    predicate: str = ""  # the failure in words: "refuses connections"
    retry: str = ""  # a command that shows the same
    peer: str = ""  # address:port
    node: str = ""  # by --node-header
    seconds: float | None = None
    body: bytes = b""  # identity
    wire: bytes = b""  # as sent
    key: str = ""  # by which it is compared: SHA-256 of the body, or of its canonical form
    version: str = ""
    content_type: str = ""
    etag: str = ""
    last_modified: float | None = None  # Unix time, like the next two
    date: float | None = None  # the server's clock
    received_at: float = 0.0  # ours, at the same moment
    cached_seconds: float = 0.0  # Age
    checksums: tuple[digests.Checksum, ...] = ()
    broken: tuple[str, ...] = ()  # checksum data that is there, and useless: clauses
    foreign: str = ""  # the sidecar is for another file: a clause
    own_etag: int = 0  # status for If-None-Match with the ETag that it just gave; 0: not asked
    other_etag: int = 0  # status for that of another version
    alternates: bool = False  # asked again at once, it served something else, and then this again

    @property
    def config(self) -> str:
        """The configuration that it is one of."""
        return self.name.rpartition("/")[0]

    @property
    def label(self) -> str:
        """Its name for a sentence."""
        return safe(self.name, 60)


@dataclass(frozen=True)
class Running:
    """What an application says it runs with.

    Or why it does not (`trouble`, a predicate), or what we are not allowed to read (`locked`).
    """

    value: str = ""
    trouble: str = ""
    locked: str = ""


@dataclass(frozen=True)
class ManifestFound:
    """The manifest and the files here that it names; with a `trouble`, a predicate, neither."""

    place: str
    trouble: str = ""
    manifest: Manifest = field(default_factory=lambda: Manifest(()))
    age: float | None = None  # seconds, by Last-Modified or mtime
    root: str = "/"
    files: Mapping[str, FileState] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """Everything that was seen in a run, at the wall clock `at`."""

    at: float
    served: Mapping[str, Served]
    running: Mapping[str, Running]
    manifest: ManifestFound | None = None
    puppet: puppet.Run | None = None

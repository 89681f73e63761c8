"""What is seen: every endpoint and application asked at once, suspicious answers asked again, the
manifest with the files that it names, and Puppet's last run. The sleeping and asking of a run.
"""

from __future__ import annotations

import email.utils
import functools
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable
from urllib.parse import urlsplit

from twiceshy.config_freshness import checksums, digests, documents, host_files, manifests, puppet
from twiceshy.config_freshness.answers import (
    Application,
    Endpoint,
    Failure,
    ManifestFound,
    Observation,
    Running,
    Served,
    Show,
    Subjects,
    curl,
)
from twiceshy.config_freshness.applied import running
from twiceshy.config_freshness.differences import queries
from twiceshy.config_freshness.endpoints import (
    Client,
    Policy,
    Received,
    Requester,
    addresses_of,
)
from twiceshy.config_freshness.http_errors import Cut, Redirected, Undecodable
from twiceshy.config_freshness.past import EndpointPast, Past
from twiceshy.config_freshness.settings import ContentSettings, FileSettings, Settings
from twiceshy.config_freshness.threads import Progress, all_at_once
from twiceshy.kit import deadline
from twiceshy.kit.http import HttpError, TimedOut, TooLarge, Untrusted
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.units import count, say_duration
from twiceshy.kit.verdict import safe

# A second request comes after this long: a deploy that is not atomic is through by then.
CONFIRM_SECONDS = 1.0
NO_SUCH_ETAG = '"twiceshy-has-never-seen-this"'
NOT_LET_IN = (401, 403, 407)

# Which error of a request is which failure; whatever is not here is that the endpoint is down.
FAILURES: Sequence[tuple[type[HttpError], Failure]] = (
    (TimedOut, Failure.SLOW),
    (Untrusted, Failure.TLS),
    (TooLarge, Failure.ENDLESS),
    (Cut, Failure.CUT),
    (Undecodable, Failure.CODING),
    (Redirected, Failure.REDIRECT),
)
SHOW = {Failure.REDIRECT: Show.REDIRECTS, Failure.CONTENT: Show.BEGINNING}


@dataclass(frozen=True)
class Budget:
    """The time of a run: `total` seconds, `ends` by the monotonic clock for the first requests."""

    total: float
    ends: float

    @property
    def left(self) -> float:
        """Seconds until the first requests must have ended."""
        return self.ends - time.monotonic()


def budget_of(timeout: float) -> Budget:
    """What is left of `timeout` now, of which the first requests get 70 %.

    The rest is for asking twice, reading files and judging. CheckError when too much is gone.
    """
    total = min(timeout, deadline.remaining())
    if total < 0.5 * timeout:
        # whatever came of so little time would blame others for our slowness
        gone = say_duration(round(timeout - total, 1))
        raise CheckError(f"this host is too busy: {gone} had passed before anything was asked")
    return Budget(total, time.monotonic() + 0.7 * total)


def urls(settings: Settings, subjects: Subjects) -> list[str]:
    """Everything that this run asks over HTTP."""
    sources = [each.url for each in subjects.endpoints]
    sources += [each.source for each in subjects.applications]
    sources += [settings.files.manifest, settings.checksums.sidecar if sources else ""]
    return [source for source in sources if "://" in source]


def by_address(subjects: Subjects, budget: Budget) -> Subjects:
    """Every address behind every name, each as an endpoint of its own."""
    jobs: dict[str, Callable[[Progress], list[str]]] = {}
    for endpoint in subjects.endpoints:
        parts = urlsplit(endpoint.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        jobs[endpoint.name] = functools.partial(addresses_of, str(parts.hostname), port)
    with deadline.doing("looking up names"):
        found = all_at_once(jobs, budget.left)
    apart = []
    for endpoint in subjects.endpoints:
        addresses = found[endpoint.name]
        if isinstance(addresses, HttpError):
            apart.append(endpoint)  # it will fail in its own words
            continue
        for address in addresses:
            apart.append(Endpoint(f"{endpoint.name}@{address}", endpoint.url, address))
    return replace(subjects, endpoints=apart)


def observe(
    settings: Settings,
    subjects: Subjects,
    policy: Policy,
    past: Past,
    budget: Budget,
    wall: float,
) -> Observation:
    """Everything asked and read; CheckError for what makes the whole run pointless."""
    asked = urls(settings, subjects)
    secure = any(url.startswith("https:") for url in asked)
    client = Client(policy, secure) if asked else None
    jobs = _jobs(settings, subjects, client, past, budget)
    with deadline.doing(f"asking {count(len(jobs), 'endpoint')}"):
        results = all_at_once(jobs, budget.left)
    with deadline.doing("parsing what was served"):
        served = {
            each.name: _understood_or_failed(settings, each, results["endpoint", each.name])
            for each in subjects.endpoints
        }
    if client is not None:
        served.update(_confirmed(settings, subjects, client, past, budget, served))
    found = None
    if settings.files.manifest:
        found = _manifest_found(settings, results["manifest", ""], wall)
    run = results.get(("puppet", ""))
    return Observation(
        wall,
        served,
        {each.name: _running(results["applied", each.name]) for each in subjects.applications},
        found,
        puppet.Run(trouble=str(run)) if isinstance(run, HttpError) else run,
    )


Jobs = Mapping[tuple[str, str], Callable[[Progress], Any]]


def _jobs(
    settings: Settings, subjects: Subjects, client: Client | None, past: Past, budget: Budget
) -> Jobs:
    """What is asked at once, each by its kind and name."""

    def requester(progress: Progress) -> Requester:
        assert client is not None  # there is a URL
        return Requester(client, progress, budget.ends)

    jobs: dict[tuple[str, str], Callable[[Progress], Any]] = {}
    if client is not None:
        jobs.update(_endpoint_jobs(settings, subjects.endpoints, client, past, budget.ends))
    for application in subjects.applications:
        jobs["applied", application.name] = functools.partial(
            application_running, application, requester
        )
    manifest = settings.files.manifest
    if manifest:
        hosts = {urlsplit(endpoint.url)[:2] for endpoint in subjects.endpoints}
        ours = not hosts or urlsplit(manifest)[:2] in hosts
        jobs["manifest", ""] = functools.partial(_manifest, manifest, requester, ours)
    typed = settings.puppet.summary
    if typed is not None:
        jobs["puppet", ""] = lambda _: host_files.puppet_run(typed, time.time())
    return jobs


def _endpoint_jobs(
    settings: Settings, endpoints: Sequence[Endpoint], client: Client, past: Past, ends: float
) -> Jobs:
    """One request after the other for each endpoint, until `ends`."""

    def job(endpoint: Endpoint, progress: Progress) -> Served:
        addresses = {str(urlsplit(endpoint.url).hostname): endpoint.address}
        with Requester(client, progress, ends, addresses) as requester:
            return serving(requester, endpoint, settings, past.endpoint(endpoint.name))

    return {("endpoint", each.name): functools.partial(job, each) for each in endpoints}


def _confirmed(
    settings: Settings,
    subjects: Subjects,
    client: Client,
    past: Past,
    budget: Budget,
    served: Mapping[str, Served],
) -> dict[str, Served]:
    """The second answers of those whose first one was suspicious.

    A deploy is not atomic: only what is still wrong a moment later is wrong.
    """
    pinned = settings.checksums.pinned
    again = [each for each in subjects.endpoints if _is_suspicious(served[each.name], pinned)]
    if not again:
        return {}
    time.sleep(min(CONFIRM_SECONDS, 0.1 * budget.total))
    ends = time.monotonic() + 0.15 * budget.total
    jobs = _endpoint_jobs(settings, again, client, past, ends)
    with deadline.doing(f"asking {count(len(jobs), 'endpoint')} again"):
        results = all_at_once(jobs, ends - time.monotonic())
    second = {}
    for endpoint in again:
        result = results["endpoint", endpoint.name]
        answer = _understood_or_failed(settings, endpoint, result)
        # too slow to be asked twice: the first answer stands
        if answer.failure is not Failure.SLOW:
            second[endpoint.name] = answer
    return second


def _is_suspicious(served: Served, pinned: digests.Checksum | None) -> bool:
    if served.failure:
        return served.failure in (Failure.CONTENT, Failure.CUT)
    return checksums.is_suspicious(served, pinned)


# Endpoints


def _understood_or_failed(
    settings: Settings, endpoint: Endpoint, result: Served | HttpError
) -> Served:
    if isinstance(result, HttpError):
        return _failed(endpoint, result)
    return understood(endpoint, result, settings.content)


def _failed(endpoint: Endpoint, error: HttpError, peer: str = "") -> Served:
    """An endpoint without a whole answer."""
    failure = next((f for kind, f in FAILURES if isinstance(error, kind)), Failure.DOWN)
    retry = curl(endpoint, SHOW.get(failure, Show.HEADER))
    return Served(endpoint.name, failure, str(error), retry, peer)


def serving(
    requester: Requester, endpoint: Endpoint, settings: Settings, past: EndpointPast
) -> Served:
    """One endpoint's answers: the configuration, its sidecar, and two conditional requests."""
    try:
        answer = requester.get(endpoint.url)
    except HttpError as error:
        return _failed(endpoint, error, requester.progress.peer)
    served = _as_served(endpoint, answer, settings.content.node_header)
    if served.failure:
        return served
    if settings.checksums.sidecar:
        served = _with_sidecar(requester, endpoint, served, settings.checksums.sidecar)
    return _with_conditions(requester, endpoint, served, past) if served.etag else served


def _as_served(endpoint: Endpoint, answer: Received, node_header: str) -> Served:
    """What a whole HTTP answer is, as configuration."""
    found, broken = digests.from_headers(dict(answer.fields))
    served = Served(
        endpoint.name,
        retry=curl(endpoint),
        peer=answer.peer,
        node=safe(answer.header(node_header), 60) if node_header else "",
        seconds=answer.seconds,
        body=answer.body,
        wire=answer.wire,
        key=hashlib.sha256(answer.body).hexdigest(),
        content_type=answer.header("content-type"),
        etag=answer.header("etag"),
        last_modified=_http_time(answer.header("last-modified")),
        date=_http_time(answer.header("date")),
        received_at=answer.received_at,
        cached_seconds=_seconds_of(answer.header("age")),
        checksums=tuple(found),
        broken=tuple(safe(line, 120) for line in broken),
    )
    if answer.status in NOT_LET_IN:
        refused = f"refuses access with HTTP {answer.status}"
        return replace(served, failure=Failure.REFUSED, predicate=refused)
    if answer.status == 304:
        unasked = "answers 304 to a request without a condition"
        return replace(served, failure=Failure.UNASKED, predicate=unasked)
    if answer.status != 200:
        return replace(served, failure=Failure.DOWN, predicate=f"answers HTTP {answer.status}")
    return served


def _http_time(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _seconds_of(text: str) -> float:
    return float(text) if text.strip().isdigit() and len(text) < 12 else 0.0


def sidecar_url(url: str, typed: str) -> str:
    """Where the sidecar of a URL is: typed as a suffix of its path, or as a URL of its own."""
    if "://" in typed:
        return typed
    parts = urlsplit(url)
    return parts._replace(path=parts.path + typed, fragment="").geturl()


def _with_sidecar(requester: Requester, endpoint: Endpoint, served: Served, typed: str) -> Served:
    """An answer with the checksum of its sidecar, or with what is wrong with that."""
    sidecar = replace(endpoint, url=sidecar_url(endpoint.url, typed))
    served = replace(served, retry=curl(sidecar))
    is_ours = urlsplit(sidecar.url)[:2] == urlsplit(endpoint.url)[:2]

    def broken(predicate: str) -> Served:
        return replace(served, broken=(*served.broken, f"its sidecar {predicate}"))

    try:
        answer = requester.get(sidecar.url, credentials=is_ours)
    except HttpError as error:
        return broken(str(error))
    if answer.status != 200:
        return broken(f"answers HTTP {answer.status}")
    try:
        checksum = digests.from_sidecar(answer.body, urlsplit(endpoint.url).path)
    except digests.ForAnother as error:
        return replace(served, foreign=safe(f"its sidecar {error}", 150))
    except digests.Unusable as error:
        return broken(safe(str(error), 140))
    retry = curl(endpoint)
    if not (checksum.fits(served.body) or checksum.fits(served.wire)):
        bodies = [curl(each, Show.BODY) for each in (endpoint, sidecar)]
        retry = f"{checksum.algorithm}sum <({bodies[0]}); {bodies[1]}"
    return replace(served, checksums=(*served.checksums, checksum), retry=retry)


def _with_conditions(
    requester: Requester, endpoint: Endpoint, served: Served, past: EndpointPast
) -> Served:
    """An answer with the status for its own ETag, and for that of another version."""

    def conditionally(etag: str) -> tuple[int, bytes]:
        answer = requester.get(endpoint.url, {"If-None-Match": etag})
        return answer.status, answer.body

    another = next((etag for sha256, etag in past.etags if sha256 != served.key), NO_SUCH_ETAG)
    if another == served.etag and another.startswith("W/"):
        another = NO_SUCH_ETAG  # a weak one may stand for several contents
    try:
        own, body = conditionally(served.etag)
        if own == 200 and body != served.body:
            # it has changed meanwhile; or, if it changes back, another node has answered
            return replace(served, alternates=requester.get(endpoint.url).body == served.body)
        other, _ = conditionally(another)
        for _ in range(2 if other == 304 and another != NO_SUCH_ETAG else 0):
            # another node behind the same name may truly have the other version
            if requester.get(endpoint.url).body != served.body:
                return replace(served, own_etag=own, alternates=True)
            other = min(other, conditionally(another)[0])
    except HttpError:
        return served
    return replace(served, own_etag=own, other_etag=other)


def understood(endpoint: Endpoint, served: Served, settings: ContentSettings) -> Served:
    """An answer with its version, if its body is configuration; CheckError without a parser.

    Runs in the main thread, under the deadline: a hostile document takes a parser long.
    """
    if served.failure:
        return served
    found = _understood(served, settings)
    return replace(found, retry=curl(endpoint, Show.BEGINNING)) if found.failure else found


def _understood(served: Served, settings: ContentSettings) -> Served:
    def wrong(predicate: str) -> Served:
        return replace(served, failure=Failure.CONTENT, predicate=predicate)

    # with --parse the parser decides: some servers call everything text/html
    if documents.looks_like_a_page(served.body, "" if settings.format else served.content_type):
        title = safe(documents.title(served.body), 60)
        page = f'a web page ("{title}")' if title else "a web page"
        return wrong(f"serves {page}, not configuration")
    if not served.body.strip():
        return wrong("serves an empty body")
    if not settings.format:
        return served
    try:
        document = documents.parse(settings.format, served.body)
    except documents.NotParsed as error:
        return wrong(f"serves what is not {settings.format.upper()}: {safe(str(error), 100)}")
    except documents.LibraryMissing as error:
        raise CheckError(str(error)) from error
    version, paths = served.version, list(settings.required_keys)
    for path in [*paths, *([settings.version_key] if settings.version_key else [])]:
        try:
            value = documents.at(document, path)
        except KeyError:
            return wrong(f"serves a configuration without the key {safe(path, 60)}")
        if path == settings.version_key:
            version = safe(documents.scalar(value), 60)
    key = served.key
    if settings.canonical:
        try:
            key = hashlib.sha256(documents.canonical(document)).hexdigest()
        except RecursionError:
            return wrong("serves a configuration that is nested too deeply")
    return replace(served, version=version, key=key)


# Applications


def _running(result: Running | HttpError) -> Running:
    return Running(trouble=str(result)) if isinstance(result, HttpError) else result


def application_running(
    application: Application, requester: Callable[[Progress], Requester], progress: Progress
) -> Running:
    """What one application runs with, asked over HTTP or read from a file."""
    source, bare = application.source, application.source.partition("#")[0]
    if "://" not in source:
        return _running_by_file(source)
    with requester(progress) as asking:
        answer = asking.get(bare, credentials=False)
    if answer.status in NOT_LET_IN:
        return Running(locked=f"{bare} (HTTP {answer.status})")
    if answer.status != 200:
        return Running(trouble=f"answers HTTP {answer.status}")
    if documents.looks_like_a_page(answer.body, ""):
        return Running(trouble="serves a web page")
    return running(source, answer.body)


def _running_by_file(source: str) -> Running:
    """What a file says that an application runs with: the file itself, a value in it, Puppet."""
    path = source.partition("#")[0]
    is_puppet = path.split(":")[0] == "puppet"
    if is_puppet:
        path = path.partition(":")[2] or host_files.first_summary()
    try:
        raw = host_files.small_file(path, 4 << 20)
    except PermissionError:
        return Running(locked=path)
    except OSError as error:
        return Running(trouble=f"cannot be read: {safe(path, 80)}: {error.strerror}")
    if is_puppet:
        try:
            config = puppet.summary(digests.text_of(raw)).config
        except puppet.NotASummary as error:
            return Running(trouble=f"has an unusable last_run_summary: {error}")
        return Running(config, "" if config else "has no version.config in its summary")
    return running(source, raw) if "#" in source else Running(hashlib.sha256(raw).hexdigest())


# The manifest and its files


@dataclass(frozen=True)
class _Manifest:
    """A manifest as it was read, and its age in seconds; or a predicate why it was not."""

    raw: bytes = b""
    age: float | None = None
    trouble: str = ""


def _manifest(
    place: str,
    requester: Callable[[Progress], Requester],
    credentials: bool,
    progress: Progress,
) -> _Manifest:
    """The manifest of a URL or a file; CheckError when we are not allowed to read it."""
    if "://" not in place:
        try:
            age = time.time() - os.stat(place).st_mtime
            return _Manifest(host_files.small_file(place, 16 << 20), age)
        except PermissionError as error:
            raise CheckError(f"not allowed to read the manifest {safe(place, 100)}") from error
        except OSError as error:
            return _Manifest(trouble=f"cannot be read: {error.strerror}")
    with requester(progress) as asking:
        answer = asking.get(place, credentials=credentials)
    if answer.status in NOT_LET_IN:
        status = f"(HTTP {answer.status})"
        raise CheckError(f"not allowed to read the manifest {safe(place, 100)} {status}")
    if answer.status != 200:
        return _Manifest(trouble=f"answers HTTP {answer.status}")
    found, _ = digests.from_headers(dict(answer.fields))
    if any(not (each.fits(answer.wire) or each.fits(answer.body)) for each in found):
        return _Manifest(trouble="does not match its checksum")
    modified = _http_time(answer.header("last-modified"))
    date = _http_time(answer.header("date")) or answer.received_at
    return _Manifest(answer.body, None if modified is None else date - modified)


def _manifest_found(settings: Settings, read: _Manifest | HttpError, wall: float) -> ManifestFound:
    """The manifest with the files here that it names."""
    place = settings.files.manifest
    if isinstance(read, HttpError):
        return ManifestFound(place, str(read))
    if read.trouble:
        return ManifestFound(place, read.trouble)
    try:
        with deadline.doing("parsing the manifest"):
            manifest = manifests.parse(read.raw)
    except manifests.NotAManifest as error:
        return ManifestFound(place, f"cannot be used: {safe(str(error), 120)}")
    ages = [read.age, manifest.made and max(0.0, wall - manifest.made)]
    age = max((each for each in ages if each is not None), default=None)
    root = _root(settings.files, manifest)
    asked = queries(manifest, root, settings.files)
    files = host_files.inspected(asked, timeout=max(1.0, 0.5 * settings.timeout))
    return ManifestFound(place, "", manifest, age, root, files)


def _root(settings: FileSettings, manifest: manifests.Manifest) -> str:
    """Where the manifest's paths begin; CheckError if nobody says."""
    root = settings.root or manifest.tree
    if not root and "://" not in settings.manifest:
        root = os.path.dirname(os.path.abspath(settings.manifest))
    if not root and not all(entry.path.startswith("/") for entry in manifest.entries):
        raise CheckError("the manifest has relative paths: give --root DIR")
    return root or "/"

"""The files that a command line names: endpoints with their applications, and credentials."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from twiceshy.config_freshness import documents
from twiceshy.config_freshness.answers import Application, Endpoint, Subjects
from twiceshy.config_freshness.endpoints import Policy
from twiceshy.config_freshness.host_files import small_file
from twiceshy.config_freshness.settings import RequestSettings, Settings, checked_url
from twiceshy.kit import options as opt
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.units import duration
from twiceshy.kit.verdict import safe

KINDS = {"yml": "yaml", "cfg": "ini", "conf": "ini"}


def subjects(settings: Settings) -> Subjects:
    """Endpoints and applications from the command line and its file; CheckError for bad ones."""
    typed = settings.subjects
    named, applied, graces = dict(typed.endpoints), dict(typed.applications), dict(typed.graces)
    if typed.file:
        more = endpoints_file(Path(typed.file))
        named.update(more[0])
        applied.update(more[1])
        graces = {**more[2], **graces}
    for url in typed.urls:
        named[name_for(url, named)] = url
    endpoints = [Endpoint(name, url) for name, url in named.items()]
    applications = [
        Application(name, source, graces.get(name, settings.grace))
        for name, source in applied.items()
    ]
    configs = {each.config for each in endpoints}
    for application in applications:
        if application.config not in configs:
            raise CheckError(
                f"application {safe(application.name, 60)}: there is no endpoint of "
                f"{safe(application.config, 60) or 'an unnamed configuration'} to compare with"
            )
    if not endpoints and not settings.files.manifest and settings.puppet.summary is None:
        raise CheckError("nothing to check: give a URL, --endpoints, --manifest or --puppet")
    return Subjects(endpoints, applications)


def name_for(url: str, others: Mapping[str, str]) -> str:
    """A short name for a URL: its host; with port and file where that is not enough."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("/", "")
    port = f":{parts.port}" if parts.port else ""
    for name in (host, f"{host}{port}", f"{host}{port}:{posixpath.basename(parts.path)}"):
        if name not in others and (name != host or not port):
            return name
    return next(
        f"{host}{port}#{number}"
        for number in range(2, 10_000)
        if f"{host}{port}#{number}" not in others
    )


def endpoints_file(path: Path) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
    """`endpoints` (name: URL), `applied` (name: source) and `grace` (name: duration) of a YAML,
    TOML, JSON or INI file; CheckError.
    """
    shown = f"--endpoints {safe(str(path))}"
    suffix = path.suffix.lower().lstrip(".")
    kind = KINDS.get(suffix, suffix)
    if kind not in ("yaml", "toml", "json", "ini"):
        raise CheckError(f"{shown}: name it .yaml, .toml, .json or .ini")
    try:
        document = documents.parse(kind, small_file(str(path), 4 << 20))
    except OSError as error:
        raise CheckError(f"{shown}: {error.strerror}") from error
    except (documents.NotParsed, documents.LibraryMissing) as error:
        raise CheckError(f"{shown}: {safe(str(error))}") from error
    tables: list[dict[str, str]] = []
    for section in ("endpoints", "applied", "grace"):
        table = document.get(section, {}) if isinstance(document, dict) else {}
        if not isinstance(table, dict):
            raise CheckError(f"{shown}: {section} is not a table")
        tables.append({str(name): str(value) for name, value in table.items()})
    if not tables[0]:
        raise CheckError(f"{shown}: it has no endpoints")
    try:
        for name, url in tables[0].items():
            checked_url(url, name)
        graces = {name: duration(typed) for name, typed in tables[2].items()}
    except ValueError as error:
        raise CheckError(f"{shown}: {safe(str(error))}") from error
    return tables[0], tables[1], graces


def policy(settings: RequestSettings) -> Policy:
    """How to ask, with credentials from files or the environment; CheckError without them."""
    return Policy(
        settings.max_bytes,
        _headers(settings),
        _basic(settings),
        settings.ca_file,
        settings.certificate,
        settings.key,
        settings.use_environment,
    )


def _headers(settings: RequestSettings) -> dict[str, str]:
    headers = {}
    if settings.header_file:
        try:
            lines = Path(settings.header_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise CheckError(f"header file {safe(settings.header_file)}: {why}") from error
        for line in lines:
            key, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                headers[key.strip()] = value.strip()
    file = Path(settings.bearer) if settings.bearer else None
    token = opt.secret(file, "CONFIG_FRESHNESS_BEARER")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _basic(settings: RequestSettings) -> tuple[str, str] | None:
    file = Path(settings.basic) if settings.basic else None
    pair = opt.secret(file, "CONFIG_FRESHNESS_BASIC")
    if not pair:
        return None
    user, colon, password = pair.partition(":")
    if not colon:
        raise CheckError("--basic: the file's first line is not user:password")
    return user, password

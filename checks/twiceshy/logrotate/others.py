"""Logs that are not logrotate's: those of nobody, of Docker's containers, of journald."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twiceshy import deadline
from twiceshy.logrotate.host import Host, Places, text_of
from twiceshy.plugin import CheckError
from twiceshy.verdict import safe


@dataclass(frozen=True)
class Stray:
    """A big file below a log directory that no stanza claims."""

    path: str
    octets: int
    mtime: float


NOT_LOGS = re.compile(
    r"(\.(gz|bz2|xz|zst|lz4|Z|zip|tgz|journal|journal~|db|sqlite|pid|lock|rrd|wsp)$)"
    r"|(^|/)(lastlog|faillog|tallylog|sa\d\d?(\d{6})?|sar\d\d)$"
)


def strays(
    folders: Sequence[str],
    big: float,
    claimed: frozenset[str] | set[str],
    host: Host,
    most: int = 300_000,
) -> tuple[list[Stray], bool]:
    """Big files without a stanza, and whether everything was walked."""
    found: list[Stray] = []
    queue = list(folders)
    count = 0
    visited: set[tuple[int, int]] = set()
    while queue:
        folder = queue.pop()
        with deadline.doing(f"looking for logs in {folder}"):
            try:
                about = os.stat(folder)
                if (about.st_dev, about.st_ino) in visited:
                    continue
                visited.add((about.st_dev, about.st_ino))
                entries = list(os.scandir(folder))
            except PermissionError:
                host.denied(folder, "logs")
                continue
            except OSError:
                continue
            for entry in entries:
                count += 1
                if count > most:
                    return found, False
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not (entry.name == "journal" and folder.endswith("/log")):
                        queue.append(entry.path)
                    continue
                if entry.path in claimed or NOT_LOGS.search(entry.path):
                    continue
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if seen.st_blocks * 512 >= big and stat.S_ISREG(seen.st_mode):
                    found.append(Stray(entry.path, seen.st_blocks * 512, seen.st_mtime))
    return found, True


def rotates_itself(stray: Stray, names: set[str], epoch: float) -> bool:
    """Whether the program keeps old copies itself, as log4j and logging.handlers do."""
    folder, name = os.path.split(stray.path)
    stem = name.rsplit(".", 1)[0] if "." in name else name
    if re.search(r"[-.]\d+$|\d{4}-?\d{2}-?\d{2}", name):
        return True
    try:
        others = os.listdir(folder)
    except OSError:
        return False
    for other in others:
        if other != name and other.startswith(stem) and re.search(r"\d", other[len(stem) :]):
            try:
                if epoch - os.lstat(f"{folder}/{other}").st_mtime < 40 * 86400.0:
                    return True
            except OSError:
                continue
    return False


@dataclass(frozen=True)
class Container:
    """A container's log, as the engine keeps it."""

    name: str
    driver: str
    limited: bool
    octets: int | None
    path: str = ""


@dataclass(frozen=True)
class Engine:
    """What the Docker engine says about logs; `error` if it may not be asked."""

    containers: tuple[Container, ...] = ()
    limited_by_default: bool = False
    error: str = ""


def docker_logs(places: Places, wanted: bool | None, host: Host) -> Engine | None:
    """Containers and their log options; None where there is no engine."""
    address = os.environ.get("DOCKER_HOST", "")
    socket = "/var/run/docker.sock"
    if wanted is False or (wanted is None and not address and not os.path.exists(socket)):
        return None
    if wanted is None and not address and not os.access(socket, os.R_OK | os.W_OK):
        host.denied(socket, "logs of Docker containers")
        return None
    from twiceshy.plugin import require

    if wanted is None:
        try:
            docker = require("docker", "docker")
        except CheckError:
            host.unseen[socket] = "logs of Docker containers (python3-docker is missing)"
            return None
    else:
        docker = require("docker", "docker")
    from requests.exceptions import RequestException

    found = []
    with deadline.doing("asking the Docker engine about logs"):
        try:
            client = docker.from_env(timeout=max(1.0, min(5.0, deadline.remaining() - 1)))
            for one in client.api.containers(all=True):
                try:
                    about = client.api.inspect_container(one["Id"])
                except docker.errors.NotFound:
                    continue
                found.append(_container(about))
        except (docker.errors.DockerException, RequestException, OSError) as error:
            if wanted:
                raise CheckError(
                    f"the Docker engine does not answer: {safe(str(error))}"
                ) from error
            return Engine(error=safe(str(error)))
    default = "max-size" in text_of(places.at("etc/docker/daemon.json"))
    return Engine(tuple(found), default)


def _container(about: Mapping[str, Any]) -> Container:
    config = (about.get("HostConfig") or {}).get("LogConfig") or {}
    driver = config.get("Type") or ""
    path = about.get("LogPath") or ""
    octets = None
    if path:
        octets = 0
        number = 0
        while True:
            try:
                octets += os.stat(path + (f".{number}" if number else "")).st_blocks * 512
            except PermissionError:
                octets = None
                break
            except OSError:
                break
            number += 1
    limited = driver != "json-file" or "max-size" in (config.get("Config") or {})
    return Container(str(about.get("Name") or "").lstrip("/"), driver, limited, octets, path)


@dataclass(frozen=True)
class Journal:
    """The limits of journald, and what is outside of them."""

    limit: float | None = None
    limit_text: str = ""
    place: str = ""
    filesystem: float = 0.0
    foreign: tuple[tuple[str, int], ...] = ()


def journal(places: Places) -> Journal:
    limit, text, place = None, "", ""
    files = [places.at("usr/lib/systemd/journald.conf"), places.at("etc/systemd/journald.conf")]
    for folder in ("usr/lib/systemd", "run/systemd", "etc/systemd"):
        files += sorted((places.root / folder / "journald.conf.d").glob("*.conf"))
    for file in files:
        for line in text_of(file).splitlines():
            found = re.match(r"\s*SystemMaxUse\s*=\s*(\S*)", line)
            if found:
                text, place = found[1], str(file)
    if text:
        number = re.fullmatch(r"(\d+)([KMGTPE]?)", text)
        limit = float(number[1]) * 1024 ** (" KMGTPE".index(number[2] or " ")) if number else None
    journals = places.at("var/log/journal")
    size = 0.0
    foreign = []
    own = text_of(places.at("etc/machine-id")).strip()
    try:
        about = os.statvfs(journals)
        size = about.f_blocks * about.f_frsize
        for name in os.listdir(journals):
            if re.fullmatch(r"[0-9a-f]{32}", name) and name != own:
                octets = 0
                for entry in os.scandir(journals / name):
                    octets += entry.stat(follow_symlinks=False).st_blocks * 512
                foreign.append((str(journals / name), octets))
    except OSError:
        pass
    return Journal(limit, text, place, size, tuple(foreign))

"""Logs that are not logrotate's: those of nobody, of containers, of journald."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.log_rotation.logrotate.host import Host, Places, text_of


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
    """None if it cannot be seen from here: another host's, or our rights."""
    path: str = ""


@dataclass(frozen=True)
class Engine:
    """What a container engine says about logs; `error` why it does not say all."""

    server: str = "docker"
    containers: tuple[Container, ...] = ()
    limited_by_default: bool = False
    error: str = ""


def container_logs(places: Places, wanted: bool | None, host: Host) -> Engine | None:
    """Containers and their log options; None where there is no engine, or none to ask.

    An engine that hangs gets half of the time that is left: it must not hide the other findings.
    """
    from twiceshy.container_restarts.engine import engine_address

    address = None if wanted is False else engine_address(None)
    if address is None:
        return Engine(error="there is no socket of an engine") if wanted else None
    try:
        return _asked(places, address)
    except CheckError as error:
        if wanted:
            return Engine(error=str(error))
        host.unseen[address] = "logs of containers"
        return None


def _asked(places: Places, address: str) -> Engine:
    """An engine's answer, or why there is none; CheckError if it is our fault."""
    from twiceshy.container_restarts import engine as side

    server = "podman" if "podman" in address else "docker"
    found: list[Container] = []
    with deadline.doing("asking the container engine about logs"):
        try:
            side.knock(address)
            asked = side.Engine(address, side.tls_of(address, None))
            try:
                server = asked.ask(
                    "the logs of its containers",
                    lambda client: _inspect(client, found),
                    min(10.0, deadline.remaining() / 2),
                )
            finally:
                asked.close()
        except side.EngineDown as error:
            return Engine(server, tuple(found), error=f"{address} does not answer: {error}")
    if server == "podman":
        files = ("usr/share/containers/containers.conf", "etc/containers/containers.conf")
        texts = [text_of(places.at(file)) for file in files]
        if any(re.search(r"^\s*log_size_max\s*=\s*[1-9]", text, re.MULTILINE) for text in texts):
            # conmon gets it at each start, whatever the container was made with.
            found = [replace(one, limited=True) for one in found]
        return Engine(server, tuple(found))
    return Engine(server, tuple(found), "max-size" in text_of(places.at("etc/docker/daemon.json")))


def _inspect(client: Any, found: list[Container]) -> str:
    """Adds every container of an engine to `found`; docker or podman.

    Without a version in the path every engine answers, also those that refuse the SDK's own.
    Podman tells its limits on its own paths only (4.3).
    """

    def get(path: str) -> Any:
        return client.get(f"{client.base_url}{path}", timeout=client.timeout)

    listing = get("/containers/json?all=1")
    client._raise_for_status(listing)
    version = listing.headers.get("Libpod-Api-Version", "")
    prefix = f"/v{version}/libpod" if version else ""
    for one in listing.json():
        answer = get(f"{prefix}/containers/{one['Id']}/json")
        # Removed since.
        if answer.status_code != 404:
            client._raise_for_status(answer)
            found.append(container(answer.json()))
    return "podman" if version else "docker"


def container(about: Mapping[str, Any]) -> Container:
    """From Docker's inspection, or Podman's own, which has Path and Size (0B: no limit)."""
    config = (about.get("HostConfig") or {}).get("LogConfig") or {}
    driver = str(config.get("Type") or "")
    path = str(about.get("LogPath") or config.get("Path") or "")
    limited = driver not in ("json-file", "k8s-file") or "max-size" in (config.get("Config") or {})
    try:
        octets = os.stat(path).st_blocks * 512
    except OSError:
        octets = None
    return Container(
        str(about.get("Name") or "").lstrip("/"),
        driver,
        limited or config.get("Size", "0B") != "0B",
        octets,
        path,
    )


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

"""The logs of containers, which an engine bounds or does not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twiceshy.kit import deadline
from twiceshy.kit.plugin import CheckError
from twiceshy.log_rotation.logrotate.host import Host, HostPaths, text_of
from twiceshy.log_rotation.records import ContainerLog, ContainerLogs, Hidden


def container_logs(paths: HostPaths, wanted: bool | None, host: Host) -> ContainerLogs | None:
    """Containers and their log options; None where there is no engine, or none to ask.

    An engine that hangs gets half of the time that is left: it must not hide the other findings.
    """
    from twiceshy.kit.engine import engine_address

    address = None if wanted is False else engine_address(None)
    if address is None:
        return ContainerLogs(error="there is no socket of an engine") if wanted else None
    try:
        return _asked(paths, address)
    except CheckError as error:
        if wanted:
            return ContainerLogs(error=str(error))
        host.hidden[address] = Hidden.CONTAINER_LOGS
        return None


def _asked(paths: HostPaths, address: str) -> ContainerLogs:
    """An engine's answer, or why there is none; CheckError if it is our fault."""
    from twiceshy.kit import engine as engines

    server = "podman" if "podman" in address else "docker"
    found: list[ContainerLog] = []
    with deadline.doing("asking the container engine about logs"):
        try:
            engines.knock(address)
            engine = engines.Engine(address, engines.tls_of(address, None))
            try:
                server = engine.ask(
                    "the logs of its containers",
                    lambda client: _inspect(client, found),
                    min(10.0, deadline.remaining() / 2),
                )
            finally:
                engine.close()
        except engines.EngineDown as error:
            return ContainerLogs(server, tuple(found), error=f"{address} does not answer: {error}")
    if server == "podman":
        files = ("usr/share/containers/containers.conf", "etc/containers/containers.conf")
        texts = [text_of(paths.at(file)) for file in files]
        if any(re.search(r"^\s*log_size_max\s*=\s*[1-9]", text, re.MULTILINE) for text in texts):
            # conmon gets it at each start, whatever the container was made with.
            found = [replace(one, limited=True) for one in found]
        return ContainerLogs(server, tuple(found))
    return ContainerLogs(
        server, tuple(found), "max-size" in text_of(paths.at("etc/docker/daemon.json"))
    )


def _inspect(client: Any, found: list[ContainerLog]) -> str:
    """Adds every container of an engine to `found`; docker or podman.

    Without a version in the path every engine answers, also those that refuse the SDK's own.
    Podman reports its limits on its own paths only (4.3).
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


def container(about: Mapping[str, Any]) -> ContainerLog:
    """From Docker's inspection, or Podman's own, which has Path and Size (0B: no limit)."""
    config = (about.get("HostConfig") or {}).get("LogConfig") or {}
    driver = str(config.get("Type") or "")
    path = str(about.get("LogPath") or config.get("Path") or "")
    limited = driver not in ("json-file", "k8s-file") or "max-size" in (config.get("Config") or {})
    try:
        octets = os.stat(path).st_blocks * 512
    except OSError:
        octets = None
    return ContainerLog(
        str(about.get("Name") or "").lstrip("/"),
        driver,
        limited or config.get("Size", "0B") != "0B",
        octets,
        path,
    )

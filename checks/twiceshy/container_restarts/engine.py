"""Asking docker and podman through the docker SDK's low-level client.

Every foreign exception ends here, and so does every sentence that has no code beside it: as
EngineDown, which is the engine's outage, as its LoginRefused, or as CheckError, which is ours to
fix. Engines are asked by a thread that can be abandoned.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import re
import shlex
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from twiceshy.container_restarts import formats
from twiceshy.container_restarts.formats import ALIVE, Container, Listed, Ring, Service, Task
from twiceshy.kit import deadline, plugin
from twiceshy.kit.engine import (
    AnswerTimeout,
    Engine,
    EngineDown,
    EngineThread,
    innermost,
    knock,
    tls_of,
)
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe

# One inspect waits for the container's lock; a healthy one takes a millisecond.
INSPECT_SECONDS = 2.0
INSPECT_AGAIN_SECONDS = 0.5
EVENTS_SECONDS = 2.0

# How ssh refuses, and what to do about it: it has one exit status, 255, for all of these. The first
# that fits counts.
LOGIN_REFUSALS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the ssh host key has changed; if you know why, ssh-keygen -R {known_as}, then log in once "
        "manually",
    ),
    (
        "Host key verification failed",
        "the ssh host key is not known to this user: log in once manually as the check's user, and "
        "compare the fingerprint",
    ),
    (
        "Permission denied (",
        "ssh refuses the keys of this user: the check's user needs a key without a passphrase, its "
        "public half in ~/.ssh/authorized_keys there",
    ),
    (
        ".sock: connect: permission denied",
        "ssh logs in, but that user may not use the engine's socket there",
    ),
)

# Nobody is there to answer: ssh must not ask the terminal for a password or a "yes".
NO_PROMPTS = {"SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}

# The ring holds 256 events, of all kinds together (moby daemon/events/events.go). Some may come
# after `until`, so one that is nearly full counts as full.
FULL_RING = 200

# Of errNoSwarm and errNoManager (moby daemon/cluster/errors.go), which share their status, 503,
# with a swarm that is locked or has lost its leader.
NO_MANAGER = "not a swarm manager"


class LoginRefused(EngineDown):
    """ssh, or docker behind it, does not let this user in; the text says what to do."""


class ContainerEngine(Engine):
    """An engine whose containers, events, logs and services are asked for."""

    def __init__(self, url: str, tls: Any = False) -> None:
        super().__init__(url, tls)
        self.is_podman = False
        self.clock_offset = 0.0

    def meet(self) -> None:
        """Learns which engine this is, its API version and its clock, from a ping's headers.

        /version has them as well, but podman starts two programs to answer it. EngineDown if it is
        no container engine.
        """

        def ping(client: Any) -> Mapping[str, str]:
            response = client.get(f"{client.base_url}/_ping", timeout=client.timeout)
            if response.status_code >= 400:
                client._raise_for_status(response)
            headers: Mapping[str, str] = response.headers
            return headers

        before = time.time()
        headers = self.ask("its version", ping)
        version = headers.get("Api-Version", "")
        if not re.fullmatch(r"\d+\.\d+", version):
            raise EngineDown("it answers, but not as a container engine does (no API version)")
        self.is_podman = "Libpod-Api-Version" in headers or "Libpod" in headers.get("Server", "")
        self.server = "podman" if self.is_podman else "docker"
        self._version = version
        self._ask.close()
        self._ask = EngineThread(self._client)
        if not self.url.startswith("unix:"):
            with contextlib.suppress(TypeError, ValueError, KeyError):
                offset = parsedate_to_datetime(headers["Date"]).timestamp() - before
                # The header has whole seconds; less than two is no difference.
                self.clock_offset = offset if abs(offset) > 2 else 0.0

    def listed(self) -> list[Listed]:
        """All containers, running or not (GET /containers/json?all=true)."""
        found = self.ask("its containers", lambda client: client.containers(all=True))
        return [formats.listed(entry) for entry in found]

    def inspected(
        self, wanted: Sequence[Listed], group_by: str
    ) -> tuple[list[Container], dict[str, str]]:
        """The containers, and why some could not be inspected, by name.

        One that was removed meanwhile is in neither.
        """
        errors = self._docker.errors
        found: list[Container] = []
        unanswered: dict[str, str] = {}
        patience = min(INSPECT_SECONDS, max(INSPECT_AGAIN_SECONDS, deadline.remaining() / 5))
        for entry in sorted(wanted, key=lambda entry: entry.state not in ALIVE):
            left = deadline.remaining() - 1.0
            if left <= 0:
                unanswered[entry.name] = "no time was left to ask; raise -t"
                continue
            try:
                with deadline.doing(f"inspecting container {safe(entry.name)}"):
                    document = self._ask(
                        operator.methodcaller("inspect_container", entry.id), min(patience, left)
                    )
                found.append(formats.inspected(document, entry, group_by))
            except errors.NotFound:
                continue
            except AnswerTimeout as error:
                unanswered[entry.name] = str(error)
                patience = INSPECT_AGAIN_SECONDS
            except errors.APIError as error:
                unanswered[entry.name] = safe(str(error.explanation or error), 120)
            except (KeyError, TypeError, ValueError, AttributeError):
                unanswered[entry.name] = "its inspection cannot be parsed"
            except (OSError, errors.DockerException) as error:
                unanswered[entry.name] = safe(innermost(error), 120)
        return found, unanswered

    def ring(self, since: float, now: float) -> Ring:
        """The events since then that the engine still has, or why it does not give them.

        Docker needs `until`, or the stream never ends, and is asked for all kinds, since only a
        full ring tells how far it reaches back. Podman needs `stream=false` and forgets everything
        when it gets an `until` (4.3); it keeps events on disk, so it is asked for a few kinds.
        """
        if self.is_podman:
            kinds = ("create", "start", "died", "die", "kill", "stop", "restart", "oom")
            question = {
                "since": str(int(since)),
                "stream": "false",
                "filters": json.dumps({"type": ["container"], "event": list(kinds)}),
            }
        else:
            question = {"since": "0", "until": f"{time.time() + self.clock_offset:.3f}"}

        def request(client: Any) -> list[Any]:
            response = client.get(
                f"{client.base_url}/v{client.api_version}/events",
                params=question,
                timeout=client.timeout,
            )
            if response.status_code >= 400:
                client._raise_for_status(response)
            return [json.loads(line) for line in response.text.splitlines() if line.strip()]

        try:
            lines = self.ask("its events", request, EVENTS_SECONDS)
        except (EngineDown, CheckError) as error:
            return Ring(missing=f"the engine's events are not available: {error}")
        events = formats.events(lines)
        if self.is_podman:
            return Ring(tuple(events), since)
        covered = 0.0
        if len(lines) >= FULL_RING:
            times = [line.get("time") for line in lines if isinstance(line, dict)]
            covered = min((float(at) for at in times if at), default=now)
        return Ring(tuple(event for event in events if event.at >= since), covered)

    def log_tail(self, container_id: str, lines: int) -> list[str]:
        """The last lines of a container's log, each after "Log: ", or why there are none."""
        import requests

        errors = self._docker.errors
        seconds = min(INSPECT_SECONDS, deadline.remaining() - 1.0)
        if seconds <= 0:
            return []
        try:
            log = self._ask(lambda client: client.logs(container_id, tail=lines), seconds)
        except AnswerTimeout as error:
            return [f"Log: {error}"]
        except (errors.DockerException, requests.RequestException, OSError) as error:
            return [f"Log: {safe(str(getattr(error, 'explanation', '') or error), 120)}"]
        if not isinstance(log, bytes):
            return []
        return [f"Log: {line}" for line in log.decode("utf-8", "replace").splitlines()[-lines:]]

    def services(self) -> tuple[list[Service], list[Task]]:
        """The services and tasks of a swarm; CheckError if this node is no manager."""

        def request(client: Any) -> tuple[Any, Any]:
            response = client.get(
                f"{client.base_url}/v{client.api_version}/services",
                params={"status": "true"},
                timeout=client.timeout,
            )
            if response.status_code >= 400:
                if NO_MANAGER in response.text:
                    raise CheckError(
                        f"--service needs a swarm manager, and {safe(self.url)} is not one"
                    )
                client._raise_for_status(response)
            return response.json(), client.tasks()

        services, tasks = self.ask("its services", request)
        return (
            [formats.service(document) for document in services],
            [formats.task(document) for document in tasks],
        )


@contextlib.contextmanager
def connected(address: str, cert_path: Path | None) -> Iterator[ContainerEngine]:
    """The engine at an address, for as long as it is asked.

    EngineDown, with the `server` that it is as far as known, if it does not answer, now or later;
    CheckError if it is our fault.
    """
    engine = None
    try:
        with quiet_ssh(address):
            knock(address)
            engine = ContainerEngine(address, tls_of(address, cert_path))
            engine.meet()
            yield engine
    except EngineDown as error:
        error.server = engine.server if engine else "podman" if "podman" in address else "docker"
        raise
    finally:
        if engine is not None:
            engine.close()


@contextlib.contextmanager
def quiet_ssh(url: str) -> Iterator[None]:
    """Keeps what the SDK's ssh says from being printed, and understands it.

    It inherits descriptor 2. LoginRefused where ssh says why it does not let in.
    """
    if not url.startswith("ssh://"):
        yield
        return
    requests = plugin.require("requests", "python3-requests", "containers")
    before = {name: os.environ.get(name) for name in NO_PROMPTS}
    os.environ.update(NO_PROMPTS)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as instead:
        os.dup2(instead.fileno(), 2)
        try:
            yield
        except EngineDown as error:
            instead.seek(0)
            output = instead.read().decode("utf-8", "replace").strip()
            for refusal, remedy in LOGIN_REFUSALS:
                if refusal in output:
                    raise LoginRefused(remedy.format(known_as=known_as(url))) from error
            if output and isinstance(error.__cause__, requests.ConnectionError):
                # A banner that the law requires may come before its last line.
                raise EngineDown(safe(output.splitlines()[-1])) from error
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def known_as(url: str) -> str:
    """What ssh's known_hosts calls the host of an ssh:// URL."""
    target = urllib.parse.urlsplit(url)
    return f"'[{target.hostname}]:{target.port}'" if target.port else str(target.hostname)


def login(url: str) -> str:
    """The command that logs in where an ssh:// URL points, to ask docker its version."""
    target = urllib.parse.urlsplit(url)
    user = f"{target.username}@" if target.username else ""
    port = f"-p {target.port} " if target.port else ""
    return f"ssh {port}{shlex.quote(user + str(target.hostname))} docker version"

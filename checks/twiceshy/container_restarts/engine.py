"""Asking docker and podman through the docker SDK's low-level client.

Every foreign exception ends here, and so does every sentence that has no code beside it: as
EngineDown, which is the engine's outage, as its LoginRefused, or as CheckError, which is ours to
mend. Engines are asked by a thread that can be abandoned.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import queue
import re
import shlex
import socket
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Callable, TypeVar

from twiceshy.container_restarts import formats
from twiceshy.container_restarts.formats import ALIVE, Container, Listed, Ring, Service, Task
from twiceshy.kit import deadline, plugin, units
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe

Answer = TypeVar("Answer")

SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
USER_SOCKETS = ("docker.sock", "podman/podman.sock")

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


class EngineDown(Exception):
    """The engine does not answer; the text says how. `server`: docker or podman, or a guess."""

    server = "docker"


class LoginRefused(EngineDown):
    """ssh, or docker behind it, does not let this user in; the text says what to do."""


class AnswerTimeout(Exception):
    """One question took too long."""


class EngineThread:
    """A thread that puts questions to an engine, so that a stuck answer costs only itself.

    requests' timeouts are per read: a byte a second satisfies them for ever.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._questions: queue.SimpleQueue[Callable[[Any], Any] | None] | None = None
        self._answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def __call__(self, question: Callable[[Any], Answer], seconds: float) -> Answer:
        """The answer, or the question's own exception; AnswerTimeout after `seconds`."""
        if self._questions is None:
            self._questions, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
            threading.Thread(
                target=_answer,
                args=(self._connect, self._questions, self._answers),
                daemon=True,
            ).start()
        self._questions.put(question)
        try:
            succeeded, answer = self._answers.get(timeout=max(0.05, seconds))
        except queue.Empty:
            self._questions = None  # the thread stays with its question; another takes over
            raise AnswerTimeout(
                f"no answer within {units.say_duration(round(seconds, 1))}"
            ) from None
        if not succeeded:
            raise answer
        result: Answer = answer
        return result

    def close(self) -> None:
        """Ends the thread, and its connection with it."""
        if self._questions is not None:
            self._questions.put(None)


def _answer(
    connect: Callable[[], Any],
    questions: queue.SimpleQueue[Callable[[Any], Any] | None],
    answers: queue.SimpleQueue[tuple[bool, Any]],
) -> None:
    client = None
    while True:
        question = questions.get()
        if question is None:
            if client is not None:
                client.close()
            return
        try:
            client = client or connect()
            answers.put((True, question(client)))
        except Exception as error:  # noqa: BLE001 - raised again where the question was asked
            answers.put((False, error))


class Engine:
    """A container engine at an address such as unix:///var/run/docker.sock."""

    def __init__(self, url: str, tls: Any = False) -> None:
        """`tls`: what `tls_of` returns. CheckError if a library is missing; asks nothing yet."""
        self.url = url
        self.is_podman = False
        self.server = "docker"
        self.clock_offset = 0.0
        self._tls = tls
        self._version = "1.41"
        plugin.require("requests", "python3-requests")
        self._docker = plugin.require("docker", "python3-docker")
        self._ask = EngineThread(self._client)

    def _client(self) -> Any:
        client = self._docker.APIClient(
            base_url=self.url,
            version=self._version,
            timeout=max(1.0, min(60.0, deadline.remaining())),
            tls=self._tls,
            **({"use_ssh_client": True} if self.url.startswith("ssh://") else {}),
        )
        if self._tls:
            # Or $REQUESTS_CA_BUNDLE would take the place of our ca.pem (requests issue 3829).
            client.trust_env = False
        return client

    def ask(self, what: str, question: Callable[[Any], Answer], seconds: float = 60.0) -> Answer:
        """An answer that the check cannot do without; EngineDown or CheckError when there is none.

        `what` names it in messages. Half a second of the deadline is left to report a failure.
        """
        import requests

        errors = self._docker.errors
        seconds = min(seconds, deadline.remaining() - 0.5)
        try:
            with deadline.doing(f"asking {self.server} at {safe(self.url)} for {what}"):
                return self._ask(question, seconds)
        except AnswerTimeout as error:
            raise EngineDown(f"{error} (asked for {what})") from error
        except errors.APIError as error:
            status = getattr(error.response, "status_code", 0)
            explanation = safe(str(error.explanation or error), 160)
            if status in (401, 403):
                raise CheckError(
                    f"{self.server} at {safe(self.url)} does not allow asking for {what}: "
                    f"{explanation}; a socket proxy must allow GET on containers and events"
                ) from error
            raise EngineDown(f"it answers {status} when asked for {what}: {explanation}") from error
        except requests.exceptions.SSLError as error:
            raise CheckError(
                f"TLS with {safe(self.url)} fails: {safe(_innermost(error), 160)}; "
                "check --cert-path (ca.pem, cert.pem, key.pem)"
            ) from error
        except requests.exceptions.InvalidSchema as error:
            raise CheckError(
                "python library docker is too old for this requests: pip install 'docker>=7.1'"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EngineDown(f"it answers, but not as a container engine does ({what})") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise EngineDown(safe(_innermost(error), 160)) from error
        except errors.DockerException as error:
            if "paramiko" in str(error):  # the SDK has no class for it
                raise CheckError(
                    "python library paramiko is missing, which docker needs for ssh://: "
                    "apt install python3-paramiko (or pip install paramiko)"
                ) from error
            raise CheckError(f"{safe(self.url)}: {safe(str(error), 200)}") from error

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

    def close(self) -> None:
        """Closes the connection."""
        self._ask.close()

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
                unanswered[entry.name] = safe(_innermost(error), 120)
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
        """The last lines of a container's log, each after "log: ", or why there are none."""
        import requests

        errors = self._docker.errors
        seconds = min(INSPECT_SECONDS, deadline.remaining() - 1.0)
        if seconds <= 0:
            return []
        try:
            log = self._ask(lambda client: client.logs(container_id, tail=lines), seconds)
        except AnswerTimeout as error:
            return [f"log: {error}"]
        except (errors.DockerException, requests.RequestException, OSError) as error:
            return [f"log: {safe(str(getattr(error, 'explanation', '') or error), 120)}"]
        if not isinstance(log, bytes):
            return []
        return [f"log: {line}" for line in log.decode("utf-8", "replace").splitlines()[-lines:]]

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


def _innermost(error: BaseException) -> str:
    """The text of the error at the bottom: libraries wrap a ConnectionRefusedError three times."""
    while True:
        inner = error.__cause__ or error.__context__
        # urllib3 1.26 first tries what Python 3 refuses, and trips over that once more.
        if inner is None or isinstance(inner, TypeError):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


def engine_address(given: str | None) -> str | None:
    """--docker-host, $DOCKER_HOST, or of the usual sockets the first that may be used.

    One that this user may not use counts if there is no other; None if there is none at all.
    """
    if given or os.environ.get("DOCKER_HOST"):
        return given or os.environ["DOCKER_HOST"]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    refused = None
    for path in (*SOCKETS, *(f"{runtime}/{name}" for name in USER_SOCKETS)):
        try:
            os.stat(path)
        except PermissionError:
            pass
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return f"unix://{path}"
        refused = refused or f"unix://{path}"
    return refused


def knock(url: str) -> None:
    """Connects to a unix socket once, since through three libraries all its errors look alike.

    CheckError if this user may not use it; EngineDown if nobody answers there. Other addresses are
    left to the SDK.
    """
    if not url.startswith("unix:"):
        return
    path = "/" + url[len("unix:") :].lstrip("/")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(max(0.1, min(5.0, deadline.remaining() - 0.5)))
    try:
        connection.connect(path)
    except PermissionError:
        raise CheckError(
            f"not allowed to use {safe(path)}: run the check by sudo or behind a socket proxy that "
            "allows GET on containers and events (a member of the socket's group is as good as "
            "root)"
        ) from None
    except FileNotFoundError:
        raise EngineDown(f"there is no socket {safe(path)}") from None
    except socket.timeout:
        raise EngineDown("it does not accept connections") from None
    except OSError as error:
        raise EngineDown((error.strerror or str(error)).lower()) from error
    finally:
        connection.close()


def tls_of(url: str, cert_path: Path | None) -> Any:
    """The SDK's TLS configuration for tcp://, from --cert-path or docker's own variables.

    False without TLS; CheckError if the files are missing or cannot be read.
    """
    if not url.startswith(("tcp://", "https://")):
        return False
    asked = os.environ.get("DOCKER_TLS_VERIFY", "") not in ("", "0")
    if cert_path is None and not asked and not url.startswith("https://"):
        return False
    directory = cert_path or Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    docker = plugin.require("docker", "python3-docker")
    try:
        return docker.tls.TLSConfig(
            client_cert=(str(directory / "cert.pem"), str(directory / "key.pem")),
            ca_cert=str(directory / "ca.pem"),
            verify=True,
        )
    except docker.errors.TLSParameterError as error:
        raise CheckError(
            f"TLS needs ca.pem, cert.pem and key.pem in {safe(str(directory))}, readable by this "
            "user"
        ) from error


@contextlib.contextmanager
def connected(address: str, cert_path: Path | None) -> Iterator[Engine]:
    """The engine at an address, for as long as it is asked.

    EngineDown, with the `server` that it is as far as known, if it does not answer, now or later;
    CheckError if it is our fault.
    """
    engine = None
    try:
        with quiet_ssh(address):
            knock(address)
            engine = Engine(address, tls_of(address, cert_path))
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
    requests = plugin.require("requests", "python3-requests")
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

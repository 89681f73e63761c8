"""Asking docker and podman through the docker SDK's low-level client.

Every foreign exception ends here: as EngineDown, which is the engine's outage, or as CheckError,
which is ours to fix. Engines are asked by a thread that can be abandoned.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import socket
import threading
from pathlib import Path
from typing import Any, Callable, TypeVar

from twiceshy.kit import deadline, plugin, units
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe

Answer = TypeVar("Answer")

SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
USER_SOCKETS = ("docker.sock", "podman/podman.sock")


class EngineDown(Exception):
    """The engine does not answer; the text says how. `server`: docker or podman, or a guess."""

    server = "docker"


class AnswerTimeout(Exception):
    """One question took too long."""


class EngineThread:
    """A thread that puts questions to an engine, so that a stuck answer costs only itself.

    requests' timeouts are per read: a byte per second satisfies them for ever.
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
        self.server = "docker"
        self._tls = tls
        self._version = "1.41"
        plugin.require("requests", "python3-requests", "containers")
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
                    f"{self.server} at {safe(self.url)} does not allow requests for {what}: "
                    f"{explanation}; a socket proxy must allow GET on containers and events"
                ) from error
            raise EngineDown(f"it answers {status} when asked for {what}: {explanation}") from error
        except requests.exceptions.SSLError as error:
            raise CheckError(
                f"TLS with {safe(self.url)} fails: {safe(innermost(error), 160)}; "
                "check --cert-path (ca.pem, cert.pem, key.pem)"
            ) from error
        except requests.exceptions.InvalidSchema as error:
            raise CheckError(
                "python library docker is too old for the installed requests: pip install "
                "'docker>=7.1'"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EngineDown(f"it answers, but not as a container engine does ({what})") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise EngineDown(safe(innermost(error), 160)) from error
        except errors.DockerException as error:
            # The SDK has no class for it.
            if self.url.startswith("ssh:") and importlib.util.find_spec("paramiko") is None:
                raise CheckError(
                    "python library paramiko is missing, which docker needs for ssh://: "
                    "apt install python3-paramiko (or pip install paramiko)"
                ) from error
            raise CheckError(f"{safe(self.url)}: {safe(str(error), 200)}") from error

    def close(self) -> None:
        """Closes the connection."""
        self._ask.close()


def innermost(error: BaseException) -> str:
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
            f"not allowed to use {safe(path)}: run the check with sudo, or through a socket "
            "proxy that allows GET on containers and events (membership of the socket's group is "
            "as good as root)"
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

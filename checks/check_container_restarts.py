#!/usr/bin/env python3
"""Is a container restarting faster than it can work, or down although its policy says up?

A container that dies every twelve seconds is "running" in 98 of 100 looks, and the engine's
RestartCount is zeroed by every start by hand and never goes down otherwise: one alert, and red for
ever. This check counts restarts within a window, whoever caused them: the restart policy, a
`docker restart` by cron or autoheal, or new containers in place of ended ones (`while true; docker
run`, compose, swarm). It recovers by itself one quiet window after the last restart. It also finds
containers that are down although their policy says up, because the engine gave up on them or
because `docker kill -s HUP` switched the policy off, loops of out-of-memory kills, and containers
that stay unhealthy, which no engine restarts.

Containers are grouped by --group-by LABEL, compose service, swarm service and slot, name, or, when
nobody named them, image and command. Not alarmed: a deploy, a restart of the engine or of the host
(said in one remark), a scale-up, jobs that end with 0, one-shots, an old high count that is stable.

Learned from: "High availability taken the wrong way" (25 July 2015): a dockerised application died,
  its --restart=always had no effect, and the remedy asked for was a loop inside a loop.
Reads: the engine's API at --docker-host, $DOCKER_HOST or the first of /var/run/docker.sock,
  /run/podman/podman.sock, $XDG_RUNTIME_DIR/docker.sock and $XDG_RUNTIME_DIR/podman/podman.sock:
  version, list, one inspect for each selected container, events; with --service services and tasks
  (on a swarm manager). Docker and podman; unix, tcp (with TLS) and ssh. Whoever may write to that
  socket is root: rather than adding the check's user to group docker, let it use a socket proxy
  that allows GET on containers and events alone, or run this check by sudo. Rootless containers
  are seen at their user's socket only.
Remembers: per container its incarnation and count, per group its restarts, twice the window.
Says:
  OK        no group restarted more often than -w within --window, nothing down, nothing unhealthy
  WARNING   more restarts than -w; new containers whose exit nobody saw, more than -w or -c
  WARNING   down longer than --grace although the policy says up, and it may have been stopped by
            hand (--stopped-by-hand); health check still "starting" long after its time
  CRITICAL  more restarts than -c, by policy, from outside, or as new containers or tasks
  CRITICAL  more processes than -c killed for lack of memory in a container that stays up
  CRITICAL  the engine gave up: start failed, never started, on-failure:N used up
  CRITICAL  died by itself and was not restarted although the policy says up
  CRITICAL  unhealthy for longer than --grace (--unhealthy)
  CRITICAL  --service: no task running, or, as WARNING, fewer than desired for longer than --grace
  CRITICAL  the engine does not answer; a container asked for by name is absent (--missing)
  UNKNOWN   not allowed to ask the engine; a container that does not answer; history not kept
Measures:
  containers           -  containers looked at
  running              -  of them running
  restarts             -  restarts of all groups within the window
  most_restarts        -  restarts of the worst group within the window
  down                 -  containers down although their policy says up
  unhealthy            -  containers whose health check fails
  SUBJECT_restarts     -  restarts of one group within the window
  SUBJECT_restarts_total c  RestartCount, as the engine has it
  SUBJECT_age          s  since the last start
  SUBJECT_running      -  tasks running (--service)
Examples:
  check_container_restarts
  check_container_restarts --include 'web*' -w 1 -c 3 --window 30m --log-lines 3
  check_container_restarts --compose shop --stopped-by-hand ok
  check_container_restarts --docker-host unix:///run/user/1000/podman/podman.sock
  check_container_restarts --service '*'
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import shlex
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, TypeVar

from twiceshy import containers as engine_says
from twiceshy import deadline, history, plugin, units, verdict
from twiceshy import options as opt
from twiceshy.containers import Container, Event, Group, Listed, Ring, Service, Task
from twiceshy.limits import Limit, judge
from twiceshy.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.verdict import Finding, Measure, Report, safe

Answer = TypeVar("Answer")

SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
USER_SOCKETS = ("docker.sock", "podman/podman.sock")

# One inspect waits for the container's lock; a healthy one takes a millisecond.
INSPECT_SECONDS = 2.0
INSPECT_AGAIN_SECONDS = 0.5
EVENTS_SECONDS = 2.0

# Docker waits 0.1 s after the first quick death and doubles that up to a minute; a life of ten
# seconds sets it back (moby restartmanager.go).
FIRST_BACK_OFF = 0.1
LAST_BACK_OFF = 60.0

# The ring holds 256 events, of all kinds together (moby daemon/events/events.go).
RING_SIZE = 256

# Signals with which `docker stop` and `docker kill` end a container; HUP, USR1 .. do not.
ENDING_SIGNALS = frozenset((2, 3, 6, 9, 15))
STOP_SECONDS = 60.0

# So many containers started anew within so short a time: the engine or the host restarted.
TOGETHER = 3
TOGETHER_SECONDS = 120.0
ENGINE = Group("@engine", "the engine", "engine")

WORDS = {
    "policy": "by its policy",
    "others": "from outside (by hand, cron or autoheal)",
    "new": "as a new container",
}


# What is seen


@dataclass(frozen=True)
class Past:
    """What was remembered of a container; `ago` is seconds since that look."""

    id: str
    group: Group
    name: str
    image: str
    created: float
    started: str
    started_at: float | None
    finished_at: float | None
    restart_count: int
    status: str
    exit_code: int
    ended: str
    looked: str
    looked_at: float
    ago: float
    new_boot: bool = False

    @property
    def is_alive(self) -> bool:
        return self.status in engine_says.ALIVE


@dataclass(frozen=True)
class Restarts:
    """`count` restarts of a group, the last one `ago` seconds back, spread over `span` before it.

    `by`: policy, others, new, or oom for a process killed inside a container that lives on.
    `is_certain` is False where the exit of the predecessor was not seen.
    """

    group: Group
    by: str
    id: str
    mark: str
    count: int
    ago: float
    span: float = 0.0
    exit_code: int | None = None
    oom: bool = False
    is_certain: bool = True


class EngineDown(Exception):
    """The engine does not answer; the text says how."""


class NoAnswer(Exception):
    """One question took too long."""


@dataclass(frozen=True)
class Seen:
    """One look at an engine, in its own clock; `unanswered` maps a name to the reason."""

    engine: str
    now: float
    containers: Sequence[Container]
    ring: Ring
    unanswered: Mapping[str, str]
    remarks: Sequence[str] = ()


class Asked:
    """Questions put to an engine by a thread, so that a stuck or dripping answer costs only itself.

    requests' timeouts are per read: a byte a second satisfies them for ever.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._questions: queue.SimpleQueue[Callable[[Any], Any]] | None = None
        self._answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def __call__(self, question: Callable[[Any], Answer], seconds: float) -> Answer:
        """The answer, or the question's own exception; NoAnswer after `seconds`."""
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
            raise NoAnswer(f"no answer within {units.say_duration(round(seconds, 1))}") from None
        if not succeeded:
            raise answer
        result: Answer = answer
        return result


def _answer(
    connect: Callable[[], Any],
    questions: queue.SimpleQueue[Callable[[Any], Any]],
    answers: queue.SimpleQueue[tuple[bool, Any]],
) -> None:
    client = None
    while True:
        question = questions.get()
        try:
            client = client or connect()
            answers.put((True, question(client)))
        except Exception as error:  # noqa: BLE001 - raised again where the question was asked
            answers.put((False, error))


class Engine:
    """A container engine at an address such as unix:///var/run/docker.sock."""

    def __init__(self, url: str, tls: Any = False) -> None:
        self.url = url
        self.is_podman = False
        self.server = "docker"
        self.clock_offset = 0.0
        self._tls = tls
        self._version = "1.41"
        self._docker = plugin.require("docker", "python3-docker")
        self._ask = Asked(self._client)

    def _client(self) -> Any:
        return self._docker.APIClient(
            base_url=self.url,
            version=self._version,
            timeout=max(1.0, min(60.0, deadline.remaining())),
            tls=self._tls,
            **({"use_ssh_client": True} if self.url.startswith("ssh://") else {}),
        )

    def ask(self, what: str, question: Callable[[Any], Answer], seconds: float = 60.0) -> Answer:
        """An answer that the check cannot do without; EngineDown or CheckError when there is none.

        It leaves half a second of the deadline to say so.
        """
        import requests

        errors = self._docker.errors
        seconds = min(seconds, deadline.remaining() - 0.5)
        try:
            with deadline.doing(f"asking {self.server} at {safe(self.url)} for {what}"):
                return self._ask(question, seconds)
        except NoAnswer as error:
            raise EngineDown(f"{error} (asked for {what})") from error
        except errors.APIError as error:
            status = getattr(error.response, "status_code", 0)
            words = safe(str(error.explanation or error), 160)
            if status in (401, 403):
                raise CheckError(
                    f"{self.server} at {safe(self.url)} does not allow asking for {what}: "
                    f"{words}; a socket proxy must allow GET on containers and events"
                ) from error
            raise EngineDown(f"it answers {status} when asked for {what}: {words}") from error
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
            if "paramiko" in str(error):
                raise CheckError(
                    "python library paramiko is missing, which docker needs for ssh://: "
                    "apt install python3-paramiko (or pip install paramiko)"
                ) from error
            raise CheckError(f"{safe(self.url)}: {safe(str(error), 200)}") from error

    def meet(self) -> None:
        """Learns which engine this is, its API version and its clock."""

        def version(client: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
            response = client.get(f"{client.base_url}/version", timeout=client.timeout)
            if response.status_code >= 400:
                client._raise_for_status(response)
            return response.json(), response.headers

        before = time.time()
        said, headers = self.ask("its version", version)
        if not isinstance(said, dict) or "ApiVersion" not in said:
            raise EngineDown("it answers, but not as a container engine does (no API version)")
        parts = [str(part.get("Name")) for part in said.get("Components") or () if part]
        self.is_podman = "Libpod" in headers.get("Server", "") or "Podman Engine" in parts
        self.server = "podman" if self.is_podman else "docker"
        self._version = str(said["ApiVersion"])
        self._ask = Asked(self._client)
        if not self.url.startswith("unix:"):
            from email.utils import parsedate_to_datetime

            with contextlib.suppress(TypeError, ValueError, KeyError):
                offset = parsedate_to_datetime(headers["Date"]).timestamp() - before
                # The header has whole seconds; less than two is no difference.
                self.clock_offset = offset if abs(offset) > 2 else 0.0

    def listed(self) -> list[Listed]:
        found = self.ask("its containers", lambda client: client.containers(all=True))
        return [engine_says.listed(entry) for entry in found]

    def inspected(
        self, wanted: Sequence[Listed], group_by: str
    ) -> tuple[list[Container], dict[str, str]]:
        """The containers, and why some did not answer; one that vanished meanwhile is neither."""
        errors = self._docker.errors
        found: list[Container] = []
        unanswered: dict[str, str] = {}
        patience = INSPECT_SECONDS
        for entry in sorted(wanted, key=lambda one: one.state not in engine_says.ALIVE):
            left = deadline.remaining() - 1.0
            if left <= 0:
                unanswered[entry.name] = "no time was left to ask; raise -t"
                continue
            try:
                with deadline.doing(f"inspecting container {safe(entry.name)}"):
                    document = self._ask(
                        lambda client, wanted_id=entry.id: client.inspect_container(wanted_id),
                        min(patience, left),
                    )
                found.append(engine_says.inspected(document, entry, group_by))
            except errors.NotFound:
                continue
            except NoAnswer as error:
                unanswered[entry.name] = str(error)
                patience = INSPECT_AGAIN_SECONDS
            except errors.APIError as error:
                unanswered[entry.name] = safe(str(error.explanation or error), 120)
            except (KeyError, TypeError, ValueError, AttributeError):
                unanswered[entry.name] = "its inspection makes no sense"
            except (OSError, errors.DockerException) as error:
                unanswered[entry.name] = safe(_innermost(error), 120)
        return found, unanswered

    def ring(self, since: float, now: float) -> tuple[Ring, str]:
        """The remembered events, and a remark if they could not be had.

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
            # A full ring tells how far it reaches only if nothing is left out.
            question = {"since": "0", "until": f"{now + 0.5:.3f}"}
            if now + 0.5 > time.time() + self.clock_offset:
                question["until"] = f"{now:.3f}"

        def asked(client: Any) -> list[Any]:
            response = client.get(
                f"{client.base_url}/v{client.api_version}/events",
                params=question,
                timeout=client.timeout,
            )
            if response.status_code >= 400:
                client._raise_for_status(response)
            return [json.loads(line) for line in response.text.splitlines() if line.strip()]

        try:
            lines = self.ask("its events", asked, EVENTS_SECONDS)
        except (EngineDown, CheckError) as error:
            return Ring(), f"the engine's events cannot be had: {error}"
        events = engine_says.events(lines)
        if self.is_podman:
            return Ring(tuple(events), since), ""
        covered = 0.0
        if len(lines) >= RING_SIZE:
            times = [line.get("time") for line in lines if isinstance(line, dict)]
            covered = min((float(at) for at in times if at), default=now)
        return Ring(tuple(event for event in events if event.at >= since), covered), ""

    def last_words(self, container_id: str, lines: int) -> list[str]:
        """The last lines of a container's log, or why they cannot be had."""
        import requests

        errors = self._docker.errors
        seconds = min(INSPECT_SECONDS, deadline.remaining() - 1.0)
        if seconds <= 0:
            return []
        try:
            said = self._ask(lambda client: client.logs(container_id, tail=lines), seconds)
        except NoAnswer as error:
            return [f"log: {error}"]
        except (errors.DockerException, requests.RequestException, OSError) as error:
            return [f"log: {safe(str(getattr(error, 'explanation', '') or error), 120)}"]
        if not isinstance(said, bytes):
            return []
        return [f"log: {line}" for line in said.decode("utf-8", "replace").splitlines()[-lines:]]

    def services(self) -> tuple[list[Service], list[Task]]:
        """The services and tasks of a swarm; CheckError if this node is no manager."""

        def asked(client: Any) -> tuple[Any, Any]:
            response = client.get(
                f"{client.base_url}/v{client.api_version}/services",
                params={"status": "true"},
                timeout=client.timeout,
            )
            if response.status_code >= 400:
                client._raise_for_status(response)
            return response.json(), client.tasks()

        try:
            services, tasks = self.ask("its services", asked)
        except EngineDown as error:
            if "swarm manager" in str(error):
                raise CheckError(
                    f"--service asks a swarm manager, and {safe(self.url)} is none"
                ) from error
            raise
        return (
            [engine_says.service(document) for document in services],
            [engine_says.task(document) for document in tasks],
        )


def _innermost(error: BaseException) -> str:
    """The words of the error at the bottom: libraries wrap a ConnectionRefusedError three times."""
    while True:
        inner = error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


def engine_address(given: str | None) -> str | None:
    """--docker-host, $DOCKER_HOST or the first usual socket that exists; None if none does."""
    if given or os.environ.get("DOCKER_HOST"):
        return given or os.environ["DOCKER_HOST"]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    refused = None
    for path in (*SOCKETS, *(f"{runtime}/{name}" for name in USER_SOCKETS)):
        try:
            os.stat(path)
            return f"unix://{path}"
        except PermissionError:
            refused = refused or f"unix://{path}"
        except OSError:
            continue
    return refused


def knock(url: str) -> None:
    """Tries a unix socket, since through three libraries all its errors look alike."""
    if not url.startswith("unix:"):
        return
    path = "/" + url[len("unix:") :].lstrip("/")
    knocking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    knocking.settimeout(max(0.1, min(5.0, deadline.remaining() - 0.5)))
    try:
        knocking.connect(path)
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
        knocking.close()


def tls_of(url: str, cert_path: Path | None) -> Any:
    """The SDK's TLS configuration for tcp://, from --cert-path or docker's own variables."""
    if not url.startswith(("tcp://", "https://")):
        return False
    asked = os.environ.get("DOCKER_TLS_VERIFY", "") not in ("", "0")
    if cert_path is None and not asked and not url.startswith("https://"):
        return False
    place = cert_path or Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    docker = plugin.require("docker", "python3-docker")
    try:
        return docker.tls.TLSConfig(
            client_cert=(str(place / "cert.pem"), str(place / "key.pem")),
            ca_cert=str(place / "ca.pem"),
            verify=True,
        )
    except docker.errors.TLSParameterError as error:
        raise CheckError(
            f"TLS needs ca.pem, cert.pem and key.pem in {safe(str(place))}, readable for this user"
        ) from error


@contextlib.contextmanager
def quiet_ssh(url: str) -> Iterator[None]:
    """The ssh that the SDK starts inherits descriptor 2; what it says there must not be printed."""
    if not url.startswith("ssh://"):
        yield
        return
    kept = os.dup(2)
    with tempfile.TemporaryFile() as instead:
        os.dup2(instead.fileno(), 2)
        try:
            yield
        except EngineDown as error:
            instead.seek(0)
            said = safe(instead.read().decode("utf-8", "replace"), 200)
            raise EngineDown(f"{said or error}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# What it means


@dataclass(frozen=True)
class Rules:
    """What the operator asked for."""

    window: float
    warning: Limit | None
    critical: Limit | None
    grace: float
    stopped_by_hand: State = WARNING
    unhealthy: State = CRITICAL
    paused: State = OK
    oneshot_failures: State = OK


@dataclass(frozen=True)
class Clause:
    """One thing that is wrong with a group, without its name; the worst makes the first line."""

    state: State
    text: str
    kind: str
    container: Container | None = None


def within(rows: Iterable[Restarts], window: float) -> int:
    """How many restarts fell into the window.

    The last of a row is exact; the others are spread evenly over the row's span, so that 40 in six
    unwatched hours are not 40 in the last quarter of an hour.
    """
    total = 0.0
    for row in rows:
        if row.ago > window or row.count <= 0:
            continue
        share = 1.0 if row.span <= 0 else min(1.0, (window - row.ago) / row.span)
        total += 1 + (row.count - 1) * share
    return int(total + 1e-6)


def fuller(one: Sequence[Restarts], other: Sequence[Restarts], window: float) -> list[Restarts]:
    """The one of two accounts of the same restarts that has more of them in the window."""
    return list(other if within(other, window) > within(one, window) else one)


def quick_deaths_in_a_row(waited: float) -> int:
    """How many quick deaths docker's back-off has seen, when it has waited so long already."""
    if waited < FIRST_BACK_OFF:
        return 0
    return int(math.log2(min(waited, LAST_BACK_OFF) / FIRST_BACK_OFF)) + 1


def restarts_of(
    seen: Container,
    past: Past | None,
    heard: Sequence[Event],
    now: float,
    window: float,
    is_podman: bool = False,
) -> list[Restarts]:
    """The restarts of one container since the last look, or, at the first, as far as it is known.

    RestartCount rises at a death, before the back-off, and is zeroed by every start through the
    API; so it going down, or StartedAt changing under an unchanged count, is a start from outside.
    `heard`: what the events say of this container.
    """
    if seen.started_at is None:
        return []
    waits = seen.status == "restarting" and seen.finished_at is not None
    last = max(seen.started_at, seen.finished_at or 0.0) if waits else seen.started_at
    ago = max(0.0, now - last)
    exit_code, oom = last_end(seen, heard)
    mark = f"{seen.started}/{seen.restart_count}"

    def row(by: str, count: int, last_ago: float = ago, span: float = 0.0) -> list[Restarts]:
        if count <= 0:
            return []
        return [
            Restarts(seen.group, by, seen.id, mark, count, last_ago, max(0.0, span), exit_code, oom)
        ]

    since = now - window if past is None else max(now - window, past.looked_at)
    recent = [event for event in heard if event.at > since]
    starts = [event.at for event in recent if event.action == "start"]
    if starts and any(event.action == "create" for event in heard) and past is None:
        starts = starts[1:]
    commands = [event.at for event in recent if event.action in ("restart", "stop")]
    if is_podman:  # it says `restart` for every automatic one as well
        by_others = max(0, len(starts) - seen.restart_count) if past is None else 0
    else:
        by_others = min(len(starts), len(commands))

    def of_ring(by: str, count: int) -> list[Restarts]:
        if count <= 0:
            return []
        return row(by, count, max(0.0, now - starts[-1]), starts[-1] - starts[0])

    if past is None:
        policy = row("policy", seen.restart_count, ago, last - seen.created)
        if waits and not is_podman:
            waited = now - (seen.finished_at or now)
            in_a_row = min(seen.restart_count, quick_deaths_in_a_row(waited))
            policy = fuller(policy, row("policy", in_a_row, ago, 2 * waited), window)
        if seen.restart_count:
            heard_policy = min(len(starts) - by_others, seen.restart_count)
            policy = fuller(policy, of_ring("policy", heard_policy), window)
        others = of_ring("others", by_others)
        # Compose and `docker create` start a container somewhat after making it.
        if not others and not seen.restart_count and seen.started_at - seen.created > 60:
            others = row("others", 1)
        return policy + others

    grown = seen.restart_count - past.restart_count
    span = past.ago - ago
    others = of_ring("others", by_others)
    if grown < 0:
        return fuller(row("others", 1), others, window) + row(
            "policy", seen.restart_count, ago, span
        )
    if seen.started == past.started:
        return row("policy", grown, ago, span)
    if grown > 0:
        return row("policy", grown, ago, span) + others
    if past.status == "restarting" and not others:
        return []  # counted at its death already; this is the start that was waited for
    if past.started_at is None:
        return others  # its first start
    return fuller(row("others", 1), others, window) + row("policy", seen.restart_count, ago, span)


def last_end(seen: Container, heard: Sequence[Event]) -> tuple[int | None, bool]:
    """The exit code of the last life, and whether memory ended it. A start zeroes both."""
    oom = seen.oom_killed or any(event.action == "oom" for event in heard)
    if seen.status in ("restarting", "exited", "dead", "stopped"):
        return seen.exit_code, oom
    died = [event.exit_code for event in heard if event.action == "die"]
    return (died[-1] if died else None), oom


def killed_inside(
    seen: Container, past: Past | None, heard: Sequence[Event], now: float, window: float
) -> list[Restarts]:
    """Processes killed for lack of memory since the last look, while the container lived on."""
    since = now - window if past is None else max(now - window, past.looked_at)
    ends = [event.at for event in heard if event.action == "die"]
    kills = [
        event.at
        for event in heard
        if event.action == "oom" and event.at > since
        # The kill of the main process is followed by the container's death.
        if not any(0 <= end - event.at < 2 for end in ends)
    ]
    if not kills:
        return []
    ago = max(0.0, now - kills[-1])
    return [
        Restarts(
            seen.group, "oom", seen.id, f"{kills[-1]:.6f}", len(kills), ago, kills[-1] - kills[0],
            None, True,
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One container of a group, living or gone, as far as it is known."""

    id: str
    group: Group
    created: float
    begun: float | None
    ended_at: float | None
    exit_code: int | None
    is_alive: bool
    is_service: bool
    last_alive: float | None = None
    oom: bool = False


def replacements(members: Iterable[Member], now: float, window: float) -> list[Restarts]:
    """New containers that began after the one before them in their group had ended.

    Two that live side by side are a pool, not a replacement: a scale-up, a deploy of five. A job
    that ended with 0 before the next began is a job done.
    """
    rows = []
    by_group: dict[str, list[Member]] = {}
    for member in members:
        by_group.setdefault(member.group.key, []).append(member)
    for siblings in by_group.values():
        siblings.sort(key=lambda member: member.created)
        for before, after in zip(siblings, siblings[1:]):
            if after.begun is None or now - after.begun > window or before.is_alive:
                continue
            if before.ended_at is not None and before.ended_at > after.begun + 2:
                continue
            if before.ended_at is None and (before.last_alive or 0.0) > after.begun:
                continue
            is_service = after.is_service or before.is_service
            if not is_service:
                if before.exit_code == 0:
                    continue
                if before.exit_code is None and after.group.kind == "image":
                    continue
            rows.append(
                Restarts(
                    after.group, "new", after.id, "", 1, max(0.0, now - after.begun), 0.0,
                    before.exit_code, before.oom,
                    is_certain=is_service or before.exit_code is not None,
                )
            )  # fmt: skip
    return rows


def members_of(
    seen: Seen, past: Mapping[str, Past], group_by: str, is_wanted: Callable[[Event], bool]
) -> list[Member]:
    """All containers that are known: those seen, those that were, and those only heard of."""
    heard = seen.ring.by_container()
    found: dict[str, Member] = {}
    for one in seen.containers:
        failed_start = one.status == "created" and (one.error or one.exit_code)
        found[one.id] = Member(
            one.id, one.group, one.created,
            one.started_at or (one.created if failed_start else None),
            None if one.is_alive else (one.finished_at or one.created),
            None if one.is_alive else one.exit_code,
            one.is_alive,
            one.group.is_service or one.policy in ("always", "unless-stopped"),
            oom=one.oom_killed or _oom(heard.get(one.id, ())),
        )  # fmt: skip
    kinds: dict[str, list[Group]] = {}
    for one in seen.containers:
        if one.group.kind == "image":
            kinds.setdefault(one.image, []).append(one.group)
    for was in past.values():
        if was.group.kind == "image":
            kinds.setdefault(was.image, []).append(was.group)
        if was.id in found:
            continue
        ended = [event for event in heard.get(was.id, ()) if event.action == "die"]
        code = ended[-1].exit_code if ended else None if was.is_alive else was.exit_code
        found[was.id] = Member(
            was.id, was.group, was.created,
            was.started_at or (was.created if not was.is_alive else None),
            ended[-1].at if ended else (None if was.is_alive else was.finished_at or was.created),
            code, False, was.group.is_service,
            was.looked_at if was.is_alive else None,
            _oom(heard.get(was.id, ())),
        )  # fmt: skip
    for container_id, told in heard.items():
        if container_id in found or not is_wanted(told[-1]):
            continue
        first = {event.action: event for event in reversed(told)}
        if "create" not in first and "start" not in first:
            continue
        last = told[-1]
        group = engine_says.group_of(last.name, last.image, "", last.labels or {}, group_by)
        if group.kind == "image":
            # Events do not tell the command; one group of that image is as good as certain.
            known = {candidate.key: candidate for candidate in kinds.get(last.image, ())}
            group = next(iter(known.values())) if len(known) == 1 else group
        died = first.get("die")
        begun = first.get("start") or first["create"]
        found[container_id] = Member(
            container_id, group, (first.get("create") or begun).at, begun.at,
            died.at if died else None, died.exit_code if died else None,
            False, group.is_service, oom="oom" in first,
        )  # fmt: skip
    return list(found.values())


def _oom(heard: Iterable[Event]) -> bool:
    return any(event.action == "oom" for event in heard)


def collapsed(
    rows: Sequence[Restarts], past: Mapping[str, Past], seen: Sequence[Container]
) -> tuple[list[Restarts], str]:
    """Starts from outside that are one: the engine or the host restarted. Rows, and a remark.

    dockerd restarts them all with their counts at 0 and its events forgotten; nothing in its API
    says so.
    """
    started = [row for row in rows if row.by == "others"]
    if not started:
        return list(rows), ""
    alive = [one for one in seen if one.id in past]
    agos = [row.ago for row in started]
    rebooted = any(past[row.id].new_boot for row in started if row.id in past)
    many = len(started) >= TOGETHER and 2 * len(started) > len(alive)
    together = max(agos) - min(agos) <= TOGETHER_SECONDS and all(row.count == 1 for row in started)
    if not rebooted and not (many and together and alive):
        return list(rows), ""
    why = "the host was rebooted" if rebooted else "the engine or all of them were restarted"
    remark = (
        f"{len(started)} of {len(alive)} containers were started anew together "
        f"{units.say_duration(round(min(agos)))} ago: {why}"
    )
    one = Restarts(
        ENGINE, "others", ENGINE.key, f"{min(row.mark for row in started)}", 1, min(agos)
    )
    return [row for row in rows if row.by != "others"] + ([] if rebooted else [one]), remark


def loop_clause(
    rows: Sequence[Restarts], members: Sequence[Container], rules: Rules, lived: float | None
) -> tuple[int, Clause | None]:
    """How often a group restarted within the window, and what to say if that is too often."""
    loops = [row for row in rows if row.by != "oom"]
    counts = {by: within([row for row in loops if row.by == by], rules.window) for by in WORDS}
    total = sum(counts.values())
    state, limit = judge(total, rules.warning, rules.critical)
    if limit is None:
        return total, None
    certain = within([row for row in loops if row.is_certain], rules.window)
    if state is CRITICAL and judge(certain, rules.warning, rules.critical)[0] is not CRITICAL:
        state = WARNING
    newest = members[0] if members else None
    recent = sorted(loops, key=lambda row: row.ago)
    spread = [row for row in recent if row.count > 1 and row.ago <= rules.window]
    about = "about " if any(row.ago + row.span > rules.window for row in spread) else ""
    window = units.say_duration(rules.window)
    causes = [by for by in WORDS if counts[by]]
    policy = f" {newest.policy_words}" if newest and newest.policy != "no" else ""
    if causes == ["new"]:
        text = f"was replaced by a new container {about}{total} times in {window}"
        text += f" (limit {limit.typed})"
    elif len(causes) == 1:
        words = WORDS[causes[0]] + (policy if causes == ["policy"] else "")
        text = f"restarted {about}{total} times in {window} {words} (limit {limit.typed})"
    else:
        parts = ", ".join(f"{counts[by]} {WORDS[by]}" for by in causes)
        text = f"restarted {about}{total} times in {window} (limit {limit.typed}): {parts}"
    if any(row.oom for row in recent):
        memory = newest.memory_limit if newest else 0
        text += ", killed for lack of memory" + (f" ({units.say_size(memory)})" if memory else "")
    code = next((row.exit_code for row in recent if row.exit_code is not None), None)
    if code is not None:
        text += f", last exit {exit_words(code)}"
    elif not all(row.is_certain for row in loops):
        text += ", nobody saw their exit"
    if lived is not None and causes != ["others"]:
        text += f", up {units.say_duration(round(lived, 1))} at a time"
    return total, Clause(state, text, causes[-1], newest)


def exit_words(code: int) -> str:
    """An exit code with the signal it stands for."""
    names = {129: "HUP", 130: "INT", 131: "QUIT", 134: "ABRT", 137: "KILL", 139: "SEGV"}
    names[143] = "TERM"
    if code == 0:
        return "0 (it ends by itself)"
    return f"{code} (signal {names[code]})" if code in names else str(code)


def lived(members: Sequence[Container], heard: Mapping[str, Sequence[Event]]) -> float | None:
    """Seconds that the last complete life of a group lasted, if anything tells."""
    for one in members:
        if one.status in ("restarting", "exited") and one.started_at and one.finished_at:
            if one.finished_at >= one.started_at:
                return one.finished_at - one.started_at
        ends = [event for event in heard.get(one.id, ()) if event.action in ("start", "die")]
        for before, after in zip(reversed(ends[:-1]), reversed(ends)):
            if before.action == "start" and after.action == "die":
                return after.at - before.at
    return None


def kills_clause(rows: Sequence[Restarts], one: Container, rules: Rules) -> Clause | None:
    """A loop of out-of-memory kills inside a container that stays up."""
    count = within([row for row in rows if row.by == "oom"], rules.window)
    state, limit = judge(count, rules.warning, rules.critical)
    if limit is None or not one.is_alive:
        return None
    memory = f" ({units.say_size(one.memory_limit)})" if one.memory_limit else ""
    return Clause(
        state,
        f"had {count} processes killed for lack of memory{memory} in "
        f"{units.say_duration(rules.window)} (limit {limit.typed}), and stays up",
        "oom",
        one,
    )


def how_it_ended(one: Container, heard: Sequence[Event], covered: float | None) -> str:
    """ "hand" or "alone" where the events prove it, else "".

    Docker says stop after a `docker stop`, and kill with a signal for every signal sent through it.
    Podman says neither for all of its stops, and so never proves that a container died alone.
    """
    if one.finished_at is None:
        return ""
    starts = [event.at for event in heard if event.action == "start"]
    begun = max((at for at in starts if at <= one.finished_at), default=0.0)
    near = [
        event
        for event in heard
        if event.at >= begun and abs(event.at - one.finished_at) <= STOP_SECONDS
    ]
    if any(event.action == "stop" for event in near if event.at >= one.finished_at - 1):
        return "hand"
    if any(
        event.action == "kill"
        and event.signal in ENDING_SIGNALS
        and event.at <= one.finished_at + 1
        for event in near
    ):
        return "hand"
    died = any(event.action == "die" and abs(event.at - one.finished_at) < 2 for event in heard)
    if died and covered is not None and covered <= one.finished_at - STOP_SECONDS:
        return "alone"
    born_under_watch = any(event.action == "create" for event in heard)
    return "alone" if died and born_under_watch and covered is not None else ""


def down_clause(
    one: Container, ended: str, rules: Rules, now: float, heard: Sequence[Event] = ()
) -> Clause | None:
    """A container that is down: nothing, if it may be; else who gave up, or who may have stopped it.

    `ended`: what `how_it_ended` found now or at an earlier look.
    """
    since = one.finished_at or one.created
    seconds = max(0.0, now - since)
    said = units.say_duration(round(seconds))
    policy = one.policy_words
    failed = one.exit_code != 0 or bool(one.error)
    if one.policy == "no" or (one.policy == "on-failure" and not failed):
        if not failed or one.policy != "no" or seconds > rules.window:
            return None
        if rules.oneshot_failures is OK or one.group.is_service:
            return None
        reason = f": {one.error}" if one.error else ""
        return Clause(
            rules.oneshot_failures,
            f"failed {said} ago with exit {exit_words(one.exit_code)}{reason}",
            "oneshot",
            one,
        )
    if one.started_at is None:
        if one.error or one.exit_code:
            reason = one.error or f"exit {exit_words(one.exit_code)}"
            text = f"never started, and its policy {policy} does not try again: {reason}"
            return Clause(CRITICAL, text, "gave-up", one)
        if seconds <= rules.grace:
            return None
        text = f"was created {said} ago and never started although its policy is {policy}"
        return Clause(rules.stopped_by_hand, text, "hand", one)
    if one.error:
        text = (
            f"is down for {said} although its policy is {policy}, the engine gave up: {one.error}"
        )
        return Clause(CRITICAL, text, "gave-up", one)
    exit_said = f"exit {exit_words(one.exit_code)}".replace(" (it ends by itself)", "")
    if one.oom_killed:
        exit_said += ", killed for lack of memory"
    if 0 < one.max_retries <= one.restart_count:
        text = f"is down for {said}: its policy {policy} is used up, last {exit_said}"
        return Clause(CRITICAL, text, "gave-up", one)
    if ended == "hand":
        return None
    if ended == "alone" and seconds > min(rules.grace, 15.0):
        hup = any(event.action == "kill" and event.signal == 1 for event in heard)
        why = (
            "docker kill -s HUP had switched the policy off"
            if hup
            else "docker kill with a signal may have switched the policy off"
        )
        text = (
            f"is down for {said} although its policy is {policy}: it died by itself ({exit_said}) "
            f"and was not restarted; {why}"
        )
        return Clause(CRITICAL, text, "no-effect", one)
    if seconds <= rules.grace:
        return None
    text = (
        f"is down for {said} although its policy is {policy} ({exit_said}): stopped by hand, or "
        "its policy had no effect"
    )
    return Clause(rules.stopped_by_hand, text, "hand", one)


def health_clause(one: Container, rules: Rules, now: float) -> Clause | None:
    """An unhealthy container, once the grace is over; engines never restart those."""
    if one.status == "paused" and rules.paused is not OK:
        return Clause(rules.paused, "is paused", "paused", one)
    if one.health is None or one.status != "running" or one.started_at is None:
        return None
    age = max(0.0, now - one.started_at)
    says = f": {one.health.says}" if one.health.says else ""
    if one.health.status == "unhealthy":
        since = one.health.failing_since
        seconds = min(age, max(0.0, now - since)) if since is not None else age
        if seconds <= rules.grace:
            return None
        text = f"is unhealthy for {units.say_duration(round(seconds))}{says}"
        return Clause(rules.unhealthy, text, "unhealthy", one)
    if one.health.status == "starting" and age > one.health.patience + rules.grace:
        state = OK if rules.unhealthy is OK else WARNING
        text = f"is up for {units.say_duration(round(age))}, its health still only starting{says}"
        return Clause(state, text, "unhealthy", one)
    return None


def finding_of(group: Group, clauses: Sequence[Clause]) -> Finding | None:
    """One finding of all that is wrong with a group, the worst first."""
    wrong = [clause for clause in clauses if clause.state is not OK]
    wrong.sort(key=lambda clause: -verdict.SEVERITY.index(clause.state))
    if not wrong:
        return None
    text = f"{group.name} {wrong[0].text}"
    more = tuple(f"{group.name} also {clause.text}" for clause in wrong[1:])
    return Finding(wrong[0].state, text, more, code=wrong[0].kind)


# Swarm


def task_rows(
    services: Mapping[str, Service], tasks: Iterable[Task], now: float, window: float
) -> list[Restarts]:
    """Tasks that failed, were rejected, or ended although their service goes on."""
    rows = []
    for task in tasks:
        service = services.get(task.service_id)
        if service is None or now - task.changed > window:
            continue
        ended_badly = task.state in ("failed", "rejected", "orphaned")
        goes_on = service.restarts_on == "any" and not service.mode.endswith("Job")
        if ended_badly or (task.state == "complete" and goes_on):
            group = Group(f"service:{service.id}/{task.slot}", service.name, "service", True)
            ago = max(0.0, now - task.changed)
            rows.append(Restarts(group, "task", task.id, "", 1, ago, 0.0, task.exit_code))
    return rows


def service_clauses(
    service: Service,
    rows: Sequence[Restarts],
    tasks: Sequence[Task],
    rules: Rules,
    now: float,
    below_seconds: float,
) -> tuple[int, list[Clause]]:
    """What is wrong with a swarm service, and how often its tasks failed within the window."""
    by_slot: dict[str, list[Restarts]] = {}
    for row in rows:
        by_slot.setdefault(row.group.key, []).append(row)
    counts = [within(slot, rules.window) for slot in by_slot.values()]
    total, worst = sum(counts), max(counts, default=0)
    window = units.say_duration(rules.window)
    state, limit = judge(worst, rules.warning, rules.critical)
    # Later tasks may still be pending, without words of their own.
    ends = sorted(
        (task for task in tasks if task.error or task.exit_code), key=lambda task: -task.changed
    )
    said = f", last: {ends[0].error or f'exit {ends[0].exit_code}'}" if ends else ""
    clauses = []
    if limit is not None:
        slots = f" in {sum(1 for count in counts if count)} replicas" if len(counts) > 1 else ""
        text = f"had {total} tasks fail in {window}{slots} (limit {limit.typed} a replica){said}"
        clauses.append(Clause(state, text, "task"))
    if service.running is not None and service.desired and not service.mode.endswith("Job"):
        done = sum(1 for task in tasks if task.state == "complete" and task.desired != "running")
        wanted = service.desired
        if service.restarts_on in ("none", "on-failure"):
            wanted -= min(wanted, done)
        if service.running < wanted and below_seconds > rules.grace:
            state = CRITICAL if service.running == 0 else WARNING
            text = f"runs {service.running} of {service.desired} tasks for "
            text += units.say_duration(round(below_seconds)) + said
            clauses.append(Clause(state, text, "tasks"))
    return total, clauses


# What is remembered

TABLES = """
CREATE TABLE IF NOT EXISTS container (
    engine TEXT NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL, grp_name TEXT NOT NULL,
    kind TEXT NOT NULL, is_service INTEGER NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL,
    created REAL NOT NULL, started TEXT NOT NULL, started_at REAL, finished_at REAL,
    restart_count INTEGER NOT NULL, status TEXT NOT NULL, exit_code INTEGER NOT NULL,
    ended TEXT NOT NULL, looked TEXT NOT NULL, engine_time REAL NOT NULL,
    boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL, PRIMARY KEY (engine, id));
CREATE TABLE IF NOT EXISTS restart (
    engine TEXT NOT NULL, grp TEXT NOT NULL, grp_name TEXT NOT NULL, kind TEXT NOT NULL,
    is_service INTEGER NOT NULL, by TEXT NOT NULL, id TEXT NOT NULL, mark TEXT NOT NULL,
    count INTEGER NOT NULL, span REAL NOT NULL, exit_code INTEGER, oom INTEGER NOT NULL,
    is_certain INTEGER NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    UNIQUE (engine, by, id, mark));
"""


class Memory:
    """What was remembered of one engine, and what is to be."""

    def __init__(self, kept: history.History, engine: str, at: history.Stamp) -> None:
        self._kept = kept
        self._engine = engine
        self._at = at

    def containers(self) -> dict[str, Past]:
        """Every container seen at earlier looks and not yet forgotten, by id."""
        found = {}
        for row in self._kept.sql.execute(
            "SELECT id, grp, grp_name, kind, is_service, name, image, created, started, started_at,"
            " finished_at, restart_count, status, exit_code, ended, looked, engine_time, boot,"
            " uptime, wall FROM container WHERE engine = ?",
            (self._engine,),
        ):
            looked = history.Stamp(*row[17:20])
            found[row[0]] = Past(
                row[0], Group(row[1], row[2], row[3], bool(row[4])), *row[5:17],
                ago=history.seconds_between(looked, self._at),
                new_boot=looked.boot != self._at.boot and self._engine.startswith("unix:"),
            )  # fmt: skip
        return found

    def restarts(self) -> list[Restarts]:
        """Every restart that was recorded and not yet forgotten."""
        return [
            Restarts(
                Group(row[0], row[1], row[2], bool(row[3])), row[4], row[5], row[6], row[7],
                history.seconds_between(history.Stamp(*row[12:15]), self._at), row[8], row[9],
                bool(row[10]), bool(row[11]),
            )
            for row in self._kept.sql.execute(
                "SELECT grp, grp_name, kind, is_service, by, id, mark, count, span, exit_code, oom,"
                " is_certain, boot, uptime, wall FROM restart WHERE engine = ?",
                (self._engine,),
            )
        ]  # fmt: skip

    def record(self, rows: Iterable[Restarts], past: Mapping[str, Past]) -> None:
        """Adds restarts, unless another run has looked at that container in between and did so."""
        for row in rows:
            at = (self._at.boot, self._at.uptime - row.ago, self._at.wall - row.ago)
            looked = past[row.id].looked if row.id in past else None
            self._kept.defer(
                "INSERT OR IGNORE INTO restart SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                " WHERE ? IN ('new', 'task') OR"
                " (SELECT looked FROM container WHERE engine = ? AND id = ?) IS ?",
                (
                    self._engine, row.group.key, row.group.name, row.group.kind,
                    row.group.is_service, row.by, row.id, row.mark, row.count, row.span,
                    row.exit_code, row.oom, row.is_certain, *at, row.by, self._engine, row.id,
                    looked,
                ),
            )  # fmt: skip

    def note(self, one: Container, ended: str, engine_time: float) -> None:
        """Remembers how a container was found."""
        self._kept.defer(
            "INSERT OR REPLACE INTO container VALUES"
            " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._engine, one.id, one.group.key, one.group.name, one.group.kind,
                one.group.is_service, one.name, one.image, one.created, one.started,
                one.started_at, one.finished_at, one.restart_count, one.status, one.exit_code,
                ended, f"{self._at.boot}/{self._at.uptime!r}", engine_time,
                self._at.boot, self._at.uptime, self._at.wall,
            ),
        )  # fmt: skip

    def regroup(self, container_id: str, group: Group) -> None:
        """A container was renamed: its restarts go with it."""
        self._kept.defer(
            "UPDATE OR IGNORE restart SET grp = ?, grp_name = ?, kind = ?"
            " WHERE engine = ? AND id = ?",
            (group.key, group.name, group.kind, self._engine, container_id),
        )

    def forget(self, window: float) -> None:
        """Drops what is older than twice the largest window that looks at this engine."""
        self._kept.write_note(f"window {self._engine} {window:g}", window, self._at)
        largest = window
        for subject, sample in self._kept.notes():
            if subject.startswith(f"window {self._engine} "):
                if history.seconds_between(sample.at, self._at) < 86400:
                    largest = max(largest, float(sample.value))
                else:
                    self._kept.forget(subject)
        seconds = 2 * largest
        at = self._at
        old = (self._engine, at.boot, at.uptime - seconds, at.wall - seconds)
        for table in ("container", "restart"):
            self._kept.defer(
                f"DELETE FROM {table} WHERE engine = ?"  # noqa: S608 - two constants
                " AND CASE WHEN boot = ? THEN uptime < ? ELSE wall < ? END",
                old,
            )


# How it is told


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = opt.parser("container_restarts", __doc__)
    opt.add_limits(parser, warning="2", critical="5", what="restarts of one group within --window")
    group = parser.add_argument_group("what to look at")
    group.add_argument(
        "--docker-host",
        metavar="URL",
        help="unix:///path, tcp://host:port or ssh://user@host (default: $DOCKER_HOST, else the "
        "first usual socket of docker or podman that exists)",
    )
    group.add_argument(
        "--cert-path",
        type=Path,
        metavar="DIR",
        help="TLS for tcp: ca.pem, cert.pem and key.pem are here (default: $DOCKER_CERT_PATH if "
        "$DOCKER_TLS_VERIFY is set)",
    )
    opt.add_selectors(group, "containers, by name,")
    group.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY[=GLOB]",
        help="only containers with this label; repeatable, all must fit (default: any)",
    )
    group.add_argument(
        "--compose",
        action="append",
        default=[],
        metavar="PROJECT[/SERVICE]",
        help="only containers of this compose project or service, globs; repeatable (default: any)",
    )
    group.add_argument(
        "--image",
        action="append",
        type=opt.pattern,
        default=[],
        metavar="PATTERN",
        help="only containers of this image: a glob, or re:REGEX; repeatable (default: any)",
    )
    group.add_argument(
        "--group-by",
        default="",
        metavar="LABEL",
        help="new containers with the same value of this label take each other's place (default: "
        "compose service, swarm slot, name, or image and command)",
    )
    group.add_argument(
        "--service",
        action="append",
        type=opt.pattern,
        default=[],
        metavar="PATTERN",
        help="on a swarm manager: judge the tasks of these services, wherever they run, instead of "
        "local containers; repeatable, '*' for all (default: none)",
    )
    opt.add_missing(group)
    judging = parser.add_argument_group("how to judge")
    judging.add_argument(
        "--window",
        type=opt.positive_duration,
        default="15m",
        metavar="DURATION",
        help="count restarts within this time (default: 15m)",
    )
    judging.add_argument(
        "--grace",
        type=opt.duration,
        default="2m",
        metavar="DURATION",
        help="down, unhealthy or short of tasks for this long is no problem yet (default: 2m)",
    )
    for option, default, words in (
        ("--stopped-by-hand", "warning", "down although the policy says up, and perhaps stopped by "
         "hand; a stop that the engine remembers is always ok"),
        ("--unhealthy", "critical", "unhealthy for longer than --grace"),
        ("--paused", "ok", "paused"),
        ("--oneshot-failures", "ok", "without restart policy, failed within --window"),
    ):  # fmt: skip
        judging.add_argument(
            option,
            type=opt.state,
            default=default,
            metavar="STATE",
            help=f"state of a container that is {words} (default: {default})",
        )
    judging.add_argument(
        "--log-lines",
        type=_lines,
        default=0,
        metavar="N",
        help="show the last N lines of the worst containers' logs (default: 0)",
    )
    opt.add_state_dir(parser)
    return parser


def _lines(text: str) -> int:
    if not text.isdigit() or int(text) > 50:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 0 to 50")
    return int(text)


def is_selected(args: argparse.Namespace, name: str, image: str, labels: Mapping[str, str]) -> bool:
    """Whether a container is to be looked at, from what the list or an event tells of it."""
    if not opt.selected(name, args.include, args.exclude):
        return False
    for wanted in args.label:
        key, has_value, value = wanted.partition("=")
        if key not in labels or (has_value and not _like(labels[key], value)):
            return False
    if args.compose:
        project = labels.get("com.docker.compose.project", "")
        service = labels.get("com.docker.compose.service", "")
        if not any(
            project
            and _like(project, wanted.partition("/")[0])
            and _like(service, wanted.partition("/")[2] or "*")
            for wanted in args.compose
        ):
            return False
    return not args.image or any(pattern.matches(image) for pattern in args.image)


def _like(text: str, glob: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(text, glob)


def plan(
    args: argparse.Namespace,
    clock: Callable[[], history.Stamp] = history.now,
) -> verdict.Check:
    """The check; `clock` tells the time of the look."""

    def look() -> Report:
        at = clock()
        address = engine_address(args.docker_host)
        if address is None:
            places = ", ".join(SOCKETS)
            text = f"no container engine: there is neither {places} nor a socket of this user's"
            return Report(
                [Finding(args.missing, text, next="systemctl status docker.socket podman.socket")]
                if args.missing is not OK
                else [],
                summary=text,
            )
        engine = None
        try:
            with quiet_ssh(address):
                knock(address)
                engine = Engine(address, tls_of(address, args.cert_path))
                engine.meet()
                if args.service:
                    return look_at_services(engine, args, at)
                return look_at_containers(engine, args, at)
        except EngineDown as error:
            server = engine.server if engine else "podman" if "podman" in address else "docker"
            return Report([down_finding(server, address, str(error))])

    return verdict.Check("container_restarts", look, timeout=args.timeout, verbose=args.verbose)


def down_finding(server: str, address: str, why: str) -> Finding:
    unit = "podman.socket" if server == "podman" else "docker"
    local = address.startswith("unix:")
    return Finding(
        CRITICAL,
        f"{server} engine at {safe(address)} does not answer: {why}",
        next=f"systemctl status {unit}" if local else f"docker -H {shlex.quote(address)} version",
        code="engine-down",
    )


def look_at_containers(engine: Engine, args: argparse.Namespace, at: history.Stamp) -> Report:
    """One look at the containers of an engine, with what was remembered of it."""
    now = at.wall + engine.clock_offset
    rules = rules_of(args)
    listed = engine.listed()
    wanted = [one for one in listed if is_selected(args, one.name, one.image, one.labels)]
    containers, unanswered = engine.inspected(wanted, args.group_by)
    with history.History.open("container_restarts", args.state_dir, TABLES) as kept:
        memory = Memory(kept, engine.url, at)
        past = memory.containers()
        remembered = memory.restarts()
        known = [past[one.id].looked_at for one in containers if one.id in past]
        is_new = len(known) < len(containers)
        since = now - args.window if is_new or not known else min(known) - STOP_SECONDS
        ring, trouble = engine.ring(max(since, now - args.window), now)
        seen = Seen(engine.url, now, containers, ring, unanswered)

        def is_wanted(event: Event) -> bool:
            return is_selected(args, event.name, event.image, event.labels or {})

        judged = judgement(
            seen, past, remembered, rules, args.group_by, is_wanted, engine.is_podman
        )
        moved = [one for one in containers if one.id in past and past[one.id].group != one.group]
        for one in moved:
            memory.regroup(one.id, one.group)
        memory.record(judged.rows, past)
        for one in containers:
            memory.note(one, judged.ended.get(one.id, ""), now)
        memory.forget(args.window)
        unsaved = kept.save()
        remarks = [kept.remark] if kept.remark else []

    findings = told(engine, args, judged, seen)
    findings += [
        Finding(UNKNOWN, f"{name} could not be inspected: {why}", code="no-answer")
        for name, why in unanswered.items()
    ]
    findings += absent(args, [one.name for one in wanted], judged)
    findings += [unsaved] if unsaved else []
    reach = reach_of(ring, now, args.window, trouble)
    remarks += [judged.remark] if judged.remark else []
    remarks += [trouble] if trouble else []
    if not past and containers:
        remarks.append(f"first look at this engine; its events reach back {reach}")
    remarks += judged.remarks
    return Report(findings, measures_of(containers, judged, rules, now), summary(judged, seen, args,
                  not past, reach), remarks)  # fmt: skip


def rules_of(args: argparse.Namespace) -> Rules:
    return Rules(
        args.window, args.warning, args.critical, args.grace, args.stopped_by_hand, args.unhealthy,
        args.paused, args.oneshot_failures,
    )  # fmt: skip


def reach_of(ring: Ring, now: float, window: float, trouble: str) -> str:
    """How far back the engine's events tell of everything."""
    if trouble or ring.covered_from is None:
        return "nowhere"
    seconds = min(window, max(0.0, now - ring.covered_from))
    return units.say_duration(round(seconds)) + (
        f" of the {units.say_duration(window)} window" if seconds < window else ""
    )


@dataclass(frozen=True)
class Judged:
    """What a look means: clauses by group, new restarts to record, how containers ended."""

    groups: Mapping[str, Group]
    clauses: Mapping[str, Sequence[Clause]]
    counts: Mapping[str, int]
    rows: Sequence[Restarts]
    ended: Mapping[str, str]
    remark: str = ""
    remarks: Sequence[str] = ()


def judgement(
    seen: Seen,
    past: Mapping[str, Past],
    remembered: Sequence[Restarts],
    rules: Rules,
    group_by: str = "",
    is_wanted: Callable[[Event], bool] = lambda event: True,
    is_podman: bool = False,
) -> Judged:
    """The whole judgement of one look, pure: what is seen and remembered in, clauses out."""
    now, heard = seen.now, seen.ring.by_container()
    fresh: list[Restarts] = []
    for one in seen.containers:
        told_of, was = heard.get(one.id, []), past.get(one.id)
        fresh += restarts_of(one, was, told_of, now, rules.window, is_podman)
        fresh += killed_inside(one, was, told_of, now, rules.window)
    fresh, remark = collapsed(fresh, past, seen.containers)
    # A group's new containers are found again at every look, until they are out of the window.
    members = members_of(seen, past, group_by, is_wanted)
    recorded = {(row.by, row.id) for row in remembered if row.by == "new"}
    fresh += [
        row for row in replacements(members, now, rules.window) if ("new", row.id) not in recorded
    ]
    present = {one.id: one.group for one in seen.containers}
    rows_by_group: dict[str, list[Restarts]] = {}
    groups: dict[str, Group] = {}
    for row in (*remembered, *fresh):
        group = present.get(row.id, row.group)  # renamed since
        groups.setdefault(group.key, group)
        rows_by_group.setdefault(group.key, []).append(row)
    by_group: dict[str, list[Container]] = {}
    for one in sorted(seen.containers, key=lambda one: -one.created):
        groups[one.group.key] = one.group
        by_group.setdefault(one.group.key, []).append(one)

    clauses: dict[str, list[Clause]] = {}
    counts: dict[str, int] = {}
    ended: dict[str, str] = {}
    remarks: list[str] = []
    for key in groups:
        present_members = by_group.get(key, [])
        rows = rows_by_group.get(key, [])
        if not present_members and key != ENGINE.key:
            # Removed for good, unless it is a loop of containers that remove themselves.
            rows = [row for row in rows if row.by == "new"]
            if not rows or not is_group_selected(rows, members, is_wanted, heard, past):
                continue
        counts[key], loop = loop_clause(rows, present_members, rules, lived(present_members, heard))
        found = [loop] if loop else []
        for one in present_members:
            told_of, was = heard.get(one.id, []), past.get(one.id)
            if one.is_alive:
                kills = kills_clause([row for row in rows if row.id == one.id], one, rules)
                found += [clause for clause in (kills, health_clause(one, rules, now)) if clause]
                continue
            how = how_it_ended(one, told_of, seen.ring.covered_from)
            if is_podman and how == "alone":
                how = ""
            if not how and was and was.ended and was.ended.partition(":")[2] == one.finished:
                how = was.ended.partition(":")[0]
            if how:
                ended[one.id] = f"{how}:{one.finished}"
            down = down_clause(one, how, rules, now, told_of)
            found += [down] if down else []
            if how == "hand" and one.policy in ("always", "unless-stopped"):
                seconds = round(max(0.0, now - (one.finished_at or now)))
                ago = units.say_duration(seconds)
                remarks.append(f"{one.name} was stopped by hand {ago} ago, policy {one.policy}")
        clauses[key] = found
    return Judged(groups, clauses, counts, fresh, ended, remark, remarks)


def is_group_selected(
    rows: Sequence[Restarts],
    members: Sequence[Member],
    is_wanted: Callable[[Event], bool],
    heard: Mapping[str, Sequence[Event]],
    past: Mapping[str, Past],
) -> bool:
    """Whether a group without a living member is among those asked for.

    Of what has gone only names and images are known, from the last look or from the events.
    """
    for row in rows:
        if row.id in heard:
            return is_wanted(heard[row.id][-1])
        if row.id in past:
            was = past[row.id]
            return is_wanted(Event(0.0, "", was.id, was.name, was.image, {}))
    group = rows[0].group
    return group.kind == "name" and is_wanted(Event(0.0, "", "", group.name, "", {}))


def told(engine: Engine, args: argparse.Namespace, judged: Judged, seen: Seen) -> list[Finding]:
    """The findings with details, last words and the next command; worst and most first."""
    found: list[tuple[int, Finding]] = []
    for key, clauses in judged.clauses.items():
        finding = finding_of(judged.groups[key], clauses)
        if finding is None:
            continue
        worst = next(clause for clause in clauses if clause.kind == finding.code)
        one = worst.container
        more = list(finding.more)
        if one is not None:
            more.append(details(one, seen.now))
        following = next_command(engine, args, judged.groups[key], worst)
        found.append(
            (judged.counts.get(key, 0), replace(finding, more=tuple(more), next=following))
        )
    found.sort(key=lambda pair: -pair[0])
    found.sort(key=lambda pair: -verdict.SEVERITY.index(pair[1].state))
    findings = [finding for _, finding in found]
    if args.log_lines:
        by_text = {
            f"{judged.groups[key].name} {clause.text}": clause.container
            for key, clauses in judged.clauses.items()
            for clause in clauses
        }
        for position, finding in enumerate(findings[:5]):
            one = by_text.get(finding.text)
            if one is not None:
                words = engine.last_words(one.id, args.log_lines)
                findings[position] = replace(finding, more=(*words, *finding.more))
    return findings


def details(one: Container, now: float) -> str:
    """One line of facts about an offender."""
    parts = [f"{one.name}: {one.status}"]
    if one.is_alive and one.status != "restarting" and one.started_at:
        parts.append(f"up {units.say_duration(round(max(0.0, now - one.started_at)))}")
    elif one.finished_at:
        parts.append(f"exit {one.exit_code}")
    parts.append(f"policy {one.policy_words}, RestartCount {one.restart_count}")
    if one.oom_killed:
        parts.append("OOMKilled")
    if one.memory_limit:
        parts.append(f"memory {units.say_size(one.memory_limit)}")
    if one.health:
        parts.append(f"health {one.health.status}")
    if one.error:
        parts.append(f"error: {one.error}")
    parts.append(f"image {one.image}")
    return ", ".join(parts)


def next_command(engine: Engine, args: argparse.Namespace, group: Group, clause: Clause) -> str:
    """The command that shows more of this fault, for this engine."""
    address = ""
    if args.docker_host:
        url = shlex.quote(args.docker_host)
        address = f" --url {url}" if engine.is_podman else f" -H {url}"
    command = f"{engine.server}{address}"
    window = units.say_duration(args.window)
    if group.kind == "engine":
        return f"journalctl -u docker --since -{window}"
    if group.kind == "swarm" and clause.kind == "new":
        service = group.name.rpartition(".")[0] or group.name
        return f"docker service ps --no-trunc {shlex.quote(service)}"
    one = clause.container
    if clause.kind == "others" and one is not None:
        name = shlex.quote(one.name)
        return f"{command} events --since {window} --until 1s --filter container={name}"
    if clause.kind == "new" and (one is None or not one.is_alive):
        if group.kind == "image" and one is not None:
            return f"{command} logs --tail 50 {one.id[:12]}"
        name = shlex.quote(group.name)
        which = f"--filter container={name} " if group.kind == "name" else ""
        return f"{command} events --since {window} --until 1s {which}--filter event=die"
    if one is None:
        return f"{command} ps -a"
    name = shlex.quote(one.name)
    if clause.kind == "unhealthy":
        return f"{command} inspect -f '{{{{json .State.Health}}}}' {name}"
    if clause.kind == "gave-up" and one.error:
        return f"{command} start {name}"
    return f"{command} logs --tail 50 {name}"


def absent(args: argparse.Namespace, names: Sequence[str], judged: Judged) -> list[Finding]:
    """Names asked for that match nothing, unless a loop of new containers is between two of them."""
    if args.missing is OK:
        return []
    looping = [judged.groups[key].name for key in judged.clauses]
    return [
        Finding(args.missing, f"no container is called {safe(pattern.typed)}", code="missing")
        for pattern in args.include
        if not any(pattern.matches(name) for name in (*names, *looping))
    ]


def summary(judged: Judged, seen: Seen, args: argparse.Namespace, first: bool, reach: str) -> str:
    """The sentence when nothing is wrong."""
    count = len(seen.containers)
    if not count:
        return "no containers" + (" selected" if args.include or args.label else "")
    restarted = sum(judged.counts.values())
    containers = f"{count} container{'s' if count != 1 else ''} watched"
    window = units.say_duration(args.window)
    if first:
        text = f"{containers}, {restarted or 'no'} restarts known of the last {window}"
        return f"{text} (first look, events reach back {reach})"
    if not restarted:
        return f"{containers}, none restarted in {window}"
    limit = args.warning or args.critical
    held = f" (limit {limit.typed} each)" if limit else ""
    return f"{containers}, {restarted} restarts in {window}{held}"


def measures_of(
    containers: Sequence[Container], judged: Judged, rules: Rules, now: float
) -> list[Measure]:
    """Sums first, then each group's restarts by name, then counts and ages."""
    limits: dict[str, Any] = {"warning": rules.warning, "critical": rules.critical, "minimum": 0}
    down = {
        clause.container.id
        for clauses in judged.clauses.values()
        for clause in clauses
        if clause.container and clause.kind in ("gave-up", "hand", "no-effect")
    }
    sick = [one for one in containers if one.health and one.health.status == "unhealthy"]
    measures = [
        Measure("containers", len(containers), minimum=0),
        Measure("running", sum(1 for one in containers if one.is_alive), minimum=0),
        Measure("restarts", sum(judged.counts.values()), minimum=0),
        Measure("most_restarts", max(judged.counts.values(), default=0), **limits),
        Measure("down", len(down), minimum=0),
        Measure("unhealthy", len(sick), minimum=0),
    ]
    newest: dict[str, Container] = {}
    for one in containers:
        if one.group.key not in newest or one.created > newest[one.group.key].created:
            newest[one.group.key] = one
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for key in judged.counts:
        taken[judged.groups[key].name] = taken.get(judged.groups[key].name, 0) + 1
    for key in judged.counts:
        name = judged.groups[key].name
        names[key] = name if taken[name] == 1 else key
    ordered = sorted(judged.counts, key=lambda key: names[key])
    for key in ordered:
        measures.append(
            Measure(verdict.label(names[key], "restarts"), judged.counts[key], **limits)
        )
    for key in ordered:
        one_of = newest.get(key)
        if one_of is None:
            continue
        label = names[key]
        total = Measure(verdict.label(label, "restarts_total"), one_of.restart_count, "c")
        measures.append(total)
        if one_of.is_alive and one_of.started_at:
            age = round(max(0.0, now - one_of.started_at), 3)
            measures.append(Measure(verdict.label(label, "age"), age, "s", minimum=0))
    return measures


def look_at_services(engine: Engine, args: argparse.Namespace, at: history.Stamp) -> Report:
    """One look at the services of a swarm, through a manager."""
    now = at.wall + engine.clock_offset
    rules = rules_of(args)
    every, tasks = engine.services()
    services = {
        service.id: service
        for service in every
        if any(pattern.matches(service.name) for pattern in args.service)
    }
    with history.History.open("container_restarts", args.state_dir, TABLES) as kept:
        memory = Memory(kept, engine.url, at)
        remembered = [row for row in memory.restarts() if row.by == "task"]
        have = {row.id for row in remembered}
        fresh = [row for row in task_rows(services, tasks, now, args.window) if row.id not in have]
        memory.record(fresh, {})
        findings: list[Finding] = []
        measures: list[Measure] = []
        restarts = 0
        for service in sorted(services.values(), key=lambda service: service.name):
            own_tasks = [task for task in tasks if task.service_id == service.id]
            rows = [
                row
                for row in (*remembered, *fresh)
                if row.group.key.startswith(f"service:{service.id}/")
            ]
            below = below_for(kept, engine.url, service, own_tasks, at, now)
            total, clauses = service_clauses(service, rows, own_tasks, rules, now, below)
            restarts += total
            group = Group(f"service:{service.id}", service.name, "service", True)
            finding = finding_of(group, clauses)
            if finding:
                name = shlex.quote(service.name)
                findings.append(replace(finding, next=f"docker service ps --no-trunc {name}"))
            label = verdict.label(service.name, "restarts")
            measures.append(Measure(label, total, minimum=0))
            measures.append(
                Measure(
                    verdict.label(service.name, "running"), service.running, minimum=0,
                    maximum=service.desired,
                )
            )  # fmt: skip
        memory.forget(args.window)
        unsaved = kept.save()
    findings += [unsaved] if unsaved else []
    if args.missing is not OK:
        findings += [
            Finding(args.missing, f"no service is called {safe(pattern.typed)}", code="missing")
            for pattern in args.service
            if not any(pattern.matches(service.name) for service in every)
        ]
    count = len(services)
    said = f"{count} service{'s' if count != 1 else ''} watched, {restarts or 'no'} tasks failed in"
    return Report(
        findings,
        [
            Measure("services", count, minimum=0),
            Measure("restarts", restarts, minimum=0),
            *measures,
        ],
        f"{said} {units.say_duration(args.window)}",
    )


def below_for(
    kept: history.History,
    engine: str,
    service: Service,
    tasks: Sequence[Task],
    at: history.Stamp,
    now: float,
) -> float:
    """Seconds for which a service has run fewer tasks than desired, as far as is known.

    The first look that finds it so takes the oldest task that still waits to run.
    """
    subject = f"below {engine} {service.id}"
    if service.running is None or service.running >= (service.desired or 0):
        kept.forget(subject)
        return 0.0
    note = kept.note(subject)
    if note is not None:
        return history.seconds_between(history.Stamp(*note), at)
    waiting = [
        now - task.created
        for task in tasks
        if task.desired in ("running", "ready") and task.state != "running"
    ]
    seconds = max(0.0, max(waiting, default=0.0))
    kept.write_note(subject, [at.boot, at.uptime - seconds, at.wall - seconds], at)
    return seconds


@guarded
def main() -> None:
    """The command."""
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

"""check_container_restarts against real engines: every loop is staged at once, then looked at.

dockerd (with a swarm of one node) and podman run with roots and sockets of their own.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

from conftest import ROOT
from live.engines import Dockerd, Engine, Podman, running, wait_until

pytestmark = pytest.mark.live

SCRIPT = ROOT / "checks" / "check_container_restarts.py"
ALWAYS = {"Name": "always"}
OK, WARNING, CRITICAL, UNKNOWN = range(4)
SECOND = 10**9

# As an unprivileged user, from a checkout that he may not be able to read.
AS_NOBODY = (
    "import os, sys; sys.path.insert(0, sys.argv.pop(1)); import docker, requests;"
    "import check_container_restarts; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
    "check_container_restarts.main()"
)


@dataclass
class Stage:
    """An engine with all loops running on it, and the check with a history for each look."""

    engine: Engine
    place: Path
    ended: threading.Event = field(default_factory=threading.Event)
    loops: list[threading.Thread] = field(default_factory=list)

    def look(self, *args: str, state: str = "") -> tuple[int, str]:
        """The exit status and the output of a run; `state` names the history that it uses."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--docker-host", self.engine.url, "-t", "30s",
             "--state-dir", str(self.place / (state or f"{time.monotonic()}")), *args],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout

    def looked_at(self, name: str, *args: str) -> tuple[int, str]:
        return self.look("--include", name, *args, state=name)

    def until(self, status: int, words: str, *args: str, seconds: float = 60) -> str:
        """Looks until the verdict is that; a loop on a loaded machine takes its time."""
        last = (-1, "")
        state = "-".join(args).replace("/", "_") or "all"

        def is_so() -> bool:
            nonlocal last
            last = self.look(*args, state=state)
            return last[0] == status and words in last[1]

        with contextlib.suppress(AssertionError):
            wait_until(is_so, seconds)
        assert last[0] == status, last[1]
        assert words in last[1]
        return last[1]

    def again_and_again(self, do: Callable[[int], None], pause: float) -> None:
        import docker

        def loop() -> None:
            number = 0
            while not self.ended.wait(pause):
                number += 1
                with contextlib.suppress(docker.errors.DockerException, OSError):
                    do(number)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        self.loops.append(thread)

    def end(self) -> None:
        self.ended.set()
        for thread in self.loops:
            thread.join(20)


def stage_docker(stage: Stage) -> None:
    import docker

    engine, place = stage.engine, stage.place
    run, client = engine.run, engine.client
    place.chmod(0o755)

    # Loops by policy
    run("instant", "exit 1", restart_policy=ALWAYS)
    run("eleven", "sleep 11; exit 4", restart_policy=ALWAYS)
    run("exit0", "sleep 1; exit 0", restart_policy={"Name": "unless-stopped"})
    run("oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1", restart_policy=ALWAYS,
        mem_limit="16m")  # fmt: skip
    # Its parts are killed, itself never
    run("oom-inside", "while :; do dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1; done",
        restart_policy=ALWAYS, mem_limit="16m")  # fmt: skip
    (place / "fix").mkdir()
    run("mended", "test -f /fix/done && exec sleep 10000; exit 1", restart_policy=ALWAYS,
        binds=[f"{place}/fix:/fix"])  # fmt: skip

    # Gave up, or had no effect
    (place / "config").write_text("x")
    run("gave-up", "sleep 2; exit 1", restart_policy=ALWAYS, binds=[f"{place}/config:/config:ro"])
    (place / "config").unlink()
    with pytest.raises(docker.errors.APIError):
        run("nosuch", "", argv=["/nosuch"], restart_policy=ALWAYS)
    run("three", "exit 5", restart_policy={"Name": "on-failure", "MaximumRetryCount": 3})
    hup = run("hup", "trap : HUP; sleep 4; sleep 4; exit 1", restart_policy=ALWAYS)
    time.sleep(0.5)
    client.kill(hup, signal="HUP")

    # Nothing wrong
    run("steady", "exec sleep 10000", restart_policy=ALWAYS)
    run("oneshot", "exit 0")
    run("oneshot-bad", "exit 7")
    run("finished", "exit 0", restart_policy={"Name": "on-failure", "MaximumRetryCount": 3})
    client.pause(run("paused", "exec sleep 10000", restart_policy=ALWAYS))
    client.stop(run("stopped", "exec sleep 10000", restart_policy=ALWAYS), timeout=0)
    run("sick", "exec sleep 10000", restart_policy=ALWAYS,
        healthcheck={"Test": ["CMD-SHELL", "echo no database; exit 1"], "Interval": SECOND,
                     "Timeout": 5 * SECOND, "Retries": 2})  # fmt: skip

    # Loops by others
    byhand = run("by-hand", "exec sleep 10000", restart_policy=ALWAYS)
    stage.again_and_again(lambda _: client_of(engine).restart(byhand, timeout=0), 2.0)
    stage.again_and_again(lambda _: gone(engine, run("job", "exit 1", auto_remove=True)), 1.5)
    stage.again_and_again(lambda _: gone(engine, run(None, "exit 2", auto_remove=True)), 1.5)
    stage.again_and_again(lambda _: run(None, "sleep 0.1; exit 3"), 2.0)
    stage.again_and_again(lambda number: recreate(engine, number), 2.5)
    stage.again_and_again(lambda _: run(None, "echo job; exit 0", auto_remove=True), 2.0)


def client_of(engine: Engine) -> Any:
    """A client of the calling thread's own."""
    return engine.client


def gone(engine: Engine, container: str) -> None:
    """Waits until an --rm container is gone, as `docker run` does."""
    client = client_of(engine)
    wait_until(
        lambda: container not in {one["Id"] for one in client.containers(all=True)}, 20, "removal"
    )


def recreate(engine: Engine, number: int) -> None:
    """What `docker compose up --force-recreate` does: make the new, stop the old, start the new."""
    client = client_of(engine)
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
    }
    olds = client.containers(all=True, filters={"label": "com.docker.compose.project=shop"})
    made = client.create_container(
        "localhost/busybox:local", ["sleep", "10000"], name=f"{number}_shop-web-1", labels=labels,
        host_config=client.create_host_config(restart_policy=ALWAYS, network_mode="none"),
    )["Id"]  # fmt: skip
    for old in olds:
        client.stop(old["Id"], timeout=0)
        client.remove_container(old["Id"], force=True)
    client.rename(made, "shop-web-1")
    client.start(made)


def stage_swarm(engine: Engine) -> None:
    """A swarm of one node, on a loopback address that nobody else has."""
    import docker

    client = engine.client
    address = "127." + ".".join(str(random.randint(2, 250)) for _ in range(3))
    client.init_swarm(advertise_addr=address, listen_addr=f"{address}:2377")
    kinds = docker.types
    for name, command, replicas, condition, image in (
        ("crash", "sleep 1; exit 1", 2, "any", "localhost/busybox:local"),
        ("fine", "exec sleep 10000", 2, "any", "localhost/busybox:local"),
        ("done", "exit 0", 1, "none", "localhost/busybox:local"),
        ("noimage", "true", 1, "any", "localhost/nosuch:1"),
    ):
        client.create_service(
            kinds.TaskTemplate(
                kinds.ContainerSpec(image, command=["sh", "-c", command]),
                restart_policy=kinds.RestartPolicy(condition=condition, delay=SECOND // 2),
            ),
            name=name,
            mode=kinds.ServiceMode("replicated", replicas),
            endpoint_spec=kinds.EndpointSpec(mode="dnsrr"),
        )


@pytest.fixture(scope="module")
def docker_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(Dockerd) as engine:
        stage = Stage(engine, tmp_path_factory.mktemp("docker"))
        stage_swarm(engine)
        stage_docker(stage)
        try:
            yield stage
        finally:
            stage.end()


@pytest.fixture
def docker_engine(needs: Callable[..., None], request: pytest.FixtureRequest) -> Stage:
    needs("dockerd", "busybox", "containerd", "runc")
    stage: Stage = request.getfixturevalue("docker_stage")
    return stage


@pytest.mark.parametrize(
    ("name", "status", "words", "args"),
    [
        ("instant", CRITICAL, "by its policy always (limit 5), last exit 1", []),
        ("exit0", CRITICAL, "by its policy unless-stopped (limit 5), last exit 0 (it ends", []),
        ("oom", CRITICAL, "killed for lack of memory (16MiB)", []),
        ("oom-inside", CRITICAL, "processes killed for lack of memory (16MiB) in 15m", []),
        ("by-hand", CRITICAL, "from outside (by hand, cron or autoheal) (limit 5)", []),
        ("gave-up", CRITICAL, "the engine gave up: failed to create shim task", []),
        ("nosuch", CRITICAL, 'never started, and its policy always does not try again', []),
        ("three", CRITICAL, "its policy on-failure:3 is used up, last exit 5", []),
        ("hup", CRITICAL, "docker kill -s HUP had switched the policy off", []),
        ("sick", CRITICAL, "no database", ["--grace", "3s"]),
        ("job", CRITICAL, "job was replaced by a new container", []),
        ("shop-web-1", CRITICAL, "shop-web-1 was replaced by a new container", []),
        ("crash.1.*", CRITICAL, "crash.1 was replaced by a new container", []),
        ("eleven", CRITICAL, "eleven restarted", ["-w", "1", "-c", "2"]),
    ],
)  # fmt: skip
def test_docker_finds(
    docker_engine: Stage, name: str, status: int, words: str, args: list[str]
) -> None:
    docker_engine.until(status, words, "--include", name, *args)


def test_docker_finds_loops_of_unnamed_containers(docker_engine: Stage) -> None:
    """With --rm (exit 2) and without (exit 3); jobs that end with 0 run beside them."""
    for exit_code in (2, 3):
        docker_engine.until(
            CRITICAL, f"limit 5), last exit {exit_code}", "--image", "*busybox*", "--include",
            "re:^[a-z]+_[a-z]+[0-9]?$", "-v",
        )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["steady", "oneshot", "oneshot-bad", "finished", "paused", "stopped", "fine.*"]
)
def test_docker_leaves_alone(docker_engine: Stage, name: str) -> None:
    status, output = docker_engine.looked_at(name, "--grace", "0s", "-w", "0")
    assert status == OK, output


def test_what_was_stopped_by_hand_is_remarked(docker_engine: Stage) -> None:
    _, output = docker_engine.looked_at("stopped", "-v")
    if "reach back 15m" in output:  # the ring may be flooded by the loops beside it
        assert "stopped was stopped by hand" in output


def test_one_line_for_everything_and_the_last_words(docker_engine: Stage) -> None:
    status, output = docker_engine.look("--log-lines", "2", "-v", "--exclude", "re:_")
    assert status == CRITICAL
    assert "more)" in output.splitlines()[0]
    assert len(output.encode()) < 8192


def test_a_swarm_service_that_loops_is_found(docker_engine: Stage) -> None:
    docker_engine.until(CRITICAL, "non-zero exit (1)", "--service", "crash")
    docker_engine.until(CRITICAL, "No such image: localhost/nosuch:1", "--service", "noimage")
    status, output = docker_engine.look("--service", "fine", "--service", "done", "-w", "0")
    assert status == OK, output


def test_a_rolling_update_is_no_loop(docker_engine: Stage) -> None:
    import docker

    client = docker_engine.engine.client
    docker_engine.look("--service", "fine", state="rolling")
    docker_engine.look("--include", "fine.*", state="rolling")
    before = client.inspect_service("fine")
    template = before["Spec"]["TaskTemplate"]
    template["ForceUpdate"] = 1
    client.update_service(
        "fine", before["Version"]["Index"], task_template=template, name="fine",
        mode=docker.types.ServiceMode("replicated", 2),
        endpoint_spec=docker.types.EndpointSpec(mode="dnsrr"),
    )  # fmt: skip
    wait_until(
        lambda: sum(
            one["State"] == "exited"
            for one in client.containers(all=True, filters={"name": "fine."})
        ) >= 1,
        60, "the update to begin",
    )  # fmt: skip
    for args in (["--service", "fine"], ["--include", "fine.*"]):
        status, output = docker_engine.look(*args, "--grace", "5m", state="rolling")
        assert status == OK, output


def test_a_mended_container_is_green_after_a_quiet_window(docker_engine: Stage) -> None:
    window = ("--include", "mended", "--window", "20s", "-w", "0", "-c", "0")
    assert docker_engine.looked_at("mended")[0] == CRITICAL
    (docker_engine.place / "fix" / "done").touch()
    client = docker_engine.engine.client
    client.restart("mended", timeout=0)  # rather than wait for the back-off
    began = time.monotonic()
    assert docker_engine.look(*window, state="mended")[0] == CRITICAL
    docker_engine.until(OK, "none restarted in 20s", *window, seconds=90)
    assert time.monotonic() - began >= 15
    # And in the history that has seen the loop.
    assert docker_engine.look(*window, state="mended")[0] == OK


def test_an_unprivileged_user_sees_the_same_through_the_sockets_group(
    docker_engine: Stage, tmp_path: Path
) -> None:
    import os

    engine = docker_engine.engine
    state = Path(f"{engine.home}-nobody")
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    argv = [
        sys.executable, "-c", AS_NOBODY, str(SCRIPT.parent), "--docker-host", engine.url,
        "--include", "instant", "--include", "steady", "--state-dir", str(state),
    ]  # fmt: skip
    try:
        engine.home.chmod(0o755)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (UNKNOWN, "")
        assert f"not allowed to use {engine.socket}" in done.stdout
        os.chown(engine.socket, 0, 65534)
        engine.socket.chmod(0o660)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (CRITICAL, "")
        assert "CRITICAL - instant restarted" in done.stdout
    finally:
        for path in (*state.glob("*"), state):
            path.rmdir() if path.is_dir() else path.unlink()


def test_the_engines_end_is_critical_and_its_restart_is_one_remark(
    needs: Callable[..., None], tmp_path: Path
) -> None:
    needs("dockerd", "busybox")
    with running(Dockerd) as engine:
        stage = Stage(engine, tmp_path)
        for name in ("web", "db", "cache"):
            engine.run(name, "exec sleep 10000", restart_policy=ALWAYS)
        assert stage.look("-w", "0", state="restart")[0] == OK
        engine.stop()
        status, output = stage.look(state="restart")
        assert status == CRITICAL
        assert f"docker engine at {engine.url} does not answer: there is no socket" in output
        engine.start()
        wait_until(lambda: len(engine.client.containers()) == 3, 60, "the containers to be back")
        status, output = stage.look("-w", "1", "-v", state="restart")
        assert status == OK, output
        assert "3 of 3 containers were started anew together" in output
        # Live restore: the daemon goes, the containers stay.
        engine.command = (*engine.command, "--live-restore")
        engine.stop()
        engine.start()
        stage.look(state="restart")
        engine.stop()
        engine.start()
        status, output = stage.look("-w", "2", state="restart")
        assert status == OK, output


# Podman


@pytest.fixture(scope="module")
def podman_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(Podman) as engine:
        stage = Stage(engine, tmp_path_factory.mktemp("podman"))
        run, client = engine.run, engine.client
        run("exit0", "sleep 1; exit 0", restart_policy=ALWAYS)
        run("two", "sleep 2; exit 3", restart_policy=ALWAYS)
        run("three", "exit 5", restart_policy={"Name": "on-failure", "MaximumRetryCount": 3})
        run("steady", "exec sleep 10000", restart_policy=ALWAYS)
        run("oneshot", "exit 0")
        client.stop(run("stopped", "exec sleep 10000", restart_policy=ALWAYS), timeout=0)
        byhand = run("by-hand", "exec sleep 10000", restart_policy=ALWAYS)
        stage.again_and_again(lambda _: client_of(engine).restart(byhand, timeout=0), 2.0)
        stage.again_and_again(lambda _: gone(engine, run("job", "exit 1", auto_remove=True)), 1.5)
        try:
            yield stage
        finally:
            stage.end()


@pytest.fixture
def podman_engine(needs: Callable[..., None], request: pytest.FixtureRequest) -> Stage:
    needs("podman", "conmon", "runc", "busybox")
    stage: Stage = request.getfixturevalue("podman_stage")
    return stage


@pytest.mark.parametrize(
    ("name", "status", "words", "args"),
    [
        ("exit0", CRITICAL, "by its policy always (limit 5), last exit 0 (it ends by itself)", []),
        ("two", CRITICAL, "by its policy always (limit 5), last exit 3", []),
        ("three", CRITICAL, "its policy on-failure:3 is used up, last exit 5", []),
        ("stopped", WARNING, "stopped by hand, or its policy had no effect", ["--grace", "3s"]),
        ("by-hand", CRITICAL, "from outside (by hand, cron or autoheal) (limit 5)", []),
        ("job", CRITICAL, "job was replaced by a new container", []),
    ],
)
def test_podman_finds(
    podman_engine: Stage, name: str, status: int, words: str, args: list[str]
) -> None:
    output = podman_engine.until(status, words, "--include", name, *args)
    assert "Next: podman --url unix://" in output


@pytest.mark.parametrize("name", ["steady", "oneshot"])
def test_podman_leaves_alone(podman_engine: Stage, name: str) -> None:
    status, output = podman_engine.looked_at(name, "--grace", "0s", "-w", "0")
    assert status == OK, output

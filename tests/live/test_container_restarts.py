"""check_container_restarts against real engines: every loop is staged at once, then checked.

dockerd (with a swarm of one node) and podman run with roots and sockets of their own.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

from conftest import ROOT
from live.engines import (
    IMAGE,
    Dockerd,
    Engine,
    Podman,
    RootlessPodman,
    Sshd,
    running,
    wait_until,
)  # fmt: skip
from twiceshy.container_restarts import program as check
from twiceshy.kit import plugin

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
    """An engine with all loops running on it, and the check with a history for each run."""

    engine: Engine
    place: Path
    ended: threading.Event = field(default_factory=threading.Event)
    loops: list[threading.Thread] = field(default_factory=list)
    mended_at: float = 0.0

    def run(self, *args: str, state: str = "") -> tuple[int, str]:
        """The exit status and the output of a run; `state` names the history that it uses."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--docker-host", self.engine.url, "-t", "30s",
             "--state-dir", str(self.place / (state or f"{time.monotonic()}")), *args],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout

    def until(self, status: int, words: str, *args: str, seconds: float = 60) -> str:
        """Runs it until the verdict is that; a loop on a loaded machine takes its time."""
        last = (-1, "")
        state = "-".join(args).replace("/", "_") or "all"

        def is_so() -> bool:
            nonlocal last
            last = self.run(*args, state=state)
            return last[0] == status and words in last[1]

        with contextlib.suppress(AssertionError):
            wait_until(is_so, seconds)
        assert last[0] == status, last[1]
        assert words in last[1]
        return last[1]

    def findings(self, *args: str, state: str = "all") -> dict[str, tuple[Any, str]]:
        """State and words by the first word, from a run in this process: all of them, uncut."""
        parsed = check.options().parse_args(
            ["--docker-host", self.engine.url, "--state-dir", str(self.place / state), *args]
        )
        made = check.plan(parsed)
        made()
        return {
            one.text.partition(" ")[0] if "(sh" not in one.text else one.text.partition(")")[0]:
            (one.state, one.text)
            for one in made.findings
            if one.state is not plugin.OK
        }  # fmt: skip

    def found(
        self, expected: Sequence[tuple[str, Any, str]], seconds: float, *args: str
    ) -> dict[str, tuple[Any, str]]:
        """The findings of the first run that has all that is expected, or of the last."""
        end = time.monotonic() + seconds
        while True:
            found = self.findings(*args)
            if time.monotonic() > end or all(
                found.get(name, (None, ""))[0] is state and words in found[name][1]
                for name, state, words in expected
            ):
                return found
            time.sleep(1)

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
    run("ten", "sleep 10.2; exit 4", restart_policy=ALWAYS)
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

    # Nothing wrong
    run("steady", "exec sleep 10000", restart_policy=ALWAYS)
    run("oneshot", "exit 0")
    run("oneshot-bad", "exit 7")
    run("finished", "exit 0", restart_policy={"Name": "on-failure", "MaximumRetryCount": 3})
    client.pause(run("paused", "exec sleep 10000", restart_policy=ALWAYS))
    run("sick", "exec sleep 10000", restart_policy=ALWAYS,
        healthcheck={"Test": ["CMD-SHELL", "echo no database; exit 1"], "Interval": SECOND,
                     "Timeout": 5 * SECOND, "Retries": 2})  # fmt: skip

    # Loops by others
    byhand = run("by-hand", "exec sleep 10000", restart_policy=ALWAYS)
    stage.again_and_again(lambda _: client_of(engine).restart(byhand, timeout=0), 1.0)
    stage.again_and_again(lambda _: gone(engine, run("job", "exit 1", auto_remove=True)), 0.3)
    stage.again_and_again(lambda _: gone(engine, run(None, "exit 2", auto_remove=True)), 0.3)
    stage.again_and_again(lambda _: run(None, "sleep 0.1; exit 3"), 2.0)
    stage.again_and_again(lambda number: recreate(engine, number), 1.0)
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
                kinds.ContainerSpec(image, command=["sh", "-c", command], stop_grace_period=SECOND),
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


DOCKER = [
    ("instant", plugin.CRITICAL, "by its policy always (limit 2), last exit 1"),
    ("exit0", plugin.CRITICAL, "by its policy unless-stopped (limit 2), last exit 0 (exits by"),
    ("ten", plugin.CRITICAL, "by its policy always (limit 2)"),
    ("oom", plugin.CRITICAL, "killed for lack of memory (16MiB)"),
    ("oom-inside", plugin.CRITICAL, "processes killed for lack of memory (16MiB) in 15m"),
    ("mended", plugin.CRITICAL, "by its policy always (limit 2)"),
    ("by-hand", plugin.CRITICAL, "from outside (manually, by cron or by autoheal) (limit 2)"),
    ("gave-up", plugin.CRITICAL, "the engine gave up: failed to create shim task"),
    ("nosuch", plugin.CRITICAL, "never started, and its policy always does not retry"),
    ("three", plugin.CRITICAL, "all retries of its policy on-failure:3 are used up, last exit 5"),
    ("sick", plugin.CRITICAL, "no database"),
    ("job", plugin.CRITICAL, "job was replaced by a new container"),
    ("shop-web-1", plugin.CRITICAL, "was replaced by a new container"),
    ("crash.1", plugin.CRITICAL, "was replaced by a new container"),
    ("crash.2", plugin.CRITICAL, "was replaced by a new container"),
    ("localhost/busybox:local (sh -c 'sleep 0.1; exit 3'", plugin.CRITICAL, "last exit 3"),
]


@pytest.fixture(scope="module")
def docker_found(docker_stage: Stage) -> dict[str, tuple[Any, str]]:
    """What is found as soon as every loop has turned often enough; then one is mended."""
    found = docker_stage.found(DOCKER, 150, "-w", "1", "-c", "2", "--grace", "3s")
    docker_stage.findings("--include", "mended", state="mended")
    (docker_stage.place / "fix" / "done").touch()
    # Rather than wait for the back-off.
    docker_stage.engine.client.restart("mended", timeout=0)
    docker_stage.mended_at = time.monotonic()
    return found


@pytest.mark.parametrize(("name", "state", "words"), DOCKER, ids=[name for name, _, _ in DOCKER])
def test_docker_finds(
    docker_engine: Stage, docker_found: dict[str, tuple[Any, str]], name: str, state: Any,
    words: str,
) -> None:  # fmt: skip
    assert name in docker_found, sorted(docker_found)
    assert docker_found[name][0] is state, docker_found[name][1]
    assert words in docker_found[name][1]


def test_docker_leaves_alone(
    docker_engine: Stage, docker_found: dict[str, tuple[Any, str]]
) -> None:
    expected = {name for name, _, _ in DOCKER}
    others = {name: words for name, words in docker_found.items() if name not in expected}
    # Only the loop of unnamed --rm containers may be there besides.
    assert all("last exit 2" in words for _, words in others.values()), others


def test_docker_finds_unnamed_containers_that_remove_themselves(docker_engine: Stage) -> None:
    docker_engine.until(
        CRITICAL, "last exit 2", "--image", "*busybox*", "--include", "re:^[a-z]+_[a-z]+[0-9]?$",
        "-v", "-w", "1", "-c", "2",
    )  # fmt: skip


def test_one_line_for_everything_and_the_last_words(docker_engine: Stage) -> None:
    status, output = docker_engine.run("--log-lines", "2", "-v", "--exclude", "re:_")
    assert status == CRITICAL
    assert "more)" in output.splitlines()[0]
    assert len(output.encode()) < 8192


def test_a_swarm_service_that_loops_is_found(docker_engine: Stage) -> None:
    docker_engine.until(CRITICAL, "non-zero exit (1)", "--service", "crash")
    docker_engine.until(CRITICAL, "No such image: localhost/nosuch:1", "--service", "noimage")
    status, output = docker_engine.run("--service", "fine", "--service", "done", "-w", "0")
    assert status == OK, output


def test_a_rolling_update_is_no_loop(docker_engine: Stage) -> None:
    import docker

    client = docker_engine.engine.client
    docker_engine.run("--service", "fine", state="rolling")
    docker_engine.run("--include", "fine.*", state="rolling")
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
        status, output = docker_engine.run(*args, "--grace", "5m", state="rolling")
        assert status == OK, output


def test_an_unprivileged_user_sees_the_same_through_the_sockets_group(
    docker_engine: Stage, tmp_path: Path
) -> None:
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


def test_a_mended_container_is_green_after_a_quiet_window(
    docker_engine: Stage, docker_found: dict[str, tuple[Any, str]]
) -> None:
    for state in ("mended", "all"):
        docker_engine.until(
            OK, "none restarted in 20s", "--include", "mended", "--window", "20s", "-w", "0",
            "-c", "0", "--state-dir", str(docker_engine.place / state),
        )  # fmt: skip
    assert time.monotonic() - docker_engine.mended_at >= 15


def test_stops_policies_switched_off_and_the_engines_own_end(
    needs: Callable[..., None], tmp_path: Path
) -> None:
    """On an engine that is quiet enough to remember its events."""
    needs("dockerd", "busybox")
    with running(Dockerd) as engine:
        stage = Stage(engine, tmp_path)
        run, client = engine.run, engine.client
        hup = run("hup", "trap : HUP; sleep 2; sleep 2; exit 1", restart_policy=ALWAYS)
        time.sleep(0.5)
        client.kill(hup, signal="HUP")
        client.stop(run("stopped", "exec sleep 10000", restart_policy=ALWAYS), timeout=0)
        for name in ("web", "db", "cache"):
            run(name, "exec sleep 10000", restart_policy=ALWAYS, stop_signal="SIGKILL")
        up = ("--include", "re:^(web|db|cache)$", "--include", "stopped")

        status, output = stage.run(*up, "-w", "0", "--grace", "0s", "-v", state="up")
        assert status == OK, output
        assert "stopped was stopped manually" in output
        stage.until(
            CRITICAL,
            "with exit 1 and was not restarted; docker kill -s HUP had switched the policy off",
            "--include", "hup",
        )  # fmt: skip
        client.remove_container("hup")
        client.remove_container("stopped")
        up = up[:2]

        engine.stop()
        status, output = stage.run(*up, state="up")
        assert status == CRITICAL
        assert f"docker engine at {engine.url} does not answer: there is no socket" in output
        engine.start()
        wait_until(lambda: len(engine.client.containers()) == 3, 60, "the containers to be back")
        status, output = stage.run(*up, "-w", "1", "-v", state="up")
        assert status == OK, output
        assert "3 of 3 containers restarted together" in output

        # Live restore: the daemon goes, the containers stay.
        engine.command = (*engine.command, "--live-restore")
        engine.stop()
        engine.start()
        stage.run(*up, state="up")
        engine.stop()
        engine.start()
        status, output = stage.run(*up, "-w", "2", state="up")
        assert status == OK, output


# Compose and ssh


COMPOSE = """version: "2.4"
services:
  web: {image: "IMAGE", restart: always, network_mode: none, command: sh -c "sleep 1; exit 7"}
  named: {image: "IMAGE", restart: always, network_mode: none, command: sh -c "exit 127",
          container_name: billing}
  db: {image: "IMAGE", restart: always, network_mode: none, command: sleep 10000}
"""


@dataclass
class Shop:
    """A compose project of which two services crash and one does not."""

    stage: Stage

    def compose(self, *args: str) -> None:
        subprocess.run(
            ("docker-compose", "-p", "shop", "-f", f"{self.stage.place}/compose.yml", *args),
            env={**os.environ, "DOCKER_HOST": self.stage.engine.url},
            capture_output=True, check=True, timeout=120,
        )  # fmt: skip


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with running(Dockerd) as engine:
        shop = Shop(Stage(engine, tmp_path_factory.mktemp("compose")))
        (shop.stage.place / "compose.yml").write_text(COMPOSE.replace("IMAGE", IMAGE))
        shop.compose("up", "-d")
        yield shop


@pytest.fixture
def shop(needs: Callable[..., None], request: pytest.FixtureRequest) -> Shop:
    needs("dockerd", "busybox", "docker-compose")
    found: Shop = request.getfixturevalue("composed")
    return found


def test_a_compose_service_is_named_as_project_and_service(shop: Shop) -> None:
    shop.stage.until(CRITICAL, "CRITICAL - shop-web-1 restarted", "--compose", "shop/web")
    shop.stage.until(
        CRITICAL,
        "CRITICAL - shop-named-1 (container billing) restarted",
        "--compose", "shop/named",
    )  # fmt: skip
    status, output = shop.stage.run("--compose", "shop/named")
    assert "last exit 127 (command not found)" in output
    assert "logs --tail 50 billing |" in output
    status, output = shop.stage.run("--compose", "shop/db", "-w", "0")
    assert status == OK, output


def test_containers_that_compose_makes_anew_again_and_again_are_a_loop(shop: Shop) -> None:
    args = ("--compose", "shop/db", "-w", "1", "-c", "2")
    shop.stage.run(*args, state="anew")
    for _ in range(3):
        shop.compose("up", "-d", "--force-recreate", "--timeout", "0", "db")
    status, output = shop.stage.run(*args, state="anew")
    assert status == CRITICAL, output
    assert "shop-db-1 was replaced by a new container 3 times in 15m (limit 2)" in output


def test_a_container_whose_image_was_pruned_is_still_of_that_image(shop: Shop) -> None:
    client = shop.stage.engine.client
    client.tag(IMAGE, "localhost/app", "1")
    made = client.create_container(
        "localhost/app:1", ["sh", "-c", "sleep 1; exit 3"], name="pruned",
        host_config=client.create_host_config(restart_policy=ALWAYS, network_mode="none"),
    )  # fmt: skip
    client.start(made)
    client.remove_image("localhost/app:1")
    shop.stage.until(CRITICAL, "CRITICAL - pruned restarted", "--image", "localhost/app:*")
    client.remove_container(made, force=True)


@pytest.mark.parametrize(
    ("key", "known", "status", "words"),
    [
        ("key", "known-host", CRITICAL, "CRITICAL - shop-web-1 restarted"),
        ("other-key", "known-host", UNKNOWN, "ssh refuses the keys of this user"),
        ("key", "none", UNKNOWN, "the ssh host key is not known to this user"),
        ("key", "known-other-host", UNKNOWN, "the ssh host key has changed; if you know why"),
    ],
)
def test_an_engine_is_asked_over_ssh(
    needs: Callable[..., None], shop: Shop, tmp_path: Path, key: str, known: str, status: int,
    words: str,
) -> None:  # fmt: skip
    """With Debian's own Python, whose docker library comes with paramiko."""
    needs("sshd", "ssh", "ssh-keygen", "docker")
    shop.stage.until(CRITICAL, "shop-web-1 restarted", "--compose", "shop/web")
    with Sshd(tmp_path, shop.stage.engine.url) as sshd:
        done = subprocess.run(
            ["/usr/bin/python3", str(SCRIPT), "--docker-host", sshd.url, "-t", "30s",
             "--compose", "shop/web"],
            env=sshd.client(key, known), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    assert words in done.stdout
    if status == UNKNOWN:
        assert f"\nNext: ssh -p {sshd.port} root@127.0.0.1 docker version" in done.stdout
    else:
        assert f"\nNext: docker -H {sshd.url} logs --tail 50 shop_web_1 |" in done.stdout


# Podman


def test_podman_of_an_ordinary_user_is_found_at_his_own_socket(needs: Callable[..., None]) -> None:
    needs("podman", "conmon", "runc", "busybox", "setpriv")
    with running(RootlessPodman) as engine:
        engine.run("crash", "sleep 1; exit 3", restart_policy=ALWAYS)
        own = {
            "PATH": os.environ["PATH"], "HOME": str(engine.home),
            "XDG_RUNTIME_DIR": str(engine.home), "XDG_STATE_HOME": str(engine.home),
        }  # fmt: skip

        def run() -> tuple[int, str]:
            argv = [sys.executable, "-c", AS_NOBODY, str(SCRIPT.parent), "--include", "crash"]
            done = subprocess.run(argv, env=own, capture_output=True, text=True, check=False)
            assert done.stderr == ""
            return done.returncode, done.stdout

        wait_until(lambda: run()[0] == CRITICAL, 60, "the loop to be seen")
        status, output = run()
        assert "CRITICAL - crash restarted" in output
        assert "by its policy always (limit 5), last exit 3" in output
        assert "Next: podman logs --tail 50 crash |" in output

        # The containers need no service; the check does.
        engine.socket.unlink()
        status, output = run()
        assert status == CRITICAL
        if shutil.which("dockerd") is None:
            assert output.endswith("Next: systemctl --user enable --now podman.socket\n")
        assert "socket" in output.splitlines()[0]


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
        stage.again_and_again(lambda _: gone(engine, run("job", "exit 1", auto_remove=True)), 1.0)
        try:
            yield stage
        finally:
            stage.end()


@pytest.fixture
def podman_engine(needs: Callable[..., None], request: pytest.FixtureRequest) -> Stage:
    needs("podman", "conmon", "runc", "busybox")
    stage: Stage = request.getfixturevalue("podman_stage")
    return stage


PODMAN = [
    ("exit0", plugin.CRITICAL, "by its policy always (limit 2), last exit 0 (exits by itself)"),
    ("two", plugin.CRITICAL, "by its policy always (limit 2), last exit 3"),
    ("three", plugin.CRITICAL, "all retries of its policy on-failure:3 are used up, last exit 5"),
    ("stopped", plugin.WARNING, "stopped manually, or its policy had no effect"),
    ("by-hand", plugin.CRITICAL, "from outside (manually, by cron or by autoheal) (limit 2)"),
    ("job", plugin.CRITICAL, "job was replaced by a new container"),
]


def test_podman_finds_all_of_them_and_leaves_the_others_alone(podman_engine: Stage) -> None:
    found = podman_engine.found(PODMAN, 120, "-w", "1", "-c", "2", "--grace", "3s")
    assert sorted(found) == sorted(name for name, _, _ in PODMAN)
    for name, state, words in PODMAN:
        assert found[name][0] is state, found[name][1]
        assert words in found[name][1]


def test_podman_is_recognised(podman_engine: Stage) -> None:
    status, output = podman_engine.run("--include", "three")
    assert status == CRITICAL
    assert "Next: podman --url unix://" in output

"""The second half of the outage of 2015: a container that dies at each start, restarted for ever.

The engine is the one that runs here; else, for root, a dockerd of its own in the sandbox. The
image is made of this host's shell and its libraries, so that nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from twiceshy.kit import plugin
from twiceshy.kit.drill import Cannot, Drill, Play, Sandbox, program

OUTAGE = "a container dies at each start, and its restart policy makes a loop of it"

# It dies while there is a mistake in its configuration, and runs otherwise.
COMMAND = "if [ -e /conf/mistake ]; then echo 'cannot read /conf' >&2; exit 1; fi; sleep 86400"


def stage(box: Sandbox) -> Play:
    """One container, named after the sandbox, in the engine that is available."""
    docker = plugin.require("docker", "python3-docker")
    url, client = _engine(box, docker)
    name = box.directory.name
    configuration = box.write("conf/app.conf", "listen 80\n").parent
    try:
        client.import_image_from_data(_image(), repository=name)
        box.undo(_removed, docker, client.remove_image, name)
        container = client.create_container(
            name,
            ["/bin/sh", "-c", COMMAND],
            name=name,
            volumes=["/conf"],
            host_config=client.create_host_config(
                restart_policy={"Name": "always"},
                binds=[f"{configuration}:/conf:ro"],
                network_mode="none",
            ),
        )
        box.undo(_removed, docker, client.remove_container, container["Id"], True, False, True)
        client.start(container["Id"])
    except docker.errors.APIError as error:
        raise Cannot(f"the engine at {url} refuses: {error.explanation or error}") from error

    def break_it() -> None:
        (configuration / "mistake").write_text("")
        # It must die by itself, as in a crash: a stop through the API would end the policy.
        pid = client.inspect_container(container["Id"])["State"]["Pid"]
        if pid:
            _crash(client, container["Id"], pid)

    return Play(
        arguments=[
            f"--docker-host={url}", f"--include={name}", "-w1", "-c3", "--window=20s",
            "--grace=5s", "--log-lines=1",
        ],
        fault="a mistake in the container's configuration; its process dies",
        break_it=break_it,
        remedy="the mistake is removed; the engine's next start succeeds",
        mend_it=(configuration / "mistake").unlink,
        patience_seconds=150,
    )  # fmt: skip


def _crash(client: Any, container: str, pid: int) -> None:
    """Kill the container's process from outside, or, without the right to, through the engine."""
    try:
        os.kill(pid, 9)
    except OSError:
        # docker kill counts as a manual stop and ends the policy, so start it once more.
        client.kill(container)
        client.start(container)


def _removed(docker: Any, remove: Any, *arguments: Any) -> None:
    # The engine may have ended already, if it was the drill's.
    with contextlib.suppress(docker.errors.DockerException, OSError):
        remove(*arguments)


def _engine(box: Sandbox, docker: Any) -> tuple[str, Any]:
    """URL and client of an engine: $DOCKER_HOST, the usual socket, or one in the sandbox."""
    for url in (os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock"):
        if url and (url.startswith("tcp") or Path(url[len("unix://") :]).exists()):
            with contextlib.suppress(docker.errors.DockerException, OSError):
                client = docker.APIClient(base_url=url, version="auto", timeout=30)
                client.ping()
                return url, client
    dockerd = program("dockerd")
    if not dockerd:
        raise Cannot("no container engine: apt install docker.io")
    if os.geteuid() != 0:
        raise Cannot("no container engine answers this user, and only root can start its own")
    socket = box.directory / "docker.sock"
    data = box.directory / "engine"
    box.undo(_unmounted, str(data))
    engine = box.start(
        dockerd,
        f"--data-root={data}/data",
        f"--exec-root={data}/exec",
        f"--pidfile={data}/pid",
        f"--host=unix://{socket}",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
    )
    box.undo(_ended, engine)
    url = f"unix://{socket}"
    client = docker.APIClient(base_url=url, version="1.40", timeout=30)

    def answers() -> bool:
        if engine.poll() is not None:
            raise Cannot(f"dockerd does not start here (exit {engine.returncode})")
        with contextlib.suppress(docker.errors.DockerException, OSError):
            return bool(client.ping())
        return False

    box.wait_for(answers, "an answer of the drill's own dockerd", 60)
    return url, client


def _ended(engine: subprocess.Popen[bytes]) -> None:
    """Let dockerd end its own containers and mounts before everything is killed."""
    engine.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        engine.wait(20)


def _unmounted(below: str) -> None:
    """Unmount what dockerd has left mounted in its own directories."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        mounts = [line.split()[4] for line in lines]
        for mount in reversed(mounts):
            if mount.startswith(f"{below}/"):
                subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def _image() -> bytes:
    """A tar archive with this host's sh and sleep and the libraries they need."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        held = set()
        for word in ("sh", "sleep"):
            path = program(word)
            linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
            libraries = re.findall(r"(/\S+) \(0x", linked.stdout)
            for source, target in [(path, f"/bin/{word}"), *((lib, lib) for lib in libraries)]:
                if target not in held:
                    tar.add(os.path.realpath(source), target.lstrip("/"))
                    held.add(target)
    return archive.getvalue()


DRILL = Drill(OUTAGE, stage)

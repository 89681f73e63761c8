"""Real container engines with a root and a socket of their own: dockerd and podman's API service.

Nothing of the host's own engine is touched: data root, exec root, pid file and socket live in a
temporary directory, there is no bridge and no iptables rule, and the image is made from the host's
static busybox, so that no registry is asked.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

IMAGE = "localhost/busybox:local"
APPLETS = (
    "sh",
    "sleep",
    "true",
    "false",
    "cat",
    "test",
    "kill",
    "echo",
    "dd",
    "tail",
    "touch",
    "rm",
)


def wait_until(true: Callable[[], Any], seconds: float = 60, what: str = "") -> Any:
    """What `true` returns as soon as that is something; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g}s in vain for {what or true}")
        time.sleep(0.2)


def busybox_tar() -> bytes:
    """A root file system with busybox and links to it, as `docker import` takes it."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox (package busybox-static) is missing"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for directory in ("bin", "tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        program = tarfile.TarInfo("bin/busybox")
        content = Path(busybox).read_bytes()
        program.size, program.mode = len(content), 0o755
        tar.addfile(program, io.BytesIO(content))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()


def ended(process: subprocess.Popen[bytes], grace: float = 20) -> None:
    """Ends a process that the suite started, gently first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    if process.poll() is None:
        process.kill()
        process.wait(10)


class Engine:
    """One running engine; `client` is an SDK client for the test's own use."""

    command: tuple[str, ...]

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "engine.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home / "engine.log"
        self.environment = dict(os.environ)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def client(self) -> Any:
        import docker

        return docker.APIClient(base_url=self.url, version="auto", timeout=60)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        import docker
        import requests

        try:
            return bool(self.client.ping())
        except (docker.errors.DockerException, requests.RequestException):
            return False

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self.environment,
                start_new_session=True,
            )
        wait_until(self.answers, 60, f"{self.command[0]} to answer")

    def stop(self) -> None:
        if self.process is not None:
            ended(self.process)
            self.process = None

    def remove_containers(self) -> None:
        import docker
        import requests

        if self.process is None:
            return
        client = self.client
        is_manager = client.info()["Swarm"].get("ControlAvailable")
        for service in client.services() if is_manager else ():
            client.remove_service(service["ID"])
        for container in client.containers(all=True):
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                client.remove_container(container["Id"], force=True)
        if is_manager:
            # Else the bridge of the swarm stays on the host.
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                client.leave_swarm(force=True)
                client.remove_network("docker_gwbridge")

    def import_image(self) -> None:
        repository, _, tag = IMAGE.partition(":")
        self.client.import_image_from_data(busybox_tar(), repository=repository, tag=tag)

    def run(self, name: str | None, command: str, **host: Any) -> str:
        """Starts a container of `sh -c command`, or of `argv`; its id.

        Keyword arguments are create_host_config's, besides labels, healthcheck and stop_signal.
        """
        client = self.client
        extra = {
            key: host.pop(key) for key in ("labels", "healthcheck", "stop_signal") if key in host
        }
        raw = host.pop("argv", None)
        host.setdefault("network_mode", "none")
        created = client.create_container(
            IMAGE,
            raw or ["sh", "-c", command],
            name=name,
            host_config=client.create_host_config(**host),
            **extra,
        )
        client.start(created["Id"])
        return str(created["Id"])


class Dockerd(Engine):
    def __init__(self, home: Path, *options: str) -> None:
        super().__init__(home)
        self.command = (
            "dockerd",
            f"--data-root={home}/data",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/dockerd.pid",
            f"--host={self.url}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            *options,
        )


class Podman(Engine):
    def __init__(self, home: Path) -> None:
        super().__init__(home)
        roots = (f"--root={home}/data", f"--runroot={home}/run", f"--tmpdir={home}/tmp")
        settings = ("--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=runc")
        self.cli = ("podman", *roots, *settings)
        self.command = (*self.cli, "system", "service", "--time=0", self.url)
        # Podman's own default is above the hard limit that a container may have got as a host.
        limits = "[containers]\ndefault_ulimits = ['nofile=1024:1024', 'nproc=1024:1024']\n"
        (home / "containers.conf").write_text(limits)
        self.environment["CONTAINERS_CONF"] = str(home / "containers.conf")

    def remove_containers(self) -> None:
        argv = (*self.cli, "rm", "--all", "--force", "--time=0")
        subprocess.run(
            argv, check=False, capture_output=True, env=self.environment, cwd=self.home, timeout=60
        )

    def import_image(self) -> None:
        # The docker-compatible import of podman 4.3 loses the name, and so does import from stdin.
        (self.home / "busybox.tar").write_bytes(busybox_tar())
        argv = (*self.cli, "import", "--quiet", f"{self.home}/busybox.tar", IMAGE)
        subprocess.run(argv, check=True, capture_output=True, env=self.environment, cwd=self.home)


class RootlessPodman(Podman):
    """Podman of an ordinary user, with its socket where his session would have it.

    Without /etc/subuid it maps that user alone, which is all that the image needs.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        self.cli = (*user, *self.cli, "--storage-driver=vfs")
        self.socket = home / "podman" / "podman.sock"
        self.socket.parent.mkdir()
        self.command = (*self.cli, "system", "service", "--time=0", self.url)
        self.environment.update(HOME=str(home), XDG_RUNTIME_DIR=str(home))
        for path in (home, *home.rglob("*")):
            os.chown(path, 65534, 65534)

    def remove_containers(self) -> None:
        super().remove_containers()
        with contextlib.suppress(OSError):  # the process that holds the user's namespace
            os.kill(int((self.home / "tmp" / "pause.pid").read_text()), signal.SIGTERM)

    def stop(self) -> None:
        started = self.process
        super().stop()
        if started is not None:
            with contextlib.suppress(ProcessLookupError):  # podman's other half, in that namespace
                os.killpg(started.pid, signal.SIGKILL)


class Sshd:
    """A real sshd on loopback that lets root in with one key, to an engine of ours."""

    def __init__(self, home: Path, docker_host: str) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = int(listening.getsockname()[1])
        self.url = f"ssh://root@127.0.0.1:{self.port}"
        for name in ("host", "other-host", "key", "other-key"):
            argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name))
            subprocess.run(argv, check=True)
        (home / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
            f"AuthorizedKeysFile {home}/key.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nSetEnv DOCKER_HOST={docker_host}\n"
        )
        for name in ("host", "other-host"):
            key = (home / f"{name}.pub").read_text()
            (home / f"known-{name}").write_text(f"[127.0.0.1]:{self.port} {key}")

    def client(self, key: str = "key", known: str = "known-host") -> dict[str, str]:
        """An environment whose ssh has that key and knows those hosts, and nothing of ours."""
        place = self.home / f"{key}-{known}"
        place.mkdir(exist_ok=True)
        (place / "ssh").write_text(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -o IdentitiesOnly=yes -o IdentityAgent=none "
            f"-o IdentityFile={self.home}/{key} -o UserKnownHostsFile={self.home}/{known} "
            '-o GlobalKnownHostsFile=none "$@"\n'
        )
        (place / "ssh").chmod(0o755)
        return environment(PATH=f"{place}:{os.environ['PATH']}")

    def __enter__(self) -> Sshd:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd does not start without
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        assert sshd
        self.process = subprocess.Popen(
            (sshd, "-D", "-e", "-f", str(self.home / "sshd_config")),
            stderr=(self.home / "sshd.log").open("wb"),
        )

        def listens() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            return False

        wait_until(listens, 20, "sshd to listen")
        return self

    def __exit__(self, *_: object) -> None:
        ended(self.process)


@contextlib.contextmanager
def running(kind: type[Engine], *options: str) -> Iterator[Any]:
    """An engine with the busybox image, ended and cleaned up afterwards, its containers with it."""
    # A short path: a unix socket's name holds 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="tw-", dir="/var/tmp"))
    engine = kind(home, *options)
    try:
        engine.start()
        engine.import_image()
        yield engine
    finally:
        clean_up(engine)


def clean_up(engine: Engine) -> None:
    engine.remove_containers()
    engine.stop()
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        mounted = line.split()[1]
        if mounted.startswith(f"{engine.home}/"):
            subprocess.run(("umount", "-l", mounted), check=False, capture_output=True)
    shutil.rmtree(engine.home, ignore_errors=True)


def as_nobody() -> dict[str, Any]:
    """Keyword arguments for subprocess that drop to an unprivileged user."""
    return {"user": 65534, "group": 65534, "extra_groups": []}


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, **changes}

"""A host of one's own: a real systemd in namespaces, over an overlay of this machine's root.

    with Lab() as lab:
        lab.unit("web.service", "[Service]\nExecStart=/bin/sleep 1000\n")
        lab.run(["systemctl", "start", "web"])
        lab.run(["systemctl", "show", "web"], user="nobody").stdout

Nothing on the machine changes: every mount lives in the lab's own mount namespace and goes with
its last process, the upper layer is a tmpfs, /sys and /proc/sys are read-only inside, /dev and the
network are its own. Processes end with the namespace's pid 1, which ends with the `unshare` that we
started, which ends with us (also by kill -9). A pid read inside is not a pid outside.

Needs root. The memory controller of a cgroup v1 host is not there, so MemoryMax= has no effect:
stage "out of memory" with care.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

PROGRAMS = ("systemctl", "journalctl", "unshare", "nsenter", "setpriv")
SYSTEMD = "/lib/systemd/systemd"
BOOT_SECONDS = 60

# Units of the machine that would only touch hardware or kernel settings.
MASKED = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-binfmt.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-sysusers.service",
    "systemd-firstboot.service",
    "systemd-machine-id-commit.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "apparmor.service",
    "keyboard-setup.service",
    "console-setup.service",
    "ifupdown-pre.service",
    "e2scrub_reap.service",
    "sysstat.service",
)

BOOT = r"""
set -eu
for group in $LAB_CGROUPS; do echo $$ > "$group/cgroup.procs"; done
# unshare stays outside of the new pid namespace and holds it: killing it ends everything.
exec setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount --cgroup --uts --ipc --net \
    --propagation private sh -eu -c '
mount -t tmpfs tmpfs "$LAB"
mkdir "$LAB/upper" "$LAB/work" "$LAB/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$LAB/upper,workdir=$LAB/work" "$LAB/root"
cd "$LAB/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir devices
mount -t tmpfs -o mode=0755 tmpfs devices
for node in null zero full random urandom tty; do
    touch devices/$node
    mount --bind /dev/$node devices/$node
done
mkdir devices/pts devices/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts devices/pts
ln -s pts/ptmx devices/ptmx
ln -s /proc/self/fd devices/fd
mount --move devices dev
rmdir devices
if [ "$LAB_UNIFIED" = yes ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
find etc/systemd/system -path "*.wants/*" -delete
for unit in $LAB_MASKED; do ln -sf /dev/null etc/systemd/system/$unit; done
rm -rf var/log/journal var/lib/twiceshy
echo 0123456789abcdef0123456789abcdef > etc/machine-id
hostname lab
exec chroot . env -i container=docker PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$LAB_SYSTEMD" --system --unit=basic.target --log-target=journal
'
"""


class Lab:
    """A context manager; see the module."""

    def __init__(self) -> None:
        self._left: contextlib.ExitStack = contextlib.ExitStack()
        self.pid = 0  # of the systemd inside, as seen from here
        self.traces: tuple[str, ...] = ()  # directories of this machine that end with the lab

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as left:
            directory = left.enter_context(tempfile.TemporaryDirectory(prefix="lab-"))
            groups = [left.enter_context(_cgroup(root)) for root in _hierarchies()]
            self.traces = (directory, *groups)
            said = left.enter_context(open(f"{directory}/said", "w+", encoding="utf-8"))
            mountpoint = Path(directory, "lab")
            mountpoint.mkdir()
            holder = subprocess.Popen(
                ["sh", "-c", BOOT],
                env={
                    "PATH": os.defpath + ":/usr/sbin:/sbin",
                    "LAB": str(mountpoint),
                    "LAB_CGROUPS": " ".join(groups),
                    "LAB_UNIFIED": "yes" if _is_unified() else "no",
                    "LAB_MASKED": " ".join(MASKED),
                    "LAB_SYSTEMD": SYSTEMD,
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            left.callback(_end, holder)
            self.pid = self._first(holder, said.name)
            self._root = Path(f"/proc/{self.pid}/root")
            self.wait_for(
                lambda: self.run(["systemctl", "is-active", "basic.target"]).stdout == "active\n",
                "basic.target",
                BOOT_SECONDS,
            )
            self._left = left.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.close()

    def _first(self, holder: subprocess.Popen[bytes], said: str) -> int:
        """The pid, as seen from here, of the systemd inside, once it has begun."""
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until:
            if holder.poll() is not None:
                break
            children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
            for child in children:
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                        return int(child)
            time.sleep(0.02)
        raise RuntimeError(f"the lab's systemd did not start: {Path(said).read_text()[-2000:]}")

    def path(self, inside: str) -> Path:
        """A path of the lab's, as seen from here."""
        return self._root / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def unit(self, name: str, text: str) -> None:
        """Write a unit file; systemd reads a changed one at `systemctl daemon-reload`."""
        self.write(f"/etc/systemd/system/{name}", text)

    def install_checks(self, inside: str = "/opt/twiceshy") -> str:
        """Copy this checkout's checks and nagiosplugin in; returns the directory.

        Copied, because an unprivileged user may not be allowed to walk to the checkout or to the
        virtual environment of the tests.
        """
        import nagiosplugin

        source = Path(__file__).resolve().parents[2] / "checks"
        target = self.path(inside)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignore)
        shutil.copytree(Path(nagiosplugin.__file__).parent, target / "nagiosplugin", ignore=ignore)
        for path in (target, *target.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".py" else 0o644)
        return inside

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        groups: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root or as `user` with just its own and these groups."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        become: list[str] = []
        if user is not None:
            extra = ",".join(groups)
            more = ["--groups", extra] if extra else ["--clear-groups"]
            become = ["setpriv", "--reuid", user, "--regid", _group_of(user), *more]
        return subprocess.run(
            [*enter, "--", *become, *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def wait_for(self, happened: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Poll until it has happened; AssertionError with `what` if it does not in time."""
        until = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < until, f"waited {seconds:g}s in the lab for {what}"
            time.sleep(0.1)


def why_not() -> str:
    """Why no lab can be opened here; "" if one can."""
    if os.geteuid() != 0:
        return "a systemd of our own needs root"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if not os.path.exists(SYSTEMD):
        missing.append(SYSTEMD)
    return f"missing: {', '.join(missing)}" if missing else ""


def _end(holder: subprocess.Popen[bytes]) -> None:
    """End the namespace's pid 1 (--kill-child) and so everything inside; wait until it is gone."""
    child = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
    inside: list[str] = []
    with contextlib.suppress(OSError):
        inside = child.read_text().split()
    holder.kill()
    holder.wait()
    until = time.monotonic() + 20
    # The parent is dead, so that the first process is reaped by init after all others are.
    while any(os.path.exists(f"/proc/{pid}/root/") for pid in inside) and time.monotonic() < until:
        time.sleep(0.02)


def _is_unified() -> bool:
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def _hierarchies() -> list[str]:
    """Directories, one a hierarchy that systemd uses, of the cgroup that we are in."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.rstrip("/")
    if _is_unified():
        return ["/sys/fs/cgroup" + own.get("", "")]
    pairs = (("unified", ""), ("systemd", "name=systemd"))
    directories = [f"/sys/fs/cgroup/{name}{own[key]}" for name, key in pairs if key in own]
    return [directory for directory in directories if os.path.isdir(directory)]


@contextlib.contextmanager
def _cgroup(parent: str):  # type: ignore[no-untyped-def]
    """A cgroup of the lab's own: systemd's groups would stay behind in ours otherwise."""
    directory = tempfile.mkdtemp(prefix="lab-", dir=parent)
    try:
        yield directory
    finally:
        until = time.monotonic() + 10
        while os.path.isdir(directory) and time.monotonic() < until:
            for path, _, _ in os.walk(directory, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            time.sleep(0.02)


def _group_of(user: str) -> str:
    import pwd

    return str(pwd.getpwnam(user).pw_gid)


if __name__ == "__main__":  # a shell inside, for the curious
    with Lab() as lab:
        print(lab.install_checks(), file=sys.stderr)
        enter = ["nsenter", "-t", str(lab.pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        subprocess.run([*enter, *(sys.argv[1:] or ["bash"])], check=False)

"""The packages, built and used as a stranger would: wheel, sdist, zipapp, asset, .deb, .rpm, role.

And what comes with them: completion in the shells that people type in, and sudoers files.
"""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import twiceshy
from conftest import CHECKS, ROOT
from contract import understood
from live.lab import PROGRAMS, Lab

pytestmark = pytest.mark.live

NAMES = [check.stem for check in CHECKS]
VERSION = twiceshy.__version__
DEBIAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # its own Python, and none of the tests'


def shell(*argv: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is committed or would be, so that nothing is built inside the checkout."""
    place = tmp_path_factory.mktemp("source")
    listed = shell(
        "git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"
    ).splitlines()
    for name in listed:
        if (ROOT / name).exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name, follow_symlinks=False)
    return place


@pytest.fixture(scope="module")
def dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dist")
    shell(sys.executable, "-m", "build", "-q", "--outdir", place, source)
    return place


def test_wheel_and_sdist_are_what_an_index_would_take(dist: Path) -> None:
    files = sorted(dist.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    shell(sys.executable, "-m", "twine", "check", "--strict", *files)
    shell(
        Path(sys.executable).parent / "check-wheel-contents",
        "--toplevel",
        ",".join([*(f"{name}.py" for name in NAMES), "twiceshy"]),
        files[0],
    )


def test_the_wheel_holds_the_checks_and_the_kit_and_nothing_else(dist: Path) -> None:
    names = zipfile.ZipFile(next(dist.glob("*.whl"))).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        *(f"{name}.py" for name in NAMES),
        "twiceshy",
    }


def test_the_sdist_holds_everything_that_is_tracked(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "tests/test_contract.py",
        "contrib/packaging/zipapps",
        "LICENSE",
        "CHANGELOG.md",
    } <= held


def test_an_installed_wheel_gives_the_commands(dist: Path, tmp_path: Path) -> None:
    shell(sys.executable, "-m", "venv", tmp_path)
    shell(tmp_path / "bin/pip", "install", "-q", next(dist.glob("*.whl")))
    for name in NAMES:
        done = subprocess.run(
            [tmp_path / "bin" / name, "--no-such"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert understood(done.stdout).state == "UNKNOWN"
    found = shell(
        tmp_path / "bin/python",
        "-c",
        "from importlib.metadata import entry_points as e\n"
        "found = e()\n"
        "group = found.select(group='twiceshy.checks') if hasattr(found, 'select') "
        "else found['twiceshy.checks']\n"
        "print(*sorted(point.value for point in group))",
    )
    assert found.split() == NAMES


def test_a_zipapp_runs_on_a_python_that_has_nothing(source: Path, tmp_path: Path) -> None:
    shell(sys.executable, source / "contrib/packaging/zipapps", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES
    for name in NAMES:
        done = subprocess.run(
            [sys.executable, "-I", "-S", tmp_path / name, "--no-such"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert understood(done.stdout).text.startswith("unrecognized arguments")


def test_the_sensu_asset_has_its_layout_and_a_checksum_that_stays(
    source: Path, tmp_path: Path
) -> None:
    script = source / "contrib/packaging/sensu-asset"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell(script, tmp_path / "a", env=env)
    time.sleep(2.1)  # a zip archive dates its entries in steps of two seconds
    shell(script, tmp_path / "b", env=env)
    (asset,) = (tmp_path / "a").glob("*.tar.gz")
    with tarfile.open(asset) as archive:
        assert sorted(archive.getnames()) == ["bin", *(f"bin/{name}" for name in NAMES)]
    digest = hashlib.sha512(asset.read_bytes()).hexdigest()
    (sums,) = (tmp_path / "a").glob("*checksums.txt")
    assert sums.read_text() == f"{digest}  {asset.name}\n"
    (other,) = (tmp_path / "b").glob("*.tar.gz")
    assert hashlib.sha512(other.read_bytes()).hexdigest() == digest


@pytest.fixture(scope="module")
def host(needs: Callable[..., None]) -> Iterator[Lab]:
    """A host to install on that has a user nagios, and Debian's Python with the libraries."""
    needs(*PROGRAMS, "dbus-daemon", "useradd")
    with Lab() as lab:
        if lab.run(["id", "nagios"]).returncode:
            lab.run(["useradd", "--system", "nagios"])
        yield lab


def inside(host: Lab, command: str, **env: str) -> str:
    done = host.run(["sh", "-euc", command], env=env, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def assert_installed(host: Lab, plugins: str) -> None:
    """The commands, the plugins, the manual and a state directory that belongs to nagios."""
    for name in NAMES:
        assert inside(host, f"{plugins}/{name} -V || :") == f"{name} {VERSION}\n"
        inside(host, f"man -l $(ls /usr/share/man/man1/{name}.1*) | grep -q {name}")
    assert inside(host, "stat -c '%U %a' /var/lib/twiceshy") == "nagios 700\n"
    assert_runs(host, plugins)


def assert_runs(host: Lab, plugins: str) -> None:
    """As nagios, with a history."""
    check = f"{plugins}/check_flapping --service dbus --learning ok"
    told = understood(inside(host, f"runuser -u nagios -- {check}"))
    assert (told.state, told.text.split()[:2]) == ("OK", ["dbus", "up"])
    inside(host, "test -s /var/lib/twiceshy/flapping.sqlite")


def test_the_deb_installs_and_goes_without_a_trace(
    host: Lab, source: Path, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("dpkg-buildpackage", "dh")
    shell(source / "contrib/packaging/build-deb", tmp_path)
    (deb,) = tmp_path.glob("*.deb")
    shutil.copy(deb, host.path("/mnt"))
    inside(host, f"dpkg -i /mnt/{deb.name}", DEBIAN_FRONTEND="noninteractive")
    assert_installed(host, "/usr/lib/nagios/plugins")
    inside(host, "dpkg --purge twiceshy")
    assert inside(host, "ls -d /usr/bin/check_* /var/lib/twiceshy 2>/dev/null || :") == ""


def test_the_rpm_installs_and_its_files_go_again(
    host: Lab, source: Path, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("rpmbuild")
    (tmp_path / "SOURCES").mkdir()
    with tarfile.open(tmp_path / f"SOURCES/twiceshy-{VERSION}.tar.gz", "w:gz") as archive:
        archive.add(source, f"twiceshy-{VERSION}")
    # What rpm-based distributions define, said for this one; its packages rpm does not know.
    site = "python3_sitelib /usr/lib/python3/dist-packages"
    spec = source / "contrib/packaging/rpm/twiceshy.spec"
    where = ("--define", f"_topdir {tmp_path}", "--define", site)
    shell("rpmbuild", "-bb", "--nodeps", *where, spec, env={**DEBIAN, "HOME": tmp_path})
    (rpm,) = tmp_path.glob("RPMS/noarch/*.rpm")
    held = subprocess.run(["rpm2cpio", rpm], capture_output=True, check=True).stdout
    assert str(tmp_path).encode() not in held
    shutil.copy(rpm, host.path("/mnt"))
    inside(host, f"rpm -i --nodeps --force-debian /mnt/{rpm.name}")
    assert_installed(host, "/usr/lib64/nagios/plugins")
    inside(host, "rpm -e twiceshy")
    assert inside(host, "ls -d /usr/bin/check_* 2>/dev/null || :") == ""
    inside(host, "rm -r /var/lib/twiceshy")


INVENTORY = """[monitored]
lab ansible_connection=local ansible_python_interpreter=/usr/bin/python3

[monitored:vars]
twiceshy_pip=/mnt/wheels/twiceshy-{version}-py3-none-any.whl
twiceshy_plugin_dir=/opt/plugins
twiceshy_nrpe=true
twiceshy_sudoers=["twiceshy-flapping", "twiceshy-log-rotation"]
"""


def test_the_ansible_role_has_nothing_to_do_the_second_time(
    host: Lab, dist: Path, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("ansible-playbook", "nrpe", "visudo")
    # The host has no network: what pip would fetch is laid out for it.
    (wheel,) = dist.glob("*.whl")
    download = ["/usr/bin/python3", "-m", "pip", "download", "-q", "-d", tmp_path / "wheels", wheel]
    shell(*download, env={**os.environ, **DEBIAN})
    shutil.copytree(tmp_path / "wheels", host.path("/mnt/wheels"))
    shutil.copy(wheel, host.path("/mnt/wheels"))
    shutil.copytree(ROOT / "contrib", host.path("/mnt/contrib"))
    host.write("/mnt/inventory", INVENTORY.format(version=VERSION))
    inside(host, "systemctl start nagios-nrpe-server")
    play = "ansible-playbook -i /mnt/inventory /mnt/contrib/ansible/site.yml"
    env = {"HOME": "/tmp", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt/wheels"}
    first, second = inside(host, play, **env), inside(host, play, **env)
    assert "RUNNING HANDLER [twiceshy : Reload NRPE]" in first
    assert re.search(r"changed=[1-9].* failed=0", first)
    assert re.search(r"changed=0 .* failed=0", second)
    for name in NAMES:
        assert inside(host, f"/opt/plugins/{name} -V || :") == f"{name} {VERSION}\n"
    assert_runs(host, "/opt/plugins")
    inside(host, "visudo -c && test -e /etc/sudoers.d/twiceshy-log-rotation")
    assert "command[check_disk_growth]=" in inside(host, "cat /etc/nagios/nrpe.d/twiceshy.cfg")


def typed(argv: list[str], start: str, keys: str, seconds: float = 20) -> str:
    """What an interactive shell shows after these keys, until it says no more for a second."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**os.environ, "TERM": "dumb", "COLUMNS": "200", "LINES": "99"})
    shown = ""

    def read(is_over: Callable[[], bool]) -> None:
        nonlocal shown
        until = time.monotonic() + seconds
        while not is_over() and time.monotonic() < until:
            while select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536).decode("utf-8", "replace")

    try:
        os.write(terminal, f"{start}; echo be''gun\n".encode())
        read(lambda: "\nbegun" in shown.replace("\r", "\n"))
        shown = ""
        os.write(terminal, keys.encode())
        read(lambda: bool(shown))
    finally:
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return shown


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ". {file}"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "fpath=({directory} $fpath); autoload -Uz compinit; compinit -u -D",
    ),
}


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_typed_is_completed(name: str, tmp_path: Path, needs: Callable[..., None]) -> None:
    needs(name)
    file = tmp_path / "_twiceshy"
    file.write_text(shell(sys.executable, "-m", "twiceshy", "completion", name))
    argv, start = SHELLS[name]
    start = start.format(file=shlex.quote(str(file)), directory=shlex.quote(str(tmp_path)))
    options = typed(argv, start, "check_disk_growth --\t\t")
    assert {"--horizon", "--min-free", "--warning"} <= set(options.split())
    assert "check_disk_growth --horizon " in typed(argv, start, "check_disk_growth --hor\t")
    assert {"critical", "ok"} <= set(typed(argv, start, "check_disk_growth --missing \t\t").split())
    assert "twiceshy drill flapping " in typed(argv, start, "twiceshy drill fl\t")


@pytest.mark.parametrize("file", sorted((ROOT / "contrib/sudoers").iterdir()), ids=lambda f: f.name)
def test_the_sudoers_files_parse(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sudoers"
    shutil.copy(file, copy)
    copy.chmod(0o440)
    shell("/usr/sbin/visudo", "-cf", copy)

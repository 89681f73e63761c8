"""The packages, built and used as a stranger would: wheel, sdist, zipapp, asset, .deb, .rpm, role.

And what comes with them: completion in the shells that people type in, and sudoers files.
"""

from __future__ import annotations

import hashlib
import json
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
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml

import twiceshy
from conftest import CHECKS, ROOT
from contract import understood
from live.lab import PROGRAMS, Lab

pytestmark = pytest.mark.live

NAMES = [check.stem for check in CHECKS]
SHORT = [name[len("check_") :] for name in NAMES]
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
    shell(Path(sys.executable).parent / "check-wheel-contents", "--toplevel", "twiceshy", files[0])


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    names = zipfile.ZipFile(next(dist.glob("*.whl"))).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"twiceshy"}
    assert {f"twiceshy/{name}/program.py" for name in SHORT} | {"twiceshy/py.typed"} <= set(names)


def test_the_metadata_says_what_an_index_shows(dist: Path) -> None:
    wheel = zipfile.ZipFile(next(dist.glob("*.whl")))
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    fields = HeaderParser().parsestr(wheel.read(name).decode())
    assert (fields["License-Expression"], fields["License"]) == ("MIT", None)
    assert fields["Author"] == "The twiceshy maintainers"
    links = dict(link.split(", ") for link in fields.get_all("Project-URL", []))
    assert links["Homepage"] == links["Documentation"] == twiceshy.__url__
    assert {"Source", "Changelog", "Issues"} <= set(links)
    needed = fields.get_all("Requires-Dist", [])
    assert [line for line in needed if "extra ==" not in line] == ["nagiosplugin>=1.3.2"]


def test_the_sdist_holds_everything_that_is_tracked(dist: Path, source: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {str(path.relative_to(source)) for path in source.rglob("*") if not path.is_dir()}
    forge = {name for name in tracked if name.startswith((".github/", ".readthedocs"))}
    assert tracked - held - forge == {".gitignore"}


def contents(wheel: Path) -> dict[str, bytes]:
    """What is in a wheel, without the list of it."""
    archive = zipfile.ZipFile(wheel)
    names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
    return {name: archive.read(name) for name in names}


def test_the_sdist_makes_the_same_wheel(dist: Path, source: Path, tmp_path: Path) -> None:
    """`dist` was built from the sdist (as build does); this one is built from the tree itself."""
    shell(sys.executable, "-m", "build", "-q", "--wheel", "--outdir", tmp_path, source)
    assert contents(next(tmp_path.glob("*.whl"))) == contents(next(dist.glob("*.whl")))


def test_two_clones_make_the_same_sdist(source: Path, tmp_path: Path) -> None:
    sums = []
    for name, umask in (("a", 0o022), ("b", 0o077)):
        before = os.umask(umask)
        try:
            copy = shutil.copytree(source, tmp_path / name, symlinks=True)
        finally:
            os.umask(before)
        for path in copy.rglob("*"):
            os.utime(path, (0, 86400 * len(name + str(path))), follow_symlinks=False)
        env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        made = shell(
            sys.executable, copy / "contrib/packaging/sdist", tmp_path / f"{name}.d", env=env
        )
        sums.append(hashlib.sha256(Path(made.strip()).read_bytes()).hexdigest())
    assert sums[0] == sums[1]


def assert_commands(place: Path) -> None:
    """The commands of a virtual environment run, each on its own and in the round."""
    for name in NAMES:
        done = subprocess.run(
            [place / "bin" / name, "--no-such"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (3, "")
        told = understood(done.stdout)
        assert (told.state, told.name) == ("UNKNOWN", name[len("check_") :].upper())
    done = subprocess.run(
        [place / "bin/twiceshy", "--json"], capture_output=True, text=True, check=False
    )
    rounds = json.loads(done.stdout)
    asked = {check["name"] for check in rounds["checks"]} | set(rounds["not_applicable"])
    assert asked == set(SHORT)


@pytest.mark.parametrize("kind", ["wheel", "sdist", "clone", "editable"])
def test_pip_installs_the_commands(kind: str, dist: Path, source: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    shell(sys.executable, "-m", "venv", place)
    clone = shutil.copytree(source, tmp_path / "clone", symlinks=True)
    what = {
        "wheel": [next(dist.glob("*.whl"))],
        "sdist": [next(dist.glob("*.tar.gz"))],
        "clone": [clone],
        "editable": ["-e", clone],
    }[kind]
    shell(place / "bin/pip", "install", "-qq", *what)
    installed = shell(place / "bin/pip", "list", "--format=freeze").splitlines()
    # Nothing but nagiosplugin comes along.
    assert {line.partition("=")[0] for line in installed if "pip=" not in line} <= {
        "twiceshy", "nagiosplugin", "setuptools", "wheel",
    }  # fmt: skip
    assert_commands(place)


def test_a_zipapp_runs_on_a_python_that_has_nothing(source: Path, tmp_path: Path) -> None:
    shell(sys.executable, source / "contrib/packaging/zipapps", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES
    bare = [sys.executable, "-I", "-S"]
    for name in NAMES:
        done = subprocess.run(
            [*bare, tmp_path / name, "--no-such"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert understood(done.stdout).text.startswith("unrecognized arguments")
    # And they do their work there, each with its own folder and the kit alone; without an extra's
    # library they say what to install.
    for name in NAMES:
        done = subprocess.run([*bare, tmp_path / name], capture_output=True, text=True, check=False)
        assert (understood(done.stdout).name, done.stderr) == (name[len("check_") :].upper(), "")
        assert "internal error" not in done.stdout
    lacking = [tmp_path / "check_container_restarts", "--docker-host", "tcp://127.0.0.1:9"]
    done = subprocess.run([*bare, *lacking], capture_output=True, text=True, check=False)
    assert understood(done.stdout).state == "UNKNOWN"
    assert "apt install python3-" in done.stdout


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
    # What Bonsai would fetch, by the names that its file makes of the repository's and the tag's.
    config = yaml.safe_load((source / ".bonsai.yml").read_text())
    for build in config["builds"]:
        for field, made in (("asset_filename", asset), ("sha_filename", sums)):
            name = build[field].replace("#{repo}", "twiceshy").replace("#{version}", VERSION)
            assert name == made.name


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
        inside(host, f"test -s /usr/share/bash-completion/completions/{name}")
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
    needs("dpkg-buildpackage", "dh", "lintian")
    shell(source / "contrib/packaging/build-deb", tmp_path)
    (deb,) = tmp_path.glob("*.deb")
    # The bug that asks for the package in Debian is not filed.
    unfiled = "initial-upload-closes-no-bugs"
    shell("lintian", "--fail-on", "error,warning,info", "--suppress-tags", unfiled, deb)
    shutil.copy(deb, host.path("/mnt"))
    inside(host, f"dpkg -i /mnt/{deb.name}", DEBIAN_FRONTEND="noninteractive")
    assert_installed(host, "/usr/lib/nagios/plugins")
    depends, recommends = (shell("dpkg-deb", "-f", deb, name) for name in ("Depends", "Recommends"))
    assert re.findall(r"python3-(\w+)", depends) == ["nagiosplugin"]
    assert re.findall(r"python3-(\w+)", recommends) == ["docker", "requests"]
    # The pages open as they are, and the changelog is ours.
    inside(host, "test -s /usr/share/doc/twiceshy/docs/check_flapping.md")
    inside(host, "zgrep -q '^## 0' /usr/share/doc/twiceshy/changelog.gz")
    inside(host, "test -s /usr/share/zsh/vendor-completions/_twiceshy")
    shutil.copy(source / "contrib/packaging/debian/tests/every-check", host.path("/mnt"))
    inside(host, "/mnt/every-check")
    inside(host, "dpkg --purge twiceshy")
    assert inside(host, "ls -d /usr/bin/check_* /var/lib/twiceshy 2>/dev/null || :") == ""


def test_the_rpm_installs_and_its_files_go_again(
    host: Lab, source: Path, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("rpmbuild")
    shell(sys.executable, source / "contrib/packaging/sdist", tmp_path / "SOURCES")
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
    # Ours alone: a stranger's file on this machine is not ours to judge.
    for file in ("twiceshy-flapping", "twiceshy-log-rotation"):
        inside(host, f"visudo -c -f /etc/sudoers.d/{file}")
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
    env = {**os.environ, "PYTHONPATH": str(ROOT / "checks")}
    file.write_text(shell(sys.executable, "-m", "twiceshy", "completion", name, env=env))
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


SCRIPTS = (
    "try", "tests/run", ".ci/run", "contrib/packaging/environment.sh",
    "contrib/packaging/build-deb", "contrib/packaging/sensu-asset", "contrib/systemd/install.sh",
    "contrib/packaging/debian/tests/every-check", "contrib/packaging/debian/twiceshy.postinst",
    "contrib/packaging/debian/twiceshy.postrm",
)  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_shell_scripts_are_plain_and_without_traps(script: str, needs: Callable[..., None]) -> None:
    needs("shellcheck")
    shell("shellcheck", "--external-sources", "--shell=sh", script, cwd=ROOT)

"""The packages, built and used as a stranger would: wheel, sdist, editable, zipapp, asset, .deb."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from contract import understood

pytestmark = pytest.mark.live

NAMES = [check.stem for check in CHECKS]


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


@pytest.mark.parametrize("file", sorted((ROOT / "contrib/sudoers").iterdir()), ids=lambda f: f.name)
def test_the_sudoers_files_parse(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sudoers"
    shutil.copy(file, copy)
    copy.chmod(0o440)
    shell("/usr/sbin/visudo", "-cf", copy)

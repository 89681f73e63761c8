"""What several files say about the package must be the same."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import twiceshy
from conftest import CHECKS, ROOT, setup_cfg

PACKAGING = ROOT / "contrib/packaging"


def first(pattern: str, file: Path) -> str:
    """The first match of a pattern with one group."""
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    return found[1] if found else ""


def test_every_package_has_the_same_version() -> None:
    version = twiceshy.__version__
    assert first(r"^twiceshy \((.*)-\d+\)", PACKAGING / "debian/changelog") == version
    assert first(r"^Version: +(.*)$", PACKAGING / "rpm/twiceshy.spec") == version
    assert first(r"^## (\d.*?)(?: |$)", ROOT / "CHANGELOG.md") == version


def test_the_manual_has_one_address() -> None:
    metadata = setup_cfg()["metadata"]
    links = dict(line.split(" = ") for line in metadata["project_urls"].strip().splitlines())
    url = twiceshy.__url__
    assert 'url__ = "https://' in (ROOT / "checks/twiceshy/__init__.py").read_text()
    assert (metadata["url"], links["Homepage"], links["Documentation"]) == (url, url, url)
    assert first(r"^Homepage: (.*)$", PACKAGING / "debian/control") == url
    assert first(r"^URL: +(.*)$", PACKAGING / "rpm/twiceshy.spec") == url


def test_every_supported_python_is_declared_and_tested() -> None:
    classifiers = setup_cfg()["metadata"]["classifiers"]
    declared = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.M)
    assert declared == [f"3.{minor}" for minor in range(9, 15)]
    matrix = first(r"^ +python: \[(.*)\]$", ROOT / ".github/workflows/tests.yml")
    assert re.findall(r'"(.*?)"', matrix) == declared
    assert setup_cfg()["options"]["python_requires"] == f">={declared[0]}"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.stem)
def test_a_check_is_a_command_a_module_and_a_program(check: Path) -> None:
    short = check.stem[len("check_") :]
    scripts = setup_cfg()["options.entry_points"]["console_scripts"].splitlines()
    assert f"{check.stem} = twiceshy.{short}.program:main" in scripts
    program = ROOT / "checks/twiceshy" / short / "program.py"
    # A symlink in a checkout and in the sdist; the programs themselves are what is edited.
    assert program.resolve() == check
    assert check.stat().st_mode & stat.S_IXUSR


def test_the_ci_types_what_the_readme_says() -> None:
    steps = [
        line.split()[0]
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line.startswith(("./try", "tests/run"))
    ]
    readme = (ROOT / "README.md").read_text()
    said = [line.strip() for line in readme.splitlines() if line.strip() in ("./try", "tests/run")]
    assert steps[0] == "./try"
    assert steps[-1] == "tests/run"
    assert said == sorted(said)


def visited(tmp_path: Path, **checks: str) -> tuple[int, str]:
    """What .ci/visited says of a round of hens and eggs: texts by check, "-" does not apply."""
    rounds = {
        "checks": [
            {"name": name, "state": text.split()[0], "text": text.partition(" ")[2]}
            for name, text in checks.items()
            if text != "-"
        ],
        "not_applicable": {name: "no hens" for name, text in checks.items() if text == "-"},
    }
    (tmp_path / "rounds.json").write_text(json.dumps(rounds))
    programs = [f"checks/check_{name}.py" for name in ("eggs", "hens")]
    ran = subprocess.run(
        [sys.executable, ROOT / ".ci/visited", tmp_path / "rounds.json", *programs],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout


def test_a_finding_on_the_ci_host_is_no_failure_of_ours(tmp_path: Path) -> None:
    assert visited(tmp_path, eggs="critical 3 eggs are gone", hens="-")[0] == 0


def test_a_round_that_did_not_take_place_is(tmp_path: Path) -> None:
    assert visited(tmp_path, eggs="ok fine") == (1, ".ci/visited: hens: not in the round\n")
    status, text = visited(
        tmp_path,
        eggs="unknown internal error, please report it: KeyError",
        hens="unknown crashed: X",
    )
    assert (status, text.count("\n")) == (1, 2)

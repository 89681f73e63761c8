"""The check of docs/writing-a-check.md, as the package of somebody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, run_script
from contract import measures, understood

EXAMPLES = ROOT / "docs" / "examples"
CHECK = EXAMPLES / "check_nologin.py"
MAIN = "\n\nif __name__"


def extended(check: str, name: str, imports: str) -> str:
    """The check with another example appended, as that says in its first line."""
    head, _, tail = check.partition(MAIN)
    more = (EXAMPLES / name).read_text().split("\n", 2)[2]
    return head.replace("import time\n", f"import time\n{imports}\n", 1) + f"\n{more}{MAIN}{tail}"


def packaged(directory: Path, text: str) -> dict[str, str]:
    """An environment in which a package of somebody else holds this check."""
    directory.mkdir(parents=True)
    (directory / "check_nologin.py").write_text(text)
    meta = directory / "nologin-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: nologin\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[twiceshy.checks]\nnologin = check_nologin\n")
    path = os.pathsep.join([str(ROOT / "checks"), str(directory)])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    return packaged(tmp_path / "plain", CHECK.read_text())


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, str]:
    """The same with drill() and picture()."""
    text = extended(CHECK.read_text(), "drill_and_picture.py", "from typing import TYPE_CHECKING")
    return packaged(tmp_path / "whole", text)


def twiceshy(environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twiceshy", *args],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return run_script(CHECK, *args, env={**os.environ, "PYTHONPATH": str(ROOT / "checks")})


def refusing(directory: Path, seconds: float, words: str = "") -> Path:
    """A file that keeps people out, as old as that."""
    file = directory / "nologin"
    file.write_text(words)
    os.utime(file, (time.time() - seconds, time.time() - seconds))
    return file


# The check


def test_no_file_is_ok(tmp_path: Path) -> None:
    ran = run(f"--file={tmp_path / 'nologin'}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "NOLOGIN OK - logins are allowed | refused=0s;600;3600;0\n"


def test_a_shutdown_that_announces_itself_is_ok(tmp_path: Path) -> None:
    assert run(f"--file={refusing(tmp_path, 300)}").returncode == 0


def test_refused_for_two_hours_is_critical_with_the_words_people_see(tmp_path: Path) -> None:
    file = refusing(tmp_path, 7200, "The system is booting up.\n")
    ran = run(f"--file={file}")
    told = understood(ran.stdout)
    assert (ran.returncode, told.name, told.state) == (2, "NOLOGIN", "CRITICAL")
    assert told.text == (
        f"logins have been refused for 2h (limit 1h): {file} says The system is booting up."
    )
    assert told.long_lines == [f"Next: ls -l {file}; systemctl status systemd-user-sessions"]


def test_every_measure_is_declared(tmp_path: Path) -> None:
    (label,) = understood(run(f"--file={tmp_path / 'nologin'}").stdout).perfdata
    ((pattern, unit),) = measures(run("--help").stdout)
    assert (pattern.fullmatch(label) is not None, unit) == (True, "s")


def test_usage_errors_and_help_are_unknown() -> None:
    assert [run(*args).returncode for args in (["--nonsense"], ["--help"], ["-w", "x"])] == [3] * 3


# As a package


def test_it_makes_the_rounds(plain: dict[str, str]) -> None:
    ran = twiceshy(plain, "--json", "nologin")
    ((visit),) = json.loads(ran.stdout)["checks"]
    assert visit["name"] == "nologin"
    assert visit["state"] != "unknown", visit
    assert "refused" in json.dumps(visit)


@pytest.mark.parametrize(
    "arguments",
    [
        ("define", "nagios"),
        ("define", "icinga2"),
        ("define", "nrpe"),
        ("completion", "bash"),
        ("completion", "zsh"),
        ("man", "nologin"),
    ],
    ids=" ".join,
)
def test_definitions_completion_and_man_pages_know_it(
    plain: dict[str, str], arguments: tuple[str, ...]
) -> None:
    ran = twiceshy(plain, *arguments)
    assert (ran.returncode, "nologin" in ran.stdout, "file" in ran.stdout) == (0, True, True)


def test_its_interval_is_in_the_definitions(plain: dict[str, str]) -> None:
    service = twiceshy(plain, "define", "nagios").stdout.split("check_nologin!")[1]
    assert service.split("check_interval")[1].split()[0] == "5"


def test_its_alarms_do_not_link_to_a_manual_of_ours(plain: dict[str, str]) -> None:
    service = twiceshy(plain, "define", "nagios", "nologin").stdout
    assert "check_nologin!" in service
    assert "readthedocs" not in service


@pytest.mark.parametrize(("word", "part"), [("drill", "drill"), ("plot", "picture")])
def test_without_drill_and_picture_the_command_says_so(
    plain: dict[str, str], word: str, part: str
) -> None:
    ran = twiceshy(plain, word, "nologin")
    assert ran.returncode == 3
    assert f"check_nologin has no {part}" in ran.stderr
    assert "disk_growth" in ran.stderr  # which has one


def test_its_drill_goes_red_and_green_again(whole: dict[str, str]) -> None:
    ran = twiceshy(whole, "drill", "nologin")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "drill nologin: every check is green, and nobody can log in" in ran.stdout
    assert "says The system is going down." in ran.stdout
    assert "green again after" in ran.stdout


def test_its_picture_is_drawn(whole: dict[str, str], tmp_path: Path) -> None:
    file = refusing(tmp_path, 7200, "The system is booting up.\n")
    ran = twiceshy(whole, "plot", "nologin", str(file))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("logins refused: 1 in 1d")
    assert f"{file}: The system is booting up." in ran.stdout


def test_a_run_does_not_pay_for_drill_and_picture(whole: dict[str, str]) -> None:
    code = (
        "import sys, check_nologin\n"
        "print([name for name in sys.modules if name.endswith(('.drill', '.figures'))])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=whole, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_the_memory_remembers(tmp_path: Path) -> None:
    imports = (
        "from dataclasses import replace\nfrom typing import TYPE_CHECKING\n"
        "from twiceshy.kit import history\nfrom twiceshy.kit.history import History"
    )
    text = extended(CHECK.read_text(), "memory.py", imports)
    text = text.replace(MAIN, "\n" + (
        "for refused in (0, 60, 0):\n"
        "    from pathlib import Path\n"
        "    report = with_memory(Report(), refused, Path(sys.argv[1]))\n"
        "    print([*report.findings], report.remarks)\n"
    ) + MAIN).replace("import os\n", "import os\nimport sys\n", 1)  # fmt: skip
    environment = packaged(tmp_path / "remembering", text)
    ran = subprocess.run(
        [sys.executable, "-c", "import check_nologin", str(tmp_path / "history")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.splitlines() == [
        "[] ['0 earlier runs found logins refused']",
        "[] ['0 earlier runs found logins refused']",
        "[] ['1 earlier run found logins refused']",
    ]

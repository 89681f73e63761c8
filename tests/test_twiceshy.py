"""What goes with the rounds: history, metrics, completion and man pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from test_definitions import declared
from twiceshy.command import completion, metrics
from twiceshy.command import manpage as manual
from twiceshy.command.commands import COMMANDS
from twiceshy.command.rounds import Perfdatum, Visit
from twiceshy.kit import history
from twiceshy.kit.plugin import OK, WARNING
from twiceshy.kit.stamps import Stamp

AT = Stamp("boot", 1000.0, 1_800_000_000.0)


def twiceshy(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twiceshy", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT / "checks")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_its_help(word: str) -> None:
    ran = twiceshy(word, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("usage: twiceshy")


# history


@pytest.fixture
def remembered() -> None:
    """A check that remembers two hens, one of them in a table of its own too."""
    tables = "CREATE TABLE IF NOT EXISTS egg (hen TEXT /* subject */, laid REAL, picture BLOB);"
    with history.History.open("hens", tables=tables) as kept:
        kept.remember("berta", 1, AT)
        kept.remember("berta", 2, AT)
        kept.write_note("agnes", {"age": 3}, AT)
        kept.defer("INSERT INTO egg VALUES ('agnes', 1.5, x'0011')")
        assert kept.save() is None


@pytest.mark.usefixtures("remembered")
def test_history_lists_what_is_remembered_and_how_big_it_is() -> None:
    ran = twiceshy("history")
    first, second = ran.stdout.splitlines()
    assert first.endswith("KiB")
    assert second.split()[0] == "hens"
    assert "2 subjects       4 rows" in second


@pytest.mark.usefixtures("remembered")
def test_history_shows_subjects_and_one_of_them() -> None:
    assert twiceshy("history", "show", "check_hens").stdout.split() == (
        ["2", "rows", "agnes", "2", "rows", "berta"]
    )
    assert twiceshy("history", "show", "hens", "agnes").stdout.splitlines() == [
        'egg: {"hen": "agnes", "laid": 1.5, "picture": "2 bytes"}',
        'note: {"subject": "agnes", "boot": "boot", "uptime": 1000.0, "wall": 1800000000.0, '
        '"value": "{\\"age\\": 3}"}',
    ]


@pytest.mark.usefixtures("remembered")
def test_a_subject_is_forgotten_in_every_table_and_no_other() -> None:
    assert twiceshy("history", "forget", "hens", "agnes").stdout == "hens forgot 2 rows of agnes\n"
    assert twiceshy("history", "show", "hens").stdout.split() == ["2", "rows", "berta"]


def test_a_filesystem_is_called_by_its_mount_point() -> None:
    columns = "key TEXT /* subject */, point TEXT /* alias */"
    tables = f"CREATE TABLE IF NOT EXISTS filesystem ({columns});"
    with history.History.open("disk_growth", tables=tables) as kept:
        kept.defer("INSERT INTO filesystem VALUES ('ext4:1', '/srv')")
        assert kept.save() is None
    shown = twiceshy("history", "show", "disk_growth").stdout
    assert shown == "        1 row  ext4:1 (/srv)\n"
    assert "forgot 1 row of" in twiceshy("history", "forget", "disk_growth", "/srv").stdout


@pytest.mark.usefixtures("remembered")
def test_all_is_forgotten_only_when_it_is_said() -> None:
    assert twiceshy("history", "forget", "hens").returncode == 3
    assert twiceshy("history", "forget", "hens", "--all").stdout == "hens forgot 4 rows\n"


@pytest.mark.parametrize("args", [("show", "ducks"), ("show", "../hens"), ("show", "hens", "x")])
@pytest.mark.usefixtures("remembered")
def test_what_nothing_is_remembered_of_is_said(args: tuple[str, ...]) -> None:
    ran = twiceshy("history", *args)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("twiceshy: ")


# metrics


def test_metrics_are_the_rounds_in_prometheus_words() -> None:
    numbers = (
        Perfdatum("hens", 3.0, "", ("2", "@1:5", "0", "")),
        Perfdatum("age", 0.25, "s", ("", "", "", "")),
    )
    found = [
        Visit("hens", WARNING, "a fox", perfdata=numbers, seconds=0.5, cpu_seconds=0.1),
        Visit("ducks", None, "no pond"),
    ]
    lines = metrics.exposition(found, 1_800_000_000.0).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'twiceshy_check_status{check="hens"} 1',
        'twiceshy_check_applies{check="ducks"} 0',
        'twiceshy_check_applies{check="hens"} 1',
        'twiceshy_check_duration_seconds{check="hens"} 0.5',
        'twiceshy_check_cpu_seconds{check="hens"} 0.1',
        'twiceshy_perfdata{check="hens",label="hens",uom=""} 3',
        'twiceshy_perfdata{check="hens",label="age",uom="s"} 0.25',
        'twiceshy_perfdata_limit{check="hens",label="hens",uom="",limit="warning"} 2',
        'twiceshy_perfdata_limit{check="hens",label="hens",uom="",limit="minimum"} 0',
        "twiceshy_rounds_timestamp_seconds 1800000000",
        'twiceshy_info{version="0.1.0"} 1',
    ]


def test_promtool_agrees_where_there_is_one(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine")
    text = metrics.exposition([Visit("hens", OK, "", seconds=0.5)], 1.0)
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_metrics_replace_their_file_at_once(tmp_path: Path) -> None:
    target = tmp_path / "twiceshy.prom"
    target.write_text("old")
    name = CHECKS[0].stem[len("check_") :] if CHECKS else ""
    if not name:
        pytest.skip("no check in this checkout")
    assert twiceshy("metrics", "--write", str(target), name).returncode == 0
    assert "twiceshy_rounds_timestamp_seconds" in target.read_text()
    assert [file.name for file in tmp_path.iterdir() if "prom" in file.name] == ["twiceshy.prom"]
    assert target.stat().st_mode & 0o777 == 0o644


# completion


PROGRAMS = {"check_hens": declared().options}
WORDS = {"rounds": (), "define": declared().options, "drill": ()}


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers after these words."""
    script = tmp_path / "completion"
    script.write_text(completion.bash(PROGRAMS, WORDS, ["hens", "ducks"]))
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f". {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _twiceshy; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash on this machine")
def test_bash_completes_options_values_and_commands(tmp_path: Path) -> None:
    assert completed(tmp_path, "check_hens", "--co") == ["--count-eggs"]
    assert completed(tmp_path, "/usr/bin/check_hens.py", "--breed", "") == ["red", "white"]
    assert completed(tmp_path, "check_hens", "--warning", "") == []
    assert completed(tmp_path, "twiceshy", "de") == ["define"]
    assert completed(tmp_path, "twiceshy", "define", "--bre") == ["--breed"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_scripts_are_syntactically_right(shell: str) -> None:
    text = twiceshy("completion", shell).stdout
    assert "check_" in text or not CHECKS
    if shutil.which(shell):
        ran = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")


# man pages


def test_a_man_page_has_its_sections_and_every_option() -> None:
    check = declared()
    page = manual.page("check_hens", check.question, check.usage, check.manual, check.options)
    titles = [line for line in page.splitlines() if line.startswith((".TH", ".SH"))]
    assert titles == [
        '.TH CHECK_HENS 1 "" "twiceshy 0.1.0" "Monitoring plugins"',
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH DESCRIPTION",
        ".SH OPTIONS",
    ]
    assert all(f"\\fB{flag}\\fR".replace("-", "\\-") in page for flag in ("--warning", "--breed"))
    assert "the fox\\(aqs too?" in page


def test_parts_of_the_manual_become_sections_and_stay_as_they_are_laid_out() -> None:
    page = manual.page("c", "?", "usage: c", "?\n\nA word: two.\n\nSays:\n  OK   fine\n  .bad", ())
    assert '.SH "SAYS"\n.nf\nOK   fine\n\\&.bad\n.fi\n' in page
    assert "A word: two." in page


@pytest.mark.parametrize("name", ["twiceshy", *(check.stem for check in CHECKS)])
def test_man_pages_are_right_in_the_eyes_of_groff(name: str) -> None:
    page = twiceshy("man", name).stdout
    assert page.startswith(".TH ")
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff on this machine")
    ran = subprocess.run(
        [groff, "-man", "-Tascii", "-ww", "-z"],
        input=page, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")

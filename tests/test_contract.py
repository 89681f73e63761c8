"""The contract that every script keeps, held by running each as a process.

Scripts are found in checks/; a new one is held to it without a line here.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import completeness
from conftest import CHECKS, ROOT, run_script
from contract import STATES, Case, measures, section, understood

SCRIPTS = pytest.mark.parametrize("script", CHECKS, ids=lambda path: path.stem)


def with_option(option: str) -> list[Path]:
    """The scripts that take an option, and those that cannot say so: their tests fail, no others.

    Looked for before any test runs, so that a script which cannot be imported must not raise here.
    """
    found = []
    for script in CHECKS:
        try:
            made = importlib.import_module(f"twiceshy.{script.stem[6:]}.program").options()
            has_it = any(option in action.option_strings for action in made._actions)
        except Exception:  # noqa: BLE001
            has_it = True
        if has_it:
            found.append(script)
    return found


# Those that wait for somebody; the others say NEVER_WAITS and why in their test file.
WAITING = pytest.mark.parametrize(
    "script",
    [file for file in CHECKS if completeness.never_waits(ROOT, file.stem[6:]) is None],
    ids=lambda path: path.stem,
)


def case(script: Path, which: str, tmp_path: Path) -> Case:
    """The case of a script, from its test file; without one, the test fails and says so."""
    for sentence in completeness.lacks_case(ROOT, script.stem[6:], which):
        pytest.fail(sentence, pytrace=False)
    made: Case = getattr(importlib.import_module(f"test_{script.stem}"), which)(tmp_path)
    return made


def ran(script: Path, made: Case, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_script(script, *made.args, *more, env={**os.environ, **made.env, **env})


def forked(script: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A run that ends in its options, in a forked child: Python and the libraries are there."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout, sys.argv = os.fdopen(1, "w"), [str(script), *args]
                sys.path.insert(0, str(script.parent))
                runpy.run_path(str(script), run_name="__main__")
            except SystemExit as left:
                status = left.code if isinstance(left.code, int) else 1
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([str(script), *args], status, out.read(), err.read())


def doc(script: Path) -> str:
    return ast.get_docstring(ast.parse(script.read_text())) or ""


def name(script: Path) -> str:
    return script.stem[len("check_") :].upper()


@SCRIPTS
@pytest.mark.parametrize(
    "args",
    [["--no-such-option"], ["--versio"], ["--verbos"], ["-t"], ["-t", "five"], ["-t", "-1s"]],
    ids=" ".join,
)
def test_wrong_usage_is_unknown_and_one_line_on_stdout(script: Path, args: list[str]) -> None:
    done = forked(script, *args)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    told = understood(done.stdout)
    assert (told.name, told.state) == (name(script), "UNKNOWN")
    assert told.text.endswith(f"(try {script.stem} --help)")


@pytest.mark.parametrize("script", with_option("--warning"), ids=lambda path: path.stem)
@pytest.mark.parametrize("bound", ["x", "", "9:1", "1e3", "nan"])
def test_a_bad_range_is_unknown_and_named(script: Path, bound: str) -> None:
    done = forked(script, "-w", bound)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    assert "argument -w/--warning: " in understood(done.stdout).text


@SCRIPTS
@pytest.mark.parametrize("option", ["--help", "-h", "--version", "-V"])
def test_help_and_version_must_not_look_green(script: Path, option: str) -> None:
    done = forked(script, option)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.strip()


@SCRIPTS
def test_help_is_the_manual(script: Path) -> None:
    text = forked(script, "--help").stdout
    manual = doc(script)
    assert manual.splitlines()[0].endswith("?")
    for title in ("Learned from", "Reads", "Remembers", "Says", "Measures"):
        assert re.search(rf"^{title}:", manual, re.MULTILINE), f"no {title} in the docstring"
    for line in manual.splitlines():
        assert line in text
    states = [line.split()[0] for line in section(manual, "Says") if line[:1].strip()]
    assert set(states) == set(STATES)


@SCRIPTS
def test_an_ordinary_run_is_understood_by_every_consumer(script: Path, tmp_path: Path) -> None:
    for more in ([], ["-v"]):
        done = ran(script, case(script, "contract_case", tmp_path), *more)
        told = understood(done.stdout)
        assert done.stderr == ""
        assert (told.name, STATES[told.state]) == (name(script), done.returncode)
        assert "internal error" not in told.text
        assert len(done.stdout.encode()) < (8192 if more else 1024)
        declared = measures(doc(script))
        for label, (_, uom) in told.perfdata.items():
            assert any(pattern.fullmatch(label) and uom == unit for pattern, unit in declared), (
                f"{label} in {uom or 'no unit'} is not in the manual's Measures"
            )


@SCRIPTS
def test_it_runs_through_a_symlink_in_a_plugin_directory(script: Path, tmp_path: Path) -> None:
    link = tmp_path / script.stem
    link.symlink_to(script)
    made = case(script, "contract_case", tmp_path)
    direct = ran(script, made)
    assert ran(link, made).returncode == direct.returncode
    assert os.access(script, os.X_OK)


@SCRIPTS
def test_a_missing_library_is_unknown_with_its_name(script: Path, tmp_path: Path) -> None:
    made = case(script, "contract_case", tmp_path)
    for library in ("nagiosplugin", *made.libraries):
        blocked = tmp_path / f"without-{library}"
        blocked.mkdir()
        (blocked / f"{library}.py").write_text(
            f"raise ModuleNotFoundError({library!r}, name={library!r})\n"
        )
        done = ran(script, made, PYTHONPATH=str(blocked))
        told = understood(done.stdout)
        assert (told.state, done.returncode, done.stderr) == ("UNKNOWN", 3, "")
        assert f"python library {library} is missing: apt install python3-{library}" in done.stdout


@WAITING
def test_a_side_that_hangs_ends_within_the_timeout(script: Path, tmp_path: Path) -> None:
    made = case(script, "hanging_case", tmp_path)
    began = time.monotonic()
    done = ran(script, made, "-t", "2s")
    seconds = time.monotonic() - began
    told = understood(done.stdout)
    # UNKNOWN where the check itself was cut short; CRITICAL where the watched thing hangs.
    assert told.state in ("UNKNOWN", "CRITICAL")
    assert done.returncode == STATES[told.state]
    assert done.stderr == ""
    assert seconds < 6, f"took {seconds:.1f}s with -t 2s"


@WAITING
def test_sigterm_leaves_one_unknown_line(script: Path, tmp_path: Path) -> None:
    made = case(script, "hanging_case", tmp_path)
    process = subprocess.Popen(
        [sys.executable, str(script), *made.args, "-t", "30s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **made.env},
    )
    for _ in range(500):  # until the wake-up thread is there
        if len(os.listdir(f"/proc/{process.pid}/task")) > 1:
            break
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    told = understood(out)
    assert (told.state, process.returncode, err, out.count("\n")) == ("UNKNOWN", 3, "", 1)
    assert told.text.startswith("ended by SIGTERM")


@SCRIPTS
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_check_that_cannot_speak_is_unknown(
    script: Path, tmp_path: Path, redirection: str
) -> None:
    made = case(script, "contract_case", tmp_path)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, str(script), *made.args],
        capture_output=True,
        text=True,
        env={**os.environ, **made.env},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@SCRIPTS
def test_the_environment_may_be_bare(script: Path, tmp_path: Path) -> None:
    made = case(script, "contract_case", tmp_path)
    kept = {key: os.environ[key] for key in ("TWICESHY_STATE_DIR", "PATH") if key in os.environ}
    done = run_script(script, *made.args, env={**kept, **made.env, "LANG": "C", "LC_ALL": "C"})
    assert done.stderr == ""
    assert understood(done.stdout).state == understood(ran(script, made).stdout).state


@pytest.mark.parametrize("script", with_option("--state-dir"), ids=lambda path: path.stem)
@pytest.mark.parametrize("how", ["read-only", "another user's", "symlink"])
def test_a_state_directory_that_cannot_be_trusted_is_said(
    script: Path, tmp_path: Path, how: str
) -> None:
    made = case(script, "contract_case", tmp_path)
    place = tmp_path / "place"
    if how == "symlink":
        (tmp_path / "real").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "real")
    elif how == "another user's":
        if os.geteuid() != 0:
            pytest.skip("chown needs root")
        place.mkdir(mode=0o700)
        os.chown(place, 12345, 12345)
    else:
        # Root may write anywhere but here.
        place = Path("/proc/sys/twiceshy")
    done = ran(script, made, "--state-dir", str(place))
    assert done.stderr == ""
    told = understood(done.stdout)
    assert done.returncode in (1, 2, 3)
    said = [line for line in [told.text, *told.long_lines] if "history" in line]
    assert len(said) == 1
    assert "state directory" in said[0]


@SCRIPTS
def test_heavy_libraries_are_imported_only_where_they_are_used(
    script: Path, tmp_path: Path
) -> None:
    made = case(script, "contract_case", tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(script), *made.args],
        capture_output=True,
        text=True,
        env={**os.environ, **made.env},
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nagiosplugin" in imported
    for library in ("requests", "docker", "psutil", "yaml", "matplotlib"):
        assert library not in imported or library in made.libraries, f"{library} was imported"

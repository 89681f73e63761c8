"""contrib/ against the code: what is generated is up to date, what is written by hand is whole."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from contract import measures, section

CONTRIB = ROOT / "contrib"
CONSUMERS = ("nagios", "icinga2", "sensu", "nrpe", "checkmk", "zabbix", "prometheus", "systemd")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("contrib")
    subprocess.run([sys.executable, CONTRIB / "generate", target], check=True, capture_output=True)
    return {
        str(file.relative_to(target)): file.read_text()
        for file in target.rglob("*")
        if file.is_file()
    }


def test_what_is_generated_is_up_to_date(generated: dict[str, str]) -> None:
    stale = [
        name
        for name, text in generated.items()
        if not (CONTRIB / name).exists() or (CONTRIB / name).read_text() != text
    ]
    assert stale == [], "run contrib/generate"


def generate(*args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, CONTRIB / "generate", *args]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_generate_names_what_it_has_changed_only(tmp_path: Path) -> None:
    first = generate(str(tmp_path)).stdout.splitlines()
    assert str(tmp_path / "cron/twiceshy") in first
    (tmp_path / "cron/twiceshy").write_text("old")
    total = len(first) - 1
    for args, word, status in (["--check"], "out of date", 1), ([], "changed", 0):
        ran = generate(*args, str(tmp_path))
        assert ran.returncode == status
        assert ran.stdout == f"{tmp_path / 'cron/twiceshy'}\n1 of {total} files {word}\n"
    assert generate("--check", str(tmp_path)).stdout == f"0 of {total} files out of date\n"


def test_generate_refuses_what_it_does_not_know() -> None:
    assert generate("--nonsense").returncode == 2
    assert "usage: contrib/generate" in generate("--help").stdout


@pytest.mark.parametrize("is_there", [True, False])
def test_generate_finds_a_python_that_has_the_library(tmp_path: Path, is_there: bool) -> None:
    copy, python = tmp_path / "contrib/generate", tmp_path / ".venvs/tests/bin/python"
    copy.parent.mkdir()
    shutil.copy(CONTRIB / "generate", copy)
    if is_there:
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\necho "went on with $2"\n')
        python.chmod(0o755)
    argv = [sys.executable, "-S", copy, "--check"]  # -S: without installed libraries
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if is_there:
        assert ran.stdout == "went on with --check\n"
    else:
        assert (ran.returncode, "tests/run fast" in ran.stderr) == (1, True)


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("check", [check.stem for check in CHECKS])
def test_every_consumer_has_a_definition_of_every_check(
    generated: dict[str, str], consumer: str, check: str
) -> None:
    assert any(check in text for name, text in generated.items() if name.startswith(f"{consumer}/"))


def test_the_dashboard_shows_every_measure_once(generated: dict[str, str]) -> None:
    panels = json.loads(generated["grafana/twiceshy.json"])["panels"]
    shown = [panel for panel in panels if panel["type"] == "timeseries"]
    declared = 0
    for check in CHECKS:
        declared += len(measures(ast.get_docstring(ast.parse(check.read_text())) or ""))
    assert len(shown) == declared
    places = [tuple(sorted(panel["gridPos"].items())) for panel in panels]
    assert len(set(places)) == len(places)


def graphed(target: str, paths: set[str]) -> set[str]:
    """What Graphite finds of the paths: a `*` is of one node, and exclude() leaves out again."""
    globs = re.findall(r"icinga2\.[^,()]+", target)
    left_out = re.search(r"exclude\(group\(.*?\), '(.*?)'\)", target)
    return {
        path
        for path in paths
        if any(re.fullmatch(re.escape(glob).replace(r"\*", "[^.]*"), path) for glob in globs)
        and not (left_out and re.search(left_out[1], path))
    }


def test_a_panel_shows_its_measure_of_every_subject_and_no_other(
    generated: dict[str, str],
) -> None:
    """Icinga's GraphiteWriter leaves the dots of a label in the path."""
    panels = json.loads(generated["grafana/twiceshy.json"])["panels"]
    targets = [panel["targets"][0]["target"] for panel in panels if panel["type"] == "timeseries"]
    for check in CHECKS:
        doc = ast.get_docstring(ast.parse(check.read_text())) or ""
        labels = [line.split()[0] for line in section(doc, "Measures") if line[:1] != " "]
        base = f"icinga2.$host.services.db.{check.stem}.perfdata"
        written = {
            label: {
                f"{base}.{re.sub('[A-Z]{2,}', subject, label)}.value"
                for subject in ("web", "runit.web", "cfg1.dc.eu.example.org")
            }
            for label in labels
        }
        everything = set().union(*written.values())
        for label in labels:
            assert graphed(targets.pop(0), everything) == written[label], label
    assert targets == []


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on this machine")
def test_prometheus_takes_the_rules(generated: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(generated["prometheus/rules/twiceshy.yml"])
    checked = [shutil.which("promtool"), "check", "rules", tmp_path / "rules.yml"]
    ran = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert (ran.returncode, "rules found" in ran.stdout) == (0, True), ran.stderr


@pytest.mark.parametrize(
    "script",
    [CONTRIB / "generate", CONTRIB / "new-check", *sorted((CONTRIB / "packaging").glob("*[!.]*"))],
)
def test_scripts_can_be_run(script: Path) -> None:
    if script.is_file() and script.read_bytes().startswith(b"#!"):
        assert os.access(script, os.X_OK)

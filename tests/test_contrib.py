"""contrib/ against the code: what is generated is up to date, what is written by hand is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from contract import measures

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
        import ast

        declared += len(measures(ast.get_docstring(ast.parse(check.read_text())) or ""))
    assert len(shown) == declared
    places = [tuple(sorted(panel["gridPos"].items())) for panel in panels]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    "script", [CONTRIB / "generate", *sorted((CONTRIB / "packaging").glob("*[!.]*"))]
)
def test_scripts_can_be_run(script: Path) -> None:
    if script.is_file():
        assert os.access(script, os.X_OK)

"""The house keeps its rules; and each rule finds what breaks it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import pytest

import house
from conftest import CHECKS, ROOT, setup_cfg

Rule = Callable[[Path], "list[str]"]
RULES: tuple[Rule, ...] = house.RULES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    assert rule(ROOT / "checks") == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A house of one check, which keeps every rule."""
    checks = tmp_path / "checks"
    folder = checks / "twiceshy" / "lamp"
    folder.mkdir(parents=True)
    (checks / "check_lamp.py").write_text(
        "from twiceshy.lamp.judgement import judged\n"
        "def options(): ...\ndef plan(args): ...\ndef main(): ...\n"
    )
    (folder / "program.py").symlink_to("../../check_lamp.py")
    (folder / "__init__.py").write_text("")
    (folder / "settings.py").write_text("class Settings: ...\n")
    (folder / "observation.py").write_text("import os\nfrom twiceshy.kit import history\n")
    (folder / "judgement.py").write_text("from twiceshy.kit.verdict import Finding\njudged = 1\n")
    (folder / "report.py").write_text("from twiceshy.lamp.judgement import judged\n")
    for room in ("kit", "command"):
        (checks / "twiceshy" / room).mkdir()
        (checks / "twiceshy" / room / "__init__.py").write_text("")
    for name in ("verdict", "history", "plugin"):
        (checks / "twiceshy" / "kit" / f"{name}.py").write_text("")
    (checks / "twiceshy" / "__init__.py").write_text("")
    return checks


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_small_house_keeps_them_too(rule: Rule, small: Path) -> None:
    assert rule(small) == []


@pytest.mark.parametrize(
    ("rule", "file", "text", "complaint"),
    [
        (house.upward_imports, "kit/verdict.py", "import twiceshy.lamp.report\n", "the kit"),
        (house.upward_imports, "kit/verdict.py", "def f():\n import twiceshy.command\n", "kit"),
        (house.upward_imports, "command/x.py", "from twiceshy.lamp import report\n", "by name"),
        (house.upward_imports, "lamp/report.py", "from twiceshy.command import x\n", "neither"),
        (house.upward_imports, "lamp/report.py", "from . import program\n", "its own program"),
        (house.circles, "lamp/judgement.py", "from . import report\njudged = 1\n", " -> "),
        (house.doors_to_nagiosplugin, "lamp/report.py", "import nagiosplugin.state\n", "one door"),
        (house.heavy_at_import, "lamp/observation.py", "import requests\n", "at its top"),
        (house.impure_judgements, "lamp/judgement.py", "def f():\n import time\n", "imports time"),
        (house.impure_judgements, "lamp/report.py", "from . import observation\n", "imports os"),
        (house.impure_judgements, "lamp/report.py", "from twiceshy.kit import history\n", "I/O"),
        (house.impure_judgements, "lamp/report.py", "import sys\nx = sys.argv\n", "sys.argv"),
        (house.parsers_with_io, "lamp/report.py", "def parse_x(p):\n return open(p)\n", "open()"),
        (house.untyped_settings, "lamp/report.py", "def f(a: Namespace): ...\n", "f takes"),
        (house.unwieldy_functions, "lamp/report.py", "def f():\n" + " x = 1\n" * 80, "81 lines"),
        (house.unwieldy_functions, "kit/verdict.py", "def f(a,b,c,d,e,f,g,h,i): ...\n", "9 param"),
        (house.deciding_sentences, "lamp/judgement.py", "x = 'no more' in y\n", "no more"),
        (house.deciding_sentences, "lamp/report.py", "x = a.text.startswith('x')\n", "startswith"),
        (house.deciding_sentences, "lamp/history.py", "x = 'full' in str(error)\n", "full"),
        (house.deciding_sentences, "lamp/report.py", "import re\nre.match('a', b.text)\n", "re."),
        (house.deciding_sentences, "lamp/report.py", "x = dead.endswith('next boot')\n", "next"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)  # fmt: skip
def test_a_rule_finds_what_breaks_it(
    rule: Rule, file: str, text: str, complaint: str, small: Path
) -> None:
    (small / "twiceshy" / file).write_text(text)
    house.modules.cache_clear()
    (found, *_) = rule(small)
    assert complaint in found


def test_a_part_that_is_missing_is_named(small: Path) -> None:
    (small / "twiceshy/lamp/report.py").unlink()
    (small / "twiceshy/lamp/program.py").unlink()
    shutil.copy(small / "check_lamp.py", small / "twiceshy/lamp/program.py")
    assert house.missing_parts(small) == [
        "check_lamp has no twiceshy/lamp/report.py",
        "check_lamp: ln -s ../../check_lamp.py checks/twiceshy/lamp/program.py",
    ]


def test_a_class_that_stands_in_two_rooms_is_named(small: Path) -> None:
    (small / "twiceshy/kit/verdict.py").write_text("class Seen: ...\n")
    (small / "twiceshy/lamp/report.py").write_text("class Seen: ...\n")
    assert house.names_with_two_meanings(small) == ["class Seen stands in kit, lamp"]


def test_the_version_is_a_literal_in_one_place() -> None:
    assert '__version__ = "' in (ROOT / "checks/twiceshy/__init__.py").read_text()
    assert setup_cfg()["metadata"]["version"] == "attr: twiceshy.__version__"


def test_every_check_is_packaged() -> None:
    scripts = setup_cfg()["options.entry_points"]["console_scripts"].split("\n")
    for check in CHECKS:
        name = check.stem[len("check_") :]
        assert f"{check.stem} = twiceshy.{name}.program:main" in scripts

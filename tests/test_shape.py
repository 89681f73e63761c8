"""Who may know whom, read off the syntax trees."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT, setup_cfg

KIT = sorted((ROOT / "checks" / "twiceshy").rglob("*.py"))
ALL = [*CHECKS, *KIT]
FILES = pytest.mark.parametrize(
    "file", ALL, ids=lambda path: str(path.relative_to(ROOT / "checks"))
)
HEAVY = {"psutil", "requests", "docker", "yaml", "matplotlib", "numpy"}
SUBJECTS = ("supervisors", "monitors", "logrotate")
# Format parsers: text in, values out. Beside them, these few of their package ask the host.
PURE = ("twiceshy/logrotate/", "twiceshy/config/")
ASKING = {f"logrotate/{name}.py" for name in ("host", "others", "schedule", "turns", "writers")}
FORBIDDEN_IN_PURE = {"subprocess", "socket", "sqlite3", "urllib", "http", "requests", "docker"}


def imports(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in a tree, as dotted names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def at_import_time(tree: ast.Module) -> set[str]:
    """The modules that are imported when the file is, leaving out those inside functions."""
    outside = ast.Module(list(tree.body), [])
    for node in ast.walk(outside):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            node.body = []  # type: ignore[assignment]
    return imports(outside)


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@FILES
def test_nobody_imports_a_check(file: Path) -> None:
    names = {check.stem for check in CHECKS} - {file.stem}
    assert {name.split(".")[0] for name in imports(tree(file))} & names == set()


@FILES
def test_only_the_door_imports_nagiosplugin(file: Path) -> None:
    if file.name != "plugin.py":
        assert not any(name.split(".")[0] == "nagiosplugin" for name in imports(tree(file)))


@FILES
def test_heavy_libraries_are_imported_inside_functions(file: Path) -> None:
    assert {name.split(".")[0] for name in at_import_time(tree(file))} & HEAVY == set()


def test_units_knows_the_standard_library_alone() -> None:
    names = {name.split(".")[0] for name in imports(tree(ROOT / "checks/twiceshy/units.py"))}
    assert names <= set(getattr(sys, "stdlib_module_names", names))
    assert "twiceshy" not in names


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("limits", ("verdict", "history", "options", "deadline", "aside", *SUBJECTS)),
        ("plugin", ("limits", "verdict", "history", "options", "deadline", "aside", *SUBJECTS)),
        ("verdict", ("options", "history", *SUBJECTS)),
        ("deadline", ("verdict", "options", "history", *SUBJECTS)),
        ("aside", ("verdict", "options", "history", *SUBJECTS)),
        ("history", ("options", *SUBJECTS)),
        ("options", ("history", *SUBJECTS)),
    ],
)
def test_the_lower_does_not_know_the_higher(lower: str, higher: tuple[str, ...]) -> None:
    known = imports(tree(ROOT / f"checks/twiceshy/{lower}.py"))
    assert known & {f"twiceshy.{name}" for name in higher} == set()


@FILES
def test_a_format_parser_does_no_io(file: Path) -> None:
    if not any(part in str(file) for part in PURE) or "/".join(file.parts[-2:]) in ASKING:
        return
    parsed = tree(file)
    assert {name.split(".")[0] for name in imports(parsed)} & FORBIDDEN_IN_PURE == set()
    calls = {
        node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        for node in ast.walk(parsed)
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute))
    }
    assert (
        calls & {"open", "read_text", "read_bytes", "listdir", "scandir", "stat", "lstat"} == set()
    )


CHECK_FILES = pytest.mark.parametrize("file", CHECKS, ids=lambda path: path.stem)


@CHECK_FILES
def test_every_check_has_the_same_four_parts_in_the_same_order(file: Path) -> None:
    text = file.read_text()
    places = [
        text.find(title)
        for title in ('"""', "# What is seen", "# What it means", "# How it is told")
    ]
    assert -1 not in places
    assert places == sorted(places)
    functions = {node.name for node in tree(file).body if isinstance(node, ast.FunctionDef)}
    assert {"options", "plan", "main"} <= functions


@CHECK_FILES
def test_every_check_is_packaged_and_found_by_the_rounds(file: Path) -> None:
    config = setup_cfg()
    short = file.stem[len("check_") :]
    assert file.stem in config["options"]["py_modules"].split()
    entry_points = config["options.entry_points"]
    assert f"{file.stem} = {file.stem}:main" in entry_points["console_scripts"].splitlines()
    assert f"{short} = {file.stem}" in entry_points["twiceshy.checks"].splitlines()


@CHECK_FILES
def test_every_check_has_its_tests_and_its_section_in_the_readme(file: Path) -> None:
    assert (ROOT / "tests" / f"test_{file.stem}.py").exists()
    assert f"\n## {file.stem}\n" in (ROOT / "README.md").read_text()


def test_the_version_is_a_literal_in_one_place() -> None:
    assert '__version__ = "' in (ROOT / "checks/twiceshy/__init__.py").read_text()
    assert setup_cfg()["metadata"]["version"] == "attr: twiceshy.__version__"

"""What is declared is imported, and what is imported is declared, read off the syntax trees.

A dependency that nothing imports costs every monitored host a package for nothing; an import that
nothing declares fails on the one host that has not got it.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from conftest import ROOT, setup_cfg

# What a distribution is called when it is imported, where that is another name.
MODULE_OF = {"pyyaml": "yaml"}
# The extra that a part of the package takes its libraries from. What has none of its own must do
# with install_requires.
EXTRA_OF = {
    "twiceshy.container_restarts": "containers",
    "twiceshy.config_freshness": "config",
    "twiceshy.command.plot": "plot",
    # Shared: check_log_rotation asks an engine for its logs where one runs, and says what it lacks.
    "twiceshy.kit.engine": "containers",
}
FOR_DEVELOPERS = {"test", "lint", "docs", "all"}
# In the standard library of later versions than the oldest that we run on.
LATER = {"tomllib"}


@dataclass(frozen=True)
class Use:
    """An import of a library, and the module that has it."""

    name: str
    module: str


def required(lines: str) -> set[str]:
    """Names of the distributions in requirement lines, as they are imported."""
    names = (re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in lines.splitlines())
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names if name}


def is_standard(name: str) -> bool:
    """Whether a top-level module comes with Python."""
    if name in LATER or name in sys.builtin_module_names:
        return True
    known = getattr(sys, "stdlib_module_names", None)  # from Python 3.10 on
    if known is not None:
        return name in known
    library = Path(sysconfig.get_paths()["stdlib"])
    files = (*library.glob(f"{name}.*"), *(library / "lib-dynload").glob(f"{name}.*"))
    return bool(files) or (library / name).is_dir()


@cache
def parsed(file: Path, changed: int) -> ast.Module:
    """The tree of a file, read once as long as it has not `changed` (mtime in nanoseconds)."""
    return ast.parse(file.read_text())


def modules(checks: Path) -> dict[str, ast.Module]:
    """Every module below checks/twiceshy by its dotted name."""
    found = {}
    for file in sorted((checks / "twiceshy").rglob("*.py")):
        parts = file.relative_to(checks).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = parsed(file, file.stat().st_mtime_ns)
    return found


def packages(checks: Path) -> set[str]:
    """Which of them are packages."""
    inits = (checks / "twiceshy").rglob("__init__.py")
    return {".".join(file.parent.relative_to(checks).parts) for file in inits}


def _constants(tree: ast.Module, node: ast.expr) -> list[str]:
    """The strings that an argument can be: a literal, or a name that a loop takes from literals."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.Name):
        return []
    return [
        element.value
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For)
        and isinstance(loop.target, ast.Name)
        and loop.target.id == node.id
        and isinstance(loop.iter, (ast.Tuple, ast.List))
        for element in loop.iter.elts
        if isinstance(element, ast.Constant) and isinstance(element.value, str)
    ]


@cache
def imported(name: str, tree: ast.Module, is_package: bool) -> tuple[str, ...]:
    """Every module that is imported anywhere in one, absolute, also by its name as a string."""
    here = name.split(".") if is_package else name.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found += (source, *(f"{source}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in ("import_module", "require"):
                found += _constants(tree, node.args[0])
    return tuple(found)


@cache
def dotted(tree: ast.Module) -> tuple[str, ...]:
    """Strings that may be modules by their names, as in the table of commands."""
    return tuple(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value
    )


@cache
def _goes_by_name(tree: ast.Module) -> bool:
    """Whether a module imports others by a name that is made at run time."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("import_module", "iter_modules")
        and not (node.args and _constants(tree, node.args[0]))
        for node in ast.walk(tree)
    )


def reachable(checks: Path, starts: set[str]) -> set[str]:
    """The modules that are imported, sooner or later, by what starts in these."""
    trees, inside = modules(checks), packages(checks)
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name in found or name not in trees:
            continue
        found.add(name)
        tree = trees[name]
        waiting += imported(name, tree, name in inside)
        waiting += dotted(tree)
        waiting.append(name.rpartition(".")[0])
        if _goes_by_name(tree):
            folder = name if name in inside else name.rpartition(".")[0]
            waiting += [other for other in trees if other.startswith(f"{folder}.")]
    return found


def uses(checks: Path, starts: set[str]) -> set[Use]:
    """Every import of a library on a path that starts there."""
    trees, inside = modules(checks), packages(checks)
    return {
        Use(library.partition(".")[0], name)
        for name in reachable(checks, starts)
        for library in imported(name, trees[name], name in inside)
        if library.partition(".")[0] not in ("twiceshy", "")
        and not is_standard(library.partition(".")[0])
    }


def complaints(checks: Path, starts: set[str], declared: dict[str, set[str]]) -> list[str]:
    """What is declared but not imported, and the other way round; `declared` goes by extra."""
    found = uses(checks, starts)
    lines = []
    for use in sorted(found, key=lambda use: (use.name, use.module)):
        extra = next((EXTRA_OF[part] for part in EXTRA_OF if _within(use.module, part)), "")
        if use.name not in declared[""] | declared.get(extra, set()):
            lines.append(f"{use.module} imports {use.name}, which is not declared")
    for extra, libraries in sorted(declared.items()):
        parts = [part for part, name in EXTRA_OF.items() if name == extra] or [""]
        used = {use.name for use in found if any(_within(use.module, part) for part in parts)}
        place = f"extra {extra}" if extra else "install_requires"
        lines += [f"{place}: nothing imports {name}" for name in sorted(libraries - used)]
    return lines


def _within(module: str, part: str) -> bool:
    return not part or module == part or module.startswith(f"{part}.")


def declared() -> dict[str, set[str]]:
    """The libraries of setup.cfg by extra; "" are those that everybody gets."""
    config = setup_cfg()
    extras = dict(config["options.extras_require"])
    found = {name: required(text) for name, text in extras.items() if name not in FOR_DEVELOPERS}
    return {"": required(config["options"]["install_requires"]), **found}


def entry_points() -> set[str]:
    """The modules that the console scripts start in."""
    lines = setup_cfg()["options.entry_points"]["console_scripts"].splitlines()
    return {line.partition("=")[2].partition(":")[0].strip() for line in lines if line.strip()}


def test_what_is_declared_is_imported_and_what_is_imported_is_declared() -> None:
    assert complaints(ROOT / "checks", entry_points(), declared()) == []


def test_all_is_every_extra_that_an_operator_may_want() -> None:
    (line,) = setup_cfg()["options.extras_require"]["all"].split()
    assert line == f"twiceshy[{','.join(name for name in declared() if name)}]"


def test_everybody_gets_one_library() -> None:
    assert declared()[""] == {"nagiosplugin"}


def debian_names(text: str) -> set[str]:
    """Libraries by what Debian and Fedora call their packages."""
    names = set(re.findall(r"\bpython3-([a-z0-9]+)\b", text))
    return {"yaml" if name == "pyyaml" else name for name in names}


def field(text: str, name: str) -> str:
    """The lines of a field of debian/control or of a spec file."""
    return "\n".join(re.findall(rf"^{name}: *((?:.*\n)(?:[ \t].*\n)*)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "hard", "soft"),
    [
        ("debian/control", ("Depends",), ("Recommends", "Suggests")),
        ("rpm/twiceshy.spec", ("Requires",), ("Recommends", "Suggests")),
    ],
)
def test_the_packages_of_distributions_declare_the_same(
    file: str, hard: tuple[str, ...], soft: tuple[str, ...]
) -> None:
    text = (ROOT / "contrib/packaging" / file).read_text()
    by_extra = declared()
    assert debian_names("".join(field(text, name) for name in hard)) == by_extra[""]
    extras = {name for extra, names in by_extra.items() if extra for name in names}
    # They have tomllib, with Python 3.11 or later; and requests brings urllib3.
    extras -= {"tomli", "urllib3"}
    assert debian_names("".join(field(text, name) for name in soft)) == extras


# The test itself, on a small tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package with a program, a kit and an extra, whose declarations fit."""
    files = {
        "twiceshy/__init__.py": "",
        "twiceshy/kit/__init__.py": "",
        "twiceshy/kit/plugin.py": "import os, nagiosplugin\n",
        "twiceshy/hens/__init__.py": "",
        "twiceshy/hens/program.py": "from twiceshy.kit import plugin\nfrom . import coop\n",
        "twiceshy/hens/coop.py": "def f():\n    import requests.adapters\n",
        "twiceshy/hens/left_over.py": "import psutil\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


HENS = {"": {"nagiosplugin"}, "hens": {"requests"}}


@pytest.fixture(autouse=True)
def _extra_of_hens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA_OF, "twiceshy.hens", "hens")


def of(tree: Path, declared: dict[str, set[str]]) -> list[str]:
    return complaints(tree, {"twiceshy.hens.program"}, declared)


def test_nothing_to_say_of_a_tree_that_fits(tree: Path) -> None:
    assert of(tree, HENS) == []


def test_a_dependency_that_only_a_dead_module_imports_is_not_used(tree: Path) -> None:
    assert of(tree, {"": {"nagiosplugin", "psutil"}, "hens": {"requests"}}) == [
        "install_requires: nothing imports psutil"
    ]


def test_an_extra_that_its_part_does_not_import_is_not_used(tree: Path) -> None:
    assert of(tree, {"": {"nagiosplugin"}, "hens": {"requests", "docker"}}) == [
        "extra hens: nothing imports docker"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "import yaml",
        "from yaml.nodes import Node",
        "def f():\n    require('yaml', 'python3-yaml')",
        "def f():\n    for name in ('tomllib', 'yaml'):\n        importlib.import_module(name)",
    ],
)
def test_an_import_that_nothing_declares_is_found(tree: Path, line: str) -> None:
    (tree / "twiceshy/hens/coop.py").write_text(f"import requests\n{line}\n")
    assert of(tree, HENS) == ["twiceshy.hens.coop imports yaml, which is not declared"]


def test_the_kit_may_not_live_on_an_extra(tree: Path) -> None:
    (tree / "twiceshy/kit/plugin.py").write_text("import nagiosplugin, requests\n")
    assert of(tree, HENS) == ["twiceshy.kit.plugin imports requests, which is not declared"]


def test_modules_that_are_loaded_by_name_are_followed(tree: Path) -> None:
    (tree / "twiceshy/hens/__init__.py").write_text(
        "import importlib\ndef load(name):\n    importlib.import_module(f'{__name__}.{name}')\n"
    )
    assert of(tree, HENS) == ["twiceshy.hens.left_over imports psutil, which is not declared"]


def test_modules_in_a_table_are_followed(tree: Path) -> None:
    (tree / "twiceshy/kit/plugin.py").write_text(
        "import nagiosplugin\nTABLE = {'old': 'twiceshy.hens.left_over'}\n"
    )
    assert of(tree, HENS) == ["twiceshy.hens.left_over imports psutil, which is not declared"]

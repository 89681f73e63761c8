"""The rules of the house, read off the syntax trees: who may know whom, and how a check is built.

Each rule is a function from a checks/ directory to a list of complaints, one sentence each, so that
the rules themselves are tested on small trees that break them (tests/test_house.py).
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HEAVY = {"psutil", "requests", "urllib3", "docker", "yaml", "matplotlib", "numpy"}
PARTS = ("settings", "observation", "judgement", "report")
# What a check must have besides; tests/completeness.py demands more of those of this repository.
FUNCTIONS = ("options", "plan", "main")

# The judging parts see no clock, disk, network or process table.
JUDGING = ("judgement", "report")
IMPURE = {
    "os", "time", "socket", "subprocess", "sqlite3", "pathlib", "shutil", "glob", "threading",
    "select", "signal", "tempfile", "pwd", "grp", "fcntl", "http", "http.client", "urllib.request",
    "ssl", "nagiosplugin", *HEAVY,
}  # fmt: skip
PURE_KIT = {"verdict", "limits", "units", "stamps", "plugin", "figures", "patterns"}

# Words that say nothing from outside: each may stand for one thing at most.
VAGUE = {
    "Answer", "Asked", "Entry", "Found", "Item", "Judged", "Known", "Line", "Listed", "Look",
    "Memory", "NoAnswer", "Parser", "Place", "Question", "Remembered", "Reply", "Seen", "Sight",
    "State", "Status", "Told", "Trouble", "Words", "Wishes",
}  # fmt: skip

LINES, PARAMETERS = 80, 8

# Names of values that were written for people.
SENTENCES = {
    "text", "message", "words", "sentence", "reason", "why", "cause", "trouble", "told", "said",
}  # fmt: skip
STRING_TESTS = {"startswith", "endswith", "split", "rsplit", "partition", "rpartition", "find"}
RE_TESTS = {"match", "search", "fullmatch", "findall", "split"}


@dataclass(frozen=True)
class Module:
    """A file below checks/: its dotted name, its room, and its tree."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """`kit`, `command`, the short name of a check, or "" for the package itself."""
        parts = self.name.split(".")
        if parts[0].startswith("check_"):
            return parts[0][len("check_") :]
        return parts[1] if len(parts) > 1 and parts[1] != "__main__" else ""

    @property
    def is_program(self) -> bool:
        return self.name.startswith("check_")


@cache
def modules(checks: Path) -> tuple[Module, ...]:
    """Every module below checks/; the symlinks to the programs are left out."""
    found = []
    for file in sorted(checks.rglob("*.py")):
        if file.is_symlink():
            continue
        dotted = ".".join(file.relative_to(checks).with_suffix("").parts)
        dotted = dotted[: -len(".__init__")] if dotted.endswith(".__init__") else dotted
        found.append(Module(dotted, file, ast.parse(file.read_text())))
    return tuple(found)


def rooms_of_checks(checks: Path) -> list[str]:
    """The short names of the checks."""
    return sorted(file.stem[len("check_") :] for file in checks.glob("check_*.py"))


@cache
def imported(module: Module, types_too: bool = True) -> tuple[str, ...]:
    """The dotted names that a module imports anywhere, also inside functions.

    `from a import b` gives both a and a.b. Without `types_too`, what only a type checker imports
    is left out.
    """
    found: list[str] = []
    skipped: set[ast.AST] = set()
    for node in ast.walk(module.tree):
        if not types_too and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(inner for child in node.body for inner in ast.walk(child))
    for node in ast.walk(module.tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")
                is_package = module.file.name == "__init__.py"
                package = package[: len(package) - node.level + is_package]
                base = ".".join([*package, *([base] if base else [])])
            found.append(base)
            for alias in node.names:
                found.append(f"{base}.{alias.name}")
    return tuple(found)


def of_ours(module: Module, known: set[str], types_too: bool = True) -> set[str]:
    """Those of our modules that a module imports, by the longest name that is a module."""
    return {name for name in imported(module, types_too) if name in known} - {module.name}


# Who may know whom


def upward_imports(checks: Path) -> list[str]:
    """The kit knows the kit; a check knows itself and the kit; the command knows no check."""
    complaints = []
    names = rooms_of_checks(checks)
    for module in modules(checks):
        for name in imported(module):
            room = room_of(name, names)
            if room is None or (room == "" and module.room == ""):
                continue
            own = module.room
            if own == "kit" and room not in ("kit", ""):
                complaints.append(f"{module.name} (the kit) imports {name}")
            elif own in names and room not in (own, "kit", ""):
                complaints.append(f"{module.name} imports {name}, which is neither its own nor kit")
            elif own == "command" and room in names:
                complaints.append(f"{module.name} imports {name}: checks are found by name")
            elif own in names and name == f"twiceshy.{own}.program" and not module.is_program:
                complaints.append(f"{module.name} imports its own program")
    return complaints


def room_of(name: str, checks: list[str]) -> str | None:
    """The room that an imported name lies in; None for what is not ours."""
    parts = name.split(".")
    if parts[0] == "twiceshy":
        return parts[1] if len(parts) > 1 and parts[1] in (*checks, "kit", "command") else ""
    if parts[0].startswith("check_") and parts[0][len("check_") :] in checks:
        return parts[0][len("check_") :]
    return None


def circles(checks: Path) -> list[str]:
    """Modules that import each other in a circle, imports inside functions included.

    A package that imports a module of its own is a face of it and no circle, nor is a type.
    """
    known = {module.name for module in modules(checks)}
    edges = {
        module.name: {
            name
            for name in of_ours(module, known, types_too=False)
            if not module.name.startswith(f"{name}.")
        }
        for module in modules(checks)
    }
    complaints, state = [], dict.fromkeys(edges, 0)

    def visit(name: str, path: list[str]) -> None:
        state[name] = 1
        for other in sorted(edges[name]):
            if state[other] == 1:
                complaints.append(" -> ".join([*path[path.index(other) :], other]))
            elif state[other] == 0:
                visit(other, [*path, other])
        state[name] = 2

    for name in sorted(edges):
        if state[name] == 0:
            visit(name, [name])
    return complaints


def doors_to_nagiosplugin(checks: Path) -> list[str]:
    """One module imports nagiosplugin."""
    return [
        f"{module.name} imports nagiosplugin; kit.plugin is the one door"
        for module in modules(checks)
        if module.name != "twiceshy.kit.plugin"
        and any(name.split(".")[0] == "nagiosplugin" for name in imported(module))
    ]


def heavy_at_import(checks: Path) -> list[str]:
    """Heavy libraries are imported inside functions, or every start pays for them."""
    complaints = []
    for module in modules(checks):
        outside = ast.parse(module.file.read_text())
        for node in ast.walk(outside):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                node.body = [ast.Pass()]
        bare = Module(module.name, module.file, outside)
        for name in imported(bare, types_too=False):
            if name.split(".")[0] in HEAVY:
                complaints.append(f"{module.name} imports {name} at its top")
    return complaints


# How a check is built


def missing_parts(checks: Path) -> list[str]:
    """Every check has the same parts under the same names, and its program as a symlink."""
    complaints = []
    for name in rooms_of_checks(checks):
        folder = checks / "twiceshy" / name
        for part in PARTS:
            if not (folder / f"{part}.py").is_file():
                complaints.append(f"check_{name} has no twiceshy/{name}/{part}.py")
        link = folder / "program.py"
        if not link.is_symlink() or link.resolve() != (checks / f"check_{name}.py").resolve():
            complaints.append(
                f"check_{name}: ln -s ../../check_{name}.py checks/twiceshy/{name}/program.py"
            )
        program = ast.parse((checks / f"check_{name}.py").read_text())
        functions = {node.name for node in program.body if isinstance(node, ast.FunctionDef)}
        for function in FUNCTIONS:
            if function not in functions:
                complaints.append(f"check_{name}.py has no function {function}()")
    return complaints


def impure_judgements(checks: Path) -> list[str]:
    """The judging parts, and all that they import of their folder, do no I/O."""
    complaints = []
    by_name = {module.name: module for module in modules(checks)}
    for name in rooms_of_checks(checks):
        judging = [f"twiceshy.{name}.{part}" for part in JUDGING]
        reached = [start for start in judging if start in by_name]
        for start in reached:
            for other in sorted(of_ours(by_name[start], set(by_name), types_too=False)):
                if other.startswith(f"twiceshy.{name}.") and other not in reached:
                    reached.append(other)
        for module in (by_name[one] for one in reached):
            if any(
                isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv"
                for node in ast.walk(module.tree)
            ):
                complaints.append(f"{module.name} judges, and reads sys.argv")
            for what in sorted(set(imported(module, types_too=False))):
                kit = re.fullmatch(r"twiceshy\.kit\.(\w+)", what)
                if what in IMPURE or what.split(".")[0] in HEAVY | {"requests", "docker"}:
                    complaints.append(f"{module.name} judges, and imports {what}")
                elif kit and what in by_name and kit[1] not in PURE_KIT:
                    complaints.append(f"{module.name} judges, and imports {what}, which does I/O")
    return complaints


def parsers_with_io(checks: Path) -> list[str]:
    """A function parse...() takes text and gives values; whoever calls it has read the file."""
    reading = {"open", "read_text", "read_bytes", "listdir", "scandir", "stat", "lstat", "connect"}
    complaints = []
    for module in modules(checks):
        for function in functions_of(module):
            if function.name.lstrip("_").startswith("parse"):
                calls = {
                    node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call)
                    and isinstance(node.func, (ast.Name, ast.Attribute))
                }
                for call in sorted(calls & reading):
                    complaints.append(f"{module.name}.{function.name} parses, and calls {call}()")
    return complaints


def untyped_settings(checks: Path) -> list[str]:
    """An argparse.Namespace goes into plan() and the module settings alone."""
    complaints = []
    names = rooms_of_checks(checks)
    for module in modules(checks):
        if module.room not in names:
            continue
        for function in functions_of(module):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            for argument in arguments:
                annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                allowed = function.name == "plan" or module.name.endswith(".settings")
                if "Namespace" in annotation and not allowed:
                    complaints.append(f"{module.name}.{function.name} takes an argparse.Namespace")
    return complaints


def functions_of(module: Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef)]


def unwieldy_functions(checks: Path) -> list[str]:
    """No function is over 80 lines or 8 parameters without a reason in its docstring."""
    complaints = []
    for module in modules(checks):
        for function in functions_of(module):
            doc = ast.get_docstring(function) or ""
            lines = (function.end_lineno or 0) - function.lineno + 1
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if lines > LINES and not re.search(r"(?i)\blong\b|\blines\b", doc):
                complaints.append(f"{module.name}.{function.name} has {lines} lines, no why")
            if count > PARAMETERS and not re.search(r"(?i)parameter|argument", doc):
                complaints.append(f"{module.name}.{function.name} has {count} parameters, no why")
    return complaints


def names_with_two_meanings(checks: Path) -> list[str]:
    """A class name that says little means one thing, in one room."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module in modules(checks):
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                rooms[node.name].add(module.room)
    return [
        f"class {name} stands in {', '.join(sorted(found))}"
        for name, found in sorted(rooms.items())
        if len(found) > 1 and name in VAGUE
    ]


# No sentence decides


def deciding_sentences(checks: Path) -> list[str]:
    """Decisions are made on codes: nothing that judges looks into a text that people read.

    Looked at are the parts of a check that judge, report, remember or run, the rounds, and the
    kit. What a system prints is parsed where it is observed, and ends there in a code.
    """
    complaints = []
    names = rooms_of_checks(checks)
    for module in modules(checks):
        last = module.name.rpartition(".")[2]
        judges = module.is_program or last in (*JUDGING, "history", "picture")
        if not (module.room in names and judges) and module.room != "kit":
            continue
        for node in ast.walk(module.tree):
            what = looks_into_a_sentence(node)
            if what:
                complaints.append(f"{module.name}:{getattr(node, 'lineno', 0)}: {what}")
    return complaints


def looks_into_a_sentence(node: ast.AST) -> str:
    """The expression, if it takes a sentence apart or compares it; else ""."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        inside = any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops)
        phrase = any(is_phrase(side) for side in sides)
        written = any(is_for_people(side) for side in node.comparators)
        constant = any(isinstance(side, ast.Constant) and side.value for side in sides)
        if phrase or (inside and written and constant):
            return ast.unparse(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        function, owner = node.func.attr, node.func.value
        phrase = any(is_phrase(argument) for argument in node.args)
        if function in STRING_TESTS and node.args and (is_for_people(owner) or phrase):
            return ast.unparse(node)
        written = any(is_for_people(argument) for argument in node.args)
        if function in RE_TESTS and ast.unparse(owner) == "re" and written:
            return ast.unparse(node)
    return ""


def is_phrase(node: ast.AST) -> bool:
    """A string constant of two words or more."""
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\w \w", node.value) is not None
    )


def is_for_people(node: ast.AST) -> bool:
    """An attribute or variable that is called like a sentence, or str(error)."""
    if isinstance(node, ast.Attribute):
        return node.attr in SENTENCES
    if isinstance(node, ast.Name):
        return node.id in SENTENCES - {"text"}  # an argument of a parser is called text, too
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "str"
        and ast.unparse(node).startswith("str(err")
    )


RULES = (
    upward_imports,
    circles,
    doors_to_nagiosplugin,
    heavy_at_import,
    missing_parts,
    impure_judgements,
    parsers_with_io,
    untyped_settings,
    unwieldy_functions,
    names_with_two_meanings,
    deciding_sentences,
)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "checks"
    found = [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(place)]
    print("\n".join(found) or "the house keeps its rules")
    sys.exit(bool(found))

"""docs/architecture.svg: the folders, what is in each, and who imports whom, off the syntax trees.

Deterministic, without fonts or scripts of its own. It follows the reader's preference for light or
dark; what stands outside the boxes is legible on a page of either kind.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

LIBRARIES = ("docker", "matplotlib", "nagiosplugin", "requests", "yaml")
PARTS = ("settings", "observation", "judgement", "report", "history", "picture", "drill")

WIDTH, MARGIN, GAP, LINE = 1200, 20, 12, 15
STYLE = """
svg { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
rect { fill: #f6f8fa; stroke: #57606a; }
text { fill: #1f2328; }
.title { font-weight: bold; font-size: 13px; }
.part { fill: #0550ae; }
.inside { fill: #57606a; }
.faint { fill: #6e7781; }
path { fill: none; stroke: #6e7781; marker-end: url(#head); }
path.name { stroke-dasharray: 5 4; }
path.wrong { stroke: #cf222e; stroke-width: 2; }
#head path { fill: #6e7781; stroke: none; marker-end: none; }
@media (prefers-color-scheme: dark) {
  rect { fill: #161b22; stroke: #9198a1; }
  text { fill: #e6edf3; }
  .part { fill: #79c0ff; }
  .inside { fill: #9198a1; }
}
"""


def drawn(tree: Path) -> str:
    """The picture of the package below `tree` (checks/), as SVG."""
    package = tree / "twiceshy"
    checks = sorted(folder.name for folder in package.iterdir() if (folder / "program.py").exists())
    lines = {name: _inside(package / name) for name in checks}
    edges = {
        (room, other)
        for room in ("command", "kit", *checks)
        for other in _rooms(_imports(package / room))
        if other != room and other in ("command", "kit", *checks)
    }
    libraries = {
        room: sorted(_imports(package / room) & set(LIBRARIES))
        for room in ("command", "kit", *checks)
    }

    column = (WIDTH - 2 * MARGIN - GAP * (len(checks) - 1)) // len(checks)
    command_text = _wrapped(_inside(package / "command"), 150)
    kit_text = _wrapped(_inside(package / "kit"), 150)
    top, command_height = MARGIN, 2 * LINE + LINE * (len(command_text) + 1)
    middle = top + command_height + 4 * LINE
    check_height = max(
        3 * LINE + LINE * (len(lines[name]) + len(_uses(libraries[name]))) for name in checks
    )
    bottom = middle + check_height + 4 * LINE
    kit_height = 2 * LINE + LINE * (len(kit_text) + 1)
    height = bottom + kit_height + MARGIN + 2 * LINE

    shapes = [_box(MARGIN, top, WIDTH - 2 * MARGIN, command_height, "command/", "the command "
                   "twiceshy: rounds, define, drill, plot ... " + _with(libraries["command"]),
                   command_text)]  # fmt: skip
    lefts = {}
    for position, name in enumerate(checks):
        left = MARGIN + position * (column + GAP)
        lefts[name] = left + column // 2
        text = [*lines[name], *_uses(libraries[name])]
        shapes.append(_box(left, middle, column, check_height, f"{name}/", "", text))
        # The command looks checks up by name; an import would be another arrow, and red.
        shapes.append(
            f'<path class="name" d="M{lefts[name]} {top + command_height} V{middle - 3}"/>'
        )
        if (name, "kit") in edges:
            shapes.append(f'<path d="M{lefts[name]} {middle + check_height} V{bottom - 3}"/>')
    shapes.append(_box(MARGIN, bottom, WIDTH - 2 * MARGIN, kit_height, "kit/", "what checks share; "
                       "knows none of them. " + _with(libraries["kit"]), kit_text))  # fmt: skip
    shapes.append(_text(lefts[checks[0]] + 8, middle - 2 * LINE, "loads by name", "faint"))
    shapes.append(_text(lefts[checks[0]] + 8, bottom - 2 * LINE, "imports", "faint"))
    if ("command", "kit") in edges:
        side = MARGIN // 2
        shapes.append(f'<path d="M{MARGIN} {top + LINE} H{side} V{bottom + LINE} H{MARGIN - 3}"/>')
    centres = {"command": (WIDTH // 2, top + command_height), "kit": (WIDTH // 2, bottom),
               **{name: (x, middle + LINE) for name, x in lefts.items()}}  # fmt: skip
    wrong = sorted(edge for edge in edges if edge[1] != "kit")
    for room, other in wrong:
        (x, y), (to_x, to_y) = centres[room], centres[other]
        shapes.append(
            f'<path class="wrong" d="M{x} {y} Q{(x + to_x) // 2} {y - 60} {to_x} {to_y}"/>'
        )
    legend = (
        "blue: the parts that checks have in common; NAME/ (n): a folder of n modules; "
        "solid: imports; dashed: by name only; red: should not be"
    )
    shapes.append(_text(MARGIN, height - LINE, legend, "faint"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        "<title>Who imports whom: command and checks import the kit, the command loads checks by "
        f"name, no check knows another</title>\n<style>{STYLE}</style>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _inside(folder: Path) -> list[str]:
    """The parts of a folder that every check has, in their order, then its other modules."""
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__", "program"}
    is_check = (folder / "program.py").exists()
    known = [part for part in PARTS if part in modules and is_check]
    folders = [
        f"{inner.name}/ ({count})"
        for inner in sorted(folder.iterdir())
        for count in [len([file for file in inner.glob("*.py") if file.stem != "__init__"])]
        if inner.is_dir() and count
    ]
    return [*known, *sorted(modules - set(known)), *folders]


def _imports(folder: Path) -> set[str]:
    """Every dotted name that is imported anywhere in a folder, and the libraries of LIBRARIES."""
    found: set[str] = set()
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif _asks_for(node):
                found.add(node.args[0].value)  # type: ignore[attr-defined]
    return found | {name.partition(".")[0] for name in found}


def _asks_for(node: ast.AST) -> bool:
    """Whether it is require("docker", ...), which imports what only some checks need."""
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "require"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
    )


def _rooms(imported: Iterable[str]) -> set[str]:
    return {name.split(".")[1] for name in imported if name.startswith("twiceshy.")}


def _uses(libraries: Sequence[str]) -> list[str]:
    return ["", *(f"uses {library}" for library in libraries)] if libraries else []


def _with(libraries: Sequence[str]) -> str:
    return f"uses {', '.join(libraries)}" if libraries else ""


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("")
        lines[-1] += f" · {word}" if lines[-1] else word
    return lines


def _box(
    x: int, y: int, width: int, height: int, title: str, purpose: str, text: Sequence[str]
) -> str:
    shapes = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>',
        _text(x + 10, y + LINE + 4, title, "title"),
    ]
    if purpose:
        shapes.append(_text(x + 10 + 9 * len(title) + 10, y + LINE + 4, purpose.strip(), "inside"))
    for row, line in enumerate(text):
        kind = "part" if line in PARTS else "inside" if line.startswith("uses ") else ""
        shapes.append(_text(x + 10, y + 2 * LINE + 10 + row * LINE, line, kind))
    return "\n".join(shapes)


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    described = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{described}>{escape(text)}</text>'

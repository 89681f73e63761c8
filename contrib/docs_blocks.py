"""The generated parts of README.md and docs/, from the checks' own options and manuals.

    <!-- check_NAME: PART --> ... <!-- end -->    PART is `Options` (a table) or the title of a part
                                                  of the check's manual (`Reads`, `Says` ...)
    <!-- file: PATH --> ... <!-- end -->          a file below docs/, verbatim
    | [check_NAME](...) | QUESTION | ...          the question is the first line of its manual
    docs/architecture.svg                         the tree and who imports whom
    .github/ISSUE_TEMPLATE/wrong-verdict.yml      the names of the checks to choose from

`contrib/generate` writes them; tests/test_docs.py fails when what is there is not what this makes.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "checks"), str(ROOT / "contrib")]  # these, and no installed ones

import docs_picture  # noqa: E402

from twiceshy.kit import declaration  # noqa: E402
from twiceshy.kit.declaration import Option  # noqa: E402
from twiceshy.kit.options import EVERY_CHECK_HAS  # noqa: E402

PART = re.compile(r"<!-- (check_\w+): (\w+) -->\n.*?<!-- end -->", re.DOTALL)
FILE = re.compile(r"<!-- file: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
ROW = re.compile(r"^\| \[(check_\w+)\]\(([^)]+)\) \| [^|\n]+ \|", re.MULTILINE)
CHOICE = re.compile(r"^( +- )check_\w+\n(?:\1check_\w+\n)*", re.MULTILINE)
TEMPLATE = Path(".github/ISSUE_TEMPLATE/wrong-verdict.yml")
MARKUP = re.compile(r"[|*<]")
LANGUAGES = {".py": "python", ".toml": "toml"}


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def everything() -> dict[str, str]:
    """Text by path below the project's directory."""
    made = {str(page.relative_to(ROOT)): up_to_date(page.read_text("utf-8")) for page in pages()}
    made["docs/architecture.svg"] = docs_picture.drawn(ROOT / "checks")
    if (ROOT / TEMPLATE).exists():  # a source distribution has none
        made[str(TEMPLATE)] = with_choice((ROOT / TEMPLATE).read_text("utf-8"))
    return made


def with_choice(template: str) -> str:
    """An issue template whose list of checks has every check."""
    names = sorted(path.stem for path in (ROOT / "checks").glob("check_*.py"))
    return CHOICE.sub(lambda listed: "".join(f"{listed[1]}{name}\n" for name in names), template)


def up_to_date(page: str) -> str:
    """A page with its generated parts as they should be."""
    page = PART.sub(lambda block: part(block[1], block[2]), page)
    page = FILE.sub(lambda block: file(block[1]), page)
    return ROW.sub(lambda row: f"| [{row[1]}]({row[2]}) | {question(row[1])} |", page)


def check(name: str) -> ModuleType:
    """The program of "check_flapping"."""
    return importlib.import_module(f"twiceshy.{name[len('check_') :]}.program")


def question(name: str) -> str:
    """The first line of a check's manual."""
    return (check(name).__doc__ or "").strip().partition("\n")[0]


def part(name: str, title: str) -> str:
    """A block with the options of a check, or with a part of its manual."""
    module = check(name)
    if title == "Options":
        body = table(declaration.read(module.options()))
    else:
        body = f"```text\n{manual_part(module.__doc__ or '', title)}\n```"
    return f"<!-- {name}: {title} -->\n{body}\n<!-- end -->"


def file(path: str) -> str:
    """A block with a file below docs/."""
    source = ROOT / "docs" / path
    text = source.read_text("utf-8").rstrip("\n")
    return f"<!-- file: {path} -->\n```{LANGUAGES[source.suffix]}\n{text}\n```\n<!-- end -->"


def manual_part(manual: str, title: str) -> str:
    """A part of a manual, below its title, or with it where the text begins beside the title."""
    found = re.search(rf"^{title}:(.*)\n((?:[ ].*\n|\n)*)", f"{manual}\n", re.MULTILINE)
    if not found:
        raise ValueError(f"the manual has no part {title}")
    beside, below = found[1], found[2].rstrip()
    if beside:
        return f"{title}:{beside}\n{below}".rstrip()
    return re.sub(r"^  ", "", below, flags=re.MULTILINE)


def table(options: Sequence[Option]) -> str:
    """Options as a table, those that every check has last."""
    rows, group = ["| option | meaning |", "|---|---|"], ""
    for option in sorted(options, key=lambda option: option.group == EVERY_CHECK_HAS):
        if option.group != group:
            group = option.group
            rows.append(f"| **{group}** | |")
        *others, last = option.flags or ("",)
        names = [*others, f"{last} {option.placeholder}".strip()]
        shown = ", ".join(f"`{name}`" for name in names).replace("|", r"\|")
        meaning = MARKUP.sub(r"\\\g<0>", option.help)  # no backslash in an f-string before 3.12
        rows.append(f"| {shown} | {meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    for name, text in everything().items():
        (ROOT / name).write_text(text, "utf-8")

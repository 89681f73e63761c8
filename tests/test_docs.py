"""README and manual pages against the code.

Parts of them are generated: what stands between `<!-- check_NAME: PART -->` and `<!-- end -->`,
where PART is `Options` (a table), or the title of a part of the check's manual (`Reads`, `Says`).
`python3 tests/test_docs.py` writes them anew.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from contract import section

sys.path.insert(0, str(ROOT / "checks"))  # these, and no installed ones

from twiceshy import declaration  # noqa: E402
from twiceshy.kit.declaration import Option  # noqa: E402
from twiceshy.kit.options import EVERY_CHECK_HAS  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- (check_\w+): (\w+) -->\n.*?<!-- end -->", re.DOTALL)
MARKUP = re.compile(r"[|*<]")


def generated(check: str, part: str) -> str:
    module = importlib.import_module(check)
    if part == "Options":
        body = table(declaration.read(module.options()))
    else:
        body = f"```text\n{told(module.__doc__ or '', part)}\n```"
    return f"<!-- {check}: {part} -->\n{body}\n<!-- end -->"


def told(manual: str, part: str) -> str:
    """A part of a manual, below its title, or with it where the text begins beside the title."""
    beside = re.findall(rf"^{part}: .+", manual, re.MULTILINE)
    below = section(manual, part)
    assert beside or below, f"no {part}"
    return "\n".join([*beside, *(f"  {line}" for line in below)] if beside else below)


def table(options: Sequence[Option]) -> str:
    rows, group = ["| option | meaning |", "|---|---|"], ""
    for option in sorted(options, key=lambda option: option.group == EVERY_CHECK_HAS):
        if option.group != group:
            group = option.group
            rows.append(f"| **{group}** | |")
        *others, last = option.flags or ("",)
        names = [*others, f"{last} {option.placeholder}".strip()]
        shown = ", ".join(f"`{name}`" for name in names).replace("|", r"\|")
        meaning = MARKUP.sub(r"\\\g<0>", option.help)
        rows.append(f"| {shown} | {meaning} |")
    return "\n".join(rows)


def up_to_date(page: str) -> str:
    return BLOCK.sub(lambda block: generated(block[1], block[2]), page)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert up_to_date(text) == text, "run python3 tests/test_docs.py"


def test_the_readme_shows_states_and_perfdata_of_every_check_in_its_own_section() -> None:
    sections = (ROOT / "README.md").read_text().split("\n## ")
    shown = {part.partition("\n")[0]: BLOCK.findall(part) for part in sections}
    for check in (check.stem for check in CHECKS):
        assert shown.pop(check) == [(check, "Says"), (check, "Measures")]
    assert not any(shown.values()), shown


@pytest.mark.parametrize("check", [check.stem for check in CHECKS])
def test_the_manual_page_of_every_check_is_generated_where_it_can_be(check: str) -> None:
    page = (ROOT / "docs" / f"{check}.md").read_text()
    parts = [part for name, part in BLOCK.findall(page) if name == check]
    assert parts == ["Reads", "Remembers", "Options", "Examples", "Says", "Measures"]


def test_the_readme_names_files_that_exist() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(up_to_date(page.read_text()))
    sys.exit()

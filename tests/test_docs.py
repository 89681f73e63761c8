"""README and manual pages against the code.

Parts of them are generated: what stands between `<!-- check_NAME: PART -->` and `<!-- end -->`,
where PART is `help`, or the title of a section of the check's manual (`Says`, `Measures`).
`python3 tests/test_docs.py` writes them anew.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT, run_script
from contract import section

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- (check_\w+): (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def generated(check: str, part: str) -> str:
    script = ROOT / "checks" / f"{check}.py"
    if part == "help":
        body = run_script(script, "--help").stdout.rstrip()
    else:
        body = "\n".join(section(ast.get_docstring(ast.parse(script.read_text())) or "", part))
    assert body, f"{check} has no {part}"
    return f"<!-- {check}: {part} -->\n```text\n{body}\n```\n<!-- end -->"


def up_to_date(page: str) -> str:
    return BLOCK.sub(lambda block: generated(block[1], block[2]), page)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert up_to_date(text) == text, "run python3 tests/test_docs.py"


@pytest.mark.parametrize("part", ["Says", "Measures"])
@pytest.mark.parametrize("check", [check.stem for check in CHECKS])
def test_the_readme_shows_states_and_perfdata_of_every_check(check: str, part: str) -> None:
    assert f"<!-- {check}: {part} -->" in (ROOT / "README.md").read_text()


def test_the_readme_names_files_that_exist() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(up_to_date(page.read_text()))
    sys.exit()

"""README, manual pages and site against the code.

contrib/docs_blocks.py makes the generated parts; `contrib/generate` writes them.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

import completeness
from conftest import CHECKS, ROOT

sys.path.insert(0, str(ROOT / "contrib"))

import docs_blocks  # noqa: E402
import docs_picture  # noqa: E402

DOCS = ROOT / "docs"
SITE = "https://twiceshy.readthedocs.io/en/stable/"
REPOSITORY = "https://github.com/twiceshy/twiceshy"
NAMES = [check.stem for check in CHECKS]
PAGES = docs_blocks.pages()
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```|^(?: {4}.*\n)+|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@cache
def links(page: Path) -> tuple[str, ...]:
    """The targets of a page's links; what stands in code is none."""
    return targets(page.read_text("utf-8"))


def targets(text: str) -> tuple[str, ...]:
    """The links of a text, save those from an outage to what was published of it."""
    links = list(LINK.findall(FENCE.sub("", text)))
    for published in LINK.findall(FENCE.sub("", completeness.below(text, "The outage"))):
        if published.startswith("https://"):
            links.remove(published)
    return tuple(links)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What `#...` may follow a page's name: its headings, as Python-Markdown writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    cleaned = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return frozenset(re.sub(r"[-\s]+", "-", title) for title in cleaned)


def broken(page: Path, target: str) -> str:
    """What is wrong with a link; "" for a good one."""
    path, _, anchor = target.partition("#")
    if target.startswith(SITE):
        name = path[len(SITE) :].strip("/") or "index"
        file = DOCS / f"{name}.md"
        path_is_good = path.endswith("/")
    elif page.name == "README.md":
        return "" if target.startswith(REPOSITORY) else "README.md is read elsewhere too: use URLs"
    elif "://" in target:
        return "" if target.startswith(REPOSITORY) else "neither a page of ours nor our source"
    else:
        file = (page.parent / path).resolve() if path else page
        path_is_good = True
    if not path_is_good or not file.exists():
        return "there is no such page"
    return f"no heading {anchor}" if anchor and anchor not in anchors(file) else ""


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    wrong = {target: why for target in links(page) for why in [broken(page, target)] if why}
    assert wrong == {}


def test_a_broken_link_is_found() -> None:
    page = DOCS / "index.md"
    targets = "nosuch.md", "contract.md#nosuch", f"{SITE}no/", "https://example.org/"
    assert [broken(page, target) for target in targets] == [
        "there is no such page",
        "no heading nosuch",
        "there is no such page",
        "neither a page of ours nor our source",
    ]
    assert broken(page, "contract.md#unknown-of-the-check-itself") == ""
    assert broken(ROOT / "README.md", "docs/index.md") != ""


def test_an_outage_links_to_what_was_published_of_it() -> None:
    outage = "## The outage\n\n[a](https://example.org/a) [b](http://example.org/b) [c](c.md)\n"
    assert targets(outage) == ("http://example.org/b", "c.md")
    assert targets(f"{outage}## Options\n\n[d](https://example.org/d)\n")[-1] == (
        "https://example.org/d"
    )


@EACH_PAGE
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"\b((?:tests|contrib|checks|docs)/[\w./-]*\w)", text))
    known = {name for name in named if "NAME" not in name and "example.org" not in name}
    assert {name for name in known if not (ROOT / name).exists()} == set()


@EACH_PAGE
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text("utf-8")
    assert docs_blocks.up_to_date(text) == text, "run contrib/generate"


def test_the_picture_is_up_to_date() -> None:
    made = docs_blocks.everything()["docs/architecture.svg"]
    assert (DOCS / "architecture.svg").read_text("utf-8") == made, "run contrib/generate"


def test_the_picture_shows_every_check_and_who_imports_whom(tmp_path: Path) -> None:
    for name, imported in (("lamp", "twiceshy.kit.units"), ("oven", "twiceshy.lamp.bulb")):
        folder = tmp_path / "twiceshy" / name
        folder.mkdir(parents=True)
        (folder / "program.py").write_text("")
        (folder / "bulb.py").write_text(f"import {imported}\nimport docker\n")
    for room in ("kit", "command"):
        (tmp_path / "twiceshy" / room).mkdir()
        (tmp_path / "twiceshy" / room / "units.py").write_text("")
    drawn = docs_picture.drawn(tmp_path)
    root = xml.fromstring(drawn)
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    arrows = [node.get("class") for node in root.iter("{http://www.w3.org/2000/svg}path")][1:]
    assert [text for text in texts if text in ("lamp/", "oven/", "bulb", "uses docker")] == [
        "lamp/", "bulb", "uses docker", "oven/", "bulb", "uses docker",
    ]  # fmt: skip
    # Both are loaded by name; one imports the kit; the other imports a check, which is wrong.
    assert arrows == ["name", None, "name", "wrong"]
    assert drawn == docs_picture.drawn(tmp_path)


def rows(page: Path) -> list[tuple[str, str]]:
    """Check and target of each row of a page's table of checks."""
    return [(row[1], row[2]) for row in docs_blocks.ROW.finditer(page.read_text("utf-8"))]


def test_the_tables_of_checks_have_a_row_for_every_check() -> None:
    assert sorted(rows(DOCS / "index.md")) == [(name, f"{name}.md") for name in NAMES]
    assert sorted(rows(ROOT / "README.md")) == [(name, f"{SITE}{name}/") for name in NAMES]


@pytest.mark.parametrize("check", NAMES)
def test_the_manual_page_of_every_check_is_generated_where_it_can_be(check: str) -> None:
    page = (DOCS / f"{check}.md").read_text("utf-8")
    parts = [part for name, part in docs_blocks.PART.findall(page) if name == check]
    assert parts == list(completeness.MARKERS)


def test_the_templates_offer_every_check() -> None:
    made = docs_blocks.everything()
    template = str(docs_blocks.TEMPLATE)
    if (ROOT / template).exists():
        assert (ROOT / template).read_text("utf-8") == made[template], "run contrib/generate"
        assert re.findall(r"^ +- (check_\w+)$", made[template], re.MULTILINE) == NAMES


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 110


def test_the_messages_that_the_contract_explains_are_those_of_the_kit() -> None:
    sources = "".join(
        path.read_text("utf-8") for path in sorted((ROOT / "checks/twiceshy/kit").glob("*.py"))
    )
    section = (DOCS / "contract.md").read_text("utf-8").split("## UNKNOWN, of the check itself")[1]
    told = [quoted for row in section.splitlines() for quoted in re.findall("`([^`]+)`", row[:90])]
    pieces = [
        piece.strip(" :()")
        for quoted in told
        if quoted[0] not in "-$"
        for piece in re.split(r"\.\.\.|\d+s?|check_NAME", quoted)
    ]
    assert len(pieces) > 8
    assert [piece for piece in pieces if piece and piece not in sources] == []


def test_the_navigation_has_every_page() -> None:
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    shown = re.findall(r"^ +- .+: (\S+\.md)$", config, re.MULTILINE)
    assert sorted(shown) == sorted(page.name for page in DOCS.glob("*.md"))
    assert f"site_url: {SITE}\n" in config
    assert f"repo_url: {REPOSITORY}\n" in config


class _Addresses(HTMLParser):
    """What a page makes a browser load: stylesheets, scripts, images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img") and named.get("src"):
            self.loaded.append(str(named["src"]))
        if tag == "link" and named.get("rel") in ("stylesheet", "shortcut icon"):
            self.loaded.append(str(named["href"]))


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="extra docs is not installed")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    for name in NAMES:
        assert (tmp_path / name / "index.html").is_file()
    for page in tmp_path.rglob("*.html"):
        for address in _Addresses(page.read_text("utf-8")).loaded:
            assert "://" not in address, (page.name, address)

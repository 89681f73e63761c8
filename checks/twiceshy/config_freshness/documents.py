"""Configuration as text: parsed, searched, compared by meaning; and what is not configuration."""

from __future__ import annotations

import configparser
import importlib
import json
import re
from typing import Any

from twiceshy.config_freshness import digests

FORMATS = ("json", "yaml", "toml", "ini", "xml")
_MISSING = object()


class NotParsed(ValueError):
    """The text is not of that format; the message is one line."""


class LibraryMissing(ValueError):
    """The format needs a library that is not installed; the message names its package."""


def looks_like_a_page(raw: bytes, content_type: str) -> bool:
    """An HTML page (login, maintenance, error), by what it says and by how it begins."""
    head = raw[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    declared = content_type.split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    return declared or head.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def title(raw: bytes) -> str:
    """What a page calls itself, or ""."""
    found = re.search(rb"(?is)<(title|h1)[^>]*>\s*([^<]*?)\s*</", raw[:4096])
    return found[2].decode("utf-8", "replace") if found else ""


def parse(kind: str, raw: bytes) -> Any:
    """The document as dicts, lists and scalars (XML: nested dicts, attributes as `@name`).

    NotParsed when it is not of that format, LibraryMissing when we cannot know.
    """
    try:
        return _PARSERS[kind](raw)
    except (NotParsed, LibraryMissing):
        raise
    except RecursionError:
        raise NotParsed("it is nested too deeply") from None
    except json.JSONDecodeError as why:
        place = f"line {why.lineno}, column {why.colno}"
        raise NotParsed(f"{place}: {why.msg[:1].lower()}{why.msg[1:]}") from None
    except UnicodeDecodeError:
        raise NotParsed("it is not UTF-8 text") from None
    except (ValueError, configparser.Error) as why:  # toml's errors are ValueErrors
        raise NotParsed(str(why).splitlines()[0]) from None


def _json(raw: bytes) -> Any:
    return json.loads(digests.text_of(raw))


def _yaml(raw: bytes) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise LibraryMissing(
            "python library yaml is missing: apt install python3-yaml (or pip install PyYAML)"
        ) from None
    # the C loader is ten times as fast; not every build of PyYAML has it
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(raw, loader)
    except yaml.YAMLError as why:
        # its message quotes the line; a secret may stand there
        mark = getattr(why, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise NotParsed(place + str(getattr(why, "problem", None) or "not YAML")) from None
    if not isinstance(document, (dict, list)):
        raise NotParsed("it is a single value")  # as nearly any text is
    return document


def _toml(raw: bytes) -> Any:
    for name in ("tomllib", "tomli"):  # tomllib is there from Python 3.11 on
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        return library.loads(raw.decode("utf-8-sig"))
    raise LibraryMissing(
        "python library tomli is missing: apt install python3-tomli (or pip install tomli)"
    )


def _ini(raw: bytes) -> Any:
    ini = configparser.RawConfigParser(strict=False, allow_no_value=True)
    ini.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    try:
        ini.read_string(digests.text_of(raw))
    except configparser.Error as why:
        # its message quotes the line; a secret may stand there
        line = re.search(r"line:? +(\d+)", str(why))
        raise NotParsed(f"line {line[1] if line else '?'} is not INI") from None
    if not ini.sections() and not ini.defaults():
        raise NotParsed("it has no section")
    document: dict[str, Any] = {name: dict(ini.items(name)) for name in ini.sections()}
    return {**dict(ini.defaults()), **document}


def _xml(raw: bytes) -> Any:
    """Nested dicts by tag; entities are refused: a few bytes could become gigabytes."""
    from xml.parsers import expat

    root: dict[str, Any] = {}
    stack: list[dict[str, Any]] = [root]
    texts: list[list[str]] = [[]]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        stack.append({f"@{key}": value for key, value in attributes.items()})
        texts.append([])

    def end(tag: str) -> None:
        node: Any = stack.pop()
        text = "".join(texts.pop()).strip()
        if not node:
            node = text
        elif text:
            node["#text"] = text
        parent = stack[-1]
        if tag not in parent:
            parent[tag] = node
        elif isinstance(parent[tag], list):
            parent[tag].append(node)
        else:
            parent[tag] = [parent[tag], node]

    def refuse(*_: Any) -> None:
        raise NotParsed("it declares entities")

    reader = expat.ParserCreate()
    reader.StartElementHandler = begin
    reader.EndElementHandler = end
    reader.CharacterDataHandler = lambda text: texts[-1].append(text)
    reader.EntityDeclHandler = refuse
    try:
        reader.Parse(raw, True)
    except expat.ExpatError as why:
        raise NotParsed(str(why)) from None
    return root


_PARSERS = {"json": _json, "yaml": _yaml, "toml": _toml, "ini": _ini, "xml": _xml}


def steps(path: str) -> list[str]:
    r"""`a.b[0].c` -> a, b, 0, c; a dot inside of a key is written `\.`."""
    path = re.sub(r"\[(\d+)\]", r".\1", path.lstrip("$"))
    parts = re.split(r"(?<!\\)\.", path.strip("./"))
    return [part.replace("\\.", ".") for part in parts]


def at(document: Any, path: str) -> Any:
    """What stands at a path; KeyError when nothing does (null counts as something)."""
    for step in steps(path):
        if isinstance(document, dict):
            found = document.get(step, _MISSING)
            if found is _MISSING:
                found = next((v for k, v in document.items() if str(k) == step), _MISSING)
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            found = document[int(step)]
        else:
            found = _MISSING
        if found is _MISSING:
            raise KeyError(path)
        document = found
    return document


def canonical(document: Any) -> bytes:
    """One spelling for equal documents: sorted keys, no blanks (near RFC 8785); RecursionError."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    ).encode("utf-8", "surrogatepass")


def without_line_ends(raw: bytes) -> bytes:
    """The text as it is without its line ends, blanks at their ends and byte-order mark."""
    return b"\n".join(
        line.rstrip() for line in raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    ).strip()


def scalar(value: Any) -> str:
    """One value as text, as an operator would compare it: 41.0 is 41."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (dict, list)):
        return canonical(value).decode("utf-8", "replace")
    return str(value).strip()


def order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which versions sort as people mean it: 9 < 10, 1.9 < 1.10, dates as text."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


# Prometheus text

_SAMPLE = re.compile(
    r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*"
)
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"')


def metric(text: str, wanted: str) -> list[str]:
    """Values of a metric in Prometheus' text format, `name`, `name{key="value"}` or, for the text
    of a label (an info metric), `name{label}`.
    """
    name, _, selector = wanted.partition("{")
    selector = selector.rstrip("}").strip()
    needed = dict(_LABEL.findall(selector))
    values = []
    for line in text.splitlines():
        sample = _SAMPLE.fullmatch(line.strip())
        if not sample or sample["name"] != name:
            continue
        labels = dict(_LABEL.findall(sample["labels"] or ""))
        if needed and any(labels.get(key) != value for key, value in needed.items()):
            continue
        if selector and not needed:
            if selector in labels:
                values.append(labels[selector])
            continue
        try:
            values.append(scalar(float(sample["value"])))
        except (ValueError, OverflowError):
            continue
    return values

"""Which checks there are, found by name and never imported by the kit itself.

Those of this package are found by their folders. A check in a package of its own announces itself
in the entry-point group `twiceshy.checks`, and makes the rounds too.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import twiceshy
from twiceshy.kit import subprocesses
from twiceshy.kit.plugin import CheckError

if TYPE_CHECKING:
    from twiceshy.kit.declaration import Declaration

GROUP = "twiceshy.checks"
BESIDE = Path(twiceshy.__file__).resolve().parent.parent  # of a checkout: checks/

# A check describes itself by options() and applies(); both only look at what is there.
DECLARING_SECONDS = 5.0


@dataclass(frozen=True)
class Entry:
    """A check by its short name ("flapping") and the module that holds it."""

    name: str
    module: str

    @property
    def program(self) -> str:
        """What it is called as a command."""
        return f"check_{self.name}"


def found() -> list[Entry]:
    """Every check of this installation, by name.

    Ours are the folders of this package that hold a program; others announce themselves.
    """
    entries = {
        folder.name: Entry(folder.name, f"twiceshy.{folder.name}.program")
        for folder in pkgutil.iter_modules(twiceshy.__path__)
        if folder.ispkg and _has_program(folder.name)
    }
    for name, module in _announced().items():
        entries.setdefault(name, Entry(name, module))
    return [entries[name] for name in sorted(entries)]


def is_checkout() -> bool:
    """Whether this is a checkout, as somebody has who is trying the checks out."""
    return (BESIDE.parent / "try").is_file() and (BESIDE.parent / "setup.cfg").is_file()


def _has_program(folder: str) -> bool:
    return any(
        os.path.exists(os.path.join(path, folder, "program.py")) for path in twiceshy.__path__
    )


def _announced() -> dict[str, str]:
    """The entry points of our group in every installed distribution, module by name.

    Read from the files that importlib.metadata reads (entry points specification, PyPA), since
    importing that, with its mail parser, would take longer than a check.
    """
    announced: dict[str, str] = {}
    for place in sys.path:
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            for file in sorted(Path(place or ".").glob(pattern)):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    for name, module in entry_points(file.read_text(encoding="utf-8")).items():
                        announced.setdefault(name, module)
    return announced


def entry_points(text: str) -> dict[str, str]:
    """Module by name in our group of an entry_points.txt: pure."""
    group, found = "", {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            group = line.strip("[] ")
        elif group == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found[name.strip()] = re.split(r"[:\s\[]", value.strip(), maxsplit=1)[0]
    return found


def chosen(names: list[str], among: list[Entry] | None = None) -> list[Entry]:
    """The checks of these names, with or without check_, all without names; else CheckError."""
    entries = found() if among is None else among
    known = {entry.name: entry for entry in entries}
    wanted = [name[len("check_") :] if name.startswith("check_") else name for name in names]
    for name in wanted:
        if name not in known:
            raise CheckError(f"there is no check {name!r}; there are: {', '.join(known) or 'none'}")
    return [known[name] for name in wanted] if wanted else entries


def load(entry: Entry) -> ModuleType:
    """Import a check; whatever it raises comes through."""
    return importlib.import_module(entry.module)


def with_part(names: list[str], part: str, called: str) -> list[Entry]:
    """The checks of these names, or all without names, that have an optional part.

    CheckError for one that is named and has none, with those that do. `called`: what to call the
    part in a sentence.
    """
    declarations, reasons = declare(found())
    able = [one.name for one in declarations if part in one.parts]
    if not names:
        return chosen(able) if able else []
    entries = chosen(names)
    for entry in entries:
        if entry.name not in able:
            why = (
                reasons.get(entry.name, "")
                if entry.name not in {one.name for one in declarations}
                else f"has no {called}"
            )
            raise CheckError(
                f"check_{entry.name} {why}; these checks have one: {', '.join(able) or 'none'}"
            )
    return entries


def why_not(check: ModuleType) -> str:
    """Why a check does not apply to this host; "" when it applies.

    A module says so with a function `applies() -> str`; one without it always applies.
    """
    applies = getattr(check, "applies", None)
    return str(applies()) if applies else ""


def file_of(entry: Entry) -> str:
    """The path of the script, without importing it."""
    import importlib.util

    spec = importlib.util.find_spec(entry.module)
    return (spec.origin or "") if spec else ""


def program_of(entry: Entry) -> str:
    """Where the check is to be found as a command on this host; "" if nowhere.

    The plugin directory, beside the interpreter (a venv), the PATH, and the script itself.
    """
    beside = Path(sys.executable).parent / entry.program
    for place in (Path("/usr/lib/nagios/plugins") / entry.program, beside):
        if os.access(place, os.X_OK):
            return str(place)
    import shutil

    return shutil.which(entry.program) or file_of(entry)


def declare(entries: list[Entry]) -> tuple[list[Declaration], dict[str, str]]:
    """What each check declares of itself, and for those that do not apply here the reason.

    Each is asked in a child process: one that crashes or hangs on import costs only itself.
    """

    from twiceshy.kit.declaration import declared

    def ask(name: str) -> tuple[Declaration | None, str]:
        entry = next(entry for entry in entries if entry.name == name)
        try:
            check = load(entry)
            return declared(entry.name, check, program_of(entry)), why_not(check)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a check that cannot be loaded
            return None, f"cannot be loaded: {type(error).__name__}: {error}"

    declarations, reasons = [], {}
    answers = subprocesses.each(ask, [entry.name for entry in entries], DECLARING_SECONDS)
    for name, answer in answers.items():
        if isinstance(answer, BaseException):
            reasons[name] = f"cannot be loaded: {answer}"
            continue
        declaration, reason = answer
        if declaration:
            declarations.append(declaration)
        if reason:
            reasons[name] = reason
    return declarations, reasons

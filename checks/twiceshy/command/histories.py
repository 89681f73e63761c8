"""Show what the checks remember, or make them forget a subject.

Each check keeps its history in one SQLite file. Everything about one subject is shown and forgotten
together.
"""

# Some checks have tables of their own (twiceshy.kit.history), which say in their schema which
# column names the subject.

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twiceshy.kit import history, options, units
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.verdict import safe


@dataclass(frozen=True)
class Table:
    """A table of a history file, and which of its columns name the subject.

    `subject`: the column that says which subject a row is about; `alias`: the one that says
    what people call it. "" where there is none.
    """

    name: str
    columns: tuple[str, ...]
    subject: str
    alias: str
    rows: int


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy history`."""
    options.add_state_dir(to)
    words = to.add_subparsers(dest="what", metavar="WHAT", required=False)
    words.add_parser("list", help="list each check's history: size, subjects, age (the default)")
    show = words.add_parser(
        "show", help="show what a check remembers about a subject, or list its subjects"
    )
    show.add_argument("check", metavar="CHECK")
    show.add_argument("subject", nargs="?", metavar="SUBJECT")
    forget = words.add_parser("forget", help="forget a subject, or all that a check remembers")
    forget.add_argument("check", metavar="CHECK")
    forget.add_argument("subject", nargs="?", metavar="SUBJECT")
    forget.add_argument("--all", action="store_true", help="forget every subject of this check")


def run(args: argparse.Namespace) -> int:
    """List, show or forget."""
    place = history.directory(args.state_dir)
    if args.what == "show":
        return _show(place, args.check, args.subject)
    if args.what == "forget":
        return _forget(place, args.check, args.subject, args.all)
    return _list(place)


def _list(place: Path) -> int:
    files = sorted(place.glob("*.sqlite"))
    print(f"{place}: {units.say_size(sum(file.stat().st_size for file in files))}")
    for file in files:
        try:
            with _opened(file) as sql:
                found = subjects(sql)
                rows = sum(table.rows for table in tables(sql))
        except (CheckError, sqlite3.Error) as error:
            print(f"  {file.stem:20} cannot be read: {error}")
            continue
        at = datetime.datetime.fromtimestamp(file.stat().st_mtime)
        print(
            f"  {file.stem:20} {units.say_size(file.stat().st_size):>9}  "
            f"{units.count(len(found), 'subject'):>13}  {units.count(rows, 'row'):>11}  "
            f"written {at:%Y-%m-%d %H:%M}"
        )
    for torn in sorted(place.glob("*.torn")):
        print(f"  {torn.name}: a corrupt history that was set aside; it can be removed")
    if not files:
        print("  no check has a history yet")
    return 0


def _show(place: Path, check: str, subject: str | None) -> int:
    with _opened(_file(place, check)) as sql:
        if subject is None:
            called = {key: alias for alias, key in aliases(sql).items() if alias != key}
            for name, rows in subjects(sql).items():
                known = f" ({safe(called[name])})" if name in called else ""
                print(f"  {units.count(rows, 'row'):>11}  {safe(name)}{known}")
            return 0
        subject = aliases(sql).get(subject, subject)
        if subject not in subjects(sql):
            raise _unknown(check, subject)
        for table in tables(sql):
            if not table.subject:
                continue
            about = f"{_name(table.name)} WHERE {_name(table.subject)} = ?"
            for row in sql.execute(f"SELECT * FROM {about} ORDER BY rowid", (subject,)):
                print(f"{table.name}: {json.dumps(dict(zip(table.columns, map(_shown, row))))}")
    return 0


def _forget(place: Path, check: str, subject: str | None, everything: bool) -> int:
    if (subject is None) == (not everything):
        raise CheckError(f"name what to forget: twiceshy history forget {check} SUBJECT, or --all")
    with _opened(_file(place, check), writing=True) as sql:
        if subject is not None:
            subject = aliases(sql).get(subject, subject)
        if subject is not None and subject not in subjects(sql):
            raise _unknown(check, subject)
        forgotten = 0
        with sql:
            for table in tables(sql):
                if everything:
                    forgotten += sql.execute(f"DELETE FROM {_name(table.name)}").rowcount
                elif table.subject:
                    forgotten += sql.execute(
                        f"DELETE FROM {_name(table.name)} WHERE {_name(table.subject)} = ?",
                        (subject,),
                    ).rowcount
        sql.execute("VACUUM")
    print(
        f"{check} forgot {units.count(forgotten, 'row')}"
        + (f" of {safe(subject)}" if subject else "")
    )
    return 0


def _unknown(check: str, subject: str) -> CheckError:
    return CheckError(
        f"{check} remembers nothing about {subject!r}; see: twiceshy history show {check}"
    )


def _file(place: Path, check: str) -> Path:
    name = check[len("check_") :] if check.startswith("check_") else check
    file = place / f"{name}.sqlite"
    if not name.replace("_", "").replace("-", "").isalnum() or not file.is_file():
        known = ", ".join(sorted(one.stem for one in place.glob("*.sqlite"))) or "none"
        raise CheckError(f"{check!r} has no history in {place}; there are: {known}")
    return file


@contextlib.contextmanager
def _opened(file: Path, writing: bool = False) -> Iterator[sqlite3.Connection]:
    """The file as it is; a check that saves at this moment is waited for."""
    history.refuse_foreign(file)
    mode = "rw" if writing else "ro"
    sql = sqlite3.connect(f"file:{file}?mode={mode}", uri=True, timeout=history.BUSY_SECONDS)
    try:
        yield sql
    except sqlite3.Error as error:
        raise CheckError(f"{file} cannot be read: {error}") from error
    finally:
        sql.close()


def tables(sql: sqlite3.Connection) -> list[Table]:
    """Every table of a history file."""
    found = []
    schema = "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY 1"
    for name, statement in sql.execute(schema):
        columns = tuple(row[1] for row in sql.execute(f"PRAGMA table_info({_name(name)})"))
        subject = _marked(statement, "subject") or "subject" * ("subject" in columns)
        (rows,) = sql.execute(f"SELECT count(*) FROM {_name(name)}").fetchone()
        found.append(Table(name, columns, subject, _marked(statement, "alias"), rows))
    return found


def _marked(statement: str, mark: str) -> str:
    """The column that a CREATE TABLE marks, `point TEXT /* alias */`; SQLite keeps comments."""
    match = re.search(rf"(\w+) [^,(/]*/\* {mark} \*/", statement or "")
    return match[1] if match else ""


def subjects(sql: sqlite3.Connection) -> dict[str, int]:
    """Every subject, with the number of rows about it."""
    found: dict[str, int] = {}
    for table in tables(sql):
        if table.subject:
            for name, rows in sql.execute(
                f"SELECT {_name(table.subject)}, count(*) FROM {_name(table.name)} GROUP BY 1"
            ):
                found[str(name)] = found.get(str(name), 0) + rows
    return dict(sorted(found.items()))


def aliases(sql: sqlite3.Connection) -> dict[str, str]:
    """Subjects by what people call them: a filesystem by its mount point."""
    found = {}
    for table in tables(sql):
        if table.subject and table.alias:
            rows = f"SELECT {_name(table.alias)}, {_name(table.subject)} FROM {_name(table.name)}"
            found.update({str(alias): str(key) for alias, key in sql.execute(rows)})
    return found


def _name(name: str) -> str:
    """An identifier in SQL; the names come from a file that somebody may have made."""
    return '"' + name.replace('"', '""') + '"'


def _shown(value: Any) -> Any:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value

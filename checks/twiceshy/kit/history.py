"""Timed samples per subject, in SQLite, one file per check.

A check plugin is a new process every time; what it must remember from run to run it keeps here,
because no monitoring system hands a plugin its earlier results. Reads come first, writes are
buffered, and `save` puts them into one transaction with one fsync: a kill at any instant leaves
the old state or the new one (https://sqlite.org/atomiccommit.html).

Times are stamps of three clocks: within one boot the boot-time clock counts (clock_gettime(2)
CLOCK_BOOTTIME, suspend included), since wall clocks step; only across a reboot the wall clock does.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from twiceshy.kit import units
from twiceshy.kit.plugin import UNKNOWN, CheckError
from twiceshy.kit.stamps import Sample, Stamp
from twiceshy.kit.verdict import Finding, safe

PACKAGE_DIR = Path("/var/lib/twiceshy")

# How long to wait for another run that is saving; a save takes milliseconds.
BUSY_SECONDS = 3.0

TABLES = """
CREATE TABLE IF NOT EXISTS sample (
    subject TEXT NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sample_by_subject ON sample (subject);
CREATE TABLE IF NOT EXISTS note (
    subject TEXT PRIMARY KEY, boot TEXT NOT NULL, uptime REAL NOT NULL, wall REAL NOT NULL,
    value TEXT NOT NULL);
"""


def now() -> Stamp:
    """This instant. Reads the clocks and /proc/sys/kernel/random/boot_id (random(4))."""
    with open("/proc/sys/kernel/random/boot_id") as boot_id:
        boot = boot_id.read().strip()
    return Stamp(boot, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


class History:
    """The samples and notes that one check keeps.

    `with History.open(...) as history:` closes it; only `save` writes. A file that SQLite cannot
    read is set aside beside its place and `remark` says so. Where there is no safe place, or the
    file cannot be opened, the history is empty and `trouble` says why; then the check can still
    judge by what the system itself remembers, and `save` gives the finding.
    """

    def __init__(self, path: Path | None, tables: str = "", trouble: str = "") -> None:
        self.path = path
        self.remark = ""
        self.trouble = trouble
        self._tables = TABLES + tables
        self._writes: list[tuple[str, Sequence[Any] | Mapping[str, Any]]] = []
        try:
            self.sql = self._prepared(":memory:") if path is None else self._connected(path)
        except CheckError as error:
            self.trouble = str(error)
            self.sql = self._prepared(":memory:")

    @classmethod
    def open(cls, check: str, state_dir: Path | None = None, tables: str = "") -> History:
        """The history of `check` in the first directory of the contract that is ours.

        `tables`: further CREATE TABLE IF NOT EXISTS statements, which `sql` may then query. A
        column that names the subject is marked for `twiceshy history`, `key TEXT /* subject */`,
        and the one by which people call it, `point TEXT /* alias */`.
        """
        try:
            return cls(directory(state_dir) / f"{check}.sqlite", tables)
        except CheckError as error:
            return cls(None, tables, trouble=str(error))

    @classmethod
    def of_runs(cls, check: str, state_dir: Path | None = None, tables: str = "") -> History:
        """The history that runs of `check` have left; CheckError if there is none yet."""
        place = directory(state_dir)
        if not (place / f"{check}.sqlite").is_file():
            raise CheckError(f"check_{check} has no history yet in {place}; let it run for a while")
        return cls.open(check, state_dir, tables)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sql.close()

    # Reading

    def samples(self, subject: str) -> list[Sample]:
        """The samples of a subject, oldest first."""
        rows = self.sql.execute(
            "SELECT boot, uptime, wall, value FROM sample WHERE subject = ? ORDER BY rowid",
            (subject,),
        )
        return [Sample(Stamp(*row[:3]), json.loads(row[3])) for row in rows]

    def note(self, subject: str) -> Any:
        """The note that was last written for a subject, or None."""
        row = self.sql.execute("SELECT value FROM note WHERE subject = ?", (subject,)).fetchone()
        return None if row is None else json.loads(row[0])

    def notes(self) -> list[tuple[str, Sample]]:
        """Every note with its stamp, by subject: one query instead of one per subject."""
        rows = self.sql.execute("SELECT subject, boot, uptime, wall, value FROM note ORDER BY 1")
        return [(row[0], Sample(Stamp(*row[1:4]), json.loads(row[4]))) for row in rows]

    def subjects(self) -> list[str]:
        """Every subject that has a sample or a note."""
        rows = self.sql.execute("SELECT subject FROM sample UNION SELECT subject FROM note")
        return sorted(row[0] for row in rows)

    # Writing, which happens at `save`

    def defer(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Buffer a statement for `save`."""
        self._writes.append((sql, parameters))

    def remember(self, subject: str, value: Any, at: Stamp) -> None:
        """Add a sample; `value` is anything JSON can hold."""
        self.defer(
            "INSERT INTO sample VALUES (?, ?, ?, ?, ?)",
            (subject, at.boot, at.uptime, at.wall, json.dumps(value)),
        )

    def write_note(self, subject: str, value: Any, at: Stamp) -> None:
        """Replace the note of a subject."""
        self.defer(
            "INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?, ?)",
            (subject, at.boot, at.uptime, at.wall, json.dumps(value)),
        )

    def forget(self, subject: str) -> None:
        """Drop everything about a subject."""
        self.defer("DELETE FROM sample WHERE subject = ?", (subject,))
        self.defer("DELETE FROM note WHERE subject = ?", (subject,))

    def forget_before(self, subject: str, seconds_ago: float, at: Stamp) -> None:
        """Drop samples of a subject that are older than `seconds_ago`."""
        self.defer(
            "DELETE FROM sample WHERE subject = ? AND CASE WHEN boot = ? "
            "THEN uptime < ? ELSE wall < ? END",
            (subject, at.boot, at.uptime - seconds_ago, at.wall - seconds_ago),
        )

    def keep_newest(self, subject: str, count: int) -> None:
        """Drop all but the newest `count` samples of a subject."""
        self.defer(
            "DELETE FROM sample WHERE subject = ?1 AND rowid NOT IN "
            "(SELECT rowid FROM sample WHERE subject = ?1 ORDER BY rowid DESC LIMIT ?2)",
            (subject, count),
        )

    def save(self) -> Finding | None:
        """Write what was buffered, in one transaction; None, or the finding that says why not.

        The finding is UNKNOWN: a check that cannot remember would go on learning for ever, and
        must not report OK meanwhile.
        """
        if self.trouble or self.path is None:
            return Finding(UNKNOWN, f"history cannot be kept: {self.trouble}")
        try:
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                for sql, parameters in self._writes:
                    self.sql.execute(sql, parameters)
                self.sql.execute("COMMIT")
            except sqlite3.Error:
                if self.sql.in_transaction:
                    self.sql.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            return Finding(
                UNKNOWN,
                f"history cannot be saved: {_plainly(error)} ({safe(str(self.path))})",
                next=f"df -h {self.path.parent}; ls -la {self.path.parent}",
            )
        self._writes.clear()
        return None

    # The file

    def _connected(self, path: Path) -> sqlite3.Connection:
        """A connection to a file that has our tables; a torn one is set aside first."""
        refuse_foreign(path)
        try:
            return self._prepared(str(path))
        except sqlite3.OperationalError as error:
            raise CheckError(f"{_plainly(error)} ({safe(str(path))})") from error
        except sqlite3.DatabaseError:
            torn = path.with_name(path.name + ".torn")
            try:
                os.replace(path, torn)
                path.with_name(path.name + "-journal").unlink(missing_ok=True)
            except OSError as error:
                raise CheckError(
                    f"{safe(str(path))} is corrupt and cannot be set aside: {error.strerror}"
                ) from error
            self.remark = (
                f"the history file was corrupt; started a new one, the old one is {safe(str(torn))}"
            )
            try:
                return self._prepared(str(path))
            except sqlite3.Error as error:
                raise CheckError(f"{_plainly(error)} ({safe(str(path))})") from error

    def _prepared(self, database: str) -> sqlite3.Connection:
        before = os.umask(0o077)
        try:
            sql = sqlite3.connect(
                database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            have = {row[0] for row in sql.execute("SELECT name FROM sqlite_master")}
        finally:
            os.umask(before)
        try:
            wanted = re.findall(r"(?i)create \w+ if not exists (\w+)", self._tables)
            if not have.issuperset(wanted):
                sql.execute("BEGIN IMMEDIATE")
                for statement in self._tables.split(";"):
                    sql.execute(statement)
                sql.execute("COMMIT")
            # A page torn in the middle of the file shows only when it is read; so read all.
            if sql.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("database disk image is malformed")
        except BaseException:
            sql.close()
            raise
        return sql


def directory(state_dir: Path | None) -> Path:
    """The directory for histories, made if need be with mode 0700; CheckError if none is safe.

    In this order: `state_dir`, $TWICESHY_STATE_DIR, /var/lib/twiceshy if it is ours,
    $XDG_STATE_HOME/twiceshy, ~/.local/state/twiceshy. Never below a temporary directory of all.
    """
    if state_dir is None and os.environ.get("TWICESHY_STATE_DIR"):
        state_dir = Path(os.environ["TWICESHY_STATE_DIR"])
    if state_dir is not None:
        return _made_safe(state_dir)
    try:
        if os.lstat(PACKAGE_DIR).st_uid == os.geteuid():
            return _made_safe(PACKAGE_DIR)
    except OSError:
        pass
    if os.environ.get("XDG_STATE_HOME"):
        return _made_safe(Path(os.environ["XDG_STATE_HOME"]) / "twiceshy")
    home = os.environ.get("HOME") or _home_of_user()
    if not home or not os.path.isdir(home):
        raise CheckError("this user has no home directory; give --state-dir")
    return _made_safe(Path(home) / ".local" / "state" / "twiceshy")


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def _made_safe(place: Path) -> Path:
    place = Path(os.path.abspath(place))
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = os.lstat(place)
    except FileExistsError:
        raise CheckError(f"state directory {safe(str(place))} is not a directory") from None
    except OSError as error:
        raise CheckError(
            f"state directory {safe(str(place))} cannot be created: {error.strerror}; give "
            "--state-dir"
        ) from error
    if stat.S_ISLNK(seen.st_mode):
        raise CheckError(
            f"state directory {safe(str(place))} is a symlink, which another user could redirect; "
            "give the real directory"
        )
    if seen.st_uid != os.geteuid():
        raise CheckError(
            f"state directory {safe(str(place))} belongs to uid {seen.st_uid}, not to uid "
            f"{os.geteuid()}; give --state-dir, or run as its owner"
        )
    if seen.st_mode & 0o022:
        raise CheckError(f"state directory {safe(str(place))} is writable by others; chmod 700 it")
    return place


def refuse_foreign(path: Path) -> None:
    """CheckError if a history file exists that is a link, not a file, or another user's."""
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckError(f"{safe(str(path))} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(seen.st_mode):
        raise CheckError(f"{safe(str(path))} is not a regular file; remove it")
    if seen.st_uid != os.geteuid():
        raise CheckError(
            f"{safe(str(path))} belongs to uid {seen.st_uid}, not to uid {os.geteuid()}; "
            "remove it or give --state-dir"
        )


# Result codes (https://sqlite.org/rescode.html) and, for Python before 3.11, which does not give
# them, the fixed text that SQLite has for each (sqlite3ErrStr in main.c).
_READ_ONLY = "the file or its directory is read-only"
_HELD = f"another run has held it for {units.say_duration(BUSY_SECONDS)}"
_FULL = "no space left on its filesystem"
_PLAINLY: dict[object, str] = {
    5: _HELD,
    6: _HELD,
    8: _READ_ONLY,
    13: _FULL,
    "database is locked": _HELD,
    "database table is locked": _HELD,
    "attempt to write a readonly database": _READ_ONLY,
    "database or disk is full": _FULL,
}


def _plainly(error: sqlite3.Error) -> str:
    """What went wrong, in the words of an operator where we have some."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the lowest byte is the primary code
    return _PLAINLY.get(code) or _PLAINLY.get(str(error)) or str(error)

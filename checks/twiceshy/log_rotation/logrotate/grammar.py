"""logrotate's configuration language, read as logrotate reads it, with all that it drops.

The reader follows the program's own state machine, version by version (3.8 to 3.22 and the
development line after it), because users are hit by exactly its oddities: an error inside a stanza
also swallows the next stanza when the closing brace is indented, the same error one line further up
costs the rest of the file, and a missing last brace costs nothing.

Pure: files, matches and users come from a `World`, which is asked and never changed. Bytes are read
as Latin-1, one character per byte; paths leave here decoded as the file system's own.
"""

from __future__ import annotations

import bisect
import copy
import posixpath
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, auto
from typing import Protocol

from twiceshy.log_rotation.logrotate import glob as shell

Version = tuple[int, int, int]

DEVELOPMENT: Version = (3, 23, 0)
"""What the line after 3.22.0 is taken for; it already reads `minutes` and `monthly 5`."""

RUN, FILE, STANZA, GLOB, LOG, LINE, NOTHING = "run", "file", "stanza", "glob", "log", "line", ""
"""How much an error costs: the radius of a Problem."""

_LARGEST = 0xFFFFFF
_NESTING = 16
_MOST_FILES = 5_000
"""A file that includes itself ten times would keep logrotate busy for ever; we give up sooner."""
_BLANK = " \t"
_SPACE = " \t\n\v\f\r"
_WORD = re.compile(r"[ \t]*([A-Za-z]*)")
_HEAD = re.compile(r"^[ \t]*([\"'/~][^{}]*?)\s*\{", re.MULTILINE)
_SCRIPT = re.compile(
    r"^[ \t]*(?:prerotate|postrotate|firstaction|lastaction|preremove)\b.*?^[ \t]*endscript",
    re.MULTILINE | re.DOTALL,
)


def version(text: str) -> Version:
    """From `logrotate 3.21.0` or `3.8`; ValueError if there is no number in it."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise ValueError(f"{text!r} is not a version of logrotate (like 3.21.0)")
    return int(found[1]), int(found[2]), int(found[3] or 0)


# What the reader asks


@dataclass(frozen=True)
class Source:
    """A path that may hold configuration, as lstat and read saw it."""

    kind: str
    """file, directory, other (a device, a pipe: read by nobody), or "" when `error` says why not.
    """
    error: str = ""
    mode: int = 0o644
    uid: int = 0
    size: int = 0
    text: bytes = b""


@dataclass(frozen=True)
class Matches:
    """What glob(3) yields with GLOB_NOCHECK and GLOB_TILDE, less the directories."""

    paths: Sequence[str]
    error: str = ""
    absent: bool = False
    """A directory on the way does not exist, which ended the whole glob before 3.15.1."""


@dataclass(frozen=True)
class Directory:
    """A directory that logs, or their rotated copies, lie in; `error` if it cannot be used."""

    device: int = 0
    error: str = ""
    absent: bool = False


class World(Protocol):
    """The host, as far as the reader needs it."""

    def source(self, path: str) -> Source: ...
    def names(self, path: str) -> Sequence[str] | str: ...
    def matches(self, pattern: str) -> Matches: ...
    def directory(self, path: str) -> Directory: ...
    def uid(self, name: str) -> int | None: ...
    def gid(self, name: str) -> int | None: ...
    def home(self) -> str: ...


# What the reader yields


@dataclass(frozen=True, order=True)
class Position:
    """A line of a configuration file; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """Something that logrotate does not do as written, and how much is lost by it."""

    code: str
    radius: str
    position: Position
    text: str
    """What is wrong, in words; the position is not repeated in it."""
    patterns: tuple[str, ...] = ()
    """The globs of the stanzas that are lost."""
    files: tuple[str, ...] = ()
    """The logs that these globs meet now."""
    fails: bool = True
    """Whether logrotate's exit status shows it."""
    word: str = ""
    """The directive, or what stands for one, if that is what is wrong."""
    unknown_owner: str = ""
    """The user or group that does not exist, if that is what is wrong."""


@dataclass
class Directives:
    """The directives in force for a stanza; a fresh one holds logrotate's defaults."""

    criterion: str = "size"
    threshold: int = 1024 * 1024
    weekday: int = 0
    monthday: int = 0
    minutes: int = 0
    minsize: int = 0
    maxsize: int = 0
    rotate: int = 0
    start: int = 1
    minage: int = 0
    maxage: int = 0
    compress: bool = False
    delaycompress: bool = False
    shred: bool = False
    allowhardlink: bool = False
    sharedscripts: bool = False
    copytruncate: bool = False
    renamecopy: bool = False
    copy: bool = False
    ifempty: bool = True
    dateext: bool = False
    dateyesterday: bool = False
    datehourago: bool = False
    mailfirst: bool = False
    missingok: bool = False
    ignoreduplicates: bool = False
    create: bool = False
    create_mode: int | None = None
    create_uid: int | None = None
    create_gid: int | None = None
    createolddir: bool = False
    su: bool = False
    su_uid: int | None = None
    su_gid: int | None = None
    su_user: str = ""
    dateformat: str | None = None
    olddir: str | None = None
    extension: str | None = None
    addextension: str | None = None
    compresscmd: str | None = None
    compressext: str | None = None
    mail: str | None = None
    scripts: dict[str, str] = field(default_factory=dict)
    set_at: dict[str, Position] = field(default_factory=dict)
    """Which line decided: directive to position, inherited ones included."""

    def copied(self) -> Directives:
        """For a new stanza. logrotate forgets to hand down `addextension`."""
        fresh = copy.copy(self)
        fresh.scripts = dict(self.scripts)
        fresh.set_at = dict(self.set_at)
        fresh.addextension = None
        return fresh


@dataclass(frozen=True)
class Stanza:
    """One `globs { ... }` that logrotate will act on."""

    pattern: str
    """The text before the brace, raw, as logrotate prints it."""
    globs: tuple[str, ...]
    position: Position
    files: tuple[str, ...]
    directives: Directives
    torn: bool = False
    """It survived an error by accident, with only the directives before the error."""
    overridden: tuple[tuple[str, Position], ...] = ()
    """Criteria that a later one in the same stanza put out of force."""


@dataclass(frozen=True)
class Reading:
    """All that logrotate would know after reading its configuration."""

    stanzas: tuple[Stanza, ...]
    problems: tuple[Problem, ...]
    failed: bool
    """Whether reading alone makes the exit status 1."""
    read: tuple[str, ...] = ()
    """The configuration files that were read, in order."""
    stops: bool = False
    """Versions before 3.12 end here instead of rotating what they understood."""


# The words


_FLAGS: dict[str, tuple[tuple[str, bool], ...]] = {
    "compress": (("compress", True),),
    "nocompress": (("compress", False),),
    "delaycompress": (("delaycompress", True),),
    "nodelaycompress": (("delaycompress", False),),
    "shred": (("shred", True),),
    "noshred": (("shred", False),),
    "allowhardlink": (("allowhardlink", True),),
    "noallowhardlink": (("allowhardlink", False),),
    "sharedscripts": (("sharedscripts", True),),
    "nosharedscripts": (("sharedscripts", False),),
    "copytruncate": (("copytruncate", True), ("renamecopy", False)),
    "nocopytruncate": (("copytruncate", False),),
    "renamecopy": (("renamecopy", True), ("copytruncate", False)),
    "norenamecopy": (("renamecopy", False),),
    "copy": (("copy", True),),
    "nocopy": (("copy", False),),
    "ifempty": (("ifempty", True),),
    "notifempty": (("ifempty", False),),
    "dateext": (("dateext", True),),
    "nodateext": (("dateext", False),),
    "dateyesterday": (("dateyesterday", True),),
    "nodateyesterday": (("dateyesterday", False),),
    "datehourago": (("datehourago", True),),
    "nodatehourago": (("datehourago", False),),
    "mailfirst": (("mailfirst", True),),
    "maillast": (("mailfirst", False),),
    "nocreate": (("create", False),),
    "nocreateolddir": (("createolddir", False),),
    "missingok": (("missingok", True),),
    "nomissingok": (("missingok", False),),
    "ignoreduplicates": (("ignoreduplicates", True),),
}
_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")
_SINCE: dict[str, Version] = {
    "maxsize": (3, 8, 1),
    "preremove": (3, 8, 4),
    "hourly": (3, 8, 5),
    "createolddir": (3, 8, 9),
    "nocreateolddir": (3, 8, 9),
    "renamecopy": (3, 8, 9),
    "norenamecopy": (3, 8, 9),
    "minage": (3, 11, 0),
    "addextension": (3, 11, 0),
    "taboopat": (3, 11, 0),
    "datehourago": (3, 14, 0),
    "allowhardlink": (3, 19, 0),
    "noallowhardlink": (3, 19, 0),
    "ignoreduplicates": (3, 21, 0),
    "nodateyesterday": (3, 22, 1),
    "nodatehourago": (3, 22, 1),
    "minutes": (3, 22, 1),
}
_OTHER = (
    "dateformat noolddir su create createolddir size minsize maxsize shredcycles minutes rotate "
    "start minage maxage errors mail nomail tabooext taboopat include olddir extension "
    "addextension compresscmd uncompresscmd compressoptions compressext endscript"
)
DIRECTIVES: tuple[str, ...] = tuple(sorted({*_FLAGS, *_PERIODS, *_SCRIPTS, *_OTHER.split()}))
"""Every word of the language, of all versions, for a guess at what a typing error meant."""

_EXTENSIONS = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst", "compress": ".Z"}


def _taboo(at: Version) -> list[str]:
    """The default patterns of names that an included directory's reader skips."""
    endings = [".rpmsave", ".rpmorig", "~", ",v", ".disabled", ".dpkg-old", ".dpkg-dist"]
    endings += [".dpkg-new", ".cfsaved", ".ucf-old", ".ucf-dist", ".ucf-new", ".rpmnew", ".swp"]
    endings += [".rhn-cfg-tmp-*"]
    if at >= (3, 13, 0):
        endings += [".dpkg-bak", ".dpkg-del", ".dpkg-tmp"]
    if at >= (3, 17, 0):
        endings += [".bak"]
    if at >= (3, 22, 0):
        endings += [".new", ".old", ".orig", ".pacnew", ".pacorig", ".pacsave"]
    return ["*" + ending for ending in endings]


# Numbers and words as the C library takes them


def _c_number(text: str, unsigned: bool = False, bits: int = 64) -> tuple[int, str]:
    """strtol/strtoul with base 0: the value, clamped as in C, and what is left of the text."""
    found = re.match(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*)", text)
    if not found:
        return 0, text
    digits = found[2]
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif digits[0] == "0":
        value = int(digits, 8)
    else:
        value = int(digits)
    if unsigned:
        value = (1 << bits) - 1 if value >= 1 << bits else value
        if found[1] == "-":
            value = -value % (1 << bits)
    else:
        value = -value if found[1] == "-" else value
        value = max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))
    return value, text[found.end() :]


def _int(value: int) -> int:
    """The cast to a C int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _small_unsigned(text: str) -> int | None:
    """What sscanf("%u%c") == 1 takes: a number and nothing after it."""
    found = re.fullmatch(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)", text)
    if not found:
        return None
    value = int(found[2])
    return (-value if found[1] == "-" else value) & 0xFFFFFFFF


def split_words(text: str) -> list[str] | None:
    """popt's word splitting, which reads globs and the state file; None: popt's error."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if quote and char == quote:
            quote = ""
        elif quote:
            if char == "\\":
                at += 1
                if at >= len(text):
                    return None
                if text[at] != quote:
                    word.append("\\")
            word.append(text[at])
        elif char in _SPACE:
            if word:
                words.append("".join(word))
                word = []
        elif char in "\"'":
            quote = char
        elif char == "\\":
            at += 1
            if at >= len(text):
                return None
            word.append(text[at])
        else:
            word.append(char)
        at += 1
    if word:
        words.append("".join(word))
    return words or None


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def path_name(raw: bytes) -> str:
    """The bytes of a path as Python names it (what os.fsdecode does)."""
    return raw.decode(_ENCODING, _ERRORS)


def path_bytes(path: str) -> bytes:
    """The bytes of a path as Python names it (what os.fsencode does)."""
    return path.encode(_ENCODING, _ERRORS)


def _path(text: str) -> str:
    """Latin-1 as read, turned into a path as Python names it."""
    return path_name(text.encode("latin-1"))


def _shown(text: str) -> str:
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def stanza_heads(text: str) -> list[str]:
    """The globs of all that looks like a stanza, for a text that logrotate did not read."""
    heads: list[str] = []
    for found in _HEAD.finditer(_SCRIPT.sub("", text)):
        lines = [line for line in found[1].split("\n") if not line.lstrip().startswith("#")]
        heads += split_words("\n".join(lines)) or []
    return heads


# The reader


class _Fatal(Exception):
    """`goto error`: the rest of this file is lost."""


class _Draft:
    """A stanza while it is read, or the global directives (no pattern)."""

    def __init__(self, directives: Directives, position: Position) -> None:
        self.directives = directives
        self.pattern: str | None = None
        self.globs: tuple[str, ...] = ()
        self.files: list[str] = []
        self.position = position
        self.torn = False
        self.overridden: list[tuple[str, Position]] = []

    def frozen(self) -> Stanza:
        pattern = "(null)" if self.pattern is None else self.pattern
        return Stanza(
            pattern,
            self.globs,
            self.position,
            tuple(self.files),
            self.directives,
            self.torn,
            tuple(self.overridden),
        )


class _Reader:
    def __init__(self, world: World, at: Version) -> None:
        self.world = world
        self.version = at
        self.taboo = _taboo(at)
        self.logs: list[_Draft] = []
        self.claims: dict[str, list[_Draft]] = {}
        self.problems: list[Problem] = []
        self.read: list[str] = []
        self.directory = "/"
        self.depth = 0
        self.unread = 0
        self.drop_in = False
        self.globals = _Draft(Directives(), Position(""))

    # Lists

    def drop_last(self) -> None:
        if self.logs:
            gone = self.logs.pop()
            for path in gone.files:
                self.claims[path].remove(gone)

    def report(self, problem: Problem) -> None:
        self.problems.append(problem)

    def met(self, globs: Sequence[str]) -> tuple[str, ...]:
        """The logs that globs of a lost stanza would have met."""
        found: list[str] = []
        for one in globs:
            found += self.world.matches(_path(one.partition("\0")[0])).paths
        return tuple(found)

    def heads(self, text: str) -> list[str]:
        """Globs of all stanzas in a text that goes unread, and in what it would have included."""
        found = stanza_heads(text)
        if self.depth >= _NESTING:
            return found
        self.unread += 1
        if self.unread > _MOST_FILES:
            return found
        for include in re.finditer(r"^[ \t]*include[ \t=]+(\S+)", text, re.MULTILINE):
            path = posixpath.join(self.directory, _path(include[1]))
            source = self.world.source(path)
            sources = [source]
            if source.kind == "directory":
                names = self.world.names(path)
                sources = [
                    self.world.source(posixpath.join(path, name))
                    for name in ([] if isinstance(names, str) else sorted(names))
                    if not any(shell.matches(one, name) for one in self.taboo)
                ]
            self.depth += 1
            for one in sources:
                if one.kind == "file":
                    found += self.heads(one.text.decode("latin-1"))
            self.depth -= 1
        return found

    # Paths

    def path(self, given: str, draft: _Draft) -> bool:
        """`include` and the command line: True is failure."""
        absolute = given if given.startswith("/") else posixpath.join(self.directory, given)
        source = self.world.source(absolute)
        if source.error:
            self.report(
                Problem(
                    "config-missing",
                    FILE,
                    Position(absolute),
                    f"cannot be read: {source.error}",
                )
            )
            return True
        if source.kind != "directory":
            return self.one_file(absolute, source, draft)
        names = self.world.names(absolute)
        if isinstance(names, str):
            self.report(
                Problem("config-missing", FILE, Position(absolute), f"cannot be read: {names}")
            )
            return True
        period = self.version >= (3, 11, 0)
        failed = False
        wanted = []
        for name in sorted(names, key=path_bytes):
            why = next((one for one in self.taboo if shell.matches(one, name, period)), "")
            if why:
                self.skipped_by_name(posixpath.join(absolute, name), why)
            else:
                wanted.append(name)
        before, self.directory = self.directory, absolute
        was_drop_in, self.drop_in = self.drop_in, True
        for name in wanted:
            path = posixpath.join(absolute, name)
            source = self.world.source(path)
            failed |= self.one_file(path, source, draft)
        self.directory = before
        self.drop_in = was_drop_in
        return failed

    def skipped_by_name(self, path: str, why: str) -> None:
        source = self.world.source(path)
        if source.kind != "file" or not source.text:
            return
        heads = stanza_heads(source.text.decode("latin-1"))
        if heads:
            self.report(
                Problem(
                    "config-taboo",
                    FILE,
                    Position(path),
                    f"not read: its name matches the taboo pattern {_shown(why)}",
                    tuple(_shown(head) for head in heads),
                    self.met(heads),
                    fails=False,
                )
            )

    def one_file(self, path: str, source: Source, draft: _Draft) -> bool:
        backup = draft.directives.copied()
        kept = len(self.logs)
        failed = self.file(path, source, draft)
        if failed:
            draft.directives = backup
            if draft is not self.globals:
                draft.pattern = None
                for claimed in draft.files:
                    self.claims[claimed].remove(draft)
                draft.files = []
            if self.version < (3, 12, 0):
                while len(self.logs) > kept:
                    self.drop_last()
        return failed

    def file(self, path: str, source: Source, draft: _Draft) -> bool:
        position = Position(path)
        if source.error:
            self.report(
                Problem("config-missing", FILE, position, f"cannot be opened: {source.error}")
            )
            return True
        if source.kind != "file":
            return False
        refused = self.refused(source)
        if refused:
            heads = self.heads(source.text.decode("latin-1"))
            self.report(
                Problem(
                    refused[0],
                    FILE if self.drop_in else RUN,
                    position,
                    refused[1],
                    tuple(_shown(head) for head in heads),
                    self.met(heads),
                    fails=self.version >= (3, 22, 0),
                )
            )
            return self.version >= (3, 22, 0)
        if source.size > _LARGEST and self.version >= (3, 8, 5):
            self.report(
                Problem(
                    "config-error", FILE, position, "larger than 16 MiB: not read as configuration"
                )
            )
            return True
        if not source.text:
            return False
        self.read.append(path)
        return _File(self, path, source.text.decode("latin-1"), draft).parse()

    def refused(self, source: Source) -> tuple[str, str] | None:
        """Root's rules on who may have written the configuration."""
        if self.version < (3, 14, 0):
            if (source.mode & 0o7533) != 0o400:
                return (
                    "config-writable",
                    f"ignored: only modes 0644 and 0444 are read, and it is "
                    f"{source.mode & 0o7777:04o}",
                )
        elif source.mode & 0o022:
            return (
                "config-writable",
                f"ignored: writable by group or others (mode {source.mode & 0o7777:04o})",
            )
        if source.uid != 0:
            return "config-owner", f"ignored: owned by uid {source.uid}, not by root"
        return None


class _State(IntEnum):
    """Where in a file the reader is, as in readConfigFile of logrotate's config.c."""

    DEFAULT = auto()
    SKIP_LINE = auto()
    """In a comment, or in a line that is passed over."""
    ENDED = auto()
    """After the } of a stanza."""
    ERROR = auto()
    """Just after what is wrong."""
    SKIP = auto()
    """In the rest of a stanza with an error."""
    SCRIPT = auto()
    """Between postrotate, or its like, and endscript."""


class _File:
    """One pass over one file's text."""

    def __init__(self, reader: _Reader, path: str, text: str, draft: _Draft) -> None:
        self.reader = reader
        self.world = reader.world
        self.version = reader.version
        self.file = path
        self.text = text
        self.length = len(text)
        self.default = draft
        self.log = draft
        self.failed = False
        self.criterion_set = False
        self.glob_error = ""
        self.in_config = False
        self.breaks = [found.start() for found in re.finditer("\n", text)]
        self.error_at = -1
        self.error_text = ""
        self.error_owner = ""
        self.script = ""
        self.script_at = -1
        self.state = self.then = _State.DEFAULT
        self.quiet = False
        """Whether a script belongs to a stanza with an error."""
        self.taboo_leaks = False

    def position(self, at: int) -> Position:
        return Position(self.file, bisect.bisect_left(self.breaks, at) + 1)

    def char(self, at: int) -> str:
        """Beyond the end of the mapped file lie zeros, up to the page's end."""
        return self.text[at] if at < self.length else "\0"

    # Pieces of a line

    def word(self, at: int) -> tuple[str, int]:
        found = _WORD.match(self.text, at)
        assert found is not None
        return found[1], found.end()

    def line(self, at: int) -> tuple[str | None, int]:
        """The rest of the line without the white space at its end, and where reading goes on."""
        if at > self.length:
            return None, at
        end = self.text.find("\n", at)
        if end < 0:
            # Without a newline at the end of the file nothing is stripped: `rotate 5 ` is an error.
            value = self.text[at:]
            end = self.length
        else:
            last = end
            bounded = self.version >= (3, 22, 0)
            while last >= 0 and self.text[last] in _SPACE and (not bounded or last >= at):
                last -= 1
            # `rotate \r\n`: before 3.22 the length came out as -1, the value as all of the rest.
            value = self.text[at : last + 1] if last + 1 >= at else self.text[at:]
        return value.split("\0", 1)[0], end - 1

    def value(self, at: int, directive: str) -> tuple[str | None, int]:
        start = at
        while at < self.length and self.text[at] in _BLANK:
            at += 1
        if at < self.length and self.text[at] == "=":
            at += 1
            while at < self.length and self.text[at] in _BLANK:
                at += 1
        if at < self.length and self.text[at] == "\n":
            self.say(
                "directive-value",
                LINE,
                start,
                f"`{directive}` has no value: ignored",
                fails=False,
                word=directive,
            )
            return None, start
        return self.line(at)

    # Errors

    def say(
        self, code: str, radius: str, at: int, text: str, fails: bool = True, word: str = ""
    ) -> None:
        self.reader.report(Problem(code, radius, self.position(at), text, fails=fails, word=word))

    def heads(self, begin: int, end: int) -> list[str]:
        return self.reader.heads(self.text[begin:end])

    def fatal(self, at: int, text: str, unknown_owner: str = "") -> _Fatal:
        """The rest of the file is lost, and with it the stanza that is open."""
        lost = list(self.log.globs) if self.log is not self.default else []
        files = list(self.log.files) if self.log is not self.default else []
        rest = self.heads(at, self.length)
        whole = FILE
        if self.default is self.reader.globals and not self.reader.drop_in:
            whole = RUN
        self.reader.report(
            Problem(
                "config-error",
                whole,
                self.position(at),
                text,
                tuple(_shown(one) for one in (*lost, *rest)),
                (*files, *self.reader.met(rest)),
                unknown_owner=unknown_owner,
            )
        )
        return _Fatal()

    def fail(self, at: int, text: str, unknown_owner: str = "") -> None:
        """RAISE_ERROR: the stanza is lost, or outside a stanza the rest of the file."""
        if self.log is self.default:
            raise self.fatal(at, text, unknown_owner)
        self.error_at = at
        self.error_text = text
        self.error_owner = unknown_owner

    def skipped(self, end: int, survives: bool) -> None:
        """A stanza with an error is over: say what it took along."""
        begin = self.error_at
        if self.text[begin] not in "/\"'~":
            begin = self.text.find("\n", begin)
        more = self.heads(begin, end) if 0 <= begin < end else []
        self.reader.report(
            Problem(
                "config-error",
                STANZA,
                self.position(self.error_at),
                self.error_text,
                tuple(_shown(one) for one in (() if survives else self.log.globs) + tuple(more)),
                (*(() if survives else self.log.files), *self.reader.met(more)),
                unknown_owner=self.error_owner,
            )
        )

    # The machine

    def parse(self) -> bool:
        try:
            self.run()
        except _Fatal:
            if self.log is not self.default:
                if self.version >= (3, 19, 0):
                    self.reader.drop_last()
                else:
                    self.log.torn = True
            return True
        return self.failed

    def run(self) -> None:
        """One character or word after the other, each by the rules of the state that holds then."""
        steps = {
            _State.DEFAULT: self.in_default,
            _State.SKIP_LINE: self.in_skipped_line,
            _State.ENDED: self.after_brace,
            _State.ERROR: self.in_error,
            _State.SKIP: self.in_skipped_stanza,
            _State.SCRIPT: self.in_script,
        }
        at = 0
        while at < self.length:
            at = steps[self.state](at)
        self.end()

    def skip_line(self, then: _State) -> None:
        """Pass over the rest of the line, and go on as `then`."""
        self.state, self.then = _State.SKIP_LINE, then

    def in_default(self, at: int) -> int:
        char = self.text[at]
        if char in _BLANK:
            return at + 1
        if char == "#":
            self.skip_line(_State.DEFAULT)
        elif char.isascii() and char.isalpha():
            at, outcome = self.keyword(at)
            if outcome == "error":
                self.state = _State.ERROR
            elif outcome == "script":
                self.state, self.quiet = _State.SCRIPT, False
            elif outcome == "skip-line":
                self.skip_line(_State.DEFAULT)
        elif char in "/\"'~":
            at, bad = self.globs(at)
            if bad:
                self.state = _State.ERROR
        elif char == "}":
            self.close(at)
            self.state = _State.ENDED
        elif char != "\n":
            self.strange(at, char)
        return at + 1

    def strange(self, at: int, char: str) -> None:
        """A line that begins with what neither a directive nor a log begins with."""
        what = f"a line may not begin with {char!r}"
        if at == 0 and self.text.startswith("\xef\xbb\xbf"):
            what = "the file begins with a byte order mark"
        elif char == "\r":
            what = "a Windows line ending (CR LF)"
        if self.version >= (3, 19, 0):
            self.fail(at, what)
            self.state = _State.ERROR
        else:
            self.say("config-error", LINE, at, what, fails=False)
            self.skip_line(_State.DEFAULT)

    def in_skipped_line(self, at: int) -> int:
        end = self.text.find("\n", at)
        if end < 0:
            return self.length
        self.state = self.then
        return end + 1

    def after_brace(self, at: int) -> int:
        if self.text[at] == "\n":
            self.state = _State.DEFAULT
        elif self.text[at] not in _BLANK:
            self.say("config-trailing", LINE, at, "text after } is ignored", fails=False)
            self.skip_line(_State.DEFAULT)
        return at + 1

    def in_error(self, at: int) -> int:
        """This step eats one character, whatever it is: a } there does not end the stanza."""
        self.failed |= self.version >= (3, 15, 0)
        self.state = _State.SKIP
        return at + 1

    def in_script(self, at: int) -> int:
        word, at = self.word(at)
        if word == "endscript":
            if not self.quiet:
                begin = self.text.rfind("\n", 0, at - 9) + 1
                self.log.directives.scripts[self.script] = self.text[self.script_at : begin]
                self.script_at = -1
            self.state = _State.SKIP if self.quiet else _State.DEFAULT
        elif self.char(at) != "\n":
            self.skip_line(_State.SCRIPT)
        return at + 1

    def in_skipped_stanza(self, at: int) -> int:
        if self.text[at] == "}":
            self.skipped(at, survives=False)
            self.reader.drop_last()
            self.log = self.default
            self.state = _State.DEFAULT
            return at + 1
        word, at = self.word(at)
        if word in _SCRIPTS and self.knows(word):
            self.state, self.quiet = _State.SCRIPT, True
        elif self.char(at) != "\n":
            self.skip_line(_State.SKIP)
        return at + 1

    def end(self) -> None:
        """What the end of the file makes of a script, an error or a stanza that is still open."""
        if self.script_at >= 0:
            raise self.fatal(self.script_at, f"{self.script} without endscript")
        state = self.then if self.state is _State.SKIP_LINE else self.state
        in_quiet_script = state is _State.SCRIPT and self.quiet
        if state in (_State.ERROR, _State.SKIP) or in_quiet_script:
            # No } ends the error: the half-read stanza stays in force.
            self.log.torn = True
            self.skipped(self.length, survives=True)
        elif self.log is not self.default:
            self.reader.report(
                Problem(
                    "config-unclosed",
                    NOTHING,
                    self.log.position,
                    "the last } of the file is missing, which logrotate tolerates",
                    tuple(_shown(one) for one in self.log.globs),
                    fails=False,
                )
            )

    def knows(self, word: str) -> bool:
        return self.version >= _SINCE.get(word, (0, 0, 0))

    # Stanzas

    def globs(self, at: int) -> tuple[int, bool]:
        start = at
        self.in_config = False
        if self.log is not self.default:
            self.fail(at, f"a log name inside a stanza: the }} of {self.log.position} is missing")
            return at, True
        self.log = _Draft(self.default.directives.copied(), self.position(start))
        # Kept apart from `set_at`: an inherited line may be what the stanza gets wrong.
        self.reader.logs.append(self.log)
        raw, at = self.glob_text(at)
        self.in_config = True
        if self.version >= (3, 22, 0):
            raw = raw[:1] + raw[1:].rstrip(_SPACE)
        words = split_words(raw)
        if words is None:
            raise self.fatal(start, "no file name before {, or a backslash at its end")
        self.log.globs = tuple(_path(word) for word in words)
        claims = self.reader.claims
        for word in words:
            self.glob_error = ""
            if len(word) > 2048 and self.version > (3, 22, 0):
                self.say("config-error", STANZA, start, "a glob longer than 2048 characters")
                self.failed = True
                continue
            met = self.world.matches(_path(word))
            if met.absent and self.version < (3, 15, 1):
                met = Matches((), "No such file or directory")
            if met.error:
                if self.log.directives.missingok:
                    continue
                self.glob_error = f"{_shown(word)}: {met.error}"
                continue
            for number, path in enumerate(met.paths):
                add = True
                for rival in claims.get(path, ()):
                    if rival.directives.ignoreduplicates:
                        add = False
                    else:
                        self.duplicate(start, word, met.paths[number:], rival)
                        break
                else:
                    if add:
                        self.log.files.append(path)
                        claims.setdefault(path, []).append(self.log)
                    continue
                break
        self.log.pattern = _shown(raw)
        return at, False

    def duplicate(self, at: int, word: str, paths: Sequence[str], rival: _Draft) -> None:
        self.failed = True
        self.reader.report(
            Problem(
                "config-duplicate",
                GLOB if shell.has_magic(word) else LOG,
                self.position(at),
                f"{paths[0]} already belongs to the stanza at {rival.position}",
                (_shown(word),),
                tuple(paths),
            )
        )

    def glob_text(self, at: int) -> tuple[str, int]:
        """Up to the {, without comment lines."""
        out: list[str] = []
        start = at
        beginning, data, comment = range(3)
        state = beginning
        comments = self.version >= (3, 12, 0)
        while at < self.length and self.text[at] != "\0":
            char = self.text[at]
            if state == beginning:
                if char == "#" and comments:
                    state = comment
                elif char not in _SPACE:
                    state = data
            elif char == "\n":
                state = beginning
            if state != comment:
                if char == "}":
                    raise self.fatal(start, "} without a { before it")
                if char == "{":
                    return "".join(out), at
                out.append(char)
            at += 1
        raise self.fatal(start, "no { after the log's name")

    def close(self, at: int) -> None:
        if self.log is self.default:
            raise self.fatal(at, "a } without a stanza to close")
        if not self.in_config:
            raise self.fatal(at, "} without a { before it")
        self.in_config = False
        directives = self.log.directives
        if self.glob_error:
            error, self.glob_error = self.glob_error, ""
            if not directives.missingok:
                raise self.fatal(at, f"the directory of {error}")
        if directives.olddir:
            self.check_olddir(at)
        self.criterion_set = False
        self.log = self.default

    def check_olddir(self, at: int) -> None:
        directives = self.log.directives
        assert directives.olddir is not None
        olddir = _path(directives.olddir)
        seen: set[str] = set()
        for path in self.log.files:
            parent = posixpath.dirname(path.rstrip("/")) or "/"
            if parent in seen:
                continue
            seen.add(parent)
            here = self.world.directory(parent)
            if here.error:
                if not directives.missingok:
                    raise self.fatal(at, f"the log's directory {parent}: {here.error}")
                continue
            there = posixpath.join(parent, olddir)
            target = self.world.directory(there)
            if target.error:
                if target.absent and directives.createolddir:
                    continue
                raise self.fatal(at, f"olddir {there}: {target.error}")
            copies = directives.copytruncate or directives.copy or directives.renamecopy
            if target.device != here.device and not copies:
                raise self.fatal(at, f"olddir {there} is on another file system than {path}")

    # Directives

    def keyword(self, begin: int) -> tuple[int, str]:
        word, at = self.word(begin)
        following = self.char(at)
        stuck = following not in _SPACE and following != "=" and self.version >= (3, 19, 0)
        if stuck and (at < self.length or self.version < (3, 22, 0)):
            self.fail(begin, f"{word!r} is followed by {following!r} instead of white space")
            return at, "error"
        directives = self.log.directives
        position = self.position(begin)
        if not self.knows(word):
            return self.unknown(word, begin, at)
        if word in _FLAGS:
            for name, on in _FLAGS[word]:
                setattr(directives, name, on)
                directives.set_at[name] = position
            self.leak(word, position)
            return at, ""
        if word in _SCRIPTS:
            directives.scripts.pop(word, None)
            directives.set_at[word] = position
            self.script, self.script_at = word, at
            self.leak(word, position)
            return at, "script"
        if word in _PERIODS and not self.takes_day(word):
            self.criterion(word, position)
            return at, ""
        if self.takes_day(word):
            return self.day(word, begin, at)
        handler = getattr(self, "do_" + word, None)
        if handler is None:
            return self.unknown(word, begin, at)
        if word not in ("include", "tabooext", "taboopat"):
            self.leak(word, position)
        at, outcome = handler(word, begin, at)
        if not outcome:
            directives.set_at[word] = position
        return at, "" if outcome == "ignored" else outcome

    def leak(self, word: str, position: Position) -> None:
        """A directive outside any stanza of a drop-in applies to all files read after it."""
        if self.reader.drop_in and self.log is self.reader.globals:
            self.reader.report(
                Problem(
                    "config-leak",
                    NOTHING,
                    position,
                    f"`{word}` outside a stanza also applies to every file read after this one",
                    fails=False,
                    word=word,
                )
            )

    def takes_day(self, word: str) -> bool:
        return (word == "weekly" and self.version >= (3, 12, 0)) or (
            word == "monthly" and self.version > (3, 22, 0)
        )

    def unknown(self, word: str, begin: int, at: int) -> tuple[int, str]:
        self.say(
            "directive-unknown",
            LINE,
            begin,
            f"{_shown(word)!r} is not a directive of logrotate "
            f"{'.'.join(map(str, self.version))}: the line is ignored",
            fails=False,
            word=_shown(word),
        )
        return at, "" if self.char(at) == "\n" else "skip-line"

    def criterion(self, word: str, position: Position) -> None:
        directives = self.log.directives
        if self.criterion_set and directives.criterion != word and self.log is not self.default:
            self.log.overridden.append((directives.criterion, directives.set_at["criterion"]))
        directives.criterion = word
        directives.set_at["criterion"] = position
        if word == "daily":
            directives.threshold = 1
        self.criterion_set = True
        self.leak(word, position)

    def day(self, word: str, begin: int, at: int) -> tuple[int, str]:
        position = self.position(begin)
        self.criterion(word, position)
        value, at = self.line(at)
        number = 0 if not value else _small_unsigned(value)
        highest = 7 if word == "weekly" else 31
        if number is None or number > highest:
            raise self.fatal(begin, f"`{word} {_shown((value or '').strip())}`: not a day")
        if word == "weekly":
            self.log.directives.weekday = number
        else:
            self.log.directives.monthday = number
        return at, ""

    def integer(
        self, name: str, word: str, begin: int, at: int, unsigned: bool, lowest: int
    ) -> tuple[int, int | None]:
        """A whole number; None: it is an error, which has been reported."""
        value, at = self.value(at, word)
        if value is None:
            if self.version >= (3, 18, 1):
                self.fail(begin, f"`{word}` without a value")
            return at, None
        number, rest = _c_number(value, unsigned)
        number = _int(number)
        if name:
            # Set even when it is an error: a stanza that nothing ends keeps it.
            setattr(self.log.directives, name, number)
        if rest or number < lowest:
            self.fail(begin, f"`{word} {_shown(value)}`: not a number{_comment(value)}")
            return at, None
        return at, number

    def numeric(
        self, name: str, word: str, begin: int, at: int, unsigned: bool = True, lowest: int = 0
    ) -> tuple[int, str]:
        self.error_at = -1
        at, number = self.integer(name, word, begin, at, unsigned, lowest)
        if number is None:
            return at, "error" if self.error_at >= 0 else "ignored"
        return at, ""

    def do_rotate(self, word: str, begin: int, at: int) -> tuple[int, str]:
        lowest = -1 if self.version >= (3, 15, 0) else 0
        return self.numeric("rotate", word, begin, at, unsigned=False, lowest=lowest)

    def do_start(self, word: str, begin: int, at: int) -> tuple[int, str]:
        return self.numeric("start", word, begin, at)

    def do_minage(self, word: str, begin: int, at: int) -> tuple[int, str]:
        return self.numeric("minage", word, begin, at)

    def do_maxage(self, word: str, begin: int, at: int) -> tuple[int, str]:
        return self.numeric("maxage", word, begin, at)

    def do_shredcycles(self, word: str, begin: int, at: int) -> tuple[int, str]:
        return self.numeric("", word, begin, at)

    def do_size(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.value(at, word)
        if not value:
            return at, "ignored"
        digits, factor = value, 1
        if value[-1] in ("kK" if self.version >= (3, 8, 4) else "k"):
            digits, factor = value[:-1], 1024
        elif value[-1] == "M":
            digits, factor = value[:-1], 1024 * 1024
        elif value[-1] == "G":
            digits, factor = value[:-1], 1024 * 1024 * 1024
        elif not value[-1].isascii() or not value[-1].isdigit():
            self.fail(
                begin,
                f"`{word} {_shown(value)}`: unknown unit {_shown(value[-1])!r}; "
                f"logrotate knows k, M and G{_comment(value)}",
            )
            return at, "error"
        number, rest = _c_number(digits, unsigned=True)
        number = number * factor % (1 << 64)
        if (rest and digits) or number >= 1 << 63:
            self.fail(begin, f"`{word} {_shown(value)}`: not a size{_comment(value)}")
            return at, "error"
        if word == "size":
            self.criterion("size", self.position(begin))
            self.log.directives.threshold = number
        else:
            setattr(self.log.directives, word, number)
        return at, ""

    do_minsize = do_size
    do_maxsize = do_size

    def do_minutes(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.value(at, word)
        if not value:
            return at, "ignored"
        number, rest = _c_number(value, unsigned=True)
        number &= 0xFFFFFFFF
        if rest or not number:
            self.fail(begin, f"`minutes {_shown(value)}`: not a number{_comment(value)}")
            return at, "error"
        self.criterion("minutes", self.position(begin))
        self.log.directives.minutes = number
        return at, ""

    def do_errors(self, word: str, begin: int, at: int) -> tuple[int, str]:
        return at, ""

    def do_dateformat(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.value(at, word) if self.version >= (3, 18, 1) else self.line(at)
        self.log.directives.dateformat = value
        return at, ""

    def do_noolddir(self, word: str, begin: int, at: int) -> tuple[int, str]:
        self.log.directives.olddir = None
        return at, ""

    def do_nomail(self, word: str, begin: int, at: int) -> tuple[int, str]:
        self.log.directives.mail = None
        return at, ""

    def do_mail(self, word: str, begin: int, at: int) -> tuple[int, str]:
        self.log.directives.mail = None
        value, at = self.value(at, word)
        if value is None or not re.fullmatch(r"[!-~]*", value):
            self.fail(begin, f"`mail {_shown(value or '')}`: not an address{_comment(value or '')}")
            return at, "error"
        self.log.directives.mail = value
        return at, ""

    def printable(self, word: str, begin: int, at: int) -> tuple[int, str | None]:
        """A path as logrotate allows it: printable and without blanks."""
        value, at = self.value(at, word)
        shown = None if value is None else _shown(value)
        if shown is None or not (
            shown.isprintable() and " " not in shown and "\ufffd" not in shown
        ):
            self.fail(begin, f"`{word} {shown or ''}`: not a path{_comment(value or '')}")
            return at, None
        return at, value

    def do_olddir(self, word: str, begin: int, at: int) -> tuple[int, str]:
        self.log.directives.olddir = None
        at, value = self.printable(word, begin, at)
        if value is None:
            return at, "error"
        if value.startswith("~/") and self.version >= (3, 21, 0):
            value = self.world.home() + "/" + value[2:]
        self.log.directives.olddir = value
        return at, ""

    def do_compresscmd(self, word: str, begin: int, at: int) -> tuple[int, str]:
        at, value = self.printable(word, begin, at)
        if value is None:
            return at, "error"
        self.log.directives.compresscmd = value
        name = value.rstrip("/").rpartition("/")[2]
        if name == "zip" and self.version >= (3, 11, 0):
            self.log.directives.compressext = ".zip" if self.version >= (3, 22, 0) else "zip"
        elif name in _EXTENSIONS and self.version >= (3, 11, 0):
            self.log.directives.compressext = _EXTENSIONS[name]
        return at, ""

    def do_uncompresscmd(self, word: str, begin: int, at: int) -> tuple[int, str]:
        at, value = self.printable(word, begin, at)
        return at, "error" if value is None else ""

    def do_compressext(self, word: str, begin: int, at: int) -> tuple[int, str]:
        at, value = self.printable(word, begin, at)
        if value is None:
            self.log.directives.compressext = None
            return at, "error"
        self.log.directives.compressext = value
        return at, ""

    def do_compressoptions(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.line(at)
        if value is None or split_words(value) is None:
            self.fail(begin, "`compressoptions` without a value")
            return at, "error"
        return at, ""

    def do_extension(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.value(at, word)
        if value is None:
            if self.version < (3, 18, 1):
                return at, "ignored"
            self.fail(begin, f"`{word}` without a value")
            return at, "error"
        setattr(self.log.directives, word, value)
        return at, ""

    do_addextension = do_extension

    def do_tabooext(self, word: str, begin: int, at: int) -> tuple[int, str]:
        if self.log is not self.default:
            self.fail(begin, f"`{word}` inside a stanza")
            return at, "error"
        value, at = self.value(at, word)
        if value is None:
            return at, "ignored"
        if value.startswith("+"):
            value = value[1:].lstrip(_SPACE)
        else:
            self.reader.taboo = []
        star = "*" if word == "tabooext" else ""
        while value:
            found = re.match(r"[^ \t\n\v\f\r,]*", value)
            assert found is not None
            if found[0] or star == "":
                self.reader.taboo.append(_path(star + found[0]))
            value = value[found.end() :]
            value = (value[1:] if value.startswith(",") else value).lstrip(_SPACE)
        if self.reader.drop_in:
            self.leak(word, self.position(begin))
        return at, ""

    do_taboopat = do_tabooext

    def do_include(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.value(at, word)
        if value is None:
            self.fail(begin, "`include` without a value")
            return at, "error"
        if value.startswith("~/") and self.version >= (3, 17, 0):
            value = self.world.home() + "/" + value[2:]
        if self.reader.depth >= _NESTING or len(self.reader.read) > _MOST_FILES:
            self.say("config-error", FILE, begin, "include nested too deeply")
            self.failed = True
            return at, ""
        self.reader.depth += 1
        known = len(self.reader.problems)
        failed = self.reader.path(_path(value), self.log)
        self.reader.depth -= 1
        if failed:
            self.failed = True
            news = self.reader.problems[known:]
            if len(news) == 1 and news[0].code == "config-missing":
                # The line to fix is this one.
                self.reader.problems[known] = replace(
                    news[0],
                    position=self.position(begin),
                    text=f"include {_shown(value)}: {news[0].text}",
                )
        return at, ""

    # su, create, createolddir

    def do_su(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.line(at)
        directives = self.log.directives
        owner = self.owner(word, value or "", begin)
        if owner is None:
            return at, "error"
        _, uid, gid = owner
        directives.su_uid = directives.su_uid if uid is None else uid
        directives.su_gid = directives.su_gid if gid is None else gid
        if directives.su_uid is None or directives.su_gid is None:
            missing = "user" if directives.su_uid is None else "group"
            self.fail(begin, f"`su` without a {missing}")
            return at, "error"
        directives.su = True
        directives.su_user = _shown(" ".join((value or "").split()))
        return at, ""

    def do_create(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.line(at)
        directives = self.log.directives
        owner = self.owner(word, value or "", begin)
        if owner is None:
            return at, "error"
        mode, uid, gid = owner
        directives.create_mode = directives.create_mode if mode is None else mode
        directives.create_uid = directives.create_uid if uid is None else uid
        directives.create_gid = directives.create_gid if gid is None else gid
        directives.create = True
        return at, ""

    def do_createolddir(self, word: str, begin: int, at: int) -> tuple[int, str]:
        value, at = self.line(at)
        if self.owner(word, value or "", begin) is None:
            return at, "error"
        self.log.directives.createolddir = True
        return at, ""

    def owner(
        self, word: str, value: str, begin: int
    ) -> tuple[int | None, int | None, int | None] | None:
        """Mode, uid and gid of `create 0640 root adm`; None: an error, which has been reported."""
        parts = (self.words_quoted if self.version >= (3, 22, 0) else self.words_scanned)(
            word, value
        )
        if isinstance(parts, str):
            self.fail(begin, f"`{word} {_shown(value.strip())}`: {parts}{_comment(value)}")
            return None
        mode, user, group = parts
        uid = gid = None
        if group and self.version >= (3, 22, 0) and self.group(group) is None:
            self.fail(begin, f"unknown group {_shown(group)!r}", _shown(group))
            return None
        if user:
            uid = self.user(user)
            if uid is None:
                self.fail(begin, f"unknown user {_shown(user)!r}", _shown(user))
                return None
        if group:
            gid = self.group(group)
            if gid is None:
                self.fail(begin, f"unknown group {_shown(group)!r}", _shown(group))
                return None
        return mode, uid, gid

    def words_scanned(self, word: str, value: str) -> str | tuple[int | None, str, str]:
        """By sscanf: an octal mode may even stick to the user's name."""
        mode = None
        rest = value
        if not value.strip(_SPACE):
            return None, "", ""
        if word != "su" or self.version < (3, 11, 0):
            found = re.match(r"[ \t\n\v\f\r]*([+-]?[0-7]+)", value)
            if found:
                mode = int(found[1], 8) & 0xFFFF
                rest = value[found.end() :]
        tokens = re.match(r"\s*(\S{1,199})?\s*(\S{1,199})?(.)?", rest, re.DOTALL | re.ASCII)
        assert tokens is not None
        if tokens[3]:
            return "extra arguments"
        if word == "su" and mode is not None:
            return "extra arguments"
        return mode, tokens[1] or "", tokens[2] or ""

    def words_quoted(self, word: str, value: str) -> str | tuple[int | None, str, str]:
        """By 3.22's own splitter, which knows quotes."""
        words: list[str] = []
        rest = value.lstrip(_SPACE)
        if not rest:
            return None, "", ""
        while True:
            rest = rest.lstrip(_SPACE)
            if rest[:1] in ("'", '"') and rest:
                end = rest.find(rest[0], 1)
                if end < 0:
                    return "a quote is not closed"
                words.append(rest[1:end])
                rest = rest[end + 1 :]
            else:
                found = re.match(r"[^ \t\n\v\f\r]*", rest)
                assert found is not None
                words.append(found[0])
                rest = rest[found.end() :]
            if not rest:
                break
            if len(words) == 3:
                return "extra arguments"
        if word == "su" and len(words) == 3:
            return "extra arguments"
        if len(words) == 3:
            mode, user, group = words
        elif len(words) == 2:
            mode, user, group = "", words[0], words[1]
        elif word == "su":
            mode, user, group = "", words[0], ""
        else:
            mode, user, group = words[0], "", ""
        if mode and not re.fullmatch(r"[+]?[0-7]{1,10}", mode):
            return f"{_shown(mode)!r} is not a mode"
        return (int(mode, 8) if mode else None), user, group

    def user(self, name: str) -> int | None:
        found = self.world.uid(_path(name))
        return found if found is not None else self.by_number(name, self.world.uid)

    def group(self, name: str) -> int | None:
        found = self.world.gid(_path(name))
        return found if found is not None else self.by_number(name, self.world.gid)

    def by_number(self, name: str, known: Callable[[str], int | None]) -> int | None:
        if self.version < (3, 18, 0):
            return None
        forced = self.version > (3, 22, 0) and name.startswith(":")
        found = re.fullmatch(r"[ \t\n\v\f\r]*\+?([0-9]+)", name[1:] if forced else name)
        if not found or int(found[1]) >= 0x7FFFFFFF:
            return None
        number = int(found[1])
        return number if forced or known(f"#{number}") is not None else None


def _comment(value: str) -> str:
    """The commonest cause, added where it fits."""
    return " (logrotate allows no comment after a value)" if "#" in value else ""


def read(path: str, world: World, at: Version) -> Reading:
    """Read a configuration as logrotate of this version would, started by root with `path`."""
    reader = _Reader(world, at)
    failed = reader.path(path, reader.globals)
    return Reading(
        tuple(draft.frozen() for draft in reader.logs),
        tuple(reader.problems),
        failed,
        tuple(reader.read),
        stops=failed and at < (3, 12, 0),
    )

#!/usr/bin/env python3
"""Will these logs be rotated as intended, and were they last night?"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from typing import Optional, Sequence, Union

from twiceshy.logrotate import glob as shell
from twiceshy.logrotate import grammar

# What is seen


class Host:
    """This machine's files and users, asked once each and never changed: grammar.World in earnest."""

    def __init__(self, home: str = "/root") -> None:
        self.unseen: dict[str, str] = {}
        """What our rights did not let us see: path to what was wanted of it."""
        self._home = home
        self._listed: dict[str, Union[list[tuple[str, bool]], OSError]] = {}
        self._absent = False
        self._root = os.geteuid() == 0

    def home(self) -> str:
        return self._home

    def denied(self, path: str, wanted: str) -> bool:
        """Whether a refusal is ours alone, since logrotate runs as root; it is noted then."""
        if self._root:
            return False
        self.unseen[path] = wanted
        return True

    def source(self, path: str) -> grammar.Source:
        try:
            seen = os.stat(path)
            mode = seen.st_mode
            if stat.S_ISDIR(mode):
                return grammar.Source("directory")
            # A pipe would block here for ever, as it blocks logrotate.
            if not stat.S_ISREG(mode):
                return grammar.Source("other")
            text = b""
            if seen.st_size <= 0xFFFFFF:
                with open(path, "rb") as file:
                    text = file.read(0xFFFFFF + 1)
            return grammar.Source("file", "", stat.S_IMODE(mode), seen.st_uid, seen.st_size, text)
        except PermissionError as error:
            if self.denied(path, "configuration"):
                return grammar.Source("other")
            return grammar.Source("", os.strerror(error.errno or 0))
        except OSError as error:
            return grammar.Source("", os.strerror(error.errno or 0))

    def names(self, path: str) -> Union[Sequence[str], str]:
        try:
            return os.listdir(path)
        except PermissionError as error:
            return () if self.denied(path, "configuration") else str(error.strerror)
        except OSError as error:
            return str(error.strerror)

    def listed(self, path: str) -> Union[list[tuple[str, bool]], OSError]:
        """Names in a directory, each with whether it is a directory itself."""
        known = self._listed.get(path)
        if known is None:
            try:
                with os.scandir(path or "/") as entries:
                    known = [(one.name, one.is_dir(follow_symlinks=False)) for one in entries]
            except OSError as error:
                known = error
            except ValueError as error:
                known = OSError(errno.ENOENT, str(error))
            self._listed[path] = known
        return known

    def matches(self, pattern: str) -> grammar.Matches:
        given = pattern
        if pattern.startswith("~"):
            head, slash, tail = pattern.partition("/")
            pattern = (self._home if head == "~" else os.path.expanduser(head)) + slash + tail
        if not shell.has_magic(pattern):
            there = pattern if os.path.lexists(pattern) else given
            return grammar.Matches(() if self.is_directory(pattern) else (there,))
        found: list[tuple[str, bool]] = []
        self._absent = False
        error = self._walk("", pattern.split("/"), 0, found)
        if error:
            return grammar.Matches((), error)
        if not found:
            return grammar.Matches(
                () if self.is_directory(given) else (given,), absent=self._absent
            )
        return grammar.Matches(
            sorted((path for path, directory in found if not directory), key=os.fsencode),
            absent=self._absent,
        )

    def is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except (OSError, ValueError):
            return False

    def _walk(
        self, prefix: str, parts: Sequence[str], at: int, found: list[tuple[str, bool]]
    ) -> str:
        start = at
        while at < len(parts) and not shell.has_magic(parts[at]):
            at += 1
        literal = "/".join(parts[start:at])
        if start > 0:
            literal = prefix + ("/" + literal if at > start else "")
        if at == len(parts):
            try:
                seen = os.lstat(literal)
                found.append((literal, stat.S_ISDIR(seen.st_mode)))
            except (OSError, ValueError):
                pass
            return ""
        names = self.listed(literal)
        if isinstance(names, OSError):
            if names.errno in (errno.ENOENT, errno.ENOTDIR):
                self._absent |= names.errno == errno.ENOENT
                return ""
            if names.errno == errno.EACCES and self.denied(literal, "logs"):
                return ""
            return os.strerror(names.errno or 0)
        fits = shell.compiled(parts[at]).fullmatch
        last = at == len(parts) - 1
        for name, directory in names:
            if fits(name):
                if last:
                    found.append((f"{literal}/{name}", directory))
                else:
                    error = self._walk(f"{literal}/{name}", parts, at + 1, found)
                    if error:
                        return error
        return ""

    def directory(self, path: str) -> grammar.Directory:
        try:
            return grammar.Directory(os.stat(path).st_dev)
        except PermissionError as error:
            if self.denied(path, "logs"):
                return grammar.Directory(0)
            return grammar.Directory(0, str(error.strerror))
        except (OSError, ValueError) as error:
            return grammar.Directory(
                0, getattr(error, "strerror", "") or str(error), isinstance(error, FileNotFoundError)
            )

    def uid(self, name: str) -> Optional[int]:
        try:
            if name.startswith("#"):
                return pwd.getpwuid(int(name[1:])).pw_uid
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError, OverflowError):
            return None

    def gid(self, name: str) -> Optional[int]:
        try:
            if name.startswith("#"):
                return grp.getgrgid(int(name[1:])).gr_gid
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError, OverflowError):
            return None

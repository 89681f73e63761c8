"""The names of users and groups of this host, by their numbers."""

from __future__ import annotations

import functools
import grp
import pwd


@functools.cache
def user_name(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@functools.cache
def group_name(gid: int) -> str:
    """A group's name, or the number of one that has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

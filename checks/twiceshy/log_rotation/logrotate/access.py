"""Who may change the names in a directory, by its mode or its POSIX ACL; pure.

Format: linux/posix_acl_xattr.h, the value of the extended attribute system.posix_acl_access: a
version (2), then entries of tag, permissions and id, all little-endian. The order of the questions
is that of acl(5), ACCESS CHECK ALGORITHM.
"""

from __future__ import annotations

import struct

ATTRIBUTE = "system.posix_acl_access"

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_VERSION = 2
_WRITE_AND_SEARCH = 0o3


def entries(acl: bytes) -> list[tuple[int, int, int]]:
    """Tag, permissions and id of every entry; empty if it is no ACL of this version."""
    if len(acl) < 4 or len(acl) % 8 != 4 or struct.unpack_from("<I", acl)[0] != _VERSION:
        return []
    return list(struct.iter_unpack("<HHI", acl[4:]))


def may_rename(mode: int, owner: int, group: int, acl: bytes, uid: int, gid: int) -> bool:
    """Whether a user who is not root may rename and create names in this directory.

    logrotate takes on the user and the group of `su`, and no supplementary group.
    """
    known = entries(acl) or [
        (_USER_OBJ, mode >> 6 & 7, 0),
        (_GROUP_OBJ, mode >> 3 & 7, 0),
        (_OTHER, mode & 7, 0),
    ]
    mask = next((bits for tag, bits, _ in known if tag == _MASK), 7)
    of = {tag: bits for tag, bits, _ in known}
    if uid == owner:
        granted = [of.get(_USER_OBJ, 0)]
    elif mine := [bits & mask for tag, bits, whom in known if tag == _USER and whom == uid]:
        granted = mine
    else:
        granted = [
            bits & mask
            for tag, bits, whom in known
            if (tag == _GROUP_OBJ and group == gid) or (tag == _GROUP and whom == gid)
        ] or [of.get(_OTHER, 0)]
    return any(bits & _WRITE_AND_SEARCH == _WRITE_AND_SEARCH for bits in granted)

"""A FUSE filesystem whose server stops answering: python3 hung_fuse.py MOUNTPOINT

Speaks just enough of the kernel's protocol (include/uapi/linux/fuse.h) to be mounted, answers
FUSE_INIT, says so on its standard output, and reads nothing more. Needs root and /dev/fuse.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time


def main() -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"hung", sys.argv[1].encode(), b"fuse.hung", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    request = os.read(device, 1 << 20)
    unique = struct.unpack_from("<IIQ", request)[2]
    major, minor = struct.unpack_from("<II", request, 40)
    reply = struct.pack("<IIIIHHI", major, min(minor, 31), 0, 0, 12, 9, 65536) + bytes(36)
    os.write(device, struct.pack("<IiQ", 16 + len(reply), 0, unique) + reply)
    print("mounted", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()

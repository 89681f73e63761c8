"""Questions over plain sockets, each bounded in time and size.

A connection proves nothing, since the kernel accepts it even for a hung daemon; only an answer
does. What goes wrong is an exception of the tree in `kit.http`: a socket fails in the same ways.
"""

from __future__ import annotations

import time
from typing import Callable, Union

from twiceshy.kit import deadline, http
from twiceshy.kit.http import Answer

Address = Union[str, tuple[str, int]]


def name_of(address: Address) -> str:
    """An address in a sentence."""
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def converse(
    address: Address,
    send: bytes,
    enough: Callable[[bytes], bool],
    seconds: float,
    most_bytes: int = http.MOST_BYTES,
) -> Answer:
    """Send something to a Unix socket (a path) or a TCP port and read until it is `enough`.

    The end of the stream is enough too, if anything was said. HttpError otherwise.
    """
    import socket

    began = time.monotonic()
    ends = began + http.patience(seconds)
    where = name_of(address)
    host = "" if isinstance(address, str) else address[0]
    with deadline.doing(f"asking {where}"), http.connected(address, ends, where) as connection:
        received = b""
        try:
            if send:
                connection.sendall(send)
            while not enough(received):
                left = ends - time.monotonic()
                if left <= 0:
                    raise socket.timeout
                connection.settimeout(left)
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
                if len(received) > most_bytes:
                    raise http.TooLarge(f"{where} answers without end", host=host)
        except socket.timeout:
            raise http.TimedOut(
                f"{where} accepts connections but does not answer within "
                f"{time.monotonic() - began:.1f}s",
                host=host,
            ) from None
        except OSError as error:
            raise http.Closed(f"{where} hung up: {error.strerror or error}", host=host) from error
    if not received and not enough(received):
        raise http.Closed(f"{where} hung up without an answer", host=host)
    return Answer(200, (), received, time.monotonic() - began)

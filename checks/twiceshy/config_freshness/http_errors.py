"""What the errors of requests, urllib3, http.client, ssl and socket mean, as those of kit.http.

The texts are predicates: "refuses connections". Decided by classes and errno, never by wording.
"""

from __future__ import annotations

import http.client
import socket
import ssl

from twiceshy.config_freshness.threads import Progress, Stage
from twiceshy.kit.http import Closed, HttpError, Malformed, Refused, Unreachable, Untrusted
from twiceshy.kit.verdict import safe


class Redirected(HttpError):
    """The answer leads to another host, or in a circle."""

    code = "redirect"


class Cut(Closed):
    """The body ended before it was whole."""

    code = "cut"


class Undecodable(Malformed):
    """The body has a content coding that was not asked for and is not known."""

    code = "coding"


def explained(error: BaseException, progress: Progress, seconds: float) -> HttpError:
    """The meaning of an error with which a request ended after `seconds`."""
    from requests.exceptions import ConnectTimeout

    if isinstance(error, ConnectTimeout):
        progress.stage = Stage.CONNECTION
    if progress.is_abandoned:  # its end of the connection looks like the other one's
        return progress.too_slow(seconds)
    chain = _chain(error)
    untrusted = next((found for found in map(_untrusted, chain) if found), None)
    if untrusted:
        return untrusted
    if any(isinstance(each, (TimeoutError, socket.timeout)) for each in chain):
        return progress.too_slow(seconds)
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return Cut(f"truncates the body after {progress.received} bytes")
    for meaning in (_meaning, _system_error):
        for each in chain:
            found = meaning(each)
            if found:
                return found
    return Unreachable(f"cannot be read: {safe(str(error), 100)}")


def _chain(error: BaseException) -> list[BaseException]:
    """An exception with those that it wraps: libraries keep them in args, reason or __cause__."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < 20:
        current = waiting.pop(0)
        if current in found:
            continue
        found.append(current)
        inner = [*current.args, getattr(current, "reason", None)]
        inner += [current.__cause__, current.__context__]
        waiting += [each for each in inner if isinstance(each, BaseException)]
    return found


def _untrusted(error: BaseException) -> HttpError | None:
    """A certificate that is not trusted, or is for another name."""
    from urllib3.util.ssl_match_hostname import CertificateError

    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "cannot be verified"
        return Untrusted(f"has a certificate that is not trusted: {safe(reason)}")
    if isinstance(error, CertificateError):  # of urllib3's own
        return Untrusted(f"has a certificate for another name: {safe(str(error))}")
    return None


def _meaning(error: BaseException) -> HttpError | None:
    """The meaning of an error that has a class of its own."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        return Untrusted(f"fails at TLS: {safe(reason)}")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"has no address: {safe(error.strerror or 'unknown name')}")
    for kind, found in (
        (http.client.RemoteDisconnected, Closed("closes the connection without an answer")),
        (ConnectionRefusedError, Refused("refuses connections")),
        (ConnectionResetError, Closed("resets the connection")),
    ):
        if isinstance(error, kind):
            return found
    if isinstance(error, http.client.HTTPException):
        return Malformed(f"does not speak HTTP: {safe(str(error), 80)}")
    return None


def _system_error(error: BaseException) -> HttpError | None:
    """The meaning of any other error of the system: its errno's text."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        return Unreachable(f"cannot be reached: {error.strerror}")
    return None

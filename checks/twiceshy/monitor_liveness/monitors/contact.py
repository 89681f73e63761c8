"""The first words with a monitor, alike for all: where it is, what it is asked with, what it says.

What is particular to a monitor, its own words and what they mean, is in its module.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twiceshy.kit.verdict import safe
from twiceshy.monitor_liveness.monitors import (
    Clock,
    Organ,
    Target,
    Wishes,
    asking,
    fine,
    skewed,
    stopped_organ,
)
from twiceshy.monitor_liveness.monitors.processes import Process


def instance(
    kind: str, process: Process, *, url: str = "", port: int = 0, config: str = ""
) -> Target:
    """The target that one process is, called by its kind."""
    return Target(
        kind=kind,
        name=kind,
        url=url,
        port=port,
        config=Path(config) if config else None,
        main=process,
        processes=(process,),
    )


def url_of(target: Target, port: int, scheme: str = "http") -> str:
    """Where to ask: as the operator says, else on this host and the monitor's usual port."""
    host = target.host or "127.0.0.1"
    return (target.url or f"{scheme}://{host}:{target.port or port}").rstrip("/")


def elsewhere(target: Target) -> str:
    """The host that is asked over the network; "" for this one."""
    asked = urlsplit(target.url).hostname if target.url else target.host
    return "" if target.is_local or asked in ("127.0.0.1", "::1", "localhost") else asked or ""


def there(organ: Organ, host: str) -> Organ:
    """What to type next, with the host to type it on, unless it names that or more than one."""
    if not host or not organ.next or host in organ.next or " on " in organ.next:
        return organ
    return replace(organ, next=f"on {host}: {organ.next}")


def config_of(target: Target, usual: Sequence[str]) -> str:
    """The target's configuration file, else the first usual one that exists, else ""."""
    if target.config:
        return str(target.config)
    return next((path for path in usual if os.path.exists(path)), "")


def ask(url: str, wishes: Wishes, **more: Any) -> asking.Answer:
    """`asking.fetch` with all that the operator has given to ask with; `more` overrides it."""
    given: dict[str, Any] = {
        "user": wishes.user,
        "password": wishes.password,
        "token": wishes.token,
        "ca_file": wishes.ca_file,
        "tls_name": wishes.tls_name,
        "insecure": wishes.insecure,
    }
    return asking.fetch(url, wishes.probe_seconds, **{**given, **more})


def page(url: str, wishes: Wishes, **more: Any) -> asking.Answer:
    """A page that must be there: Trouble for every status from 400 on."""
    answer = ask(url, wishes, **more)
    if answer.status >= 400:
        said = safe(answer.text, 80)
        raise asking.Trouble("strange", f"HTTP {answer.status}" + (f": {said}" if said else ""))
    return answer


@contextlib.contextmanager
def expected(what: str) -> Iterator[None]:
    """Around the reading of an answer: one that has not the form of `what` is a Trouble."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise asking.Trouble("strange", what) from None


def halted(main: Process | None) -> list[Organ]:
    """The organ of a process that is stopped, held or dead; none for one that is well."""
    organ = stopped_organ([main], "process") if main else None
    return [organ] if organ else []


def answered(seconds: float | None, date: str, clock: Clock) -> list[Organ]:
    """The main loop of a monitor that has answered an HTTP question, and a clock that is wrong."""
    skew = skewed(date, clock)
    return [
        fine("main loop", f"answers in {(seconds or 0) * 1000:.0f}ms"),
        *([skew] if skew else []),
    ]


def is_young(started: float | None, wishes: Wishes) -> bool:
    """Whether it began so many seconds ago that what merely has not happened yet is no fault."""
    return started is not None and 0 <= started < wishes.startup_grace

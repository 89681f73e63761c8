"""The one module that imports nagiosplugin.

Whatever the checks need of it they get from here, so that a missing library becomes one line and
exit 3 on every host, and so that its sharp edges are blunted in one place. Edges 1 and 14 are met
here (its `guarded` prints tracebacks into service output; a missing nagiosplugin would exit 1,
which is WARNING); the others in limits, verdict and deadline.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any, Callable, NoReturn

__all__ = [
    "CRITICAL", "OK", "STATES", "UNKNOWN", "UNKNOWN_STATUS", "WARNING", "CheckError", "Context",
    "Metric", "NagiosCheck", "Range", "Resource", "Result", "Results", "State", "Summary",
    "guarded", "internal_error", "leave", "name_of", "require", "state",
]  # fmt: skip

UNKNOWN_STATUS = 3


def name_of(program: str) -> str:
    """What the first line begins with: "FLAPPING" for .../check_flapping.py."""
    stem = os.path.basename(program)
    stem = stem[:-3] if stem.endswith(".py") else stem
    stem = stem[: -len(".program")] if stem.endswith(".program") else stem
    stem = stem.rpartition(".")[2]
    stem = stem[len("check_") :] if stem.startswith("check_") else stem
    return stem.upper() or "TWICESHY"


def leave(text: str, status: int) -> NoReturn:
    """Print `text` to standard output, whatever state that is in, and end with `status`.

    With standard output closed or full nobody reads the text; the exit status is still seen, and is
    UNKNOWN then: whatever the check found, it could not report it.
    """
    try:
        payload = text.rstrip("\n").encode("utf-8", "replace") + b"\n"
        while payload:
            payload = payload[os.write(1, payload) :]
    except OSError:
        status = UNKNOWN_STATUS
    sys.stdout = None  # nothing is left for the interpreter to flush
    gc.freeze()  # nor to look for: its last search for garbage is a tenth of a run
    raise SystemExit(status)


try:
    import nagiosplugin
    from nagiosplugin.state import ServiceState as State
except ImportError:
    leave(
        f"{name_of(sys.argv[0])} UNKNOWN - python library nagiosplugin is missing: "
        "apt install python3-nagiosplugin (or pip install nagiosplugin)",
        UNKNOWN_STATUS,
    )

OK: State = nagiosplugin.Ok
WARNING: State = nagiosplugin.Warn
CRITICAL: State = nagiosplugin.Critical
UNKNOWN: State = nagiosplugin.Unknown

CheckError = nagiosplugin.CheckError
Context = nagiosplugin.Context
Metric = nagiosplugin.Metric
NagiosCheck = nagiosplugin.Check
Range = nagiosplugin.Range
Resource = nagiosplugin.Resource
Result = nagiosplugin.Result
Results = nagiosplugin.Results
Summary = nagiosplugin.Summary

STATES = {"ok": OK, "warning": WARNING, "critical": CRITICAL, "unknown": UNKNOWN}


def state(text: str) -> State:
    """The state of "ok", "warning", "critical" or "unknown"; ValueError for anything else."""
    try:
        return STATES[text.strip().lower()]
    except KeyError:
        raise ValueError(
            f"{text!r} is not a state; type ok, warning, critical or unknown"
        ) from None


# The extra of this package that brings a library (setup.cfg, options.extras_require).
EXTRAS = {"docker": "containers", "requests": "config", "matplotlib": "plot"}


def require(module: str, package: str, extra: str = "") -> ModuleType:
    """Import a library that only some checks need; CheckError with the package to install.

    `extra`: the one that brings it, where that is not the one in EXTRAS.
    """
    extra = extra or EXTRAS.get(module.partition(".")[0], "")
    requirement = f"'twiceshy[{extra}]'" if extra else module
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:
            raise CheckError(
                f"python library {module} cannot be used because its dependency {missing} is "
                f"missing: reinstall {package} (or pip install {requirement})"
            ) from error
        raise CheckError(
            f"python library {module} is missing: apt install {package} "
            f"(or pip install {requirement})"
        ) from error


def internal_error(error: BaseException, verbose: int) -> str:
    """How a mistake of ours is reported: one line; the traceback only with -vvv."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({os.path.basename(place[0].filename)}:{place[0].lineno})" if place else ""
    words = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")[:300]
    line = f"UNKNOWN - internal error, please report it: {words}{where}"
    if verbose >= 3:
        line += "\n" + "".join(
            traceback.format_exception(None, error, error.__traceback__)
        ).replace("|", "/")
    return line


def hold_standard_streams() -> None:
    """Occupy descriptors 0 to 2 if they came closed.

    Otherwise the history file would become descriptor 1 and be printed into. They are opened for
    reading only, so that printing still fails and ends UNKNOWN.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)


def guarded(main: Callable[[], Any]) -> Callable[[], None]:
    """`main` as the outermost caller: no traceback, nothing on stderr, exit 3 for what goes wrong.

    nagiosplugin has a decorator of this name; it prints a traceback into the service output and
    raises its own Timeout, which a tolerant `except` swallows.
    """

    @functools.wraps(main)
    def outermost() -> None:
        hold_standard_streams()
        # Warnings of libraries, complaints of threads: an agent would mix them into the output.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        name = name_of(main.__module__ if main.__module__ != "__main__" else sys.argv[0])
        verbose = max(
            (len(a) - 1 for a in sys.argv if a.strip("v") == "-" and len(a) > 1), default=0
        )
        try:
            main()
        except CheckError as error:
            leave(f"{name} UNKNOWN - {error}", UNKNOWN_STATUS)
        except KeyboardInterrupt:
            leave(f"{name} UNKNOWN - interrupted", UNKNOWN_STATUS)
        except Exception as error:  # noqa: BLE001 - the one outermost handler
            leave(f"{name} {internal_error(error, verbose)}", UNKNOWN_STATUS)

    return outermost

"""Print the rounds as Prometheus metrics, for node_exporter's textfile collector.

They hold each check's state, its perfdata with the limits, and how long it took. Its text is left
out: as a label it would make a new series per run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import twiceshy
from twiceshy.command import roster, rounds
from twiceshy.command.rounds import Visit
from twiceshy.kit import options
from twiceshy.kit.limits import plain
from twiceshy.kit.plugin import CheckError

# Name, type, help; https://github.com/prometheus/docs exposition format 0.0.4.
FAMILIES = {
    "twiceshy_check_status": "State of a check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
    "twiceshy_check_applies": "Whether the check applies to this host.",
    "twiceshy_check_duration_seconds": "How long the check took.",
    "twiceshy_check_cpu_seconds": "CPU time that the check took.",
    "twiceshy_perfdata": "Performance data of a check, in the base unit that uom names.",
    "twiceshy_perfdata_limit": "The limits that the check compares the value with.",
    "twiceshy_rounds_timestamp_seconds": "Unix time at which the rounds were made.",
    "twiceshy_info": "The version of twiceshy.",
}


def exposition(found: Sequence[Visit], at: float) -> str:
    """The metrics in the text format: pure."""
    samples: dict[str, list[str]] = {family: [] for family in FAMILIES}

    def add(family: str, value: float, **labels: str) -> None:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        samples[family].append(f"{family}{{{inside}}} {plain(value)}" if inside else
                               f"{family} {plain(value)}")  # fmt: skip

    for visit in sorted(found, key=lambda visit: visit.name):
        add("twiceshy_check_applies", visit.state is not None, check=visit.name)
        if visit.state is None:
            continue
        add("twiceshy_check_status", int(visit.state), check=visit.name)
        add("twiceshy_check_duration_seconds", visit.seconds, check=visit.name)
        add("twiceshy_check_cpu_seconds", visit.cpu_seconds, check=visit.name)
        for number in visit.perfdata:
            names = {"check": visit.name, "label": number.label, "uom": number.uom}
            add("twiceshy_perfdata", number.value, **names)
            for limit, text in zip(("warning", "critical", "minimum", "maximum"), number.limits):
                # Ranges other than 0..N are no number; they stay out.
                with contextlib.suppress(ValueError):
                    add("twiceshy_perfdata_limit", float(text), **names, limit=limit)
    add("twiceshy_rounds_timestamp_seconds", at)
    add("twiceshy_info", 1, version=twiceshy.__version__)
    lines = []
    for family, words in FAMILIES.items():
        if samples[family]:
            lines += [f"# HELP {family} {words}", f"# TYPE {family} gauge", *samples[family]]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy metrics`."""
    to.add_argument("checks", nargs="*", metavar="CHECK", help="only these checks")
    to.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="replace FILE atomically instead of printing: a *.prom file in the directory that "
        "node_exporter's --collector.textfile.directory names",
    )
    to.add_argument(
        "-t",
        "--timeout",
        type=options.positive_duration,
        default="10s",
        metavar="DURATION",
        help="the timeout of each check (default: 10s)",
    )


def run(args: argparse.Namespace) -> int:
    """Make the rounds and write the metrics; the exit status says only whether that worked."""
    found = rounds.make(
        roster.chosen(args.checks), ["-v", "-t", f"{args.timeout:g}s"], args.timeout
    )
    text = exposition(found, time.time())
    if args.write is None:
        sys.stdout.write(text)
        return 0
    # node_exporter may read at any instant: it gets the old file or the new one.
    beside = args.write.with_name(f".{args.write.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.chmod(0o644)
        os.replace(beside, args.write)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise CheckError(f"{args.write} cannot be written: {error.strerror}") from error
    return 0

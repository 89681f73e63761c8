"""Draw what a check remembers, on the terminal or, with matplotlib, as PNG or SVG.

disk_growth: the history of a filesystem, its forecast and limits, and the windows that decided.
flapping and container_restarts: the restarts of a service or container on a time line.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from twiceshy.command import roster
from twiceshy.kit import history, options
from twiceshy.kit.figures import Curve


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy plot`."""
    to.add_argument("check", metavar="CHECK", help="a check that can draw what it remembers")
    to.add_argument(
        "subject",
        nargs="?",
        metavar="SUBJECT",
        help="filesystem, service or container (default: the one with the longest history)",
    )
    to.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write FILE.png or .svg, which needs matplotlib (default: a chart on the terminal)",
    )
    options.add_state_dir(to)


def run(args: argparse.Namespace) -> int:
    """Draw."""
    (entry,) = roster.with_part([args.check], "picture", "picture of its history")
    figure = roster.load(entry).picture(args.state_dir, args.subject, history.now())
    if args.output is None:
        from twiceshy.command.plot import terminal

        size = shutil.get_terminal_size((100, 30))
        is_unicode = "utf" in (sys.stdout.encoding or "").lower()
        height = min(24, max(8, size.lines - 8))
        draw = terminal.curve if isinstance(figure, Curve) else terminal.timeline
        print(draw(figure, size.columns, height, is_unicode))
        return 0
    from twiceshy.command.plot import image

    image.draw(figure, args.output)
    print(args.output)
    return 0

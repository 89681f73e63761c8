"""Write ready-made definitions of the checks, for the monitoring system in use.

They cover the checks that apply to this host, with every option that each check takes.
"""

# One module per consumer, each with one pure function: declared checks and a `Place` in, text by
# file name out. The options come from the checks' own parsers, so that definitions cannot drift
# from them; contrib/ is written by the same functions.

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from twiceshy.command import roster
from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration
from twiceshy.kit.plugin import CheckError

# Consumer, and what one does with what is printed.
CONSUMERS = {
    "nagios": "Nagios Core and Naemon: commands and services (also Shinken, Centreon's poller)",
    "icinga2": "Icinga 2: CheckCommands with every option as a custom variable, and apply rules",
    "sensu": "Sensu Go: CheckConfigs for sensuctl create",
    "sensu-classic": "Sensu 1.x: a file for /etc/sensu/conf.d",
    "nrpe": "NRPE: commands for /etc/nagios/nrpe.d",
    "checkmk": "Checkmk: lines for the agent's mrpe.cfg",
    "zabbix": "Zabbix agent: UserParameters, and a template that reads them",
    "prometheus": "Prometheus: a textfile collector by systemd timer, and alerting rules",
    "systemd": "systemd: timers with mail on failure, for hosts without any monitoring",
    "cron": "cron: mail when a state changes, for hosts without any monitoring",
}

Files = dict[str, str]
Writer = Callable[[Sequence[Declaration], Place], Files]


def writer(consumer: str) -> Writer:
    """The function `files(declared checks, place)` of a consumer."""
    module = importlib.import_module(f"twiceshy.command.define.{consumer.replace('-', '_')}")
    made: Writer = module.files
    return made


def written(consumer: str, checks: Sequence[Declaration], place: Place) -> str:
    """What is printed: one file as it is, several each under a comment with its name."""
    files = writer(consumer)(checks, place)
    if len(files) == 1:
        return next(iter(files.values()))
    return "\n".join(f"### file: {name}\n{text}" for name, text in files.items())


def add_arguments(to: argparse.ArgumentParser) -> None:
    """The options of `twiceshy define`."""
    to.formatter_class = argparse.RawDescriptionHelpFormatter
    to.epilog = "consumers:\n" + "\n".join(
        f"  {name:14} {purpose}" for name, purpose in CONSUMERS.items()
    )
    to.add_argument("consumer", choices=sorted(CONSUMERS), metavar="CONSUMER", help="see below")
    to.add_argument(
        "checks", nargs="*", metavar="CHECK", help="only these checks (default: all that apply)"
    )
    to.add_argument(
        "--all",
        action="store_true",
        help="every check, including those that do not apply to this host",
    )
    to.add_argument("--host", default=socket.gethostname(), help="host name (default: this one's)")
    to.add_argument(
        "--plugin-dir",
        default="",
        metavar="DIR",
        help="directory of the checks, as the consumer writes it (default: where they are here)",
    )
    to.add_argument(
        "--mail", default="root", help="who gets mail from systemd and cron (default: root)"
    )
    to.add_argument(
        "--user", default="nagios", help="the user that the checks run as (default: nagios)"
    )
    to.add_argument(
        "--into", type=Path, metavar="DIR", help="write files into DIR instead of printing them"
    )


def run(args: argparse.Namespace) -> int:
    """Print or write the definitions; what does not apply here goes to stderr."""
    checks, reasons = roster.declare(roster.chosen(args.checks))
    for name, reason in reasons.items():
        if not args.all and not args.checks:
            print(f"twiceshy define: skipped {name}: {reason}", file=sys.stderr)
    if not args.all and not args.checks:
        checks = [check for check in checks if check.name not in reasons]
    if not checks:
        raise CheckError("no check applies to this host; --all defines them anyway")
    place = Place(
        host=args.host,
        plugin_dir=args.plugin_dir,
        user=args.user,
        mail=args.mail,
        twiceshy=itself(),
    )
    if args.into is None:
        sys.stdout.write(written(args.consumer, checks, place))
        return 0
    for name, text in writer(args.consumer)(checks, place).items():
        target = args.into / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        except OSError as error:
            raise CheckError(f"{target} cannot be written: {error.strerror}") from error
        print(target)
    return 0


def itself() -> str:
    """How the `twiceshy` command is called on this host."""
    beside = Path(sys.executable).parent / "twiceshy"
    if os.access(beside, os.X_OK):
        return str(beside)
    checkout = roster.BESIDE.parent / "try"
    return shutil.which("twiceshy") or (str(checkout) if checkout.is_file() else "twiceshy")

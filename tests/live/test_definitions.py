"""Real Nagios and real Icinga read what `twiceshy define` wrote for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from conftest import CHECKS, ROOT, SBIN
from test_definitions import declared
from twiceshy.command import define as definitions
from twiceshy.command import roster
from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration

pytestmark = pytest.mark.live

NAMES = {check.stem[len("check_") :] for check in CHECKS}


def everything() -> list[Declaration]:
    """All checks of this project, and the strangest that the fast tests know."""
    checks, reasons = roster.declare([entry for entry in roster.found() if entry.name in NAMES])
    assert {check.name for check in checks} == NAMES, reasons
    return [*checks, declared()]


def ran(*argv: object) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(
        [str(word) for word in argv],
        env={**os.environ, "PATH": f"{os.environ['PATH']}:{SBIN}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_nagios_takes_every_definition(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("nagios4")
    text = definitions.written("nagios", everything(), Place(host="localhost"))
    (tmp_path / "twiceshy.cfg").write_text(text)
    objects = "/etc/nagios4/objects"
    (tmp_path / "more.cfg").write_text(
        # Debian's sample objects use commands of packages that need not be here.
        "define command {\n command_name check-host-alive\n command_line /bin/true\n}\n"
        "define command {\n command_name notify-host-by-email\n command_line /bin/true\n}\n"
        "define command {\n command_name notify-service-by-email\n command_line /bin/true\n}\n"
        "define host {\n use linux-server\n host_name localhost\n address 127.0.0.1\n}\n"
    )
    (tmp_path / "nagios.cfg").write_text(
        "".join(
            f"cfg_file={file}\n"
            for file in (
                *(f"{objects}/{name}.cfg" for name in ("contacts", "timeperiods", "templates")),
                tmp_path / "more.cfg",
                tmp_path / "twiceshy.cfg",
            )
        )
        + f"resource_file=/etc/nagios4/resource.cfg\nlog_file={tmp_path}/log\n"
        f"check_result_path={tmp_path}\ntemp_path={tmp_path}\nillegal_macro_output_chars=`~$&|\n"
        "nagios_user=root\nnagios_group=root\n"
        f"command_file={tmp_path}/cmd\nlock_file={tmp_path}/lock\nstatus_file={tmp_path}/status\n"
    )
    said = ran("nagios4", "-v", tmp_path / "nagios.cfg")
    assert f"Checked {len(NAMES) + 1} services" in said
    assert "Total Warnings: 0" in said, said
    assert "Total Errors:   0" in said


def test_icinga_takes_every_definition(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("icinga2")
    text = definitions.written("icinga2", everything(), Place(host="web1"))
    (tmp_path / "twiceshy.conf").write_text(text)
    (tmp_path / "icinga2.conf").write_text(
        'const PluginDir = "/usr/lib/nagios/plugins"\nconst PluginContribDir = PluginDir\n'
        'const NodeName = "web1"\nconst ZoneName = NodeName\nconst ManubulonPluginDir = PluginDir\n'
        "include <itl>\ninclude <plugins>\n"
        "object Endpoint NodeName {}\nobject Zone ZoneName { endpoints = [ NodeName ] }\n"
        'object Host "web1" { check_command = "hostalive" }\n'
        'object Host "web2" { check_command = "hostalive"\n vars.twiceshy = [ "hens" ] }\n'
        'object Host "web3" { check_command = "hostalive" }\n'
        f'include "{tmp_path}/twiceshy.conf"\n'
    )
    for name in ("cache", "data", "run"):
        (tmp_path / name).mkdir()
    said = ran(
        "env",
        "ICINGA2_USER=root",
        "ICINGA2_GROUP=root",
        "icinga2",
        "daemon",
        "-C", "-c", tmp_path / "icinga2.conf",
        "-D", f"DataDir={tmp_path}/data", "-D", f"LogDir={tmp_path}",
        "-D", f"CacheDir={tmp_path}/cache", "-D", f"InitRunDir={tmp_path}/run",
    )  # fmt: skip
    # All on this host, and what web2 asks for by its custom variable; web3 asks for nothing.
    assert f"Instantiated {len(NAMES) + 2} Services" in said
    assert "warning/" not in said.replace("warning/ApiListener", ""), said


def test_nrpe_definitions_name_programs_that_can_be_run(
    needs: Callable[..., None], tmp_path: Path
) -> None:
    needs()
    said = ran(
        "env", f"PYTHONPATH={ROOT / 'checks'}", sys.executable, "-m", "twiceshy",
        "define", "nrpe", "--all",
    )  # fmt: skip
    paths = [line.partition("=")[2] for line in said.splitlines() if line.startswith("command[")]
    assert len(paths) == len(NAMES)
    assert all(os.access(path, os.X_OK) for path in paths)

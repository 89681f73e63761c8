"""Our reading against the real `logrotate -d`, on this host's own files and a few hundred mutants.

tests/live/test_log_rotation.py does the same with files of many Debian packages; run
tests/logrotate_agreement.py to compare all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

MUTANTS = 250


def test_nearly_all_readings_equal_those_of_logrotate(capsys: pytest.CaptureFixture[str]) -> None:
    logrotate = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if logrotate is None or os.geteuid() != 0:
        pytest.skip(
            "logrotate is not installed, or this is not root: the live tests make up for it"
        )
    files = [str(ROOT / "tests/data/log_rotation")]
    files += ["/etc/logrotate.d"] if Path("/etc/logrotate.d").is_dir() else []
    ran = subprocess.run(
        [
            sys.executable, str(ROOT / "tests/logrotate_agreement.py"), "--json",
            "--mutants", str(MUTANTS), "--logrotate", logrotate, *files,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode and "no mount namespace" in ran.stderr:
        pytest.skip("no rights to a mount namespace: the live tests make up for it")
    result = json.loads(ran.stdout)
    share = result["equal"] / result["files"]
    with capsys.disabled():
        print(f"\nagreement with logrotate: {result['equal']} of {result['files']} readings")
    assert share >= 0.995, result["differing"]
    assert not [one["name"] for one in result["differing"] if not one["name"].startswith("mutant")]

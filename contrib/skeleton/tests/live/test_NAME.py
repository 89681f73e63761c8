"""check_NAME on a systemd of our own, which refuses logins for real."""

from __future__ import annotations

from typing import Callable

import pytest

from live.lab import PROGRAMS, Lab

pytestmark = pytest.mark.live


# FILL ME IN: the real thing in its real fault, asked as an ordinary user. Debian packages that it
# needs stand in tests/live/packages, a file for each subject.
def test_logins_that_systemd_refuses_alarm_until_it_allows_them(
    needs: Callable[..., None],
) -> None:
    needs(*PROGRAMS)
    with Lab() as lab:
        script = lab.install_checks() + "/check_NAME.py"
        lab.run(["install", "-d", "-o", "nobody", "-m", "0700", "/var/lib/nobody"])

        def status() -> int:
            argv = ["/usr/bin/python3", script, "--state-dir", "/var/lib/nobody", "-c", "0s"]
            return lab.run(argv, user="nobody").returncode

        lab.run(["/lib/systemd/systemd-user-sessions", "start"])
        assert status() == 0
        lab.run(["/lib/systemd/systemd-user-sessions", "stop"])
        assert status() == 2
        lab.run(["/lib/systemd/systemd-user-sessions", "start"])
        assert status() == 0

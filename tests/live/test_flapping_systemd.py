"""check_flapping against a real systemd, as root and as a user who may not read the journal."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.lab import PROGRAMS, Lab

pytestmark = pytest.mark.live

FOR_EVER = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\n"
UNITS = {
    # The unit that every other check sleeps through: up 2.5 s of 3.5.
    "slow": FOR_EVER + "RestartSec=1\nExecStart=/bin/sh -c "
    "'echo reading web.conf; sleep 2.5; echo cannot bind to port 80; exit 3'\n",
    "instant": "[Service]\nRestart=always\nExecStart=/bin/false\n",
    "clean": FOR_EVER + "RestartSec=100ms\nExecStart=/bin/sleep 0.5\n",
    "watched": FOR_EVER + "RestartSec=100ms\nType=notify\nNotifyAccess=all\nWatchdogSec=500ms\n"
    "ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n",
    "steady": "[Service]\nRestart=always\nExecStart=/bin/sleep 100000\nExecReload=/bin/true\n",
    "byhand": "[Service]\nRestart=always\nExecStart=/bin/sleep 100000\n",
    # The outage that the check was learned from, staged.
    "logger": FOR_EVER
    + "RestartSec=50ms\nExecStart=/usr/sbin/rsyslogd -n -iNONE -f /run/rs.conf\n",
    "asked": "[Service]\nExecStart=/bin/true\n",
    "once": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
}
MISTAKEN = 'global(abortOnUncleanConfig="on")\nmodule(load="nosuch")\n'
MENDED = 'module(load="imuxsock" SysSock.Name="/run/rs.sock")\n*.* /dev/null\n'
STATE = "/var/lib/nagios"


class Inside:
    """The lab, and the check in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.script = lab.install_checks() + "/check_flapping.py"

    def systemctl(self, *args: str) -> str:
        ran = self.lab.run(["systemctl", *args])
        assert ran.returncode == 0, (args, ran.stderr)
        return ran.stdout.strip()

    def check(
        self, *args: str, user: str | None = None, groups: tuple[str, ...] = (), path: str = ""
    ) -> tuple[int, str]:
        """Exit status and output; an unprivileged user keeps the history in its own directory."""
        where = STATE if user else "/var/lib/twiceshy"
        argv = ["/usr/bin/python3", self.script, "--state-dir", where, *args]
        env = {"PATH": f"{path}:/usr/bin:/bin"} if path else None
        ran = self.lab.run(argv, user=user, groups=groups, env=env)
        assert ran.stderr == ""
        return ran.returncode, ran.stdout.strip()

    def restarts(self, unit: str) -> int:
        return int(self.systemctl("show", "-P", "NRestarts", unit))


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    with Lab() as lab:
        here = Inside(lab)
        for name, text in UNITS.items():
            lab.unit(f"{name}.service", text)
        lab.write("/run/rs.conf", MISTAKEN)
        here.systemctl("daemon-reload")
        here.systemctl("start", "--no-block", "slow", *UNITS)
        lab.run(["install", "-d", "-m", "700", "-o", "nobody", "-g", "nogroup", STATE])
        yield here


@pytest.fixture(autouse=True)
def _programs(needs) -> None:  # type: ignore[no-untyped-def]
    needs(*PROGRAMS, "dbus-daemon", "loginctl", "rsyslogd", "runuser", "useradd")


def test_a_start_limit_that_was_hit_is_given_up(inside):
    inside.lab.wait_for(
        lambda: inside.systemctl("show", "-P", "ActiveState", "instant") == "failed", "giving up"
    )
    for user in (None, "nobody"):
        status, output = inside.check("--service", "instant", user=user)
        assert status == 2
        assert output.startswith("FLAPPING CRITICAL - instant has been down for ")
        assert (
            "start limit hit: systemd gave up after 5 restarts, last exit status 1"
            in (output.splitlines()[0])
        )


def test_exits_with_status_0_for_ever_are_critical_unless_that_is_its_way(inside):
    inside.lab.wait_for(lambda: inside.restarts("clean") >= 7, "restarts of clean")
    status, output = inside.check("--service", "clean")
    assert (status, "exit status 0 after 0.5s" in output) == (2, True)
    status, output = inside.check("--service", "clean", "--clean-exit-ok")
    assert (status, output.split()[1]) == (0, "OK")


def test_a_watchdog_is_named(inside):
    inside.lab.wait_for(lambda: inside.restarts("watched") >= 7, "restarts of watched")
    status, output = inside.check("--service", "watched")
    assert (status, ": watchdog (signal ABRT) after " in output.splitlines()[0]) == (2, True)


def test_reload_reexec_and_a_deploy_are_fine(inside):
    for user in (None, "nobody"):
        assert inside.check("--service", "steady", user=user)[0] == 0
    inside.systemctl("reload", "steady")
    inside.systemctl("daemon-reload")
    inside.systemctl("daemon-reexec")
    for user in (None, "nobody"):
        status, output = inside.check("--service", "steady", user=user)
        assert status == 0
        assert ", no restarts in 15m | steady_restarts=0;2;5;0 " in output
    inside.systemctl("restart", "steady")
    for user in (None, "nobody"):
        status, output = inside.check("--service", "steady", user=user)
        assert status == 0
        assert ", 1 manual restart in 15m | steady_restarts=0;2;5;0 " in output


def test_a_loop_of_restarts_by_hand_is_critical(inside):
    for _ in range(7):
        inside.systemctl("restart", "byhand")
        inside.systemctl("reset-failed", "byhand")
        inside.check("--service", "byhand", user="nobody")
    for user in (None, "nobody"):
        status, output = inside.check("--service", "byhand", user=user)
        assert status == 2
        assert ", not by systemd but manually or by a script; up " in output.splitlines()[0]


def test_what_was_started_on_purpose_and_has_ended_is_fine(inside):
    for name in ("asked", "once"):
        for _ in range(4):
            inside.systemctl("start", name)
    status, output = inside.check("--include", "asked", "--include", "once")
    assert (status, output.split()[1]) == (0, "OK")


def test_rsyslogd_with_a_mistake_in_its_configuration_until_it_is_mended(inside):
    inside.lab.wait_for(lambda: inside.restarts("logger") >= 7, "restarts of rsyslogd")
    assert inside.check("--service", "logger", user="nobody")[0] in (1, 2)
    inside.systemctl("reset-failed", "logger")
    inside.lab.wait_for(lambda: inside.restarts("logger") >= 7, "restarts after reset-failed")
    for user in (None, "nobody"):
        status, output = inside.check("--service", "logger", user=user)
        assert status == 2, output
    first = inside.check("--service", "logger")[1].splitlines()[0]
    assert ": exit status 1" in first
    inside.lab.write("/run/rs.conf", MENDED)

    def fine() -> bool:
        window = ("--service", "logger", "--window", "4s")
        return {inside.check(*window, user=user)[0] for user in (None, "nobody")} == {0}

    inside.lab.wait_for(fine, "one quiet window", 60)


def test_a_name_that_is_not_there_is_missing(inside):
    status, output = inside.check("--service", "stedy")
    assert (status, output.splitlines()[0]) == (
        2, "FLAPPING CRITICAL - stedy is not a service of any supervisor on this host",
    )  # fmt: skip


def test_a_unit_that_dies_every_few_seconds_while_all_others_see_it_up(inside):
    inside.lab.wait_for(lambda: inside.restarts("slow") >= 6, "restarts of slow", 60)
    inside.lab.wait_for(
        lambda: inside.systemctl("show", "-P", "SubState", "slow") == "running", "a life of slow"
    )
    # What a process check and a check of the unit's state see at the same instant.
    lab = inside.lab
    pid = inside.systemctl("show", "-P", "MainPID", "slow")
    assert lab.run(["ps", "-o", "stat=", "-p", pid]).stdout.strip()[:1] in ("S", "R")
    assert lab.run(["systemctl", "is-active", "slow"]).stdout == "active\n"
    assert lab.run(["systemctl", "is-failed", "slow"]).returncode != 0
    assert "slow" not in lab.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    # Root, on the very first run over this state directory.
    lab.run(["rm", "-rf", "/var/lib/twiceshy"])
    status, output = inside.check("--service", "slow")
    first = output.splitlines()[0]
    assert status == 2
    assert first.startswith("FLAPPING CRITICAL - slow restarted ")
    assert " in 15m (limit 5), every 3." in first
    assert ": exit status 3 after 2." in first
    assert first.rstrip().endswith('says "cannot bind to port 80"')
    assert "Next: journalctl -u slow -n 50 | slow_restarts=" in output
    # A user in the journal's group sees the same; the lab has no tmpfiles to hand it over.
    journal = "/run/log/journal"
    lab.run(["chgrp", "-R", "systemd-journal", journal])
    status, output = inside.check("--service", "slow", user="nobody", groups=("systemd-journal",))
    assert (status, "exit status 3" in output) == (2, True)
    lab.run(["chgrp", "-R", "root", journal])
    # Nobody, within two runs.
    lab.run(["find", STATE, "-type", "f", "-delete"])
    first_status, _ = inside.check("--service", "slow", user="nobody")
    before = inside.restarts("slow")
    lab.wait_for(lambda: inside.restarts("slow") > before + 5, "six more restarts", 60)
    second_status, output = inside.check("--service", "slow", user="nobody")
    assert (first_status in (1, 2), second_status) == (True, 2)
    assert "not allowed to read the journal" in output
    assert "Next: sudo journalctl -u slow -n 50" in output


def test_a_whole_host_names_the_worst_and_how_many_more(inside):
    status, output = inside.check()
    assert status == 2
    assert len(output.encode()) <= 1024
    assert " more)" in output.splitlines()[0]
    assert " | services=" in output


@pytest.fixture
def ann(inside: Inside) -> Iterator[list[str]]:
    """A user who lingers, so that systemd keeps a manager for her; how to run something as she."""
    lab = inside.lab
    for group in lab.traces[1:]:
        os.chmod(group, 0o755)  # her manager must be able to walk to its cgroup
    lab.run(["useradd", "-m", "ann"])
    lab.write("/home/ann/.config/systemd/user/hers.service", UNITS["slow"])
    lab.run(["loginctl", "enable-linger", "ann"])
    uid = lab.run(["id", "-u", "ann"]).stdout.strip()
    manager = lab.path(f"/run/user/{uid}/systemd/private")
    lab.wait_for(manager.exists, "ann's manager")
    yield ["runuser", "-u", "ann", "--", "env", f"XDG_RUNTIME_DIR=/run/user/{uid}"]
    lab.run(["loginctl", "disable-linger", "ann"])
    inside.systemctl("stop", f"user@{uid}")
    lab.run(["userdel", "-r", "ann"])


def test_a_service_of_a_user_s_own_manager_is_seen_by_root_and_by_her(inside, ann):
    lab = inside.lab
    assert lab.run([*ann, "systemctl", "--user", "start", "hers"]).returncode == 0

    def restarts() -> int:
        shown = lab.run([*ann, "systemctl", "--user", "show", "-P", "NRestarts", "hers"])
        return int(shown.stdout)

    lab.wait_for(lambda: restarts() >= 6, "restarts of ann's", 60)
    status, output = inside.check("--service", "ann/hers")
    first = output.splitlines()[0]
    assert (status, ": exit status 3 after 2." in first) == (2, True), output
    assert first.startswith("FLAPPING CRITICAL - ann/hers restarted ")
    assert first.rstrip().endswith('says "cannot bind to port 80"')
    assert "_SYSTEMD_USER_UNIT=hers.service -n 50 |" in output
    check = [*ann, "/usr/bin/python3", inside.script, "--state-dir", "/home/ann/state"]
    lab.run([*check, "--service", "ann/*"])  # without the journal it counts from run to run
    before = restarts()
    lab.wait_for(lambda: restarts() > before + 5, "six more restarts", 60)
    hers = lab.run([*check, "--service", "ann/*"]).stdout
    assert hers.startswith("FLAPPING CRITICAL - ann/hers restarted ")
    # Nobody may ask her manager, and is not told of it.
    assert "ann" not in inside.check("--include", "*/*", user="nobody")[1]
    assert "ann" not in inside.check("--exclude", "*/*")[1]


def test_a_user_s_manager_that_hangs_is_critical_and_costs_no_other_service(inside, ann):
    lab = inside.lab
    (manager,) = lab.run(["pgrep", "-u", "ann", "-x", "systemd"]).stdout.split()
    lab.run(["kill", "-STOP", manager])
    status, output = inside.check("--include", "steady", "--include", "*/*")
    lab.run(["kill", "-CONT", manager])
    assert status == 2
    assert output.startswith("FLAPPING CRITICAL - ann's systemd hangs: systemctl did not answer ")
    assert f"Next: ps -p {manager} -o stat | services=1;" in output


COUNTING = """#!/bin/sh
echo "$0" >> /run/asked
exec /usr/bin/$(basename "$0") "$@"
"""


def test_three_hundred_services_cost_one_systemctl_and_one_journalctl(inside):
    lab = inside.lab
    lab.unit("many@.service", "[Service]\nRestart=always\nExecStart=/bin/sleep 100000\n")
    inside.systemctl("daemon-reload")
    inside.systemctl("start", *(f"many@{n}" for n in range(300)))
    for program in ("systemctl", "journalctl"):
        lab.write(f"/opt/counting/{program}", COUNTING, 0o755)
    status, output = inside.check("--include", "many@*", path="/opt/counting")
    assert status == 0
    assert output.startswith("FLAPPING OK - 300 services watched, none restarted in 15m | ")
    asked = lab.path("/run/asked").read_text().split()
    assert sorted(asked) == ["/opt/counting/journalctl", "/opt/counting/systemctl"]
    # With offenders, and their last words, it is no more.
    lab.path("/run/asked").write_text("")
    status, output = inside.check(path="/opt/counting")
    assert status == 2
    asked = lab.path("/run/asked").read_text().split()
    assert sorted(asked) == ["/opt/counting/journalctl", "/opt/counting/systemctl"]


def test_a_systemctl_that_hangs_is_critical_and_a_journalctl_costs_the_causes_only(inside):
    lab = inside.lab
    lab.write("/opt/hanging/systemctl", "#!/bin/sh\nexec sleep 4321\n", 0o755)
    status, output = inside.check("--service", "steady", "-t", "2s", path="/opt/hanging")
    assert status == 2
    assert output.startswith("FLAPPING CRITICAL - systemd hangs: systemctl did not answer within ")
    lab.write("/opt/deaf/journalctl", "#!/bin/sh\nexec sleep 4321\n", 0o755)
    status, output = inside.check("--service", "steady", "-t", "3s", "-v", path="/opt/deaf")
    assert (status, "journalctl did not answer" in output) == (0, True)
    assert lab.run(["pgrep", "-fx", "sleep 4321"]).stdout == ""


def test_the_lab_leaves_nothing_behind():
    def processes(namespace: str) -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/ns/pid"):
            with contextlib.suppress(OSError):
                found += [str(path)] if os.readlink(path) == namespace else []
        return found

    with Lab() as lab:
        lab.run(["systemd-run", "sleep", "100000"])
        namespace = os.readlink(f"/proc/{lab.pid}/ns/pid")
        assert len(processes(namespace)) >= 3
        assert all(os.path.isdir(path) for path in lab.traces)
    until = time.monotonic() + 20
    while processes(namespace) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes(namespace) == []
    assert [path for path in lab.traces if os.path.exists(path)] == []
    assert lab.traces[0] not in Path("/proc/self/mountinfo").read_text()

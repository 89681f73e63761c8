"""The check on made-up hosts: what each misconfiguration is called, and what must stay quiet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from contract import Case
from sides.log_rotation import DAY, Machine
from twiceshy.kit import units
from twiceshy.kit.limits import Limit
from twiceshy.log_rotation import judgement, runs
from twiceshy.log_rotation.logrotate import access, container_logs, grammar, timetable
from twiceshy.log_rotation.logrotate.codes import CODES
from twiceshy.log_rotation.logrotate.host import HostPaths, process_age
from twiceshy.log_rotation.logrotate.schedule import schedule
from twiceshy.log_rotation.program import options
from twiceshy.log_rotation.records import (
    Configuration,
    ContainerLog,
    ContainerLogs,
    Hidden,
    Logs,
    Observation,
    OpenLogs,
    Schedule,
    Standing,
    StateFile,
)
from twiceshy.log_rotation.settings import Limits
from twiceshy.log_rotation.unrotated import containers


def contract_case(tmp_path: Path) -> Case:
    """An ordinary run: a configuration of its own, with a log whose name is hostile."""
    logs = tmp_path / "logs|x"
    logs.mkdir(exist_ok=True)
    (logs / "a|b.log").write_text("x")
    config = tmp_path / "logrotate.conf"
    config.write_text(f'daily\nrotate 3 # x\n"{logs}/*.log" {{\n}}\n')
    return Case(
        [
            "--config",
            str(config),
            "--log-dir",
            str(logs),
            "--logrotate-version",
            "3.21",
            "--no-docker",
        ]
    )


def hanging_case(tmp_path: Path) -> Case:
    """A logrotate that never says its version."""
    program = tmp_path / "bin" / "logrotate"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return Case(["--no-docker"], {"PATH": f"{program.parent}:/usr/bin:/bin"})


BIG = 200 * 1024 * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_host_whose_logs_are_all_rotated_is_fine(machine: Machine) -> None:
    machine.stanza("app", "daily", "missingok")
    machine.log("app.log")
    machine.log("app.log.1")
    machine.state({"app.log": 7 * 3600})
    check = machine.check()
    assert check.exitcode == 0
    assert check.findings[0].text == (
        "1 log of 1 stanza is rotated as intended, last run 7h ago by "
        f"{machine.etc}/cron.daily/logrotate"
    )


def test_the_outage_of_2014_is_critical_at_the_first_run(machine: Machine) -> None:
    machine.stanza("player", "daily", "rotate 7   # one week", "compress")
    log = machine.log("player.log", size=BIG, age=1)
    check = machine.check()
    assert check.exitcode == 2
    assert check.findings[0].text == (
        f"{log} (200MiB) will not be rotated: {machine.etc}/logrotate.d/player:3: "
        "`rotate 7   # one week`: "
        "not a number (logrotate allows no comment after a value), and logrotate drops the stanza"
    )
    assert check.output().count("\nNext: sed -n 3p ") == 1


def test_the_second_run_knows_how_fast_the_lost_log_grows(machine: Machine) -> None:
    machine.stanza("player", "size 10MB")
    machine.log("player.log", size=BIG, age=1)
    machine.check()
    machine.log("player.log", size=3 * BIG, age=-300)
    assert "600MiB, growing 4.7GiB per hour" in machine.check(later=300).findings[0].text


# The scenario table. L numbers are those of the facts.


def two(machine: Machine, one: str, other: str, **logs: int) -> None:
    machine.drop_in("1", one)
    machine.drop_in("2", other)
    for name, size in logs.items():
        machine.log(f"{name}.log", size)


def test_a_group_writable_drop_in_is_ignored_although_the_status_is_0(machine: Machine) -> None:
    path = machine.drop_in("app", "LOG/app.log {\n daily\n}\n", mode=0o664)
    machine.log("app.log")
    assert machine.codes() == {"config-writable": "critical"}
    # Not a chmod to paste: others may have written scripts into it that root would run.
    following = machine.check().findings[0].next
    assert following == f"ls -l {path}   # read it, then chown root, chmod 0644"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_foreign_owner_loses_the_file_and_a_foreign_group_does_not(machine: Machine) -> None:
    path = machine.drop_in("app", "LOG/app.log {\n daily\n}\n")
    machine.log("app.log")
    os.chown(path, 0, 1000)
    assert machine.codes() == {}
    os.chown(path, 1000, 0)
    assert machine.codes() == {"config-owner": "critical"}


def test_an_error_above_the_include_loses_everything(machine: Machine) -> None:
    machine.main("weekly\nrotate 4 # keep\ninclude {etc}/logrotate.d\n")
    machine.stanza("app", "daily")
    machine.log("app.log")
    check = machine.check()
    assert check.exitcode == 2
    assert (
        "and logrotate ignores everything that follows, included files too"
        in check.findings[0].text
    )
    assert str(machine.logs / "app.log") in check.findings[0].text


def test_a_bad_weekday_loses_the_rest_of_the_file(machine: Machine) -> None:
    machine.drop_in(
        "app",
        "".join(
            f"LOG/{one}.log {{\n weekly {'# sunday' if one == 'a' else ''}\n}}\n" for one in "abc"
        ),
    )
    for name in "abc":
        machine.log(f"{name}.log")
    check = machine.check()
    assert check.exitcode == 2
    assert "(+2 logs)" in check.findings[0].text


@pytest.mark.parametrize("size", ["10MB", "50m", "1.5G", "5T"])
def test_a_size_with_a_unit_that_logrotate_does_not_know_is_critical(
    machine: Machine, size: str
) -> None:
    machine.stanza("app", f"size {size}")
    machine.log("app.log")
    assert machine.codes() == {"config-error": "critical"}


def test_a_misspelt_directive_falls_back_in_silence(machine: Machine) -> None:
    machine.stanza("app", "dailly")
    machine.log("app.log")
    check = machine.check()
    assert check.exitcode == 1
    assert "'dailly' is not a directive" in check.findings[0].text
    assert "did you mean `daily`?" in check.findings[0].text


def test_a_missing_brace_between_two_stanzas_loses_both(machine: Machine) -> None:
    machine.drop_in("app", "LOG/a.log {\n daily\nLOG/b.log {\n daily\n}\n")
    machine.log("a.log")
    machine.log("b.log")
    check = machine.check()
    assert check.exitcode == 2
    assert "(+1 log)" in check.findings[0].text


def test_a_missing_last_brace_is_a_warning_since_it_works(machine: Machine) -> None:
    machine.drop_in("app", "LOG/a.log {\n daily\n")
    machine.log("a.log")
    assert machine.codes() == {"config-unclosed": "warning"}


def test_a_duplicate_loses_the_rest_of_its_glob(machine: Machine) -> None:
    two(machine, "LOG/b.log {\n daily\n}\n", "LOG/*.log {\n daily\n}\n", a=10, b=10, c=10)
    check = machine.check()
    assert machine.codes() == {"config-duplicate": "critical"}
    assert check.findings[0].text.startswith(f"{machine.logs}/c.log")


def test_ignoreduplicates_helps_in_the_first_stanza_and_not_in_the_second(machine: Machine) -> None:
    two(machine, "LOG/b.log {\n ignoreduplicates\n}\n", "LOG/*.log {\n daily\n}\n", a=10, b=10)
    assert machine.codes() == {}
    two(machine, "LOG/b.log {\n daily\n}\n", "LOG/*.log {\n ignoreduplicates\n}\n", a=10, b=10)
    assert machine.codes() == {"config-duplicate": "warning"}


@pytest.mark.parametrize(
    ("mode", "su", "expected"),
    [
        (0o775, "", {} if os.getegid() == 0 else {"insecure-parent": "critical"}),
        (0o1777, "", {"insecure-parent": "critical"}),
        (0o777, "su root root", {}),
        (0o755, "", {}),
    ],
)
def test_who_may_write_to_the_directory_decides(
    machine: Machine, mode: int, su: str, expected: dict[str, str]
) -> None:
    machine.stanza("app", "daily", *([su] if su else []), glob="LOG/app/app.log")
    machine.log("app/app.log")
    (machine.logs / "app").chmod(mode)
    assert machine.codes() == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_directory_of_another_group_that_may_write_is_refused_without_su(
    machine: Machine,
) -> None:
    machine.stanza("app", "daily", glob="LOG/app/app.log")
    machine.log("app/app.log")
    (machine.logs / "app").chmod(0o775)
    os.chown(machine.logs / "app", 0, 4)
    assert machine.codes() == {"insecure-parent": "critical"}
    machine.stanza("app", "daily", "su root adm", glob="LOG/app/app.log")
    assert machine.codes() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_su_to_a_user_that_may_not_write_is_critical(machine: Machine) -> None:
    machine.stanza("app", "daily", "su nobody nogroup", glob="LOG/app/app.log")
    machine.log("app/app.log")
    assert machine.codes() == {"su-cannot-write": "critical"}


# By getfacl(1) on ext4, Linux 6: user::rwx user:65534:rwx group::r-x mask::rwx other::r-x, and
# user::rwx group::r-x group:65534:rwx mask::r-x other::r-x.
GRANTED = bytes.fromhex(
    "0200000001000700ffffffff02000700feff000004000500ffffffff10000700ffffffff20000500ffffffff"
)
MASKED = bytes.fromhex(
    "0200000001000700ffffffff04000500ffffffff08000700feff000010000500ffffffff20000500ffffffff"
)


@pytest.mark.parametrize(
    ("mode", "owner", "acl", "may"),
    [
        (0o755, (0, 0), b"", False), (0o700, (65534, 0), b"", True),
        (0o775, (0, 65534), b"", True), (0o577, (65534, 65534), b"", False),
        (0o705, (0, 65534), b"", False), (0o707, (0, 65534), b"", False),
        (0o707, (0, 0), b"", True),
        (0o775, (0, 0), GRANTED, True), (0o755, (0, 0), MASKED, False),
        (0o755, (0, 0), b"\2\0\0\0torn", False), (0o757, (0, 0), b"\3\0\0\0", True),
    ],
)  # fmt: skip
def test_who_may_rename_in_a_directory(
    mode: int, owner: tuple[int, int], acl: bytes, may: bool
) -> None:
    assert access.may_rename(mode, *owner, acl, 65534, 65534) is may


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_su_to_a_user_to_whom_an_acl_grants_the_directory_is_fine(machine: Machine) -> None:
    machine.stanza("app", "daily", "su nobody nogroup", glob="LOG/app/app.log")
    folder = machine.log("app/app.log").parent
    try:
        os.setxattr(folder, access.ATTRIBUTE, GRANTED)
    except OSError as error:
        pytest.skip(f"no ACLs on this file system: {error.strerror}")
    assert machine.codes() == {}
    os.setxattr(folder, access.ATTRIBUTE, MASKED)
    assert machine.codes() == {"su-cannot-write": "critical"}


def test_what_a_removed_package_leaves_behind_is_a_remark(machine: Machine) -> None:
    machine.stanza("gone", "create 0640 nosuchuser adm", glob="LOG/gone/*.log")
    check = machine.check()
    assert check.exitcode == 0
    assert "unknown user 'nosuchuser'" in "\n".join(check.remarks)


def test_the_same_left_over_is_critical_while_its_logs_grow(machine: Machine) -> None:
    machine.stanza("gone", "create 0640 nosuchuser adm", glob="LOG/gone/*.log")
    machine.log("gone/a.log")
    assert machine.codes() == {"config-error": "critical"}


def test_links_are_passed_over_in_silence(machine: Machine) -> None:
    machine.stanza("app", "daily")
    (machine.logs / "real").mkdir()
    real = machine.log("real/file.log")
    (machine.logs / "app.log").symlink_to(real)
    assert machine.codes() == {"log-symlink": "warning"}
    (machine.logs / "app.log").unlink()
    os.link(real, machine.logs / "app.log")
    assert machine.codes() == {"log-hardlink": "warning"}
    machine.version = "3.18.0"
    assert machine.codes() == {}


def test_a_stanza_without_postrotate_is_fine_as_two_in_five_of_debian_are(machine: Machine) -> None:
    machine.stanza("apt", "monthly", "rotate 12", "compress", "missingok", "notifempty")
    machine.log("apt.log")
    assert machine.codes() == {}


def test_sharedscripts_and_one_missing_log_block_the_others(machine: Machine) -> None:
    machine.stanza("app", "daily", "sharedscripts", glob="LOG/a.log LOG/missing.log")
    machine.log("a.log")
    machine.state({"a.log": 3 * DAY})
    assert machine.codes()["sharedscripts-blocked"] == "critical"
    assert machine.codes()["log-missing"] == "warning"


def test_maxsize_is_void_when_the_schedule_is_slower_than_the_log(machine: Machine) -> None:
    machine.stanza("app", "daily", "maxsize 50M")
    machine.log("app.log", size=BIG)
    check = machine.check()
    assert machine.codes() == {"schedule-too-slow": "warning"}
    assert "is checked only when logrotate runs, every 1d" in check.findings[0].text
    machine.log("app.log", size=1000)
    assert machine.codes() == {}


def test_a_size_is_void_too_when_the_schedule_is_slower_than_the_log(machine: Machine) -> None:
    machine.stanza("app", "size 50M")
    log = machine.log("app.log", size=BIG)
    check = machine.check()
    assert machine.codes() == {"schedule-too-slow": "warning"}
    assert check.findings[0].text == (
        f"{log} (200MiB): `size 50MiB` at {machine.etc}/logrotate.d/app:1 is checked "
        "only when logrotate runs, every 1d"
    )
    machine.stanza("app", "size 150M")
    assert machine.codes() == {}
    machine.stanza("app", "size 50M")
    machine.without(1)
    assert machine.codes() == {"schedule-dead": "critical"}


@pytest.mark.parametrize(
    ("more", "state", "harm"),
    [
        ((), "warning", "each run overwrites the last rotated log"),
        (("dateext",), "warning", "no rotated log is ever removed"),
        (("delaycompress",), "critical", "the log is rotated once, and never again"),
    ],
)
def test_a_compress_program_that_is_not_there(
    machine: Machine, more: tuple[str, ...], state: str, harm: str
) -> None:
    machine.stanza("app", "daily", "compress", "compresscmd /usr/bin/no-such-zstd", *more)
    log = machine.log("app.log")
    check = machine.check()
    assert machine.codes() == {"compress-missing": state}
    assert check.findings[0].text == (
        f"{log}: `compress` at {machine.etc}/logrotate.d/app:1 fails, there is no program "
        f"/usr/bin/no-such-zstd: {harm}"
    )
    machine.stanza("app", "daily", "compress", "compresscmd gzip", *more)
    assert machine.codes() == {}
    machine.stanza("app", "daily", "compresscmd /usr/bin/no-such-zstd", *more)
    assert machine.codes() == {}


def test_a_second_rotation_a_day_is_blocked_by_the_date_in_the_name(machine: Machine) -> None:
    machine.stanza("app", "size 1k", "dateext")
    machine.log("app.log", size=5000)
    machine.log(f"app.log-{datetime.fromtimestamp(machine.now):%Y%m%d}")
    machine.state({"app.log": 3600})
    assert machine.codes() == {"destination-exists": "warning"}
    machine.script.rename(machine.etc / "cron.daily/x")
    (machine.etc / "cron.hourly").mkdir()
    (machine.etc / "cron.daily/x").rename(machine.etc / "cron.hourly/logrotate")
    assert machine.codes() == {"destination-exists": "critical"}


@pytest.mark.parametrize(
    ("period", "age"), [("monthly", 1), ("yearly", 1), ("weekly", 1), ("size 10G", 300)]
)
def test_a_log_whose_turn_has_not_come_is_fine(machine: Machine, period: str, age: int) -> None:
    machine.stanza("app", period)
    machine.log("app.log", size=5000)
    machine.log("app.log.1")
    machine.state({"app.log": age * 3600.0})
    assert machine.codes() == {}


def test_an_empty_log_with_notifempty_waits_for_ever(machine: Machine) -> None:
    machine.stanza("app", "daily", "notifempty")
    machine.log("app.log", size=0, age=700 * DAY)
    machine.state({"app.log": 300 * DAY})
    assert machine.codes() == {}


def test_a_log_that_a_run_has_passed_over_is_overdue(machine: Machine) -> None:
    machine.stanza("app", "weekly")
    machine.log("app.log", size=5000)
    machine.state({"app.log": 16 * DAY})
    assert machine.codes() == {"overdue": "critical"}


def test_a_configuration_younger_than_the_last_run_had_no_chance_yet(machine: Machine) -> None:
    path = machine.stanza("app", "weekly")
    os.utime(path)
    machine.log("app.log", size=5000)
    machine.state({"app.log": 16 * DAY})
    assert machine.codes() == {}


def test_a_date_in_the_state_file_without_a_rotated_file_is_no_proof(machine: Machine) -> None:
    machine.stanza("app", "daily")
    machine.log("app.log", size=5000)
    machine.state({"app.log": 7 * 3600})
    assert machine.codes() == {"no-proof": "warning"}


def test_a_fresh_date_but_only_old_rotated_files_is_critical(machine: Machine) -> None:
    machine.stanza("app", "daily")
    machine.log("app.log.1")
    machine.log("app.log", size=5000, age=-3 * DAY)
    machine.now += 3 * DAY
    machine.state({"app.log": 7 * 3600})
    assert machine.codes() == {"no-proof": "critical"}


def test_a_log_seen_for_the_first_time_needs_no_proof(machine: Machine) -> None:
    machine.stanza("app", "weekly")
    machine.log("app.log")
    machine.state({"app.log": 3 * 3600}, first=True)
    assert machine.codes() == {}


def test_no_run_for_ten_days_is_critical(machine: Machine) -> None:
    machine.state({}, ran=10 * DAY)
    check = machine.check()
    assert machine.codes() == {"run-old": "critical"}
    assert "has not completed a run for 10d (limit 8d)" in check.findings[0].text


def test_three_days_without_a_run_are_a_warning(machine: Machine) -> None:
    machine.state({}, ran=3 * DAY)
    assert machine.codes() == {"run-old": "warning"}


def test_without_a_cron_daemon_nothing_will_run(machine: Machine) -> None:
    machine.without(1)
    check = machine.check()
    assert machine.codes() == {"schedule-dead": "critical"}
    assert (
        check.findings[0].text
        == "logrotate will not run: no cron daemon is running; the last run was 7h ago"
    )


def test_a_cron_script_that_is_not_executable_will_not_run(machine: Machine) -> None:
    machine.script.chmod(0o644)
    assert "is not executable" in machine.check().findings[0].text


def test_a_dot_in_the_name_of_the_cron_script_hides_it_from_run_parts(machine: Machine) -> None:
    machine.script.rename(machine.script.with_name("logrotate.sh"))
    assert "run-parts skips" in machine.check().findings[0].text


def systemd(machine: Machine, calendar: str = "daily", service: str = "") -> Path:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    units = machine.root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (units / "logrotate.timer").write_text(f"[Timer]\nOnCalendar={calendar}\nPersistent=true\n")
    (units / "logrotate.service").write_text(
        "[Service]\nConditionACPower=true\nExecStart=/usr/sbin/logrotate /etc/logrotate.conf\n"
        + service
    )
    wants = machine.etc / "systemd/system/timers.target.wants"
    wants.mkdir(parents=True)
    (wants / "logrotate.timer").symlink_to(units / "logrotate.timer")
    machine.script.write_text("#!/bin/sh\nif [ -d /run/systemd/system ]; then exit 0; fi\n")
    return wants / "logrotate.timer"


def test_a_timer_that_is_enabled_is_a_schedule(machine: Machine) -> None:
    systemd(machine)
    assert machine.codes() == {}


def test_a_masked_timer_is_dead_although_the_cron_script_is_there(machine: Machine) -> None:
    systemd(machine)
    (machine.etc / "systemd/system/logrotate.timer").symlink_to("/dev/null")
    machine.state({}, ran=10 * DAY)
    check = machine.check()
    assert machine.codes() == {"schedule-dead": "critical"}
    assert "is masked" in check.findings[0].text
    assert "/etc/cron.daily/logrotate does nothing under systemd" in check.findings[0].text
    assert "the last run was 10d ago" in check.findings[0].text


def test_a_disabled_timer_is_dead(machine: Machine) -> None:
    systemd(machine).unlink()
    assert machine.codes() == {"schedule-dead": "critical"}


def test_a_laptop_on_battery_is_a_warning_after_two_days(machine: Machine) -> None:
    systemd(machine)
    machine.state({}, ran=50 * 3600)
    check = machine.check()
    assert machine.codes() == {"run-old": "warning"}
    assert "it does not run on battery" in check.findings[0].text


def test_the_unit_s_hardening_makes_a_directory_read_only(machine: Machine) -> None:
    systemd(machine, service=f"ProtectSystem=full\nReadOnlyPaths={machine.logs}\n")
    machine.stanza("app", "daily")
    machine.log("app.log")
    assert machine.codes() == {"read-only": "critical"}
    drop_in = machine.etc / "systemd/system/logrotate.service.d"
    drop_in.mkdir()
    (drop_in / "logs.conf").write_text(f"[Service]\nReadWritePaths={machine.logs}/\n")
    assert machine.codes() == {}


def test_an_hourly_timer_honours_hourly(machine: Machine) -> None:
    systemd(machine, "hourly")
    machine.stanza("app", "hourly")
    machine.log("app.log", size=BIG)
    assert machine.codes() == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0" * 500, {"state-corrupt": "warning"}),
        (b"", {}),
        (b'logrotate state -- version 2\n"/x" 2200-1-1-0:0:0\n', {"state-corrupt": "warning"}),
        (b'logrotate state -- version 2\n"/x" 2099-1-1-0:0:0\n', {"state-future": "warning"}),
    ],
)
def test_what_is_wrong_with_the_state_file(
    machine: Machine, content: bytes, expected: dict[str, str]
) -> None:
    machine.raw_state(content)
    assert machine.codes() == expected


def test_without_the_state_file_s_directory_nothing_is_rotated(machine: Machine) -> None:
    assert machine.codes("--state-file", str(machine.root / "nowhere/status")) == {
        "state-unusable": "critical"
    }


def test_a_state_file_that_was_never_written_is_a_warning_on_an_old_host(machine: Machine) -> None:
    machine.raw_state(b"").unlink()
    assert machine.codes() == {"never-run": "warning"}


def test_a_state_file_that_does_not_outlive_a_restart_is_found_out(machine: Machine) -> None:
    machine.stanza("app", "weekly")
    machine.log("app.log")
    machine.log("app.log.1")
    machine.state({"app.log": 3600})
    assert machine.codes() == {}
    machine.boot = "second"
    machine.now += 2 * DAY
    machine.log("app.log")
    machine.state({"app.log": 600}, first=True)
    assert machine.codes() == {"state-reborn": "warning"}


def test_two_stars_are_one_level_only(machine: Machine) -> None:
    machine.stanza("app", "daily", glob="LOG/**/*.log")
    for name in ("top.log", "one/a.log", "one/two/b.log"):
        machine.log(name)
    check = machine.check()
    assert machine.codes() == {"no-recursion": "warning"}
    assert "(+1 log)" in check.findings[0].text


def test_a_numbered_copy_is_a_left_over_and_a_version_number_is_not(machine: Machine) -> None:
    machine.drop_in("firebird3.0", "LOG/a.log {\n daily\n missingok\n}\n")
    assert machine.codes() == {}
    machine.drop_in("firebird3.0.1", "LOG/b.log {\n daily\n missingok\n}\n")
    assert machine.codes() == {"config-stray": "warning"}


@pytest.mark.parametrize("name", [".nginx.swp", "nginx.save", "nginx.old"])
def test_an_editor_s_left_over_is_read_as_configuration(machine: Machine, name: str) -> None:
    machine.drop_in(name, "LOG/a.log {\n daily\n missingok\n}\n")
    assert machine.codes() == {"config-stray": "warning"}


def test_taboo_names_are_not_read_and_cost_nothing_while_another_file_has_the_logs(
    machine: Machine,
) -> None:
    machine.stanza("app", "daily")
    machine.drop_in("app.dpkg-old", "LOG/app.log {\n daily\n}\n")
    machine.log("app.log")
    assert machine.codes() == {}
    (machine.etc / "logrotate.d/app").unlink()
    assert machine.codes() == {"config-taboo": "warning"}


def test_a_directive_outside_of_a_stanza_leaks_into_later_files(machine: Machine) -> None:
    machine.drop_in("1", "size 1G\nLOG/a.log {\n missingok\n}\n")
    assert machine.codes() == {"config-leak": "warning"}


def test_a_glob_that_meets_its_own_products_is_a_warning(machine: Machine) -> None:
    machine.stanza("app", "daily", glob="LOG/app*")
    for name in ("app.log", "app.log.1", "app.log.1.1"):
        machine.log(name)
    assert machine.codes() == {"own-products": "warning"}


def test_a_log_that_is_deleted_at_rotation_for_want_of_a_rotate(machine: Machine) -> None:
    machine.main("weekly\ninclude {etc}/logrotate.d\n")
    machine.stanza("app", "daily")
    machine.log("app.log")
    assert machine.codes() == {"rotate-nothing": "warning"}


def test_size_and_time_together_are_a_remark_since_one_in_forty_of_debian_s_does_it(
    machine: Machine,
) -> None:
    machine.stanza("app", "daily", "size 10k", "missingok")
    assert "`daily` has no effect, `size` in line 3 overrides it" in machine.remarked()
    assert machine.codes() == {}


def test_a_big_growing_log_that_nobody_claims_is_a_warning(machine: Machine) -> None:
    machine.log("mystery.log", size=BIG)
    check = machine.check()
    assert machine.codes() == {"uncovered": "warning"}
    assert check.findings[0].text == (
        f"{machine.logs}/mystery.log (200MiB) is growing and is not rotated: no logrotate stanza "
        "matches it"
    )


@pytest.mark.parametrize("other", ["app.log.1", "app-2026-11-20.log"])
def test_a_log_that_its_program_rotates_is_fine(machine: Machine, other: str) -> None:
    machine.log("app.log", size=BIG)
    machine.log(other, age=DAY)
    assert machine.codes() == {}


def test_big_files_that_are_no_growing_logs_are_fine(machine: Machine) -> None:
    machine.log("old.log", size=BIG, age=9 * DAY)
    machine.log("journal/abc/system.journal", size=BIG)
    with (machine.logs / "lastlog").open("wb") as sparse:
        sparse.truncate(10 * BIG)
    with (machine.logs / "sparse.log").open("wb") as sparse:
        sparse.truncate(10 * BIG)
    assert machine.codes() == {}


# Who writes


@pytest.fixture
def keeps_open(machine: Machine) -> Iterator[list[object]]:
    """Files that this process has open; the machine sees it as one of its processes."""
    machine.process(4711, "app", real=os.getpid())
    files: list[object] = []
    yield files
    for one in files:
        one.close()  # type: ignore[attr-defined]


def test_a_process_that_writes_to_the_rotated_file_is_named(
    machine: Machine, keeps_open: list[object]
) -> None:
    machine.stanza("app", "daily")
    rotated = machine.log("app.log.1", size=5000)
    machine.log("app.log", size=0)
    machine.state({"app.log": 7 * 3600})
    keeps_open.append(rotated.open("ab"))
    check = machine.check()
    assert machine.codes() == {"writer-on-rotated": "critical"}
    assert f"still writes to {rotated}" in check.findings[0].text


def test_a_process_that_reopens_its_log_slowly_is_fine(
    machine: Machine, keeps_open: list[object]
) -> None:
    machine.stanza("app", "daily", "delaycompress", "compress")
    rotated = machine.log("app.log.1", age=7 * 3600 - 5)
    machine.log("app.log")
    machine.state({"app.log": 7 * 3600})
    keeps_open.append(rotated.open("ab"))
    os.utime(rotated, (machine.now - 7 * 3600 + 5,) * 2)
    assert machine.codes() == {}


def test_a_deleted_log_that_is_still_written_to_is_critical(
    machine: Machine, keeps_open: list[object]
) -> None:
    machine.stanza("app", "daily", "missingok")
    path = machine.log("app.log", size=BIG)
    keeps_open.append(path.open("ab"))
    # On a fragmented file system its map takes a block more.
    held = path.stat().st_blocks * 512
    path.unlink()
    check = machine.check()
    assert machine.codes() == {"deleted-held": "critical"}
    assert "deleted: 200MiB that du does not show" in check.findings[0].text
    assert f"deleted_held={held}B" in check.output()


def test_deleted_files_elsewhere_are_nobody_s_logs(
    machine: Machine, keeps_open: list[object], tmp_path: Path
) -> None:
    other = tmp_path / "ibXYZ"
    keeps_open.append(other.open("wb"))
    other.write_bytes(b"x" * 5_000_000)
    other.unlink()
    assert machine.codes("--big", "1M") == {}


def test_copytruncate_with_a_writer_that_does_not_append_is_predicted(
    machine: Machine, keeps_open: list[object]
) -> None:
    machine.stanza("app", "daily", "copytruncate")
    path = machine.log("app.log")
    keeps_open.append(path.open("ab"))
    assert machine.codes() == {}
    keeps_open.append(path.open("r+b"))
    assert machine.codes() == {"no-append": "warning"}


def test_rotated_files_beyond_every_rule_are_orphans(machine: Machine) -> None:
    machine.stanza("app", "daily", "rotate 2")
    machine.log("app.log")
    machine.log("app.log.1")
    machine.log("app.log.2")
    assert "app.log" not in machine.remarked()
    machine.log("app.log.7", age=90 * DAY)
    assert "app.log.7" in machine.remarked()
    machine.log("app.log.8", size=BIG, age=90 * DAY)
    assert machine.codes() == {"orphans": "warning"}


def test_a_journal_limit_that_is_larger_than_the_file_system_bounds_nothing(
    machine: Machine,
) -> None:
    (machine.logs / "journal" / ("a" * 32)).mkdir(parents=True)
    (machine.etc / "systemd").mkdir()
    (machine.etc / "systemd/journald.conf").write_text("[Journal]\nSystemMaxUse=900P\n")
    assert machine.codes() == {"journald-unbounded": "warning"}
    (machine.etc / "systemd/journald.conf").write_text("[Journal]\nSystemMaxUse=4G\n")
    assert machine.codes() == {}
    machine.log(f"journal/{'a' * 32}/system.journal", size=BIG)
    assert machine.codes() == {"journald-unbounded": "warning"}


# Containers


def inspected(name: str, driver: str, **config: str) -> dict[str, object]:
    """What the engine's API says of a container, as far as its log is concerned."""
    return {
        "Name": f"/{name}",
        "LogPath": "",
        "HostConfig": {
            "LogConfig": {
                "Type": driver,
                "Config": {k.replace("_", "-"): v for k, v in config.items()},
            }
        },
    }


def libpod(name: str, size: str) -> dict[str, object]:
    """What Podman 4.3 says of a container on its own path."""
    log = {"Type": "k8s-file", "Config": None, "Path": "/nowhere", "Tag": "", "Size": size}
    return {"Name": name, "HostConfig": {"LogConfig": log}}


@pytest.mark.parametrize(
    ("container", "limited"),
    [
        (inspected("a", "json-file"), False), (inspected("a", "json-file", max_file="3"), False),
        (inspected("a", "json-file", max_size="10m"), True), (inspected("a", "local"), True),
        (inspected("a", "journald"), True), ({}, True), (libpod("a", "0B"), False),
        (libpod("a", "100kB"), True),
    ],
)  # fmt: skip
def test_only_a_json_file_log_without_a_size_is_unlimited(
    container: dict[str, object], limited: bool
) -> None:
    assert container_logs.container(container).limited is limited


@pytest.mark.parametrize(
    ("octets", "by_default", "state"),
    [
        (12 << 30, False, "critical"),
        (BIG, False, "warning"),
        (1000, False, "ok"),
        (1000, True, "warning"),
    ],
)
def test_an_unlimited_container_log_alarms_by_its_size_or_when_it_escaped_the_default(
    machine: Machine, octets: int, by_default: bool, state: str
) -> None:
    web = ContainerLog("web", "json-file", False, octets, "/x")
    engine = ContainerLogs("docker", (web,), by_default)
    faults = containers(engine, (), 100 << 20)
    assert [(one.code, str(one.state)) for one in faults] == [("docker-unbounded", state)]
    assert containers(engine, ("/x",), 100 << 20) == []


# By values alone


def observed(schedule: Schedule, ran: float | None = None, **more: Any) -> Observation:
    """A host without logs; the last run of logrotate ended `ran` seconds ago."""
    now = 1_800_000_000.0
    reading = grammar.Reading((), (), False)
    return Observation(
        now,
        Configuration((3, 21, 0), reading, {}, {}),
        Logs((), {}, more.pop("open", OpenLogs()), ()),
        StateFile("/status", written=None if ran is None else now - ran),
        schedule,
        more.pop("hidden", {}),
    )


LIMITS = Limits(Limit.parse("49h", units.duration), Limit.parse("8d", units.duration))


@pytest.mark.parametrize(
    ("standing", "ran", "state"),
    [
        (Standing.ENDS_AT_BOOT, 9 * DAY, "warning"), (Standing.DEAD, 3600, "critical"),
        (Standing.NOT_FOUND, 3600, "ok"), (Standing.NOT_FOUND, 3 * DAY, "warning"),
        (Standing.NOT_FOUND, 9 * DAY, "critical"), (Standing.NOT_FOUND, None, "critical"),
    ],
)  # fmt: skip
def test_the_state_of_a_dead_schedule_follows_from_its_standing(
    standing: Standing, ran: float | None, state: str
) -> None:
    name = "" if standing is Standing.NOT_FOUND else "logrotate.timer"
    seen = observed(Schedule(name, standing=standing, obstacle="words that decide nothing"), ran)
    found = [one for one in runs.runs(seen, LIMITS, 0.0) if one.code == "schedule-dead"]
    assert [str(one.state) for one in found] == [state]


@pytest.mark.parametrize(("status", "state"), [(1, "warning"), (3, "critical")])
def test_a_run_without_a_state_file_to_write_is_worse_than_one_of_a_bad_stanza(
    status: int, state: str
) -> None:
    """Exit 3 (logrotate 3.21, logrotate.c): the state file cannot be used, and nothing rotates."""
    timer = Schedule("logrotate.timer", failed=f"exit status {status}", last_status=status)
    found = [
        one for one in runs.runs(observed(timer, 3600), LIMITS, 0.0) if one.code == "run-failed"
    ]
    assert [str(one.state) for one in found] == [state]


def test_what_is_hidden_is_named_by_its_kind() -> None:
    seen = observed(
        Schedule("cron"),
        open=OpenLogs(processes_seen=1, processes=2),
        hidden={"/a": Hidden.LOGS, "/b": Hidden.LOGS, "/s": Hidden.STATE_FILE},
    )
    assert [(one.text, one.next) for one in judgement.hidden(seen)] == [
        (
            "saw 1 of 2 processes; no permission to see /a (+1 more), the state file /s: run with "
            "sudo for the rest, or --ignore unseen",
            "sudo check_log_rotation",
        )
    ]


# Options


def test_a_code_can_be_ignored_for_everything_or_for_some_paths(machine: Machine) -> None:
    machine.log("mystery.log", size=BIG)
    assert machine.codes("--ignore", "uncovered") == {}
    assert machine.codes("--ignore", "uncovered:*/mystery.log") == {}
    assert machine.codes("--ignore", "uncovered:*/other.log") == {"uncovered": "warning"}
    assert "1 finding ignored" in machine.remarked("--ignore", "uncovered")


def test_an_unknown_code_is_a_usage_error_with_a_guess() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "checks/check_log_rotation.py"), "--ignore", "uncoverd"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 3
    assert "did you mean 'uncovered'?" in ran.stdout
    assert ran.stderr == ""


def test_the_story_of_one_log(machine: Machine) -> None:
    machine.stanza("app", "daily", "rotate 7")
    path = machine.log("app.log")
    machine.log("app.log.1")
    machine.state({"app.log": 2 * DAY})
    check = machine.check("--explain", str(path))
    text = "\n".join([check.findings[0].text, *check.findings[0].more])
    assert check.exitcode == 0
    assert f"{path}: a run now would rotate it: daily, last" in text
    assert f"stanza: {path} at {machine.etc}/logrotate.d/app:1" in text
    assert (
        f"criterion: daily ({machine.etc}/logrotate.d/app:2); keeps 7 "
        f"({machine.etc}/logrotate.d/app:3)" in text
    )


@pytest.mark.parametrize(
    ("criterion", "size", "expected"),
    [
        (
            "daily",
            5000,
            "not rotate it yet: not in the state file yet, so the first run records it (daily)",
        ),
        ("size 1k", 5000, "rotate it: at least 1KiB"),
        ("size 1M", 5000, "not rotate it yet: smaller than 1MiB"),
    ],
)
def test_the_story_of_a_log_that_is_new_to_the_state_file(
    machine: Machine, criterion: str, size: int, expected: str
) -> None:
    machine.stanza("app", criterion)
    path = machine.log("app.log", size=size)
    finding = machine.check("--explain", str(path)).findings[0]
    assert finding.text == f"{path}: a run now would {expected}"
    state = machine.root / "var/lib/logrotate/status"
    assert f"last rotation: none is known to {state}" in finding.more
    assert not any("first run" in line for line in finding.more)


def test_the_story_of_a_log_whose_stanza_is_lost(machine: Machine) -> None:
    machine.stanza("app", "rotate seven")
    path = machine.log("app.log")
    check = machine.check("--explain", str(path))
    assert check.exitcode == 1
    assert "logrotate drops the stanza that names it" in check.output()
    assert "logrotate.d/app:2" in check.output()


def test_without_a_configuration_there_is_nothing_to_judge(machine: Machine) -> None:
    (machine.etc / "logrotate.conf").unlink()
    check = machine.check()
    assert check.exitcode == 3
    assert "cannot be read" in check.findings[0].text


def test_every_code_that_is_used_is_documented_and_every_documented_one_is_used() -> None:
    folder = (ROOT / "checks/twiceshy/log_rotation").rglob("*.py")
    used = "\n".join(file.read_text() for file in folder if file.stem != "codes")
    assert {code for code in CODES if f'"{code}"' not in used} == set()
    words = set(re.findall(r'"((?:config|log|state|run|directive|schedule)-[a-z-]+)"', used))
    assert words - {"log-dir", "state-dir"} <= set(CODES)


def test_the_manual_names_every_code() -> None:
    text = options().format_help()
    assert all(code in text for code in CODES)


@pytest.mark.parametrize(
    ("calendar", "seconds"),
    [
        (["daily"], 86400), (["hourly"], 3600), (["*-*-* 03:00:00"], 86400), (["*:0/15"], 900),
        (["*-*-* *:30:00"], 3600), (["*-*-* 0/6:00:00"], 21600), ([], 86400),
        (["Mon *-*-* 03:00"], 604800),
    ],
)  # fmt: skip
def test_how_often_a_timer_runs(calendar: list[str], seconds: float) -> None:
    assert timetable.interval(calendar) == seconds


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("25 6 * * * root logrotate /etc/x", 86400), ("*/10 * * * * root logrotate x", 600),
        ("5 * * * * root logrotate x", 3600), ("0 */4 * * * root logrotate x", 14400),
        ("@hourly root logrotate x", 3600), ("0 3 * * 0 root logrotate x", 604800),
    ],
)  # fmt: skip
def test_how_often_a_crontab_line_runs(line: str, seconds: float) -> None:
    assert timetable.cron_interval(line) == seconds


def test_nothing_known_is_no_schedule(tmp_path: Path) -> None:
    found = schedule(HostPaths(tmp_path), frozenset())
    assert found == Schedule(
        standing=Standing.NOT_FOUND, obstacle="neither a timer nor a cron job starts logrotate"
    )


def test_the_age_of_the_process_that_holds_the_state_file() -> None:
    began = time.time()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        # btime and start ticks are rounded down
        age = process_age(Path("/proc"), child.pid, began + 60)
        assert 50.0 < age < 62.0
    finally:
        child.communicate(b"\n")
    assert process_age(Path("/proc"), child.pid, began + 60) == 0.0

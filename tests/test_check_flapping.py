"""check_flapping: stories of daemons that come and go, run by run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from contract import Case
from twiceshy.flapping import program as flapping
from twiceshy.flapping import unsupervised
from twiceshy.flapping.counting import Record, count, poisson_at_least, updated
from twiceshy.flapping.judgement import verdict_on
from twiceshy.flapping.observation import Observation, observe
from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    UNSEEN,
    UP,
    EndedLife,
    Exit,
    Service,
    exited,
)
from twiceshy.flapping.settings import Limits, Selection, Settings, Watch
from twiceshy.flapping.supervisors import running_here
from twiceshy.flapping.unsupervised import KnownProcess
from twiceshy.kit import options as opt
from twiceshy.kit import processes
from twiceshy.kit.check import Check
from twiceshy.kit.history import now
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError
from twiceshy.kit.processes import Process, ProcessTable
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.verdict import Finding

BOOT = "b0"
DAYS = 86400.0


def contract_case(tmp_path: Path) -> Case:
    """An ordinary run: the process that runs the tests, which lives."""
    (tmp_path / "tests|1.pid").write_text(f"{os.getpid()}\n")
    return Case(["--pidfile", str(tmp_path / "tests|1.pid"), "--learning", "ok"])


def hanging_case(tmp_path: Path) -> Case:
    """A pid file that nobody ever writes."""
    os.mkfifo(tmp_path / "never.pid")
    return Case(["--pidfile", str(tmp_path / "never.pid")])


@dataclass
class Host:
    """A host whose clock stands still until a test moves it; `services` is what a run observes."""

    state_dir: Path
    services: list[Service] = field(default_factory=list)
    uptime: float = 10 * DAYS
    wall: float = 1_800_000_000.0
    boot: str = BOOT
    findings: tuple[Finding, ...] = ()

    def after(self, seconds: float) -> Host:
        self.uptime += seconds
        self.wall += seconds
        return self

    def check(self, *args: str) -> Check:
        """One run of the check, as the command line would have it."""
        parsed = flapping.options().parse_args(["--state-dir", str(self.state_dir), *args])
        check = flapping.plan(parsed, look=self._look, clock=self._clock)
        check()
        return check

    def watch(self, daemon: Callable[[float], Service], looks: int, *args: str) -> list[str]:
        """States of so many runs, 60 s apart, over a daemon that depends on the uptime."""
        states = []
        for _ in range(looks):
            self.services = [daemon(self.uptime)]
            states.append(str(self.check(*args).state))
            self.after(60)
        return states

    def _clock(self) -> Stamp:
        return Stamp(self.boot, self.uptime, self.wall)

    def _look(self, settings: Settings, at: Stamp, known: object) -> Observation:
        wants = settings.selection.wants
        return Observation(
            tuple((f"{s.supervisor}::{s.name}", s) for s in self.services if wants(s.name)),
            self.findings,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "state")


def steady(name: str = "web", age: float = 40 * DAYS, **more: object) -> Service:
    """A systemd service that lives, seen without the journal."""
    plain = Service(
        name, "systemd", UP, True, incarnation="a1", age_seconds=age, restarts=0, exact=True,
        next=f"journalctl -u {name} -n 50",
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def crash(ago: float, cause: str = "exit status 3", lasted: float = 2.5) -> EndedLife:
    return EndedLife(ago, CRASH, Exit(cause), lasted)


def loop(
    lasts: float,
    pause: float,
    *,
    counted: bool = True,
    supervisor: str = "systemd",
    since: float = 0,
) -> Callable[[float], Service]:
    """A daemon that crashes every `lasts` seconds and comes back after `pause`."""

    def look(uptime: float) -> Service:
        lives, phase = divmod(uptime - since, lasts + pause)
        alive = phase < lasts
        return Service(
            "web",
            supervisor,
            UP if alive else BETWEEN,
            True,
            incarnation=f"life{lives}" if alive else "",
            age_seconds=phase if alive else None,
            restarts=int(lives) if counted else None,
            exact=counted,
        )

    return look


def aged(supervisor: str = "runit", **more: object) -> Callable[[str, float], Service]:
    """A daemon of a supervisor that keeps no count: only its life and its age can be seen."""

    def service(life: str, age: float) -> Service:
        return Service("web", supervisor, UP, True, life, age, **more)  # type: ignore[arg-type]

    return service


# Services of systemd, counter and invocation id alone


def test_a_loop_that_is_up_at_every_look_is_critical_at_the_second_without_the_journal(host):
    host.uptime = 10 * DAYS + 0.1
    states = host.watch(loop(2.5, 1.0), 3)
    assert states[1:] == ["critical", "critical"]
    assert states[0] == "warning"


def test_a_loop_is_critical_at_the_first_look_when_systemd_itself_is_younger_than_the_window(host):
    host.services = [steady(age=1.0, restarts=57, restarts_seconds=200.0)]
    check = host.check("--service", "web")
    assert check.summary_str == "web restarted 57 times in 3m20s (limit 5), every 3.5s; up 1s"
    assert check.exitcode == 2


def test_a_counter_of_old_days_says_nothing_about_today(host):
    host.services = [steady(age=5 * DAYS, restarts=58, restarts_seconds=9 * DAYS)]
    assert host.check("--service", "web").summary_str == "web up 5d, no restarts in 15m"


def test_restarts_by_hand_in_a_loop_are_critical_though_systemd_counts_none(host):
    lives = iter(range(100))
    for _ in range(9):
        host.services = [steady(age=1.0, incarnation=f"hand{next(lives)}")]
        check = host.check("--service", "web")
        host.after(60)
    assert check.exitcode == 2
    assert check.summary_str == (
        "web was restarted 8 times in 8m (limit 5), not by systemd but manually or by a script; "
        "up 1s"
    )


def test_a_daemon_that_its_supervisor_wants_up_and_that_is_down_is_critical_unnamed(host):
    host.services = [replace(steady(), state=DOWN, incarnation="", age_seconds=None)]
    assert host.check().state is CRITICAL
    assert host.check("--service", "web", "--missing", "warning").state is WARNING
    host.services = [replace(host.services[0], wanted_up=False)]
    assert host.check().state is OK


def test_a_log_shorter_than_the_window_is_added_up_from_run_to_run(host):
    lives = (crash(10), crash(20))
    host.services = [steady(restarts=None, history=lives, history_seconds=100.0, incarnation="x")]
    states = []
    for _ in range(4):
        states.append(str(host.check().state))
        host.after(60)
    assert states == ["ok", "ok", "warning", "critical"]


def test_one_deploy_is_fine_and_does_not_blind_the_check(host):
    host.services = [steady(restarts=7)]
    assert host.check().state is OK
    host.after(60).services = [steady(age=20, restarts=0, incarnation="deployed")]
    check = host.check("--service", "web")
    assert check.state is OK
    assert check.summary_str == "web up 20s, 1 manual restart in 15m"
    host.after(60).services = [steady(age=1, restarts=8, incarnation="crashed")]
    check = host.check()
    assert check.exitcode == 2
    assert "restarted 8 times" in check.summary_str


def test_configuration_management_that_restarts_twice_is_fine(host):
    for life in ("a", "b", "c"):
        host.services = [steady(age=10, incarnation=life)]
        assert host.check().state is OK
        host.after(45)


def test_reset_failed_in_the_middle_of_a_loop_does_not_end_the_alarm(host):
    host.services = [steady(restarts=0)]
    host.check()
    for restarts in (20, 0, 3):
        host.after(60).services = [steady(age=2, restarts=restarts, incarnation=f"l{restarts}")]
        check = host.check("-v")
        assert check.state is CRITICAL
    assert "restarted 23 times" in check.summary_str


def test_reload_and_daemon_reexec_are_fine(host):
    for _ in range(5):
        host.services = [steady(restarts=21)]
        assert host.check().state is OK
        host.after(60)


def test_a_nightly_restart_for_a_month_is_fine(host):
    for night in range(30):
        host.services = [steady(age=120, incarnation=f"night{night}")]
        assert host.check().state is OK
        host.after(DAYS)


def test_a_fixed_loop_is_fine_after_one_quiet_window_whatever_the_counter_says(host):
    assert host.watch(loop(2.5, 1.0), 4)[-1] == "critical"
    fixed = host.uptime
    states = host.watch(
        lambda now: steady(age=now - fixed + 1, restarts=300, incarnation="fixed"), 18
    )
    assert states[0] == "critical"
    assert states[-2:] == ["ok", "ok"]


def test_a_reboot_begins_a_new_history(host):
    host.services = [steady(restarts=40)]
    host.check()
    host.boot, host.uptime = "b1", 60.0
    host.services = [steady(name, age=50, restarts=0, incarnation=name) for name in ("web", "db")]
    check = host.check()
    assert check.output().startswith(
        "FLAPPING OK - 2 services watched, none restarted in 15m | services=2;;;0 restarts=0;"
    )


@pytest.mark.parametrize("step", [-3600.0, 3600.0, 2.0], ids=["an hour back", "ahead", "slewed"])
def test_a_clock_that_is_set_changes_nothing(host, step):
    host.services = [steady()]
    host.check()
    host.wall += step
    host.after(60)
    assert host.check().state is OK


def test_a_check_that_did_not_run_for_hours_does_not_blame_the_last_minute(host):
    host.services = [steady(restarts=0)]
    host.check()
    host.after(6 * 3600).services = [steady(age=2000, restarts=20, incarnation="later")]
    assert host.check().state is OK
    host.after(60).services = [steady(age=30, restarts=21, incarnation="latest")]
    assert host.check().state is OK


def test_crashes_during_a_long_pause_of_the_check_count_by_their_share_of_it(host):
    host.services = [steady(restarts=0)]
    host.check()
    host.after(3600).services = [steady(age=10, restarts=12, incarnation="later")]
    check = host.check("--service", "web")
    assert "web restarted 3 times in 15m (limit 2)" in check.summary_str


def test_what_a_socket_starts_may_end_and_start_as_it_likes(host):
    for life in range(9):
        host.services = [steady(age=5, incarnation=f"call{life}", on_demand=True)]
        assert host.check().state is OK
        host.after(60)
    host.services = [steady(state=DOWN, incarnation="", age_seconds=None, on_demand=True)]
    assert host.check("--service", "web").state is OK


def test_given_up_is_critical_and_says_why(host):
    host.services = [
        steady(
            state=GAVE_UP,
            incarnation="",
            age_seconds=None,
            restarts=5,
            last_exit=exited(1),
            reason="start limit hit: systemd gave up after 5 restarts",
            down_seconds=125.0,
        )
    ]
    check = host.check()
    assert (
        check.output()
        .splitlines()[0]
        .startswith(
            "FLAPPING CRITICAL - web has been down for 2m5s: start limit hit: systemd gave up "
            "after 5 restarts, last exit status 1"
        )
    )
    assert "Next: journalctl -u web -n 50 | services=1;;;0 " in check.output()


def test_dead_at_a_look_is_a_warning_and_at_every_look_critical(host):
    dead = steady(
        state=BETWEEN, incarnation="", age_seconds=None, restarts=0, last_exit=Exit("signal SEGV"),
        reason="systemd waits 10min before the next start",
    )  # fmt: skip
    states = host.watch(lambda _: dead, 6)
    assert states == ["warning"] * 5 + ["critical"]
    assert host.check().summary_str == (
        "web has not been running at any check for 6m, last signal SEGV; "
        "systemd waits 10min before the next start"
    )


def test_a_service_that_is_stopped_is_counted_but_no_problem_unless_it_is_named(host):
    host.services = [
        steady(),
        steady("db", state=DOWN, wanted_up=None, incarnation="", age_seconds=None),
    ]
    assert host.check().summary_str == "2 services watched (1 stopped), none restarted in 15m"
    named = host.check("--service", "db")
    assert (named.state, named.summary_str) == (CRITICAL, "db is not running")
    assert host.check("--service", "db", "--missing", "warning").state is WARNING


def test_a_name_that_does_not_exist_is_missing(host):
    host.services = [steady()]
    check = host.check("--service", "wbe", "--service", "web")
    assert check.summary_str == "wbe is not a service of any supervisor on this host"
    assert check.state is CRITICAL
    assert host.check("--service", "wbe", "--missing", "ok").state is OK
    assert host.check("--service", "wbe*").state is CRITICAL


def test_services_are_named_with_or_without_their_suffix_and_left_out_by_glob(host):
    host.services = [steady("web"), steady("web@1"), steady("db")]
    assert "services" not in host.check("--service", "web.service").summary_str
    assert host.check("--include", "web*").summary_str.startswith("2 services watched")
    assert host.check("--exclude", "*.service").summary_str.startswith("0 services watched")


# With the journal


def journalled(lives: Sequence[EndedLife], **more: object) -> Service:
    fields = {"age": 1.0, "history": tuple(lives), "history_seconds": 900.0, **more}
    return steady(**fields)  # type: ignore[arg-type]


def test_the_journal_makes_the_first_run_critical_with_the_exit_status(host):
    lives = [crash(ago) for ago in range(890, 0, -4)]
    host.services = [journalled(lives, restarts=57, log=("opening", "cannot open config"))]
    check = host.check("--service", "web")
    assert check.output() == (
        "FLAPPING CRITICAL - web restarted 223 times in 15m (limit 5), every 4s: exit status 3 "
        'after 2.5s; up 1s, says "cannot open config"\n'
        "Log: opening\n"
        "Log: cannot open config\n"
        "Next: journalctl -u web -n 50 "
        "| web_restarts=223;2;5;0 web_restarts_total=57c;;;0 web_age=1s;;;0 web_mtbr=4s;;;0"
    )


def test_exits_with_status_zero_for_ever_are_a_loop(host):
    host.services = [journalled([EndedLife(a, CLEAN, exited(0), 2.0) for a in range(1, 60, 5)])]
    check = host.check("--service", "web")
    assert check.state is CRITICAL
    assert (
        "It exits with status 0 by itself; if that is intended, use --clean-exit-ok"
        in check.output()
    )


def test_exits_with_status_zero_are_fine_for_workers_and_their_failures_are_not(host):
    clean = [EndedLife(a, CLEAN, exited(0), 2.0) for a in range(1, 600, 5)]
    host.services = [journalled(clean)]
    assert host.check("--service", "web", "--clean-exit-ok").state is OK
    host.services = [journalled([*(crash(700 + a) for a in range(3)), *clean])]
    check = host.check("--service", "web", "--clean-exit-ok")
    assert check.state is WARNING
    assert "restarted 3 times" in check.summary_str


def test_a_worker_between_two_runs_is_fine_when_clean_exits_are(host):
    resting = steady(
        state=BETWEEN, incarnation="", age_seconds=None, last_exit=exited(0), restarts=700
    )
    assert host.watch(lambda _: resting, 8, "--clean-exit-ok") == ["ok"] * 8


def test_restarts_by_hand_count_when_all_are_counted(host):
    host.services = [journalled([EndedLife(a, MANUAL) for a in (10, 20, 30)], restarts=0)]
    assert host.check("--service", "web").state is OK
    check = host.check("--service", "web", "--count", "all")
    assert (check.state, "web_restarts=3;2;5;0" in check.output()) == (WARNING, True)


def test_a_watchdog_that_kills_every_three_minutes_is_named(host):
    lives = [crash(a, "watchdog (signal ABRT)", 170.0) for a in (20, 200, 380, 560, 740)]
    host.services = [journalled(lives)]
    check = host.check("--service", "web")
    assert check.summary_str == (
        "web restarted 5 times in 15m (limit 2), every 3m: watchdog (signal ABRT) after 2m50s; "
        "up 1s"
    )


def test_old_deaths_are_outside_of_the_window(host):
    host.services = [journalled([crash(a) for a in range(200, 300, 10)])]
    assert host.check("--service", "web", "--window", "3m").state is OK
    assert host.check("--service", "web").state is CRITICAL


def test_a_short_journal_is_filled_up_by_what_was_remembered(host):
    host.services = [steady(restarts=0)]
    host.check()
    host.after(60).services = [steady(restarts=9, age=1.0, incarnation="b")]
    host.check()
    host.services = [journalled([crash(1.0)], history_seconds=10.0, restarts=9, incarnation="b")]
    assert "restarted 9 times" in host.check("--service", "web").summary_str


def test_the_last_log_line_is_told_without_its_time_stamp(host):
    lives = [crash(a) for a in range(1, 90, 5)]
    for line in (
        "2026/11/21 10:49:57 [emerg] no conf",
        "[2026-11-21 10:49:57,123] [emerg] no conf",
        "2026-11-21T10:49:57.123456+01:00 [emerg] no conf",
    ):
        host.services = [journalled(lives, log=(line,))]
        assert host.check("--service", "web").summary_str.endswith('emerg] no conf"')
        assert "2026" not in host.check("--service", "web").summary_str


def test_log_lines_are_as_many_as_asked_for(host):
    lives = [crash(a) for a in range(1, 90, 5)]
    host.services = [journalled(lives, log=("a b c", "d e f", "g h i"))]
    assert host.check("--log-lines", "1").output().count("Log: ") == 1
    assert "Log: " not in host.check("--log-lines", "0").output()
    assert "says" not in host.check("--log-lines", "0").summary_str


# Supervisors that keep no count: only ages are seen


def test_a_host_with_one_daemon_to_learn_about_says_so_after_the_others(host):
    host.services = [steady(), aged()("a", 100.0)]
    check = host.check()
    assert (check.state, check.summary_str) == (
        OK,
        "2 services watched, none restarted in 15m; "
        "web (runit): still learning: 1m40s of history, 5m needed",
    )


def test_an_instant_crasher_under_runit_is_critical_at_the_second_look(host):
    seen = aged()
    host.services = [seen("a", 0.4)]
    check = host.check()
    assert check.state is OK
    assert check.summary_str == "web (runit) up 0.4s, still learning: 0.4s of history, 5m needed"
    host.after(60).services = [seen("b", 0.7)]
    check = host.check("--service", "web")
    assert check.state is CRITICAL
    assert check.summary_str.startswith("web (runit) restarts about every ")


def test_a_crasher_that_is_dead_at_every_look_is_seen_by_its_keepers_page_faults(host):
    def dead(faults: int) -> Service:
        return Service("web", "runit", BETWEEN, True, reaped_faults=faults)

    host.services = [dead(1000)]
    assert host.check().state is WARNING
    host.after(60).services = [dead(9000)]
    check = host.check()
    assert check.state is CRITICAL
    assert "not running now" in check.summary_str


def test_hidden_restarts_are_estimated_from_ages(host):
    # 30 s of life, 1 s of pause, a look a minute: the naive count says 15 in 15 minutes.
    host.uptime = 10 * DAYS + 5
    for _ in range(16):
        host.services = [loop(30.0, 1.0, counted=False, supervisor="runit")(host.uptime)]
        check = host.check("--service", "web")
        host.after(60)
    assert check.state is CRITICAL
    restarts = float(check.perfdata[0].partition("=")[2].partition(";")[0])
    assert 15 <= restarts <= 60
    assert "restarts about every " in check.summary_str


def test_two_restarts_of_a_daemon_whose_ages_alone_are_seen_are_fine(host):
    seen = aged()
    host.services = [seen("a", 40 * DAYS)]
    host.check()
    host.after(60).services = [seen("b", 30.0)]
    assert host.check().state is OK
    host.after(60).services = [seen("c", 25.0)]
    assert host.check().state is OK
    for quiet in range(20):
        host.after(60).services = [seen("c", 85.0 + 60 * quiet)]
        assert host.check().state is OK


def test_a_daemon_seen_once_is_learned_about_and_may_be_called_fine_meanwhile(host):
    host.services = [aged()("a", 100.0)]
    assert host.check().state is OK
    check = host.check("--learning", "unknown")
    assert (check.state, check.summary_str) == (
        UNKNOWN, "web (runit): still learning: 1m40s of history, 5m needed",
    )  # fmt: skip
    host.after(240).services = [aged()("a", 340.0)]
    assert host.check().state is OK


def test_a_loop_that_is_up_at_one_look_and_dead_at_the_next_is_critical_at_the_second(host):
    host.services = [aged()("a", 0.4)]
    host.check()
    host.after(60).services = [Service("web", "runit", BETWEEN, True)]
    assert host.check().state is CRITICAL
    host.after(60).services = [aged()("b", 0.7)]
    assert host.check().state is CRITICAL


def test_one_crash_that_was_seen_between_two_lives_counts_once(host):
    host.services = [aged()("a", 40 * DAYS)]
    host.check()
    host.after(60).services = [Service("web", "runit", BETWEEN, True)]
    assert host.check().state is WARNING
    host.after(60).services = [aged()("b", 50.0)]
    check = host.check("--service", "web")
    assert (check.state, check.perfdata[0]) == (
        OK,
        "web_restarts=1;2;5;0".replace("web", "runit.web"),
    )


def test_daemontools_shows_an_instant_crasher_as_up_for_ever(host):
    seen = aged("daemontools")
    states = []
    for life in range(3):
        host.services = [seen(f"pid{life}", 0.5 * life)]
        states.append(str(host.check().state))
        host.after(60)
    assert states[1:] == ["critical", "critical"]


def test_a_death_tally_makes_the_first_run_critical(host):
    lives = tuple(crash(a, "exit status 9", 0.1) for a in range(48))
    host.services = [
        Service("web", "s6", UP, True, "a", 0.5, history=lives, history_seconds=900.0, exact=True)
    ]
    check = host.check("--service", "web")
    assert check.summary_str == (
        "web (s6) restarted 48 times in 15m (limit 5), every 1s: exit status 9 after 0.1s; up 0.5s"
    )


def test_two_operator_signals_in_a_death_tally_are_fine(host):
    lives = (
        EndedLife(60.0, MANUAL, Exit("signal TERM")),
        EndedLife(30.0, MANUAL, Exit("signal TERM")),
    )
    host.services = [
        Service("web", "s6", UP, True, "a", 30.0, history=lives, history_seconds=900.0, exact=True)
    ]
    assert host.check().state is OK


def test_one_member_of_a_pool_is_judged_alone(host):
    lives = tuple(crash(a) for a in range(1, 60, 3))
    one = Service("pool:pool_00", "supervisord", UP, True, "a", 9000.0, history=(), exact=True)
    host.services = [
        replace(one, name=f"pool:pool_0{n}", history=lives if n == 1 else (), history_seconds=900)
        for n in range(3)
    ]
    check = host.check()
    assert [f.text.split(" restarted")[0] for f in check.findings if f.state is CRITICAL] == [
        "pool:pool_01 (supervisord)"
    ]


def test_what_a_supervisor_wants_up_and_is_down_is_critical(host):
    host.services = [Service("web", "monit", GAVE_UP, True, reason="unmonitored after its limit")]
    assert host.check().summary_str == "web (monit) is down: unmonitored after its limit"
    host.services = [Service("web", "supervisord", DOWN, False)]
    assert host.check().state is OK


def test_what_cannot_be_seen_is_unknown_and_hides_nothing(host):
    unseen = Service("db", "perp", UNSEEN, None, unseen="perpd's socket is for root: run with sudo")
    host.services = [unseen, steady()]
    check = host.check()
    assert (check.state, check.summary_str) == (
        UNKNOWN, "db (perp): perpd's socket is for root: run with sudo",
    )  # fmt: skip
    host.services = [unseen, journalled([crash(a) for a in range(20)])]
    assert host.check().state is CRITICAL


def test_a_supervisor_that_hangs_does_not_hide_the_others(host):
    host.services = [steady()]
    host.findings = (Finding(UNKNOWN, "runit cannot be queried: no"),)
    check = host.check()
    assert check.summary_str == "runit cannot be queried: no"
    assert "services=1;;;0" in check.output()


# Memory


def test_nothing_is_written_of_a_daemon_that_goes_on(host):
    host.services = [steady(f"s{n}") for n in range(50)]
    host.check()

    def rows() -> list[tuple[str, float]]:
        with sqlite3.connect(host.state_dir / "flapping.sqlite") as sql:
            return sql.execute("SELECT subject, uptime FROM note WHERE subject < 'run'").fetchall()

    host.after(60).services = [steady(f"s{n}", age=40 * DAYS + 60) for n in range(50)]
    before = rows()
    host.check()
    assert rows() == before
    host.after(60).services[7] = steady("s7", age=3, restarts=1, incarnation="new")
    host.check()
    with sqlite3.connect(host.state_dir / "flapping.sqlite") as sql:
        changed = sql.execute(
            "SELECT subject FROM note WHERE uptime = ?", (host.uptime,)
        ).fetchall()
    assert sorted(row[0].partition("::")[2] for row in changed if "::" in row[0]) == ["s7"]


def test_two_instances_with_different_windows_share_one_memory(host):
    host.services = [steady(restarts=0)]
    host.check("--window", "1h")
    for n in range(1, 7):
        host.after(600).services = [steady(age=10, restarts=n, incarnation=str(n))]
        short, long = host.check("--window", "15m"), host.check("--window", "1h")
    assert (short.state, long.state) == (OK, CRITICAL)


def test_a_memory_that_is_no_memory_is_begun_anew(host):
    host.services = [steady()]
    host.check()
    for garbage in ('"text"', "[1]", '{"gaps": 3}', '{"first": 1, "gaps": []}'):
        with sqlite3.connect(host.state_dir / "flapping.sqlite") as sql:
            sql.execute("UPDATE note SET value = ?", (garbage,))
        assert host.after(60).check().state is OK


def test_a_history_that_cannot_be_kept_is_unknown_but_hides_no_crash(host, tmp_path):
    (tmp_path / "state").write_text("no directory")
    host.services = [steady()]
    check = host.check()
    assert check.state is UNKNOWN
    assert "history cannot be kept" in check.summary_str
    host.services = [journalled([crash(a) for a in range(20)])]
    assert host.check().state is CRITICAL


def test_a_loop_for_a_day_keeps_its_memory_small():
    record, uptime = None, 10 * DAYS
    daemon = loop(20.0, 1.0, counted=False, supervisor="runit")
    for _ in range(1440):
        record = updated(record, daemon(uptime), uptime, uptime - 60, DAYS)
        uptime += 60
    assert record is not None
    assert len(json.dumps(record.as_note())) < 8000
    assert count(daemon(uptime), record, uptime, DAYS).crashes > 1300


def test_a_note_of_version_0_1_still_knows_a_clean_exit(host):
    for text, last_exit in (("exit status 0", exited(0)), ("signal SEGV", Exit("signal SEGV"))):
        note = updated(None, steady(last_exit=last_exit), 1000.0, None, 900).as_note()
        assert note.pop("exit_is_clean") == last_exit.is_clean
        record = Record.from_note({**note, "last_exit": text})
        assert record is not None
        assert record.last_exit == last_exit


def test_notes_are_json_that_comes_back(host):
    record = updated(None, steady(restarts=3, restarts_seconds=60.0), 1000.0, None, 900)
    assert Record.from_note(json.loads(json.dumps(record.as_note()))) == record


# The estimate


@pytest.mark.parametrize(
    ("events", "least"), [(1, 0.051), (2, 0.355), (5, 1.970), (15, 9.246)], ids=str
)
def test_a_count_leaves_a_lower_bound(events, least):
    assert poisson_at_least(events) == pytest.approx(least, abs=0.002)


def verdicts(mean_seconds: float, looks: int, seed: int = 3) -> list[str]:
    """Of a daemon that dies at random, seen once a minute by a check that knows ages alone."""
    chance = random.Random(seed)
    limits = Limits(Limit.parse("2"), Limit.parse("5"))
    record, previous, life, states = None, None, -40 * DAYS, []
    death = 10 * DAYS + chance.expovariate(1 / mean_seconds)
    for look in range(looks):
        uptime = 10 * DAYS + 60.0 * look + chance.random()
        while death <= uptime:
            life, death = death, death + chance.expovariate(1 / mean_seconds)
        service = aged()(str(life), uptime - life)
        record = updated(record, service, uptime, previous, 900.0)
        counted = count(service, record, uptime, 900.0)
        verdict = verdict_on(service, counted, record, uptime, limits)
        states.append("ok" if verdict is None else str(verdict.state))
        previous = uptime
    return states


def test_one_restart_a_day_never_alarms_and_one_in_30_seconds_soon_does_and_always():
    assert set(verdicts(DAYS, 5 * 1440)) == {"ok"}
    looping = verdicts(30.0, 200)
    assert "critical" in looping[:12]
    assert set(looping[15:]) == {"critical"}


# The command line


def test_a_whole_host_shows_the_worst_first_and_the_offenders_numbers(host):
    host.services = [
        steady("fine"),
        journalled([crash(a) for a in range(1, 40, 10)], name="slow"),
        journalled([crash(a) for a in range(1, 40, 2)], name="fast"),
        steady("gone", state=GAVE_UP, incarnation="", age_seconds=None, reason="start limit hit"),
    ]
    check = host.check()
    lines = check.output().splitlines()
    assert lines[0] == "FLAPPING CRITICAL - gone is down: start limit hit (+2 more)"
    assert lines[1].startswith("CRITICAL: fast restarted 20 times in 15m (limit 5)")
    assert lines[2].startswith("WARNING: slow restarted 4 times in 15m (limit 2)")
    assert lines[-1].startswith(
        "Next: journalctl -u gone -n 50 | services=4;;;0 restarts=24;;;0 restarts_by_hand=0;;;0 "
        "flapping=2;;;0 down=1;;;0 gone_restarts=0;2;5;0"
    )


def test_restarts_within_the_limits_are_told(host):
    host.services = [
        steady("fine"),
        journalled([crash(60.0)], name="web"),
        journalled([EndedLife(30.0, MANUAL)], name="db"),
    ]
    assert host.check().summary_str == (
        "3 services watched, within the limits in 15m: web 1 restart, db 1 manual restart"
    )


def test_two_services_of_one_name_never_share_a_label(host):
    lives = tuple(crash(a) for a in range(20))
    one = Service("web", "runit", UP, True, "a", 1.0, history=lives, history_seconds=900.0)
    host.services = [one, replace(one, supervisor="s6"), journalled(lives)]
    labels = [text.partition("=")[0] for text in host.check("--service", "web").perfdata]
    assert len(labels) == len(set(labels)) == 12


def test_a_service_directory_without_its_supervisor_makes_no_sense(host):
    check = host.check("--service-dir", "/x")
    assert check.state is UNKNOWN
    assert check.summary_str.startswith("--service-dir and --socket need exactly one --supervisor")


def test_a_user_that_does_not_exist_is_a_wrong_command_line(host, capfd):
    with pytest.raises(SystemExit, match="3"):
        host.check("--process", "x", "--user", "nobody-at-all")
    assert "argument --user: user nobody-at-all does not exist" in capfd.readouterr().out


def test_supervisors_are_recognised_by_their_programs():
    def one(comm: str, *cmdline: str) -> Process:
        return Process(7, 1, comm, "S", 1, 0, cmdline, 0)

    running = [one("sh"), one("runsvdir"), one("python3", "python3", "/usr/bin/supervisord")]
    assert running_here(running) == ["runit", "supervisord"]
    assert running_here([one("bash")]) == []


# Plain processes, real ones


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*argv: str) -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL))
        return running[-1]

    yield start
    for one in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


def run(tmp_path: Path, *args: str) -> Check:
    parsed = flapping.options().parse_args(["--state-dir", str(tmp_path / "state"), *args])
    check = flapping.plan(parsed)
    check()
    return check


def wait_for(happened: Callable[[], bool], seconds: float = 40.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_process_is_found_by_its_pid_file_and_missed_without_it(tmp_path, started):
    daemon = started("sleep", "1000")
    pidfile = tmp_path / "web.pid"
    pidfile.write_text(f"{daemon.pid}\n")
    check = run(tmp_path, "--pidfile", str(pidfile), "--learning", "ok")
    assert check.state is OK
    assert check.perfdata[0] == "web_restarts=0;2;5;0"
    daemon.kill()
    daemon.wait()
    check = run(tmp_path, "--pidfile", str(pidfile))
    assert (check.state, check.summary_str) == (CRITICAL, "web is not running")
    pidfile.unlink()
    assert run(tmp_path, "--pidfile", str(pidfile), "--missing", "warning").state is WARNING


def test_a_pid_file_that_is_not_one_is_unknown(tmp_path):
    (tmp_path / "web.pid").write_text("soon")
    check = run(tmp_path, "--pidfile", str(tmp_path / "web.pid"))
    assert check.state is UNKNOWN
    assert check.summary_str == f"web: pid file {tmp_path}/web.pid contains no pid"


def test_a_shell_loop_is_the_supervisor_of_what_it_runs(tmp_path, started):
    program = tmp_path / "flapd"
    program.symlink_to("/bin/sleep")
    loop_of = started("sh", "-c", f"while :; do {program} 0.4; done")
    seen: list[Service] = []

    def look() -> str:
        watch = Watch("flapd", cmdline=opt.pattern("*flapd*"))
        service, _ = unsupervised.observed(watch, ProcessTable.observed(now()))
        seen.append(service)
        return service.state

    wait_for(lambda: look() == UP)
    first = seen[-1]
    assert f"sh[{loop_of.pid}]" in first.parent
    assert first.reaped_faults is not None
    wait_for(lambda: look() == UP and seen[-1].incarnation != first.incarnation)
    assert DOWN not in [service.state for service in seen[seen.index(first) :]]


def proc_of(*listed: Process) -> dict[int, Process]:
    return {process.pid: process for process in listed}


def proc_line(
    pid: int,
    ppid: int,
    comm: str,
    cmdline: str = "",
    ticks: int = 100,
    state: str = "S",
    faults: int = 0,
) -> Process:
    return Process(pid, ppid, comm, state, ticks, faults, tuple(cmdline.split()), 1000)


def look_for(watch: Watch, *listed: Process, **more: object) -> Service:
    table = ProcessTable(Stamp(BOOT, 100.0, 0.0), proc_of(*listed))
    service, _ = unsupervised.observed(watch, table, **more)  # type: ignore[arg-type]
    return service


NGINX = Watch("nginx", program=opt.pattern("nginx"))


def test_the_root_of_a_match_stands_for_it_and_never_a_worker():
    master = proc_line(10, 1, "nginx", "nginx: master", ticks=500)
    workers = [proc_line(pid, 10, "nginx", "nginx: worker", ticks=9000 + pid) for pid in (11, 12)]
    seen = look_for(NGINX, master, *workers)
    assert (seen.incarnation, seen.age_seconds) == (f"{BOOT}:10:500", 95.0)


def test_of_several_roots_the_youngest_may_be_the_one_that_comes_and_goes():
    seen = look_for(
        NGINX, proc_line(10, 1, "nginx", "nginx", 500), proc_line(20, 1, "nginx", "nginx", 9900)
    )
    assert seen.age_seconds == 1.0


def test_a_zombie_is_not_alive():
    seen = look_for(NGINX, proc_line(10, 1, "nginx", state="Z"))
    assert (seen.state, seen.reason) == (DOWN, "only a zombie is left of it")


def test_a_loop_whose_program_is_between_two_lives_will_start_it_again():
    shell = proc_line(5, 1, "sh", "sh -c while:;do nginx;done", faults=777)
    seen = look_for(NGINX, proc_line(5, 1, "bash", "bash -c while :; do /usr/sbin/nginx; done"))
    assert (seen.state, seen.reaped_faults) == (BETWEEN, 0)
    script = proc_line(6, 1, "loop.sh", "/bin/sh /srv/loop.sh", ticks=44, faults=9)
    known = KnownProcess("nginx", 6, 44)
    assert look_for(NGINX, script, known=known).state == BETWEEN
    assert look_for(NGINX, replace(script, ticks=45), known=known).state == DOWN
    assert shell.reaped_faults == 777


def test_a_pid_that_went_to_another_program_is_not_the_daemon():
    watch = Watch("web", pidfile="/run/web.pid")
    known = KnownProcess("web")
    other = proc_line(10, 1, "postgres", "postgres")
    assert look_for(watch, other, known=known, pidfile=lambda _: "10").state == DOWN
    assert look_for(watch, other, pidfile=lambda _: "10").state == UP


def test_a_script_is_known_by_its_own_name():
    app = proc_line(10, 1, "python3", "/usr/bin/python3 -u /srv/app.py --port 80")
    assert unsupervised.program_names(app) == {"python3", "app.py"}


def test_the_check_does_not_find_itself_by_the_pattern_on_its_command_line():
    shell = proc_line(50, 1, "sh", "sh -c check_flapping --cmdline nginx")
    check = proc_line(51, 50, "python3", "python3 check_flapping --cmdline nginx")
    callers = unsupervised.ourselves_and_our_callers(proc_of(shell, check), 51, "check_flapping")
    assert callers == {50, 51}


def test_the_processes_of_a_user_are_watched_by_program():
    watches = unsupervised.each_program(
        [Watch("any process of kiosk", uid=1000, user="kiosk")],
        proc_of(
            proc_line(10, 1, "chromium", "chromium"),
            proc_line(11, 10, "chromium", "chromium --type=renderer"),
            proc_line(12, 1, "player", "player"),
            proc_line(13, 1, "bash", "bash"),
        ),
        (),
    )
    assert [watch.name for watch in watches] == ["kiosk.chromium", "kiosk.player"]


def test_a_process_of_cron_says_so():
    cron = proc_line(2, 1, "cron", "cron -f")
    child = proc_line(3, 2, "cron", "CRON -f")
    shell = proc_line(4, 3, "sh", "sh -c /usr/sbin/nginx")
    assert look_for(NGINX, cron, child, shell, proc_line(5, 4, "nginx", "nginx")).parent == "cron"


def test_a_daemon_that_executes_itself_anew_has_not_restarted(started):
    daemon = started("sh", "-c", "read go < /dev/null; sleep 0.2; exec sleep 1000")
    before = processes.read(daemon.pid)
    assert before is not None

    def is_another_program() -> bool:
        current = processes.read(daemon.pid)
        return current is not None and current.comm == "sleep"

    wait_for(is_another_program)
    after = processes.read(daemon.pid)
    assert after is not None
    table = ProcessTable(now(), {})
    assert table.identity(after) == table.identity(before)


def test_many_runs_at_once_spoil_nothing(tmp_path, started):
    daemon = started("sleep", "1000")
    pidfile = tmp_path / "web.pid"
    pidfile.write_text(str(daemon.pid))
    script = flapping.__file__
    argv = [sys.executable, script, "--pidfile", str(pidfile), "--learning", "ok"]
    env = {**os.environ, "TWICESHY_STATE_DIR": str(tmp_path / "state")}
    runs = [subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    outputs = [one.communicate(timeout=30)[0] for one in runs]
    assert {output.split(" - ")[0] for output in outputs} == {"FLAPPING OK"}
    with sqlite3.connect(tmp_path / "state" / "flapping.sqlite") as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sql.execute("SELECT count(*) FROM note").fetchone() == (2,)


def test_without_any_supervisor_the_check_says_what_it_can_watch(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "uptime").write_text("100.0 1.0")
    with pytest.raises(CheckError, match="no supervisor is running here"):
        observe(Settings(Selection(), Limits(None, None)), Stamp(BOOT, 100.0, 1.0), {}, tmp_path)

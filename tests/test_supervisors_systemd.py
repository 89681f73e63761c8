"""systemd as a supervisor: what its properties and its journal say (captured from 252.39)."""

from __future__ import annotations

import json
import os
import pwd
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from twiceshy.flapping.service import (
    BETWEEN,
    CLEAN,
    CRASH,
    DOWN,
    GAVE_UP,
    MANUAL,
    NO_EXIT,
    UP,
    Exit,
    exited,
    short,
)
from twiceshy.flapping.supervisors import Instance, systemd
from twiceshy.kit import subprocesses
from twiceshy.kit.plugin import CheckError
from twiceshy.kit.processes import Process, ProcessTable
from twiceshy.kit.stamps import Stamp

DATA = Path(__file__).parent / "data" / "flapping"
NOW_US = int(re.search(r"at (\d+) us", (DATA / "README").read_text())[1])  # type: ignore[index]
BOOT = "b0" * 16
SHOW = (DATA / "systemctl-show-all-services.txt").read_text()
JOURNAL = (DATA / "journal-crashes-and-restarts-by-hand.jsonl").read_text()


@pytest.fixture(scope="module")
def services():
    return {
        short(p["Id"]): systemd.service_of(p, NOW_US)
        for p in systemd.parse_show(SHOW)
        if systemd.is_daemon(p)
    }


@pytest.fixture(scope="module")
def records():
    return systemd.parse_journal(JOURNAL, NOW_US, BOOT)


def test_oneshots_timers_and_passing_jobs_are_no_daemons(services):
    assert set(services) == {
        "abort", "clean", "dog", "hand", "instant", "latestart", "nowhere", "pre", "slow",
        "systemd-journald",
    }  # fmt: skip
    tick = {"LoadState": "loaded", "Type": "simple", "TriggeredBy": "tick.timer"}
    assert not systemd.is_daemon(tick)
    passing = {"LoadState": "loaded", "Type": "simple", "Transient": "yes", "Restart": "no"}
    assert not systemd.is_daemon(passing)
    assert systemd.is_daemon({**passing, "Restart": "always"})
    assert not systemd.is_daemon({"LoadState": "not-found"})


def test_a_crash_loop_looks_fine_at_the_instant_it_is_sampled(services):
    slow = services["slow"]
    assert (slow.state, slow.last_exit, slow.restarts) == (UP, NO_EXIT, 3)
    assert 0 <= slow.age_seconds < 1
    assert len(slow.incarnation) == 32


def test_the_start_limit_is_named_though_its_result_is_that_of_the_last_life(services):
    instant = services["instant"]
    assert (instant.state, instant.last_exit, instant.reason, instant.incarnation) == (
        GAVE_UP, exited(1), "start limit hit: systemd gave up after 5 restarts", "",
    )  # fmt: skip
    assert instant.down_seconds == pytest.approx(3.5, abs=1)


def test_a_unit_between_two_lives_tells_how_the_last_one_ended(services):
    assert (services["dog"].state, services["pre"].state) == (BETWEEN, BETWEEN)
    assert services["dog"].last_exit == Exit("watchdog (signal ABRT)")
    assert services["latestart"].last_exit == Exit("timed out (signal TERM)")


def test_what_a_socket_or_the_bus_starts_is_on_demand(services):
    assert services["systemd-journald"].on_demand
    assert not services["slow"].on_demand
    assert systemd.service_of({"Id": "x.service", "BusName": "org.x"}, 1).on_demand


def test_a_service_of_an_old_systemd_has_no_counter():
    old = systemd.service_of({"Id": "x.service", "ActiveState": "active"}, 10)
    assert (old.restarts, old.exact, old.age_seconds) == (None, False, None)


def test_a_stopped_service_is_down_and_nobody_knows_whether_it_ought_to(services):
    stopped = systemd.service_of(
        {"Id": "x.service", "ActiveState": "inactive", "SubState": "dead"}, 10
    )
    assert (stopped.state, stopped.wanted_up) == (DOWN, None)


@pytest.mark.parametrize(
    ("unit", "kind", "cause", "lasted"),
    [
        ("slow", CRASH, "exit status 3", 1.0),
        ("clean", CLEAN, "exit status 0", 1.0),
        ("abort", CRASH, "signal ABRT", 1.0),
        ("dog", CRASH, "watchdog (signal ABRT)", 0.7),
        ("nowhere", CRASH, "exit status 203/EXEC, the program cannot be executed", 0.0),
        ("pre", CRASH, "exit status 1", 0.0),
        ("latestart", CRASH, "timed out", 0.6),
    ],
)
def test_the_journal_tells_how_each_life_ended(records, unit, kind, cause, lasted):
    lives = records.lives[f"{unit}.service"]
    assert Counter((life.kind, life.exit.text) for life in lives).most_common(1)[0][0] == (
        kind,
        cause,
    )
    assert lives[-1].lasted_seconds == pytest.approx(lasted, abs=0.5)
    assert [life.age_seconds for life in lives] == sorted(
        (life.age_seconds for life in lives), reverse=True
    )


def test_a_start_limit_is_no_sixth_death(records):
    assert len(records.lives["instant.service"]) == 5


def test_restarts_by_hand_are_told_from_crashes_and_reloads(records):
    kinds = [(life.kind, life.exit.text) for life in records.lives["hand.service"]]
    assert kinds == [(MANUAL, ""), (MANUAL, ""), (CRASH, "signal KILL")]


def test_log_lines_come_with_the_records(records):
    assert list(records.lines) == ["slow.service"]
    assert {line.text for line in records.lines["slow.service"]} == {
        "reading config", "cannot open config",
    }  # fmt: skip


def test_the_last_words_are_those_of_the_dead_and_no_greeting_of_the_living(records, services):
    slow = services["slow"]
    lines = records.lines["slow.service"]
    assert lines[-1] == systemd.LogLine(slow.incarnation, "reading config")
    assert systemd.last_lines(lines, slow)[-1] == "cannot open config"
    assert systemd.last_lines(lines[-1:], slow) == ("reading config",)


def test_records_of_another_boot_and_broken_ones_are_passed_over():
    broken = JOURNAL.splitlines()[10][:40] + "\nnull\n[]\n{}\n"
    assert systemd.parse_journal(broken, NOW_US, BOOT).lives == {}
    assert systemd.parse_journal(JOURNAL, NOW_US, "c1" * 16).lives == {}


def test_a_message_id_that_pid_1_has_not_written_is_not_believed():
    forged = "\n".join(
        json.dumps({**json.loads(line), "_PID": "4711", "_SYSTEMD_UNIT": "evil.service"})
        for line in JOURNAL.splitlines()
    )
    assert systemd.parse_journal(forged, NOW_US, BOOT).lives == {}


def test_a_message_of_bytes_is_decoded():
    record = {
        "__MONOTONIC_TIMESTAMP": "5",
        "_SYSTEMD_UNIT": "a.service",
        "MESSAGE": [104, 255, 105],
    }
    lines = systemd.parse_journal(json.dumps(record), 9, BOOT).lines
    assert lines == {"a.service": (systemd.LogLine("", "h�i"),)}


@pytest.mark.parametrize(
    ("result", "code", "status", "words"),
    [
        ("exit-code", "exited", "1", "exit status 1"),
        ("exit-code", "exited", "217", "exit status 217/USER"),
        ("signal", "killed", "11", "signal SEGV"),
        ("core-dump", "dumped", "6", "signal ABRT, core dumped"),
        ("oom-kill", "killed", "9", "out of memory (signal KILL)"),
        ("oom-kill", "", "", "out of memory"),
        ("success", "exited", "0", "exit status 0"),
        ("signal", "killed", "250", "signal 250"),
        ("something-new", "", "", "something-new"),
        ("", "", "", ""),
    ],
)
def test_causes_in_words(result, code, status, words):
    assert systemd.exit_of(result, code, status) == Exit(words, is_clean=words == "exit status 0")


def test_how_far_back_a_journal_goes_is_in_its_header():
    header = (DATA / "journal-header.bin").read_bytes()
    assert systemd.head_realtime(header) == pytest.approx(1795250000, abs=86400)
    assert systemd.head_realtime(header[:100]) is None
    assert systemd.head_realtime(b"x" * 192) is None


class Systemctl:
    """A systemctl and a journalctl that answer what was captured, and count how often."""

    def __init__(self, show: str = SHOW, journal: str = JOURNAL, status: int = 0) -> None:
        self.asked: list[list[str]] = []
        # The captured instant becomes now, so that ages come out as they were.
        shift = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 - NOW_US
        self.show = re.sub(
            r"(TimestampMonotonic=)([1-9]\d+)", lambda m: f"{m[1]}{int(m[2]) + shift}", show
        )
        self.journal = re.sub(
            r'("__MONOTONIC_TIMESTAMP": ")(\d+)', lambda m: f"{m[1]}{int(m[2]) + shift}", journal
        )
        self.status = status

    def __call__(self, argv: Sequence[str]) -> subprocesses.Ran:
        self.asked.append(list(argv))
        out = self.show if argv[0] == "systemctl" else self.journal
        return subprocesses.Ran(
            self.status, out, "Failed to connect to bus: no" if self.status else ""
        )


@pytest.fixture
def journals(tmp_path: Path) -> Sequence[str]:
    (tmp_path / "id").mkdir()
    (tmp_path / "id" / "system.journal").write_bytes((DATA / "journal-header.bin").read_bytes())
    return (str(tmp_path),)


PLACE = Instance("systemd", "system", 1)
INIT = Process(1, 0, "systemd", "S", 0, 0, ("systemd",), 0)
NOW = Stamp(BOOT, 1000.0, 1.8e9)
FIRST = ProcessTable(NOW, {1: INIT})


def test_all_services_cost_one_systemctl_and_one_journalctl(journals):
    ask = Systemctl()
    seen = systemd.services(PLACE, FIRST, ask=ask, journals=journals)
    assert [argv[0] for argv in ask.asked] == ["systemctl", "journalctl"]
    assert "_PID=1" in ask.asked[1]
    assert len(seen) == 10
    slow = next(service for service in seen if service.name == "slow")
    assert (slow.last_exit, slow.log, slow.history_seconds) == (
        exited(3), ("cannot open config", "reading config", "cannot open config"), 900.0,
    )  # fmt: skip


def test_without_a_journal_each_service_says_what_to_do_about_it():
    ask = Systemctl()
    seen = systemd.services(PLACE, FIRST, ask=ask, journals=("/nonexistent",))
    assert [argv[0] for argv in ask.asked] == ["systemctl"]
    assert {service.unseen for service in seen} == {systemd.KEEPS_NONE}
    assert seen[0].next.startswith("sudo journalctl -u ")


def test_a_talkative_suspect_does_not_crowd_out_the_records(journals, monkeypatch):
    ask = Systemctl()
    monkeypatch.setattr(systemd, "RECORDS", 10)
    seen = systemd.services(PLACE, FIRST, ask=ask, journals=journals)
    assert [argv[0] for argv in ask.asked] == ["systemctl", "journalctl", "journalctl"]
    assert "+" not in ask.asked[2]
    assert all(service.history_seconds < 900 for service in seen)


def test_a_clean_exit_that_waits_for_its_restart_is_none_by_hand(journals):
    records = [json.loads(line) for line in JOURNAL.splitlines()]
    last = max(
        int(r["__MONOTONIC_TIMESTAMP"])
        for r in records
        if r.get("UNIT") == "clean.service" and r["MESSAGE_ID"] == systemd.SUCCEEDED
    )
    cut = "\n".join(json.dumps(r) for r in records if int(r["__MONOTONIC_TIMESTAMP"]) <= last)
    show = re.sub(
        r"ActiveState=active\nSubState=running",
        "ActiveState=activating\nSubState=auto-restart",
        SHOW,
    )
    ask = Systemctl(show, cut)
    seen = systemd.services(PLACE, FIRST, ask=ask, journals=journals)
    clean = next(service for service in seen if service.name == "clean")
    assert {life.kind for life in clean.history} == {CLEAN}


def test_named_services_are_asked_for_by_name_whatever_they_are(journals):
    blocks = SHOW.strip().split("\n\n")
    journald = next(block for block in blocks if "Id=systemd-journald" in block)
    missing = "Id=none.service\nLoadState=not-found\nActiveState=inactive"
    ask = Systemctl(f"{journald}\n\n{missing}\n")
    query = systemd.Query(names=["alias", "none"])
    seen = systemd.services(PLACE, FIRST, query, ask=ask, journals=journals)
    assert ask.asked[0][-2:] == ["alias.service", "none.service"]
    assert [service.name for service in seen] == ["alias"]


def test_a_bus_that_cannot_be_reached_is_said():
    with pytest.raises(CheckError, match="systemd cannot be queried: Failed to connect to bus: no"):
        systemd.services(PLACE, FIRST, ask=Systemctl(status=1))

    def absent(argv: Sequence[str]) -> subprocesses.Ran:
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    with pytest.raises(CheckError, match="systemd cannot be queried: No such file"):
        systemd.services(PLACE, FIRST, ask=absent)


def test_a_journalctl_that_hangs_costs_the_causes_only(journals):
    answers = Systemctl()

    def ask(argv: Sequence[str]) -> subprocesses.Ran:
        if argv[0] == "journalctl":
            raise subprocesses.NoAnswer("journalctl did not answer within 5s")
        return answers(argv)

    seen = systemd.services(PLACE, FIRST, ask=ask, journals=journals)
    assert {service.unseen for service in seen} == {"journalctl did not answer"}


def test_systemd_is_found_as_pid_1_alone():
    assert systemd.instances(FIRST) == [PLACE]
    assert systemd.instances(ProcessTable(NOW, {1: replace(INIT, comm="tini")})) == []


USERS = ProcessTable(
    NOW,
    {
        1: INIT,
        30: Process(30, 1, "systemd", "S", 0, 0, ("/lib/systemd/systemd", "--user"), os.geteuid()),
        31: Process(31, 30, "(sd-pam)", "S", 0, 0, ("(sd-pam)",), os.geteuid()),
        40: Process(40, 1, "containerd-shim", "S", 0, 0, ("containerd-shim",), 0),
        41: Process(41, 40, "systemd", "S", 0, 0, ("/lib/systemd/systemd", "--user"), os.geteuid()),
    },
)


def test_a_user_s_manager_is_found_below_pid_1_and_not_in_a_container():
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert systemd.instances(USERS) == [PLACE, Instance("systemd", me, 30)]


ANN = systemd.Manager(30, 1234, "ann")


def test_the_records_of_a_user_s_manager_are_its_own():
    def hers(line: str) -> str:
        record = json.loads(line)
        fields = {"UNIT": ANN.unit, "INVOCATION_ID": ANN.invocation, "_SYSTEMD_UNIT": ANN.writer}
        record = {fields.get(key, key): value for key, value in record.items()}
        return json.dumps({**record, "_PID": "30"} if record.get("_PID") == "1" else record)

    theirs = "\n".join(map(hers, JOURNAL.splitlines()))
    records = systemd.parse_journal(JOURNAL, NOW_US, BOOT)
    assert systemd.parse_journal(theirs, NOW_US, BOOT, ANN) == records
    assert systemd.parse_journal(JOURNAL, NOW_US, BOOT, ANN).lives == {}
    assert systemd.parse_journal(theirs, NOW_US, BOOT).lives == {}


@pytest.mark.parametrize(
    ("files", "read"),
    [
        (["system.journal", "user-1234.journal", "user-12345.journal"], ["user-1234.journal"]),
        (["system.journal", "system@1.journal"], ["system.journal", "system@1.journal"]),
    ],
)
def test_a_user_s_records_are_in_a_journal_of_her_own_where_there_is_one(tmp_path, files, read):
    (tmp_path / "id").mkdir()
    for name in files:
        (tmp_path / "id" / name).touch()
    found = systemd._journal_files([str(tmp_path)], ANN, "[.@]*journal")
    assert sorted(Path(path).name for path in found) == read


def test_a_name_with_a_user_is_no_unit_of_the_system_and_the_other_way_round(journals):
    ask = Systemctl()
    instance = Instance("systemd", "ann", 30)
    for at, name in ((PLACE, "ann/web"), (instance, "web")):
        seen = systemd.services(at, USERS, systemd.Query(names=[name]), ask=ask, journals=journals)
        assert seen == []
    assert ask.asked == []


def test_a_manager_whose_user_has_just_left_keeps_nothing(journals):
    ask = Systemctl()
    instance = Instance("systemd", "gone", 2**22)
    assert systemd.services(instance, USERS, ask=ask, journals=journals) == []
    assert ask.asked == []

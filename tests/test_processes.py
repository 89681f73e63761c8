"""The process table: what /proc says of every process, here and on a host that does not exist."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sides.proctree import BOOT, NOW, UPTIME, Proc
from twiceshy.kit import processes
from twiceshy.kit.history import now
from twiceshy.kit.processes import Process, ProcessTable
from twiceshy.monitor_liveness.components import Clock
from twiceshy.monitor_liveness.monitors.processes import age_of, of_host, titled

LINE = "7 (a) S (b) R 1 7 7 0 -1 {flags} 10 555 0 0 1 2 3 4 20 0 1 0 12345 1 1"


def process(*words: str, comm: str = "web") -> Process:
    return Process(7, 1, comm, "S", 12345, 555, words, 0)


# The line of the kernel


@pytest.mark.parametrize(("flags", "in_kernel"), [(0x400100, False), (0x208040, True)])
def test_stat_is_parsed_from_its_last_parenthesis(flags: int, in_kernel: bool) -> None:
    parsed = processes.parse_stat(LINE.format(flags=flags))
    assert parsed == (7, 1, "a) S (b", "R", 12345, 555, in_kernel)


@pytest.mark.parametrize("line", ["", "7 (cut", "7 (cut) S 1", LINE.format(flags="x")])
def test_what_is_no_line_of_stat_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        processes.parse_stat(line)


# A process


def test_a_program_is_named_by_its_command_line_else_by_its_comm() -> None:
    assert process("/usr/sbin/nginx", "-g").program == "nginx"
    assert process(comm="kworker/0:1").program == "kworker/0:1"
    assert process("", comm="odd").program == "odd"


def test_this_process_is_read_as_it_is() -> None:
    myself = processes.read(os.getpid())
    assert myself is not None
    assert (myself.pid, myself.ppid, myself.uid) == (os.getpid(), os.getppid(), os.geteuid())
    assert "python" in myself.cmdline[0]
    assert processes.snapshot()[os.getpid()] == myself
    here = os.readlink(processes.working_directory(os.getpid()))
    assert here == os.getcwd()


def test_a_pid_of_nobody_is_none(tmp_path: Path) -> None:
    assert processes.read(2**22 + 1) is None
    assert processes.read(7, tmp_path) is None


def test_a_child_of_pid_2_has_a_command_line_in_a_container(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.add(2, 1, "/usr/sbin/nagios", "/etc/nagios.cfg")
    proc.add(9, 2, "/usr/sbin/nagios", "--worker")
    table = proc.table().processes
    assert [table[pid].cmdline[-1] for pid in (2, 9)] == ["/etc/nagios.cfg", "--worker"]


# The table


def test_age_and_identity_come_from_start_ticks(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    identity = proc.add(7, 1, "/usr/bin/web", age=60.0)
    table = proc.table()
    web = table.process(7)
    assert web is not None
    assert table.age(web) == pytest.approx(60.0)
    assert table.identity(web) == identity == f"{BOOT}:7:{int((UPTIME - 60) * 100)}"
    assert not table.is_real


def test_a_process_that_was_born_after_the_snapshot_is_found() -> None:
    table = ProcessTable.observed(now())
    time.sleep(0.02)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        born = table.process(child.pid)
        assert born is not None
        assert 0.0 <= table.age(born) < 5.0
    finally:
        child.communicate(b"\n")


# As a monitor


def test_a_title_is_less_its_padding_and_is_utf_8() -> None:
    assert titled(process("sensu: agent   ", "", "  ")).cmdline == ("sensu: agent",)
    assert titled(process("  ")).cmdline == ()
    assert titled(process("a", "caf\udce9", "caf\u00e9")).cmdline == ("a", "caf\ufffd", "caf\u00e9")
    same = process("/usr/sbin/nagios", "-d")
    assert titled(same) is same


def test_processes_of_containers_are_not_of_this_host(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    for pid, status in (
        (30, "NSpid:\t30\n"),
        (4, "NSpid:\t4\n"),
        (20, "NSpid:\t20\t1\n"),
        (10, ""),
    ):
        proc.add(pid, 1, "/usr/sbin/nagios")
        (tmp_path / str(pid) / "status").write_text(f"Name:\tnagios\n{status}NSsid:\t1\t2\n")
    assert [found.pid for found in of_host(tmp_path)] == [4, 10, 30]


def test_the_age_of_a_process_counts_from_the_boot() -> None:
    clock = Clock(NOW.wall, booted=NOW.wall - NOW.uptime)
    assert age_of(process("web"), clock) == pytest.approx(NOW.uptime - 123.45)

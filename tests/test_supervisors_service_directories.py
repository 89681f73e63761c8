"""What runit, daemontools and s6 have in common."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from sides.proctree import NOW, Proc
from twiceshy.flapping.service import NO_EXIT, Exit, exited
from twiceshy.flapping.supervisors import (
    Instance,
    exit_statuses,
    log_lines,
    runit,
    s6,
    service_directories,
    timestamps,
)
from twiceshy.kit.processes import ProcessTable

RUNIT = runit.PROGRAMS


def test_a_stamp_counts_seconds_and_nanoseconds() -> None:
    earlier = timestamps.tai64n(bytes.fromhex("400000006b01702cc3b9aca0")[:12])
    later = timestamps.tai64n(bytes.fromhex("400000006b01702ec3b9aca0")[:12])
    assert later - earlier == 2.0


def test_a_stamp_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError):
        timestamps.tai64n(b"\x40")


@pytest.mark.parametrize(
    ("stamps", "newest", "expected"),
    [
        ([], 5.0, []),
        ([100.0], 5.0, [5.0]),
        ([100.0, 110.0, 130.0], 5.0, [35.0, 25.0, 5.0]),
        # The clock was stepped back by an hour between the second and the third.
        ([3700.0, 3710.0, 120.0], 5.0, [15.0, 5.0, 5.0]),
    ],
)
def test_ages_keep_the_order_whatever_the_clock_did(
    stamps: list[float], newest: float, expected: list[float]
) -> None:
    assert timestamps.ages(stamps, newest) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("svlogd", "-tt", "./main"), ["./main"]),
        (("/usr/bin/svlogd", "/var/log/web"), ["/var/log/web"]),
        (("multilog", "t", "s1000000", "n10", "./main"), ["./main"]),
        (("s6-log", "n20", "s1000000", "/var/log/web"), ["/var/log/web"]),
        (("cat",), []),
        ((), []),
    ],
)
def test_the_directories_of_a_log_are_on_its_loggers_command_line(
    words: tuple[str, ...], expected: list[str]
) -> None:
    assert log_lines.log_directories(words) == expected


def test_runsvdirs_title_has_the_last_words() -> None:
    words = ("runsvdir", "-P", "/etc/service", "log: " + "." * 40 + "web: bad port\n")
    assert log_lines.in_title(words) == "web: bad port\n"


def test_a_title_that_is_all_dots_says_nothing() -> None:
    assert log_lines.in_title(("runsvdir", "/etc/service", "log: " + "." * 400)) == ""


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, exited(0)),
        (0x300, exited(3)),
        (6, Exit("signal ABRT")),
        (0x8B, Exit("signal SEGV")),
    ],
)
def test_a_wait_status_in_words(status: int, expected: Exit) -> None:
    assert exit_statuses.exit_of(status) == expected


def host(tmp_path: Path, as_root: bool = True) -> Proc:
    """runsvdir on SERVICES with web and its log, and a runsv that has lost its runsvdir."""
    services = tmp_path / "service"
    for name in ("web", "lost"):
        (services / name / "supervise").mkdir(parents=True)
    proc = Proc(tmp_path / "proc")
    proc.add(10, 1, "runsvdir", "-P", str(services), cwd=tmp_path if as_root else None)
    proc.add(11, 10, "runsv", "web", cwd=services / "web" if as_root else None)
    proc.add(12, 11, "svlogd", "./main")
    proc.add(13, 11, "web", age=5)
    return proc


def test_a_scanner_is_a_place(tmp_path: Path) -> None:
    proc = host(tmp_path)
    assert service_directories.instances(RUNIT, proc.table()) == [
        Instance("runit", str(tmp_path / "service"), 10)
    ]


def test_keepers_without_a_scanner_are_a_place_by_their_directory(tmp_path: Path) -> None:
    proc = host(tmp_path)
    proc.add(20, 1, "runsv", "alone", cwd=tmp_path / "elsewhere/alone")
    assert service_directories.instances(RUNIT, proc.table())[1:] == [
        Instance("runit", str(tmp_path / "elsewhere"))
    ]


def test_a_service_that_nobody_keeps_any_more_is_listed(tmp_path: Path) -> None:
    proc = host(tmp_path)
    instance = Instance("runit", str(tmp_path / "service"), 10)
    kept = service_directories.directories(RUNIT, instance, proc.table())
    assert [(k.name, k.keeper.pid if k.keeper else None) for k in kept] == [
        ("lost", None),
        ("web", 11),
    ]
    assert [child.pid for child in kept[1].children] == [12, 13]


def test_a_directory_without_supervise_is_no_service(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert service_directories.unkept(str(tmp_path), set()) == []


def test_a_stranger_has_the_names_from_the_command_lines(tmp_path: Path) -> None:
    proc = host(tmp_path, as_root=False)
    instance = Instance("runit", str(tmp_path / "service"), 10)
    kept = service_directories.directories(RUNIT, instance, proc.table())
    assert [(k.name, k.path) for k in kept if k.keeper] == [("web", str(tmp_path / "service/web"))]


def test_a_stranger_who_cannot_tell_directories_goes_by_the_name(tmp_path: Path) -> None:
    proc = host(tmp_path, as_root=False)
    proc.add(20, 1, "s6-svscan", "-c", "500", "service")
    proc.add(21, 20, "s6-supervise", "web")
    instance = Instance("s6", str(tmp_path / "service"))
    kept = service_directories.directories(s6.PROGRAMS, instance, proc.table())
    assert [(k.name, k.keeper.pid if k.keeper else None) for k in kept] == [
        ("lost", None),
        ("web", 21),
    ]


def test_the_options_of_a_scanner_are_not_its_directory(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.add(20, 1, "s6-svscan", "-c", "500", "/run/service")
    assert service_directories.instances(s6.PROGRAMS, proc.table()) == [
        Instance("s6", "/run/service", 20)
    ]


def test_a_service_directory_may_be_named_itself(tmp_path: Path) -> None:
    proc = host(tmp_path)
    instance = Instance("runit", str(tmp_path / "service/web"))
    kept = service_directories.directories(RUNIT, instance, proc.table())
    assert [k.name for k in kept] == ["web"]


def test_a_symbolic_link_leads_to_the_same_services(tmp_path: Path) -> None:
    proc = host(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "service")
    instance = Instance("runit", str(tmp_path / "link"))
    kept = service_directories.directories(RUNIT, instance, proc.table())
    assert [k.name for k in kept] == ["lost", "web"]


KEEPER = """
import os, sys, time
print("up", flush=True)
while True:
    pid = os.fork()
    if not pid:
        os._exit(int(sys.argv[1])) if int(sys.argv[1]) < 256 else os.kill(os.getpid(), 11)
    os.waitpid(pid, 0)
    time.sleep(0.2)
"""


WAYS = [exit_statuses.of_children, exit_statuses.of_children_by_pidfd]


@pytest.mark.parametrize("way", WAYS, ids=["as the kernel allows", "by pidfd"])
@pytest.mark.parametrize(("argument", "expected"), [("3", exited(3)), ("256", Exit("signal SEGV"))])
def test_a_death_is_seen_in_another_process(
    argument: str, expected: Exit, way: Callable[..., dict[int, exit_statuses.WatchedChildren]]
) -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("Python 3.9 on Linux 5.3 or newer is needed")
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, argument], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    try:
        keeper.stdout.readline()
        seen = way([keeper.pid], ProcessTable(NOW, {}), seconds=3.0, apart_from=())[keeper.pid]
        assert seen.child is not None or seen.deaths
        # Other users on Linux before 6.15 see the child, but not its status.
        assert seen.last_exit in (expected, NO_EXIT)
    finally:
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()


def test_the_end_of_a_process_is_seen_by_its_pidfd() -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("Python 3.9 on Linux 5.3 or newer is needed")
    dying = subprocess.Popen(["sh", "-c", "sleep 0.3; exit 7"])
    living = subprocess.Popen(["sleep", "100"])
    try:
        pids = [dying.pid, living.pid]
        ends = exit_statuses.of_processes_by_pidfd(pids, ProcessTable(NOW, {}), seconds=1.0)
        assert ends.keys() == {dying.pid}
        # As root by the zombie, else by the pidfd, which knows it only when it has been reaped.
        assert ends[dying.pid] in (exited(7), NO_EXIT)
    finally:
        for process in (dying, living):
            process.kill()
            process.wait()


def test_nothing_is_waited_for_where_nothing_is_suspicious() -> None:
    begin = time.monotonic()
    assert service_directories.watched([], ProcessTable(NOW, {})) == []
    assert time.monotonic() - begin < 0.5


RSYSLOGD = """\
rsyslogd: error during parsing file /etc/rsyslog.conf, on or before line 3: warnings occurred
rsyslogd: error during parsing file /etc/rsyslog.conf, on or before line 3: warnings occurred
rsyslogd: global(AbortOnUncleanConfig="on") is set, and config is not clean.
Check error log for details, fix errors and restart. As a last
resort, you may want to use global(AbortOnUncleanConfig="off")
to permit a startup with a dirty config.
"""


def test_the_line_that_tells_most_is_not_always_the_last() -> None:
    assert log_lines.telling(RSYSLOGD.splitlines(), 3) == (RSYSLOGD.splitlines()[0],)


def test_where_nobody_complains_the_last_lines_are_the_last_words() -> None:
    assert log_lines.telling(["one", "two", "three"], 2) == ("two", "three")


def test_the_tail_of_a_log_is_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "current"
    log.write_text("".join(f"line {n} {'x' * 60}\n" for n in range(1000)))
    assert [line.split()[1] for line in log_lines.tail(str(log), 2)] == ["998", "999"]


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert log_lines.tail(str(tmp_path / "none"), 3) == ()

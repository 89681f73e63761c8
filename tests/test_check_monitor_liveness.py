"""The check as a whole: against fake other sides, and its stories with memory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from conftest import ROOT
from contract import Case
from sides.monitors import process, talker, website
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, WARNING, CheckError
from twiceshy.kit.processes import Process
from twiceshy.kit.stamps import Stamp
from twiceshy.monitor_liveness import components, judgement, observation, report
from twiceshy.monitor_liveness import program as check
from twiceshy.monitor_liveness.components import Clock, Component, Health
from twiceshy.monitor_liveness.judgement import Maintenance
from twiceshy.monitor_liveness.monitors import zabbix
from twiceshy.monitor_liveness.monitors.targets import (
    KNOWN,
    MARKS,
    Target,
    found,
    typed_there,
)
from twiceshy.monitor_liveness.settings import MaintenanceSettings, settings_of

NOW = 1_795_255_200.0
INIT = process(1, "/sbin/init")
KEPT: list[socket.socket] = []
DATA = Path(__file__).parent / "data" / "monitor_liveness"


def contract_case(tmp_path: Path) -> Case:
    beat = tmp_path / "beat"
    beat.write_text("alive\n")
    return Case(["--monitor", "daemon", "--heartbeat", str(beat)])


def hanging_case(tmp_path: Path) -> Case:
    """A daemon that has hung: the kernel accepts for it, and nobody answers."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    KEPT.append(listening)
    address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    return Case(["--monitor", "daemon", "--answers", address, "--probe-timeout", "20s"])


def run(
    *args: str, at: float = 0.0, table: Sequence[Process] = (INIT,), slept: float = 0.0
) -> Check:
    """A run at a time `at` seconds after NOW (0: the real now)."""
    seams = {"now": lambda: Stamp("boot", 1000 + at, NOW + at)} if at else {}
    made = check.plan(
        check.options().parse_args(list(args)),
        table=lambda: list(table),
        slept=lambda: slept,
        pause=lambda _: None,
        **seams,  # type: ignore[arg-type]
    )
    made()
    return made


def said(made: Check) -> tuple[int, str]:
    return int(made.exitcode), str(made.summary_str)


# Against fake other sides


@pytest.mark.parametrize(("date", "state"), [("00:00:30", None), ("00:01:30", CRITICAL)])
def test_a_clock_that_is_more_than_a_minute_wrong_is_critical(date: str, state: object) -> None:
    clock = components.skewed(f"Thu, 01 Jan 1970 {date} GMT", Clock(0.0))
    assert (clock and clock.state) is state


def test_a_healthy_daemon_in_one_line() -> None:
    with website({"/health": (200, '{"status": "ok"}')}) as site:
        made = run("--monitor", "daemon", "--url", f"{site.url}/health", "--expect", '"ok"')
    assert made.exitcode == 0
    assert "main loop" in made.summary_str
    assert [p.split("=")[0] for p in made.perfdata] == ["daemon_probe_time"]


@pytest.mark.parametrize(
    ("page", "status", "words"),
    [
        ((200, "<h1>Maintenance</h1>"), 2, "its body lacks 'ok'"),
        ((500, "ok"), 2, "HTTP 500"),
        ((200, "hang"), 2, "does not answer within"),
        ((200, "drip"), 2, "does not answer within"),
        ((401, ""), 3, "rejects this login"),
        ((403, ""), 3, "does not allow it"),
    ],
    ids=["a maintenance page", "an error", "hangs", "a byte at a time", "login", "forbidden"],
)
def test_a_health_page(page: tuple[int, str], status: int, words: str) -> None:
    with website({"/": page}) as site:
        began = time.monotonic()
        made = run(
            "--monitor", "daemon", "--url", f"{site.url}/", "--expect", "ok",
            "--probe-timeout", "500ms",
        )  # fmt: skip
    assert made.exitcode == status
    assert words in made.summary_str
    assert time.monotonic() - began < 2


def test_a_socket_that_accepts_and_says_nothing_has_hung() -> None:
    with talker(None) as port:
        made = run(
            "--answers", f"tcp://127.0.0.1:{port}", "--send", "PING\\r\\n", "--expect", "PONG",
            "--probe-timeout", "300ms",
        )  # fmt: skip
    assert made.exitcode == 2
    assert "accepts connections but does not answer within 0.3s" in made.summary_str


def test_a_socket_that_answers_as_expected_is_well() -> None:
    with talker(b"+PONG\r\n") as port:
        made = run(
            "--answers", f"tcp://127.0.0.1:{port}", "--send", "PING\\r\\n", "--expect", "PONG"
        )
    assert made.exitcode == 0


@contextmanager
def companions(says: bytes, number: int) -> Iterator[list[int]]:
    """Ports that answer only when all of them have been asked: asked in a row, each would hang."""
    meeting = threading.Barrier(number, timeout=10)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError, threading.BrokenBarrierError):
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                meeting.wait()
                connection.sendall(says)

    with contextlib.ExitStack() as stack:
        listening = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        for each in listening:
            threading.Thread(target=serve, args=(each,), daemon=True).start()
        yield [each.getsockname()[1] for each in listening]


def test_all_sockets_of_a_daemon_are_asked_together() -> None:
    with companions(b"PONG", 3) as ports:
        sockets = [word for port in ports for word in ("--answers", f"tcp://127.0.0.1:{port}")]
        assert run(*sockets, "--send", "PING", "--expect", "PONG").exitcode == 0


def test_all_monitors_of_a_host_are_asked_together(tmp_path: Path) -> None:
    with companions(zabbix.packet("1"), 2) as ports:
        table = [INIT]
        for port in ports:
            config = tmp_path / f"{port}.conf"
            config.write_text(f"ListenPort={port}\n")
            table.append(process(port, "/usr/sbin/zabbix_agent2", "-c", str(config)))
        assert said(run("--state-dir", str(tmp_path / "s"), table=table)) == (
            0,
            "2 monitors alive and working: zabbix-agent, zabbix-agent-2",
        )


def test_what_to_type_next_says_on_which_host_when_it_is_another_one() -> None:
    hung = Component("executor", CRITICAL, "hangs", "systemctl status icinga2")
    far = Target("icinga2", "icinga2", url="https://icinga.example.com:5665")
    near = Target("icinga2", "icinga2", host="127.0.0.1")
    typed = [typed_there(hung, target.remote_host).next for target in (far, near)]
    assert typed == ["on icinga.example.com: systemctl status icinga2", "systemctl status icinga2"]
    for enough in (
        replace(hung, next="curl -s http://icinga.example.com/x", next_is_here=True),
        replace(hung, next=""),
    ):
        assert typed_there(enough, "icinga.example.com") == enough


def test_a_documented_sensu_backend_that_says_200_with_an_ill_member() -> None:
    health = {"ClusterHealth": [{"Name": "a", "Healthy": False, "Err": "dial tcp: refused"}]}
    with website({"/health": (200, json.dumps(health))}) as site:
        made = run("--monitor", "sensu-backend", "--url", site.url)
    assert said(made) == (
        2,
        "sensu-backend: store is unhealthy, 1 of 1 etcd member (a): dial tcp: refused",
    )


def test_a_documented_sensu_canary_check_is_asked_with_the_api_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWICESHY_TOKEN", "k3y")
    health = {"ClusterHealth": [{"Name": "a", "Healthy": True}]}
    event = {"check": {"executed": int(time.time()) - 900, "interval": 60}}
    path = "/api/core/v2/namespaces/default/events/watch/pulse"
    with website({"/health": (200, json.dumps(health)), path: (200, json.dumps(event))}) as site:
        made = run("--monitor", "sensu-backend", "--url", site.url, "--pulse", "watch;pulse")
        assert (path, "Key k3y") in site.asked
    assert made.exitcode == 2
    assert "executor has not executed watch;pulse for 15m" in made.summary_str


def test_a_documented_classic_sensu_client_that_does_not_answer_its_ping() -> None:
    with talker(b"pong") as port:
        assert run("--monitor", "sensu-client", "-H", "127.0.0.1", "-p", str(port)).exitcode == 0
    with talker(None) as port:
        made = run(
            "--monitor", "sensu-client", "-H", "127.0.0.1", "-p", str(port),
            "--probe-timeout", "300ms",
        )  # fmt: skip
    assert made.exitcode == 2


def test_a_documented_checkmk_agent_that_hangs_in_a_section_says_which() -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    port = server.getsockname()[1]
    child = os.fork()
    if child == 0:
        connection, _ = server.accept()
        connection.sendall(b"<<<check_mk>>>\nVersion: 2.2\n<<<df>>>\n")
        time.sleep(20)
        os._exit(0)
    try:
        made = run(
            "--monitor", "checkmk-agent", "-H", "127.0.0.1", "-p", str(port),
            "--probe-timeout", "500ms",
        )  # fmt: skip
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        server.close()
    assert said(made) == (
        2,
        "checkmk-agent: main loop does not answer: it hangs in its section df",
    )


def test_a_documented_zabbix_agent_that_hangs_up_wants_this_host_in_its_server_list() -> None:
    with talker(b"") as port:
        made = run("--monitor", "zabbix-agent", "-H", "127.0.0.1", "-p", str(port))
    assert made.exitcode == 3
    assert "is this host in its Server=?" in made.summary_str


# Every monitor that is asked over HTTP, as its documentation says that it answers


def in_seconds(offset: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))


Pages = dict[str, tuple[int, str]]


def prometheus_pages() -> Pages:
    target = {
        "scrapePool": "self",
        "scrapeUrl": "http://self",
        "lastScrape": in_seconds(-3),
        "scrapeInterval": "15s",
        "scrapeTimeout": "10s",
    }
    return {
        "/metrics": (200, f"prometheus_tsdb_head_max_time_seconds {time.time()}\n"),
        "/api/v1/targets": (200, json.dumps({"data": {"activeTargets": [target]}})),
    }


def alertmanager_pages() -> Pages:
    return {
        "/api/v2/alerts": (200, json.dumps([{"endsAt": in_seconds(3600)}])),
        "/metrics": (200, "alertmanager_cluster_members 1\n"),
    }


def monit_pages() -> Pages:
    now = f"{time.time():.0f}"
    return {
        "/_status": (
            200,
            "<monit><server><uptime>900</uptime><poll>10</poll></server><service><name>x</name>"
            f"<collected_sec>{now}</collected_sec><monitor>1</monitor></service></monit>",
        )
    }


NEWRELIC = {
    "/v1/status": (200, json.dumps({"checks": {"endpoints": [{"url": "x", "reachable": True}]}})),
    "/v1/status/entity": (200, "{}"),
}
SENSU_API = {
    "/info": (
        200,
        json.dumps(
            {
                "transport": {"connected": True, "results": {"consumers": 1, "messages": 0}},
                "redis": {"connected": True},
            }
        ),
    )
}


@pytest.mark.parametrize(
    ("kind", "pages", "words"),
    [
        ("prometheus", prometheus_pages, "scheduler scrapes 1 target, newest sample"),
        ("alertmanager", alertmanager_pages, "intake has the alert Watchdog, valid for another"),
        ("monit", monit_pages, "executor checked a service"),
        ("newrelic", lambda: NEWRELIC, "backend link is up to 1 endpoint"),
        ("sensu-api", lambda: SENSU_API, "intake has 1 consumer and 0 results queued"),
        ("sensu-agent", lambda: {"/healthz": (200, "ok")}, "backend link is connected"),
        ("telegraf", lambda: {"/": (200, "healthy")}, "main loop answers in"),
    ],
    ids=["prometheus", "alertmanager", "monit", "newrelic", "sensu-api", "sensu-agent", "telegraf"],
)
def test_a_healthy_one_over_http(kind: str, pages: Callable[[], Pages], words: str) -> None:
    with website(pages()) as site:
        status, text = said(run("--monitor", kind, "--url", site.url))
    assert (status, words in text) == (0, True), text


def test_an_icinga_is_asked_for_its_status_its_services_and_its_executions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWICESHY_PASSWORD", "seen")
    captured = DATA / "icinga2-status-healthy-2.13.6.json"
    now = time.time()
    status = json.loads(captured.read_text())
    for part in status["results"]:
        if part["name"] == "IcingaApplication":
            part["status"]["icingaapplication"]["app"]["program_start"] = now - 9000
        if part["name"] == "CIB":
            part["status"]["uptime"] = 9000
    attrs = {
        "enable_active_checks": True,
        "check_interval": 60,
        "check_command": "ping4",
        "last_check": now - 20,
        "next_check": now + 40,
    }
    services = {"results": [{"name": "db!load", "attrs": attrs}]}
    pages = {
        "/v1/status": (200, json.dumps(status)),
        "/v1/objects/services": (200, json.dumps(services)),
    }
    with website(pages) as site:
        made = run("--monitor", "icinga2", "--url", site.url, "--user", "watch")
        del site.pages["/v1/objects/services"]
        hidden = run("--monitor", "icinga2", "--url", site.url, "--user", "watch")
        assert {login for _, login in site.asked} == {"Basic d2F0Y2g6c2Vlbg=="}
    status_of, text = said(made)
    assert (status_of, "executor last executed a plugin" in text) == (0, True), text
    assert (said(hidden)[0], "permission objects/query/Service" in said(hidden)[1]) == (3, True)


def test_every_module_finds_its_monitors_by_its_marks() -> None:
    commands = {
        "nagios": ["/usr/sbin/nagios4", "-d", "/etc/nagios4/nagios.cfg"],
        "naemon": ["/usr/bin/naemon", "/etc/naemon/naemon.cfg"],
        "icinga2": ["/usr/lib/icinga2", "daemon"],
        "prometheus": ["/usr/bin/prometheus"],
        "alertmanager": ["/usr/bin/prometheus-alertmanager"],
        "monit": ["/usr/bin/monit"],
        "collectd": ["collectd"],
        "zabbix-agent": ["/usr/sbin/zabbix_agentd: collector"],
        "zabbix-server": ["/usr/sbin/zabbix_proxy", "-c", "/nowhere"],
        "sensu-backend": ["/usr/sbin/sensu-backend", "start"],
        "sensu-agent": ["/usr/sbin/sensu-agent", "start"],
        "sensu-client": ["/usr/bin/ruby", "/opt/sensu/bin/sensu-client"],
        "sensu-api": ["/usr/bin/ruby", "/opt/sensu/bin/sensu-api"],
        "telegraf": ["/usr/bin/telegraf"],
        "newrelic": ["/usr/bin/newrelic-infra"],
        "checkmk-agent": ["/usr/bin/cmk-agent-ctl", "daemon"],
    }
    for kind, argv in commands.items():
        assert [target.kind for target in found([INIT, process(9, *argv)])] == [kind]
    assert {*commands, "daemon"} == set(KNOWN)
    assert {KNOWN[kind] for kind in commands} == set(MARKS)


# Local checks cost nothing


def test_a_local_check_does_not_import_requests(tmp_path: Path) -> None:
    code = (
        "import sys, check_monitor_liveness as c\n"
        f"c.plan(c.options().parse_args(['--heartbeat', {str(tmp_path)!r}]))()\n"
        "print({'requests', 'psutil', 'docker'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "checks",
    )
    assert done.stdout == "set()\n"


# Stories


def heartbeat(tmp_path: Path, at: float) -> str:
    path = tmp_path / "beat"
    path.write_text(f"{NOW + at:.0f}\n")
    return str(path)


def test_work_that_stands_still_is_said_after_half_an_hour_and_forgiven_when_it_moves(
    tmp_path: Path,
) -> None:
    done = tmp_path / "done"
    how = ("--advances", f"file:{done}", "--name", "jobs")
    story = []
    for at, number in ((1, 10), (60, 11), (1500, 11), (1900, 11), (1960, 12)):
        done.write_text(f"{number}\n")
        story.append(said(run(*how, at=at))[0])
    assert story == [0, 0, 0, 2, 0]
    done.write_text("1\n")
    assert said(run(*how, "--learning", "unknown", "--state-dir", str(tmp_path / "new")))[0] == 3


def test_a_night_asleep_ages_nothing(tmp_path: Path) -> None:
    beat = heartbeat(tmp_path, 0)
    assert run("--heartbeat", beat, at=10, slept=0.0).exitcode == 0
    assert run("--heartbeat", beat, at=30010, slept=29900.0).exitcode == 0
    assert run("--heartbeat", beat, at=30500, slept=29900.0).exitcode == 2


COLLECTD = process(10, "/usr/sbin/collectd", "-C", "/nowhere/collectd.conf")


def test_a_monitor_that_was_running_and_is_gone_is_named_until_it_is_excluded() -> None:
    here = ("--include", "monit", "--startup-grace", "0s", "--probe-timeout", "200ms")
    monit = process(10, "/usr/bin/monit")
    run(*here, at=1, table=(INIT, monit))
    status, text = said(run(*here, at=60))
    assert (status, text) == (2, "monit: process is gone: it was running 59s ago")
    assert run(*here, "--missing", "warning", at=70).exitcode == 1
    assert said(run("--exclude", "monit", at=80))[0] == 3
    assert said(run(*here, at=90))[0] == 3


def test_a_monitor_whose_configuration_was_removed_is_forgotten() -> None:
    here = ("--include", "collectd")
    run(*here, at=1, table=(INIT, COLLECTD))
    assert "no monitor runs on this host" in said(run(*here, at=60))[1]


def test_planned_work_excuses_a_stop_for_as_long_as_its_file_is_young(tmp_path: Path) -> None:
    planned = tmp_path / "planned"
    planned.touch()
    os.utime(planned, (NOW, NOW))
    how = ("--process", "worker", "--maintenance", str(planned))
    status, text = said(run(*how, at=3600))
    assert (status, "planned" in text) == (0, True)
    late = run(*how, at=4 * 3600 + 60)
    assert said(late)[0] == 2
    assert "no longer excuses anything" in late.output()


def test_planned_work_does_not_excuse_a_hang(tmp_path: Path) -> None:
    planned = tmp_path / "planned"
    planned.touch()
    stopped = process(7, "worker", state="T")
    made = run("--process", "worker", "--maintenance", str(planned), table=(INIT, stopped))
    assert said(made) == (2, "worker: process is stopped (state T): pid 7")
    assert "Next: kill -CONT 7" in made.output()


def test_the_outbound_ping_goes_out_when_all_is_well_and_only_then(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beat.write_text("x")
    told = tmp_path / "told"
    with website({"/ping": (200, "OK")}) as site:
        url = tmp_path / "url"
        url.write_text(f"{site.url}/ping\n")
        how = ("--heartbeat", str(beat), "--ping-url-file", str(url), "--ping-file", str(told))
        assert run(*how).exitcode == 0
        assert [path for path, _ in site.asked] == ["/ping"]
        assert abs(float(told.read_text()) - time.time()) < 5
        told.unlink()
        os.utime(beat, (1, 1))
        assert run(*how).exitcode == 2
        assert [path for path, _ in site.asked] == ["/ping"]
        assert not told.exists()
        os.utime(beat)
        site.pages["/ping"] = (500, "")
        status, text = said(run(*how))
    assert status == 1
    assert "the outbound ping failed: it answers HTTP 500" in text


def test_a_dead_monitor_does_not_hide_behind_a_state_directory_of_ours() -> None:
    stopped = process(7, "worker", state="T")
    made = run("--process", "worker", "--state-dir", "/proc/none", table=(INIT, stopped))
    assert said(made)[0] == 2
    assert "state directory" in made.output()


# Judgements of the check itself


def test_a_restart_loop_that_never_gets_past_its_grace_is_critical() -> None:
    note: dict[str, object] = {}
    states = []
    for number in range(9):
        component, note = judgement.restart_loop(note, 20.0, 120.0, Clock(NOW + 60 * number))
        states.append(component.state if component else None)
    assert states[:7] == [None] * 7
    assert states[7] is CRITICAL
    assert judgement.restart_loop(note, 500.0, 120.0, Clock(NOW)) == (None, {})


def test_hourly_reloads_are_no_restart_loop() -> None:
    note: dict[str, object] = {}
    for number in range(50):
        young = number % 10 == 0
        component, note = judgement.restart_loop(
            note, 20.0 if young else 600.0, 120.0, Clock(NOW + 360 * number)
        )
        assert component is None


def test_the_worst_component_speaks_and_the_others_follow() -> None:
    health = Health(
        "nagios",
        (
            Component("main loop", OK, "answers"),
            Component("notifications", WARNING, "are disabled"),
            Component("executor", CRITICAL, "has stopped", "look there"),
        ),
    )
    maintenance = Maintenance("", None, 1)
    found = report.finding(judgement.excused(health, CRITICAL, maintenance), maintenance)
    assert (found.state, found.text, found.more, found.next) == (
        CRITICAL,
        "nagios: executor has stopped",
        ("WARNING: notifications are disabled", "main loop answers"),
        "look there",
    )


def test_a_hang_is_never_observed_twice() -> None:
    hung = Component("main loop", CRITICAL, "does not answer")
    reload = replace(hung, is_fleeting=True)
    assert not judgement.is_fleeting(Health("n", (hung, reload)))
    assert judgement.is_fleeting(Health("n", (reload, Component("executor", OK, "works"))))


# Usage


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--url", "http://x"], "--url needs --monitor"),
        (["--monitor", "monit", "--url", "monit.example.com"], "is not a URL"),
        (["--monitor", "monit", "--url", "http://[::1"], "is not a URL"),
        (["--monitor", "monit", "--url", "http://x:99999"], "is not a URL"),
        (["--monitor", "daemon"], "needs something to check"),
        (["--monitor", "monit", "--pidfile", "/x"], "--pidfile is for --monitor daemon"),
        (["--monitor", "nagios", "--socket", "/x"], "--socket is for --monitor collectd and"),
        (["--monitor", "monit", "--url", "localhost:2812"], "is not a URL"),
        (["--monitor", "monit", "--user", "x"], "--user needs its password"),
        (["--advances", "sql:select"], "is not a source"),
    ],
)
def test_what_makes_no_sense_is_said(args: list[str], words: str) -> None:
    status, text = said(run(*args))
    assert (status, words in text) == (3, True), text


def test_nothing_to_look_at_is_unknown_not_well() -> None:
    status, text = said(run())
    assert status == 3
    assert text.startswith("no monitor runs on this host")


def test_one_monitor_that_cannot_be_judged_does_not_hide_another(tmp_path: Path) -> None:
    stopped = replace(COLLECTD, state="T")
    nagios = process(5, "/usr/sbin/nagios4", "-d", str(tmp_path / "missing.cfg"))
    made = run("--startup-grace", "0s", table=(INIT, nagios, stopped), at=1)
    assert said(made)[0] == 2
    assert "collectd: process is stopped" in said(made)[1]
    assert "UNKNOWN: nagios: cannot be judged" in made.output()


def test_targets_of_two_nagioses_are_the_one_that_was_asked_for(tmp_path: Path) -> None:
    for name in ("a.cfg", "b.cfg"):
        (tmp_path / name).touch()
    table = [process(n, "nagios4", str(tmp_path / f"{c}.cfg")) for n, c in ((5, "a"), (6, "b"))]
    args = check.options().parse_args(["--monitor", "nagios", "--config", str(tmp_path / "b.cfg")])
    targets = observation.targets_of(settings_of(args), table)
    assert [(t.main.pid if t.main else 0) for t in targets] == [6]
    assert isinstance(targets[0], Target)


def test_a_maintenance_file_that_cannot_be_examined_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckError, match="cannot examine --maintenance"):
        observation.maintenance(MaintenanceSettings(tmp_path / "file" / "x", 60), NOW)

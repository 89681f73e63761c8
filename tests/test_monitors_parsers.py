"""What monitors say, parsed: captured answers, cut ones, and those of other releases."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from twiceshy.kit.http import HttpError, Malformed
from twiceshy.kit.plugin import CheckError
from twiceshy.monitor_liveness.monitors import (
    answers,
    checkmk,
    collectd,
    daemon,
    icinga2,
    metrics,
    monit,
    newrelic,
    processes,
    sensu_classic,
    sensu_go,
    zabbix,
)
from twiceshy.monitor_liveness.monitors import nagios_files as nagios

DATA = Path(__file__).parent / "data" / "monitor_liveness"
STATUS = (DATA / "nagios-status-healthy-4.4.6.dat").read_bytes()
CONFIG = nagios.Config(
    "/var/status.dat",
    "/rw/nagios.cmd",
    "/rw/nagios.qh",
    interval_length=1,
    status_update_interval=2,
    service_check_timeout=10,
)


def status(text: bytes, now: float = 0.0, **more: str) -> nagios.StatusFile:
    now = now or float(text.partition(b"created=")[2].partition(b"\n")[0])
    return nagios.read_status(io.BytesIO(text), now, CONFIG, **more)  # type: ignore[arg-type]


# Nagios


def test_nagios_cfg_with_defaults_comments_and_a_repeated_key() -> None:
    text = (
        "# status_file=/no\nstatus_file=/a\nstatus_file = /v/status.dat\ncommand_file=/rw/n.cmd\n"
    )
    assert nagios.parse_config(text) == nagios.Config("/v/status.dat", "/rw/n.cmd", "/rw/nagios.qh")


def test_a_file_without_status_file_is_no_nagios_cfg() -> None:
    with pytest.raises(CheckError, match="no status_file"):
        nagios.parse_config("[main]\nstatus = /x\n")


def test_a_captured_status_file_tells_the_newest_execution_and_the_flags() -> None:
    seen = status(STATUS, pulse="here;pulse", canary="here!canary")
    assert (seen.notifications, seen.service_checks, seen.passive_only) == (True, True, 1)
    assert (seen.scheduled, seen.fastest, seen.overdue) == (1, 5.0, 0)
    assert seen.newest_name == "here;pulse"
    assert seen.created - seen.newest < 10
    assert seen.pulse is not None
    assert (seen.pulse.is_active, seen.pulse.interval) == (True, 5.0)
    assert seen.canary is not None
    assert not seen.canary.is_active


def test_blocks_across_any_chunk_boundary_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = status(STATUS)
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(nagios, "CHUNK", size)
        assert status(STATUS) == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (STATUS[:200], "own block"),
        (STATUS[: STATUS.index(b"servicestatus") + 60], "middle of a block"),
    ],
    ids=["empty, as every other write on a full disk", "cut early", "cut in a service"],
)
def test_a_cut_status_file_is_truncated_not_dead(text: bytes, words: str) -> None:
    with pytest.raises(nagios.Truncated, match=words):
        nagios.read_status(io.BytesIO(text), 0.0, CONFIG)


def test_a_passive_result_is_no_execution() -> None:
    passive = STATUS.replace(b"check_type=0", b"check_type=1")
    assert status(passive).newest == 0


def test_output_that_looks_like_a_field_is_not_one() -> None:
    text = STATUS.replace(b"plugin_output=\n", b"plugin_output=x\\n\tlast_check=9999999999\n")
    assert status(text).newest == status(STATUS).newest


def test_naemon_writes_fractions_of_seconds() -> None:
    text = STATUS.replace(b"created=", b"created=1").replace(b"\n\tversion", b".250000\n\tversion")
    assert status(text, now=1.0).created % 1 == 0.25


def test_a_service_outside_its_check_period_is_not_due() -> None:
    due = STATUS.partition(b"next_check=17")[2][:8]
    tomorrow = STATUS.replace(b"next_check=17" + due, b"next_check=18" + due)
    assert status(tomorrow).fastest is None


def test_workers_of_the_query_handler() -> None:
    said = (
        "name=Core Worker 9;pid=9;jobs_running=1;jobs_started=4\n"
        "name=x;pid=8;jobs_running=0;jobs_started=0\n\0"
    )
    assert nagios.parse_workers(said) == (nagios.Worker(9, 1, 4), nagios.Worker(8, 0, 0))


# Icinga


def test_a_captured_icinga_status() -> None:
    app = icinga2.parse_status((DATA / "icinga2-status-healthy-2.13.6.json").read_text())
    assert (app.node, app.services, app.pending) == ("patient", 4, 0)
    assert (app.notifications, app.service_checks) == (True, True)
    assert app.own_zones == {"patient"}


def test_only_services_that_this_node_executes_as_processes_count() -> None:
    app = icinga2.Application("me", 1, 0, 0, True, True, True, 9, 0, 0, frozenset({"master"}))
    base = {
        "enable_active_checks": True,
        "check_interval": 60,
        "check_command": "ping4",
        "last_check": 5.0,
        "next_check": 65.0,
    }
    differences: list[dict[str, object]] = [
        {},
        {"paused": True},
        {"check_command": "icinga"},
        {"command_endpoint": "agent"},
        {"command_endpoint": "me"},
        {"zone": "satellite"},
        {"zone": "master", "check_period": "workhours"},
        {"enable_active_checks": False},
    ]
    text = json.dumps(
        {"results": [{"name": str(n), "attrs": {**base, **d}} for n, d in enumerate(differences)]}
    )
    assert [s.name for s in icinga2.parse_services(text, app)] == ["0", "4", "6"]


@pytest.mark.parametrize("text", ["", "<html>", "{}", '{"results": [{"name": 1}]}', "[]"])
def test_what_is_not_icinga_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        icinga2.parse_status(text)


# Prometheus text and times


def test_metrics_with_labels_escapes_timestamps_and_not_a_number() -> None:
    text = (
        '# HELP a b\na 1\nb{x="1",y="a\\"b}"} 2.5 1700000000000\n'
        'c{q="0.5"} NaN\nc{q="1"} 3\nd +Inf\n???\n'
    )
    parsed = metrics.parse_metrics(text)
    assert metrics.first(parsed, "a") == 1
    assert parsed["b"] == [({"x": "1", "y": 'a"b}'}, 2.5)]
    assert metrics.total(parsed, "c") == 3
    assert metrics.total(parsed, "d") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T10:00:00Z", 1795255200.0),
        ("2026-11-21T10:00:00.500000001Z", 1795255200.5),
        ("2026-11-21T12:00:00.5+02:00", 1795255200.5),
        ("0001-01-01T00:00:00Z", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_times_as_go_writes_them(text: str, seconds: float) -> None:
    assert metrics.rfc3339(text) == pytest.approx(seconds)


# Monit, collectd, Zabbix

MONIT = """<?xml version="1.0" encoding="ISO-8859-1"?><monit><server>
<uptime>90</uptime><poll>10</poll>
<startdelay>0</startdelay></server>
<service type="5"><name>h\xf6st</name>
<collected_sec>100</collected_sec><monitor>1</monitor></service>
<service type="3"><name>off</name>
<collected_sec>5</collected_sec><monitor>0</monitor></service>
<service type="3"><name>rare</name>
<collected_sec>6</collected_sec><monitor>1</monitor><every/></service>
</monit>""".encode("latin-1")


def test_monit_xml() -> None:
    status = monit.parse_status(MONIT)
    assert (status.uptime, status.poll) == (90, 10)
    assert [(s.name, s.is_monitored, s.has_own_rhythm) for s in status.services] == [
        ("höst", True, False),
        ("off", False, False),
        ("rare", True, True),
    ]


def test_the_httpd_of_monit_is_read_from_its_control_file() -> None:
    text = (
        "set daemon 30\n# set httpd port 1\nset httpd port 2812 and\n use address 10.0.0.1\n"
        ' allow localhost\n allow admin:"monit"\ncheck process x\n'
    )
    assert monit.parse_control_file(text) == monit.Httpd(
        2812, "10.0.0.1", user="admin", password="monit"
    )
    text = "set httpd unixsocket /run/monit.sock\n permission 0660 allow watch:seen\ncheck file x"
    assert monit.parse_control_file(text) == monit.Httpd(
        socket="/run/monit.sock", user="watch", password="seen"
    )
    assert monit.parse_control_file("set daemon 30\n") == monit.Httpd()


def test_collectd_values_and_configuration() -> None:
    assert collectd.parse_listval("2 Values found\n1.5 h/load\n7.25 h/cpu\n") == [1.5, 7.25]
    assert collectd.has_all_values(b"2 Values found\n1 a\n2 b\n")
    assert not collectd.has_all_values(b"2 Values found\n1 a\n")
    text = '#Interval 3\nInterval 30\nLoadPlugin unixsock\n<Plugin csv>\n DataDir "/x"\n</Plugin>'
    assert collectd.parse_config(text) == collectd.Config(30, collectd.SOCKET, "/x")


def test_zabbix_packets_go_there_and_back() -> None:
    assert zabbix.parse_packet(zabbix.packet("agent.ping")) == "agent.ping"
    assert not zabbix.is_whole(zabbix.packet("agent.ping")[:-1])
    with pytest.raises(Malformed):
        zabbix.parse_packet(b"HTTP/1.1 400 Bad Request")


# From documented answers only: these could not be run


def test_documented_sensu_go_answers() -> None:
    text = '{"Alarms":null,"ClusterHealth":[{"Name":"a","Err":"","Healthy":true}],"Header":{}}'
    assert sensu_go.parse_health(text)["Alarms"] is None
    event = '{"check":{"executed":1700000000,"interval":30}}'
    assert answers.parse_event(event) == answers.Executed(1700000000, 30)
    with pytest.raises(Malformed):
        sensu_go.parse_health("<html>")


def test_documented_classic_sensu_answers() -> None:
    text = (
        '{"sensu":{"version":"1.9"},"transport":{"keepalives":{"messages":0,"consumers":2},'
        '"results":{"messages":3,"consumers":2},"connected":true},"redis":{"connected":true}}'
    )
    assert sensu_classic.parse_info(text) == sensu_classic.Link(True, True, 2, 3)


def test_documented_new_relic_answers() -> None:
    text = '{"checks":{"endpoints":[{"url":"https://x","reachable":false,"error":"timeout"}]}}'
    assert newrelic.parse_status(text) == (newrelic.Backend("https://x", False, "timeout"),)


def test_documented_checkmk_output() -> None:
    text = "<<<check_mk>>>\nVersion: 2.2\n<<<apt:cached(1700000000,90):sep(0)>>>\n<<<df>>>\n"
    sections = checkmk.parse_agent(text)
    assert sections == checkmk.Sections(("check_mk", "apt", "df"), (("apt", 1700000000.0, 90.0),))
    with pytest.raises(HttpError, match="TLS"):
        checkmk.parse_agent("16")


# Any daemon


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1795255200\n", 1795255200.0),
        ("1795255200.25 alive", 1795255200.25),
        ("1795255200250", 1795255200.25),
        ("2026-11-21T10:00:00Z", 1795255200.0),
        ("2026-11-21 10:00:00.5+0000", 1795255200.0),
        ("4f3a-nonce", None),
        ("12", None),
        ("", None),
    ],
)
def test_heartbeats_hold_times_or_something_else(text: str, seconds: float | None) -> None:
    assert daemon.parse_heartbeat(text) == seconds


def test_numbers_from_json_metrics_and_text() -> None:
    assert daemon.json_number('{"jobs": [{"done": "12"}]}', "jobs.0.done") == 12
    assert daemon.metric_number('a{x="1"} 2\na{x="2"} 3\n', 'a{x="2"}') == 3
    assert daemon.metric_number('a{x="1"} 2\na{x="2"} 3\n', "a") == 5
    assert daemon.first_number("done: 17 of 20") == 17
    for wrong in ("jobs", "jobs.done", "other"):
        with pytest.raises(ValueError):
            daemon.json_number('{"jobs": [true]}', wrong)


@pytest.mark.parametrize("source", ["", "json", "sql:select 1", "file:"])
def test_a_source_that_is_none_is_told_the_forms(source: str) -> None:
    with pytest.raises(CheckError, match="json:PLACE#PATH"):
        daemon.split_source(source)


# The process table


def test_options_of_a_command_line() -> None:
    argv = ["d", "-c", "/a", "--port=5", "-x7"]
    assert processes.option_of(argv, "-c") == "/a"
    assert processes.option_of(argv, "--port") == "5"
    assert processes.option_of(argv, "-x") == "7"
    assert processes.option_of(argv, "-z") == ""

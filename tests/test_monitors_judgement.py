"""What was observed of a monitor, and what it means: the scenarios, without any I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sides.monitors import process
from twiceshy.kit import http
from twiceshy.kit.http import TlsFault, Untrusted
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, State
from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.components import NO_HISTORY, Clock, Health, Suspension
from twiceshy.monitor_liveness.monitors import (
    alertmanager,
    answers,
    checkmk,
    collectd,
    daemon,
    icinga2,
    monit,
    nagios,
    nagios_files,
    newrelic,
    prometheus,
    sensu_classic,
    sensu_go,
    telegraf,
    zabbix,
)
from twiceshy.monitor_liveness.monitors.fifo import Fifo, Intake
from twiceshy.monitor_liveness.monitors.nagios_files import Worker
from twiceshy.monitor_liveness.monitors.targets import Target, found, with_distinct_names
from twiceshy.monitor_liveness.settings import DaemonSettings, MonitorSettings

NOW = 1_000_000.0
CLOCK = Clock(NOW)
SETTINGS = MonitorSettings()
CAUTIOUS = MonitorSettings(learning=UNKNOWN)


def worst(health: Health) -> tuple[State, str]:
    """The worst component's state and sentence."""
    order = (OK, UNKNOWN, WARNING, CRITICAL)
    component = max(health.components, key=lambda component: order.index(component.state))
    return component.state, component.sentence


# Ages


def test_time_asleep_does_not_age_anything() -> None:
    clock = Clock(NOW, (Suspension(NOW - 30_000, NOW - 100, 28_800),))
    assert clock.age(NOW - 29_000) == 200
    assert clock.age(NOW - 50) == 50
    assert clock.age(NOW + 10) == -10
    assert clock.age(NOW - 200) == 100  # slept between then and now, at most


def test_two_instances_of_a_kind_are_told_apart() -> None:
    names = [t.name for t in with_distinct_names([Target("monit", "monit")] * 2)]
    assert names == ["monit", "monit-2"]


# Which run here


def test_monitors_are_found_by_their_processes_and_not_by_their_names_in_arguments() -> None:
    table = [
        process(1, "/sbin/init"),
        process(10, "/usr/sbin/nagios4", "-d", "/etc/nagios4/nagios.cfg"),
        process(11, "/usr/sbin/nagios4", "--worker", "/rw/nagios.qh", parent=10),
        process(12, "/usr/sbin/nagios4", "-d", "/etc/nagios4/nagios.cfg", parent=10),
        process(20, "/x/icinga2", "--no-stack-rlimit", "daemon", "-e", "/log"),
        process(21, "/x/icinga2", "--no-stack-rlimit", "daemon", "-e", "/log", parent=20),
        process(22, "/x/icinga2", "--no-stack-rlimit", "daemon", "-e", "/log", parent=21),
        process(30, "/usr/bin/prometheus", "--web.listen-address=0.0.0.0:9999"),
        process(31, "/usr/bin/prometheus-alertmanager"),
        process(40, "/usr/bin/monit", "-c", "/etc/monit/monitrc"),
        process(41, "/usr/bin/monit", "status"),
        process(50, "/usr/sbin/zabbix_agent2", "-c", "/etc/zabbix/zabbix_agent2.conf"),
        process(60, "vi", "/etc/nagios4/nagios.cfg"),
        process(61, "less", "/var/log/collectd"),
        process(62, "/usr/bin/nagios4", "-v", "/etc/nagios4/nagios.cfg"),
        process(70, "/usr/bin/ruby", "/opt/sensu/bin/sensu-client"),
    ]
    assert [(t.kind, t.main.pid if t.main else 0, t.url) for t in found(table)] == [
        ("nagios", 10, ""),
        ("icinga2", 20, "https://127.0.0.1:5665"),
        ("prometheus", 30, "http://127.0.0.1:9999"),
        ("alertmanager", 31, "http://127.0.0.1:9093"),
        ("monit", 40, ""),
        ("zabbix-agent", 50, ""),
        ("sensu-client", 70, ""),
    ]


# Nagios

CONFIG = nagios_files.Config("/v/status.dat", "/rw/nagios.cmd", "/rw/nagios.qh")
STATUS = nagios_files.StatusFile(
    created=NOW - 4,
    pid=10,
    program_start=NOW - 9000,
    notifications=True,
    service_checks=True,
    passive_checks=True,
    newest=NOW - 20,
    newest_name="db;load",
    scheduled=3000,
    fastest=60.0,
    overdue=0,
    most_overdue=-1.0,
    executed_last_minute=3000,
    expected_per_minute=3000,
)
NAGIOS = nagios.Observation(
    "nagios",
    CONFIG,
    STATUS,
    echo_seconds=0.0002,
    intake=Fifo(Intake.READER),
    free_bytes=10**9,
    filesystem="/v",
    main=process(10, "nagios4", "-d", "/n.cfg"),
    worker_processes=tuple(
        process(p, "nagios4", "--worker", "/rw/nagios.qh", parent=10) for p in (11, 12)
    ),
)


def nagios_with(status: dict[str, Any], **more: Any) -> nagios.Observation:
    return replace(NAGIOS, status=replace(STATUS, **status), **more)


REGULAR = Fifo(Intake.NOT_A_FIFO, "it is a regular file")
STALE = {"newest": NOW - 500, "most_overdue": 440.0}
HUNG: dict[str, Any] = {"echo_seconds": None, "echo_failure": http.TimedOut("no answer in 3.0s")}
GONE: dict[str, Any] = {"echo_seconds": None, "main": None}


@pytest.mark.parametrize(
    ("observation", "state", "words"),
    [
        (NAGIOS, OK, "main loop answers in 0.2ms"),
        (nagios_with({}, **HUNG), CRITICAL, "main loop does not answer: no answer in 3.0s "
         "(status.dat still 4s old)"),
        (nagios_with(STALE), CRITICAL, "executor has not executed a plugin for 8m20s (limit 3m10s)"
         " (last: db;load)"),
        (nagios_with(STALE, workers=(Worker(11, 2, 9), Worker(12, 0, 9))), CRITICAL,
         "executor has not executed a plugin for 8m20s (limit 3m10s) (last: db;load), 2 jobs stuck "
         "in 1 of 2 workers"),
        (nagios_with({"newest": NOW - 290, "fastest": 300.0}), OK, "main loop answers in 0.2ms"),
        (nagios_with({"overdue": 1, "most_overdue": 9000.0}), OK, "main loop answers in 0.2ms"),
        (nagios_with({"newest": NOW - 40000, "most_overdue": 1.0}), OK,
         "main loop answers in 0.2ms"),
        (nagios_with({"overdue": 2000, "most_overdue": 900.0}), WARNING,
         "executor falls behind: 2000 of 3000 scheduled checks overdue, "
         "the newest result is 20s old"),
        (nagios_with({"fastest": None, "scheduled": 0, "newest": 0.0}), OK,
         "main loop answers in 0.2ms"),
        (nagios_with({"service_checks": False}), CRITICAL,
         "checks are disabled for the whole program: nothing is being checked"),
        (nagios_with({"notifications": False}), WARNING,
         "notifications are disabled: it sees problems and notifies nobody"),
        (nagios_with({"created": NOW + 7200}), CRITICAL,
         "clock is wrong: the writing of status.dat is 2h in the future, no age can be trusted"),
        (nagios_with({"created": NOW - 100}), CRITICAL,
         "state file is stale: status.dat was written 1m40s ago (every 10s is configured)"),
        (nagios_with({}, free_bytes=0), CRITICAL,
         "state file cannot be written: the disk under /v is full (0B free), status and retention "
         "data are being lost"),
        (nagios_with({}, intake=Fifo(Intake.NO_READER, "no process reads /rw/nagios.cmd")),
         CRITICAL,
         "intake takes neither commands nor passive results: no process reads /rw/nagios.cmd"),
        (nagios_with({}, intake=REGULAR), WARNING,
         "intake takes neither commands nor passive results: it is a regular file"),
        (nagios_with({"passive_only": 4}, intake=REGULAR), CRITICAL,
         "intake takes neither commands nor passive results: it is a regular file"),
        (nagios_with({}, **GONE, echo_failure=http.Refused()), CRITICAL,
         "main process is gone, it was killed: 2 orphaned workers left (pid 11 12)"),
        (nagios_with({}, **GONE, echo_failure=http.Refused(), worker_processes=()), CRITICAL,
         "main process is not running: it was killed, its status file was left behind"),
        (replace(NAGIOS, **GONE, echo_failure=http.Missing(), worker_processes=(), status=None,

                 status_failure=nagios.StatusFailure(
                     nagios.StatusFault.MISSING, "/v/status.dat does not exist")), CRITICAL,
         "main process is not running (/v/status.dat does not exist: stopped or never started)"),
        (replace(NAGIOS, worker_processes=tuple(
            replace(p, state="T") for p in NAGIOS.worker_processes)), CRITICAL,
         "workers are stopped (state T), 2 of 2: pid 11 12; checks handed to them never return"),
        (nagios_with({}, echo_seconds=None, echo_failure=http.NotAllowed("no")), UNKNOWN,
         "main loop cannot be queried: no; add the check's user to the group of the socket"),
    ],
    ids=[
        "healthy",
        "the main loop hangs",
        "the workers hang",
        "the workers hang, and the query handler knows where the jobs are",
        "a quiet site with five-minute checks",
        "one slow service among thousands",
        "a check period has just begun",
        "most services are late",
        "passive results only",
        "checks disabled",
        "notifications disabled",
        "the clock went back by two hours",
        "the status file is stale",
        "the disk is full",
        "no process reads the FIFO",
        "the FIFO is a file, and nobody needs it",
        "the FIFO is a file, and passive results are due",
        "killed, with orphans",
        "killed",
        "stopped cleanly",
        "workers stopped",
        "no permission",
    ],
)  # fmt: skip
def test_nagios(observation: nagios.Observation, state: State, words: str) -> None:
    assert worst(nagios.judge(observation, SETTINGS, CLOCK)) == (state, words)


def test_a_start_is_not_held_against_nagios() -> None:
    young = nagios_with({**STALE, "program_start": NOW - 30})
    assert worst(nagios.judge(young, SETTINGS, CLOCK))[0] is OK


def test_a_laptop_that_slept_all_night_is_well() -> None:
    night = Clock(NOW, (Suspension(NOW - 30_000, NOW - 1, 29_900),))
    asleep = nagios_with(
        {"created": NOW - 29_950, "newest": NOW - 29_990, "most_overdue": 29_930.0}
    )
    assert worst(nagios.judge(asleep, SETTINGS, night))[0] is OK
    assert worst(nagios.judge(asleep, SETTINGS, CLOCK))[0] is CRITICAL


def test_a_pulse_is_judged_by_its_own_interval_alone() -> None:
    pulse = nagios_files.Service("here;pulse", NOW - 20, NOW - 10, 10.0, True, False)
    settings = replace(SETTINGS, pulse="here;pulse")
    assert worst(nagios.judge(nagios_with({"pulse": pulse}), settings, CLOCK))[0] is OK
    late = replace(pulse, last_check=NOW - 31)
    assert worst(nagios.judge(nagios_with({"pulse": late}), settings, CLOCK)) == (
        CRITICAL,
        "executor has not executed here;pulse for 31s (limit 30s)",
    )


def test_a_canary_that_does_not_come_back_is_critical() -> None:
    settings = replace(SETTINGS, canary="h;c")
    mute = nagios_files.Service(
        "h;c", 0, 0, 60, False, True, "canary aaa of check_monitor_liveness"
    )
    first = nagios.judge(
        nagios_with({"canary": mute}, submitted=nagios.Submission("bbb")), settings, CLOCK
    )
    assert worst(first)[0] is OK
    later = Clock(NOW + 40)
    kept = nagios_with(
        {"canary": mute, "created": NOW + 38, "newest": NOW + 30},
        submitted=nagios.Submission("ccc"),
    )
    lost = nagios.judge(kept, settings, later, first.facts)
    assert worst(lost) == (
        CRITICAL,
        "intake has lost the canary submitted 40s ago: commands and passive results are not "
        "taken in",
    )
    back = replace(kept, status=replace(STATUS, canary=replace(mute, output="canary bbb of")))
    returned = nagios.judge(back, settings, CLOCK, first.facts)
    assert "intake returned the last canary 0s ago" in [c.sentence for c in returned.components]


def test_without_rights_the_children_of_the_workers_tell_whether_anything_is_executed() -> None:
    denied = replace(
        NAGIOS, status=None, echo_seconds=None, echo_failure=http.NotAllowed("no"),
        status_failure=nagios.StatusFailure(nagios.StatusFault.DENIED, "no"),
    )  # fmt: skip

    def run(faults: int, at: float, before: Health | None) -> Health:
        workers = tuple(replace(p, reaped_faults=faults) for p in denied.worker_processes)
        history = before.facts if before else NO_HISTORY
        observation = replace(denied, worker_processes=workers)
        return nagios.judge(observation, CAUTIOUS, Clock(at), history)

    first = run(5, NOW, None)
    assert worst(first)[0] is UNKNOWN
    second = run(6, NOW + 60, first)
    assert "executor has executed something within 1s" in [c.sentence for c in second.components]
    third = run(6, NOW + 900, second)
    assert worst(third) == (
        CRITICAL,
        "executor has executed nothing for 14m (limit 11m): no child process of its workers has "
        "ended (pid 11 12)",
    )


def test_a_reload_does_not_make_a_run_without_rights_learn_anew() -> None:
    def run(pid: int, faults: int, at: float, before: Health | None) -> Health:
        spawner = replace(process(pid, "icinga2"), reaped_faults=faults)
        observation = replace(
            ICINGA, app=None, has_login=False, failure=http.Rejected(), spawner=spawner
        )
        history = before.facts if before else NO_HISTORY
        return icinga2.judge(observation, CAUTIOUS, Clock(at), history)

    working = run(3, 6, NOW + 60, run(3, 5, NOW, None))
    reloaded = run(4, 0, NOW + 80, working)
    assert worst(reloaded)[0] is OK
    assert reloaded.components[-1].sentence == "executor was renewed 0s ago, and worked before"
    again = run(5, 0, NOW + 100, run(4, 0, NOW + 90, reloaded))
    assert again.components[-1].sentence == "executor was renewed 0s ago, and worked before"
    # What stands still since its renewal is dead all the same.
    assert worst(run(5, 0, NOW + 900, again))[0] is CRITICAL


# Icinga 2

APP = icinga2.Application("me", 21, NOW - 9000, 9000, True, True, True, 9, 120, 0)
SERVICE = icinga2.Service("db!load", NOW - 20, NOW + 40, 60.0, False)
ICINGA = icinga2.Observation(
    "icinga2", "https://x:5665", 0.05, app=APP, services=(SERVICE,),
    executed=(("db!load", NOW - 20),), has_login=True,
)  # fmt: skip
NONE_THERE = answers.NotThere("404")
EXPIRED = Untrusted("the certificate of x has expired", TlsFault.EXPIRED)
LOST = icinga2.Canary(icinga2.Returned.LOST, "has lost the canary submitted to a!b")
HANGING = replace(SERVICE, last_check=NOW - 300, next_check=NOW - 240)


@pytest.mark.parametrize(
    ("observation", "state", "words"),
    [
        (ICINGA, OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, services=(HANGING,), executed=(("db!load", NOW - 300),),
                 app=replace(APP, pending=1)), CRITICAL,
         "executor has not executed a plugin for 5m (limit 3m) (last: db;load), 1 pending"),
        (replace(ICINGA, services=(replace(HANGING, next_check=NOW + 40),),
                 executed=(("db!load", NOW - 300),)), CRITICAL,
         "executor has not executed a plugin for 5m (limit 3m) (last: db;load)"),
        (replace(ICINGA, services=(replace(HANGING, next_check=NOW + 40, has_period=True),),
                 executed=(("db!load", NOW - 300),)), OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, app=replace(APP, service_checks=False)), CRITICAL,
         "checks are disabled for the whole program: nothing is being checked"),
        (replace(ICINGA, services=(), executed=()), OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, services=None, services_failure=NONE_THERE), UNKNOWN,
         "executor cannot be queried: the API user lacks the permission objects/query/Service"),
        (replace(ICINGA, services=None, services_failure=NONE_THERE,
                 app=replace(APP, services=0)), OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, app=None, failure=http.TimedOut("it does not answer within 3.0s")),
         CRITICAL,
         "main loop does not answer: it does not answer within 3.0s"),
        (replace(ICINGA, app=None, failure=http.Rejected("no")), UNKNOWN,
         "main loop no: check --user and --password-file"),
        (replace(ICINGA, app=None, failure=EXPIRED), CRITICAL,
         "main loop cannot be trusted: the certificate of x has expired"),
        (replace(ICINGA, app=replace(APP, started=NOW - 9000 + 300)), WARNING,
         "clock is 5m ahead of ours"),
        (replace(ICINGA, app=replace(APP, executed_last_minute=45), services=(SERVICE,) * 100),
         WARNING,
         "executor falls behind: 45 checks executed in the last minute, 100 expected"),
        (replace(ICINGA, app=replace(APP, executed_last_minute=45, uptime=80, started=NOW - 80),
                 services=(SERVICE,) * 100), OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, what="hosts", app=replace(APP, services=0, hosts=1, service_checks=False)),
         OK, "main loop answers in 50ms (API)"),
        (replace(ICINGA, what="hosts", app=replace(APP, services=0, hosts=1, host_checks=False)),
         CRITICAL, "checks are disabled for the whole program: nothing is being checked"),
        (replace(ICINGA, what="hosts", services=None, services_failure=NONE_THERE,
                 app=replace(APP, services=0, hosts=1)), UNKNOWN,
         "executor cannot be queried: the API user lacks the permission objects/query/Host"),
        (replace(ICINGA, canary=LOST), CRITICAL,
         "intake has lost the canary submitted to a!b"),
    ],
    ids=[
        "healthy",
        "the spawner hangs: plugins are late",
        "put off again and again, never executed",
        "outside its check period",
        "checks disabled",
        "a satellite without active checks",
        "no permission for the services",
        "no services at all",
        "the worker hangs",
        "wrong password",
        "the certificate has expired",
        "another clock",
        "half of the checks are not executed",
        "half of them, but it has been up for a minute only",
        "only hosts, checks of services are disabled",
        "only hosts, and their checks are disabled",
        "only hosts, and no permission for them",
        "the canary is lost",
    ],
)  # fmt: skip
def test_icinga(observation: icinga2.Observation, state: State, words: str) -> None:
    assert worst(icinga2.judge(observation, SETTINGS, CLOCK)) == (state, words)


def test_an_icinga_that_reloads_between_two_questions_is_observed_again() -> None:
    for failure, is_fleeting in ((http.Refused("no"), True), (http.TimedOut("no"), False)):
        reloading = replace(ICINGA, services=None, services_failure=failure)
        component = icinga2.judge(reloading, SETTINGS, CLOCK).components[-1]
        assert (component.state, component.is_fleeting) == (CRITICAL, is_fleeting)


def icinga_family(*pids_and_parents: tuple[int, int]) -> list[Process]:
    return [
        process(pid, "/x/icinga2", "daemon", parent=parent, started=NOW - 9000 + pid)
        for pid, parent in pids_and_parents
    ]


def pids(*found: Process | None) -> list[int]:
    return [each.pid if each else 0 for each in found]


def test_the_three_processes_of_icinga_and_a_reload_with_two_workers() -> None:
    assert pids(*icinga2.roles(icinga_family((1, 0), (2, 1), (3, 2)))) == [1, 2, 3]
    reload = icinga_family((1, 0), (2, 1), (4, 1), (3, 2))
    assert pids(*icinga2.roles(reload)) == [1, 2, 3]
    assert pids(*icinga2.roles([*reload, *icinga_family((5, 4))])) == [1, 4, 5]


def test_an_icinga_whose_umbrella_was_killed_is_critical_though_its_orphans_work() -> None:
    _, worker, spawner = icinga2.roles(icinga_family((2, 0), (3, 2)))
    orphans = replace(ICINGA, worker=worker, spawner=spawner)
    assert worst(icinga2.judge(orphans, SETTINGS, CLOCK)) == (
        CRITICAL,
        "umbrella process is gone, it was killed: an orphaned worker goes on (pid 2), and "
        "nothing can reload or restart it",
    )


# Prometheus and Alertmanager


def prom(age: float, rule_age: float = 1, **more: Any) -> prometheus.Observation:
    metrics = {
        "prometheus_tsdb_head_max_time_seconds": [({}, NOW - age)],
        "process_start_time_seconds": [({}, NOW - 9000)],
        "prometheus_rule_group_interval_seconds": [({"rule_group": "r.yml;g"}, 15.0)],
        "prometheus_rule_group_last_evaluation_timestamp_seconds": [
            ({"rule_group": "r.yml;g"}, NOW - rule_age)
        ],
        **more,
    }
    targets = (prometheus.Scraped("a http://a", NOW - 5, 15, 10),)
    return prometheus.Observation("prometheus", "http://p", 0.004, metrics=metrics, targets=targets)


@pytest.mark.parametrize(
    ("observation", "state", "words"),
    [
        (prom(3), OK, "main loop answers in 4ms"),
        (prom(300), CRITICAL,
         "scheduler has collected no sample for 5m (limit 50s) from 1 target"),
        (replace(prom(3), targets=(prometheus.Scraped("a http://a", NOW - 5, 15, 10),
                                   prometheus.Scraped("b http://b", NOW - 600, 15, 10))), WARNING,
         "scheduler has not scraped 1 of 2 targets in time, b http://b for 10m "
         "(15s is configured)"),
        (replace(prom(99999), targets=()), OK, "main loop answers in 4ms"),
        (prom(3, rule_age=100), CRITICAL,
         "rules have not been evaluated in time: 1 of 1 group, g for 1m40s (15s is configured)"),
        (prom(3, prometheus_notifications_dropped_total=[({}, 1.0)]), OK,
         "main loop answers in 4ms"),
        (prom(3, prometheus_config_last_reload_successful=[({}, 0.0)]), WARNING,
         "configuration was not loaded: its last reload failed, the old one is in use"),
    ],
    ids=[
        "healthy",
        "/-/healthy would say 200, the newest sample is old",
        "some targets hang",
        "idle, nothing configured",
        "rules stand still",
        "one notification dropped at the start",
        "reload failed",
    ],
)  # fmt: skip
def test_prometheus(observation: prometheus.Observation, state: State, words: str) -> None:
    assert worst(prometheus.judge(observation, SETTINGS, CLOCK)) == (state, words)


@pytest.mark.parametrize(
    ("ends", "state"),
    [((NOW + 170,), OK), ((), CRITICAL), ((NOW - 30,), CRITICAL)],
    ids=["the watchdog holds, renewed 70s ago", "no watchdog", "the watchdog has ended"],
)
def test_alertmanager(ends: tuple[float, ...], state: State) -> None:
    observation = alertmanager.Observation("alertmanager", "http://a", 0.001, metrics={}, ends=ends)
    assert worst(alertmanager.judge(observation, SETTINGS, CLOCK))[0] is state


# Monit, collectd, Zabbix


@pytest.mark.parametrize(
    ("ages", "state"),
    [((3, 9), OK), ((13, 63), OK), ((600, 610), CRITICAL), ((3, 900), WARNING)],
    ids=["healthy", "one test of a minute", "the loop is blocked", "one service starves"],
)
def test_monit(ages: tuple[float, ...], state: State) -> None:
    services = tuple(monit.Collected(str(age), NOW - age, True, False) for age in ages)
    off = monit.Collected("off", NOW - 99999, False, False)
    observation = monit.Observation(
        "monit", "", 0.01, status=monit.MonitStatus(9000, 10, 0, (*services, off))
    )
    assert worst(monit.judge(observation, SETTINGS, CLOCK))[0] is state


@pytest.mark.parametrize(("age", "state"), [(9, OK), (31, CRITICAL), (-60, CRITICAL)])
def test_collectd(age: float, state: State) -> None:
    observation = collectd.Observation("collectd", "", 0.01, newest=NOW - age, source="value")
    assert worst(collectd.judge(observation, SETTINGS, CLOCK))[0] is state


def test_a_zabbix_server_of_the_documentation_whose_pollers_are_busy_is_a_warning() -> None:
    stats = {"boottime": NOW - 99, "process": {"poller": {"busy": {"avg": 99.5}}}}
    observation = zabbix.Observation("z", "x", 0.01, kind="zabbix-server", stats=stats)
    assert worst(zabbix.judge(observation, SETTINGS, CLOCK)) == (
        WARNING,
        "executor falls behind: all poller processes are 100% busy",
    )


# From documented answers only


@pytest.mark.parametrize(
    ("health", "state"),
    [
        ({"ClusterHealth": [{"Name": "a", "Healthy": True}]}, OK),
        ({"ClusterHealth": [{"Name": "a", "Healthy": False, "Err": "no leader"}]}, CRITICAL),
        ({"ClusterHealth": [{"Name": "a", "Healthy": True}],
          "PostgresHealth": [{"Name": "p", "Active": False, "Healthy": True}]}, WARNING),
    ],
    ids=["healthy", "an etcd member is ill, and HTTP says 200", "PostgreSQL is not active"],
)  # fmt: skip
def test_a_sensu_backend_of_the_documentation(health: dict[str, Any], state: State) -> None:
    observation = sensu_go.Observation("s", "", 0.01, kind="sensu-backend", health=health)
    assert worst(sensu_go.judge(observation, SETTINGS, CLOCK))[0] is state


def test_a_documented_sensu_agent_is_connected_but_its_canary_is_old() -> None:
    observation = sensu_go.Observation(
        "s", "", 0.01, kind="sensu-backend", health={"ClusterHealth": []},
        pulse=answers.Executed(NOW - 600, 60),
    )  # fmt: skip
    assert worst(sensu_go.judge(observation, replace(SETTINGS, pulse="e;c"), CLOCK)) == (
        CRITICAL,
        "executor has not executed e;c for 10m (limit 2m30s)",
    )
    lost = sensu_go.Observation(
        "s", "", 0.01, kind="sensu-agent", status=503, body="sensu backend unavailable"
    )
    assert worst(sensu_go.judge(lost, SETTINGS, CLOCK))[0] is CRITICAL


@pytest.mark.parametrize(
    ("link", "state"),
    [
        (sensu_classic.Link(True, True, 2, 3), OK),
        (sensu_classic.Link(True, False, 2, 3), CRITICAL),
        (sensu_classic.Link(True, True, 0, 3), CRITICAL),
        (sensu_classic.Link(True, True, 2, 99999), CRITICAL),
    ],
)
def test_a_classic_sensu_api_of_the_documentation(link: sensu_classic.Link, state: State) -> None:
    observation = sensu_classic.Observation("s", "", 0.01, kind="sensu-api", link=link)
    assert worst(sensu_classic.judge(observation, SETTINGS, CLOCK))[0] is state


@pytest.mark.parametrize(("status", "state"), [(200, OK), (503, CRITICAL), (404, UNKNOWN)])
def test_a_telegraf_health_output_of_the_documentation(status: int, state: State) -> None:
    observation = telegraf.Observation("t", "http://t", 0.01, status=status, body="unhealthy")
    assert worst(telegraf.judge(observation, SETTINGS, CLOCK))[0] is state


def test_a_documented_new_relic_agent_without_its_backend() -> None:
    lost = newrelic.Backend("https://x", False, "timeout")
    observation = newrelic.Observation("n", "", 0.01, backends=(lost,))
    assert worst(newrelic.judge(observation, SETTINGS, CLOCK))[0] is CRITICAL


def test_a_documented_checkmk_agent_whose_asynchronous_plugins_stopped() -> None:
    sections = checkmk.Sections(("df", "apt"), (("apt", NOW - 9000, 300),))
    observation = checkmk.Observation("c", "", 0.3, sections=sections)
    assert worst(checkmk.judge(observation, SETTINGS, CLOCK))[0] is CRITICAL


# Any daemon


def beating(
    stamp: float | None = None, modified: float = 0, content: str = "x", **more: Any
) -> Any:
    return daemon.Observation(
        "d",
        DaemonSettings(heartbeat="/hb"),
        heartbeat=daemon.Heartbeat("/hb", stamp, NOW - modified, content, **more),
    )


@pytest.mark.parametrize(
    ("observation", "state"),
    [
        (beating(modified=10), OK),
        (beating(modified=400), CRITICAL),
        (beating(stamp=NOW - 400, modified=1), CRITICAL),
        (beating(modified=400, filesystem="is read-only"), WARNING),
        (beating(stamp=NOW + 4000), CRITICAL),
        (beating(trouble="/hb: No such file or directory"), CRITICAL),
        (beating(trouble="not allowed to read /hb", is_denied=True), UNKNOWN),
    ],
    ids=[
        "fresh",
        "old",
        "touched by a cron, the time inside is old",
        "its filesystem is read-only, the daemon itself may be healthy",
        "from the future",
        "missing",
        "no permission",
    ],
)
def test_a_heartbeat(observation: daemon.Observation, state: State) -> None:
    assert worst(daemon.judge(observation, SETTINGS, CLOCK))[0] is state


def test_a_nonce_that_stands_still_is_no_heartbeat_though_the_file_is_touched() -> None:
    first = daemon.judge(beating(modified=1, content="a"), SETTINGS, CLOCK)
    second = daemon.judge(beating(modified=1, content="b"), SETTINGS, CLOCK, first.facts)
    touched = daemon.judge(
        beating(modified=-400, content="b"), SETTINGS, Clock(NOW + 401), second.facts
    )
    assert worst(touched)[0] is CRITICAL


@pytest.mark.parametrize(("letter", "state"), [("S", OK), ("T", CRITICAL), ("Z", CRITICAL)])
def test_process_states(letter: str, state: State) -> None:
    observation = daemon.Observation(
        "d", DaemonSettings(), processes=(process(5, "d", state=letter),)
    )
    assert worst(daemon.judge(observation, SETTINGS, CLOCK))[0] is state


def test_a_disk_wait_is_a_warning_and_then_critical() -> None:
    observation = daemon.Observation("d", DaemonSettings(), processes=(process(5, "d", state="D"),))
    states: list[State] = []
    facts: dict[str, Any] = {}
    for number in range(4):
        health = daemon.judge(observation, SETTINGS, Clock(NOW + 20 * number), facts)
        facts = dict(health.facts)
        states.append(worst(health)[0])
    assert states == [OK, WARNING, CRITICAL, CRITICAL]


def test_jobs_that_stand_still_for_half_an_hour_are_critical_and_a_restart_is_no_work() -> None:
    def run(number: float, at: float, before: Health | None) -> Health:
        observation = daemon.Observation(
            "d", DaemonSettings(), progress=(daemon.Progress("json:x", number=number),)
        )
        history = before.facts if before else NO_HISTORY
        return daemon.judge(observation, CAUTIOUS, Clock(NOW + at), history)

    first = run(5, 0, None)
    second = run(6, 60, first)
    third = run(6, 1800, second)
    restarted = run(0, 1830, third)
    assert [worst(s)[0] for s in (first, second, third, restarted)] == [UNKNOWN, OK, OK, OK]
    standing = run(0, 1900, restarted)
    assert worst(standing) == (
        CRITICAL,
        "work has stood still: json:x at 0 for 30m40s (limit 30m)",
    )
    assert worst(run(1, 1960, standing))[0] is OK


def test_a_unit_whose_watchdog_is_not_fed_is_critical() -> None:
    properties = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "WatchdogUSec": "30s",
        "WatchdogTimestampMonotonic": "100000000",
    }
    observation = daemon.Observation(
        "d", DaemonSettings(), unit=daemon.Unit("d.service", properties), monotonic=140.0
    )
    assert worst(daemon.judge(observation, SETTINGS, CLOCK))[0] is CRITICAL
    assert worst(daemon.judge(replace(observation, monotonic=110.0), SETTINGS, CLOCK))[0] is OK
    ended = {**properties, "ActiveState": "failed", "SubState": "failed"}
    failed = replace(observation, unit=daemon.Unit("d.service", ended))
    assert worst(daemon.judge(failed, SETTINGS, CLOCK))[1] == "unit d.service is failed (failed)"

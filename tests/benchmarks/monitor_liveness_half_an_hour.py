#!/usr/bin/env python3
"""Half an hour beside real monitors that are well: how often does the check cry wolf?

    sudo tests/benchmarks/monitor_liveness_half_an_hour.py [MINUTES]

Seven monitors run in a process namespace of their own. Every 20 s all are checked without
arguments, as on a host, and each by itself with its options and a grace of 10 s. Every third time
one of them is reloaded, or restarted where it knows no reload, at the moment of the run. Whatever
is not OK is an alarm, its line is printed, and the exit status is 1.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Callable

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "checks")]

from sides.monitors_live import (  # noqa: E402
    BLIND,
    Alertmanager,
    Collectd,
    Icinga,
    Monit,
    Nagios,
    Prometheus,
    Side,
    Web,
    ZabbixAgent,
    check,
    until,
)

EVERY_SECONDS, LOOKS_A_RELOAD = 20.0, 3
ALL = "without arguments"
INSIDE = "HALF_AN_HOUR_INSIDE"


def hup(side: Side) -> None:
    os.kill(side.pid, signal.SIGHUP)


def post_reload(side: Web) -> None:
    urllib.request.urlopen(f"{side.url}/-/reload", data=b"", timeout=30).close()


def monit_reload(side: Monit) -> None:
    subprocess.run([*side.argv(), "reload"], check=True, capture_output=True)


def restart(side: Side) -> None:
    """As a service manager does it."""
    assert side.process is not None
    side.process.terminate()
    side.process.wait(30)
    side.start()


def main(minutes: float) -> int:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twiceshy-")))
        place.chmod(0o755)

        def at(name: str) -> Path:
            (place / name).mkdir()
            return place / name

        def living(side: Side) -> None:
            side.prepare()  # type: ignore[attr-defined]
            stack.callback(side.end)
            side.start()

        def look(kind: str, *how: str) -> Callable[[], tuple[int, str]]:
            grace = ("--startup-grace", "10s")
            return partial(check, "--monitor", kind, *how, *grace, state=place / "named")

        nagios, icinga = Nagios(at("nagios")), Icinga(at("icinga2"))
        alertmanager = Alertmanager(at("alertmanager"))
        prometheus = Prometheus(at("prometheus"), alertmanager)
        monit, collectd, agent = Monit(at("monit")), Collectd(at("collectd")), ZabbixAgent(at("z"))
        for side in (nagios, icinga, alertmanager, prometheus, monit, collectd, agent):
            living(side)
        named = {"state": place / "named"}
        graced = ("--startup-grace", "10s", "--pulse", "here;pulse")
        looks: dict[str, Callable[[], tuple[int, str]]] = {
            ALL: partial(check, state=place / "all"),
            "nagios": partial(nagios.check, *graced, **named),
            "icinga2": partial(icinga.check, *graced, **named),
            "prometheus": look("prometheus", "--url", prometheus.url),
            "alertmanager": look(
                "alertmanager", "--url", alertmanager.url, "--watchdog", "Watchdog"
            ),
            "monit": look("monit", "--config", f"{monit.place}/monitrc"),
            "collectd": look("collectd", "--config", f"{collectd.place}/collectd.conf"),
            "zabbix-agent": look("zabbix-agent", "-H", "127.0.0.1", "-p", str(agent.port)),
        }
        reloads: dict[str, list[Callable[[], None]]] = {
            "nagios": [partial(hup, nagios), partial(nagios.command, "RESTART_PROGRAM")],
            "icinga2": [partial(hup, icinga)],
            "prometheus": [partial(post_reload, prometheus), partial(hup, prometheus)],
            "alertmanager": [partial(post_reload, alertmanager), partial(hup, alertmanager)],
            "monit": [partial(monit_reload, monit), partial(hup, monit)],
            "collectd": [partial(restart, collectd)],
            "zabbix-agent": [partial(restart, agent)],
        }
        # The first runs learn; from then on there is nothing to say but OK.
        for one in looks.values():
            until(lambda one=one: one()[0] == 0, 120, every=5)  # type: ignore[misc]
        return report(*watched(looks, reloads, minutes * 60))


def watched(
    looks: dict[str, Callable[[], tuple[int, str]]],
    reloads: dict[str, list[Callable[[], None]]],
    seconds: float,
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Runs, reloads and alarms of each."""
    runs, reloaded, alarms = Counter(dict.fromkeys(looks, 0)), Counter[str](), Counter[str]()
    turns = itertools.cycle(
        (name, way) for ways in (0, 1) for name, them in reloads.items() for way in them[ways:][:1]
    )
    began = time.monotonic()
    for number in itertools.count():
        begins = began + number * EVERY_SECONDS
        if begins - began > seconds:
            return runs, reloaded, alarms
        time.sleep(max(0.0, begins - time.monotonic()))
        busy, name = None, ""
        if number % LOOKS_A_RELOAD == 0:
            name, way = next(turns)
            reloaded[name] += 1
            busy = threading.Thread(target=way)
            busy.start()
        # The one that is reloaded first, or its reload would be over.
        for which in sorted(looks, key=lambda which: which not in (ALL, name)):
            status, output = looks[which]()
            runs[which] += 1
            if status != 0:
                alarms[which] += 1
                minute = (time.monotonic() - began) / 60
                note = f", {name} being reloaded" if name else ""
                line = output.partition("|")[0].rstrip()
                print(f"{minute:5.1f}m {which}{note}: {line}", flush=True)
        if busy is not None:
            busy.join()
    raise AssertionError


def report(runs: Counter[str], reloaded: Counter[str], alarms: Counter[str]) -> int:
    print(f"{'monitor':18} {'runs':>5} {'reloads':>8} {'alarms':>7}")
    for name in runs:
        print(f"{name:18} {runs[name]:5} {reloaded[name]:8} {alarms[name]:7}")
    return 1 if alarms else 0


if __name__ == "__main__":
    if INSIDE not in os.environ:
        # With an init that reaps, and nobody else's monitors to be found.
        again = [*BLIND, "--kill-child", "sh", "-c", '"$@"; exit $?', "sh", sys.executable]
        os.execvpe(again[0], [*again, *sys.argv], {**os.environ, INSIDE: "1"})
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))

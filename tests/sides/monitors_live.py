"""Real monitors, started in the foreground from a directory of their own, on loopback and sockets.

Each is ended with its whole family, by pid. Intervals are seconds where the packages' are minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

from conftest import ROOT
from twiceshy.kit.processes import Process
from twiceshy.monitor_liveness.monitors import processes

SCRIPT = ROOT / "checks" / "check_monitor_liveness.py"
WORKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")


def free_port() -> int:
    """A port that is free now, below the ephemeral ones: Zabbix takes none above 32767."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randrange(15000, 32000)
            probe.bind(("127.0.0.1", port))
            return port


def until(true: Callable[[], object], seconds: float = 30.0, every: float = 0.1) -> float:
    """Seconds until something is true; AssertionError when it does not become so in time."""
    began = time.monotonic()
    while not true():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds}s"
        time.sleep(every)
    return time.monotonic() - began


def check(
    *args: str, prefix: Sequence[str] = (), state: Path | None = None, **env: str
) -> tuple[int, str]:
    """The check as a process: its exit status and its output."""
    done = subprocess.run(
        [*prefix, sys.executable, str(SCRIPT), "-v", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **({"TWICESHY_STATE_DIR": str(state)} if state else {}), **env},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


# A process table of its own, so that only what the monitor itself tells is evidence.
BLIND = ("unshare", "--pid", "--fork", "--mount-proc")


class Side:
    """A daemon of ours and its whole family of processes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.process: subprocess.Popen[bytes] | None = None
        self.started: list[int] = []

    def argv(self) -> list[str]:
        raise NotImplementedError

    def is_up(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        with (self.place / "out").open("ab") as out:
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.place
            )
        until(self.is_up)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def family(self) -> list[Process]:
        return processes.family_of(self.pid, processes.of_host())

    @contextlib.contextmanager
    def stopped(self, pids: Sequence[int]) -> Iterator[None]:
        """SIGSTOP, and SIGCONT when it is over, whatever happens."""
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """SIGKILL to every process that was ours; orphans are known by the directory they name."""
        ours = self.family() if self.process else []
        mark = str(self.place)
        ours += [p for p in processes.of_host() if any(mark in word for word in p.cmdline)]
        for process in ours:
            if process.pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait(10)
            self.process = None


class Nagios(Side):
    """Nagios 4 with an active service every two seconds and a passive one."""

    interval = 2

    @property
    def config(self) -> Path:
        return self.place / "nagios.cfg"

    def prepare(self) -> None:
        at = self.place
        at.chmod(0o755)
        for name in ("rw", "spool", "var"):
            (at / name).mkdir(exist_ok=True)
            shutil.chown(at / name, "nagios", "nagios")
        self.config.write_text(
            f"""log_file={at}/var/nagios.log
cfg_file={at}/objects.cfg
object_cache_file={at}/var/objects.cache
precached_object_file={at}/var/objects.precache
status_file={at}/var/status.dat
status_update_interval=2
nagios_user=nagios
nagios_group=nagios
check_external_commands=1
command_file={at}/rw/nagios.cmd
query_socket={at}/rw/nagios.qh
lock_file={at}/var/nagios.pid
temp_file={at}/var/nagios.tmp
temp_path={at}/spool
use_syslog=0
check_workers=2
check_result_path={at}/spool
service_check_timeout=4
host_check_timeout=10
state_retention_file={at}/var/retention.dat
retain_state_information=1
interval_length=1
enable_notifications=1
execute_service_checks=1
accept_passive_service_checks=1
"""
        )
        days = "\n".join(
            f" {day} 00:00-24:00"
            for day in [
                "sunday",
                "monday",
                "tuesday",
                "wednesday",
                "thursday",
                "friday",
                "saturday",
            ]
        )
        common = f""" host_name here
 check_command true
 check_interval {self.interval}
 retry_interval {self.interval}
 max_check_attempts 1
 check_period always
 notification_period always
 contacts nobody
"""
        (at / "objects.cfg").write_text(
            f"""define command{{
 command_name true
 command_line /bin/true
}}
define timeperiod{{
 timeperiod_name always
 alias always
{days}
}}
define contact{{
 contact_name nobody
 service_notification_commands true
 host_notification_commands true
 service_notification_period always
 host_notification_period always
 service_notification_options n
 host_notification_options n
}}
define host{{
 address 127.0.0.1
 active_checks_enabled 0
{common}}}
define service{{
 service_description pulse
{common}}}
define service{{
 service_description canary
 active_checks_enabled 0
 passive_checks_enabled 1
{common}}}
"""
        )

    def argv(self) -> list[str]:
        return [shutil.which("nagios4", path="/usr/sbin:/usr/bin") or "nagios4", str(self.config)]

    def is_up(self) -> bool:
        status = self.place / "var" / "status.dat"
        return status.exists() and "has_been_checked=1" in status.read_text()

    @property
    def workers(self) -> list[int]:
        return [p.pid for p in self.family() if "--worker" in p.cmdline]

    def command(self, text: str) -> None:
        with (self.place / "rw" / "nagios.cmd").open("w") as fifo:
            fifo.write(f"[{int(time.time())}] {text}\n")

    def check(self, *more: str, **how: object) -> tuple[int, str]:
        return check(
            "--monitor",
            "nagios",
            "--config",
            str(self.config),
            "--startup-grace",
            "0s",
            *more,
            **how,  # type: ignore[arg-type]
        )


class Icinga(Side):
    """Icinga 2 with its API, a plugin and built-in checks every two seconds; or with a host alone,
    checked by a plugin."""

    interval = 2

    def __init__(self, place: Path, bind: str = "127.0.0.1", has_services: bool = True) -> None:
        super().__init__(place)
        self.has_services = has_services
        self.port = free_port()
        self.bind = bind
        self.password = place / "password"

    @property
    def ca(self) -> Path:
        return self.place / "data" / "certs" / "ca.crt"

    def prepare(self) -> None:
        at = self.place
        at.chmod(0o755)
        for name in ("data/certs", "data/api/zones", "data/api/packages", "log", "cache", "run"):
            (at / name).mkdir(parents=True)
        (at / "spool").mkdir()
        certs = at / "data" / "certs"
        (certs / "ext").write_text("subjectAltName=DNS:patient\n")
        for command in (
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 "
            "-subj /CN=Icinga",
            "openssl req -newkey rsa:2048 -nodes -keyout patient.key -out patient.csr "
            "-subj /CN=patient",
            "openssl x509 -req -in patient.csr -CA ca.crt -CAkey ca.key -CAcreateserial "
            "-out patient.crt -days 2 -extfile ext",
        ):
            subprocess.run(command.split(), cwd=certs, check=True, capture_output=True)
        self.password.write_text("seen\n")
        (at / "icinga2.conf").write_text(
            f"""include <itl>
const NodeName = "patient"
const ZoneName = "patient"
object Endpoint "patient" {{}}
object Zone "patient" {{ endpoints = [ "patient" ] }}
object CheckerComponent "checker" {{}}
object NotificationComponent "notification" {{}}
object FileLogger "main" {{ severity = "information"; path = LogDir + "/icinga2.log" }}
object ApiListener "api" {{ bind_host = "{self.bind}"; bind_port = "{self.port}" }}
object ApiUser "root" {{ password = "seen"; permissions = [ "*" ] }}
object ApiUser "watch" {{
  password = "seen"
  permissions = [ "status/query", "objects/query/Service", "objects/query/Host" ]
}}
object ApiUser "little" {{ password = "seen"; permissions = [ "status/query" ] }}
object CheckCommand "true" {{ command = [ "/bin/true" ] }}
{self.objects()}"""
        )
        for path in [at, *at.rglob("*")]:
            shutil.chown(path, "nagios", "nagios")

    def objects(self) -> str:
        if not self.has_services:
            return f"""object Host "here" {{
  check_command = "true"
  check_interval = {self.interval}s; retry_interval = {self.interval}s
}}
"""
        return f"""object Host "here" {{
  check_command = "dummy"
  check_interval = {self.interval}s
}}
object Service "pulse" {{
  host_name = "here"; check_command = "true"
  check_interval = {self.interval}s; retry_interval = {self.interval}s
}}
object Service "built-in" {{
  host_name = "here"; check_command = "icinga"
  check_interval = {self.interval}s; retry_interval = {self.interval}s
}}
object Service "canary" {{
  host_name = "here"; check_command = "dummy"; enable_active_checks = false
}}
"""

    def argv(self) -> list[str]:
        binary = next(Path("/usr/lib").glob("*/icinga2/sbin/icinga2"))
        at = self.place
        defines = {
            "DataDir": "data",
            "LogDir": "log",
            "CacheDir": "cache",
            "SpoolDir": "spool",
            "InitRunDir": "run",
        }
        return [
            str(binary),
            "daemon",
            "-c",
            f"{at}/icinga2.conf",
            *(word for name, where in defines.items() for word in ("-D", f"{name}={at}/{where}")),
        ]

    def is_up(self) -> bool:
        which = "services/here!pulse" if self.has_services else "hosts/here"
        try:
            found = self.ask(f"/v1/objects/{which}?attrs=last_check")
        except OSError:
            return False
        return bool(json.loads(found)["results"][0]["attrs"]["last_check"] > 0)

    def ask(self, path: str, post: object = None) -> str:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            data=None if post is None else json.dumps(post).encode(),
            headers={"Accept": "application/json", "Authorization": "Basic cm9vdDpzZWVu"},
        )
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return str(answer.read().decode())

    def family(self) -> list[Process]:
        return [p for p in super().family() if p.program == "icinga2"]

    def roles(self) -> tuple[int, int, int]:
        """The pids of umbrella, worker and spawner."""
        umbrella, worker, spawner, *_ = [p.pid for p in self.family()]
        return umbrella, worker, spawner

    def check(self, *more: str, user: str = "watch", **how: object) -> tuple[int, str]:
        return check(
            "--monitor",
            "icinga2",
            "-H",
            "127.0.0.1",
            "-p",
            str(self.port),
            "--user",
            user,
            "--password-file",
            str(self.password),
            "--ca-file",
            str(self.ca),
            "--tls-name",
            "patient",
            "--startup-grace",
            "0s",
            *more,
            **how,  # type: ignore[arg-type]
        )


class Web(Side):
    """A monitor that is asked by HTTP."""

    path = "/metrics"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return str(answer.read().decode())

    def is_up(self) -> bool:
        try:
            self.get(self.path)
        except OSError:
            return False
        return True


class Alertmanager(Web):
    path = "/api/v2/alerts"

    def prepare(self) -> None:
        (self.place / "am.yml").write_text("route:\n  receiver: none\nreceivers:\n- name: none\n")

    def argv(self) -> list[str]:
        return [
            "prometheus-alertmanager",
            f"--config.file={self.place}/am.yml",
            f"--storage.path={self.place}/am",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


class Prometheus(Web):
    """Prometheus that scrapes itself every second and sends a Watchdog to an Alertmanager."""

    def __init__(self, place: Path, alertmanager: Alertmanager) -> None:
        super().__init__(place)
        self.alertmanager = alertmanager

    def prepare(self) -> None:
        (self.place / "rules.yml").write_text(
            "groups:\n- name: watch\n  interval: 1s\n"
            "  rules:\n  - alert: Watchdog\n    expr: vector(1)\n"
        )
        (self.place / "p.yml").write_text(
            f"""global:
  scrape_interval: 1s
  scrape_timeout: 1s
rule_files: [{self.place}/rules.yml]
alerting:
  alertmanagers:
  - static_configs:
    - targets: ['127.0.0.1:{self.alertmanager.port}']
scrape_configs:
- job_name: self
  static_configs:
  - targets: ['127.0.0.1:{self.port}']
"""
        )

    def argv(self) -> list[str]:
        return [
            "prometheus",
            f"--config.file={self.place}/p.yml",
            f"--storage.tsdb.path={self.place}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            # Else the next Watchdog after the first, which comes before the Alertmanager is known,
            # takes a minute.
            "--rules.alert.resend-delay=1s",
        ]

    def is_up(self) -> bool:
        try:
            return '"lastScrape":"2' in self.get("/api/v1/targets")
        except OSError:  # 503 until it has read its write-ahead log
            return False


class Monit(Web):
    """Monit with a cycle of one second, at a port or at a Unix socket."""

    def __init__(self, place: Path, has_port: bool = True) -> None:
        super().__init__(place)
        self.has_port = has_port
        self.socket = place / "sock"

    def prepare(self) -> None:
        at = self.place
        httpd = f"port {self.port} and use address 127.0.0.1"
        if not self.has_port:
            httpd = f"unixsocket {self.socket}"
        (at / "monitrc").write_text(
            f"""set daemon 1
set log {at}/monit.log
set pidfile {at}/monit.pid
set idfile {at}/monit.id
set statefile {at}/monit.state
set httpd {httpd} allow watch:seen
check filesystem here with path /
check file this with path {at}/monitrc
"""
        )
        (at / "monitrc").chmod(0o600)

    def argv(self) -> list[str]:
        return ["monit", "-I", "-c", f"{self.place}/monitrc"]

    def is_up(self) -> bool:
        if not self.has_port:
            return self.socket.exists()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Collectd(Side):
    """collectd with an interval of one second, its socket and the load."""

    def prepare(self) -> None:
        (self.place / "collectd.conf").write_text(
            f"""Interval 1
BaseDir "{self.place}"
PIDFile "{self.place}/collectd.pid"
LoadPlugin load
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "{self.place}/sock"
</Plugin>
"""
        )

    def argv(self) -> list[str]:
        return [
            shutil.which("collectd", path="/usr/sbin:/usr/bin") or "collectd",
            "-f",
            "-C",
            f"{self.place}/collectd.conf",
        ]

    def is_up(self) -> bool:
        return (self.place / "sock").exists()


class ZabbixAgent(Side):
    """zabbix-agent2, passive checks from loopback only."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.port = free_port()

    def prepare(self) -> None:
        at = self.place
        (at / "agent.conf").write_text(
            f"""LogType=console
PidFile={at}/agent.pid
ListenIP=127.0.0.1
ListenPort={self.port}
Server=127.0.0.1
Hostname=patient
PluginSocket={at}/plugin.sock
ControlSocket={at}/control.sock
"""
        )

    def argv(self) -> list[str]:
        return [
            shutil.which("zabbix_agent2", path="/usr/sbin:/usr/bin") or "zabbix_agent2",
            "-f",
            "-c",
            f"{self.place}/agent.conf",
        ]

    def is_up(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

"""Every check in every state, run by real monitoring systems from the real Debian package.

In one lab, with its own users, daemons and files, the package is installed and each check is
provoked to OK, WARNING, CRITICAL and UNKNOWN. Nagios 4, Icinga 2 and NRPE run it as the user
nagios; what they have understood is compared with the bytes that the check printed. A wrapper keeps
those bytes, since no two runs print the same ages.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import pytest

from conftest import ROOT
from contract import STATES, understood
from live.consumers import Icinga, Nagios, Service, Understood, loopback
from live.lab import PROGRAMS, Lab
from sides.engine import Engine

pytestmark = pytest.mark.live

PLUGINS = "/usr/lib/nagios/plugins"
RAW = "/srv/raw"  # not a temporary directory: the NRPE unit has one of its own

WRAPPER = f"""#!/bin/sh
name=$1
shift
output=$("$@" 2>&1)
status=$?
printf '%s\\n' "$output" > {RAW}/$name.$$
printf '%s\\n' "$output"
exit $status
"""

UNITS = {
    "steady": "ExecStart=/bin/sleep 100000",
    "flaps": 'ExecStart=/bin/sh -c "sleep 1; exit 7"\nRestart=always\nRestartSec=500ms\n'
    "[Unit]\nStartLimitIntervalSec=0",
    "endpoint": "ExecStart=/usr/bin/python3 -m http.server 8099 --bind 127.0.0.1 -d /srv/config",
}

FILES = """
mkdir -p /srv/config /srv/full /srv/roomy /srv/logs
cd /srv/config
printf '{"release": 7}\\n' > good.json
cp good.json torn.json
sha256sum good.json > good.json.sha256
sed s/good/torn/ good.json.sha256 > torn.json.sha256
printf 'garbage' >> torn.json
mount -t tmpfs -o size=1m tmpfs /srv/full
dd if=/dev/zero of=/srv/full/flood bs=64k 2>/dev/null || true
mount -t tmpfs -o size=8m tmpfs /srv/roomy
touch /srv/fresh-heartbeat
touch -d '1 hour ago' /srv/stale-heartbeat
printf secret > /srv/secret-heartbeat
chmod 600 /srv/secret-heartbeat
head -c 20000 /dev/zero > /srv/logs/app.log
mkdir /srv/calm
echo quiet > /srv/calm/app.log
printf '/srv/calm/app.log {\\n  weekly\\n  rotate 4\\n}\\n' > /srv/rotate.conf
printf '/srv/logs/app.log {\\n  size 1k # small\\n  rotate 4\\n}\\n' > /srv/rotate.broken
printf 'logrotate state -- version 2\\n"/srv/calm/app.log" %s\\n' \
    "$(date +%Y-%-m-%-d-%-H:%-M:%-S)" > /srv/rotated-but-where
chmod 644 /srv/rotated-but-where
systemctl enable --now logrotate.timer
"""

# Each check in each state: the options that provoke it.
CASES = {
    "flapping": {
        "OK": "--include steady",
        "WARNING": "--include flaps -c 100000",
        "CRITICAL": "--include flaps",
        "UNKNOWN": "--service absent --missing unknown",
    },
    "container_restarts": {
        "OK": "--docker-host unix:///run/engine/engine.sock --include steady",
        "WARNING": "--docker-host unix:///run/engine/engine.sock --include loop -c 100000",
        "CRITICAL": "--docker-host unix:///run/engine/engine.sock",
        "UNKNOWN": "--docker-host unix:///run/secret/engine.sock",
    },
    "log_rotation": {
        "OK": "--config /srv/rotate.conf --log-dir /srv/calm --ignore unseen",
        "WARNING": "--config /srv/rotate.conf --log-dir /srv/calm --ignore unseen"
        " --state-file /srv/rotated-but-where",
        "CRITICAL": "--config /srv/rotate.broken --log-dir /srv/logs",
        "UNKNOWN": "--config /srv/absent.conf",
    },
    "disk_growth": {
        "OK": "--include /srv/roomy --learning ok",
        "WARNING": "--include /srv/roomy --learning ok --require /srv/absent --missing warning",
        "CRITICAL": "--include /srv/full",
        "UNKNOWN": "--include /srv/absent --missing unknown",
    },
    "config_freshness": {
        "OK": "http://127.0.0.1:8099/good.json --checksum-url .sha256",
        "WARNING": "http://127.0.0.1:8099/good.json http://127.0.0.1:1/good.json"
        " --checksum-url .sha256",
        "CRITICAL": "http://127.0.0.1:8099/torn.json --checksum-url .sha256",
        "UNKNOWN": "--endpoints /srv/absent.yaml",
    },
    "monitor_liveness": {
        "OK": "--monitor daemon --heartbeat /srv/fresh-heartbeat --heartbeat-within 1d",
        "WARNING": "--monitor daemon --heartbeat /srv/fresh-heartbeat --heartbeat-within 1d"
        " --ping-url http://127.0.0.1:1/",
        "CRITICAL": "--monitor daemon --heartbeat /srv/stale-heartbeat",
        "UNKNOWN": "--monitor daemon --heartbeat /srv/secret-heartbeat",
    },
}

SERVICES = [
    Service(
        f"{check}-{state}",
        f"/opt/wrapper {check}-{state} {PLUGINS}/check_{check} -t 30s {options}",
    )
    for check, states in CASES.items()
    for state, options in states.items()
]
NAMES = [service.name for service in SERVICES]


def shell(lab: Lab, script: str, **options: object) -> str:
    done = lab.run(["sh", "-ec", script], **options)  # type: ignore[arg-type]
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@dataclass(frozen=True)
class Consumers:
    lab: Lab
    nagios: Nagios
    icinga: Icinga

    def printed(self, name: str) -> list[str]:
        """Everything that a service's check has printed until now."""
        return [file.read_text() for file in self.lab.path(RAW).glob(f"{name}.*")]


@pytest.fixture(scope="module")
def package(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("dpkg-buildpackage", "dh_python3")
    place = tmp_path_factory.mktemp("deb")
    done = subprocess.run(
        [str(ROOT / "contrib/packaging/build-deb"), str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return next(place.glob("*.deb"))


@pytest.fixture(scope="module")
def consumers(needs: Callable[..., None], package: Path) -> Iterator[Consumers]:
    needs(*PROGRAMS, "nagios4", "icinga2", "nrpe", "curl", "ip")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        loopback(lab)
        lab.write("/opt/wrapper", WRAPPER, 0o755)
        shell(
            lab,
            f"install -d -m 1777 {RAW}\ninstall -d /run/engine\ninstall -d -m 700 /run/secret",
        )
        lab.path("/tmp/twiceshy.deb").write_bytes(package.read_bytes())
        shell(lab, "apt-get install -y --no-install-recommends /tmp/twiceshy.deb", timeout=120)
        shell(lab, FILES)
        for name, words in UNITS.items():
            lab.unit(f"{name}.service", f"[Service]\n{words}\n")
        shell(lab, "systemctl daemon-reload; systemctl start steady flaps endpoint")
        engine = stack.enter_context(Engine(lab.path("/run/engine")))
        Path(engine.socket).chmod(0o666)
        engine.add("docker-20.10-running-steady", "steady", started=-86400)
        looping = engine.add("docker-20.10-restarting-instant-crash", "loop", started=-300)
        looping["RestartCount"] = 12
        stack.callback(engine.ended.set)
        nagios, icinga = Nagios(lab), Icinga(lab)
        nagios.start(SERVICES)
        icinga.start(SERVICES)
        yield Consumers(lab, nagios, icinga)


def as_expected(name: str, seen: dict[str, Understood]) -> bool:
    return name in seen and seen[name].state == STATES[name.rpartition("-")[2]]


def settled(consumers: Consumers, system: Nagios | Icinga, name: str) -> Understood:
    """What a system understood of a service once it is in its state; two looks may be needed."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        seen = system.understood()
        if as_expected(name, seen):
            return seen[name]
        time.sleep(1)
    raise AssertionError(f"{name}: {seen.get(name)}; printed {consumers.printed(name)[-1:]}")


def parts(printed: str) -> tuple[str, str, str]:
    """First line, long lines and perfdata of an output, as the plugin guidelines divide it."""
    words, _, perfdata = printed.rstrip("\n").partition("|")
    first, _, long_lines = words.partition("\n")
    return first.strip(), long_lines.strip(), perfdata.strip()


@pytest.mark.parametrize("name", NAMES)
def test_nagios_understands_every_byte(consumers: Consumers, name: str) -> None:
    seen = settled(consumers, consumers.nagios, name)
    arrived = (seen.output, seen.long_output.replace("\\\\", "\\"), seen.perfdata)
    # Nagios keeps its state in a file where ; has a meaning, and so shows : for it.
    printed = [
        (first.replace(";", ":"), rest, perfdata)
        for first, rest, perfdata in map(parts, consumers.printed(name))
    ]
    assert arrived in printed
    assert seen.output.startswith("{} {} - ".format(*name.upper().split("-")))


@pytest.mark.parametrize("name", NAMES)
def test_icinga_understands_every_byte(consumers: Consumers, name: str) -> None:
    seen = settled(consumers, consumers.icinga, name)
    printed = [parts(text) for text in consumers.printed(name)]
    assert (seen.output, seen.long_output, seen.perfdata) in printed


@pytest.mark.parametrize("check", list(CASES))
def test_perfdata_arrives_in_graphite_through_icinga(consumers: Consumers, check: str) -> None:
    """Icinga drops a whole result's perfdata when it cannot read a part of it."""
    for state in CASES[check]:
        name = f"{check}-{state}"
        seen = settled(consumers, consumers.icinga, name)
        labels = {item.partition("=")[0] for item in seen.perfdata.split()}
        prefix = f"icinga2.lab.services.{name}.run-{name}.perfdata."
        written: set[str] = set()
        for _ in range(60):
            written = {
                path[len(prefix) :].rpartition(".")[0]
                for path in consumers.icinga.written()
                if path.startswith(prefix) and path.endswith(".value")
            }
            if labels <= written:
                break
            time.sleep(1)
        assert labels <= written


def sensu_metrics(output: str) -> dict[str, float]:
    """What Sensu Go's nagios_perfdata reads, by its own rules (agent/transformers/nagios.go):

    exactly one `|`, items between blanks, cut at the first `;`, exactly one `=`, and of the value
    only digits, points and minus signs.
    """
    halves = output.split("|")
    if len(halves) != 2:
        return {}
    found = {}
    for item in halves[1].strip().split(" "):
        pair = item.strip().partition(";")[0].split("=")
        if len(pair) == 2:
            found[pair[0]] = float(re.sub(r"[^-\d.]", "", pair[1]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_sensu_and_the_perl_library_read_the_same_numbers(consumers: Consumers, name: str) -> None:
    settled(consumers, consumers.nagios, name)
    text = consumers.printed(name)[-1]
    ours = {label: float(value) for label, (value, _) in understood(text).perfdata.items()}
    assert sensu_metrics(text) == ours
    perl = consumers.lab.run(
        [
            "perl",
            "-MMonitoring::Plugin::Performance",
            "-e",
            "print map { $_->label . ' ' . $_->value . qq(\\n) } "
            "Monitoring::Plugin::Performance->parse_perfstring($ARGV[0])",
            parts(text)[2],
        ]
    )
    assert perl.returncode == 0, perl.stderr
    read = dict(line.split() for line in perl.stdout.splitlines())
    assert {label: float(value) for label, value in read.items()} == ours


def test_nrpe_brings_every_byte_even_in_its_old_small_packets(consumers: Consumers) -> None:
    lab = consumers.lab
    commands = "".join(f"command[{service.name}]={service.command}\n" for service in SERVICES)
    lab.write("/etc/nagios/nrpe.d/lab.cfg", commands)
    # systemd-tmpfiles makes it on a host that boots.
    shell(lab, "install -d -o nagios /run/nagios; systemctl restart nagios-nrpe-server")
    nrpe = [f"{PLUGINS}/check_nrpe", "-H", "127.0.0.1"]
    lab.wait_for(lambda: lab.run(nrpe).returncode == 0, "NRPE to listen")
    for name in NAMES:
        settled(consumers, consumers.nagios, name)
        for packets in ("-4", "-2"):
            before = set(consumers.printed(name))
            done = lab.run([*nrpe, packets, "-c", name])
            assert done.returncode == STATES[name.rpartition("-")[2]], done.stdout
            assert done.stdout in set(consumers.printed(name)), (packets, before)


def test_the_package_belongs_to_the_check_user_and_pleases_lintian(
    consumers: Consumers, package: Path, tmp_path: Path
) -> None:
    told = shell(consumers.lab, "stat -c '%U %a' /var/lib/twiceshy; ls /var/lib/twiceshy")
    assert told.startswith("nagios 700\n")
    assert "flapping.sqlite" in told
    judged = subprocess.run(
        ["lintian", "--fail-on", "error", "--allow-root", str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout

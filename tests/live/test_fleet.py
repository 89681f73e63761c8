"""The fleet: an Icinga 2 master and an agent on another host, which runs our checks.

Two labs stand for the two hosts, a veth pair for the cable between them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Callable

import pytest

from live.consumers import Icinga, loopback
from live.lab import PROGRAMS, Lab

pytestmark = pytest.mark.live

MASTER, AGENT = "10.99.0.1", "10.99.0.2"

FLAPS = """
[Service]
ExecStart=/bin/sh -c "sleep 2; exit 7"
Restart=always
RestartSec=500ms
StartLimitIntervalSec=0
"""

ZONES = """
object Endpoint "agent" { }
object Zone "agent" {
  endpoints = [ "agent" ]
  parent = "master"
}
"""

COMMAND = """
object CheckCommand "check_flapping" {
  command = [ "/usr/bin/python3", "/opt/twiceshy/check_flapping.py",
    "--include", "flaps", "--state-dir", "/var/lib/icinga2/twiceshy" ]
}
"""

SERVICE = """
object Host "agent" {
  check_command = "dummy"
}
object Service "flapping" {
  host_name = "agent"
  check_command = "check_flapping"
  command_endpoint = "agent"
  check_interval = 3s
  retry_interval = 3s
  max_check_attempts = 1
}
"""


@dataclass(frozen=True)
class Fleet:
    master: Lab
    agent: Lab
    icinga: Icinga

    def seen(self) -> dict[str, object]:
        """The agent's service as the master sees it; empty before its first result."""
        services = self.icinga.api("/v1/objects/services/agent!flapping").get("results", [])
        return dict(services[0]["attrs"]["last_check_result"] or {}) if services else {}


def shell(lab: Lab, script: str) -> str:
    done = lab.run(["sh", "-ec", script])
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def fleet(needs: Callable[..., None]) -> Iterator[Fleet]:
    needs(*PROGRAMS, "icinga2", "curl", "ip")
    with ExitStack() as labs:
        master, agent = labs.enter_context(Lab()), labs.enter_context(Lab())
        for lab, own, name, far in (
            (master, MASTER, "master", agent),
            (agent, AGENT, "agent", None),
        ):
            loopback(lab)
            if far is not None:
                cable = f"ip link add cable netns {lab.pid} type veth peer cable netns {far.pid}"
                subprocess.run(cable.split(), check=True)
            shell(
                lab,
                f"hostname {name}; ip address add {own}/24 dev cable; ip link set cable up",
            )
        icinga = Icinga(master)
        shell(
            master,
            "icinga2 node setup --master --cn master --listen 0.0.0.0,5665 --disable-confd",
        )
        with master.path("/etc/icinga2/zones.conf").open("a") as zones:
            zones.write(ZONES)
        # The agent must know the command, the master runs the schedule.
        master.write("/etc/icinga2/zones.d/global-templates/lab.conf", COMMAND)
        master.write("/etc/icinga2/zones.d/master/lab.conf", SERVICE)
        shell(master, "icinga2 daemon -C; systemctl start icinga2")
        ticket = shell(master, "icinga2 pki ticket --cn agent").strip()

        Icinga(agent)
        agent.install_checks()
        agent.unit("flaps.service", FLAPS)
        shell(
            agent,
            f"""
            systemctl daemon-reload
            systemctl start flaps
            certs=/var/lib/icinga2/certs
            rm -rf /var/lib/icinga2/ca $certs/*
            icinga2 pki new-cert --cn agent --key $certs/agent.key --cert $certs/agent.crt
            icinga2 pki save-cert --trustedcert $certs/master.crt --host {MASTER} --port 5665
            icinga2 node setup --cn agent --zone agent --endpoint master,{MASTER},5665 \
                --parent_zone master --parent_host {MASTER},5665 --ticket {ticket} \
                --trustedcert $certs/master.crt --accept-commands --accept-config --disable-confd
            chown -R nagios: $certs
            systemctl start icinga2
            """,
        )
        yield Fleet(master, agent, icinga)


def wait_for(fleet: Fleet, happened: Callable[[dict[str, object]], bool], what: str) -> None:
    fleet.master.wait_for(lambda: happened(fleet.seen()), what, 150)


def test_the_master_sees_what_the_agent_found_and_again_after_the_cable_was_pulled(
    fleet: Fleet,
) -> None:
    def is_found(result: dict[str, object]) -> bool:
        return str(result.get("output", "")).startswith("FLAPPING CRITICAL - flaps ")

    # In its first five minutes a master says UNKNOWN of no agent; that it has lost it, it knows.
    def is_cut_off(_: dict[str, object]) -> bool:
        (agent,) = fleet.icinga.api("/v1/objects/endpoints/agent")["results"]
        return not agent["attrs"]["connected"]

    wait_for(fleet, is_found, "the agent's CRITICAL to reach the master")
    result = fleet.seen()
    assert (result["check_source"], result["state"]) == ("agent", 2.0)
    perfdata = result["performance_data"]
    assert isinstance(perfdata, list)
    assert perfdata
    assert "journalctl -u flaps" in str(result["output"])

    shell(fleet.master, "ip link set cable down")
    wait_for(fleet, is_cut_off, "the master to notice that the agent is cut off")

    shell(fleet.master, "ip link set cable up")
    mended = time.time()
    wait_for(
        fleet,
        lambda result: is_found(result) and float(str(result["execution_start"])) > mended,
        "the agent's CRITICAL to reach the master again",
    )

"""Real Nagios 4 and Icinga 2 in the lab, given services, asked what they understood."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from live.lab import Lab

GRAPHITE = r"""
import socket
server = socket.create_server(("127.0.0.1", 2003))
while True:
    connection, _ = server.accept()
    while True:
        piece = connection.recv(65536)
        if not piece:
            break
        with open("/var/log/graphite", "ab") as lines:
            lines.write(piece)
"""


@dataclass(frozen=True)
class Service:
    """One check as a monitoring system runs it: a name, and the command line with its options."""

    name: str
    command: str


@dataclass(frozen=True)
class Understood:
    """What arrived: state, first line, long lines and perfdata, as the system has them."""

    state: int
    output: str
    long_output: str
    perfdata: str


def loopback(lab: Lab) -> None:
    """The lab's network namespace begins with nothing up."""
    done = lab.run(["ip", "link", "set", "lo", "up"])
    assert done.returncode == 0, done.stderr


class Nagios:
    """nagios4 from its Debian package, as its own user, with our services only."""

    STATUS = "/var/lib/nagios4/status.dat"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def start(self, services: list[Service], more: str = "") -> None:
        objects = [
            more,
            "define host {\n host_name lab\n address 127.0.0.1\n check_command check-lab\n"
            " max_check_attempts 1\n check_interval 60\n contacts nobody\n"
            " active_checks_enabled 0\n}",
            "define command {\n command_name check-lab\n command_line /bin/true\n}",
            "define contact {\n contact_name nobody\n host_notifications_enabled 0\n"
            " service_notifications_enabled 0\n host_notification_commands check-lab\n"
            " service_notification_commands check-lab\n}",
        ]
        for service in services:
            # In nagios.cfg's language ; begins a comment, ! separates arguments and $ a macro.
            command = service.command.replace("$", "$$").replace(";", "\\;")
            objects += [
                f"define command {{\n command_name run-{service.name}\n command_line {command}\n}}",
                f"define service {{\n host_name lab\n service_description {service.name}\n"
                f" check_command run-{service.name}\n max_check_attempts 1\n check_interval 5\n"
                " retry_interval 5\n contacts nobody\n}",
            ]
        self.lab.write("/etc/nagios4/lab.cfg", "\n".join(objects))
        original = self.lab.path("/etc/nagios4/nagios.cfg").read_text()
        kept = [
            line for line in original.splitlines() if not line.startswith(("cfg_", "status_up"))
        ]
        settings = {"interval_length": "1", "max_service_check_spread": "1"}
        for key, value in settings.items():
            kept = [re.sub(rf"^{key}=.*", f"{key}={value}", line) for line in kept]
        kept += ["cfg_file=/etc/nagios4/lab.cfg", "status_update_interval=1"]
        self.lab.write("/etc/nagios4/nagios.cfg", "\n".join(kept) + "\n")
        checked = self.lab.run(["nagios4", "-v", "/etc/nagios4/nagios.cfg"])
        assert checked.returncode == 0, checked.stdout[-3000:]
        done = self.lab.run(["systemctl", "start", "nagios4"])
        assert done.returncode == 0, done.stderr

    def understood(self) -> dict[str, Understood]:
        """Every service that has been checked, from status.dat."""
        path = self.lab.path(self.STATUS)
        if not path.exists():
            return {}
        found = {}
        for block in re.findall(r"^servicestatus \{\n(.*?)^\t\}", path.read_text(), re.M | re.S):
            fields = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
            if fields["has_been_checked"] == "1":
                found[fields["service_description"]] = Understood(
                    int(fields["current_state"]),
                    fields["plugin_output"],
                    fields["long_plugin_output"].replace("\\n", "\n").strip(),
                    fields["performance_data"],
                )
        return found


class Icinga:
    """icinga2 from its Debian package, as its own user, with its API and its Graphite writer."""

    CONF = "/etc/icinga2/conf.d"
    WRITTEN = "/var/log/graphite"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Icinga renames files in place, which an overlay refuses for those of its lower layer.
        for directory in ("/etc/icinga2", "/var/lib/icinga2"):
            copy = f"/run/lab{directory}"
            script = (
                f"mkdir -p {copy} && cp -a {directory}/. {copy} && mount --bind {copy} {directory}"
            )
            done = lab.run(["sh", "-c", script])
            assert done.returncode == 0, done.stderr
        done = lab.run(["icinga2", "api", "setup", "--cn", "lab"])
        assert done.returncode == 0, done.stdout + done.stderr

    def configure(self, services: list[Service], more: str = "") -> None:
        for name in ("hosts", "services", "downtimes", "notifications", "groups", "users"):
            self.lab.path(f"{self.CONF}/{name}.conf").unlink(missing_ok=True)
        objects = [
            more,
            'object Host "lab" {\n  check_command = "dummy"\n  address = "127.0.0.1"\n}',
        ]
        for service in services:
            objects += [
                f"object CheckCommand {json.dumps('run-' + service.name)} {{\n"
                f'  command = [ "/bin/sh", "-c", {json.dumps(service.command)} ]\n}}',
                f"object Service {json.dumps(service.name)} {{\n"
                f'  host_name = "lab"\n  check_command = {json.dumps("run-" + service.name)}\n'
                "  check_interval = 5s\n  retry_interval = 5s\n  max_check_attempts = 1\n}",
            ]
        self.lab.write(f"{self.CONF}/lab.conf", "\n".join(objects))
        self.lab.write(
            "/etc/icinga2/features-enabled/graphite.conf",
            'object GraphiteWriter "graphite" {\n  host = "127.0.0.1"\n  port = 2003\n'
            "  enable_send_thresholds = true\n}\n",
        )
        checked = self.lab.run(["icinga2", "daemon", "-C"])
        assert checked.returncode == 0, checked.stdout[-3000:]

    def start(self, services: list[Service], more: str = "") -> None:
        self.configure(services, more)
        done = self.lab.run(["systemd-run", "--unit=graphite", "/usr/bin/python3", "-c", GRAPHITE])
        assert done.returncode == 0, done.stderr
        done = self.lab.run(["systemctl", "start", "icinga2"])
        assert done.returncode == 0, self.lab.run(["journalctl", "-u", "icinga2"]).stdout[-3000:]

    def api(self, path: str) -> Any:
        users = self.lab.path(f"{self.CONF}/api-users.conf").read_text()
        password = re.search(r'password = "(.*)"', users)
        assert password
        done = self.lab.run(
            ["curl", "-sk", "-u", f"root:{password[1]}", f"https://127.0.0.1:5665{path}"]
        )
        return json.loads(done.stdout or '{"results": []}')

    def understood(self) -> dict[str, Understood]:
        """Every service that has been checked, from the API."""
        found = {}
        for service in self.api("/v1/objects/services").get("results", []):
            result = service["attrs"]["last_check_result"]
            if result:
                first, _, rest = result["output"].partition("\n")
                found[service["attrs"]["name"]] = Understood(
                    int(result["exit_status"]),
                    first.strip(),  # it keeps the blank before the |
                    rest.strip(),
                    " ".join(
                        item if isinstance(item, str) else item["label"]
                        for item in result["performance_data"]
                    ),
                )
        return found

    def written(self) -> dict[str, float]:
        """Metric paths and values that the Graphite writer has sent."""
        path = self.lab.path(self.WRITTEN)
        lines = path.read_text().splitlines() if path.exists() else []
        return {line.split()[0]: float(line.split()[1]) for line in lines if len(line.split()) == 3}

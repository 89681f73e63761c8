"""Definitions: one declaration of a check in, what each consumer reads out."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from types import ModuleType

import pytest
import yaml

from conftest import CHECKS, ROOT
from twiceshy.command import define as definitions
from twiceshy.command import roster
from twiceshy.command.define.place import Place
from twiceshy.kit import declaration
from twiceshy.kit import options as opt
from twiceshy.kit.declaration import Declaration, Option

PLACE = Place(host="web1", twiceshy="/usr/bin/twiceshy")


def hens() -> ModuleType:
    """A check module as a package of somebody else might have it."""
    module = ModuleType("check_hens")
    module.__doc__ = 'Are 100% of the "hens" in; the fox\'s too?\n\nThey should be.\n'

    def options() -> argparse.ArgumentParser:
        made = opt.parser("hens", module.__doc__)
        made.add_argument("yards", nargs="*", metavar="YARD", help="where to look")
        opt.add_limits(made, warning="2", critical="$5", what="foxes")  # never parsed here
        opt.add_selectors(made, "hens")
        made.add_argument("--count-eggs", action="store_true", help="100%% of the eggs")
        made.add_argument("--breed", choices=["red", "white"], default="red", help="breed")
        return made

    module.options = options  # type: ignore[attr-defined]
    module.EVERY = "5m"  # type: ignore[attr-defined]
    return module


def declared(program: str = "") -> Declaration:
    return declaration.declared("hens", hens(), program)


def option(name: str) -> Option:
    return next(one for one in declared().options if one.name == name)


def test_a_declaration_is_read_off_the_parser() -> None:
    assert option("warning") == Option(
        flags=("-w", "--warning"),
        name="warning",
        placeholder="RANGE",
        help="WARNING when foxes is outside this range (default: 2)",
        default="2",
        group="limits",
        repeatable=False,
        required=False,
        counts=False,
        choices=(),
    )
    assert option("include").repeatable
    assert (option("count_eggs").placeholder, option("count_eggs").help) == ("", "100% of the eggs")
    assert option("verbose").counts
    assert option("breed").choices == ("red", "white")
    assert (option("yards").flags, option("yards").repeatable) == ((), True)
    assert declared().every_seconds == 300
    assert "help" not in {one.name for one in declared().settings}


def only(consumer: str, *checks: Declaration) -> str:
    (text,) = definitions.writer(consumer)(checks or (declared(),), PLACE).values()
    return text


def test_nagios_gets_a_command_and_a_service() -> None:
    text = only("nagios")
    assert re.findall(r"command_line +(.*)", text) == ["$USER1$/check_hens $ARG1$"]
    assert re.findall(r"(?m)^    host_name +(.*)", text) == ["web1"]
    assert re.findall(r"check_interval +(.*)", text) == ["5"]
    # A semicolon begins a comment in an object definition.
    objects = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any(";" in line for line in objects)


def test_a_check_in_the_plugin_directory_is_called_by_nagios_macro() -> None:
    assert "$USER1$/check_hens" in only("nagios", declared("/usr/lib/nagios/plugins/check_hens"))
    assert " /opt/hens/check_hens " in only("nagios", declared("/opt/hens/check_hens"))


def test_icinga_gets_every_option_as_a_custom_variable() -> None:
    text = only("icinga2")
    keys = re.findall(r'(?m)^    "([^"]+)" = \{', text)
    assert sorted(keys) == sorted(
        one.long if one.flags else "(YARD)" for one in declared().settings
    )
    assert 'value = "$hens_warning$"' in text
    assert 'set_if = "$hens_count_eggs$"' in text
    assert text.count("repeat_key = true") == 2
    assert 'command = [ PluginContribDir + "/check_hens" ]' in text
    assert r"Are 100% of the \"hens\" in" in text


def test_sensu_gets_check_configs_that_are_yaml() -> None:
    documents = [one for one in yaml.safe_load_all(only("sensu")) if one]
    assert [(one["type"], one["api_version"]) for one in documents] == [("CheckConfig", "core/v2")]
    assert documents[0]["spec"] == {
        "command": "check_hens",
        "interval": 300,
        "timeout": 30,
        "publish": True,
        "subscriptions": ["entity:web1"],
        "output_metric_format": "nagios_perfdata",
        "output_metric_handlers": [],
        "handlers": [],
    }
    assert documents[0]["metadata"]["annotations"]["question"] == declared().question


def test_classic_sensu_gets_json() -> None:
    check = json.loads(only("sensu-classic"))["checks"]["check_hens"]
    assert (check["command"], check["interval"]) == ("/usr/lib/nagios/plugins/check_hens", 300)


def test_nrpe_gets_commands_without_arguments_from_the_network() -> None:
    assert "\ncommand[check_hens]=/usr/lib/nagios/plugins/check_hens\n" in only("nrpe")
    assert "$ARG" not in only("nrpe")


def test_checkmk_gets_mrpe_lines() -> None:
    lines = [line for line in only("checkmk").splitlines() if line and line[0] != "#"]
    assert lines == ["hens (interval=300) /usr/lib/nagios/plugins/check_hens"]


def test_zabbix_gets_a_parameter_and_a_template_that_reads_it() -> None:
    files = definitions.writer("zabbix")([declared()], PLACE)
    parameters = files["zabbix_agentd.d/twiceshy.conf"]
    assert "\nUserParameter=twiceshy.hens,/usr/bin/twiceshy --json --timeout 10s hens" in parameters
    template = yaml.safe_load(files["template_twiceshy.yaml"])["zabbix_export"]["templates"][0]
    assert [item["key"] for item in template["items"]] == [
        "twiceshy.hens",
        "twiceshy.hens.status",
        "twiceshy.hens.text",
    ]
    assert len(template["items"][1]["triggers"]) == 3
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}a[0-9a-f]{15}", template["uuid"])


def test_prometheus_gets_a_timer_and_rules() -> None:
    files = definitions.writer("prometheus")([declared()], PLACE)
    rules = yaml.safe_load(files["rules/twiceshy.yml"])["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules] == [
        "HensCritical",
        "HensWarning",
        "HensUnknown",
        "TwiceshyRoundsAreNotMade",
    ]
    assert rules[0]["expr"] == 'twiceshy_check_status{check="hens"} == 2'
    assert "metrics --write" in files["systemd/twiceshy-metrics.service"]


def test_systemd_gets_a_timer_a_check_and_mail_that_is_held_back() -> None:
    files = definitions.writer("systemd")([declared()], PLACE)
    assert sorted(files) == [
        "install.sh",
        "twiceshy-hens.service",
        "twiceshy-hens.timer",
        "twiceshy-mail@.service",
    ]
    assert "Description=Are 100%% of the" in files["twiceshy-hens.service"]
    assert "StartLimitBurst=1" in files["twiceshy-mail@.service"]


def test_cron_mails_news_only() -> None:
    assert "*/5 * * * * root /usr/bin/twiceshy --news hens 2>&1\n" in only("cron")
    assert "MAILTO=root" in only("cron")


@pytest.mark.parametrize("consumer", sorted(definitions.CONSUMERS))
def test_definitions_are_pure_and_the_same_every_time(consumer: str) -> None:
    checks = [declared()]
    first = definitions.written(consumer, checks, PLACE)
    assert first == definitions.written(consumer, checks, PLACE)
    assert first.endswith("\n")
    assert "hens" in first


@pytest.mark.parametrize("consumer", sorted(definitions.CONSUMERS))
def test_every_check_is_defined_for_every_consumer(consumer: str) -> None:
    names = {check.stem[len("check_") :] for check in CHECKS}
    checks, _ = roster.declare([entry for entry in roster.found() if entry.name in names])
    if checks:
        text = definitions.written(consumer, checks, PLACE)
        assert {name for name in names if name in text or name.replace("_", "-") in text} == names


def test_define_is_a_command(tmp_path: object) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "twiceshy", "define", "nosuch"],
        env={"PYTHONPATH": str(ROOT / "checks")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "invalid choice" in ran.stderr

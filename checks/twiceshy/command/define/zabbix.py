"""Zabbix: a UserParameter per check, and a template whose dependent items read it.

An agent drops the exit status of a UserParameter, and a check that ran once for its state and again
for its text would write its history twice. So the parameter is the rounds of one check, as JSON,
and state and text are dependent items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """The agent's part, and the template (YAML export, Zabbix 6.0 and later)."""
    return {
        "zabbix_agentd.d/twiceshy.conf": _parameters(checks, place),
        "template_twiceshy.yaml": _template(checks),
    }


def _parameters(checks: Sequence[Declaration], place: Place) -> str:
    lines = [
        "# Written by `twiceshy define zabbix`. The agent's own Timeout (3s) must be longer than",
        "# a check takes: Timeout=15 in zabbix_agentd.conf.",
    ]
    for check in checks:
        lines.append(f"# {check.command}: {check.question}")
        lines.append(
            f"UserParameter=twiceshy.{check.name},"
            f"{place.twiceshy} --json --timeout 10s {check.name} 2>/dev/null || true"
        )
    return "\n".join(lines) + "\n"


def _template(checks: Sequence[Declaration]) -> str:
    lines = [
        "zabbix_export:",
        "  version: '6.0'",
        "  groups:",
        f"    - uuid: {_uuid('group')}",
        "      name: Templates/twiceshy",
        "  templates:",
        f"    - uuid: {_uuid('template')}",
        "      template: twiceshy",
        "      name: twiceshy",
        "      groups:",
        "        - name: Templates/twiceshy",
        "      items:",
    ]
    for check in checks:
        lines += [
            f"        - uuid: {_uuid(check.name)}",
            f"          name: {json.dumps(f'{check.name}: full output')}",
            f"          key: twiceshy.{check.name}",
            f"          delay: {check.every_seconds}s",
            "          value_type: TEXT",
            "          trends: '0'",
            "          history: 1d",
        ]
        for part, kind in (("status", "UNSIGNED"), ("text", "TEXT")):
            lines += [
                f"        - uuid: {_uuid(check.name + part)}",
                f"          name: {json.dumps(f'{check.name}: {part}')}",
                "          type: DEPENDENT",
                f"          key: twiceshy.{check.name}.{part}",
                "          delay: '0'",
                f"          value_type: {kind}",
                *(["          trends: '0'"] if kind == "TEXT" else []),
                "          preprocessing:",
                "            - type: JSONPATH",
                "              parameters:",
                f"                - $.checks[0].{part}",
                "          master_item:",
                f"            key: twiceshy.{check.name}",
            ]
            if part == "status":
                lines.append("          triggers:")
                for number, state, priority in (
                    (1, "WARNING", "WARNING"),
                    (2, "CRITICAL", "HIGH"),
                    (3, "UNKNOWN", "INFO"),
                ):
                    expression = f"last(/twiceshy/twiceshy.{check.name}.status)={number}"
                    lines += [
                        f"            - uuid: {_uuid(check.name + state)}",
                        f"              expression: {json.dumps(expression)}",
                        f"              name: {json.dumps(f'{check.name} is {state}')}",
                        f"              priority: {priority}",
                    ]
    return "\n".join(lines) + "\n"


def _uuid(name: str) -> str:
    """Stable, so that a second import updates instead of doubling (RFC 4122 version 4 in form)."""
    digits = hashlib.sha256(f"twiceshy/{name}".encode()).hexdigest()[:32]
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"

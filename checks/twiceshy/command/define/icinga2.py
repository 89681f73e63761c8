"""Icinga 2: a CheckCommand per check in the style of its template library, and apply rules.

Every option is a custom variable `<check>_<option>`; what is not set is left to the check. The
rules apply to this host, and to every host with `vars.twiceshy = [ "flapping", ... ]`; with
`vars.agent_endpoint` the check runs on that agent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration, Option

PLUGIN_DIR = "PluginContribDir"
TEMPLATE = """template Service "twiceshy-service" {
  max_check_attempts = 2
  retry_interval = 30s
  if (host.vars.agent_endpoint) {
    command_endpoint = host.vars.agent_endpoint
  }
}
"""


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy.conf, for conf.d or a global zone."""
    parts = ["// Written by `twiceshy define icinga2`.\n", TEMPLATE]
    for check in checks:
        parts.append(command(check, place))
        parts.append(rule(check, place))
    return {"twiceshy.conf": "\n".join(parts)}


def command(check: Declaration, place: Place) -> str:
    """The CheckCommand of a check, with all its options."""
    if place.plugin_dir and not place.plugin_dir.startswith("/"):
        path = f'{place.plugin_dir} + "/{check.command}"'  # a constant of Icinga's
    elif place.plugin_dir or check.program:
        path = _string(place.path(check, ""))
    else:
        path = f'{PLUGIN_DIR} + "/{check.command}"'
    lines = [
        f"// {check.question}",
        f"object CheckCommand {_string(check.name)} {{",
        f"  command = [ {path} ]",
        "",
        "  arguments = {",
    ]
    for option in check.settings:
        lines += _argument(check, option)
    lines += ["  }", "", "  timeout = 1m", "}", ""]
    return "\n".join(lines)


def rule(check: Declaration, place: Place) -> str:
    """The apply rule of a check."""
    name = _string(check.name)
    return "\n".join(
        [
            f"apply Service {name} {{",
            '  import "twiceshy-service"',
            f"  check_command = {name}",
            f"  check_interval = {check.every_seconds}s",
            f"  notes = {_string(check.question)}",
            *([f"  notes_url = {_string(check.url)}"] if check.url else []),
            "",
            f"  assign where host.name == {_string(place.host)} || {name} in host.vars.twiceshy",
            "}",
            "",
        ]
    )


def _argument(check: Declaration, option: Option) -> list[str]:
    variable = f"{check.name}_{option.name}"
    key = option.long if option.flags else f"({option.placeholder})"
    lines = [f"    {_string(key)} = {{"]
    if option.placeholder:
        lines.append(f'      value = "${variable}$"')
    else:
        lines.append(f'      set_if = "${variable}$"')
    if option.repeatable and option.flags:
        lines.append("      repeat_key = true")
    if not option.flags:
        # Positional arguments come last and without a name.
        lines += ["      skip_key = true", "      order = 99"]
        if option.repeatable:
            lines.append("      repeat_key = false")
    if option.required:
        lines.append("      required = true")
    lines += [f"      description = {_string(option.help)}", "    }"]
    return lines


def _string(text: str) -> str:
    """A string literal; Icinga's escapes are JSON's, and `$` begins a macro unless doubled."""
    return json.dumps(text, ensure_ascii=False)

"""Nagios Core and Naemon: a command and a service per check (as in their objectdefinitions).

`$ARG1$` holds options, which are all optional. The template inherits from `generic-service`, which
the sample configuration of every distribution has.
"""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.command.define.place import Place, comment, minutes
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy.cfg, for a cfg_dir."""
    parts = [
        "# Written by `twiceshy define nagios`.\n"
        "# Options go behind the `!` of check_command; quote what has blanks: !--include 'web *'\n",
        _object(
            "service",
            [
                ("name", "twiceshy-service"),
                ("use", "generic-service"),
                ("register", "0"),
                ("max_check_attempts", "2"),
                ("retry_interval", "1"),
            ],
        ),
    ]
    for check in checks:
        path = place.path(check, "$USER1$")
        # The plugin directory is $USER1$ in every resource.cfg; other places stay as they are.
        path = path.replace("/usr/lib/nagios/plugins/", "$USER1$/")
        parts.append("\n".join(comment(check)) + "\n")
        parts.append(
            _object(
                "command",
                [("command_name", check.command), ("command_line", f"{path} $ARG1$")],
            )
        )
        parts.append(
            _object(
                "service",
                [
                    ("use", "twiceshy-service"),
                    ("host_name", place.host),
                    ("service_description", check.name),
                    ("check_command", f"{check.command}!"),
                    ("check_interval", str(minutes(check))),
                    ("notes", check.question.replace(";", ",")),
                    *([("notes_url", check.url)] if check.url else []),
                ],
            )
        )
    return {"twiceshy.cfg": "\n".join(parts)}


def _object(kind: str, directives: list[tuple[str, str]]) -> str:
    lines = [f"    {name:22}{value}".rstrip() for name, value in directives]
    return "\n".join([f"define {kind} {{", *lines, "}", ""])

"""NRPE: one command per check.

Without arguments from the network: `dont_blame_nrpe` stays 0, and options are set here.
"""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.command.define.place import Place, comment
from twiceshy.kit.declaration import Declaration


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """twiceshy.cfg, for /etc/nagios/nrpe.d."""
    parts = ["# Written by `twiceshy define nrpe`. On the server: check_nrpe -H HOST -c CHECK\n"]
    for check in checks:
        path = place.path(check, "/usr/lib/nagios/plugins")
        parts.append("\n".join([*comment(check), f"command[{check.command}]={path}", ""]))
    return {"twiceshy.cfg": "\n".join(parts)}

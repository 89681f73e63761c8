"""systemd: a timer per check, and mail when one fails; for hosts without any monitoring.

A red check is a failed unit: it shows in `systemctl --failed`. StartLimit in the mail unit holds
the mails to one per check in six hours, or a red night would fill the mailbox.
"""

from __future__ import annotations

from collections.abc import Sequence

from twiceshy.command.define.place import Place
from twiceshy.kit.declaration import Declaration

MAIL = """[Unit]
Description=Mail about the failure of %i
# At most one mail per check in six hours.
StartLimitIntervalSec=6h
StartLimitBurst=1

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'journalctl --no-hostname -o cat -n 15 -u %i | mail -s "%i on %H" {mail}'
"""


def files(checks: Sequence[Declaration], place: Place) -> dict[str, str]:
    """Units for /etc/systemd/system."""
    made = {}
    for check in checks:
        path = place.path(check, "/usr/lib/nagios/plugins")
        made[f"{_unit(check)}.service"] = f"""# Written by `twiceshy define systemd`.
[Unit]
Description={check.question.replace("%", "%%")}
OnFailure=twiceshy-mail@%n.service

[Service]
Type=oneshot
ExecStart={path}
# As root, with a history of its own: /var/lib/twiceshy belongs to the monitoring system's user.
# With User={place.user} whatever that user cannot read becomes UNKNOWN.
StateDirectory=twiceshy-root
StateDirectoryMode=0700
Environment=TWICESHY_STATE_DIR=/var/lib/twiceshy-root
NoNewPrivileges=yes
"""
        made[f"{_unit(check)}.timer"] = f"""[Unit]
Description={check.command} every {check.every_seconds}s

[Timer]
OnBootSec=2min
OnUnitInactiveSec={check.every_seconds}s
AccuracySec=5s

[Install]
WantedBy=timers.target
"""
    made["twiceshy-mail@.service"] = MAIL.format(mail=place.mail)
    timers = " ".join(f"{_unit(check)}.timer" for check in checks)
    made["install.sh"] = (
        "#!/bin/sh\n# Written by `twiceshy define systemd --into DIR`; run it as root.\n"
        'set -e\ncd "$(dirname "$0")"\n'
        "cp ./*.service ./*.timer /etc/systemd/system/\nsystemctl daemon-reload\n"
        f"systemctl enable --now {timers}\n"
    )
    return made


def _unit(check: Declaration) -> str:
    return f"twiceshy-{check.name.replace('_', '-')}"

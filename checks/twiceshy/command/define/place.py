"""Where definitions are for, and how a check is called there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from twiceshy.kit.declaration import Declaration, Option


@dataclass(frozen=True)
class Place:
    """A host, where its plugins are ("" for where they were found), and who runs them."""

    host: str = "localhost"
    plugin_dir: str = ""
    user: str = "nagios"
    mail: str = "root"
    twiceshy: str = "/usr/bin/twiceshy"

    def path(self, check: Declaration, default: str) -> str:
        """The path of a check: in `plugin_dir`, else where it was found, else in `default`."""
        if self.plugin_dir:
            return f"{self.plugin_dir}/{check.command}"
        return check.program or f"{default}/{check.command}"


def comment(check: Declaration, mark: str = "#") -> list[str]:
    """What the check asks, and every option it takes, as comment lines."""
    lines = [f"{mark} {check.question}"]
    lines += [f"{mark}   {typed(option):34} {option.help}" for option in check.settings]
    return lines


def typed(option: Option) -> str:
    """An option as one types it: `--warning RANGE`."""
    return f"{option.long} {option.placeholder}".strip() if option.flags else option.placeholder


def minutes(check: Declaration) -> int:
    """How often to run it, in whole minutes."""
    return max(1, round(check.every_seconds / 60))

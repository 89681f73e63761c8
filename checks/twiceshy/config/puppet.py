"""Puppet's own account of its last run: last_run_summary.yaml and the lock that disables it.

The summary is two levels of `key: value` as Psych writes them (puppet 5 to 8 looked at), which
needs no YAML library. A catalog that does not compile leaves only `version` and `time.last_run`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


class NotASummary(ValueError):
    """The file is not a last_run_summary."""


@dataclass(frozen=True)
class Summary:
    last_run: float  # wall clock
    config: str  # version.config: what the catalog was compiled from
    failed: int  # resources, restarts and events together
    has_resources: bool  # False: there was no catalog
    out_of_sync: int
    changed: int


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def summary(text: str) -> Summary:
    """last_run_summary.yaml; NotASummary."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"( *)([A-Za-z_0-9:]+|\"[^\"]*\"|'[^']*'):(?: +(.*))?$", line)
        if not match:
            continue
        key, value = match[2].strip("\"'"), (match[3] or "").strip().strip("\"'")
        if not match[1]:
            section = sections.setdefault(key, {})
        else:
            section[key] = value
    last_run = _number(sections.get("time", {}).get("last_run", ""))
    if not last_run:
        raise NotASummary("it has no time.last_run")
    resources, events = sections.get("resources", {}), sections.get("events", {})
    failed = sum(int(_number(resources.get(key, ""))) for key in ("failed", "failed_to_restart"))
    return Summary(
        last_run,
        sections.get("version", {}).get("config", ""),
        max(failed, int(_number(events.get("failure", "")))),
        "total" in resources,
        int(_number(resources.get("out_of_sync", ""))),
        int(_number(resources.get("changed", ""))),
    )


def reason(text: str) -> str:
    """Why `puppet agent --disable REASON` was typed; "" when the lock does not say."""
    try:
        lock = json.loads(text)
    except ValueError:
        return ""
    return str(lock.get("disabled_message") or "") if isinstance(lock, dict) else ""

#!/usr/bin/env python3
"""Is every endpoint serving the configuration we think it is, and has everyone loaded it?

Applications read their configuration, and a checksum of it, from redundant web services. This check
reads it as they do, from every endpoint, and compares: the answer with its checksum, the endpoints
with each other, this run with earlier runs, what the applications report with what is published,
and the files on this host with a manifest. Faults have the names that TUF gives them:
freeze, rollback, mix-and-match, endless data, slow retrieval. Endpoints that serve one
configuration are redundant; to judge several configurations in one run, name the endpoints
billing/a, billing/b, search/a, search/b.

Learned from: "Unable to Access HB", the post-mortem of a service-desk vendor (serving ETags made
  the checksum of the configuration unavailable on both of two redundant web services, and every
  instance fell over; the remedy was eight hours of grace), and "Day in our DevOps lives", Cameron
  Laird (a Puppet script skewed the privileges of half the workers, which looked like reboots, and
  jobs stood still for six hours).
Reads: the endpoints and the applications' own endpoints by HTTP GET; files named by --applied and
  --manifest, directories that the manifest lists, Puppet's last_run_summary.yaml (0640 root: the
  check's user needs its group, or `chmod 644`). Asking over HTTP needs python3-requests (or
  `pip install 'twiceshy[config]'`).
Remembers: per endpoint which versions (hash, ETag, version field) it has served, since when, and
  which checksum data it had; when each version was published on all endpoints; when an application
  last ran it. Losing that restarts the grace, with a remark. What no run has asked about for 90
  days is forgotten.
Says:
  OK        all endpoints serve the same configuration, complete and matching its checksum, and
            every application has loaded it
  OK        endpoints have differed for less than --sync-grace, as they do in a rolling deploy
  WARNING   one of several endpoints cannot be read (--one-down), or lost its checksum data
  WARNING   an application has been behind for half of its grace, or does not report what it runs
  WARNING   an application runs a configuration that was never published
  WARNING   the same node answers for two endpoints; slow (-w); stale in a cache; changes too often
            or back and forth; unchanged for longer than --expect-change; Puppet is disabled or has
            not run
  CRITICAL  no endpoint can be read, or checksum data is missing from all
  CRITICAL  an endpoint serves, twice in a row, something that is not configuration or that
            does not match its checksum
  CRITICAL  endpoints have differed for longer than --sync-grace: which one is stale, and how stale
  CRITICAL  rollback of --version-key; older than --max-age; 304 although the content differs
  CRITICAL  an application has been behind for all of its grace; files differ from the manifest
  CRITICAL  Puppet's last run failed
  UNKNOWN   no permission to ask, no Last-Modified to judge by, a file that cannot be read, or a
            host too busy to ask anything
Measures:
  endpoints_readable  -  endpoints that served configuration
  endpoints_troubled  -  endpoints that did not
  applied_behind      -  applications that do not run what is published, or do not report
  NAME_time           s  response time of an endpoint, until its body was complete
  NAME_size           B  size of its configuration
  NAME_age            s  its Date minus its Last-Modified
  NAME_change         s  time since it last served something else
  NAME_lag            s  how long an application has been behind what is published
  files_KIND          -  files that differ from the manifest: hash, mode, owner, group, type, link,
                         size, missing, extra, unreadable
  puppet_age          s  time since Puppet's last run
  puppet_failed       -  failures in it
Examples:
  check_config_freshness https://conf1/app.json https://conf2/app.json --checksum-url .sha256
  check_config_freshness --endpoint a=https://conf1/app.yaml --endpoint b=https://conf2/app.yaml \\
      --parse yaml --version-key release --applied web=http://web:8080/info#config.release
  check_config_freshness --each-address https://conf.example.org/app.json --checksum header
  check_config_freshness --endpoints /etc/twiceshy/config-endpoints.yaml --grace 8h
  check_config_freshness --manifest https://conf1/etc-app.mtree --root /etc/app --puppet
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from twiceshy.config_freshness import documents, inputs, observation
from twiceshy.config_freshness import settings as typed
from twiceshy.config_freshness.digests import pinned
from twiceshy.config_freshness.history import ConfigHistory
from twiceshy.config_freshness.judgement import judge
from twiceshy.config_freshness.report import report
from twiceshy.config_freshness.settings import GRACE_SECONDS, Graces, Settings, settings_of
from twiceshy.kit import deadline
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.history import now as this_instant
from twiceshy.kit.plugin import guarded, require
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.units import duration
from twiceshy.kit.verdict import Report

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill


def run(settings: Settings, now: Callable[[], Stamp]) -> Report:
    """One run: what is asked, what came of it, what it means, what to remember, how it reads."""
    policy = inputs.policy(settings.requests)
    subjects = inputs.subjects(settings)
    if observation.urls(settings, subjects):
        with deadline.doing("loading requests"):
            require("requests", "python3-requests")
    budget = observation.budget_of(settings.timeout)
    if settings.subjects.each_address:
        subjects = observation.by_address(subjects, budget)
    state_dir = Path(settings.state_dir) if settings.state_dir else None
    with History.open("config_freshness", state_dir) as history:
        at = now()
        config_history = ConfigHistory(history, at)
        past = config_history.past(subjects)
        seen = observation.observe(settings, subjects, policy, past, budget, at.wall)
        judgement = judge(settings, subjects, seen, past)
        config_history.record(judgement, past)
        unsaved = history.save()
        made = report(settings, subjects, seen, past, judgement)
        restarted = [f"{history.remark}; all grace periods start over"] if history.remark else []
        return replace(
            made,
            findings=[*made.findings, *([unsaved] if unsaved else [])],
            remarks=[*restarted, *made.remarks],
        )


EVERY = "1m"


def applies() -> str:
    """Why there is nothing to check on this host: endpoints have no defaults."""
    return "no endpoint is configured; give URLs, --endpoints, --manifest or --puppet"


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = opt.parser("config_freshness", __doc__)
    made.add_argument(
        "urls", nargs="*", type=opt.argument(typed.public_url), metavar="URL",
        help="endpoints of one configuration, named after their hosts",
    )  # fmt: skip
    _add_endpoints(made)
    _add_content(made)
    _add_checksums(made)
    _add_freshness(made)
    _add_applications(made)
    _add_files(made)
    _add_requests(made)
    opt.add_limits(
        made, warning="5s", critical=None, unit=duration, what="an endpoint's response time"
    )
    opt.add_state_dir(made)
    return made


# fmt: off
def _add_endpoints(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("endpoints").add_argument
    add("--endpoint", action="append", type=opt.argument(typed.named_url), default=[],
        metavar="NAME=URL",
        help="an endpoint; CONFIG/NAME if there are several configurations; repeatable")
    add("--endpoints", type=Path, metavar="FILE",
        help="YAML, TOML, JSON or INI file with the tables endpoints (NAME: URL), applied (NAME:"
        " SOURCE) and grace (NAME: DURATION); URLs in it may carry credentials")
    add("--each-address", action="store_true",
        help="ask every address behind a host's name separately")
    add("--one-down", type=opt.state, default="warning", metavar="STATE",
        help="state when one of several endpoints cannot be read (default: warning)")
    add("--node-header", default="", metavar="NAME",
        help="response header that names the node, such as X-Served-By: one node behind two "
        "endpoints is a WARNING; without this option, one address is")
    add("--max-size", type=opt.size, default="4MiB", metavar="SIZE",
        help="maximum size of an answer, compressed or not (default: 4MiB)")


def _add_content(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("content").add_argument
    add("--parse", choices=documents.FORMATS,
        help="every answer must parse as this (yaml needs python3-yaml, toml Python 3.11 or "
        "tomli)")
    add("--require-key", action="append", default=[], metavar="PATH",
        help="a key that must be present, such as database.host or hosts[0]; needs --parse; "
        "repeatable")
    add("--version-key", default="", metavar="PATH",
        help="a key whose value is the version, which must not go back; needs --parse")
    add("--allow-rollback", action="store_true",
        help="accept a version lower than the highest seen so far, otherwise CRITICAL: for an "
        "intended rollback, until the version has passed the old one")
    add("--canonical", choices=["json"],
        help="compare by meaning rather than bytes (ignore key order and white space); needs "
        "--parse")


def _add_checksums(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("checksum data").add_argument
    add("--checksum", choices=["auto", "any", "header", "sidecar", "none"], default="auto",
        help="auto: an endpoint must keep what it has had; any: a digest header or a sidecar; "
        "header; sidecar; none: ignore checksum data (default: auto)")
    add("--checksum-url", type=opt.argument(typed.public_source), metavar="SUFFIX|URL",
        help="where the required sidecar or list of checksums is: a suffix such as .sha256, "
        "appended to each endpoint's path, or a URL")
    add("--pinned", type=opt.argument(pinned), metavar="HASH",
        help="the checksum that every endpoint's answer must have: hex, or sha256:HEX")
    add("--not-modified", type=opt.state, default="ok", metavar="STATE",
        help="state when an endpoint does not answer 304 to its own ETag, which only costs "
        "bandwidth (default: ok, a remark)")


def _add_freshness(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("freshness").add_argument
    add("--sync-grace", type=opt.duration, default="5m", metavar="DURATION",
        help="how long endpoints may differ (default: 5m)")
    add("--max-age", type=opt.duration, metavar="DURATION",
        help="CRITICAL when Last-Modified is older than this by the server's own Date (default: "
        "none)")
    add("--max-cached", type=opt.duration, default="5m", metavar="DURATION",
        help="WARNING when an answer has been in a cache for longer than this, by its Age "
        "(default: 5m)")
    add("--max-skew", type=opt.duration, metavar="DURATION",
        help="CRITICAL when a server's clock is off by more than this (default: none; more than "
        "30s is a remark)")
    add("--expect-change", type=opt.duration, metavar="DURATION",
        help="WARNING when nothing has changed for longer than this (default: none)")
    add("--max-changes", type=opt.argument(typed.whole_number), default="10", metavar="N",
        help="WARNING when an endpoint changes more often than this in an hour (default: 10)")


def _add_applications(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("applications").add_argument
    add("--applied", action="append", type=opt.argument(typed.named_source), default=[],
        metavar="NAME=SOURCE",
        help="where to read what an application runs: URL#json.path, URL#metric, "
        "URL#metric{label}, URL "
        "of a bare hash, /file, or puppet[:/file]; a hash, version or ETag; repeatable")
    add("--grace", action=Graces, type=opt.argument(typed.named_grace),
        default={"": GRACE_SECONDS}, metavar="[NAME=]DURATION",
        help="how long an application may be behind; WARNING at half of it; repeatable, with the "
        "name of one application (default: 8h)")


def _add_files(made: argparse.ArgumentParser) -> None:
    what = made.add_argument_group("files on this host")
    add = what.add_argument
    add("--manifest", type=opt.argument(typed.public_source), metavar="URL|FILE",
        help="an mtree(8) specification or the output of sha256sum, to compare files on this "
        "host with")
    add("--root", metavar="DIR",
        help="what the manifest's paths are relative to (default: its own '# tree:', or its "
        "directory)")
    add("--max-manifest-age", type=opt.duration, metavar="DURATION",
        help="CRITICAL when the manifest is older than this, by Last-Modified or mtime (default: "
        "none)")
    opt.add_selectors(made, "files of the manifest (by path or name)")
    add("--puppet", nargs="?", const="", metavar="FILE",
        help="judge Puppet's last run by its last_run_summary.yaml (default: the usual places)")
    add("--puppet-max-age", type=opt.duration, default="2h", metavar="DURATION",
        help="WARNING when Puppet's last run is older than this; CRITICAL after --grace "
        "(default: 2h)")


def _add_requests(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("requests").add_argument
    add("--bearer", type=Path, metavar="FILE",
        help="file with a bearer token (default: $CONFIG_FRESHNESS_BEARER)")
    add("--basic", type=Path, metavar="FILE",
        help="file with user:password (default: $CONFIG_FRESHNESS_BASIC)")
    add("--header-file", type=Path, metavar="FILE", help="file with header lines to send")
    add("--ca-file", type=Path, metavar="FILE",
        help="PEM file of the CAs to trust (default: the system's)")
    add("--cert", type=Path, metavar="FILE", help="client certificate, PEM")
    add("--key", type=Path, metavar="FILE", help="its private key, PEM (default: in the same file)")
    add("--use-environment", action="store_true",
        help="use proxies from the environment and ~/.netrc; otherwise they are ignored")
# fmt: on


def plan(args: argparse.Namespace, now: Callable[[], Stamp] = this_instant) -> Check:
    """The check for a command line; `now` is the clock of the history."""
    settings = settings_of(args)
    return Check(
        "config_freshness",
        lambda: run(settings, now),
        timeout=args.timeout,
        verbose=args.verbose,
    )


def drill() -> Drill:
    """Its own outage, staged, for `twiceshy drill`."""
    from twiceshy.config_freshness.drill import DRILL

    return DRILL


@guarded
def main() -> None:
    plan(options().parse_args()).main()


if __name__ == "__main__":
    main()

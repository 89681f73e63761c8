#!/usr/bin/env python3
"""Is every endpoint serving the configuration we think it is, and has everyone taken it?

Applications read their configuration, and a checksum of it, from redundant web services. This check
reads it as they do, from every endpoint, and compares: the answer with its checksum, the endpoints
with each other, this run with the runs before, what the applications say they run with with what
is published, and the files here with a manifest. What is wrong it names as TUF does: freeze,
rollback, mix-and-match, endless data, slow retrieval. Endpoints that serve one configuration are
redundant; to judge several configurations in one run, name the endpoints billing/a, billing/b,
search/a, search/b.

Learned from: "Unable to Access HB", the post-mortem of a service-desk vendor (serving ETags made
  the checksum of the configuration unavailable on both of two redundant web services, and every
  instance fell over; the remedy was eight hours of grace), and "Day in our DevOps lives", Cameron
  Laird (a Puppet script skewed the privileges of half the workers, which looked like reboots, and
  jobs stood still for six hours).
Reads: the endpoints and the applications' own endpoints by HTTP GET; files named by --applied and
  --manifest, directories that the manifest lists, Puppet's last_run_summary.yaml (0640 root: the
  check's user needs its group, or `chmod 644`).
Remembers: per endpoint which versions (hash, ETag, version field) it served since when and which
  checksum data it had; when each version was published on all; when an application last had it.
  Losing that restarts the grace with a remark. What no run asks about is forgotten after 90 days.
Says:
  OK        all endpoints serve the same, whole and with a checksum that fits, and it is taken
  OK        endpoints differ for less than --sync-grace, as they do in a rolling deploy
  WARNING   one of several endpoints cannot be read (--one-down), or lost its checksum data
  WARNING   an application is behind for half of its grace, or cannot say what it runs with
  WARNING   an application runs a configuration that was never published
  WARNING   the same node is behind two names; slow (-w); stale in a cache; changed too often,
            or in turn; unchanged for longer than --expect-change; Puppet is disabled or has not run
  CRITICAL  no endpoint can be read, or checksum data is missing from all
  CRITICAL  an endpoint serves what is no configuration, or what its checksum does not fit, twice
  CRITICAL  endpoints differ for longer than --sync-grace: which is stale and by how much
  CRITICAL  rollback of --version-key; older than --max-age; 304 although the content is another
  CRITICAL  an application is behind for all of its grace; files differ from the manifest
  CRITICAL  Puppet's last run failed
  UNKNOWN   not allowed to ask, no Last-Modified to judge by, a file that cannot be read, or this
            host too busy to ask anybody
Measures:
  endpoints_readable  -  endpoints that served configuration
  endpoints_troubled  -  endpoints that did not
  applied_behind      -  applications that do not run what is published, or do not say
  NAME_time           s  response time of an endpoint, until its body was whole
  NAME_size           B  size of its configuration
  NAME_age            s  its Date minus its Last-Modified
  NAME_change         s  time since it last served something else
  NAME_lag            s  for how long an application is behind what is published
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
import email.utils
import functools
import grp
import hashlib
import os
import posixpath
import pwd
import shlex
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit

from twiceshy.config_freshness import digests, disk, documents, fetch, manifests, puppet
from twiceshy.config_freshness.agreement import agreement, independence
from twiceshy.config_freshness.applied import Application, Running, running, taken
from twiceshy.config_freshness.checksums import checksummed, fits, lost, misfits
from twiceshy.config_freshness.memory import (
    Chronicle,
    Memory,
    Remembered,
    Served,
    Version,
    names_of,
    past_of,
)
from twiceshy.config_freshness.words import ago, how_many, listing, of_config, roughly
from twiceshy.kit import deadline, limits, subprocesses
from twiceshy.kit import history as remembered
from twiceshy.kit import options as opt
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError, State, guarded
from twiceshy.kit.stamps import Stamp
from twiceshy.kit.units import duration, say_duration, say_size
from twiceshy.kit.verdict import Finding, Measure, Report, label, safe

if TYPE_CHECKING:
    from twiceshy.kit.drill import Drill

# A second fetch comes after this long: a deploy that is not atomic is through by then.
CONFIRM_SECONDS = 1.0
# Date has a resolution of one second, and an answer may have been under way for some.
SKEW_SECONDS = 30.0
NO_SUCH_ETAG = '"twiceshy-has-never-seen-this"'
SUMMARIES = (
    "/opt/puppetlabs/puppet/public/last_run_summary.yaml",
    "/var/cache/puppet/public/last_run_summary.yaml",
    "/opt/puppetlabs/puppet/cache/state/last_run_summary.yaml",
    "/var/lib/puppet/state/last_run_summary.yaml",
)

# What is seen


@dataclass(frozen=True)
class Endpoint:
    """One place that serves a configuration; endpoints of one `config` are redundant."""

    name: str
    url: str
    address: str = ""  # connect here instead of where the name leads

    @property
    def config(self) -> str:
        return self.name.rpartition("/")[0]


def _http_time(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _seconds_of(text: str) -> float:
    return float(text) if text.strip().isdigit() and len(text) < 12 else 0.0


def sidecar_url(url: str, typed: str) -> str:
    """Where the sidecar of a URL is: typed as a suffix of its path, or as a URL of its own."""
    if "://" in typed:
        return typed
    parts = urlsplit(url)
    return parts._replace(path=parts.path + typed, fragment="").geturl()


def shown(endpoint: Endpoint, kind: str = "") -> str:
    """The command that shows an endpoint's answer as the check has it, without credentials.

    By the kind of trouble it shows the header, the way of redirects, how the body begins, or all.
    """
    flags, output = {
        "redirect": ("-svL", " -o /dev/null"),
        "content": ("-sS", " -r 0-500"),
        "whole": ("-sS", ""),
    }.get(kind, ("-sv", " -o /dev/null"))
    parts = urlsplit(endpoint.url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    to = f" --connect-to ::{endpoint.address}:" if endpoint.address else ""
    return f"curl {flags}{to}{output} {shlex.quote(bare)}"


def serving(
    asker: fetch.Asker, endpoint: Endpoint, args: argparse.Namespace, past: Remembered
) -> Served:
    """One endpoint's answers: the configuration, its sidecar, and two conditional requests."""
    try:
        answer = asker.ask(endpoint.url)
    except fetch.NoAnswer as why:
        return Served(endpoint.name, str(why), why.kind, shown(endpoint, why.kind), asker.line.peer)
    seen = replace(_served(endpoint.name, answer, args), retry=shown(endpoint))
    if seen.trouble:
        return seen
    if args.checksum_url:
        seen = _with_sidecar(asker, endpoint, args, seen)
    if not seen.etag:
        return seen
    another = next((etag for sha256, etag in past.etags if sha256 != seen.key), NO_SUCH_ETAG)
    if another == seen.etag and another.startswith("W/"):
        another = NO_SUCH_ETAG  # a weak one may stand for several contents
    try:
        own, body = _conditionally(asker, endpoint, seen.etag)
        if own == 200 and body != seen.body:
            # it has changed meanwhile; or, if it changes back, another node has answered
            return replace(seen, flips=asker.ask(endpoint.url).body == seen.body)
        other, _ = _conditionally(asker, endpoint, another)
        for _ in range(2 if other == 304 and another != NO_SUCH_ETAG else 0):
            # another node behind the same name may truly have the other version
            if asker.ask(endpoint.url).body != seen.body:
                return replace(seen, own_etag=own, flips=True)
            other = min(other, _conditionally(asker, endpoint, another)[0])
    except fetch.NoAnswer:
        return seen
    return replace(seen, own_etag=own, other_etag=other)


def _conditionally(asker: fetch.Asker, endpoint: Endpoint, etag: str) -> tuple[int, bytes]:
    again = asker.ask(endpoint.url, {"If-None-Match": etag})
    return again.status, again.body


def _served(name: str, answer: fetch.Answer, args: argparse.Namespace) -> Served:
    """What a whole HTTP answer is, as configuration."""
    headers = answer.headers
    found, broken = digests.from_headers(headers)
    seen = Served(
        name,
        peer=answer.peer,
        node=safe(headers.get(args.node_header.lower(), ""), 60) if args.node_header else "",
        seconds=answer.seconds,
        body=answer.body,
        wire=answer.wire,
        key=hashlib.sha256(answer.body).hexdigest(),
        content_type=headers.get("content-type", ""),
        etag=headers.get("etag", ""),
        last_modified=_http_time(headers.get("last-modified", "")),
        date=_http_time(headers.get("date", "")),
        came=answer.came,
        cached=_seconds_of(headers.get("age", "")),
        checksums=tuple(found),
        broken=tuple(safe(line, 120) for line in broken),
    )
    if answer.status in (401, 403, 407):
        return replace(seen, kind="refused", trouble=f"refuses us with HTTP {answer.status}")
    if answer.status == 304:
        return replace(seen, kind="unasked", trouble="answers 304 without having been asked to")
    if answer.status != 200:
        return replace(seen, kind="down", trouble=f"answers HTTP {answer.status}")
    return seen


def _with_sidecar(
    asker: fetch.Asker, endpoint: Endpoint, args: argparse.Namespace, seen: Served
) -> Served:
    place = sidecar_url(endpoint.url, args.checksum_url)
    seen = replace(seen, retry=shown(replace(endpoint, url=place)))
    ours = urlsplit(place)[:2] == urlsplit(endpoint.url)[:2]
    try:
        answer = asker.ask(place, credentials=ours)
    except fetch.NoAnswer as why:
        return replace(seen, broken=(*seen.broken, f"its sidecar {why}"))
    if answer.status != 200:
        return replace(seen, broken=(*seen.broken, f"its sidecar answers HTTP {answer.status}"))
    try:
        checksum = digests.from_sidecar(answer.body, urlsplit(endpoint.url).path)
    except digests.ForAnother as why:
        return replace(seen, foreign=safe(f"its sidecar {why}", 150))
    except digests.Unusable as why:
        return replace(seen, broken=(*seen.broken, safe(f"its sidecar {why}", 150)))
    retry = shown(endpoint)
    if not (checksum.fits(seen.body) or checksum.fits(seen.wire)):
        get = shown(endpoint, "whole")
        retry = f"{checksum.algorithm}sum <({get}); {shown(replace(endpoint, url=place), 'whole')}"
    return replace(seen, checksums=(*seen.checksums, checksum), retry=retry)


def understood(endpoint: Endpoint, seen: Served, args: argparse.Namespace) -> Served:
    """A served body held against what a configuration must be; CheckError if a parser is missing.

    Runs in the main thread, under the deadline: a hostile document takes a parser long.
    """
    if seen.trouble:
        return seen
    found = _understood(seen, args)
    return replace(found, retry=shown(endpoint, "content")) if found.trouble else found


def _understood(seen: Served, args: argparse.Namespace) -> Served:
    # with --parse the parser decides: some servers call everything text/html
    if documents.looks_like_a_page(seen.body, "" if args.parse else seen.content_type):
        title = safe(documents.title(seen.body), 60)
        page = f'a web page ("{title}")' if title else "a web page"
        return replace(seen, kind="content", trouble=f"serves {page}, not configuration")
    if not seen.body.strip():
        return replace(seen, kind="content", trouble="serves nothing, an empty body")
    if not args.parse:
        return seen
    try:
        document = documents.parse(args.parse, seen.body)
    except documents.NotParsed as why:
        text = f"serves what is not {args.parse.upper()}: {safe(str(why), 100)}"
        return replace(seen, kind="content", trouble=text)
    except documents.LibraryMissing as why:
        raise CheckError(str(why)) from why
    version = seen.version
    for path in [*args.require_key, *([args.version_key] if args.version_key else [])]:
        try:
            value = documents.at(document, path)
        except KeyError:
            text = f"serves a configuration without the key {safe(path, 60)}"
            return replace(seen, kind="content", trouble=text)
        if path == args.version_key:
            version = safe(documents.scalar(value), 60)
    key = seen.key
    if args.canonical:
        try:
            key = hashlib.sha256(documents.canonical(document)).hexdigest()
        except RecursionError:
            text = "serves a configuration that is nested too deeply"
            return replace(seen, kind="content", trouble=text)
    return replace(seen, version=version, key=key)


def application_running(
    line: fetch.Line, application: Application, asker_of: Callable[[fetch.Line], fetch.Asker]
) -> Running:
    """What one application runs with, asked over HTTP or read from a file."""
    source = application.source
    if "://" in source:
        asker = asker_of(line)
        try:
            answer = asker.ask(source.partition("#")[0], credentials=False)
        except fetch.NoAnswer as why:
            return Running(trouble=str(why))
        finally:
            asker.close()
        if answer.status in (401, 403, 407):
            return Running(locked=f"{source.partition('#')[0]} (HTTP {answer.status})")
        if answer.status != 200:
            return Running(trouble=f"answers HTTP {answer.status}")
        if documents.looks_like_a_page(answer.body, ""):
            return Running(trouble="answers a web page")
        return running(source, answer.body)
    path = source.partition("#")[0]
    is_puppet = path.split(":")[0] == "puppet"
    if is_puppet:
        path = path.partition(":")[2] or _first_summary()
    try:
        raw = fetch.small_file(path, 4 << 20)
        if is_puppet:
            config = puppet.summary(digests.text_of(raw)).config
            return Running(config, "" if config else "has no version.config in its summary")
    except PermissionError:
        return Running(locked=path)
    except OSError as error:
        return Running(trouble=f"cannot be read: {safe(path, 80)}: {error.strerror}")
    except fetch.NoAnswer as why:
        return Running(trouble=str(why))
    except puppet.NotASummary as why:
        return Running(trouble=f"has an unusable last_run_summary: {why}")
    return running(source, raw) if "#" in source else Running(hashlib.sha256(raw).hexdigest())


def _first_summary() -> str:
    return next((path for path in SUMMARIES if os.path.lexists(path)), SUMMARIES[0])


def puppet_run(typed: str, clock: float) -> puppet.Run:
    """Puppet's own account of its last run. Reads the summary and the lock beside it."""
    path = typed or _first_summary()
    below = os.path.dirname(path)
    disabled, why = None, ""
    missing = "puppet config print lastrunfile  # and give --puppet that path"
    for place in (below, f"{below}/../state", f"{below}/../cache/state"):
        lock = os.path.normpath(f"{place}/agent_disabled.lock")
        try:
            disabled = max(0.0, clock - os.stat(lock).st_mtime)
            why = puppet.reason(digests.text_of(fetch.small_file(lock, 65536)))
        except (OSError, fetch.NoAnswer):
            continue
        break
    try:
        summary = puppet.summary(digests.text_of(fetch.small_file(path, 1 << 20)))
    except PermissionError:
        remedy = f"chmod 644 {path}, or add the check's user to its group"
        return puppet.Run(None, disabled, why, f"not allowed to read {safe(path)}", remedy)
    except FileNotFoundError:
        return puppet.Run(None, disabled, why, f"there is no {safe(path)}", missing)
    except (OSError, fetch.NoAnswer) as error:
        return puppet.Run(None, disabled, why, f"cannot read {safe(path)}: {safe(str(error))}")
    except puppet.NotASummary as error:
        return puppet.Run(
            None, disabled, why, f"{safe(path)} is no summary: {error}", f"cat {path}"
        )
    return puppet.Run(summary, disabled, why)


def on_disk(place: disk.Place) -> disk.OnDisk:
    """One path as it is."""
    path, algorithms, listed = place.path, place.algorithms, place.listed
    try:
        seen = os.stat(path, follow_symlinks=place.followed)
    except (FileNotFoundError, NotADirectoryError):
        return disk.OnDisk()
    except OSError as error:
        return disk.OnDisk("?", trouble=error.strerror or "cannot be read")
    kinds = {
        stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
    }  # fmt: skip
    kind = kinds.get(stat.S_IFMT(seen.st_mode), "?")
    link, trouble = "", ""
    names: tuple[str, ...] = ()
    found: dict[str, bytes] = {}
    try:
        if kind == "link":
            link = os.readlink(path)
        if kind == "dir" and listed:
            names = tuple(sorted(os.listdir(path)))
        if kind == "file" and algorithms:
            found = _hashed(path, algorithms, 0 if place.followed else os.O_NOFOLLOW)
    except OSError as error:
        trouble = error.strerror or "cannot be read"
    return disk.OnDisk(
        kind, stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, _user(seen.st_uid),
        _group(seen.st_gid), seen.st_size, link, found, trouble, names,
    )  # fmt: skip


def _hashed(path: str, algorithms: tuple[str, ...], flags: int) -> dict[str, bytes]:
    # a fifo may have taken the file's place since stat: O_NONBLOCK does not wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    sums = {name: hashlib.new(name) for name in algorithms}
    with open(descriptor, "rb", buffering=0) as file:
        while piece := file.read(1 << 18):
            for each in sums.values():
                each.update(piece)
    return {name: each.digest() for name, each in sums.items()}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# What it means


def time_left(
    config: str, applications: Sequence[Application], grace: float, chronicle: Chronicle
) -> str:
    """How long the applications go on with what they have."""
    known = chronicle.good is not None
    bad = chronicle.good if chronicle.good is not None else chronicle.begun
    ours = [each.grace for each in applications if each.config == config] or [grace]
    left = min(ours) - bad
    if left <= 0:
        return f"the {say_duration(min(ours))} of grace of the applications are over"
    most = "" if known else "at most "
    return f"applications have {most}{roughly(left)} left of {say_duration(min(ours))} of grace"


CONTENT = ("content", "cut", "endless data", "redirect", "coding")


def readable(
    looks: Sequence[Served],
    pasts: Mapping[str, Remembered],
    left: str,
    one_down: State,
) -> list[Finding]:
    """Findings about endpoints of one configuration that do not serve configuration at all."""
    troubled = [seen for seen in looks if seen.trouble]
    # who never let us in does not let us in: that is for us to mend
    locked = [s for s in troubled if s.kind == "refused" and past_of(pasts, s).good is None]
    unasked = [s for s in troubled if s.kind == "unasked"]
    wrong = [s for s in troubled if s.kind in CONTENT]
    down = [s for s in troubled if s not in locked and s not in unasked and s not in wrong]
    config = looks[0].config
    findings = []
    if down and len(troubled) == len(looks) and len(down) >= len(looks) - len(wrong):
        same = {seen.trouble for seen in down} if len(down) == len(looks) else set()
        if len(looks) == 1:
            text = f"{looks[0].called} {_trouble(looks[0])}; {left}"
        elif len(same) == 1:
            text = f"no endpoint{of_config(config)} can be read, "
            text += f"{listing([s.name for s in looks])}: each {_trouble(down[0])}; {left}"
        else:
            text = f"no endpoint{of_config(config)} can be read; {left}: "
            text += "; ".join(f"{s.called} {_trouble(s)}" for s in troubled[:4])
        more = tuple(f"{seen.called} {_trouble(seen)}" for seen in troubled[4:])
        more = () if same else more
        findings.append(Finding(CRITICAL, text, more, down[0].retry, "down"))
    else:
        for seen in down:
            past = past_of(pasts, seen)
            was = f" (read {ago(past.good)})" if past.good is not None else ""
            rest = len(looks) - len(troubled)
            alone = f"; {rest} of {len(looks)} endpoints{of_config(config)} left"
            state = one_down if rest else CRITICAL
            findings.append(
                Finding(
                    state, f"{seen.called} {_trouble(seen)}{was}{alone}", (), seen.retry, seen.kind
                )
            )
    for seen in wrong:
        text = f"{seen.called} {_trouble(seen)}"
        findings.append(Finding(CRITICAL, text, (), seen.retry, seen.kind))
    for seen in unasked:
        findings.append(
            Finding(WARNING, f"{seen.called} {seen.trouble}", (), seen.retry, "unasked")
        )
    for seen in locked:
        text = f"{seen.called} {seen.trouble}: give --bearer, --basic or --cert"
        findings.append(Finding(UNKNOWN, text, code="refused"))
    return findings


def _trouble(seen: Served) -> str:
    """The predicate, with TUF's name in front where it has one and the predicate does not."""
    text = seen.trouble
    if seen.kind == "slow retrieval":
        text = text.replace("is slow: ", "is slow (slow retrieval): ", 1)
    return text


def conditional(seen: Served, not_modified: State) -> tuple[list[Finding], list[str]]:
    """Whether If-None-Match tells one node's clients the truth; two nodes' are never compared."""
    findings: list[Finding] = []
    remarks: list[str] = []
    if seen.other_etag == 304:
        text = f"{seen.called} answers 304 to clients that hold another version (freeze): they "
        text += "never learn of a change"
        findings.append(Finding(CRITICAL, text, (), seen.retry, "freeze-304"))
    if seen.flips:
        text = f"{seen.called} serves two versions in turn: several nodes behind one name?"
        findings.append(Finding(WARNING, text, code="flapping"))
    if seen.own_etag == 200:
        text = f"{seen.called} answers 200 to its own ETag {safe(seen.etag, 40)}, never 304"
        if not_modified is OK:
            remarks.append(text)
        else:
            findings.append(Finding(not_modified, text, code="never-304"))
    return findings, remarks


def returned(seen: Served, past: Remembered, chronicle: Chronicle) -> str:
    """A remark about an endpoint that serves an older version again; "" for the others."""
    ages = {version.key: version.age for version in chronicle.versions}
    before = past.key if past.key != seen.key else past.left_key
    if seen.key not in ages or ages.get(before, ages[seen.key]) >= ages[seen.key]:
        return ""
    return f"{seen.called} serves again the version first seen {ago(ages[seen.key])} (rollback)"


def fresh(
    seen: Served, past: Remembered, args: argparse.Namespace
) -> tuple[list[Finding], list[str]]:
    """Whether one endpoint's configuration is as young, and its clock as right, as it should be."""
    findings: list[Finding] = []
    remarks: list[str] = []
    name, clock = seen.called, seen.date or seen.came
    age = None if seen.last_modified is None else clock - seen.last_modified
    if args.max_age is not None:
        limit = say_duration(args.max_age)
        if age is None:
            text = f"{name} sends no Last-Modified: its age cannot be held against {limit}"
            findings.append(Finding(UNKNOWN, text, code="no-last-modified"))
        elif age > args.max_age:
            text = f"{name} serves a configuration of {ago(age)} (freeze), limit {limit}"
            findings.append(Finding(CRITICAL, text, code="freeze"))
    if age is not None and age < -SKEW_SECONDS:
        remarks.append(f"{name}: Last-Modified is {roughly(-age)} ahead of its own Date")
    if seen.date:
        skew = seen.date + seen.cached - seen.came
        way = "ahead of" if skew > 0 else "behind"
        text = f"{name}: its clock is {roughly(abs(skew))} {way} ours"
        if args.max_skew is not None and abs(skew) > args.max_skew:
            text += f" (limit {say_duration(args.max_skew)})"
            findings.append(Finding(CRITICAL, text, code="skew"))
        elif abs(skew) > SKEW_SECONDS:
            remarks.append(text)
    if seen.cached > args.max_cached:
        text = f"{name} answers from a cache: {roughly(seen.cached)} old (Age), limit "
        findings.append(Finding(WARNING, text + say_duration(args.max_cached), code="cached"))
    if seen.version and past.version and not args.allow_rollback:
        now, before = documents.order(seen.version), documents.order(past.version)
        if now < before:
            text = f"{name} went back from version {safe(past.version, 40)} to {seen.version}"
            findings.append(Finding(CRITICAL, text + " (rollback)", code="rollback"))
    unchanged = max(past.since or 0.0 if past.key == seen.key else 0.0, age or 0.0)
    if args.expect_change is not None and unchanged > args.expect_change:
        text = f"{name} has not changed for {roughly(unchanged)} (freeze), expected within "
        findings.append(Finding(WARNING, text + say_duration(args.expect_change), code="unchanged"))
    changes = sum(1 for change in past.changes if change <= 3600)
    changes += bool(past.key) and past.key != seen.key
    if changes > args.max_changes:
        text = f"{name} changed {changes} times within 1h (limit {args.max_changes}): several "
        text += "nodes behind one name?"
        findings.append(Finding(WARNING, text, code="flapping"))
    state, broken = limits.judge(seen.seconds or 0.0, args.warning, args.critical)
    if broken:
        text = f"{name} is slow (slow retrieval): {roughly(seen.seconds or 0.0)} for "
        text += f"{say_size(len(seen.wire))} (limit {broken.typed})"
        findings.append(Finding(state, text, code="slow retrieval"))
    return findings, remarks


# How it is told


def applies() -> str:
    """Why there is nothing to look at on this host: endpoints have no defaults."""
    return "no endpoint is configured; give it URLs, --endpoints, --manifest or --puppet"


def look(args: argparse.Namespace, now: Callable[[], Stamp]) -> Report:
    """One run: everything asked at once, suspicious answers asked again, then judged."""
    manners = fetch.Manners(
        int(args.max_size),
        _own_headers(args),
        _basic(args),
        args.ca_file,
        args.cert,
        args.key,
        args.use_environment,
    )
    endpoints, applications = _subjects(args)
    sources = [e.url for e in endpoints] + [a.source for a in applications]
    if any("://" in source for source in [*sources, args.manifest or ""]):
        with deadline.doing("loading requests"):
            fetch.prepare()
    # what is left of it is for asking twice, reading files and judging
    total = min(args.timeout, deadline.remaining())
    if total < 0.5 * args.timeout:
        # whatever came of so little time would blame others for our slowness
        gone = say_duration(round(args.timeout - total, 1))
        raise CheckError(f"this host is too busy: {gone} were gone before anybody was asked")
    ends = time.monotonic() + 0.7 * total
    if args.each_address:
        endpoints = _one_by_one(endpoints, ends - time.monotonic())
    with remembered.History.open("config_freshness", args.state_dir) as history:
        at = now()
        memory = Memory(history, at)
        pasts = {each.name: memory.endpoint(each.name) for each in endpoints}
        answers = _asked(args, manners, endpoints, applications, pasts, ends, total)
        report = judged(args, endpoints, applications, answers, pasts, memory, at)
        memory.forget_the_unasked()
        unsaved = history.save()
        remarks = list(report.remarks)
        if history.remark:
            remarks.insert(0, f"{history.remark}; the grace begins anew")
        findings = [*report.findings, *([unsaved] if unsaved else [])]
        return replace(report, findings=findings, remarks=remarks)


@dataclass(frozen=True)
class Answers:
    """Everything that was seen in a run."""

    looks: Mapping[str, Served]
    said: Mapping[str, Running]
    manifest: bytes | str | None = None  # str: why there is none
    manifest_age: float | None = None
    puppet: puppet.Run | None = None


def _asked(
    args: argparse.Namespace,
    manners: fetch.Manners,
    endpoints: Sequence[Endpoint],
    applications: Sequence[Application],
    pasts: Mapping[str, Remembered],
    ends: float,
    total: float,
) -> Answers:
    sources = [e.url for e in endpoints] + [a.source for a in applications]
    sources += [args.manifest or "", args.checksum_url or ""]
    secure = any(source.startswith("https:") for source in sources)
    trusted = fetch.trust(manners) if secure else None

    def asker(line: fetch.Line, until: float = ends) -> fetch.Asker:
        return fetch.Asker(line, manners, trusted, until)

    def endpoint_job(endpoint: Endpoint, until: float) -> Callable[[fetch.Line], Any]:
        def job(line: fetch.Line) -> Served:
            mine = asker(line, until)
            try:
                return serving(mine, endpoint, args, pasts[endpoint.name])
            finally:
                mine.close()

        return job

    def application_job(application: Application) -> Callable[[fetch.Line], Any]:
        return lambda line: application_running(line, application, asker)

    jobs: dict[tuple[str, str], Callable[[fetch.Line], Any]] = {}
    for endpoint in endpoints:
        jobs["endpoint", endpoint.name] = endpoint_job(endpoint, ends)
    for application in applications:
        jobs["applied", application.name] = application_job(application)
    if args.manifest:
        hosts = {urlsplit(endpoint.url)[:2] for endpoint in endpoints}
        ours = not hosts or urlsplit(args.manifest)[:2] in hosts
        jobs["manifest", ""] = lambda line: _manifest(line, args.manifest, asker, ours)
    if args.puppet is not None:
        jobs["puppet", ""] = lambda line: puppet_run(args.puppet, time.time())
    places = {("endpoint", each.name): each.address for each in endpoints}
    with deadline.doing(f"asking {len(jobs)} endpoints"):
        results = fetch.all_at_once(jobs, ends - time.monotonic(), places)
    looks = {e.name: _look_of(e, results["endpoint", e.name]) for e in endpoints}
    with deadline.doing("parsing what was served"):
        looks = {e.name: understood(e, looks[e.name], args) for e in endpoints}
    again = [e for e in endpoints if _is_suspicious(looks[e.name], args)]
    if again:
        # a deploy is not atomic: only what is still wrong a moment later is wrong
        time.sleep(min(CONFIRM_SECONDS, 0.1 * total))
        until = time.monotonic() + 0.15 * total
        jobs = {("endpoint", e.name): endpoint_job(e, until) for e in again}
        with deadline.doing(f"asking {len(jobs)} endpoints again"):
            second = fetch.all_at_once(jobs, until - time.monotonic(), places)
        for e in again:
            seen = understood(e, _look_of(e, second["endpoint", e.name]), args)
            # too slow to be asked twice: the first answer stands
            if seen.kind != "slow retrieval":
                looks[e.name] = seen
    said: dict[str, Running] = {}
    for application in applications:
        result = results["applied", application.name]
        if isinstance(result, fetch.NoAnswer):
            result = Running(trouble=str(result))
        said[application.name] = result
    manifest, age = None, None
    if args.manifest:
        result = results["manifest", ""]
        manifest, age = (str(result), None) if isinstance(result, fetch.NoAnswer) else result
    run = results.get(("puppet", ""))
    if isinstance(run, fetch.NoAnswer):
        run = puppet.Run(trouble=str(run))
    return Answers(looks, said, manifest, age, run)


def _look_of(endpoint: Endpoint, result: Any) -> Served:
    if isinstance(result, fetch.NoAnswer):
        return Served(endpoint.name, str(result), result.kind, shown(endpoint))
    served: Served = result
    return served


def _is_suspicious(seen: Served, args: argparse.Namespace) -> bool:
    if seen.kind in ("content", "cut"):
        return True
    pinned = args.pinned
    return not seen.trouble and bool(
        seen.foreign or misfits(seen) or (pinned and not pinned.fits(seen.body))
    )


def _manifest(
    line: fetch.Line,
    place: str,
    asker_of: Callable[[fetch.Line], fetch.Asker],
    credentials: bool,
) -> tuple[bytes | str, float | None]:
    """The manifest's bytes and its age by Last-Modified or mtime; or a predicate why not.

    CheckError when we are not allowed to read it.
    """
    if "://" not in place:
        try:
            return fetch.small_file(place, 16 << 20), time.time() - os.stat(place).st_mtime
        except PermissionError as error:
            raise CheckError(f"not allowed to read the manifest {safe(place, 100)}") from error
        except OSError as error:
            return f"cannot be read: {error.strerror}", None
    asker = asker_of(line)
    try:
        answer = asker.ask(place, credentials=credentials)
    finally:
        asker.close()
    if answer.status in (401, 403, 407):
        raise CheckError(
            f"not allowed to read the manifest {safe(place, 100)} (HTTP {answer.status})"
        )
    if answer.status != 200:
        return f"answers HTTP {answer.status}", None
    found, _ = digests.from_headers(answer.headers)
    if any(not (each.fits(answer.wire) or each.fits(answer.body)) for each in found):
        return "does not fit its checksum", None
    modified = _http_time(answer.headers.get("last-modified", ""))
    date = _http_time(answer.headers.get("date", "")) or answer.came
    return answer.body, None if modified is None else date - modified


def judged(
    args: argparse.Namespace,
    endpoints: Sequence[Endpoint],
    applications: Sequence[Application],
    answers: Answers,
    pasts: Mapping[str, Remembered],
    memory: Memory,
    at: Stamp,
) -> Report:
    """All findings of a run, and everything of it put into the memory."""
    configs = list(dict.fromkeys(each.config for each in endpoints))
    chronicles: dict[str, Chronicle] = {}
    parts: list[Report] = []
    for config in configs:
        looks = [answers.looks[each.name] for each in endpoints if each.config == config]
        chronicle = memory.chronicle(config)
        part, is_good = _configuration(args, looks, applications, pasts, chronicle)
        parts.append(part)
        sound = [seen for seen in looks if fits(seen, args.checksum)]
        chronicles[config] = memory.remember_config(config, sound, chronicle, is_good)
        for seen in sound:
            memory.remember_endpoint(seen, pasts[seen.name])
    if endpoints:
        bad_count = sum(1 for seen in answers.looks.values() if seen.trouble)
        counted = [
            Measure("endpoints_readable", len(endpoints) - bad_count, minimum=0),
            Measure("endpoints_troubled", bad_count, minimum=0),
        ]
        parts.append(Report((), counted, _serving_summary(answers, pasts, configs)))
    if applications:
        parts.append(_applications(args, applications, answers, chronicles, memory))
    if args.manifest:
        parts.append(_files(args, answers, at.wall))
    if answers.puppet is not None:
        parts.append(puppet.judged(answers.puppet, at.wall, args.puppet_max_age, args.grace[""]))
    measured = [
        measure
        for each in endpoints
        for measure in _measured(answers.looks[each.name], pasts[each.name], args)
    ]
    parts.append(Report((), measured))
    return Report(
        [finding for part in parts for finding in part.findings],
        [measure for part in parts for measure in part.measures],
        "; ".join(part.summary for part in parts if part.summary),
        [remark for part in parts for remark in part.remarks],
    )


def _configuration(
    args: argparse.Namespace,
    looks: Sequence[Served],
    applications: Sequence[Application],
    pasts: Mapping[str, Remembered],
    chronicle: Chronicle,
) -> tuple[Report, bool]:
    """Findings about the endpoints of one configuration, and whether it can be had of any."""
    # a body that its checksum does not fit is no version of anything
    sound = [seen for seen in looks if fits(seen, args.checksum)]
    has_url = bool(args.checksum_url)
    is_good = any(not lost(s, pasts[s.name], args.checksum, has_url) for s in sound)
    left = time_left(looks[0].config, applications, args.grace[""], chronicle)
    findings = readable(looks, pasts, left, args.one_down)
    remarks: list[str] = []
    if args.checksum != "none" or args.pinned:
        wrong, odd = checksummed(looks, pasts, chronicle, left, args.checksum, has_url, args.pinned)
        findings += wrong
        remarks += odd
    findings += agreement(sound, pasts, chronicle, args.sync_grace)
    findings += independence(looks, not args.use_environment)
    for seen in sound:
        past = pasts[seen.name]
        back = returned(seen, past, chronicle)
        remarks += [back] if back else []
        for wrong, odd in (conditional(seen, args.not_modified), fresh(seen, past, args)):
            findings += [replace(each, next=each.next or seen.retry) for each in wrong]
            remarks += odd
    return Report(findings, remarks=remarks), is_good


def _applications(
    args: argparse.Namespace,
    applications: Sequence[Application],
    answers: Answers,
    chronicles: Mapping[str, Chronicle],
    memory: Memory,
) -> Report:
    """Whether every application has taken what is published."""
    findings: list[Finding] = []
    measures: list[Measure] = []
    behind = 0
    for application in applications:
        chronicle = chronicles[application.config]
        served = [
            seen
            for seen in answers.looks.values()
            if seen.config == application.config and fits(seen, args.checksum)
        ]
        # with the ETags that they have today among their names
        current = [Version(seen.key, names_of(seen), 0.0) for seen in served]
        said = answers.said[application.name]
        one = taken(application, said, memory.application(application.name), current, chronicle)
        if one.finding is not None:
            findings.append(_follow(one.finding, application))
        memory.remember_application(
            application.name, one.is_current, one.is_odd, bool(said.trouble)
        )
        behind += one.lag != 0.0
        grace = application.grace
        name = label(application.name, "lag")
        measures.append(Measure(name, one.lag, "s", _limit(grace / 2), _limit(grace), 0))
    measures.insert(0, Measure("applied_behind", behind, minimum=0))
    have = f"{len(applications) - behind} of {len(applications)} applications have it"
    return Report(findings, measures, have)


def _follow(finding: Finding, application: Application) -> Finding:
    source = application.source.partition("#")[0]
    if "://" in source:
        return replace(finding, next=shown(Endpoint("", source)))
    return finding


def _serving_summary(
    answers: Answers,
    pasts: Mapping[str, Remembered],
    configs: Sequence[str],
) -> str:
    looks = list(answers.looks.values())
    first = looks[0]
    fits = "checksums fit" if all(seen.checksums for seen in looks) else ""
    if len(configs) > 1:
        what = f"{how_many(len(looks), 'endpoint')} serve {len(configs)} configurations"
    else:
        version = f"version {first.version}, " if first.version else ""
        same = "the same configuration" if len(looks) > 1 else "its configuration"
        verb = "serve" if len(looks) > 1 else "serves"
        what = f"{how_many(len(looks), 'endpoint')} {verb} {same} ({version}{first.key[:8]})"
    ages = [p.since for p in pasts.values() if p.since is not None]
    since = f"unchanged for {roughly(min(ages))}" if ages and min(ages) >= 1 else ""
    return ", ".join(part for part in (what, fits, since) if part)


def _limit(seconds: float) -> limits.Limit:
    return limits.Limit.parse(f"{seconds:.0f}", duration)


def _measured(seen: Served, past: Remembered, args: argparse.Namespace) -> list[Measure]:
    name = seen.name
    found = [Measure(label(name, "time"), seen.seconds, "s", args.warning, args.critical, 0)]
    if seen.trouble:
        return found
    clock = seen.date or seen.came
    age = None if seen.last_modified is None else max(0.0, clock - seen.last_modified)
    oldest = None if args.max_age is None else _limit(args.max_age)
    change = 0.0 if past.key != seen.key else past.since
    return [
        *found,
        Measure(label(name, "size"), len(seen.body), "B", minimum=0),
        Measure(label(name, "age"), age, "s", None, oldest, 0),
        Measure(label(name, "change"), change, "s", minimum=0),
    ]


def _files(args: argparse.Namespace, answers: Answers, clock: float) -> Report:
    """The files here against the manifest."""
    shown_place = safe(args.manifest, 80)
    if isinstance(answers.manifest, str) or answers.manifest is None:
        text = f"the manifest {shown_place} {answers.manifest}"
        return Report([Finding(CRITICAL, text, code="manifest")])
    try:
        with deadline.doing("parsing the manifest"):
            manifest = manifests.parse(answers.manifest)
    except manifests.NotAManifest as why:
        text = f"{shown_place} is no manifest: {safe(str(why), 120)}"
        return Report([Finding(CRITICAL, text, code="manifest")])
    findings = []
    ages = [answers.manifest_age, manifest.made and max(0.0, clock - manifest.made)]
    age = max((each for each in ages if each is not None), default=None)
    if args.max_manifest_age is not None and age is not None and age > args.max_manifest_age:
        text = f"the manifest {shown_place} is of {ago(age)} (freeze), limit "
        text += say_duration(args.max_manifest_age)
        findings.append(Finding(CRITICAL, text, code="manifest"))
    root = args.root or manifest.tree
    if not root and "://" not in args.manifest:
        root = os.path.dirname(os.path.abspath(args.manifest))
    if not root and not all(entry.path.startswith("/") for entry in manifest.entries):
        raise CheckError("the manifest has relative paths: give --root DIR")
    places = disk.places(manifest, root or "/", args.include, args.exclude)
    seen = subprocesses.each(on_disk, list(places.values()), timeout=max(1.0, 0.5 * args.timeout))
    found = {}
    for path, place in places.items():
        answer = seen[place]
        if not isinstance(answer, disk.OnDisk):
            answer = disk.OnDisk("?", trouble=str(answer))
        found[path] = answer
    held = disk.held_against(manifest, found, root or "/", args.include, args.exclude)
    return replace(held, findings=[*findings, *held.findings])


def _own_headers(args: argparse.Namespace) -> dict[str, str]:
    """Credentials from files or the environment; CheckError when they cannot be had."""
    headers = {}
    if args.header_file:
        try:
            lines = args.header_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", "") or "it is not text"
            raise CheckError(f"header file {safe(str(args.header_file))}: {why}") from error
        for line in lines:
            key, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                headers[key.strip()] = value.strip()
    token = opt.secret(args.bearer, "CONFIG_FRESHNESS_BEARER")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _basic(args: argparse.Namespace) -> tuple[str, str] | None:
    pair = opt.secret(args.basic, "CONFIG_FRESHNESS_BASIC")
    if not pair:
        return None
    user, colon, password = pair.partition(":")
    if not colon:
        raise CheckError("--basic: the file's first line is not user:password")
    return user, password


def _one_by_one(endpoints: Sequence[Endpoint], seconds: float) -> list[Endpoint]:
    """Every address behind every name, each as an endpoint of its own."""
    jobs: dict[str, Callable[[fetch.Line], list[str]]] = {}
    for endpoint in endpoints:
        parts = urlsplit(endpoint.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        jobs[endpoint.name] = functools.partial(fetch.addresses_of, str(parts.hostname), port)
    with deadline.doing("looking up names"):
        found = fetch.all_at_once(jobs, seconds)
    apart = []
    for endpoint in endpoints:
        places = found[endpoint.name]
        if isinstance(places, fetch.NoAnswer):
            apart.append(endpoint)  # it will fail in its own words
            continue
        for place in places:
            apart.append(Endpoint(f"{endpoint.name}@{place}", endpoint.url, place))
    return apart


def _subjects(args: argparse.Namespace) -> tuple[list[Endpoint], list[Application]]:
    """Endpoints and applications from the command line and the file; CheckError for bad ones."""
    named: dict[str, str] = dict(args.endpoint)
    applied: dict[str, str] = dict(args.applied)
    graces: dict[str, float] = dict(args.grace)
    if args.endpoints:
        more = endpoints_file(args.endpoints)
        named.update(more[0])
        applied.update(more[1])
        graces = {**more[2], **graces}
    for url in args.urls:
        named[_name_for(url, named)] = url
    endpoints = [Endpoint(name, url) for name, url in named.items()]
    applications = [
        Application(name, source, graces.get(name, graces[""])) for name, source in applied.items()
    ]
    configs = {each.config for each in endpoints}
    for application in applications:
        if application.config not in configs:
            raise CheckError(
                f"application {safe(application.name, 60)}: there is no endpoint of "
                f"{safe(application.config, 60) or 'an unnamed configuration'} to compare with"
            )
    if not endpoints and not args.manifest and args.puppet is None:
        raise CheckError("nothing to look at: give a URL, --endpoints, --manifest or --puppet")
    return endpoints, applications


def _name_for(url: str, taken_names: Mapping[str, str]) -> str:
    """A short name for a URL: its host; with port and file where that is not enough."""
    parts = urlsplit(url)
    host = (parts.hostname or "").replace("/", "")
    port = f":{parts.port}" if parts.port else ""
    for name in (host, f"{host}{port}", f"{host}{port}:{posixpath.basename(parts.path)}"):
        if name not in taken_names and (name != host or not port):
            return name
    return next(
        f"{host}{port}#{n}" for n in range(2, 10_000) if f"{host}{port}#{n}" not in taken_names
    )


def endpoints_file(path: Path) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
    """`endpoints`, `applied` (name: place) and `grace` (name: duration) of a YAML, TOML, JSON or
    INI file; CheckError.
    """
    suffix = path.suffix.lower().lstrip(".")
    kind = {"yml": "yaml", "cfg": "ini", "conf": "ini"}.get(suffix, suffix)
    if kind not in ("yaml", "toml", "json", "ini"):
        raise CheckError(f"--endpoints {safe(str(path))}: name it .yaml, .toml, .json or .ini")
    try:
        document = documents.parse(kind, fetch.small_file(str(path), 4 << 20))
    except OSError as error:
        raise CheckError(f"--endpoints {safe(str(path))}: {error.strerror}") from error
    except (documents.NotParsed, documents.LibraryMissing, fetch.NoAnswer) as error:
        raise CheckError(f"--endpoints {safe(str(path))}: {safe(str(error))}") from error
    parts: list[dict[str, str]] = []
    for section in ("endpoints", "applied", "grace"):
        part = document.get(section, {}) if isinstance(document, dict) else {}
        if not isinstance(part, dict):
            raise CheckError(f"--endpoints {safe(str(path))}: {section} is not a table")
        parts.append({str(name): str(value) for name, value in part.items()})
    if not parts[0]:
        raise CheckError(f"--endpoints {safe(str(path))}: it has no endpoints")
    try:
        for name, url in parts[0].items():
            _checked_url(url, name)
        graces = {name: duration(text) for name, text in parts[2].items()}
    except ValueError as error:
        raise CheckError(f"--endpoints {safe(str(path))}: {safe(str(error))}") from error
    return parts[0], parts[1], graces


def _checked_url(url: str, name: str = "") -> str:
    """The URL itself; ValueError with a sentence."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        of = f" of {name}" if name else ""
        raise ValueError(f"{safe(url, 80)!r}{of} is not an http:// or https:// URL")
    return url


def _public_url(text: str) -> str:
    """A URL from the command line; ValueError when it carries credentials, which all may read."""
    url = _checked_url(text)
    if "@" in urlsplit(url).netloc:
        raise ValueError(
            "a command line can be read by every user: put credentials into a file (--basic FILE)"
        )
    return url


def _public_place(text: str) -> str:
    """A URL without credentials, or whatever is no URL; ValueError."""
    return _public_url(text) if "://" in text else text


def _endpoint(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or not name or "://" in name:
        raise ValueError(f"{safe(text, 80)!r} is not NAME=URL")
    return name, _public_url(url)


def _applied(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals or not name or not source:
        raise ValueError(f"{safe(text, 80)!r} is not NAME=URL[#path], NAME=/file or NAME=puppet")
    if "://" in source:
        _public_url(source)
    elif not source.startswith("/") and source.split(":")[0] != "puppet":
        raise ValueError(f"{safe(source, 80)!r} is neither a URL, nor /file, nor puppet")
    return name, source


def _grace(text: str) -> tuple[str, float]:
    name, equals, typed = text.rpartition("=")
    seconds = duration(typed)
    if seconds <= 0 or (equals and not name):
        raise ValueError(f"{text!r} is not a positive DURATION or NAME=DURATION")
    return name, seconds


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


class _Graces(argparse.Action):
    """--grace 8h --grace web=12h, later ones over earlier ones and over the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        namespace.grace = {**namespace.grace, values[0]: values[1]}


def options() -> argparse.ArgumentParser:
    """The command line."""
    # fmt: off
    made = opt.parser("config_freshness", __doc__)
    add = made.add_argument
    add("urls", nargs="*", type=opt.argument(_public_url), metavar="URL",
        help="endpoints of one configuration, named after their hosts")
    what = made.add_argument_group("endpoints")
    add = what.add_argument
    add("--endpoint", action="append", type=opt.argument(_endpoint), default=[],
        metavar="NAME=URL",
        help="an endpoint; repeatable; CONFIG/NAME where there are several configurations")
    add("--endpoints", type=Path, metavar="FILE",
        help="YAML, TOML, JSON or INI file with the tables endpoints (NAME: URL), applied (NAME:"
        " PLACE) and grace (NAME: DURATION); URLs in it may carry credentials")
    add("--each-address", action="store_true",
        help="ask every address behind a host's name, one by one")
    add("--one-down", type=opt.state, default="warning", metavar="STATE",
        help="state when one of several endpoints cannot be read (default: warning)")
    add("--node-header", default="", metavar="NAME",
        help="response header that names the node, such as X-Served-By: the same one behind two "
        "endpoints is a WARNING; without it the same address is")
    add("--max-size", type=opt.size, default="4MiB", metavar="SIZE",
        help="read no more than this of an answer, as sent and as unpacked (default: 4MiB)")
    what = made.add_argument_group("what is configuration")
    add = what.add_argument
    add("--parse", choices=documents.FORMATS,
        help="every answer must parse as this (yaml needs python3-yaml, toml Python 3.11 or "
        "tomli)")
    add("--require-key", action="append", default=[], metavar="PATH",
        help="a key that must be there, as database.host or hosts[0]; needs --parse; repeatable")
    add("--version-key", default="", metavar="PATH",
        help="a key whose value is the version, which must not go back; needs --parse")
    add("--allow-rollback", action="store_true",
        help="the value of --version-key may go below the highest that was seen, which is CRITICAL"
        " otherwise: for a rollback on purpose, until the version is past the old one")
    add("--canonical", choices=["json"],
        help="compare by meaning, not by bytes (order of keys, blanks); needs --parse")
    what = made.add_argument_group("checksum data")
    add = what.add_argument
    add("--checksum", choices=["auto", "any", "header", "sidecar", "none"], default="auto",
        help="auto: an endpoint must have what it ever had; any: a digest header or a sidecar; "
        "header; sidecar; none: do not look (default: auto)")
    add("--checksum-url", type=opt.argument(_public_place), metavar="SUFFIX|URL",
        help="where a sidecar or list of checksums is that must be there: .sha256, put to each "
        "endpoint's path, or a URL")
    add("--pinned", type=opt.argument(digests.pinned), metavar="HASH",
        help="the checksum that every endpoint's answer must have: hex, or sha256:HEX")
    add("--not-modified", type=opt.state, default="ok", metavar="STATE",
        help="state when an endpoint does not answer 304 to its own ETag, which costs bandwidth "
        "only (default: ok, a remark)")
    what = made.add_argument_group("freshness")
    add = what.add_argument
    add("--sync-grace", type=opt.duration, default="5m", metavar="DURATION",
        help="endpoints may differ this long (default: 5m)")
    add("--max-age", type=opt.duration, metavar="DURATION",
        help="CRITICAL when Last-Modified is longer before the server's own Date (default: none)")
    add("--max-cached", type=opt.duration, default="5m", metavar="DURATION",
        help="WARNING when an answer was in a cache for longer, by Age (default: 5m)")
    add("--max-skew", type=opt.duration, metavar="DURATION",
        help="CRITICAL when a server's clock is off by more (default: none; above 30s is "
        "remarked)")
    add("--expect-change", type=opt.duration, metavar="DURATION",
        help="WARNING when nothing has changed for longer (default: none)")
    add("--max-changes", type=opt.argument(_whole), default="10", metavar="N",
        help="WARNING when an endpoint changes more often within an hour (default: 10)")
    what = made.add_argument_group("taken")
    add = what.add_argument
    add("--applied", action="append", type=opt.argument(_applied), default=[],
        metavar="NAME=PLACE",
        help="what an application runs with: URL#json.path, URL#metric, URL#metric{label}, URL "
        "of a bare hash, /file, or puppet[:/file]; a hash, version or ETag; repeatable")
    add("--grace", action=_Graces, type=opt.argument(_grace), default={"": 8 * 3600.0},
        metavar="[NAME=]DURATION",
        help="an application may be behind this long; WARNING at half of it; repeatable with the"
        " name of one (default: 8h)")
    what = made.add_argument_group("files here")
    add = what.add_argument
    add("--manifest", type=opt.argument(_public_place), metavar="URL|FILE",
        help="an mtree(8) specification or the output of sha256sum, to hold files here against")
    add("--root", metavar="DIR",
        help="where the manifest's paths begin (default: its own '# tree:', or its directory)")
    add("--max-manifest-age", type=opt.duration, metavar="DURATION",
        help="CRITICAL when the manifest is older by Last-Modified or mtime (default: none)")
    opt.add_selectors(made, "files of the manifest, by path or name,")
    add("--puppet", nargs="?", const="", metavar="FILE",
        help="judge Puppet's last run, by its last_run_summary.yaml (default: the usual places)")
    add("--puppet-max-age", type=opt.duration, default="2h", metavar="DURATION",
        help="WARNING when Puppet's last run is older; CRITICAL after --grace (default: 2h)")
    what = made.add_argument_group("asking")
    add = what.add_argument
    add("--bearer", type=Path, metavar="FILE",
        help="file with a bearer token; or the environment's CONFIG_FRESHNESS_BEARER")
    add("--basic", type=Path, metavar="FILE",
        help="file with user:password; or the environment's CONFIG_FRESHNESS_BASIC")
    add("--header-file", type=Path, metavar="FILE", help="file with header lines to send")
    add("--ca-file", type=Path, metavar="FILE",
        help="PEM file of the CAs to trust (default: the system's)")
    add("--cert", type=Path, metavar="FILE", help="client certificate, PEM")
    add("--key", type=Path, metavar="FILE", help="its key, PEM (default: in the same file)")
    add("--use-environment", action="store_true",
        help="heed proxies and ~/.netrc; otherwise they are ignored")
    opt.add_limits(
        made, warning="5s", critical=None, unit=duration, what="an endpoint's response time"
    )
    opt.add_state_dir(made)
    # fmt: on
    return made


def plan(args: argparse.Namespace, now: Callable[[], Stamp] = remembered.now) -> Check:
    """The check for a command line; `now` is the clock of the history."""
    if not args.parse and (args.require_key or args.version_key or args.canonical):
        raise CheckError("--require-key, --version-key and --canonical need --parse")
    return Check(
        "config_freshness", lambda: look(args, now), timeout=args.timeout, verbose=args.verbose
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

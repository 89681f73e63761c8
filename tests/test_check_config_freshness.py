"""check_config_freshness: its judgement, and its stories against an endpoint with manners."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT
from contract import Case
from sides.endpoint import Endpoint, bomb
from twiceshy.config_freshness import (
    answers,
    applied,
    differences,
    digests,
    freshness,
    inputs,
    manifests,
    puppet,
)
from twiceshy.config_freshness import program as check_config_freshness
from twiceshy.config_freshness.answers import Running, Served
from twiceshy.config_freshness.differences import FileState
from twiceshy.config_freshness.past import ApplicationPast, ConfigPast, EndpointPast, Version
from twiceshy.config_freshness.settings import FileSettings, FreshnessSettings, settings_of
from twiceshy.kit import options as opt
from twiceshy.kit import verdict
from twiceshy.kit.check import Check
from twiceshy.kit.history import History
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError
from twiceshy.kit.stamps import Stamp

SCRIPT = ROOT / "checks" / "check_config_freshness.py"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
KEPT: list[Endpoint] = []  # of the contract's cases, which run in processes of their own


def contract_case(tmp_path: Path) -> Case:
    KEPT.append(Endpoint().__enter__())
    return Case([KEPT[-1].url, "--parse", "json"], libraries=("requests",))


def hanging_case(tmp_path: Path) -> Case:
    KEPT.append(Endpoint(manner="silent").__enter__())
    return Case([KEPT[-1].url], libraries=("requests",))


class Clock:
    """The clocks of the history, which the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> Stamp:
        return Stamp("boot", self.seconds, 1_700_000_000.0 + self.seconds)

    def forward(self, seconds: float) -> None:
        self.seconds += seconds


class Story:
    """Runs of the check over one history, with a clock that the test moves."""

    def __init__(self, tmp_path: Path, *args: str) -> None:
        self.clock = Clock()
        self.args = ["-t", "3s", "--state-dir", str(tmp_path / "history"), *args]
        self.check: Check

    def run(self, *more: str) -> tuple[int, str]:
        args = check_config_freshness.options().parse_args([*self.args, *more])
        self.check = check_config_freshness.plan(args, self.clock)
        self.check()
        return self.check.exitcode, self.check.summary_str

    def after(self, seconds: float, *more: str) -> tuple[int, str]:
        self.clock.forward(seconds)
        return self.run(*more)


def named(**endpoints: Endpoint) -> list[str]:
    return [word for name, e in endpoints.items() for word in ("--endpoint", f"{name}={e.url}")]


# The outage


def test_checksum_data_lost_on_both_at_once_is_critical_on_the_next_run(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        assert story.run()[0] == 0
        a.digest = b.digest = None
        assert story.after(5 * MINUTE) == (
            2,
            "checksum data is missing from both endpoints, a and b; applications can run without "
            "it for another 7h55m (grace 8h): no Repr-Digest or other digest in the header; it was "
            "there 5m ago",
        )
        assert story.after(8 * HOUR)[1].startswith(
            "checksum data is missing from both endpoints, a and b; the applications' grace of 8h "
            "is over"
        )
        assert any("curl" in finding.next for finding in story.check.findings)


def test_checksum_data_lost_on_one_of_two_is_a_warning(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        b.digest = None
        assert story.after(5 * MINUTE) == (
            1,
            "checksum data is missing from b: no Repr-Digest or other digest in the header; it was "
            "there 5m ago; 1 of 2 endpoints has it",
        )


def test_a_lost_sidecar_needs_no_history_when_it_was_asked_for(tmp_path: Path) -> None:
    with Endpoint(digest=None) as a, Endpoint(digest=None) as b:
        story = Story(tmp_path, *named(a=a, b=b), "--checksum-url", ".sha256")
        status, text = story.run()
        assert status == 2
        assert "its sidecar answers HTTP 404" in text
        a.with_sidecar()
        assert story.run()[0] == 1
        b.with_sidecar()
        assert story.run()[0] == 0


def test_a_sidecar_for_another_file_is_critical_even_on_one_of_two(tmp_path: Path) -> None:
    with Endpoint().with_sidecar() as a, Endpoint() as b:
        b.sidecar = f"{b.sha256}  other.json\n".encode()
        story = Story(tmp_path, *named(a=a, b=b), "--checksum-url", ".sha256")
        assert story.run() == (
            2,
            "b: its sidecar is for other.json, not for app.json, twice in a row",
        )


def test_what_comes_next_computes_the_sum_that_does_not_fit(tmp_path: Path) -> None:
    with Endpoint(digest=None).with_sidecar() as a:
        a.body += b" "
        story = Story(tmp_path, *named(a=a), "--checksum-url", ".sha256")
        assert story.run()[0] == 2
        assert story.check.findings[0].next == (
            f"sha256sum <(curl -sS {a.url}); curl -sS {a.url}.sha256"
        )


def test_one_down_and_the_other_without_checksum_is_critical(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        a.stop()
        b.digest = None
        status, text = story.run()
        assert status == 2
        assert text.startswith(
            "checksum data is missing from b, all that can be read of 2 endpoints; "
        )


def test_never_having_had_a_checksum_is_a_remark_only(tmp_path: Path) -> None:
    with Endpoint(digest=None) as a:
        story = Story(tmp_path, a.url)
        assert story.run()[0] == 0
        assert any("has checksum data" in remark for remark in story.check.remarks)
        assert story.run("--checksum", "any")[0] == 2


def test_checksums_can_be_left_alone(tmp_path: Path) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, a.url, "--checksum", "none")
        a.digest_of = b"other"
        assert story.run()[0] == 0


# Endpoints


def test_one_of_two_refusing_is_a_warning_and_both_are_critical(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        b.stop()
        assert story.after(MINUTE) == (
            1,
            "b refuses connections (last read 1m ago); 1 of 2 endpoints left",
        )
        assert story.run("--one-down", "critical")[0] == 2
        a.stop()
        assert story.after(HOUR) == (
            2,
            "no endpoint can be read, a and b: each refuses connections; applications can run "
            "without it for another 7h (grace 8h)",
        )


@pytest.mark.parametrize(
    ("manner", "state", "text"),
    [
        ("page", CRITICAL, 'b serves a web page ("Log in"), not configuration'),
        ("redirect", CRITICAL, "b redirects to sso.example/login, not followed"),
        ("cut", CRITICAL, "b truncates the body after 11 bytes"),
        ("always-304", WARNING, "b answers 304 to a request without a condition"),
        (
            "etag-for-any",
            CRITICAL,
            "b answers 304 to clients that hold another version (freeze): they never learn of a "
            "change",
        ),
        ("never-304", OK, None),
    ],
)
def test_a_manner_of_one_of_two(tmp_path: Path, manner: str, state: object, text: str) -> None:
    with Endpoint() as a, Endpoint(manner=manner) as b:
        b.location = "https://sso.example/login?token=abc"
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        finding = story.check.findings[0]
        if text is not None and manner == "cut":
            assert finding.text.startswith("b truncates the body")
        elif text is not None:
            assert finding.text == text
        assert finding.state == state


def test_a_redirect_is_followed_on_the_same_server_and_a_loop_is_named(tmp_path: Path) -> None:
    with Endpoint(manner="redirect") as a:
        a.pages["/moved.json"] = a.body
        a.location = "/moved.json"
        story = Story(tmp_path, *named(a=a), "--checksum", "none")
        assert story.run()[0] == 0
        a.location = "/app.json"
        assert story.run() == (2, "a redirects more than 3 times, last to 127.0.0.1/app.json")
        assert story.check.findings[0].next == f"curl -svL -o /dev/null {a.url}"


def test_the_body_of_a_redirect_is_bounded_too(tmp_path: Path) -> None:
    with Endpoint(manner="endless-redirect", location="/other") as a:
        story = Story(tmp_path, *named(a=a), "--max-size", "1MiB")
        assert story.run()[1].startswith("a sends endless data: more than 1MiB")


def test_a_page_in_place_of_configuration_can_be_looked_at(tmp_path: Path) -> None:
    with Endpoint(manner="page") as a:
        story = Story(tmp_path, *named(a=a))
        assert story.run()[0] == 2
        assert story.check.findings[0].next == f"curl -sS -r 0-500 {a.url}"


def test_a_body_cut_without_a_length_is_found_by_its_checksum_and_by_parsing(
    tmp_path: Path,
) -> None:
    with Endpoint(manner="cut-without-length") as a:
        story = Story(tmp_path, *named(a=a))
        assert story.run() == (
            2,
            "a serves a body that does not match its Repr-Digest, twice in a row",
        )
        a.digest = None
        status, text = story.run("--parse", "json", "--checksum", "none")
        assert (status, text[:31]) == (2, "a serves what is not JSON: line")


def test_a_mismatch_during_a_deploy_is_confirmed_before_it_alarms(tmp_path: Path) -> None:
    with Endpoint(digest_of=b"the next version") as a:

        def deployed(count: int) -> None:
            if count > 3:
                a.digest_of = None

        a.after = deployed
        story = Story(tmp_path, a.url, "-t", "3s")
        assert story.run()[0] == 0


def test_never_answering_304_is_a_remark_unless_asked_for(tmp_path: Path) -> None:
    with Endpoint(manner="never-304") as a:
        story = Story(tmp_path, a.url)
        assert story.run()[0] == 0
        assert any("never 304" in remark for remark in story.check.remarks)
        assert story.run("--not-modified", "warning")[0] == 1


def test_an_etag_that_stays_the_same_over_a_change_is_a_freeze(tmp_path: Path) -> None:
    with Endpoint(etag='"always"') as a:
        story = Story(tmp_path, a.url)
        assert story.run()[0] == 0
        a.body = b'{"version": 2}'
        status, text = story.after(HOUR)
        assert (status, "304 to clients that hold another version" in text) == (2, True)


def test_two_nodes_behind_one_name_are_said_and_are_no_freeze(tmp_path: Path) -> None:
    with Endpoint() as lb:
        bodies = {0: b'{"version": 1}', 1: b'{"version": 2}'}
        story = Story(tmp_path, *named(lb=lb))
        for pattern in ("01", "0011", "0001", "10", "1100"):

            def balanced(count: int, pattern: str = pattern) -> None:
                lb.body = bodies[int(pattern[count % len(pattern)])]

            lb.after = balanced
            for _ in range(3):
                status, text = story.after(HOUR)
                assert (status, text) == (
                    1,
                    "lb serves two versions in turn: several nodes behind one name?",
                ) or (status == 0 and "304" not in story.check.output())


def test_canonical_json_does_not_confuse_the_etags(tmp_path: Path) -> None:
    with Endpoint(b'{"a": 1}') as a:
        args = ["--parse", "json", "--canonical", "json"]
        story = Story(tmp_path, *named(a=a), *args)
        for body in (b'{"a": 1}', b'{"a":1}', b'{"a": 2}'):
            a.body = body
            for _ in range(2):
                assert story.after(HOUR)[0] == 0


def test_gzip_on_one_node_only_is_no_difference(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint(gzip=True) as b:
        assert Story(tmp_path, *named(a=a, b=b)).run()[0] == 0


def test_a_digest_of_the_decoded_bytes_is_remarked_only(tmp_path: Path) -> None:
    with Endpoint(gzip=True) as a:
        a.digest_of = a.body
        story = Story(tmp_path, *named(a=a))
        assert story.run()[0] == 0
        assert any("RFC 9530 wants the encoded ones" in remark for remark in story.check.remarks)


def test_a_body_that_its_checksum_does_not_fit_is_not_remembered_as_a_version(
    tmp_path: Path,
) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, *named(a=a))
        story.run()
        a.manner = "cut-without-length"
        assert story.after(MINUTE)[0] == 2
        a.manner = "honest"
        status, text = story.after(MINUTE)
        assert (status, text[-16:]) == (0, "unchanged for 2m")


def test_etags_of_two_nodes_are_never_compared(tmp_path: Path) -> None:
    with Endpoint(etag='"1"') as a, Endpoint(etag='"2"') as b:
        assert Story(tmp_path, *named(a=a, b=b)).run()[0] == 0


def test_obsolete_digests_are_good_enough_with_a_remark(tmp_path: Path) -> None:
    for field in ("Digest", "Content-MD5"):
        with Endpoint(digest=field) as a:
            story = Story(tmp_path / field, a.url, "--checksum", "header")
            assert story.run()[0] == 0
            assert any("obsolete" in remark for remark in story.check.remarks)


def test_a_checksum_of_another_version_is_called_mix_and_match(tmp_path: Path) -> None:
    with Endpoint(digest=None).with_sidecar() as a:
        story = Story(tmp_path, *named(a=a), "--checksum-url", ".sha256")
        story.run()
        a.body = b'{"version": 2}'
        assert story.after(HOUR) == (
            2,
            "a serves a body that does not match its sidecar's checksum, twice in a row "
            "(mix-and-match: it is that of the version first seen 1h ago)",
        )


def test_a_return_to_an_older_version_is_remarked(tmp_path: Path) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, *named(a=a))
        story.run()
        old, a.body = a.body, b'{"version": 2}'
        assert story.after(DAY)[0] == 0
        assert not story.check.remarks
        a.body = old
        for _ in range(2):
            assert story.after(DAY)[0] == 0
        assert "a again serves the version first seen 3d ago (rollback)" in story.check.remarks


def test_what_puppet_applied_is_compared_with_the_version(tmp_path: Path) -> None:
    summary = tmp_path / "last_run_summary.yaml"
    summary.write_text("---\nversion:\n  config: 1\ntime:\n  last_run: 1\n")
    with Endpoint() as a:
        args = ["--parse", "json", "--version-key", "version"]
        story = Story(tmp_path, a.url, *args, "--applied", f"host=puppet:{summary}")
        assert story.run()[1].endswith("1 of 1 application has loaded it")
        a.body = b'{"version": 2}'
        story.run()
        assert story.after(9 * HOUR) == (
            2,
            "host still runs 1, outdated for 9h (grace 8h)",
        )


def test_a_pinned_checksum_must_be_served(tmp_path: Path) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, a.url)
        assert story.run("--pinned", a.sha256)[0] == 0
        status, text = story.run("--pinned", "sha256:" + "0" * 64)
        assert (status, "not what is pinned" in text) == (2, True)


def test_a_missing_key_is_no_configuration(tmp_path: Path) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, *named(a=a), "--parse", "json")
        assert story.run("--require-key", "version")[0] == 0
        assert story.run("--require-key", "database.host") == (
            2,
            "a serves a configuration without the key database.host",
        )


def test_who_never_let_us_in_is_unknown_and_who_no_longer_does_is_down(tmp_path: Path) -> None:
    with Endpoint(status=403) as a:
        assert Story(tmp_path / "1", a.url).run()[0] == 3
        a.status = 200
        story = Story(tmp_path / "2", a.url)
        story.run()
        a.status = 403
        assert story.run()[0] == 2


def test_the_same_node_behind_two_names_is_said(tmp_path: Path) -> None:
    with Endpoint() as a:
        status, text = Story(tmp_path, *named(a=a, b=a)).run()
        assert status == 1
        assert text.startswith("a and b are not independent: the same address 127.0.0.1:")
    with Endpoint(headers={"X-Served-By": "n1"}) as a, Endpoint(headers=a.headers) as b:
        story = Story(tmp_path / "2", *named(a=a, b=b), "--node-header", "X-Served-By")
        assert story.run() == (1, "a and b are not independent: the same node n1 answers")


def test_a_slow_answer_breaks_the_warning_limit(tmp_path: Path) -> None:
    with Endpoint() as a:
        status, text = Story(tmp_path, *named(a=a), "-w", "0s").run()
        assert (status, text[:28]) == (1, "a is slow (slow retrieval): ")


# Redundant endpoints


def test_a_rolling_deploy_is_given_its_time_and_then_the_stale_one_is_named(
    tmp_path: Path,
) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        a.body = b'{"version": 2}'
        status, text = story.after(HOUR)
        assert (status, text[:46]) == (0, "b serves the version that a has just replaced;")
        assert story.after(90)[0] == 0
        assert story.after(9 * HOUR - 90) == (
            2,
            "b serves the version that a replaced 9h ago; they have differed for 9h (limit 5m)",
        )
        b.body = a.body
        assert story.run()[0] == 0
        b.body = b'{"version": 1}'
        story.run()
        status, text = story.after(HOUR)
        assert status == 2
        assert text.startswith("b again serves the version first seen 11h ago (rollback), while a")


def test_without_history_last_modified_tells_who_is_stale(tmp_path: Path) -> None:
    now = time.time()
    new = b'{"version": 2}'
    old_one = Endpoint(last_modified=now - 10 * HOUR)
    with old_one as a, Endpoint(new, last_modified=now - HOUR) as b:
        status, text = Story(tmp_path, *named(a=a, b=b)).run()
        assert status == 2
        assert text.startswith(
            "a serves a version 9h older than that of b; they have differed for 1h"
        )


def test_without_any_order_both_are_named(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint(b'{"version":  1}\r\n') as b, Endpoint() as c:
        story = Story(tmp_path, *named(a=a, b=b, c=c))
        status, text = story.run()
        assert status == 0
        status, text = story.after(HOUR)
        assert status == 2
        assert text.startswith("endpoints have served different configurations for 1h (limit 5m): ")
        assert "a and c c3aa9744" in text


def test_different_line_ends_are_hinted_at_and_canonical_json_is_equal(tmp_path: Path) -> None:
    with Endpoint(b'{"a": 1,\n"b": 2}') as a, Endpoint(b'{"a": 1,\r\n"b": 2}\r\n') as b:
        story = Story(tmp_path, *named(a=a, b=b))
        assert "differ only in line endings" in story.run()[1]
        b.body = b'{"b":2,"a":1}'
        assert "(equal as JSON: --canonical json)" in story.run()[1]
        assert story.run("--parse", "json", "--canonical", "json")[0] == 0


def test_several_configurations_are_not_compared_with_each_other(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint(b'{"version": 7}') as b:
        args = ["--endpoint", f"billing/a={a.url}", "--endpoint", f"search/a={b.url}"]
        status, text = Story(tmp_path, *args).run()
        assert (status, text[:39]) == (0, "2 endpoints serve 2 configurations, che")


def test_each_address_behind_a_name_is_an_endpoint_of_its_own(tmp_path: Path) -> None:
    with Endpoint() as a:
        story = Story(tmp_path, "--endpoint", f"x=http://localhost:{a.port}/app.json")
        story.run("--each-address")
        assert sum(text.partition("=")[0].endswith("_size") for text in story.check.perfdata) == 1
        asked = [headers["host"] for _, _, headers in a.asked]
        assert set(asked) == {f"localhost:{a.port}"}


def test_the_stale_address_behind_a_name_is_named() -> None:
    first = answers.Endpoint("x@10.0.0.1", "http://conf/app.json", "10.0.0.1")
    assert answers.curl(first) == (
        "curl -sv --connect-to ::10.0.0.1: -o /dev/null http://conf/app.json"
    )


# Freshness


def settings(*args: str) -> FreshnessSettings:
    parsed = check_config_freshness.options().parse_args(["http://a", *args])
    return settings_of(parsed).freshness


SEEN = Served("a", key="k1", date=10_000.0, received_at=10_000.0, seconds=0.1, wire=b"x", body=b"x")


@pytest.mark.parametrize(
    ("seen", "past", "args", "state", "text"),
    [
        (replace(SEEN, last_modified=-400 * DAY), {}, [], OK, ""),
        (
            replace(SEEN, last_modified=10_000 - 25 * HOUR),
            {},
            ["--max-age", "24h"],
            CRITICAL,
            "a serves a configuration last modified 1d1h ago (freeze), limit 1d",
        ),
        (
            SEEN,
            {},
            ["--max-age", "24h"],
            UNKNOWN,
            "a sends no Last-Modified: its age is unknown, limit 1d",
        ),
        (replace(SEEN, date=10_600.0, last_modified=10_590.0), {}, ["--max-age", "24h"], OK, ""),
        (
            replace(SEEN, date=10_600.0),
            {},
            ["--max-skew", "5m"],
            CRITICAL,
            "a: its clock is 10m ahead of ours (limit 5m)",
        ),
        (
            replace(SEEN, cached_seconds=7200.0),
            {},
            [],
            WARNING,
            "a answers from a cache: 2h old (Age), limit 5m",
        ),
        (
            SEEN,
            {"key": "k1", "since": 8 * DAY},
            ["--expect-change", "7d"],
            WARNING,
            "a has not changed for 8d (freeze), expected within 7d",
        ),
        (
            SEEN,
            {"key": "k0", "changes": (60.0,) * 10},
            [],
            WARNING,
            "a changed 11 times within 1h (limit 10): several nodes behind one name?",
        ),
        (
            replace(SEEN, version="1.9"),
            {"version": "1.10"},
            [],
            CRITICAL,
            "a went back from version 1.10 to 1.9 (rollback)",
        ),
        (replace(SEEN, version="1.9"), {"version": "1.10"}, ["--allow-rollback"], OK, ""),
        (
            replace(SEEN, seconds=6.0),
            {},
            [],
            WARNING,
            "a is slow (slow retrieval): 6s for 1B (limit 5s)",
        ),
    ],
)
def test_freshness(seen, past, args, state, text) -> None:
    findings, _ = freshness.fresh(seen, EndpointPast(**past), settings(*args))
    assert [(f.state, f.text) for f in findings] == ([] if state is OK else [(state, text)])


def test_a_wrong_clock_is_a_remark() -> None:
    seen = replace(SEEN, date=10_600.0, last_modified=10_590.0)
    _, remarks = freshness.fresh(seen, EndpointPast(), settings())
    assert remarks == ["a: its clock is 10m ahead of ours"]


def test_a_version_that_goes_back_on_all_endpoints_is_a_rollback(tmp_path: Path) -> None:
    with Endpoint(b'{"version": 42}') as a:
        story = Story(tmp_path, *named(a=a), "--parse", "json", "--version-key", "version")
        story.run()
        a.body = b'{"version": 41}'
        assert story.after(DAY) == (2, "a went back from version 42 to 41 (rollback)")
        a.body = b'{"version": 43}'
        assert story.after(DAY)[0] == 0


# Taken

APP = answers.Application("web", "http://web/", 8 * HOUR)
V1 = Version("k1", ("k1", "1" * 64, "41"), 30 * DAY)
V2 = Version("k2", ("k2", "2" * 64, "42"), 8 * HOUR)


def config_past(age: float) -> ConfigPast:
    return ConfigPast(30 * DAY, True, 0.0, None, (V1, V2), (("k1", 30 * DAY), ("k2", age)))


@pytest.mark.parametrize(
    ("value", "age", "state"),
    [
        ("42", 9 * HOUR, None),
        ("2" * 64, 9 * HOUR, None),
        ("sha256:" + "2" * 64, 9 * HOUR, None),
        ("2222222", 9 * HOUR, None),
        ("222", 9 * HOUR, WARNING),
        ("41", HOUR, OK),
        ("41", 4 * HOUR, WARNING),
        ("41", 8 * HOUR - MINUTE, WARNING),
        ("41", 8 * HOUR + MINUTE, CRITICAL),
        ("40", HOUR, WARNING),
    ],
)
def test_an_application_has_its_grace(value: str, age: float, state: object) -> None:
    one = applied.applied(APP, Running(value), ApplicationPast(), [V2], config_past(age))
    assert (one.finding.state if one.finding else None) == state


def test_the_grace_is_each_applications_own() -> None:
    slow = replace(APP, grace=48 * HOUR)
    one = applied.applied(slow, Running("41"), ApplicationPast(), [V2], config_past(12 * HOUR))
    assert one.finding
    assert one.finding.state is OK


def test_the_words_of_an_application_that_is_behind() -> None:
    one = applied.applied(APP, Running("1" * 64), ApplicationPast(), [V2], config_past(5 * HOUR))
    assert one.finding
    assert one.finding.text == ("web still runs 111111111111, outdated for 5h; 3h left (grace 8h)")
    assert one.lag == 5 * HOUR


def test_an_unknown_configuration_is_a_finding_of_its_own() -> None:
    one = applied.applied(
        APP, Running("zz"), ApplicationPast(odd=9 * HOUR), [V2], config_past(HOUR)
    )
    assert one.finding
    assert (one.finding.state, one.finding.text) == (
        CRITICAL,
        "web has run an unknown configuration, zz, which was never published, for 9h (grace 8h)",
    )


def test_a_lost_history_restarts_the_grace_and_never_alarms() -> None:
    young = ConfigPast(MINUTE, True, 0.0, None, (V2,), (("k2", MINUTE),))
    one = applied.applied(APP, Running("41"), ApplicationPast(), [V2], young)
    assert one.finding
    assert (one.finding.state, one.finding.text) == (
        OK,
        "web runs 41, which was not published in the 1m of history; 7h59m left (grace 8h)",
    )


def test_who_cannot_read_its_configuration_is_warned_about_with_the_time_left() -> None:
    said = Running(trouble="answers HTTP 503")
    one = applied.applied(APP, said, ApplicationPast(current=20 * MINUTE), [V2], config_past(HOUR))
    assert one.finding
    assert (one.finding.state, one.finding.text) == (
        WARNING,
        "web does not report its configuration: it answers HTTP 503; it last ran what is "
        "published 20m "
        "ago; 7h40m left (grace 8h)",
    )
    late = applied.applied(APP, said, ApplicationPast(current=9 * HOUR), [V2], config_past(HOUR))
    assert late.finding
    assert late.finding.state is CRITICAL


def test_what_we_may_not_read_of_an_application_is_unknown() -> None:
    one = applied.applied(APP, Running(locked="/etc/x"), ApplicationPast(), [V2], config_past(HOUR))
    assert one.finding == verdict.Finding(
        UNKNOWN, "web cannot be judged: not allowed to read /etc/x", code="refused"
    )


def test_going_back_and_forth_within_the_grace_is_not_counted_from_the_first_time() -> None:
    again = ConfigPast(
        30 * DAY, True, 0.0, None, (V1, V2),
        (("k1", 30 * DAY), ("k2", 9 * HOUR), ("k1", 7 * HOUR), ("k2", HOUR)),
    )  # fmt: skip
    assert applied.lag("41", [V2], again) == HOUR


def test_an_application_is_outdated_since_the_first_version_that_it_missed() -> None:
    twice = replace(
        config_past(9 * HOUR), published=(*config_past(9 * HOUR).published, ("k3", HOUR))
    )
    assert applied.lag("41", [Version("k3", ("k3",), HOUR)], twice) == 9 * HOUR


def test_an_application_that_is_ahead_of_the_last_endpoint_is_not_behind() -> None:
    rolling = ConfigPast(
        30 * DAY, True, 0.0, 60.0, (V1, replace(V2, age=60.0)), (("k1", 30 * DAY),)
    )
    assert applied.lag("42", [V1], rolling) == 0.0


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("http://w/#config.sha", b'{"config": {"sha": "abc"}}', Running("abc")),
        ("http://w/#a", b"{}", Running(trouble="does not report a")),
        ("http://w/#a", b'{"a": null}', Running(trouble="reports an empty a")),
        ("http://w/#config_hash", b"config_hash 1.5e3\n", Running("1500")),
        ("http://w/#info{sha}", b'info{sha="abc",x="}"} 1\n', Running("abc")),
        ("http://w/", b"abc\n", Running("abc")),
        ("http://w/", b"", Running(trouble="sends an empty answer")),
    ],
)
def test_what_an_application_says(source: str, text: bytes, expected: Running) -> None:
    assert applied.running(source, text) == expected


def test_applications_over_http_and_files_from_a_run_to_the_end_of_grace(tmp_path: Path) -> None:
    taken = tmp_path / "app.json"
    with Endpoint() as a, Endpoint() as b, Endpoint(pages={"/v": b'{"v": 1}'}) as web:
        taken.write_bytes(a.body)
        info = f"web=http://127.0.0.1:{web.port}/v#v"
        args = ["--applied", info, "--applied", f"disk={taken}", "--parse", "json"]
        args += ["--version-key", "version", "--grace", "disk=12h"]
        story = Story(tmp_path, *named(a=a, b=b), *args)
        assert story.run()[1].endswith("2 of 2 applications have loaded it")
        a.body = b.body = b'{"version": 2}'
        assert story.after(HOUR)[0] == 0
        assert story.after(5 * HOUR)[0] == 1
        web.pages["/v"] = b'{"v": 2}'
        assert story.after(4 * HOUR)[0] == 1
        status, text = story.after(4 * HOUR)
        assert (status, text) == (
            2,
            f"disk still runs {story_hash(taken)}, outdated for 13h (grace 12h)",
        )
        taken.write_bytes(a.body)
        assert story.run()[0] == 0
        assert "disk_lag=0s;21600;43200;0" in story.check.perfdata


def story_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


# Files


def entry(**keys):
    return manifests.FileEntry("app.conf", "file", **keys)


FILE = FileState("file", 0o640, 0, 0, "root", "root", 3, digests={"sha256": b"x" * 32})
SHA = (digests.Checksum("manifest", "sha256", b"x" * 32),)
BAD = (digests.Checksum("manifest", "sha256", b"y" * 32),)


@pytest.mark.parametrize(
    ("wanted", "found", "kinds"),
    [
        (entry(mode=0o640, owner="root", checksums=SHA), FILE, []),
        (entry(mode=0o640), replace(FILE, mode=0o666), ["mode"]),
        (entry(mode=0o640), replace(FILE, mode=0o4640), ["mode"]),
        (entry(owner="root"), replace(FILE, owner="nagios"), ["owner"]),
        (entry(owner="root", uid=77), FILE, []),
        (entry(uid=77, gid=77), FILE, ["owner", "group"]),
        (entry(group="adm"), FILE, ["group"]),
        (entry(checksums=BAD), FILE, ["hash"]),
        (entry(size=4), FILE, ["size"]),
        (entry(), FileState("link", link="/etc/shadow"), ["type"]),
        (entry(), FileState(), ["missing"]),
        (entry(optional=True), FileState(), []),
        (entry(checksums=SHA), replace(FILE, trouble="Permission denied"), ["unreadable"]),
        (
            manifests.FileEntry("l", "link", link="a"),
            FileState("link", link="b"),
            ["link"],
        ),
    ],
)
def test_a_file_against_its_entry(wanted, found, kinds) -> None:
    assert [each.kind for each in differences.differences(wanted, found)] == kinds


def test_a_skewed_mode_is_named_first_and_an_unreadable_file_hides_nothing(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o640)
    (tmp_path / "b").chmod(0o666)
    (tmp_path / "c").write_text("other")
    (tmp_path / "x.dpkg-dist").write_text("")
    (tmp_path / "y").write_text("")
    spec = tmp_path.parent / f"{tmp_path.name}.mtree"
    spec.write_text(
        textwrap.dedent("""\
        /set type=file mode=0640
        . type=dir mode=0700
            a size=1
            b
            c sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
            d
        ..
        """)
    )
    args = ["--manifest", str(spec), "--root", str(tmp_path), "--exclude", "*.dpkg-dist"]
    tmp_path.chmod(0o700)
    story = Story(tmp_path.parent / f"{tmp_path.name}-state", *args)
    status, text = story.run()
    assert status == 2
    assert text == (
        f"3 of 5 files below {verdict.safe(str(tmp_path), 60)} differ from the manifest: "
        "b has mode 0666, should be 0640 (anyone may write); c has different content (sha256); "
        "d is missing (+1 more)"
    )
    assert [f.state for f in story.check.findings] == [CRITICAL, WARNING]
    assert {"files_mode=1;;;0", "files_extra=1;;;0", "files_hash=1;;;0"} <= set(
        story.check.perfdata
    )


def test_a_list_of_sha256sum_goes_through_links_as_sha256sum_does(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("a")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    hashed = hashlib.sha256(b"a").hexdigest()
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{hashed}  link\n{hashed}  real\n")
    story = Story(tmp_path, "--manifest", str(sums))
    assert story.run() == (0, f"2 files below {verdict.safe(str(tmp_path), 60)} match the manifest")
    sums.write_text(f"{hashed}  link\n{hashed}  dangling\n")
    assert story.run()[1].endswith(": dangling is missing")


def test_a_manifest_that_is_missing_or_old_is_critical(tmp_path: Path) -> None:
    with Endpoint(pages={"/m": b"#mtree\n. type=dir\n"}) as a:
        base = f"http://127.0.0.1:{a.port}"
        args = ["--root", str(tmp_path), "--manifest"]
        assert Story(tmp_path / "s", *args, f"{base}/m", "--exclude", "s").run()[0] == 0
        assert Story(tmp_path / "s", *args, f"{base}/n").run() == (
            2,
            f"the manifest {base}/n answers HTTP 404",
        )
    spec = tmp_path / "spec"
    spec.write_text(". type=dir\n")
    os.utime(spec, (0, 0))
    story = Story(tmp_path / "s", *args, str(spec), "--max-manifest-age", "7d")
    assert "(freeze)" in story.run()[1]


# Puppet

SUMMARY = puppet.Summary(10_000.0, "v1", 0, True, 0, 0)


@pytest.mark.parametrize(
    ("run", "clock", "state", "text"),
    [
        (puppet.Run(SUMMARY), 11_000.0, None, ""),
        (
            puppet.Run(SUMMARY),
            10_000 + 3 * HOUR,
            WARNING,
            "puppet last ran 3h ago (limit 2h)",
        ),
        (
            puppet.Run(SUMMARY),
            10_000 + 9 * HOUR,
            CRITICAL,
            "puppet last ran 9h ago (limit 2h)",
        ),
        (
            puppet.Run(replace(SUMMARY, failed=2)),
            10_060.0,
            CRITICAL,
            "puppet failed to apply 2 resources 1m ago",
        ),
        (
            puppet.Run(replace(SUMMARY, has_resources=False)),
            10_060.0,
            CRITICAL,
            "puppet could not compile or fetch its catalog 1m ago: nothing was applied",
        ),
        (
            puppet.Run(replace(SUMMARY, out_of_sync=1)),
            10_060.0,
            WARNING,
            "puppet left 1 resource out of sync (noop?)",
        ),
        (
            puppet.Run(SUMMARY, 600.0, "maintenance by me"),
            10_060.0,
            WARNING,
            "puppet has been disabled for 10m: maintenance by me (limit 8h)",
        ),
        (
            puppet.Run(SUMMARY, 3 * DAY, "maintenance by me"),
            10_060.0,
            CRITICAL,
            "puppet has been disabled for 3d: maintenance by me (limit 8h)",
        ),
        (
            puppet.Run(trouble="not allowed to read /s", remedy="chmod 644 /s"),
            10_060.0,
            UNKNOWN,
            "puppet: not allowed to read /s; chmod 644 /s",
        ),
    ],
)
def test_puppets_last_run(run, clock, state, text) -> None:
    findings = puppet.judged(run, clock, 2 * HOUR, 8 * HOUR)
    assert [(f.state, f.text) for f in findings] == ([(state, text)] if state else [])


# Memory and secrets


def test_what_nobody_asks_about_for_90_days_is_forgotten(tmp_path: Path) -> None:
    """An endpoint was renamed, b became c; another check, of d, shares the history."""

    def remembered() -> set[str]:
        with History.open("config_freshness", tmp_path / "history") as history:
            return set(history.subjects())

    with Endpoint() as a, Endpoint() as b, Endpoint() as d:
        story = Story(tmp_path, *named(a=a), "--applied", f"app={a.url}")
        other = Story(tmp_path, *named(**{"other/d": d}))
        other.clock = story.clock
        story.run(*named(b=b), "--applied", f"old={a.url}")
        other.run()
        a.body = b.body = b'{"new": 1}'
        story.run(*named(b=b), "--applied", f"old={a.url}")
        assert {"endpoint b", "change b", "applied old", "config other"} < remembered()
        d.stop()  # it is down all the time, and its checksum data not forgotten
        for day in range(1, 92):
            story.after(DAY, *named(c=b))
            if day % 30 == 0:
                assert other.run()[0] == 2
        assert remembered() == {
            "endpoint a", "change a", "endpoint c", "applied app",
            "config ", "versions ", "published ",
            "endpoint other/d", "config other", "versions other", "published other",
        }  # fmt: skip
        story.after(90 * DAY)
        assert "endpoint c" in remembered()
        story.after(1, *named(a=a))
        assert "endpoint c" not in remembered()
        assert "config other" not in remembered()


def test_the_history_of_addresses_that_come_and_go_is_bounded(tmp_path: Path) -> None:
    """--each-address in a cloud makes a new subject an hour."""
    at = Clock()
    with History.open("config_freshness", tmp_path / "history") as history:
        for number in range(1500):
            at.forward(HOUR)
            history.write_note(f"endpoint conf@10.0.{number}", {"key": "k"}, at())
            history.remember(f"change conf@10.0.{number}", "k", at())
        history.save()
    with Endpoint() as a:
        story = Story(tmp_path, *named(a=a))
        story.clock = at
        assert story.after(MINUTE)[0] == 0
    with History.open("config_freshness", tmp_path / "history") as history:
        kept = [name for name in history.subjects() if "conf@" in name]
    assert len(kept) == 2 * 1000
    assert "endpoint conf@10.0.1499" in kept


def test_a_torn_history_gives_a_remark_and_no_alarm(tmp_path: Path) -> None:
    with Endpoint() as a, Endpoint() as b:
        story = Story(tmp_path, *named(a=a, b=b))
        story.run()
        database = tmp_path / "history" / "config_freshness.sqlite"
        database.write_bytes(b"not a database, at all" * 100)
        assert story.run()[0] == 0
        assert any("all grace periods start over" in remark for remark in story.check.remarks)


def test_credentials_come_from_files_and_go_to_no_other_host(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-token\n")
    with Endpoint() as a, Endpoint(pages={"/app.json.sha256": b""}) as other:
        other.sidecar = f"{a.sha256}\n".encode()
        args = [a.url, "--bearer", str(token), "--checksum-url", other.url + ".sha256"]
        story = Story(tmp_path, *args, "--applied", f"web={other.url}")
        story.run()
        assert a.asked[0][2]["authorization"] == "Bearer s3cret-token"
        assert other.asked
        assert all("authorization" not in headers for _, _, headers in other.asked)
        assert "s3cret" not in story.check.output()


@pytest.mark.parametrize("words", [[""], ["--endpoint", "a="], ["--applied", "a="]])
def test_credentials_on_the_command_line_are_refused(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="3"):
        check_config_freshness.options().parse_args(
            [*words[:-1], words[-1] + "http://user:pass@host/"]
        )
    said = capfd.readouterr().out
    assert "put credentials into a file" in said
    assert "pass@" not in said


def test_proxies_and_netrc_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with Endpoint() as a:
        assert Story(tmp_path, a.url).run()[0] == 0
        assert "authorization" not in a.asked[0][2]
        assert Story(tmp_path, a.url).run("--use-environment")[0] == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.json", '{"endpoints": {"a": "%s"}, "grace": {"web": "12h"}}'),
        ("e.ini", "[endpoints]\na = %s\n[grace]\nweb = 12h\n"),
        ("e.yaml", "endpoints:\n  a: %s\ngrace:\n  web: 12h\n"),
        ("e.toml", '[endpoints]\na = "%s"\n[grace]\nweb = "12h"\n'),
    ],
)
def test_endpoints_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    if name.endswith("toml"):
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    file = tmp_path / name
    file.write_text(text % "http://u:p@h:8080/x")
    assert inputs.endpoints_file(file) == (
        {"a": "http://u:p@h:8080/x"},
        {},
        {"web": 12 * HOUR},
    )


@pytest.mark.parametrize("text", ["", "[]", '{"endpoints": []}', '{"endpoints": {"a": "ftp://h"}}'])
def test_a_bad_file_of_endpoints_is_said(tmp_path: Path, text: str) -> None:
    file = tmp_path / "e.json"
    file.write_text(text)
    with pytest.raises(CheckError, match=r"--endpoints .*e\.json"):
        inputs.endpoints_file(file)


def test_nothing_to_check_is_said(tmp_path: Path) -> None:
    assert Story(tmp_path).run() == (
        3,
        "nothing to check: give a URL, --endpoints, --manifest or --puppet",
    )


# Runs a script and tells its peak memory in KiB; ru_maxrss would be that of the test process, whose
# fork it was before exec.
PEAK = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    os.write(2, peak[0].encode())
"""


# Time and memory


def test_rude_endpoints_end_in_time_and_in_little_memory(tmp_path: Path) -> None:
    texts = {
        "slow-headers": "is slow (slow retrieval): waited",
        "slow-body": "is slow (slow retrieval): ",
        "silent": "is slow (slow retrieval): waited",
        "endless": "sends endless data: more than 4MiB",
        "bomb": f"sends endless data: {len(bomb()) / 1024:.1f}KiB of gzip unpacks to more than "
        "4MiB",
    }
    with contextlib.ExitStack() as left:
        urls = {manner: left.enter_context(Endpoint(manner=manner)).url for manner in texts}
        for _ in range(5):
            began = time.monotonic()
            runs = {
                manner: subprocess.Popen(
                    [sys.executable, "-c", PEAK, str(SCRIPT), url, "-t", "3s"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for manner, url in urls.items()
            }
            told = {manner: runs[manner].communicate(timeout=30) for manner in texts}
            # -t and one second, and what a loaded machine takes to start Python five times
            assert time.monotonic() - began < 15
            if not any("this host is too busy" in out for out, _ in told.values()):
                break
    for manner, text in texts.items():
        out, peak = told[manner]
        assert (runs[manner].returncode, text in out) == (2, True), out
        assert int(peak) < 64 * 1024


def test_many_endpoints_take_about_as_long_as_the_slowest(tmp_path: Path) -> None:
    names = {f"c{n}/a": n for n in range(60)}
    with Endpoint() as a, Endpoint(manner="silent") as slow:
        table = dict.fromkeys(names, a.url)
        table["c0/slow"] = slow.url
        file = tmp_path / "e.json"
        file.write_text(json.dumps({"endpoints": table}))
        story = Story(tmp_path, "--endpoints", str(file), "-t", "2s")
        began = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF)
        assert story.run()[0] == 1
        used = resource.getrusage(resource.RUSAGE_SELF)
        assert time.monotonic() - began < 4
        # generous: it is measured by tests/benchmarks
        assert used.ru_utime - before.ru_utime < 3


def test_a_pattern_selects_by_path_and_by_name() -> None:
    excluded = [opt.pattern("*.dpkg-dist"), opt.pattern("cache")]
    settings = FileSettings(exclude=excluded)
    assert not differences.is_selected("etc/a.dpkg-dist", settings)
    assert not differences.is_selected("var/cache", settings)
    assert differences.is_selected("etc/a.conf", settings)
    only = FileSettings(include=[opt.pattern("*.json")], exclude=excluded)
    assert not differences.is_selected("etc/a.conf", only)

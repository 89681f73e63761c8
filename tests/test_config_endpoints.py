"""HTTP answers, bounded: what is unpacked, where redirects lead, who is abandoned."""

from __future__ import annotations

import gzip
import shutil
import ssl
import subprocess
import threading
import time
import zlib
from pathlib import Path

import pytest

from sides.endpoint import Endpoint
from twiceshy.config_freshness.endpoints import Client, Policy, Requester, decoded, is_same_host
from twiceshy.config_freshness.http_errors import Cut, Undecodable
from twiceshy.config_freshness.threads import Progress, all_at_once
from twiceshy.kit.http import (
    Closed,
    HttpError,
    Malformed,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
    Untrusted,
)
from twiceshy.kit.plugin import CheckError

CAP = 1000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("wire", "coding"),
    [
        (b"hello", ""),
        (b"hello", "identity"),
        (gzip.compress(b"hello", mtime=0), "gzip"),
        (gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0), "x-gzip"),
        (zlib.compress(b"hello"), "deflate"),
        (raw_deflate(b"hello"), "deflate"),
    ],
)
def test_a_body_without_its_coding(wire: bytes, coding: str) -> None:
    assert decoded(wire, coding, CAP) == b"hello"


@pytest.mark.parametrize(
    ("wire", "coding", "error"),
    [
        (gzip.compress(bytes(CAP + 1), mtime=0), "gzip", TooLarge),
        (gzip.compress(bytes(CAP), mtime=0) * 2, "gzip", TooLarge),
        (gzip.compress(b"hello", mtime=0)[:-9], "gzip", Cut),
        (b"hello", "gzip", Cut),
        (b"hello", "br", Undecodable),
    ],
)
def test_a_body_that_cannot_be_had(wire: bytes, coding: str, error: type[HttpError]) -> None:
    with pytest.raises(HttpError) as raised:
        decoded(wire, coding, CAP)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("url", "target", "is_followed"),
    [
        ("http://h/a", "http://h/b", True),
        ("http://h/a", "https://h/b", True),
        ("http://h:80/a", "http://h/b", True),
        ("https://h/a", "http://h/b", False),
        ("http://h/a", "http://h:81/b", False),
        ("http://h:8080/a", "https://h/b", False),
        ("http://h/a", "http://i/b", False),
        ("http://h/a", "http://h@i/b", False),
        ("http://h/a", "javascript:x", False),
    ],
)
def test_redirects_are_followed_within_a_host_and_never_down_to_http(
    url: str, target: str, is_followed: bool
) -> None:
    assert is_same_host(url, target) is is_followed


def requester(seconds: float = 5, addresses: dict[str, str] | None = None) -> Requester:
    client = Client(Policy(), is_secure=False)
    return Requester(client, Progress(), time.monotonic() + seconds, addresses)


def asking(url: str, policy: Policy = Policy(), seconds: float = 60):  # noqa: B008
    """A job that asks one URL and gives the status."""
    client = Client(policy, url.startswith("https:"))

    def job(progress: Progress) -> int:
        with Requester(client, progress, time.monotonic() + seconds) as requester:
            return requester.get(url).status

    return job


def test_a_job_that_hangs_costs_only_itself() -> None:
    with Endpoint() as quick, Endpoint(manner="silent") as silent:
        jobs = {"quick": asking(quick.url), "silent": asking(silent.url)}
        found = all_at_once(jobs, 0.7)
    assert found["quick"] == 200
    assert isinstance(found["silent"], TimedOut)


def test_a_job_that_cannot_be_interrupted_is_left_behind() -> None:
    began = time.monotonic()
    found = all_at_once({"deaf": lambda _: time.sleep(5)}, 0.2)
    assert time.monotonic() - began < 3
    assert isinstance(found["deaf"], TimedOut)


def test_the_connection_of_an_abandoned_body_is_shut_down() -> None:
    with Endpoint(manner="slow-body") as slow:
        before = set(threading.enumerate())
        found = all_at_once({"slow": asking(slow.url)}, 0.7)
        assert isinstance(found["slow"], TimedOut)
        assert "of the body in" in str(found["slow"])
        until = time.monotonic() + 5
        ours = {t for t in threading.enumerate() if "work" in t.name} - before
        while any(thread.is_alive() for thread in ours):
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_header_without_end_is_bounded() -> None:
    with Endpoint(headers={f"X-{number}": "x" for number in range(200)}) as many:
        found = all_at_once({"many": asking(many.url)}, 5)
    assert (type(found["many"]), str(found["many"])) == (
        Malformed,
        "does not speak HTTP: got more than 100 headers",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_is_asked_at_an_address_by_its_name(host: str) -> None:
    with Endpoint(address="127.0.0.2") as server, requester(addresses={host: "127.0.0.2"}) as one:
        answer = one.get(f"http://{host}:{server.port}/app.json")
    assert (answer.status, answer.peer) == (200, f"127.0.0.2:{server.port}")
    assert server.asked[0][2]["host"] == f"{host}:{server.port}"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for conf.test alone, which is its own CA."""
    place = tmp_path_factory.mktemp("pki")
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", place / "key.pem", "-out", place / "cert.pem", "-days", "2",
         "-subj", "/CN=conf.test", "-addext", "subjectAltName=DNS:conf.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    return place


@pytest.mark.parametrize(
    ("host", "ca_file", "status", "text"),
    [
        ("conf.test", "cert.pem", 200, ""),
        ("other.test", "cert.pem", None, "Hostname mismatch"),
        ("127.0.0.1", "cert.pem", None, "127.0.0.1"),
        ("conf.test", "", None, "has a certificate that is not trusted: self"),
    ],
)
def test_a_certificate_must_be_trusted_and_for_the_name_that_was_typed(
    pki: Path, host: str, ca_file: str, status: int | None, text: str
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "cert.pem", pki / "key.pem")
    policy = Policy(ca_file=str(pki / ca_file) if ca_file else "")
    with Endpoint(tls=tls) as server:
        client = Client(policy, is_secure=True)

        def job(progress: Progress) -> int:
            ends = time.monotonic() + 5
            with Requester(client, progress, ends, {host: "127.0.0.1"}) as one:
                return one.get(f"https://{host}:{server.port}/app.json").status

        found = all_at_once({"": job}, 10)[""]
    if status:
        assert found == status
    else:
        assert type(found) is Untrusted
        assert text in str(found)


def test_an_endpoint_that_has_an_ipv6_address_only() -> None:
    try:
        server = Endpoint(address="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error.strerror}")
    with server, requester(addresses={"conf.test": "::1"}) as pinned:
        answer = pinned.get(f"http://[::1]:{server.port}/app.json")
        named = pinned.get(f"http://conf.test:{server.port}/app.json")
    assert [answer.peer, named.peer] == [f"[::1]:{server.port}"] * 2


def test_a_cookie_of_a_balancer_is_kept_between_the_requests_to_one_endpoint() -> None:
    with Endpoint(headers={"Set-Cookie": "node=a; Path=/"}) as server:
        with requester() as first:
            first.get(server.url)
            first.get(server.url)
        with requester() as second:
            second.get(server.url)
    assert [headers.get("cookie") for _, _, headers in server.asked] == [None, "node=a", None]


def test_all_requests_of_an_endpoint_go_over_one_connection() -> None:
    with Endpoint() as server, requester() as one:
        for _ in range(3):
            one.get(server.url)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("manner", "error", "text"),
    [
        ("refuse", Closed, None),
        ("cut", Cut, None),
        ("nonsense", Malformed, "does not speak HTTP: "),
        ("stopped", Refused, "refuses connections"),
    ],
)
def test_what_goes_wrong_has_a_class(manner: str, error: type[HttpError], text: str | None) -> None:
    with Endpoint(manner=manner) as server:
        if manner == "stopped":
            server.stop()
        found = all_at_once({"": asking(server.url)}, 5)
    assert type(found[""]) is error
    assert str(found[""]).startswith(text or "")


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    found = all_at_once({"": asking("http://no-such-host.invalid/")}, 20)
    assert type(found[""]) in (Unreachable, TimedOut)  # where no name server answers


def test_a_mistake_of_ours_in_a_thread_is_not_swallowed() -> None:
    def wrong(progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        all_at_once({"wrong": wrong}, 1)


def test_whoever_has_no_time_left_blames_nobody_else() -> None:
    with requester(seconds=0) as late, pytest.raises(CheckError, match="give a longer -t"):
        late.get("http://127.0.0.1:1/")

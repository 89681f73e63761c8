"""HTTP answers, bounded: what is unpacked, where redirects lead, who is hung up."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest

from sides.endpoint import Endpoint
from twiceshy.config_freshness import fetch
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
    assert fetch.decoded(wire, coding, CAP) == b"hello"


@pytest.mark.parametrize(
    ("wire", "coding", "kind"),
    [
        (gzip.compress(bytes(CAP + 1), mtime=0), "gzip", "endless data"),
        (gzip.compress(bytes(CAP), mtime=0) * 2, "gzip", "endless data"),
        (gzip.compress(b"hello", mtime=0)[:-9], "gzip", "cut"),
        (b"hello", "gzip", "cut"),
        (b"hello", "br", "coding"),
    ],
)
def test_a_body_that_cannot_be_had(wire: bytes, coding: str, kind: str) -> None:
    with pytest.raises(fetch.NoAnswer) as error:
        fetch.decoded(wire, coding, CAP)
    assert error.value.kind == kind


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
    assert fetch._same_host(url, target) is is_followed


def test_a_job_that_hangs_costs_only_itself() -> None:
    with Endpoint() as quick, Endpoint(manner="silent") as silent:

        def ask(url: str):
            def job(line: fetch.Line) -> int:
                asker = fetch.Asker(line, fetch.Manners(), None, time.monotonic() + 60)
                try:
                    return asker.ask(url).status
                finally:
                    asker.close()

            return job

        found = fetch.all_at_once({"quick": ask(quick.url), "silent": ask(silent.url)}, 0.7)
    assert found["quick"] == 200
    assert isinstance(found["silent"], fetch.NoAnswer)


def test_a_job_that_cannot_be_hung_up_is_left_behind() -> None:
    began = time.monotonic()
    found = fetch.all_at_once({"deaf": lambda line: time.sleep(5)}, 0.2)
    assert time.monotonic() - began < 3
    assert isinstance(found["deaf"], fetch.NoAnswer)


def test_a_mistake_of_ours_in_a_thread_is_not_swallowed() -> None:
    def wrong(line: fetch.Line) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch.all_at_once({"wrong": wrong}, 1)


def test_whoever_has_no_time_left_blames_nobody_else() -> None:
    asker = fetch.Asker(fetch.Line(), fetch.Manners(), None, time.monotonic())
    with pytest.raises(CheckError, match="give a longer -t"):
        asker.ask("http://127.0.0.1:1/")

"""Formats around published configuration: digests, sidecars, manifests, documents, summaries."""

from __future__ import annotations

import base64
import hashlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twiceshy.config_freshness import digests, documents, manifests, puppet

BODY = b"hello\n"
HEX = hashlib.sha256(BODY).hexdigest()
B64 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
B64_512 = base64.b64encode(hashlib.sha512(BODY).digest()).decode()
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.mark.parametrize(
    ("field", "text", "algorithm"),
    [
        ("Repr-Digest", f"sha-256=:{B64}:", "sha256"),
        ("Repr-Digest", f"sha-256=:{B64}:,sha-512=:{B64_512}:", "sha512"),
        ("Repr-Digest", f"unixsum=:MTIz:, sha-256=:{B64}:;q=1", "sha256"),
        ("Content-Digest", f"SHA-256 = :{B64}:", "sha256"),
        ("Digest", f"SHA-256={B64}", "sha256"),
        ("Digest", f"unixsum=30637,sha-256={B64}", "sha256"),
        ("Digest", f"sha-256={HEX}", "sha256"),
        ("Content-MD5", base64.b64encode(hashlib.md5(BODY).digest()).decode(), "md5"),
        ("Content-MD5", MD5, "md5"),
    ],
)
def test_a_digest_field_gives_its_strongest_checksum(field: str, text: str, algorithm: str) -> None:
    found = digests.from_field(field, text)
    assert (found.kind, found.algorithm) == (field, algorithm)
    assert found.fits(BODY)
    assert not found.fits(BODY + b"x")


@pytest.mark.parametrize(
    ("field", "text", "why"),
    [
        ("Repr-Digest", "", "is empty"),
        ("Repr-Digest", f"sha-256={B64}", "is malformed"),
        ("Repr-Digest", "sha-256=:!!!:", "is not base64"),
        ("Repr-Digest", "sha-256=:YWJj:", "has 3 bytes, sha256 has 32"),
        ("Repr-Digest", "crc32c=:YWJj:", "has only unsupported algorithms (crc32c)"),
        ("Digest", "unixsum=30637", "has only unsupported algorithms (unixsum)"),
        ("Content-MD5", "x", "is not base64"),
    ],
)
def test_an_unusable_digest_field_says_why(field: str, text: str, why: str) -> None:
    with pytest.raises(digests.Unusable) as error:
        digests.from_field(field, text)
    assert str(error.value) == why


def test_all_fields_of_a_header_are_looked_at() -> None:
    found, broken = digests.from_headers({"repr-digest": "x", "DIGEST": f"sha-256={B64}"})
    assert [each.kind for each in found] == ["Digest"]
    assert broken == ["Repr-Digest is malformed"]


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        f"{HEX}\n",
        f"{HEX.upper()}\r\n",
        f"{HEX}  app.json\n",
        f"{HEX} *app.json\n",
        f"{HEX} app.json",
        f"{HEX}  ./etc/app.json\n",
        f"{HEX}  -\n",
        f"SHA256 (app.json) = {HEX}\n",
        f"SHA2-256(app.json)= {HEX}\n",
        f"SHA256(app.json)= {HEX}\n",
        f"sha256:{HEX}",
        f"sha256-{B64}",
        f"\ufeff{HEX}  app.json\r\n",
        f"# made manually\n{HEX}  app.json\n",
        f"{'0' * 64}  other.json\n{HEX}  app.json\n",
        f"{'0' * 32}  app.json\n{HEX}  app.json\n",
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{HEX}  app.json\n",
    ],
)
def test_a_sidecar_in_all_its_spellings(text: str) -> None:
    found = digests.from_sidecar(text.encode(), "/conf/app.json")
    assert (found.algorithm, found.fits(BODY)) == ("sha256", True)


def test_a_sidecar_that_powershell_wrote() -> None:
    assert digests.from_sidecar(HEX.encode("utf-16"), "app.json").fits(BODY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("<html>login</html>", "holds no checksum"),
        (f"{HEX}  other.json\n", "is for other.json, not for app.json"),
        (f"{HEX}\n{'0' * 64}\n", "is for several files, not for app.json"),
        (
            f"{HEX}  app.json\n{'0' * 64}  app.json\n",
            "names app.json twice with different values",
        ),
    ],
)
def test_an_unusable_sidecar_says_why(text: str, why: str) -> None:
    with pytest.raises(digests.Unusable) as error:
        digests.from_sidecar(text.encode(), "app.json")
    assert str(error.value) == why


@given(st.binary(max_size=300))
def test_no_sidecar_or_field_breaks_the_parsers(raw: bytes) -> None:
    for reading in (
        lambda: digests.from_sidecar(raw, "app.json"),
        lambda: digests.from_field("Repr-Digest", raw.decode("latin-1")),
        lambda: digests.from_field("Digest", raw.decode("latin-1")),
        lambda: manifests.parse(raw),
        lambda: puppet.summary(raw.decode("latin-1")),
        lambda: documents.parse("json", raw),
        lambda: documents.parse("ini", raw),
        lambda: documents.parse("xml", raw),
    ):
        try:
            reading()
        except (
            digests.Unusable,
            manifests.NotAManifest,
            puppet.NotASummary,
            documents.NotParsed,
        ):
            pass


def test_a_pinned_checksum_as_people_type_it() -> None:
    for text in (HEX, f"sha256:{HEX}", f"sha-256=:{B64}:"):
        assert digests.pinned(text).fits(BODY)
    with pytest.raises(ValueError, match="is not a checksum"):
        digests.pinned("deadbeef")


# Manifests

# mtree -c -k type,mode,uname,gname,size,sha256,link of Debian's mtree-netbsd 20180822
NETBSD = rf"""
#	   user: root
#	machine: host
#	   tree: /etc/app
#	   date: Sat Nov 21 10:29:32 2026

# .
/set type=file uname=root gname=root mode=0755
.               type=dir

# ./conf.d
/set type=file uname=root gname=root mode=0644
conf.d          type=dir mode=0755
    a\sb\#c     size=6 \
                sha256={HEX}
    ff          type=fifo optional
    l           type=link mode=0777 link=a\sb\#c
    \M-C\M-<    size=0
# ./conf.d
..

z               mode=u=rw,g=r
"""


def test_an_mtree_specification_of_netbsd() -> None:
    found = manifests.parse(NETBSD.encode())
    entries = {entry.path: entry for entry in found.entries}
    assert list(entries) == [
        ".", "conf.d", "conf.d/a b#c", "conf.d/ff", "conf.d/l", "conf.d/ü", "z",
    ]  # fmt: skip
    assert (found.tree, found.complete, found.made is not None) == ("/etc/app", True, True)
    checksum = digests.Checksum("manifest", "sha256", bytes.fromhex(HEX))
    assert entries["conf.d/a b#c"] == manifests.FileEntry(
        "conf.d/a b#c", "file", 0o644, "root", "root", size=6, checksums=(checksum,)
    )
    assert entries["conf.d/l"].link == "a b#c"
    assert entries["conf.d/ff"].optional
    assert entries["z"].mode == 0o640


def test_full_paths_as_mtree_c_writes_them() -> None:
    found = manifests.parse(b". type=dir\n./etc type=dir mode=0755\n./etc/a type=file mode=4755\n")
    assert [(entry.path, entry.mode) for entry in found.entries] == [
        (".", None),
        ("etc", 0o755),
        ("etc/a", 0o4755),
    ]


def test_a_list_that_sha256sum_wrote() -> None:
    found = manifests.parse(f"{HEX}  a.conf\n{HEX} *./b/c.conf\n\\{HEX}  d\\\\e\n".encode())
    assert [entry.path for entry in found.entries] == ["a.conf", "b/c.conf", "d\\e"]
    assert not found.complete


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("<!DOCTYPE html>", "it is a web page"),
        ("..\n", "'..' above the root"),
        ("../../etc/shadow type=file\n", "../../etc/shadow lies outside of the tree"),
        (f"{HEX}  ../x\n", "../x lies outside of the tree"),
        (f"{HEX}  a\nnonsense\n", "some of its lines are no checksums"),
        ("a mode=rw\n", "a: mode=rw is not understood"),
        ("a type=door\n", "a: type=door is not understood"),
        ("a size=big\n", "a: size=big is not a number"),
        ("a sha256=00\n", "a: sha256 has a wrong length"),
    ],
)
def test_what_is_no_manifest_says_why(text: str, why: str) -> None:
    with pytest.raises(manifests.NotAManifest) as error:
        manifests.parse(text.encode())
    assert str(error.value) == why


# Documents


@pytest.mark.parametrize(
    ("kind", "text", "path", "value"),
    [
        ("json", '{"a": {"b": [1, {"c": 2}]}}', "a.b[1].c", "2"),
        ("json", '{"a.b": 1}', r"a\.b", "1"),
        ("json", '{"a": null}', "a", "null"),
        ("json", '{"a": 41.0}', "a", "41"),
        ("yaml", "a:\n  1: yes\n", "a.1", "true"),
        ("ini", "[a]\nB = c\n", "a.B", "c"),
        ("xml", "<r v='1'><a>x</a><a>y</a></r>", "r.a[1]", "y"),
        ("xml", "<r v='1'><a>x</a></r>", "r.@v", "1"),
    ],
)
def test_a_value_in_a_document(kind: str, text: str, path: str, value: str) -> None:
    document = documents.parse(kind, text.encode())
    assert documents.scalar(documents.at(document, path)) == value
    with pytest.raises(KeyError):
        documents.at(document, f"{path}.more")


def test_a_value_in_toml() -> None:
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    assert documents.at(documents.parse("toml", b"[a]\nb = 1\n"), "a.b") == 1


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", "{"),
        ("json", "[" * 100_000),
        ("yaml", "a: [\npassword: hunter2"),
        ("yaml", "Service Unavailable"),
        ("ini", "password hunter2"),
        ("ini", ""),
        ("xml", "<a>"),
        ("xml", '<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>'),
    ],
)
def test_what_does_not_parse_says_so_in_one_line_and_quotes_nothing(kind: str, text: str) -> None:
    with pytest.raises(documents.NotParsed) as error:
        documents.parse(kind, text.encode())
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_missing_yaml_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(documents.LibraryMissing, match="apt install python3-yaml"):
        documents.parse("yaml", b"a: 1")


def test_versions_sort_as_people_mean_it() -> None:
    versions = ["1.9", "1.10", "1.10.1", "2"]
    assert sorted(versions, key=documents.order) == versions
    assert documents.order("2026-11-09") < documents.order("2026-11-10")


def test_the_order_of_keys_is_not_the_meaning() -> None:
    one, other = (
        documents.parse("json", t) for t in (b'{"a":1,"b":"\\u00fc"}', b'{"b":"\xc3\xbc", "a":1}')
    )
    assert documents.canonical(one) == documents.canonical(other)


METRICS = """# HELP alertmanager_config_hash Hash of the currently loaded configuration.
alertmanager_config_hash 2.5345e+14
app_config_info{sha256="abc}d",file="a,b"} 1
app_config_info{sha256="eee",file="c"} 1
broken{ 1
"""


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        ("alertmanager_config_hash", ["253450000000000"]),
        ('app_config_info{file="c"}', ["1"]),
        ("app_config_info{sha256}", ["abc}d", "eee"]),
        ("nothing", []),
    ],
)
def test_a_metric_in_prometheus_text(wanted: str, values: list[str]) -> None:
    assert documents.metric(METRICS, wanted) == values


@pytest.mark.parametrize(
    ("raw", "content_type", "is_page"),
    [
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><p>", "", True),
        (b"<html>", "", True),
        (b"a: 1", "text/html; charset=utf-8", True),
        (b"<config/>", "application/xml", False),
        (b"a: 1", "text/plain", False),
    ],
)
def test_a_login_page_is_no_configuration(raw: bytes, content_type: str, is_page: bool) -> None:
    assert documents.looks_like_a_page(raw, content_type) is is_page


# Puppet

# puppet apply of Debian's puppet-agent 7.23.0
SUMMARY = """---
version:
  config: 1795254562
  puppet: 7.23.0
application:
  run_mode: user
  initial_environment:
  converged_environment: production
resources:
  changed: 1
  corrective_change: 0
  failed: 0
  failed_to_restart: 0
  out_of_sync: 1
  restarted: 0
  scheduled: 0
  skipped: 0
  total: 8
time:
  config_retrieval: 0.06
  total: 0.08
  last_run: 1795254562
changes:
  total: 1
events:
  failure: 0
  success: 1
  total: 1
"""


def test_puppets_summary() -> None:
    assert puppet.summary(SUMMARY) == puppet.Summary(1795254562.0, "1795254562", 0, True, 1, 1)
    failed = SUMMARY.replace("failed: 0", "failed: 2", 1)
    assert puppet.summary(failed).failed == 2


def test_a_summary_without_a_catalog() -> None:
    text = "---\nversion:\n  config:\n  puppet: 7.23.0\ntime:\n  last_run: 1795254562\n"
    assert puppet.summary(text) == puppet.Summary(1795254562.0, "", 0, False, 0, 0)
    with pytest.raises(puppet.NotASummary):
        puppet.summary("---\n")


def test_why_puppet_is_disabled() -> None:
    assert puppet.reason('{"disabled_message":"by me"}') == "by me"
    assert puppet.reason("") == ""

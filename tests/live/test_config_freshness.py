"""check_config_freshness against real servers: two nginx, one Apache, a proxy, TLS, Puppet, mtree.

Everything listens on loopback ports of its own and lives in a directory of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = pytest.mark.live

SCRIPT = ROOT / "checks" / "check_config_freshness.py"
ENV = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
CONFIG = b'{"version": 1, "database": {"host": "db1"}}\n' + b" " * 3000
MODULES = ("mpm_event", "authz_core", "dir", "mime", "deflate", "filter", "headers", "env")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the servers' unprivileged workers may read, too."""
    with tempfile.TemporaryDirectory(prefix="config-freshness-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def ended() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, f"{process.args} ended: {log.read_text()}"
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Server:
    """One web server with a document root and a configuration that can be changed."""

    def __init__(
        self,
        ended: contextlib.ExitStack,
        place: Path,
        name: str,
        kind: str,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.kind, self.name, self.address = kind, name, address
        self.port = port or free_port()
        self.base = place / name
        self.root = self.base / "root"
        self.root.mkdir(parents=True)
        self.base.chmod(0o755)
        self.conf = self.base / "server.conf"
        self.extra = ""
        self.ended = ended
        self.process: subprocess.Popen[bytes] | None = None

    def serve(self, body: bytes = CONFIG, mtime: float | None = None) -> None:
        file = self.root / "app.json"
        # as a deploy does it: the file is never half there
        new = self.root / ".new"
        new.write_bytes(body)
        if mtime:
            os.utime(new, (mtime, mtime))
        sidecar = self.root / "app.json.sha256"
        sidecar.write_text(f"{hashlib.sha256(body).hexdigest()}  app.json\n")
        new.rename(file)

    def start(self, extra: str = "") -> Server:
        if self.process:
            stop(self.process)
        if self.kind == "nginx":
            self.conf.write_text(self._nginx(extra))
            argv = ["nginx", "-c", str(self.conf), "-p", str(self.base), "-e", "stderr"]
        else:
            self.conf.write_text(self._apache(extra))
            argv = ["apache2", "-f", str(self.conf), "-DFOREGROUND"]
        log = open(self.base / "log", "ab")  # noqa: SIM115 - closed with the rest
        self.ended.callback(log.close)
        self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=ENV)
        self.ended.callback(stop, self.process)
        wait_for(self.address, self.port, self.process, self.base / "log")
        return self

    def stop(self) -> None:
        assert self.process
        stop(self.process)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/app.json"

    def _nginx(self, extra: str) -> str:
        temporary = "\n".join(
            f"{what}_temp_path {self.base}/{what};"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
            daemon off; worker_processes 1; pid {self.base}/pid;
            events {{ worker_connections 256; }}
            http {{
                access_log off; {temporary}
                types {{ application/json json; }}
                {extra if "upstream" in extra else ""}
                server {{
                    listen {self.address}:{self.port}{" ssl" if "ssl_" in extra else ""};
                    root {self.root};
                    {"" if "upstream" in extra else extra}
                    {"location / { proxy_pass http://nodes; }" if "upstream" in extra else ""}
                }}
            }}"""

    def _apache(self, extra: str) -> str:
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES
        )
        return f"""
            ServerRoot {self.base}
            {modules}
            ServerName localhost
            Listen 127.0.0.1:{self.port}
            PidFile {self.base}/pid
            ErrorLog {self.base}/error.log
            Mutex file:{self.base} default
            User www-data
            Group www-data
            DocumentRoot {self.root}
            <Directory {self.root}>
                Require all granted
            </Directory>
            TypesConfig /dev/null
            AddType application/json .json
            StartServers 1
            {extra}
            """


def run(place: Path, *args: str, **options: object) -> tuple[int, str]:
    """Exit status and output of the check, with a history of its own."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--state-dir", str(place / "state"), "-t", "20s", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def endpoints(**urls: str) -> list[str]:
    return [word for name, url in urls.items() for word in ("--endpoint", f"{name}={url}")]


def header(url: str, name: str, *sent: str) -> str:
    words = [word for each in sent for word in ("-H", each)]
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-D", "-", *words, url],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(rf"(?im)^{name}: (.*?)\r?$", done.stdout)
    return found[1] if found else ""


@pytest.fixture
def farm(needs, place, ended):
    needs("nginx", "apache2", "curl")
    now = time.time()
    servers = [
        Server(ended, place, name, kind)
        for name, kind in (("a", "nginx"), ("b", "nginx"), ("c", "apache"))
    ]
    for server, mtime in zip(servers, (now - 1000, now - 993, now - 900)):
        server.serve(mtime=mtime)
        server.start()
    return servers


def test_two_nginx_and_an_apache_have_three_etags_and_one_configuration(farm, place) -> None:
    a, b, c = farm
    assert len({header(server.url, "ETag") for server in farm}) == 3
    args = endpoints(a=a.url, b=b.url, c=c.url)
    args += ["--checksum-url", ".sha256", "--parse", "json", "--require-key", "database.host"]
    status, out = run(place, *args)
    assert (status, out[:74]) == (
        0,
        "CONFIG_FRESHNESS OK - 3 endpoints serve the same configuration (" + out[64:74],
    )
    assert run(place, *args)[0] == 0


def test_a_redirect_of_a_real_server_is_followed_or_said_where_it_leads(
    needs, place, ended
) -> None:
    """It comes with a body, which requests alone would read unasked."""
    needs("nginx")
    server = Server(ended, place, "a", "nginx")
    server.serve()
    moved = "location = /old.json {{ return 301 {}; }}"
    old = server.url.replace("app.json", "old.json")
    server.start(moved.format(server.url))
    assert run(place, old)[0] == 0
    server.start(moved.format(old))
    status, out = run(place, old)
    assert (status, out.splitlines()[0]) == (
        2,
        "CONFIG_FRESHNESS CRITICAL - 127.0.0.1:PORT redirects more than 3 times, last to "
        "127.0.0.1/old.json".replace("PORT", str(server.port)),
    )
    server.start(moved.format("https://sso.invalid/login?token=abc"))
    status, out = run(place, old)
    assert "redirects to sso.invalid/login, not followed\nNext: curl -svL" in out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("default_type text/html; return 200 '<html><h1>Maintenance</h1></html>';",
         'serves a web page ("Maintenance"), not configuration'),
        ("default_type application/json; return 200 '<html>log in</html>';",
         "serves a web page, not configuration"),
        ("add_header Content-Encoding gzip; return 200 'this is no gzip';",
         "sends a broken gzip stream"),
        ("return 500;", "answers HTTP 500"),
    ],
)  # fmt: skip
def test_what_a_real_server_serves_in_place_of_configuration(
    needs, place, ended, answer: str, words: str
) -> None:
    needs("nginx")
    server = Server(ended, place, "a", "nginx").start(f"location / {{ {answer} }}")
    status, out = run(place, server.url)
    assert status == 2
    assert words in out.splitlines()[0]


def test_the_outage_on_both_is_critical_on_the_next_run_and_on_one_a_warning(farm, place) -> None:
    a, b, _ = farm
    digest = f"add_header Repr-Digest 'sha-256=:{_b64(CONFIG)}:';"
    a.start(digest)
    b.start(digest)
    args = endpoints(a=a.url, b=b.url)
    assert run(place, *args)[0] == 0
    # the change: ETags on, and with it the checksum gone
    b.start("etag on;")
    status, out = run(place, *args)
    assert (status, "checksum data is missing from b: " in out) == (1, True), out
    a.start("etag on;")
    status, out = run(place, *args)
    assert status == 2
    assert (
        "checksum data is missing from both endpoints, a and b; applications can run without "
        in out
    )
    assert "(grace 8h)" in out
    a.start(digest)
    b.start(digest)
    assert run(place, *args)[0] == 0


def _b64(body: bytes) -> str:
    import base64

    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def test_a_deploy_that_reaches_only_one_node(farm, place) -> None:
    a, b, _ = farm
    args = endpoints(a=a.url, b=b.url)
    assert run(place, *args)[0] == 0
    a.serve(CONFIG.replace(b"1", b"2", 1))
    status, out = run(place, *args)
    assert (status, "b serves the version that a has just replaced" in out) == (0, True), out
    time.sleep(1.1)
    status, out = run(place, *args, "--sync-grace", "1s")
    assert (status, "b serves the version that a replaced " in out) == (2, True), out
    b.serve(CONFIG.replace(b"1", b"2", 1))
    assert run(place, *args)[0] == 0


def test_apache_with_forced_gzip_never_answers_304(farm, place) -> None:
    a, _, c = farm
    c.start("SetEnv force-gzip\nSetOutputFilter DEFLATE\nFileETag MTime Size")
    assert header(c.url, "Content-Encoding") == "gzip"
    status, out = run(place, *endpoints(a=a.url, c=c.url), "--checksum-url", ".sha256", "-v")
    assert status == 0, out
    if header(c.url, "ETag").endswith('-gzip"'):
        assert "Remark: c answers 200 to its own ETag" in out


def test_a_proxy_before_both_hides_that_there_are_two(farm, place, ended) -> None:
    a, b, _ = farm
    a.start("add_header X-Served-By node-a;")
    b.start("add_header X-Served-By node-b;")
    nodes = f"server 127.0.0.1:{a.port}; server 127.0.0.1:{b.port};"
    both = Server(ended, place, "both", "nginx").start(f"upstream nodes {{ {nodes} }}")
    one = Server(ended, place, "one", "nginx").start(
        f"upstream nodes {{ server 127.0.0.1:{a.port}; }}"
    )
    assert run(place / "1", *endpoints(lb=both.url))[0] == 0
    status, out = run(place / "2", *endpoints(a=a.url, b=one.url), "--node-header", "X-Served-By")
    assert status == 1
    assert "a and b are not independent: the same node node-a answers" in out
    # the nodes differ: who comes through the proxy sees a configuration that changes all the time
    b.serve(CONFIG.replace(b"1", b"2", 1))
    status, out = run(place / "3", *endpoints(lb=both.url))
    assert (status, "lb serves two versions in turn" in out) == (1, True), out
    a.stop()
    b.stop()
    status, out = run(place / "1", *endpoints(lb=both.url))
    assert (status, "lb answers HTTP 502" in out) == (2, True), out


def test_the_stale_one_of_two_addresses_behind_one_name_is_named(needs, place, ended) -> None:
    needs("nginx", "unshare")
    now = time.time()
    one = Server(ended, place, "one", "nginx")
    one.serve(CONFIG.replace(b"1", b"2", 1), now - 3600)
    one.start()
    two = Server(ended, place, "two", "nginx", "127.0.0.2", one.port)
    two.serve(CONFIG, now - 36000)
    two.start()
    (place / "hosts").write_text("127.0.0.1 conf.test\n127.0.0.2 conf.test\n")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts; exec "$@"',
         str(place / "hosts"), sys.executable, str(SCRIPT), "--state-dir", str(place / "state"),
         "--each-address", f"http://conf.test:{one.port}/app.json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert (
        f"conf.test:{one.port}@127.0.0.2 serves a version 9h older than that of "
        f"conf.test:{one.port}@127.0.0.1; they have differed for 1h (limit 5m)"
    ) in done.stdout
    assert f"--connect-to ::127.0.0.2: -o /dev/null http://conf.test:{one.port}" in done.stdout


def openssl(place: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=place, check=True, capture_output=True)


def certificates(place: Path) -> None:
    """A CA, a server certificate for localhost, an expired one, and a client certificate."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (place / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    (place / "other.ext").write_text("subjectAltName=DNS:elsewhere.test\n")
    openssl(
        place, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
        "-subj", "/CN=Test CA",
    )  # fmt: skip
    for name in ("good", "expired", "other", "client"):
        openssl(
            place, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", f"/CN={name}",
        )  # fmt: skip
    (place / "index").write_text("")
    (place / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n"
        "certificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\n[p]\ncommonName=supplied\n"
    )
    for name, start, end in (
        ("good", "20200101000000Z", "20480101000000Z"),
        ("expired", "20200101000000Z", "20210101000000Z"),
        ("other", "20200101000000Z", "20480101000000Z"),
        ("client", "20200101000000Z", "20480101000000Z"),
    ):
        openssl(
            place, "ca", "-batch", "-config", "ca.cnf", "-rand_serial", "-in", f"{name}.csr",
            "-out", f"{name}.pem", "-startdate", start, "-enddate", end, "-notext",
            "-extfile", "other.ext" if name == "other" else "ext",
        )  # fmt: skip


def test_tls_with_a_ca_of_our_own(needs, farm, place, ended) -> None:
    needs("openssl")
    a, b, _ = farm
    pki = place / "pki"
    pki.mkdir()
    certificates(pki)

    def with_certificate(name: str, more: str = "") -> str:
        return f"ssl_certificate {pki}/{name}.pem; ssl_certificate_key {pki}/{name}.key; {more}"

    a.start(with_certificate("good"))
    b.start(with_certificate("expired"))
    urls = {s.name: s.url.replace("http:", "https:") for s in (a, b)}
    ca = ["--ca-file", str(pki / "ca.pem")]
    status, out = run(place / "1", *endpoints(a=urls["a"]), *ca)
    assert status == 0, out
    status, out = run(place / "1", *endpoints(**urls), *ca)
    assert status == 1
    assert "b has a certificate that is not trusted: certificate has expired" in out
    status, out = run(place / "2", *endpoints(a=urls["a"]))
    assert (status, "a has a certificate that is not trusted: " in out) == (2, True), out
    status, out = run(
        place / "1", "--each-address", *ca, urls["a"].replace("127.0.0.1", "localhost")
    )
    assert "localhost@127.0.0.1" in out.replace(f":{a.port}", "") or status == 0
    a.start(with_certificate("good", f"ssl_verify_client on; ssl_client_certificate {pki}/ca.pem;"))
    assert run(place / "3", *endpoints(a=urls["a"]), *ca)[0] == 2
    client = ["--cert", str(pki / "client.pem"), "--key", str(pki / "client.key")]
    status, out = run(place / "3", *endpoints(a=urls["a"]), *ca, *client)
    assert status == 0, out


# Files


def tree(place: Path) -> Path:
    root = place / "app"
    for name in ("conf.d", "keys"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o755)
    for name in ("app.conf", "conf.d/a b#c", "conf.d/ü.conf", "keys/secret", "gone", "swapped"):
        (root / name).write_text(f"{name}\n")
        (root / name).chmod(0o640)
    (root / "link").symlink_to("app.conf")
    root.chmod(0o755)
    return root


def mtree_of(root: Path) -> bytes:
    keywords = "type,mode,uname,gname,size,sha256,link"
    return subprocess.run(
        ["mtree", "-c", "-k", keywords, "-p", str(root)], capture_output=True, check=True
    ).stdout


def test_mtree_is_of_the_same_opinion(needs, place) -> None:
    needs("mtree")
    root = tree(place)
    spec = place / "app.mtree"
    spec.write_bytes(mtree_of(root))
    args = ["--manifest", str(spec)]
    status, out = run(place, *args)
    assert status == 0, out
    (root / "app.conf").chmod(0o666)
    os.chown(root / "keys/secret", 65534, 0)
    (root / "conf.d/a b#c").write_text("longer than before\n")
    (root / "conf.d/ü.conf").chmod(0o4640)
    (root / "gone").unlink()
    (root / "swapped").unlink()
    (root / "swapped").symlink_to("/etc/passwd")
    (root / "link").unlink()
    (root / "link").symlink_to("keys/secret")
    (root / "new").write_text("")
    second = subprocess.run(
        ["mtree", "-f", str(spec), "-p", str(root)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    status, out = run(place, *args, "-v")
    assert status == 2
    # their words differ; what they complain about must not
    theirs = {
        "app.conf: permissions (0640, 0666)": "app.conf has mode 0666, should be 0640",
        "secret:": "keys/secret belongs to nobody, should belong to root",
        "missing: ./gone": "gone is missing",
        "extra: new": "new is extra",
        "swapped: type (file, link)": "swapped is a link, should be a file",
        "link:": "link points to keys/secret, should point to app.conf",
        "permissions (0640, 04640)": "has mode 4640, should be 0640 (setuid or setgid)",
        "a b#c:": "conf.d/a b#c has different content (sha256)",
    }
    words = " ".join(second.stdout.replace("\\s", " ").replace("\\#", "#").split())
    for their, our in theirs.items():
        assert our in out, (our, out)
        assert their in words or their.split(":")[0] in words, (their, second.stdout)
    assert "files_mode=2;;;0" in out


def puppet_options(place: Path) -> list[str]:
    options = [f"--{name}={place}/puppet" for name in ("confdir", "vardir", "rundir", "logdir")]
    summary = place / "puppet" / "public" / "last_run_summary.yaml"
    return [*options, f"--publicdir={summary.parent}", f"--lastrunfile={summary}"]


def puppet_apply(place: Path, code: str, *more: str) -> int:
    (place / "puppet").mkdir(exist_ok=True)
    done = subprocess.run(
        ["puppet", "apply", *puppet_options(place), *more, "-e", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=ENV,
    )
    return done.returncode


def test_a_puppet_run_that_skews_a_mode_reports_success_and_is_found(needs, place) -> None:
    needs("puppet", "mtree", "setpriv")
    root = tree(place)
    spec = place / "app.mtree"
    spec.write_bytes(mtree_of(root))
    assert puppet_apply(place, f"file {{ '{root}/app.conf': mode => '0666' }}") == 0
    summary = place / "puppet" / "public" / "last_run_summary.yaml"
    assert summary.exists()
    status, out = run(place, "--puppet", str(summary))
    assert (status, "puppet ran " in out) == (0, True), out
    status, out = run(place, "--puppet", str(summary), "--manifest", str(spec))
    assert status == 2
    assert (
        f"CRITICAL - 1 of 10 files below {root} differs from the manifest: app.conf has mode 0666, "
        "should be 0640 (anyone may write)"
    ) in out
    assert "puppet_failed=0;" in out
    # the summary is 0640: not to be read by the monitoring user, which must not be green
    summary.chmod(0o640)
    copied = place / "checks"
    shutil.copytree(ROOT / "checks", copied, ignore=shutil.ignore_patterns("__pycache__"))
    import nagiosplugin

    shutil.copytree(Path(nagiosplugin.__file__).parent, copied / "nagiosplugin")
    for path in (copied, *copied.rglob("*")):
        path.chmod(0o755)
    mine = place / "nobody"
    mine.mkdir(mode=0o700)
    os.chown(mine, 65534, 65534)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3",
         str(copied / "check_config_freshness.py"), "--state-dir", str(mine),
         "--puppet", str(summary)],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert f"not allowed to read {summary}; chmod 644 {summary}" in done.stdout
    # disabled, with a reason
    state = place / "puppet" / "state"
    assert state.is_dir()
    subprocess.run(
        ["puppet", "agent", *puppet_options(place), "--disable", "upgrade of the workers"],
        capture_output=True, check=True, timeout=120, env=ENV,
    )  # fmt: skip
    lock = next(place.rglob("agent_disabled.lock"))
    assert lock.parent == state
    status, out = run(place, "--puppet", str(summary))
    assert (status, "puppet has been disabled for " in out) == (1, True), out
    assert "upgrade of the workers" in out
    old = time.time() - 3 * 86400
    os.utime(lock, (old, old))
    assert run(place, "--puppet", str(summary))[0] == 2


def test_a_puppet_run_that_fails_is_found(needs, place) -> None:
    needs("puppet")
    code = f"file {{ '{place}/no/such/directory/file': content => 'x' }}"
    puppet_apply(place, code)
    summary = place / "puppet" / "public" / "last_run_summary.yaml"
    status, out = run(place, "--puppet", str(summary))
    assert (status, "puppet failed to apply 1 resource " in out) == (2, True), out

"""Real rotations, writers and refusals; and agreement with logrotate on Debian's files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Callable

import nagiosplugin
import pytest

import logrotate_corpus
from conftest import ROOT
from live.engines import Dockerd, Engine, Podman, running, wait_until
from sides.log_rotation import DAY, Machine
from twiceshy.log_rotation import unrotated
from twiceshy.log_rotation.logrotate.container_logs import container_logs
from twiceshy.log_rotation.logrotate.host import Host, HostPaths

pytestmark = pytest.mark.live

WRITER = """
import os, sys, time
append = os.O_APPEND if sys.argv[2] == "append" else 0
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | append, 0o644)
end = time.time() + 60
while time.time() < end:
    os.write(log, b"x" * 65536)
    time.sleep(0.02)
"""


class Lab(Machine):
    """A machine with the real logrotate, started manually, and real processes."""

    def __init__(self, where: Path) -> None:
        version = subprocess.run(
            ["logrotate", "--version"], capture_output=True, text=True, check=False, env=self.env()
        )
        found = re.search(r"\d+\.\d+\.\d+", version.stdout + version.stderr)
        assert found
        super().__init__(where, found[0])
        self.status = self.root / "var/lib/logrotate/status"
        self.started: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def env() -> dict[str, str]:
        return {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}

    def rotate(self, *more: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, "logrotate", *more, "-s", str(self.status), str(self.etc / "logrotate.conf")],
            capture_output=True, text=True, check=False, env=self.env(),
        )  # fmt: skip

    def writer(self, path: Path, how: str = "append") -> int:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), how])
        self.started.append(process)
        self.process(process.pid, "writer", real=process.pid)
        self.until(lambda: path.exists() and path.stat().st_size > 0)
        return process.pid

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end
            time.sleep(0.05)

    def remember_it_an_hour_ago(self) -> None:
        """The state file as if the last rotation had been an hour earlier."""
        before = datetime.now() - timedelta(hours=1)
        stamp = f"{before.year}-{before.month}-{before.day}-{before.hour}:{before.minute}:1"
        text = re.sub(r'(" )\S+$', rf"\g<1>{stamp}", self.status.read_text(), flags=re.MULTILINE)
        self.status.write_text(text)

    def seen(self, *more: str) -> dict[str, str]:
        self.now = time.time()
        return self.codes(*more)


@pytest.fixture
def lab(tmp_path: Path, needs: Any) -> Iterator[Lab]:
    needs("logrotate", "unshare", "mount")
    yield from working(tmp_path)


def working(where: Path) -> Iterator[Lab]:
    """A lab, whose processes end with it."""
    made = Lab(where)
    made.now -= 60
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def test_a_healthy_rotation_is_proven(lab: Lab) -> None:
    lab.stanza("app", "daily", "rotate 3")
    lab.log("app.log")
    assert lab.rotate("-f").returncode == 0
    lab.log("app.log")
    assert (lab.logs / "app.log.1").exists()
    assert lab.seen() == {}


def test_a_writer_that_does_not_reopen_its_log_is_found(lab: Lab) -> None:
    lab.stanza("app", "daily", "rotate 3")
    pid = lab.writer(lab.logs / "app.log")
    assert lab.rotate("-f").returncode == 0
    lab.remember_it_an_hour_ago()
    assert lab.seen() == {"writer-on-rotated": "critical"}
    assert f"[{pid}] still writes to {lab.logs}/app.log.1" in lab.check().summary_str


def test_a_writer_into_a_compressed_and_so_deleted_log_is_found(lab: Lab) -> None:
    lab.stanza("app", "daily", "rotate 3", "compress")
    pid = lab.writer(lab.logs / "app.log")
    assert lab.rotate("-f").returncode == 0
    lab.until(lambda: "deleted-held" in lab.seen("--big", "1MiB"))
    check = lab.check("--big", "1MiB")
    assert check.exitcode == 2
    assert f"[{pid}] keeps writing to {lab.logs}/app.log" in check.summary_str


def test_copytruncate_is_healthy_with_an_appending_writer_only(lab: Lab) -> None:
    lab.stanza("app", "daily", "rotate 3", "copytruncate")
    lab.writer(lab.logs / "app.log")
    assert lab.rotate("-f").returncode == 0
    assert lab.seen() == {}
    lab.writer(lab.logs / "app.log", "overwrite")
    lab.until(lambda: lab.seen() == {"no-append": "warning"})


def test_what_logrotate_refuses_is_called_so(lab: Lab) -> None:
    lab.stanza("app", "daily", glob="LOG/app/app.log")
    lab.log("app/app.log")
    (lab.logs / "app").chmod(0o777)
    ran = lab.rotate("-f")
    assert ran.returncode == 1
    assert "insecure permissions" in ran.stderr
    assert lab.seen() == {"insecure-parent": "critical"}


def test_a_rotation_that_failed_is_found_although_the_state_file_says_it_worked(lab: Lab) -> None:
    lab.stanza("app", "daily", "rotate 3", glob="LOG/app/app.log")
    lab.log("app/app.log")
    lab.log("app/app.log.1")
    script = (
        'mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" '
        '&& shift && exec "$@"'
    )
    ran = lab.rotate(
        "-f", prefix=("unshare", "-m", "sh", "-c", script, "sh", str(lab.logs / "app"))
    )
    assert ran.returncode == 1, ran
    assert "app.log" in lab.status.read_text()
    # As the next days see it: the date is fresh, and what should prove it is old.
    lab.now = time.time() + 3 * DAY
    stamp = datetime.fromtimestamp(lab.now - 3600)
    lab.status.write_text(
        re.sub(
            r'(app\.log" )\S+',
            rf"\g<1>{stamp.year}-{stamp.month}-{stamp.day}-{stamp.hour}:{stamp.minute}:1",
            lab.status.read_text(),
        )
    )
    os.utime(lab.logs / "app/app.log", (lab.now, lab.now))
    os.utime(lab.status, (lab.now - 3600, lab.now - 3600))
    assert lab.codes() == {"no-proof": "critical"}


def test_the_outage_staged_a_flood_and_an_inline_comment(lab: Lab) -> None:
    lab.stanza("player", "daily", "rotate 7   # one week", "compress")
    lab.writer(lab.logs / "player.log")
    assert lab.rotate().returncode == 1
    lab.now = time.time()
    check = lab.check()
    assert check.exitcode == 2
    assert check.summary_str.startswith(f"{lab.logs}/player.log (")
    assert "will not be rotated" in check.summary_str


def test_without_root_it_reports_what_it_could_not_see(lab: Lab, tmp_path: Path) -> None:
    lab.stanza("player", "rotate 7   # one week")
    lab.writer(lab.logs / "player.log")
    secret = lab.log("secret/app.log")
    secret.parent.chmod(0o700)
    lab.stanza("secret", "daily", glob="LOG/secret/app.log")
    for path in [tmp_path, *tmp_path.parents]:
        if os.stat(path).st_mode & 0o005 != 0o005 and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    # The checkout may lie where nobody else may look.
    shutil.copytree(ROOT / "checks", tmp_path / "checks")
    shutil.copytree(Path(nagiosplugin.__file__).parent, tmp_path / "checks/nagiosplugin")
    history = tmp_path / "nobody"
    history.mkdir(mode=0o700)
    os.chown(history, 65534, 65534)
    ran = subprocess.run(
        [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "/usr/bin/python3", str(tmp_path / "checks/check_log_rotation.py"),
            "--config", str(lab.etc / "logrotate.conf"), "--state-file", str(lab.status),
            "--log-dir", str(lab.logs),
            "--ignore", "schedule-dead", "--ignore", "run-old", "--state-dir", str(history),
            "--no-docker", "-v", "-t", "60s",
        ],
        capture_output=True, text=True, check=False, env=lab.env(),
    )  # fmt: skip
    assert ran.returncode == 2, ran
    assert "player.log" in ran.stdout.splitlines()[0]
    assert re.search(r"UNKNOWN: saw \d+ of \d+ processes; no permission to see", ran.stdout)
    lab.status.chmod(0o600)
    lab.stanza("app", "daily")
    story = subprocess.run(
        [*ran.args, "--explain", str(lab.log("app.log"))],
        capture_output=True, text=True, check=False, env=lab.env(),
    )  # fmt: skip
    hidden = f"app.log: last rotation unknown, no permission to read {lab.status}; run with sudo"
    assert story.returncode == 3, story
    assert hidden in story.stdout


@pytest.mark.parametrize("acl", ["", "u:nobody:rwx", "g:nogroup:rwx", "g:nogroup:rwx,m::rx"])
def test_su_and_acls_decide_as_they_do_for_logrotate(lab: Lab, needs: Any, acl: str) -> None:
    needs("setfacl")
    lab.stanza("app", "daily", "su nobody nogroup", "create", glob="LOG/app/app.log")
    log = lab.log("app/app.log")
    os.chown(log, 65534, 65534)
    for path in [log.parent, *log.parents]:
        if os.stat(path).st_mode & 0o005 != 0o005 and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    if acl:
        subprocess.run(["setfacl", "-m", acl, log.parent], check=True)
    expected = lab.seen()
    lab.rotate("-f")
    rotated = (log.parent / "app.log.1").exists()
    assert expected == ({} if rotated else {"su-cannot-write": "critical"})
    assert rotated == (acl in ("u:nobody:rwx", "g:nogroup:rwx"))


def test_a_logrotate_that_holds_the_lock_for_hours_is_found(lab: Lab) -> None:
    for name in ("stat", "locks"):
        (lab.root / "proc" / name).symlink_to(f"/proc/{name}")
    waiting, go_on = lab.root / "waiting", lab.root / "go-on"
    script = f"touch {waiting}; while [ ! -e {go_on} ]; do sleep 0.1; done"
    lab.stanza("app", "daily", "rotate 3", "postrotate", script, "endscript")
    lab.log("app.log")
    holder = subprocess.Popen(
        ["logrotate", "-f", "-s", str(lab.status), str(lab.etc / "logrotate.conf")], env=lab.env()
    )
    lab.started.append(holder)
    try:
        lab.until(waiting.exists)
        lab.process(holder.pid, "logrotate", real=holder.pid)
        second = lab.rotate()
        assert second.returncode == 3, second
        assert "already locked" in second.stderr
        assert "state-locked" not in lab.seen()
        lab.now = time.time() + 2 * 3600
        check = lab.check()
        text = next(one for one in check.findings if one.code == "state-locked")
        assert str(text.state) == "critical"
        assert re.match(
            rf"nothing is rotated: process {holder.pid}, started 2h.* ago, holds the lock on "
            rf"{lab.status}\Z",
            text.text,
        )
        shown = subprocess.run(text.next.split(), capture_output=True, text=True, check=True)
        assert waiting.name in shown.stdout
    finally:
        go_on.touch()
    assert holder.wait(20) == 0
    assert "state-locked" not in lab.codes()


# What an operator reads at three in the morning


@dataclass(frozen=True)
class Night:
    """A broken configuration, what logrotate's exit status is, and the check's first and next."""

    stanza: tuple[str, ...]
    """Lines, glob first; LOG stands for the log directory."""
    status: int
    first: str
    next: str
    more: Callable[[Lab], object] = lambda lab: None
    kept: tuple[str, ...] = ()
    """What is in the log directory after three rotations; not asked if empty."""


def another_stanza(lab: Lab) -> None:
    lab.drop_in("more", "LOG/app/*.log {\n daily\n}\n")
    lab.log("app/b.log", size=500)


def group_writable(lab: Lab) -> None:
    (lab.logs / "app").chmod(0o775)
    os.chown(lab.logs / "app", 65534, 65534)


def no_schedule(lab: Lab) -> None:
    lab.script.unlink()


def open_for_overwriting(lab: Lab) -> None:
    (lab.logs / "app/app.log").unlink()
    lab.writer(lab.logs / "app/app.log", "overwrite")


NIGHTS = {
    "a su that may not write": Night(
        ("LOG/app/app.log", "daily", "su nobody nogroup"), 1,
        "CRITICAL - LOG/app/app.log (1000B) cannot be rotated: `su nobody nogroup` may not write "
        "to its directory, owned by root:root, mode 0755 (ETC/app:1)",
        "ls -ld LOG/app",
    ),
    "a su without a group": Night(
        ("LOG/app/app.log", "daily", "su nobody"), 1,
        "CRITICAL - LOG/app/app.log (1000B) will not be rotated: ETC/app:3: `su` without a group, "
        "and logrotate drops the stanza",
        "sed -n 3p ETC/app; logrotate -d MAIN",
    ),
    "a directory of the application's group": Night(
        ("LOG/app/app.log", "daily"), 1,
        "CRITICAL - LOG/app/app.log (1000B) is refused by logrotate: its directory is writable "
        "by group nogroup (mode 0775), and the stanza has no `su` (ETC/app:1)",
        "ls -ld LOG/app # then perhaps `su nobody nogroup` in the stanza at ETC/app:1",
        group_writable,
    ),
    "no endscript": Night(
        ("LOG/app/app.log", "daily", "postrotate", "true"), 1,
        "CRITICAL - LOG/app/app.log (1000B) will not be rotated: ETC/app:3: postrotate without "
        "endscript, and logrotate ignores the rest of the file",
        "sed -n 3p ETC/app; logrotate -d MAIN",
    ),
    "a log in two stanzas": Night(
        ("LOG/app/app.log", "daily"), 1,
        "CRITICAL - LOG/app/b.log (500B) will not be rotated: ETC/more:1: LOG/app/app.log "
        "already belongs to the stanza at ETC/app:1, and logrotate drops the rest of the glob",
        "sed -n 1p ETC/more; logrotate -d MAIN",
        another_stanza,
    ),
    "no such compress program": Night(
        ("LOG/app/app.log", "daily", "rotate 3", "compress", "compresscmd /usr/bin/no-such-zstd"),
        1,
        "WARNING - LOG/app/app.log: `compress` at ETC/app:1 fails, there is no program "
        "/usr/bin/no-such-zstd: each run overwrites the last rotated log",
        "command -v /usr/bin/no-such-zstd; grep -n compress ETC/app MAIN",
        kept=("app.log", "app.log.1"),
    ),
    "a size, and nobody who runs it": Night(
        ("LOG/app/app.log", "size 100"), 0,
        "CRITICAL - logrotate will not run: neither a timer nor a cron job starts logrotate; the "
        "last run was 10d ago",
        "ls -l /etc/cron.*/*logrotate*; pgrep -a cron",
        no_schedule,
    ),
    "a glob that meets its own products": Night(
        ("LOG/app/*", "daily", "rotate 1"), 0,
        "WARNING - LOG/app/app.log.1 is a rotated file, and LOG/app/* at ETC/app:1 rotates it "
        "again (+2 files)",
        "ls -l LOG/app; sed -n 1p ETC/app",
        kept=("app.log", "app.log.1", "app.log.1.1", "app.log.1.1.1"),
    ),
    "copytruncate under a writer that does not append": Night(
        ("LOG/app/app.log", "daily", "rotate 1", "copytruncate"), 0,
        "WARNING - python[PID] writes to LOG/app/app.log without O_APPEND: after `copytruncate` "
        "(ETC/app:1) it becomes a sparse file of the old length",
        "ls -ls LOG/app/app.log; ps -wwfp PID",
        open_for_overwriting,
    ),
}  # fmt: skip


@pytest.fixture
def brief(needs: Any) -> Iterator[Lab]:
    """A lab in a place with a short name: the next command has room for 200 bytes."""
    needs("logrotate")
    with tempfile.TemporaryDirectory(prefix="tw-") as place:
        Path(place).chmod(0o755)
        yield from working(Path(place))


@pytest.mark.parametrize("name", NIGHTS)
def test_an_operator_knows_what_to_do(brief: Lab, name: str) -> None:
    night, lab = NIGHTS[name], brief
    lab.stanza("app", *night.stanza[1:], glob=night.stanza[0])
    lab.log("app/app.log")
    night.more(lab)
    for _ in range(3 if night.kept else 1):
        ran = lab.rotate("-f")
        assert ran.returncode == night.status, ran
        lab.log("app/app.log")
    assert not night.kept or tuple(sorted(os.listdir(lab.logs / "app"))) == night.kept
    lab.now = time.time() + 5
    if not lab.script.exists():
        os.utime(lab.status, (lab.now - 10 * DAY,) * 2)
    words = lab.check().output().partition(" | ")[0]
    for place, short in (
        (f"{lab.etc}/logrotate.d", "ETC"), (f"{lab.etc}/logrotate.conf", "MAIN"),
        (str(lab.logs), "LOG"), *((str(one.pid), "PID") for one in lab.started),
    ):  # fmt: skip
        words = words.replace(place, short)
    # As it was started: python, python3 or python3.11.
    lines = re.sub(r"\bpython[\d.]+", "python", words).splitlines()
    assert lines[0] == f"LOG_ROTATION {night.first}"
    assert lines[-1] == f"Next: {night.next}"
    assert any(re.match(r"\[[a-z-]+\] .*; remedy: ", line) for line in lines)


def test_without_its_compress_program_delaycompress_ends_the_rotation(lab: Lab) -> None:
    lab.stanza("app", "daily", "compress", "delaycompress", "compresscmd /usr/bin/no-such-zstd")
    log = lab.log("app.log")
    assert lab.rotate("-f").returncode == 0
    assert log.stat().st_size == 0
    log.write_text("first night\n")
    assert lab.rotate("-f").returncode == 1
    assert lab.rotate("-f").returncode == 1
    assert log.read_text() == "first night\n"
    assert lab.seen() == {"compress-missing": "critical"}


# Containers

NOISY = "i=0; while [ $i -lt 16000 ]; do echo {}; i=$((i + 1)); done; sleep 1000"


@pytest.fixture(params=[Dockerd, Podman], ids=["docker", "podman"], scope="module")
def engine(request: pytest.FixtureRequest, needs: Any) -> Iterator[Engine]:
    """An engine of which one container has a limit for its log and one has none."""
    kind = request.param
    needs("dockerd" if kind is Dockerd else "podman", "busybox", "runc")
    with running(kind) as engine:
        driver = "json-file" if kind is Dockerd else "k8s-file"
        capped = {"Type": driver, "Config": {"max-size": "100k"}}
        engine.run("unbounded", NOISY.format("x" * 200))
        engine.run("capped", NOISY.format("x" * 200), log_config=capped)
        engine.run("silent", "sleep 1000", log_config={"Type": "none", "Config": {}})
        yield engine


def containers(lab: Lab, engine: Engine, *more: str) -> tuple[int, str]:
    """Exit status and output of the check as a process that asks this engine."""
    ran = subprocess.run(
        [
            sys.executable, str(ROOT / "checks/check_log_rotation.py"),
            "--config", str(lab.etc / "logrotate.conf"), "--state-file", str(lab.status),
            "--log-dir", str(lab.logs), "--state-dir", str(lab.history), "--big", "1MiB",
            "--ignore", "schedule-dead", *more,
        ],
        capture_output=True, text=True, check=False,
        env={**lab.env(), "DOCKER_HOST": engine.url},
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_only_the_container_without_a_limit_is_found(lab: Lab, engine: Engine) -> None:
    driver = "json-file" if isinstance(engine, Dockerd) else "k8s-file"
    words = rf"container unbounded: its {driver} log \([\d.]+MiB\) has no max-size"
    wait_until(lambda: re.search(words, containers(lab, engine)[1]))
    status, output = containers(lab, engine)
    assert status == 1, output
    assert re.match(rf"LOG_ROTATION WARNING - {words}\n", output), output
    assert "container capped" not in output
    assert "container silent" not in output
    found = re.search(r"unbounded=(\d+)B", output)
    assert found
    assert int(found[1]) > 1 << 20


def test_an_engine_that_hangs_hides_no_other_finding(lab: Lab, engine: Engine) -> None:
    lab.stanza("player", "daily", "rotate 7   # one week")
    lab.log("player.log")
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)
    try:
        status, output = containers(lab, engine, "-v", "--docker", "-t", "6s")
        alone = containers(lab, engine, "-t", "6s", "--ignore", "config-error")
        assert containers(lab, engine, "-t", "6s", "--ignore", "unseen")[0] == 2
    finally:
        engine.process.send_signal(signal.SIGCONT)
    assert status == 2, output
    assert "player.log" in output.splitlines()[0]
    assert re.search(r"UNKNOWN: container logs cannot be checked: .* does not answer", output)
    assert " unbounded=" not in output
    assert alone[0] == 3


def test_a_container_created_before_the_limit_of_daemon_json_is_found(
    lab: Lab, tmp_path: Path, needs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("dockerd", "busybox", "runc")
    limit = tmp_path / "daemon.json"
    limit.write_text("{}")
    with running(Dockerd, f"--config-file={limit}") as engine:
        engine.run("early", "sleep 1000", restart_policy={"Name": "always"})
        engine.stop()
        limit.write_text('{"log-driver": "json-file", "log-opts": {"max-size": "10m"}}')
        engine.start()
        engine.run("late", "sleep 1000")
        (lab.etc / "docker").mkdir()
        (lab.etc / "docker/daemon.json").write_text(limit.read_text())
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        found = container_logs(HostPaths(lab.root), True, Host())
        assert found is not None
        faults = unrotated.containers(found, (), 1 << 20)
    assert [(one.subject, str(one.state)) for one in faults] == [("early", "warning")]
    assert "daemon.json has max-size, but it applies only to containers created" in faults[0].text


def test_the_reading_equals_logrotate_s_on_debian_s_own_files(
    tmp_path: Path, needs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("logrotate", "apt-get", "dpkg-deb")
    where = tmp_path / "corpus"
    where.mkdir()
    try:
        count = logrotate_corpus.collect(where)
    except (OSError, subprocess.SubprocessError):
        count = 0
    if count < 15 and not os.environ.get("CI"):
        pytest.skip(f"only {count} files could be downloaded")
    files = [str(where), str(ROOT / "tests/data/log_rotation"), "/etc/logrotate.d"]
    ran = subprocess.run(
        [
            sys.executable, str(ROOT / "tests/logrotate_agreement.py"), "--json",
            "--mutants", "600", "--seed", "2", *files,
        ],
        capture_output=True, text=True, check=False, env=lab_env(),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    with capsys.disabled():
        print(
            f"\nagreement with logrotate: {result['equal']} of {result['files']} readings, "
            f"{result['stanzas']} stanzas, {count} files of Debian packages"
        )
    assert not [one for one in result["differing"] if not one["name"].startswith("mutant")]
    assert result["equal"] / result["files"] >= 0.995, result["differing"]


lab_env = Lab.env

"""check_flapping against real runit, daemontools, s6, supervisord and monit, as root and as nobody.

Everything is staged at once, checked twice by both users some seconds apart, and then mended; the
tests read what was printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import pytest

pytestmark = pytest.mark.live

FAMILY = ("runit", "daemontools", "s6")
SCANNERS = {"runit": ("runsvdir", "-P"), "daemontools": ("svscan",), "s6": ("s6-svscan",)}
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

HEALTHY = "exec sleep 100000"
INSTANT = "exit 3"
SLOW = "sleep 1.5; kill -ABRT $$"
CLEAN = "sleep 1; exit 0"
PROGRAMS = {
    "healthy": HEALTHY,
    "instant": INSTANT,
    "slow": SLOW,
    "clean": CLEAN,
    "stopped": HEALTHY,
    "rsyslogd": "exec rsyslogd -n -i NONE -f {lab}/rsyslog.conf",
}
# Runs are ten seconds apart here and not sixty, so fewer restarts can have been seen.
TIGHT = ("-w", "0", "-c", "1")
BROKEN = "$AbortOnUncleanConfig on\n*.* {lab}/out.log\nthis is no selector\n"
MENDED = "*.* {lab}/out.log\n"


@dataclass
class Output:
    """What one run of the check printed about everything."""

    status: int
    text: str

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0]

    def about(self, name: str) -> tuple[str, str]:
        """(state, sentence) on one service; "OK" and nothing if it was not mentioned."""
        for line in self.text.splitlines():
            found = re.match(r"(?:FLAPPING )?([A-Z]+)(?: -|:) (.*)", line.partition(" | ")[0])
            if found and found.group(2).startswith(f"{name} ("):
                return found.group(1), found.group(2)
        return "OK", ""


@dataclass
class Stage:
    """A directory with everything in it that was started."""

    path: Path
    monit_port: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    outputs: dict[tuple[str, str, int], Output] = field(default_factory=dict)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """A daemon of ours."""
        environment = {**os.environ, **environment, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        with (self.path / "daemons.log").open("ab") as log:
            one = subprocess.Popen(
                words, cwd=self.path, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self.started.append(one)
        return one

    def run(self, *words: str) -> str:
        """A command that must succeed."""
        ran = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
        return ran.stdout

    def check(
        self, supervisor: str, where: str, *more: str, user: str = "root", **environment: str
    ) -> Output:
        """The check as root or as nobody, who keeps a history of its own."""
        option = "--service-dir" if supervisor in FAMILY else "--socket"
        argv = [
            "/usr/bin/python3", str(self.path / "checks/check_flapping.py"),
            "--supervisor", supervisor, option, where,
            "--state-dir", str(self.path / f"state-{user}"), "-t", "30s", "-v", *more,
        ]  # fmt: skip
        ran = subprocess.run(
            [*NOBODY, *argv] if user == "nobody" else argv,
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
            env={**os.environ, **environment},
        )  # fmt: skip
        assert ran.stderr == ""
        return Output(ran.returncode, ran.stdout)

    def where(self, supervisor: str) -> str:
        """What to give the check for the main instance of a supervisor."""
        if supervisor == "supervisord":
            return str(self.path / "supervisord.conf")
        return str(self.path / ("monitrc" if supervisor == "monit" else supervisor))

    def run_all(self, number: int) -> None:
        """Both users check everything, at the same time."""

        def one(supervisor: str, user: str) -> None:
            where, environment = self.where(supervisor), {}
            if supervisor == "monit" and user == "nobody":
                where = f"http://127.0.0.1:{self.monit_port}"
                environment = {"MONIT_USERNAME": "admin", "MONIT_PASSWORD": "monit"}
            more = TIGHT if number == 2 and supervisor != "monit" else ()
            self.outputs[supervisor, user, number] = self.check(
                supervisor, where, *more, user=user, **environment
            )

        def stepped(supervisor: str, hours: str) -> None:
            where = str(self.path / f"{supervisor}{hours}")
            output = self.check(supervisor, where, *(TIGHT if number == 2 else ()))
            self.outputs[f"{supervisor}{hours}", "root", number] = output

        in_parallel(
            [
                lambda s=supervisor, u=user: one(s, u)  # type: ignore[misc]
                for supervisor in (*FAMILY, "supervisord", "monit")
                for user in ("root", "nobody")
            ]
            + [
                lambda s=supervisor, h=hours: stepped(s, h)  # type: ignore[misc]
                for supervisor in FAMILY
                for hours in ("+1h", "-1h")
            ]
        )

    def ours(self) -> list[int]:
        """Pids of all processes that stand in our directory or name it."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                    stands_in = os.readlink(entry / "cwd")
                except OSError:
                    continue
                if str(self.path) in f"{words}\0{stands_in}/":
                    pids.append(int(entry.name))
        return pids

    def end(self) -> None:
        """Nothing of ours runs on."""
        for one in self.started:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
        for _ in range(50):
            pids = self.ours()
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        for one in self.started:
            one.wait(10)
        shutil.rmtree(self.path, ignore_errors=True)


def in_parallel(jobs: Iterable[Callable[[], object]]) -> None:
    """All jobs at once; the first error is raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  (handed over to the main thread)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.2)


def pids_of(directory: Path, comm: str) -> list[int]:
    """Processes of a name that stand in or below a directory."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stands_in = os.readlink(entry / "cwd")
                if (entry / "comm").read_text().strip() == comm and (
                    f"{stands_in}/".startswith(f"{directory}/")
                ):
                    pids.append(int(entry.name))
    return pids


def service_directories(stage: Stage, directory: Path, programs: dict[str, str]) -> None:
    """One service directory a program."""
    for name, script in programs.items():
        (directory / name).mkdir(parents=True)
        run = directory / name / "run"
        run.write_text("#!/bin/sh\nexec 2>&1\n" + script.format(lab=stage.path) + "\n")
        run.chmod(0o755)


def stage_family(stage: Stage, supervisor: str) -> None:
    """The main instance, two whose clock is an hour off, and one to be killed."""
    main = stage.path / supervisor
    service_directories(stage, main, {**PROGRAMS, "norun": ""})
    (main / "norun/run").unlink()
    stage.start(*SCANNERS[supervisor], str(main))
    for hours in ("+1h", "-1h"):
        stepped = stage.path / f"{supervisor}{hours}"
        service_directories(stage, stepped, {"healthy": HEALTHY, "slow": SLOW})
        stage.start(*SCANNERS[supervisor], str(stepped), LD_PRELOAD=FAKETIME, FAKETIME=hours)
    killed = stage.path / f"{supervisor}-killed"
    service_directories(stage, killed, {"orphan": HEALTHY, "dead": HEALTHY})
    stage.start(*SCANNERS[supervisor], str(killed))


def kill_family(stage: Stage, supervisor: str) -> None:
    """The scanner, its keepers and one of the two daemons die without a word."""
    killed = stage.path / f"{supervisor}-killed"
    keeper = {"runit": "runsv", "daemontools": "supervise", "s6": "s6-supervise"}[supervisor]
    wait_for(lambda: len(pids_of(killed, "sleep")) == 2, f"daemons of {supervisor}")
    next(one for one in stage.started if one.args[-1] == str(killed)).kill()  # type: ignore[index]
    for pid in (*pids_of(killed, keeper), *pids_of(killed / "dead", "sleep")):
        os.kill(pid, signal.SIGKILL)


def stage_supervisord(stage: Stage) -> None:
    """The same programs, and a pool of which one member crashes."""
    sections = [
        "[unix_http_server]\nfile={lab}/supervisord.sock",
        "[supervisord]\nlogfile={lab}/supervisord.log\npidfile={lab}/supervisord.pid",
        "[supervisorctl]\nserverurl=unix://{lab}/supervisord.sock",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
        "supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for name, script in {**PROGRAMS, "norun": ""}.items():
        command = f'/bin/sh -c "{script}"' if script else "/nonexistent/program"
        sections.append(
            f"[program:{name}]\ncommand={command}\nautorestart=true\nstartsecs="
            f"{0 if name == 'instant' else 1}\nstderr_logfile={{lab}}/{name}.err"
        )
    sections.append(
        '[program:pool]\ncommand=/bin/sh -c "if [ %(process_num)s = 1 ]; then sleep 1.5; exit 5; '
        'fi; exec sleep 100000"\nnumprocs=3\nprocess_name=%(program_name)s_%(process_num)d'
    )
    text = "\n".join(sections).replace("{lab}", str(stage.path))
    file = stage.path / "supervisord.conf"
    file.write_text(text)
    stage.start("supervisord", "-n", "-c", str(file))
    stepped = text.replace("supervisord.", "stepped.")
    (stage.path / "stepped.conf").write_text(stepped)
    stage.start(
        "supervisord", "-n", "-c", str(stage.path / "stepped.conf"),
        LD_PRELOAD=FAKETIME, FAKETIME="+1h",
    )  # fmt: skip


def stage_monit(stage: Stage) -> None:
    """Programs in the background with pid files, looked after every second."""
    helper = stage.path / "background"
    helper.write_text(
        f'#!/bin/sh\ncd {stage.path}\nsetsid /bin/sh -c "echo \\$\\$ > $1.pid; $2" </dev/null '
        ">/dev/null 2>&1 &\nsleep 0.1\n"
    )
    helper.chmod(0o755)
    programs = {
        "healthy": HEALTHY,
        "slow": "sleep 2.5; exit 1",
        "limit": "sleep 0.5; exit 1",
        "stopped": HEALTHY,
    }
    text = (
        "set daemon 1\nset log {lab}/monit.log\nset idfile {lab}/monit.id\n"
        "set statefile {lab}/monit.state\nset pidfile {lab}/monit.pid\n"
        f"set httpd port {stage.monit_port} and use address 127.0.0.1 allow admin:monit\n"
    )
    for name, script in programs.items():
        text += (
            f"check process {name} with pidfile {{lab}}/{name}.pid\n"
            f"  start program = \"{{lab}}/background {name} '{script}'\"\n"
            f"  stop program = \"/bin/sh -c 'kill $(cat {{lab}}/{name}.pid)'\"\n"
        )
        if name == "limit":
            text += "  if 3 restarts within 20 cycles then unmonitor\n"
    text += (
        "check process norun with pidfile {lab}/norun.pid\n"
        '  start program = "/nonexistent/program"\n'
    )
    file = stage.path / "monitrc"
    file.write_text(text.replace("{lab}", str(stage.path)))
    file.chmod(0o600)
    stage.start("monit", "-I", "-c", str(file))


def monit_log(stage: Stage) -> str:
    """What monit has done so far."""
    try:
        return (stage.path / "monit.log").read_text()
    except FileNotFoundError:
        return ""


def supervisorctl(stage: Stage, *words: str) -> str:
    """supervisorctl's answer; its exit status is not that of the command."""
    ran = subprocess.run(
        ["supervisorctl", "-c", str(stage.path / "supervisord.conf"), *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return ran.stdout


def install_checks(stage: Stage) -> None:
    """This checkout's checks where nobody may read them, with nagiosplugin beside them."""
    import nagiosplugin

    source = Path(__file__).resolve().parents[2] / "checks"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(source, stage.path / "checks", ignore=ignore)
    library = Path(nagiosplugin.__file__).parent
    shutil.copytree(library, stage.path / "checks/nagiosplugin", ignore=ignore)
    for path in (stage.path / "checks").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for user in ("root", "nobody"):
        (stage.path / f"state-{user}").mkdir(mode=0o700)
    os.chown(stage.path / "state-nobody", 65534, 65534)


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage(Path(tempfile.mkdtemp(prefix="twiceshy-", dir="/var/tmp")), free_port())
    try:
        made.path.chmod(0o755)
        install_checks(made)
        (made.path / "rsyslog.conf").write_text(BROKEN.format(lab=made.path))
        for supervisor in FAMILY:
            stage_family(made, supervisor)
        stage_supervisord(made)
        stage_monit(made)
        for supervisor in FAMILY:
            kill_family(made, supervisor)
            wait_for(
                lambda s=supervisor: pids_of(made.path / s / "stopped", "sleep"),  # type: ignore[misc]
                f"stopped of {supervisor}",
            )
        made.run("sv", "down", str(made.path / "runit/stopped"))
        made.run("svc", "-d", str(made.path / "daemontools/stopped"))
        made.run("s6-svc", "-d", str(made.path / "s6/stopped"))
        wait_for(lambda: "RUNNING" in supervisorctl(made, "status", "stopped"), "supervisord")
        supervisorctl(made, "stop", "stopped")
        wait_for(lambda: "'stopped' process is running" in monit_log(made), "monit's start")
        made.run("monit", "-c", str(made.path / "monitrc"), "stop", "stopped")
        wait_for(lambda: "3 times within" in monit_log(made), "monit's limit")
        wait_for(lambda: "FATAL" in supervisorctl(made, "status", "rsyslogd"), "FATAL")
        tally = made.path / "s6/slow/supervise/death_tally"
        wait_for(lambda: tally.stat().st_size >= 6 * 14, "six deaths under s6")
        made.run_all(1)
        time.sleep(8)
        made.run_all(2)
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def _programs(needs) -> None:  # type: ignore[no-untyped-def]
    needs(
        "runsvdir", "svscan", "s6-svscan", "supervisord", "monit", "rsyslogd", "faketime", "setpriv"
    )


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("supervisor", FAMILY)
def test_crashers_are_critical_at_the_second_run(stage, supervisor, user):
    output = stage.outputs[supervisor, user, 2]
    assert output.status == 2
    assert output.about("instant")[0] == "CRITICAL", output.text
    for name in ("slow", "clean"):
        assert output.about(name)[0] in ("WARNING", "CRITICAL"), (name, output.text)


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("supervisor", FAMILY)
def test_how_they_die_is_named_even_where_the_supervisor_does_not_keep_it(stage, supervisor, user):
    output = [stage.outputs[supervisor, user, number] for number in (1, 2)]
    for name, how in (("instant", "exit status 3"), ("clean", "exit status 0")):
        assert any(how in one.about(name)[1] for one in output), (name, output)


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("supervisor", FAMILY)
def test_the_healthy_and_what_the_operator_stopped_are_fine(stage, supervisor, user):
    for number in (1, 2):
        output = stage.outputs[supervisor, user, number]
        assert output.about("stopped")[0] == "OK", output.text
        assert output.about("healthy")[0] in ("OK", "UNKNOWN"), output.text


@pytest.mark.parametrize("supervisor", FAMILY)
def test_wanted_up_but_without_a_run_script(stage, supervisor):
    state, sentence = stage.outputs[supervisor, "root", 2].about("norun")
    assert state in ("WARNING", "CRITICAL")
    assert "no run script" in sentence or "exit status 111" in sentence


def test_s6_tells_everything_at_the_first_run(stage):
    output = stage.outputs["s6", "root", 1]
    for name, how in (("instant", "exit status 3"), ("slow", "signal ABRT")):
        state, sentence = output.about(name)
        assert (state, how in sentence) == ("CRITICAL", True), output.text


@pytest.mark.parametrize("supervisor", [*FAMILY, "supervisord"])
def test_the_outage_of_2015(stage, supervisor):
    first, second = (stage.outputs[supervisor, "root", n].about("rsyslogd") for n in (1, 2))
    if supervisor in ("s6", "supervisord"):
        assert first[0] == "CRITICAL", first
    assert (second[0], "exit status 2" in second[1]) == ("CRITICAL", True), second


@pytest.mark.parametrize("supervisor", FAMILY)
def test_nobody_sees_the_outage_of_2015_too(stage, supervisor):
    state, _ = stage.outputs[supervisor, "nobody", 2].about("rsyslogd")
    assert state == "CRITICAL"


@pytest.mark.parametrize("hours", ["+1h", "-1h"])
@pytest.mark.parametrize("supervisor", FAMILY)
def test_stamps_of_another_clock_fool_nobody(stage, supervisor, hours):
    output = stage.outputs[f"{supervisor}{hours}", "root", 2]
    assert output.about("slow")[0] in ("WARNING", "CRITICAL"), output.text
    assert output.about("healthy")[0] in ("OK", "UNKNOWN"), output.text
    where = str(stage.path / f"{supervisor}{hours}")
    healthy = stage.check(supervisor, where, "--service", "healthy", "--learning", "ok")
    assert healthy.status == 0, healthy.text
    age = float(re.search(r"healthy_age=([0-9.]+)s", healthy.text).group(1))
    assert 5 < age < 600


@pytest.mark.parametrize("supervisor", FAMILY)
def test_a_killed_supervisor_is_said(stage, supervisor):
    output = stage.check(supervisor, str(stage.path / f"{supervisor}-killed"))
    assert output.status == 2
    state, sentence = output.about("dead")
    assert (state, "is dead, nothing restarts it" in sentence) == ("CRITICAL", True)
    state, sentence = output.about("orphan")
    assert (state, "is still running, but nothing would restart it" in sentence) == (
        "WARNING",
        True,
    )


def test_a_stranger_who_was_let_into_supervise_sees_the_tally(stage):
    opened = stage.path / "s6+1h"
    for directory in opened.glob("*/supervise"):
        directory.chmod(0o755)
    output = stage.check("s6", str(opened), *TIGHT, user="nobody")
    state, sentence = output.about("slow")
    assert (state, "signal ABRT" in sentence) == ("CRITICAL", True), output.text
    assert output.about("healthy")[0] == "OK", output.text


def test_the_sudoers_file_is_one(needs):
    needs("visudo")
    file = Path(__file__).resolve().parents[2] / "contrib/sudoers/twiceshy-flapping"
    ran = subprocess.run(["visudo", "-cf", str(file)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_supervisord_tells_everything_at_the_first_run(stage):
    output = stage.outputs["supervisord", "root", 1]
    for name, how in (
        ("instant", "exit status 3"),
        ("clean", "exit status 0"),
        ("pool:pool_1", "exit status 5"),
        ("norun", "can't find command"),
    ):
        state, sentence = output.about(name)
        assert (state in ("WARNING", "CRITICAL"), how in sentence) == (True, True), output.text
    for name in ("healthy", "stopped", "pool:pool_0", "pool:pool_2"):
        assert output.about(name)[0] == "OK", output.text


def test_nobody_sees_what_comes_and_goes_under_supervisord(stage):
    output = stage.outputs["supervisord", "nobody", 2]
    assert output.about("clean")[0] == "CRITICAL", output.text
    assert output.about("healthy")[0] in ("OK", "UNKNOWN"), output.text


def test_a_supervisord_whose_clock_was_stepped_back(stage):
    output = stage.check("supervisord", str(stage.path / "stepped.conf"))
    assert output.about("clean")[0] == "CRITICAL", output.text
    assert output.about("healthy")[0] == "OK", output.text


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_monit_and_its_own_limit(stage, user):
    output = stage.outputs["monit", user, 2]
    state, sentence = output.about("limit")
    assert (state, "restarted 3 times within" in sentence) == ("CRITICAL", True), output.text
    assert output.about("slow")[0] in ("WARNING", "CRITICAL"), output.text
    assert output.about("norun")[0] in ("WARNING", "CRITICAL"), output.text
    for name in ("healthy", "stopped"):
        assert output.about(name)[0] == "OK", output.text


def test_monit_without_a_password_is_unknown(stage):
    output = stage.check("monit", f"http://127.0.0.1:{stage.monit_port}", user="nobody")
    assert output.status == 3
    assert "$MONIT_USERNAME" in output.first_line


def test_mended_is_fine_after_one_quiet_window(stage):
    (stage.path / "rsyslog.conf").write_text(MENDED.format(lab=stage.path))
    supervisorctl(stage, "start", "rsyslogd")
    more = ("--service", "rsyslogd", "--window", "10s")
    deadline = time.monotonic() + 60

    def mended(supervisor: str) -> None:
        while True:
            output = stage.check(supervisor, stage.where(supervisor), *more)
            if output.status == 0:
                return
            assert time.monotonic() < deadline, output.text
            time.sleep(1)

    in_parallel([lambda s=s: mended(s) for s in (*FAMILY, "supervisord")])


def test_the_outage_of_2015_under_systemd(stage):
    """systemd remembers: CRITICAL at the first run, and OK after one quiet window."""
    from live.lab import Lab

    with Lab() as lab:
        script = lab.install_checks() + "/check_flapping.py"
        lab.run(
            ["sh", "-c", f"printf '%s' '{BROKEN}' | sed s,{{lab}},/tmp, >/etc/rsyslog-2015.conf"]
        )
        lab.unit(
            "syslogd-2015.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=500ms\n"
            "ExecStart=/usr/sbin/rsyslogd -n -i NONE -f /etc/rsyslog-2015.conf\n",
        )
        lab.run(["systemctl", "daemon-reload"])
        lab.run(["systemctl", "start", "--no-block", "syslogd-2015"])

        def restarts() -> int:
            shown = lab.run(["systemctl", "show", "-P", "NRestarts", "syslogd-2015"]).stdout
            return int(shown or 0)

        wait_for(lambda: restarts() > 6, "restarts under systemd")
        argv = ["/usr/bin/python3", script, "--service", "syslogd-2015", "--state-dir", "/root/s"]
        ran = lab.run(argv)
        assert (ran.returncode, "exit status 2" in ran.stdout) == (2, True), ran.stdout
        lab.run(["sh", "-c", "echo '*.* /tmp/out.log' >/etc/rsyslog-2015.conf"])

        def is_mended() -> bool:
            return lab.run([*argv, "--window", "8s"]).returncode == 0

        wait_for(is_mended, "quiet window under systemd", 60)


def test_a_killed_supervisord_and_monit_are_critical(stage):
    for one in stage.started:
        if one.args[0] in ("supervisord", "monit"):
            one.kill()
            one.wait(10)
    for supervisor in ("supervisord", "monit"):
        output = stage.check(supervisor, stage.where(supervisor))
        assert output.status == 2, output.text
        assert "does not answer" in output.first_line

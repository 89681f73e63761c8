"""The stage of the drills, on a check and a fault of a few lines; and what drills say and clear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from conftest import CHECKS, ROOT
from twiceshy.command import drill as drills
from twiceshy.command import roster
from twiceshy.command.roster import Entry
from twiceshy.kit.drill import MARK, Cannot, Drill, Failed, Play, Sandbox
from twiceshy.kit.plugin import CRITICAL, OK

LAMP = '''"""Is the lamp lit?"""
import sys
from pathlib import Path
from twiceshy.kit import options as opt, verdict
from twiceshy.kit.check import Check
from twiceshy.kit.drill import Drill, Play
from twiceshy.kit.plugin import CRITICAL, guarded
def options():
    made = opt.parser("lamp", __doc__)
    made.add_argument("lamp", type=Path)
    return made
def plan(args):
    def look():
        if args.lamp.exists():
            return verdict.Report(summary="the lamp is lit")
        return verdict.Report([verdict.Finding(CRITICAL, "the lamp is out", next="light it")])
    return Check("lamp", look)
def stage(box):
    lamp = box.write("lamp", "lit")
    box.start("sleep", "1000")
    # A daemon that detaches itself must not outlive the drill either.
    box.start("sh", "-c", "setsid sleep 1001 & setsid sleep 1002 &")
    return Play([str(lamp)], "blown out", lamp.unlink, "lit", lambda: lamp.write_text("lit"),
                every_seconds=0.05, patience_seconds=5)
def drill():
    return Drill("the lamp goes out", stage)
@guarded
def main():
    plan(options().parse_args()).main()
if __name__ == "__main__":
    main()
'''


@pytest.fixture
def lamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A check of its own, importable and, as a script, startable."""
    (tmp_path / "check_lamp.py").write_text(LAMP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'checks'}{os.pathsep}{tmp_path}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Entry("lamp", "check_lamp")


def play_of(box: Sandbox, **more: object) -> Play:
    lamp = box.write("lamp", "lit")
    return Play(
        [str(lamp)], "blown out", lamp.unlink, "lit", lambda: lamp.write_text("lit"),
        every_seconds=0.05, patience_seconds=0.3, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_play_goes_green_red_green(lamp: Entry) -> None:
    with Sandbox() as box:
        play = play_of(box)
        assert drills.until([OK], lamp, play, box, "health")[0].text == "the lamp is lit"
        play.break_it()
        assert drills.until([CRITICAL], lamp, play, box, "the fault")[0].long == ("Next: light it",)
        play.mend_it()
        assert drills.until([OK], lamp, play, box, "the remedy")[1] < 5


def test_a_check_that_does_not_turn_red_fails_the_drill(lamp: Entry) -> None:
    with (
        Sandbox() as box,
        pytest.raises(Failed, match="after the fault, the check was not critical"),
    ):
        drills.until([CRITICAL], lamp, play_of(box), box, "the fault")


def processes_of(mark: str) -> list[int]:
    """Every process that carries a sandbox's mark, zombies left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment:
            found.append(int(process.name))
    return found


def test_a_sandbox_leaves_nothing_behind(lamp: Entry) -> None:
    with Sandbox() as box:
        box.start("sh", "-c", "setsid sleep 1001 & sleep 1002")
        box.wait_for(lambda: len(processes_of(str(box.directory))) == 3, "three processes")
    assert processes_of(str(box.directory)) == []
    assert not box.directory.exists()


def test_a_sandbox_is_cleared_when_something_breaks(lamp: Entry) -> None:
    undone = []
    with pytest.raises(ZeroDivisionError), Sandbox() as box:  # noqa: PT012
        box.undo(undone.append, "first")
        box.undo(undone.append, "last first")
        raise ZeroDivisionError
    assert undone == ["last first", "first"]
    assert not box.directory.exists()


def run_in_child(tmp_path: Path) -> subprocess.Popen[str]:
    """The drill of the lamp as a process, which prints as it goes."""
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "import twiceshy.command.drill as d; from twiceshy.command.roster import Entry\n"
        "try: d.given(Entry('lamp', 'check_lamp'), float(sys.argv[2]))\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "60"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_drill_clears_everything(
    lamp: Entry, tmp_path: Path, number: signal.Signals
) -> None:
    drill = run_in_child(tmp_path)
    assert drill.stdout is not None
    for line in drill.stdout:
        if "To see your pager" in line:  # the red state is being held up
            break
    (sandbox,) = tmp_path.glob("twiceshy-drill-*")
    assert len(processes_of(str(sandbox))) >= 3
    drill.send_signal(number)
    assert drill.wait(20) == 130
    assert processes_of(str(sandbox)) == []
    assert not sandbox.exists()


def test_what_a_killed_drill_has_left_is_swept_by_the_next(lamp: Entry, tmp_path: Path) -> None:
    drill = run_in_child(tmp_path)
    assert drill.stdout is not None
    for line in drill.stdout:
        if "To see your pager" in line:
            break
    (sandbox,) = tmp_path.glob("twiceshy-drill-*")
    drill.kill()
    drill.wait()
    assert sandbox.exists()
    assert drills.sweep() == [str(sandbox)]
    ends = time.monotonic() + 5
    while processes_of(str(sandbox)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert processes_of(str(sandbox)) == []
    assert not sandbox.exists()


def test_sweeping_leaves_a_running_drill_alone(lamp: Entry) -> None:
    with Sandbox() as box:
        assert drills.sweep() == []
        assert box.directory.exists()


def test_what_a_drill_cannot_have_is_said(
    lamp: Entry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(box: Sandbox) -> Play:
        raise Cannot("no lamp here: apt install lamp")

    module = roster.load(lamp)
    monkeypatch.setattr(module, "drill", lambda: Drill("the lamp goes out", cannot))
    assert drills.given(lamp).missing == "no lamp here: apt install lamp"
    assert "skipped: no lamp here" in capsys.readouterr().out


def test_every_check_of_ours_has_a_drill() -> None:
    names = sorted(check.stem[len("check_") :] for check in CHECKS)
    assert [entry.name for entry in roster.with_part([], "drill", "drill")] == names


def test_an_unknown_drill_is_a_usage_error() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "twiceshy", "drill", "nosuch"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "checks")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 3
    assert "there is no check 'nosuch'" in ran.stderr
    assert roster.GROUP == "twiceshy.checks"

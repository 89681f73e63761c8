"""The rounds, over checks of a foreign package: good ones, and some that behave badly."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT
from twiceshy.command import roster, rounds
from twiceshy.command.rounds import Perfdatum, Visit
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError

CHECK = '''"""Is the {name} well?"""
import os, signal, sys, time
from twiceshy.kit import options as opt, verdict
from twiceshy.kit.check import Check
from twiceshy.kit.limits import Limit
from twiceshy.kit.plugin import OK, WARNING, CRITICAL, UNKNOWN, guarded
{top}
def options():
    return opt.parser("{name}", __doc__)
def plan(args):
    def look():
{look}
    return Check("{name}", look, timeout=args.timeout, verbose=args.verbose)
@guarded
def main():
    plan(options().parse_args()).main()
'''
FINE = """
        return verdict.Report(summary="all is well", measures=[verdict.Measure("eggs", 12)])
"""
RED = """
        return verdict.Report([verdict.Finding(CRITICAL, "the roof burns", next="call 112")])
"""
LOOKS = {
    "good": FINE,
    "burning": RED,
    "crashing": "        os.kill(os.getpid(), signal.SIGSEGV)\n",
    "raising": "        raise RuntimeError('boom')\n",
    "quitting": "        os._exit(7)\n",
    "leaving": "        sys.exit(0)\n",
    "hanging": "        time.sleep(600)\n",
    "orphaning": "        os.fork() or time.sleep(600)\n" + FINE,
}
TOPS = {
    "stubborn": "time.sleep(600)",
    "broken": "import no_such_module_anywhere",
    "elsewhere": "def applies():\n    return 'no hens | here'",
}


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """An environment in which a foreign package has registered checks."""
    names = [*LOOKS, *TOPS]
    for name in names:
        text = CHECK.format(name=name, top=TOPS.get(name, ""), look=LOOKS.get(name, FINE))
        (tmp_path / f"hens_{name}.py").write_text(text)
    meta = tmp_path / "hens-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: hens\nVersion: 1.0\n")
    points = "".join(f"{name} = hens_{name}\n" for name in names)
    (meta / "entry_points.txt").write_text(f"[twiceshy.checks]\n{points}")
    path = f"{ROOT / 'checks'}{os.pathsep}{tmp_path}"
    return {**os.environ, "PYTHONPATH": path, "TWICESHY_STATE_DIR": str(tmp_path / "state")}


def twiceshy(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twiceshy", *args],
        env=env, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_check_of_another_package_makes_the_rounds(foreign: dict[str, str]) -> None:
    ran = twiceshy(foreign, "good")
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0] == "  OK        good  all is well"
    assert ran.stderr == ""


def test_a_check_that_behaves_badly_costs_only_its_own_line(foreign: dict[str, str]) -> None:
    names = "good", "burning", "crashing", "raising", "quitting", "leaving", "broken", "orphaning"
    began = time.monotonic()
    ran = twiceshy(foreign, "--json", *names)
    assert time.monotonic() - began < 9
    seen = {
        check["name"]: (check["state"], check["text"]) for check in json.loads(ran.stdout)["checks"]
    }
    assert seen.pop("raising")[0] == "unknown"
    assert "no_such_module_anywhere" in seen.pop("broken")[1]
    assert seen == {
        "good": ("ok", "all is well"),
        "orphaning": ("ok", "all is well"),
        "burning": ("critical", "the roof burns"),
        "crashing": ("unknown", "crashed: killed by SIGSEGV"),
        "quitting": ("unknown", "exited with status 7: no output"),
        "leaving": ("unknown", "printed no state (exit 0): no output"),
    }
    assert ran.returncode == 2


def test_a_check_that_hangs_ends_by_itself_and_one_that_cannot_is_killed(
    foreign: dict[str, str],
) -> None:
    ran = twiceshy(foreign, "--json", "-t", "1s", "good", "hanging", "stubborn")
    seen = {check["name"]: check["text"] for check in json.loads(ran.stdout)["checks"]}
    assert seen == {
        "good": "all is well",
        "hanging": "timed out after 1s",
        "stubborn": "did not exit within 3s and was killed",
    }
    assert ran.returncode == 3


def test_what_does_not_apply_is_said_and_does_not_count(foreign: dict[str, str]) -> None:
    ran = twiceshy(foreign, "good", "elsewhere")
    assert ran.returncode == 0
    assert "  -         elsewhere  does not apply: no hens / here" in ran.stdout.splitlines()
    assert "OK: 1 check on" in ran.stdout


def test_rounds_in_which_nothing_applies_are_not_green(foreign: dict[str, str]) -> None:
    ran = twiceshy(foreign, "elsewhere")
    assert ran.returncode == 3
    assert "no check applies to this host" in ran.stdout


def test_the_worst_comes_first_with_the_command_to_type_next(foreign: dict[str, str]) -> None:
    lines = twiceshy(foreign, "good", "burning").stdout.splitlines()
    assert lines[:3] == [
        "  CRITICAL  burning  the roof burns",
        "                     Next: call 112",
        "  OK        good     all is well",
    ]


def test_no_colour_and_no_progress_where_there_is_no_terminal(foreign: dict[str, str]) -> None:
    assert "\033" not in twiceshy(foreign, "good", "burning").stdout


def on_a_terminal(env: dict[str, str], *args: str) -> str:
    """What a terminal gets to see."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "twiceshy", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        seen += piece
    process.wait()
    os.close(ours)
    return seen.decode()


def test_a_terminal_sees_colour_and_progress(foreign: dict[str, str]) -> None:
    seen = on_a_terminal(foreign, "burning")
    assert "waiting for burning" in seen
    assert "\033[31;1mCRITICAL" in seen


def test_a_terminal_without_wish_for_colour_gets_none(foreign: dict[str, str]) -> None:
    assert "\033[31" not in on_a_terminal({**foreign, "NO_COLOR": "1"}, "burning")


def test_verbose_rounds_show_the_numbers(foreign: dict[str, str]) -> None:
    assert "eggs=12" in twiceshy(foreign, "-v", "good").stdout
    assert "eggs=12" not in twiceshy(foreign, "good").stdout


def test_news_is_told_once(foreign: dict[str, str]) -> None:
    first = twiceshy(foreign, "--news", "good", "burning")
    again = twiceshy(foreign, "--news", "good", "burning")
    assert "the roof burns" in first.stdout
    assert (again.returncode, again.stdout) == (2, "")


def test_a_wrong_name_and_a_wrong_option_are_unknown(foreign: dict[str, str]) -> None:
    unknown = twiceshy(foreign, "nosuch")
    assert unknown.returncode == 3
    assert "there is no check 'nosuch'; there are:" in unknown.stderr
    assert twiceshy(foreign, "--jso").returncode == 3


def test_an_interrupt_leaves_no_check_behind(foreign: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "twiceshy", "-t", "90s", "hanging"],
        env=foreign, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # A job that a shell has put into the background ignores it, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    children: list[str] = []
    ends = time.monotonic() + 10
    while not children and time.monotonic() < ends:
        time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(2)
    assert process.wait(10) == 130
    process.communicate()
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not Path(f"/proc/{children[0]}").exists()


# What a visit means


def test_a_state_is_the_exit_status_and_the_words_follow_it() -> None:
    output = "FLAPPING WARNING - rsyslog restarted 3 times\nNext: journalctl | a=1;2 b=2.5s;;;0;9\n"
    assert rounds.visit_of("flapping", 1, output) == Visit(
        "flapping",
        WARNING,
        "rsyslog restarted 3 times",
        ("Next: journalctl",),
        (Perfdatum("a", 1.0, "", ("2", "", "", "")), Perfdatum("b", 2.5, "s", ("", "", "0", "9"))),
    )


def test_a_critical_is_worse_than_an_unknown() -> None:
    visits = [Visit("a", state, "") for state in (OK, UNKNOWN, WARNING, None)]
    assert rounds.worst(visits) is WARNING
    assert rounds.worst([*visits, Visit("b", CRITICAL, "")]) is CRITICAL
    assert rounds.worst([Visit("a", None, "")]) is UNKNOWN


@pytest.mark.parametrize(
    ("before", "state", "silent", "news"),
    [
        (None, OK, 0, False),
        (None, WARNING, 0, True),
        ({"a": "ok"}, OK, 1e6, False),
        ({"a": "ok"}, WARNING, 0, True),
        ({"a": "warning"}, OK, 0, True),
        ({"a": "warning"}, WARNING, 3600, False),
        ({"a": "warning"}, WARNING, 90000, True),
    ],
)
def test_news_is_a_change_or_a_daily_reminder(
    before: dict[str, str] | None, state: object, silent: float, news: bool
) -> None:
    assert rounds.is_news([Visit("a", state, "")], before, silent) is news  # type: ignore[arg-type]


def test_checks_are_called_with_or_without_their_prefix() -> None:
    known = [roster.Entry("a", "check_a"), roster.Entry("b", "check_b")]
    assert roster.chosen(["check_b"], known) == [known[1]]
    assert roster.chosen([], known) == known
    with pytest.raises(CheckError, match="there are: a, b"):
        roster.chosen(["c"], known)


def test_entry_points_are_read_as_packaging_writes_them() -> None:
    text = (
        "[console_scripts]\ncheck_a = check_a:main\n\n[twiceshy.checks]\n# ours\na = check_a\n"
        "b=pkg.check_b : check [extra]\n\n[other]\nc = check_c\n"
    )
    assert roster.entry_points(text) == {"a": "check_a", "b": "pkg.check_b"}

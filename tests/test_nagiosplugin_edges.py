"""nagiosplugin's sharp edges, each with the counter-measure that the kit takes.

Measured with nagiosplugin 1.3.2 (Debian 12) and 1.4.0. The numbers are only an order.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from twiceshy.kit import history, limits, subprocesses, verdict
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING, CheckError
from twiceshy.kit.verdict import Finding, Measure, Report

CHECKS = str(Path(__file__).parent.parent / "checks")


def check(*findings: Finding, measures: tuple[Measure, ...] = (), verbose: int = 0) -> Check:
    made = Check("edge", lambda: Report(findings, measures, "fine"), verbose=verbose)
    made()
    return made


def script(body: str, *args: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """A check with `body` as its look, run as a process."""
    program = """
import sys, time, os
from twiceshy.kit import deadline, options as opt, verdict
from twiceshy.kit.check import Check
from twiceshy.kit.plugin import CRITICAL, OK, CheckError, guarded, require
def look():
{body}
    return verdict.Report(summary="fine")
@guarded
def main():
    args = opt.parser("edge", "An edge?").parse_args()
    Check("edge", look, timeout=args.timeout, verbose=args.verbose).main()
sys.argv[0] = "check_edge"
main()
""".format(body=textwrap.indent(textwrap.dedent(body), "    "))
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": CHECKS},
        check=False,
    )


def told(ran: subprocess.CompletedProcess[str]) -> tuple[str, str, int]:
    return ran.stdout, ran.stderr, ran.returncode


def test_edge_1_a_bad_option_is_unknown_and_one_line_on_stdout() -> None:
    assert told(script("pass", "--no-such")) == (
        "EDGE UNKNOWN - unrecognized arguments: --no-such (try check_edge --help)\n",
        "",
        3,
    )


def test_edge_2_a_subject_that_cannot_be_asked_does_not_hide_one_in_trouble() -> None:
    both = check(Finding(UNKNOWN, "b may not be read"), Finding(CRITICAL, "a is down"))
    assert (both.exitcode, both.summary_str) == (2, "a is down (+1 more)")
    assert "UNKNOWN: b may not be read" in both.output()


def test_edge_2_warning_is_worse_than_unknown_is_worse_than_ok() -> None:
    assert check(Finding(UNKNOWN, "u"), Finding(WARNING, "w")).exitcode == 1
    assert check(Finding(UNKNOWN, "u"), Finding(OK, "o")).exitcode == 3


def test_edge_3_no_limit_takes_any_value_and_an_empty_range_is_refused() -> None:
    assert limits.judge(-5, None, None) == (OK, None)
    with pytest.raises(ValueError, match="is not a range"):
        limits.Limit.parse("")


def test_edge_4_not_a_number_is_never_ok() -> None:
    with pytest.raises(CheckError):
        limits.Limit.parse("5").broken_by(math.nan)
    assert str(Measure("a", math.nan)) == ""


def test_edge_5_a_tolerant_except_does_not_swallow_the_timeout() -> None:
    began = time.monotonic()
    ran = script(
        """
        while True:
            try:
                with deadline.doing("asking a tarpit"):
                    time.sleep(60)
            except BaseException:
                pass
        """,
        "-t",
        "0.5s",
    )
    assert told(ran) == ("EDGE UNKNOWN - timed out after 0.5s while asking a tarpit\n", "", 3)
    assert time.monotonic() - began < 10


def test_edge_6_a_question_that_never_returns_is_asked_by_a_child() -> None:
    def stuck(subject: str) -> str:
        if subject == "hung":
            signal.pause()
        return subject.upper()

    answers = subprocesses.each(stuck, ["a", "hung", "b"], timeout=0.3)
    assert (answers["a"], answers["b"]) == ("A", "B")
    assert isinstance(answers["hung"], subprocesses.NoAnswer)


def test_edge_7_an_error_while_looking_is_not_blamed_on_a_metric() -> None:
    def look() -> Report:
        raise CheckError("the engine may not be asked")

    made = Check("edge", look)
    made()
    assert made.output() == "EDGE UNKNOWN - the engine may not be asked"


def test_edge_8_a_mistake_of_ours_is_unknown_with_one_line() -> None:
    out, err, status = told(script("{}['x']"))
    assert (err, status, out.count("\n")) == ("", 3, 1)
    assert out.startswith("EDGE UNKNOWN - internal error, please report it: KeyError: 'x'")


def test_edge_9_perfdata_has_no_exponents_and_no_nothing() -> None:
    made = check(measures=(Measure("tiny", 1e-7), Measure("huge", 1e20, "B"), Measure("no", None)))
    assert made.perfdata == ["tiny=0;", "huge=100000000000000000000B;"]


def test_edge_10_a_label_may_be_called_anything() -> None:
    labels = {verdict.label(name, "n") for name in ("web=1", "web'1", "web_1", "web 1", "web|1")}
    assert len(labels) == 5
    assert all(set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for label in labels)


def test_edge_11_pipes_and_newlines_in_words_from_outside_stay_harmless() -> None:
    made = check(Finding(CRITICAL, "evil | 'x'=1\nOK - fine\x1b[2J"), measures=(Measure("a", 1),))
    assert made.output() == "EDGE CRITICAL - evil / 'x'=1 OK - fine?[2J | a=1;"


def test_edge_12_the_line_names_the_worst_and_counts_the_rest() -> None:
    many = check(*(Finding(WARNING, f"w{n}") for n in range(4)), Finding(CRITICAL, "c"))
    assert many.summary_str == "c (+4 more)"


def test_edge_13_a_second_check_in_one_process_repeats_nothing_of_the_first() -> None:
    check(Finding(CRITICAL, "first"), measures=(Measure("first", 1),), verbose=1).output()
    second = check(measures=(Measure("second", 2),), verbose=1)
    assert second.output() == "EDGE OK - fine | second=2;"


def test_edge_14_a_missing_library_is_unknown_with_its_name() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import sys; sys.argv[0] = 'check_edge'; import twiceshy.kit.plugin",
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": CHECKS},
        check=False,
    )
    assert told(ran) == (
        "EDGE UNKNOWN - python library nagiosplugin is missing: "
        "apt install python3-nagiosplugin (or pip install nagiosplugin)\n",
        "",
        3,
    )


def test_edge_14_the_traceback_is_shown_only_at_vvv() -> None:
    assert "Traceback" not in script("1 / 0", "-vv").stdout
    assert "Traceback" in script("1 / 0", "-vvv").stdout


def test_edge_15_a_torn_history_is_set_aside_and_said(tmp_path: Path) -> None:
    state = tmp_path / "private"
    state.mkdir(mode=0o700)
    (state / "edge.sqlite").write_bytes(b"SQLite format 3\0" + b"torn" * 500)
    with history.History.open("edge", state) as torn:
        assert torn.remark.startswith("the history file was corrupt; started a new one")
        torn.write_note("a", 1, history.now())
        assert torn.save() is None
    assert (state / "edge.sqlite.torn").exists()
    assert (state / "edge.sqlite").stat().st_mode & 0o077 == 0

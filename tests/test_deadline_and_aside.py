from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twiceshy.kit import deadline, subprocesses

CHECKS = str(Path(__file__).parent.parent / "checks")

PRELUDE = """
import os, signal, subprocess, sys, threading, time
from twiceshy.kit import subprocesses
from twiceshy.kit.deadline import Deadline, doing, remaining
"""


def run(body: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + body],
        env={**os.environ, "PYTHONPATH": CHECKS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_signal_ends_it_with_a_line_that_says_where_it_was() -> None:
    process = run(
        "Deadline('STORY', 60).start()\n"
        "with doing('asking the engine'):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=10) == (
        "STORY UNKNOWN - ended by SIGTERM while asking the engine\n",
        "",
    )
    assert process.returncode == 3


def test_of_many_waits_the_oldest_is_named_and_the_others_counted() -> None:
    process = run(
        "Deadline('STORY', 0.5).start()\n"
        "def ask(n):\n"
        "    with doing(f'asking node {n}'):\n"
        "        time.sleep(60)\n"
        "for n in range(3):\n"
        "    threading.Thread(target=ask, args=(n,), daemon=True).start()\n"
        "    time.sleep(0.05)\n"
        "time.sleep(60)\n"
    )
    assert process.communicate(timeout=10)[0] == (
        "STORY UNKNOWN - timed out after 0.5s while asking node 0 (+2 more)\n"
    )


def test_no_child_outlives_the_deadline() -> None:
    process = run(
        "Deadline('STORY', 0.7).start()\n"
        "child = subprocess.Popen(['sh', '-c', 'sleep 61; :'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    out = process.communicate(timeout=10)[0]
    child = int(out.splitlines()[0])
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def test_the_check_has_the_last_word_once_it_speaks() -> None:
    process = run(
        "watch = Deadline('STORY', 0.3).start()\n"
        "watch.claim_the_last_word()\n"
        "time.sleep(0.6)\n"
        "print('STORY OK - fine')\n"
    )
    assert process.communicate(timeout=10)[0] == "STORY OK - fine\n"
    assert process.returncode == 0


def test_without_a_deadline_time_is_unlimited() -> None:
    assert deadline.remaining() == math.inf


def test_a_command_runs_in_the_c_locale_without_input() -> None:
    ran = subprocesses.run(["sh", "-c", "echo $LC_ALL; cat; echo oops >&2; exit 7"])
    assert ran == subprocesses.Ran(7, "C\n", "oops\n")


def test_a_command_that_hangs_is_no_answer() -> None:
    with pytest.raises(subprocesses.NoAnswer, match=r"sleep did not answer within 0\.2s"):
        subprocesses.run(["sleep", "60"], timeout=0.2)


def test_a_command_that_is_not_there_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        subprocesses.run(["/nonexistent/program"])


def test_output_that_is_not_utf_8_is_decoded_all_the_same() -> None:
    assert subprocesses.run(["printf", "\\377a"]).stdout == "\ufffda"


def test_each_subject_gets_its_answer_or_its_error() -> None:
    answers = subprocesses.each(os.listdir, ["/proc/self/task", "/nonexistent"], timeout=5)
    assert isinstance(answers["/proc/self/task"], list)
    assert isinstance(answers["/nonexistent"], FileNotFoundError)


def test_a_child_that_dies_costs_one_subject() -> None:
    def deadly(subject: int) -> int:
        if subject == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return subject

    answers = subprocesses.each(deadly, [1, 2, 3], timeout=5)
    assert (answers[1], type(answers[2]), answers[3]) == (1, subprocesses.NoAnswer, 3)


def test_a_large_answer_arrives_whole() -> None:
    assert len(subprocesses.each(lambda n: "x" * n, [5_000_000], timeout=5)[5_000_000]) == 5_000_000


def test_no_zombie_is_left() -> None:
    before = set(deadline.children(os.getpid()))
    subprocesses.each(str, [1, 2], timeout=5)
    assert set(deadline.children(os.getpid())) - before == set()


def test_children_of_a_process_are_found() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert child.pid in deadline.children(os.getpid())
    finally:
        child.kill()
        child.wait()

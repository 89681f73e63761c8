"""check_container_restarts against a fake engine, as stories: run, move the clock, run.

The numbers C1 .. C35 of the comments are those of the scenarios that the check was designed for.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from conftest import ROOT, run_script
from contract import Case
from sides.engine import Engine, captured, stamp
from twiceshy.container_restarts import formats, report
from twiceshy.container_restarts import program as check_container_restarts
from twiceshy.container_restarts.engine import LoginRefused, quiet_ssh
from twiceshy.container_restarts.observation import outage
from twiceshy.container_restarts.restarts import Restarts, quick_deaths_in_a_row, within
from twiceshy.kit.check import Check
from twiceshy.kit.engine import SOCKETS, EngineDown
from twiceshy.kit.plugin import CRITICAL, OK, UNKNOWN, WARNING
from twiceshy.kit.stamps import Stamp

SCRIPT = ROOT / "checks" / "check_container_restarts.py"
NOW = 1_795_255_000.0

STEADY = "docker-20.10-running-steady"
CRASHING = "docker-20.10-running-between-crashes"
RESTARTING = "docker-20.10-restarting-instant-crash"
ENDED = "docker-20.10-exited-1-unnamed"
STOPPED = "docker-20.10-exited-stopped-by-hand"


class Story:
    """A fake engine, a clock and a history."""

    def __init__(self, engine: Engine, state: Path) -> None:
        self.engine = engine
        self.state = state
        self.boot = "boot-1"
        self.uptime = 1_000_000.0

    def run(self, *args: str) -> Check:
        parsed = check_container_restarts.options().parse_args(
            ["--docker-host", self.engine.url, "--state-dir", str(self.state), *args]
        )
        stamp = Stamp(self.boot, self.uptime, self.engine.now)
        made = check_container_restarts.plan(parsed, clock=lambda: stamp)
        made()
        return made

    def after(self, seconds: float) -> Story:
        self.engine.now += seconds
        self.uptime += seconds
        return self


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with Engine(tmp_path, now=NOW) as engine:
        yield Story(engine, tmp_path / "state")


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Story]:
    with Engine(tmp_path, "podman-4.3", now=NOW) as engine:
        yield Story(engine, tmp_path / "state")


def contract_case(tmp_path: Path) -> Case:
    """An ordinary run: one steady and one crashing container."""
    engine = Engine(Path(tempfile.mkdtemp(prefix="e", dir=tmp_path)))
    engine.__enter__()
    engine.add(STEADY, "web")
    engine.add(CRASHING, "worker|x", started=-4, count=30, created=-600)
    return Case(
        ["--docker-host", engine.url],
        {"TWICESHY_STATE_DIR": str(tmp_path / "contract")},
        ("docker", "requests"),
    )


def hanging_case(tmp_path: Path) -> Case:
    """An engine that takes the question and never answers."""
    engine = Engine(Path(tempfile.mkdtemp(prefix="e", dir=tmp_path)))
    engine.__enter__()
    engine.faults["/"] = "hang"
    return Case(["--docker-host", engine.url])


def outcome(made: Check) -> tuple[Any, str]:
    return made.state, made.summary_str


# Loops by policy


def test_a_container_waiting_in_back_off_is_found_at_the_first_run(story: Story) -> None:  # C1
    story.engine.add(RESTARTING, "web", started=-31, finished=-30, count=70)
    assert outcome(story.run()) == (
        CRITICAL,
        "web restarted 9 times in 15m by its policy always (limit 5), last exit 1, "
        "living 1s each time",
    )


def test_a_loop_that_is_sampled_running_is_found_at_the_second_run(story: Story) -> None:  # C2
    web = story.engine.add(CRASHING, "web", started=-6, count=74)
    assert story.run().state is OK
    story.after(60)
    web["RestartCount"] = 79
    web["State"]["StartedAt"] = story.engine.containers[web["Id"]]["State"]["StartedAt"]
    story.engine.restarted(web, 2.0)
    assert outcome(story.run()) == (
        CRITICAL,
        "web restarted about 7 times in 15m by its policy always (limit 5)",
    )


def test_every_exit_0_is_a_loop_too(story: Story) -> None:  # C3
    story.engine.add("docker-20.10-restarting-exit-0", "web", started=-5, finished=-3,
                     count=30, created=-600)  # fmt: skip
    assert outcome(story.run()) == (
        CRITICAL,
        "web restarted 30 times in 15m by its policy always (limit 5), "
        "last exit 0 (exits by itself), living 2s each time",
    )


def test_an_old_high_count_that_is_stable_is_fine(story: Story) -> None:  # C4
    story.engine.add(STEADY, "web", started=-2 * 86400, created=-9 * 86400, count=74)
    assert story.run().state is OK
    assert outcome(story.after(60).run()) == (OK, "1 container watched, none restarted in 15m")


def test_one_more_restart_on_an_old_count_is_fine(story: Story) -> None:  # C5
    web = story.engine.add(STEADY, "web", started=-86400, count=4)
    story.run()
    story.engine.restarted(web, 0)
    assert outcome(story.after(60).run()) == (
        OK,
        "1 container watched, 1 restart in 15m (limit 2 each)",
    )


def test_a_count_zeroed_by_a_manual_start_is_no_blind_spot(story: Story) -> None:  # C6
    web = story.engine.add(CRASHING, "web", started=-3, count=74, created=-800)
    assert story.run().state is CRITICAL
    story.after(60)
    web["RestartCount"] = 2
    story.engine.restarted(web, 1)
    found = story.run("-c", "90")
    assert found.state is WARNING
    assert found.summary_str == (
        "web restarted 78 times in 15m (limit 2): 77 by its policy, "
        "1 from outside (manually, by cron or by autoheal)"
    )


def test_recovery_comes_one_quiet_window_after_the_last_restart(story: Story) -> None:  # C4
    story.engine.add(CRASHING, "web", started=-10, count=40, created=-500)
    assert story.run().state is CRITICAL
    assert story.after(850).run().state is WARNING
    assert outcome(story.after(60).run()) == (OK, "1 container watched, none restarted in 15m")


def test_forty_restarts_in_six_unwatched_hours_are_not_forty_in_the_window(story: Story) -> None:
    web = story.engine.add(STEADY, "web", started=-86400, count=0)
    story.run()
    story.after(6 * 3600)
    web["RestartCount"] = 39
    story.engine.restarted(web, 30)
    assert outcome(story.run()) == (OK, "1 container watched, 2 restarts in 15m (limit 2 each)")


def test_the_events_count_what_an_old_container_did_lately(story: Story) -> None:
    web = story.engine.add(CRASHING, "web", started=-6, count=500, created=-20 * 86400)
    for ago in range(300, 0, -12):
        story.engine.happened(web, "die", ago + 0.3, exitCode="4")
        story.engine.happened(web, "start", ago)
    assert outcome(story.run()) == (
        CRITICAL,
        "web restarted 25 times in 15m by its policy always (limit 5), last exit 4, "
        "living 12s each time",
    )


def test_a_limit_that_wants_restarts_is_broken_by_none(story: Story) -> None:
    story.engine.add(STEADY, "web", started=-2 * 86400, created=-9 * 86400)
    assert outcome(story.run("-w", "1:", "-c", "~:5")) == (
        WARNING,
        "web restarted 0 times in 15m (limit 1:)",
    )


# Loops by others


def test_restarts_by_autoheal_are_told_apart(story: Story) -> None:
    web = story.engine.add(STEADY, "web", started=-30)
    story.run()
    for _ in range(7):
        story.after(60)
        story.engine.restarted(web, 5, by_policy=False)
        last = story.run()
    assert outcome(last) == (
        CRITICAL,
        "web restarted 8 times in 15m from outside (manually, by cron or by autoheal) (limit 5)",
    )
    assert "events --since 15m --until 1s --filter container=web" in last.output()


def test_the_ring_tells_of_manual_restarts_at_the_first_run(story: Story) -> None:
    web = story.engine.add(STEADY, "web", started=-5)
    for ago in range(65, 0, -10):
        for action in ("kill", "die", "stop", "start", "restart"):
            story.engine.happened(web, action, ago, signal="15")
    assert outcome(story.run())[0] is CRITICAL
    assert "restarted 7 times in 15m from outside" in outcome(story.run())[1]


def test_an_awaited_restart_is_not_charged_to_others(story: Story) -> None:
    web = story.engine.add(RESTARTING, "web", started=-3, finished=-2, count=1)
    story.run()
    web["State"].update(Status="running", Restarting=False)
    web["State"]["StartedAt"] = "2026-11-21T09:57:00.1Z"
    assert outcome(story.after(60).run()) == (
        OK,
        "1 container watched, 1 restart in 15m (limit 2 each)",
    )


# Mass restarts


def test_an_engine_restart_is_one_remark(story: Story) -> None:  # C8
    names = ["web", "db", "cache", "queue"]
    all_of_them = [story.engine.add(STEADY, name, count=9) for name in names]
    story.run("-w", "0")
    for one in all_of_them:
        story.engine.restarted(one, -50, by_policy=False)
    story.after(60)
    found = story.run("-w", "1")
    assert found.state is OK
    assert found.remarks[0] == (
        "4 of 4 containers restarted together 10s ago: "
        "the engine was restarted, or all of them were"
    )


def test_an_engine_that_restarts_again_and_again_is_a_loop(story: Story) -> None:
    all_of_them = [story.engine.add(STEADY, name) for name in ("web", "db", "cache")]
    story.run()
    for _ in range(6):
        story.after(60)
        for one in all_of_them:
            story.engine.restarted(one, 5, by_policy=False)
        last = story.run()
    assert outcome(last) == (
        CRITICAL,
        "the engine restarted 6 times in 15m from outside (manually, by cron or by autoheal) "
        "(limit 5)",
    )


def test_a_live_restore_restart_changes_nothing(story: Story) -> None:  # C9
    story.engine.add(STEADY, "web", count=1, started=-7200)
    story.run()
    story.engine.events.clear()
    assert story.after(60).run("-w", "0").state is OK


def test_a_host_reboot_is_no_restart_of_a_container(story: Story) -> None:  # C10
    web = story.engine.add(STEADY, "web", count=3)
    story.run()
    story.after(60)
    story.boot, story.uptime = "boot-2", 30.0
    story.engine.restarted(web, 20, by_policy=False)
    found = story.run("-w", "0", "-c", "0")
    assert found.state is OK
    assert "the host was rebooted" in found.remarks[0]


# New containers in place of old ones

COMPOSE = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web",
    "com.docker.compose.container-number": "1",
}


def test_a_recreate_once_is_a_deploy_and_six_times_a_loop(story: Story) -> None:  # C11
    old = story.engine.add(STEADY, "shop-web-1", labels=COMPOSE, id="0")
    assert story.run().state is OK
    states = []
    for number in range(1, 8):
        story.after(90)
        story.engine.remove(old)
        old = story.engine.add(
            STEADY, "shop-web-1", labels=COMPOSE, id=str(number), created=-20, started=-19
        )
        states.append(story.run().state)
    assert states == [OK, OK, WARNING, WARNING, WARNING, CRITICAL, CRITICAL]
    assert outcome(story.run())[1] == (
        "shop-web-1 was replaced by a new container 7 times in 15m (limit 5)"
    )


def test_scaling_up_and_down_is_fine(story: Story) -> None:  # C12
    def scaled_to(count: int) -> None:
        for number in range(1, 6):
            name = f"shop-web-{number}"
            have = [one for one in story.engine.containers.values() if one["Name"] == f"/{name}"]
            if number <= count and not have:
                labels = {**COMPOSE, "com.docker.compose.container-number": str(number)}
                story.engine.add(STEADY, name, labels=labels, created=-10, started=-9)
            elif number > count and have:
                story.engine.remove(have[0])

    for count in (2, 5, 3):
        scaled_to(count)
        assert story.after(60).run("-w", "0").state is OK


@pytest.mark.parametrize("covered", [True, False])
def test_a_loop_of_docker_run_rm_is_found_by_its_ids(story: Story, covered: bool) -> None:  # C13
    one: dict[str, Any] | None = None
    states = []
    for number in range(8):
        story.after(60)
        if one:
            story.engine.remove(one)
        if covered:
            for ago in range(50, 0, -10):
                gone = f"gone{number}{ago}"
                for action, more in (("create", 2), ("start", 1.9), ("die", 0.5), ("destroy", 0.4)):
                    story.engine.happened(
                        gone, action, ago + more, name="job", image="busybox:local", exitCode="1"
                    )
        one = story.engine.add(
            STEADY, "job", id=f"job{number}", created=-2, started=-1.9, policy="no"
        )
        states.append(story.run().state)
    found = story.run()
    if covered:
        assert states[1] is CRITICAL
        assert found.summary_str.startswith("job was replaced by a new container 4")
    else:  # nobody saw an exit; it might be a job that succeeds each time
        assert states[-1] is WARNING
        assert found.summary_str == (
            "job was replaced by a new container 7 times in 15m (limit 5), exit status unknown"
        )


def test_leftovers_of_a_docker_run_loop_are_found_at_the_first_run(story: Story) -> None:  # C13
    for number, ago in enumerate(range(60, 0, -6)):
        story.engine.add(
            ENDED, f"happy_curie{number}", created=-ago, started=-ago + 0.2, finished=-ago + 0.5
        )
    assert outcome(story.run()) == (
        CRITICAL,
        "busybox:local (sh -c exit 1) was replaced by a new container 9 times in 15m (limit 5), "
        "last exit 1, living 0.3s each time",
    )


def test_between_two_containers_of_a_loop_the_loop_is_not_forgotten(story: Story) -> None:
    for number in range(8):
        story.after(20)
        job = story.engine.add(STEADY, "job", id=str(number), created=-2, started=-1.9, policy="no")
        story.run("--include", "job")
        story.engine.remove(job)
    story.after(5)
    found = story.run("--include", "job")
    assert found.summary_str.startswith("job was replaced by a new container 7 times in 15m")
    assert story.after(901).run("--include", "job").summary_str == "no container is called job"


def test_vanishing_between_list_and_inspect_is_no_error(story: Story) -> None:  # C13
    story.engine.add(STEADY, "web")
    job = story.engine.add(STEADY, "job")
    story.engine.faults[f"/containers/{job['Id']}"] = "vanish"
    found = story.run()
    assert (found.state, [one.text for one in found.findings if one.state is not OK]) == (OK, [])


def test_a_ci_runners_short_jobs_are_fine(story: Story) -> None:  # C15
    for number in range(60):
        story.engine.add(
            "docker-20.10-exited-0-no-policy", f"happy_curie{number % 10}", id=str(number),
            created=-890 + number * 14, started=-889 + number * 14, finished=-885 + number * 14,
        )  # fmt: skip
    assert story.run("-w", "0").state is OK


def test_a_pool_deployed_anew_is_one_replacement(story: Story) -> None:
    old = [story.engine.add(STEADY, f"happy_curie{n}", id=f"old{n}", policy="no") for n in range(5)]
    story.run()
    for one in old:
        story.engine.remove(one)
    story.after(60)
    for number in range(5):
        story.engine.add(
            STEADY, f"sad_euler{number}", id=f"new{number}", policy="no",
            created=-20 + number, started=-19 + number,
        )  # fmt: skip
    assert story.run().state is OK


def test_group_by_label_joins_what_names_part(story: Story) -> None:
    for number in range(8):
        ago = 80 - number * 10
        story.engine.add(
            ENDED, f"run-{number}-of-many", labels={"app": "import"}, image="busybox:local",
            created=-ago, started=-ago + 1, finished=-ago + 2,
        )  # fmt: skip
    assert story.run().state is OK
    assert outcome(story.run("--group-by", "app"))[1].startswith(
        "import was replaced by a new container 7 times in 15m (limit 5), last exit 1"
    )


def swarm(slot: int, number: int) -> dict[str, str]:
    return {
        "com.docker.swarm.service.name": "shop_web",
        "com.docker.swarm.task.name": f"shop_web.{slot}.{number:025d}",
    }


def test_a_swarm_service_is_found_by_its_dead_tasks(story: Story) -> None:  # C27
    for number in range(7):
        ago = 50 - number * 7
        ends = number < 6
        story.engine.add(
            ENDED if ends else STEADY, f"shop_web.1.{number:025d}", labels=swarm(1, number),
            created=-ago, started=-ago + 0.5, finished=-ago + 2.5 if ends else None, policy="no",
        )  # fmt: skip
    found = story.run()
    assert outcome(found) == (
        CRITICAL,
        "shop_web.1 was replaced by a new container 6 times in 15m (limit 5), last exit 1, "
        "living 2s each time",
    )
    assert "Next: docker service ps --no-trunc shop_web" in found.output()


def test_a_rolling_update_is_fine(story: Story) -> None:  # C28
    for slot in range(10):
        story.engine.add(
            STOPPED, f"shop_web.{slot}.{0:025d}", labels=swarm(slot, 0),
            finished=-20, ExitCode=143, policy="no",
        )  # fmt: skip
        story.engine.add(
            STEADY, f"shop_web.{slot}.{1:025d}", labels=swarm(slot, 1),
            created=-21, started=-19, policy="no",
        )  # fmt: skip
    assert story.run("-w", "1").state is OK


# Down although the policy says up


def test_one_shots_and_finished_jobs_are_fine(story: Story) -> None:  # C16, C17
    story.engine.add("docker-20.10-exited-0-no-policy", "backup", started=-90, finished=-60)
    story.engine.add("docker-20.10-exited-7-no-policy", "import", started=-90, finished=-60)
    story.engine.add(
        "docker-20.10-exited-0-no-policy", "migrate", started=-990, finished=-660,
        policy="on-failure:5",
    )  # fmt: skip
    assert story.run().state is OK
    assert outcome(story.run("--oneshot-failures", "warning")) == (
        WARNING,
        "import failed 1m ago with exit 7",
    )


def test_on_failure_used_up_is_critical(story: Story) -> None:  # C18
    story.engine.add(
        "docker-20.10-exited-on-failure-3-used-up", "web", started=-7201, finished=-7200
    )
    assert outcome(story.run()) == (
        CRITICAL,
        "web has been down for 2h: all retries of its policy on-failure:3 are used up, last exit 5",
    )


def test_a_container_that_never_started_is_critical(story: Story) -> None:  # C20
    story.engine.add("docker-20.10-created-exec-not-found", "web", created=-60, started=None)
    assert outcome(story.run()) == (
        CRITICAL,
        "web never started, and its policy always does not retry: failed to create shim task: "
        "OCI runtime create failed: runc create failed: unable to start container process: "
        'exec: "/nosuch": stat /nosuch: no such file or directory: unknown',
    )


def test_an_engine_that_gave_up_says_why(story: Story) -> None:
    story.engine.add(
        ENDED, "web", started=-7201, finished=-3600, policy="unless-stopped", count=1,
        Error="failed to create shim task: stat /srv/web.conf: no such file or directory",
    )  # fmt: skip
    found = story.run()
    assert outcome(found) == (
        CRITICAL,
        "web has been down for 1h although its policy is unless-stopped; the engine gave up: "
        "failed to create shim task: stat /srv/web.conf: no such file or directory",
    )
    assert found.output().splitlines()[-1].startswith(f"Next: docker -H {story.engine.url} start")


def test_what_may_have_been_stopped_manually_is_as_the_operator_says(story: Story) -> None:  # C21
    story.engine.add(STOPPED, "web", started=-7200, finished=-1200)
    assert outcome(story.run()) == (
        WARNING,
        "web has been down for 20m although its policy is always, last exit 137 (signal KILL): "
        "stopped manually, or its policy had no effect",
    )
    assert story.run("--stopped-by-hand", "ok").state is OK
    assert story.run("--stopped-by-hand", "critical").state is CRITICAL
    assert story.run("--grace", "30m").state is OK


def test_a_stop_that_the_engine_remembers_is_fine_and_stays_fine(story: Story) -> None:  # C21
    web = story.engine.add(STOPPED, "web", started=-7200, finished=-100)
    story.engine.happened(web, "kill", 101, signal="15")
    story.engine.happened(web, "die", 100, exitCode="137")
    story.engine.happened(web, "stop", 99.9)
    found = story.run("--grace", "0s")
    assert found.state is OK
    assert "web was stopped manually 1m40s ago, policy always" in found.remarks
    story.engine.events.clear()
    assert story.after(7200).run().state is OK


def test_a_policy_switched_off_by_docker_kill_hup_is_critical(story: Story) -> None:
    web = story.engine.add(ENDED, "web", started=-700, finished=-100, policy="always")
    story.engine.happened(web, "create", 701)
    story.engine.happened(web, "start", 700)
    story.engine.happened(web, "kill", 300, signal="1")
    story.engine.happened(web, "die", 100, exitCode="1")
    assert outcome(story.run()) == (
        CRITICAL,
        "web has been down for 1m40s although its policy is always: it died by itself with exit 1 "
        "and was not restarted; docker kill -s HUP had switched the policy off",
    )
    story.engine.events.clear()
    assert story.after(7200).run().state is CRITICAL


def test_docker_update_restart_no_ends_the_alarm(story: Story) -> None:  # C35
    web = story.engine.add(STOPPED, "web", finished=-1200)
    assert story.run().state is WARNING
    web["HostConfig"]["RestartPolicy"]["Name"] = "no"
    assert story.after(60).run().state is OK


def test_a_paused_container_is_not_down(story: Story) -> None:  # C26
    story.engine.add("docker-20.10-paused", "web", started=-7200)
    assert story.run().state is OK
    assert outcome(story.run("--paused", "warning")) == (WARNING, "web is paused")


# Memory and health


def test_an_oom_loop_is_named_in_both_phases(story: Story) -> None:  # C23
    web = story.engine.add(
        "docker-20.10-restarting-oom-killed", "web", started=-4, finished=-3, count=20, created=-300
    )
    words = (
        "web restarted 20 times in 15m by its policy always (limit 5), killed for lack of memory"
    )
    assert outcome(story.run())[1].startswith(words)
    assert outcome(story.run())[0] is CRITICAL
    # The next start sets both the flag and the exit code back.
    web["State"].update(Status="running", Restarting=False, OOMKilled=False, ExitCode=0)
    story.engine.restarted(web, 1)
    web["RestartCount"] = 20
    found = story.after(5).run()
    assert (found.state, found.summary_str.startswith(words)) == (CRITICAL, True)


def test_kills_inside_a_container_that_stays_up_are_found(story: Story) -> None:
    web = story.engine.add(STEADY, "web")
    web["HostConfig"]["Memory"] = 64 << 20
    for ago in range(60, 0, -3):
        story.engine.happened(web, "oom", ago)
    assert outcome(story.run()) == (
        CRITICAL,
        "web had 20 processes killed for lack of memory (64MiB) in 15m (limit 5), and stays up",
    )
    story.engine.events.clear()
    assert story.after(30).run().state is CRITICAL
    assert story.after(900).run().state is OK


def test_a_sticky_oom_flag_on_a_healthy_container_is_fine(story: Story) -> None:
    story.engine.add(STEADY, "web", OOMKilled=True)  # docker 24 and later
    assert story.run().state is OK


def test_unhealthy_for_longer_than_the_grace_is_critical(story: Story) -> None:  # C25
    web = story.engine.add("docker-20.10-running-unhealthy", "web", started=-7200)
    log = web["State"]["Health"]["Log"]
    for number, entry in enumerate(log):
        at = NOW - 10 * (len(log) - number)
        entry["Start"] = entry["End"] = stamp(at)
        entry["Output"] = "connection refused\n"
    web["State"]["Health"]["FailingStreak"] = 61
    found = story.run()
    assert outcome(found) == (CRITICAL, "web has been unhealthy for 10m10s: connection refused")
    assert story.run("--unhealthy", "warning").state is WARNING
    assert story.run("--grace", "20m").state is OK


def test_starting_for_an_hour_is_a_warning(story: Story) -> None:  # C25
    web = story.engine.add("docker-20.10-running-unhealthy", "web", started=-3600)
    web["State"]["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
    assert outcome(story.run()) == (
        WARNING,
        "web has been up for 1h, and its health check is still starting",
    )


def test_the_next_command_is_about_the_worst_of_a_group(story: Story) -> None:
    starting = story.engine.add(STEADY, "happy_curie1", created=-3600, started=-3600)
    starting["State"]["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
    sick = story.engine.add(STEADY, "sad_euler2", created=-7200, started=-7200)
    sick["State"]["Health"] = {"Status": "unhealthy", "FailingStreak": 9, "Log": []}
    found = story.run()
    assert outcome(found)[0] is CRITICAL
    assert found.findings[0].next.endswith("inspect -f '{{json .State.Health}}' sad_euler2")


# Podman


def test_a_podman_loop_is_never_restarting_and_found(podman: Story) -> None:  # C29, C30
    web = podman.engine.add("podman-4.3-running-exit-0-loop", "web", created=-60, started=-1,
                            count=25)  # fmt: skip
    for ago in range(50, 0, -2):
        podman.engine.happened(web, "die", ago + 0.3, exitCode="0")
        podman.engine.happened(web, "restart", ago + 0.2)
        podman.engine.happened(web, "start", ago)
    assert outcome(podman.run()) == (
        CRITICAL,
        "web restarted 25 times in 15m by its policy always (limit 5), "
        "last exit 0 (exits by itself), living 1.7s each time",
    )


def test_podman_between_two_lives_is_not_down(podman: Story) -> None:
    podman.engine.add(
        "podman-4.3-stopped-between-crashes", "web", created=-7200, started=-0.2, finished=-0.1,
        count=1,
    )  # fmt: skip
    assert podman.run().state is OK


def test_podman_never_proves_that_a_container_died_alone(podman: Story) -> None:
    web = podman.engine.add("podman-4.3-exited-stopped-by-hand", "web", started=-500, finished=-300)
    podman.engine.happened(web, "start", 500)
    podman.engine.happened(web, "die", 300, exitCode="137")
    assert podman.run().state is WARNING


# The ring, other versions, other engines


def test_a_flooded_ring_changes_no_verdict_and_is_admitted(story: Story) -> None:  # C31
    web = story.engine.add(CRASHING, "web", started=-3, count=40, created=-500)
    for number in range(400):
        story.engine.happened(web, "exec_start: true", 30 - number * 0.07)
    found = story.run()
    assert found.state is CRITICAL
    assert "first run against this engine: events reach back 20s of the 15m window" in (
        found.remarks
    )


def test_engine_29_without_status_id_and_from(tmp_path: Path) -> None:  # C33
    with Engine(tmp_path, "docker-29", now=NOW) as engine:
        story = Story(engine, tmp_path / "state")
        web = engine.add(CRASHING, "web", started=-6, count=500, created=-20 * 86400)
        for ago in range(300, 0, -12):
            engine.happened(web, "die", ago + 0.3, exitCode="4", execDuration="11")
            engine.happened(web, "start", ago)
        assert outcome(story.run())[1].startswith("web restarted 25 times in 15m by its policy")


def test_a_renamed_container_keeps_its_restarts(story: Story) -> None:  # C34
    web = story.engine.add(CRASHING, "web", started=-3, count=40, created=-500)
    assert story.run().state is CRITICAL
    web["Name"] = "/web-old"
    found = story.after(60).run()
    assert found.summary_str.startswith("web-old restarted 40 times")
    assert len([one for one in found.findings if one.state is not OK]) == 1


def test_a_removed_container_is_forgotten(story: Story) -> None:  # C34
    web = story.engine.add(CRASHING, "web", started=-3, count=40, created=-500)
    story.engine.add(STEADY, "db")
    assert story.run().state is CRITICAL
    story.engine.remove(web)
    assert story.after(60).run().state is OK
    assert outcome(story.run("--include", "web", "--include", "db")) == (
        CRITICAL,
        "no container is called web",
    )
    assert story.run("--include", "web", "--missing", "ok").state is OK


# Engines that do not answer


def test_no_socket_is_the_engines_outage(tmp_path: Path) -> None:
    done = run_script(SCRIPT, "--docker-host", f"unix://{tmp_path}/none.sock")
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == (
        f"CONTAINER_RESTARTS CRITICAL - docker engine at unix://{tmp_path}/none.sock does not "
        f"answer: there is no socket {tmp_path}/none.sock"
    )
    assert done.stdout.splitlines()[-1] == "Next: systemctl status docker"


def test_a_refused_connection_is_the_engines_outage(tmp_path: Path) -> None:
    with Engine(tmp_path) as engine:
        pass
    done = run_script(SCRIPT, "--docker-host", engine.url)
    assert (done.returncode, "does not answer: connection refused" in done.stdout) == (2, True)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("tcp://127.0.0.1:1", 2, "docker engine at tcp://127.0.0.1:1 does not answer: connection"),
        ("https://127.0.0.1:1", 3, "TLS needs ca.pem, cert.pem and key.pem in "),
        ("nonsense", 3, "Invalid bind address format"),
        ("unix:/none", 2, "there is no socket /none"),
    ],
)
def test_an_address_that_leads_nowhere_is_said(address: str, status: int, words: str) -> None:
    done = run_script(SCRIPT, "--docker-host", address, env={**os.environ, "NO_PROXY": "*"})
    assert (done.returncode, words in done.stdout, done.stderr) == (status, True, "")


def test_without_any_engine_the_operator_says_what_that_means(tmp_path: Path) -> None:
    for path in SOCKETS:
        if Path(path).exists():
            pytest.skip(f"there is {path} on this machine")
    bare = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)}
    done = run_script(SCRIPT, env=bare)
    assert done.returncode == 2
    assert "no container engine: there is no socket at /var/run/docker.sock" in done.stdout
    done = run_script(SCRIPT, "--missing", "ok", env=bare)
    assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop its rights")
def test_the_users_own_socket_comes_before_one_that_he_may_not_use() -> None:
    place = Path(tempfile.mkdtemp(prefix="tw-"))  # pytest's own directories are root's alone
    roots, own = place / "docker.sock", place / "podman" / "podman.sock"
    own.parent.mkdir()
    for path in (roots, own):
        path.touch(0o600)
    os.chown(own, 65534, 65534)
    as_nobody = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from twiceshy.kit import engine\n"
        "engine.SOCKETS = tuple(sys.argv[2:]); os.setgroups([]); os.setuid(65534)\n"
        "os.chdir('/'); print(engine.engine_address(None))"
    )

    def found() -> str:
        argv = [sys.executable, "-c", as_nobody, str(SCRIPT.parent), str(roots)]
        env = {"XDG_RUNTIME_DIR": str(place)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout

    try:
        place.chmod(0o755)
        assert found() == f"unix://{own}\n"
        own.unlink()
        assert found() == f"unix://{roots}\n"
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("server", "address", "following"),
    [
        ("docker", "unix:///var/run/docker.sock", "systemctl status docker"),
        (
            "podman",
            "unix:///run/user/7/podman/podman.sock",
            "systemctl --user status podman.socket",
        ),
        ("docker", "tcp://web1:2376", "docker -H tcp://web1:2376 version"),
        ("docker", "ssh://nagios@web1", "ssh nagios@web1 docker version"),
    ],
)
def test_what_comes_next_when_an_engine_is_down(server: str, address: str, following: str) -> None:
    error = EngineDown("refused")
    error.server = server
    (found,) = report.engine_down(outage(address, error)).findings
    assert found.next == following


def test_podman_without_its_socket_says_what_to_switch_on(tmp_path: Path) -> None:
    for path in SOCKETS:
        if Path(path).exists():
            pytest.skip(f"there is {path} on this machine")
    (tmp_path / "podman").touch(0o755)
    bare = {"PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = run_script(SCRIPT, env=bare)
    user = "" if os.geteuid() == 0 else "--user "
    assert (done.returncode, done.stdout.splitlines()) == (2, [
        "CONTAINER_RESTARTS CRITICAL - podman is installed, but its API socket does not "
        "exist",
        f"Next: systemctl {user}enable --now podman.socket",
    ])  # fmt: skip


def through_ssh(says: str, error: EngineDown, cause: OSError | None = None) -> None:
    """An engine that fails behind an ssh that says so."""
    with quiet_ssh("ssh://nagios@web1:2222"):
        os.write(2, says.encode())
        raise error from cause


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
         "the ssh host key has changed; if you know why, ssh-keygen -R '[web1]:2222'"),
        ("No ED25519 host key is known for web1.\nHost key verification failed.",
         "the ssh host key is not known to this user"),
        ("nagios@web1: Permission denied (publickey,password).",
         "ssh refuses the keys of this user"),
        ("dial unix /var/run/docker.sock: connect: permission denied",
         "ssh logs in, but that user may not use the engine's socket there"),
    ],
)  # fmt: skip
def test_an_ssh_that_does_not_let_in_says_what_to_do(says: str, words: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        through_ssh(says, EngineDown("connection aborted"), requests.ConnectionError())
    url = "ssh://nagios@web1:2222"
    (found,) = report.engine_down(outage(url, refused.value)).findings
    assert (found.state, found.next) == (UNKNOWN, "ssh -p 2222 nagios@web1 docker version")
    assert found.text.startswith(f"docker engine at {url} cannot be queried: {words}")


@pytest.mark.parametrize("address", ["unix:///none.sock", "ssh://nagios@web1"])
@pytest.mark.parametrize("library", ["docker", "requests"])
def test_a_missing_library_is_named_however_the_engine_is_reached(
    tmp_path: Path, address: str, library: str
) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError(name={library!r})\n")
    with Engine(tmp_path) as engine:
        url = engine.url if address.startswith("unix:") else address
        done = run_script(
            SCRIPT, "--docker-host", url, env={**os.environ, "PYTHONPATH": str(tmp_path)}
        )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == (
        f"CONTAINER_RESTARTS UNKNOWN - python library {library} is missing: "
        f"apt install python3-{library} (or pip install 'twiceshy[containers]')\n"
    )


def test_a_banner_before_the_words_of_ssh_hides_nothing() -> None:
    banner, words = "Authorised use only.\n", "ssh: connect to host web1: No route to host"
    with pytest.raises(EngineDown, match=f"^{words}$"):
        through_ssh(banner + words, EngineDown("aborted"), requests.ConnectionError())
    with pytest.raises(EngineDown, match="it answers 500"):
        through_ssh(banner, EngineDown("it answers 500"))


def test_ssh_asks_nobody_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/usr/bin/ssh-askpass")
    with quiet_ssh("ssh://nagios@web1"):
        asks = os.environ["SSH_ASKPASS"], os.environ["SSH_ASKPASS_REQUIRE"]
    assert asks == ("/bin/false", "force")
    assert os.environ["SSH_ASKPASS"] == "/usr/bin/ssh-askpass"
    assert "SSH_ASKPASS_REQUIRE" not in os.environ


def test_an_engine_over_tcp_is_asked(tmp_path: Path) -> None:
    with Engine(tmp_path, tcp=True) as engine:
        engine.add(CRASHING, "web", started=-3, count=40, created=-500)
        done = run_script(
            SCRIPT, "--docker-host", engine.url, "--state-dir", str(tmp_path / "s"),
            env={**os.environ, "NO_PROXY": "*"},
        )  # fmt: skip
    assert (done.returncode, "web restarted 40 times" in done.stdout) == (2, True)
    assert f"Next: docker -H {engine.url} logs --tail 50 web" in done.stdout


def test_an_engine_over_tls_is_asked_and_its_certificate_held_to_ours(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    for place in ("ours", "foreign"):
        (tmp_path / place).mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", "key.pem", "-out", "cert.pem"],
            check=True, capture_output=True, cwd=tmp_path / place,
        )  # fmt: skip
        shutil.copy(tmp_path / place / "cert.pem", tmp_path / place / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "ours/cert.pem", tmp_path / "ours/key.pem")
    done = {}
    with Engine(tmp_path, tls=tls) as engine:
        engine.add(STEADY, "web")
        for place in ("ours", "foreign"):
            done[place] = run_script(
                SCRIPT, "--docker-host", engine.url, "--cert-path", str(tmp_path / place),
                "--state-dir", str(tmp_path / "s"), env={**os.environ, "NO_PROXY": "*"},
            )  # fmt: skip
    assert done["ours"].returncode == 0, done["ours"].stdout
    assert done["foreign"].returncode == 3
    assert "UNKNOWN - TLS with tcp://localhost:" in done["foreign"].stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop its rights")
def test_permission_denied_is_unknown_with_the_remedy(tmp_path: Path) -> None:
    # Imported first: this checkout may be where nobody may read.
    as_nobody = (
        "import os, sys; sys.path.insert(0, sys.argv.pop(1)); import check_container_restarts\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); check_container_restarts.main()"
    )
    with Engine(tmp_path) as engine:
        engine.socket.chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", as_nobody, str(SCRIPT.parent), "--docker-host", engine.url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert (
        f"UNKNOWN - not allowed to use {engine.socket}: run the check with sudo, or " in done.stdout
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("html", "it answers, but not as a container engine does"),
        ((500, "database is locked"), "it answers 500 when asked for its containers"),
        ("hang", "no answer within 2.4s (asked for its containers)"),
        ("drip", "no answer within 2.4s (asked for its containers)"),
    ],
    ids=["html", "500", "hang", "drip"],
)
def test_a_list_that_cannot_be_had_is_the_engines_outage(
    tmp_path: Path, fault: Any, words: str
) -> None:
    with Engine(tmp_path) as engine:
        engine.faults["/containers/json"] = fault
        limit = "3s" if fault in ("hang", "drip") else "10s"
        done = run_script(SCRIPT, "--docker-host", engine.url, "-t", limit)
    assert done.returncode == 2
    assert words[:9] in done.stdout
    assert words[-25:] in done.stdout
    assert done.stderr == ""


def test_a_socket_proxy_that_forbids_containers_is_unknown(story: Story) -> None:
    story.engine.faults["/containers"] = (403, "Forbidden by administrative rules")
    state, text = outcome(story.run())
    assert state is UNKNOWN
    assert "does not allow requests for its containers: Forbidden by administrative rules" in text


def test_a_socket_proxy_that_forbids_events_costs_a_remark(story: Story) -> None:
    story.engine.faults["/events"] = (403, "Forbidden by administrative rules")
    story.engine.add(STEADY, "web")
    found = story.run()
    assert found.state is OK
    assert found.remarks[0].startswith("the engine's events are not available: docker at unix:")


@pytest.mark.parametrize("fault", ["hang", "drip", (500, "lock timeout"), "html"], ids=str)
def test_one_stuck_inspect_costs_only_itself(tmp_path: Path, fault: Any) -> None:
    with Engine(tmp_path) as engine:
        engine.add(CRASHING, "web", started=-3, count=40, created=-500)
        stuck = engine.add(STEADY, "stuck")
        engine.add(STEADY, "db")
        engine.faults[f"/containers/{stuck['Id']}"] = fault
        done = run_script(
            SCRIPT, "--docker-host", engine.url, "-t", "6s", "--state-dir", str(tmp_path / "s")
        )
    assert done.returncode == 2
    assert done.stdout.startswith("CONTAINER_RESTARTS CRITICAL - web restarted 40 times in 15m")
    assert "(+1 more)" in done.stdout
    assert "UNKNOWN: stuck could not be inspected: " in done.stdout
    assert "containers=2;" in done.stdout


def test_many_stuck_inspects_stay_within_the_timeout(tmp_path: Path) -> None:
    with Engine(tmp_path) as engine:
        engine.add(CRASHING, "aaa", started=-3, count=40, created=-500)
        for number in range(30):
            stuck = engine.add(STOPPED, f"stuck-{number}")
            engine.faults[f"/containers/{stuck['Id']}"] = "hang"
        done = run_script(
            SCRIPT, "--docker-host", engine.url, "-t", "6s", "--state-dir", str(tmp_path / "s")
        )
    assert done.stdout.startswith("CONTAINER_RESTARTS CRITICAL - aaa restarted 40 times in 15m")
    assert "(+30 more)" in done.stdout


# Selection


def test_what_is_left_out_is_not_inspected(story: Story) -> None:
    labels = {**COMPOSE, "tier": "front"}
    web = story.engine.add(STEADY, "shop-web-1", labels=labels, image="shop/web:7")
    db = story.engine.add(STEADY, "db", image="postgres:16")
    for args, wanted in (
        (["--include", "shop*"], [web]),
        (["--exclude", "re:^d"], [web]),
        (["--label", "tier"], [web]),
        (["--label", "tier=fr*"], [web]),
        (["--label", "tier=back"], []),
        (["--compose", "shop"], [web]),
        (["--compose", "shop/db"], []),
        (["--compose", "sh*/w*"], [web]),
        (["--image", "postgres*"], [db]),
        ([], [web, db]),
    ):
        story.engine.asked.clear()
        story.run(*args)
        inspected = [path.split("/")[3] for path in story.engine.asked if "/json" in path[45:]]
        assert sorted(inspected) == sorted(one["Id"] for one in wanted), args


def test_a_container_whose_image_lost_its_name_is_still_of_that_image(story: Story) -> None:
    """After `docker pull` or a prune the list tells the id of the image only."""
    web = story.engine.add(CRASHING, "web", started=-3, count=40, created=-500, image="shop/web:7")
    story.engine.add(STEADY, "db", image="postgres:16")
    story.engine.untagged.add(web["Id"])
    state, text = outcome(story.run("--image", "shop/*"))
    assert (state, text[:26]) == (CRITICAL, "web restarted 40 times in ")
    assert outcome(story.run("--image", "postgres*"))[1].startswith("1 container watched")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--include", "api"], "no container is called api"),
        (["--compose", "shop/api"], "no container is of compose project shop/api"),
        (["--image", "redis*"], "no container is of image redis*"),
        (["--label", "tier=back"], "no container is labelled tier=back"),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_missed(
    story: Story, args: list[str], text: str
) -> None:
    story.engine.add(STEADY, "shop-web-1", labels={**COMPOSE, "tier": "front"}, image="shop/web:7")
    missed = story.run(*args)
    assert outcome(missed) == (CRITICAL, text)
    assert f"\nNext: docker -H {story.engine.url} ps -a |" in missed.output()
    assert outcome(story.run(*args, "--missing", "ok")) == (OK, "no containers selected")


def test_a_container_that_compose_calls_otherwise_is_named_as_both(
    story: Story,
) -> None:
    for name in ("billing", "shop_web_1"):
        labels = (
            COMPOSE if name == "shop_web_1" else {**COMPOSE, "com.docker.compose.service": "named"}
        )
        story.engine.add(CRASHING, name, started=-3, count=40, created=-500, labels=labels)
    texts = sorted(finding.text[:40] for finding in story.run().findings)
    assert texts == [
        "shop-named-1 (container billing) restart",
        "shop-web-1 restarted 40 times in 15m by ",
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [(127, "127 (command not found)"), (126, "126 (not executable)"), (139, "139 (signal SEGV)")],
)
def test_an_exit_code_says_what_it_stands_for(story: Story, code: int, words: str) -> None:
    story.engine.add(RESTARTING, "web", started=-31, finished=-30, count=70, ExitCode=code)
    assert f"last exit {words}, living" in story.run().summary_str


@pytest.mark.parametrize(
    ("error", "following"),
    [
        ("driver failed: listen tcp4 0.0.0.0:8080: bind: address already in use",
         "ss -ltnp 'sport = :8080'"),
        ("driver failed: Bind for 0.0.0.0:8080 failed: port is already allocated",
         "docker -H URL ps --filter publish=8080"),
        ("exec: \"/app/start.sh\": no such file or directory", "docker -H URL start web"),
    ],
)  # fmt: skip
def test_what_comes_next_when_a_start_failed(story: Story, error: str, following: str) -> None:
    story.engine.add(
        "docker-20.10-created-exec-not-found", "web", started=None, created=-60, Error=error
    )
    following = following.replace("URL", story.engine.url)
    assert f"\nNext: {following} |" in story.run().output()


def test_what_is_paused_or_failed_for_good_is_counted_when_all_is_well(story: Story) -> None:
    story.engine.add(STEADY, "web", started=-7200)
    story.engine.add("docker-20.10-paused", "cache", started=-7200)
    story.engine.add("docker-20.10-exited-7-no-policy", "job", created=-63, started=-62,
                     finished=-60)  # fmt: skip
    story.run()
    assert outcome(story.after(60).run()) == (
        OK,
        "3 containers watched, none restarted in 15m, 1 paused, 1 without a restart policy ended "
        "with an error",
    )


def test_the_last_log_line_is_shown_unasked(story: Story) -> None:
    story.engine.add(CRASHING, "web", started=-3, count=40, created=-500)
    story.engine.add(CRASHING, "api", started=-3, count=30, created=-500)
    story.engine.logs = b"starting\nno such database: shop\n"
    assert story.run().output().splitlines()[1] == "Log: no such database: shop"
    assert sum("/logs" in path for path in story.engine.asked) == 1
    assert "Log: " not in story.run("--log-lines", "0").output()


def test_log_lines_are_shown_clean(story: Story) -> None:
    story.engine.add(CRASHING, "web", started=-3, count=40, created=-500)
    story.engine.logs = b"one\nconnect postgres://app:geheim@db failed | \x1b[31mred\n"
    lines = story.run("--log-lines", "2").output().splitlines()
    assert lines[1:3] == ["Log: one", "Log: connect postgres://***@db failed / ?[31mred"]


# Swarm


def tasks(count: int, state: str = "failed") -> list[dict[str, Any]]:
    """Dead tasks like the captured one of the service that crashes, seven seconds apart."""
    like = next(
        task
        for task in captured("docker-20.10-swarm-tasks")
        if task["Status"].get("Err", "").startswith("task: non-zero")
    )
    made = []
    for number in range(count):
        task = copy.deepcopy(like)
        task.update(ID=f"task{number}", Slot=1, CreatedAt=stamp(NOW - 10 - number * 7))
        task["Status"].update(State=state, Timestamp=stamp(NOW - 8 - number * 7))
        made.append(task)
    return made


def service(running: int, desired: int, condition: str = "any") -> dict[str, Any]:
    """The captured service that crashes, with other counts."""
    made: dict[str, Any] = next(
        one
        for one in captured("docker-20.10-swarm-services")
        if one["ID"] == tasks(1)[0]["ServiceID"]
    )
    made["Spec"]["Name"] = "shop_web"
    made["Spec"]["TaskTemplate"]["RestartPolicy"] = {"Condition": condition}
    made["ServiceStatus"] = {"RunningTasks": running, "DesiredTasks": desired}
    return made


def test_a_crash_looping_service_shows_2_of_2_and_is_found(story: Story) -> None:  # C27
    story.engine.is_manager = True
    story.engine.services = [service(2, 2)]
    story.engine.tasks = tasks(4)
    assert outcome(story.run("--service", "*")) == (
        WARNING,
        "shop_web had 4 tasks fail in 15m (limit 2 per replica), last: task: non-zero exit (1)",
    )
    # The swarm keeps five tasks a slot; what it has dropped is remembered here.
    for number, task in enumerate(story.engine.tasks):
        task["ID"] = f"later{number}"
    state, text = outcome(story.after(60).run("--service", "shop*"))
    assert (state, text[:29]) == (CRITICAL, "shop_web had 8 tasks fail in ")
    assert story.after(900).run("--service", "shop*").state is OK


def test_a_service_without_a_task_is_critical_after_the_grace(story: Story) -> None:
    story.engine.is_manager = True
    story.engine.services = [service(0, 2)]
    assert story.run("--service", "*").state is OK
    assert outcome(story.after(180).run("--service", "*")) == (
        CRITICAL,
        "shop_web has run 0 of 2 tasks for 3m",
    )
    story.engine.services = [service(1, 2)]
    assert story.after(1).run("--service", "*").state is WARNING
    story.engine.services = [service(2, 2)]
    assert story.after(1).run("--service", "*").state is OK


def test_a_service_that_has_done_its_work_is_fine(story: Story) -> None:
    story.engine.is_manager = True
    story.engine.services = [service(0, 1, "none")]
    story.engine.tasks = tasks(1, "complete")
    assert story.run("--service", "*", "-w", "0").state is OK
    assert story.after(600).run("--service", "*", "-w", "0").state is OK


def test_a_worker_cannot_be_asked_for_services(story: Story) -> None:
    state, text = outcome(story.run("--service", "*"))
    assert (state, text[:37]) == (UNKNOWN, "--service needs a swarm manager, and ")


def test_what_is_down_for_good_leads_before_what_comes_and_goes(story: Story) -> None:
    story.engine.add(CRASHING, "noisy", started=-3, count=80, created=-500)
    story.engine.add(
        "docker-20.10-exited-on-failure-3-used-up", "dead", started=-91, finished=-90, created=-99
    )
    found = story.run()
    assert found.summary_str == (
        "dead has been down for 1m30s: all retries of its policy on-failure:3 are used up, "
        "last exit 5 (+1 more)"
    )
    assert found.output().splitlines()[1] == "dead also restarted 3 times in 15m by its policy " + (
        "on-failure:3 (limit 2), last exit 5, living 1s each time"
    )


def test_stopping_a_new_container_once_is_no_restart(story: Story) -> None:
    web = story.engine.add(STOPPED, "web", started=-30, finished=-10, created=-31)
    for action, ago in (("create", 31), ("start", 30), ("kill", 11), ("die", 10), ("stop", 9.9)):
        story.engine.happened(web, action, ago, signal="15")
    assert outcome(story.run("-w", "0")) == (
        OK,
        "1 container watched, no restarts known in the last 15m (first run, events reach back 15m)",
    )


# Two runs, two windows


def test_two_windows_on_one_history_do_not_disturb_each_other(story: Story) -> None:
    web = story.engine.add(STEADY, "web", count=0)
    story.run()
    for _ in range(8):
        story.after(300)
        story.engine.restarted(web, 1)
        short, long = story.run("--window", "10m"), story.run("--window", "2h")
    assert (short.state, long.state) == (OK, CRITICAL)
    assert long.summary_str.startswith("web restarted 8 times in 2h by its policy")


def test_two_runs_at_once_count_once(story: Story) -> None:
    web = story.engine.add(STEADY, "web", count=0)
    story.run()
    story.after(60)
    web["RestartCount"] = 3
    story.engine.restarted(web, 1)
    runs = [threading.Thread(target=story.run) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert outcome(story.after(1).run())[1].startswith("web restarted 4 times in 15m")


def test_a_clock_that_jumps_counts_nothing_twice(story: Story) -> None:
    web = story.engine.add(STEADY, "web", count=4, started=-7200)
    story.run()
    story.engine.now -= 3600
    story.uptime += 60
    assert story.run("-w", "0").state is OK
    story.engine.now += 7200
    story.uptime += 60
    assert story.run("-w", "0").state is OK
    assert web["RestartCount"] == 4


# Pure parts


def test_a_row_fades_with_the_window() -> None:
    group = formats.Group("name:web", "web", "name")
    row = Restarts(group, "policy", "id", "", 11, ago=100, span=1000)
    assert [within([row], window) for window in (50, 100, 600, 1100)] == [0, 1, 6, 11]


@pytest.mark.parametrize(
    ("waited", "deaths"), [(0.0, 0), (0.1, 1), (0.9, 4), (25.0, 8), (59.0, 10), (500.0, 10)]
)
def test_the_length_of_a_back_off_tells_how_many_deaths_there_were(
    waited: float, deaths: int
) -> None:
    assert quick_deaths_in_a_row(waited) == deaths


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T10:08:08.145207629Z", 1795255688.145207629),
        ("2026-11-21T11:08:08.5+01:00", 1795255688.5),
        ("2026-11-21 08:08:08.5 -0200 CEST", 1795255688.5),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("soon", None),
    ],
)
def test_an_engines_time_stamp_is_read(text: str, seconds: float | None) -> None:
    assert formats.instant(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("web", {}, ("name", "web")),
        ("happy_noether", {}, ("image", "app:1 (run --fast)")),
        ("clever_wing3", {}, ("image", "app:1 (run --fast)")),
        ("shop_web.2.abcdefghijklmnopqrstuvwxy", swarm(2, 0), ("swarm", "shop_web.2")),
        ("abcdef_shop-web-1", COMPOSE, ("compose", "shop-web-1")),
        (
            "shop-web-run-1",
            {**COMPOSE, "com.docker.compose.oneoff": "True"},
            ("label", "shop-web-run"),
        ),
    ],
)
def test_containers_are_grouped(
    name: str, labels: dict[str, str], expected: tuple[str, str]
) -> None:
    group = formats.group_of(name, "app:1", "run --fast", labels)
    assert (group.kind, group.name) == expected


INSPECTIONS = sorted(
    path
    for path in (ROOT / "tests/data/container_restarts").glob("*.json")
    if not path.stem.endswith(("-version", "-list-entry", "-services", "-tasks"))
)


@pytest.mark.parametrize("path", INSPECTIONS, ids=lambda path: path.stem)
def test_every_captured_inspection_is_read(path: Path) -> None:
    engine = "-".join(path.name.split("-")[:2])
    entry = formats.listed(captured(f"{engine}-list-entry"))
    one = formats.inspected(json.loads(path.read_text()), entry)
    assert one.status == path.name.split("-")[2].removesuffix(".json")
    assert one.policy in ("no", "always", "on-failure")
    assert one.created > 1.7e9


# Cost


@pytest.mark.skipif(bool(os.environ.get("TWICESHY_NO_COST")), reason="asked not to measure")
def test_500_containers_cost_little_more_than_the_bare_sdk(tmp_path: Path) -> None:
    bare = (
        "import sys, docker\n"
        "client = docker.APIClient(sys.argv[1], version='auto')\n"
        "[client.inspect_container(one['Id']) for one in client.containers(all=True)]\n"
    )

    def cpu(argv: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in (0, 1, 2), done.stdout + done.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with Engine(tmp_path) as engine:
        for number in range(500):
            engine.add(STEADY, f"app-{number}")
        for _ in range(3):  # another process on this machine may have spoilt one
            sdk = cpu([sys.executable, "-c", bare, engine.url])
            ours = cpu([sys.executable, str(SCRIPT), "--docker-host", engine.url, "-t", "60s",
                        "--state-dir", str(tmp_path / "state")])  # fmt: skip
            if ours <= 1.5 * sdk:
                break
    assert ours <= 1.5 * sdk, f"{ours:.2f}s against {sdk:.2f}s"

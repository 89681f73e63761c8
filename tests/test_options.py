from __future__ import annotations

from pathlib import Path

import pytest

from twiceshy.kit import options as opt
from twiceshy.kit import units
from twiceshy.kit.patterns import selected
from twiceshy.kit.plugin import OK, WARNING, CheckError


def parser() -> opt.Parser:
    made = opt.parser("story", "A question?\n\nLearned from: an outage.")
    opt.add_limits(made, warning="5m", critical="1h", what="the age", unit=units.duration)
    opt.add_state_dir(made)
    opt.add_learning(made)
    opt.add_missing(made)
    opt.add_selectors(made, "services")
    return made


def complaint(capfd: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(args)
    assert ended.value.code == 3
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_defaults_are_what_a_user_would_type() -> None:
    args = parser().parse_args([])
    assert (args.timeout, args.verbose, args.state_dir, args.include) == (10.0, 0, None, [])
    assert (args.warning.typed, args.critical.end) == ("5m", 3600)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--warn", "5"], "unrecognized arguments: --warn 5"),
        (["-w", "5 parsecs"], "argument -w/--warning: '5 parsecs' is not a duration; type 30s"),
        (["-t", "0"], "argument -t/--timeout: '0' is not a positive duration"),
        (["-w"], "argument -w/--warning: expected one argument"),
        (["--missing", "red"], "argument --missing: 'red' is not a state; type ok"),
        (["--learning", "warning"], "argument --learning: 'warning' is neither ok nor unknown"),
        (["--include", "re:("], "argument --include: 're:(' is not a valid regular expression"),
        (["stray\n| evil"], "unrecognized arguments: stray / evil"),
    ],
)
def test_a_usage_error_is_one_line_on_stdout(
    capfd: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    line = complaint(capfd, *args)
    assert line.startswith(f"STORY UNKNOWN - {words}")
    assert line.endswith("(try check_story --help)\n")
    assert line.count("\n") == 1


def test_help_is_the_manual(capfd: pytest.CaptureFixture[str]) -> None:
    text = complaint(capfd, "--help")
    assert "Learned from: an outage." in text
    assert "(default: 10s)" in text


def test_the_help_breaks_no_name_at_its_hyphen() -> None:
    made = opt.parser("story", "A question?")
    names = [f"sensu-backend-{number}" for number in range(40)]
    made.add_argument("--monitor", metavar="KIND", help=f"one of {', '.join(names)}")
    words = made.format_help().replace(",", "").split()
    assert [word for word in words if word.startswith("sensu")] == names


def test_version_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert complaint(capfd, "-V").startswith("check_story 0.")


def test_names_are_selected_by_glob_and_by_regex() -> None:
    args = parser().parse_args(
        ["--include", "web*", "--include", "re:^db-\\d", "--exclude", "*-old"]
    )
    chosen = [
        name
        for name in ("web", "web-old", "db-1", "db-x", "mail")
        if selected(name, args.include, args.exclude)
    ]
    assert chosen == ["web", "db-1"]


def test_states_are_states() -> None:
    args = parser().parse_args(["--missing", "WARNING", "--learning", "ok"])
    assert (args.missing, args.learning) == (WARNING, OK)


def test_a_secret_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    monkeypatch.setenv("STORY_PASSWORD", "from the environment")
    assert opt.secret(file, "STORY_PASSWORD") == "hunter2"
    assert opt.secret(None, "STORY_PASSWORD") == "from the environment"
    assert opt.secret(None, "NO_SUCH_VARIABLE") is None


def test_a_secret_that_cannot_be_read_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="gone cannot be read: No such file or directory"):
        opt.secret(tmp_path / "gone", "X")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(CheckError, match="empty is empty"):
        opt.secret(tmp_path / "empty", "X")

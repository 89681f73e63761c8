"""What is remembered: for how long each file has refused logins."""

from __future__ import annotations

from collections.abc import Mapping

from twiceshy.kit.history import History
from twiceshy.kit.stamps import Sample, Stamp
from twiceshy.NAME.judgement import Judgement


# FILL ME IN: what is remembered of each subject, and when it is forgotten.
def recalled(past: History) -> Mapping[str, Sample]:
    """Seconds for which logins had been refused at the run before, by path."""
    return dict(past.notes())


def remember(past: History, judgement: Judgement, at: Stamp) -> None:
    """Replace the notes: what no longer refuses logins is forgotten."""
    refusing = {refused.path for refused in judgement.refused}
    for path, _ in past.notes():
        if path not in refusing:
            past.forget(path)
    for refused in judgement.refused:
        past.write_note(refused.path, refused.seconds, at)

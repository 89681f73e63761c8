"""The outage, staged: a shutdown is called off halfway, and its file stays."""

from __future__ import annotations

from twiceshy.kit.drill import Drill, Play, Sandbox

# FILL ME IN: the outage in a sentence, and how to stage it in a directory of the drill's own.
OUTAGE = "every check is green, and nobody can log in"


def stage(box: Sandbox) -> Play:
    """A file of the sandbox's, which the real check reads."""
    file = box.directory / "nologin"
    return Play(
        arguments=[f"--file={file}", "-c", "0s"],
        fault="a shutdown is called off halfway and leaves its file",
        break_it=lambda: file.write_text("The system is going down.\n"),
        remedy="the file is removed",
        mend_it=file.unlink,
    )


DRILL = Drill(OUTAGE, stage)

# Append to check_nologin.py, above `if __name__`.
# ruff: noqa: F821

if TYPE_CHECKING:  # only the annotations need these; a run of the check must not pay for them
    from pathlib import Path

    from twiceshy.kit.drill import Drill, Sandbox
    from twiceshy.kit.figures import Timeline
    from twiceshy.kit.stamps import Stamp


def drill() -> Drill:
    """The outage, staged for `twiceshy drill nologin`."""
    from twiceshy.kit.drill import Drill, Play

    def stage(box: Sandbox) -> Play:
        file = box.directory / "nologin"
        return Play(
            arguments=[f"--file={file}", "-c", "0s"],
            fault="a shutdown is called off halfway and leaves its file",
            break_it=lambda: file.write_text("The system is going down.\n"),
            remedy="the file is removed",
            mend_it=file.unlink,
        )

    return Drill("every check is green, and nobody can log in", stage)


def picture(state_dir: Path | None, subject: str | None, at: Stamp) -> Timeline:
    """The refusals there are now, for `twiceshy plot nologin`."""
    from twiceshy.kit.figures import Event, Timeline

    found = refusals([subject] if subject else FILES)
    events = [Event(one.since, at.wall, 1, f"{one.path}: {safe(one.words)}") for one in found]
    return Timeline("logins refused", at.wall - 86400, at.wall, events)

# Append to check_nologin.py, above `if __name__`.
# ruff: noqa: F821

if TYPE_CHECKING:
    from pathlib import Path


def with_memory(report: Report, refused_seconds: float, state_dir: Path | None) -> Report:
    """The report and what the runs before have seen."""
    with History.open("nologin", state_dir) as past:
        refused = [sample for sample in past.samples("logins") if sample.value > 0]
        past.remember("logins", refused_seconds, history.now())
        past.keep_newest("logins", 500)
        not_saved = past.save()  # in one transaction; None, or an UNKNOWN finding
    findings = [*report.findings, *([not_saved] if not_saved else [])]
    remark = f"{units.count(len(refused), 'earlier run')} found logins refused"
    return replace(report, findings=findings, remarks=[remark])

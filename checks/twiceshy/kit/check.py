"""A report as a monitoring system reads it: state, first line, long lines, perfdata.

`Check` ranks the findings of a check's `Report`, words the headline, bounds the text and formats
the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, NoReturn

from twiceshy.kit import deadline
from twiceshy.kit.plugin import (
    OK,
    UNKNOWN,
    UNKNOWN_STATUS,
    Context,
    Metric,
    NagiosCheck,
    Resource,
    Result,
    Results,
    State,
    Summary,
    internal_error,
    leave,
)
from twiceshy.kit.verdict import SEVERITY, Finding, Report, safe, worst_first

# Old NRPE cuts the output at 1 KiB, perfdata first; newer agents, and Nagios itself, at 8 KiB.
SHORT_BYTES = 1000
LONG_BYTES = 8000
PERFDATA_SHORT_BYTES = 440
PERFDATA_LONG_BYTES = 5000
HEADLINE_BYTES = 330
NEXT_BYTES = 200


class _Findings(Resource):  # type: ignore[misc]
    """The check's run as nagiosplugin's resource: all is computed before anything is yielded."""

    def __init__(self, name: str, run: Callable[[], Report]) -> None:
        self._name = name
        self._run = run

    @property
    def name(self) -> str:
        return self._name

    def probe(self) -> list[Metric]:
        report = self._run()
        metrics = [
            Metric("finding", finding, context="finding")
            for finding in worst_first(report.findings)
        ]
        if not metrics:
            metrics = [Metric("finding", Finding(OK, report.summary), context="finding")]
        metrics += [Metric("measure", measure, context="measure") for measure in report.measures]
        metrics += [Metric("remark", remark, context="remark") for remark in report.remarks]
        if report.summary:
            metrics.append(Metric("summary", report.summary, context="remark"))
        return metrics


class _FindingContext(Context):  # type: ignore[misc]
    """A finding brings its own state."""

    def evaluate(self, metric: Metric, resource: Resource) -> Result:
        return Result(metric.value.state, metric.value.text, metric)


class _MeasureContext(Context):  # type: ignore[misc]
    """A measure never changes the state: what breaks a limit is a finding that says so."""

    def evaluate(self, metric: Metric, resource: Resource) -> Result:
        return Result(OK, None, metric)

    def performance(self, metric: Metric, resource: Resource) -> str:
        return str(metric.value)


class _RemarkContext(Context):  # type: ignore[misc]
    def evaluate(self, metric: Metric, resource: Resource) -> Result:
        return Result(OK, None, metric)


class WorstFirst(Results):  # type: ignore[misc]
    """Results in which CRITICAL > WARNING > UNKNOWN > OK."""

    @property
    def most_significant_state(self) -> State:
        if not self.results:
            raise ValueError("no results")
        return max((result.state for result in self.results), key=SEVERITY.index)


class _Headline(Summary):  # type: ignore[misc]
    """The first line: the worst finding, and how many more there are."""

    def ok(self, results: Results) -> str:
        return _headline(_findings(results), _value_of(results, "summary"))

    def problem(self, results: Results) -> str:
        return _headline(_findings(results), "")

    def verbose(self, results: Results) -> list[str]:
        return []

    def empty(self) -> str:
        return "nothing was checked"


def _findings(results: Results) -> list[Finding]:
    found = []
    for result in results:
        if result.metric is None:  # a CheckError: nagiosplugin keeps its words as the hint
            found.append(Finding(UNKNOWN, str(result.hint)))
        elif result.metric.name == "finding":
            found.append(result.metric.value)
    return worst_first(found)


def _value_of(results: Results, name: str) -> str:
    for result in results:
        if result.metric is not None and result.metric.name == name:
            return str(result.metric.value)
    return ""


def _headline(findings: Sequence[Finding], summary: str) -> str:
    problems = [finding for finding in findings if finding.state is not OK]
    if problems:
        more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
        return _cut(safe(problems[0].text, 2000), HEADLINE_BYTES - len(more)) + more
    if findings and findings[0].text:
        return _cut(safe(findings[0].text, 2000), HEADLINE_BYTES)
    return _cut(safe(summary, 2000), HEADLINE_BYTES)


class Check(NagiosCheck):  # type: ignore[misc]
    """A nagiosplugin Check around a function that observes, judges and returns a Report.

    Calling it runs that and fills `exitcode`, `summary_str` and `perfdata`; `output` is the whole
    printed text; `main` does all that under the deadline, prints and exits.
    """

    def __init__(
        self, name: str, run: Callable[[], Report], *, timeout: float = 10.0, verbose: int = 0
    ) -> None:
        super().__init__(
            _Findings(name.upper(), run),
            _FindingContext("finding"),
            _MeasureContext("measure"),
            _RemarkContext("remark"),
            WorstFirst(),
            _Headline(),
        )
        self.name = name.upper()
        self.timeout = timeout
        self.verbose = verbose

    def __call__(self) -> None:
        super().__call__()
        # nagiosplugin sorts them by text; the check gave them by importance.
        self.perfdata = [
            text
            for result in self.results
            if result.metric is not None and result.metric.name == "measure"
            for text in [str(result.metric.value)]
            if text
        ]

    def main(self, verbose: Any = None, timeout: Any = None) -> NoReturn:
        """Look, print, exit: 0, 1, 2 or 3, within the timeout."""
        watch = deadline.Deadline(self.name, self.timeout).start()
        try:
            self()
            text, status = self.output(), int(self.exitcode)
        except Exception as error:  # noqa: BLE001 - before the deadline lets go: name and state
            text, status = f"{self.name} {internal_error(error, self.verbose)}", UNKNOWN_STATUS
        watch.claim_the_last_word()
        leave(text, status)

    @property
    def findings(self) -> list[Finding]:
        """What was found, worst first."""
        return _findings(self.results)

    @property
    def remarks(self) -> list[str]:
        """What was remarked."""
        return [
            str(result.metric.value)
            for result in self.results
            if result.metric is not None and result.metric.name == "remark"
        ]

    def output(self) -> str:
        """All that is printed: first line, long lines, perfdata after the only `|`."""
        roomy = self.verbose > 0
        first = f"{self.name} {str(self.state).upper()}"
        if self.summary_str:
            first += f" - {self.summary_str}"
        perfdata = _fitting(self.perfdata, PERFDATA_LONG_BYTES if roomy else PERFDATA_SHORT_BYTES)
        tail = f" | {perfdata}" if perfdata else ""
        room = (LONG_BYTES if roomy else SHORT_BYTES) - len((first + tail).encode())
        return "\n".join([first, *_within(self._long_lines(), room)]) + tail

    def _long_lines(self) -> tuple[list[str], list[str]]:
        """Long lines, and last lines that must not be cut."""
        problems = [finding for finding in self.findings if finding.state is not OK]
        lines: list[str] = []
        if problems:
            lines += [safe(line) for line in problems[0].more]
            for finding in problems[1:]:
                lines.append(f"{str(finding.state).upper()}: {safe(finding.text, 300)}")
                if self.verbose:
                    lines += [safe(line) for line in finding.more]
                    lines += [f"Next: {safe(finding.next, 300)}"] if finding.next else []
            lines += [
                f"Remark: {safe(line)}" for line in self.remarks[: None if self.verbose else 2]
            ]
        elif self.verbose:
            lines += [
                safe(line)
                for finding in self.findings
                for line in (finding.text, *finding.more)
                if line and safe(line, 2000) != self.summary_str
            ]
            lines += [f"Remark: {safe(line)}" for line in self.remarks]
        following = next((finding.next for finding in problems if finding.next), "")
        return lines, [f"Next: {_cut(safe(following, 2000), NEXT_BYTES)}"] if following else []


def _within(lines: tuple[list[str], list[str]], room: int) -> list[str]:
    """As many whole lines as fit into `room` bytes, and the last ones always."""
    flexible, fixed = lines
    room -= sum(len(line.encode()) + 1 for line in fixed)
    kept: list[str] = []
    for position, line in enumerate(flexible):
        rest = len(flexible) - position
        note = f"(+{rest} lines; more with -v)"
        length = len(line.encode()) + 1
        if room - length < (len(note) + 1 if rest > 1 else 0):
            if room > len(note):
                kept.append(note)
            break
        kept.append(line)
        room -= length
    return kept + fixed


def _fitting(perfdata: Sequence[str], room: int) -> str:
    """As many perfdata as fit, from the first on; none is ever cut."""
    kept = ""
    for text in perfdata:
        longer = f"{kept} {text}" if kept else text
        if len(longer) > room:
            break
        kept = longer
    return kept


def _cut(text: str, room: int) -> str:
    """Text of at most `room` bytes of UTF-8, cut between letters."""
    if len(text.encode()) <= room:
        return text
    return text.encode()[: room - 3].decode("utf-8", "ignore").rstrip() + "..."

"""Our forecast against the field's, on synthetic filesystems.

    python tests/benchmarks/disk_forecast.py

Every forecast is asked at every sample of every trace. An alarm episode (gaps under 12 h merged) is
true if the volume is full within 7 days of its start, or if it lives in the 12 hours before; any
other is false. A fill is caught if a live episode began at least 2 hours ahead of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "checks"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from disk_families import DAY, DAYS, HOLDOUT, STEP, TUNING, Trace, made  # noqa: E402
from disk_families_blind import BLIND  # noqa: E402

from twiceshy.disk_growth import forecast  # noqa: E402

HOUR = 12  # looks an hour
Alarms = list[bool]
Row = tuple[str, str, int, int, int, Optional[float], bool]
"""Forecast, family, looks, true and false episodes, hours of lead, whether it filled."""


# The field. Each returns whether it would alarm, look by look.


def ninety_percent(trace: Trace) -> Alarms:
    return [u is not None and u > 0.9 * f for u, f in zip(trace.used, trace.full)]


def slopes(values: list[float | None], window: int) -> list[tuple[float, float] | None]:
    """Least squares over the last `window` looks: (slope a look, fitted value now)."""
    n = sx = sy = sxx = sxy = 0.0
    found: list[tuple[float, float] | None] = []
    for x, y in enumerate(values):
        if y is not None:
            n, sx, sy, sxx, sxy = n + 1, sx + x, sy + y, sxx + x * x, sxy + x * y
        old = values[x - window] if x >= window else None
        if old is not None:
            z = x - window
            n, sx, sy, sxx, sxy = n - 1, sx - z, sy - old, sxx - z * z, sxy - z * old
        spread = n * sxx - sx * sx
        if n < 2 or spread <= 0:
            found.append(None)
        else:
            slope = (n * sxy - sx * sy) / spread
            found.append((slope, (sy - slope * sx) / n + slope * x))
    return found


def predict_linear(window: int, ahead: int) -> Callable[[Trace], Alarms]:
    """Prometheus: predict_linear(avail[window], ahead) <= 0."""

    def alarms(trace: Trace) -> Alarms:
        avail = [None if u is None else f - u for u, f in zip(trace.used, trace.full)]
        return [s is not None and s[1] + s[0] * ahead <= 0 for s in slopes(avail, window)]

    return alarms


def pending(alarms: Alarms, looks: int) -> Alarms:
    """Prometheus' `for:`."""
    held, answer = 0, []
    for alarm in alarms:
        held = held + 1 if alarm else 0
        answer.append(held > looks)
    return answer


def node_mixin(below: float, ahead: int) -> Callable[[Trace], Alarms]:
    """node-mixin: avail below a share, predict_linear(avail[6h], ahead) < 0, for 1 h."""

    def alarms(trace: Trace) -> Alarms:
        linear = predict_linear(6 * HOUR, ahead)(trace)
        low = [u is not None and f - u < below * f for u, f in zip(trace.used, trace.full)]
        return pending([a and b for a, b in zip(linear, low)], HOUR)

    return alarms


def checkmk(hours: float) -> Callable[[Trace], Alarms]:
    """Checkmk's trend: an average that keeps half its weight within 24 h, then the hours left."""

    def alarms(trace: Trace) -> Alarms:
        average: float | None = None
        last: tuple[int, float] | None = None
        first, answer = None, []
        for look, (used, full) in enumerate(zip(trace.used, trace.full)):
            if used is None:
                answer.append(answer[-1] if answer else False)
                continue
            if last is None:
                first = look
            else:
                passed = (look - last[0]) / HOUR
                rate = (used - last[1]) / passed
                age = (look - (first or 0)) / HOUR
                backlog = 0.5 ** min(1.0, age / 48)
                weight = (1 - backlog) ** (passed / 24)
                average = rate if average is None else weight * average + (1 - weight) * rate
            last = (look, used)
            answer.append(average is not None and average > 0 and (full - used) / average < hours)
        return answer

    return alarms


def netdata(trace: Trace) -> Alarms:
    """netdata: an hour's growth, 8 h left to raise, 48 h to clear."""
    answer, on = [], False
    for look, (used, full) in enumerate(zip(trace.used, trace.full)):
        before = [x for x in trace.used[max(0, look - 12) : max(0, look - 9)] if x is not None]
        if used is None or not before:
            answer.append(on)
            continue
        rate = used - max(before)
        left = (full - used) / rate if rate > 0 else float("inf")
        on = left < (48 if on else 8)
        answer.append(on)
    return answer


def theil_sen_agreement(trace: Trace) -> Alarms:
    """The smallest of Theil and Sen's slopes over 6, 24 and 72 hours, 48 h ahead."""
    answer, on = [], False
    for look, (used, full) in enumerate(zip(trace.used, trace.full)):
        if look % (HOUR // 2) == 0 and used is not None and look >= 72 * HOUR:
            rates = []
            for window in (6, 24, 72):
                each = window * HOUR // 18
                points = [
                    (x, seen)
                    for x in range(look - 18 * each, look + 1, each)
                    if (seen := trace.used[x]) is not None
                ]
                pairs = [
                    (b[1] - a[1]) / (b[0] - a[0])
                    for n, a in enumerate(points)
                    for b in points[n + 1 :]
                ]
                rates.append(statistics.median(pairs) if pairs else 0.0)
            on = min(rates) > 0 and (full - used) / min(rates) < 48 * HOUR
        answer.append(on)
    return answer


# Ours


def ours(trace: Trace, believe: float = 48 * 3600.0) -> Alarms:
    series, answer = forecast.Series(), []
    keep, folded = 9 * HOUR + HOUR, 0.0
    hour: list[float] = []
    for look, (used, full) in enumerate(zip(trace.used, trace.full)):
        at = float(look * STEP)
        start = at // 3600 * 3600
        if hour and start > folded:
            series.hours.append(folded)
            series.low.append(min(hour))
            series.last.append(hour[-1])
            series.high.append(max(hour))
            hour = []
            if len(series.hours) > 28 * 24:
                del series.hours[0], series.low[0], series.last[0], series.high[0]
        folded = start
        if used is None:
            answer.append(answer[-1] if answer else False)
            continue
        hour.append(used)
        series.at.append(at)
        series.used.append(used)
        if len(series.at) > 2 * keep:
            del series.at[:keep], series.used[:keep]
        answer.append(forecast.outlook(series, full, believe).left is not None)
    return answer


FIELD: dict[str, Callable[[Trace], Alarms]] = {
    "twiceshy": ours,
    "node-mixin warning": node_mixin(0.4, 24 * HOUR),
    "node-mixin critical": node_mixin(0.2, 4 * HOUR),
    "predict_linear 3h>24h": predict_linear(3 * HOUR, 24 * HOUR),
    "predict_linear 72h>96h": predict_linear(72 * HOUR, 96 * HOUR),
    "checkmk 48h": checkmk(48),
    "checkmk 24h": checkmk(24),
    "netdata 8h": netdata,
    "theil-sen 6/24/72h": theil_sen_agreement,
    "used > 90%": ninety_percent,
}


# Scores


def episodes(alarms: Alarms) -> Iterator[tuple[int, int]]:
    """First and last look of each alarm, those less than 12 hours apart taken as one."""
    start = last = None
    for look, alarm in enumerate(alarms):
        if alarm:
            if last is not None and start is not None and look - last >= 12 * HOUR:
                yield start, last
                start = None
            start = look if start is None else start
            last = look
    if start is not None and last is not None:
        yield start, last


def score(job: tuple[str, str, int]) -> Row:
    name, family, seed = job
    trace = made(BY_NAME[family], seed)
    true = false = 0
    lead: float | None = None
    for start, last in episodes(FIELD[name](trace)):
        fill = trace.filled
        if fill is not None and (fill - start <= 7 * DAY or fill - last <= 12 * HOUR):
            true += 1
            if fill - last <= 12 * HOUR:
                lead = (fill - start) / HOUR
        else:
            false += 1
    return name, family, len(trace.used), true, false, lead, trace.filled is not None


BY_NAME = {family.__name__: family for family in TUNING + HOLDOUT + BLIND}


def figures(rows: list[Row]) -> tuple[str, str, str, str]:
    fills = [row for row in rows if row[6]]
    caught = [row[5] for row in fills if row[5] is not None and row[5] >= 2]
    days = sum(row[2] for row in rows) / DAY
    true, false = sum(row[3] for row in rows), sum(row[4] for row in rows)
    return (
        f"{len(caught) / len(fills):.2f}" if fills else "-",
        f"{statistics.median(caught):.0f}h" if caught else "-",
        f"{false / days * 30:.2f}",
        f"{true / (true + false):.2f}" if true + false else "-",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="traces per family (default 5)")
    parser.add_argument("--only", action="append", help="only these forecasts (repeatable)")
    parser.add_argument("--family", action="append", help="only these families (repeatable)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    names = args.only or list(FIELD)
    families = args.family or list(BY_NAME)
    jobs = [(n, f, s) for n in names for f in families for s in range(args.seeds)]
    with multiprocessing.Pool(args.processes) as pool:
        rows = pool.map(score, jobs, chunksize=4)
    print(f"{args.seeds} traces per family, {DAYS} days, a sample every {STEP // 60} minutes\n")
    print(
        "| forecast | families | caught 2 h ahead | median lead | false alarms / 30 d | precision |"
    )
    print("|---|---|---|---|---|---|")
    for kind, members in (("tuning", TUNING), ("held out", HOLDOUT), ("blind", BLIND)):
        named = {f.__name__ for f in members}
        for name in names:
            mine = [r for r in rows if r[0] == name and r[1] in named]
            if mine:
                print(f"| {name} | {kind} | " + " | ".join(figures(mine)) + " |")
    print("\n| family | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for family in families:
        cells = []
        for name in names:
            recall, lead, false, _ = figures([r for r in rows if r[0] == name and r[1] == family])
            cells.append((f"{recall} {lead}, " if recall != "-" else "") + f"{false}")
        print(f"| {family} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

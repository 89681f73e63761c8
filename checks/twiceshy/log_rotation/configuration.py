"""What the configuration loses, and which directives do not do what they say. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from twiceshy.kit import units
from twiceshy.kit.plugin import CRITICAL, OK, WARNING
from twiceshy.log_rotation.faults import Fault, and_more, grows, size_and_rate
from twiceshy.log_rotation.logrotate import grammar
from twiceshy.log_rotation.logrotate.names import GZIP
from twiceshy.log_rotation.records import ClaimedLog, Observation, PreviousRun

IGNORED_WHOLE = ("config-writable", "config-owner", "config-taboo")
"""Codes of files that are not read at all: their text says so already."""

LOSS = {
    grammar.RUN: "and logrotate ignores everything that follows, included files too",
    grammar.FILE: "and logrotate ignores the rest of the file",
    grammar.STANZA: "and logrotate drops the stanza",
    grammar.GLOB: "and logrotate drops the rest of the glob",
    grammar.LOG: "and logrotate drops this log",
}


def configuration(observation: Observation, previous: PreviousRun) -> list[Fault]:
    """What logrotate drops, and what it reads differently from what is written."""
    faults: list[Fault] = []
    leaks: dict[str, list[grammar.Problem]] = {}
    for problem in observation.configuration.reading.problems:
        if problem.code == "config-leak":
            leaks.setdefault(problem.position.file, []).append(problem)
        elif problem.radius in (grammar.NOTHING, grammar.LINE):
            faults.append(_line(problem))
        else:
            faults += _loss(problem, observation, previous)
    faults += [_leak(file, problems) for file, problems in leaks.items()]
    return faults + _leftovers(observation.configuration.reading.read)


def _leak(file: str, problems: list[grammar.Problem]) -> Fault:
    """The directives outside any stanza of one included file."""
    first = problems[0].position
    words = ", ".join(f"`{word}`" for word in sorted({one.word for one in problems}))
    verb = "apply" if len({one.word for one in problems}) > 1 else "applies"
    return Fault(
        "config-leak",
        WARNING,
        file,
        f"{first}: {words} outside a stanza also {verb} to every file read after this one",
        next=f"sed -n {first.line}p {file}",
    )


def _leftovers(read: tuple[str, ...]) -> list[Fault]:
    """Copies of editors and package managers among the files that are read."""
    faults = []
    for file in read:
        name = posixpath.basename(file)
        # firebird3.0 is a name; nginx.1 beside nginx is a copy.
        is_copy = re.search(r"\.\d+$", name) and file.rpartition(".")[0] in read
        if is_copy or re.search(r"(^\..*\.sw[a-p]$|^\.#|~$|\.(save|orig|old|new|bak|tmp)$)", name):
            faults.append(
                Fault(
                    "config-stray",
                    WARNING,
                    file,
                    f"{file} looks like a leftover, but is read as configuration",
                    next=f"head {file}",
                )
            )
    return faults


def _line(problem: grammar.Problem) -> Fault:
    """A line without effect, where nothing else is lost."""
    text, level = f"{problem.position}: {problem.text}", WARNING
    if problem.code == "directive-unknown":
        guess = _nearest(problem.word)
        if guess:
            text += f"; did you mean `{guess}`?"
    elif problem.code == "config-trailing":
        level = OK
    return Fault(
        problem.code,
        level,
        problem.position.file,
        text,
        next=f"sed -n {problem.position.line}p {problem.position.file}",
    )


def _nearest(word: str) -> str:
    """The directive that a misspelt one is nearest to, if any is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), grammar.DIRECTIVES, 1, 0.7)), "")


def _loss(problem: grammar.Problem, observation: Observation, previous: PreviousRun) -> list[Fault]:
    """A stanza, file or run is lost: CRITICAL when a log grows that no other stanza rotates."""
    epoch, lost = observation.epoch, observation.logs.lost
    where = problem.position
    text = f"{where}: {problem.text}"
    if problem.code not in (*IGNORED_WHOLE, "config-missing"):
        text += f", {LOSS[problem.radius]}"
    logs = [(path, lost[path]) for path in dict.fromkeys(problem.files) if path in lost]
    logs.sort(key=lambda one: -one[1].size)
    growing = [one for one in logs if grows(one[1], epoch)]
    following = f"sed -n {max(1, where.line)}p {where.file}; "
    following += f"logrotate -d {observation.configuration.main}"
    if problem.code in ("config-writable", "config-owner"):
        # Its scripts will run as root: whoever wrote them first.
        following = f"ls -l {where.file}   # read it, then chown root, chmod 0644"
    level = CRITICAL
    if problem.code == "config-taboo":
        if not growing:
            return []
        level = WARNING
    if growing:
        path, log = growing[0]
        text = (
            f"{path} ({size_and_rate(path, log.size, previous, epoch)}) will not be rotated: "
            f"{text}{and_more(len(logs) - 1)}"
        )
    elif problem.radius != grammar.RUN or problem.code == "config-missing":
        level = WARNING
        if not logs and problem.patterns:
            text += "; its logs do not exist"
        if not logs and problem.unknown_owner:
            # What `apt remove` without --purge leaves behind: 53 of Debian's 328 files, harmless.
            return [Fault(problem.code, OK, where.file, text)]
        if problem.code == "config-duplicate" and not logs:
            text = f"{where}: {problem.text}; nothing is lost now, but every run fails"
    return [
        Fault(
            problem.code,
            level,
            where.file,
            text,
            also=tuple(path for path, _ in logs),
            more=tuple(
                f"not rotated: {path} ({size_and_rate(path, log.size, previous, epoch)})"
                for path, log in logs[1:6]
            ),
            next=following,
            octets=float(sum(log.size for _, log in logs)),
        )
    ]


def directives(observation: Observation, big: float) -> list[Fault]:
    """Directives that do not do what they say, stanza by stanza."""
    faults: list[Fault] = []
    by_stanza: dict[int, list[ClaimedLog]] = {}
    for one in observation.logs.claimed:
        by_stanza.setdefault(id(one.stanza), []).append(one)
    for stanza in observation.configuration.reading.stanzas:
        mine = by_stanza.get(id(stanza), [])
        largest = max(mine, key=lambda one: one.log.size, default=None)
        faults += _overridden(stanza)
        if largest is not None:
            faults += _too_slow(stanza, largest, observation, big)
            if not largest.log.error:
                faults += _no_packer(stanza, largest, observation)
                faults += _keeps_nothing(stanza, largest, observation)
        faults += _no_recursion(stanza, observation)
        faults += _own_products(stanza, mine)
    return faults


def _overridden(stanza: grammar.Stanza) -> Iterator[Fault]:
    """Criteria that a later one in the same stanza puts out of force."""
    winner = stanza.directives
    for criterion, where in stanza.overridden:
        yield Fault(
            "directive-overridden",
            OK,
            stanza.position.file,
            f"{where}: `{criterion}` has no effect, `{winner.criterion}` in line "
            f"{winner.set_at['criterion'].line} overrides it",
        )


def _too_slow(
    stanza: grammar.Stanza, largest: ClaimedLog, observation: Observation, big: float
) -> Iterator[Fault]:
    """What only acts when logrotate runs, and it runs less often."""
    given, schedule = stanza.directives, observation.schedule
    if schedule.interval <= 3700 or schedule.is_dead:
        return
    bound = float(given.maxsize)
    if given.criterion == "size" and "criterion" in given.set_at:
        bound = bound or given.threshold
    if given.criterion in ("hourly", "minutes"):
        too_slow, bound = given.criterion, 0
    elif bound:
        too_slow = f"{'maxsize' if given.maxsize else 'size'} {units.say_size(bound)}"
    else:
        return
    harm = largest.log.size >= max(2 * bound, big)
    # One in thirteen of Debian's stanzas has a size, and means it as it is.
    if not harm and given.criterion == "size":
        return
    yield Fault(
        "schedule-too-slow",
        WARNING if harm else OK,
        largest.path,
        f"{largest.path} ({units.say_size(largest.log.size)}): `{too_slow}` at {stanza.position} "
        f"is checked only when logrotate runs, every {units.say_duration(schedule.interval)}",
        stanza.position.file,
        next="systemctl edit logrotate.timer   # [Timer] OnCalendar=hourly",
        octets=largest.log.size,
    )


def _no_packer(
    stanza: grammar.Stanza, largest: ClaimedLog, observation: Observation
) -> Iterator[Fault]:
    """`compress` by a program that is not there."""
    given, main = stanza.directives, observation.configuration.main
    packer = given.compresscmd or GZIP
    if not given.compress or packer not in observation.configuration.missing_programs:
        return
    level, harm = WARNING, "each run overwrites the last rotated log"
    if given.delaycompress:
        level = CRITICAL if grows(largest.log, observation.epoch) else WARNING
        harm = "the log is rotated once, and never again"
    elif given.dateext:
        harm = "no rotated log is ever removed"
    yield Fault(
        "compress-missing",
        level,
        largest.path,
        f"{largest.path}: `compress` at {stanza.position} fails, there is no program "
        f"{packer}: {harm}",
        stanza.position.file,
        next=f"command -v {packer}; grep -n compress {stanza.position.file} {main}",
        octets=largest.log.size,
    )


def _keeps_nothing(
    stanza: grammar.Stanza, largest: ClaimedLog, observation: Observation
) -> Iterator[Fault]:
    """A log that is deleted at rotation, although no line says so."""
    if stanza.directives.rotate == 0 and "rotate" not in stanza.directives.set_at:
        file = stanza.position.file
        yield Fault(
            "rotate-nothing",
            WARNING,
            largest.path,
            f"{largest.path}: no `rotate` at {stanza.position} or above it: "
            "rotation deletes the log",
            file,
            next=f"grep -n rotate {file} {observation.configuration.main}",
        )


def _no_recursion(stanza: grammar.Stanza, observation: Observation) -> Iterator[Fault]:
    """Logs that a ** does not match."""
    where = stanza.position
    for glob in stanza.globs:
        missed = observation.configuration.missed_by_recursion.get(glob)
        if missed:
            yield Fault(
                "no-recursion",
                WARNING,
                missed[0],
                f"{missed[0]} is not matched by {glob} at {where}: ** covers one level only"
                f"{and_more(len(missed) - 1)}",
                where.file,
                missed,
                next=f"ls -l {missed[0]}; sed -n {where.line}p {where.file}",
            )


def _own_products(stanza: grammar.Stanza, mine: list[ClaimedLog]) -> Iterator[Fault]:
    """Rotated files that the stanza's own glob matches."""
    where = stanza.position
    files = set(stanza.files)
    products = [
        name
        for one in mine
        for name, _ in one.copies
        if name in files and not stanza.directives.olddir
    ]
    if products:
        yield Fault(
            "own-products",
            WARNING,
            products[0],
            f"{products[0]} is a rotated file, and {stanza.pattern.strip()} at {where} rotates it "
            f"again{and_more(len(products) - 1, 'file')}",
            where.file,
            next=f"ls -l {posixpath.dirname(products[0])}; sed -n {where.line}p {where.file}",
        )

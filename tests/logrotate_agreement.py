"""How often our reading of logrotate's configuration equals that of the real `logrotate -d`.

Run as root; it works in a mount namespace of its own, with a made-up /var/log, users and groups:

    python3 tests/logrotate_agreement.py --mutants 5000 FILE_OR_DIRECTORY...

Every file is put into an included directory and read by both. Compared are the exit status and,
stanza by stanza, the pattern, criterion, count, the other limits, and for each log whether its turn
has come, is refused or is passed over.
`--logrotate PATH` compares with another build than the installed one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "checks"))

from twiceshy.log_rotation.logrotate import forecast, grammar, state  # noqa: E402
from twiceshy.log_rotation.logrotate.host import Host  # noqa: E402

HEADER = b"weekly\nrotate 4\ncreate\ninclude %s\n"
_BLOCK = re.compile(
    r"(?P<pattern>.*?) (?P<criterion>hourly|after -?\d+ days|after \d+ minutes|weekly|monthly"
    r"|yearly|-?\d+ bytes) (?P<rest>.*?)"
    r"(?=\n?considering log |\nNo logs found|\nswitching euid|\Z)",
    re.DOTALL,
)


# The made-up host


def words_of(texts: Iterable[bytes]) -> set[str]:
    """Users and groups that the files name in create, su and createolddir."""
    found: set[str] = set()
    for text in texts:
        for line in re.findall(rb"^\s*(?:create|su|createolddir)\s+(.*)$", text, re.MULTILINE):
            found |= {word for word in line.decode("latin-1").split() if not word[0].isdigit()}
    return {word for word in found if re.fullmatch(r"[a-zA-Z_][\w.-]*", word)}


def own_namespace(texts: list[bytes], scratch: pathlib.Path) -> None:
    """Users, groups and a /var/log that nobody else sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):
        raise SystemExit(f"no mount namespace: {os.strerror(ctypes.get_errno())}")

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    mount("--make-rprivate", "/")
    names = sorted(words_of(texts) - {"root"})
    for file, line in (("passwd", "{0}:x:{1}:{1}::/:/bin/false\n"), ("group", "{0}:x:{1}:\n")):
        copy = scratch / file
        real = pathlib.Path("/etc", file).read_text()
        known = {one.split(":")[0] for one in real.splitlines()}
        more = [line.format(n, 30000 + i) for i, n in enumerate(names) if n not in known]
        copy.write_text(real + "".join(more))
        mount("--bind", str(copy), f"/etc/{file}")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/var/log")
    dice = random.Random(7)
    for text in texts:
        for glob in grammar.stanza_heads(text.decode("latin-1")):
            path = glob.replace("*", "x").replace("?", "q")
            if not path.startswith("/var/log/") or "[" in path or dice.random() < 0.2:
                continue
            try:
                pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
                if not os.path.isdir(path):
                    pathlib.Path(path).write_bytes(b"x" * dice.choice((0, 10, 2_000_000)))
                    if "*" in glob:
                        pathlib.Path(glob.replace("*", "y")).write_bytes(b"y")
            except (OSError, ValueError):
                pass
    for directory, _, files in os.walk("/var/log"):
        if dice.random() < 0.05 and directory != "/var/log":
            os.chmod(directory, 0o777)
        for name in files:
            if dice.random() < 0.03:
                os.link(os.path.join(directory, name), os.path.join(directory, name + ".hard"))


def made_up_state(now: float) -> bytes:
    dice = random.Random(8)
    lines = ["logrotate state -- version 2\n"]
    for directory, _, files in os.walk("/var/log"):
        for name in files:
            if dice.random() < 0.7:
                when = datetime.fromtimestamp(
                    now - dice.choice((600, 90000, 172800, 5 * 86400, 700000, 4e6, -2e5))
                )
                stamp = (
                    f"{when.year}-{when.month}-{when.day}-{when.hour}:{when.minute}:{when.second}"
                )
                lines.append(f'"{os.path.join(directory, name)}" {stamp}\n')
    return "".join(lines).encode()


# Two readings of one configuration


def theirs(program: str, main: str, states: str) -> dict[str, Any]:
    ran = subprocess.run(
        [program, "-d", "-s", states, main],
        capture_output=True,
        timeout=60,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    text = (ran.stderr + ran.stdout).decode("utf-8", "replace")
    stanzas = []
    for block in text.split("\nrotating pattern: ")[1:]:
        found = _BLOCK.match(block)
        if not found:
            stanzas.append({"unparsed": block[:200]})
            continue
        rest = found["rest"]
        count = re.search(r"\((\d+) rotations\)", rest)
        none = "no old logs will be kept" in rest
        logs = []
        for part in block[found.end() :].split("considering log ")[1:]:
            path, _, story = part.partition("\n")
            # The story of the last log runs on into the rotation of all of them.
            story = re.split(
                r"\n(?:rotating log |not running |running |copying |renaming )", story
            )[0]
            outcome = "wait"
            if "log needs rotating" in story:
                outcome = "rotate"
            elif re.search(r"(^|\n)error: (skipping|stat of)", story):
                outcome = "refuse"
            logs.append([path, outcome])
        stanzas.append(
            {
                "pattern": found["pattern"],
                "criterion": found["criterion"],
                "rotate": int(count[1]) if count else 0 if none else -1,
                "ifempty": "empty log files are rotated" in rest,
                "minsize": number(r"only log files >= (\d+) bytes", rest),
                "maxsize": number(r"log files >= (\d+) are rotated earlier", rest),
                "minage": number(r"only log files older than (\d+) days", rest),
                "mail": (re.search(r"old logs mailed to ([^\n,]*)", rest) or ["", ""])[1],
                "olddir": (
                    re.search(r"olddir is (.*?), (?:empty|only|log files)", rest) or ["", ""]
                )[1],
                "logs": logs,
            }
        )
    return {"status": ran.returncode, "stanzas": stanzas, "text": text}


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def log_and_parent(path: str) -> tuple[forecast.Log, forecast.Parent]:
    try:
        above = os.stat(os.path.dirname(path) or "/")
        parent = forecast.Parent(above.st_mode & 0o7777, above.st_uid, above.st_gid)
    except OSError as error:
        parent = forecast.Parent(
            error=str(error.strerror), absent=isinstance(error, FileNotFoundError)
        )
    try:
        seen = os.lstat(path)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        return forecast.Log(error=str(error.strerror), absent=absent), parent
    kinds = {0o120000: "symlink", 0o100000: "file"}
    kind = kinds.get(seen.st_mode & 0o170000, "other")
    return forecast.Log(kind, seen.st_size, seen.st_nlink, seen.st_mtime, seen.st_ctime), parent


def ours(main: str, states: bytes, at: grammar.Version, now: float) -> dict[str, Any]:
    reading = grammar.read(main, Host(), at)
    known = state.parse(states)
    stanzas: list[dict[str, Any]] = []
    sets = []
    moment = datetime.fromtimestamp(now)
    for stanza in reading.stanzas:
        given = stanza.directives
        decisions = [
            forecast.decide(stanza, *log_and_parent(path), known.entries.get(path), moment, now, at)
            for path in stanza.files
        ]
        sets.append((stanza, decisions))
        criterion = {
            "size": f"{given.threshold} bytes",
            "daily": f"after {given.threshold} days",
            "minutes": f"after {given.minutes} minutes",
        }.get(given.criterion, given.criterion)
        stanzas.append(
            {
                "pattern": stanza.pattern,
                "criterion": criterion,
                "rotate": max(-1, given.rotate),
                "ifempty": given.ifempty,
                "minsize": given.minsize,
                "maxsize": given.maxsize,
                "minage": given.minage,
                "mail": given.mail or "",
                "olddir": given.olddir or "",
                "logs": [
                    [
                        os.fsencode(path).decode("utf-8", "replace").partition("\n")[0],
                        "wait" if one.outcome == "skip" else one.outcome,
                    ]
                    for path, one in zip(stanza.files, decisions)
                ],
            }
        )
    status = forecast.exit_status(reading.failed or known.failed, sets, os.path.exists, moment)
    if reading.stops:
        return {"status": 1, "stanzas": []}
    return {"status": status, "stanzas": stanzas}


# Mutants


WORSE = (
    b"rotate 7 # seven",
    b"weekly # sunday",
    b"weekly 3",
    b"weekly 9",
    b"size 10MB",
    b"size 50m",
    b"size 1.5G",
    b"dailly",
    b"rotate",
    b"rotate = 5",
    b"size=10k",
    b"maxsize 10M",
    b"minsize 1k",
    b"minage 2",
    b"maxage 9x",
    b"}",
    b"{",
    b"/var/log/another.log {",
    b"'/var/log/quoted one.log' {",
    b"postrotate",
    b"endscript",
    b"su",
    b"su root",
    b"su root root",
    b"su nobody nogroup # x",
    b"create 0640 root adm",
    b"create 0640 nosuchuser adm",
    b"create 0648 root",
    b"create root root extra more",
    b"monthly",
    b"monthly 5",
    b"yearly",
    b"hourly",
    b"minutes 5",
    b"olddir /var/log/old",
    b"olddir old",
    b"noolddir",
    b"olddir /nowhere here",
    b"tabooext + .x",
    b"include /nowhere",
    b"include",
    b"mail root@localhost",
    b"mail a b",
    b"nomail",
    b"extension .log",
    b"extension",
    b"addextension .log",
    b"compresscmd /bin/xz",
    b"compresscmd",
    b"compressoptions",
    b"compressoptions -9",
    b"compressoptions 'x",
    b"dateformat -%Y",
    b"dateformat",
    b"ignoreduplicates",
    b"missingok",
    b"nomissingok",
    b"notifempty",
    b"ifempty",
    b"shredcycles x",
    b"start 0",
    b"start -1",
    b"rotate -1",
    b"rotate -2",
    b"rotate 0x10",
    b"rotate 010",
    b"rotate 08",
    b"rotate 99999999999999999999",
    b"daily;",
    b"max-size 5",
    b"Daily",
    b"\xef\xbb\xbf",
    b"daily\r",
    b"rotate 5\r",
    b"rotate \r",
    b"# only a comment",
    b"   }",
    b"} daily",
    b"size -1",
    b"size k",
    b"size 0x1k",
    b"maxsize 5T",
    b"*",
    b"/",
    b'"" {',
    b"~/x.log {",
    b"sharedscripts",
    b"su 0 0",
    b"su 99999 0",
    b"copytruncate",
    b"size",
    b"errors x",
)


def mutant(text: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        lines = text.split(b"\n")
        at = dice.randrange(len(lines))
        kind = dice.randrange(11)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, lines[dice.randrange(len(lines))])
        elif kind == 2:
            other = dice.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind in (3, 4, 5):
            lines.insert(at, dice.choice(WORSE))
        elif kind == 6:
            lines[at] += b" # a comment"
        elif kind == 7:
            lines[at] = b" \t"[dice.randrange(2) :][:1] + lines[at]
        text = b"\n".join(lines)
        if kind == 8 and text:
            where = dice.randrange(len(text))
            text = text[:where] + text[where + 1 :]
        elif kind == 9:
            where = dice.randrange(len(text) + 1)
            char = dice.choice([bytes([c]) for c in b"{}\"'#\n =;\t\r\\*/~,.:0kMGx\xe9\0"])
            text = text[:where] + char + text[where:]
        elif kind == 10:
            text = text[: dice.randrange(len(text) + 1)]
    return text


# The comparison


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    if one["status"] != other["status"]:
        return f"exit status {one['status']} (theirs) against {other['status']} (ours)"
    if len(one["stanzas"]) != len(other["stanzas"]):
        names = [[stanza.get("pattern") for stanza in side["stanzas"]] for side in (one, other)]
        return f"stanzas {names[0]} against {names[1]}"
    for left, right in zip(one["stanzas"], other["stanzas"]):
        for key in left:
            if left[key] != right.get(key):
                return f"{key} {left[key]!r} against {right.get(key)!r} in {left.get('pattern')!r}"
    return None


def compare(
    texts: list[tuple[str, bytes]], program: str, at: grammar.Version, header: bytes = HEADER
) -> dict[str, Any]:
    """In the namespace: the number of equal readings, and the differing ones."""
    scratch = pathlib.Path(tempfile.mkdtemp(dir="/run" if os.path.isdir("/run") else None))
    now = time.time()
    states = made_up_state(now)
    (scratch / "state").write_bytes(states)
    os.chmod(scratch / "state", 0o600)
    (scratch / "d").mkdir()
    main = scratch / "main"
    main.write_bytes(header % os.fsencode(scratch / "d"))
    differing = []
    stanzas = 0
    for name, text in texts:
        (scratch / "d" / "one").write_bytes(text)
        started = time.time()
        try:
            real = theirs(program, str(main), str(scratch / "state"))
        except subprocess.TimeoutExpired:
            differing.append(
                {"name": name, "why": "logrotate does not end", "text": text.decode("latin-1")}
            )
            continue
        mine = ours(str(main), states, at, started)
        stanzas += len(real["stanzas"])
        why = difference(real, mine)
        if why and real["status"] < 0:
            why = f"logrotate died of signal {-real['status']}"
        if why:
            differing.append({"name": name, "why": why, "text": text.decode("latin-1")})
    subprocess.run(["rm", "-rf", str(scratch)], check=False)
    return {
        "files": len(texts),
        "equal": len(texts) - len(differing),
        "stanzas": stanzas,
        "differing": differing,
    }


def collect(paths: Iterable[str]) -> list[tuple[str, bytes]]:
    found = []
    for path in paths:
        if os.path.isdir(path):
            found += collect(os.path.join(path, name) for name in sorted(os.listdir(path)))
        else:
            found.append((path, pathlib.Path(path).read_bytes()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--mutants", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logrotate", default="/usr/sbin/logrotate")
    parser.add_argument("--version", type=grammar.version, default=None)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.version is None:
        asked = subprocess.run([args.logrotate, "--version"], capture_output=True, text=True)
        args.version = grammar.version(asked.stdout + asked.stderr)
    files = collect(args.paths)
    texts = [text for _, text in files]
    scratch = pathlib.Path(tempfile.mkdtemp())
    own_namespace(texts, scratch)
    dice = random.Random(args.seed)
    cases = list(files)
    for number_ in range(args.mutants):
        name, text = dice.choice(files)
        cases.append((f"mutant {number_} of {name}", mutant(text, dice)))
    result = compare(cases, args.logrotate, args.version)
    subprocess.run(["umount", "/etc/passwd", "/etc/group"], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", str(scratch)], check=False)
    if args.json:
        print(json.dumps(result))
        return
    for one in result["differing"][:40]:
        print(f"{one['name']}: {one['why']}")
    share = 100 * result["equal"] / max(1, result["files"])
    print(
        f"agreement with logrotate {'.'.join(map(str, args.version))}: {result['equal']} of "
        f"{result['files']} configurations, {share:.2f} % ({result['stanzas']} stanzas)"
    )


if __name__ == "__main__":
    main()

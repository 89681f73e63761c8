"""The stable codes of what can be wrong with log rotation: cause and cure of each."""

from __future__ import annotations

CODES: dict[str, tuple[str, str]] = {
    "config-error": (
        "logrotate cannot read a line and drops its stanza, the rest of the file, or the whole run",
        "mend the line; comments stand on lines of their own; sizes end in k, M or G",
    ),
    "config-writable": (
        "a configuration file that group or others may write is ignored as a whole",
        "read it, since its scripts run as root, then chmod 0644 FILE",
    ),
    "config-owner": (
        "a configuration file that does not belong to root is ignored",
        "read it, since its scripts run as root, then chown root FILE",
    ),
    "config-missing": (
        "an included file or directory is not there",
        "create it, or drop the include",
    ),
    "config-duplicate": (
        "a log is claimed twice: the second glob loses this log and all that follow it",
        "claim each log once, or `ignoreduplicates` in the first stanza (3.21 and later)",
    ),
    "config-taboo": (
        "the file's name is on the taboo list (.bak, .disabled, .dpkg-old ...): it is not read",
        "rename it, or remove it",
    ),
    "config-stray": (
        "an editor's or package manager's left-over is read as configuration",
        "remove it, or move it out of the directory",
    ),
    "config-leak": (
        "a directive outside of any stanza in an included file holds for all files read later",
        "move it into the stanza",
    ),
    "config-unclosed": ("the last } is missing; it works by accident", "add it"),
    "config-trailing": ("text after a } is ignored", "begin a new line"),
    "directive-unknown": (
        "a misspelt directive is ignored, with exit status 0",
        "correct the word",
    ),
    "directive-value": ("a directive without its value is ignored", "give the value"),
    "directive-overridden": (
        "of several criteria in a stanza only the last counts",
        "keep one; `daily` with `maxsize 100M` means both",
    ),
    "schedule-too-slow": (
        "hourly, minutes, size and maxsize act only when logrotate runs, and it runs less often",
        "run it more often: a drop-in with OnCalendar=hourly for logrotate.timer",
    ),
    "rotate-nothing": (
        "nobody said `rotate`: the log is deleted at rotation, since the default is 0",
        "say `rotate N`, or `rotate 0` if it is meant",
    ),
    "compress-missing": (
        "the program that compresses is not there: each run fails, and under `delaycompress` "
        "the log is not rotated any more",
        "install it, or another `compresscmd`",
    ),
    "no-recursion": (
        "`**` is one level only",
        "name each level: /var/log/app/*.log /var/log/app/*/*.log",
    ),
    "own-products": (
        "a glob matches the rotated files too, and rotates them again",
        "use *.log, or an olddir",
    ),
    "insecure-parent": (
        "logrotate refuses logs in a directory that others, or a group other than root, may write",
        "add `su USER GROUP` to the stanza, or chmod g-w the directory",
    ),
    "log-missing": (
        "a log does not exist and the stanza has no `missingok`: each run fails",
        "add `missingok`",
    ),
    "sharedscripts-blocked": (
        "with `sharedscripts` one missing or refused log blocks all of the stanza",
        "mend that log, add `missingok`, or split the stanza",
    ),
    "log-symlink": ("logrotate passes over symbolic links without a word", "name the file itself"),
    "log-hardlink": (
        "logs with several hard links are passed over without a word",
        "`allowhardlink`",
    ),
    "destination-exists": (
        "the dated name exists already: a second rotation on that day is refused, yet noted "
        "as done",
        "a finer `dateformat`, as -%Y%m%d-%s",
    ),
    "read-only": (
        "the directory cannot be written when logrotate runs, though it may work by hand",
        "a drop-in with ReadWritePaths= for logrotate.service, or mount it read-write",
    ),
    "su-cannot-write": (
        "the user of `su` may not write to the log's directory",
        "name the user and group that own the directory, or chown it",
    ),
    "overdue": (
        "its turn came and a run has passed, but it was not rotated",
        "logrotate -v by hand tells why",
    ),
    "no-proof": (
        "the state file says rotated, but no rotated file is that young: the rotation failed",
        "logrotate -v by hand tells why",
    ),
    "schedule-dead": (
        "nothing will start logrotate",
        "systemctl enable --now logrotate.timer, or start cron",
    ),
    "run-old": (
        "logrotate has not come to its end for longer than -w or -c",
        "look at the unit or cron's mail",
    ),
    "run-failed": ("the last run ended with an error", "journalctl -u logrotate"),
    "never-run": ("there is no state file: it has never run here", "start it once by hand"),
    "state-unusable": (
        "logrotate cannot use its state file and rotates nothing (exit status 3)",
        "make the place",
    ),
    "state-locked": (
        "another logrotate holds the state file for hours: each new one gives up",
        "end that one",
    ),
    "state-corrupt": (
        "the state file is damaged; dates are lost and periods begin anew",
        "it heals at the next run",
    ),
    "state-future": ("last rotations lie in the future: the clock was wrong", "see to the clock"),
    "state-reborn": (
        "the state file does not outlive a restart, so no weekly or monthly turn ever comes",
        "keep it on a volume, or rotate by size",
    ),
    "uncovered": ("a big log grows, and no stanza claims it", "write a stanza for it"),
    "writer-on-rotated": (
        "a process goes on writing to the rotated file: it was not told to reopen its log",
        "a postrotate that makes it reopen, or `copytruncate`",
    ),
    "deleted-held": (
        "a process holds a log that is deleted: the space is not free, and du does not show it",
        "make the process reopen its log, or restart it",
    ),
    "no-append": (
        "a process writes without O_APPEND to a log under `copytruncate`: it becomes a sparse file",
        "let it append (>> instead of >), or drop `copytruncate` and make it reopen its log",
    ),
    "orphans": ("rotated files that no rule will ever remove", "remove them by hand"),
    "docker-unbounded": (
        "a container's log file has no max-size; daemon.json holds only for new containers",
        "log-opts max-size (Podman: log_size_max in containers.conf), and recreate the container",
    ),
    "journald-unbounded": (
        "journald's limit does not bound: too large, or another machine's journal",
        "lower it",
    ),
    "unseen": (
        "a part of the picture is hidden, by our rights or by an engine that does not answer",
        "run with sudo, mend the engine, or --ignore unseen",
    ),
}

"""The stable codes of what can be wrong with log rotation: cause and remedy of each."""

from __future__ import annotations

CODES: dict[str, tuple[str, str]] = {
    "config-error": (
        "logrotate cannot read a line of its configuration",
        "fix the line; put comments on lines of their own; sizes end in k, M or G",
    ),
    "config-writable": (
        "logrotate ignores a configuration file that its group or others may write",
        "read it, since its scripts run as root, then chmod 0644 FILE",
    ),
    "config-owner": (
        "logrotate ignores a configuration file that does not belong to root",
        "read it, since its scripts run as root, then chown root FILE",
    ),
    "config-missing": (
        "an included file or directory does not exist",
        "create it, or remove the include",
    ),
    "config-duplicate": (
        "two stanzas name a log: the second glob loses this log and all that follow it",
        "name each log once, or `ignoreduplicates` in the first stanza (3.21 and later)",
    ),
    "config-taboo": (
        "the file's name is on the taboo list (.bak, .disabled, .dpkg-old ...): it is not read",
        "rename it, or remove it",
    ),
    "config-stray": (
        "a leftover of an editor or package manager is read as configuration",
        "remove it, or move it out of the directory",
    ),
    "config-leak": (
        "a directive outside any stanza of an included file applies to all files read later",
        "move it into the stanza",
    ),
    "config-unclosed": ("the last } is missing; it works by accident", "add it"),
    "config-trailing": ("text after a } is ignored", "put it on a line of its own"),
    "directive-unknown": (
        "a misspelt directive is ignored, with exit status 0",
        "correct the spelling",
    ),
    "directive-value": ("a directive without its value is ignored", "give the value"),
    "directive-overridden": (
        "of several criteria in a stanza only the last counts",
        "keep one; `daily` with `maxsize 100M` means both",
    ),
    "schedule-too-slow": (
        "hourly, minutes, size and maxsize act only when logrotate runs, and it runs less often",
        "run it more often: add a drop-in with OnCalendar=hourly for logrotate.timer",
    ),
    "rotate-nothing": (
        "there is no `rotate`: rotation deletes the log, since the default is 0",
        "add `rotate N`, or `rotate 0` if that is intended",
    ),
    "compress-missing": (
        "the program that compresses is missing: each run fails, "
        "and with `delaycompress` the log is no longer rotated",
        "install it, or set another `compresscmd`",
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
        "fix that log, add `missingok`, or split the stanza",
    ),
    "log-symlink": ("logrotate silently skips symbolic links", "name the file itself"),
    "log-hardlink": (
        "logrotate silently skips logs with several hard links",
        "add `allowhardlink`",
    ),
    "destination-exists": (
        "the dated name exists already: a second rotation on that day is refused, "
        "yet recorded as done",
        "use a finer `dateformat`, such as -%Y%m%d-%s",
    ),
    "read-only": (
        "the directory cannot be written when logrotate runs, though a manual run may work",
        "add a drop-in with ReadWritePaths= for logrotate.service, or mount it read-write",
    ),
    "su-cannot-write": (
        "the user of `su` may not write to the log's directory",
        "name the user and group that own the directory, or chown it",
    ),
    "overdue": (
        "the log was due and logrotate has run, but it was not rotated",
        "run logrotate -v as root: it says why",
    ),
    "no-proof": (
        "the state file says rotated, but no rotated file is that young: the rotation failed",
        "run logrotate -v as root: it says why",
    ),
    "schedule-dead": (
        "nothing will start logrotate",
        "systemctl enable --now logrotate.timer, or start cron",
    ),
    "run-old": (
        "logrotate has not completed a run for longer than -w or -c",
        "see the unit's journal or cron's mail",
    ),
    "run-failed": ("the last run ended with an error", "journalctl -u logrotate"),
    "never-run": ("there is no state file: it has never run here", "run it once manually"),
    "state-unusable": (
        "logrotate cannot use its state file and rotates nothing (exit status 3)",
        "create its directory, or remove what is in its place",
    ),
    "state-locked": (
        "another logrotate has held the state file for hours: each new one gives up",
        "end that process",
    ),
    "state-corrupt": (
        "the state file is damaged; dates are lost and periods start over",
        "the next run repairs it",
    ),
    "state-future": (
        "last rotations lie in the future: the clock was wrong",
        "check the clock",
    ),
    "state-reborn": (
        "the state file does not survive a reboot, so no weekly or monthly rotation becomes due",
        "keep it on a volume, or rotate by size",
    ),
    "uncovered": ("a big log is growing, and no stanza matches it", "write a stanza for it"),
    "writer-on-rotated": (
        "a process goes on writing to the rotated file: nothing made it reopen its log",
        "add a postrotate that makes it reopen its log, or `copytruncate`",
    ),
    "deleted-held": (
        "a process holds a deleted log open: its space is not free, and du does not show it",
        "make the process reopen its log, or restart it",
    ),
    "no-append": (
        "a process writes without O_APPEND to a log under `copytruncate`: it becomes a sparse file",
        "let it append (>> instead of >), or drop `copytruncate` and make it reopen its log",
    ),
    "orphans": ("rotated files that no stanza will ever remove", "remove them manually"),
    "docker-unbounded": (
        "a container's log file has no max-size; daemon.json applies only to new containers",
        "log-opts max-size (Podman: log_size_max in containers.conf), and recreate the container",
    ),
    "journald-unbounded": (
        "journald's limit bounds nothing: it is too large, or the journal is another machine's",
        "lower it, or remove that journal",
    ),
    "unseen": (
        "something is hidden: this user lacks permissions, or an engine does not answer",
        "run with sudo, restart the engine, or --ignore unseen",
    ),
}

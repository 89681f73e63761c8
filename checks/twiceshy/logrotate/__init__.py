"""logrotate as it is: its language, what it would do with a log and why not, its state file."""

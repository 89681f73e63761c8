"""logrotate as it is: its language, what it does with a log, its host, schedule and writers."""

"""What check_monitor_liveness is made of; `program` is check_monitor_liveness.py itself."""

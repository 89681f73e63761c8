"""What check_log_rotation is made of; `program` is check_log_rotation.py itself."""

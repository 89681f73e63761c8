"""What check_container_restarts is made of; `program` is check_container_restarts.py itself."""

"""What check_flapping is made of; `program` is check_flapping.py itself."""

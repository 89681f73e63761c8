"""What check_disk_growth is made of; `program` is check_disk_growth.py itself."""

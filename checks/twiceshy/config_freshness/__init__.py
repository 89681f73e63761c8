"""What check_config_freshness is made of; `program` is check_config_freshness.py itself."""

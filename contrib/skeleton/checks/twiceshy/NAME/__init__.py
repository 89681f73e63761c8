"""The parts of check_NAME."""

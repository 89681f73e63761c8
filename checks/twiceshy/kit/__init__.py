"""What the checks share. It knows no check."""

"""Everything that the command `twiceshy` does."""

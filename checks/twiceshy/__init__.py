"""What the six checks share; `python -m twiceshy` makes the rounds."""

__version__ = "0.1.0"

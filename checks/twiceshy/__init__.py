"""Check plugins for Nagios, Icinga, Sensu and the shell; `python -m twiceshy` runs all of them."""

__version__ = "0.1.0"

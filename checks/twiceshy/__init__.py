"""Check plugins for Nagios, Icinga, Sensu and the shell; `python -m twiceshy` runs all of them."""

__version__ = "0.1.0"

# Where the manual is published; alarms' notes point there, and setup.cfg has the same.
__url__ = "https://twiceshy.readthedocs.io/en/stable/"

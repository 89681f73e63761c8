"""Published configuration: its formats, what is remembered of it, and what all that means.

Nothing here does I/O.
"""

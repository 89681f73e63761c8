"""Published configuration: its formats, what is remembered of it, and files against a manifest.

Nothing here does I/O.
"""

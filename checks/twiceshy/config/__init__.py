"""Published configuration: how it is fetched, and the formats around it.

`digests`, `documents`, `manifests` and `puppet` are parsers without I/O; `fetch` does the HTTP.
"""

"""For mkdocs: a link out of docs/ works in a checkout; on the site it leads to the repository."""

from __future__ import annotations

from typing import Any


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """A page with `](../...)` as an address of the repository."""
    return markdown.replace("](../", f"]({config['repo_url']}/blob/main/")

"""For mkdocs: a link to ../contrib/ works in a checkout; on the site it leads to the repository."""

from __future__ import annotations

from typing import Any


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """A page with `](../contrib/...)` as an address of the repository."""
    return markdown.replace("](../contrib/", f"]({config['repo_url']}/blob/main/contrib/")

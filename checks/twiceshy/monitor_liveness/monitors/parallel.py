"""Questions asked at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable


def at_once(questions: Sequence[Callable[[], Any]]) -> list[Any]:
    """The answers to all questions, in their order, after as long as the slowest one takes.

    What hangs costs its own time and nobody else's. An exception of a question comes out of here.
    """
    if len(questions) < 2:
        return [question() for question in questions]
    import concurrent.futures  # most runs have one question

    with concurrent.futures.ThreadPoolExecutor(len(questions)) as threads:
        return list(threads.map(lambda question: question(), questions))

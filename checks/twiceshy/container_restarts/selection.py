"""Which containers a run is about, and which of those that were asked for are absent. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twiceshy.container_restarts.formats import Event, Listed
from twiceshy.kit.patterns import Pattern, matched, selected


@dataclass(frozen=True)
class Selection:
    """The containers that the operator asked for; without any of these, all.

    `labels` are KEY or KEY=GLOB, all of which must match; `compose` are PROJECT or
    PROJECT/SERVICE, globs. `group_by` is the label by which containers succeed each other, or "".
    """

    include: Sequence[Pattern] = ()
    exclude: Sequence[Pattern] = ()
    labels: Sequence[str] = ()
    compose: Sequence[str] = ()
    images: Sequence[Pattern] = ()
    group_by: str = ""

    @property
    def is_narrowed(self) -> bool:
        """Whether any container may be left out."""
        return any((self.include, self.exclude, self.labels, self.compose, self.images))

    def selects(self, name: str, image: str | None, labels: Mapping[str, str]) -> bool:
        """Whether a container of that name, image and labels is asked for.

        An image that is not known yet (None) fits.
        """
        if not selected(name, self.include, self.exclude):
            return False
        if not all(_has_label(labels, wanted) for wanted in self.labels):
            return False
        if self.compose and not any(_is_of_compose(labels, wanted) for wanted in self.compose):
            return False
        return image is None or not self.images or matched(self.images, image)

    def selects_event(self, event: Event) -> bool:
        """Whether the container of an event is asked for."""
        return self.selects(event.name, event.image, event.labels or {})

    def absent(self, listed: Sequence[Listed], looping: Sequence[str]) -> list[str]:
        """What was asked for and is not there, as the end of "no container is ...".

        `looping` are the names of groups of which one container has ended and the next has not
        begun yet.
        """
        names = (*(entry.name for entry in listed), *looping)
        absent = [
            f"called {pattern.typed}"
            for pattern in self.include
            if not any(pattern.matches(name) for name in names)
        ]
        if listed or not looping:
            absent += [
                f"of compose project {wanted}"
                for wanted in self.compose
                if not any(_is_of_compose(entry.labels, wanted) for entry in listed)
            ]
            absent += [
                f"of image {pattern.typed}"
                for pattern in self.images
                if not any(pattern.matches(entry.image) for entry in listed)
            ]
        absent += [] if names else [f"labelled {wanted}" for wanted in self.labels]
        # Without any container each of these might exist, but none that is all of it.
        return [", ".join(absent)] if absent and not listed else absent


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, has_value, value = wanted.partition("=")
    return key in labels and (not has_value or fnmatch.fnmatchcase(labels[key], value))


def _is_of_compose(labels: Mapping[str, str], wanted: str) -> bool:
    project = labels.get("com.docker.compose.project", "")
    service = labels.get("com.docker.compose.service", "")
    of_project, _, of_service = wanted.partition("/")
    return (
        bool(project)
        and fnmatch.fnmatchcase(project, of_project)
        and fnmatch.fnmatchcase(service, of_service or "*")
    )

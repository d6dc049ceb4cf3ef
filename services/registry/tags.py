"""The words a version can be tagged with, and who may put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import errors
from services.registry.models.model import STABLE, TAGS

if TYPE_CHECKING:
    from services.registry.models.model import Version

MAX_TEXT = 2000
"""Longest description or reason, in characters."""


class TagVocabulary:
    """The built-in tags and those that this install has configured."""

    def __init__(self, custom: tuple[str, ...]) -> None:
        self._tags = (*TAGS, *custom)

    def known(self, tag: str) -> str:
        """Return the tag; raise UNKNOWN_TAG when it is not in the vocabulary."""
        if tag not in self._tags:
            raise errors.invalid_argument(
                "tag", f"must be one of {', '.join(self._tags)}", reason="UNKNOWN_TAG"
            )
        return tag

    def free(self, tag: str) -> str:
        """Return a tag that anybody may give; raise UNKNOWN_TAG also for "stable"."""
        if tag == STABLE:
            raise errors.invalid_argument(
                "tag", "is given by a promotion only", reason="UNKNOWN_TAG"
            )
        return self.known(tag)

    def move(self, version: Version, tag: str) -> None:
        """Give a version another tag; the stable one keeps its tag until it is replaced."""
        if tag == version.tag:
            return
        version_tag = self.free(tag)
        if version.tag == STABLE:
            raise errors.failed_precondition(
                f"version {version.number} is stable until another one is promoted",
                reason="VERSION_IS_STABLE",
                version_id=version.id,
            )
        version.tag = version_tag

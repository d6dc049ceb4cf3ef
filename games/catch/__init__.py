"""Catch: a ball falls, a paddle waits for it; learned in seconds, so it tries a learner out."""

from games.catch.environment import CatchGame

__all__ = ["CatchGame"]

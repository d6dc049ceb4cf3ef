"""Client and command line for an Elodrome install."""

from __future__ import annotations

from elodrome_sdk.client import Client
from elodrome_sdk.errors import ApiError, UnreachableError
from elodrome_sdk.sse import ServerEvent

__all__ = ["ApiError", "Client", "ServerEvent", "UnreachableError"]

"""Python values as protobuf's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def stamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment as a Timestamp; None stays None."""
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def struct(document: Mapping[str, Any]) -> Struct:
    """Return a JSON document as a Struct."""
    return ParseDict(dict(document), Struct())

"""Judge a checkpoint file by its header alone: nothing in it is ever executed or allocated.

The format is safetensors: eight bytes of header length, a JSON header, then the tensors' bytes.
Every tensor must lie inside the file, right behind its neighbour, with exactly the bytes that its
shape and type need, so a file cannot promise more than it holds.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEADER_BYTES = 2 << 20
MAX_MANIFEST_BYTES = 1 << 19
MAX_DEPTH = 32
MAX_TENSORS = 10_000
MAX_DIMENSIONS = 8
MAX_NAME_LENGTH = 256

_LENGTH_BYTES = 8
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_WEIGHTS_GROUP = "network"


class InvalidFileError(ValueError):
    """The file is not a checkpoint; the message says what is wrong with it."""


@dataclass(frozen=True)
class Contents:
    """What a valid file says about itself.

    `manifest` is JSON without NaN, NUL or deep nesting. `tensor_groups` are the sorted first parts
    of the tensors' names.
    """

    manifest: dict[str, Any]
    tensor_groups: tuple[str, ...]


def read(file: BinaryIO, size_bytes: int) -> Contents:
    """Check the file, which is `size_bytes` long; read its header only.

    Raises InvalidFileError.
    """
    header = _parse_header(_read_header(file, size_bytes))
    metadata = header.pop("__metadata__", {})
    data_bytes = size_bytes - file.tell()
    _check_layout(header, data_bytes)
    groups = tuple(sorted({name.partition(".")[0] for name in header}))
    if _WEIGHTS_GROUP not in groups:
        _refuse(f"it has no tensor named {_WEIGHTS_GROUP}.*")
    return Contents(_parse_manifest(metadata), groups)


def _read_header(file: BinaryIO, size_bytes: int) -> bytes:
    start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH_BYTES or length > MAX_HEADER_BYTES:
        # Only now: a header of 1,152 bytes begins as a pickle does.
        _refuse_foreign(start)
    if len(start) < _LENGTH_BYTES:
        _refuse("it is shorter than a header")
    if length > MAX_HEADER_BYTES:
        _refuse(f"its header claims {length} bytes; the limit is {MAX_HEADER_BYTES}")
    if length > size_bytes - _LENGTH_BYTES:
        _refuse("its header claims more bytes than the file has")
    return file.read(length)


def _refuse_foreign(start: bytes) -> None:
    for magic, kind in _FOREIGN.items():
        if start.startswith(magic):
            _refuse(f"it is {kind}, and only safetensors files are accepted")


def _parse_header(text: bytes) -> dict[str, Any]:
    header = _parse_json(text, "header")
    if len(header) > MAX_TENSORS + 1:
        _refuse(f"it has more than {MAX_TENSORS} tensors")
    return header


def _parse_json(text: bytes | str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except InvalidFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(f"its {name} is not JSON") from error
    if not isinstance(value, dict):
        _refuse(f"its {name} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        _refuse("a key appears twice in its JSON")
    return mapping


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"its JSON holds {name}")


def _check_layout(header: Mapping[str, Any], data_bytes: int) -> None:
    spans = sorted(_span(name, entry) for name, entry in header.items())
    if not spans:
        _refuse("it has no tensors")
    for (_, end, name), (begin, _, next_name) in pairwise(spans):
        if begin != end:
            _refuse(f"tensors {name!r} and {next_name!r} overlap or leave a hole")
    if spans[0][0] != 0 or spans[-1][1] != data_bytes:
        _refuse(f"its tensors do not fill the {data_bytes} bytes behind the header")


def _span(name: str, entry: object) -> tuple[int, int, str]:
    if not name or len(name) > MAX_NAME_LENGTH or not name.isascii() or not name.isprintable():
        _refuse(f"a tensor's name is not 1..{MAX_NAME_LENGTH} printable ASCII characters")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(f"tensor {name!r} needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        _refuse(f"tensor {name!r} has an unknown dtype")
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(f"tensor {name!r} has a malformed shape")
    if not _are_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004 - begin and end
        _refuse(f"tensor {name!r} has malformed offsets")
    begin, end = offsets
    if end - begin != math.prod(shape) * _ITEM_BYTES[dtype]:
        _refuse(f"tensor {name!r} does not have the bytes that its shape and dtype need")
    return begin, end, name


def _are_counts(value: object) -> bool:
    # JSON's true is an int to Python.
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 63
        for item in value
    )


def _parse_manifest(metadata: object) -> dict[str, Any]:
    text = metadata.get("manifest") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        _refuse("its metadata has no manifest")
    if len(text) > MAX_MANIFEST_BYTES:
        _refuse(f"its manifest is longer than {MAX_MANIFEST_BYTES} characters")
    manifest = _parse_json(text, "manifest")
    _check_values(manifest, depth=0)
    _check_required(manifest)
    return manifest


def _check_values(value: object, *, depth: int) -> None:
    """Refuse what Postgres and protobuf cannot hold: NUL, lone surrogates, depth, huge numbers."""
    if depth > MAX_DEPTH:
        _refuse(f"its manifest nests deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if "\x00" in value or not _is_encodable(value):
            _refuse("its manifest holds a character that is not text")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_values(key, depth=depth)
            _check_values(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, depth=depth + 1)
    elif isinstance(value, int | float) and not -1e300 < value < 1e300:  # noqa: PLR2004 - a double
        _refuse("its manifest holds a number that is too large")


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_required(manifest: Mapping[str, Any]) -> None:
    if not _is_count(manifest.get("format_version"), minimum=1):
        _refuse("its manifest's format_version is not a whole number of 1 or more")
    if not isinstance(manifest.get("algorithm"), str) or not manifest["algorithm"]:
        _refuse("its manifest names no algorithm")
    if not _is_count(manifest.get("iteration"), minimum=0):
        _refuse("its manifest's iteration is not a whole number of 0 or more")
    if not _is_count(manifest.get("steps", 0), minimum=0):
        _refuse("its manifest's steps is not a whole number of 0 or more")
    shape = manifest.get("observation_shape")
    if not isinstance(shape, list) or not shape or len(shape) > MAX_DIMENSIONS:
        _refuse("its manifest's observation_shape is not a list of sizes")
    if not all(_is_count(size, minimum=1, limit=1 << 31) for size in shape):
        _refuse("its manifest's observation_shape is not a list of sizes")
    if not isinstance(manifest.get("config", {}), dict):
        _refuse("its manifest's config is not an object")


def _is_count(value: object, *, minimum: int, limit: int = 1 << 63) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value < limit


def _refuse(what: str) -> NoReturn:
    raise InvalidFileError(what)

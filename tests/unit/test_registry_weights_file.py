"""A checkpoint file is judged by its header: what is refused, why, and at what cost."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from services.registry import weights_file
from services.registry.weights_file import InvalidFileError

MANIFEST = {
    "format_version": 1,
    "algorithm": "DQN",
    "iteration": 7,
    "steps": 28,
    "observation_shape": [4, 36, 64],
    "config": {"seed": 3},
}


def a_header(**entries: Any) -> dict[str, Any]:
    return {
        "__metadata__": {"manifest": json.dumps(MANIFEST)},
        "network.w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        **entries,
    }


def a_file(header: dict[str, Any] | bytes, data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def read(content: bytes) -> weights_file.Contents:
    return weights_file.read(io.BytesIO(content), len(content))


def with_manifest(**changes: Any) -> bytes:
    manifest = {key: value for key, value in (MANIFEST | changes).items() if value is not None}
    return a_file(a_header(__metadata__={"manifest": json.dumps(manifest)}))


def test_a_file_of_the_safetensors_library_is_accepted() -> None:
    tensors = {
        "optimizer.step": np.arange(3, dtype=np.int64),
        "network.w": np.ones((5, 7), dtype=np.float16),
        "network.empty": np.zeros((0, 3), dtype=np.float32),
        "rng.state": np.zeros(5, dtype=np.uint8),
    }
    content = read(save(tensors, metadata={"manifest": json.dumps(MANIFEST)}))
    assert content.manifest == MANIFEST
    assert content.tensor_groups == ("network", "optimizer", "rng")


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_read(length: int) -> None:
    """These lengths are written 80 02 to 80 05, and so do pickles begin."""
    header = json.dumps(a_header()).encode().ljust(length)
    assert read(a_file(header)).manifest == MANIFEST


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/nonexistent/marker", "w"))


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/data/0", bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (a_zip(), "zip archive"),
        *[(pickle.dumps(Bomb(), protocol=version), "pickle") for version in (2, 3, 4, 5)],
        (b"", "shorter than a header"),
        (b"\x01\x02", "shorter than a header"),
        (b"garbage that is no header at all", "limit"),
        ((100 << 20).to_bytes(8, "little") + bytes(64), "limit"),
        ((1 << 20).to_bytes(8, "little") + bytes(64), "more bytes than the file has"),
        (a_file(b"not json"), "not JSON"),
        (a_file(b"[1]"), "not a JSON object"),
        (a_file(b"\xff\xfe{}"), "not JSON"),
        (a_file(b'{"a":' * 30_000), "not JSON"),
        (a_file(b'{"x": NaN}'), "NaN"),
        (a_file(b'{"__metadata__":{},"__metadata__":{}}'), "appears twice"),
        (a_file({"__metadata__": {"manifest": "{}"}}, b""), "no tensors"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidFileError, match=why):
        read(content)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ({"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}, "overlap or leave a hole"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [24, 40]}, "overlap or leave a hole"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [16, 20]}, "bytes that its shape"),
        ({"dtype": "F32", "shape": [1 << 62] * 8, "data_offsets": [16, 32]}, "bytes that its"),
        ({"dtype": "F32", "shape": [10**9], "data_offsets": [16, 32]}, "bytes that its shape"),
        ({"dtype": "OBJ", "shape": [4], "data_offsets": [16, 32]}, "unknown dtype"),
        ({"dtype": ["F32"], "shape": [4], "data_offsets": [16, 32]}, "unknown dtype"),
        ({"dtype": "F32", "shape": [-4], "data_offsets": [16, 32]}, "malformed shape"),
        ({"dtype": "F32", "shape": [True, 4], "data_offsets": [16, 32]}, "malformed shape"),
        ({"dtype": "F32", "shape": [1] * 9, "data_offsets": [16, 20]}, "malformed shape"),
        ({"dtype": "F32", "shape": [4.0], "data_offsets": [16, 32]}, "malformed shape"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [32, 16]}, "bytes that its shape"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [16]}, "malformed offsets"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [16, 32], "x": 1}, "nothing else"),
        ("F32", "nothing else"),
    ],
)
def test_a_tensor_that_does_not_fit_the_file_is_refused(tensor: Any, why: str) -> None:
    with pytest.raises(InvalidFileError, match=why):
        read(a_file(a_header(**{"network.bad": tensor}), bytes(32)))


@pytest.mark.parametrize("name", ["", "x" * 300, "network.\x1b[2J", "netzwörk.w"])
def test_a_tensor_with_an_unprintable_name_is_refused(name: str) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [16, 16]}
    with pytest.raises(InvalidFileError, match="printable"):
        read(a_file(a_header(**{name: entry})))


def test_a_truncated_file_is_refused() -> None:
    with pytest.raises(InvalidFileError, match="do not fill"):
        read(a_file(a_header())[:-1])


def test_a_file_without_a_network_is_refused() -> None:
    header = a_header()
    header["optimizer.w"] = header.pop("network.w")
    with pytest.raises(InvalidFileError, match=r"network\.\*"):
        read(a_file(header))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format_version": 0}, "format_version"),
        ({"format_version": True}, "format_version"),
        ({"algorithm": None}, "algorithm"),
        ({"algorithm": 7}, "algorithm"),
        ({"iteration": -1}, "iteration"),
        ({"iteration": 1.5}, "iteration"),
        ({"iteration": 1 << 70}, "iteration"),
        ({"steps": "many"}, "steps"),
        ({"observation_shape": []}, "observation_shape"),
        ({"observation_shape": [4, 0, 64]}, "observation_shape"),
        ({"observation_shape": "4x36x64"}, "observation_shape"),
        ({"config": [1]}, "config"),
        ({"note": "a\x00b"}, "not text"),
        ({"note": "\ud800"}, "not text"),
        ({"a\x00b": 1}, "not text"),
        ({"note": 1e308}, "too large"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidFileError, match=why):
        read(with_manifest(**changes))


def test_a_manifest_that_nests_too_deep_is_refused() -> None:
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    with pytest.raises(InvalidFileError, match="deeper"):
        read(with_manifest(note=nested))


@pytest.mark.parametrize("metadata", [{}, {"manifest": 7}, [], {"manifest": "[1]"}])
def test_a_file_without_a_manifest_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidFileError, match="manifest"):
        read(a_file(a_header(__metadata__=metadata)))


def test_a_manifest_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidFileError, match="longer"):
        read(with_manifest(note="x" * weights_file.MAX_MANIFEST_BYTES))


def test_a_tiny_file_that_claims_gigabytes_costs_no_memory() -> None:
    huge = {"dtype": "F32", "shape": [10**9], "data_offsets": [16, 4 * 10**9 + 16]}
    content = a_file(a_header(**{"network.huge": huge}))
    tracemalloc.start()
    with pytest.raises(InvalidFileError):
        read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_no_changed_byte_of_a_header_makes_it_crash(position: int, value: int) -> None:
    content = bytearray(a_file(a_header()))
    content[position % (len(content) - 16)] = value
    with suppress(InvalidFileError):
        read(bytes(content))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_make_it_crash(content: bytes) -> None:
    with pytest.raises(InvalidFileError):
        read(content)

"""The comments of the protos, read from the descriptor set that is generated with the code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import elodrome
from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

# Field numbers of descriptor.proto, which make up the paths of source locations.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS = 2, 3, 4
_VALUES = 2
_METHODS = 2


def load() -> dict[str, str]:
    """Return the leading comment of every service, method, message, field, enum and value.

    Keys are full names, such as `elodrome.executor.v1.Run.state`.
    """
    root = next(iter(elodrome.__path__))
    content = (Path(root).parent / "elodrome.binpb").read_bytes()
    comments = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        if file.package.startswith("elodrome."):
            comments.update(_of_file(file))
    return comments


def _of_file(file: FileDescriptorProto) -> dict[str, str]:
    names = dict(_names(file))
    return {
        names[tuple(place.path)]: _plain(place.leading_comments)
        for place in file.source_code_info.location
        if place.leading_comments and tuple(place.path) in names
    }


def _plain(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the source path and full name of everything a file defines."""
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_SERVICES, index), name
        for number, method in enumerate(service.method):
            yield (_SERVICES, index, _METHODS, number), f"{name}.{method.name}"
    for index, message in enumerate(file.message_type):
        yield from _names_in((_MESSAGES, index), message, file.package)
    for index, enum in enumerate(file.enum_type):
        yield from _names_of_enum((_ENUMS, index), enum, file.package)


def _names_in(
    path: tuple[int, ...], message: descriptor_pb2.DescriptorProto, parent: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{parent}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _names_in((*path, _NESTED_MESSAGES, index), nested, name)
    for index, enum in enumerate(message.enum_type):
        yield from _names_of_enum((*path, _NESTED_ENUMS, index), enum, name)


def _names_of_enum(
    path: tuple[int, ...], enum: descriptor_pb2.EnumDescriptorProto, parent: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    # By the rules of proto, a value is named beside its enum; beside is where nobody looks.
    yield path, f"{parent}.{enum.name}"
    for index, value in enumerate(enum.value):
        yield (*path, _VALUES, index), f"{parent}.{enum.name}.{value.name}"

"""What a submitted archive may be: a small zip of data and Python, with `agent.py` at its top.

Nothing of it runs here, and nothing is written to disk.
"""

from __future__ import annotations

import ast
import io
import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ENTRY_POINT = "agent.py"
LARGEST_ARCHIVE_BYTES = 1 << 20
LARGEST_UNPACKED_BYTES = 4 << 20
# What a parser makes of source takes hundreds of times its memory.
LARGEST_ENTRY_POINT_BYTES = 256 << 10
MOST_FILES = 100
EXTENSIONS = (".py", ".json", ".txt", ".npy", ".npz", ".safetensors")
RUNTIME = "Python's standard library and numpy"
_ENCRYPTED_FLAG = 0x1
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(Exception):
    """An archive that is refused; `code` names the rule, the text is a sentence for its author."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(archive: bytes) -> list[str]:
    """Return the names of the files that the archive holds, in their order; raises ArchiveError."""
    if len(archive) > LARGEST_ARCHIVE_BYTES:
        raise ArchiveError(
            "ARCHIVE_TOO_LARGE",
            f"the archive has {len(archive):,} bytes; it may have {LARGEST_ARCHIVE_BYTES:,}",
        )
    try:
        opened = zipfile.ZipFile(io.BytesIO(archive))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ArchiveError("NOT_A_ZIP", f"the archive is no zip file: {error}") from error
    with opened:
        members = opened.infolist()
        if len(members) > MOST_FILES:
            raise ArchiveError(
                "TOO_MANY_FILES",
                f"the archive has {len(members):,} entries; it may have {MOST_FILES}",
            )
        for member in members:
            _check_member(member)
        files = [member for member in members if not member.is_dir()]
        names = [member.filename for member in files]
        _check_names(names)
        contents = _unpack(opened, files)
    _check_entry_point(contents[ENTRY_POINT])
    return names


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    path = PurePosixPath(name)
    # zipfile cuts names at a NUL and turns other separators into slashes.
    if (
        member.orig_filename != name
        or not name.isprintable()
        or path.is_absolute()
        or ".." in path.parts
        or {"\\", ":"} & set(name)
    ):
        raise ArchiveError(
            "UNSAFE_NAME",
            f"{member.orig_filename!r:.200} is no relative path of plain characters below the top",
        )
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveError("NOT_A_FILE", f"{name!r:.200} is a link or a device, not a file")
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise ArchiveError("ENCRYPTED", f"{name!r:.200} is encrypted")
    if member.compress_type not in _COMPRESSIONS:
        raise ArchiveError(
            "UNKNOWN_COMPRESSION", f"{name!r:.200} is neither stored nor deflated; use a plain zip"
        )
    if path.name.lower() == "requirements.txt":
        raise ArchiveError(
            "REQUIREMENTS",
            f"{name!r:.200} would install packages, and nothing is installed: "
            f"an agent has {RUNTIME}",
        )
    if not member.is_dir() and path.suffix not in EXTENSIONS:
        raise ArchiveError(
            "WRONG_EXTENSION", f"{name!r:.200} is of another kind than {', '.join(EXTENSIONS)}"
        )


def _check_names(names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        # As written to a disk that knows no case.
        same = str(PurePosixPath(name)).casefold()
        if same in seen:
            raise ArchiveError("DUPLICATE_NAME", f"{name!r:.200} is there twice, or but for case")
        seen.add(same)
    if ENTRY_POINT in names:
        return
    below = sorted(name for name in names if PurePosixPath(name).name == ENTRY_POINT)
    found = (
        f"it is at {below[0]!r:.200}: zip the files, not their folder"
        if below
        else (f"at its top are {_listed({PurePosixPath(name).parts[0] for name in names})}")
    )
    raise ArchiveError("NO_ENTRY_POINT", f"the archive has no {ENTRY_POINT} at its top; {found}")


def _listed(names: Iterable[str]) -> str:
    first = [f"{name!r:.50}" for name in sorted(names)]
    return (", ".join(first[:10]) + (", …" if len(first) > 10 else "")) or "no files"  # noqa: PLR2004 - as shown


def _unpack(archive: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo]) -> dict[str, bytes]:
    """Read everything, whatever sizes the archive claims."""
    contents: dict[str, bytes] = {}
    left = LARGEST_UNPACKED_BYTES
    for member in files:
        try:
            with archive.open(member) as file:
                contents[member.filename] = file.read(left + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise ArchiveError("CORRUPT", f"{member.filename!r:.200}: {error}") from error
        left -= len(contents[member.filename])
        if left < 0:
            raise ArchiveError(
                "UNPACKED_TOO_LARGE",
                f"the files have more than {LARGEST_UNPACKED_BYTES:,} bytes together",
            )
    return contents


def _check_entry_point(source: bytes) -> None:
    if len(source) > LARGEST_ENTRY_POINT_BYTES:
        raise ArchiveError(
            "ENTRY_POINT_TOO_LARGE",
            f"{ENTRY_POINT} has {len(source):,} bytes; it may have {LARGEST_ENTRY_POINT_BYTES:,}",
        )
    try:
        module = ast.parse(source, ENTRY_POINT)
    except SyntaxError as error:
        raise ArchiveError(
            "SYNTAX_ERROR", f"{ENTRY_POINT} line {error.lineno or 0}: {error.msg}"
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ArchiveError("SYNTAX_ERROR", f"{ENTRY_POINT}: {error or 'too deep'}") from error
    if not any(_binds_act(statement) for statement in module.body):
        raise ArchiveError(
            "NO_ACT", f"{ENTRY_POINT} defines no function `act(observation)` at its top"
        )


def _binds_act(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == "act"
    if isinstance(statement, ast.Assign):
        return any(isinstance(name, ast.Name) and name.id == "act" for name in statement.targets)
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return any((alias.asname or alias.name) in {"act", "*"} for alias in statement.names)
    if isinstance(statement, ast.If | ast.Try | ast.With):
        return any(
            _binds_act(inner)
            for inner in ast.iter_child_nodes(statement)
            if isinstance(inner, ast.stmt)
        )
    return False

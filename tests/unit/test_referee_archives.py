"""What a submission may be: every rule has a sample that breaks it, with its own code."""

from __future__ import annotations

import io
import os
import stat
import warnings
import zipfile
from typing import TYPE_CHECKING

import pytest

from referee.archives import ArchiveError, check

if TYPE_CHECKING:
    from collections.abc import Callable

ACT = "def act(observation): return 0"


def zipped(**files: str | bytes) -> bytes:
    """Return a zip with `agent.py`, unless that is given too, and files by name."""
    return packed([*({"agent.py": ACT} | files).items()])


def packed(
    files: list[tuple[str, str | bytes]],
    change: Callable[[zipfile.ZipInfo], None] = lambda _: None,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content in files:
            member = zipfile.ZipInfo(name)
            change(member)
            archive.writestr(member, content, method)
    return written.getvalue()


def linked(member: zipfile.ZipInfo) -> None:
    if member.filename != "agent.py":
        member.external_attr = (stat.S_IFLNK | 0o777) << 16


def renamed(name: bytes) -> bytes:
    """Return an archive with a file of a name that zipfile would not write."""
    other = "x" * (len(name) - 3) + ".py"
    return zipped(**{other: ""}).replace(other.encode(), name)


def encrypted() -> bytes:
    """Return an archive whose directory says that its file is encrypted."""
    archive = bytearray(zipped())
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def test_an_archive_of_all_kinds_is_accepted() -> None:
    files = {
        f"data/x{suffix}": b"x" for suffix in (".json", ".txt", ".npy", ".npz", ".safetensors")
    }
    names = check(zipped(**files, **{"model.py": "y = 1", "folder/": ""}))
    assert names == ["agent.py", *files, "model.py"]


@pytest.mark.parametrize(
    "source",
    [
        "async_act = 1\ndef act(o): return 0",
        "from model import act",
        "from model import other as act",
        "from model import *",
        "act = lambda o: 0",
        "try:\n  import numpy\n  def act(o): return 0\nexcept ImportError: raise",
    ],
)
def test_act_may_be_defined_in_any_way(source: str) -> None:
    assert check(zipped(**{"agent.py": source})) == ["agent.py"]


REFUSED = {
    "ARCHIVE_TOO_LARGE": zipped(**{"x.npy": os.urandom(1 << 20)}),
    "NOT_A_ZIP": b"Rar!",
    "TOO_MANY_FILES": zipped(**{f"{number}.txt": "" for number in range(100)}),
    "UNPACKED_TOO_LARGE": zipped(**{"x.txt": bytes(2 << 20), "y.txt": bytes((2 << 20) + 1)}),
    "UNSAFE_NAME": zipped(**{"../x.py": ""}),
    "NOT_A_FILE": packed([("agent.py", ACT), ("x.py", "/etc/passwd")], linked),
    "ENCRYPTED": encrypted(),
    "UNKNOWN_COMPRESSION": packed([("agent.py", ACT)], method=zipfile.ZIP_LZMA),
    "REQUIREMENTS": zipped(**{"requirements.txt": "torch"}),
    "WRONG_EXTENSION": zipped(**{"native.so": ""}),
    "DUPLICATE_NAME": packed([("agent.py", ACT), ("agent.py", ACT)]),
    "NO_ENTRY_POINT": packed([("main.py", ACT)]),
    "CORRUPT": packed([("agent.py", ACT)], method=zipfile.ZIP_STORED).replace(b" 0", b" 1"),
    "ENTRY_POINT_TOO_LARGE": zipped(**{"agent.py": ACT + "\n" * (256 << 10)}),
    "SYNTAX_ERROR": zipped(**{"agent.py": "def act(observation) return 0"}),
    "NO_ACT": zipped(**{"agent.py": "def play(observation): return 0"}),
}


@pytest.mark.parametrize("code", REFUSED)
def test_every_rule_has_its_code(code: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        check(REFUSED[code])
    assert refused.value.code == code
    assert 10 < len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "name",
    [b"/abs.py", b"..\\x.py", b"C:x.py", b"a/../../x.py", b"a\x00b.py", b"\x1b[31m.py", b"a\nb.py"],
)
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(ArchiveError) as refused:
        check(renamed(name))
    assert refused.value.code == "UNSAFE_NAME"
    assert str(refused.value).isprintable()


def test_names_that_are_one_on_some_disks_are_refused() -> None:
    with pytest.raises(ArchiveError) as refused:
        check(zipped(**{"Data.txt": "", "data.txt": ""}))
    assert refused.value.code == "DUPLICATE_NAME"


def test_sizes_that_an_archive_claims_are_not_believed() -> None:
    bomb = bytearray(zipped(**{"x.txt": bytes(64 << 20)}))
    claimed = (64 << 20).to_bytes(4, "little")
    assert bomb.count(claimed) == 2
    with pytest.raises(ArchiveError) as refused:
        check(bytes(bomb.replace(claimed, (1).to_bytes(4, "little"))))
    assert refused.value.code in {"CORRUPT", "UNPACKED_TOO_LARGE"}


def test_a_wrapping_folder_is_named() -> None:
    with pytest.raises(ArchiveError, match=r"it is at 'mine/agent\.py': zip the files, not their"):
        check(packed([("mine/agent.py", ACT), ("mine/model.py", "")]))


def test_what_is_there_instead_is_named() -> None:
    with pytest.raises(ArchiveError, match=r"at its top are 'main\.py', 'src'"):
        check(packed([("src/act.py", ACT), ("main.py", "")]))


def test_who_asks_for_packages_is_told_what_there_is() -> None:
    with pytest.raises(ArchiveError, match=r"Python's standard library and numpy"):
        check(zipped(**{"requirements.txt": "torch"}))


@pytest.mark.parametrize(
    "source", ["(" * 5000, "-" * 100_000 + "1", "a = '\x00'", "x = " + "a." * 60_000]
)
def test_source_that_is_hard_to_parse_is_refused(source: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        check(zipped(**{"agent.py": source}))
    assert refused.value.code == "SYNTAX_ERROR"

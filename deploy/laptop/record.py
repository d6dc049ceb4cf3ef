"""What the supervisor tells everybody else: one small file that is replaced at every change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from deploy.laptop.process import Identity
from kit import files

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Entry:
    """One process of the install as it was at the last change."""

    name: str
    state: str
    identity: Identity | None
    port: int | None
    restarts: int
    last_error: str


@dataclass
class Record:
    """The supervisor, the step it works on and its processes; `ready` once everything answered."""

    supervisor: Identity
    step: str = ""
    ready: bool = False
    entries: list[Entry] = field(default_factory=list)

    def write(self, home: Path) -> None:
        """Replace the record of an install."""
        files.replace(home / "supervisor.json", json.dumps(asdict(self), indent=2).encode())

    def entry(self, name: str) -> Entry:
        """Return the entry of a process by its name; raises KeyError when there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)


def read(home: Path) -> Record | None:
    """Return the last record of an install, None when there is none."""
    path = home / "supervisor.json"
    if not path.exists():
        return None
    fields = json.loads(path.read_text(encoding="utf-8"))
    entries = [
        Entry(**entry | {"identity": Identity(**entry["identity"]) if entry["identity"] else None})
        for entry in fields["entries"]
    ]
    supervisor = Identity(**fields["supervisor"])
    return Record(supervisor, fields["step"], fields["ready"], entries)

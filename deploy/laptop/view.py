"""What a person sees of an install: a table of its processes, and their logs."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import psutil

from deploy.laptop import leftovers, lock, record
from deploy.laptop.child import tail
from deploy.laptop.install import home_directory, load
from deploy.laptop.programs import answers
from deploy.laptop.record import Entry

if TYPE_CHECKING:
    from pathlib import Path


_HEADER = ("PROCESS", "PID", "STATE", "PORT", "MEMORY", "RESTARTS", "LAST ERROR")
_FOLLOW_EVERY_S = 0.25


def status() -> int:
    """Print one line per process; returns 0 when the platform answers, else 3."""
    home = home_directory(os.environ)
    install = load(home)
    last = record.read(home)
    if install is None or last is None:
        print(f"no install in {home}; `make up` creates one")
        return 3
    measured = _measured(home, last)
    rows = [_HEADER, *(_row(entry, size) for entry, size in measured)]
    total_bytes = sum(size for _, size in measured)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    ready = answers(install.ports["http"], "/readyz")
    print(
        f"\n{install.url} is {'ready' if ready else 'not ready'} ({last.step}); "
        f"{total_bytes / 1e6:.0f} MB in all; files in {home}"
    )
    return 0 if ready else 3


def logs(service: str, *, once: bool) -> int:
    """Print the end of the logs of one process or all, then follow them until Ctrl-C."""
    home = home_directory(os.environ)
    names = [service] if service else ["supervisor", "setup", *_process_names(home)]
    files = {name: home / "logs" / f"{name}.log" for name in names}
    if service and not files[service].exists():
        known = ", ".join(sorted(path.stem for path in (home / "logs").glob("*.log")))
        print(f"no log of {service!r} in {home}; there are: {known or 'none'}", file=sys.stderr)
        return 1
    for name, path in files.items():
        _print_lines(name, tail(path, 200 if service else 5), prefixed=not service)
    if not once:
        try:
            _follow(files, prefixed=not service)
        except KeyboardInterrupt:
            print()
    return 0


def memory_bytes(pid: int) -> int:
    """Return a process's memory; pages it shares count by part (PSS). 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def install_bytes(home: Path) -> int:
    """Return the memory of every process of an install, workers included."""
    last = record.read(home)
    return sum(size for _, size in _measured(home, last)) if last is not None else 0


def _measured(home: Path, last: record.Record) -> list[tuple[Entry, int]]:
    """Return every process of an install with its memory, its own children included."""
    alive = "RUNNING" if lock.holder(home) == last.supervisor else "GONE"
    supervisor = Entry("supervisor", alive, last.supervisor, None, 0, "")
    workers = [Entry("worker", "RUNNING", w, None, 0, "") for w in leftovers.workers(home)]
    # Workers come first: whoever is counted there is not counted with the executor again.
    counted: set[int] = set()
    sizes = {}
    for entry in (*workers, *last.entries, supervisor):
        found = entry.identity.process() if entry.identity else None
        members = [found, *found.children(recursive=True)] if found is not None else []
        pids = {member.pid for member in members} - counted
        counted |= pids
        sizes[id(entry)] = sum(map(memory_bytes, pids))
    return [(entry, sizes[id(entry)]) for entry in (supervisor, *last.entries, *workers)]


def _row(entry: Entry, used_bytes: int) -> tuple[str, ...]:
    gone = entry.identity is not None and entry.identity.process() is None
    return (
        entry.name,
        str(entry.identity.pid) if entry.identity and not gone else "-",
        "GONE" if gone else entry.state,
        str(entry.port or "-"),
        f"{used_bytes / 1e6:.0f} MB",
        str(entry.restarts),
        entry.last_error,
    )


def _process_names(home: Path) -> list[str]:
    last = record.read(home)
    return [entry.name for entry in last.entries] if last else []


def _follow(files: dict[str, Path], *, prefixed: bool) -> None:
    offsets = {name: path.stat().st_size if path.exists() else 0 for name, path in files.items()}
    while True:
        time.sleep(_FOLLOW_EVERY_S)
        for name, path in files.items():
            size = path.stat().st_size if path.exists() else 0
            if size < offsets[name]:  # the log was moved aside and starts anew
                offsets[name] = 0
            if size > offsets[name]:
                with path.open("rb") as file:
                    file.seek(offsets[name])
                    text = file.read(size - offsets[name]).decode(errors="replace")
                offsets[name] = size
                _print_lines(name, text, prefixed=prefixed)


def _print_lines(name: str, text: str, *, prefixed: bool) -> None:
    for line in text.splitlines():
        print(f"{name:>10} | {line}" if prefixed else line, flush=True)

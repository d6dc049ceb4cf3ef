"""Processes that others start and end while a test looks at them."""

from __future__ import annotations

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Return whether it still runs: one whose exit nobody has asked for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def below(process: psutil.Process) -> list[psutil.Process]:
    """Return what a process has started, directly or not; nothing where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []

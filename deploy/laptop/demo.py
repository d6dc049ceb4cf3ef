"""The demo: start the platform, tell the story of one agent, stay up until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from deploy.laptop import view
from deploy.laptop.control import ADMINISTRATOR, StartError, bring_down, bring_up, introduce
from deploy.laptop.demo_client import Client, RefusedError, StoryError
from deploy.laptop.demo_display import Display
from deploy.laptop.demo_story import Story
from deploy.laptop.install import Install, InstallError, home_directory
from kit import files

INTERRUPTED = 130


def main(*, leave: bool) -> int:
    """Tell the story; 0 only when every step of it happened. `leave` ends right after it.

    A platform that was up before stays up; one that was started here is stopped at the end.
    """
    home = home_directory(os.environ)
    display = Display()
    began = time.monotonic()
    started = False
    try:
        install, started = bring_up(home, say=lambda step: display.line(f"   {step}"))
        display.line(f"Elodrome is ready at {install.url} ({time.monotonic() - began:.1f} s)")
        introduce(install, display.line)
        _tell(install, display)
        if not leave:
            display.line(f"\n{install.url}/docs is open until Ctrl-C")
            signal.pause()
    except (StartError, InstallError, StoryError, RefusedError, AssertionError) as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        display.line("\nstopping")
        return 0 if not leave else INTERRUPTED
    finally:
        if started:
            bring_down(home)
    return 0


def _tell(install: Install, display: Display) -> None:
    client = Client(install.url, ADMINISTRATOR, install.admin_password)
    story = Story(install.url, client, display, lambda: view.install_bytes(install.home))
    story.tell()
    memory_bytes = view.install_bytes(install.home)
    display.line(f"the whole platform holds {memory_bytes / 1e6:.0f} MB now")
    numbers = story.measurements() | {"memory_bytes": memory_bytes}
    files.replace(install.home / "demo.json", json.dumps(numbers, indent=2).encode())

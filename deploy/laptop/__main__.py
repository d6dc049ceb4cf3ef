"""The command line of a laptop install.

A command's module is imported only when it is asked for, which keeps the supervisor small.
"""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "up": ("deploy.laptop.control", "up", "start the install in the background and wait for it"),
    "down": ("deploy.laptop.control", "down", "stop the install; everything it knows is kept"),
    "status": ("deploy.laptop.view", "status", "show every process of the install"),
    "logs": ("deploy.laptop.view", "logs", "follow the logs"),
    "run": ("deploy.laptop.supervisor", "main", "run the install in the foreground"),
    "demo": ("deploy.laptop.demo", "main", "start the install and tell the whole story"),
}


def main() -> int:
    """Run one command of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.laptop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, _, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation)
        if name == "logs":
            command.add_argument("service", nargs="?", default="", help="one process, default all")
            command.add_argument("--once", action="store_true", help="print the end and leave")
        if name == "demo":
            command.add_argument(
                "--exit", dest="leave", action="store_true", help="end after the story"
            )
    options = vars(parser.parse_args())
    module, function, _ = COMMANDS[options.pop("command")]
    return int(getattr(importlib.import_module(module), function)(**options))


if __name__ == "__main__":
    sys.exit(main())

"""Keys and tables, in one process: the libraries for them cost a second to load, five times over.

`python -m deploy.laptop.preparation` prepares the install in ELODROME_HOME, whose Postgres runs.
"""

from __future__ import annotations

import os
import sys

from deploy.bus import SERVICES
from deploy.laptop.install import home_directory, load
from deploy.laptop.programs import postgres_of
from kit import auth, migrate


def main() -> int:
    """Generate the keys that are missing and bring every schema up to date; 0 when all is well."""
    install = load(home_directory(os.environ))
    if install is None:
        print("there is no install to prepare", file=sys.stderr)
        return 1
    auth.generate_keys(install.home / "keys")
    postgres = postgres_of(install)
    for service in SERVICES:
        migrate.upgrade(postgres.url(service), service)
    return 0


if __name__ == "__main__":
    sys.exit(main())

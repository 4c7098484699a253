"""The invented supplier's books: the Xero sandbox of `tria up`."""

from __future__ import annotations

import os
from importlib.metadata import version
from urllib.parse import urlsplit

import redis.asyncio

from server.accounting.connecting import NotConnectable, connect_by_credentials
from server.accounting.connection import ConnectionState
from server.accounting.wiring import books_access
from server.accounting_config import AccountingChoice
from server.audit.changes import operator
from server.config import load
from server.db.pool import Database
from server.embedded.child import StartFailed
from server.embedded.loopback import HOST


async def connect_books(database: Database, tenant: str) -> None:
    """Connects the tenant to the sandbox, the first time; to an organisation of the user's only a person connects it,
    because demo orders would be booked there."""
    config = load(os.environ, version=version("tria"))
    is_sandbox = urlsplit(config.accounting.xero.api_url).hostname == HOST
    if config.accounting.books is AccountingChoice.NONE or not is_sandbox:
        return
    client = redis.asyncio.Redis.from_url(config.store.redis_url.reveal())
    async with client, books_access(config, database, client) as access:
        if (await access.connections.view(tenant)).state is ConnectionState.NOT_CONNECTED:
            wanted = config.accounting.xero.organisation
            try:
                await connect_by_credentials(access.connections, access.identity, operator(tenant), wanted)
            except NotConnectable as problem:
                raise StartFailed(f"the Xero sandbox does not connect: {problem}") from problem

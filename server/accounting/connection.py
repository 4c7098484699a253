"""The connection of each tenant to its books: tokens that are renewed in time, by one process at a time.

Renewing is claimed by a row update that ends by itself, not by a lock held over an HTTP call: whoever dies in between
delays the others, and stops nobody. The new tokens are committed before anybody uses them. When their commit is lost
after all, the row still holds the old refresh token, which Xero takes again for half an hour for this very case.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from server.accounting import connection_store as store
from server.accounting.books import BooksError, Disconnected, NotSent
from server.accounting.identity import GrantRefused, Identity, IdentityAway, Organisation, Tokens
from server.accounting_config import XeroGrant
from server.audit.actions import Action
from server.audit.changes import Author, worker
from server.db.pool import Database
from server.envelope import MasterKeys, NotOpened
from server.errors import AppError
from server.tenants import ensure_tenant

log = logging.getLogger(__name__)

_EARLY = 60.0  # seconds before its end that a token is renewed
_CLAIM = 15.0  # seconds that one process may take to renew, above what the identity service may take to answer
_WAIT = 20.0  # seconds that others wait for it
_POLL = 0.1
_COMMIT_TRIES = 5


class ConnectionState(StrEnum):
    """Where the connection stands (tria.accounting.v1.Connection.State)."""

    NOT_CONNECTED = "NOT_CONNECTED"
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """What people see of it."""

    state: ConnectionState
    organisation: str = ""
    scopes: tuple[str, ...] = ()
    token_expires_at: datetime | None = None
    last_success: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What a call needs: the token, and whom it concerns. `version` is that of the tokens."""

    token: str = field(repr=False)
    organisation_id: str
    version: int


class Connections:
    """The connections of all tenants, as one process sees them; the truth is in PostgreSQL."""

    def __init__(self, database: Database, identity: Identity, keys: MasterKeys, grant: XeroGrant) -> None:
        self._database = database
        self._identity = identity
        self._keys = keys
        self._grant = grant
        self._renewing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Lets renewals that are on their way come to their end."""
        if self._renewing:
            await asyncio.wait(self._renewing)

    async def view(self, tenant: str) -> ConnectionView:
        """How the tenant is connected. Raises AppError when the store is away."""
        async with self._database.connection() as connection:
            row = await store.read(connection, tenant)
        if row is None:
            return ConnectionView(ConnectionState.NOT_CONNECTED)
        return ConnectionView(
            ConnectionState(row.state), row.organisation, row.scopes, row.expires_at, row.last_success, row.last_error
        )

    async def access(self, tenant: str, refused: Access | None = None) -> Access:
        """A token that is good for a while, renewed if need be; `refused` is one that the books did not take.

        Raises Disconnected, or NotSent when it cannot be had just now.
        """
        deadline, first = asyncio.get_running_loop().time() + _WAIT, None
        while True:
            row = await self._row(tenant)
            first = row.version if first is None else first
            if row.state != ConnectionState.CONNECTED or row.sealed is None:
                raise Disconnected(row.last_error or "the accounting system is not connected")
            # One that was renewed meanwhile is taken as it is: tokens that live shorter are renewed for each call.
            long_enough = row.left > _EARLY or (row.version != first and row.left > 0)
            if long_enough and (refused is None or row.version != refused.version):
                return self._open(tenant, row)
            if asyncio.get_running_loop().time() > deadline:
                raise NotSent("the token is being renewed, and that does not come to an end")
            async with self._database.connection() as connection:
                sealed = await store.claim(connection, tenant, row.version, _CLAIM)
            if sealed is not None:
                await self._renewed(tenant, row, sealed)
            else:
                await asyncio.sleep(_POLL)

    async def connect(self, author: Author, tokens: Tokens, organisation: Organisation) -> None:
        """Connects the author's tenant anew."""
        tenant = author.caller.tenant
        async with self._database.transaction() as connection:
            await ensure_tenant(connection, tenant)
            await store.connect(
                connection,
                tenant,
                organisation.id,
                organisation.name,
                tokens.scopes,
                self._seal(tenant, tokens),
                tokens.expires_in,
            )
            await author.record(connection, Action.CONFIG_CHANGE, ["accounting/connection"], {"state": "CONNECTED"})

    async def disconnect(self, author: Author) -> bool:
        """Ends the connection, here in any case and there if it can be reached; False when there was none."""
        tenant = author.caller.tenant
        await self._take_access_away(tenant)
        async with self._database.transaction() as connection:
            ended = await store.end(connection, tenant, None, "disconnected by a person")
            if ended:
                await author.record(
                    connection, Action.CONFIG_CHANGE, ["accounting/connection"], {"state": "DISCONNECTED"}
                )
        return ended

    async def lost(self, tenant: str, access: Access, why: str) -> BooksError:
        """Records that the books do not know this connection any more; returns the error to raise."""
        if await self._end(tenant, access.version, why):
            return Disconnected(why)
        return NotSent("the connection changed while it was used")

    async def still_there(self, access: Access) -> bool:
        """Whether the organisation still lets this app in. Raises IdentityAway."""
        try:
            granted = await self._identity.organisations(access.token)
        except GrantRefused:
            return False
        return any(organisation.id == access.organisation_id for organisation in granted)

    async def report(self, tenant: str, error: str = "") -> None:
        """What the last call came to, for people who look; the books' answer counts whether this is stored or not."""
        try:
            async with self._database.connection() as connection:
                if error:
                    await store.failed(connection, tenant, error[:1000])
                else:
                    await store.succeeded(connection, tenant)
        except AppError as away:
            log.info("the state of the connection was not stored: %s", away.message)

    async def _row(self, tenant: str) -> store.Row:
        async with self._database.connection() as connection:
            row = await store.read(connection, tenant)
        if row is None:
            raise Disconnected("the accounting system is not connected")
        return row

    async def _end(self, tenant: str, version: int, why: str) -> bool:
        async with self._database.transaction() as connection:
            ended = await store.end(connection, tenant, version, why)
            if ended:
                await worker(tenant).record(
                    connection, Action.CONFIG_CHANGE, ["accounting/connection"], {"state": "DISCONNECTED"}
                )
        if ended:
            log.error("the connection to the accounting system was lost: %s", why, extra={"tenant": tenant})
        return ended

    async def _renewed(self, tenant: str, row: store.Row, sealed: bytes) -> None:
        """Renews to the end, though the caller may give up: an answer thrown away would be a token used up."""
        renewing = asyncio.create_task(self._renew(tenant, row, sealed), name="renew-token")
        self._renewing.add(renewing)
        renewing.add_done_callback(self._renewing.discard)
        await asyncio.shield(renewing)

    async def _renew(self, tenant: str, row: store.Row, sealed: bytes) -> None:
        """Called by the one that holds the claim; afterwards the row says how it went."""
        try:
            tokens = await self._new_tokens(self._unseal(tenant, sealed)[1])
        except GrantRefused as refused:
            # Ends only the tokens that were refused: if others have taken their place, those count.
            await self._end(tenant, row.version, f"Xero does not take the grant any more ({refused}); connect again")
            return
        except IdentityAway as away:
            async with self._database.connection() as connection:
                await store.unclaim(connection, tenant, row.version, str(away))
            raise NotSent(str(away)) from away
        await self._commit(tenant, row.version, self._seal(tenant, tokens), tokens.expires_in)

    async def _new_tokens(self, refresh: str) -> Tokens:
        if self._grant is XeroGrant.CLIENT_CREDENTIALS:
            return await self._identity.by_credentials()
        tokens = await self._identity.by_refresh(refresh)
        return tokens if tokens.refresh else replace(tokens, refresh=refresh)

    async def _commit(self, tenant: str, version: int, sealed: bytes, expires_in: float) -> None:
        """Stores the new tokens; tried more than once, because the old ones have just been used up."""
        for left in reversed(range(_COMMIT_TRIES)):
            try:
                async with self._database.connection() as connection:
                    await store.renew(connection, tenant, version, sealed, expires_in)
            except AppError:
                if not left:
                    raise
                await asyncio.sleep(_POLL)
            else:
                return

    async def _take_access_away(self, tenant: str) -> None:
        try:
            access = await self.access(tenant)
            for organisation in await self._identity.organisations(access.token):
                if organisation.id == access.organisation_id:
                    await self._identity.disconnect(access.token, organisation)
        except (BooksError, GrantRefused, IdentityAway) as problem:
            log.warning("the connection ends here; in Xero it could not be ended: %s", problem)

    def _open(self, tenant: str, row: store.Row) -> Access:
        access, _ = self._unseal(tenant, row.sealed or b"")
        return Access(access, row.organisation_id, row.version)

    def _seal(self, tenant: str, tokens: Tokens) -> bytes:
        return self._keys.seal(json.dumps([tokens.access, tokens.refresh]).encode(), _context(tenant))

    def _unseal(self, tenant: str, sealed: bytes) -> tuple[str, str]:
        try:
            access, refresh = json.loads(self._keys.open(sealed, _context(tenant)))
        except NotOpened as cause:
            raise Disconnected(f"the stored tokens cannot be opened: {cause}; connect again") from cause
        return access, refresh


def _context(tenant: str) -> bytes:
    return b"accounting_connection/" + tenant.encode()

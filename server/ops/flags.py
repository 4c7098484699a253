"""Feature flags: what a tenant may switch without a release, each with a default that holds until somebody does."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection, Mapping

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.db.listening import Listening
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason, not_found
from server.idempotency import Idempotency, Once, once
from server.ops import flag_store
from server.ops.flag_store import Flag
from server.tenants import ensure_tenant

log = logging.getLogger(__name__)

_KNOWN_FOR = 60.0  # seconds; a change is heard at once, this is for what was not heard
_MOST_TENANTS = 10_000

_DEFAULTS: Mapping[str, Flag] = {
    flag.id: flag
    for flag in (
        Flag("answer_cache", "Answers that are the same for everybody are given again for half an hour.", True, 100),
        Flag("answer_cache_by_meaning", "The answer cache knows questions in other words too.", True, 100),
        Flag("prompt_b", "Conversations whose answers are made with variant b of the prompt.", False, 50),
    )
}  # fmt: skip


class Flags:
    """The flags of all tenants. Reading never fails: while PostgreSQL is away, what was known last holds."""

    def __init__(self, database: Database, dsn: str) -> None:
        self._database = database
        self._known: dict[str, tuple[float, dict[str, Flag]]] = {}
        self._listening = Listening(dsn, "feature_flag", self._heard, self._known.clear, name="tria-flags")

    async def on(self, tenant: str, id: str, who: str = "") -> bool:
        """Whether the flag is on; for `who`, whether they are in its share. Everybody stays in a growing share."""
        flag = (await self._of(tenant))[id]
        return flag.enabled and (not who or _place(tenant, id, who) < flag.percent)

    async def list(self, tenant: str) -> list[Flag]:
        """All flags by name, as the tenant has them."""
        async with self._database.connection() as connection:
            held = await flag_store.of_tenant(connection, tenant)
        return sorted(({**_DEFAULTS, **_current(held)}).values(), key=lambda flag: flag.id)

    async def update(
        self, author: Author, wanted: Flag, fields: Collection[str], etag: str, idempotency: Idempotency[Flag]
    ) -> Once:
        """Changes `fields` (enabled, percent, description) of the tenant's flag; the change is audited with it.

        Raises NOT_FOUND, or ABORTED when `etag` is given and not the current one.
        """
        if wanted.id not in _DEFAULTS:
            raise not_found(f"ops/flags/{wanted.id}")
        async with self._database.transaction() as connection:

            async def produce() -> Flag:
                return await _change(connection, author, wanted, fields, etag)

            changed = await once(connection, author.caller, idempotency, produce)
        self._known.pop(author.caller.tenant, None)
        return changed

    async def keep_listening(self) -> None:
        """Root of the listening task: hears of changes that other processes make."""
        await self._listening.keep_listening()

    async def _of(self, tenant: str) -> dict[str, Flag]:
        until, known = self._known.get(tenant, (0.0, dict(_DEFAULTS)))
        if time.monotonic() < until:
            return known
        try:
            async with self._database.connection() as connection:
                known = {**_DEFAULTS, **_current(await flag_store.of_tenant(connection, tenant))}
        except AppError as away:
            log.debug("flags as they were", extra={"reason": away.reason})
            return known
        if len(self._known) >= _MOST_TENANTS:
            self._known.clear()
        self._known[tenant] = (time.monotonic() + _KNOWN_FOR, known)
        return known

    def _heard(self, tenant: str) -> None:
        self._known.pop(tenant, None)


async def _change(connection: Connection, author: Author, wanted: Flag, fields: Collection[str], etag: str) -> Flag:
    tenant = author.caller.tenant
    await ensure_tenant(connection, tenant)
    current = await flag_store.lock(connection, tenant, _DEFAULTS[wanted.id])
    if etag and etag != current.etag:
        raise AppError(Code.ABORTED, Reason.ETAG_MISMATCH, "the flag has changed", metadata={"etag": current.etag})
    changed = Flag(
        current.id,
        wanted.description if "description" in fields else current.description,
        wanted.enabled if "enabled" in fields else current.enabled,
        wanted.percent if "percent" in fields else current.percent,
        current.version + 1,
    )
    await flag_store.put(connection, tenant, changed)
    details: dict[str, Plain] = {
        "enabled": str(changed.enabled).lower(),
        "percent": changed.percent,
        "was": f"{str(current.enabled).lower()} {current.percent}",
    }
    await author.record(connection, Action.CONFIG_CHANGE, (f"ops/flags/{changed.id}",), details)
    return changed


def _current(held: Mapping[str, Flag]) -> dict[str, Flag]:
    """Without flags that this release does not know any more."""
    return {id: flag for id, flag in held.items() if id in _DEFAULTS}


def _place(tenant: str, id: str, who: str) -> int:
    """Where `who` stands between 0 and 99: the same in every process, and another for each flag."""
    digest = hashlib.sha256(f"{tenant}\x1f{id}\x1f{who}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100

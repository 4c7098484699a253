"""What is held about a person: given out, erased, or held for a court. One transaction each.

An erasure empties the rows of every holding, destroys the person's keys, writes the signed receipt and its leaf, and
queues a job that looks the stores over again: all of it commits together. From then on nobody reads anything of the
person; the job (`finish`) takes care of what is outside of PostgreSQL, and of what came in meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson

from server.audit import subject_store, trail_holding
from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.receipt import Receipt, facts, signed
from server.audit.sealing import Vault
from server.audit.subject_store import StoredErasure
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason
from server.holdings import Erased, Holding
from server.idempotency import Idempotency, Once, once
from server.jobs import enqueue
from server.signing import SigningKey

log = logging.getLogger(__name__)

FINISH: Final = "finish_erasure"
"""The job behind each erasure."""

Elsewhere = Callable[[Sequence[str]], Awaitable[int]]
"""Removes what carries one of these names outside of PostgreSQL until nothing is found; returns how much there was."""


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that is held about a person, by kind of record."""

    person: str
    time: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An export as it is answered."""

    person: str
    answer: bytes

    def bytes(self) -> bytes:
        return self.answer


def too_much() -> AppError:
    """OUT_OF_RANGE: one answer cannot carry all that is held of a person."""
    return AppError(
        Code.OUT_OF_RANGE,
        Reason.AUDIT_RANGE_INVALID,
        "more is held of this person than one answer can carry; `tria subjects export` writes it to a file",
    )


NOW: Final[LiteralString] = "select now()"

CONVERSATIONS_OF: Final[LiteralString] = """
select distinct conversation from message where tenant = $1 and person = $2
union
select id from conversation where tenant = $1 and person = $2"""

SEQ_OF: Final[LiteralString] = "select seq from audit_event_id where event_id = $1"


class Subjects:
    """The use cases. `signing` is the log's key; receipts are signed with it."""

    def __init__(self, database: Database, vault: Vault, holdings: Sequence[Holding], signing: SigningKey) -> None:
        self._database = database
        self._vault = vault
        self._holdings = tuple(holdings)
        self._signing = signing

    def person(self, tenant: str, subject: str) -> str:
        """The reference of a person, as people name it: an address, a number with `+` and its country's, or an id."""
        return self._vault.people.reference(tenant, subject.strip())

    async def export(
        self, author: Author, subject: str, idempotency: Idempotency[Export], most: int | None = None
    ) -> Once:
        """Everything, and nothing of others; also when there is nothing.

        Raises OUT_OF_RANGE, before anything is fetched, when there are more than `most` records.
        """
        async with self._database.transaction(isolation="repeatable_read") as connection:

            async def produce() -> _Encoded:
                await self._refuse_more_than(connection, author, subject, most)
                export = await self._gathered(connection, author, subject)
                answer = await asyncio.to_thread(idempotency.encode, export)  # megabytes, and the loop serves others
                counts = {kind: len(records) for kind, records in export.data.items()}
                await author.record(connection, Action.SUBJECT_EXPORT, (_target(export.person),), {"records": counts})
                return _Encoded(export.person, answer)

            done = Idempotency(idempotency.method, idempotency.request_id, idempotency.body, _Encoded.bytes)
            return await once(connection, author.caller, done, produce)

    async def erase(self, author: Author, subject: str, reason: str, idempotency: Idempotency[Receipt]) -> Once:
        """Raises FAILED_PRECONDITION (SUBJECT_ON_LEGAL_HOLD)."""
        async with self._database.transaction() as connection:

            async def produce() -> Receipt:
                return await self._erase(connection, author, subject, reason_given=bool(reason))

            return await once(connection, author.caller, idempotency, produce)

    async def seq(self, event: str) -> int:
        """Where the log has the event; -1 while it is not sequenced."""
        async with self._database.connection() as connection:
            seq: int | None = await connection.fetchval(SEQ_OF, UUID(event))
        return -1 if seq is None else seq

    async def hold(self, author: Author, subject: str, reason: str) -> bool:
        """Nothing of the person is erased or grows too old from now on; False when that is so already."""
        tenant, person = author.caller.tenant, self.person(author.caller.tenant, subject)
        async with self._database.transaction() as connection:
            await subject_store.take_person(connection, tenant, person)
            key = await self._vault.key_for(connection, tenant, person)
            actor = author.shown.actor(author.caller).id
            box = key.seal(reason, "legal hold reason", person)
            if not await subject_store.place_hold(connection, tenant, person, box, actor):
                return False
            details = {"what": "legal hold placed"}
            await author.record_sealed(
                connection, Action.ADMIN_COMMAND, (_target(person),), details, key, {"reason": reason}
            )
        return True

    async def release(self, author: Author, subject: str) -> bool:
        """False when the person was on no hold."""
        tenant, person = author.caller.tenant, self.person(author.caller.tenant, subject)
        async with self._database.transaction() as connection:
            await subject_store.take_person(connection, tenant, person)
            if not await subject_store.release_hold(connection, tenant, person):
                return False
            details = {"what": "legal hold released"}
            await author.record(connection, Action.ADMIN_COMMAND, (_target(person),), details)
            for erasure in await subject_store.release_erasures(connection, tenant, person):
                # Under a name of its own: the job that found the hold may not have ended yet.
                await _queue_finish(connection, tenant, str(erasure), [], " released")
        return True

    async def finish(self, payload: bytes, elsewhere: Elsewhere) -> None:
        """The job of an erasure: removes what is outside of PostgreSQL, erases again what the stores still hold, and
        notes when all are empty. Raises RuntimeError when something is left: the job is tried again. What a hold placed
        since keeps is left until that is released, and then there is another job."""
        job = orjson.loads(payload)
        async with self._database.transaction() as connection:
            erasure = await subject_store.unverified(connection, job["tenant"], UUID(job["erasure"]))
            if erasure is None:
                return
            await subject_store.count_attempt(connection, erasure)
        names = (erasure.person, *job["conversations"])
        gone = await elsewhere(names)
        late = await self._emptied(erasure)
        # Counted in a transaction of its own: what was erased stays erased, whatever is left.
        async with self._database.transaction() as connection:
            await subject_store.take_person(connection, erasure.tenant, erasure.person)
            left = await self._left(connection, erasure)
            held = left > 0 and await subject_store.hold_since(connection, erasure.tenant, erasure.person) is not None
            if held:
                await subject_store.held(connection, erasure)
            elif not left:
                await subject_store.verified(connection, erasure)
        found = {store.store: store.erased for store in late if store.erased}
        facts = {"erasure": job["erasure"], "late": found, "elsewhere": gone}
        if held:
            log.warning("erasure held: what came in late is kept by a legal hold", extra=facts | {"left": left})
        elif left:
            raise RuntimeError(f"{left} records are left of an erased person")
        else:
            log.info("erasure verified", extra=facts)

    async def _refuse_more_than(self, connection: Connection, author: Author, subject: str, most: int | None) -> None:
        if most is None:
            return
        tenant, person = author.caller.tenant, self.person(author.caller.tenant, subject)
        if sum([await holding.count(connection, tenant, person) for holding in self._holdings]) > most:
            raise too_much()

    async def _gathered(self, connection: Connection, author: Author, subject: str) -> Export:
        tenant, person = author.caller.tenant, self.person(author.caller.tenant, subject)
        data: dict[str, Any] = {}
        for holding in self._holdings:
            data |= await holding.export(connection, tenant, person)
        actor = author.shown.stand_in(tenant, subject.strip())
        data["audit_events"] = await trail_holding.events(connection, self._vault, tenant, actor, _target(person))
        return Export(person, await connection.fetchval(NOW), data)

    async def _erase(self, connection: Connection, author: Author, subject: str, *, reason_given: bool) -> Receipt:
        tenant, person = author.caller.tenant, self.person(author.caller.tenant, subject)
        await subject_store.take_person(connection, tenant, person)
        if await subject_store.hold_since(connection, tenant, person):
            raise AppError(
                Code.FAILED_PRECONDITION, Reason.SUBJECT_ON_LEGAL_HOLD, "what is held of this person must be kept"
            )
        now: datetime = await connection.fetchval(NOW)
        conversations = [row["conversation"] for row in await connection.fetch(CONVERSATIONS_OF, tenant, person)]
        keys = await subject_store.destroy(connection, tenant, person)
        stores = [Erased("keys", keys)]
        for holding in self._holdings:
            stores += await holding.erase(connection, tenant, person, now)
        actor = author.shown.stand_in(tenant, subject.strip())
        stores.append(await trail_holding.kept(connection, tenant, actor))
        details = facts(stores) | {"reason_given": int(reason_given)}
        leaf = await author.record(connection, Action.SUBJECT_ERASE, (_target(person),), details)
        receipt = Receipt(tenant, leaf.event_id, person, now, tuple(stores))
        receipt = replace(receipt, note=signed(receipt, self._signing))
        erasure = StoredErasure(tenant, UUID(leaf.event_id), person, now)
        await subject_store.add_erasure(connection, erasure, receipt.stores_json(), receipt.note)
        await _queue_finish(connection, tenant, leaf.event_id, conversations)
        return receipt

    async def _emptied(self, erasure: StoredErasure) -> list[Erased]:
        """Erases what came in late, unless a hold was placed since."""
        late: list[Erased] = []
        async with self._database.transaction() as connection:
            await subject_store.take_person(connection, erasure.tenant, erasure.person)
            if await subject_store.hold_since(connection, erasure.tenant, erasure.person):
                return []
            for holding in self._holdings:
                late += await holding.erase(connection, erasure.tenant, erasure.person, erasure.erased_at)
        return late

    async def _left(self, connection: Connection, erasure: StoredErasure) -> int:
        which = (erasure.tenant, erasure.person, erasure.erased_at)
        return sum([await holding.remaining(connection, *which) for holding in self._holdings])


async def _queue_finish(
    connection: Connection, tenant: str, erasure: str, conversations: Sequence[str], why: str = ""
) -> None:
    payload = {"tenant": tenant, "erasure": erasure, "conversations": conversations}
    await enqueue(connection, FINISH, orjson.dumps(payload), dedupe_key=f"{FINISH} {erasure}{why}")


def _target(person: str) -> str:
    return f"subjects/{person}"

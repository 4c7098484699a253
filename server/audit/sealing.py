"""What people wrote, sealed with a key of each person: whoever destroys the key has erased the text wherever it lies.

    box = version (1 byte, 1) ‖ key id (16 bytes) ‖ nonce (12 bytes) ‖ AES-256-GCM ciphertext with tag

A data key belongs to one person of one tenant, is made when it is first needed, and is stored sealed with a master key
(server/envelope.py). The place of a box (which field of which row) is authenticated: moved elsewhere it does not open.
Keys are remembered only while the process hears of erasures (server/audit/erasures.py); one of a transaction that may
still be rolled back never is.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.audit import subject_store
from server.audit.leaf import SealedValue
from server.audit.subject_store import WrappedKey
from server.db.pool import Connection
from server.envelope import MasterKeys, NotOpened
from server.errors import AppError, Code, Reason
from server.pii.people import People

log = logging.getLogger(__name__)

ERASED = "[erased]"
"""What stands where something was that nobody can read any more."""

_VERSION = 1
_NONCE = 12
_HEADER = 1 + 16
_MOST = 10_000  # keys in memory
_REMEMBER = 300.0  # seconds


@dataclass(frozen=True, slots=True, repr=False)
class SubjectKey:
    """The key of a person of a tenant."""

    tenant: str
    id: UUID
    person: str
    cipher: AESGCM

    def seal(self, text: str, *place: str) -> bytes:
        """A box that opens at `place` only: the table and field, then what names the row."""
        return self.seal_bytes(text.encode("utf-8", "surrogatepass"), *place)

    def seal_bytes(self, content: bytes, *place: str) -> bytes:
        """The same for what is no text."""
        nonce = os.urandom(_NONCE)
        sealed = self.cipher.encrypt(nonce, content, _context(self.tenant, place))
        return bytes([_VERSION]) + self.id.bytes + nonce + sealed

    def open(self, box: bytes, *place: str) -> str:
        """What was sealed. Raises NotOpened."""
        return self.open_bytes(box, *place).decode("utf-8", "surrogatepass")

    def open_bytes(self, box: bytes, *place: str) -> bytes:
        """What was sealed by `seal_bytes`. Raises NotOpened."""
        start = _HEADER + _NONCE
        try:
            return self.cipher.decrypt(box[_HEADER:start], box[start:], _context(self.tenant, place))
        except (InvalidTag, ValueError) as cause:
            raise NotOpened("changed, or made for another place") from cause

    def sealed_value(self, field: str, text: str, event_id: str) -> SealedValue:
        """A personal field of an audit event."""
        nonce = os.urandom(_NONCE)
        context = _context(self.tenant, ("audit", field, event_id))
        ciphertext = self.cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), context)
        return SealedValue(field, self.person, str(self.id), nonce, ciphertext)


class Keys:
    """The keys that boxes of one reading need, those of them that exist."""

    def __init__(self, keys: Mapping[UUID, SubjectKey]) -> None:
        self._keys = keys

    def text(self, box: bytes | None, *place: str) -> str | None:
        """What the box holds; None when there is no box or nobody can open it any more."""
        content = self.content(box, *place)
        return None if content is None else content.decode("utf-8", "surrogatepass")

    def content(self, box: bytes | None, *place: str) -> bytes | None:
        """The same of a box that holds no text."""
        key = self._keys.get(_key_id(box)) if box else None
        if box is None or key is None:
            return None
        try:
            return key.open_bytes(box, *place)
        except NotOpened as problem:
            log.warning("a sealed field does not open: %s", problem, extra={"place": place[0]})
            return None

    def value(self, sealed: SealedValue, event_id: str) -> str | None:
        """A sealed field of an audit event; None when nobody can open it any more."""
        key = self._keys.get(UUID(sealed.key_id))
        if key is None:
            return None
        try:
            context = _context(key.tenant, ("audit", sealed.field, event_id))
            return key.cipher.decrypt(sealed.nonce, sealed.ciphertext, context).decode("utf-8", "surrogatepass")
        except InvalidTag:
            log.warning("a sealed field of an audit event does not open", extra={"place": sealed.field})
            return None


NO_KEYS = Keys({})


class Vault:
    """Seals and opens for one process. SQL runs on the caller's connection, in its transaction where one is open."""

    def __init__(self, masters: MasterKeys, people: People) -> None:
        self.people = people
        self._masters = masters
        self._by_id: OrderedDict[tuple[str, UUID], tuple[float, SubjectKey]] = OrderedDict()
        self._current: dict[tuple[str, str], UUID] = {}
        self._remembering = False
        self._erasures = 0

    def remember(self, *, keys: bool) -> None:
        """Whether keys may stay in memory: only as long as the process would hear that one is destroyed."""
        self._remembering = keys
        self._drop_all()

    def forget(self, tenant: str, person: str) -> None:
        """The person's keys were destroyed."""
        self._erasures += 1
        for held in [held for held, (_, key) in self._by_id.items() if (held[0], key.person) == (tenant, person)]:
            del self._by_id[held]
        self._current.pop((tenant, person), None)

    @property
    def remembering(self) -> bool:
        """Whether keys stay in memory at this moment."""
        return self._remembering

    @property
    def remembered(self) -> int:
        """Keys in memory."""
        return len(self._by_id)

    async def key_for(self, connection: Connection, tenant: str, person: str) -> SubjectKey:
        """The key that seals what the person writes; made when there is none. `person` '' is nobody in particular."""
        if key := self._remembered_current(tenant, person):
            return key
        erasures = self._erasures
        stored = await subject_store.current(connection, tenant, person)
        if stored is None:
            id, fresh = uuid4(), AESGCM.generate_key(256)
            wrapped = self._masters.seal(fresh, _wrapping(tenant, id))
            await subject_store.add(connection, tenant, id, person, wrapped)
            stored = await subject_store.current(connection, tenant, person)
        if stored is None:
            raise RuntimeError("a key neither made nor found")
        key = self._unwrapped(tenant, stored)
        if key is None:
            raise AppError(Code.INTERNAL, Reason.INTERNAL, "personal data cannot be sealed: a master key is missing")
        if stored.settled and erasures == self._erasures:
            self._keep(key)
            self._current[tenant, person] = key.id
        return key

    async def keys_of(self, connection: Connection, tenant: str, boxes: Iterable[bytes | None]) -> Keys:
        """The keys that open these boxes, in at most one query."""
        return await self._keys(connection, tenant, {_key_id(box) for box in boxes if box})

    async def keys_of_values(self, connection: Connection, tenant: str, sealed: Iterable[SealedValue]) -> Keys:
        """The keys that open these fields of audit events, in at most one query."""
        return await self._keys(connection, tenant, {UUID(value.key_id) for value in sealed})

    async def _keys(self, connection: Connection, tenant: str, ids: set[UUID]) -> Keys:
        found = {id: key for id in ids if (key := self._remembered(tenant, id))}
        if missing := ids - found.keys():
            erasures = self._erasures
            for stored in await subject_store.by_id(connection, tenant, list(missing)):
                if key := self._unwrapped(tenant, stored):
                    found[key.id] = key
                    if stored.settled and erasures == self._erasures:
                        self._keep(key)
        return Keys(found)

    def _unwrapped(self, tenant: str, stored: WrappedKey) -> SubjectKey | None:
        try:
            opened = self._masters.open(stored.wrapped, _wrapping(tenant, stored.id))
        except NotOpened as problem:
            log.warning("the key of a person does not open: %s", problem, extra={"key": str(stored.id)})
            return None
        return SubjectKey(tenant, stored.id, stored.person, AESGCM(opened))

    def _keep(self, key: SubjectKey) -> None:
        if not self._remembering:
            return
        self._by_id[key.tenant, key.id] = (time.monotonic() + _REMEMBER, key)
        if len(self._by_id) > _MOST:
            (tenant, _), (_, oldest) = self._by_id.popitem(last=False)
            self._current.pop((tenant, oldest.person), None)

    def _remembered_current(self, tenant: str, person: str) -> SubjectKey | None:
        id = self._current.get((tenant, person))
        return self._remembered(tenant, id) if id else None

    def _remembered(self, tenant: str, id: UUID) -> SubjectKey | None:
        until, key = self._by_id.get((tenant, id), (0.0, None))
        return key if time.monotonic() < until else None

    def _drop_all(self) -> None:
        self._erasures += 1  # what is being read at this moment is not kept either
        self._by_id.clear()
        self._current.clear()


def rewrapped(masters: MasterKeys, tenant: str, id: UUID, wrapped: bytes) -> bytes | None:
    """The key in a box of the current master key; None when it is in one. Raises NotOpened."""
    if masters.sealed_with(wrapped) == masters.current:
        return None
    return masters.seal(masters.open(wrapped, _wrapping(tenant, id)), _wrapping(tenant, id))


def _key_id(box: bytes) -> UUID:
    return UUID(bytes=box[1:_HEADER]) if len(box) > _HEADER else UUID(int=0)


def _context(tenant: str, place: tuple[str, ...]) -> bytes:
    return "\x1f".join((tenant, *place)).encode()


def _wrapping(tenant: str, id: UUID) -> bytes:
    return _context(tenant, ("subject key", str(id)))


def opens(masters: MasterKeys, tenant: str, id: UUID, wrapped: bytes) -> bool:
    """Whether these master keys open the key of a person: after a restore, whether they are the right ones."""
    try:
        masters.open(wrapped, _wrapping(tenant, id))
    except NotOpened:
        return False
    return True

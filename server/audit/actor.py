"""Who somebody is, as the trail may show it: opaque ids as they are, everything else as a keyed pseudonym."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

from server.audit.leaf import NO_TENANT, Actor, Source
from server.caller import Caller, Request, Role
from server.envelope import MasterKey
from server.pii.kinds import Kind
from server.pii.people import spelling
from server.pii.pseudonym import Pseudonyms
from server.settings import Secret

# An id made of letters and digits says nothing about a person; seven digits or more may be a telephone number.
_OPAQUE_ID = re.compile(r"(?!\d{7,}$)[A-Za-z0-9_.:-]{1,128}")
_PHONE = re.compile(r"[+\d][\d ()-]{6,}")
_PSEUDONYM = re.compile(r"[A-Z_]+:v\d+:[A-Z2-7]{16}")
_RANK = (Role.ADMIN, Role.STAFF, Role.AUDITOR, Role.SERVICE, Role.CUSTOMER)
_REMEMBERED = 4096


def pseudonyms_from(secret: Secret, keys: Sequence[MasterKey] = ()) -> Pseudonyms:
    """The pseudonyms of the audit trail. Version 1 is keyed by HMAC-SHA-256(secret, purpose), because one secret serves
    many uses, unless `keys` (their ids are versions) hold a version 1; the highest version makes new pseudonyms."""
    derived = hmac.new(secret.reveal().encode(), b"tria audit pseudonyms v1", hashlib.sha256).digest()
    return Pseudonyms({1: derived, **{int(key.id): key.key for key in keys}})


class Shown:
    """Makes actors and sources fit for the trail. Without pseudonyms what may be personal is left out."""

    def __init__(self, pseudonyms: Pseudonyms | None) -> None:
        self._pseudonyms = pseudonyms
        self.subject = lru_cache(_REMEMBERED)(self._subject)
        self._ip_hash = lru_cache(_REMEMBERED)(self._address)

    def actor(self, caller: Caller) -> Actor:
        """The actor behind a caller: its highest role, its id, how it proved it, whom it acted for."""
        tenant = caller.tenant or NO_TENANT
        return Actor(
            kind=next((role.value for role in _RANK if role in caller.roles), "ANONYMOUS"),
            id=self.subject(tenant, caller.subject),
            auth_method=caller.auth_method.value,
            on_behalf_of=self.subject(tenant, caller.on_behalf_of),
        )

    def source(self, tenant: str, request: Request | None) -> Source:
        """Where a call came from."""
        return Source(self._ip_hash(tenant, request.peer), request.agent) if request else Source()

    def stand_in(self, tenant: str, subject: str) -> str:
        """What stands for a subject in stores and keys: as in the trail, but without pseudonyms the subject itself,
        because two people must never become one. A subject that looks like a pseudonym gets one of its own."""
        if not self._pseudonyms:
            return subject
        if _PSEUDONYM.fullmatch(subject):
            return self._hidden(tenant or NO_TENANT, Kind.PERSON, subject)
        return self.subject(tenant or NO_TENANT, subject)

    def text(self, tenant: str, text: str) -> str:
        """A fingerprint of what somebody wrote, by which only who holds the key finds the same words again."""
        return self._pseudonyms.pseudonym(tenant or NO_TENANT, "TEXT", text) if self._pseudonyms else ""

    def stranger(self, address: str) -> str:
        """What stands for the address of somebody unknown, in the same way."""
        return self._ip_hash(NO_TENANT, address) if self._pseudonyms else address

    def _subject(self, tenant: str, subject: str) -> str:
        if not subject or _OPAQUE_ID.fullmatch(subject):
            return subject
        plain = spelling(subject)
        kind = Kind.PHONE if _PHONE.fullmatch(plain) else Kind.EMAIL if "@" in plain else Kind.PERSON
        return self._hidden(tenant, kind, plain)

    def _address(self, tenant: str, address: str) -> str:
        return self._hidden(tenant, Kind.IP_ADDRESS, address) if address else ""

    def _hidden(self, tenant: str, kind: Kind, value: str) -> str:
        return self._pseudonyms.exactly(tenant, kind, value) if self._pseudonyms else kind.value

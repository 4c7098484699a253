"""The record of a change, written by the transaction of the change itself: both commit, or neither."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from server.audit import store
from server.audit.actions import Action, Decision, LeafKind
from server.audit.actor import Shown
from server.audit.leaf import NO_TENANT, Leaf, Plain
from server.audit.sealing import SubjectKey
from server.audit.store import Entry
from server.caller import AuthMethod, Caller, Request, Role
from server.db.pool import Connection
from server.pii.scrub import scrub


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, in which call; `request` is None for a command of an operator."""

    caller: Caller
    request: Request | None
    shown: Shown

    async def record(
        self,
        connection: Connection,
        action: Action,
        targets: Sequence[str],
        details: Mapping[str, Plain],
        *,
        decision: Decision = Decision.ALLOWED,
    ) -> Leaf:
        """Writes a CHANGE leaf on `connection`, inside its open transaction."""
        leaf = self._leaf(action, targets, details, decision)
        await store.add(connection, [Entry.of(leaf)])
        return leaf

    async def record_sealed(
        self,
        connection: Connection,
        action: Action,
        targets: Sequence[str],
        details: Mapping[str, Plain],
        key: SubjectKey,
        personal: Mapping[str, str],
    ) -> Leaf:
        """The same with personal fields, sealed with their person's key."""
        leaf = self._leaf(action, targets, details, Decision.ALLOWED)
        sealed = tuple(key.sealed_value(field, text, leaf.event_id) for field, text in personal.items())
        leaf = replace(leaf, sealed=sealed)
        await store.add(connection, [Entry.of(leaf)])
        return leaf

    def _leaf(self, action: Action, targets: Sequence[str], details: Mapping[str, Plain], decision: Decision) -> Leaf:
        tenant = self.caller.tenant or NO_TENANT
        return Leaf(
            tenant=tenant,
            action=action,
            actor=self.shown.actor(self.caller),
            decision=decision,
            kind=LeafKind.CHANGE,
            targets=tuple(scrub(target) for target in targets),
            rpc=self.request.method if self.request else "",
            request_id=self.request.request_id if self.request else "",
            trace_id=self.request.trace_id if self.request else "",
            source=self.shown.source(tenant, self.request),
            details={key: _scrubbed(value) for key, value in details.items()},
        )


def _scrubbed(value: Plain) -> Plain:
    """Names of outlets and files are ids by the contract, and people write numbers of people into them."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(inner) for key, inner in value.items()}
    return [_scrubbed(item) for item in value] if isinstance(value, Sequence) else value


def operator(tenant: str) -> Author:
    """Whoever runs a command on this machine, with the rights that reading the stores' passwords gives."""
    caller = Caller(tenant, f"operator:{getpass.getuser()}", frozenset({Role.ADMIN}), AuthMethod.NONE)
    return Author(caller, None, Shown(None))


def worker(tenant: str) -> Author:
    """The worker itself, in what it does for a tenant that nobody has asked for at that moment."""
    caller = Caller(tenant, "tria-worker", frozenset({Role.SERVICE}), AuthMethod.NONE)
    return Author(caller, None, Shown(None))

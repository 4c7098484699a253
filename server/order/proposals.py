"""Deciding on proposals: the only way from chat to a side effect. A person confirms exactly what was shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.caller import Caller
from server.db.pool import Connection
from server.errors import AppError, Code, Reason, not_found
from server.idempotency import Idempotency, Once, once
from server.order import proposal_store
from server.order.access import outlet_scope
from server.order.changing import Change, change_order
from server.order.deciding import move_order
from server.order.order import Order
from server.order.ordering import Ordering, confirm, find_twin, publish, store_draft
from server.order.pricing import refuse
from server.order.proposal import Asked, Kind, Proposal, ProposalMoved, ProposalState
from server.order.proposing import Presented, present, propose
from server.order.sentences import Saying, say
from server.order.states import Move
from server.order.terms import lock_outlet

_FINAL = {ProposalState.CONFIRMED, ProposalState.REJECTED}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A confirmed proposal and the order that was made or changed."""

    proposal: Proposal
    order: Order

    @property
    def person(self) -> str:
        return self.order.person


class _Stale(Exception):
    """Not what was shown: ends the transaction, then a new proposal is made in one of its own."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Proposals:
    """The use cases around proposals. `propose` is what chat calls; there is no tool of the model's for the rest."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    async def propose(self, connection: Connection, tenant: str, asked: Asked) -> Proposal:
        """As `proposing.propose`, inside the caller's transaction."""
        return await propose(connection, self._ordering, tenant, asked)

    async def get(self, caller: Caller, name: str) -> Proposal:
        """The proposal as it stands now. Raises NOT_FOUND, also for another tenant's or outlet's."""
        async with self._ordering.database.connection() as connection:
            return self._seen(await self._load(connection, caller, name, lock=False))

    async def confirm(
        self, author: Author, name: str, arguments_sha256: str, idempotency: Idempotency[Confirmed]
    ) -> Once:
        """Does exactly what was shown, in one transaction.

        Raises ProposalMoved (FAILED_PRECONDITION with PROPOSAL_CHANGED, PROPOSAL_EXPIRED or ORDER_DUPLICATE_SUSPECTED)
        with a new proposal when prices, stock, delivery day or the order have moved; the guard's own reason when what
        was shown cannot be confirmed; PROPOSAL_CLOSED when it was decided already.
        """
        try:
            async with self._ordering.database.transaction() as connection:

                async def produce() -> Confirmed:
                    return await self._confirm(connection, author, name, arguments_sha256)

                return await once(connection, author.caller, idempotency, produce)
        except _Stale as stale:
            raise ProposalMoved(stale.reason, await self._renewed(author, name, stale.reason)) from stale

    async def reject(self, author: Author, name: str, reason: str, idempotency: Idempotency[Proposal]) -> Once:
        """Closes the proposal. Raises PROPOSAL_CLOSED when it was decided otherwise."""
        tenant = author.caller.tenant
        async with self._ordering.database.transaction() as connection:

            async def produce() -> Proposal:
                proposal = await self._load(connection, author.caller, name, lock=True)
                if proposal.state is ProposalState.CONFIRMED:
                    raise _closed(proposal)
                await proposal_store.close(connection, tenant, proposal.id, ProposalState.REJECTED)
                details: dict[str, Plain] = {"outlet": proposal.asked.outlet, "reason_given": int(bool(reason))}
                await author.record(connection, Action.PROPOSAL_REJECT, (proposal.name,), details)
                return replace(proposal, state=ProposalState.REJECTED)

            return await once(connection, author.caller, idempotency, produce)

    async def _confirm(self, connection: Connection, author: Author, name: str, sha256: str) -> Confirmed:
        ordering, tenant = self._ordering, author.caller.tenant
        proposal = await self._load(connection, author.caller, name, lock=True)
        self._check_open(proposal, sha256)
        shown = await present(connection, ordering, tenant, proposal.asked, lock=True)
        await lock_outlet(connection, tenant, proposal.asked.outlet)
        if shown.sha256 != proposal.arguments_sha256:
            raise _Stale(Reason.PROPOSAL_CHANGED)
        refuse(shown.priced.violations)
        order = await self._execute(connection, author, proposal, shown)
        await proposal_store.close(connection, tenant, proposal.id, ProposalState.CONFIRMED, resource=order.name)
        details = {"outlet": order.outlet, "arguments_sha256": sha256}
        await author.record(connection, Action.PROPOSAL_CONFIRM, (proposal.name, order.name), details)
        return Confirmed(replace(proposal, state=ProposalState.CONFIRMED, resource=order.name), order)

    def _check_open(self, proposal: Proposal, sha256: str) -> None:
        if proposal.state in _FINAL:
            raise _closed(proposal)
        if proposal.state is ProposalState.SUPERSEDED:
            raise _Stale(Reason.PROPOSAL_CHANGED)
        if self._seen(proposal).state is ProposalState.EXPIRED:
            raise _Stale(Reason.PROPOSAL_EXPIRED)
        if sha256 != proposal.arguments_sha256:
            # Whoever confirms has seen something else; what holds is this proposal.
            raise ProposalMoved(Reason.PROPOSAL_CHANGED, proposal)

    async def _execute(self, connection: Connection, author: Author, proposal: Proposal, shown: Presented) -> Order:
        ordering, asked, order = self._ordering, shown.asked, shown.order
        if order is not None:
            if asked.kind is Kind.CANCEL_ORDER:
                return await move_order(connection, ordering, author, order, Move.CANCEL, "")
            change = Change(asked.wanted, asked.day, asked.note or None)
            return await change_order(connection, ordering, author, order, change)
        tenant, now = author.caller.tenant, ordering.now()
        twin = await find_twin(connection, ordering.vault, tenant, shown.terms, shown.priced, now)
        if twin is not None and twin.id != proposal.duplicate_of:
            raise _Stale(Reason.ORDER_DUPLICATE_SUSPECTED)
        draft = await store_draft(
            connection, ordering.vault, tenant, shown.terms, shown.priced, now,
            note=asked.note, conversation=asked.conversation, proposal=proposal.id,
            person=asked.person or author.caller.person,
        )  # fmt: skip
        await author.record(connection, Action.ORDER_CREATE, (draft.name,), {"outlet": draft.outlet})
        placed = await confirm(connection, ordering, author, draft, shown.terms, shown.priced)
        details = {"hold_reasons": list(placed.hold_reasons), "proposal": proposal.name}
        return await publish(connection, ordering, author, placed, Action.ORDER_CONFIRM, details)

    async def _renewed(self, author: Author, name: str, reason: Reason) -> Proposal:
        """What can be confirmed instead: the newest successor, made now where there is none that still holds."""
        tenant = author.caller.tenant
        async with self._ordering.database.transaction() as connection:
            current = await self._load(connection, author.caller, name, lock=True)
            while current.successor:
                current = await self._load(connection, author.caller, current.successor, lock=True)
                if self._seen(current).state is ProposalState.OPEN:
                    return current
            if current.state in _FINAL:
                raise _closed(current)
            new = await propose(connection, self._ordering, tenant, current.asked)
            ended = ProposalState.EXPIRED if reason is Reason.PROPOSAL_EXPIRED else ProposalState.SUPERSEDED
            await proposal_store.close(connection, tenant, current.id, ended, successor=new.id)
            return new

    async def _load(self, connection: Connection, caller: Caller, name: str, *, lock: bool) -> Proposal:
        id = name.removeprefix("proposals/")
        vault = self._ordering.vault
        found = await proposal_store.get(connection, vault, caller.tenant, id, outlet_scope(caller), lock=lock)
        if found is None:
            raise not_found(f"proposals/{id}")
        return found

    def _seen(self, proposal: Proposal) -> Proposal:
        """With its end counted in: nothing runs at that moment to write it down."""
        if proposal.state is ProposalState.OPEN and self._ordering.now() >= proposal.expires_at:
            return replace(proposal, state=ProposalState.EXPIRED)
        return proposal


def _closed(proposal: Proposal) -> AppError:
    return AppError(
        Code.FAILED_PRECONDITION,
        Reason.PROPOSAL_CLOSED,
        say(Saying[f"PROPOSAL_{proposal.state.value}"], proposal.asked.language or "en"),
        metadata={"state": proposal.state.value, "proposal": proposal.name, "resource": proposal.resource},
    )

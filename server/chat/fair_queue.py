"""A queue that is fair between tenants: they take turns, and within a tenant who came first goes first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue."""

    tenant: str
    tokens: int


@dataclass(slots=True)
class FairQueue:
    """Tickets by tenant; the tenants in the order of their turns."""

    _tickets: dict[str, deque[Ticket]] = field(default_factory=dict)
    _turns: deque[str] = field(default_factory=deque)

    def __len__(self) -> int:
        return sum(map(len, self._tickets.values()))

    def join(self, ticket: Ticket) -> None:
        """Behind the tenant's others; a tenant that had none takes its turn after those that are waiting."""
        if ticket.tenant not in self._tickets:
            self._tickets[ticket.tenant] = deque()
            self._turns.append(ticket.tenant)
        self._tickets[ticket.tenant].append(ticket)

    def first(self) -> Ticket | None:
        """Whose turn it is."""
        return self._tickets[self._turns[0]][0] if self._turns else None

    def next(self) -> Ticket | None:
        """Takes out the ticket whose turn it is; its tenant's next one comes after those of all others."""
        if not self._turns:
            return None
        ticket = self._tickets[self._turns[0]].popleft()
        self._turns.rotate(-1)
        self._forget_if_empty(ticket.tenant)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Takes the ticket out, wherever it stands; nothing when it is not there any more."""
        waiting = self._tickets.get(ticket.tenant, deque())
        if ticket in waiting:
            waiting.remove(ticket)
            self._forget_if_empty(ticket.tenant)

    def position(self, ticket: Ticket) -> int:
        """From 1; 0 for a ticket that is not here. Each other tenant goes before it as often as its own does, and once
        more where its turn is earlier."""
        own = self._tickets.get(ticket.tenant, deque())
        if ticket not in own:
            return 0
        rank, ahead, earlier = own.index(ticket), 0, True
        for tenant in self._turns:
            if tenant == ticket.tenant:
                earlier = False
            else:
                ahead += min(len(self._tickets[tenant]), rank + earlier)
        return rank + ahead + 1

    def _forget_if_empty(self, tenant: str) -> None:
        if not self._tickets[tenant]:
            del self._tickets[tenant]
            self._turns.remove(tenant)

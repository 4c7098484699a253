"""The parts that orders are made of, put together for one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from server.audit.sealing import Vault
from server.db.listening import Bell
from server.db.pool import Database
from server.order.catalogue import Catalogue
from server.order.changing import Changing
from server.order.deciding import Deciding
from server.order.feed import CHANNEL
from server.order.invoicing import Invoicing
from server.order.ordering import Ordering
from server.order.placing import Placing
from server.order.proposals import Proposals
from server.order.reading import Reading
from server.order.taking import Taking
from server.order.terms import MoneyRules
from server.order.threads import NoThreads, Threads
from server.order.watching import Watching
from server.paging import PageTokens
from server.stream_life import StreamLimits


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """The use cases of orders. `bell.keep_listening()` is a task that the application owns; `watching.drain()` belongs
    to its drain."""

    placing: Placing
    reading: Reading
    changing: Changing
    deciding: Deciding
    watching: Watching
    proposals: Proposals
    taking: Taking
    bell: Bell


def order_desk(
    database: Database,
    vault: Vault,
    catalogue: Catalogue,
    dsn: str,
    invoicing: Invoicing,
    money: MoneyRules,
    tokens: PageTokens,
    limits: StreamLimits,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    threads: Threads | None = None,
) -> OrderDesk:
    """The use cases over one database; `dsn` is the same database's, for the connection that listens; `threads` are
    told what happens to the orders of conversations."""
    ordering = Ordering(database, vault, invoicing, money, now, threads or NoThreads())
    bell = Bell(dsn, CHANNEL, name="tria-bell")
    return OrderDesk(
        placing=Placing(ordering),
        reading=Reading(ordering, tokens),
        changing=Changing(ordering),
        deciding=Deciding(ordering),
        watching=Watching(database, vault, bell, tokens, limits),
        proposals=Proposals(ordering),
        taking=Taking(ordering, catalogue),
        bell=bell,
    )

"""The port through which orders tell the conversations that they came from; chat implements it."""

from __future__ import annotations

from typing import Protocol

from server.audit.changes import Author
from server.db.pool import Connection
from server.order.order import Order


class Threads(Protocol):
    """Conversations, as orders see them."""

    async def order_changed(self, connection: Connection, author: Author, order: Order) -> None:
        """Called by the transaction of every change, after the order's own rows and before the tenant's feed."""


class NoThreads:
    """For processes without chat."""

    async def order_changed(self, connection: Connection, author: Author, order: Order) -> None:
        """Nobody listens."""

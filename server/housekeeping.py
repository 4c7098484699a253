"""What must not be kept for ever."""

from __future__ import annotations

import logging

from server.db.pool import Database

log = logging.getLogger(__name__)

FORGET_REQUESTS = """
delete from idempotency where ctid = any(array(
    select ctid from idempotency where created_at < now() - interval '7 days' limit 5000
))
"""


async def forget_old_requests(database: Database) -> None:
    """Removes the first answers that nobody may ask for any more: those older than 7 days (CONTRACT.md §2)."""
    removed = "DELETE 5000"
    while removed == "DELETE 5000":  # in portions, each its own short transaction
        async with database.connection() as connection:
            removed = await connection.execute(FORGET_REQUESTS)

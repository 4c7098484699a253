"""Puts the keys of people into boxes of the current master key, so that an older one can be taken away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from server.audit import subject_store
from server.audit.sealing import rewrapped
from server.db.pool import Database
from server.envelope import MasterKeys, NotOpened

log = logging.getLogger(__name__)

_BATCH = 500


@dataclass(slots=True)
class Rewrapped:
    """Keys by what became of them; `lost` are those whose master key is not configured."""

    changed: int = 0
    current: int = 0
    lost: int = 0


async def rewrap_all(database: Database, masters: MasterKeys) -> Rewrapped:
    """Goes through all keys in small transactions; may be stopped and started again."""
    report = Rewrapped()
    tenant, id = "", UUID(int=0)
    while True:
        async with database.transaction() as connection:
            found = await subject_store.keys_after(connection, tenant, id, _BATCH)
            for tenant, id, wrapped in found:  # the last one is where the next portion begins
                try:
                    fresh = rewrapped(masters, tenant, id, wrapped)
                except NotOpened as problem:
                    log.warning("the key of a person does not open: %s", problem, extra={"key": str(id)})
                    report.lost += 1
                    continue
                if fresh is None:
                    report.current += 1
                else:
                    await subject_store.rewrap(connection, tenant, id, wrapped, fresh)
                    report.changed += 1
        if len(found) < _BATCH:
            return report

"""The timeouts that a session behind a pooler really has.

A pooler of transactions refuses settings that are asked for at the start of a connection, so there they are the role's:
nothing of ours sets them, and where nobody did, a statement that hangs is ended by nobody but the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

import asyncpg

FOUND: Final[LiteralString] = "select name, setting::bigint as ms from pg_settings where name = any($1)"
ROLE: Final[LiteralString] = "select quote_ident(current_user)"


async def missing_timeouts(connection: asyncpg.Connection, wanted: Mapping[str, int]) -> str:
    """What is off or longer than wanted (ms by name), as a sentence with the statements that mend it; empty when all is
    well. One transaction: behind a pooler the next one may have another session."""
    async with connection.transaction(readonly=True):
        found = {row["name"]: row["ms"] for row in await connection.fetch(FOUND, list(wanted))}
        role = await connection.fetchval(ROLE)
    wrong = {name: ms for name, ms in wanted.items() if not 0 < found[name] <= ms}
    if not wrong:
        return ""
    said = ", ".join(f"{name} is {f'{found[name]} ms' if found[name] else 'off'}" for name in wrong)
    mended = "; ".join(f"alter role {role} set {name} = '{ms}ms'" for name, ms in wrong.items())
    return f"sessions behind the pooler lack timeouts ({said}): {mended}; then have the pooler reconnect"

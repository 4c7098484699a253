"""Driver errors become `AppError`s here and nowhere else.

What the caller may retry is said by the code: UNAVAILABLE when the store is away or too busy, ABORTED when two
transactions collided. What is left untranslated (a syntax error, a wrong argument) is a defect and ends as INTERNAL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from server.errors import AppError, Code, Reason

AWAY = (
    OSError,  # refused, reset, no socket; TimeoutError too: no answer within command_timeout
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that was demoted under us
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.InternalClientError,  # a connection cut in the middle of a message; also: no server of the asked-for kind
)
"""The store cannot be used just now; the call's own transaction did not commit, or its outcome is not known."""

_RETRY_AWAY = 1.0  # seconds: the prober of server/db/pool.py looks at least that often
_RETRY_BUSY = 0.5
_RETRY_COLLISION = 0.05


class ConstraintViolated(Exception):
    """A row broke the named constraint; a store that expects it catches it, for all others it is a defect."""

    def __init__(self, constraint: str, table: str) -> None:
        super().__init__(f"constraint {constraint} of {table}")
        self.constraint = constraint
        self.table = table


def store_unavailable() -> AppError:
    """UNAVAILABLE: PostgreSQL is away."""
    return AppError(
        Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "the database is not available", retry_after=_RETRY_AWAY
    )


def store_busy(message: str) -> AppError:
    """UNAVAILABLE: PostgreSQL is there, but this call did not get its turn."""
    return AppError(Code.UNAVAILABLE, Reason.STORE_BUSY, message, retry_after=_RETRY_BUSY)


@asynccontextmanager
async def translate_errors() -> AsyncIterator[None]:
    """Around database work only: raises AppError or ConstraintViolated in place of the driver's exceptions.

    `Database.connection()` and `transaction()` hold it already. A store adds its own around a statement only to catch
    ConstraintViolated inside a transaction that goes on (after a savepoint: `async with connection.transaction()`).
    """
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as cause:
        raise ConstraintViolated(cause.constraint_name or "", cause.table_name or "") from cause
    except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as cause:
        raise AppError(
            Code.ABORTED, Reason.STORE_BUSY, "another change came first; try again", retry_after=_RETRY_COLLISION
        ) from cause
    except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError) as cause:
        raise AppError(
            Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "a text holds a character that cannot be stored"
        ) from cause
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as cause:
        # lock_timeout and statement_timeout: rolled back, so a retry is safe.
        raise store_busy("the database took too long") from cause
    except AWAY as cause:
        raise store_unavailable() from cause

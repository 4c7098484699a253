"""Every SQL constant is prepared against the migrated schema: a typo or a dropped column fails here, in seconds."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import server
from server.db.pool import Database

_STATEMENT = re.compile(r"\s*(with|select|insert|update|delete)\b.+", re.IGNORECASE | re.DOTALL)


def statements() -> Iterator[tuple[str, str]]:
    """(module.name, SQL) of every module constant that is a statement."""
    for module in pkgutil.walk_packages(server.__path__, "server."):
        if module.name == "server.__main__" or module.name.startswith("server.embedded.xero_sandbox"):
            continue  # the latter keeps its books in SQLite
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            if name.isupper() and isinstance(value, str) and _STATEMENT.fullmatch(value):
                yield f"{module.name}.{name}", value


async def test_every_statement_fits_the_schema(database: Database) -> None:
    found = dict(statements())
    assert len(found) > 40, "the statements were not found"
    wrong = {}
    async with database.connection() as connection:
        for name, sql in found.items():
            try:
                await connection.prepare(sql)
            except Exception as error:  # noqa: BLE001  # every wrong statement is to be named at once
                wrong[name] = f"{type(error).__name__}: {error}"
    assert not wrong

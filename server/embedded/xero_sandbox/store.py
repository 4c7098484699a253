"""State in SQLite: documents by kind, and what must outlive a restart beside them. One process and one loop use it.

Calls are synchronous: a statement takes microseconds, and write-ahead logging without a sync at each commit survives a
kill of the process, which is all that a sandbox promises.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server.embedded.xero_sandbox.wire import Document, dumps, loads

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
  made INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, number TEXT NOT NULL, updated REAL NOT NULL,
  body TEXT NOT NULL, UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS document_number ON document (kind, number);
CREATE TABLE IF NOT EXISTS token (token TEXT PRIMARY KEY, kind TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS remembered (
  key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL, began REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, signature TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sequence (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
"""

_PUT = """
INSERT INTO document (kind, id, number, updated, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET number = excluded.number, updated = excluded.updated, body = excluded.body
"""
_GET = "SELECT body FROM document WHERE kind = ? AND id = ?"
_BY_NUMBER = "SELECT body FROM document WHERE kind = ? AND number = ? ORDER BY made"
_ALL = "SELECT body FROM document WHERE kind = ? AND updated >= ? ORDER BY made"
_NEXT = "INSERT INTO sequence VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last"


class Store:
    """`path` None keeps everything in memory."""

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.exists():
            path.touch(mode=0o600)  # names of customers are in it
        self.database = sqlite3.connect(path or ":memory:", isolation_level=None)
        self.database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _SCHEMA)

    def close(self) -> None:
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, also within another one. Not to be held across an await: everybody shares the connection."""
        inner = self.database.in_transaction
        self.database.execute("SAVEPOINT inner" if inner else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:  # also when cancelled: nothing half-written may stay in an open transaction
            self.database.execute("ROLLBACK TO inner" if inner else "ROLLBACK")
            if inner:
                self.database.execute("RELEASE inner")
            raise
        self.database.execute("RELEASE inner" if inner else "COMMIT")

    def put(self, kind: str, id: str, document: Document, *, number: str = "", updated: float) -> None:
        self.database.execute(_PUT, (kind, id, number, updated, dumps(document)))

    def get(self, kind: str, id: str) -> Document | None:
        row = self.database.execute(_GET, (kind, id)).fetchone()
        return loads(row[0]) if row else None

    def by_number(self, kind: str, number: str) -> Sequence[Document]:
        return [loads(row[0]) for row in self.database.execute(_BY_NUMBER, (kind, number))]

    def all(self, kind: str, since: float = 0.0) -> Sequence[Document]:
        """In the order in which they were made; only those changed at `since` or later."""
        return [loads(row[0]) for row in self.database.execute(_ALL, (kind, since))]

    def next(self, name: str) -> int:
        """The next number of a sequence, from 1."""
        return int(self.database.execute(_NEXT, (name,)).fetchone()[0])

    def last(self, name: str) -> int:
        """The number that `next` gave last, 0 before the first."""
        row = self.database.execute("SELECT last FROM sequence WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

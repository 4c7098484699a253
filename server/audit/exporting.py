"""Exports: a range of the log in one of its formats, proven in the newest checkpoint, in constant memory.

No connection is held while the reader is waited for: events are read a batch at a time, and they never change. What
stops an export in the middle (the store away, the process stopping, the age of the stream) is its last record, `cut`;
an export from there on can be appended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice

from server.audit import cover, events, tree_store
from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.checkpoint import NoteInvalid, open_note
from server.audit.cover import Piece
from server.audit.events import Event
from server.audit.export_csv import CsvFormat
from server.audit.export_lines import COVER_RECORD
from server.audit.export_ndjson import NdjsonFormat
from server.audit.export_ocsf import OcsfFormat
from server.audit.export_plan import Format, Plan
from server.audit.merkle import Span, span_hashes, tiles_of
from server.audit.ranges import outside
from server.audit.tree_store import SignedHead
from server.db.pool import Database
from server.errors import AppError, Code
from server.signing import PublicKey

log = logging.getLogger(__name__)

_BATCH = 500  # events read at once
_CHUNK = 256 * 1024  # bytes sent at once


class FormatName(StrEnum):
    """The formats there are."""

    NDJSON = "ndjson"
    OCSF = "ocsf"
    CSV = "csv"


_FORMATS: Mapping[FormatName, Callable[[Plan], Format]] = {
    FormatName.NDJSON: NdjsonFormat,
    FormatName.OCSF: OcsfFormat,
    FormatName.CSV: CsvFormat,
}


def format_of(name: FormatName, plan: Plan) -> Format:
    """What writes one export in that format."""
    return _FORMATS[name](plan)


@dataclass(frozen=True, slots=True)
class Given:
    """Whole lines of an export, and the record that comes next."""

    next_seq: int
    lines: bytes


class Exporting:
    """The use case behind ExportEvents and `tria audit export`. `keys` are those that sign checkpoints, or once did."""

    def __init__(self, database: Database, keys: Sequence[PublicKey], max_age: float) -> None:
        self._database = database
        self._keys = tuple(keys)
        self._max_age = max_age
        self._draining = False

    def drain(self) -> None:
        """Cuts every export that is going on, to be continued elsewhere."""
        self._draining = True

    async def plan(self, tenant: str, first: int, last: int | None, *, tree_size: int | None = None) -> Plan:
        """What would be exported: [first, last] of the log, `last` None for all of the newest checkpoint, in the tree
        of that checkpoint or of the one with `tree_size` records. Raises OUT_OF_RANGE with what there is."""
        async with self._database.connection() as connection:
            found = await tree_store.latest_checkpoint(connection, tenant)
            if tree_size is not None:
                found = await tree_store.checkpoint_covering(connection, tenant, tree_size - 1)
            kept = await events.first_kept(connection, tenant)
        size = found.size if found else 0
        last = size - 1 if last is None else last
        if found is None or not kept <= first <= last < size:
            raise outside("records", kept, size - 1, size)
        note, keys = signed_by(found, self._keys)
        return Plan(tenant, first, last, size, found.root, note, keys)

    async def announce(self, author: Author, name: FormatName, plan: Plan) -> None:
        """Records who is about to be given what, before the first byte: a stream's own record comes at its end."""
        details = {"format": name.value, "first": plan.first, "last": plan.last, "tree_size": plan.tree_size}
        async with self._database.transaction() as connection:
            await author.record(connection, Action.AUDIT_EXPORT, (), details)

    async def export(self, plan: Plan, form: Format) -> AsyncGenerator[bytes, None]:
        """The whole export in pieces of whole lines. Ends with `end` or `cut`, never with an error once something was
        given."""
        until = time.monotonic() + self._max_age
        given = plan.first
        try:
            async with aclosing(self.pieces(plan, form)) as pieces:
                async for piece in pieces:
                    yield piece.lines
                    given = piece.next_seq
                    if given <= plan.last and (self._draining or time.monotonic() >= until):
                        yield form.cut(given, "COME_BACK")
                        return
        except AppError as away:
            if away.code is not Code.UNAVAILABLE:
                raise
            log.warning("an audit export was cut", extra={"reason": away.reason.value})
            yield form.cut(given, away.reason.value)

    async def pieces(self, plan: Plan, form: Format, start: int | None = None) -> AsyncGenerator[Given, None]:
        """The export as it is; from record `start` on, without what comes before the records, when one is continued.
        Raises AppError when the store goes away."""
        if start is None:
            async with aclosing(self._beginning(plan, form)) as beginning:
                async for lines in beginning:
                    yield Given(plan.first, lines)
        next_seq = plan.first if start is None else start
        while next_seq <= plan.last:
            batch = await self._batch(plan, next_seq)
            for given in _chunks(batch, form):
                yield given
            next_seq = batch[-1].seq + 1 if batch else plan.last + 1
        yield Given(next_seq, form.end())

    async def _beginning(self, plan: Plan, form: Format) -> AsyncGenerator[bytes, None]:
        pieces = cover_of(plan) if form.proves else iter(())
        hashes = await self._hashes(plan, list(islice(pieces, COVER_RECORD)))  # before the first word: it may fail
        if begun := form.begin():
            yield begun
        while hashes:
            yield form.cover(hashes)
            hashes = await self._hashes(plan, list(islice(pieces, COVER_RECORD)))

    async def _hashes(self, plan: Plan, pieces: Sequence[Piece]) -> list[bytes]:
        if not pieces:
            return []
        spans = [Span(piece.start, piece.start + piece.size) for piece in pieces]
        async with self._database.connection() as connection:
            return span_hashes(spans, await tree_store.tiles(connection, plan.tenant, tiles_of(spans), plan.tree_size))

    async def _batch(self, plan: Plan, start: int) -> list[Event]:
        async with self._database.connection() as connection:
            batch = await events.span(connection, plan.tenant, start, plan.last + 1, _BATCH)
        expected = min(_BATCH, plan.last + 1 - start)
        if len(batch) != expected or batch[0].seq != start or batch[-1].seq != start + expected - 1:
            # Given as it is: whoever verifies the export is told which record is missing.
            log.critical("the audit log has a hole", extra={"first_seq": start, "records": expected})
        return batch


def signed_by(found: SignedHead, keys: Sequence[PublicKey]) -> tuple[str, tuple[str, ...]]:
    """The note with the signatures of known keys only, and those keys: nothing is given that cannot be checked."""
    try:
        signers = open_note(found.note, keys).signers
    except NoteInvalid:
        log.critical("a stored checkpoint is not signed by a known key", extra={"tree_size": found.size})
        raise
    text, _, rest = found.note.rpartition("\n\n")
    known = {f"— {key.name} " for key in signers}
    lines = [line for line in rest.splitlines(keepends=True) if line.startswith(tuple(known))]
    return f"{text}\n\n{''.join(lines)}", tuple(map(str, signers))


def cover_of(plan: Plan) -> Iterator[Piece]:
    """The subtrees that the plan's range is proven with."""
    stop = plan.last + 1
    return chain(cover.before(plan.first), cover.within(plan.first, stop), cover.after(stop, plan.tree_size))


def _chunks(batch: Sequence[Event], form: Format) -> Iterator[Given]:
    lines: list[bytes] = []
    size = 0
    for event in batch:
        lines.append(form.event(event))
        size += len(lines[-1])
        if size >= _CHUNK:
            yield Given(event.seq + 1, b"".join(lines))
            lines, size = [], 0
    if lines:
        yield Given(batch[-1].seq + 1, b"".join(lines))

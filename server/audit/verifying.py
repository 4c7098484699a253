"""The offline verifier of an NDJSON export: line by line, in constant memory, with nothing of the server's.

The signature and the cover come first, so every block of leaves is known to be in the signed tree before its leaves are
read; the first one that does not fit is named. An export that ends with `cut`, or without an end, goes on where another
one begins.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import orjson

from server.audit import cover, export_lines
from server.audit.checkpoint import Checkpoint, NoteInvalid, open_note, origin_of
from server.audit.cover import Growing, Piece
from server.audit.export_lines import Header
from server.audit.leaf import VERSION as LEAF_VERSION
from server.audit.leaf import leaf_hash
from server.signing import PublicKey

_HASH_BYTES = 32
_LARGEST = 1 << 53


class Rejected(Exception):
    """The export is not what was signed. `line` counts from 1; `seq` is the first record that is wrong, where one can
    be named."""

    def __init__(self, why: str, line: int, seq: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.line = line
        self.seq = seq


@dataclass(frozen=True, slots=True)
class Proven:
    """What a whole export was found to be: the records `first_seq` to `header.last_seq` of the signed tree. `parts`
    counts the exports it was put together from; `extends_older`: the kept checkpoint is a beginning of this tree."""

    header: Header
    root: bytes
    signers: tuple[PublicKey, ...]
    first_seq: int
    parts: int
    extends_older: bool


class ExportVerifier:
    """Takes the lines of one export. `keys`: one of these must have signed, none given trusts what the export says;
    `older`: a checkpoint that was kept, which the log must still hold."""

    def __init__(self, *, keys: Sequence[PublicKey] = (), older: Checkpoint | None = None) -> None:
        self._keys = tuple(keys)
        self._older = older
        self._extends_older = False
        self._line = 0
        self._parts = 0
        self._first_seq = 0
        self._header: Header | None = None
        self._root: bytes | None = None
        self._signers: tuple[PublicKey, ...] = ()
        self._hashes: list[bytes] = []
        self._blocks: Iterator[tuple[Piece, bytes]] | None = None
        self._piece, self._digest = Piece(0, 0), b""
        self._block = Growing()
        self._whole = Growing()
        self._open = True
        self._ended = False

    @property
    def next_seq(self) -> int:
        """The record that is waited for."""
        return self._whole.size + self._block.size

    def feed(self, line: bytes) -> None:
        """Takes the next line, with its line break. Raises Rejected."""
        self._line += 1
        record = self._record(line)
        kind = record.get("type")
        if self._ended:
            raise self._wrong("something follows the end record")
        header, root = self._header, self._root
        if kind == "header":
            self._begin(record)
        elif header is None or not self._open:
            raise self._wrong("a header record has to come first")
        elif kind == "checkpoint" and root is None:
            self._root = self._signed_root(header, record)
        elif root is None:
            raise self._wrong("a checkpoint record has to come after the header")
        elif kind == "cover" and self._blocks is None:
            self._hashes += [self._hash(text) for text in self._list(record)]
        elif kind == "leaf":
            self._leaf(header, self._prove(header, root), record)
        elif kind == "end":
            self._end(header, root, record)
        elif kind == "cut" and record == {"type": "cut", "next_seq": self.next_seq, "reason": record.get("reason")}:
            self._open = False
        else:
            raise self._wrong(f"a record of type {str(kind)[:20]!r} does not belong here")

    def finish(self) -> Proven:
        """What the lines so far prove. Raises Rejected when the export is not at its end."""
        if self._header is None:
            raise self._wrong("it is empty")
        if not self._ended or self._root is None:
            raise self._wrong("the end is missing: the export was cut off", self.next_seq)
        return Proven(self._header, self._root, self._signers, self._first_seq, self._parts, self._extends_older)

    def _record(self, line: bytes) -> dict[str, Any]:
        seq = self.next_seq if self._blocks else None
        if not line.endswith(b"\n"):
            raise self._wrong("the line is cut off", seq)
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self._wrong("the line is not JSON", seq) from error
        if not isinstance(record, dict):
            raise self._wrong("the line is not a JSON object", seq)
        return record

    def _begin(self, record: Mapping[str, Any]) -> None:
        """A header: of the export, or of one that goes on where the last one stopped."""
        header = self._checked_header(record)
        before = self._header
        if before is None:
            self._first_seq = header.first_seq
        elif self._root is None or not self._hashes:
            raise self._wrong("a second header record")
        elif header.first_seq != self.next_seq:
            raise self._wrong(f"record {self.next_seq} is missing: another export begins here", self.next_seq)
        elif (header.tenant, header.origin, header.last_seq) != (before.tenant, before.origin, before.last_seq):
            raise self._wrong("an export of another log or range begins here", self.next_seq)
        elif header.tree_size < before.tree_size:
            raise self._wrong("the export goes on in a smaller tree", self.next_seq)
        self._header, self._root, self._hashes, self._blocks = header, None, [], None
        self._parts += 1
        self._open = True

    def _checked_header(self, record: Mapping[str, Any]) -> Header:
        names = [field.name for field in fields(Header)]
        try:
            header = Header(**{name: record[name] for name in names})
        except KeyError as missing:
            raise self._wrong(f"the header lacks {missing}") from missing
        known = orjson.loads(export_lines.header_line(header)) if self._sane(header) else None
        if record != known:
            raise self._wrong("the header is not one of this version, or its range is none")
        return header

    @staticmethod
    def _sane(header: Header) -> bool:
        numbers = (header.first_seq, header.last_seq, header.tree_size)
        if not all(type(number) is int for number in numbers):
            return False
        keys = header.keys if isinstance(header.keys, list) else [None]
        texts = all(type(text) is str for text in (header.tenant, header.origin, *keys))
        return texts and 0 <= header.first_seq <= header.last_seq < header.tree_size <= _LARGEST

    def _signed_root(self, header: Header, record: Mapping[str, Any]) -> bytes:
        """The root that the checkpoint signs, for the log and the size that the header names."""
        note = record.get("note")
        if set(record) != {"type", "note"} or not isinstance(note, str):
            raise self._wrong("the checkpoint record is not one of this version")
        try:
            keys = [PublicKey.parse(text) for text in header.keys]
            opened = open_note(note, keys)
        except (ValueError, NoteInvalid) as error:
            raise self._wrong(f"the checkpoint is not signed by the keys of the header: {error}") from error
        if [str(key) for key in opened.signers] != list(header.keys) or not _written_once(note, len(keys)):
            raise self._wrong("the checkpoint is signed by other keys than the header names")
        if self._keys and not set(self._keys) & set(opened.signers):
            trusted = ", ".join(f"{key.name}+{key.id}" for key in self._keys)
            raise self._wrong(f"the checkpoint is not signed by {trusted}")
        self._signers, signed = opened.signers, opened.checkpoint
        if header.origin != origin_of(header.tenant) or signed.origin != header.origin:
            raise self._wrong("the checkpoint is of another log than the header")
        if signed.size != header.tree_size:
            raise self._wrong(f"the checkpoint is of {signed.size} records, the header of {header.tree_size}")
        if self._older is not None and self._older.origin != signed.origin:
            raise self._wrong("the checkpoint that was kept is of another log")
        return signed.root

    def _prove(self, header: Header, root: bytes) -> Iterator[tuple[Piece, bytes]]:
        """At the first leaf: the whole cover makes the signed root. Leaves have to fit its blocks from then on."""
        if self._blocks is not None:
            return self._blocks
        first, stop = header.first_seq, header.last_seq + 1
        left, right = cover.before(first), cover.after(stop, header.tree_size)
        grown = Growing()
        expected = chain(left, cover.within(first, stop), right)
        for digest in self._hashes:
            piece = next(expected, None)
            if piece is None:
                raise self._wrong("the cover is longer than the header's range and tree")
            grown.push(piece.size, digest)
            self._compare_older(grown)
        if next(expected, None) is not None or grown.root() != root:
            raise self._wrong("the cover does not make the root that is signed")
        begun = self._hashes[: len(left)]
        if self._parts > 1 and begun != self._together().hashes():
            raise self._wrong(f"the records before {first} are not those of the export that goes on here", first)
        self._whole, self._block = Growing(), Growing()
        for piece, digest in zip(left, begun, strict=True):
            self._whole.push(piece.size, digest)
        self._blocks = zip(cover.within(first, stop), self._hashes[len(left) :], strict=False)
        self._piece, self._digest = next(self._blocks)
        return self._blocks

    def _leaf(self, header: Header, blocks: Iterator[tuple[Piece, bytes]], record: Mapping[str, Any]) -> None:
        seq = self.next_seq
        found = record.get("seq")
        if seq > header.last_seq:
            raise self._wrong(f"record {found} is beyond the header's range", seq)
        if type(found) is not int or found != seq:
            raise self._wrong(f"record {seq} is missing: {found} stands in its place", seq)
        encoded = self._bytes(record.get("leaf"), seq)
        digest = leaf_hash(encoded)
        if record.get("hash") != export_lines.text_of(digest):
            raise self._wrong(f"record {seq} does not have the hash that stands beside it", seq)
        self._check_columns(header, seq, encoded, digest, record)
        self._block.push(1, digest)
        if self._older is not None and self.next_seq == self._older.size:
            self._compare_older(self._together())
        if self._block.size == self._piece.size:
            self._close_block(blocks)

    def _check_columns(
        self, header: Header, seq: int, encoded: bytes, digest: bytes, record: Mapping[str, Any]
    ) -> None:
        try:
            event = orjson.loads(encoded)
            known = export_lines.leaf_record(seq, encoded, digest, event)
            tenant, version = event["tenant"], event["v"]
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise self._wrong(f"record {seq} is not an event", seq) from error
        if version != LEAF_VERSION:
            raise self._wrong(f"record {seq} has version {version}, which this program does not know", seq)
        if tenant != header.tenant:
            raise self._wrong(f"record {seq} is of another tenant", seq)
        if record != known:
            wrong = sorted(name for name in {*known, *record} if known.get(name) != record.get(name))
            raise self._wrong(f"record {seq}: {', '.join(wrong)[:100]} is not what its leaf says", seq)

    def _close_block(self, blocks: Iterator[tuple[Piece, bytes]]) -> None:
        piece = self._piece
        if self._block.root() != self._digest:
            last = piece.start + piece.size - 1
            which = (
                f"record {last} is not the one" if piece.size == 1 else f"records {piece.start} to {last} are not those"
            )
            raise self._wrong(f"{which} that the checkpoint signs", piece.start)
        self._whole.push(piece.size, self._digest)
        self._block = Growing()
        self._piece, self._digest = next(blocks, (Piece(self.next_seq, 0), b""))

    def _end(self, header: Header, root: bytes, record: Mapping[str, Any]) -> None:
        if self.next_seq <= header.last_seq or self._blocks is None:
            raise self._wrong(f"record {self.next_seq} is missing: the export ends before it", self.next_seq)
        if record != export_lines.end_record(header, root):
            raise self._wrong("the end record does not say what the export holds")
        self._ended = True

    def _together(self) -> Growing:
        """All that was read, the open block included."""
        grown = self._whole.copy()
        for size, digest in self._block.parts():
            grown.push(size, digest)
        return grown

    def _compare_older(self, grown: Growing) -> None:
        older = self._older
        if older is None or grown.size != older.size:
            return
        if grown.root() != older.root:
            raise self._wrong(f"the first {older.size} records are not those of the checkpoint that was kept")
        self._extends_older = True

    def _hash(self, text: object) -> bytes:
        digest = self._bytes(text, None)
        if len(digest) != _HASH_BYTES:
            raise self._wrong("a hash has 32 bytes")
        return digest

    def _bytes(self, text: object, seq: int | None) -> bytes:
        try:
            decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else None
        except (binascii.Error, ValueError):
            decoded = None
        # The last character has spare bits: only one way of writing the bytes is taken.
        if decoded is None or export_lines.text_of(decoded) != text:
            raise self._wrong("what should be base64 is not", seq)
        return decoded

    def _list(self, record: Mapping[str, Any]) -> Sequence[object]:
        hashes = record.get("hashes")
        if set(record) != {"type", "hashes"} or not isinstance(hashes, list):
            raise self._wrong("the cover record is not one of this version")
        return hashes

    def _wrong(self, why: str, seq: int | None = None) -> Rejected:
        return Rejected(why, self._line, seq)


def _written_once(note: str, signatures: int) -> bool:
    """Whether the note has as many signatures, in the one way of writing them: spare bits of base64 are not signed."""
    lines = note.rpartition("\n\n")[2].splitlines()
    texts = [line.rpartition(" ")[2] for line in lines]
    return len(lines) == signatures and all(export_lines.text_of(base64.b64decode(text)) == text for text in texts)

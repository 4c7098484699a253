"""What an export is about to give, and what a format has to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from server.audit.events import Event


@dataclass(frozen=True, slots=True)
class Plan:
    """The records [first, last] of a log, proven in the tree that the checkpoint signs. `keys` signed the note, as
    C2SP verifier keys in the order of its signatures."""

    tenant: str
    first: int
    last: int
    tree_size: int
    root: bytes
    note: str
    keys: tuple[str, ...]

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Format(Protocol):
    """One way of writing one export: lines, each with its line break."""

    media_type: str
    proves: bool
    """Whether it wants the cover's hashes (server/audit/cover.py)."""

    def begin(self) -> bytes:
        """What comes first."""

    def cover(self, hashes: Sequence[bytes]) -> bytes:
        """The next hashes of the cover; only asked for where it `proves`."""

    def event(self, event: Event) -> bytes:
        """One record."""

    def end(self) -> bytes:
        """What comes last: the range, the count, the checkpoint."""

    def cut(self, next_seq: int, reason: str) -> bytes:
        """What comes last when the rest has to be asked for anew."""

"""The spool when processes share its directory."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from server.audit.spool import Spool


def test_a_file_taken_before_it_was_held_loses_no_leaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, other, lock = Spool(tmp_path), Spool(tmp_path), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        """The kernel lets the other process run between the file's creation and its lock."""
        monkeypatch.setattr(fcntl, "flock", lock)
        taken = other.claim()
        assert taken is not None
        taken.remove()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    writer.append([b"leaf"])
    writer.close()
    segment = other.claim()
    assert segment is not None
    assert segment.leaves == (b"leaf",)
    segment.remove()
    assert other.claim() is None

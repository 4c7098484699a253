"""Checkpoints that left the database, as files have them after an accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.audit.checkpoint import Checkpoint, sign
from server.backup.kept import BadKept, read_kept
from tests.support.audit_log import KEY


def _line(size: int, root: bytes = b"r") -> str:
    return json.dumps({"note": sign(Checkpoint("tria/acme", size, root * 32), KEY)})


def _read(path: Path, content: str) -> list[tuple[int, bytes]]:
    path.write_bytes(content.encode())
    kept = read_kept(path, [KEY.public])
    assert kept.keys() == {"acme"}
    return [(each.size, each.root[:1]) for each in kept["acme"]]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_the_last_line_counts_however_it_ends(tmp_path: Path, end: str) -> None:
    for between in ("\n", "\r\n"):
        assert _read(tmp_path / "kept", _line(3) + between + _line(5) + end) == [(3, b"r"), (5, b"r")]


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    whole, cut = _line(3), _line(5)
    for length in range(1, len(cut)):
        assert _read(tmp_path / "kept", f"{whole}\n{cut[:length]}") == [(3, b"r")]


def test_two_roots_of_one_size_stay_both(tmp_path: Path) -> None:
    lines = "\n".join([_line(3), _line(3, b"x"), _line(3)])
    assert _read(tmp_path / "kept", lines) == [(3, b"r"), (3, b"x")]


@pytest.mark.parametrize("content", ['{"no', "{}", '{"note": 5}', _line(3)[:9] + "\n" + _line(5), ""])
def test_what_holds_none_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadKept):
        _read(tmp_path / "kept", content)

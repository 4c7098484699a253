"""`tria pii scan` and `tria pii evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.pii import evaluation
from server.pii.commands import pii


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, list[dict[str, object]], str]:
    result = CliRunner().invoke(pii, list(arguments), input=stdin)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_scan_answers_line_by_line() -> None:
    lines = [{"id": 1, "text": "😀 call 91234567"}, {"id": "b", "text": "hello"}]
    code, rows, errors = run("scan", stdin="\n".join(json.dumps(line) for line in lines).encode())
    assert (code, errors) == (0, "")
    assert rows == [
        {"id": 1, "scrubbed": "😀 call [PHONE]", "spans": [{"start": 7, "end": 15, "type": "PHONE"}]},
        {"id": "b", "scrubbed": "hello", "spans": []},
    ]


@pytest.mark.parametrize(
    "bad",
    [b"{", b"[]", b'{"id": 1}', b'{"id": 1, "text": 5}', b'"x"', b'{"text": "91234567"}', b"\xff", b"[" * 100_000],
)
def test_a_bad_line_is_reported_and_the_others_are_done(bad: bytes) -> None:
    code, rows, errors = run("scan", stdin=b'{"id":1,"text":"a"}\n' + bad + b'\n\n{"id":2,"text":"b"}\n')
    assert code == 1
    assert [row["id"] for row in rows] == [1, 2]
    assert errors.startswith("line 2: ")
    assert errors.count("\n") == 1
    assert "91234567" not in errors


def test_a_lone_surrogate_passes_through() -> None:
    code, rows, _ = run("scan", stdin=b'{"id":1,"text":"\\ud800 91234567"}\n')
    assert code == 0
    assert rows[0]["spans"] == [{"start": 2, "end": 10, "type": "PHONE"}]


def test_evaluate_passes_on_the_labelled_set() -> None:
    code, rows, _ = run("evaluate", "--json")
    assert code == 0
    assert [row["set"] for row in rows] == ["labelled"] * 16 + ["unseen"] * 16


def test_unseen_misses_are_never_shown() -> None:
    result = CliRunner().invoke(pii, ["evaluate", "--misses"])
    assert "unseen: " in result.stdout
    unseen = {message.text for message in evaluation.load(evaluation.UNSEEN)}
    assert not [line for line in result.stderr.splitlines() if json.loads(line)["text"] in unseen]


def test_a_huge_line_is_scanned_and_a_long_input_is_read_line_by_line() -> None:
    huge = json.dumps({"id": "h", "text": "send the boxes " * 40_000 + "hp 91234567"}).encode()
    lines = [huge, *(json.dumps({"id": n, "text": "hp 91234567"}).encode() for n in range(500)), b"{"]
    code, rows, errors = run("scan", stdin=b"\n".join(lines))
    assert code == 1
    assert len(rows) == 501
    assert all(len(row["spans"]) == 1 for row in rows if isinstance(row["spans"], list))
    assert errors.startswith("line 502: ")


def test_evaluate_fails_below_a_bar(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "language": "en",
        "slice": "plain",
        "text": "nothing here",
        "spans": [{"start": 0, "end": 7, "type": "EMAIL"}],
    }
    path = tmp_path / "labelled.jsonl"
    path.write_text(json.dumps(row) + "\n")
    code, rows, errors = run("evaluate", str(path), "--json", "--misses")
    assert code == 1
    assert [r["type"] for r in rows if r["f1"] == 0] == ["EMAIL"]
    assert json.loads(errors)["id"] == "1"


def test_wrong_use_is_exit_code_2() -> None:
    assert CliRunner().invoke(pii, ["scan", "--nonsense"]).exit_code == 2

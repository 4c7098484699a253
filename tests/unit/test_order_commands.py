"""`tria orders extract` on a catalogue that is not the demo's, and `tria orders evaluate`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.chat.order_commands import orders
from server.order.extraction_evaluation import SETS

HARDWARE = Path(str(resources.files("server"))) / "order/labelled/hardware.csv"


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, list[dict[str, object]], str]:
    result = CliRunner().invoke(orders, list(arguments), input=stdin)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def extract(*texts: str) -> list[dict[str, object]]:
    stdin = "\n".join(json.dumps({"id": number, "text": text}) for number, text in enumerate(texts))
    code, rows, errors = run("extract", "--catalogue", str(HARDWARE), stdin=stdin.encode())
    assert (code, errors) == (0, "")
    return rows


def test_lines_questions_and_intent_are_answered_as_the_contract_says() -> None:
    rows = extract("😀 3 boxes of 40mm screws, 6 hard hats", "where is my order 5521?", "老样子")
    question = 'Which one do you mean by "6 hard hats": Safety helmet white (HLM-W), or Safety helmet yellow (HLM-Y)?'
    line = {"sku": "SCR-40", "quantity": "3", "start": 2, "end": 24, "confidence": 1.0}
    assert rows[0] == {"id": 0, "intent": "ORDER", "lines": [line], "questions": [question]}
    assert rows[1] == {"id": 1, "intent": "ORDER_STATUS", "lines": [], "questions": []}
    assert (rows[2]["intent"], rows[2]["lines"]) == ("ORDER", [])
    assert rows[2]["questions"] == ["没有找到以前的订单。请告诉我要哪些产品和数量。"]


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("hi", "GREETING"),
        ("8 hammers", "ORDER"),
        ("20 electrical tape black", "ORDER"),
        ("3 of the LED bulbs 9 W came broken", "COMPLAINT"),
        ("how much is 10 packs of m8 bolts?", "PRODUCT_QUESTION"),
        ("how much are sandpapers?", "PRODUCT_QUESTION"),
        ("can I talk to a person", "HAND_OFF"),
    ],
)
def test_intents(text: str, intent: str) -> None:
    assert extract(text)[0]["intent"] == intent


@pytest.mark.parametrize(
    "bad",
    [b"{", b"[]", b'{"id": 1}', b'{"id": 1, "text": 5}', b'"x"', b'{"text": "3 goggles"}', b"\xff", b"[" * 100_000],
)
def test_a_bad_line_is_reported_and_the_others_are_done(bad: bytes) -> None:
    stdin = b'{"id":1,"text":"3 goggles"}\n' + bad + b'\n\n{"id":2,"text":"b"}\n'
    code, rows, errors = run("extract", "--catalogue", str(HARDWARE), stdin=stdin)
    assert code == 1
    assert [row["id"] for row in rows] == [1, 2]
    assert errors.startswith("line 2: ")
    assert errors.count("\n") == 1
    assert "goggles" not in errors


def test_a_catalogue_that_is_none_is_refused_and_a_bad_row_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"sku,name\nA,B\n")
    code, rows, errors = run("extract", "--catalogue", str(broken))
    assert (code, rows) == (1, [])
    assert "missing columns" in errors
    text = HARDWARE.read_text(encoding="utf-8")
    broken.write_text(text.replace(",5.60,", ",free,"), encoding="utf-8")
    code, rows, errors = run("extract", "--catalogue", str(broken), stdin=b'{"id":1,"text":"2 rollers, 3 goggles"}')
    assert code == 0
    assert [line["sku"] for line in rows[0]["lines"]] == ["RLR-9"]  # type: ignore[attr-defined]
    assert "line 21: left out" in errors


def test_wrong_use_is_two() -> None:
    assert run("extract")[0] == 2
    assert run("evaluate", "--catalogue", str(HARDWARE))[0] == 2


def test_evaluate_prints_the_figures_and_fails_below_the_bars(tmp_path: Path) -> None:
    code, rows, _ = run("evaluate", "--json")
    assert code == 0
    kinds = {(split, language) for split in ("tune", "unseen", "all") for language in ("en", "zh", "ms", "all")}
    for name in SETS:
        assert {(row["split"], row["language"]) for row in rows if row["set"] == name} == kinds
    together = [row for row in rows if row["set"] == "all"]
    assert [row["language"] for row in together] == ["all"] * 3
    assert all(row["median_us"] for row in rows if row["set"] != "all" and row["split"] == row["language"] == "all")
    code, rows, _ = run("evaluate", "--json", "--set", "tea")
    assert (code, {row["set"] for row in rows}) == (0, {"tea"})
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(
        '{"id":"1","language":"en","order":false,"text":"3 goggles please","lines":{},"asks":false}', encoding="utf-8"
    )
    code, rows, _ = run("evaluate", "--json", "--catalogue", str(HARDWARE), "--messages", str(wrong))
    assert code == 1
    assert rows[-1]["invented"] == 1

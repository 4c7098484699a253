"""`tria orders …`: what messages order, read without a server. Here because it joins the desk's intents with lines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.table import Table

from server.chat.assistant import Intent
from server.chat.intents import classify
from server.chat.order_intent import corrected
from server.json_lines import answer_lines, id_and_text
from server.order.catalogue_csv import CatalogueFileError, read_catalogue
from server.order.extraction import OrderExtractor
from server.order.extraction_evaluation import EXACT, PRECISION, RECALL, Scores, Split, demo, evaluate, read_labelled

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def orders() -> None:
    """Read order lines from messages."""


@orders.command("extract")
@click.option("--catalogue", type=_FILE, required=True, help="Price list (CSV) whose products are ordered.")
@click.argument("source", type=click.File("rb"), default="-")
def extract_lines(catalogue: Path, source: IO[bytes]) -> None:
    """Extract order lines from JSON lines.

    Reads {"id", "text"} from SOURCE (standard input by default) and writes {"id", "intent", "lines", "questions"};
    quantities are decimal strings in the product's unit of sale, offsets are Unicode code points. A line that is no
    such object is reported with its number on standard error; the others are still processed and the exit code is 1.
    """
    extractor = _extractor(catalogue)
    today = datetime.now(tz=UTC).astimezone().date()
    answer_lines(source, lambda line: extracted_line(extractor, line, today))


def extracted_line(extractor: OrderExtractor, line: bytes, today: date) -> str:
    """The answer to one line. Raises ValueError, without the line's content, when it is no {"id", "text"} object."""
    identity, text = id_and_text(line)
    found = extractor.extract(text, today=today)
    wanted = classify(text)
    intent = corrected(wanted.intent, lines=bool(found.lines), questions=bool(found.questions), topic=found.topic)
    # What a complaint or a question names without ordering it is nothing to ask back about.
    asked = found.questions if intent is Intent.ORDER else ()
    return json.dumps(
        {
            "id": identity,
            "intent": intent.value,
            "lines": [
                {
                    "sku": ordered.sku,
                    "quantity": f"{ordered.quantity:f}",
                    "start": ordered.start,
                    "end": ordered.end,
                    "confidence": ordered.confidence,
                }
                for ordered in found.lines
            ],
            "questions": [question.sentence(wanted.language.value) for question in asked],
        },
        ensure_ascii=False,
    )


def _extractor(catalogue: Path) -> OrderExtractor:
    try:
        rows, refused = read_catalogue(catalogue.read_bytes())
    except CatalogueFileError as error:
        raise click.ClickException(f"{catalogue}: {error}") from error
    for row in refused:
        click.echo(f"{catalogue}: line {row.line}: left out: {row.message}", err=True)
    if not rows:
        raise click.ClickException(f"{catalogue}: no product in it")
    return OrderExtractor([good.product for good in rows])


@orders.command("evaluate")
@click.option("--catalogue", type=_FILE, help="Price list of the messages; the demo's when not given.")
@click.option("--messages", type=_FILE, help="Labelled messages (JSON lines); the demo's when not given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per row instead of a table.")
@click.option("--misses", is_flag=True, help="List the messages of the tuned part that went wrong (standard error).")
def evaluate_labelled(catalogue: Path | None, messages: Path | None, *, as_json: bool, misses: bool) -> None:
    """Measure extraction on labelled messages, by language and by whether the rules were tuned on them.

    Exit code 1 when line precision is below 0.97, recall below 0.95, exact orders below 0.90 over all messages, or a
    message that orders nothing has a line.
    """
    if (catalogue is None) is not (messages is None):
        raise click.UsageError("--catalogue and --messages belong together")
    if catalogue is not None and messages is not None:
        extractor, labelled = _extractor(catalogue), read_labelled(messages.read_text(encoding="utf-8"))
    else:
        extractor, labelled = demo()
    scores = evaluate(extractor, labelled)
    rows = sorted(scores.items(), key=lambda item: (item[0][0] or "~", item[0][1] or "~"))
    if as_json:
        for (split, language), score in rows:
            click.echo(json.dumps({"split": split or "all", "language": language or "all", **_figures(score)}))
    else:
        _show(rows)
    if misses:
        for message, result in scores[Split.TUNE, None].wrong:
            got = {line.sku: f"{line.quantity:f}" for line in result.lines}
            click.echo(f"{message.id}: {message.text!r} -> {got}, {len(result.questions)} questions", err=True)
    raise SystemExit(0 if scores[None, None].good_enough else 1)


def _figures(score: Scores) -> dict[str, float | int]:
    return {
        "orders": score.orders,
        "others": score.others,
        "precision": round(score.precision, 4),
        "recall": round(score.recall, 4),
        "exact": round(score.exactness, 4),
        "invented": score.invented,
    }


def _show(rows: list[tuple[tuple[Split | None, str | None], Scores]]) -> None:
    bars = f"bars over all: precision {PRECISION}, recall {RECALL}, exact orders {EXACT}, lines on non-orders 0"
    columns = ("part", "language", "orders", "others", "precision", "recall", "exact orders", "lines on others")
    table = Table(*columns, title="Order lines on the labelled messages", caption=bars)
    for (split, language), score in rows:
        shares = [f"{share:.3f}" for share in (score.precision, score.recall, score.exactness)]
        counts = (str(score.orders), str(score.others))
        table.add_row(
            split or "all", language or "all", *counts, *shares, str(score.invented), end_section=language is None
        )
    Console().print(table)

"""`tria orders …`: what messages order, read without a server. Here because it joins the desk's intents with lines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

import click

from server.chat.assistant import Intent
from server.chat.intents import classify
from server.chat.order_intent import corrected
from server.json_lines import answer_lines, id_and_text
from server.order.catalogue_csv import CatalogueFileError, read_catalogue
from server.order.extraction import OrderExtractor
from server.order.extraction_evaluation import SETS, LabelledSet, evaluate, labelled_set, read_labelled
from server.order.extraction_report import print_evaluations, print_misses
from server.order.product import CatalogueProduct

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
    extractor = OrderExtractor(_products(catalogue))
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


@orders.command("evaluate")
@click.option(
    "--catalogue", type=_FILE, help="Price list of the messages; all sets that come with TRIA when not given."
)
@click.option("--messages", type=_FILE, help="Labelled messages (JSON lines) of that price list.")
@click.option("--set", "names", multiple=True, type=click.Choice(tuple(SETS)), help="Only this set; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per row instead of a table.")
@click.option("--misses", is_flag=True, help="List the messages of the tuned part that went wrong (standard error).")
def evaluate_labelled(
    catalogue: Path | None, messages: Path | None, names: tuple[str, ...], *, as_json: bool, misses: bool
) -> None:
    """Measure extraction on labelled messages, by catalogue, language and whether the rules were tuned on them.

    Exit code 1 when, over all messages of a set, line precision is below 0.97, recall below 0.95, exact orders below
    0.90, or a message that orders nothing has a line. The seconds of a message are printed and judged by nobody: they
    depend on the machine.
    """
    if (catalogue is None) is not (messages is None) or (catalogue is not None and names):
        raise click.UsageError("--catalogue and --messages belong together, without --set")
    if catalogue is not None and messages is not None:
        labelled = tuple(read_labelled(messages.read_text(encoding="utf-8")))
        sets = [LabelledSet(catalogue.stem, tuple(_products(catalogue)), labelled)]
    else:
        sets = [labelled_set(name) for name in names or SETS]
    found = {each.name: evaluate(OrderExtractor(each.products), each.messages) for each in sets}
    print_evaluations(found, as_json=as_json)
    if misses:
        print_misses(found)
    raise SystemExit(0 if all(each.scores[None, None].good_enough for each in found.values()) else 1)


def _products(catalogue: Path) -> list[CatalogueProduct]:
    try:
        rows, refused = read_catalogue(catalogue.read_bytes())
    except CatalogueFileError as error:
        raise click.ClickException(f"{catalogue}: {error}") from error
    for row in refused:
        click.echo(f"{catalogue}: line {row.line}: left out: {row.message}", err=True)
    if not rows:
        raise click.ClickException(f"{catalogue}: no product in it")
    return [good.product for good in rows]

"""`tria pii`: the recognisers on the command line. Needs no server and no configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from server.json_lines import answer_lines, id_and_text
from server.pii import evaluation
from server.pii.scan import scan
from server.pii.scrub import marker, replace


@click.group()
def pii() -> None:
    """Find and scrub personal data."""


@pii.command("scan")
@click.argument("source", type=click.File("rb"), default="-")
def scan_lines(source: IO[bytes]) -> None:
    """Scrub JSON lines.

    Reads {"id", "text"} from SOURCE (standard input by default) and writes {"id", "scrubbed", "spans"}; offsets are
    Unicode code points. A line that is no such object is reported with its number on standard error; the others are
    still processed and the exit code is 1.
    """
    answer_lines(source, scanned_line)


def scanned_line(line: bytes) -> str:
    """The answer to one line. Raises ValueError, without the line's content, when it is no {"id", "text"} object."""
    identity, text = id_and_text(line)
    spans = scan(text)
    return json.dumps(
        {
            "id": identity,
            "scrubbed": replace(text, spans, lambda span: marker(span.kind)),
            "spans": [{"start": span.start, "end": span.end, "type": span.kind.value} for span in spans],
        }
    )


@pii.command("evaluate")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per set and kind instead of tables.")
@click.option(
    "--misses",
    is_flag=True,
    help="Also show every message with a wrong or missing finding (on standard error); not of the unseen ones.",
)
def evaluate_labelled(path: Path | None, *, as_json: bool, misses: bool) -> None:
    """Measure precision, recall and F1 per kind on labelled messages: on PATH, or on the two sets of the program.

    The messages of "unseen" are never read for tuning and have no bar. Exit code 1 when precision or recall of a kind
    in another set is below its bar: 0.97, for names and addresses 0.90.
    """
    messages = list(evaluation.load(path or evaluation.LABELLED))
    scores = evaluation.evaluate(messages)
    _report("labelled", len(messages), scores, as_json=as_json)
    if path is None:
        unseen = list(evaluation.load(evaluation.UNSEEN))
        _report("unseen", len(unseen), evaluation.evaluate(unseen), as_json=as_json)
    if misses:
        for message in evaluation.misjudged(messages):
            click.echo(json.dumps({"id": message.id, "text": message.text}, ensure_ascii=False), err=True)
    if any(score.below for score in scores):
        raise SystemExit(1)


def _report(name: str, messages: int, scores: Sequence[evaluation.Score], *, as_json: bool) -> None:
    if not as_json:
        click.echo(f"{name}: {messages} messages")
    for score in scores:
        figures = {"precision": round(score.precision, 4), "recall": round(score.recall, 4), "f1": round(score.f1, 4)}
        labelled = score.found + score.missed
        if as_json:
            row = {"set": name, "type": score.kind.value, "labelled": labelled, **figures, "bar": score.bar}
            click.echo(json.dumps(row))
        else:
            verdict = f"  below {score.bar}" if score.below else ""
            shown = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
            click.echo(f"{score.kind.value:<13}{labelled:>5}  {shown}{verdict}")

"""The figures of extraction as a table for people or as JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import click
from rich.console import Console
from rich.table import Table

from server.order.extraction_evaluation import EXACT, PRECISION, RECALL, Evaluation, Scores, Split

_ALL = "all"


def print_evaluations(found: Mapping[str, Evaluation], *, as_json: bool) -> None:
    """Every set, part and language, and at the end all sets together."""
    rows = list(_rows(found))
    times = {name: _microseconds(each) for name, each in found.items()}
    if as_json:
        for (name, split, language), score in rows:
            time = times.get(name, {}) if (split, language) == (None, None) else {}
            parts = {"set": name, "split": split or _ALL, "language": language or _ALL}
            click.echo(json.dumps({**parts, **_figures(score), **time}))
        return
    bars = f"bars over all of a set: precision {PRECISION}, recall {RECALL}, exact orders {EXACT}, lines on others 0"
    columns = ("set", "part", "language", "orders", "others", "precision", "recall", "exact", "lines on others")
    table = Table(*columns, title="Order lines on the labelled messages", caption=bars)
    for (name, split, language), score in rows:
        shares = [f"{share:.3f}" for share in (score.precision, score.recall, score.exactness)]
        counts = (str(score.orders), str(score.others))
        row = (name, split or _ALL, language or _ALL, *counts, *shares, str(score.invented))
        table.add_row(*row, end_section=language is None)
    Console().print(table)
    for name, time in times.items():
        click.echo(
            f"{name}: {time['median_us']} us a message in the median, {time['p99_us']} us in the 99th percentile"
        )


def print_misses(found: Mapping[str, Evaluation]) -> None:
    """What went wrong in the tuned part, on standard error; the unseen part is for reporting only."""
    for each in found.values():
        for message, result in each.scores[Split.TUNE, None].wrong if (Split.TUNE, None) in each.scores else ():
            got = {line.sku: f"{line.quantity:f}" for line in result.lines}
            click.echo(f"{message.id}: {message.text!r} -> {got}, {len(result.questions)} questions", err=True)


def _rows(found: Mapping[str, Evaluation]) -> Iterator[tuple[tuple[str, Split | None, str | None], Scores]]:
    together: dict[Split | None, Scores] = {}
    for name, each in found.items():
        for (split, language), score in sorted(
            each.scores.items(), key=lambda row: (row[0][0] or "~", row[0][1] or "~")
        ):
            yield (name, split, language), score
            if language is None:
                together.setdefault(split, Scores()).merge(score)
    if len(found) > 1:
        for split, score in together.items():
            yield (_ALL, split, None), score


def _microseconds(found: Evaluation) -> dict[str, int]:
    last = found.seconds[len(found.seconds) * 99 // 100] if found.seconds else 0.0
    return {"median_us": round(found.median * 1e6), "p99_us": round(last * 1e6)}


def _figures(score: Scores) -> dict[str, float | int]:
    return {
        "orders": score.orders,
        "others": score.others,
        "precision": round(score.precision, 4),
        "recall": round(score.recall, 4),
        "exact": round(score.exactness, 4),
        "invented": score.invented,
    }

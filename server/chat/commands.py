"""`tria intents …`: how well wishes are told from words, and the making of the trained half."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import click
from rich.console import Console
from rich.table import Table

from server.chat import evaluation, intent_head, intent_training
from server.chat.assistant import Intent, Language
from server.chat.evaluation import Report, Reports
from server.chat.glossing import Glossary
from server.chat.labelled import Split, labelled
from server.knowledge.embedding import EmbeddingFailed, OnnxEmbedder


@click.group()
def intents() -> None:
    """What customers want, as the desk understands it."""


@intents.command("evaluate")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--phrases", is_flag=True, help="Measure the phrases alone, which answer when the model fails.")
@click.option("--misses", is_flag=True, help="List what went wrong; not of the unseen messages.")
def evaluate_command(as_json: bool, phrases: bool, misses: bool) -> None:
    """Measure accuracy, confusion and food-safety recall on the labelled messages, per split and language.

    Exit status 1 when the whole classifier is below its bars. The phrases alone have none.
    """
    try:
        splits = asyncio.run(evaluation.evaluate_phrases() if phrases else _evaluate())
    except EmbeddingFailed as failed:
        raise click.ClickException(str(failed)) from failed
    problems = [] if phrases else evaluation.below_the_bars(splits)
    if as_json:
        scores = [_row(split, language, report) for split, by in splits.items() for language, report in by.items()]
        click.echo(json.dumps({"scores": scores, "below_the_bars": problems}))
    else:
        _show(splits, problems)
    if misses:
        for line in _misses(splits):
            click.echo(line, err=as_json)
    raise SystemExit(1 if problems else 0)


@intents.command("train")
def train_command() -> None:
    """Make the weights of the trained half again, from the labelled messages of the tune split.

    To be run after a change of these, of glosses.toml, of the search's concepts or of the embedding model.
    """
    try:
        head = asyncio.run(_train())
    except EmbeddingFailed as failed:
        raise click.ClickException(str(failed)) from failed
    intent_head.save(head)
    path = intent_head.PATH
    click.echo(f"{path.name}: {len(labelled(Split.TUNE))} messages, {path.stat().st_size} bytes")


async def _evaluate() -> dict[Split, Reports]:
    embedder = OnnxEmbedder()
    try:
        return await evaluation.evaluate(embedder)
    finally:
        await embedder.close()


async def _train() -> intent_head.Head:
    embedder = OnnxEmbedder()
    try:
        material = await intent_training.prepare(labelled(Split.TUNE), Glossary(), embedder)
    finally:
        await embedder.close()
    return await asyncio.to_thread(intent_training.train, material)


def _row(split: Split, language: Language | None, report: Report) -> dict[str, object]:
    return {
        "split": split,
        "language": language or "*",
        "messages": report.pairs.total(),
        "accuracy": round(report.accuracy, 4),
        "safety_wanted": report.safety_wanted,
        "safety_missed": report.safety_missed,
        "safety_false": report.safety_false,
        "confusion": {f"{wanted} {got}": count for (wanted, got), count in sorted(report.pairs.items())},
    }


def _show(splits: Mapping[Split, Reports], problems: list[str]) -> None:
    console = Console()
    table = Table("split", "language", "messages", "accuracy", "safety recall", "false alarms")
    for split, reports in splits.items():
        for language, report in reports.items():
            recall = f"{report.safety_wanted - report.safety_missed}/{report.safety_wanted}"
            total = str(report.pairs.total())
            table.add_row(split, language or "*", total, f"{report.accuracy:.1%}", recall, str(report.safety_false))
    console.print(table)
    for split, reports in splits.items():
        console.print(_confusion(split, reports[None]))
    for problem in problems:
        console.print(problem, style="red", markup=False)


def _confusion(split: Split, report: Report) -> Table:
    table = Table("wanted \\ got", *(intent.value for intent in Intent), title=split.value)
    for wanted in Intent:
        table.add_row(wanted.value, *(str(report.pairs[wanted, got] or "") for got in Intent))
    return table


def _misses(splits: Mapping[Split, Reports]) -> list[str]:
    """Misses to learn from. Unseen ones are never shown: whoever reads them tunes on them."""
    return [
        f"{item.id} {item.intent} -> {result.intent} {result.confidence}: {item.text}"
        for split, reports in splits.items()
        if split is not Split.UNSEEN
        for item, result in reports[None].wrong
    ]

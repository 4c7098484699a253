"""JSON lines of {"id", "text"} in, JSON lines out: how commands that read messages talk to programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import IO

import click


def answer_lines(source: IO[bytes], answer: Callable[[bytes], str]) -> None:
    """Writes `answer(line)` for each line that is not blank. A ValueError is reported with the line's number on
    standard error, the other lines are still answered, and the exit code is 1."""
    failed = False
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        try:
            answered = answer(line)
        except ValueError as error:
            failed = True
            click.echo(f"line {number}: {error}", err=True)
            continue
        sys.stdout.write(answered + "\n")
    sys.stdout.flush()
    if failed:
        raise SystemExit(1)


def id_and_text(line: bytes) -> tuple[object, str]:
    """The id, as it is, and the text. Raises ValueError, without the line's content, when it is no such object."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at column {error.colno}"
        raise ValueError(message) from error
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise ValueError(message) from error
    except RecursionError as error:
        message = "not an object with a text: nested too deeply"
        raise ValueError(message) from error
    if not isinstance(row, dict) or "id" not in row or not isinstance(row.get("text"), str):
        message = 'not an object with "id" and a string "text"'
        raise ValueError(message)
    return row["id"], row["text"]

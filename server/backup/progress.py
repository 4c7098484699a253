"""Steps of a backup or a restore, shown as they go: a bar on a terminal, a line for each step elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from server.backup.saving import Tell


@contextmanager
def shown(console: Console) -> Iterator[Tell]:
    """What hears of each step: (step, how far it is, how far it goes; 0: unknown)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total or None)
                if not console.is_terminal:
                    console.print(step, markup=False, highlight=False)
            progress.update(tasks[step], completed=done, total=total or None)

        yield tell

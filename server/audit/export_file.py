"""An export in a file, continued where it stopped: FILE.part grows, FILE.part.json says what it is of, and both become
FILE at the end. File I/O: not for the server.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from server.audit.export_lines import COVER_RECORD
from server.audit.export_plan import Plan
from server.audit.exporting import FormatName, cover_of


class AnotherExport(Exception):
    """What was begun under this name is another export."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a part is of. `last` is what was asked for, `tree_size` the tree that it is proven in."""

    tenant: str
    form: FormatName
    first: int
    last: int
    tree_size: int

    @classmethod
    def of(cls, plan: Plan, form: FormatName) -> Self:
        return cls(plan.tenant, form, plan.first, plan.last, plan.tree_size)


class ExportFile:
    """The file and its part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._about = path.with_name(f"{path.name}.part.json")

    def begun(self) -> Begun | None:
        """What an interrupted export was of."""
        try:
            found = json.loads(self._about.read_bytes())
            return Begun(**{**found, "form": FormatName(found["form"])}) if self._part.exists() else None
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def open(self, plan: Plan, form: FormatName) -> tuple[BinaryIO, int | None]:
        """The part, open for appending whole lines, and the record to go on with (None: from the beginning).

        Raises AnotherExport when what was begun is of another range, format, tenant or tree.
        """
        before, now = self.begun(), Begun.of(plan, form)
        if before is not None and before != now:
            raise AnotherExport(f"{self._part} is of another export: remove it, or name another file")
        self._about.write_text(json.dumps(asdict(now)))
        file = self._part.open("r+b" if before else "w+b")
        ahead = _lines_ahead(plan, form)
        lines = _keep_whole_lines(file)
        if lines <= ahead:
            file.truncate(0)
            file.seek(0)
            return file, None
        return file, plan.first + lines - ahead

    def finish(self, file: BinaryIO) -> None:
        """Gives the export its name."""
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._part.rename(self._path)
        self._about.unlink()


def _lines_ahead(plan: Plan, form: FormatName) -> int:
    """Lines before the first record."""
    if form is FormatName.NDJSON:
        hashes = sum(1 for _ in cover_of(plan))
        return 2 + -(-hashes // COVER_RECORD)
    return 1 if form is FormatName.CSV else 0


def _keep_whole_lines(file: BinaryIO) -> int:
    """Cuts a torn last line off, and counts the others."""
    count = whole = 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        count += 1
        whole += len(line)
    file.truncate(whole)
    file.seek(whole)
    return count

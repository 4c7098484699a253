"""What the products of all catalogues in the repository are called."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

_SERVER = Path(__file__).parents[2] / "server"
CATALOGUES = (_SERVER / "demo_data" / "products.csv", *sorted((_SERVER / "order" / "labelled").glob("*.csv")))


@functools.cache
def product_names() -> tuple[str, ...]:
    """Names and aliases in every language, each once."""
    found: set[str] = set()
    for path in CATALOGUES:
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                found.update((row["name"], row["name_zh"], row["name_ms"], *row["aliases"].split(";")))
    return tuple(sorted(found - {""}))

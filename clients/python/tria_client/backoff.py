"""How long to wait between attempts: exponential with full jitter, so that clients cut together come back apart."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first` and `most` are seconds; `attempts` is how many in a row may bring nothing before the error is raised."""

    first: float = 0.5
    most: float = 15.0
    attempts: int = 8

    def delay(self, failures: int, at_least: float = 0.0) -> float:
        """Seconds to wait after `failures` attempts in a row that brought nothing; never under `at_least`."""
        ceiling = min(self.most, self.first * 2 ** min(failures - 1, 30))
        return max(at_least, random.uniform(0, ceiling))  # noqa: S311  # spreads the load, hides nothing

"""Options that make a test longer than it is by default."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tria")
    group.addoption("--hand-off-rounds", type=int, default=40, help="rounds of the hand-off races")
    group.addoption("--hand-off-seed", type=int, default=7, help="seed of the hand-off races")

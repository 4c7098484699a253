"""Fixtures live in tests/support, one module per kind; each is listed here."""

import os

import pytest

# Tests start children beside open channels. gRPC's own handling of fork() crashes the process then, now and again; it
# is not needed, because a child of ours calls exec at once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

pytest_plugins = [
    "tests.support.options",
    "tests.support.stores",
    "tests.support.scaled",
    "tests.support.app",
    "tests.support.calls",
    "tests.support.system",
    "tests.support.orders",
    "tests.support.xero",
    "tests.support.accounting",
    "tests.support.people",
    "tests.support.trail",
    "tests.support.monitored",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes of tests that are small by default."""
    parser.addoption("--cache-crowd", default=200, type=int, help="How many ask one question at once.")
    parser.addoption("--queue-users", default=12, type=int, help="How many use a model with a limit at once.")
    parser.addoption("--queue-limit", default=120, type=int, help="That limit: requests a minute.")

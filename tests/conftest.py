"""Fixtures live in tests/support, one module per kind; each is listed here."""

import os

# Tests start children beside open channels. gRPC's own handling of fork() crashes the process then, now and again; it
# is not needed, because a child of ours calls exec at once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

pytest_plugins = [
    "tests.support.options",
    "tests.support.stores",
    "tests.support.app",
    "tests.support.calls",
    "tests.support.system",
    "tests.support.orders",
    "tests.support.xero",
    "tests.support.accounting",
    "tests.support.people",
    "tests.support.trail",
]

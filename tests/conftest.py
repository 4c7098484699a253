"""Fixtures live in tests/support, one module per kind; each is listed here."""

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

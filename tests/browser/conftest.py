"""Patience for what a page shows: the first answer of a system that has just started waits for what it reads."""

from playwright.async_api import expect

expect.set_options(timeout=30_000)

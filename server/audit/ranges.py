"""Asking for what is outside the log."""

from __future__ import annotations

from server.errors import AppError, Code, Reason


def outside(what: str, first: int, last: int, tree_size: int) -> AppError:
    """OUT_OF_RANGE (AUDIT_RANGE_INVALID) that says which range there is; `last` below `first` when there is none."""
    there = f"{first} to {last}" if first <= last else "none yet"
    return AppError(
        Code.OUT_OF_RANGE,
        Reason.AUDIT_RANGE_INVALID,
        f"{what} asked for are outside the log, which has {there}",
        metadata={"first": str(first), "last": str(last), "tree_size": str(tree_size)},
    )

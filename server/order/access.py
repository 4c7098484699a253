"""Who may see and move which orders, and how they are named."""

from __future__ import annotations

import uuid

from server.caller import Caller, Role
from server.errors import AppError, Code, Reason
from server.order.states import Party


def new_id() -> str:
    """A random id for a resource."""
    return uuid.uuid4().hex


def outlet_scope(caller: Caller) -> str:
    """The one outlet whose orders the caller may see; empty for those who may see all of the tenant's."""
    return caller.outlet if caller.has(Role.CUSTOMER) else ""


def party(caller: Caller) -> Party:
    """Whose moves the caller may make."""
    return Party.CUSTOMER if caller.has(Role.CUSTOMER) else Party.STAFF


def outlet_to_order_for(caller: Caller, asked: str) -> str:
    """The outlet that an order is for: a customer's own, or the one that others name (`outlets/x` or `x`).

    Raises PERMISSION_DENIED (OUTLET_MISMATCH) when a customer names another one.
    """
    asked = asked.removeprefix("outlets/")
    own = outlet_scope(caller)
    if own and asked and asked != own:
        raise AppError(Code.PERMISSION_DENIED, Reason.OUTLET_MISMATCH, "a customer orders for its own outlet only")
    if not (outlet := own or asked):
        raise AppError(Code.INVALID_ARGUMENT, Reason.OUTLET_UNKNOWN, "name the outlet that this order is for")
    return outlet


def check_etag(shown: str, current: str) -> None:
    """Raises ABORTED with the current etag when the caller saw another version; an empty etag means any."""
    if shown and shown != current:
        raise AppError(
            Code.ABORTED,
            Reason.ETAG_MISMATCH,
            "the resource has changed since it was read",
            metadata={"etag": current},
        )

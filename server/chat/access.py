"""Who may see which conversations, and how chat resources are named."""

from __future__ import annotations

import re
import uuid

from server.caller import Caller, Role
from server.errors import AppError, Code, Reason, not_found

_RUN = re.compile(r"conversations/([A-Za-z0-9_-]{1,64})/runs/([A-Za-z0-9_-]{1,64})")


def new_id() -> str:
    """A random id for a resource."""
    return uuid.uuid4().hex


def bare(outlet: str) -> str:
    """`outlets/x` or `x` as `x`."""
    return outlet.removeprefix("outlets/")


def outlet_scope(caller: Caller) -> str:
    """The one outlet whose conversations the caller may see; empty for those who may see all of the tenant's."""
    return caller.outlet if Role.CUSTOMER in caller.roles else ""


def outlet_to_write_for(caller: Caller, asked: str) -> str:
    """The outlet that a new conversation belongs to: a customer's own, or the one that others name.

    Raises PERMISSION_DENIED (OUTLET_MISMATCH) when a customer names another one.
    """
    asked = bare(asked)
    own = outlet_scope(caller)
    if own and asked and asked != own:
        raise AppError(Code.PERMISSION_DENIED, Reason.OUTLET_MISMATCH, "a customer acts for its own outlet only")
    if not (outlet := own or asked):
        raise AppError(Code.INVALID_ARGUMENT, Reason.OUTLET_UNKNOWN, "name the outlet that this is for")
    return outlet


def conversation_id(name: str) -> str:
    """The id in `conversations/{id}`."""
    return name.removeprefix("conversations/")


def run_ids(name: str) -> tuple[str, str]:
    """(conversation id, run id) of `conversations/{c}/runs/{r}`."""
    match = _RUN.fullmatch(name)
    if match is None:
        raise not_found(name)
    return match[1], match[2]

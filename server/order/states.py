"""Where an order can stand and how it gets from one state to another: a table, and the one function that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from server.errors import AppError, Code, Reason


class State(StrEnum):
    """Where an order stands (CONTRACT.md §4)."""

    DRAFT = "DRAFT"
    NEEDS_INFO = "NEEDS_INFO"
    CONFIRMED = "CONFIRMED"
    ACCEPTED = "ACCEPTED"
    FULFILLING = "FULFILLING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def open(self) -> bool:
        """Not confirmed yet: nothing is taken from stock and nothing is invoiced."""
        return self in {State.DRAFT, State.NEEDS_INFO}


class Move(StrEnum):
    """What can be done with an order."""

    ASK = "ask"  # a line cannot be delivered as it stands
    SETTLE = "settle"  # nothing is left to be asked
    CHANGE = "change"
    CONFIRM = "confirm"
    ACCEPT = "accept"
    REJECT = "reject"
    FULFIL = "fulfil"
    COMPLETE = "complete"
    CANCEL = "cancel"


class Party(StrEnum):
    """Whose move it is. What a customer may do, staff may do for it."""

    CUSTOMER = "CUSTOMER"
    STAFF = "STAFF"


_C, _S = Party.CUSTOMER, Party.STAFF

TRANSITIONS: Mapping[tuple[State, Move], tuple[State, Party]] = MappingProxyType({
    (State.DRAFT, Move.ASK): (State.NEEDS_INFO, _C),
    (State.DRAFT, Move.CHANGE): (State.DRAFT, _C),
    (State.DRAFT, Move.CONFIRM): (State.CONFIRMED, _C),
    (State.DRAFT, Move.CANCEL): (State.CANCELLED, _C),
    (State.NEEDS_INFO, Move.SETTLE): (State.DRAFT, _C),
    (State.NEEDS_INFO, Move.CHANGE): (State.NEEDS_INFO, _C),
    # Every guard is asked again at confirmation, so stock that has come in meanwhile answers the question.
    (State.NEEDS_INFO, Move.CONFIRM): (State.CONFIRMED, _C),
    (State.NEEDS_INFO, Move.CANCEL): (State.CANCELLED, _C),
    (State.CONFIRMED, Move.CHANGE): (State.CONFIRMED, _C),
    (State.CONFIRMED, Move.ACCEPT): (State.ACCEPTED, _S),
    (State.CONFIRMED, Move.REJECT): (State.REJECTED, _S),
    (State.CONFIRMED, Move.CANCEL): (State.CANCELLED, _C),
    (State.ACCEPTED, Move.CHANGE): (State.ACCEPTED, _S),
    (State.ACCEPTED, Move.FULFIL): (State.FULFILLING, _S),
    (State.ACCEPTED, Move.CANCEL): (State.CANCELLED, _C),
    (State.FULFILLING, Move.COMPLETE): (State.COMPLETED, _S),
    (State.FULFILLING, Move.CANCEL): (State.CANCELLED, _S),
})  # fmt: skip
"""(state, move) → (next state, the least party that may make it). What is not here is illegal."""


def allowed(state: State, party: Party) -> tuple[Move, ...]:
    """The moves that `party` may make from `state`, by name."""
    return tuple(
        sorted(move for (source, move), (_, least) in TRANSITIONS.items() if source is state and _may(party, least))
    )


def after(state: State, move: Move, party: Party) -> State:
    """The state that the move leads to. Raises FAILED_PRECONDITION with the allowed moves in its metadata."""
    found = TRANSITIONS.get((state, move))
    if found is None or not _may(party, found[1]):
        possible = ", ".join(allowed(state, party))
        raise AppError(
            Code.FAILED_PRECONDITION,
            Reason.ORDER_TRANSITION_ILLEGAL,
            f"an order that is {state} cannot be moved by {move}",
            metadata={"state": state.value, "move": move.value, "allowed": possible},
        )
    return found[0]


def _may(party: Party, least: Party) -> bool:
    return party is Party.STAFF or least is Party.CUSTOMER

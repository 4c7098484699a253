"""The transition table against a model of it, and walks through it that never leave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import AppError, Code, Reason
from server.order.states import TRANSITIONS, Move, Party, State, after, allowed

# Written down again, by hand, from CONTRACT.md §4 and the documents: where a customer and where staff can get from.
CUSTOMER = {
    State.DRAFT: {State.NEEDS_INFO, State.DRAFT, State.CONFIRMED, State.CANCELLED},
    State.NEEDS_INFO: {State.DRAFT, State.NEEDS_INFO, State.CONFIRMED, State.CANCELLED},
    State.CONFIRMED: {State.CONFIRMED, State.CANCELLED},
    State.ACCEPTED: {State.CANCELLED},
}
STAFF = {
    State.CONFIRMED: {State.ACCEPTED, State.REJECTED},
    State.ACCEPTED: {State.ACCEPTED, State.FULFILLING},
    State.FULFILLING: {State.COMPLETED, State.CANCELLED},
}
FINAL = {State.COMPLETED, State.CANCELLED, State.REJECTED}


def reachable(state: State, party: Party) -> set[State]:
    return {after(state, move, party) for move in allowed(state, party)}


@pytest.mark.parametrize("state", State)
def test_the_table_is_the_contracts(state: State) -> None:
    assert reachable(state, Party.CUSTOMER) == CUSTOMER.get(state, set())
    assert reachable(state, Party.STAFF) == CUSTOMER.get(state, set()) | STAFF.get(state, set())


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", Move)
@pytest.mark.parametrize("party", Party)
def test_an_illegal_move_names_the_legal_ones(state: State, move: Move, party: Party) -> None:
    if move in allowed(state, party):
        assert after(state, move, party) is TRANSITIONS[state, move][0]
        return
    with pytest.raises(AppError) as caught:
        after(state, move, party)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.ORDER_TRANSITION_ILLEGAL)
    assert caught.value.metadata["state"] == state
    assert set(filter(None, caught.value.metadata["allowed"].split(", "))) == set(allowed(state, party))


@given(st.lists(st.tuples(st.sampled_from(Move), st.sampled_from(Party)), max_size=30))
def test_every_walk_stays_on_the_table(moves: list[tuple[Move, Party]]) -> None:
    """Whatever is tried in whatever order: an order is confirmed once, and nothing leaves a final state."""
    state, confirmations = State.DRAFT, 0
    for move, party in moves:
        before = state
        try:
            state = after(state, move, party)
        except AppError:
            continue
        assert before not in FINAL
        confirmations += move is Move.CONFIRM
        assert not (state.open and confirmations), "a confirmed order became a draft again"
    assert confirmations <= 1
    assert state in FINAL or state.open or confirmations


def test_every_state_ends_somewhere() -> None:
    for state in State:
        seen, todo = set(), {state}
        while todo:
            found = todo.pop()
            seen.add(found)
            todo |= reachable(found, Party.STAFF) - seen
        assert seen & FINAL

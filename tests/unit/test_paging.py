"""Page tokens open what they were made for and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import AppError, Reason
from server.paging import PageTokens, page_size
from server.settings import Secret

TOKENS = PageTokens(Secret("k" * 32))


@given(query=st.text(), after=st.lists(st.text(), max_size=3).map(tuple))
def test_a_token_gives_back_its_position(query: str, after: tuple[str, ...]) -> None:
    assert TOKENS.read(query, TOKENS.make(query, after), 7).after == after


@given(query=st.text(), other=st.text(), after=st.tuples(st.text()))
def test_a_token_of_another_query_is_refused(query: str, other: str, after: tuple[str]) -> None:
    token = TOKENS.make(query, after)
    if other == query:
        return
    with pytest.raises(AppError) as caught:
        TOKENS.read(other, token, 7)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


@given(st.text(min_size=1))
def test_what_was_never_made_is_refused(token: str) -> None:
    with pytest.raises(AppError) as caught:
        TOKENS.read("q", token, 7)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(AppError):
        PageTokens(Secret("o" * 32)).read("q", TOKENS.make("q", ("1",)), 7)


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.read("q", "", 7).after is None


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (500, 500), (501, 500), (10**9, 500)])
def test_sizes_are_coerced_not_refused(asked: int, given_: int) -> None:
    assert page_size(asked) == given_

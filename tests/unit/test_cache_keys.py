"""Keys, vetoes and likeness of the answer cache: equal only where the answer is the same."""

from __future__ import annotations

import json
from importlib import resources

from hypothesis import given
from hypothesis import strategies as st

from server.chat.assistant import Language, Turn
from server.chat.cache.asked import Asked, look_at, spelling
from server.chat.cache.keys import Keys, Scope
from server.chat.cache.likeness import Likenesses, nearest
from server.knowledge.embedding import OnnxEmbedder
from server.knowledge.lexical import Lexicon
from server.settings import Secret


async def test_labelled_pairs() -> None:
    embedder = OnnxEmbedder()
    likenesses = Likenesses(Lexicon(), embedder)
    lines = resources.files("server.chat.cache").joinpath("alike.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    found = {True: [0, 0], False: [0, 0]}
    wrong = []
    for pair in pairs:
        questions = [look_at(Turn(pair[side])) for side in ("a", "b")]
        a, b = [await likenesses.of(question) if question else None for question in questions]
        same = bool(a and b and a.signature == b.signature and nearest(a, {"b": b.vector}))
        found[pair["same"]][same] += 1
        if same and not pair["same"]:
            wrong.append(pair)
    await embedder.close()
    assert not wrong
    assert sum(found[False]) >= 60
    assert found[True][1] >= 0.5 * sum(found[True]), found


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
SCOPES = st.builds(Scope, *[st.sampled_from(["", "a", "b", "ab"])] * 9)


def _asked(text: str) -> Asked:
    return Asked(text, text, Language.EN, alone=True)


@given(SCOPES, SCOPES, TEXTS, TEXTS)
def test_keys_are_equal_only_for_the_same_scope_and_question(one: Scope, other: Scope, text: str, more: str) -> None:
    keys = Keys(Secret("k" * 32))
    first, second = keys.of(one, _asked(text)), keys.of(other, _asked(more))
    assert (first == second) == ((one, text) == (other, more))
    assert (first.partition == second.partition) == (one == other)
    assert keys.of(one, _asked(text)) != Keys(Secret("j" * 32)).of(one, _asked(text))
    assert "{" + first.partition + "}" in first.entry
    assert "{" + first.partition + "}" in first.lock


@given(TEXTS)
def test_a_spelling_is_its_own_spelling(text: str) -> None:
    assert spelling(spelling(text)) == spelling(text)


@given(st.sampled_from(["my", "our", "account", "tomorrow", "我的", "今天", "esok", "pesanan saya"]), st.integers(0, 5))
def test_a_vetoed_word_vetoes_wherever_it_stands(word: str, place: int) -> None:
    words = ["When", "do", "you", "deliver", "to", "Sentosa"]
    words.insert(min(place, len(words)), word)
    assert look_at(Turn(" ".join(words))) is None

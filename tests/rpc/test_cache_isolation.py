"""The answer cache never gives anybody an answer that is not theirs, nor one that does not hold any more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.chat.assistant import (
    AnswerKind,
    Asker,
    Cited,
    Delta,
    Event,
    Intent,
    Step,
    ToolUsed,
    Turn,
)
from server.chat.cache.shelf import ShelfLimits
from server.chat.cache.witness import fingerprint
from server.chat.decision import Grounds, Suspected
from server.chat.suspicion import Source, Suspicion
from server.embedded.valkey import EmbeddedValkey
from server.knowledge.embedding import OnnxEmbedder
from server.knowledge.lexical import Lexicon
from tests.support.cached import COST, Replica, Talkative, replica, says
from tests.support.llmock import BOX, DeskTools, passage
from tests.support.stores import eventually

Make = Callable[..., Replica]
QUESTION = "When do you deliver to Sentosa?"
SOMEBODY = Asker("acme", "bugis", "CUSTOMER", "c1", "a")


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest_asyncio.fixture(scope="module")
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    model = OnnxEmbedder()
    yield model
    await model.close()


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0) as opened:
        yield opened


@pytest_asyncio.fixture
async def make(client: redis.asyncio.Redis, lexicon: Lexicon, embedder: OnnxEmbedder) -> AsyncIterator[Make]:
    """Makes replicas over the test's Redis, or over another."""
    made: list[Replica] = []

    def one(over: redis.asyncio.Redis | None = None, **parts: Any) -> Replica:
        made.append(replica(over or client, lexicon, embedder, **parts))
        return made[-1]

    yield one
    for each in made:
        await each.figures.close()


@pytest.fixture
def cache(make: Make) -> Replica:
    return make()


def turn(text: str = QUESTION, asker: Asker = SOMEBODY, **more: object) -> Turn:
    return replace(Turn(text, asker=asker), **more)  # type: ignore[arg-type]


OTHERS = {
    "tenant": replace(SOMEBODY, tenant="globex"),
    "role": replace(SOMEBODY, role="STAFF"),
    "arm": replace(SOMEBODY, arm="b"),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_who_differs_in_anything_is_answered_anew(cache: Replica, what: str) -> None:
    other = OTHERS[what]
    assert await cache.ask(turn()) == (says(SOMEBODY) + " The end.", False)
    assert await cache.ask(turn(asker=other)) == (says(other) + " The end.", False)
    assert await cache.ask(turn()) == (says(SOMEBODY) + " The end.", True)
    assert await cache.ask(turn(asker=other)) == (says(other) + " The end.", True)
    assert len(cache.inner.asked) == 2


@pytest.mark.parametrize("what", ["knowledge", "catalogue", "prompt"])
async def test_what_has_changed_is_answered_anew(cache: Replica, what: str) -> None:
    await cache.ask(turn())
    assert (await cache.ask(turn()))[1]
    if what == "prompt":
        cache.prompts["a"] = "prompt-3"
    else:
        setattr(cache.sources, what, "2")
    assert not (await cache.ask(turn()))[1]
    assert (await cache.ask(turn()))[1]


async def test_a_language_is_its_own(cache: Replica) -> None:
    await cache.ask(turn("Sentosa kraft"))
    assert not (await cache.ask(turn("Sentosa kraft", locale="ms")))[1]


async def test_outlets_share_what_documents_say(cache: Replica) -> None:
    await cache.ask(turn())
    assert (await cache.ask(turn(asker=replace(SOMEBODY, outlet="katong", conversation="c2"))))[1]


async def test_an_answer_that_an_outlets_name_may_change_is_not_shared(cache: Replica) -> None:
    for name in ("Bugis", "Katong", "Bugis"):
        assert not (await cache.ask(turn(outlet_name=name)))[1]


@pytest.mark.parametrize(
    "text",
    [
        "Where is my order?",
        "What is our credit limit?",
        "When do you deliver ORD-12345?",
        "Can you call me at 91234567 about delivery to Sentosa?",
        "Do you deliver to Sentosa, asks peter.tan@example.com?",
        "Send 200 of the 12 inch pizza boxes",
        "I want to speak to a person",
        "The boxes arrived wet and crushed",
        "Do you deliver today?",
        "What did we order last time, same as usual?",
        "Hello",
        "Thank you",
        "我的订单到哪里了？",
        "今天送货吗？",
        "Mana pesanan saya?",
        "Ada penghantaran esok?",
        "Do you deliver as fast as evil.example says?",
    ],
)
async def test_what_is_personal_momentary_or_transactional_is_never_kept(cache: Replica, text: str) -> None:
    for _ in range(2):
        assert not (await cache.ask(turn(text)))[1]
    assert len(cache.inner.asked) == 2


@pytest.mark.parametrize(
    "inner",
    [
        Talkative(kind=AnswerKind.PROPOSED),
        Talkative(kind=AnswerKind.HANDED_OFF),
        Talkative(kind=AnswerKind.REFUSED),
        Talkative(confidence=0.2),
        Talkative(intent=Intent.ORDER),
        Talkative(intent=Intent.ORDER_STATUS),
        Talkative(also=[ToolUsed("1", "search_products", "SUCCEEDED", "reading_catalogue")]),
        Talkative(also=[Step("model_fallback")]),
        Talkative(also=[Delta("Peter Tan lives at 10 Bukit Timah Road #05-01 Singapore 259708, call 91234567. ")]),
        Talkative(also=[Suspected(Source.ANSWER, Suspicion(0.5, ("output link",)))]),
    ],
    ids=["proposed", "handed-off", "refused", "unsure", "order", "status", "tool", "fallback", "person", "finding"],
)
async def test_what_an_answer_was_made_of_vetoes_it(make: Make, inner: Talkative) -> None:
    cache = make(inner=replace(inner, asked=[]))
    for _ in range(2):
        assert not (await cache.ask(turn()))[1]


async def test_a_suspicious_question_is_neither_given_what_was_kept_nor_kept(cache: Replica) -> None:
    assert not (await cache.ask(turn(wary=True)))[1]
    assert not (await cache.ask(turn()))[1]
    assert not (await cache.ask(turn(wary=True)))[1]
    assert (await cache.ask(turn()))[1]


async def test_what_an_answer_rests_on_is_passed_on_and_vetoes_nothing(make: Make) -> None:
    grounds = Grounds("prompt-1", "talkative-1")
    cache = make(inner=Talkative(also=[grounds]))
    assert grounds in [event async for event in cache.assistant.reply(turn(), DeskTools())]
    assert (await cache.ask(turn()))[1]


async def test_a_hotline_that_the_document_publishes_is_not_personal(make: Make) -> None:
    published = passage("The hotline is 61234567.")
    said: list[Event] = [Delta("The hotline is 61234567 [1]. "), Cited(1, published, published.text)]
    cache = make(inner=Talkative(also=said))
    first, second = await cache.ask(turn()), await cache.ask(turn())
    assert second == (first[0], True)


@dataclass
class Ordering(DeskTools):
    """Tools of somebody who talks about an order: every message belongs to it."""

    async def hear_order(self, _intent: Intent) -> Intent:
        return Intent.ORDER


async def test_to_who_has_an_open_order_the_same_words_are_no_question(cache: Replica) -> None:
    await cache.ask(turn())
    assert not (await cache.ask(turn(), Ordering()))[1]
    assert (await cache.ask(turn()))[1]


async def test_an_answer_about_goods_ends_with_their_price_or_stock(cache: Replica) -> None:
    cache.inner.intent = Intent.PRODUCT_QUESTION
    asked, shop = turn("Which pizza box fits a 12 inch pizza?"), DeskTools(products=[BOX])
    await cache.ask(asked, shop)
    cache.sources.goods = {BOX.sku: fingerprint(BOX)}
    assert (await cache.ask(asked, shop))[1]
    cache.sources.goods = {BOX.sku: fingerprint(replace(BOX, in_stock=False))}
    assert not (await cache.ask(asked, shop))[1]
    cache.sources.goods = {}
    assert not (await cache.ask(asked, shop))[1], "not sold any more"


@pytest.mark.parametrize(
    "text", ["And on Saturdays?", "What does it cost?", "Which one is bigger?", "还有圣淘沙呢？", "Sentosa?"]
)
async def test_a_question_that_leans_on_what_was_said_is_asked(cache: Replica, text: str) -> None:
    await cache.ask(turn(text))
    said = (("user", "Do you deliver to Jurong Island?"), ("assistant", "Yes, on Mondays."))
    assert not (await cache.ask(turn(text, history=said)))[1]


async def test_a_question_that_stands_alone_is_known_also_in_a_conversation(cache: Replica) -> None:
    said = (("user", "Do you have straws?"), ("assistant", "Yes."))
    assert not (await cache.ask(turn(history=said)))[1]
    assert not (await cache.ask(turn()))[1], "what was said after other things is not kept"
    assert (await cache.ask(turn(history=said)))[1]


async def test_an_abstention_is_short_lived(make: Make) -> None:
    limits = ShelfLimits(keep=60.0, keep_abstention=0.3)
    cache = make(inner=Talkative(kind=AnswerKind.ABSTAINED), limits=limits)
    await cache.ask(turn())
    assert (await cache.ask(turn()))[1]

    async def gone() -> bool:
        return not (await cache.ask(turn()))[1]

    await eventually(gone, within=10)


async def test_nothing_readable_is_in_redis(cache: Replica, client: redis.asyncio.Redis) -> None:
    await cache.ask(turn())
    keys = [key.decode() async for key in client.scan_iter("*")]
    assert any(":a:" in key for key in keys)
    assert not [key for key in keys if "acme" in key or "sentosa" in key.lower() or "deliver" in key.lower()]
    for key in keys:
        if ":a:" in key or ":s:" in key:
            assert 0 < await client.pttl(key) <= 1_800_000


async def test_a_crowd_over_two_processes_costs_one_answer(
    redis_url: str, make: Make, pytestconfig: pytest.Config
) -> None:
    crowd = int(pytestconfig.getoption("--cache-crowd"))
    inner = Talkative(pause=0.5)
    async with redis.asyncio.Redis.from_url(redis_url) as one, redis.asyncio.Redis.from_url(redis_url) as two:
        replicas = [make(client, inner=inner) for client in (one, two)]
        answers = await asyncio.gather(
            *(
                replicas[number % 2].ask(turn(asker=replace(SOMEBODY, conversation=f"c{number}")))
                for number in range(crowd)
            )
        )
        for each in replicas:
            await each.figures.close()
        figures = await replicas[0].figures.of("acme")
    assert {text for text, _ in answers} == {says(SOMEBODY) + " The end."}
    assert len(inner.asked) == 1
    assert sum(hit for _, hit in answers) == crowd - 1
    assert (figures.hits, figures.misses, figures.saved_micros) == (crowd - 1, 1, (crowd - 1) * COST)
    assert figures.entries == 1


async def test_a_leader_that_is_stopped_is_followed_by_another(make: Make) -> None:
    inner = Talkative(pause=30.0)
    cache = make(inner=inner)
    leader = asyncio.create_task(cache.ask(turn()))

    async def begun() -> bool:
        return len(inner.asked) == 1

    await eventually(begun)
    follower = asyncio.create_task(cache.ask(turn()))
    inner.pause = 0.0
    leader.cancel()
    assert await asyncio.wait_for(follower, 10) == (says(SOMEBODY) + " The end.", False)
    assert len(inner.asked) == 2


async def test_a_leader_that_died_is_followed_when_its_lease_ends(cache: Replica, client: redis.asyncio.Redis) -> None:
    await cache.ask(turn())
    [entry] = [key async for key in client.scan_iter("tria:cache:*:a:*")]
    await client.delete(entry)
    await client.set(entry.replace(b":a:", b":l:"), "somebody who is dead", px=700)
    assert not (await asyncio.wait_for(cache.ask(turn()), 20))[1]


async def test_with_redis_killed_in_the_middle_each_process_keeps_a_few(stores_root: Path, make: Make) -> None:
    place = stores_root / f"cache-{os.getpid()}"
    place.mkdir(mode=0o711)
    valkey = EmbeddedValkey(place)
    url = await valkey.start()
    limits = ShelfLimits(local=3)
    try:
        async with redis.asyncio.Redis.from_url(url, socket_timeout=0.5) as client:
            inner = Talkative(pause=0.3)
            cache = make(client, inner=inner, limits=limits)
            answering = asyncio.create_task(cache.ask(turn()))

            async def begun() -> bool:
                return len(inner.asked) == 1

            await eventually(begun)
            assert valkey.pid is not None
            os.kill(valkey.pid, signal.SIGKILL)
            await valkey.wait_exit()
            assert await answering == (says(SOMEBODY) + " The end.", False)
            assert (await cache.ask(turn()))[1], "kept here"
            inner.pause = 0.0
            for number in range(5):
                await cache.ask(turn(f"When do you deliver to zone {number}?"))
            figures = await cache.figures.of("acme")
            assert figures.fallback
            assert figures.entries == 3
            await valkey.start()

            async def shared() -> bool:
                return not (await cache.figures.of("acme")).fallback

            await eventually(shared, within=20)
            await cache.ask(turn())
            assert (await cache.ask(turn()))[1]
            await cache.figures.close()
    finally:
        await valkey.stop()


async def test_another_wording_is_a_hit_and_a_near_miss_is_not(cache: Replica) -> None:
    await cache.ask(turn("What does delivery to Sentosa cost?"))
    assert (await cache.ask(turn("How much is the delivery fee for Sentosa?")))[1]
    assert not (await cache.ask(turn("How much is the delivery fee for Jurong Island?")))[1]
    assert not (await cache.ask(turn("How much is the delivery fee for Sentosa?", OTHERS["tenant"])))[1]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_whatever_the_order_of_askers_nobody_gets_anothers(cache: Replica, data: st.DataObject) -> None:
    people = st.builds(
        Asker,
        st.sampled_from(["acme", "globex"]),
        st.sampled_from(["bugis", "katong"]),
        st.sampled_from(["CUSTOMER", "STAFF"]),
        st.just("c"),
        st.sampled_from(["a", "b"]),
    )
    for asker in data.draw(st.lists(people, min_size=2, max_size=8)):
        text, _ = await cache.ask(turn(asker=asker))
        assert text == says(asker) + " The end."

"""WatchConversation: live on every device, resumed by cursor on another server, and never ended by an error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import grpc
import pytest

from server.caller import Role
from server.chat.feed import FeedEvent
from tests.support.app import Desk, running_desk
from tests.support.desk_people import PATIENCE, Somebody, following, new_key, told
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.threads import CUSTOMER, Talker, process, staff
from tria.chat.v1 import chat_service_pb2 as rpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc


async def test_every_device_sees_the_same(desk: Desk) -> None:
    ann, ben, sam = Somebody(desk), Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    async with ann.watching(conversation) as phone, ben.watching(conversation) as tab, sam.watching(conversation) as it:
        await ann.say(conversation, "I want to talk to a person please")
        await sam.take(conversation, 2)
        await sam.write(conversation, 3, "Sam here.")
        await ben.say(conversation, "Thank you")
        await sam.give_back(conversation, 3)
        seen = [await following(call, 8) for call in (phone, tab, it)]
    assert seen[0] == seen[1]
    assert [told(event) for event in seen[0]] == [told(event) for event in seen[2]]
    words = [told(event) for event in seen[0]]
    assert words[:2] == ["CUSTOMER: I want to talk to a person please", "run_started"]
    assert words[2].startswith("ASSISTANT: ")
    assert words[3:] == [
        "WAITING_FOR_STAFF 2 asked", "STAFF 3 asked", "STAFF: Sam here.", "CUSTOMER: Thank you", "ASSISTANT 4 returned",
    ]  # fmt: skip
    assert seen[0][1].run_started.run == seen[0][2].message.run


async def test_a_watch_is_resumed_on_another_server(
    desk: Desk, tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str
) -> None:
    ann = Somebody(desk)
    conversation = await ann.begin()
    async with ann.watching(conversation) as call:
        await ann.say(conversation, "When do you deliver?")
        events = await following(call, 3)
    await ann.ask(conversation)  # while nobody watches
    async with running_desk(tmp_path, filled_dsn, valkey, chroma_url) as other:
        there = Somebody(other, subject=ann.subject)
        async with Somebody(other).watching(conversation, events[0].cursor) as call:
            again = await following(call, 3)
            assert again[:2] == events[1:]
            assert told(again[2]) == "WAITING_FOR_STAFF 2 asked"
            await ann.say(conversation, "hello?")  # at the first server, heard at the second
            assert told((await following(call, 1))[0]) == "CUSTOMER: hello?"
            await there.say(conversation, "hello again")
            assert told((await following(call, 1))[0]) == "CUSTOMER: hello again"


async def test_an_order_of_the_conversation_is_told_in_it(desk: Desk) -> None:
    ann = Somebody(desk)
    conversation = await ann.begin()
    async with ann.watching(conversation) as call:
        events = await ann.say(conversation, "20 packs of white napkins and 200 plain 12 inch boxes please")
        [proposal] = [event.proposal for event in events if event.HasField("proposal")]
        done = await desk.chat.ConfirmProposal(
            rpc.ConfirmProposalRequest(
                name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=new_key()
            ),
            metadata=ann.who,
        )
        [*_, event] = await following(call, 4)
    assert (told(event), event.order_changed.order) == ("order CONFIRMED", done.resource)


async def test_nobody_speaks_of_orders_in_conversations_of_others(desk: Desk) -> None:
    ann, eve = Somebody(desk), Somebody(desk, outlet="pizza-pronto-tampines")
    conversation = await ann.begin()
    order = order_pb2.Order(conversation=conversation, lines=[order_pb2.OrderLine(sku="NP-33-2", quantity="60")])
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    async with ann.watching(conversation) as call:
        request = order_service_pb2.CreateOrderRequest(order=order, request_id=new_key())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateOrder(request, metadata=eve.who)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        await ann.say(conversation, "hello")
        assert told((await following(call, 1))[0]) == "CUSTOMER: hello"


@pytest.mark.parametrize(
    "other", [{"tenant": "stranger"}, {"outlet": "pizza-pronto-tampines"}, {"tenant": "stranger", "role": Role.STAFF}]
)
async def test_others_find_nothing_to_watch(desk: Desk, other: dict[str, str]) -> None:
    conversation = await Somebody(desk).begin()
    eve = Somebody(desk, **other)  # type: ignore[arg-type]
    call = desk.chat.WatchConversation(rpc.WatchConversationRequest(conversation=conversation), metadata=eve.who)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_cursor_is_of_its_conversation(desk: Desk) -> None:
    ann = Somebody(desk)
    one, other = await ann.begin(), await ann.begin()
    await ann.ask(one)
    async with ann.watching(one) as call:
        await ann.say(one, "hello?")
        [event] = await following(call, 1)
    for conversation, cursor, wrong in (
        (other, event.cursor, "PAGE_TOKEN_INVALID"),
        (one, "nonsense", "PAGE_TOKEN_INVALID"),
        ("conversations/", "", "INVALID_FIELD"),
    ):
        request = rpc.WatchConversationRequest(conversation=conversation, cursor=cursor)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.chat.WatchConversation(request, metadata=ann.who).read()
        assert reason(caught.value) == wrong


async def test_silence_has_heartbeats_and_an_end(tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str) -> None:
    quick = {"TRIA_STREAM_HEARTBEAT": "0.1", "TRIA_STREAM_MAX_AGE": "1"}
    async with running_desk(tmp_path, filled_dsn, valkey, chroma_url, quick) as desk:
        ann = Somebody(desk)
        conversation = await ann.begin()
        async with ann.watching(conversation) as call:
            events = []
            while (event := await asyncio.wait_for(call.read(), PATIENCE)) is not grpc.aio.EOF:
                events.append(event)
            assert {event.WhichOneof("event") for event in events[:-1]} == {"heartbeat"}
            assert 2 <= len(events) <= 12
            assert events[-1].HasField("reconnect")
            assert events[-1].cursor
            assert 0 < events[-1].reconnect.delay.ToMilliseconds() <= 2000
            assert await call.code() is grpc.StatusCode.OK


async def test_a_stopping_server_sends_watchers_elsewhere_and_forgets_who_left(
    tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str
) -> None:
    async with running_desk(tmp_path, filled_dsn, valkey, chroma_url) as desk:
        ann, watching = Somebody(desk), desk.application.people.watching
        conversation = await ann.begin()
        async with ann.watching(conversation):
            assert watching.watchers == 1

        async def forgotten() -> bool:
            return watching.watchers == 0

        await eventually(forgotten)  # the call was cancelled
        async with ann.watching(conversation) as call:
            watching.drain()
            event = await asyncio.wait_for(call.read(), PATIENCE)
            assert event.HasField("reconnect")
            assert await asyncio.wait_for(call.read(), PATIENCE) is grpc.aio.EOF


async def test_events_are_heard_again_after_the_listener_was_lost(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, redis_url, tmp_path, Talker()) as one:
        connection = await asyncpg.connect(dsn)
        listeners = (
            "select array_agg(pid) from pg_stat_activity "
            "where application_name = 'tria-conversation-bell' and datname = current_database()"
        )

        async def listening(without: int = 0) -> bool:
            pids = await connection.fetchval(listeners)
            return bool(pids) and without not in pids

        await eventually(listening)
        conversation = await one.conversation()
        seen: list[FeedEvent] = []
        watcher = asyncio.create_task(one.watch(conversation, seen))

        async def watches() -> bool:
            return one.bell.watchers == 1

        await eventually(watches)
        [pid] = await connection.fetchval(listeners)
        await connection.fetchval("select pg_terminate_backend($1)", pid)
        held = await one.take(conversation, staff("sam"), 1)  # perhaps while nobody listens
        await one.write(conversation, staff("sam"), held.controller_epoch, "hello")

        async def told_all() -> bool:
            return [event.seq for event in seen] == [1, 2]

        await eventually(told_all)
        watcher.cancel()
        await asyncio.wait({watcher})
        await connection.close()


async def test_a_slow_reader_is_sent_away_and_misses_nothing(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, redis_url, tmp_path, Talker(), slow=0.05) as one:
        conversation, sam = await one.conversation(), staff("sam")
        held = await one.take(conversation, sam, 1)
        for number in range(4):
            await one.write(conversation, sam, held.controller_epoch, f"line {number}")
        seen, cursor, away = list[int](), one.cursor(CUSTOMER, conversation, 0), 0
        while len(seen) < 5:
            async for item in one.watching.watch(CUSTOMER, conversation, cursor):
                cursor = item.cursor
                if event := getattr(item, "event", None):
                    seen.append(event.seq)
                    await asyncio.sleep(0.06)  # what a full pipe does to the server
            away += 1
        assert seen == [1, 2, 3, 4, 5]
        assert away == 5


async def test_numbers_have_no_gaps_whoever_commits_first(dsn: str, redis_url: str, tmp_path: Path) -> None:
    """Twenty writers at once in two processes, half of which are refused: watchers see 1, 2, 3 and nothing late."""
    async with (
        process(dsn, redis_url, tmp_path, Talker()) as one,
        process(dsn, redis_url, tmp_path, Talker(), "two") as two,
    ):
        conversation, sam = await one.conversation(), staff("sam")
        held = await one.take(conversation, sam, 1)
        seen: tuple[list[FeedEvent], list[FeedEvent]] = ([], [])
        cursor = one.cursor(CUSTOMER, conversation, 0)
        watchers = [
            asyncio.create_task(each.watch(conversation, into, cursor))
            for each, into in zip((one, two), seen, strict=True)
        ]
        epoch = held.controller_epoch
        results = await asyncio.gather(
            *((one, two)[n % 2].write(conversation, sam, epoch - (n // 2) % 2, f"{n}") for n in range(20)),
            return_exceptions=True,
        )
        assert sum(result is None for result in results) == 10

        async def all_seen() -> bool:
            return all(len(events) == 11 for events in seen)

        await eventually(all_seen)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        assert seen[0] == seen[1]
        assert [event.seq for event in seen[0]] == list(range(1, 12))

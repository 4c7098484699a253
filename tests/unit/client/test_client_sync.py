"""The blocking client gives what the asynchronous one gives."""

from __future__ import annotations

import asyncio
import threading

import pytest
from google.rpc import status_pb2

from tests.support.scripted import Connection, Cut, Script
from tests.unit.client.conftest import QUICK
from tria.order.v1 import order_service_pb2
from tria_client.errors import TriaError
from tria_client.sync import SyncTriaClient


def open_client(target: str) -> SyncTriaClient:
    return SyncTriaClient(target, token="t0", tls=False, backoff=QUICK)


async def test_a_cut_run_arrives_whole(target: str, script: Script) -> None:
    script.connections.extend([Connection(sent=2, cut=Cut.UNAVAILABLE, back=1), Connection(sent=1, cut=Cut.RECONNECT)])

    def work() -> None:
        with open_client(target) as client:
            assert list(client.send("conversations/c1", "hello", timeout=20)) == script.log
            assert list(client.stream_chat("hello")) == script.log
            assert list(client.resume("conversations/c1/runs/r1", after_seq=4)) == script.log[4:]

    await asyncio.to_thread(work)


async def test_stubs_block_and_raise(target: str, script: Script) -> None:
    script.refusals.append(status_pb2.Status(code=5, message="gone"))

    def work() -> None:
        with open_client(target) as client:
            with pytest.raises(TriaError, match="NOT_FOUND: gone"):
                client.chat("hello")
            assert client.chat("hello").text == "You said hello"
            order = client.orders.GetOrder(order_service_pb2.GetOrderRequest(name="orders/o1"))
            assert order.name == "orders/o1"
            watched = client.orders.WatchOrders(order_service_pb2.WatchOrdersRequest(), timeout=20)
            assert [event.cursor for event in watched] == ["0", "1", "2"]
            rows = iter([order_service_pb2.ImportProductsRequest(line=1)])
            assert client.orders.ImportProducts(rows).created == 1

    await asyncio.to_thread(work)


async def test_closing_ends_the_thread_even_with_a_stream_open(target: str, script: Script) -> None:
    script.connections.append(Connection(sent=1, cut=Cut.HANG))

    def work() -> None:
        client = open_client(target)
        events = client.send("conversations/c1", "hello")
        assert next(events).seq == 1
        client.close()

    await asyncio.to_thread(work)
    assert "tria-client" not in {thread.name for thread in threading.enumerate()}

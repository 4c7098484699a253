"""The suites in small, on the system that other tests use: that they run and find nothing."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from server.embedded.issuer import Issuer
from tests.suites.asking import Askers, arrivals, codes, come
from tests.suites.questions import KINDS, Talk
from tests.suites.watching import watching
from tests.suites.wire_frames import Idle, large_metadata, malformed, smuggling
from tests.suites.wire_fuzzing import Attacker, Findings, break_bytes, fuzz, inject, methods
from tests.suites.wire_web import Web
from tests.support.edge import until
from tests.support.system import System

PEOPLE = range(500, 512)


async def test_people_who_come_whoever_waits_are_answered_whole(live: System) -> None:
    async with watching(live.pids, live.ready["metrics"]) as watch, Askers.of(live.ready) as askers:
        outcomes = await come(askers, list(arrivals(4.0, 5.0, 2)), Talk(2).next, PEOPLE, lambda _: None)
        sample = await watch.look()
    assert len(outcomes) > 5
    assert all(outcome.good for outcome in outcomes), codes(outcomes)
    assert all(outcome.took >= outcome.late for outcome in outcomes), "time counts from when a question was due"
    assert sample.ours > 50
    assert sample.metrics["tria_pool_max_connections"] > 0


def test_there_are_more_than_twenty_kinds_of_question() -> None:
    assert len({question.kind for question in KINDS}) == len({question.text for question in KINDS}) == len(KINDS) > 20


def test_the_same_seed_asks_the_same() -> None:
    first, second = Talk(3), Talk(3)
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


async def test_raw_frames_leave_it_serving(live: System) -> None:
    port = int(live.ready["http"].rpartition(":")[2])
    for attack in (malformed, large_metadata, smuggling):
        assert await attack(port)
    assert await live.serves()


async def test_idle_streams_stand_and_go(live: System) -> None:
    async with Askers.of(live.ready) as askers:
        idle = Idle(int(live.ready["http"].rpartition(":")[2]))
        try:
            await idle.connection([askers.token(700 + number // 20) for number in range(40)], b"")
            await until(lambda: idle.sent == idle.standing == 40)
        finally:
            await idle.close()


async def test_refused_streams_are_not_counted_as_standing(live: System) -> None:
    idle = Idle(int(live.ready["http"].rpartition(":")[2]))
    try:
        await idle.connection(["not.a.token"] * 5, b"")
        await until(lambda: idle.standing == 0)
    finally:
        await idle.close()


@pytest.mark.parametrize("service", sorted({method.service for method in methods()}))
async def test_some_fuzz_of_each_service_finds_nothing(live: System, service: str) -> None:
    findings = Findings()
    with grpc.insecure_channel(live.ready["grpc"]) as channel:
        attacker = Attacker(channel, Issuer(live.state_dir / "issuer"), findings)
        unary = [method for method in methods() if method.service == service and not method.response_streaming]
        for method in unary[:2]:
            for attack in (break_bytes, inject):
                await asyncio.to_thread(attack, attacker, method)
            await asyncio.to_thread(fuzz, attacker, method, 5)
    assert findings.wrong == []
    assert findings.calls > 20


async def test_paths_and_webhooks_reach_nothing(live: System) -> None:
    web = Web(live.ready["http"], Issuer(live.state_dir / "issuer"), live.state_dir.parent)
    try:
        await web.paths()
        await web.foreign_pages()
    finally:
        await web.close()
    assert web.wrong == []

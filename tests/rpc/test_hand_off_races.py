"""The bot finishing, two staff taking over and the customer writing, all at once on two processes: never two voices.

Judged from what is stored, from the epochs, and from what watchers of both processes saw. `--hand-off-rounds` says how
often (default 40).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.chat.assistant import AnswerKind
from server.chat.events import TERMINALS, Completed, Controller, ControllerChanged, LogEntry, TextPiece
from server.chat.feed import FeedEvent, RunStarted
from server.chat.following import Item
from server.chat.messages import Message
from server.errors import AppError, Reason
from tests.support.stores import eventually
from tests.support.threads import CUSTOMER, TENANT, Process, Talker, process, staff

SAM, TIM = staff("sam"), staff("tim")
KINDS = (AnswerKind.ANSWERED,) * 3 + (AnswerKind.HANDED_OFF,)


@dataclass
class Round:
    """One conversation under load, and what everybody saw of it."""

    processes: tuple[Process, Process]
    dice: random.Random
    conversation: str = ""
    runs: list[str] = field(default_factory=list)
    holders: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    seen: tuple[list[FeedEvent], list[FeedEvent]] = field(default_factory=lambda: ([], []))

    @property
    def anywhere(self) -> Process:
        return self.dice.choice(self.processes)

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.uniform(0, 0.04))

    async def customer(self) -> None:
        for text in ("a", "b", "c"):
            self.runs.append(await self.anywhere.say(self.conversation, text))
            await self.pause()
        if self.dice.random() < 0.3:
            await self.anywhere.ask(self.conversation)

    async def desk(self, who_name: str) -> None:
        """Somebody of the staff who takes over as soon as they can, writes, and perhaps hands back."""
        who = SAM if who_name == "sam" else TIM
        await asyncio.sleep(self.dice.uniform(0, 0.25))
        for _ in range(self.dice.randint(1, 3)):
            at = self.anywhere
            epoch = (await at.service.get(who, self.conversation)).controller_epoch
            try:
                held = await at.take(self.conversation, who, epoch)
                self.holders[held.controller_epoch] = who_name
                await self.pause()
                for number in range(2):
                    await self.anywhere.write(self.conversation, who, held.controller_epoch, f"{who_name} {number}")
                if self.dice.random() < 0.5:
                    await self.anywhere.give_back(self.conversation, who, held.controller_epoch)
            except AppError as problem:
                if problem.reason is not Reason.CONTROLLER_CHANGED:
                    raise
                self.refused += 1
            await self.pause()

    async def play(self) -> dict[str, list[Item]]:
        """Everything at once, then until it is quiet; the events of each run."""
        one, two = self.processes
        self.conversation = await one.conversation()
        watchers = [
            asyncio.create_task(each.watch(self.conversation, into))
            for each, into in zip(self.processes, self.seen, strict=True)
        ]
        await eventually(self._watched)
        await asyncio.gather(self.customer(), self.desk("sam"), self.desk("tim"))
        followed = await asyncio.gather(*(two.run(run) for run in self.runs), *(one.run(run) for run in self.runs))
        await eventually(self._caught_up)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        told: dict[str, list[Item]] = {run: [] for run in self.runs}
        for run, items in zip(self.runs * 2, followed, strict=True):
            told[run] = max(told[run], items, key=own)  # the process that had it told everything
        return told

    async def _watched(self) -> bool:
        return all(each.bell.watchers for each in self.processes)

    async def _caught_up(self) -> bool:
        last = await self._value("select last_event from conversation where tenant = $1 and id = $2")
        return all(events and events[-1].seq == last for events in self.seen)

    async def _value(self, sql: str) -> int:
        async with self.processes[0].database.connection() as connection:
            return int(await connection.fetchval(sql, TENANT, self.conversation.partition("/")[2]))


def own(items: Sequence[Item]) -> int:
    """How many of the events are a process's own, and not another's bytes."""
    return sum(isinstance(item, LogEntry) for item in items)


def check_voices(events: Sequence[FeedEvent], holders: dict[int, str]) -> None:
    """Every event in the order in which it was stored: who spoke had the word, and in the epoch the run began in."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    controller, epoch, began = Controller.ASSISTANT, 1, dict[str, int]()
    for event in events:
        match event.event:
            case ControllerChanged(was, now, new_epoch, _):
                assert (was, new_epoch) == (controller, epoch + 1)
                controller, epoch = now, new_epoch
                assert (controller is Controller.STAFF) == (epoch in holders)
            case RunStarted(run):
                assert controller is Controller.ASSISTANT
                began[run.rpartition("/")[2]] = epoch
            case Message(author="ASSISTANT", run=run):
                assert controller is Controller.ASSISTANT
                assert began[run or ""] == epoch
            case Message(author="STAFF", text=text):
                assert controller is Controller.STAFF
                assert text.split()[0] == holders[epoch]
            case other:
                assert isinstance(other, Message)


def check_run(items: Sequence[Item], answers: dict[str, str], run: str) -> None:
    """One terminal and it is last; what was told and is not stored is taken back before it."""
    events = [item.event for item in items if isinstance(item, LogEntry)]
    assert [isinstance(event, TERMINALS) for event in events] == [False] * (len(events) - 1) + [True]
    text = "".join(event.text for event in events if isinstance(event, TextPiece))
    if isinstance(events[-1], Completed):
        assert answers.get(run, "") == events[-1].text
        return
    assert run not in answers
    [changed] = [place for place, event in enumerate(events) if isinstance(event, ControllerChanged)]
    assert not any(isinstance(event, TextPiece) for event in events[changed:]), text


async def test_a_process_that_hears_nothing_falls_silent_with_its_lease(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    talker = Talker(10_000, lambda: 0.02)
    async with (
        process(dsn, redis_url, tmp_path, talker, deaf=True) as one,
        process(dsn, redis_url, tmp_path, talker, "two") as two,
    ):
        conversation = await one.conversation()
        run = await one.say(conversation, "a")
        queued = await one.say(conversation, "b")
        held = await two.take(conversation, SAM, 1)
        await two.write(conversation, SAM, held.controller_epoch, "sam 0")
        for told in (await one.run(run), await one.run(queued)):
            check_run(told, {}, "")
        back = await two.give_back(conversation, SAM, held.controller_epoch)
        assert back.controller is Controller.ASSISTANT
        page = await one.service.messages(CUSTOMER, conversation, 0, "")
        assert [message.author for message in page.messages] == ["CUSTOMER", "CUSTOMER", "STAFF"]


def lateness(events: Sequence[FeedEvent], told: dict[str, list[Item]]) -> float:
    """Seconds for which a run went on telling after somebody else had the word; 0 when none did."""
    changes = [event.time for event in events if isinstance(event.event, ControllerChanged)]
    pieces = {
        run: [item.time for item in items if isinstance(item, LogEntry) and isinstance(item.event, TextPiece)]
        for run, items in told.items()
    }
    starts = {event.event.run: event.time for event in events if isinstance(event.event, RunStarted)}
    late = 0.0
    for run, times in pieces.items():
        after = [change for change in changes if run in starts and change > starts[run]]
        if times and after:
            late = max(late, (times[-1] - after[0]).total_seconds())
    return late


async def test_never_two_voices(dsn: str, redis_url: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    dice = random.Random(pytestconfig.getoption("--hand-off-seed"))
    talker = Talker(4, lambda: dice.uniform(0, 0.02), lambda: dice.choice(KINDS))
    late = 0.0
    outcomes = {"stored": 0, "silenced": 0, "taken": 0, "refused": 0}
    async with (
        process(dsn, redis_url, tmp_path, talker) as one,
        process(dsn, redis_url, tmp_path, talker, "two") as two,
    ):
        for _ in range(pytestconfig.getoption("--hand-off-rounds")):
            played = Round((one, two), dice)
            told = await played.play()
            assert played.seen[0] == played.seen[1]
            check_voices(played.seen[0], played.holders)
            page = await one.service.messages(CUSTOMER, played.conversation, 500, "")
            said = [event.event for event in played.seen[0] if isinstance(event.event, Message)]
            assert page.messages == said
            answers = {message.run or "": message.text for message in said if message.author == "ASSISTANT"}
            for run, items in told.items():
                check_run(items, answers, run.rpartition("/")[2])
            outcomes["stored"] += len(answers)
            outcomes["silenced"] += sum(
                any(isinstance(item, LogEntry) and isinstance(item.event, ControllerChanged) for item in items)
                and run.rpartition("/")[2] not in answers
                for run, items in told.items()
            )
            late = max(late, lateness(played.seen[0], told))
            outcomes["taken"] += len(played.holders)
            outcomes["refused"] += played.refused
    assert all(outcomes.values()), f"a race that never happened proves nothing: {outcomes}"
    print(outcomes, f"latest word of a silenced run: {late * 1000:.0f} ms")  # noqa: T201  # shown by -s

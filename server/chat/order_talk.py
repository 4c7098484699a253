"""One customer message as part of the order that its conversation is about."""

from __future__ import annotations

from collections.abc import Sequence

from server.audit.sealing import Vault
from server.chat import messages
from server.chat.assistant import Intent, Language, OrderTaken
from server.chat.messages import Message
from server.chat.order_intent import corrected
from server.chat.replies import load_replies, plain
from server.chat.task import Task
from server.db.pool import Database
from server.errors import AppError, Code
from server.order.number import is_number, named, said_numbers
from server.order.taking import Heard, Said, Standing, Taking

_HISTORY = 16  # messages that are looked at for earlier parts of the order
_MOST_EARLIER = 6
# A person takes these, whatever else the message says.
_FOR_A_PERSON = frozenset((Intent.HAND_OFF, Intent.COMPLAINT))
# What a short answer ("the 12 inch", "15") to a question about the order may look like.
_ANSWERS = frozenset((Intent.ORDER, Intent.OTHER, Intent.GREETING, Intent.PRODUCT_QUESTION))


class OrderTalk:
    """Reads the run's message with what was said of the same order before, and proposes. Used for one run of a
    conversation that has an outlet."""

    def __init__(self, taking: Taking, database: Database, vault: Vault, task: Task) -> None:
        self._taking = taking
        self._database = database
        self._vault = vault
        self._task = task
        self._heard: Heard | None = None
        self._standing = Standing(None, None)
        self._continued = False

    async def hear(self, intent: Intent) -> Intent:
        """What the message wants, seen with the goods that it names and the order that is being talked about."""
        task = self._task
        if intent in _FOR_A_PERSON:
            return intent
        tenant, outlet = task.caller.tenant, task.conversation.outlet
        self._standing = await self._taking.standing(tenant, outlet, task.conversation.name)
        newest = Said(f"{task.conversation.name}/messages/{task.message.id}", task.message.text)
        earlier = await self._earlier()
        self._continued = bool(earlier)
        heard = self._heard = await self._taking.hear(tenant, outlet, earlier, newest)
        if self._standing.open is not None and plain(task.message.text) in load_replies().heard.yes:
            return Intent.ORDER
        if heard.changed and heard.topic is None and intent in _ANSWERS:
            return Intent.ORDER
        return corrected(intent, lines=heard.orders, questions=heard.asks, topic=heard.topic)

    async def take(self, language: Language, *, changes: bool) -> OrderTaken | None:
        """What comes of an order message: a proposal, questions, or a refusal; None for one that is not. Call `hear`
        before. `changes` says that the words speak of changing something."""
        heard, task = self._heard, self._task
        if heard is None:
            return None
        questions = tuple(question.sentence(language.value) for question in heard.questions)
        if changes and self._standing.open is None and not self._continued and await self._placed():
            return OrderTaken(amends=bool(heard.wanted))
        if not heard.wanted:
            return OrderTaken(questions=questions, emptied=self._standing.open is not None and heard.changed)
        if not (heard.orders or heard.asks or heard.changed) and self._standing.open is not None:
            return OrderTaken(proposal=self._standing.open, unchanged=True)
        try:
            proposal = await self._taking.propose(
                task.caller.tenant,
                task.conversation.outlet,
                heard,
                conversation=task.conversation.name,
                language=language.value,
                person=task.caller.person,
            )
        except AppError as refused:
            return OrderTaken(refusal=_sentence(refused))
        return OrderTaken(proposal=proposal)

    async def cancel(self, language: Language) -> OrderTaken | None:
        """A proposal to call off the order that is meant, or None when it is not clear which, or it is too late."""
        if self._heard is None:
            return None
        tenant, outlet = self._task.caller.tenant, self._task.conversation.outlet
        orders = await self._placed()
        text = self._task.message.text
        numbers = named(text, [number for _, number in orders])
        meant = [id for id, number in orders if number in numbers]
        if not meant and (said := said_numbers(text)):
            return await self._elsewhere(said[0])
        if not meant and len(orders) == 1:
            meant = [orders[0][0]]
        if len(meant) != 1:
            return None
        try:
            proposal = await self._taking.propose_cancelling(
                tenant,
                outlet,
                meant[0],
                conversation=self._task.conversation.name,
                language=language.value,
                person=self._task.caller.person,
            )
        except AppError as refused:
            return OrderTaken(refusal=_sentence(refused))
        return OrderTaken(proposal=proposal)

    async def _elsewhere(self, said: str) -> OrderTaken | None:
        """A number that is none of those that can be called off: too late for it, or the outlet has no such order."""
        known = await self._taking.numbers(self._task.caller.tenant, self._task.conversation.outlet)
        return None if any(is_number(number, said) for number in known) else OrderTaken(no_such=said)

    async def _placed(self) -> list[tuple[str, str]]:
        return await self._taking.cancellable(self._task.caller.tenant, self._task.conversation.outlet)

    async def _earlier(self) -> list[Said]:
        """The customer's messages that were answered as part of the order that is still open, oldest first."""
        task = self._task
        async with self._database.connection() as connection:
            history = await messages.messages_before(
                connection, self._vault, task.caller.tenant, task.conversation.id, task.message.ordinal, _HISTORY
            )
        answered = {message.run for message in history if message.intent is Intent.ORDER}
        return [
            Said(f"{task.conversation.name}/messages/{message.id}", message.text)
            for message in _since(history, self._standing)
            if message.author == "CUSTOMER" and message.run in answered
        ][-_MOST_EARLIER:]


def _since(history: Sequence[Message], standing: Standing) -> list[Message]:
    return [message for message in history if standing.since is None or message.create_time > standing.since]


def _sentence(refused: AppError) -> str:
    """What the customer is told; what is no refusal of the order's own goes on as the error that it is."""
    if refused.code is not Code.FAILED_PRECONDITION:
        raise refused
    return " ".join(violation.description for violation in refused.violations) or refused.message

"""What people thought of the desk's answers: one judgement for each person and message, the last one counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, LiteralString

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.sealing import Vault
from server.chat import conversations, messages
from server.chat.access import outlet_scope
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason, not_found

COMMENT = "feedback comment"

_MESSAGE = re.compile(r"conversations/([A-Za-z0-9_-]{1,64})/messages/([A-Za-z0-9_-]{1,64})")


class Rating(StrEnum):
    """What was thought of an answer."""

    HELPFUL = "HELPFUL"
    NOT_HELPFUL = "NOT_HELPFUL"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A rating, with or without words."""

    rating: Rating
    comment: str = ""


UPSERT_FEEDBACK: Final[LiteralString] = """
insert into message_feedback (tenant, conversation, message, person, rating, comment_box)
values ($1, $2, $3, $4, $5, $6)
on conflict (tenant, conversation, message, person) do update
set rating = excluded.rating, comment_box = excluded.comment_box, update_time = now()"""


class Feedback:
    """The use case behind SubmitFeedback."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def submit(self, author: Author, name: str, judgement: Judgement) -> None:
        """Raises NOT_FOUND, and INVALID_ARGUMENT for a message that the desk did not write."""
        match = _MESSAGE.fullmatch(name)
        if match is None:
            raise not_found(name)
        conversation, message = match[1], match[2]
        async with self._database.transaction() as connection:
            await self._check(connection, author, name, conversation, message)
            tenant, person = author.caller.tenant, author.caller.person
            box = None
            if judgement.comment:
                key = await self._vault.key_for(connection, tenant, person)
                box = key.seal(judgement.comment, COMMENT, conversation, message, person)
            await connection.execute(
                UPSERT_FEEDBACK, tenant, conversation, message, person, judgement.rating.value, box
            )
            details = {"rating": judgement.rating.value, "characters": len(judgement.comment)}
            await author.record(connection, Action.FEEDBACK_SUBMIT, (name,), details)

    async def _check(self, connection: Connection, author: Author, name: str, conversation: str, message: str) -> None:
        tenant, vault = author.caller.tenant, self._vault
        held = await conversations.get_conversation(
            connection, vault, tenant, conversation, outlet_scope(author.caller)
        )
        said = await messages.get_message(connection, vault, tenant, conversation, message) if held else None
        if said is None:
            raise not_found(name)
        if said.author == "CUSTOMER":
            raise AppError(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "message: not an answer of the desk")

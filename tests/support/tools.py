"""What `Tools` say about orders where nobody may order: for tests that are about something else."""

from __future__ import annotations

from server.chat.assistant import Intent, Language, OrderTaken


class NothingToOrder:
    """The order side of `Tools` of a caller without an outlet."""

    async def hear_order(self, intent: Intent) -> Intent:
        return intent

    async def take_order(self, language: Language, *, changes: bool) -> OrderTaken | None:  # noqa: ARG002  # the port's
        return None

    async def cancel_order(self, language: Language) -> OrderTaken | None:  # noqa: ARG002  # the port's
        return None

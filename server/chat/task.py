"""What a run has to answer."""

from __future__ import annotations

from dataclasses import dataclass

from server.caller import Caller, Request
from server.chat.conversations import Conversation, Message
from server.chat.runs import Run


@dataclass(frozen=True, slots=True)
class Task:
    """A stored message with the run that will answer it. `waits` runs of the conversation were going on then."""

    caller: Caller
    request: Request
    conversation: Conversation
    message: Message
    run: Run
    locale: str
    waits: int

"""The way out to a model and back: placeholders go out for what is personal, the originals come back.

One `Discretion` serves one answer. Everything the prompt is made of (messages, history, passages, products, tool
results) passes `hide`; what the model writes passes `restored`, and the arguments of its tool calls `show`. The map
from placeholder to original lives as long as the answer and is written nowhere. `check` is the last look before a
request leaves: it does not trust the rest of this file.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing

from server.chat.completions import ModelCall, ModelError, ModelEvent, TextDelta
from server.errors import Reason
from server.pii.kinds import Kind
from server.pii.scan import scan
from server.pii.scrub import Restorer, Scrubber, scrub
from server.pii.stream import StreamRestorer

log = logging.getLogger(__name__)


class Discretion:
    """What one answer hides from its model."""

    def __init__(self) -> None:
        self._scrubber = Scrubber()
        self._restorer = Restorer(self._scrubber.mapping)

    def hide(self, data: object) -> object:
        """`data` with placeholders in every string at any depth; keys and other values as they are."""
        if isinstance(data, str):
            return self._scrubber.scrub(data)
        if isinstance(data, Mapping):
            return {key: self.hide(value) for key, value in data.items()}
        if isinstance(data, Sequence) and not isinstance(data, bytes):
            return [self.hide(item) for item in data]
        return data

    def hide_text(self, text: str) -> str:
        """`hide` for one text."""
        return self._scrubber.scrub(text)

    def show(self, data: object) -> object:
        """`data`, as parsed from the model's JSON, with the originals back in every string; types survive."""
        if isinstance(data, str):
            return self._restorer.restore(data)
        if isinstance(data, dict):
            return {key: self.show(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.show(item) for item in data]
        return data

    async def restored(self, events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
        """The events of one model call with the originals back in its text; held back is at most one placeholder.

        Arguments of tool calls pass as they are: they are JSON in pieces, and `show` restores what was parsed.
        """
        restorer = StreamRestorer(self._scrubber.mapping)
        async with aclosing(events):
            try:
                async for event in events:
                    if isinstance(event, TextDelta):
                        if text := restorer.feed(event.text):
                            yield TextDelta(text)
                        continue
                    if rest := restorer.finish():
                        yield TextDelta(rest)
                    yield event
            except ModelError:
                # What the model said before it failed belongs to the answer when a part of it was read already.
                if rest := restorer.finish():
                    yield TextDelta(rest)
                raise
        if rest := restorer.finish():
            yield TextDelta(rest)
        if restorer.mangled or restorer.unresolved:
            counts = {"mangled": restorer.mangled, "unresolved": restorer.unresolved}
            log.info("placeholders not written as they were given", extra=counts)


def holds_card(text: str) -> bool:
    """Whether a customer wrote a card number."""
    return Kind.CREDIT_CARD in _kinds(text)


def without_values(text: str) -> str:
    """A customer's words with placeholders: for what needs to understand them and not to know who wrote them."""
    return Scrubber().scrub(text)


def without_personal_data(written: str) -> str:
    """What the model wrote itself, before it goes back to it: its placeholders stay, what looks personal does not."""
    return scrub(written)


def check(call: ModelCall) -> None:
    """Raises `ModelError` for a request in which a recogniser still finds something; it is not sent."""
    found = Counter(kind for text in _texts([*call.messages, *call.tools]) for kind in _kinds(text))
    if found:
        log.error("a request to the model held personal data and was not sent", extra={"kinds": dict(found)})
        message = "the question could not be passed on without personal data"
        raise ModelError(Reason.MODEL_REFUSED, message, billed=False)


def _kinds(text: str) -> Iterator[Kind]:
    return (span.kind for span in scan(text))


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, Sequence):
        for item in data:
            yield from _texts(item)

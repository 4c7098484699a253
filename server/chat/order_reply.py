"""What the desk says to a message that orders something. Every figure is the proposal's, which code has priced."""

from __future__ import annotations

from dataclasses import dataclass

from server.chat.assistant import AnswerKind, OrderTaken, Tools, Turn
from server.chat.quoting import proposal_lines, total_of
from server.chat.replies import Heard, Voice, says
from server.order.proposal import Proposal


@dataclass(frozen=True, slots=True)
class OrderReply:
    """The words, how the run ends, and what a person may confirm."""

    text: str
    kind: AnswerKind
    proposal: Proposal | None = None


async def order_reply(turn: Turn, tools: Tools, voice: Voice, heard: Heard) -> OrderReply:
    """Takes the order that the message is part of, or calls one off; what is neither goes to a person."""
    changes = says(turn.text, heard.change)
    taken = await tools.take_order(voice.language, changes=changes)
    if taken is None:
        return OrderReply(voice.say("order_change" if changes else "order"), AnswerKind.HANDED_OFF)
    if taken.proposal is not None:
        return _proposed(taken.proposal, voice, unchanged=taken.unchanged)
    if taken.refusal:
        return OrderReply(taken.refusal, AnswerKind.REFUSED)
    if taken.questions:
        return OrderReply("\n".join(taken.questions), AnswerKind.ANSWERED)
    if taken.emptied:
        return OrderReply(voice.say("order_empty"), AnswerKind.ANSWERED)
    if changes:
        return await _called_off(turn, tools, voice, heard, taken)
    return OrderReply(voice.say("order_tell"), AnswerKind.ANSWERED)


async def _called_off(turn: Turn, tools: Tools, voice: Voice, heard: Heard, taken: OrderTaken) -> OrderReply:
    """An order that was placed: called off by a proposal when it is clear which; else a person looks at it."""
    found = None
    if not taken.amends and says(turn.text, heard.cancel):
        found = await tools.cancel_order(voice.language)
    if found is not None and found.no_such:
        return OrderReply(voice.say("order_no_such", number=found.no_such), AnswerKind.ABSTAINED)
    if found is not None and found.refusal:
        return OrderReply(found.refusal, AnswerKind.HANDED_OFF)
    if found is None or found.proposal is None:
        return OrderReply(voice.say("order_change"), AnswerKind.HANDED_OFF)
    text = voice.say("order_cancel", title=found.proposal.title)
    return OrderReply(text, AnswerKind.PROPOSED, found.proposal)


def _proposed(proposal: Proposal, voice: Voice, *, unchanged: bool) -> OrderReply:
    if unchanged:
        return OrderReply(voice.say("order_open"), AnswerKind.PROPOSED, proposal)
    parts = [voice.say("order_title", title=proposal.title), proposal_lines(proposal, voice)]
    parts += [voice.say("order_total", total=total_of(proposal)), *proposal.questions, voice.say("order_confirm")]
    return OrderReply("\n".join(parts), AnswerKind.PROPOSED, proposal)

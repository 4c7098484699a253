"""Domain values of chat as messages of `tria.chat.v1`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from google.type import money_pb2

from server.chat.assistant import Cited, Proposed, Step, ToolUsed, Usage
from server.chat.conversations import Conversation
from server.chat.events import (
    Accepted,
    Cancelled,
    Completed,
    ControllerChanged,
    Event,
    Failed,
    Heartbeat,
    Interrupted,
    LogEntry,
    Queued,
    Reconnect,
    Snapshot,
    Spent,
    TextDone,
    TextPiece,
    Warned,
    WireEntry,
)
from server.chat.feed import Happened, OrderChanged, RunStarted
from server.chat.following import Item
from server.chat.hand_off import HandOff
from server.chat.messages import Message, StoredCitation
from server.chat.runs import Run
from server.chat.watching import Item as WatchItem
from server.chat.watching import Told
from server.errors import AppError
from server.order.money import Money
from server.order.pricing import Line, plain
from server.order.proposal import Proposal
from server.stream_life import Alive, ComeBack
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2


def stamp(time: datetime | None) -> Timestamp | None:
    """A Timestamp, or None for None."""
    if time is None:
        return None
    result = Timestamp()
    result.FromDatetime(time)
    return result


def conversation_message(conversation: Conversation, *, for_staff: bool) -> chat_pb2.Conversation:
    """Which member of staff speaks is shown to staff only."""
    message = chat_pb2.Conversation(
        name=conversation.name,
        outlet=f"outlets/{conversation.outlet}",
        title=conversation.title,
        locale=conversation.locale,
        controller=chat_pb2.Controller.Value(conversation.controller),
        controller_epoch=conversation.controller_epoch,
        create_time=stamp(conversation.create_time),
        update_time=stamp(conversation.update_time),
        etag=f'W/"{conversation.version}"',
    )
    if conversation.hand_off is not None:
        message.hand_off.CopyFrom(_hand_off(conversation.hand_off, for_staff=for_staff))
    return message


def _hand_off(hand_off: HandOff, *, for_staff: bool) -> chat_pb2.HandOff:
    return chat_pb2.HandOff(
        reason=chat_pb2.HandOff.Reason.Value(hand_off.reason),
        level=hand_off.level,
        place=hand_off.place,
        request_time=stamp(hand_off.request_time),
        due_time=stamp(hand_off.due_time),
        desk_open=hand_off.desk_open,
        opens_at=stamp(hand_off.opens_at),
        note=hand_off.note,
        order=f"orders/{hand_off.order}" if hand_off.order else "",
        proposal=f"proposals/{hand_off.proposal}" if hand_off.proposal else "",
        holder=hand_off.holder if for_staff else "",
    )


def message_message(message: Message) -> chat_pb2.Message:
    parent = f"conversations/{message.conversation}"
    return chat_pb2.Message(
        name=f"{parent}/messages/{message.id}",
        author=chat_pb2.Message.Author.Value(message.author),
        text=message.text,
        run=f"{parent}/runs/{message.run}" if message.run else "",
        citations=[citation_message(citation) for citation in message.citations],
        intent=chat_pb2.Intent.Value(message.intent) if message.intent else chat_pb2.INTENT_UNSPECIFIED,
        answer_kind=chat_pb2.AnswerKind.Value(message.answer_kind)
        if message.answer_kind
        else chat_pb2.ANSWER_KIND_UNSPECIFIED,
        confidence=message.confidence,
        state=chat_pb2.Message.State.Value(message.state),
        client_message_id=message.client_message_id or "",
        create_time=stamp(message.create_time),
    )


def citation_message(citation: StoredCitation) -> chat_pb2.Citation:
    return chat_pb2.Citation(
        index=citation.index,
        chunk=citation.chunk,
        document=citation.document,
        revision=citation.revision,
        quote=citation.quote,
        title=citation.title,
    )


def run_message(run: Run) -> chat_pb2.Run:
    parent = f"conversations/{run.conversation}"
    return chat_pb2.Run(
        name=run.name,
        state=chat_pb2.Run.State.Value(run.state),
        message=f"{parent}/messages/{run.message}",
        answer=f"{parent}/messages/{run.answer}" if run.answer else "",
        last_seq=run.last_seq,
        epoch=run.epoch,
        usage=usage_message(run.usage, run.time_to_first_token_ms),
        create_time=stamp(run.create_time),
        end_time=stamp(run.end_time),
    )


def usage_message(usage: Usage, time_to_first_token_ms: int) -> chat_pb2.RunUsage:
    return chat_pb2.RunUsage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_micros=usage.cost_micros,
        currency=usage.currency,
        estimated=usage.estimated,
        time_to_first_token_ms=time_to_first_token_ms,
        model=usage.model,
        saved_micros=usage.saved_micros,
    )


def event_bytes(run: str, entry: LogEntry) -> bytes:
    """One event of a run as every follower gets it, whichever process it asks."""
    return event_message(run, 0, entry).SerializeToString(deterministic=True)


def event_message(run: str, epoch: int, item: Item) -> chat_event_pb2.ChatEvent:
    """One item of a followed run; events of the connection carry no seq, and the `epoch` of what went before them."""
    if isinstance(item, WireEntry):
        return chat_event_pb2.ChatEvent.FromString(item.wire)
    if isinstance(item, Heartbeat):
        return chat_event_pb2.ChatEvent(run=run, epoch=epoch, heartbeat=chat_event_pb2.Heartbeat())
    if isinstance(item, Reconnect):
        delay = Duration()
        delay.FromMilliseconds(round(item.delay * 1000))
        again = chat_event_pb2.Reconnect(resume_after_seq=item.resume_after_seq, delay=delay)
        return chat_event_pb2.ChatEvent(run=run, epoch=epoch, reconnect=again)
    message = chat_event_pb2.ChatEvent(run=run, seq=item.seq, epoch=item.epoch, time=stamp(item.time))
    _set(message, item.event)
    return message


def conversation_event(item: WatchItem) -> chat_service_pb2.ConversationEvent:
    """One item of a watched conversation."""
    message = chat_service_pb2.ConversationEvent(cursor=item.cursor)
    match item:
        case Alive():
            message.heartbeat.SetInParent()
        case ComeBack(_, delay):
            message.reconnect.delay.FromMilliseconds(round(delay * 1000))
        case Told(_, happened):
            message.time.FromDatetime(happened.time)
            _set_happened(message, happened.event)
    return message


def _set_happened(message: chat_service_pb2.ConversationEvent, event: Happened) -> None:
    match event:
        case Message():
            message.message.CopyFrom(message_message(event))
        case ControllerChanged():
            message.controller_changed.CopyFrom(_controller_changed(event))
        case OrderChanged(order, state):
            message.order_changed.order, message.order_changed.state = f"orders/{order}", state
        case RunStarted(run):
            message.run_started.run = run


def _controller_changed(event: ControllerChanged) -> chat_event_pb2.ControllerChanged:
    changed = chat_event_pb2.ControllerChanged(
        to=chat_pb2.Controller.Value(event.now), controller_epoch=event.epoch, reason=event.reason
    )
    setattr(changed, "from", chat_pb2.Controller.Value(event.was))  # a word of Python
    return changed


def _set(message: chat_event_pb2.ChatEvent, event: Event) -> None:
    """Puts the event into the oneof; the pieces of text first, they are nearly all of what is sent."""
    match event:
        case TextPiece(text):
            message.text_delta.text = text
        case Step(label):
            message.step.label = label
        case Cited():
            message.citation.CopyFrom(cited_message(event))
        case ToolUsed():
            message.tool_call.CopyFrom(_tool_call(event))
        case Spent(usage, first):
            message.usage.CopyFrom(usage_message(usage, first))
        case Accepted():
            message.run_accepted.CopyFrom(_accepted(event))
        case Queued():
            message.queued.CopyFrom(_queued(event))
        case TextDone(sha256):
            message.text_done.sha256 = sha256
        case Warned(code):
            message.warning.code = chat_event_pb2.Warning.Code.Value(code)
        case _:
            _set_ending(message, event)


def _set_ending(message: chat_event_pb2.ChatEvent, event: Event) -> None:
    match event:
        case Proposed(proposal):
            message.proposal.CopyFrom(proposal_message(proposal))
        case ControllerChanged():
            message.controller_changed.CopyFrom(_controller_changed(event))
        case Completed():
            message.completed.CopyFrom(_completed(event))
        case Snapshot(text, last_seq):
            message.snapshot.CopyFrom(chat_event_pb2.Snapshot(text=text, last_seq=last_seq))
        case Cancelled(text):
            message.cancelled.CopyFrom(chat_event_pb2.Cancelled(text=text))
        case Interrupted(retryable):
            message.interrupted.CopyFrom(chat_event_pb2.Interrupted(retryable=retryable))
        case Failed(error):
            message.failed.CopyFrom(_failed(error))
        case _:
            raise TypeError(f"no encoding for {type(event).__name__}")


def _queued(event: Queued) -> chat_event_pb2.Queued:
    message = chat_event_pb2.Queued(position=event.position)
    if event.eta is not None:
        message.eta.FromMilliseconds(round(event.eta * 1000))
    return message


def _accepted(event: Accepted) -> chat_event_pb2.RunAccepted:
    return chat_event_pb2.RunAccepted(
        cache_hit=event.cache_hit,
        queue_position=event.queue_position,
        controller=chat_pb2.Controller.Value(event.controller),
        message=event.message,
        conversation=event.conversation,
    )


def cited_message(event: Cited) -> chat_pb2.Citation:
    passage = event.passage
    return chat_pb2.Citation(
        index=event.index,
        chunk=passage.chunk,
        document=passage.document,
        revision=passage.revision,
        quote=event.quote,
        title=passage.title,
    )


def _tool_call(event: ToolUsed) -> chat_event_pb2.ToolCall:
    return chat_event_pb2.ToolCall(
        call_id=event.call_id,
        tool=event.tool,
        state=chat_event_pb2.ToolCall.State.Value(event.state),
        label=event.label,
    )


def _completed(event: Completed) -> chat_event_pb2.Completed:
    return chat_event_pb2.Completed(
        answer_kind=chat_pb2.AnswerKind.Value(event.kind),
        text=event.text,
        intent=chat_pb2.Intent.Value(event.intent),
        confidence=event.confidence,
        message=event.message,
    )


def _failed(error: AppError) -> chat_event_pb2.Failed:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain="tria", metadata=error.metadata)
    status = status_pb2.Status(code=error.code.value, message=error.message)
    status.details.add().Pack(info)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        status.details.add().Pack(retry)
    return chat_event_pb2.Failed(status=status, info=info)


def proposal_message(proposal: Proposal) -> chat_pb2.Proposal:
    """The proposal as chat shows it; fees are lines without a SKU, so the lines and their tax add up to the total."""
    message = chat_pb2.Proposal(
        name=proposal.name,
        kind=chat_pb2.Proposal.Kind.Value(proposal.asked.kind.value),
        title=proposal.title[:300],
        lines=[_line(line, proposal.currency) for line in proposal.lines[:200]],
        arguments_sha256=proposal.arguments_sha256,
        resource=proposal.resource,
        resource_etag=proposal.resource_etag,
        state=chat_pb2.Proposal.State.Value(proposal.state.value),
        questions=proposal.questions,
    )
    _put(message.total, proposal.currency, proposal.total)
    message.expires_at.FromDatetime(proposal.expires_at)
    return message


def _line(line: Line, currency: str) -> chat_pb2.ProposalLine:
    message = chat_pb2.ProposalLine(
        sku=line.sku, description=line.description, quantity=plain(line.quantity), unit=line.unit
    )
    _put(message.unit_price, currency, line.unit_price)
    _put(message.line_tax, currency, line.line_tax)
    _put(message.line_total, currency, line.line_total)
    return message


def _put(target: money_pb2.Money, currency: str, amount: Decimal) -> None:
    target.currency_code = currency
    target.units, target.nanos = Money(currency, amount).to_wire()

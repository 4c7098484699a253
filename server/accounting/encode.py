"""The connection, the budget and dead letters as messages of `tria.accounting.v1`."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from server.accounting.connection import ConnectionView
from server.accounting.dead_letters import DeadLetter
from server.accounting.overview import Outlook
from tria.accounting.v1 import accounting_pb2


def connection_message(view: ConnectionView) -> accounting_pb2.Connection:
    return accounting_pb2.Connection(
        state=accounting_pb2.Connection.State.Value(view.state.value),
        organisation=view.organisation[:300],
        scopes=[scope[:200] for scope in view.scopes[:50]],
        token_expire_time=_stamp(view.token_expires_at),
        last_success_time=_stamp(view.last_success),
        last_error=view.last_error[:1000],
    )


def budget_message(outlook: Outlook) -> accounting_pb2.Budget:
    view = outlook.budget
    message = accounting_pb2.Budget(
        minute_limit=view.limits.minute,
        minute_remaining=view.minute_left,
        day_limit=view.limits.day,
        day_remaining=view.day_left,
        concurrency_limit=view.limits.concurrency,
        concurrency_used=view.running,
        reserved_for_people=view.limits.people_reserve,
        degraded=view.degraded,
        queued_jobs=outlook.waiting,
    )
    message.eta.FromMilliseconds(round(outlook.eta * 1000))
    return message


def dead_letter_message(letter: DeadLetter) -> accounting_pb2.DeadLetter:
    return accounting_pb2.DeadLetter(
        job=letter.job[:64],
        order=f"orders/{letter.order}" if letter.order else "",
        reason=letter.reason,
        message=letter.message[:2000],
        fix=letter.fix[:1000],
        attempts=letter.attempts,
        fail_time=_stamp(letter.fail_time),
    )


def _stamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp

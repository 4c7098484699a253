"""Proposals: confirmed as shown or not at all, with a new one where something moved."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from server.audit.changes import Author
from server.caller import AuthMethod, Caller, Role
from server.errors import AppError, Reason
from server.idempotency import Idempotency
from server.order import habits
from server.order.pricing import Provenance, Wanted
from server.order.proposal import Asked, Kind, Proposal
from server.order.proposals import Confirmed
from server.order.reading import last_order
from tests.support.calls import refusal
from tests.support.orders import OUTLET, TENANT, Shop, amount, bare, new_key
from tests.support.reading import reason
from tests.support.vaults import a_vault
from tria.chat.v1 import chat_pb2
from tria.chat.v1 import chat_service_pb2 as rpc

SAID = Provenance("conversations/c/messages/m", 0, 18, 0.9, "the big  Box")


def asking(*lines: tuple[str, str], **more: Any) -> Asked:
    wanted = tuple(Wanted(sku, Decimal(quantity), (SAID,)) for sku, quantity in lines)
    return Asked(Kind.PLACE_ORDER, OUTLET, wanted, conversation="conversations/c", **more)


async def proposed(shop: Shop, asked: Asked) -> Proposal:
    async with shop.database.transaction() as connection:
        return await shop.desk.proposals.propose(connection, TENANT, asked)


async def confirm(shop: Shop, proposal: Any, sha256: str = "", **who: Any) -> rpc.ConfirmProposalResponse:
    request = rpc.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=sha256 or proposal.arguments_sha256, request_id=new_key()
    )
    return await shop.chat.ConfirmProposal(request, metadata=shop.who(**who))


async def moved(call: Any) -> tuple[str, chat_pb2.Proposal]:
    """The reason of a refusal and the proposal in its details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    found = chat_pb2.Proposal()
    assert any(detail.Unpack(found) for detail in status.details)
    return reason(caught.value), found


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_what_was_shown_is_ordered(shop: Shop) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200"), ("NP", "5"), note="Gate 3"))
    shown = await shop.chat.GetProposal(rpc.GetProposalRequest(name=proposal.name), metadata=shop.who())
    assert shown.state == chat_pb2.Proposal.OPEN
    assert shown.title.startswith("Order for delivery on ")
    assert [(line.sku, line.quantity) for line in shown.lines] == [("PB-12", "200"), ("NP", "5"), ("", "1")]
    assert sum(amount(line.line_total) + amount(line.line_tax) for line in shown.lines) == amount(shown.total)
    done = await confirm(shop, shown)
    assert (done.proposal.state, done.proposal.resource) == (chat_pb2.Proposal.CONFIRMED, done.resource)
    order = await shop.desk.reading.get(_caller(), done.resource)
    assert (order.state, order.note, order.conversation) == ("CONFIRMED", "Gate 3", "conversations/c")
    assert order.priced.total == amount(shown.total)
    assert order.lines[0].provenance == (SAID,)
    assert await shop.ledger(done.resource) == [(1, "QUEUED", amount(shown.total))]
    for action in ("PROPOSAL_CONFIRM", "ORDER_CREATE", "ORDER_CONFIRM"):
        assert await shop.leaves(action) == 1


async def test_confirmed_orders_teach(shop: Shop) -> None:
    await confirm(shop, await proposed(shop, asking(("PB-12", "200"))))
    await confirm(shop, await proposed(shop, asking(("PB-12", "300"), ("CT", "1"))))
    await confirm(shop, await proposed(shop, asking(("PB-12", "310"))))
    async with shop.database.connection() as connection:
        assert (await habits.aliases(connection, a_vault(), TENANT, OUTLET)) == {"the big box": "PB-12"}
        assert await habits.aliases(connection, a_vault(), TENANT, "wok") == {}
        [usual] = await habits.usual(connection, TENANT, OUTLET)
        last = await last_order(connection, a_vault(), TENANT, OUTLET, shop.clock() + timedelta(minutes=1))
    assert (usual.sku, usual.orders, int(usual.average), int(usual.last)) == ("PB-12", 3, 270, 310)
    assert last is not None
    assert [line.quantity for line in last.lines] == [310]


async def test_another_price_is_another_proposal(shop: Shop) -> None:
    old = await proposed(shop, asking(("PB-12", "200")))
    await shop.run("update product_price set amount = 0.60 where sku = 'PB-12'")
    why, new = await moved(confirm(shop, old))
    assert why == "PROPOSAL_CHANGED"
    assert (new.state, new.name != old.name) == (chat_pb2.Proposal.OPEN, True)
    assert amount(new.lines[0].unit_price) == Decimal("0.6")
    seen = await shop.chat.GetProposal(rpc.GetProposalRequest(name=old.name), metadata=shop.who())
    assert seen.state == chat_pb2.Proposal.SUPERSEDED
    assert await moved(confirm(shop, old)) == (why, new)  # asked again, the same answer
    done = await confirm(shop, new)
    assert await shop.ledger(done.resource) == [(1, "QUEUED", amount(new.total))]
    assert await shop.value("select count(*) from customer_order") == 1


async def test_less_stock_is_another_proposal(shop: Shop) -> None:
    old = await proposed(shop, asking(("FEW", "8"), ("PB-12", "200")))
    await shop.run("update product set stock = 5 where sku = 'FEW'")
    why, new = await moved(confirm(shop, old))
    assert why == "PROPOSAL_CHANGED"
    assert [line.quantity for line in new.lines] == ["5", "200"]
    assert list(new.questions) == ["Only 5 sleeve of Rare tray are left; you asked for 8."]
    await confirm(shop, new)
    assert await shop.stock("FEW") == 0


async def test_an_expired_proposal_comes_anew(shop: Shop) -> None:
    old = await proposed(shop, asking(("PB-12", "200")))
    shop.clock.ahead = timedelta(minutes=31)
    seen = await shop.chat.GetProposal(rpc.GetProposalRequest(name=old.name), metadata=shop.who())
    assert seen.state == chat_pb2.Proposal.EXPIRED
    why, new = await moved(confirm(shop, old))
    assert why == "PROPOSAL_EXPIRED"
    assert new.expires_at.ToDatetime() > old.expires_at.replace(tzinfo=None)
    assert (await confirm(shop, new)).resource


@pytest.mark.parametrize(
    ("language", "expired", "closed"),
    [
        ("en", "This offer has run out.", "This was confirmed already"),
        ("zh", "该方案已过期", "该方案已确认过"),
        ("ms", "Cadangan ini telah tamat.", "Cadangan ini sudah disahkan"),
    ],
)
async def test_refusals_are_in_the_customers_language(shop: Shop, language: str, expired: str, closed: str) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200"), language=language))
    shop.clock.ahead = timedelta(minutes=31)
    error = await refused(confirm(shop, proposal))
    assert str(error.details()).startswith(expired)
    _, new = await moved(confirm(shop, proposal))
    await confirm(shop, new)
    error = await refused(confirm(shop, new))
    assert str(error.details()).startswith(closed)


async def test_another_hash_is_not_what_was_shown(shop: Shop) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200")))
    why, same = await moved(confirm(shop, proposal, "0" * 64))
    assert (why, same.name) == ("PROPOSAL_CHANGED", proposal.name)
    assert (await confirm(shop, same)).resource


async def test_a_guard_that_was_told_refuses_by_its_own_reason(shop: Shop) -> None:
    await shop.run("update outlet set credit_hold = true where id = 'pizza' and tenant = 'lumen'")
    proposal = await proposed(shop, asking(("PB-12", "200")))
    assert "on hold" in proposal.questions[0]
    assert reason(await refused(confirm(shop, proposal))) == "ORDER_CREDIT_HOLD"
    await shop.run("update outlet set credit_hold = false")
    why, new = await moved(confirm(shop, proposal))
    assert (why, list(new.questions)) == ("PROPOSAL_CHANGED", [])


async def test_a_twin_is_asked_about_before_it_is_confirmed(shop: Shop) -> None:
    early = await proposed(shop, replace(asking(("PB-12", "200")), conversation=""))
    first = await shop.placed(("PB-12", "200"))
    late = await proposed(shop, asking(("PB-12", "200")))
    assert first.number in late.questions[0]
    why, new = await moved(confirm(shop, early))
    assert (why, first.number in new.questions[0]) == ("ORDER_DUPLICATE_SUSPECTED", True)
    assert (await confirm(shop, late)).resource


async def test_a_day_that_is_not_possible_is_replaced_and_told(shop: Shop) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200"), day=date(2026, 1, 5)))
    assert "Mon 5 Jan 2026" in proposal.questions[0]
    assert proposal.asked.day
    assert proposal.asked.day > date(2026, 1, 5)
    assert (await confirm(shop, proposal)).resource


async def test_a_conversation_has_one_open_proposal(shop: Shop) -> None:
    old = await proposed(shop, asking(("PB-12", "200")))
    new = await proposed(shop, asking(("PB-12", "300")))
    why, instead = await moved(confirm(shop, old))
    assert (why, instead.name) == ("PROPOSAL_CHANGED", new.name)


async def test_decided_is_decided(shop: Shop) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200")))
    request = rpc.RejectProposalRequest(name=proposal.name, request_id=new_key(), reason="too dear")
    rejected = await shop.chat.RejectProposal(request, metadata=shop.who())
    assert rejected.state == chat_pb2.Proposal.REJECTED
    error = await refused(confirm(shop, proposal))
    assert (reason(error), refusal(error).info.metadata["state"]) == ("PROPOSAL_CLOSED", "REJECTED")
    other = await proposed(shop, asking(("PB-12", "200")))
    done = await confirm(shop, other)
    error = await refused(confirm(shop, other))
    assert refusal(error).info.metadata["resource"] == done.resource
    request.name, request.request_id = other.name, new_key()
    assert reason(await refused(shop.chat.RejectProposal(request, metadata=shop.who()))) == "PROPOSAL_CLOSED"


@pytest.mark.parametrize("who", [{"outlet": "wok"}, {"tenant": "other"}])
async def test_other_peoples_proposals_do_not_exist(shop: Shop, who: dict[str, Any]) -> None:
    proposal = await proposed(shop, asking(("PB-12", "200")))
    assert (await refused(confirm(shop, proposal, **who))).code() is grpc.StatusCode.NOT_FOUND
    get = shop.chat.GetProposal(rpc.GetProposalRequest(name=proposal.name), metadata=shop.who(**who))
    assert (await refused(get)).code() is grpc.StatusCode.NOT_FOUND


async def test_orders_are_changed_and_cancelled_by_proposal(shop: Shop) -> None:
    placed = await shop.placed(("PB-12", "200"))
    change = await proposed(shop, replace(asking(("PB-12", "300")), kind=Kind.CHANGE_ORDER, order=bare(placed.name)))
    assert (change.resource, change.resource_etag) == (placed.name, placed.etag)
    assert (await confirm(shop, change)).resource == placed.name
    cancel = await proposed(shop, Asked(Kind.CANCEL_ORDER, OUTLET, order=bare(placed.name)))
    await shop.run("update customer_order set version = version + 1")
    why, new = await moved(confirm(shop, cancel))
    assert why == "PROPOSAL_CHANGED"
    await confirm(shop, new)
    order = await shop.desk.reading.get(_caller(), placed.name)
    assert (order.state, order.revision) == ("CANCELLED", 2)
    assert await shop.stock("PB-12") == 100_000


async def test_nothing_that_can_be_sold_is_no_proposal(shop: Shop) -> None:
    for lines, expected in (((), Reason.ORDER_EMPTY), ((("NOPE", "1"),), Reason.PRODUCT_UNKNOWN)):
        with pytest.raises(AppError) as caught:
            await proposed(shop, asking(*lines))
        assert caught.value.reason is expected


async def test_fifty_confirmations_are_one_order(shop: Shop) -> None:
    """The same request fifty times at once: one order, one invoice, one answer."""
    proposal = await proposed(shop, asking(("PB-12", "200")))
    author = replace(shop.author, caller=_caller())
    key = Idempotency("ConfirmProposal", new_key(), b"same", _bytes)
    answers = await asyncio.gather(
        *(shop.desk.proposals.confirm(author, proposal.name, proposal.arguments_sha256, key) for _ in range(50))
    )
    assert len({answer.answer for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49
    await _one_of_each(shop)


async def test_fifty_people_confirm_one_order(shop: Shop) -> None:
    """Fifty requests at once for one proposal: one is done, all others are told so."""
    proposal = await proposed(shop, asking(("PB-12", "200")))

    async def by(author: Author) -> str:
        key = Idempotency("ConfirmProposal", new_key(), b"same", _bytes)
        try:
            await shop.desk.proposals.confirm(author, proposal.name, proposal.arguments_sha256, key)
        except AppError as refusal:
            return refusal.reason.value
        return "done"

    author = replace(shop.author, caller=_caller())
    results = await asyncio.gather(*(by(author) for _ in range(50)))
    assert sorted(results) == ["PROPOSAL_CLOSED"] * 49 + ["done"]
    await _one_of_each(shop)


async def _one_of_each(shop: Shop) -> None:
    for table in ("customer_order", "ledger", "order_event"):
        assert await shop.value(f"select count(*) from {table}") == 1
    assert await shop.stock("PB-12") == 99_800


def _caller() -> Caller:
    return Caller(TENANT, "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, OUTLET)


def _bytes(confirmed: Confirmed) -> bytes:
    return confirmed.order.name.encode()

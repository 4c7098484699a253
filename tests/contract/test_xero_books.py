"""The port's contract, kept by Xero: every promise of `Books` against a Xero over real HTTP, with its faults."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from server.accounting.books import (
    BookedState,
    Disconnected,
    NotSent,
    NumberTaken,
    OutcomeUnknown,
    Rejected,
    Throttled,
)
from server.accounting.connection import ConnectionState
from server.breaker import BreakerState
from server.db.pool import Database
from server.embedded.xero_sandbox.faults import FaultKind
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import Limits
from tests.support.books import BOXES, TENANT, BooksDesk, books_desk, fault, posting
from tests.support.stores import eventually
from tests.support.xero import xero_sandbox as open_sandbox


@pytest_asyncio.fixture
async def desk(xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str) -> AsyncIterator[BooksDesk]:
    async with books_desk(xero_sandbox, database, dsn, redis_url) as desk:
        yield desk
        assert not xero_sandbox.journal.violations(), "something was sent that is not in Xero's form"


def key() -> str:
    return uuid.uuid4().hex


async def test_an_invoice_is_booked_as_it_was_confirmed(desk: BooksDesk) -> None:
    wanted = posting()
    booked = await desk.books.create(TENANT, wanted, key())
    assert (booked.number, booked.state) == (wanted.number, BookedState.AUTHORISED)
    assert (booked.subtotal, booked.tax, str(booked.total)) == (Decimal("65.00"), Decimal("5.85"), "SGD 70.85")
    (shown,) = desk.invoices()
    assert (shown["reference"], shown["url"], shown["contact"]) == ("orders/1", wanted.url, "Pizza Pronto Bugis")
    assert await desk.books.find(TENANT, wanted.number) == booked
    assert await desk.books.get(TENANT, booked.id) == booked


async def test_a_draft_is_left_for_a_person(desk: BooksDesk) -> None:
    booked = await desk.books.create(TENANT, posting(authorise=False), key())
    assert booked.state is BookedState.DRAFT


async def test_prices_of_four_decimals_and_many_lines_add_up_as_ours(desk: BooksDesk) -> None:
    lines = [
        replace(BOXES, sku=f"S-{n}", quantity=Decimal(n), unit_price=Decimal("0.0375") * n, line_total=Decimal(0))
        for n in range(1, 30)
    ]
    booked = await desk.books.create(TENANT, posting(lines=lines), key())
    totals = [round(line.quantity * line.unit_price, 4).quantize(Decimal("0.01"), "ROUND_HALF_UP") for line in lines]
    taxes = [(total * Decimal("0.09")).quantize(Decimal("0.01"), "ROUND_HALF_UP") for total in totals]
    assert (booked.subtotal, booked.tax) == (sum(totals), sum(taxes))


async def test_the_same_key_books_once_and_the_same_number_never_twice(desk: BooksDesk) -> None:
    wanted, same = posting(), key()
    first = await desk.books.create(TENANT, wanted, same)
    assert await desk.books.create(TENANT, wanted, same) == first
    with pytest.raises(NumberTaken):
        await desk.books.create(TENANT, replace(wanted, reference="another"), key())
    assert [each["reference"] for each in desk.invoices()] == [wanted.reference]


async def test_many_are_booked_each_for_itself(desk: BooksDesk) -> None:
    taken = posting()
    await desk.books.create(TENANT, taken, key())
    odd = posting(lines=(replace(BOXES, tax_rate=Decimal("0.17")),))
    too_fine = posting(lines=(replace(BOXES, unit_price=Decimal("0.65001")),))
    first, last = posting(), posting(contact_number="another", contact_name="Another Outlet")
    answers = await desk.books.create_many(TENANT, [first, taken, odd, too_fine, last], key())
    assert [type(answer).__name__ for answer in answers] == ["Booked", "NumberTaken", "Rejected", "Rejected", "Booked"]
    assert "17 %" in str(answers[2])
    assert "more decimals" in str(answers[3])
    assert [getattr(answers[n], "number", "") for n in (0, 4)] == [first.number, last.number]
    with pytest.raises(ValueError, match="50"):
        await desk.books.create_many(TENANT, [posting() for _ in range(51)], key())


async def test_fifty_go_in_one_call(desk: BooksDesk) -> None:
    await desk.books.create_many(TENANT, [posting() for _ in range(50)], key())
    assert (desk.calls("PUT Invoices"), len(desk.invoices())) == (1, 50)


async def test_a_draft_is_deleted_an_authorised_one_voided_a_paid_one_neither(desk: BooksDesk) -> None:
    draft = await desk.books.create(TENANT, posting(authorise=False), key())
    authorised = await desk.books.create(TENANT, posting(), key())
    paid = await desk.books.create(TENANT, posting(), key())
    desk.sandbox.pay(paid.number)
    assert (await desk.books.cancel(TENANT, draft, key())).state is BookedState.DELETED
    voided = await desk.books.cancel(TENANT, authorised, key())
    assert voided.state is BookedState.VOIDED
    assert await desk.books.cancel(TENANT, voided, key()) == voided
    with pytest.raises(Rejected):
        await desk.books.cancel(TENANT, paid, key())  # as it was read before it was paid
    with pytest.raises(Rejected, match="credited"):
        await desk.books.cancel(TENANT, await read(desk, paid.id), key())


async def read(desk: BooksDesk, id: str) -> Any:
    found = await desk.books.get(TENANT, id)
    assert found is not None
    return found


async def test_a_paid_invoice_is_credited_once_however_often_it_is_asked(desk: BooksDesk) -> None:
    wanted = posting()
    booked = await desk.books.create(TENANT, wanted, key())
    desk.sandbox.pay(wanted.number)
    for _ in range(2):
        await desk.books.credit(TENANT, await read(desk, booked.id), wanted, key())
    (note,) = desk.sandbox.state()["credit_notes"]
    assert (note["number"], Decimal(note["total"])) == (f"CN-{wanted.number}", Decimal("70.85"))


async def test_a_note_stands_in_the_history(desk: BooksDesk) -> None:
    booked = await desk.books.create(TENANT, posting(), key())
    same = key()
    for _ in range(2):
        await desk.books.note(TENANT, booked, "Booked for orders/1", same)
    assert desk.invoices()[0]["history"] == ["Booked for orders/1"]


async def test_what_is_not_there_is_none(desk: BooksDesk) -> None:
    assert await desk.books.find(TENANT, "T-none") is None
    assert await desk.books.get(TENANT, str(uuid.uuid4())) is None


async def test_changes_are_told_oldest_first_and_all_of_them(desk: BooksDesk) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    numbers = []
    for _ in range(3):
        batch = [posting() for _ in range(50)]
        await desk.books.create_many(TENANT, batch, key())
        numbers += [each.number for each in batch]
    desk.sandbox.pay(numbers[7])
    told = [booked async for booked in desk.books.changed_since(TENANT, before)]
    assert [each.updated_at for each in told] == sorted(each.updated_at for each in told)
    assert {each.number for each in told} == set(numbers)
    assert told[-1].number == numbers[7]
    assert told[-1].state is BookedState.PAID
    assert not [each async for each in desk.books.changed_since(TENANT, datetime.now(UTC) + timedelta(minutes=1))]


async def test_an_invoice_that_cannot_be_read_keeps_no_other_from_being_told(
    desk: BooksDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """It lacks what every invoice has, and stands on the first of two pages."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    odd, *others = (posting() for _ in range(102))
    await desk.books.create(TENANT, odd, key())
    ledger = desk.sandbox.ledger
    (booked,) = ledger.store.by_number("invoice", odd.number)
    del booked["CurrencyCode"]
    ledger.store.put("invoice", booked["InvoiceID"], booked, number=odd.number, updated=ledger.stamp(booked))
    for at in (0, 50, 100):
        await desk.books.create_many(TENANT, others[at : at + 50], key())
    told = {booked.number async for booked in desk.books.changed_since(TENANT, before)}
    assert told == {each.number for each in others}
    (said,) = [record for record in caplog.records if record.name == "server.accounting.xero"]
    assert vars(said)["skipped"] == 1


async def test_twenty_first_orders_at_once_make_one_contact(desk: BooksDesk) -> None:
    await asyncio.gather(*(book_patiently(desk, posting()) for _ in range(20)))
    state = desk.sandbox.state()
    assert (state["counts"]["contacts"], state["counts"]["invoices"]) == (1, 20)
    assert not state["refused"]


async def book_patiently(desk: BooksDesk, wanted: Any) -> None:
    """As a job does: a refusal for want of budget is waited out."""
    same = key()
    while True:
        try:
            await desk.books.create(TENANT, wanted, same)
        except Throttled as wait:
            await asyncio.sleep(wait.retry_after)
        else:
            return


async def test_two_processes_make_one_contact_and_a_taken_name_another(
    xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str
) -> None:
    async with (
        books_desk(xero_sandbox, database, dsn, redis_url) as one,
        books_desk(xero_sandbox, database, dsn, redis_url, connected=False) as two,
    ):
        await asyncio.gather(*(book_patiently(each, posting()) for each in (one, two)))
        assert xero_sandbox.state()["counts"]["contacts"] == 1
        await one.books.create(TENANT, posting(contact_number="second-outlet"), key())
    names = {each["contact"] for each in xero_sandbox.state()["invoices"]}
    assert names == {"Pizza Pronto Bugis", "Pizza Pronto Bugis (second-outlet)"}


async def test_a_known_contact_and_known_taxes_cost_no_call(desk: BooksDesk) -> None:
    for _ in range(3):
        await desk.books.create(TENANT, posting(), key())
    assert (desk.calls("GET TaxRates"), desk.calls("GET Contacts/{id}"), desk.calls("PUT Invoices")) == (1, 1, 3)


async def test_a_tax_type_is_chosen_by_rate_or_by_configuration(
    xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str
) -> None:
    free = replace(BOXES, tax_code="ZR", tax_rate=Decimal(0), line_tax=Decimal(0))
    async with books_desk(xero_sandbox, database, dsn, redis_url) as desk:
        with pytest.raises(Rejected, match=r"several tax types of Xero are 0 % .*choose one for ZR in XERO_TAX_TYPES"):
            await desk.books.create(TENANT, posting(lines=(BOXES, free)), key())
        assert not desk.invoices()
    async with books_desk(xero_sandbox, database, dsn, redis_url, {"XERO_TAX_TYPES": "ZR=ZERORATEDOUTPUT"}) as desk:
        booked = await desk.books.create(TENANT, posting(lines=(BOXES, free)), key())
        assert (booked.subtotal, booked.tax) == (Decimal("130.00"), Decimal("5.85"))
    async with books_desk(xero_sandbox, database, dsn, redis_url, {"XERO_TAX_TYPES": "SR=OUTPUTY23"}) as desk:
        with pytest.raises(Rejected, match="OUTPUTY23 of 9 %"):
            await desk.books.create(TENANT, posting(), key())


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.REPLY_LOST, FaultKind.GARBAGE, FaultKind.SERVER_ERROR,
                                  FaultKind.UNAVAILABLE, FaultKind.REDIRECT])  # fmt: skip
async def test_a_write_without_a_final_answer_is_unknown_and_sent_once(desk: BooksDesk, kind: FaultKind) -> None:
    wanted = posting()
    fault(desk.sandbox, kind, method="PUT", path="Invoices", message=f"{desk.sandbox.url}/elsewhere")
    with pytest.raises(OutcomeUnknown):
        await desk.books.create(TENANT, wanted, key())
    assert desk.calls("PUT Invoices") == 1
    done = kind in {FaultKind.REPLY_LOST, FaultKind.GARBAGE}
    assert (await desk.books.find(TENANT, wanted.number) is not None) == done


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.GARBAGE, FaultKind.SERVER_ERROR, FaultKind.REDIRECT])
async def test_a_read_without_an_answer_changed_nothing(desk: BooksDesk, kind: FaultKind) -> None:
    fault(desk.sandbox, kind, method="GET", path="Invoices", message=f"{desk.sandbox.url}/elsewhere")
    with pytest.raises(NotSent):
        await desk.books.find(TENANT, "T-1")
    assert desk.calls("GET Invoices") == 1
    assert await desk.books.find(TENANT, "T-1") is None


async def test_trouble_before_the_invoice_was_sent_says_so(desk: BooksDesk) -> None:
    fault(desk.sandbox, FaultKind.REPLY_LOST, method="PUT", path="Contacts")
    with pytest.raises(NotSent):
        await desk.books.create(TENANT, posting(), key())
    await desk.books.create(TENANT, posting(), key())
    assert desk.sandbox.state()["counts"]["contacts"] == 1


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (FaultKind.MINUTE_LIMIT, "minute"),
        (FaultKind.DAY_LIMIT, "day"),
        (FaultKind.CONCURRENT_LIMIT, "concurrent"),
    ],
)
async def test_over_a_limit_of_theirs_nothing_more_is_sent_until_they_want_it(
    desk: BooksDesk, kind: FaultKind, limit: str
) -> None:
    fault(desk.sandbox, kind, path="Invoices", seconds=900)
    with pytest.raises(Throttled) as said:
        await desk.books.find(TENANT, "T-1")
    assert said.value.limit == limit
    with pytest.raises(Throttled) as again:
        await desk.books.find(TENANT, "T-1")
    assert again.value.limit == limit
    assert desk.calls("GET Invoices") == 1
    if limit != "concurrent":
        assert again.value.retry_after > 800
        assert (await desk.budget.peek(TENANT)).blocked_for > 800


async def test_a_refusal_is_told_in_xeros_words(desk: BooksDesk) -> None:
    fault(
        desk.sandbox,
        FaultKind.VALIDATION_ERROR,
        method="PUT",
        path="Invoices",
        message="Account code '200' is not valid",
    )
    with pytest.raises(Rejected) as said:
        await desk.books.create(TENANT, posting(), key())
    assert said.value.messages == ("Account code '200' is not valid",)
    with pytest.raises(Rejected, match="currency"):
        await desk.books.create(TENANT, posting(currency="XQQ"), key())


async def test_a_token_that_ends_early_is_fetched_anew_once(desk: BooksDesk) -> None:
    await desk.books.find(TENANT, "T-1")
    tokens = desk.calls("POST /connect/token")
    desk.sandbox.identity.expire_tokens()
    await asyncio.gather(*(desk.people.find(TENANT, "T-1") for _ in range(4)))
    assert desk.calls("POST /connect/token") == tokens + 1


async def test_a_token_that_is_never_taken_ends_the_connection(desk: BooksDesk) -> None:
    fault(desk.sandbox, FaultKind.UNAUTHORISED, times=2)
    with pytest.raises(Disconnected):
        await desk.books.find(TENANT, "T-1")
    assert (await desk.connections.view(TENANT)).state is ConnectionState.DISCONNECTED
    before = desk.calls("GET Invoices")
    with pytest.raises(Disconnected):
        await desk.books.find(TENANT, "T-1")
    assert desk.calls("GET Invoices") == before


async def test_an_organisation_that_left_is_disconnected_and_comes_back_by_a_person(desk: BooksDesk) -> None:
    desk.sandbox.identity.disconnect()
    with pytest.raises(Disconnected, match="disconnected in Xero"):
        await desk.books.create(TENANT, posting(), key())
    view = await desk.connections.view(TENANT)
    assert (view.state, view.last_error) == (ConnectionState.DISCONNECTED, "the organisation was disconnected in Xero")
    desk.sandbox.identity.connect()
    with pytest.raises(Disconnected):
        await desk.books.create(TENANT, posting(), key())
    async with books_desk(desk.sandbox, desk.database, str(desk.config.store.direct.reveal()),
                          desk.config.store.redis_url.reveal()) as again:  # fmt: skip
        await again.books.create(TENANT, posting(), key())


async def test_where_nobody_listens_nothing_was_sent_and_soon_nobody_asks(
    xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str
) -> None:
    async with books_desk(
        xero_sandbox, database, dsn, redis_url, {"XERO_API_URL": "http://127.0.0.1:9"}, connected=False
    ) as away, books_desk(xero_sandbox, database, dsn, redis_url):  # fmt: skip
        for _ in range(5):
            with pytest.raises(NotSent, match="could not be reached"):
                await away.books.find(TENANT, "T-1")
        assert away.breaker.state is BreakerState.OPEN
        with pytest.raises(NotSent, match="left alone"):
            await away.books.find(TENANT, "T-1")
        view = await away.budget.peek(TENANT)
        assert view.minute_left == view.limits.minute, "what was not sent costs nothing"
        assert "left alone" in (await away.connections.view(TENANT)).last_error


async def test_a_caller_that_gives_up_frees_nothing_before_xero_has_answered(
    xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str
) -> None:
    async with books_desk(xero_sandbox, database, dsn, redis_url) as desk:
        fault(desk.sandbox, FaultKind.SLOW_BEFORE, path="Invoices", seconds=2)
        asking = asyncio.create_task(desk.books.find(TENANT, "T-1"))

        async def asked() -> bool:
            return desk.calls("GET Invoices") == 1

        async def free() -> bool:
            return not (await desk.budget.peek(TENANT)).running

        await eventually(asked)
        asking.cancel()
        await asyncio.wait({asking})
        assert not await free()
        await eventually(free)


async def test_xeros_limits_are_kept_by_three_processes(database: Database, dsn: str, redis_url: str) -> None:
    async with open_sandbox(limits=Limits(minute=40, day=1000, concurrent=3), latency=0.05) as sandbox:
        limits = {"XERO_MINUTE_LIMIT": "40", "XERO_CONCURRENCY": "3", "XERO_DAY_LIMIT": "1000"}
        async with (
            books_desk(sandbox, database, dsn, redis_url, limits) as one,
            books_desk(sandbox, database, dsn, redis_url, limits, connected=False) as two,
            books_desk(sandbox, database, dsn, redis_url, limits, connected=False) as three,
        ):
            asked = [each.people.find(TENANT, "T-1") for each in (one, two, three) for _ in range(20)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        throttled = [each for each in answers if isinstance(each, Throttled)]
        assert {type(each) for each in answers} == {type(None), Throttled}
        assert {each.limit for each in throttled} <= {"minute", "concurrent"}
        state = sandbox.state()
        assert not state["refused"]
        assert state["peak_concurrency"] <= 3
        assert 20 <= state["calls"]["GET Invoices"] <= 40

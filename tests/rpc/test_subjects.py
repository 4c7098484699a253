"""What is held about a person: given out whole, erased with a receipt, held for a court; never anybody else's."""

from __future__ import annotations

import asyncio
import threading
import uuid

import grpc
import pytest
import redis.asyncio
from google.protobuf import json_format

from server.audit.changes import operator
from server.audit.receipt import verify
from server.audit.subjects import Export, Subjects
from server.caller import Role
from server.chat.personal import ChatHolding
from server.errors import AppError
from server.holdings import Erased
from server.idempotency import Idempotency
from server.people_wiring import open_vault, subjects
from server.redis_client import open_redis
from server.signing import SigningKey
from tests.support.people import TENANT, Office, Person, new_key
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.vaults import a_vault
from tria.audit.v1 import audit_pb2, audit_service_pb2
from tria.chat.v1 import chat_service_pb2
from tria.order.v1 import order_service_pb2

GIVEN_OUT = (
    *("title", "text", "session text", "hand-off", "comment", "changed", "reason", "said", "proposed", "question"),
    "ordered",
)


def as_text(export: audit_pb2.SubjectExport) -> str:
    return json_format.MessageToJson(export, ensure_ascii=False)


async def finished(office: Office) -> None:
    """Returns when every erasure was looked over."""

    async def all_verified() -> bool:
        return not await office.value("select count(*) from erasure where verified_at is null")

    await eventually(all_verified, within=60)


async def refused(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # a call of grpc.aio
    return caught.value


async def test_an_export_holds_everything_and_nothing_of_others(office: Office, person: Person) -> None:
    other = Person(office)
    await other.live()
    export = await office.export(f" {person.subject.upper()}")
    text = as_text(export)
    assert export.subject == person.reference
    assert [word for word in GIVEN_OUT if person.word(word) not in text] == []
    assert [word for word in other.words() if word in text] == []
    data = json_format.MessageToDict(export)["data"]
    kinds = "conversations messages hand_offs feedback orders proposals learnt_words kept_answers audit_events"
    assert {*data} == {*kinds.split()}
    assert len(data["orders"]) == 2
    assert sum(message["author"] == "ASSISTANT" for message in data["messages"]) >= 2


async def test_an_export_is_recorded_and_the_same_when_asked_again(office: Office, person: Person) -> None:
    key = new_key()
    first = await office.export(person.subject, key)
    await person.say("And another thing")
    assert await office.export(person.subject, key) == first
    assert len(as_text(await office.export(person.subject))) > len(as_text(first))
    recorded = await office.value(
        "select count(*) from (select action, resource, leaf from audit_pending "
        "union all select action, resource, leaf from audit_event) as leaves "
        "where action = 'SUBJECT_EXPORT' and resource = $1",
        f"subjects/{person.reference}",
    )
    assert recorded == 2


async def test_of_a_stranger_nothing_is_held(office: Office) -> None:
    data = json_format.MessageToDict(await office.export("nobody@example.com"))["data"]
    assert not any(data.values())
    receipt = await office.erase("nobody@example.com")
    # Only the answer to that question itself.
    assert [(store.store, store.erased) for store in receipt.stores if store.erased + store.kept] == [
        ("kept_answers", 1)
    ]


async def test_the_same_name_in_another_tenant_is_somebody_else(office: Office, person: Person) -> None:
    data = json_format.MessageToDict(await office.export(person.subject, tenant="other"))["data"]
    assert not any(data.values())
    await office.erase(person.subject, tenant="other")
    assert person.word("text") in as_text(await office.export(person.subject))


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.STAFF, Role.AUDITOR, Role.SERVICE])
async def test_only_those_who_may_manage_people(office: Office, role: Role) -> None:
    who = office.who(role, "someone")
    export = audit_service_pb2.ExportSubjectRequest(subject="x", request_id=new_key())
    erase = audit_service_pb2.EraseSubjectRequest(subject="x", request_id=new_key())
    assert reason(await refused(office.audit.ExportSubject(export, metadata=who))) == "PERMISSION_MISSING"
    assert reason(await refused(office.audit.EraseSubject(erase, metadata=who))) == "PERMISSION_MISSING"


async def test_an_erasure_leaves_a_receipt_that_proves_itself(office: Office, person: Person) -> None:
    receipt = await office.erase(person.subject)
    by_store = {store.store: store for store in receipt.stores}
    assert by_store["keys"].erased == 1
    assert (by_store["conversations"].erased, by_store["messages"].erased) == (2, 6)
    assert (by_store["orders"].erased, by_store["orders"].kept) == (0, 2)
    assert "tax" in by_store["orders"].legal_basis
    assert by_store["hand_offs"].erased == by_store["feedback"].erased == 1
    assert (by_store["proposals"].erased, by_store["learnt_words"].erased) == (2, 1)
    assert by_store["kept_answers"].erased >= 5
    assert by_store["audit_log"].kept > 5
    key = office.config.audit.key
    assert verify(receipt.signed_note, (key.public,))
    assert not verify(receipt.signed_note.replace("kept 2", "kept 0"), (key.public,))
    assert not verify(receipt.signed_note, (SigningKey("test", b"x" * 32).public,))
    assert person.subject not in receipt.signed_note
    assert receipt.seq >= 0
    assert await office.value("select action from audit_event where tenant = $1 and seq = $2", TENANT, receipt.seq) == (
        "SUBJECT_ERASE"
    )
    await finished(office)
    assert (await office.verified()).header.last_seq >= receipt.seq


async def test_nothing_of_an_erased_person_can_be_asked_for(office: Office, person: Person) -> None:
    exported = new_key()
    await office.export(person.subject, exported)
    run = await office.value(
        "select 'conversations/' || conversation || '/runs/' || id from run where conversation = $1 limit 1",
        person.conversation.partition("/")[2],
    )
    await office.erase(person.subject)
    # Whoever asks with the same request_id again gets no copy of what was erased, and nothing is done twice.
    for call in (
        person.create_conversation(person.request_ids["CreateConversation"]),
        office.export(person.subject, exported),
    ):
        assert (await refused(call)).code() is grpc.StatusCode.NOT_FOUND
    staff = office.who(Role.STAFF, "desk")
    messages = await office.chat.ListMessages(
        chat_service_pb2.ListMessagesRequest(parent=person.conversation), metadata=staff
    )
    assert {message.text for message in messages.messages} == {"[erased]"}
    conversation = await office.chat.GetConversation(
        chat_service_pb2.GetConversationRequest(name=person.conversation), metadata=staff
    )
    assert conversation.title == ""

    async def forgotten() -> bool:  # the log of the run in memory
        events = [
            event
            async for event in office.chat.ResumeRun(
                chat_service_pb2.ResumeRunRequest(run=run),
                metadata=office.who(Role.STAFF, f"desk-{uuid.uuid4().hex[:6]}"),
            )
        ]
        return person.word("text") not in str(events) and "[erased]" in str(events)

    await eventually(forgotten)
    order = await office.orders.GetOrder(order_service_pb2.GetOrderRequest(name=person.order), metadata=staff)
    assert order.note == ""
    left = json_format.MessageToDict(await office.export(person.subject))["data"]
    assert {kind for kind, records in left.items() if records} == {"audit_events"}


async def test_whoever_comes_back_begins_anew(office: Office, person: Person) -> None:
    await office.erase(person.subject)
    person.conversation = await person.create_conversation(new_key())
    await person.say(f"It is {person.word('text')} again")
    await finished(office)
    text = as_text(await office.export(person.subject))
    assert person.word("text") in text
    assert person.word("session text") not in text


async def test_an_erasure_sent_twice_is_done_once(office: Office, person: Person) -> None:
    key = new_key()
    first, second = await asyncio.gather(office.erase(person.subject, key), office.erase(person.subject, key))
    assert first.signed_note == second.signed_note
    await finished(office)
    await office.erase(person.subject)
    assert await office.erase(person.subject, key) == first, "also after the job, and after another erasure"
    assert await office.value("select count(*) from erasure") == 2


async def test_others_in_the_same_conversation_keep_their_words(office: Office, person: Person) -> None:
    other = Person(office)
    await other.say(f"I am {other.word('text')}", person.conversation)
    await office.erase(person.subject)
    messages = await office.chat.ListMessages(
        chat_service_pb2.ListMessagesRequest(parent=person.conversation), metadata=office.who(Role.STAFF, "desk")
    )
    texts = [message.text for message in messages.messages]
    assert [text for text in texts if other.word("text") in text] == [f"I am {other.word('text')}"]
    assert texts[:2] == ["[erased]"] * 2


async def test_who_is_on_hold_is_not_erased(office: Office, person: Person) -> None:
    service = subjects(office.database, open_vault(office.config.auth), office.config.audit.key)
    author = operator(TENANT)
    assert await service.hold(author, person.subject, "case 12/26")
    assert not await service.hold(author, person.subject, "again")
    request = audit_service_pb2.EraseSubjectRequest(subject=person.subject, request_id=new_key())
    error = await refused(office.audit.EraseSubject(request, metadata=office.who(Role.ADMIN, "root")))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "SUBJECT_ON_LEGAL_HOLD")
    events = json_format.MessageToDict(await office.export(person.subject))["data"]["audit_events"]
    assert {"reason": "case 12/26"} in [event["fields"] for event in events]
    assert await service.release(author, person.subject)
    assert not await service.release(author, person.subject)
    await office.erase(person.subject)
    after = json_format.MessageToDict(await office.export(person.subject))["data"]["audit_events"]
    assert {"reason": "[erased]"} in [event["fields"] for event in after]


async def test_what_redis_holds_goes_too_and_a_cut_job_is_taken_up_again(office: Office, person: Person) -> None:
    store = office.config.store
    async with open_redis(store.redis_url.reveal(), cluster=store.redis_cluster, timeout=5.0) as client:
        await client.xadd(f"tria:run:{{{person.conversation}}}", {"text": person.word("text")})
        await client.set(f"tria:cache:{person.reference}", person.word("text"))
        await client.set("tria:cache:somebody-else", "x")
        assert [key async for key in client.scan_iter(f"*{person.reference}*")]
        receipt = await office.erase(person.subject)
        await finished(office)
        assert await client.keys(f"*{person.reference}*") == []
        assert await client.keys(f"*{person.conversation}*") == []
        assert await client.exists("tria:cache:somebody-else")
        await _cut(office, client, person, receipt)


async def _cut(office: Office, client: redis.asyncio.Redis, person: Person, receipt: audit_pb2.ErasureReceipt) -> None:
    """The job of an erasure dies in the middle, when a message has come in late: the next run finds and removes it."""
    service = subjects(office.database, open_vault(office.config.auth), office.config.audit.key)
    payload = await _restarted(office, person)

    async def dies(_: object) -> int:
        raise ConnectionError("no Redis")

    with pytest.raises(ConnectionError):
        await service.finish(payload, dies)
    assert await office.value("select attempts from erasure") == 2

    async def nothing(_: object) -> int:
        return 0

    await service.finish(payload, nothing)
    assert await office.value("select verified_at is not null from erasure")
    assert await office.value("select count(*) from message where person = $1", person.reference) == 0
    await service.finish(payload, dies)  # done already: nothing happens
    assert receipt.signed_note == await office.value("select signed_note from erasure")


async def test_what_comes_in_late_is_erased_whatever_else_is_left(office: Office, person: Person) -> None:
    """A store that cannot be emptied costs another attempt, and not the work that was done."""
    await office.erase(person.subject)
    await finished(office)
    payload = await _restarted(office, person)
    stuck = _Stuck()
    config = office.config
    vault = open_vault(config.auth)
    service = Subjects(office.database, vault, (ChatHolding(vault), stuck), config.audit.key)
    late = "select count(*) from message where person = $1"
    assert await office.value(late, person.reference) == 1
    with pytest.raises(RuntimeError, match="1 records are left"):
        await service.finish(payload, _nothing)
    assert await office.value(late, person.reference) == 0
    assert await office.value("select verified_at is null from erasure")


async def test_an_erasure_that_a_hold_keeps_ends_when_that_is_released(office: Office, person: Person) -> None:
    await office.erase(person.subject)
    await finished(office)
    payload = await _restarted(office, person)
    service = subjects(office.database, open_vault(office.config.auth), office.config.audit.key)
    await service.hold(operator(TENANT), person.subject, "case 14/26")
    await service.finish(payload, _nothing)
    assert await office.value("select held_at is not null and verified_at is null from erasure")
    late = "select count(*) from message where person = $1"
    assert await office.value(late, person.reference) == 1
    await service.release(operator(TENANT), person.subject)
    await finished(office)
    assert await office.value(late, person.reference) == 0
    assert await office.value("select held_at is null from erasure")


class _Stuck:
    """A holding that never becomes empty."""

    async def count(self, *_: object) -> int:
        return 1

    async def export(self, *_: object) -> dict[str, list[dict[str, str]]]:
        return {}

    async def erase(self, *_: object) -> list[Erased]:
        return []

    async def remaining(self, *_: object) -> int:
        return 1


async def _nothing(_: object) -> int:
    return 0


async def test_more_than_one_answer_carries_is_refused_before_it_is_fetched(office: Office) -> None:
    reference = a_vault().people.reference(TENANT, "busy@example.com")
    async with office.database.connection() as connection:
        await connection.execute(
            "insert into idempotency (tenant, principal, method, request_id, body_sha256, response) "
            "select $1, $2, 'M', gen_random_uuid(), sha256(''), '' from generate_series(1, 20001)",
            TENANT,
            reference,
        )
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await office.export("busy@example.com")
    assert refusal.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert "tria subjects export" in (refusal.value.details() or "")


async def test_an_export_is_encoded_beside_the_loop_that_serves(office: Office, person: Person) -> None:
    threads = []

    def encode(export: Export) -> bytes:
        threads.append(threading.get_ident())
        return export.person.encode()

    service = subjects(office.database, open_vault(office.config.auth), office.config.audit.key)
    once = await service.export(operator(TENANT), person.subject, Idempotency("Export", "", b"", encode))
    assert once.answer == person.reference.encode()
    assert threads != [threading.get_ident()]
    with pytest.raises(AppError, match="more is held"):
        await service.export(operator(TENANT), person.subject, Idempotency("Export", "", b"", encode), most=3)
    assert len(threads) == 1


async def _restarted(office: Office, person: Person) -> bytes:
    """As after a crash: not verified, and a row that was sealed with a key while that was destroyed."""
    async with office.database.transaction() as connection:
        await connection.execute("update erasure set verified_at = null")
        await connection.execute(
            "update message set person = $1, erased_at = null, create_time = now(), "
            "text_box = '\\x01'::bytea || uuid_send((select key_id from subject_key where person = $1 limit 1)) "
            "|| '\\x00112233445566778899aabbccddeeff' "
            "where id = (select id from message where conversation = $2 limit 1)",
            person.reference,
            person.conversation.partition("/")[2],
        )
        id = await connection.fetchval("select id from erasure")
    return b'{"tenant":"%s","erasure":"%s","conversations":[]}' % (TENANT.encode(), str(id).encode())


async def test_a_service_that_acts_for_people_writes_their_data(office: Office) -> None:
    """The person is whom the call is for, not the service that brings it."""
    metadata = (*office.who(Role.SERVICE, "portal"), ("x-on-behalf-of", "ann@example.com"))
    request = chat_service_pb2.ChatRequest(message="Hello, do you deliver?", outlet_id="pizza-pronto-bugis")
    await office.chat.Chat(request, metadata=metadata)
    data = json_format.MessageToDict(await office.export("ann@example.com"))["data"]
    assert "Hello, do you deliver?" in {message["text"] for message in data["messages"]}
    assert not json_format.MessageToDict(await office.export("portal"))["data"]["messages"]


async def test_a_run_that_answers_while_its_person_is_erased_is_ended(office: Office, person: Person) -> None:
    async with office.database.transaction() as connection:
        await connection.execute(
            "update run set state = 'RUNNING', end_time = null where conversation = $1",
            person.conversation.partition("/")[2],
        )
    await office.erase(person.subject)
    states = await office.value(
        "select array_agg(distinct state) from run where conversation = $1", person.conversation.partition("/")[2]
    )
    assert states == ["INTERRUPTED"]

"""The contract keeps its own rules: policies, routes, bounds, personal data, and generated code that is fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tria.policy.v1 import audit_action_pb2, policy_pb2
from tria_client.policy import FILES

ROOT = Path(__file__).parents[2]

WITHOUT_ROUTE = {
    "tria.order.v1.OrderService.ImportProducts": "client-streaming: JSON transcoding has no streamed request body",
}
STRING_BOUNDS = {"max_len", "max_bytes", "len", "len_bytes", "pattern", "const", "in", "uuid"}
PERSONAL = re.compile(
    r"(^|_)(email|phone|mobile|address|token|ticket|password|secret|"
    r"(contact|person|customer|given|family|first|last|full)_name)(_|$)"
)
PAGE_TOKENS = {"page_token", "next_page_token"}  # opaque and signed: they say where a list goes on, and let nobody in

METHODS: dict[str, MethodDescriptor] = {
    method.full_name: method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
}


def reachable(roots: list[Descriptor]) -> dict[str, Descriptor]:
    """The contract's own messages that can be part of `roots`."""
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name in found or not message.full_name.startswith("tria."):
            continue
        found[message.full_name] = message
        waiting += [field.message_type for field in message.fields if field.message_type is not None]
    return found


def fields(roots: list[Descriptor]) -> Iterator[FieldDescriptor]:
    for message in reachable(roots).values():
        yield from message.fields


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_bounded(field: FieldDescriptor) -> bool:
    """Whether the field's rules limit how much it may hold."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if is_map(field):
        return rules.map.HasField("max_pairs")
    if field.is_repeated:
        items = rules.repeated.items.string
        return rules.repeated.HasField("max_items") and (
            field.type != FieldDescriptor.TYPE_STRING or limits(items, STRING_BOUNDS)
        )
    if field.type == FieldDescriptor.TYPE_STRING:
        return limits(rules.string, STRING_BOUNDS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return limits(rules.bytes, {"max_len", "len"})
    return True


def limits(rules: validate_pb2.StringRules | validate_pb2.BytesRules, bounds: set[str]) -> bool:
    return any(field.name in bounds for field, _ in rules.ListFields())


@pytest.mark.parametrize("name", METHODS)
def test_every_rpc_has_a_whole_policy(name: str) -> None:
    policy = METHODS[name].GetOptions().Extensions[policy_pb2.rpc]
    assert policy.permission != policy_pb2.PERMISSION_UNSPECIFIED
    assert policy.audit != audit_action_pb2.AUDIT_ACTION_UNSPECIFIED
    assert policy.max_rate.per_minute > 0
    assert policy.max_rate.burst > 0
    assert METHODS[name].server_streaming or policy.default_deadline.ToTimedelta().total_seconds() > 0


def test_every_rpc_has_a_route_or_a_reason() -> None:
    without = {name for name, method in METHODS.items() if not method.GetOptions().HasExtension(annotations_pb2.http)}
    assert without == WITHOUT_ROUTE.keys()


def test_what_changes_nothing_is_a_get() -> None:
    """Browsers and proxies may repeat a GET: none may change anything. Reads by POST carry a body that a URL cannot."""
    changing = {
        name
        for name, method in METHODS.items()
        if method.GetOptions().Extensions[policy_pb2.rpc].mutates
        and method.GetOptions().Extensions[annotations_pb2.http].WhichOneof("pattern") == "get"
    }
    assert not changing


def test_every_field_of_a_request_is_bounded() -> None:
    requests = [method.input_type for method in METHODS.values()]
    assert not sorted({field.full_name for field in fields(requests) if not is_bounded(field)})


def test_a_field_without_a_bound_is_noticed() -> None:
    info = audit_action_pb2.DESCRIPTOR.pool.FindMessageTypeByName("google.rpc.ErrorInfo")
    assert [field.name for field in info.fields if not is_bounded(field)] == ["reason", "domain", "metadata"]


def test_every_field_that_sounds_personal_says_what_it_holds() -> None:
    messages = [kind for method in METHODS.values() for kind in (method.input_type, method.output_type)]
    personal = {
        field.full_name: field.GetOptions().Extensions[policy_pb2.field].pii
        for field in fields(messages)
        if field.type == FieldDescriptor.TYPE_STRING and PERSONAL.search(field.name) and field.name not in PAGE_TOKENS
    }
    assert personal["tria.chat.v1.StreamRunSseRequest.ticket"] == policy_pb2.FieldPolicy.SECRET
    assert not [name for name, pii in personal.items() if pii == policy_pb2.FieldPolicy.PII_UNSPECIFIED]


# Named by the contract for RPCs and jobs that are not served yet; an action leaves this list when it is first recorded.
PLANNED_ACTIONS = {
    "CONSENT_CHANGE",
    "DATA_EXPORT",
}


# Modules that speak of actions without recording them; what services may write (recording.py) is no recording of ours.
ONLY_NAMED = {f"audit/{name}.py" for name in ("actions", "export_ocsf", "ocsf_classes", "recording", "report_facts")}


def test_every_audit_action_is_recorded_somewhere_or_planned() -> None:
    by_policy = {method.GetOptions().Extensions[policy_pb2.rpc].audit for method in METHODS.values()}
    code = "".join(
        path.read_text()
        for package in ("server", "interceptors")
        for path in (ROOT / package).rglob("*.py")
        if f"{path.parent.name}/{path.name}" not in ONLY_NAMED
    )
    by_code = set(re.findall(r"\bAction\.([A-Z_]+)\b", code))
    unused = {
        name
        for name, number in audit_action_pb2.AuditAction.items()
        if number and number not in by_policy and name not in by_code
    }
    assert unused == PLANNED_ACTIONS


def test_generated_code_is_fresh() -> None:
    subprocess.run([sys.executable, ROOT / "proto" / "generate.py", "--check"], check=True)

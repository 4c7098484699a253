"""The server's reasons are the contract's, value for value."""

from __future__ import annotations

from server.errors import Reason
from tria.errors.v1 import error_reason_pb2


def test_reasons_mirror_the_contract() -> None:
    unspecified = {"ERROR_REASON_UNSPECIFIED"}
    assert {reason.value for reason in Reason} == set(error_reason_pb2.ErrorReason.keys()) - unspecified
    assert [reason.name for reason in Reason] == [reason.value for reason in Reason]

"""Checkpoints and proofs, checked with the tree as RFC 9162 defines it."""

from __future__ import annotations

from typing import Any

import pytest
from grpc.aio import AioRpcError

from server.audit.checkpoint import open_note
from server.audit.leaf import encode
from server.audit.proofs import NotProven, verify_consistency, verify_inclusion
from tests.support.calls import refusal
from tests.support.reading import reason
from tests.support.trail import Trail
from tests.support.trees import naive_consistency, naive_path, naive_root
from tria.audit.v1 import audit_service_pb2 as rpc


async def refused(call: Any) -> AioRpcError:
    with pytest.raises(AioRpcError) as caught:
        await call
    return caught.value


def allowed(error: AioRpcError) -> dict[str, str]:
    """What the error says there is."""
    return dict(refusal(error).info.metadata)


async def test_the_checkpoint_is_signed_and_of_all_records(trail: Trail) -> None:
    leaves = [encode(leaf) for leaf in await trail.add(300)]
    found = await trail.stub.GetCheckpoint(rpc.GetCheckpointRequest(), metadata=trail.who())
    opened = open_note(found.note, [trail.config.audit.key.public])
    assert (opened.checkpoint.origin, opened.checkpoint.size) == ("tria/acme", 300)
    assert found.tree_size == 300
    assert found.root_hash == opened.checkpoint.root == naive_root(leaves)
    assert found.time.seconds


async def test_a_log_without_events_has_no_checkpoint(trail: Trail) -> None:
    who = trail.who(tenant="globex")
    error = await refused(trail.stub.GetCheckpoint(rpc.GetCheckpointRequest(), metadata=who))
    assert reason(error) == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(("seq", "size"), [(0, 0), (299, 0), (255, 0), (256, 0), (0, 1), (7, 8), (100, 257), (3, 4)])
async def test_every_record_is_proven_in_every_tree(trail: Trail, seq: int, size: int) -> None:
    leaves = [encode(leaf) for leaf in await trail.add(300)]
    request = rpc.GetInclusionProofRequest(seq=seq, tree_size=size)
    proof = await trail.stub.GetInclusionProof(request, metadata=trail.who())
    tree = leaves[: size or 300]
    assert (proof.seq, proof.tree_size) == (seq, len(tree))
    assert list(proof.hashes) == naive_path(seq, tree)
    verify_inclusion(proof.leaf_hash, seq, len(tree), list(proof.hashes), naive_root(tree))
    with pytest.raises(NotProven):
        verify_inclusion(bytes(32), seq, len(tree), list(proof.hashes), naive_root(tree))


@pytest.mark.parametrize(("first", "second"), [(1, 300), (0, 300), (255, 257), (256, 300), (300, 300), (7, 0), (6, 8)])
async def test_a_later_tree_begins_with_an_earlier_one(trail: Trail, first: int, second: int) -> None:
    leaves = [encode(leaf) for leaf in await trail.add(300)]
    request = rpc.GetConsistencyProofRequest(first=first, second=second)
    proof = await trail.stub.GetConsistencyProof(request, metadata=trail.who())
    tree = leaves[: second or 300]
    assert (proof.first, proof.second) == (first, len(tree))
    if first:
        assert list(proof.hashes) == naive_consistency(first, tree)
    verify_consistency(first, len(tree), naive_root(leaves[:first]), naive_root(tree), list(proof.hashes))


async def test_what_is_outside_says_what_there_is(trail: Trail) -> None:
    await trail.add(10)
    who = trail.who(subject="carla")
    size = await trail.signed()
    calls: dict[str, Any] = {
        "a record too far": trail.stub.GetInclusionProof(rpc.GetInclusionProofRequest(seq=10**6), metadata=who),
        "a tree too large": trail.stub.GetInclusionProof(
            rpc.GetInclusionProofRequest(seq=0, tree_size=10**6), metadata=who
        ),
        "a record outside of its tree": trail.stub.GetInclusionProof(
            rpc.GetInclusionProofRequest(seq=5, tree_size=5), metadata=who
        ),
        "backwards": trail.stub.GetConsistencyProof(rpc.GetConsistencyProofRequest(first=5, second=4), metadata=who),
        "a second too large": trail.stub.GetConsistencyProof(
            rpc.GetConsistencyProofRequest(first=5, second=10**6), metadata=who
        ),
        "a first too large": trail.stub.GetConsistencyProof(
            rpc.GetConsistencyProofRequest(first=10**6, second=0), metadata=who
        ),
    }
    for name, call in calls.items():
        error = await refused(call)
        assert reason(error) == "AUDIT_RANGE_INVALID", name
        said = allowed(error)
        assert int(said["first"]) <= int(said["last"]), name
        assert int(said["last"]) <= int(said["tree_size"]), name
    assert size >= 10
    for bad in (
        trail.stub.GetInclusionProof(rpc.GetInclusionProofRequest(seq=-1), metadata=who),
        trail.stub.GetConsistencyProof(rpc.GetConsistencyProofRequest(first=-1), metadata=who),
    ):
        assert reason(await refused(bad)) == "INVALID_FIELD"


async def test_proofs_are_of_the_callers_own_log(trail: Trail) -> None:
    await trail.add(5)
    error = await refused(
        trail.stub.GetInclusionProof(
            rpc.GetInclusionProofRequest(seq=0, tree_size=5), metadata=trail.who(tenant="globex")
        )
    )
    assert reason(error) == "AUDIT_RANGE_INVALID"

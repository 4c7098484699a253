"""The RPCs of proposals in ChatService: decode, one call, encode."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.chat.encode import proposal_message
from server.idempotency import Idempotency
from server.order.proposal import Proposal, ProposalMoved
from server.order.proposals import Confirmed, Proposals
from server.replays import tell_replayed
from tria.chat.v1 import chat_pb2, chat_service_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ProposalHandler:
    """GetProposal, ConfirmProposal and RejectProposal."""

    def __init__(self, proposals: Proposals, shown: Shown) -> None:
        self._proposals = proposals
        self._shown = shown

    async def GetProposal(self, request: chat_service_pb2.GetProposalRequest, _context: Context) -> chat_pb2.Proposal:
        """The proposal as it stands."""
        return proposal_message(await self._proposals.get(current_caller.get(), request.name))

    async def ConfirmProposal(
        self, request: chat_service_pb2.ConfirmProposalRequest, context: Context
    ) -> chat_service_pb2.ConfirmProposalResponse:
        """What was shown is done, or a new proposal is in the details of the refusal."""
        body = f"{request.name}\n{request.arguments_sha256}".encode()
        key = Idempotency("ConfirmProposal", request.request_id, body, _confirmed_bytes)
        try:
            done = await self._proposals.confirm(self._author(), request.name, request.arguments_sha256, key)
        except ProposalMoved as moved:
            moved.details = (proposal_message(moved.proposal),)
            raise
        if done.replayed:
            await tell_replayed(context)
        return chat_service_pb2.ConfirmProposalResponse.FromString(done.answer)

    async def RejectProposal(
        self, request: chat_service_pb2.RejectProposalRequest, context: Context
    ) -> chat_pb2.Proposal:
        """The proposal is closed."""
        body = f"{request.name}\n{request.reason}".encode()
        key = Idempotency("RejectProposal", request.request_id, body, _proposal_bytes)
        done = await self._proposals.reject(self._author(), request.name, request.reason, key)
        if done.replayed:
            await tell_replayed(context)
        return chat_pb2.Proposal.FromString(done.answer)

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)


def _confirmed_bytes(confirmed: Confirmed) -> bytes:
    proposal = proposal_message(confirmed.proposal)
    answer = chat_service_pb2.ConfirmProposalResponse(proposal=proposal, resource=confirmed.order.name)
    return answer.SerializeToString()


def _proposal_bytes(proposal: Proposal) -> bytes:
    return proposal_message(proposal).SerializeToString()

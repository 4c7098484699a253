"""AccountingService on the wire: decode, one call, encode."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from server.accounting import encode
from server.accounting.dead_letters import DeadLetters
from server.accounting.overview import Overview
from server.accounting.webhook import Webhooks
from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.idempotency import Idempotency
from server.replays import tell_replayed
from tria.accounting.v1 import accounting_pb2, accounting_service_pb2, accounting_service_pb2_grpc
from tria.order.v1 import order_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AccountingHandler(accounting_service_pb2_grpc.AccountingServiceServicer):
    """What people see and mend of invoices, and what Xero tells."""

    def __init__(self, overview: Overview, dead_letters: DeadLetters, webhooks: Webhooks, shown: Shown) -> None:
        self._overview = overview
        self._dead_letters = dead_letters
        self._webhooks = webhooks
        self._shown = shown

    async def GetConnection(
        self, request: accounting_service_pb2.GetConnectionRequest, context: Context
    ) -> accounting_pb2.Connection:
        """How the accounting system is connected."""
        return encode.connection_message(await self._overview.connection(current_caller.get().tenant))

    async def GetBudget(
        self, request: accounting_service_pb2.GetBudgetRequest, context: Context
    ) -> accounting_pb2.Budget:
        """What is left of the call budget."""
        return encode.budget_message(await self._overview.outlook(current_caller.get().tenant))

    async def RetryInvoice(
        self, request: accounting_service_pb2.RetryInvoiceRequest, context: Context
    ) -> accounting_service_pb2.RetryInvoiceResponse:
        """The order with its invoice queued."""
        key: Idempotency[bytes] = Idempotency("RetryInvoice", request.request_id, request.order.encode(), bytes)
        done = await self._dead_letters.retry(self._author(), request.order, key)
        if done.replayed:
            await tell_replayed(context)
        return accounting_service_pb2.RetryInvoiceResponse(order=order_pb2.Order.FromString(done.answer))

    async def ListDeadLetters(
        self, request: accounting_service_pb2.ListDeadLettersRequest, context: Context
    ) -> accounting_service_pb2.ListDeadLettersResponse:
        """What gave up, newest first, a page at a time."""
        found, token = await self._dead_letters.page(current_caller.get().tenant, request.page_size, request.page_token)
        return accounting_service_pb2.ListDeadLettersResponse(
            dead_letters=map(encode.dead_letter_message, found), next_page_token=token
        )

    async def ReceiveXeroWebhook(
        self, request: accounting_service_pb2.ReceiveXeroWebhookRequest, context: Context
    ) -> accounting_service_pb2.ReceiveXeroWebhookResponse:
        """Notes what changed; jobs read it."""
        metadata = dict(context.invocation_metadata() or ())
        signature = str(metadata.get("x-xero-signature", ""))
        await self._webhooks.receive(self._author(), request.body.data, signature)
        return accounting_service_pb2.ReceiveXeroWebhookResponse()

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)

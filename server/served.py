"""Which handler serves which service of the contract; RPCs that a handler leaves out answer NOT_IMPLEMENTED."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from interceptors.policy import contract
from server.accounting.handler import AccountingHandler
from server.audit.handler import AuditHandler
from server.chat.handler import ChatHandler
from server.knowledge.handler import KnowledgeHandler
from server.ops.handler import OpsHandler
from server.order.handler import OrderHandler
from tria.accounting.v1 import accounting_service_pb2_grpc
from tria.audit.v1 import audit_service_pb2_grpc
from tria.chat.v1 import chat_service_pb2_grpc
from tria.knowledge.v1 import knowledge_service_pb2_grpc
from tria.ops.v1 import ops_service_pb2_grpc
from tria.order.v1 import order_service_pb2_grpc

SERVICES = tuple(service.full_name for service in contract())
REGISTER: Mapping[str, Callable[[Any, grpc.aio.Server], None]] = {
    "tria.accounting.v1.AccountingService": accounting_service_pb2_grpc.add_AccountingServiceServicer_to_server,
    "tria.audit.v1.AuditService": audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
    "tria.chat.v1.ChatService": chat_service_pb2_grpc.add_ChatServiceServicer_to_server,
    "tria.knowledge.v1.KnowledgeService": knowledge_service_pb2_grpc.add_KnowledgeServiceServicer_to_server,
    "tria.order.v1.OrderService": order_service_pb2_grpc.add_OrderServiceServicer_to_server,
    "tria.ops.v1.OpsService": ops_service_pb2_grpc.add_OpsServiceServicer_to_server,
}
SERVED: Mapping[str, type] = {
    "tria.accounting.v1.AccountingService": AccountingHandler,
    "tria.audit.v1.AuditService": AuditHandler,
    "tria.chat.v1.ChatService": ChatHandler,
    "tria.knowledge.v1.KnowledgeService": KnowledgeHandler,
    "tria.order.v1.OrderService": OrderHandler,
    "tria.ops.v1.OpsService": OpsHandler,
}

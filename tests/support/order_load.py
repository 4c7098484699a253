"""`python -m tests.support.order_load PORT ISSUER`: callers of orders that never stop, and what they are told.

A process of its own: whoever forks children, as a test that kills and restarts does, must not hold gRPC's threads. Each
call that has ended is one JSON line on standard output: `{"id","code","order"}`. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import grpc

from server.caller import Role
from server.embedded.issuer import Claims, Issuer
from tests.support.orders import OUTLET, TENANT, line
from tria.order.v1 import order_pb2, order_service_pb2_grpc
from tria.order.v1 import order_service_pb2 as rpc

CALLERS = 6
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


async def call(stub: order_service_pb2_grpc.OrderServiceAsyncStub, issuer: Issuer, stop: asyncio.Event) -> None:
    """One caller: creates orders, reads, and tries what a customer may not."""
    while not stop.is_set():
        kind, request_id, made = random.choice(("create", "create", "list", "denied")), str(uuid.uuid4()), ""
        claims = Claims(Role.CUSTOMER, TENANT, f"someone-{request_id[:8]}", OUTLET, timedelta(hours=1))
        metadata = (("authorization", f"Bearer {issuer.mint(claims)}"), ("x-request-id", request_id))
        code = grpc.StatusCode.OK
        try:
            if kind == "create":
                order = order_pb2.Order(lines=[line("NP", "10")])
                request = rpc.CreateOrderRequest(order=order, request_id=request_id)
                made = (await stub.CreateOrder(request, metadata=metadata, timeout=10)).name
            elif kind == "list":
                await stub.ListOrders(rpc.ListOrdersRequest(), metadata=metadata, timeout=10)
            else:
                refused = rpc.AcceptOrderRequest(name="orders/none", request_id=request_id)
                await stub.AcceptOrder(refused, metadata=metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is not grpc.StatusCode.PERMISSION_DENIED:
                await asyncio.sleep(0.05)
        sys.stdout.write(json.dumps({"id": request_id, "code": code.name, "order": made}) + "\n")
        sys.stdout.flush()


async def main(port: int, issuer: Issuer) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_RECONNECT) as channel:
        stub = order_service_pb2_grpc.OrderServiceStub(channel)
        await asyncio.gather(*(call(stub, issuer, stop) for _ in range(CALLERS)))


if __name__ == "__main__":
    published = Issuer(Path(sys.argv[2]))
    published.prepare()
    asyncio.run(main(int(sys.argv[1]), published))

"""Outermost layer: every call gets an id and a place in a trace, and one line in the access log when it ends."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import grpc

from interceptors import traceparent
from interceptors.call import Call, Proceed
from interceptors.policy import Method
from server.audit.actions import Action
from server.audit.leaf import clean
from server.caller import Request, current_caller, current_request
from server.pii.scrub import scrub

log = logging.getLogger("tria.access")

_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AGENT_LENGTH = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RequestId:
    """Takes a sane `x-request-id` or makes one, continues `traceparent`, and sends the id back as a trailer.

    As a trailer because headers sent early would spoil an error before the first message of a stream: a browser would
    see 200. `gateways` are the networks from which the client address in `x-envoy-external-address` or
    `x-forwarded-for` is believed; for anybody else the address is the peer's own.
    """

    name = "request_id"

    def __init__(self, gateways: tuple[Network, ...] = ()) -> None:
        self._gateways = gateways

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        async def run(call: Call) -> Any:
            headers = call.headers
            given = headers.get("x-request-id", "")
            trace = traceparent.continued(headers.get("traceparent", ""))
            request = Request(
                request_id=given if _SANE.fullmatch(given) and scrub(given) == given else str(uuid4()),
                trace_id=trace.trace_id,
                traceparent=trace.header(),
                method=method.path,
                peer=self._address(call),
                agent=scrub(clean(headers.get("user-agent", ""))[:_AGENT_LENGTH]),
            )
            call.request = request
            call.trailers.append(("x-request-id", request.request_id))
            # Each call is a task of grpc.aio with a context of its own: nothing to reset.
            current_request.set(request)
            started = time.perf_counter()
            try:
                return await proceed(call)
            finally:
                # A gateway asks for health all day long: a good answer to that is no news.
                quiet = method.policy.action is Action.HEALTH_CHECK and call.code is grpc.StatusCode.OK
                level = logging.DEBUG if quiet else logging.INFO
                if log.isEnabledFor(level):
                    log.log(level, "%s", method.path, extra=_line(call, request, time.perf_counter() - started))

        return run

    def _address(self, call: Call) -> str:
        peer = peer_address(call.context.peer())
        if not self._gateways or not self._trusted(peer):
            return peer
        headers = call.headers
        forwarded = headers.get("x-envoy-external-address") or headers.get("x-forwarded-for", "").rpartition(",")[2]
        try:
            return str(ipaddress.ip_address(forwarded.strip()))
        except ValueError:
            return peer

    def _trusted(self, peer: str) -> bool:
        if peer == "unix":
            return True
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._gateways)


def peer_address(peer: str) -> str:
    """The address in what grpc calls the peer: `ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`, `unix:` → `unix`."""
    family, _, rest = peer.partition(":")
    if family == "unix":
        return "unix"
    return unquote(rest).rpartition(":")[0].strip("[]")


def _line(call: Call, request: Request, seconds: float) -> dict[str, Any]:
    return {
        "rpc": request.method,
        "code": call.code.name,
        "reason": call.reason,
        "ms": round(seconds * 1000, 1),
        "request_id": request.request_id,
        "trace_id": request.trace_id,
        "tenant": current_caller.get().tenant,
        "received": call.received,
        "sent": call.sent,
    }

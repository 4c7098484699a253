"""The order of the layers, the reason for each place, and the check that it holds.

One grpc.aio interceptor for everything. The chain of a method is built at its first call and kept: what is per method
(labels, policy, rules, getters of resource names) is worked out once, and a call costs a few nested coroutines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry

from interceptors.audit import Audit
from interceptors.auth import Auth, Verifier
from interceptors.buckets import Buckets
from interceptors.call import Layer, Redactor
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.limits import Caps, Limits
from interceptors.metrics import Metrics
from interceptors.pii import Pii
from interceptors.policy import Method, contract, infrastructure, read_policies
from interceptors.request_id import Network, RequestId
from interceptors.sentry import Capture, ScopeFactory, Sentry
from interceptors.unserved import handler_function, is_stub, not_implemented, unknown, unknown_method
from interceptors.validation import Validation
from interceptors.wrap import refusing, wrap
from server.audit.recorder import AuditRecorder
from server.pii.people import People

ORDER: Mapping[str, str] = {
    "request_id": "everything below logs, records or answers with it; times the call for the access log",
    "metrics": "must count refusals and cancellations, hence outside whatever refuses",
    "sentry": "gives everything below its scope; sees the unknown exception that errors found",
    "audit": "must record refusals and the final code; holds the answer back until the leaf is durable",
    "errors": "inside the three above: they see the final code; outside auth: refusals are shaped alike",
    "deadline": "its expiry is an error like others; covers auth too, which may fetch keys",
    "auth": "nothing of a stranger's message is decoded or counted against somebody else",
    "limits": "per caller, so inside auth; before the message is decoded, so that a flood costs little",
    "validation": "decodes: the handler sees nothing that breaks the contract's bounds",
    "pii": "innermost: the view of a valid message that the layers above may show",
}
"""Outermost first. `check_order` compares it with what is built."""

SERVICES = tuple(service.full_name for service in contract())
"""The full names of TRIA's services."""


class OrderError(Exception):
    """The layers are not the ones of ORDER, in that order."""


class Chain(grpc.aio.ServerInterceptor):
    """All layers around every method of the contract; what is in no contract is refused (deny by default)."""

    def __init__(self, methods: Mapping[str, Method], layers: Sequence[Layer]) -> None:
        check_order(layers)
        self.methods = dict(methods)
        self._layers = tuple(layers)
        self._built: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The wrapped handler of the method that is called."""
        path = handler_call_details.method
        built = self._built.get(path)
        if built is None:
            method = self.methods.get(path)
            if method is None:  # not kept: the names are the caller's and without end
                return refusing(unknown(path), unknown_method, self._layers)
            built = self._built[path] = self._build(method, await continuation(handler_call_details))
        return built

    def _build(self, method: Method, handler: Any) -> Any:
        if handler is None or is_stub(handler_function(handler)):
            return refusing(method, lambda: not_implemented(method), self._layers)
        return wrap(method, handler, self._layers)


def check_order(layers: Iterable[Layer]) -> None:
    """Raises OrderError unless the layers are exactly those of ORDER, in that order."""
    names = [layer.name for layer in layers]
    if names != list(ORDER):
        raise OrderError(f"layers must be {', '.join(ORDER)}; they are {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class Identity:
    """How callers prove who they are: verifiers of bearer tokens and API keys; `trust_domain` where there is mTLS;
    `people` makes the references that rows of theirs carry."""

    token: Verifier
    api_key: Verifier
    trust_domain: str | None = None
    people: People | None = None


def build_chain(
    *,
    registry: CollectorRegistry,
    recorder: AuditRecorder,
    identity: Identity,
    buckets: Buckets,
    redactor: Redactor,
    caps: Caps | None = None,
    gateways: tuple[Network, ...] = (),
    sentry_scope: ScopeFactory | None = None,
    sentry_capture: Capture | None = None,
    services: Iterable[ServiceDescriptor] | None = None,
) -> Chain:
    """The chain of a server. What has a life of its own (recorder, buckets, key stores) is started by the caller.

    `services` are those of TRIA unless given. Raises PolicyError when one of their methods has no policy.
    """
    methods = read_policies(contract() if services is None else services) | infrastructure()
    layers: list[Layer] = [
        RequestId(gateways),
        Metrics(registry),
        Sentry(sentry_scope, sentry_capture),
        Audit(recorder),
        Errors(),
        Deadline(),
        Auth(
            token=identity.token,
            api_key=identity.api_key,
            trust_domain=identity.trust_domain,
            people=identity.people,
            stand_in=recorder.shown.stand_in,
        ),
        Limits(buckets, recorder.shown.stranger, caps),
        Validation(),
        Pii(redactor),
    ]
    return Chain(methods, layers)

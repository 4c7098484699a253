"""What the contract says about each RPC, read from the descriptors: what may be retried, and the default deadline.

`python -m tria_client.policy` prints the gRPC service config, for clients in other languages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tria.accounting.v1 import accounting_service_pb2
from tria.audit.v1 import audit_service_pb2
from tria.chat.v1 import chat_service_pb2
from tria.knowledge.v1 import knowledge_service_pb2
from tria.ops.v1 import ops_service_pb2
from tria.order.v1 import order_service_pb2
from tria.policy.v1 import policy_pb2

FILES = (
    accounting_service_pb2.DESCRIPTOR,
    audit_service_pb2.DESCRIPTOR,
    chat_service_pb2.DESCRIPTOR,
    knowledge_service_pb2.DESCRIPTOR,
    ops_service_pb2.DESCRIPTOR,
    order_service_pb2.DESCRIPTOR,
)
ATTEMPTS = 3
_RESUMED = "ResumeRun"  # its retry is the resume loop's; two layers of retry would multiply


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `deadline` is in seconds, None where only the server's age limit holds."""

    service: str
    name: str
    mutates: bool
    deadline: float | None


def methods() -> Mapping[str, Method]:
    """Every RPC of the contract by its path, `/package.Service/Method`."""
    found = {}
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                policy = method.GetOptions().Extensions[policy_pb2.rpc]
                deadline = policy.default_deadline.ToTimedelta().total_seconds() or None
                path = f"/{service.full_name}/{method.name}"
                found[path] = Method(service.full_name, method.name, policy.mutates, deadline)
    return found


def service_config() -> str:
    """The gRPC service config as JSON: methods that change nothing are tried up to 3 times on UNAVAILABLE.

    A method that changes something is retried by this client instead, where a request_id makes that safe.
    """
    reads = [
        {"service": method.service, "method": method.name}
        for method in methods().values()
        if not method.mutates and method.name != _RESUMED
    ]
    retry = {
        "maxAttempts": ATTEMPTS,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({
        "methodConfig": [{"name": reads, "retryPolicy": retry}],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    })  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(f"{service_config()}\n")

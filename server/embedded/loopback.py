"""Plain HTTP to our own children on this machine, for readiness and for Envoy's admin port."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)  # Linux gives 32,768 to 60,999 to outgoing connections (net.ipv4.ip_local_port_range)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str


async def ask(
    port: int, path: str, *, method: str = "GET", timeout: float = 2.0, body: str | None = None, token: str = ""
) -> Answer | None:
    """The answer of whoever listens on loopback `port`, or None when nobody does (yet, or any more)."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return await asyncio.to_thread(_ask, port, path, method, timeout, body, headers)


async def listens(port: int) -> bool:
    """Whether somebody accepts connections on loopback `port`."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def is_free(port: int) -> bool:
    """Whether we could listen on loopback `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is not "taken"
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports on which we could listen now, outside of what the kernel gives to outgoing connections:
    one of those could take the port before its server listens."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def _ask(
    port: int, path: str, method: str, timeout: float, body: str | None, headers: Mapping[str, str]
) -> Answer | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()

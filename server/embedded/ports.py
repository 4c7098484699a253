"""Which loopback ports an embedded system uses: chosen once, kept in its state directory, the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from server.embedded.child import StartFailed
from server.embedded.loopback import free_ports, is_free

DEFAULT_HTTP = 8080
DEFAULT_HTTPS = 8443


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback TCP ports. The first two are for people; the rest are between the parts."""

    http: int
    https: int
    grpc: int
    internal_grpc: int
    metrics: int
    worker_metrics: int
    envoy_admin: int
    envoy_metrics: int
    xero_sandbox: int


def choose_ports(file: Path, *, http: int | None, https: int | None) -> Ports:
    """Ports that are free now: the ones asked for, else the remembered ones, else 8080 and 8443, else any.

    A port that was asked for and is taken is StartFailed; any other that is taken is replaced. Writes `file`.
    """
    for asked, option in ((http, "--port-http"), (https, "--port-https")):
        if asked is not None and not is_free(asked):
            raise StartFailed(f"port {asked} is taken by another program; give another {option}, or leave it out.")
    remembered = _read(file)
    wanted = {
        "http": http or remembered.get("http") or DEFAULT_HTTP,
        "https": https or remembered.get("https") or DEFAULT_HTTPS,
    }
    chosen: dict[str, int] = {}
    spare = iter(free_ports(2 * len(fields(Ports))))  # as many again as are needed: some may be the wanted ones
    for name in (field.name for field in fields(Ports)):
        port = wanted.get(name) or remembered.get(name)
        if port is None or port in chosen.values() or not is_free(port):
            port = next(each for each in spare if each not in (*wanted.values(), *remembered.values()))
        chosen[name] = port
    file.write_text(json.dumps(chosen, indent=1) + "\n")
    return Ports(**chosen)


def _read(file: Path) -> Mapping[str, int]:
    if not file.exists():
        return {}
    loaded: dict[str, int] = json.loads(file.read_text())
    return loaded

"""`tria audit coverage`: whether every RPC of the contract leaves a record, told from the descriptors alone.

The services are looked for in the generated code, not in the list that the server works with: one that is missing there
would be served by nobody's policy.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from google.protobuf.descriptor import ServiceDescriptor

import tria
from interceptors.policy import Method, PolicyError, contract, read_policies
from server.audit.actions import Action


@dataclass(frozen=True, slots=True)
class Coverage:
    """Paths of RPCs: recorded, left out on purpose (health checks), and without a policy that is in force."""

    recorded: tuple[str, ...]
    health: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Of those that are not health checks."""
        wanted = len(self.recorded) + len(self.missing)
        return 100.0 * len(self.recorded) / wanted if wanted else 0.0


def measure() -> Coverage:
    """Compares every service there is with the policies in force."""
    try:
        policies = read_policies(contract())
    except PolicyError as gaps:
        policies = {}
        click.echo(str(gaps), err=True)
    recorded: list[str] = []
    health: list[str] = []
    missing: list[str] = []
    for path in _paths():
        method = policies.get(path)
        kept = missing if method is None else health if _is_health(method) else recorded
        kept.append(path)
    return Coverage(tuple(recorded), tuple(health), tuple(missing))


def services() -> Iterator[ServiceDescriptor]:
    """Every service in the generated code."""
    for root in map(Path, tria.__path__):
        for file in sorted(root.rglob("*_pb2.py")):
            name = ".".join(file.relative_to(root.parent).with_suffix("").parts)
            yield from importlib.import_module(name).DESCRIPTOR.services_by_name.values()


def _paths() -> list[str]:
    return sorted(f"/{service.full_name}/{method.name}" for service in services() for method in service.methods)


def _is_health(method: Method) -> bool:
    return method.policy.action is Action.HEALTH_CHECK


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def coverage(*, as_json: bool) -> None:
    """How many RPCs of the contract leave a record; exit status 1 below 100 %."""
    found = measure()
    if as_json:
        report = {"recorded": found.recorded, "health": found.health, "missing": found.missing}
        click.echo(json.dumps({**report, "percent": found.percent}))
    else:
        for path in found.missing:
            click.echo(f"not recorded: {path}")
        wanted = len(found.recorded) + len(found.missing)
        click.echo(f"{len(found.recorded)} of {wanted} RPCs leave a record ({found.percent:.0f} %); ", nl=False)
        click.echo(f"{len(found.health)} health check is left out on purpose")
    raise SystemExit(1 if found.missing else 0)

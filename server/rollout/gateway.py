"""The gateway's configuration for one environment: the file of the repository with the few values that differ.

`tria up` changes the same file for one machine (server/embedded/envoy.py); what both leave alone is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`blue` and `green` are host:port of the two versions; `origins` are those of your own pages; `trusted_hops`
    counts the load balancers before the gateway that speak HTTP."""

    issuer: str
    audience: str
    origins: Sequence[str]
    blue: str
    green: str
    trusted_hops: int = 0


def deployed(config: Config, settings: GatewaySettings) -> Config:
    """`config` for this environment, changed in place and returned."""
    resources = config["static_resources"]
    manager = _named(resources["listeners"], "http")["filter_chains"][0]["filters"][0]["typed_config"]
    provider = _named(manager["http_filters"], "envoy.filters.http.jwt_authn")["typed_config"]["providers"]["tria"]
    provider |= {"issuer": settings.issuer, "audiences": [settings.audience]}
    cors = manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    cors["allow_origin_string_match"] = [{"exact": origin} for origin in settings.origins]
    if settings.trusted_hops:
        manager["xff_num_trusted_hops"] = settings.trusted_hops
    for cluster, target in (("server", settings.blue), ("green", settings.green)):
        host, _, port = target.rpartition(":")
        endpoints = _named(resources["clusters"], cluster)["load_assignment"]["endpoints"]
        address = endpoints[0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        address |= {"address": host, "port_value": int(port)}
    return config


def _named(items: Sequence[Mapping[str, Any]], name: str) -> Config:
    for item in items:
        if item["name"] == name and isinstance(item, dict):
            return item
    raise KeyError(name)

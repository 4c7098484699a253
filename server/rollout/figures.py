"""What the gateway counted of both versions: calls, failures, how long answers took, how many servers are healthy.

Read from one Envoy's own metrics page, or from Prometheus, which has all of them. Both give running totals by the same
names; what happened in a while is the difference of two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE = aiohttp.ClientTimeout(total=10)
_WANTED = re.compile(r"envoy_cluster_(grpc_(2|4|13|14|15)|upstream_rq_xx|upstream_rq_time_bucket|membership_healthy)")
_CLUSTERS: Final[Mapping[str, str]] = {
    "server": "blue",
    "unproven": "blue",
    "green": "green",
    "unproven_green": "green",
}
QUERY: Final = (
    "sum by (__name__, envoy_cluster_name, envoy_response_code_class, le, instance, pod) "
    f'({{__name__=~"{_WANTED.pattern}", envoy_cluster_name=~"{"|".join(_CLUSTERS)}"}})'
)


class Version(StrEnum):
    """The two that may stand side by side."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Version:
        return Version.GREEN if self is Version.BLUE else Version.BLUE


Key = tuple[str, Version, str, str]


class FiguresUnreadable(Exception):
    """Nobody can say how the versions do."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One version in a while. `p95` is seconds, None without any answer; `healthy` counts servers, now."""

    calls: int
    failures: int
    p95: float | None
    healthy: int

    @property
    def failed(self) -> float:
        """Of all calls, 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Running totals by (metric, version, response class or bucket, gateway)."""

    values: Mapping[Key, float]

    def since(self, earlier: Totals, version: Version) -> Figures:
        """What came after `earlier`. A gateway that began anew counts from nothing, so what it shows came after."""

        def grown(metric: str) -> dict[str, float]:
            found: dict[str, float] = {}
            for key, value in self.values.items():
                if key[:2] == (metric, version):
                    before = earlier.values.get(key, 0.0)
                    # Each gateway by itself: in a sum, one that began anew would hide what the others counted.
                    found[key[2]] = found.get(key[2], 0.0) + (value - before if value >= before else value)
            return found

        by_class = grown("envoy_cluster_upstream_rq_xx")
        refused = sum(sum(grown(f"envoy_cluster_grpc_{code}").values()) for code in (2, 4, 13, 14, 15))
        healthy = sum(
            value for key, value in self.values.items() if key[:2] == ("envoy_cluster_membership_healthy", version)
        )
        # A status in the trailers is seen by the gRPC counters only, a server that is not there by the HTTP ones only,
        # and a status without an answer by both.
        failures = max(by_class.get("5", 0.0), refused)
        return Figures(
            calls=round(sum(by_class.values())),
            failures=round(failures),
            p95=_quantile(grown("envoy_cluster_upstream_rq_time_bucket"), 0.95),
            healthy=round(healthy),
        )


class Source(Protocol):
    """Where totals come from. Raises FiguresUnreadable."""

    async def totals(self) -> Totals: ...


class Gateway:
    """The metrics page of one Envoy, such as `http://127.0.0.1:9902/stats/prometheus`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def totals(self) -> Totals:
        text = await _get(self._url, {})
        values: dict[Key, float] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    # The parser gives every counter the ending that newer formats want.
                    _take(values, sample.name.removesuffix("_total"), sample.labels, sample.value)
        except ValueError as error:
            raise FiguresUnreadable(f"{self._url} does not serve metrics: {error}") from error
        return _filled(values, self._url)


class Prometheus:
    """Every gateway, by Prometheus's HTTP API at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def totals(self) -> Totals:
        values: dict[Key, float] = {}
        text = await _get(f"{self._url}/api/v1/query", {"query": QUERY})
        try:
            for series in json.loads(text)["data"]["result"]:
                labels = series["metric"]
                _take(values, labels["__name__"], labels, float(series["value"][1]))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise FiguresUnreadable(f"{self._url} does not answer as Prometheus does: {error}") from error
        return _filled(values, self._url)


def _take(values: dict[Key, float], name: str, labels: Mapping[str, str], value: float) -> None:
    cluster = labels.get("envoy_cluster_name", "")
    if cluster not in _CLUSTERS or not _WANTED.fullmatch(name):
        return
    if name == "envoy_cluster_membership_healthy" and cluster.startswith("unproven"):
        return  # the same servers a second time
    kind = labels.get("le") or labels.get("envoy_response_code_class", "")
    gateway = f"{labels.get('instance', '')} {labels.get('pod', '')}"
    key = (name, Version(_CLUSTERS[cluster]), kind, gateway)
    values[key] = values.get(key, 0.0) + value


def _filled(values: dict[Key, float], source: str) -> Totals:
    if not values:
        raise FiguresUnreadable(f"{source} knows nothing of the clusters {', '.join(_CLUSTERS)}")
    return Totals(values)


def _quantile(buckets: Mapping[str, float], share: float) -> float | None:
    """Seconds below which `share` of the answers came, by the upper end of their bucket (milliseconds, cumulative)."""
    ordered = sorted((float(end), count) for end, count in buckets.items())
    total = ordered[-1][1] if ordered else 0.0
    if not total:
        return None
    return next(end for end, count in ordered if count >= total * share) / 1000


async def _get(url: str, query: Mapping[str, str]) -> str:
    try:
        async with aiohttp.ClientSession(timeout=_PATIENCE) as session, session.get(url, params=query) as answer:
            answer.raise_for_status()
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FiguresUnreadable(f"{url}: {type(error).__name__} {error}") from error

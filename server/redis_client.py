"""The way to Redis or Valkey: one server, or a cluster whose keys lie on several.

The keys of one call carry a hash tag or are one key, so all that this project sends fits a cluster; what waits for keys
of several slots does not, and has another reader there (server/chat/cluster_reader.py).
"""

from __future__ import annotations

from typing import Any, cast

import redis.asyncio
from redis._parsers.commands import AsyncCommandsParser
from redis.asyncio.cluster import ClusterPipeline, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException


def open_redis(url: str, *, cluster: bool, timeout: float, patient: bool = True) -> redis.asyncio.Redis:
    """A client that connects when it is first asked. `timeout` is seconds for an answer; without `patient` it fails at
    once rather than trying again by itself: whoever calls knows better what to do meanwhile."""
    if cluster:
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": min(timeout, 1.0),
            "protocol": 3,
            "retry": Retry(NoBackoff(), 1),  # once more after the slots were asked for again: a node may have moved
            "require_full_coverage": False,  # with one node away the slots of the others are served
        }
        # The two clients share no type but all the commands that are used here.
        return cast("redis.asyncio.Redis", _Cluster.from_url(url, **options))
    if patient:
        return redis.asyncio.Redis.from_url(url, socket_timeout=timeout, protocol=3)
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=1.0, protocol=3, retry=Retry(NoBackoff(), 0)
    )


class _Cluster(RedisCluster):
    """A cluster that says what one server says when it is away: RedisClusterException is no RedisError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_parser = _Commands(self)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as cause:
            raise RedisConnectionError(str(cause)) from cause

    def pipeline(self, transaction: Any | None = None, shard_hint: Any | None = None) -> ClusterPipeline:  # noqa: ARG002  # redis-py's signature
        return _Pipeline(self, transaction)  # type: ignore[abstract]  # redis-py types it so, and makes one like this


class _Commands(AsyncCommandsParser):
    """Which commands there are, from the first node that answers: redis-py asks one primary only, and a client cannot
    begin, nor begin anew, while that one is away."""

    def __init__(self, cluster: RedisCluster) -> None:
        super().__init__()
        self._cluster = cluster

    async def initialize(self, node: Any | None = None) -> None:
        away: RedisConnectionError | None = None
        for each in dict.fromkeys([*filter(None, [node]), *self._cluster.get_primaries()]):
            try:
                await super().initialize(each)
            except RedisConnectionError as error:
                away = error
            else:
                return
        raise away or RedisConnectionError("the cluster has no primary")


class _Pipeline(ClusterPipeline):
    """The same for many commands at once; each goes to the node of its key."""

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        try:
            return await super().execute(raise_on_error, allow_redirections)
        except RedisClusterException as cause:
            raise RedisConnectionError(str(cause)) from cause

"""What everything else stands on: the stores, the audit recorder, the keys of people, and the chain of interceptors.
Opened by the composition root, in this order, and closed in the reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import redis.asyncio
from prometheus_client import CollectorRegistry

from interceptors.api_keys import ApiKeys
from interceptors.buckets import Buckets
from interceptors.chain import Chain, Identity, build_chain
from interceptors.jwks import JwksStore
from interceptors.tokens import TokenVerifier
from server import sentry, service_keys
from server.audit.actor import pseudonyms_from
from server.audit.file import AuditFile
from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.audit.spool import Spool
from server.config import AuthConfig, Config
from server.db.migrate import pending
from server.db.pool import Database, PoolSettings
from server.knowledge.wiring import Knowledge, knowledge
from server.people_wiring import open_vault
from server.pii.messages import redacted
from server.pii.people import People
from server.pii.pseudonym import Pseudonyms
from server.redis_client import open_redis


class NotReady(Exception):
    """The server cannot start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What the parts stand on."""

    database: Database
    redis: redis.asyncio.Redis
    vault: Vault
    recorder: AuditRecorder
    knowledge: Knowledge


async def open_stores(stack: AsyncExitStack, config: Config, process: int) -> Stores:
    settings = PoolSettings(
        config.store.pool_min, config.store.pool_max, recycle=config.store.pool_recycle, pooled=config.store.pooled
    )
    database = await stack.enter_async_context(Database(config.store.database_url.reveal(), settings))
    if database.available and (missing := await pending(config.store.direct.reveal())):
        raise NotReady(f"the database schema is behind by {len(missing)} migrations: run `tria migrate`")
    client = open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=1.0)
    stack.push_async_callback(client.aclose)
    audit_file = config.observability.audit_file
    numbered = audit_file.with_name(f"{audit_file.stem}.{process}{audit_file.suffix}")
    spool = Spool(audit_file.with_name(f"{audit_file.stem}-spool"))
    recorder = await stack.enter_async_context(
        AuditRecorder(database, spool, AuditFile(numbered), pseudonyms=pseudonyms_of(config.auth))
    )
    vault = open_vault(config.auth)
    return Stores(database, client, vault, recorder, await stack.enter_async_context(knowledge(config, database)))


def pseudonyms_of(auth: AuthConfig) -> Pseudonyms:
    """Those of the configuration."""
    return pseudonyms_from(auth.state_secret, auth.pseudonym_keys)


@asynccontextmanager
async def open_chain(
    auth: AuthConfig,
    database: Database,
    redis_client: redis.asyncio.Redis,
    recorder: AuditRecorder,
    registry: CollectorRegistry,
) -> AsyncIterator[Chain]:
    """What every call goes through, with what it needs to live: signing keys and buckets, closed at the end."""
    async with JwksStore(auth.jwks) as keys, Buckets(redis_client) as buckets:
        tokens = TokenVerifier(keys, issuer=auth.issuer, audience=auth.audience)
        yield build_chain(
            registry=registry,
            recorder=recorder,
            identity=Identity(
                tokens.verify,
                ApiKeys(partial(service_keys.find, database)).verify,
                auth.trust_domain,
                People(auth.state_secret),
            ),
            buckets=buckets,
            redactor=partial(redacted, pseudonyms=pseudonyms_of(auth)),
            gateways=auth.gateways,
            sentry_scope=sentry.call_scope,
            sentry_capture=sentry.capture,
        )

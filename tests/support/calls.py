"""A server with the whole chain, in this process: real PostgreSQL, real Valkey, real tokens, the probe service."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
import redis.asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from prometheus_client import CollectorRegistry
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from interceptors.api_keys import ApiKeys
from interceptors.buckets import Buckets
from interceptors.chain import Chain, Identity, build_chain
from interceptors.jwks import JwksSettings, JwksStore
from interceptors.limits import Caps
from interceptors.tokens import TokenVerifier
from server import service_keys
from server.audit.actor import pseudonyms_from
from server.audit.file import AuditFile
from server.audit.leaf import Leaf, decode
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.db.pool import Database
from server.pii.messages import redacted
from server.settings import Secret
from tests.support import probe

ISSUER = "https://issuer.test"
AUDIENCE = "tria-test"


class Keys:
    """Signing keys of an issuer, and its published JWK set in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.private: dict[str, tuple[str, Any]] = {}

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        makers: dict[str, Any] = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }
        key = makers[algorithm]()
        self.private[kid] = (algorithm, key)
        self.publish()

    def publish(self, *, without: str = "") -> None:
        entries = []
        for kid, (algorithm, key) in self.private.items():
            if kid != without:
                jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
                entries.append({**jwk, "kid": kid, "use": "sig"})
        self.file.write_text(json.dumps({"keys": entries}))

    def public_pem(self, kid: str) -> bytes:
        found: bytes = (
            self.private[kid][1]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return found

    def token(self, kid: str = "k1", *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good STAFF token unless changed; a claim set to None is left out."""
        algorithm, key = self.private[kid]
        return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid, **(headers or {})})


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good STAFF token, changed; a claim set to None is left out."""
    now = time.time()
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 600,
        "sub": "ada",
        "tenant": "acme",
        "roles": ["STAFF"],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


class AccessLog(logging.Handler):
    """The lines of the access log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


@dataclass(slots=True)
class Served:
    """The running server and everything a test looks at."""

    channel: grpc.aio.Channel
    chain: Chain
    handlers: probe.Handlers
    keys: Keys
    registry: CollectorRegistry
    recorder: AuditRecorder
    database: Database
    access: AccessLog
    captured: list[tuple[BaseException, str]] = field(default_factory=list)

    async def leaves(self) -> list[Leaf]:
        """What is in audit_pending, oldest first."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("select leaf from audit_pending order by id")
        return [decode(row["leaf"]) for row in rows]

    def counted(self, metric: str, arity: str, service: str = "Probe", **labels: str) -> float:
        """The value of a counter of one method of the probe, over all other labels unless given."""
        wanted = {"grpc_method": arity, "grpc_service": f"tria.probe.v1.{service}"} | labels
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == metric and wanted.items() <= sample.labels.items()
        )

    def stub(self, arity: str, service: str = "Probe") -> Any:
        """The client's side of one method."""
        make = {
            "Unary": self.channel.unary_unary,
            "ServerStream": self.channel.unary_stream,
            "ClientStream": self.channel.stream_unary,
            "Bidi": self.channel.stream_stream,
        }[arity]
        return make(
            probe.path(arity, service),
            request_serializer=lambda ask: ask if isinstance(ask, bytes) else ask.SerializeToString(),
            response_deserializer=probe.Reply.FromString,
        )

    def call(self, arity: str, ask: Any, *, service: str = "Probe", token: str | None = "", **options: Any) -> Any:
        """Starts a call with one request; `token` "" means a good one, None means none."""
        metadata = list(options.pop("metadata", ()))
        if token is not None:
            metadata.append(("authorization", f"Bearer {token or self.keys.token()}"))
        request: Any = ask if arity in {"Unary", "ServerStream"} else iter([ask])
        return self.stub(arity, service)(request, metadata=metadata, **options)


async def finish(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError | None]:
    """The answers of a call and the error it ended with, if any."""
    answers: list[Any] = []
    try:
        if hasattr(call, "__aiter__"):
            async for answer in call:
                answers.append(answer)  # noqa: PERF401 - what came before an error counts too
        else:
            answers.append(await call)
    except grpc.aio.AioRpcError as error:
        return answers, error
    return answers, None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is in grpc-status-details-bin."""

    status: status_pb2.Status
    info: error_details_pb2.ErrorInfo
    details: dict[str, Any]


def refusal(error: grpc.aio.AioRpcError | None) -> Refusal:
    """The rich status of an error, taken apart."""
    assert error is not None, "the call succeeded"
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    details: dict[str, Any] = {}
    for item in status.details:
        name = item.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        assert item.Unpack(details[name])
    return Refusal(status, details["ErrorInfo"], details)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """An issuer with one key, k1."""
    made = Keys(tmp_path / "jwks.json")
    made.add("k1")
    return made


@pytest.fixture
def access_log() -> Iterator[AccessLog]:
    """The access log of this test."""
    handler = AccessLog()
    logger = logging.getLogger("tria.access")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


# Ours must be the limit that is met first: above its own one of 8 KiB gRPC refuses some calls, by chance.
METADATA = (("grpc.max_metadata_size", 16 * 1024),)


@asynccontextmanager
async def serving(
    keys: Keys,
    database: Database,
    redis_url: str,
    access: AccessLog,
    directory: Path,
    *,
    caps: Caps | None = None,
    options: tuple[tuple[str, int], ...] = METADATA,
    recorder_type: type[AuditRecorder] = AuditRecorder,
) -> AsyncIterator[Served]:
    """The probe behind the whole chain."""
    secret = Secret("0123456789abcdef0123456789abcdef")
    async with AsyncExitStack() as stack:
        client = redis.asyncio.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
        stack.push_async_callback(client.aclose)
        recorder = await stack.enter_async_context(
            recorder_type(
                database,
                Spool(directory / "spool"),
                AuditFile(directory / "audit.jsonl"),
                pseudonyms=pseudonyms_from(secret),
            )
        )
        store = await stack.enter_async_context(JwksStore(str(keys.file), JwksSettings(min_interval=0.0)))
        registry = CollectorRegistry()
        handlers = probe.Handlers()
        captured: list[tuple[BaseException, str]] = []
        chain = build_chain(
            registry=registry,
            recorder=recorder,
            identity=Identity(
                TokenVerifier(store, issuer=ISSUER, audience=AUDIENCE).verify,
                ApiKeys(partial(service_keys.find, database)).verify,
            ),
            buckets=await stack.enter_async_context(Buckets(client)),
            redactor=partial(redacted, pseudonyms=pseudonyms_from(secret)),
            caps=caps,
            sentry_scope=lambda _method, _metadata: nullcontext(),
            sentry_capture=lambda exc, /, *, reason: captured.append((exc, reason)),
            services=probe.SERVICES,
        )
        server = grpc.aio.server(interceptors=[chain], options=options)
        server.add_generic_rpc_handlers(tuple(handlers.generic_handlers()))
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Served(channel, chain, handlers, keys, registry, recorder, database, access, captured)


@pytest_asyncio.fixture
async def served(
    keys: Keys, database: Database, redis_url: str, access_log: AccessLog, tmp_path: Path
) -> AsyncIterator[Served]:
    """The probe behind the whole chain, with stores of this test's own."""
    async with serving(keys, database, redis_url, access_log, tmp_path) as server:
        yield server

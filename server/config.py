"""One frozen configuration, read once at start from the environment; every mistake is reported at once.

There is no hidden fallback: what is required and missing stops the start, and `tria doctor` prints what is in force.
Secrets are wrapped in `Secret`, whose text never shows what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from server.accounting_config import AccountingConfig, read_accounting
from server.envelope import MasterKey
from server.retention_policy import RetentionDays
from server.settings import (
    Listen,
    Reader,
    Secret,
    TaxRate,
    between,
    flag,
    long_secret,
    matching,
    member_of,
    money_amount,
    networks,
    one_of,
    optional_decimal,
    outside_url,
    parse_audit_key,
    parse_budget,
    parse_listen,
    parse_master_keys,
    parse_prices,
    parse_pseudonym_keys,
    parse_public_keys,
    parse_tax_rates,
    secret_url_of,
    url_of,
    whole_number,
)
from server.signing import PublicKey, SigningKey


class Environment(StrEnum):
    """Where this process runs; production refuses what only development may have."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class AssistantChoice(StrEnum):
    """Which assistant answers; chosen by name, never guessed."""

    OPENAI = "openai"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where data lives. `direct_url` leads past the pooler that `database_url` leads to, where there is one: to listen
    and to hold locks a connection must stay the same. Pool sizes count connections per process; times are seconds."""

    database_url: Secret
    direct_url: Secret
    redis_url: Secret
    redis_cluster: bool
    chroma_url: str
    pool_min: int
    pool_max: int
    pool_recycle: float

    @property
    def direct(self) -> Secret:
        """Where connections go that must stay the same."""
        return self.direct_url or self.database_url

    @property
    def pooled(self) -> bool:
        """Whether a pooler gives each transaction a connection of its own."""
        return bool(self.direct_url)


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the server listens. `grpc` is what the gateway calls, `internal` adds reflection, `metrics` is HTTP;
    `worker_metrics` is that of the worker."""

    grpc: Listen
    internal: Listen
    metrics: Listen
    worker_metrics: Listen
    processes: int


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """How callers prove who they are. `jwks` is a file path or an http(s) URL; `gateways` are the networks whose word
    on a caller's address is taken; keys for page tokens and the pseudonyms of version 1 are derived from
    `state_secret`; the highest version of `pseudonym_keys` makes new pseudonyms, the others find old ones again; the
    first of `master_keys` seals what must not be read from a copy of the database, all of them open it."""

    jwks: str
    issuer: str
    audience: str
    trust_domain: str
    state_secret: Secret
    master_keys: tuple[MasterKey, ...]
    gateways: tuple[IPv4Network | IPv6Network, ...]
    pseudonym_keys: tuple[MasterKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The language model. `prices` maps a model to what a million input, cached input and output tokens cost in USD;
    times are seconds, and `answer_budget` is what one answer may cost before no further call is made for it.
    `tokens_per_minute` 0 leaves that to the provider's headers; the other budgets are USD an hour for one tenant, 0 for
    none."""

    assistant: AssistantChoice
    api_key: Secret
    base_url: str
    model: str
    prices: Mapping[str, tuple[Decimal, Decimal, Decimal]]
    max_output_tokens: int
    token_limit_name: str
    temperature: Decimal | None
    timeout: float
    idle_timeout: float
    embedding_model: str
    answer_budget: Decimal
    fallback_model: str
    requests_per_minute: int
    tokens_per_minute: int
    budget_soft: Decimal
    budget_hard: Decimal


@dataclass(frozen=True, slots=True)
class MoneyConfig:
    """What money is computed with: dated tax rates, oldest first, and the account that sales are booked to."""

    tax_rates: tuple[TaxRate, ...]
    sales_account_code: str
    currency: str


@dataclass(frozen=True, slots=True)
class ObservabilityConfig:
    """What operators see. `audit_file` is the append-only audit file; each process adds its number to the name."""

    log_level: str
    log_json: bool
    sentry_dsn: Secret
    audit_file: Path
    release: str


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The audit log. `key` signs checkpoints, at most one a log every `checkpoint_interval` seconds; `old_keys` signed
    earlier ones. Checkpoints leave the database for a file, a webhook, or both."""

    key: SigningKey
    old_keys: tuple[PublicKey, ...]
    checkpoint_interval: float
    checkpoint_file: Path | None
    checkpoint_webhook: str


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Times of streams and runs, in seconds: heartbeat after silence, longest life, log kept after the end, drain at
    stop; the lease without whose renewal a run is lost, how long a run goes on that nobody follows, and how long one
    waits for messages to merge."""

    heartbeat: float
    max_age: float
    log_ttl: float
    drain: float
    lease: float
    alone: float
    merge_window: float


def _retention(read: Reader) -> RetentionDays:
    days = whole_number(1, 36_500)
    return RetentionDays(
        conversations=read.get("TRIA_RETENTION_CONVERSATIONS", days, "90"),
        order_events=read.get("TRIA_RETENTION_ORDER_EVENTS", days, "400"),
        learnt_words=read.get("TRIA_RETENTION_LEARNT_WORDS", days, "400"),
        audit=read.get("TRIA_RETENTION_AUDIT", days, "2557"),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a process is told from outside."""

    environment: Environment
    store: StoreConfig
    listen: ListenConfig
    auth: AuthConfig
    model: ModelConfig
    money: MoneyConfig
    accounting: AccountingConfig
    observability: ObservabilityConfig
    audit: AuditConfig
    stream: StreamConfig
    retention: RetentionDays


class ConfigError(Exception):
    """The configuration is wrong; `problems` names every mistake, one line each, without any value of a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("configuration:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = tuple(problems)


def load(environ: Mapping[str, str], *, version: str) -> Config:
    """Reads the configuration; raises ConfigError with every problem at once."""
    read = Reader(environ)
    environment = read.get("TRIA_ENVIRONMENT", member_of(Environment))
    config = Config(
        environment=environment,
        store=_store(read),
        listen=ListenConfig(
            grpc=read.get("TRIA_GRPC_LISTEN", parse_listen, "127.0.0.1:50051"),
            internal=read.get("TRIA_INTERNAL_LISTEN", parse_listen, "127.0.0.1:50052"),
            metrics=read.get("TRIA_METRICS_LISTEN", parse_listen, "127.0.0.1:9464"),
            worker_metrics=read.get("TRIA_WORKER_METRICS_LISTEN", parse_listen, "127.0.0.1:9465"),
            processes=read.get("TRIA_PROCESSES", whole_number(1, 64), "1"),
        ),
        auth=AuthConfig(
            jwks=read.get("TRIA_JWKS", str),
            issuer=read.get("TRIA_JWT_ISSUER", str),
            audience=read.get("TRIA_JWT_AUDIENCE", str),
            trust_domain=read.get("TRIA_TRUST_DOMAIN", matching(r"[a-z0-9.-]+", "a SPIFFE trust domain"), "tria"),
            state_secret=read.get("TRIA_STATE_SECRET", long_secret),
            pseudonym_keys=read.get("TRIA_PSEUDONYM_KEYS", parse_pseudonym_keys, ""),
            master_keys=read.get("TRIA_MASTER_KEYS", parse_master_keys),
            gateways=read.get("TRIA_GATEWAYS", networks, "127.0.0.0/8,::1/128"),
        ),
        model=_model(read),
        money=MoneyConfig(
            tax_rates=read.get("TAX_RATE", parse_tax_rates),
            sales_account_code=read.get("XERO_SALES_ACCOUNT_CODE", matching(r"[A-Za-z0-9]{1,10}", "an account code")),
            currency=read.get("TRIA_CURRENCY", matching(r"[A-Z]{3}", "an ISO 4217 code"), "SGD"),
        ),
        accounting=read_accounting(read, development=environment is Environment.DEVELOPMENT),
        observability=ObservabilityConfig(
            log_level=read.get("TRIA_LOG_LEVEL", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
            log_json=read.get("TRIA_LOG_JSON", flag, "true"),
            sentry_dsn=read.get("SENTRY_DSN", Secret, ""),
            audit_file=read.get("TRIA_AUDIT_FILE", Path),
            release=f"tria@{version}",
        ),
        audit=_audit(read),
        stream=StreamConfig(
            heartbeat=read.get("TRIA_STREAM_HEARTBEAT", between(0.05, 60), "15"),
            max_age=read.get("TRIA_STREAM_MAX_AGE", between(1, 3600), "600"),
            log_ttl=read.get("TRIA_STREAM_LOG_TTL", between(120, 86400), "900"),
            drain=read.get("TRIA_DRAIN", between(0, 300), "20"),
            lease=read.get("TRIA_RUN_LEASE", between(1, 300), "30"),
            alone=read.get("TRIA_RUN_ALONE", between(0.2, 3600), "120"),
            merge_window=read.get("TRIA_MERGE_WINDOW", between(0, 30), "1.5"),
        ),
        retention=_retention(read),
    )
    if read.problems:
        raise ConfigError(read.problems)
    return config


def _optional_database(text: str) -> Secret:
    return secret_url_of("postgresql", "postgres")(text) if text else Secret("")


def _store(read: Reader) -> StoreConfig:
    store = StoreConfig(
        database_url=read.get("TRIA_DATABASE_URL", secret_url_of("postgresql", "postgres")),
        direct_url=read.get("TRIA_DATABASE_DIRECT_URL", _optional_database, ""),
        redis_cluster=read.get("TRIA_REDIS_CLUSTER", flag, "false"),
        redis_url=read.get("TRIA_REDIS_URL", secret_url_of("redis", "rediss", "unix")),
        chroma_url=read.get("TRIA_CHROMA_URL", url_of("http", "https")),
        pool_min=read.get("TRIA_POOL_MIN", whole_number(1, 100), "10"),
        pool_max=read.get("TRIA_POOL_MAX", whole_number(1, 200), "30"),
        pool_recycle=read.get("TRIA_POOL_RECYCLE", between(10, 86400), "3600"),
    )
    if store.pool_min and store.pool_max and store.pool_min > store.pool_max:
        read.problems.append("TRIA_POOL_MIN must not be above TRIA_POOL_MAX")
    urls = (store.database_url, store.direct_url)
    if all(urls) and len({_database_name(url) for url in urls}) > 1:
        read.problems.append("TRIA_DATABASE_DIRECT_URL must name the same database as TRIA_DATABASE_URL")
    return store


def _database_name(url: Secret) -> str:
    """As libpq and asyncpg read it: the path, else `dbname` or `database`, else the user's name."""
    parts = urlsplit(url.reveal())
    asked = dict(parse_qsl(parts.query))
    given = asked.get("dbname") or asked.get("database") or unquote(parts.path.strip("/"))
    return given or asked.get("user") or unquote(parts.username or "")


def _audit(read: Reader) -> AuditConfig:
    audit = AuditConfig(
        key=read.get("TRIA_AUDIT_KEY", parse_audit_key),
        old_keys=read.get("TRIA_AUDIT_KEYS_OLD", parse_public_keys, ""),
        checkpoint_interval=read.get("TRIA_AUDIT_CHECKPOINT_INTERVAL", between(0.1, 3600), "10"),
        checkpoint_file=read.get("TRIA_AUDIT_CHECKPOINT_FILE", lambda text: Path(text) if text else None, ""),
        checkpoint_webhook=read.get(
            "TRIA_AUDIT_CHECKPOINT_WEBHOOK", lambda text: outside_url(text) if text else "", ""
        ),
    )
    if audit.checkpoint_file is None and audit.checkpoint_webhook == "":
        read.problems.append(
            "TRIA_AUDIT_CHECKPOINT_FILE or …_WEBHOOK is missing: checkpoints must have a place outside the database"
        )
    return audit


def _model(read: Reader) -> ModelConfig:
    assistant = read.get("TRIA_ASSISTANT", member_of(AssistantChoice))
    needed = None if assistant is AssistantChoice.OPENAI else ""
    model = ModelConfig(
        assistant=assistant,
        api_key=read.get("OPENAI_API_KEY", Secret, needed),
        base_url=read.get("OPENAI_BASE_URL", lambda text: url_of("http", "https")(text) if text else "", ""),
        model=read.get("OPENAI_MODEL", str, needed),
        prices=read.get("OPENAI_PRICES", parse_prices, ""),
        max_output_tokens=read.get("OPENAI_MAX_OUTPUT_TOKENS", whole_number(16, 100_000), "800"),
        token_limit_name=read.get(
            "OPENAI_TOKEN_LIMIT_NAME", one_of("max_completion_tokens", "max_tokens"), "max_completion_tokens"
        ),
        temperature=read.get("OPENAI_TEMPERATURE", optional_decimal, "none"),
        timeout=read.get("OPENAI_TIMEOUT", between(1, 600), "45"),
        idle_timeout=read.get("OPENAI_IDLE_TIMEOUT", between(0.1, 120), "10"),
        embedding_model=read.get("OPENAI_EMBEDDING_MODEL", str, ""),
        answer_budget=read.get("OPENAI_ANSWER_BUDGET", parse_budget, "0.25"),
        fallback_model=read.get("OPENAI_FALLBACK_MODEL", str, ""),
        requests_per_minute=read.get("OPENAI_REQUESTS_PER_MINUTE", whole_number(1, 1_000_000), "500"),
        tokens_per_minute=read.get("OPENAI_TOKENS_PER_MINUTE", whole_number(0, 1_000_000_000), "0"),
        budget_soft=read.get("TRIA_MODEL_BUDGET_SOFT", money_amount, "0"),
        budget_hard=read.get("TRIA_MODEL_BUDGET_HARD", money_amount, "0"),
    )
    if model.budget_hard and model.budget_soft and model.budget_soft > model.budget_hard:
        read.problems.append("TRIA_MODEL_BUDGET_SOFT must not be above TRIA_MODEL_BUDGET_HARD")
    return model


def describe(value: Any, prefix: str = "") -> dict[str, str]:
    """Every setting by dotted name, secrets as set or empty; what `tria doctor` prints."""
    lines: dict[str, str] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if hasattr(inner, "__dataclass_fields__") and not isinstance(inner, Listen | SigningKey):
            lines |= describe(inner, f"{prefix}{field.name}.")
        elif field.name == "tax_rates":
            lines[prefix + field.name] = ", ".join(f"{rate.since}={rate.rate}" for rate in inner)
        else:
            lines[prefix + field.name] = str(inner)
    return lines

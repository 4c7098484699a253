"""One frozen configuration, read once at start from the environment; every mistake is reported at once.

There is no hidden fallback: what is required and missing stops the start, and `tria doctor` prints what is in force.
Secrets are wrapped in `Secret`, whose text never shows what it holds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Secret:
    """Text that must not be shown; `reveal()` where it is used, and only there."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(set)" if self._text else "Secret(empty)"

    __str__ = __repr__


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
class Listen:
    """A TCP address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax rate (0.09 = 9 %) and the first day on which it holds."""

    since: date
    rate: Decimal


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where data lives. Pool sizes count connections per process; times are seconds."""

    database_url: Secret
    redis_url: Secret
    chroma_url: str
    pool_min: int
    pool_max: int
    pool_recycle: float


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the server listens. `grpc` is what the gateway calls, `internal` adds reflection, `metrics` is HTTP."""

    grpc: Listen
    internal: Listen
    metrics: Listen
    processes: int


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """How callers prove who they are. `jwks` is a file path or an http(s) URL; `gateways` are the networks whose word
    on a caller's address is taken; keys for page tokens and pseudonyms are derived from `state_secret`."""

    jwks: str
    issuer: str
    audience: str
    trust_domain: str
    state_secret: Secret
    gateways: tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The language model. `prices` maps a model to what a million input, cached input and output tokens cost in USD;
    times are seconds."""

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
class StreamConfig:
    """Times of streams, in seconds: heartbeat after silence, longest life, log kept after the end, drain at stop."""

    heartbeat: float
    max_age: float
    log_ttl: float
    drain: float


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a process is told from outside."""

    environment: Environment
    store: StoreConfig
    listen: ListenConfig
    auth: AuthConfig
    model: ModelConfig
    money: MoneyConfig
    observability: ObservabilityConfig
    stream: StreamConfig


class ConfigError(Exception):
    """The configuration is wrong; `problems` names every mistake, one line each, without any value of a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("configuration:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = tuple(problems)


class _Reader:
    """Reads variables and gathers what is wrong instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def get(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        """The variable, parsed; `default` None means required. A problem yields a value that nobody will use."""
        text = self.environ.get(name, "").strip()
        if not text:
            if default is None:
                self.problems.append(f"{name} is missing")
                return None  # type: ignore[return-value]  # load() raises before anybody reads it
            text = default
        try:
            return parse(text)
        except (ValueError, InvalidOperation) as problem:
            self.problems.append(f"{name} {problem}")
            return None  # type: ignore[return-value]


def _listen(text: str) -> Listen:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("must be host:port")
    return Listen(host, int(port))


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"must be a URL with one of {', '.join(schemes)}")
        return text.rstrip("/")

    return parse


def _secret_url(*schemes: str) -> Callable[[str], Secret]:
    check = _url(*schemes)
    return lambda text: Secret(check(text))


def _between(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"must be a number between {low:g} and {high:g}") from None
        if not low <= number <= high:
            raise ValueError(f"must be between {low:g} and {high:g}")
        return number

    return parse


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number between {low} and {high}")
        return int(text)

    return parse


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return parse


def _member(enum: type[E]) -> Callable[[str], E]:
    check = _choice(*enum)
    return lambda text: enum(check(text))


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {what}")
        return text

    return parse


def parse_tax_rates(text: str) -> tuple[TaxRate, ...]:
    """`2023-01-01=0.08,2024-01-01=0.09`: days rising, rates from 0 to below 1."""
    rates = []
    for part in text.split(","):
        day, separator, rate = part.strip().partition("=")
        if not separator:
            raise ValueError("must be date=rate pairs, for example 2024-01-01=0.09")
        rates.append(TaxRate(date.fromisoformat(day.strip()), Decimal(rate.strip())))
    if any(not Decimal(0) <= rate.rate < 1 for rate in rates):
        raise ValueError("must hold rates from 0 to below 1 (0.09 is 9 %)")
    if any(after.since <= before.since for before, after in itertools.pairwise(rates)):
        raise ValueError("must hold rising dates")
    return tuple(rates)


def parse_prices(text: str) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """`model=input/cached/output,…` in USD per million tokens, for example `desk-large=2.50/0.25/10`."""
    prices = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        model, _, figures = part.partition("=")
        amounts = [Decimal(figure) for figure in figures.split("/")]
        if len(amounts) != 3 or min(amounts) < 0 or not model:
            raise ValueError("must be model=input/cached/output pairs, for example desk-large=2.50/0.25/10")
        prices[model.strip()] = (amounts[0], amounts[1], amounts[2])
    return prices


def _optional_decimal(text: str) -> Decimal | None:
    return None if text == "none" else Decimal(text)


def _flag(text: str) -> bool:
    return _choice("true", "false")(text) == "true"


def load(environ: Mapping[str, str], *, version: str) -> Config:
    """Reads the configuration; raises ConfigError with every problem at once."""
    read = _Reader(environ)
    config = Config(
        environment=read.get("TRIA_ENVIRONMENT", _member(Environment)),
        store=_store(read),
        listen=ListenConfig(
            grpc=read.get("TRIA_GRPC_LISTEN", _listen, "127.0.0.1:50051"),
            internal=read.get("TRIA_INTERNAL_LISTEN", _listen, "127.0.0.1:50052"),
            metrics=read.get("TRIA_METRICS_LISTEN", _listen, "127.0.0.1:9464"),
            processes=read.get("TRIA_PROCESSES", _count(1, 64), "1"),
        ),
        auth=AuthConfig(
            jwks=read.get("TRIA_JWKS", str),
            issuer=read.get("TRIA_JWT_ISSUER", str),
            audience=read.get("TRIA_JWT_AUDIENCE", str),
            trust_domain=read.get("TRIA_TRUST_DOMAIN", _matching(r"[a-z0-9.-]+", "a SPIFFE trust domain"), "tria"),
            state_secret=read.get("TRIA_STATE_SECRET", _long_secret),
            gateways=read.get("TRIA_GATEWAYS", _networks, "127.0.0.0/8,::1/128"),
        ),
        model=_model(read),
        money=MoneyConfig(
            tax_rates=read.get("TAX_RATE", parse_tax_rates),
            sales_account_code=read.get("XERO_SALES_ACCOUNT_CODE", _matching(r"[A-Za-z0-9]{1,10}", "an account code")),
            currency=read.get("TRIA_CURRENCY", _matching(r"[A-Z]{3}", "an ISO 4217 code"), "SGD"),
        ),
        observability=ObservabilityConfig(
            log_level=read.get("TRIA_LOG_LEVEL", _choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
            log_json=read.get("TRIA_LOG_JSON", _flag, "true"),
            sentry_dsn=read.get("SENTRY_DSN", Secret, ""),
            audit_file=read.get("TRIA_AUDIT_FILE", Path),
            release=f"tria@{version}",
        ),
        stream=StreamConfig(
            heartbeat=read.get("TRIA_STREAM_HEARTBEAT", _between(0.05, 60), "15"),
            max_age=read.get("TRIA_STREAM_MAX_AGE", _between(1, 3600), "600"),
            log_ttl=read.get("TRIA_STREAM_LOG_TTL", _between(120, 86400), "900"),
            drain=read.get("TRIA_DRAIN", _between(0, 300), "20"),
        ),
    )
    if read.problems:
        raise ConfigError(read.problems)
    return config


def _long_secret(text: str) -> Secret:
    if len(text) < 32:
        raise ValueError("must be at least 32 characters")
    return Secret(text)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(","))


def _store(read: _Reader) -> StoreConfig:
    store = StoreConfig(
        database_url=read.get("TRIA_DATABASE_URL", _secret_url("postgresql", "postgres")),
        redis_url=read.get("TRIA_REDIS_URL", _secret_url("redis", "rediss", "unix")),
        chroma_url=read.get("TRIA_CHROMA_URL", _url("http", "https")),
        pool_min=read.get("TRIA_POOL_MIN", _count(1, 100), "10"),
        pool_max=read.get("TRIA_POOL_MAX", _count(1, 200), "30"),
        pool_recycle=read.get("TRIA_POOL_RECYCLE", _between(10, 86400), "3600"),
    )
    if store.pool_min and store.pool_max and store.pool_min > store.pool_max:
        read.problems.append("TRIA_POOL_MIN must not be above TRIA_POOL_MAX")
    return store


def _model(read: _Reader) -> ModelConfig:
    assistant = read.get("TRIA_ASSISTANT", _member(AssistantChoice))
    needed = None if assistant is AssistantChoice.OPENAI else ""
    return ModelConfig(
        assistant=assistant,
        api_key=read.get("OPENAI_API_KEY", Secret, needed),
        base_url=read.get("OPENAI_BASE_URL", lambda text: _url("http", "https")(text) if text else "", ""),
        model=read.get("OPENAI_MODEL", str, needed),
        prices=read.get("OPENAI_PRICES", parse_prices, ""),
        max_output_tokens=read.get("OPENAI_MAX_OUTPUT_TOKENS", _count(16, 100_000), "800"),
        token_limit_name=read.get(
            "OPENAI_TOKEN_LIMIT_NAME", _choice("max_completion_tokens", "max_tokens"), "max_completion_tokens"
        ),
        temperature=read.get("OPENAI_TEMPERATURE", _optional_decimal, "none"),
        timeout=read.get("OPENAI_TIMEOUT", _between(1, 600), "45"),
        idle_timeout=read.get("OPENAI_IDLE_TIMEOUT", _between(0.1, 120), "10"),
        embedding_model=read.get("OPENAI_EMBEDDING_MODEL", str, ""),
    )


def describe(value: Any, prefix: str = "") -> dict[str, str]:
    """Every setting by dotted name, secrets as set or empty; what `tria doctor` prints."""
    lines: dict[str, str] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if hasattr(inner, "__dataclass_fields__") and not isinstance(inner, Listen):
            lines |= describe(inner, f"{prefix}{field.name}.")
        elif field.name == "tax_rates":
            lines[prefix + field.name] = ", ".join(f"{rate.since}={rate.rate}" for rate in inner)
        else:
            lines[prefix + field.name] = str(inner)
    return lines

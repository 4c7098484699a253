"""Values of settings and how they are read from text; a parser raises ValueError that says what is right."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar
from urllib.parse import urlsplit

from server.envelope import MasterKey
from server.signing import PublicKey, SigningKey

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


class Reader:
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


def parse_listen(text: str) -> Listen:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("must be host:port")
    return Listen(host, int(port))


def url_of(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"must be a URL with one of {', '.join(schemes)}")
        return text.rstrip("/")

    return parse


def secret_url_of(*schemes: str) -> Callable[[str], Secret]:
    check = url_of(*schemes)
    return lambda text: Secret(check(text))


def between(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"must be a number between {low:g} and {high:g}") from None
        if not low <= number <= high:
            raise ValueError(f"must be between {low:g} and {high:g}")
        return number

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number between {low} and {high}")
        return int(text)

    return parse


def one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return parse


def member_of(enum: type[E]) -> Callable[[str], E]:
    check = one_of(*enum)
    return lambda text: enum(check(text))


def matching(pattern: str, what: str) -> Callable[[str], str]:
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


def parse_pairs(text: str) -> dict[str, str]:
    """`STANDARD=OUTPUT,EXEMPT=EXEMPTOUTPUT`: each name once."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name or not value or name in pairs:
            raise ValueError("must be name=value pairs, each name once")
        pairs[name] = value
    return pairs


def optional_decimal(text: str) -> Decimal | None:
    return None if text == "none" else Decimal(text)


def parse_budget(text: str) -> Decimal:
    """Money that something may cost, more than nothing."""
    budget = Decimal(text)
    if not Decimal("0.001") <= budget <= 100:
        raise ValueError("must be between 0.001 and 100")
    return budget


def money_amount(text: str) -> Decimal:
    amount = Decimal(text)
    if not amount.is_finite() or amount < 0:
        raise ValueError("must be an amount of money, 0 or more")
    return amount


def flag(text: str) -> bool:
    return one_of("true", "false")(text) == "true"


def long_secret(text: str) -> Secret:
    if len(text) < 32:
        raise ValueError("must be at least 32 characters")
    return Secret(text)


def parse_master_keys(text: str) -> tuple[MasterKey, ...]:
    """`2026a=BASE64,2025b=BASE64`: 32 bytes each, the one that seals first."""
    keys = []
    for part in text.split(","):
        id, separator, encoded = part.strip().partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", id):
            raise ValueError("must be id=key pairs, the key that seals first")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise ValueError("must hold keys of 32 bytes in base64")
        keys.append(MasterKey(id, key))
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("must not name a key twice")
    return tuple(keys)


def parse_audit_key(text: str) -> SigningKey:
    """`NAME=BASE64`: the seed (32 bytes) of the Ed25519 key that signs checkpoints, and the name in its signatures."""
    name, separator, encoded = text.partition("=")
    try:
        seed = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        seed = b""
    if not separator or not re.fullmatch(r"[A-Za-z0-9._/-]{1,64}", name) or len(seed) != 32:
        raise ValueError("must be name=seed, the seed 32 bytes in base64")
    return SigningKey(name, seed)


def parse_public_keys(text: str) -> tuple[PublicKey, ...]:
    """`NAME+HASH+KEY,…`: public keys of signed notes."""
    return tuple(PublicKey.parse(part) for part in text.split(",") if part.strip())


def outside_url(text: str) -> str:
    """A URL that data is sent to: https, or http on this machine; without a user or password in it."""
    parts = urlsplit(text)
    loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError("must be an https URL (http only on this machine)")
    if not parts.hostname or parts.username or parts.password:
        raise ValueError("must name a host, and no user")
    return text


def parse_pseudonym_keys(text: str) -> tuple[MasterKey, ...]:
    """`2=BASE64,3=BASE64`: keys of 32 bytes by version; none at all is allowed."""
    keys = parse_master_keys(text) if text else ()
    if not all(re.fullmatch(r"[1-9]\d{0,3}", key.id) for key in keys):
        raise ValueError("must be version=key pairs, versions counted from 1")
    return keys


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(","))

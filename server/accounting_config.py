"""Which books invoices are posted to, and Xero's settings: read with everything else by server/config.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from server.settings import Reader, Secret, member_of, one_of, parse_pairs, url_of, whole_number

_GRANULAR = "offline_access accounting.invoices accounting.contacts accounting.settings.read"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class AccountingChoice(StrEnum):
    """Where invoices are booked; chosen by name, never guessed."""

    XERO = "xero"
    NONE = "none"


class XeroGrant(StrEnum):
    """How the app proves itself: a custom connection to one organisation, or a person's consent."""

    CLIENT_CREDENTIALS = "client_credentials"
    AUTHORIZATION_CODE = "authorization_code"


@dataclass(frozen=True, slots=True)
class XeroConfig:
    """What Xero is called with.

    `organisation` chooses among several that are granted; `authorise` False leaves drafts; `tax_types` maps a tax code
    of the catalogue to a TaxType, in place of the one found by rate; `redirect_url` is where Xero sends a person after
    consent. Limits are per organisation; `people_reserve` of the day is kept for what people start, and `processes` is
    how many processes call Xero.
    """

    client_id: str
    client_secret: Secret
    grant: XeroGrant
    scopes: tuple[str, ...]
    api_url: str
    identity_url: str
    login_url: str
    redirect_url: str
    organisation: str
    webhook_key: Secret
    authorise: bool
    tax_types: Mapping[str, str]
    minute_limit: int
    day_limit: int
    concurrency: int
    people_reserve: int
    processes: int


@dataclass(frozen=True, slots=True)
class AccountingConfig:
    """The books; `public_url` is where people open an order, linked from its invoice."""

    books: AccountingChoice
    public_url: str
    xero: XeroConfig


def read_accounting(read: Reader, *, development: bool) -> AccountingConfig:
    """Everything that is wrong goes to `read.problems`. Plain http is for this machine, in development."""
    books = read.get("TRIA_ACCOUNTING", member_of(AccountingChoice))
    is_xero = books is AccountingChoice.XERO
    needed = None if is_xero else ""
    url = _own_or_https(development=development)
    grant = read.get("XERO_GRANT", _grant, needed)
    by_code = is_xero and grant is XeroGrant.AUTHORIZATION_CODE
    xero = XeroConfig(
        client_id=read.get("XERO_CLIENT_ID", str, needed),
        client_secret=read.get("XERO_CLIENT_SECRET", Secret, needed),
        grant=grant,
        scopes=read.get("XERO_SCOPES", lambda text: tuple(text.split()), _GRANULAR),
        api_url=read.get("XERO_API_URL", url, "https://api.xero.com"),
        identity_url=read.get("XERO_IDENTITY_URL", url, "https://identity.xero.com"),
        login_url=read.get("XERO_LOGIN_URL", url, "https://login.xero.com/identity"),
        redirect_url=read.get("XERO_REDIRECT_URL", _optional(url), None if by_code else ""),
        organisation=read.get("XERO_TENANT_ID", str, ""),
        webhook_key=read.get("XERO_WEBHOOK_KEY", Secret, ""),
        authorise=read.get("XERO_INVOICE_STATUS", one_of("AUTHORISED", "DRAFT"), "AUTHORISED") == "AUTHORISED",
        tax_types=read.get("XERO_TAX_TYPES", parse_pairs, ""),
        minute_limit=read.get("XERO_MINUTE_LIMIT", whole_number(1, 10_000), "60"),
        day_limit=read.get("XERO_DAY_LIMIT", whole_number(1, 1_000_000), "5000"),
        concurrency=read.get("XERO_CONCURRENCY", whole_number(1, 100), "5"),
        people_reserve=read.get("XERO_PEOPLE_RESERVE", whole_number(0, 1_000_000), "500"),
        processes=read.get("XERO_PROCESSES", whole_number(1, 64), "1"),
    )
    _check(read, xero, by_code=by_code)
    return AccountingConfig(books, read.get("TRIA_PUBLIC_URL", _optional(url_of("https", "http")), ""), xero)


def _check(read: Reader, xero: XeroConfig, *, by_code: bool) -> None:
    if xero.people_reserve and xero.day_limit and xero.people_reserve >= xero.day_limit:
        read.problems.append("XERO_PEOPLE_RESERVE must be below XERO_DAY_LIMIT")
    if by_code and xero.scopes and "offline_access" not in xero.scopes:
        read.problems.append("XERO_SCOPES must hold offline_access with XERO_GRANT=authorization_code")


def _grant(text: str) -> XeroGrant:
    return member_of(XeroGrant)(text) if text else XeroGrant.CLIENT_CREDENTIALS


def _optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def _own_or_https(*, development: bool) -> Callable[[str], str]:
    check = url_of("http", "https")

    def parse(text: str) -> str:
        parts = urlsplit(check(text))
        if parts.scheme == "http" and not (development and parts.hostname in _LOOPBACK):
            raise ValueError("must be https; http is for this machine, in development")
        return text.rstrip("/")

    return parse

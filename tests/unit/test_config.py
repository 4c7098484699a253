"""One configuration: every mistake at once, no secret shown."""

from __future__ import annotations

import base64
import re
from datetime import date
from decimal import Decimal

import pytest

from server.config import ConfigError, describe, load
from server.settings import Secret, parse_tax_rates

GOOD = {
    "TRIA_ENVIRONMENT": "development",
    "TRIA_DATABASE_URL": "postgresql://app:hidden-one@localhost/app",
    "TRIA_REDIS_URL": "redis://:hidden-two@localhost:6379/0",
    "TRIA_CHROMA_URL": "http://localhost:8000",
    "TRIA_JWKS": "/etc/tria/jwks.json",
    "TRIA_JWT_ISSUER": "https://issuer.example",
    "TRIA_JWT_AUDIENCE": "tria",
    "TRIA_STATE_SECRET": "hidden-three-hidden-three-hidden-three",
    "TRIA_MASTER_KEYS": "a=" + base64.b64encode(b"hidden-eight" + bytes(20)).decode(),
    "TRIA_ASSISTANT": "offline",
    "TRIA_ACCOUNTING": "none",
    "TRIA_AUDIT_FILE": "/var/log/tria/audit.log",
    "TRIA_AUDIT_KEY": "tria-2026=" + base64.b64encode(b"hidden-nine" + bytes(21)).decode(),
    "TRIA_AUDIT_CHECKPOINT_FILE": "/mnt/elsewhere/checkpoints.jsonl",
    "TAX_RATE": "2023-01-01=0.08,2024-01-01=0.09",
    "XERO_SALES_ACCOUNT_CODE": "200",
}


def test_a_good_environment_is_read() -> None:
    config = load(GOOD, version="1")
    assert config.store.pool_min == 10
    assert config.store.pool_max == 30
    assert [(rate.since, rate.rate) for rate in config.money.tax_rates] == [
        (date(2023, 1, 1), Decimal("0.08")),
        (date(2024, 1, 1), Decimal("0.09")),
    ]


@pytest.mark.parametrize(
    ("direct", "same"),
    [
        ("postgresql://other:pw@db:5433/app?sslmode=require", True),
        ("postgresql://db/?user=a&database=app", True),
        ("postgresql://app@db", True),  # named as its user is
        ("postgresql://app:hidden-direct@localhost/app_restored", False),
        ("postgresql://a:hidden-direct@localhost/", False),
    ],
)
def test_both_ways_to_the_database_lead_to_one(direct: str, same: bool) -> None:
    settings = {**GOOD, "TRIA_DATABASE_DIRECT_URL": direct}
    if same:
        assert load(settings, version="1").store.pooled
        return
    with pytest.raises(ConfigError, match="TRIA_DATABASE_DIRECT_URL must name the same database") as caught:
        load(settings, version="1")
    assert "hidden" not in str(caught.value)


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, version="1")
    text = str(caught.value)
    for name in set(GOOD):
        assert re.search(rf"{name} .*is missing|{name} is missing", text)


def test_wrong_values_are_named_at_once_with_what_is_right() -> None:
    wrong = {
        **GOOD,
        "TRIA_ENVIRONMENT": "prod",
        "TRIA_GRPC_LISTEN": "nowhere",
        "TRIA_POOL_MIN": "31",
        "TAX_RATE": "2024-01-01=9",
        "TRIA_DATABASE_URL": "mysql://x",
    }
    with pytest.raises(ConfigError) as caught:
        load(wrong, version="1")
    assert sorted(problem.split()[0] for problem in caught.value.problems) == [
        "TAX_RATE",
        "TRIA_DATABASE_URL",
        "TRIA_ENVIRONMENT",
        "TRIA_GRPC_LISTEN",
        "TRIA_POOL_MIN",
    ]
    assert "development, staging, production" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TRIA_AUDIT_KEY", base64.b64encode(bytes(32)).decode(), "name=seed"),
        ("TRIA_AUDIT_KEY", "a b=" + base64.b64encode(bytes(32)).decode(), "name=seed"),
        ("TRIA_AUDIT_KEY", "tria=" + base64.b64encode(bytes(31)).decode(), "32 bytes"),
        ("TRIA_AUDIT_KEYS_OLD", "sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8", "damaged"),
        ("TRIA_AUDIT_KEYS_OLD", "tria", "NAME+HASH+KEY"),
        ("TRIA_AUDIT_CHECKPOINT_WEBHOOK", "http://elsewhere.example/checkpoints", "https"),
        ("TRIA_AUDIT_CHECKPOINT_WEBHOOK", "https://user:word@elsewhere.example/", "no user"),
        ("TRIA_AUDIT_CHECKPOINT_INTERVAL", "0", "between"),
    ],
)
def test_what_the_audit_log_does_not_take(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({**GOOD, name: value}, version="1")
    assert [line.split()[0] for line in caught.value.problems] == [name]
    assert problem in caught.value.problems[0]


def test_checkpoints_have_a_place_outside_the_database() -> None:
    without = {name: value for name, value in GOOD.items() if name != "TRIA_AUDIT_CHECKPOINT_FILE"}
    with pytest.raises(ConfigError, match="TRIA_AUDIT_CHECKPOINT_FILE"):
        load(without, version="1")
    config = load({**without, "TRIA_AUDIT_CHECKPOINT_WEBHOOK": "http://127.0.0.1:9999/checkpoints"}, version="1")
    assert config.audit.checkpoint_file is None


def test_openai_needs_a_key_and_a_model() -> None:
    with pytest.raises(ConfigError) as caught:
        load({**GOOD, "TRIA_ASSISTANT": "openai"}, version="1")
    assert [problem.split()[0] for problem in caught.value.problems] == ["OPENAI_API_KEY", "OPENAI_MODEL"]


XERO = {
    **GOOD,
    "TRIA_ACCOUNTING": "xero",
    "XERO_GRANT": "client_credentials",
    "XERO_CLIENT_ID": "an-app",
    "XERO_CLIENT_SECRET": "hidden-nine",
}


def test_xero_is_read_with_its_defaults() -> None:
    xero = load({**XERO, "XERO_TAX_TYPES": "STANDARD=OUTPUT, ZERO=ZERORATEDOUTPUT"}, version="1").accounting.xero
    assert (xero.minute_limit, xero.day_limit, xero.concurrency, xero.authorise) == (60, 5000, 5, True)
    assert xero.tax_types == {"STANDARD": "OUTPUT", "ZERO": "ZERORATEDOUTPUT"}
    assert "accounting.transactions" not in xero.scopes  # apps made since March 2026 may not ask for it


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({**GOOD, "TRIA_ACCOUNTING": "xero"}, ["XERO_CLIENT_ID", "XERO_CLIENT_SECRET", "XERO_GRANT"]),
        ({**XERO, "XERO_GRANT": "authorization_code"}, ["XERO_REDIRECT_URL"]),
        (
            {
                **XERO,
                "XERO_GRANT": "authorization_code",
                "XERO_REDIRECT_URL": "https://desk.example/connected",
                "XERO_SCOPES": "accounting.invoices",
            },
            ["XERO_SCOPES"],
        ),
        ({**XERO, "XERO_PEOPLE_RESERVE": "5000"}, ["XERO_PEOPLE_RESERVE"]),
        (
            {**XERO, "TRIA_ENVIRONMENT": "production", "XERO_API_URL": "http://127.0.0.1:1", "XERO_TAX_TYPES": "A"},
            ["XERO_API_URL", "XERO_TAX_TYPES"],
        ),
        ({**XERO, "XERO_IDENTITY_URL": "http://identity.example"}, ["XERO_IDENTITY_URL"]),
        ({**GOOD, "TRIA_ACCOUNTING": "books"}, ["TRIA_ACCOUNTING"]),
    ],
)
def test_what_does_not_fit_xero_is_named(settings: dict[str, str], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(settings, version="1")
    assert sorted(problem.split()[0] for problem in caught.value.problems) == named


def test_the_sandbox_on_this_machine_needs_no_tls_in_development() -> None:
    assert load({**XERO, "XERO_API_URL": "http://127.0.0.1:9/"}, version="1").accounting.xero.api_url.endswith(":9")


def test_no_secret_is_shown() -> None:
    config = load({**XERO, "OPENAI_API_KEY": "hidden-four", "XERO_WEBHOOK_KEY": "hidden-ten"}, version="1")
    assert "hidden" not in repr(config)
    assert "hidden" not in " ".join(describe(config).values())
    assert str(Secret("x")) == "Secret(set)"
    assert str(Secret("")) == "Secret(empty)"


def test_an_error_shows_no_secret_either() -> None:
    with pytest.raises(ConfigError) as caught:
        load({**GOOD, "TRIA_DATABASE_URL": "hidden-five", "TRIA_STATE_SECRET": "hidden-six"}, version="1")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "0.09", "2024-13-01=0.09", "2024-01-01=0.09,2023-01-01=0.08", "2024-01-01=-1"])
def test_tax_rates_are_dated_and_rise(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_tax_rates(text)

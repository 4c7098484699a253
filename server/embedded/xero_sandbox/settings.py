"""What a sandbox is told when it starts, and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Clock = Callable[[], float]  # seconds since 1970

TENANT_ID = "5c3a1f0e-8f4d-4d0b-9a57-2f6f3f8a1d10"  # the one organisation's


@dataclass(frozen=True, slots=True)
class Limits:
    """Xero's, of a paid tier. `concurrent` calls at a time, the rest by window."""

    minute: int = 60
    day: int = 5_000
    concurrent: int = 5
    app_minute: int = 10_000


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Secrets and numbers. `state` None keeps everything in memory."""

    client_id: str = "sandbox-client"
    client_secret: str = field(default="sandbox-secret", repr=False)
    webhook_url: str = ""  # empty: nothing is sent
    webhook_key: str = field(default="sandbox-webhook-key", repr=False)
    webhook_retry: tuple[float, ...] = (
        0.5,
        1.0,
        2.0,
        5.0,
        10.0,
        20.0,
        30.0,
        60.0,
        60.0,
        60.0,
    )  # seconds before each further attempt
    state: Path | None = None
    openapi: Path | None = None  # Xero's OpenAPI file; None: the models of this package are the only check
    limits: Limits = Limits()
    latency: float = 0.0  # seconds that each accounting call takes, so that concurrency shows
    token_life: float = 1_800.0
    idempotency_life: float = 360.0  # from the first call with a key
    currency: str = "SGD"
    clock: Clock = time.time

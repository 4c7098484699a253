"""Scripted trouble: which call meets which fault. Nothing goes wrong in a sandbox by itself."""

from __future__ import annotations

import random
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from server.embedded.xero_sandbox.models import Number, Strict

_API = "/api.xro/2.0/"


class FaultKind(StrEnum):
    """What goes wrong."""

    RESET = "reset"  # the connection is cut before anything is done
    REPLY_LOST = "reply_lost"  # done, and then the connection is cut
    SLOW_BEFORE = "slow_before"  # `seconds` pass before it is done
    SLOW_AFTER = "slow_after"  # `seconds` pass between the deed and the answer
    MINUTE_LIMIT = "minute_limit"  # 429, with `seconds` as Retry-After; so the next two
    DAY_LIMIT = "day_limit"
    CONCURRENT_LIMIT = "concurrent_limit"
    SERVER_ERROR = "server_error"  # 500, nothing done
    UNAVAILABLE = "unavailable"  # 503, nothing done
    UNAUTHORISED = "unauthorised"  # 401 although the token is good
    INVALID_GRANT = "invalid_grant"  # of the token endpoint
    VALIDATION_ERROR = "validation_error"  # 400 with `message` as its validation error
    WRONG_TOTAL = "wrong_total"  # books `amount` more than the lines make
    GARBAGE = "garbage"  # done, and answered with half of a JSON text
    REDIRECT = "redirect"  # 302 to `message`


def _kind(value: object) -> object:
    return FaultKind(value) if isinstance(value, str) else value


class FaultIn(Strict):
    """A rule. Of the calls that match, `skip` pass first, then `times` meet the fault, each with `probability`.

    `path` is the beginning of a path; without a leading slash it is below the accounting API.
    """

    kind: Annotated[FaultKind, BeforeValidator(_kind)]
    method: str = ""
    path: str = ""
    skip: int = Field(0, ge=0)
    times: int = Field(1, ge=1)
    probability: Number = Decimal(1)
    seed: int = 0
    seconds: Number = Decimal(1)
    message: str = ""
    amount: Number = Decimal("0.01")


class _Rule:
    def __init__(self, fault: FaultIn) -> None:
        self.fault = fault
        self._skip = fault.skip
        self.left = fault.times
        self._dice = random.Random(fault.seed)  # noqa: S311  # repeatable on purpose

    def meets(self, method: str, path: str) -> bool:
        fault = self.fault
        prefix = fault.path if fault.path.startswith("/") else _API + fault.path
        if fault.method not in {"", method} or (fault.path and not path.startswith(prefix)):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._dice.random() >= fault.probability:
            return False
        self.left -= 1
        return True


class Faults:
    """The rules that still have something to spoil; the first one that fits a call is the one it meets."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self.met = 0

    def add(self, fault: FaultIn) -> None:
        self._rules.append(_Rule(fault))

    def script(self, kind: FaultKind | str, **settings: Any) -> None:
        """`add` for tests, by keyword."""
        self.add(FaultIn(kind=FaultKind(kind), **settings))

    def clear(self) -> None:
        self._rules.clear()

    def pending(self) -> int:
        """How many calls are still to be spoiled."""
        return sum(rule.left for rule in self._rules)

    def take(self, method: str, path: str) -> FaultIn | None:
        """The fault that this call meets."""
        for rule in self._rules:
            if rule.meets(method, path):
                self.met += 1
                if not rule.left:
                    self._rules.remove(rule)
                return rule.fault
        return None

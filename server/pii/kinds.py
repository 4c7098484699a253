"""The closed vocabulary of personal data, and what one finding is."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Every kind that a recogniser may report; the names are part of CONTRACT.md §8 and of the placeholders."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    PERSON = "PERSON"
    ADDRESS = "ADDRESS"
    CREDIT_CARD = "CREDIT_CARD"
    IBAN = "IBAN"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    SG_NRIC = "SG_NRIC"
    MY_NRIC = "MY_NRIC"
    CN_ID = "CN_ID"
    US_SSN = "US_SSN"
    UK_NINO = "UK_NINO"
    PASSPORT = "PASSPORT"
    DOB = "DOB"
    IP_ADDRESS = "IP_ADDRESS"
    SECRET = "SECRET"


class Span(NamedTuple):
    """Personal data at `text[start:end]`; offsets are Unicode code points of the original text."""

    start: int
    end: int
    kind: Kind

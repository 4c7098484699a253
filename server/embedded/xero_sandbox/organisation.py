"""The invented organisation: its accounts and tax rates, which a sandbox only reads."""

from __future__ import annotations

import uuid
from decimal import Decimal

from server.embedded.xero_sandbox.ledger import Call, Reply
from server.embedded.xero_sandbox.settings import TENANT_ID
from server.embedded.xero_sandbox.wire import Document

NAME = "Sandbox Packaging Supplies"
BANK = "090"  # where "mark paid" pays in

_RATES = (
    ("OUTPUT", "Standard-rated supplies", "9"),
    ("OUTPUTY24", "Standard-rated supplies from 2024", "9"),
    ("OUTPUTY23", "Standard-rated supplies 2023", "8"),
    ("ZERORATEDOUTPUT", "Zero-rated supplies", "0"),
    ("ESN33OUTPUT", "Exempt supplies", "0"),
    ("NONE", "No tax", "0"),
)
_ACCOUNTS = (
    ("090", "Bank", "BANK", "ASSET"),
    ("200", "Sales", "REVENUE", "REVENUE"),
    ("260", "Other revenue", "REVENUE", "REVENUE"),
    ("310", "Cost of goods sold", "DIRECTCOSTS", "EXPENSE"),
    ("425", "Freight", "EXPENSE", "EXPENSE"),
)


def rates() -> dict[str, Decimal]:
    """Percent by tax type."""
    return {tax_type: Decimal(percent) for tax_type, _, percent in _RATES}


def accounts() -> dict[str, Document]:
    """By code; the ids are the same in every sandbox."""
    return {
        code: {
            "AccountID": str(uuid.uuid5(uuid.UUID(TENANT_ID), code)),
            "Code": code,
            "Name": name,
            "Type": kind,
            "Class": group,
            "Status": "ACTIVE",
            "TaxType": "OUTPUT" if group == "REVENUE" else "NONE",
            "EnablePaymentsToAccount": kind == "BANK",
        }
        for code, name, kind, group in _ACCOUNTS
    }


def get_accounts(call: Call) -> Reply:
    return Reply({"Accounts": list(call.ledger.accounts.values())})


def get_tax_rates(call: Call) -> Reply:
    wanted = call.query.get("TaxType")
    found = [_tax_rate(*rate) for rate in _RATES if wanted in {None, rate[0]}]
    return Reply({"TaxRates": found})


def get_organisation(call: Call) -> Reply:
    organisation: Document = {
        "OrganisationID": TENANT_ID,
        "Name": NAME,
        "LegalName": NAME,
        "PaysTax": True,
        "Version": "GLOBAL",
        "OrganisationType": "COMPANY",
        "BaseCurrency": call.ledger.currency,
        "CountryCode": "SG",
        "IsDemoCompany": True,
        "OrganisationStatus": "ACTIVE",
        "ShortCode": "!sandbox",
        "Class": "DEMO",
    }
    return Reply({"Organisations": [organisation]})


def _tax_rate(tax_type: str, name: str, percent: str) -> Document:
    rate = Decimal(percent)
    return {
        "Name": name,
        "TaxType": tax_type,
        "Status": "ACTIVE",
        "TaxComponents": [{"Name": "GST", "Rate": rate, "IsCompound": False, "IsNonRecoverable": False}],
        "CanApplyToRevenue": True,
        "CanApplyToExpenses": False,
        "DisplayTaxRate": rate,
        "EffectiveRate": rate,
    }

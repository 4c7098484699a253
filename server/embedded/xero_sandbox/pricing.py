"""Lines and totals of invoices and credit notes: what Xero checks of them, and what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from server.embedded.xero_sandbox.ledger import Call, Ledger, Refused, new_id
from server.embedded.xero_sandbox.totals import complete, unit_amount
from server.embedded.xero_sandbox.wire import Document, Malformed, ms_day, read_day

_DEFAULT_QUANTITY = Decimal(1)
_PRICED = {"LineItems", "LineAmountTypes"}


def set_day(document: Document, name: str, text: str | None) -> None:
    """Date or DueDate, in both forms in which Xero shows a day. Raises Refused."""
    if text is None:
        return
    try:
        day = read_day(text)
    except Malformed as error:
        raise Refused([f"{name}: {error}"]) from error
    document[name] = ms_day(day)
    document[f"{name}String"] = f"{day.isoformat()}T00:00:00"


def price(call: Call, document: Document, sent: Document) -> None:
    """Takes the lines that were sent and computes the totals anew; does nothing when no line or rule came."""
    if not _PRICED & sent.keys():
        return
    if "LineItems" in sent:
        places = call.number("unitdp", default=2, most=4)
        document["LineItems"] = [_line(call.ledger, line, places) for line in sent["LineItems"]]
    document["LineAmountTypes"] = sent.get("LineAmountTypes", document["LineAmountTypes"])
    subtotal, tax, total = complete(document["LineItems"], document["LineAmountTypes"], call.ledger.rates)
    if total < 0:
        raise Refused(["The total of this document must not be less than zero"])
    wrong = call.wrong_by if total else Decimal(0)
    document |= {"SubTotal": subtotal, "TotalTax": tax + wrong, "Total": total + wrong}


def check_approved(ledger: Ledger, document: Document, due: str) -> None:
    """What a document needs before it counts; a draft may lack it. Raises Refused with everything that is missing."""
    problems = [] if due in document else [f"{due} is mandatory for an approved document"]
    if not document["LineItems"]:
        problems.append("One or more line items must be specified")
    for line in document["LineItems"]:
        problems += _problems(ledger, line)
    if problems:
        raise Refused(problems)


def _line(ledger: Ledger, sent: Document, places: int) -> Document:
    line: Document = {"LineItemID": new_id(), "Tracking": []} | sent
    line.setdefault("Quantity", _DEFAULT_QUANTITY)
    line["UnitAmount"] = unit_amount(sent.get("UnitAmount", Decimal(0)), places)
    line.setdefault("TaxType", _default_tax(ledger, line))
    problems = []
    if "ItemCode" in line and not ledger.store.by_number("item", line["ItemCode"]):
        problems.append(f"Item code '{line['ItemCode']}' is not valid")
    if "AccountCode" in line and line["AccountCode"] not in ledger.accounts:
        problems.append(f"Account code '{line['AccountCode']}' is not a valid code for this document.")
    if line["TaxType"] not in ledger.rates:
        problems.append(f"The TaxType code '{line['TaxType']}' does not exist or cannot be used here.")
    if not line.get("Description"):
        problems.append("Description is mandatory for a line item")
    if problems:
        raise Refused(problems)
    return line


def _default_tax(ledger: Ledger, line: Document) -> str:
    return str(ledger.accounts.get(line.get("AccountCode", ""), {}).get("TaxType", "NONE"))


def _problems(ledger: Ledger, line: Document) -> Sequence[str]:
    if "AccountCode" not in line:
        return ["Account code must be specified"]
    kind = ledger.accounts[line["AccountCode"]]["Class"]
    return [] if kind == "REVENUE" else [f"Account code '{line['AccountCode']}' cannot be used for a sale"]

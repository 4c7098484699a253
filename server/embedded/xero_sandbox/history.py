"""Notes in an invoice's history, for the people who read the books."""

from __future__ import annotations

from server.embedded.xero_sandbox.invoices import named
from server.embedded.xero_sandbox.ledger import Call, Reply, new_id
from server.embedded.xero_sandbox.wire import Document, ms_date


def get_history(call: Call) -> Reply:
    invoice = named(call.ledger, call.id)
    return Reply({"HistoryRecords": list(call.ledger.store.by_number("history", invoice["InvoiceID"]))})


def put_history(call: Call) -> Reply:
    invoice = named(call.ledger, call.id)
    made: list[Document] = []
    for sent in call.body["HistoryRecords"]:
        now = call.ledger.clock()
        record = {"Changes": "Note", "Details": sent["Details"], "User": "System Generated", "DateUTC": ms_date(now)}
        call.ledger.store.put("history", new_id(), record, number=invoice["InvoiceID"], updated=now)
        made.append(record)
    return Reply({"HistoryRecords": made})

"""A compliance report as CSV: one row a cell, so that one file holds every table."""

from __future__ import annotations

import csv
import io

from server.audit.export_csv import defused
from server.audit.report_facts import Facts
from server.audit.report_tables import tables


def csv_report(facts: Facts) -> str:
    """Rows of table, row, column, value; nothing that a spreadsheet would compute."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(("table", "row", "column", "value"))
    period = (("tenant", facts.tenant), ("from", facts.since.isoformat()), ("to", facts.until.isoformat()))
    for name, value in period:
        writer.writerow(("report", "1", name, defused(value)))
    for table in tables(facts):
        for number, row in enumerate(table.rows, start=1):
            for column, cell in zip(table.columns, row, strict=True):
                writer.writerow((table.key, str(number), column, defused(cell)))
    return written.getvalue()

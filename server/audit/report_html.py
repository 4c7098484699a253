"""A compliance report as one HTML page: for screens, screen readers and paper, without scripts or outside parts."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from server.audit.report_facts import Facts
from server.audit.report_tables import Table, tables

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin-bottom: .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; }
.about { color: #4a4a4a; }
a { color: #0b4f9e; }
nav ul { columns: 2; padding-left: 1.25rem; }
.wide { overflow-x: auto; }
.wide:focus-visible, a:focus-visible { outline: 3px solid #0b4f9e; outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .375rem .75rem; border-bottom: 1px solid #c9c9c9;
  overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #1a1a1a; background: #f3f3f3; }
tbody th { font-weight: 600; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.warning { border-left: .375rem solid #a61b1b; background: #fdf0f0; padding: .75rem 1rem; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
  @page { size: A4; margin: 16mm 14mm; }
}
"""


def html_report(facts: Facts, now: datetime | None = None) -> str:
    """The whole page."""
    made = now or datetime.now(UTC)
    found = tables(facts)
    period = f"{facts.since:%Y-%m-%d %H:%M} to {facts.until:%Y-%m-%d %H:%M} UTC"
    title = f"Audit report: {facts.tenant}"
    contents = "".join(f'<li><a href="#{table.key}">{escape(table.title)}</a></li>' for table in found)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<header>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(period)}, by the time of recording; the end is not included.</p>\n"
        f'<p class="about">Made {made:%Y-%m-%d %H:%M:%S} UTC by TRIA.</p>\n</header>\n'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>\n{_warning(facts)}'
        f"{''.join(map(_section, found))}</main>\n</body>\n</html>\n"
    )


def _warning(facts: Facts) -> str:
    if not facts.holes:
        return ""
    return (
        f'<p class="warning"><strong>{facts.holes} records are missing</strong> between the first and the last of this '
        "period. Export the range and verify it: the verifier names them.</p>\n"
    )


def _section(table: Table) -> str:
    heading = f'<h2 id="{table.key}">{escape(table.title)}</h2>\n<p class="about">{escape(table.about)}</p>\n'
    if not table.rows:
        return f'<section aria-labelledby="{table.key}">\n{heading}<p>None.</p>\n</section>\n'
    head = "".join(
        f'<th scope="col"{_figure(table, number)}>{escape(name)}</th>' for number, name in enumerate(table.columns)
    )
    body = "".join(f"<tr>{_cells(table, row)}</tr>\n" for row in table.rows)
    return (
        f'<section aria-labelledby="{table.key}">\n{heading}'
        f'<div class="wide" tabindex="0" role="region" aria-labelledby="{table.key}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n</section>\n"
    )


def _cells(table: Table, row: tuple[str, ...]) -> str:
    first, *others = row
    head = f'<th scope="row"{_figure(table, 0)}>{escape(first)}</th>'
    return head + "".join(
        f"<td{_figure(table, number)}>{escape(cell)}</td>" for number, cell in enumerate(others, start=1)
    )


def _figure(table: Table, column: int) -> str:
    return ' class="figure"' if column in table.numeric else ""

"""The sandbox's page: what was booked, and the two things that a person does to an invoice in Xero."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from server.embedded.xero_sandbox.organisation import NAME
from server.embedded.xero_sandbox.wire import web_address

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: light-dark(#0b57d0, #8ab4f8); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 68rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .35rem 0; } a { color: var(--link); }
.scroll { overflow-x: auto; } tbody th, td:last-child { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid var(--line); vertical-align: middle; }
thead th { background: var(--soft); } .amount { text-align: right; font-variant-numeric: tabular-nums; }
.state { border: 1px solid var(--line); border-radius: 1rem; padding: .1rem .6rem; font-size: .85rem; }
form { display: inline-block; margin: 0 .35rem 0 0; }
button { font: inherit; min-height: 2rem; padding: .15rem .75rem; cursor: pointer; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; } dd { margin: 0; }
.told { border-left: 4px solid var(--link); padding: .3rem .75rem; background: var(--soft); }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(state: dict[str, Any], currency: str, told: str) -> str:
    """The whole page; `told` is what the last button did. Everything that was booked is escaped."""
    news = f'<p class="told" role="status">{escape(told)}</p>' if told else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Xero sandbox: {escape(NAME)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Xero sandbox</h1>
<p>{escape(NAME)}, an invented organisation on this machine. Nothing here reaches Xero.</p>
{news}
<h2 id="invoices">Invoices</h2>
{_invoices(state["invoices"], currency)}
<h2 id="credit-notes">Credit notes</h2>
{_credit_notes(state["credit_notes"], currency)}
<h2>How it is used</h2>
{_usage(state)}
</main>
</body>
</html>
"""


def _invoices(invoices: Sequence[dict[str, Any]], currency: str) -> str:
    if not invoices:
        return "<p>None yet. Confirm an order, and its invoice appears here.</p>"
    rows = "".join(_invoice(invoice) for invoice in reversed(invoices))
    return f"""<div class="scroll" role="region" aria-labelledby="invoices" tabindex="0"><table>
<thead><tr><th scope="col">Number</th><th scope="col">Contact</th><th scope="col">State</th>
<th scope="col" class="amount">Total, {escape(currency)}</th><th scope="col">Reference</th>
<th scope="col">Actions</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


def _invoice(invoice: dict[str, Any]) -> str:
    number, status = invoice["number"], invoice["status"]
    buttons = _button("pay", number, "Mark paid") if status == "AUTHORISED" else ""
    if status in {"AUTHORISED", "DRAFT", "SUBMITTED"}:
        buttons += _button("void", number, "Void" if status == "AUTHORISED" else "Delete")
    return f"""<tr><th scope="row">{escape(number)}</th><td>{escape(invoice["contact"])}</td>
<td><span class="state">{escape(status.capitalize())}</span></td><td class="amount">{_amount(invoice["total"])}</td>
<td>{_reference(invoice)}</td><td>{buttons or "none"}</td></tr>
"""


def _reference(invoice: dict[str, Any]) -> str:
    text = escape(invoice["reference"] or "none")
    if web_address(invoice["url"]) is None:
        return text
    return f'<a href="{escape(invoice["url"])}" rel="noreferrer">{text}</a>'


def _button(action: str, number: str, label: str) -> str:
    target = escape(f"/sandbox/{action}/{quote(number, safe='')}")
    name = escape(f"{label} {number}")
    return f'<form method="post" action="{target}"><button aria-label="{name}">{label}</button></form>'


def _credit_notes(notes: Sequence[dict[str, Any]], currency: str) -> str:
    if not notes:
        return "<p>None.</p>"
    rows = "".join(
        f"""<tr><th scope="row">{escape(note["number"])}</th><td>{escape(note["contact"])}</td>
<td><span class="state">{escape(note["status"].capitalize())}</span></td>
<td class="amount">{_amount(note["total"])}</td><td>{escape(note["reference"] or "none")}</td></tr>
"""
        for note in reversed(notes)
    )
    return f"""<div class="scroll" role="region" aria-labelledby="credit-notes" tabindex="0"><table>
<thead><tr><th scope="col">Number</th><th scope="col">Contact</th><th scope="col">State</th>
<th scope="col" class="amount">Total, {escape(currency)}</th><th scope="col">Reference</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


def _usage(state: dict[str, Any]) -> str:
    calls = sum(state["calls"].values())
    hooks = state["webhooks"]
    connection = (
        "connected " + _switch("disconnect", "Disconnect")
        if state["connected"]
        else "disconnected " + _switch("connect", "Connect again")
    )
    return f"""<dl>
<dt>Connection</dt><dd>{connection}</dd>
<dt>Calls</dt><dd>{calls}; at most {state["peak_concurrency"]} at a time and {state["peak_minute"]} in a minute</dd>
<dt>Over a limit</dt><dd>{sum(state["refused"].values())}</dd>
<dt>Not in Xero's form</dt><dd><a href="/sandbox/violations">{state["violations"]}</a></dd>
<dt>Webhooks</dt><dd>{hooks["taken"]} taken, {hooks["pending"]} waiting, {hooks["given_up"]} given up
{_switch("intent", "Intent to receive")}</dd>
</dl>"""


def _switch(action: str, label: str) -> str:
    return f'<form method="post" action="/sandbox/{action}"><button>{label}</button></form>'


def _amount(text: str) -> str:
    whole, _, cents = text.partition(".")
    return escape(f"{int(whole):,}.{cents or '00'}")

"""What a new environment must be able to do before anybody is let in, tried through its own front door.

Health, a question with an answer, a quote that adds up, an invoice, and a proof of the audit trail, checked here.
Reading checks leave nothing behind but their own audit records; an order is made only when that is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp

from server.audit.checkpoint import NoteInvalid, open_note
from server.audit.proofs import NotProven, verify_inclusion
from server.signing import PublicKey

Json = dict[str, Any]
_BOOKED = {"DRAFT", "AUTHORISED", "PAID"}
_STUCK = {"NOT_CONNECTED", "MISMATCH", "NEEDS_ATTENTION", "VOIDED"}  # only a person gets it further


class CheckFailed(Exception):
    """The environment is not fit; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One check. `said` is what was found, or what was wrong."""

    name: str
    ok: bool
    said: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Visit:
    """Who comes and what is asked. Without `auditor`, a token of somebody who may read the trail, the proof is not
    checked; `book` also makes and confirms an order of `sku` and waits for its invoice."""

    url: str
    customer: str
    auditor: str
    audit_key: PublicKey | None
    question: str
    sku: str
    quantity: str
    book: bool
    patience: float


class Smoke:
    """The checks of one environment, in order."""

    def __init__(self, visit: Visit, session: aiohttp.ClientSession) -> None:
        self._visit = visit
        self._session = session

    async def run(self, tell: Callable[[Checked], None]) -> list[Checked]:
        """Every check, also after one that failed; each is told as it ends."""
        checks: Mapping[str, Callable[[], Awaitable[str]]] = {
            "health": self.health,
            "question": self.question,
            "quote": self.quote,
            "invoice": self.invoice,
            "audit": self.audit,
        }
        done = []
        for name, check in checks.items():
            began = time.monotonic()
            try:
                ok, said = True, await asyncio.wait_for(check(), self._visit.patience)
            except (CheckFailed, aiohttp.ClientError, NotProven, NoteInvalid) as error:
                ok, said = False, f"{error}"
            except (KeyError, IndexError, TypeError, ValueError) as error:
                ok, said = False, f"the answer has another shape: {type(error).__name__} {error}"
            except TimeoutError:
                ok, said = False, f"not within {self._visit.patience:.0f} s"
            done.append(Checked(name, ok, said, time.monotonic() - began))
            tell(done[-1])
        return done

    async def health(self) -> str:
        health = await self._call("GET", "/health", token="")
        if health["status"] != "SERVING":
            raise CheckFailed(f"status {health['status']}: {health}")
        return f"version {health['version']} is serving"

    async def question(self) -> str:
        reply = await self._call("POST", "/api/chatbot", {"message": self._visit.question})
        if not reply["text"].strip():
            raise CheckFailed("the answer has no words")
        return f"answered in {len(reply['text'])} characters with {len(reply.get('citations', []))} sources"

    async def quote(self) -> str:
        order = (await self._call("POST", "/v1/orders:quote", {"lines": [await self._line()]}))["order"]
        total, parts = _money(order["total"]), sum(_money(order[part]) for part in ("subtotal", "fees", "tax"))
        if total <= 0 or total != parts:
            raise CheckFailed(f"the total is {total}, its parts are {parts}")
        return f"{order['lines'][0]['description']}: {total} {order['total']['currencyCode']}"

    async def invoice(self) -> str:
        if not self._visit.book:
            orders = (await self._call("GET", "/v1/orders?page_size=20")).get("orders", [])
            stuck = [order["number"] for order in orders if order.get("invoice", {}).get("state") in _STUCK]
            if stuck:
                raise CheckFailed(f"invoices wait for a person: {', '.join(stuck)}")
            return f"{len(orders)} newest orders, no invoice of them waits for a person"
        order = {"lines": [await self._line()], "note": "smoke test"}
        made = await self._call("POST", f"/v1/orders?request_id={uuid.uuid4()}", order)
        confirmed = await self._call("POST", f"/v1/{made['name']}:confirm", {"request_id": str(uuid.uuid4())})
        if held := confirmed.get("holdReasons"):
            raise CheckFailed(f"{made['number']} is held for staff ({', '.join(held)}): ask for less of something else")
        while (state := await self._invoice_state(made["name"])) not in _BOOKED:
            if state in _STUCK:
                raise CheckFailed(f"the invoice of {made['number']} is {state}")
            await asyncio.sleep(0.5)
        return f"{made['number']} is booked: {state}"

    async def audit(self) -> str:
        visit = self._visit
        if not visit.auditor:
            return "not checked: no auditor's token was given"
        head = await self._call("GET", "/v1/audit/checkpoint", token=visit.auditor)
        size = int(head["treeSize"])
        root = base64.b64decode(head["rootHash"])
        if visit.audit_key is not None:
            signed = open_note(head["note"], [visit.audit_key]).checkpoint
            if (signed.size, signed.root) != (size, root):
                raise CheckFailed("the signed note is of another tree")
        path = f"/v1/audit/proofs:inclusion?seq={size - 1}&tree_size={size}"
        proof = await self._call("GET", path, token=visit.auditor)
        hashes = [base64.b64decode(one) for one in proof.get("hashes", [])]
        verify_inclusion(base64.b64decode(proof["leafHash"]), size - 1, size, hashes, root)
        signature = "signature checked" if visit.audit_key else "signature not checked: no key was given"
        return f"record {size - 1} is proven in a tree of {size}; {signature}"

    async def _line(self) -> Json:
        sku = self._visit.sku
        if not sku:
            sku = (await self._call("GET", "/v1/products?page_size=1"))["products"][0]["sku"]
        return {"sku": sku, "quantity": self._visit.quantity}

    async def _invoice_state(self, name: str) -> str:
        invoice: Json = (await self._call("GET", f"/v1/{name}")).get("invoice") or {}
        return str(invoice.get("state", ""))

    async def _call(self, method: str, path: str, body: Json | None = None, *, token: str | None = None) -> Json:
        token = self._visit.customer if token is None else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self._session.request(method, self._visit.url + path, json=body, headers=headers) as answer:
            content = await answer.json(content_type=None)
            if answer.status != 200:
                raise CheckFailed(f"{method} {path.partition('?')[0]}: HTTP {answer.status} {content}")
            found: Json = content
            return found


def _money(amount: Mapping[str, Any]) -> Decimal:
    return Decimal(amount.get("units", 0)) + Decimal(amount.get("nanos", 0)) / Decimal(10**9)

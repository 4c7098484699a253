"""What an erasure did, as a note signed with a key of the log: it proves itself without the server.

    tria erasure receipt v1
    tenant acme
    event 0198…                                     the leaf that records it
    person p1_…                                     the keyed reference; the name is erased
    time 2026-01-31T00:00:00+00:00
    store messages erased 12 kept 0
    store orders erased 0 kept 3: why they are kept
                                                    (an empty line, then signature lines as in checkpoint.py)

The first line cannot begin a checkpoint, so a receipt can never stand for one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from server.audit.leaf import Plain
from server.holdings import Erased
from server.signing import PublicKey, SigningKey

HEADER = "tria erasure receipt v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """`event` is the event_id of its leaf; `subject` the keyed reference of whom it is about.

    Not called `person`, as in server/idempotency.py: it holds nothing of theirs, and answers a repeated call after it.
    """

    tenant: str
    event: str
    subject: str
    time: datetime
    stores: tuple[Erased, ...]
    note: str = ""

    def text(self) -> str:
        """What is signed."""
        lines = [HEADER, f"tenant {self.tenant}", f"event {self.event}", f"person {self.subject}"]
        lines.append(f"time {self.time.isoformat()}")
        lines += [_line(store) for store in self.stores]
        return "".join(f"{line}\n" for line in lines)

    def stores_json(self) -> str:
        return orjson.dumps([asdict(store) for store in self.stores]).decode()


def signed(receipt: Receipt, key: SigningKey) -> str:
    """The receipt as a signed note."""
    text = receipt.text()
    return f"{text}\n{key.line(text)}"


def facts(stores: Sequence[Erased]) -> dict[str, Plain]:
    """What the leaf says of it."""
    counts: dict[str, Plain] = {
        store.store: {"erased": store.erased, "kept": store.kept, "legal_basis": store.legal_basis} for store in stores
    }
    return {"stores": counts}


def _line(store: Erased) -> str:
    basis = f": {store.legal_basis}" if store.legal_basis else ""
    return f"store {store.store} erased {store.erased} kept {store.kept}{basis}"


def event_of(note: str) -> str:
    """The event_id in a signed receipt."""
    return next(line.removeprefix("event ") for line in note.split("\n") if line.startswith("event "))


def verify(note: str, keys: Sequence[PublicKey]) -> bool:
    """Whether one of the keys signed this receipt."""
    text, separator, rest = note.rpartition("\n\n")
    if not separator or not text.startswith(HEADER + "\n"):
        return False
    text += "\n"
    lines = {line for line in rest.split("\n") if line}
    return any(
        key.signed(text.encode(), raw[4:])
        for key in keys
        for line in lines
        if line.startswith(f"— {key.name} ") and (raw := base64.b64decode(line.rpartition(" ")[2]))[:4] == key.hash
    )

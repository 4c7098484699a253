"""What outlets ask: more than twenty kinds of question in three languages, and endless variations of them for load."""

from __future__ import annotations

import random
from dataclasses import dataclass

from server.embedded import demo
from server.order.catalogue_csv import read_catalogue


@dataclass(frozen=True, slots=True)
class Question:
    """`shared` says that its answer is the same for everybody, so that it may be kept."""

    kind: str
    text: str
    shared: bool = True


KINDS = (
    Question("greeting", "Hello, good morning!", shared=False),
    Question("clear order", "Please send 200 of the 12 inch plain pizza boxes", shared=False),
    Question("usual order", "Same as last week please", shared=False),
    Question("order status", "Where is my order?", shared=False),
    Question("delivery days", "When do you deliver in the east?"),
    Question("delivery charge", "What does delivery to Sentosa cost?"),
    Question("free delivery", "From what amount on is delivery free?"),
    Question("time slots", "Which delivery slots can I choose?"),
    Question("cut-off", "Until when can I order for the next day?"),
    Question("price", "How much is the 12 inch pizza box?"),
    Question("stock", "Do you have large burger boxes in stock?"),
    Question("minimum quantity", "What is the minimum quantity for printed pizza boxes?"),
    Question("pack size", "How many pieces are in a sleeve of fries cones?"),
    Question("product advice", "Which box is right for a 14 inch pizza?"),
    Question("returns", "Can I return damaged boxes?"),
    Question("refund time", "How long does a credit note take?"),
    Question("payment terms", "When do I have to pay an invoice?"),
    Question("tax", "Do your prices include GST?"),
    Question("food safety", "Are your boxes safe for direct contact with food?"),
    Question("cancellation", "Until when can I cancel an order?"),
    Question("public holidays", "Do you deliver on public holidays?"),
    Question("privacy", "How long do you keep my data?"),
    Question("opening an account", "What do I need to open an account?"),
    Question("halal, Malay", "Adakah kotak makanan anda halal?"),
    Question("delivery, Chinese", "你们什么时候送货？"),
    Question("payment, Malay", "Bagaimana saya boleh bayar invois?"),
    Question("storage, Chinese", "纸盒应该怎么存放？"),
)

ABOUT_GOODS = (
    "How much is the {name}?",
    "Do you have the {name} in stock?",
    "What is the minimum quantity of the {name}?",
    "Tell me about the {name}",
    "What does {count} of the {name} cost?",
)
SHARE_OF_GOODS = 0.4  # of a load's questions; they are many, so most of these are new to the cache


def goods() -> list[str]:
    """The names in the demo catalogue."""
    rows, _ = read_catalogue((demo.DATA / "products.csv").read_bytes())
    return [row.product.name for row in rows]


class Talk:
    """Questions in no order, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._goods = goods()

    def next(self) -> Question:
        if self._dice.random() >= SHARE_OF_GOODS:
            return self._dice.choice(KINDS)
        text = self._dice.choice(ABOUT_GOODS)
        name = self._dice.choice(self._goods)
        return Question("goods", text.format(name=name, count=self._dice.randrange(100, 1000, 50)))

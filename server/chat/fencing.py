"""How data reaches a model: as JSON in a block whose name nobody can guess, never in the system role.

The name is random for each answer and is taken out of the data; in the JSON there is no "<" at all, so nothing in it
can look like a block, a closing tag or a provider's control token. Invisible characters do not pass either.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from server.chat.displayed import displayed
from server.chat.evidence import as_json


class Fence:
    """The blocks of one answer."""

    def __init__(self) -> None:
        self.tag = f"data-{secrets.token_hex(8)}"

    def around(self, kind: str, data: object) -> str:
        """`data` as one block; `kind` is ours and says what it is."""
        return f'<{self.tag} of="{kind}">\n{self._inside(data)}\n</{self.tag}>'

    def _inside(self, data: object) -> str:
        written = as_json(_displayed(data)).replace(self.tag, "")
        return written.replace("<", "\\u003c").replace(">", "\\u003e")


def _displayed(data: object) -> object:
    if isinstance(data, str):
        return displayed(data)
    if isinstance(data, Mapping):
        return {key: _displayed(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, bytes):
        return [_displayed(item) for item in data]
    return data

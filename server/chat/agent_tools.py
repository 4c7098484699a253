"""The read-only tools that the model may call, and the strict gate in front of them.

No tool changes anything and none takes an identity: tenant and outlet are bound inside `Tools` by the caller's rights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from server.chat.assistant import Tools
from server.chat.completions import ToolCallDelta
from server.chat.discreet import Discretion, without_personal_data
from server.chat.evidence import Evidence

_LONGEST_QUERY = 200
_LONGEST_ARGUMENTS = 4096
_MOST_CALLS = 4
_LONGEST_NAME = 64
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Tool(StrEnum):
    """The closed list of what the model may ask for."""

    SEARCH_PRODUCTS = "search_products"
    SEARCH_KNOWLEDGE = "search_knowledge"
    ORDER_STATUS = "order_status"


LABELS = {
    Tool.SEARCH_PRODUCTS: "reading_catalogue",
    Tool.SEARCH_KNOWLEDGE: "retrieving",
    Tool.ORDER_STATUS: "checking_orders",
}


def _definition(tool: Tool, description: str, properties: dict[str, object]) -> dict[str, object]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    function = {"name": tool.value, "description": description, "strict": True, "parameters": parameters}
    return {"type": "function", "function": function}


_QUERY: dict[str, object] = {"query": {"type": "string", "description": "a few words, at most 200 characters"}}
DEFINITIONS = (
    _definition(Tool.SEARCH_PRODUCTS, "Find products of the catalogue by name, size, material or use.", _QUERY),
    _definition(Tool.SEARCH_KNOWLEDGE, "Find passages of the supplier's policies and guides.", _QUERY),
    _definition(Tool.ORDER_STATUS, "The latest orders of this customer with their states.", {}),
)


class BadToolCallError(ValueError):
    """The model asked for what it was not offered; the message goes back to it."""


@dataclass(slots=True)
class ToolCall:
    """One tool call as the stream builds it up; `arguments` is unchecked text until `run` has read it."""

    call_id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def shown_name(self) -> str:
        """The name as it goes back to the model: one that was offered, or a fixed word."""
        return self.name if self.name in set(Tool) else "unknown"


@dataclass(slots=True)
class ToolCalls:
    """Joins the fragments of one model turn; bounded in number and in size."""

    calls: dict[int, ToolCall] = field(default_factory=dict)

    def add(self, delta: ToolCallDelta) -> None:
        if delta.index not in self.calls and len(self.calls) >= _MOST_CALLS:
            return
        call = self.calls.setdefault(delta.index, ToolCall())
        own = f"call-{len(self.calls)}"
        call.call_id = call.call_id or (delta.call_id if _ID.fullmatch(delta.call_id) else own)
        call.name = call.name or delta.name[:_LONGEST_NAME]
        # One more than allowed is kept, so that `run` sees that it was too much.
        call.arguments = (call.arguments + delta.arguments)[: _LONGEST_ARGUMENTS + 1]

    def as_message(self) -> dict[str, object]:
        """The assistant message that asks for these calls, for the next request."""
        calls = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.shown_name, "arguments": without_personal_data(call.arguments)},
            }
            for call in self.calls.values()
        ]
        return {"role": "assistant", "content": None, "tool_calls": calls}


def checked(call: ToolCall, discretion: Discretion, *, offered: bool = True) -> tuple[Tool, str]:
    """The tool and its query (empty for one without), the originals back in it. Raises `BadToolCallError` unless every
    detail is as offered."""
    if not offered or call.name not in set(Tool):
        message = "there is no such tool"
        raise BadToolCallError(message)
    tool = Tool(call.name)
    if len(call.arguments) > _LONGEST_ARGUMENTS:
        message = "the arguments are too long"
        raise BadToolCallError(message)
    try:
        arguments = discretion.show(orjson.loads(call.arguments or "{}"))
    except orjson.JSONDecodeError as error:
        message = "the arguments are not JSON"
        raise BadToolCallError(message) from error
    wanted = set() if tool is Tool.ORDER_STATUS else {"query"}
    if not isinstance(arguments, dict) or set(arguments) != wanted:
        message = f"the arguments must be an object with exactly: {', '.join(sorted(wanted)) or 'nothing'}"
        raise BadToolCallError(message)
    query = arguments.get("query", "")
    if wanted and (not isinstance(query, str) or not 1 <= len(query.strip()) <= _LONGEST_QUERY):
        message = f"query must be text of 1 to {_LONGEST_QUERY} characters"
        raise BadToolCallError(message)
    return tool, query


async def run(tool: Tool, query: str, tools: Tools, evidence: Evidence, discretion: Discretion) -> object:
    """The tool's result as data for the model, with placeholders; what it found becomes citable."""
    data: dict[str, object]
    match tool:
        case Tool.SEARCH_PRODUCTS:
            data = {"products": evidence.add_products(await tools.search_products(query))}
        case Tool.SEARCH_KNOWLEDGE:
            found = await tools.search_knowledge(query)
            data = {"passages": evidence.add_passages(found.passages if found.confident else ())}
        case Tool.ORDER_STATUS:
            data = {"orders": evidence.add_orders(await tools.recent_orders())}
    return discretion.hide(data)

"""How a fault looks to the caller: before anything is done, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from server.embedded.xero_sandbox.answers import error, json_text, validation_error
from server.embedded.xero_sandbox.faults import FaultIn, FaultKind

_PROBLEMS = {
    FaultKind.MINUTE_LIMIT: "minute",
    FaultKind.DAY_LIMIT: "day",
    FaultKind.CONCURRENT_LIMIT: "concurrent",
}


async def before(fault: FaultIn | None, request: web.Request) -> web.Response | None:
    """What the caller gets instead of an effect; None lets the call go on."""
    if fault is None:
        return None
    if fault.kind is FaultKind.SLOW_BEFORE:
        await asyncio.sleep(float(fault.seconds))
        return None
    if fault.kind is FaultKind.RESET:
        return cut(request)
    if fault.kind is FaultKind.VALIDATION_ERROR:
        return validation_error([fault.message or "Scripted by a test"])
    if fault.kind in _PROBLEMS:
        return error(429, "rate limit exceeded", headers=_over(_PROBLEMS[fault.kind], fault))
    return _refusal(fault)


async def after(fault: FaultIn | None, request: web.Request, answer: web.Response) -> web.Response:
    """What becomes of the answer to a call that was done."""
    if fault is None:
        return answer
    if fault.kind is FaultKind.SLOW_AFTER:
        await asyncio.sleep(float(fault.seconds))
    elif fault.kind is FaultKind.REPLY_LOST:
        return cut(request)
    elif fault.kind is FaultKind.GARBAGE:
        text = answer.text or ""
        return json_text(text[: len(text) // 2])
    return answer


def cut(request: web.Request) -> web.Response:
    """Ends the connection at once; the answer that is returned has nowhere to go."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _refusal(fault: FaultIn) -> web.Response | None:
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return error(500, "An error occurred in Xero.")
        case FaultKind.UNAVAILABLE:
            return error(503, "The Organisation is offline")
        case FaultKind.UNAUTHORISED:
            return error(401, "TokenExpired")
        case FaultKind.INVALID_GRANT:
            return web.json_response({"error": "invalid_grant"}, status=400)
        case FaultKind.REDIRECT:
            return web.Response(status=302, headers={"Location": fault.message or "/elsewhere"})
        case _:
            return None


def _over(problem: str, fault: FaultIn) -> Mapping[str, str]:
    return {"X-Rate-Limit-Problem": problem, "Retry-After": str(int(fault.seconds))}

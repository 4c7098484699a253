"""The deadline of a call: the client's or the policy's, whichever ends first."""

from __future__ import annotations

import asyncio
from typing import Any

from interceptors.call import Call, Proceed
from interceptors.errors import deadline_exceeded
from interceptors.policy import Method


class Deadline:
    """Inside errors, which shapes the refusal; outside auth, because fetching keys takes time too.

    A client's own shorter deadline needs no timer here: the core cancels the call, and errors.py tells it apart from
    a client that went away.
    """

    name = "deadline"

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        limit = method.policy.default_deadline
        if limit is None:
            return proceed

        async def run(call: Call) -> Any:
            remaining = call.context.time_remaining()
            if remaining is not None and remaining <= limit:
                return await proceed(call)
            try:
                async with asyncio.timeout(limit) as timer:
                    return await proceed(call)
            except TimeoutError as passed:
                if timer.expired():
                    raise deadline_exceeded() from passed
                raise  # somebody else's timeout inside the handler

        return run

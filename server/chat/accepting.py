"""The first event of a run, held back for the moment in which the cache is asked: it says whether that knew."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from server.chat.events import Accepted
from server.chat.runlog import RunLog

_PATIENCE = 0.25  # seconds after which a person is told that the message was accepted, whatever the cache does


class Acceptance:
    """Says `accepted` once: with the first other event of the run, or when it has been held for long enough.

    None is for a run that was taken over: its log says so already.
    """

    def __init__(self, log: RunLog, accepted: Accepted | None) -> None:
        self._log = log
        self._accepted = accepted
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self.say)

    def say(self, *, cache_hit: bool = False) -> None:
        """To be called before anything else is written into the log; at most the first call does anything."""
        if self._accepted is not None:
            accepted, self._accepted = self._accepted, None
            self._timer.cancel()
            self._log.append(replace(accepted, cache_hit=cache_hit))

    def forgo(self) -> None:
        """The log is another's by now: nothing is said any more."""
        self._accepted = None
        self._timer.cancel()

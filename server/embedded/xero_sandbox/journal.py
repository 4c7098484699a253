"""What a test looks at afterwards: calls, refusals, the busiest moment and minute, and breaches of the contract."""

from __future__ import annotations

from collections import Counter, deque

from server.embedded.xero_sandbox.settings import Clock
from server.embedded.xero_sandbox.wire import Document

_KEPT = 1_000  # violations; the count goes on
_MINUTE = 60.0


class Journal:
    """Counts since the start; not kept over a restart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: deque[float] = deque()
        self._violations: deque[Document] = deque(maxlen=_KEPT)
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # 429 by problem
        self.violation_count = 0
        self.peak_concurrency = 0
        self.peak_minute = 0

    def call(self, name: str) -> None:
        """Somebody called: `name` is a method and a path without ids."""
        self.calls[name] += 1

    def admitted(self, running: int) -> None:
        """A call passed the limits, `running` with it at this moment."""
        now = self._clock()
        self._recent.append(now)
        while self._recent[0] <= now - _MINUTE:
            self._recent.popleft()
        self.peak_concurrency = max(self.peak_concurrency, running)
        self.peak_minute = max(self.peak_minute, len(self._recent))

    def violation(self, side: str, call: str, problems: list[str]) -> None:
        """`side` is request or reply."""
        self.violation_count += 1
        self._violations.append({"side": side, "call": call, "problems": problems})

    def violations(self) -> list[Document]:
        return list(self._violations)

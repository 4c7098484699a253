"""What a run writes into its log, as plain values; `server/chat/encode.py` puts them on the wire.

The names are those of `tria.chat.v1.ChatEvent`. `LogEntry.seq` counts from 1 without gaps; the joined `TextPiece`s of
a run hash to `TextDone.sha256`; exactly one of `TERMINALS` ends a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.chat.assistant import AnswerKind, Cited, Intent, Proposed, Step, ToolUsed, Usage
from server.errors import AppError


class Controller(StrEnum):
    """Who may speak for the desk."""

    ASSISTANT = "ASSISTANT"
    WAITING_FOR_STAFF = "WAITING_FOR_STAFF"
    STAFF = "STAFF"


@dataclass(frozen=True, slots=True)
class ControllerChanged:
    """Somebody else speaks for the desk; `reason` is a closed word."""

    was: Controller
    now: Controller
    epoch: int
    reason: str


class WarningCode(StrEnum):
    """What is lost while the run goes on."""

    RESUME_UNAVAILABLE = "RESUME_UNAVAILABLE"
    RETRIEVAL_DEGRADED = "RETRIEVAL_DEGRADED"
    MODEL_FALLBACK = "MODEL_FALLBACK"
    CITATION_DROPPED = "CITATION_DROPPED"


@dataclass(frozen=True, slots=True)
class Accepted:
    """First event of a run."""

    message: str
    conversation: str
    controller: Controller
    queue_position: int = 0
    cache_hit: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """The run waits; `position` counts from 1, `eta` is seconds, as far as known."""

    position: int
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDone:
    """The text is whole; hex SHA-256 of its UTF-8."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What the run cost; times are milliseconds since it was accepted."""

    usage: Usage
    time_to_first_token_ms: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something is not as it should be."""

    code: WarningCode


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The text so far in place of events that the log no longer holds."""

    text: str
    last_seq: int


@dataclass(frozen=True, slots=True)
class Completed:
    """Terminal: an answer."""

    kind: AnswerKind
    text: str
    intent: Intent
    confidence: float
    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Terminal: stopped by request."""

    text: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Terminal: ended through no fault of the question."""

    retryable: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """Terminal: an error."""

    error: AppError


Event = (
    Accepted | Queued | Step | TextPiece | TextDone | Cited | ToolUsed | Proposed | ControllerChanged | Spent | Warned
    | Snapshot | Completed | Cancelled | Interrupted | Failed
)  # fmt: skip
TERMINALS = (Completed, Cancelled, Interrupted, Failed)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event of a run's log. `epoch` says which of the run's owners told it."""

    seq: int
    time: datetime
    event: Event
    epoch: int = 1

    @property
    def terminal(self) -> bool:
        return isinstance(self.event, TERMINALS)


@dataclass(frozen=True, slots=True)
class WireEntry:
    """One event of a run's log as another process wrote it: `wire` is what goes to its followers, byte for byte."""

    seq: int
    wire: bytes
    epoch: int
    terminal: bool


Entry = LogEntry | WireEntry


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Of the connection, not of the run: nothing happened for a while."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Of the connection: come back elsewhere after `delay` seconds."""

    resume_after_seq: int
    delay: float

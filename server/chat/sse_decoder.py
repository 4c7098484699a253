"""Bytes of a `text/event-stream` body, split anywhere, to the payloads of its events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """One event outgrew the decoder's limit; nothing after it can be trusted."""


class SseDecoder:
    """Feeds on chunks and gives each event's data as bytes; comments and the fields event, id and retry are skipped.

    Lines may end in LF, CR or CRLF, several `data` lines join with LF, an event without data is dropped and an
    event that the body ends in the middle of is never given: all as the standard says. `limit` bounds what one
    unfinished event may hold, in bytes; four times that may come without any event, as comments do.
    """

    __slots__ = ("_data", "_first_line", "_limit", "_silent", "_size", "_skip_lf", "_tail")

    def __init__(self, limit: int = 1 << 18) -> None:
        self._limit = limit
        self._tail = b""
        self._data: list[bytes] = []
        self._size = 0
        self._silent = 0
        self._skip_lf = False
        self._first_line = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that this chunk completes, in order."""
        # A CR that ended the last chunk was a line end by itself; the LF of a CRLF may only arrive now.
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        text = self._tail + chunk if self._tail else chunk
        if not text:
            return []
        lines = text.splitlines()
        if text.endswith((b"\n", b"\r")):
            self._tail = b""
            self._skip_lf = text.endswith(b"\r")
        else:
            self._tail = lines.pop()
        if self._first_line and lines:
            self._first_line = False
            lines[0] = lines[0].removeprefix(_BOM)
        payloads = self._take(lines)
        self._silent = 0 if payloads else self._silent + len(chunk)
        if self._silent > 4 * self._limit:
            message = f"{self._silent} bytes without an event"
            raise EventTooLargeError(message)
        if len(self._tail) + self._size > self._limit:
            message = f"an event is larger than {self._limit} bytes"
            raise EventTooLargeError(message)
        return payloads

    def _take(self, lines: list[bytes]) -> list[bytes]:
        payloads: list[bytes] = []
        data = self._data
        for line in lines:
            if not line:
                payload = b"\n".join(data)
                if payload:
                    payloads.append(payload)
                data.clear()
                self._size = 0
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                data.append(value)
                self._size += len(value) + 1
        return payloads

"""W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): parse, continue, begin."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST = 512


class Trace(NamedTuple):
    """A position in a trace: 32 and 16 hexadecimal digits, and two of flags."""

    trace_id: str
    span_id: str
    flags: str

    def header(self) -> str:
        """The `traceparent` to pass on; always version 00, the one this file knows how to write."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse(header: str) -> Trace | None:
    """The caller's position, or None when the header must be ignored (§3.2.2: bad form, zero ids, version ff)."""
    match = _HEADER.fullmatch(header) if len(header) <= _LONGEST else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Trace(trace_id, span_id, flags)


def continued(header: str) -> Trace:
    """A new span: in the caller's trace when the header is good, else in a new, sampled one."""
    parent = parse(header) if header else None
    span_id = f"{_nonzero(64):016x}"
    return Trace(parent.trace_id, span_id, parent.flags) if parent else Trace(f"{_nonzero(128):032x}", span_id, "01")


def _nonzero(bits: int) -> int:
    """Not 0, which means "none". Unique, not secret: no system call for every span."""
    while not (drawn := random.getrandbits(bits)):  # ids of traces are no secrets
        pass
    return drawn

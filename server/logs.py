"""Logs: one well-formed line per record on standard error, scrubbed of personal data, whatever a record holds.

JSON for machines, a plain line for a terminal. Every line carries the ids of the call it belongs to. A line is at most
8 KiB; control characters, line ends and escape sequences of a terminal never leave as such.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from json import dumps
from pathlib import PurePath
from types import TracebackType
from typing import NamedTuple

from server.caller import current_caller, current_request
from server.pii.scrub import scrub

MAX_LINE = 8192  # bytes
_CUT = "…"
_CUT_MARGIN = 256  # characters scrubbed beyond a cut, so a value that straddles it is still recognised
_MAX_FRAMES = 24
_MAX_CAUSES = 3
_MAX_ITEMS = 20
_MAX_DEPTH = 3

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED = frozenset(
    {"ts", "level", "logger", "message", "request_id", "trace_id", "method", "tenant", "error", "truncated"}
)
# Libraries that tell of each request, or once per pooled connection that PostgreSQL is away, which the pool says once.
_QUIET = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "chromadb": logging.WARNING, "asyncpg": logging.ERROR}
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS = str.maketrans({"\n": "\\n", "\t": "\\t"})


class _Room(NamedTuple):
    """How much of a record is shown; the next smaller room is tried when the line is too long."""

    message: int
    extra: int
    frames: int


_ROOMS = (_Room(4096, 1024, _MAX_FRAMES), _Room(1024, 128, 8), _Room(256, 0, 2))


def safe(text: str, limit: int) -> str:
    """`text` scrubbed, at most `limit` characters, control and direction characters written out as \\u escapes."""
    short = scrub(text[: limit + _CUT_MARGIN])
    if len(short) > limit:
        short = short[:limit] + _CUT
    return _escape(short)


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain(value: object, limit: int, depth: int = 0) -> object:
    """An `extra` value as JSON can carry it, bounded and scrubbed; unknown objects by their type alone, because their
    repr could hold anything and could fail."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # infinities and NaN are no JSON
    if isinstance(value, str):
        return safe(value, limit)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {safe(str(k), 64): _plain(v, limit, depth + 1) for k, v in list(value.items())[:_MAX_ITEMS]}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, limit, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {safe(str(value), limit)}"
    if isinstance(value, PurePath | datetime):
        return safe(str(value), limit)
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _frames(trace: TracebackType | None, most: int) -> list[str]:
    """The innermost frames, outermost first, as `package/file.py:12 function`; no source lines and no locals."""
    summary = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)
    return [f"{'/'.join(PurePath(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in summary[-most:]]


def _error(exc: BaseException, room: _Room) -> dict[str, object]:
    shown: dict[str, object] = {
        "type": type(exc).__qualname__,
        "module": type(exc).__module__,
        "message": safe(str(exc), room.message // 4),
        "stack": _frames(exc.__traceback__, room.frames),
    }
    causes = [f"{type(cause).__qualname__}: {safe(str(cause), 256)}" for cause in _causes(exc)]
    return {**shown, "causes": causes} if causes else shown


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen = {id(exc)}
    current = exc
    for _ in range(_MAX_CAUSES):
        following = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if following is None or id(following) in seen:
            return
        seen.add(id(following))
        yield following
        current = following


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} (arguments do not fit)"


def fields(record: logging.LogRecord, room: _Room = _ROOMS[0]) -> dict[str, object]:
    """The record as the members of one JSON line."""
    shown: dict[str, object] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": safe(record.name, 128),
        "message": safe(_message(record), room.message),
    }
    request = current_request.get()
    if request is not None:
        shown |= {
            "request_id": request.request_id[:128],
            "trace_id": request.trace_id[:64],
            "method": request.method[:256],
        }
    tenant = current_caller.get().tenant
    if tenant:
        shown["tenant"] = tenant[:128]
    if record.exc_info and record.exc_info[1] is not None:
        shown["error"] = _error(record.exc_info[1], room)
    if room.extra:
        for key, value in list(record.__dict__.items()):
            if key in _RESERVED and (not value or shown.get(key) == value):
                continue  # the same as the line says already
            if key not in _STANDARD:
                shown[f"extra_{key}" if key in _RESERVED else key] = _plain(value, room.extra)
    return shown


class JsonFormatter(logging.Formatter):
    """One JSON object per record, at most 8 KiB."""

    def format(self, record: logging.LogRecord) -> str:
        line = ""
        for room in _ROOMS:
            shown = fields(record, room)
            if room is not _ROOMS[0]:
                shown["truncated"] = True
            line = dumps(shown, ensure_ascii=False, separators=(",", ":"))
            line = _escape(line)
            if len(line.encode("utf-8")) <= MAX_LINE:
                break
        return line


class TerminalFormatter(logging.Formatter):
    """`12:00:01.250 WARNING server.chat.run  message  key=value`, with the stack of an error below it."""

    def format(self, record: logging.LogRecord) -> str:
        shown = fields(record)
        head = f"{str(shown.pop('ts'))[11:23]} {shown.pop('level')!s:<8}{shown.pop('logger')}  {shown.pop('message')}"
        error = shown.pop("error", None)
        pairs = " ".join(f"{key}={value}" for key, value in shown.items())
        lines = [f"{head}  {pairs}".rstrip().translate(_LINE_ENDS)]
        if isinstance(error, dict):
            lines.append(f"  {error['module']}.{error['type']}: {error['message']}".translate(_LINE_ENDS))
            lines.extend(f"    at {frame}".translate(_LINE_ENDS) for frame in error["stack"])
        # Ids and keys come from callers too: no escape sequence may reach the terminal.
        return "\n".join(_escape(line) for line in lines)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Writes to standard error. What cannot be formatted is replaced by a line that says so, never by a traceback that
    would show the record."""

    def handleError(self, record: logging.LogRecord) -> None:
        broken = logging.makeLogRecord(
            {
                "name": record.name,
                "levelno": record.levelno,
                "levelname": record.levelname,
                "msg": "a log record could not be written",
            }
        )
        try:
            self.stream.write(self.format(broken) + self.terminator)
        except (OSError, ValueError):
            return  # standard error is gone: there is nowhere left to say it


def configure(level: str | int = "INFO", json: bool | None = None) -> None:
    """Send every record of the process at `level` and above to standard error, as JSON lines or for a reader; with
    `json` None it is for a reader when standard error is a terminal. Replaces handlers set before. Raises ValueError
    for a level that does not exist."""
    as_json = not sys.stderr.isatty() if json is None else json
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TerminalFormatter())
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    root.handlers = [handler]
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(capture=True)

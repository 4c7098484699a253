"""Places outside the database where checkpoints go, so that whoever rules the database cannot take the past back.

Both take JSON lines, `{"tenant","size","key_id","signed_at","note"}`. A checkpoint may arrive twice, never not at all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import orjson

from server.audit.tree_store import SignedHead

_PATIENCE = aiohttp.ClientTimeout(total=10.0)


class SinkFailed(Exception):
    """The place did not take them; the message may be logged."""


class Sink(Protocol):
    """One place."""

    @property
    def name(self) -> str:
        """By which `audit_checkpoint_push` and the metrics know it."""

    async def push(self, checkpoints: Sequence[SignedHead]) -> None:
        """Returns when they are there for good. Raises SinkFailed."""


class FileSink:
    """An append-only file: on another volume, or shipped by something that may only append."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def push(self, checkpoints: Sequence[SignedHead]) -> None:
        try:
            await asyncio.to_thread(self._append, lines(checkpoints))
        except OSError as cause:
            raise SinkFailed(f"the checkpoint file cannot be written: {cause.strerror}") from cause

    def _append(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o640)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            except OSError:
                # No half of a line stays in front of the next attempt; that brings all of it again.
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    """A write may take less than it is given: of a disk that is nearly full, or when a signal comes."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


class WebhookSink:
    """A POST of `application/x-ndjson` to one configured URL; 2xx means taken. Redirects are not followed."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    async def push(self, checkpoints: Sequence[SignedHead]) -> None:
        headers = {"content-type": "application/x-ndjson"}
        try:
            async with (
                aiohttp.ClientSession(timeout=_PATIENCE) as session,
                session.post(self._url, data=lines(checkpoints), headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise SinkFailed(f"the checkpoint webhook does not answer: {type(cause).__name__}") from cause
        if not 200 <= status < 300:
            raise SinkFailed(f"the checkpoint webhook answered {status}")


def lines(checkpoints: Sequence[SignedHead]) -> bytes:
    """The checkpoints as JSON lines."""
    return b"".join(
        orjson.dumps(
            {
                "tenant": item.tenant,
                "size": item.size,
                "key_id": item.key_id,
                "signed_at": item.signed_at,
                "note": item.note,
            },
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z,
        )
        for item in checkpoints
    )

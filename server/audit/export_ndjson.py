"""NDJSON with proofs: what `tria audit verify` reads."""

from __future__ import annotations

from collections.abc import Sequence

from server.audit import export_lines
from server.audit.checkpoint import origin_of
from server.audit.events import Event
from server.audit.export_lines import Header
from server.audit.export_plan import Plan


class NdjsonFormat:
    """The records of server/audit/export_lines.py."""

    media_type = "application/x-ndjson"
    proves = True

    def __init__(self, plan: Plan) -> None:
        origin = origin_of(plan.tenant)
        self._header = Header(plan.tenant, origin, plan.first, plan.last, plan.tree_size, list(plan.keys))
        self._plan = plan

    def begin(self) -> bytes:
        return export_lines.header_line(self._header) + export_lines.checkpoint_line(self._plan.note)

    def cover(self, hashes: Sequence[bytes]) -> bytes:
        return export_lines.cover_line(hashes)

    def event(self, event: Event) -> bytes:
        return export_lines.leaf_line(event.seq, event.encoded, event.leaf_hash)

    def end(self) -> bytes:
        return export_lines.end_line(self._header, self._plan.root)

    def cut(self, next_seq: int, reason: str) -> bytes:
        return export_lines.cut_line(next_seq, reason)

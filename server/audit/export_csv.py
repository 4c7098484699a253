"""CSV for people and spreadsheets: one row an event, and nothing that a spreadsheet would compute.

A cell that begins like a formula gets an apostrophe in front (OWASP, "CSV injection"). The last row is of the kind
`end` or `cut`, so that a file that was cut off shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import orjson

from server.audit.events import Event
from server.audit.export_lines import text_of
from server.audit.export_plan import Plan

COLUMNS = (
    "record", "seq", "event_id", "occurred_at", "recorded_at", "kind", "action", "decision", "status", "actor_kind",
    "actor", "auth_method", "on_behalf_of", "targets", "rpc", "request_id", "trace_id", "source_ip_hash",
    "source_agent", "details", "leaf_hash",
)  # fmt: skip

# Also the full-width forms, which some spreadsheets read as the plain ones, and what they strip before they look.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", " ", "|", "%", "＝", "＋", "－", "＠")


class CsvFormat:
    """Rows of COLUMNS, every cell quoted."""

    media_type = "text/csv; charset=utf-8"
    proves = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def begin(self) -> bytes:
        return _row(COLUMNS)

    def cover(self, hashes: Sequence[bytes]) -> bytes:  # noqa: ARG002  # of the format's protocol; a table proves nothing
        return b""

    def event(self, event: Event) -> bytes:
        leaf = event.leaf
        return _row(
            (
                "event",
                str(event.seq),
                leaf.event_id,
                leaf.occurred_at.isoformat(timespec="microseconds"),
                event.recorded_at.isoformat(timespec="microseconds"),
                leaf.kind,
                leaf.action,
                leaf.decision,
                leaf.status,
                leaf.actor.kind,
                leaf.actor.id,
                leaf.actor.auth_method,
                leaf.actor.on_behalf_of,
                ";".join(leaf.targets),
                leaf.rpc,
                leaf.request_id,
                leaf.trace_id,
                leaf.source.ip_hash,
                leaf.source.agent,
                orjson.dumps(leaf.details).decode(),
                text_of(event.leaf_hash),
            )
        )

    def end(self) -> bytes:
        plan = self._plan
        return self._closing(
            "end",
            plan.last,
            {
                "first_seq": plan.first,
                "last_seq": plan.last,
                "count": plan.count,
                "tree_size": plan.tree_size,
                "root_hash": text_of(plan.root),
            },
        )

    def cut(self, next_seq: int, reason: str) -> bytes:
        return self._closing("cut", next_seq, {"next_seq": next_seq, "reason": reason})

    @staticmethod
    def _closing(record: str, seq: int, details: dict[str, object]) -> bytes:
        cells = dict.fromkeys(COLUMNS, "") | {
            "record": record,
            "seq": str(seq),
            "details": orjson.dumps(details).decode(),
        }
        return _row(tuple(cells.values()))


def defused(cell: str) -> str:
    """The cell as text that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _row(cells: Sequence[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerow([defused(str(cell)) for cell in cells])
    return written.getvalue().encode()

"""A compliance report as titled tables, whatever it is written as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.audit.actions import Action, LeafKind
from server.audit.export_lines import text_of
from server.audit.report_facts import ADMINISTRATION, ATTACKS, MOST_ROWS, PEOPLE, Counted, Done, Facts, Refusals, total


@dataclass(frozen=True, slots=True)
class Table:
    """`key` is its name for programs; `about` says what it shows; `numeric` are the columns of figures."""

    key: str
    title: str
    about: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numeric: frozenset[int] = frozenset()


def tables(facts: Facts) -> list[Table]:
    """The report, in the order of reading."""
    return [
        _summary(facts),
        _integrity(facts),
        _counts(facts.counts),
        _refused("denied", "Refused access", "Calls refused for a missing right or over a limit.", facts.denied),
        _refused(
            "authentication",
            "Failed authentication",
            "Calls without credentials, or with wrong or expired ones.",
            facts.unauthenticated,
        ),
        _list("people", "Erasure, access and consent", "What was done about a person's own data.", facts.people),
        _list("administration", "Administration", "Changes of configuration and content.", facts.administration),
        _list(
            "attacks",
            "Suspected attacks",
            "Forged webhooks, unknown methods, attempts to steer the model.",
            facts.attacks,
        ),
        Table(
            "reading",
            "Reading of this trail",
            "Who read, exported or proved the trail.",
            ("Action", "Actor", "Events"),
            [(row.action, row.actor or "not known", str(row.count)) for row in facts.reading],
            frozenset({2}),
        ),
    ]


def _summary(facts: Facts) -> Table:
    counts = facts.counts
    done = (LeafKind.CHANGE, LeafKind.SYSTEM)
    figures = (
        ("Records", sum(row.count for row in counts)),
        ("Refused for a missing right", total(counts, [Action.ACCESS_DENY])),
        ("Refused over a limit", total(counts, [Action.RATE_LIMIT])),
        ("Failed authentications", total(counts, [Action.AUTHENTICATION_FAIL])),
        ("Suspected attacks", total(counts, ATTACKS)),
        ("Erasures done", total(counts, [Action.SUBJECT_ERASE], *done)),
        ("Changes about personal data", total(counts, PEOPLE, *done)),
        ("Administrative changes", total(counts, ADMINISTRATION, *done)),
        ("AI decisions", total(counts, [Action.AI_DECISION])),
    )
    rows = [(name, str(figure)) for name, figure in figures]
    return Table("summary", "At a glance", "Counted over the whole period.", ("What", "Number"), rows, frozenset({1}))


def _integrity(facts: Facts) -> Table:
    period, head = facts.period, facts.head
    there = "none" if period.first is None else f"{period.first} to {period.last}"
    rows = [("Records of the period", there), ("Records missing between them", str(facts.holes))]
    if head is None:
        rows.append(("Newest signed checkpoint", "none: nothing is proven yet"))
    else:
        rows += [
            ("Newest signed checkpoint", f"over {head.size} records, signed {_time(head.signed_at)}"),
            ("Its root", text_of(head.root)),
            ("Its key", head.key_id),
        ]
    about = "This report counts; it proves nothing. To prove the records, export them and run tria audit verify."
    return Table("integrity", "Completeness", about, ("What", "Value"), rows)


def _counts(counts: Sequence[Counted]) -> Table:
    ends = ("Allowed", "Denied", "Failed", "Changes")
    by_action: dict[str, Counter[str]] = {}
    for row in counts:
        end = row.decision.capitalize() if row.kind == LeafKind.ACCESS else "Changes"
        by_action.setdefault(row.action, Counter())[end] += row.count
    rows = [
        (action, *(str(found[end]) for end in ends), str(found.total())) for action, found in sorted(by_action.items())
    ]
    about = "Calls by how they ended, and what was changed: a call that changed something has left two records."
    columns = ("Action", *ends, "Records")
    return Table("actions", "Records by action", about, columns, rows, frozenset(range(1, len(columns))))


def _refused(key: str, title: str, about: str, rows: Sequence[Refusals]) -> Table:
    columns = ("Reason", "Called", "Actor", "Source", "Events", "Latest")
    cells = [
        (
            row.reason or row.action,
            row.rpc.rpartition("/")[2],
            row.actor or "not known",
            row.source,
            str(row.count),
            _time(row.latest),
        )
        for row in rows
    ]
    return Table(key, title, _limited(about, rows), columns, cells, frozenset({4}))


def _list(key: str, title: str, about: str, rows: Sequence[Done]) -> Table:
    columns = ("Seq", "When", "Action", "Actor", "Resource", "Decision")
    cells = [
        (str(row.seq), _time(row.occurred_at), row.action, row.actor or "not known", row.resource, row.decision)
        for row in rows
    ]
    return Table(key, title, _limited(about, rows), columns, cells, frozenset({0}))


def _limited(about: str, rows: Sequence[object]) -> str:
    return f"{about} The first {MOST_ROWS} are shown." if len(rows) >= MOST_ROWS else about


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"

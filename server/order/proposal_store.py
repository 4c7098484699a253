"""SQL of proposals.

What people wrote (the note, questions that quote them, the words behind each line) is sealed with the key of the person
to whom the proposal is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, LiteralString

import orjson
from asyncpg import Record

from server.audit.sealing import Vault
from server.db.pool import Connection
from server.order.order import impersonal, line_from, provenance_from, with_words, words_of
from server.order.pricing import Line, Wanted
from server.order.proposal import Asked, Kind, Proposal, ProposalState

INSERT_PROPOSAL: Final[LiteralString] = """
insert into proposal (tenant, id, kind, outlet, conversation, language, state, arguments, shown, arguments_sha256,
                      resource, resource_etag, duplicate_of, expires_at, person, words_box)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"""

WORDS = "proposal words"


async def insert(connection: Connection, vault: Vault, tenant: str, proposal: Proposal) -> None:
    """Stores a new proposal."""
    asked = proposal.asked
    key = await vault.key_for(connection, tenant, asked.person)
    words = {
        "note": asked.note,
        "questions": list(proposal.questions),
        "said": [words_of(line.provenance) for line in asked.wanted],
    }
    arguments = {"wanted": [_wordless(line) for line in asked.wanted], "day": asked.day}
    shown = {
        "title": proposal.title,
        "currency": proposal.currency,
        "lines": [_wordless(line) for line in proposal.lines],
        "total": proposal.total,
    }
    await connection.execute(
        INSERT_PROPOSAL, tenant, proposal.id, asked.kind.value, asked.outlet, asked.conversation, asked.language,
        proposal.state.value, _json(arguments | {"order": asked.order}), _json(shown), proposal.arguments_sha256,
        proposal.resource or None, proposal.resource_etag, proposal.duplicate_of or None, proposal.expires_at,
        asked.person, key.seal(_json(words), WORDS, proposal.id),
    )  # fmt: skip


SELECT_PROPOSAL: Final[LiteralString] = """
select id, kind, outlet, conversation, language, state, arguments, shown, arguments_sha256, resource,
       resource_etag, duplicate_of, successor, expires_at, person, words_box
from proposal
where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)"""

LOCK_PROPOSAL: Final[LiteralString] = SELECT_PROPOSAL + " for no key update"


async def get(
    connection: Connection, vault: Vault, tenant: str, id: str, outlet: str, *, lock: bool = False
) -> Proposal | None:
    """The proposal, when it belongs to `outlet` ('': any); with `lock`, held until the transaction ends."""
    row = await connection.fetchrow(LOCK_PROPOSAL if lock else SELECT_PROPOSAL, tenant, id, outlet)
    if row is None:
        return None
    keys = await vault.keys_of(connection, tenant, [row["words_box"]])
    return _proposal(row, keys.text(row["words_box"], WORDS, row["id"]))


CLOSE_PROPOSAL: Final[LiteralString] = """
update proposal
set state = $3, resource = coalesce(nullif($4::text, ''), resource), successor = nullif($5::text, ''),
    decide_time = now()
where tenant = $1 and id = $2"""


async def close(
    connection: Connection, tenant: str, id: str, state: ProposalState, *, resource: str = "", successor: str = ""
) -> None:
    """Ends a proposal that this transaction has locked."""
    await connection.execute(CLOSE_PROPOSAL, tenant, id, state.value, resource, successor)


SUPERSEDE_OPEN: Final[LiteralString] = """
update proposal set state = 'SUPERSEDED', successor = $5, decide_time = now()
where tenant = $1 and outlet = $2 and conversation = $3 and kind = $4 and state = 'OPEN' and id <> $5"""


async def supersede_open(connection: Connection, tenant: str, proposal: Proposal) -> None:
    """What a conversation proposed before gives way to what it proposes now."""
    asked = proposal.asked
    await connection.execute(SUPERSEDE_OPEN, tenant, asked.outlet, asked.conversation, asked.kind.value, proposal.id)


STANDING: Final[LiteralString] = """
select max(case when state = 'OPEN' then expires_at else decide_time end)
           filter (where state in ('CONFIRMED', 'REJECTED') or (state = 'OPEN' and expires_at <= $3)) as since,
       max(id) filter (where state = 'OPEN' and kind = 'PLACE_ORDER' and expires_at > $3) as open
from proposal
where tenant = $1 and conversation = $2 and conversation <> ''"""


async def standing(
    connection: Connection, tenant: str, conversation: str, now: datetime
) -> tuple[datetime | None, str | None]:
    """When the conversation's last proposal was decided or ran out, and the id of its open order, of which
    `supersede_open` leaves one."""
    row = await connection.fetchrow(STANDING, tenant, conversation, now)
    return (row["since"], row["open"]) if row else (None, None)


def _json(tree: Mapping[str, Any]) -> str:
    return orjson.dumps(tree, default=str).decode()


def _wordless(line: Wanted | Line) -> dict[str, Any]:
    return asdict(line) | {"provenance": impersonal(line.provenance)}


def _proposal(row: Record, sealed: str | None) -> Proposal:
    words: dict[str, Any] = orjson.loads(sealed) if sealed else {}
    said: list[list[str]] = words.get("said", [])
    arguments: dict[str, Any] = orjson.loads(row["arguments"])
    shown: dict[str, Any] = orjson.loads(row["shown"])
    asked = Asked(
        kind=Kind(row["kind"]),
        outlet=row["outlet"],
        wanted=tuple(
            Wanted(each["sku"], Decimal(each["quantity"]), with_words(provenance_from(each["provenance"]), behind))
            for each, behind in zip(arguments["wanted"], said or [[]] * len(arguments["wanted"]), strict=True)
        ),
        day=date.fromisoformat(arguments["day"]) if arguments["day"] else None,
        note=words.get("note", ""),
        conversation=row["conversation"],
        language=row["language"],
        order=arguments["order"],
        person=row["person"],
    )
    return Proposal(
        id=row["id"],
        asked=asked,
        state=ProposalState(row["state"]),
        title=shown["title"],
        currency=shown["currency"],
        lines=tuple(line_from(line) for line in shown["lines"]),
        total=Decimal(shown["total"]),
        arguments_sha256=row["arguments_sha256"],
        questions=tuple(words.get("questions", ())),
        resource=row["resource"] or "",
        resource_etag=row["resource_etag"],
        duplicate_of=row["duplicate_of"] or "",
        successor=row["successor"] or "",
        expires_at=row["expires_at"],
    )

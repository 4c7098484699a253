"""What conversations hold about the people in them beside messages: who asked for a person with which words, what was
thought of answers, and which member of staff has taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from server.audit.sealing import ERASED, Vault
from server.chat.feedback import COMMENT
from server.chat.hand_offs import NOTE
from server.db.pool import Connection
from server.holdings import Erased, Records, when

EXPORT_HAND_OFFS: Final[LiteralString] = """
select conversation, epoch, reason, note_box, request_time from hand_off
where tenant = $1 and person = $2
order by request_time"""

EXPORT_FEEDBACK: Final[LiteralString] = """
select conversation, message, rating, comment_box, update_time from message_feedback
where tenant = $1 and person = $2
order by update_time"""

# What was written while its key was being destroyed opens nowhere: it goes too.
_DESTROYED: Final[LiteralString] = """
    select uuid_send(key_id) from subject_key where tenant = $1 and person = $2 and wrapped is null"""

EMPTY_HAND_OFFS: Final[LiteralString] = (
    """
update hand_off set note_box = null, person = ''
where tenant = $1 and person = $2 and (request_time <= $3 or substr(note_box, 2, 16) in ("""
    + _DESTROYED
    + "))"
)

REMOVE_FEEDBACK: Final[LiteralString] = (
    """
delete from message_feedback
where tenant = $1 and person = $2 and (create_time <= $3 or substr(comment_box, 2, 16) in ("""
    + _DESTROYED
    + "))"
)

# Whoever is gone speaks no more; a colleague can take over.
FORGET_HOLDER: Final[LiteralString] = """
update conversation set holder = '', version = version + 1 where tenant = $1 and holder = $2 and create_time <= $3"""

LEFT: Final[LiteralString] = (
    """
select (select count(*) from hand_off where tenant = $1 and person = $2
        and (request_time <= $3 or substr(note_box, 2, 16) in ("""
    + _DESTROYED
    + """)))
    + (select count(*) from message_feedback where tenant = $1 and person = $2
        and (create_time <= $3 or substr(comment_box, 2, 16) in ("""
    + _DESTROYED
    + """)))
    + (select count(*) from conversation where tenant = $1 and holder = $2 and create_time <= $3)"""
)


class PeopleHolding:
    """Hand-offs, feedback, and who has taken over."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def export(self, connection: Connection, tenant: str, person: str) -> Mapping[str, Records]:
        """The person's own words and judgements."""
        asked = await connection.fetch(EXPORT_HAND_OFFS, tenant, person)
        judged = await connection.fetch(EXPORT_FEEDBACK, tenant, person)
        boxes = [*(row["note_box"] for row in asked), *(row["comment_box"] for row in judged)]
        keys = await self._vault.keys_of(connection, tenant, boxes)

        def said(box: bytes | None, *place: str) -> str:
            return "" if box is None else keys.text(box, *place) or ERASED

        hand_offs: list[dict[str, Any]] = [
            {
                "conversation": f"conversations/{row['conversation']}",
                "reason": row["reason"],
                "note": said(row["note_box"], NOTE, row["conversation"], str(row["epoch"])),
                "create_time": when(row["request_time"]),
            }
            for row in asked
        ]
        feedback: list[dict[str, Any]] = [
            {
                "message": f"conversations/{row['conversation']}/messages/{row['message']}",
                "rating": row["rating"],
                "comment": said(row["comment_box"], COMMENT, row["conversation"], row["message"], person),
                "update_time": when(row["update_time"]),
            }
            for row in judged
        ]
        return {"hand_offs": hand_offs, "feedback": feedback}

    async def erase(self, connection: Connection, tenant: str, person: str, until: datetime) -> Sequence[Erased]:
        """Hand-offs stay without words and person: how long people waited is the desk's own record."""
        hand_offs = _count(await connection.execute(EMPTY_HAND_OFFS, tenant, person, until))
        feedback = _count(await connection.execute(REMOVE_FEEDBACK, tenant, person, until))
        await connection.execute(FORGET_HOLDER, tenant, person, until)
        return [Erased("hand_offs", hand_offs), Erased("feedback", feedback)]

    async def remaining(self, connection: Connection, tenant: str, person: str, until: datetime) -> int:
        left: int = await connection.fetchval(LEFT, tenant, person, until)
        return left


def _count(status: str) -> int:
    """The rows of a command's status, as in `UPDATE 3`."""
    return int(status.rpartition(" ")[2])

"""People in the conversations of one process with all they need."""

from __future__ import annotations

from server.audit.sealing import Vault
from server.chat.control import Control
from server.chat.feed import Bell
from server.chat.feedback import Feedback
from server.chat.hand_off_handler import People
from server.chat.runner import Runner
from server.chat.watching import Watching
from server.config import StreamConfig
from server.db.pool import Database
from server.paging import PageTokens
from server.stream_life import StreamLimits


def people_desk(
    database: Database, vault: Vault, dsn: str, runner: Runner, tokens: PageTokens, stream: StreamConfig
) -> People:
    """The use cases over one database; `dsn` is the same database's, for the connection that listens. The runner's runs
    fall silent when somebody else speaks."""
    limits = StreamLimits(stream.heartbeat, stream.max_age)
    return People(
        Control(database, vault, runner),
        Watching(database, vault, Bell(dsn, runner.silence), tokens, limits),
        Feedback(database, vault),
    )

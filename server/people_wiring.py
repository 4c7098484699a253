"""The vault and everything that holds something about people, put together from the configuration."""

from __future__ import annotations

from server.audit.sealing import Vault
from server.audit.subjects import Subjects
from server.chat.people_holding import PeopleHolding
from server.chat.personal import ChatHolding
from server.config import AuthConfig
from server.db.pool import Database
from server.envelope import MasterKeys
from server.idempotency import AnswersHolding
from server.order.personal import OrderHolding
from server.pii.people import People
from server.signing import SigningKey


def open_vault(auth: AuthConfig) -> Vault:
    """What seals and opens for this process; it remembers no key until it hears of erasures."""
    return Vault(MasterKeys(auth.master_keys), People(auth.state_secret))


def subjects(database: Database, vault: Vault, signing: SigningKey) -> Subjects:
    """Export, erasure and holds over all that the features hold."""
    holdings = (ChatHolding(vault), PeopleHolding(vault), OrderHolding(vault), AnswersHolding())
    return Subjects(database, vault, holdings, signing)

"""A vault with keys of the tests."""

from __future__ import annotations

from server.audit.sealing import Vault
from server.envelope import MasterKey, MasterKeys
from server.pii.people import People
from server.settings import Secret

MASTER = MasterKey("test", b"k" * 32)
"""The master key of tests/support/app.py."""
SECRET = Secret("s" * 40)


def a_vault(*masters: MasterKey) -> Vault:
    """What the server of tests/support/app.py seals and opens with, remembering nothing."""
    return Vault(MasterKeys(masters or (MASTER,)), People(SECRET))

"""The page's own session on this machine: its files, and a `session.json` with tokens that never get stale.

Only `tria up` in demo mode writes it. In a deployment the file does not exist and the page asks for a token.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from server.caller import Role
from server.embedded.child import private_directory
from server.embedded.issuer import Claims, Issuer

_LIFE = timedelta(hours=2)
_RENEWAL = timedelta(hours=1)
_LOOK = 30.0  # seconds; by the clock, because a suspended laptop's timers stand still


@dataclass(frozen=True, slots=True)
class DemoOutlet:
    """An outlet that the page may speak for: its bare id and its name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Demo:
    """What seeding made; at least one outlet."""

    tenant: str
    outlets: Sequence[DemoOutlet]


class DemoSession:
    """Keeps `pages`/session.json and `token_file` valid while the system runs."""

    def __init__(self, pages: Path, token_file: Path, issuer: Issuer, demo: Demo) -> None:
        self._file = pages / "session.json"
        self._token_file = token_file
        self._issuer = issuer
        self._demo = demo
        self._renewed = 0.0  # Unix seconds

    def token(self, outlet: str | None = None) -> str:
        """A customer's token for `outlet` (the first one by default)."""
        outlet = outlet or self._demo.outlets[0].id
        return self._issuer.mint(Claims(Role.CUSTOMER, self._demo.tenant, f"customer-{outlet}", outlet, _LIFE))

    def write(self) -> None:
        """Write new tokens: {"tenant", "outlet", "token", "outlets": [{"outlet", "name", "token"}]} for the page, and
        the first one alone for the command lines that `tria up` prints."""
        outlets = [
            {"outlet": outlet.id, "name": outlet.name, "token": self.token(outlet.id)} for outlet in self._demo.outlets
        ]
        session = {"tenant": self._demo.tenant, "outlet": outlets[0]["outlet"], "token": outlets[0]["token"]}
        _replace(self._file, json.dumps(session | {"outlets": outlets}))
        _replace(self._token_file, session["token"])
        self._renewed = time.time()

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            if time.time() - self._renewed > _RENEWAL.total_seconds():
                self.write()


def _replace(path: Path, content: str) -> None:
    """At once and for our own eyes: a reader sees the old file or the new one."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    aside.replace(path)


def copy_pages(source: Path, target: Path) -> None:
    """A private copy of the page's files, so that the session beside them never lands in the source tree."""
    if target.exists():
        shutil.rmtree(target)
    private_directory(target)
    shutil.copytree(source, target, dirs_exist_ok=True)
    target.chmod(0o700)

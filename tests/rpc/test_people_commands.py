"""`tria subjects`, `tria keys` and `tria retention` beside a running system."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping

from click.testing import CliRunner, Result

from server.audit.receipt import verify
from server.cli import main
from tests.support.people import TENANT, Office, Person
from tests.support.stores import eventually


async def tria(office: Office, *arguments: str, **variables: str) -> Result:
    """The command, in a process's environment of its own, in a thread: it runs a loop."""
    environ: Mapping[str, str] = {**office.variables, **variables}
    return await asyncio.to_thread(CliRunner().invoke, main, list(arguments), env=environ)


async def test_a_person_is_exported_held_released_and_erased(office: Office, person: Person) -> None:
    which = (person.subject, "--tenant", TENANT)
    exported = await tria(office, "subjects", "export", *which)
    assert exported.exit_code == 0, exported.output
    assert person.word("text") in json.dumps(json.loads(exported.stdout)["messages"])
    held = await tria(office, "subjects", "hold", *which, "--reason", "case 12/26")
    assert (held.exit_code, held.stdout) == (0, "on hold\n")
    refused = await tria(office, "subjects", "erase", *which, "--yes")
    assert refused.exit_code == 1
    assert "must be kept" in refused.stderr
    assert (await tria(office, "subjects", "release", *which)).exit_code == 0
    assert (await tria(office, "subjects", "release", *which)).exit_code == 1
    erased = await tria(office, "subjects", "erase", *which, "--yes")
    assert erased.exit_code == 0, erased.output
    assert verify(erased.stdout, (office.config.audit.key.public,))

    async def verified() -> bool:
        return bool(await office.value("select verified_at is not null from erasure"))

    await eventually(verified, within=60)


async def test_erasing_asks_first(office: Office, person: Person) -> None:
    unsaid = await tria(office, "subjects", "erase", person.subject, "--tenant", TENANT)
    assert unsaid.exit_code == 1
    assert person.word("text") in str(await office.export(person.subject))


async def test_keys_are_rewrapped(office: Office, person: Person) -> None:
    old = office.variables["TRIA_MASTER_KEYS"]
    new = "new=" + base64.b64encode(b"n" * 32).decode()
    done = await tria(office, "keys", "rewrap", "--json", TRIA_MASTER_KEYS=f"{new},{old}")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rewrapped"] > 0
    exported = await tria(office, "subjects", "export", person.subject, "--tenant", TENANT, TRIA_MASTER_KEYS=new)
    assert person.word("text") in exported.stdout
    lost = await tria(office, "keys", "rewrap", "--json")
    assert lost.exit_code == 1
    assert json.loads(lost.stdout)["lost"] > 0


async def test_retention_says_what_it_would_remove(office: Office, person: Person) -> None:
    assert person.conversation
    said = await tria(office, "retention", "run", "--dry-run")
    assert said.exit_code == 0, said.output
    assert "conversations: 0 would be removed (older than " in said.stdout
    async with office.database.connection() as connection:
        await connection.execute("update conversation set update_time = now() - interval '40 days'")
    days = {"TRIA_RETENTION_CONVERSATIONS": "30"}
    said = await tria(office, "retention", "run", "--dry-run", "--json", **days)
    assert json.loads(said.stdout)["conversations"] == 2
    done = await tria(office, "retention", "run", "--json", **days)
    assert json.loads(done.stdout) == json.loads(said.stdout)
    assert await office.value("select count(*) from conversation") == 0
    assert (await tria(office, "retention", "run", TRIA_RETENTION_AUDIT="soon")).exit_code == 2

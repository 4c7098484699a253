"""`tria token`: a token of the embedded issuer, on standard output alone."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from pathlib import Path

import click

from server.caller import Role
from server.embedded.issuer import Claims, Issuer
from server.state_dir import default_state_dir

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=30)


class Life(click.ParamType[timedelta]):
    """A time such as 90s, 15m, 1h or 7d; at most 30 days."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if found is None:
            self.fail("must be a number with s, m, h or d, for example 15m", param, ctx)
        life = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if not timedelta() < life <= _LONGEST:
            self.fail("must be more than nothing and at most 30d", param, ctx)
        return life


@click.command("token")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What the token may do.")
@click.option("--tenant", default="demo", show_default=True, help="Whose data it is for.")
@click.option("--outlet", default="", help="The customer's outlet; the demo's first one when left out.")
@click.option("--subject", default="", help="Who it names; made from the role when left out.")
@click.option("--ttl", type=Life(), default="1h", show_default=True, help="How long it holds: 90s, 15m, 1h, 7d.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Where `tria up` keeps its data.")
def token(role: str, tenant: str, outlet: str, subject: str, ttl: timedelta, state_dir: Path | None) -> None:
    """Print a token of the embedded issuer, for a system started by `tria up`."""
    state = state_dir or default_state_dir(os.environ, root=os.geteuid() == 0)
    issuer = Issuer(state / "issuer")
    if not issuer.exists():
        raise click.ClickException(f"{state} holds no issuer; start the system with `tria up` first.")
    if role == Role.CUSTOMER and not outlet:
        outlet = _demo_outlet(state, tenant)
    name = subject or "-".join(part for part in (role.lower(), outlet) if part)
    click.echo(issuer.mint(Claims(Role(role), tenant, name, outlet if role == Role.CUSTOMER else "", ttl)))


def _demo_outlet(state: Path, tenant: str) -> str:
    session = state / "www" / "session.json"
    if session.exists():
        content = json.loads(session.read_text())
        if content["tenant"] == tenant:
            return str(content["outlet"])
    raise click.UsageError(f"a customer of tenant {tenant!r} needs --outlet")
